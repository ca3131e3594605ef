package nft

import (
	"encoding/binary"
	"strings"
)

// maxAttr is the highest number of an attribute of an expression, set or element
// that is understood.
const maxAttr = 19

// attrs is the attributes of one message or nest, by their numbers.
type attrs struct {
	v    [maxAttr][]byte
	bad  bool // something is missing, repeated or of another length
	more bool // there are others, of a newer kernel
}

// parse reads the attributes, of which those up to last are understood (at most
// maxAttr-1). They alias b.
func (a *attrs) parse(b []byte, last int) {
	for len(b) > 0 {
		typ, v, rest, ok := next(b)
		switch {
		case !ok:
			a.bad = true
			return
		case typ > last:
			a.more = true
		case a.v[typ] != nil:
			a.bad = true
		default:
			a.v[typ] = v
		}
		b = rest
	}
}

// next splits the first attribute off (struct nlattr). A value is never nil.
func next(b []byte) (typ int, value, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < 4 || n > len(b) {
		return 0, nil, nil, false
	}
	// Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
	return int(binary.NativeEndian.Uint16(b[2:]) & 0x3fff), b[4:n:n], b[min((n+3)&^3, len(b)):], true
}

// has tells whether an attribute is there.
func (a *attrs) has(typ int) bool { return a.v[typ] != nil }

// u32 reads a number that must be there. nf_tables sends all in network order.
func (a *attrs) u32(typ int) uint32 {
	v := a.v[typ]
	if len(v) != 4 {
		a.bad = true
		return 0
	}
	return binary.BigEndian.Uint32(v)
}

// opt32 reads a number; 0 if it is not there.
func (a *attrs) opt32(typ int) uint32 {
	if a.v[typ] == nil {
		return 0
	}
	return a.u32(typ)
}

func (a *attrs) opt16(typ int) uint16 {
	switch v := a.v[typ]; len(v) {
	case 2:
		return binary.BigEndian.Uint16(v)
	default:
		a.bad = a.bad || v != nil
	}
	return 0
}

// opt8 reads a number of one byte.
func (a *attrs) opt8(typ int) uint32 {
	switch v := a.v[typ]; len(v) {
	case 1:
		return uint32(v[0])
	default:
		a.bad = a.bad || v != nil
	}
	return 0
}

func (a *attrs) opt64(typ int) uint64 {
	switch v := a.v[typ]; len(v) {
	case 8:
		return binary.BigEndian.Uint64(v)
	default:
		a.bad = a.bad || v != nil
	}
	return 0
}

// text reads a name; "" if it is not there.
func (a *attrs) text(typ int) string { return text(a.v[typ]) }

// value reads bytes (NFTA_DATA_VALUE) that must be there.
func (a *attrs) value(typ int) []byte {
	v, verdict := data(a.v[typ])
	if v == nil || verdict != nil {
		a.bad = true
	}
	return v
}

// optValue reads bytes; nil if they are not there.
func (a *attrs) optValue(typ int) []byte {
	if a.v[typ] == nil {
		return nil
	}
	return a.value(typ)
}

// data splits a struct nft_data: bytes, or the nest of a verdict.
func data(b []byte) (value, verdict []byte) {
	for len(b) > 0 {
		typ, v, rest, ok := next(b)
		if !ok {
			return nil, nil
		}
		switch typ {
		case 1: // NFTA_DATA_VALUE
			value = v
		case 2: // NFTA_DATA_VERDICT
			verdict = v
		}
		b = rest
	}
	return value, verdict
}

// text is a string that may end at a zero byte.
func text(b []byte) string {
	s := string(b)
	if i := strings.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}
