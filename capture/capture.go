// Package capture reads the packets of one port on one interface and tells them
// as conversations.
//
// It refuses to watch more than that: the filter is in the kernel before the
// first packet can arrive, only the first SnapLen bytes of a packet are kept,
// and nothing is ever sent. It does not name causes; a copy of a packet that is
// missing is written down as missing, and checks decide what that proves.
package capture

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// SnapLen is how many bytes of a packet are kept. All headers that are
	// decoded fit, also those that an ICMP error quotes.
	SnapLen = 256

	// MaxFrames is how many frames one capture keeps; what comes later is only
	// counted. At most MaxFrames × SnapLen bytes, 1 MiB, are held.
	MaxFrames = 4096

	// MaxPorts is how many ports one capture matches: the filter of more would
	// not fit into net.core.optmem_max of older kernels (20 KiB).
	MaxPorts = 128
)

// Open watches the packets on the interface that carry the port, as source or
// destination, over TCP or UDP, and the ICMP errors of any flow. It sees the
// network namespace of the calling thread, and nothing that passed before it
// returned. Without CAP_NET_RAW the error is an os.ErrPermission. It takes 0.1 to
// 0.3 ms; an interface that is down is no error, it merely has no frames.
//
// Open is nil on a system for which there is no capture.
var Open func(ifindex int, port uint16) (*Capture, error)

// Frame is one copy of a packet as the kernel handed it over. A packet on lo
// comes twice: on its way out and on its way in.
type Frame struct {
	At     time.Time // when the kernel saw it, nanoseconds; at the very start of a capture perhaps when it was read
	Out    bool      // on its way out (PACKET_OUTGOING)
	Length int       // bytes of the whole frame
	Data   []byte    // the first SnapLen bytes at most, from the Ethernet header on
}

// Capture is an open capture. Its methods may be called from several goroutines.
type Capture struct {
	mu     sync.Mutex // a descriptor that is closed while another goroutine reads could by then be someone else's
	socket socket     // nil: closed
	ports  []uint16
	kept   int
	lost   uint32
}

// socket is what an operating system must offer.
type socket interface {
	watch(ports []uint16) error  // replaces the filter; never opens a gap without one
	next() (Frame, error)        // does not block; errNone: there is none now
	overflowed() (uint32, error) // frames that did not fit since the last question
	close() error
}

var (
	errNone   = errors.New("no frame is waiting")
	errClosed = errors.New("the capture is closed")
)

// Also watches further ports. A redirect gives frames another port than the one
// that was asked for, so a source port that is bound before connect is what
// still finds them. Frames that passed before Also returned are not found.
func (c *Capture) Also(ports ...uint16) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket == nil {
		return errClosed
	}
	all := slices.Concat(c.ports, ports)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > MaxPorts {
		return fmt.Errorf("watch %d ports: more than %d", len(all), MaxPorts)
	}
	if err := c.socket.watch(all); err != nil {
		return fmt.Errorf("watch %d ports: %w", len(all), err)
	}
	c.ports = all
	return nil
}

// Frames takes what has arrived since the last call, in the order in which the
// kernel queued it, and does not wait. What was read before an error comes with it.
//
// On lo the kernel delivers a packet within the system call that sends it, so
// after a connect that returned its frames are there (unless lo has RPS).
func (c *Capture) Frames() ([]Frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket == nil {
		return nil, errClosed
	}
	var frames []Frame
	var failed error
	// The bound ends the call when a busy port brings frames faster than they are read.
	for range MaxFrames {
		f, err := c.socket.next()
		if errors.Is(err, errNone) {
			break
		}
		if err != nil {
			failed = fmt.Errorf("read packet socket: %w", err)
			break
		}
		if c.kept == MaxFrames {
			c.lost++
			continue
		}
		c.kept++
		frames = append(frames, f)
	}
	settle(frames)
	return frames, failed
}

// settle makes the times agree with the order of the queue. The kernel switches
// its clock for packets on a moment after the first socket has asked for it; a
// frame from before that gets the time at which it is read (sock_recv_timestamp
// in include/net/sock.h), which is later than that of the frames behind it.
func settle(frames []Frame) {
	for i := len(frames) - 2; i >= 0; i-- {
		if next := frames[i+1].At; frames[i].At.After(next) {
			frames[i].At = next
		}
	}
}

// Dropped is how many frames so far passed the filter but are not among those
// that Frames gave: the receive buffer was full, or MaxFrames was reached.
func (c *Capture) Dropped() (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket == nil {
		return c.lost, nil
	}
	n, err := c.socket.overflowed()
	c.lost += n
	if err != nil {
		return c.lost, fmt.Errorf("read packet statistics: %w", err)
	}
	return c.lost, nil
}

// Close ends the capture; frames that were not taken are gone. A second call
// does nothing.
//
// On Linux it takes 7 to 24 ms, 16 as a rule (6.18, 2 cores): the kernel waits
// until no CPU can still use the socket (synchronize_net in packet_release). Call
// it when the answer is out, or in a goroutine; no file or setting stays behind
// if the process ends without it.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket == nil {
		return nil
	}
	if n, err := c.socket.overflowed(); err == nil {
		c.lost += n
	}
	err := c.socket.close()
	c.socket = nil
	if err != nil {
		return fmt.Errorf("close packet socket: %w", err)
	}
	return nil
}
