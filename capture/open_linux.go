package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// receiveBuffer is how many bytes of frames may wait in the kernel, its own
// bookkeeping counted (about 800 bytes a frame).
const receiveBuffer = 2 << 20

func init() { Open = open }

// open is in the order that leaves no moment without a filter: a packet socket
// made for protocol 0 receives nothing until it is bound (packet(7)).
func open(ifindex int, port uint16) (*Capture, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	s := &packetSocket{fd: fd}
	if err := s.prepare(ifindex, port); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Capture{socket: s, ports: []uint16{port}}, nil
}

type packetSocket struct {
	fd      int
	data    [SnapLen]byte
	control [256]byte
}

func (s *packetSocket) prepare(ifindex int, port uint16) error {
	// First, because the kernel needs a moment to follow; see settle.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for packet times: %w", err)
	}
	if err := s.watch([]uint16{port}); err != nil {
		return fmt.Errorf("attach packet filter: %w", err)
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return fmt.Errorf("ask for packet lengths: %w", err)
	}
	// Beyond net.core.rmem_max needs CAP_NET_ADMIN; a smaller buffer only means
	// that a busy port loses frames sooner, which is counted.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)) // htons
	if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
		return fmt.Errorf("bind packet socket to interface %d: %w", ifindex, err)
	}
	return nil
}

func (s *packetSocket) watch(ports []uint16) error {
	raw, err := bpf.Assemble(filter(ports))
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
}

func (s *packetSocket) next() (Frame, error) {
	for {
		n, oobn, _, from, err := unix.Recvmsg(s.fd, s.data[:], s.control[:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return Frame{}, errNone
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENETDOWN):
			// Said once when the interface is or goes down. Frames from before
			// are still in the queue, and it goes on when the interface is up.
			continue
		case err != nil:
			return Frame{}, err
		}
		f := Frame{Length: n, Data: bytes.Clone(s.data[:n])}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			f.Out = ll.Pkttype == unix.PACKET_OUTGOING
		}
		messages, err := unix.ParseSocketControlMessage(s.control[:oobn])
		if err != nil {
			return Frame{}, fmt.Errorf("parse control messages: %w", err)
		}
		for _, m := range messages {
			switch {
			case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS:
				var ts unix.Timespec
				if _, err := binary.Decode(m.Data, binary.NativeEndian, &ts); err == nil {
					f.At = time.Unix(ts.Unix())
				}
			case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA:
				var aux unix.TpacketAuxdata
				if _, err := binary.Decode(m.Data, binary.NativeEndian, &aux); err == nil {
					f.Length = int(aux.Len)
				}
			}
		}
		return f, nil
	}
}

func (s *packetSocket) overflowed() (uint32, error) {
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, err
	}
	return stats.Drops, nil // the kernel starts again at 0
}

func (s *packetSocket) close() error { return unix.Close(s.fd) }
