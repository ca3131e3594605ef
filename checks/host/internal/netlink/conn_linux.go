package netlink

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// The kernel never makes a dump message longer than 32 KiB
	// (netlink_dump), so that nothing is cut off here.
	bufferLen = 64 << 10
	tries     = 5
	// Any answer comes at once; the limit only keeps a lost one from hanging us.
	timeoutSeconds = 2
)

// Conn is a netlink socket. It stays in the network namespace in which it was
// opened, whatever namespace the thread enters later. Its methods may be
// called from several goroutines.
type Conn struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte
}

// Open opens a socket of a family such as unix.NETLINK_ROUTE.
func Open(family int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	c := &Conn{fd: fd, buf: make([]byte, bufferLen)}
	tv := unix.NsecToTimeval(timeoutSeconds * 1e9)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		c.Close()
		return nil, fmt.Errorf("limit netlink waiting: %w", err)
	}
	// Strict checking lets the kernel filter a dump of routes by table. A
	// kernel before 4.20 does not know it and sends more, which is filtered again.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return c, nil
}

// Close closes the socket.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	err := unix.Close(c.fd)
	c.fd = -1
	return err
}

// DeviceName is the name of the interface with that index in the namespace of
// the socket; "if7" when the kernel has none (any more); "" for 0.
func (c *Conn) DeviceName(index uint32) string {
	if index == 0 {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// An empty name cannot be too long.
	req, _ := unix.NewIfreq("")
	req.SetUint32(index)
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFNAME, req); err != nil {
		return fmt.Sprintf("if%d", index)
	}
	return req.Name()
}

// Get sends a request that has one answer and returns its body. What the
// kernel refuses comes back as a wrapped unix.Errno.
func (c *Conn) Get(typ uint16, body []byte) ([]byte, error) {
	var answer []byte
	_, err := c.exchange(typ, 0, body, func(b []byte) { answer = append([]byte(nil), b...) })
	return answer, err
}

// GetConfirmed is Get for a family whose answer claims to be the part of a list that
// never ends, as that of connection tracking does (NLM_F_MULTI in
// ctnetlink_fill_info): the kernel is asked to say when it is done.
func (c *Conn) GetConfirmed(typ uint16, body []byte) ([]byte, error) {
	var answer []byte
	_, err := c.exchange(typ, flagAck, body, func(b []byte) { answer = append([]byte(nil), b...) })
	return answer, err
}

// Dump sends a request for a list. parse turns the body of an answer into an
// entry or skips it; it must not keep the bytes. A list that changed under the
// kernel's hands is asked for again; if that does not help, what came last is
// returned with ErrInterrupted.
func Dump[T any](c *Conn, typ uint16, body []byte, parse func([]byte) (T, bool)) ([]T, error) {
	var list []T
	for range tries {
		list = list[:0]
		interrupted, err := c.exchange(typ, flagDump, body, func(b []byte) {
			if e, ok := parse(b); ok {
				list = append(list, e)
			}
		})
		if err != nil {
			return nil, err
		}
		if !interrupted {
			return list, nil
		}
	}
	return list, ErrInterrupted
}

// exchange sends one request and hands over the body of every answer.
func (c *Conn) exchange(typ, flags uint16, body []byte, each func([]byte)) (interrupted bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	req := make([]byte, headerLen, headerLen+len(body))
	binary.NativeEndian.PutUint32(req, uint32(headerLen+len(body)))
	binary.NativeEndian.PutUint16(req[4:], typ)
	binary.NativeEndian.PutUint16(req[6:], flagRequest|flags)
	binary.NativeEndian.PutUint32(req[8:], c.seq)
	if err := unix.Sendto(c.fd, append(req, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, fmt.Errorf("send netlink request: %w", err)
	}
	for {
		b, err := c.receive()
		if err != nil {
			return interrupted, err
		}
		for len(b) > 0 {
			var m Message
			if m, b, err = Next(b); err != nil {
				return interrupted, err
			}
			if m.Seq != c.seq { // the rest of an answer that was given up
				continue
			}
			interrupted = interrupted || m.Flags&flagInterrupted != 0
			switch m.Type {
			case typeError, typeDone:
				if e := m.errno(); e != 0 {
					return interrupted, fmt.Errorf("netlink answer: %w", unix.Errno(e))
				}
				return interrupted, nil
			}
			each(m.Body)
			if m.Flags&flagMulti == 0 {
				return interrupted, nil
			}
		}
	}
}

func (c *Conn) receive() ([]byte, error) {
	for {
		n, _, flags, from, err := unix.Recvmsg(c.fd, c.buf, nil, 0)
		if err == unix.EINTR {
			// The Go runtime's own signals end a recvmsg that has a time
			// limit, in spite of SA_RESTART; see signal(7).
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive netlink answer: %w", err)
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // not from the kernel
		}
		if flags&unix.MSG_TRUNC != 0 {
			return nil, fmt.Errorf("receive netlink answer: cut off at %d bytes: %w", n, ErrMalformed)
		}
		return c.buf[:n], nil
	}
}
