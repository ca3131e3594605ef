package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// segment is what is told about one frame.
type segment struct {
	network  string // "tcp", "udp"
	src, dst netip.AddrPort
	flags    string // of TCP, in tcpdump's letters
	syn, ack bool
	length   int    // payload bytes of the whole packet, not only of what was kept
	icmp     string // "3/3": an ICMP error; network, src, dst and flags are those of the packet it quotes
}

// decode reads an Ethernet frame of the given length of which data is the
// beginning. It is false for what is neither TCP or UDP with its ports nor an
// ICMP error that quotes one of them.
func decode(data []byte, length int) (segment, bool) {
	var eth layers.Ethernet
	if eth.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		return segment{}, false
	}
	var (
		p  ipPacket
		ok bool
	)
	switch eth.EthernetType {
	case layers.EthernetTypeIPv4:
		p, ok = decodeIPv4(eth.Payload, length-offIP)
	case layers.EthernetTypeIPv6:
		p, ok = decodeIPv6(eth.Payload)
	}
	if !ok {
		return segment{}, false
	}
	switch p.protocol {
	case layers.IPProtocolICMPv4:
		var icmp layers.ICMPv4
		if icmp.DecodeFromBytes(p.payload, gopacket.NilDecodeFeedback) != nil {
			return segment{}, false
		}
		quoted, ok := decodeIPv4(icmp.Payload, len(icmp.Payload))
		if !ok || !quotes4(icmp.TypeCode.Type()) {
			return segment{}, false
		}
		return quoted.quoted(icmp.TypeCode.Type(), icmp.TypeCode.Code())
	case layers.IPProtocolICMPv6:
		var icmp layers.ICMPv6
		// Four bytes of the error's own (RFC 4443 section 3) precede the quote.
		if icmp.DecodeFromBytes(p.payload, gopacket.NilDecodeFeedback) != nil || len(icmp.Payload) < 4 {
			return segment{}, false
		}
		quoted, ok := decodeIPv6(icmp.Payload[4:])
		if !ok || icmp.TypeCode.Type() >= 128 {
			return segment{}, false
		}
		return quoted.quoted(icmp.TypeCode.Type(), icmp.TypeCode.Code())
	}
	return p.segment()
}

// quotes4 tells the ICMP types that quote a packet (RFC 1122 section 3.2.2).
func quotes4(t uint8) bool {
	switch t {
	case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeSourceQuench, layers.ICMPv4TypeRedirect,
		layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
		return true
	}
	return false
}

// ipPacket is what both families have in common.
type ipPacket struct {
	protocol layers.IPProtocol
	src, dst netip.Addr
	payload  []byte // what was kept of it
	length   int    // payload bytes according to the IP header
}

// decodeIPv4 reads a packet of which data is the beginning; length is that of
// the whole and counts only where the header has no room for it.
func decodeIPv4(data []byte, length int) (ipPacket, bool) {
	var ip layers.IPv4
	err := ip.DecodeFromBytes(data, gopacket.NilDecodeFeedback)
	if err != nil || ip.Version != 4 || ip.FragOffset != 0 {
		return ipPacket{}, false
	}
	total := int(ip.Length)
	if binary.BigEndian.Uint16(data[2:]) == 0 { // more than 65,535 bytes (BIG TCP); gopacket puts what was kept
		total = length
	}
	return ipPacket{
		protocol: ip.Protocol,
		src:      netip.AddrFrom4([4]byte(ip.SrcIP)),
		dst:      netip.AddrFrom4([4]byte(ip.DstIP)),
		payload:  ip.Payload,
		length:   total - 4*int(ip.IHL),
	}, true
}

// decodeIPv6 reads a packet of which data is the beginning. Extension headers
// are not followed: the filter does not let such packets pass.
func decodeIPv6(data []byte) (ipPacket, bool) {
	var ip layers.IPv6
	err := ip.DecodeFromBytes(data, gopacket.NilDecodeFeedback)
	if err != nil || ip.Version != 6 || ip.HopByHop != nil {
		return ipPacket{}, false
	}
	return ipPacket{
		protocol: ip.NextHeader,
		src:      netip.AddrFrom16([16]byte(ip.SrcIP)),
		dst:      netip.AddrFrom16([16]byte(ip.DstIP)),
		payload:  ip.Payload,
		length:   int(ip.Length),
	}, true
}

// segment reads the header of TCP or UDP.
func (p *ipPacket) segment() (segment, bool) {
	switch p.protocol {
	case layers.IPProtocolTCP:
		var tcp layers.TCP
		// An error in the options leaves the header good.
		if err := tcp.DecodeFromBytes(p.payload, gopacket.NilDecodeFeedback); err != nil && len(p.payload) < 20 {
			return segment{}, false
		}
		return segment{
			network: "tcp",
			src:     netip.AddrPortFrom(p.src, uint16(tcp.SrcPort)),
			dst:     netip.AddrPortFrom(p.dst, uint16(tcp.DstPort)),
			flags:   letters(&tcp),
			syn:     tcp.SYN && !tcp.RST,
			ack:     tcp.ACK,
			length:  max(0, p.length-4*int(tcp.DataOffset)),
		}, true
	case layers.IPProtocolUDP:
		var udp layers.UDP
		if udp.DecodeFromBytes(p.payload, gopacket.NilDecodeFeedback) != nil {
			return segment{}, false
		}
		return segment{
			network: "udp",
			src:     netip.AddrPortFrom(p.src, uint16(udp.SrcPort)),
			dst:     netip.AddrPortFrom(p.dst, uint16(udp.DstPort)),
			length:  max(0, p.length-8),
		}, true
	}
	return segment{}, false
}

// quoted reads the packet as an ICMP error quotes it. Only the first 8 bytes
// behind the IP header are sure to be there (RFC 792): the ports, not the flags.
func (p *ipPacket) quoted(icmpType, icmpCode uint8) (segment, bool) {
	s, ok := p.segment()
	if !ok {
		if len(p.payload) < 4 {
			return segment{}, false
		}
		switch p.protocol {
		case layers.IPProtocolTCP:
			s.network = "tcp"
		case layers.IPProtocolUDP:
			s.network = "udp"
		default:
			return segment{}, false
		}
		s.src = netip.AddrPortFrom(p.src, binary.BigEndian.Uint16(p.payload))
		s.dst = netip.AddrPortFrom(p.dst, binary.BigEndian.Uint16(p.payload[2:]))
	}
	s.icmp = fmt.Sprintf("%d/%d", icmpType, icmpCode)
	return s, true
}

// letters gives the flags as tcpdump(8) prints them, in its order.
func letters(t *layers.TCP) string {
	var b strings.Builder
	for _, f := range []struct {
		set    bool
		letter byte
	}{
		{t.FIN, 'F'}, {t.SYN, 'S'}, {t.RST, 'R'}, {t.PSH, 'P'}, {t.ACK, '.'},
		{t.URG, 'U'}, {t.ECE, 'E'}, {t.CWR, 'W'}, {t.NS, 'e'},
	} {
		if f.set {
			b.WriteByte(f.letter)
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}
