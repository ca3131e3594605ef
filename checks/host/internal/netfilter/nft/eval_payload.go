package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// The headers of one packet of a handshake, and which of their bits can be
// foreseen: not those that the kernel draws (sequence numbers, identification), nor
// those that sysctls and routes decide (time to live, window, lengths, ECN).
type header struct {
	value, mask [ip6Len]byte
	size        int
}

func (h *header) put(at int, mask byte, bytes ...byte) {
	for i, b := range bytes {
		h.value[at+i], h.mask[at+i] = b&mask, mask
	}
}

func (h *header) port(at int, port uint16) {
	if port != 0 {
		h.put(at, 0xff, byte(port>>8), byte(port))
	}
}

const (
	ip4Len      = 20
	ip6Len      = 40
	tcpLen      = 20
	etherLen    = 14
	flagSYN     = 0x02
	flagPSH     = 0x08
	flagACK     = 0x10
	flagsAlways = 0x3f // ECE and CWR depend on net.ipv4.tcp_ecn
)

// link is the Ethernet header that lo has: addresses of zeroes.
func link(s *netfilter.State) header {
	h := header{size: etherLen}
	h.put(0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	h.put(12, 0xff, etherType(s)...)
	return h
}

func network(s *netfilter.State) header {
	if s.Family == netfilter.IPv6 {
		h := header{size: ip6Len}
		h.put(0, 0xf0, 0x60)
		if !s.TOSUnknown { // the flow label behind it is drawn (net.ipv6.auto_flowlabels)
			h.put(0, 0xff, 0x60|s.TOS>>4)
			h.put(1, 0xf0, s.TOS<<4)
		}
		h.put(6, 0xff, tcp)
		h.addr(s, 8, s.From.Addr())
		h.addr(s, 24, s.To.Addr())
		return h
	}
	h := header{size: ip4Len}
	h.put(0, 0xff, 0x45)
	if !s.TOSUnknown {
		h.put(1, 0xff, s.TOS)
	}
	h.put(6, 0xbf, 0) // no fragment; DF depends on net.ipv4.ip_no_pmtu_disc
	h.put(7, 0xff, 0)
	h.put(9, 0xff, tcp)
	h.addr(s, 12, s.From.Addr())
	h.addr(s, 16, s.To.Addr())
	return h
}

func (h *header) addr(s *netfilter.State, at int, a netip.Addr) {
	switch {
	case s.Outside || !a.IsValid():
	case a.Is4():
		b := a.As4()
		h.put(at, 0xff, b[:]...)
	default:
		b := a.As16()
		h.put(at, 0xff, b[:]...)
	}
}

func transport(s *netfilter.State) header {
	h := header{size: tcpLen}
	h.port(0, s.From.Port())
	h.port(2, s.To.Port())
	flags := byte(flagSYN)
	switch s.Kind {
	case facts.Syn:
		h.put(8, 0xff, 0, 0, 0, 0) // acknowledges nothing
	case facts.SynAck:
		flags = flagSYN | flagACK
	case facts.Ack:
		flags = flagACK
	}
	h.put(12, 0x0e, 0) // reserved; the length and AE (accurate ECN) are not known
	h.put(13, flagsAlways, flags)
	if s.Carries { // PSH is in the last packet of what was written at once
		h.put(13, flagsAlways&^flagPSH, flags)
	}
	h.put(18, 0xff, 0, 0) // not urgent
	return h
}

// hasLink tells whether the hook sees a link header: from the device on.
func hasLink(h netfilter.Hook) bool { return h != netfilter.Output && h != netfilter.Postrouting }

// Eval is nft_payload_eval and nft_payload_set_eval.
func (e *Payload) Eval(s *netfilter.State) netfilter.Effect {
	if e.Set {
		return e.write(s)
	}
	var h header
	switch e.Base {
	case 0:
		if !hasLink(s.Hook) {
			return netfilter.Break
		}
		if s.Outside {
			return e.unknown(s, "the link header")
		}
		h = link(s)
	case 1:
		h = network(s)
	case 2:
		h = transport(s)
	case 3:
		if s.Carries {
			return e.unknown(s, "what the packet carries")
		}
		return netfilter.Break // no packet of a handshake has data
	default:
		return e.unknown(s, "an unknown header")
	}
	if e.Len == 0 || e.Len > maxValue {
		return whatever
	}
	from, to := uint64(e.Offset), uint64(e.Offset)+uint64(e.Len)
	if to > uint64(h.size) {
		// Options, the next header or nothing.
		return e.unknown(s, "bytes behind the header")
	}
	s.Registers.SetMasked(e.Reg, h.value[from:to], h.mask[from:to])
	if !allKnown(h.mask[from:to]) {
		s.Cause = e.field(s)
	}
	return netfilter.Continue
}

func (e *Payload) unknown(s *netfilter.State, cause string) netfilter.Effect {
	unknown(s, e.Reg, int(min(e.Len, maxValue)), cause)
	if cause == "bytes behind the header" {
		return netfilter.Perhaps(cause) // where there are none the rule ends
	}
	return netfilter.Continue
}

// field names a field that cannot be foreseen.
func (e *Payload) field(s *netfilter.State) string {
	names := map[[2]uint32]string{
		{1, 1}: "ip dscp", {1, 2}: "ip length", {1, 4}: "ip id", {1, 6}: "ip frag-off", {1, 8}: "ip ttl", {1, 10}: "ip checksum",
		{1, 12}: "ip saddr", {1, 16}: "ip daddr",
		{2, 0}: "tcp sport", {2, 2}: "tcp dport", {2, 4}: "tcp sequence", {2, 8}: "tcp ackseq", {2, 12}: "tcp doff", {2, 13}: "tcp flags",
		{2, 14}: "tcp window", {2, 16}: "tcp checksum",
	}
	if s.Family == netfilter.IPv6 && e.Base == 1 {
		names = map[[2]uint32]string{{1, 0}: "ip6 dscp", {1, 1}: "ip6 flowlabel", {1, 4}: "ip6 length", {1, 7}: "ip6 hoplimit",
			{1, 8}: "ip6 saddr", {1, 24}: "ip6 daddr"}
	}
	if name := names[[2]uint32{e.Base, e.Offset}]; name != "" {
		return name
	}
	return "a field of the header"
}

// write changes the packet. Addresses and ports are followed; of what else it
// writes nothing is asked later that could be known.
func (e *Payload) write(s *netfilter.State) netfilter.Effect {
	n := int(e.Len)
	value, mask := s.Registers.View(e.Reg, n)
	if value == nil {
		return whatever
	}
	var h header
	switch e.Base {
	case 1:
		h = network(s)
	case 2:
		h = transport(s)
	default:
		return netfilter.Continue
	}
	if uint64(e.Offset)+uint64(n) > uint64(h.size) {
		return netfilter.Perhaps("writes behind the header")
	}
	at := int(e.Offset)
	before := h
	copy(h.value[at:], value)
	copy(h.mask[at:], mask)
	from, to, size, tos, tosKnown := 12, 16, 4, h.value[1], h.mask[1] == 0xff
	if s.Family == netfilter.IPv6 {
		from, to, size, tos, tosKnown = 8, 24, 16, h.value[0]<<4|h.value[1]>>4, h.mask[0] == 0xff && h.mask[1]>>4 == 0xf
	}
	if e.Base == 1 {
		s.TOS, s.TOSUnknown = tos, !tosKnown
	} else {
		from, to, size = 0, 2, 2
	}
	for i, end := range []*netip.AddrPort{&s.From, &s.To} {
		o := []int{from, to}[i]
		if string(h.value[o:o+size]) == string(before.value[o:o+size]) && string(h.mask[o:o+size]) == string(before.mask[o:o+size]) {
			continue
		}
		if !allKnown(h.mask[o : o+size]) {
			return netfilter.Perhaps("rewrites an address or a port")
		}
		if e.Base == 2 {
			*end = netip.AddrPortFrom(end.Addr(), binary.BigEndian.Uint16(h.value[o:]))
		} else if a, ok := netip.AddrFromSlice(h.value[o : o+size]); ok {
			*end = netip.AddrPortFrom(a, end.Port())
		}
	}
	return netfilter.Continue
}
