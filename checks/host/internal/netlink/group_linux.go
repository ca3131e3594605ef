package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ErrOverrun says that messages of a group were lost, for they were not read fast
// enough.
var ErrOverrun = errors.New("netlink messages were lost")

// Batch sends several messages at once, as nfnetlink wants them: a first and a last
// one that are not acknowledged, and between them those that are. It returns the
// first thing that the kernel refuses, as a wrapped unix.Errno.
func (c *Conn) Batch(list []Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b []byte
	first := c.seq + 1
	for i, m := range list {
		c.seq++
		flags := m.Flags | flagRequest
		if i > 0 && i < len(list)-1 {
			flags |= flagAck
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(headerLen+len(m.Body)))
		b = binary.NativeEndian.AppendUint16(b, m.Type)
		b = binary.NativeEndian.AppendUint16(b, flags)
		b = binary.NativeEndian.AppendUint32(b, c.seq)
		b = append(append(b, 0, 0, 0, 0), m.Body...)
		b = append(b, make([]byte, align(len(b))-len(b))...)
	}
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send netlink batch: %w", err)
	}
	for left := len(list) - 2; left > 0; {
		b, err := c.receive()
		if err != nil {
			return err
		}
		for len(b) > 0 {
			var m Message
			if m, b, err = Next(b); err != nil {
				return err
			}
			if m.Type != typeError || m.Seq-first >= uint32(len(list)) {
				continue
			}
			if e := m.errno(); e != 0 {
				return fmt.Errorf("netlink answer: %w", unix.Errno(e))
			}
			left--
		}
	}
	return nil
}

// Join lets the socket hear a multicast group, with room for so many bytes of
// messages. It is then of no use for questions.
func (c *Conn) Join(group, room int) error {
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room); err != nil {
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room)
	}
	// Without a port of its own a socket is taken for the kernel's, and hears nothing.
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind netlink socket: %w", err)
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
		return fmt.Errorf("join netlink group: %w", err)
	}
	return nil
}

// Heard hands over the messages of the group that are there, on the thread that
// calls. If there are none it waits for the first, for at most so long. It returns
// whether there were any, and ErrOverrun if some were lost.
func (c *Conn) Heard(wait time.Duration, each func(Message)) (any bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := time.Now().Add(wait)
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			return any, ErrOverrun
		case err == unix.EAGAIN:
			left := time.Until(end)
			if any || left <= 0 {
				return any, nil
			}
			fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond)); err != nil && err != unix.EINTR {
				return any, fmt.Errorf("wait for netlink messages: %w", err)
			}
			continue
		case err != nil:
			return any, fmt.Errorf("receive netlink message: %w", err)
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // not from the kernel
		}
		for b := c.buf[:n]; len(b) > 0; {
			var m Message
			if m, b, err = Next(b); err != nil {
				return any, err
			}
			any = true
			each(m)
		}
	}
}
