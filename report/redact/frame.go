package redact

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Numbers of the protocols in a frame: IEEE 802 and IANA.
const (
	ethernet  = 14 // bytes of its header
	typeIPv4  = 0x0800
	typeIPv6  = 0x86dd
	typeVLAN  = 0x8100
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
	protoV6   = 58
)

// Frame returns a copy of the headers of an Ethernet frame in which each IP address is
// what to says, those that an ICMP error quotes, too. Hardware addresses, options that
// may hold addresses, and everything behind the headers become zeros; checksums are
// corrected by what changed, so a right one stays right and a wrong one wrong. The
// length stays. It returns nil for a frame that it does not know in full: what cannot
// be read cannot be redacted.
func Frame(b []byte, to func(netip.Addr) netip.Addr) []byte {
	if len(b) < ethernet {
		return nil
	}
	out := slices.Clone(b)
	clear(out[:12])
	kind, at := binary.BigEndian.Uint16(out[12:]), ethernet
	if kind == typeVLAN && len(out) >= at+4 {
		kind, at = binary.BigEndian.Uint16(out[16:]), at+4
	}
	ok := false
	switch kind {
	case typeIPv4:
		ok = ipv4(out[at:], to, false)
	case typeIPv6:
		ok = ipv6(out[at:], to, false)
	}
	if !ok {
		return nil
	}
	return out
}

// change is by how much the one's complement sum of 16-bit words grew (RFC 1624).
type change uint32

// words adds what became of some bytes, which begin at an even place.
func (c *change) words(was, is []byte) {
	*c += change(fold(^uint32(fold(sum(was)))&0xffff)) + change(sum(is))
	*c = change(fold(uint32(*c)))
}

// clear makes zeros of bytes.
func (c *change) clear(b []byte) {
	was := slices.Clone(b)
	clear(b)
	c.words(was, b)
}

// apply corrects a checksum.
func (c change) apply(check []byte) {
	n := uint32(^binary.BigEndian.Uint16(check)) + uint32(c)
	binary.BigEndian.PutUint16(check, ^fold(n))
}

func sum(b []byte) uint32 {
	var n uint32
	for i := 0; i < len(b); i += 2 {
		n += uint32(b[i]) << 8
		if i+1 < len(b) {
			n += uint32(b[i+1])
		}
	}
	return n
}

func fold(n uint32) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}

// ipv4 rewrites an IPv4 packet in place; quoted says that an ICMP error quotes it, and
// that it may end early.
func ipv4(b []byte, to func(netip.Addr) netip.Addr, quoted bool) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	n := int(b[0]&15) * 4
	if n < 20 || n > len(b) {
		return false
	}
	was := slices.Clone(b[12:20])
	for _, at := range []int{12, 16} {
		a := to(netip.AddrFrom4([4]byte(b[at:]))).As4()
		copy(b[at:], a[:])
	}
	// Record route, source route and timestamp hold addresses (RFC 791 section 3.1).
	for i := 20; i < n; i++ {
		b[i] = 1 // no operation
	}
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(b[:n])))
	var c change
	c.words(was, b[12:20])
	if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 { // a later fragment has no header of its own
		clear(b[n:])
		return true
	}
	return transport(b[9], b[n:], c, to, quoted)
}

// ipv6 is ipv4 for IPv6 and its extension headers (RFC 8200 section 4).
func ipv6(b []byte, to func(netip.Addr) netip.Addr, quoted bool) bool {
	if len(b) < 40 || b[0]>>4 != 6 {
		return false
	}
	was := slices.Clone(b[8:40])
	for _, at := range []int{8, 24} {
		a := to(netip.AddrFrom16([16]byte(b[at:])))
		if !a.Is6() {
			return false
		}
		to16 := a.As16()
		copy(b[at:], to16[:])
	}
	var c change
	c.words(was, b[8:40])
	next, rest := b[6], b[40:]
	for range 8 {
		switch next {
		case 0, 60: // hop-by-hop, destination options: a home address may be in there
			if len(rest) < 8 || len(rest) < 8+int(rest[1])*8 {
				return false
			}
			n := 8 + int(rest[1])*8
			next = rest[0]
			clear(rest[2:n]) // Pad1
			rest = rest[n:]
		case 44:
			if len(rest) < 8 {
				return false
			}
			later := binary.BigEndian.Uint16(rest[2:])&^7 != 0
			next, rest = rest[0], rest[8:]
			if later {
				clear(rest)
				return true
			}
		case 59:
			clear(rest)
			return true
		default: // of a routing header (43) nothing is known here
			return transport(next, rest, c, to, quoted)
		}
	}
	return false
}

// transport corrects the checksum and clears what is no header.
func transport(proto byte, b []byte, c change, to func(netip.Addr) netip.Addr, quoted bool) bool {
	switch proto {
	case protoTCP:
		if len(b) < 20 {
			return cutShort(b, quoted)
		}
		n := int(b[12]>>4) * 4
		if n < 20 || n > len(b) {
			if !quoted {
				return false
			}
			n = 20
		}
		options(b[20:n], &c)
		c.clear(b[n:])
		c.apply(b[16:18])
		return true
	case protoUDP:
		if len(b) < 8 {
			return cutShort(b, quoted)
		}
		c.clear(b[8:])
		if b[6] != 0 || b[7] != 0 { // 0: there is none
			c.apply(b[6:8])
		}
		return true
	case protoICMP, protoV6:
		if len(b) < 8 {
			return cutShort(b, quoted)
		}
		if proto == protoICMP {
			c = 0 // it has no pseudo-header
		}
		return icmp(proto, b, c, to, quoted)
	}
	return false
}

// cutShort keeps of a quoted packet that ends within its header the ports.
func cutShort(b []byte, quoted bool) bool {
	if !quoted {
		return false
	}
	clear(b[min(len(b), 8):])
	return true
}

// options clears those of TCP that may hold addresses or keys: MPTCP's, MD5, TCP-AO and
// the cookie of Fast Open. The others stay as they are.
func options(b []byte, c *change) {
	was := slices.Clone(b)
	for i := 0; i < len(b); {
		switch kind := b[i]; {
		case kind == 0:
			clear(b[i:])
			i = len(b)
		case kind == 1:
			i++
		case i+1 >= len(b) || b[i+1] < 2 || i+int(b[i+1]) > len(b):
			for ; i < len(b); i++ {
				b[i] = 1
			}
		default:
			n := int(b[i+1])
			if !slices.Contains([]byte{2, 3, 4, 5, 8}, kind) { // size, scale, SACK, timestamps
				for k := i; k < i+n; k++ {
					b[k] = 1
				}
			}
			i += n
		}
	}
	c.words(was, b)
}

// icmp rewrites an ICMP message, and the packet that an error quotes (RFC 792, RFC 4443).
func icmp(proto byte, b []byte, c change, to func(netip.Addr) netip.Addr, quoted bool) bool {
	was := slices.Clone(b[4:])
	isError := proto == protoICMP && slices.Contains([]byte{3, 4, 5, 11, 12}, b[0]) || proto == protoV6 && b[0] < 128
	switch {
	case !isError || quoted:
		clear(b[8:])
		if proto == protoV6 && b[0] >= 133 || proto == protoICMP && b[0] != 0 && b[0] != 8 { // not an echo
			clear(b[4:])
		}
	case proto == protoICMP && b[0] == 5: // a redirect names a gateway
		copy(b[4:8], []byte{0, 0, 0, 0})
		fallthrough
	case proto == protoICMP:
		if !ipv4(b[8:], to, true) {
			clear(b[8:])
		}
	default:
		if !ipv6(b[8:], to, true) {
			clear(b[8:])
		}
	}
	c.words(was, b[4:])
	c.apply(b[2:4])
	return true
}
