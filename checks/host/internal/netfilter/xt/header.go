package xt

import (
	"fmt"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// The inverted parts (IPT_INV_*, IP6T_INV_*).
const (
	invIn       = 0x01
	invOut      = 0x02
	invSource   = 0x08
	invDest     = 0x10
	invFragment = 0x20
	invProto    = 0x40
)

// header is the part of a rule that needs no match: addresses, devices, protocol.
// It is not taken apart: of ten thousand rules most are left behind here.
type header struct{ *entry }

func (h header) not(flag uint8) bool { return h.raw[h.invflags]&flag != 0 }

// isFragment tells whether it asks for fragments behind the first.
func (h header) isFragment() bool { return h.raw[h.flags]&h.fragment != 0 }

// protocol is the number asked for; any tells that none is.
func (h header) protocol() (proto uint16, any bool) {
	proto = data{info: h.raw}.u16(h.proto)
	if h.family == netfilter.IPv6 {
		return proto, h.raw[h.flags]&1 == 0 // IP6T_F_PROTO
	}
	return proto, proto == 0
}

// place is an address (0 the source, 1 the destination) and its mask.
func (h header) place(i int) (addr, mask []byte) {
	n := h.address
	return h.raw[i*n:][:n], h.raw[(2+i)*n:][:n]
}

// device is the name of a device (0 where it comes in, 1 where it goes out) and
// its mask: 0xff for every byte that counts. The closing NUL does, unless the name
// is a prefix.
func (h header) device(i int) (name, mask []byte) {
	at := 4*h.address + 16*i
	return h.raw[at:][:16], h.raw[at+32:][:16]
}

func sameBelow(a, b, mask []byte) bool {
	for i := range mask {
		if (a[i]^b[i])&mask[i] != 0 {
			return false
		}
	}
	return true
}

func isAddr(a netip.Addr, want, mask []byte) bool {
	switch {
	case len(want) == 4 && a.Is4():
		b := a.As4()
		return sameBelow(b[:], want, mask)
	case len(want) == 16 && a.Is6():
		b := a.As16()
		return sameBelow(b[:], want, mask)
	}
	return false
}

func isDevice(name string, want, mask []byte) bool {
	var b [16]byte
	copy(b[:15], name)
	return sameBelow(b[:], want, mask)
}

// Eval follows ip_packet_match and ip6_packet_match. A SYN is never a fragment.
func (h header) Eval(s *netfilter.State) netfilter.Effect {
	if proto, any := h.protocol(); !any && (proto == 6) == h.not(invProto) || h.isFragment() && !h.not(invFragment) {
		return netfilter.Break
	}
	if s.Outside {
		return h.fromOutside(s)
	}
	for i, a := range [...]netip.Addr{s.From.Addr(), s.To.Addr()} {
		want, mask := h.place(i)
		if isAddr(a, want, mask) == h.not([...]uint8{invSource, invDest}[i]) {
			return netfilter.Break
		}
	}
	for i, name := range [...]string{s.In, s.Out} {
		want, mask := h.device(i)
		if isDevice(name, want, mask) == h.not([...]uint8{invIn, invOut}[i]) {
			return netfilter.Break
		}
	}
	return netfilter.Continue
}

// fromOutside judges a packet of which neither the device nor an address is known,
// but that it does not come from lo.
func (h header) fromOutside(s *netfilter.State) netfilter.Effect {
	e := netfilter.Continue
	for i := range 2 {
		_, mask := h.place(i)
		if printMask(mask) != "0" || h.not([...]uint8{invSource, invDest}[i]) {
			e = all(e, outside)
		}
	}
	name, mask := h.device(0)
	in := deviceOf(name, mask)
	switch {
	case in == "lo":
		e = all(e, effect(h.not(invIn)))
	case in != "" || h.not(invIn):
		e = all(e, outside)
	}
	name, mask = h.device(1)
	return all(e, effect(isDevice(s.Out, name, mask) != h.not(invOut)))
}

// deviceOf prints a name and its mask: one that ends in + is a prefix, and an
// empty one is any device.
func deviceOf(name, mask []byte) string {
	n := 0
	for n < len(mask) && mask[n] != 0 {
		n++
	}
	text := data{info: name}.str(0, n)
	if n > 0 && len(text) == n && n < len(mask) {
		text += "+"
	}
	return text
}

// print adds the options, in the order of iptables -S.
func (h header) print(w *phrase) {
	for i, option := range [...]string{"-s", "-d"} {
		addr, mask := h.place(i)
		a, _ := netip.AddrFromSlice(addr)
		bits, not := printMask(mask), h.not([...]uint8{invSource, invDest}[i])
		if bits != "0" || !a.IsUnspecified() || not {
			w.option(not, option, a.String()+"/"+bits)
		}
	}
	for i, option := range [...]string{"-i", "-o"} {
		name, mask := h.device(i)
		if text, not := deviceOf(name, mask), h.not([...]uint8{invIn, invOut}[i]); text != "" || not {
			w.option(not, option, text)
		}
	}
	if proto, any := h.protocol(); !any {
		w.option(h.not(invProto), "-p", protoName(proto))
	}
	if h.isFragment() {
		w.option(h.not(invFragment), "-f")
	}
}

// protoName is the name that iptables prints without a file: xtables_chain_protos.
func protoName(proto uint16) string {
	switch proto {
	case 0:
		return "all"
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 50:
		return "esp"
	case 51:
		return "ah"
	case 58:
		return "ipv6-icmp"
	case 132:
		return "sctp"
	case 135:
		return "ipv6-mh"
	case 136:
		return "udplite"
	}
	return fmt.Sprint(proto)
}
