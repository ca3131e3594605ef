package capture

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket/layers"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// headers is what is kept of a frame for good: its headers, without what they
// say about somebody. Addresses and checksums are blank (the conversation has
// the addresses; a checksum tells of the payload), and so are the options that
// are not known to be harmless: a Fast Open cookie and an address of Multipath
// TCP are options as well. It is nil for what decode does not read, and for an
// ICMP error whose addresses are not those of the packet that it quotes: the
// conversation does not have these. headers(headers(f)) is headers(f).
func headers(frame []byte) []byte {
	o, ok := outlined(frame)
	if !ok {
		return nil
	}
	b := bytes.Clone(frame[:o.end])
	clear(b[:12]) // the addresses of Ethernet
	if o.quoted > 0 {
		src, dst := addresses(b[offIP:])
		if s, d := addresses(b[o.quoted:]); s != dst || d != src {
			return nil
		}
		o.blankIP(b, o.quoted, o.ports)
	}
	o.blankIP(b, offIP, o.transport)
	h := b[o.transport:]
	switch o.protocol {
	case layers.IPProtocolTCP:
		clear(h[16:18])
		blankOptions(h[20:])
	case layers.IPProtocolUDP:
		clear(h[6:8])
	default: // ICMP
		clear(h[2:4])
		if o.protocol == layers.IPProtocolICMPv4 && h[0] == layers.ICMPv4TypeRedirect {
			clear(h[4:8]) // an address
		}
	}
	return b
}

// outline says where the headers of a frame are, as offsets from its beginning.
type outline struct {
	v6        bool
	protocol  layers.IPProtocol
	transport int // the header of TCP, UDP or ICMP
	quoted    int // the IP header that an ICMP error quotes; 0: none
	ports     int // what follows that one
	end       int // of the last header, or of what was kept of it
}

func outlined(b []byte) (o outline, ok bool) {
	if len(b) < offIP {
		return o, false
	}
	switch layers.EthernetType(binary.BigEndian.Uint16(b[12:])) {
	case layers.EthernetTypeIPv4:
	case layers.EthernetTypeIPv6:
		o.v6 = true
	default:
		return o, false
	}
	n := 0
	if o.protocol, n, ok = o.ip(b[offIP:]); !ok {
		return o, false
	}
	o.transport = offIP + n
	rest := b[o.transport:]
	switch {
	case o.protocol == layers.IPProtocolTCP && len(rest) >= 20:
		o.end = min(len(b), o.transport+max(20, 4*int(rest[12]>>4)))
	case o.protocol == layers.IPProtocolUDP && len(rest) >= 8:
		o.end = o.transport + 8
	case o.protocol == layers.IPProtocolICMPv4 && !o.v6 && len(rest) >= 8 && quotes4(rest[0]),
		o.protocol == layers.IPProtocolICMPv6 && o.v6 && len(rest) >= 8 && rest[0] < 128:
		o.quoted = o.transport + 8
		_, n, ok := o.ip(b[o.quoted:])
		if o.ports = o.quoted + n; !ok || len(b) < o.ports+4 {
			return o, false
		}
		o.end = o.ports + 4
	default:
		return o, false
	}
	return o, true
}

// ip reads what follows the IP header at the beginning of b, and its length.
func (o *outline) ip(b []byte) (next layers.IPProtocol, length int, ok bool) {
	if o.v6 {
		if len(b) < 40 || b[0]>>4 != 6 {
			return 0, 0, false
		}
		return layers.IPProtocol(b[6]), 40, true
	}
	if len(b) < 20 || b[0]>>4 != 4 {
		return 0, 0, false
	}
	length = 4 * int(b[0]&0xf)
	if length < 20 || length > len(b) || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 { // a later fragment
		return 0, 0, false
	}
	return layers.IPProtocol(b[9]), length, true
}

// addresses reads those of an IP header.
func addresses(b []byte) (src, dst netip.Addr) {
	if b[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	}
	return netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
}

func (o *outline) blankIP(b []byte, from, to int) {
	h := b[from:to]
	if o.v6 {
		clear(h[8:40])
		return
	}
	clear(h[10:20]) // checksum and addresses
	for i := range h[20:] {
		h[20+i] = 1 // No Operation: most of the other ones hold addresses (RFC 791 section 3.1)
	}
}

// blankOptions keeps the TCP options that only say how to speak, and of the
// others the number and the length.
func blankOptions(b []byte) {
	for len(b) > 0 {
		switch b[0] {
		case 0: // the end; what follows is padding
			clear(b)
			return
		case 1:
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			clear(b) // no option that can be told
			return
		}
		if n := harmless[b[0]]; n != int(b[1]) && (n != variable || b[1]%8 != 2) {
			clear(b[2:b[1]])
		}
		b = b[b[1]:]
	}
}

const variable = -1

// harmless are the lengths of the options that stay: segment size, window scale,
// SACK permitted, SACK, time stamps (RFC 9293, RFC 2018, RFC 7323).
var harmless = [256]int{2: 4, 3: 3, 4: 2, 5: variable, 8: 10}

// filled puts the addresses back into the headers of a packet, and the checksum
// of IPv4, without which it would be told to be broken. Headers may come from a
// recording that somebody sent: they are stripped once more.
func filled(p facts.Packet, src, dst netip.Addr) (header []byte, ok bool) {
	b := headers(p.Header)
	o, ok := outlined(b)
	src, dst = src.Unmap(), dst.Unmap()
	if !ok || src.Is4() == o.v6 || dst.Is4() == o.v6 || !src.IsValid() || !dst.IsValid() {
		return nil, false
	}
	o.fillIP(b[offIP:o.transport], src, dst)
	if o.quoted > 0 { // what is quoted came from whom the error goes to
		o.fillIP(b[o.quoted:o.ports], dst, src)
	}
	return b, true
}

func (o *outline) fillIP(h []byte, src, dst netip.Addr) {
	if o.v6 {
		copy(h[8:24], src.AsSlice())
		copy(h[24:40], dst.AsSlice())
		return
	}
	copy(h[12:16], src.AsSlice())
	copy(h[16:20], dst.AsSlice())
	var sum uint32 // RFC 1071
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum))
}

// frameLength is how long the frame was of which only the headers are left.
func frameLength(header []byte, payload int) int {
	total := int(binary.BigEndian.Uint16(header[offIP+2:]))
	if header[offIP]>>4 == 6 {
		if total = int(binary.BigEndian.Uint16(header[offIP+4:])); total > 0 {
			total += 40
		}
	}
	if total == 0 { // more than 65,535 bytes (BIG TCP)
		return len(header) + min(max(payload, 0), 1<<30)
	}
	return max(offIP+total, len(header))
}
