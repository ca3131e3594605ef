// Package netlink speaks the framing that every netlink family shares: one
// request, its answers, their attributes (RFC 3549; linux/netlink.h). It
// knows no family: what the answers mean is the caller's. It refuses to listen to
// multicast groups that it was not told to join.
package netlink

import (
	"encoding/binary"
	"errors"
	"iter"
)

// What a header may say (linux/netlink.h).
const (
	typeError = 2 // NLMSG_ERROR
	typeDone  = 3 // NLMSG_DONE

	flagRequest     = 0x1   // NLM_F_REQUEST
	flagMulti       = 0x2   // NLM_F_MULTI
	flagAck         = 0x4   // NLM_F_ACK
	flagInterrupted = 0x10  // NLM_F_DUMP_INTR
	flagDump        = 0x300 // NLM_F_DUMP

	headerLen = 16
	typeMask  = 0x3fff // NLA_TYPE_MASK: without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// ErrMalformed says that bytes from the kernel do not add up to a message.
var ErrMalformed = errors.New("malformed netlink message")

// ErrInterrupted says that the kernel's tables kept changing while they were
// listed (NLM_F_DUMP_INTR), so that the list may lack or repeat entries.
var ErrInterrupted = errors.New("kernel tables changed while they were listed")

// Message is one netlink message.
type Message struct {
	Type  uint16
	Flags uint16
	Seq   uint32
	Body  []byte // what follows the header, without padding
}

// Next splits the first message off b. The body aliases b.
func Next(b []byte) (m Message, rest []byte, err error) {
	if len(b) < headerLen {
		return m, nil, ErrMalformed
	}
	n := int(binary.NativeEndian.Uint32(b))
	if n < headerLen || n > len(b) {
		return m, nil, ErrMalformed
	}
	m = Message{
		Type:  binary.NativeEndian.Uint16(b[4:]),
		Flags: binary.NativeEndian.Uint16(b[6:]),
		Seq:   binary.NativeEndian.Uint32(b[8:]),
		Body:  b[headerLen:n],
	}
	return m, b[min(align(n), len(b)):], nil
}

// errno is the error code that NLMSG_ERROR and NLMSG_DONE carry, positive; 0
// is success. A dump that fails half-way says so in its NLMSG_DONE.
func (m Message) errno() uint32 {
	return uint32(-int32(Uint32(m.Body)))
}

// Attributes walks over the attributes in b: type without its flags, value.
// It stops at the first one that does not fit.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(binary.NativeEndian.Uint16(b))
			if n < 4 || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&typeMask, b[4:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// Append adds an attribute to b, which must end on a multiple of four.
func Append(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

// Uint32 reads a number in the order of this machine, 0 when there is none.
func Uint32(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(v)
}

// String reads a text that ends at a zero byte or with the value.
func String(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}

func align(n int) int { return (n + 3) &^ 3 }
