package xt

import (
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// outside is what a condition finds that asks for what is not known of a packet
// from another machine.
var outside = netfilter.Effect{Why: "it comes from another machine"}

// iprange is struct xt_iprange_mtinfo.
func iprange(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	flags := d.u8(64)
	for i, name := range [...]string{"--src-range", "--dst-range"} {
		if flags>>i&1 == 1 {
			w.option(flags>>(i+4)&1 == 1, name, d.addr(32*i).String()+"-"+d.addr(32*i+16).String())
		}
	}
	return func(s *netfilter.State) netfilter.Effect {
		if s.Outside {
			return outside
		}
		for i, a := range [...]netip.Addr{s.From.Addr(), s.To.Addr()} {
			if flags>>i&1 == 0 {
				continue
			}
			in := a.Compare(d.addr(32*i)) >= 0 && a.Compare(d.addr(32*i+16)) <= 0
			if in == (flags>>(i+4)&1 == 1) {
				return netfilter.Break
			}
		}
		return netfilter.Continue
	}
}

// Kinds of addresses (XT_ADDRTYPE_*, linux/netfilter/xt_addrtype.h).
const (
	typeUnspec      = 1 << 0
	typeUnicast     = 1 << 1
	typeLocal       = 1 << 2
	typeBroadcast   = 1 << 3
	typeAnycast     = 1 << 4
	typeMulticast   = 1 << 5
	typeUnreachable = 1 << 7
)

func typeNames(types uint16) string {
	return bits(uint32(types), "", "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST",
		"BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")
}

// addrtype0 is struct xt_addrtype_info, of IPv4 alone.
func addrtype0(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	if d.family != netfilter.IPv4 {
		return nil
	}
	var flags uint32
	for i := range 2 {
		if d.u32(4+4*i) != 0 {
			flags |= 1 << i
		}
	}
	return addrtype(d, w, flags)
}

// addrtype1 is struct xt_addrtype_info_v1.
func addrtype1(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	return addrtype(d, w, d.u32(4))
}

func addrtype(d data, w *phrase, flags uint32) func(*netfilter.State) netfilter.Effect {
	types := [2]uint16{d.u16(0), d.u16(2)}
	for i, name := range [...]string{"--src-type", "--dst-type"} {
		if types[i] != 0 {
			w.option(flags>>i&1 == 1, name, typeNames(types[i]))
		}
	}
	const limitIn, limitOut = 4, 8
	if flags&limitIn != 0 {
		w.add("--limit-iface-in")
	}
	if flags&limitOut != 0 {
		w.add("--limit-iface-out")
	}
	return func(s *netfilter.State) netfilter.Effect {
		device := ""
		if flags&limitIn != 0 {
			device = s.In
		} else if flags&limitOut != 0 {
			device = s.Out
		}
		e := netfilter.Continue
		for i, a := range [...]netip.Addr{s.From.Addr(), s.To.Addr()} {
			if types[i] != 0 {
				e = all(e, unless(flags>>i&1 == 1, typeIs(s, a, types[i], device)))
			}
		}
		return e
	}
}

// typeIs tells whether an address is of one of the types. IPv4 asks the routing
// table for its one type; IPv6 first looks at the address itself, where ::1 is
// unicast, too (match_type6, net/netfilter/xt_addrtype.c).
func typeIs(s *netfilter.State, a netip.Addr, types uint16, device string) netfilter.Effect {
	if s.Outside { // of To it is known that it is one of this machine
		if a == s.To.Addr() && device == "" {
			return effect(types&typeLocal != 0)
		}
		return outside
	}
	perhaps := netfilter.Perhaps("the type of " + a.String() + " is not known")
	if a.Is6() {
		switch {
		case types&typeMulticast != 0 && !a.IsMulticast(),
			types&typeUnicast != 0 && (a.IsMulticast() || a.IsUnspecified()),
			types&typeUnspec != 0 && !a.IsUnspecified():
			return netfilter.Break
		case types&(typeLocal|typeAnycast|typeUnreachable) == 0:
			return netfilter.Continue
		case !isLocal(s, a) || device != "" && !a.IsLoopback():
			return perhaps
		}
		return effect(types&typeLocal != 0)
	}
	switch {
	case a.IsMulticast():
		return effect(types&typeMulticast != 0)
	case a.IsUnspecified():
		return effect(types&typeBroadcast != 0)
	case a.IsLoopback() && (device == "" || device == "lo"):
		return effect(types&typeLocal != 0)
	case isLocal(s, a) && device == "":
		return effect(types&typeLocal != 0)
	case types&(typeLocal|typeUnicast) == typeLocal|typeUnicast && device != "" && isLocal(s, a):
		return netfilter.Continue // of this device or of another
	}
	return perhaps
}

// isLocal tells whether an address certainly is one of this machine: a packet
// that goes over lo began with two of them.
func isLocal(s *netfilter.State, a netip.Addr) bool {
	return a.IsLoopback() || a == s.Original[0].Addr() || a == s.Original[1].Addr()
}
