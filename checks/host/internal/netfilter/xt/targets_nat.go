package xt

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// Flags of a translation (NF_NAT_RANGE_*, linux/netfilter/nf_nat.h).
const (
	natAddrs      = 1 << 0
	natPorts      = 1 << 1
	natRandom     = 1 << 2
	natPersistent = 1 << 3
	natFully      = 1 << 4
	natOffset     = 1 << 5
)

// natRange is what the structs of all NAT targets say.
type natRange struct {
	flags            uint32
	min, max         netip.Addr
	from, to, offset uint16
}

// natRangeOf reads struct nf_nat_ipv4_multi_range_compat (revision 0 of IPv4, one
// range alone), nf_nat_range or nf_nat_range2.
func natRangeOf(d data) (r natRange, ok bool) {
	if d.rev == 0 && d.family == netfilter.IPv4 {
		r = natRange{flags: d.u32(4), min: d.addr(8), max: d.addr(12), from: d.be16(16), to: d.be16(18)}
		return r, d.u32(0) == 1
	}
	if len(d.info) < 40 {
		return r, false
	}
	r = natRange{flags: d.u32(0), min: d.addr(4), max: d.addr(20), from: d.be16(36), to: d.be16(38)}
	if d.rev == 2 {
		r.offset = d.be16(40)
	}
	return r, r.flags&natPorts == 0 || r.from <= r.to || d.rev == 2
}

func (r natRange) ports() string {
	text := fmt.Sprint(r.from)
	if r.to != r.from {
		text = fmt.Sprintf("%d-%d", r.from, r.to)
	}
	if r.flags&natOffset != 0 {
		text += fmt.Sprintf("/%d", r.offset)
	}
	return text
}

// print gives addresses and ports as --to-destination takes them.
func (r natRange) print() (text string) {
	if r.flags&natAddrs != 0 {
		text = r.min.String()
		if r.max != r.min {
			text += "-" + r.max.String()
		}
		if r.min.Is6() && r.flags&natPorts != 0 {
			text = "[" + text + "]"
		}
	}
	if r.flags&natPorts != 0 {
		text += ":" + r.ports()
	}
	return text
}

// natTarget is REDIRECT, MASQUERADE, DNAT and SNAT of both families.
func natTarget(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	r, ok := natRangeOf(d)
	if !ok {
		return nil
	}
	switch {
	case d.name == "DNAT":
		w.add("--to-destination", r.print())
	case d.name == "SNAT":
		w.add("--to-source", r.print())
	case r.flags&natPorts != 0:
		w.add("--to-ports", r.ports())
	}
	if r.flags&natRandom != 0 {
		w.add("--random")
	}
	if r.flags&natFully != 0 {
		w.add("--random-fully")
	}
	if r.flags&natPersistent != 0 {
		w.add("--persistent")
	}
	kind := strings.ToLower(d.name)
	return func(s *netfilter.State) netfilter.Effect {
		divert := facts.FilterDivert{Kind: kind}
		var port uint16
		if r.flags&natPorts != 0 {
			port, divert.Range = r.from, r.to != r.from
		}
		var addr netip.Addr
		switch {
		case r.flags&natAddrs != 0:
			addr, divert.Range = r.min, divert.Range || r.max != r.min
		case kind == "redirect" && (s.Hook == netfilter.Output || s.In == "lo"):
			addr = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // nf_nat_redirect_ipv4, _ipv6
			if s.Family == netfilter.IPv6 {
				addr = netip.IPv6Loopback()
			}
		}
		divert.To = netip.AddrPortFrom(addr, port)
		return verdict(netfilter.Verdict{Code: netfilter.Divert, Divert: &divert})
	}
}

// tproxy is xt_tproxy_target_info and _v1. The packet goes on only where a
// transparent socket takes it, and is dropped otherwise (net/netfilter/xt_TPROXY.c).
func tproxy(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	if d.rev == 0 && d.family != netfilter.IPv4 {
		return nil
	}
	mask, value, addr, port := d.u32(0), d.u32(4), d.addr(8), uint16(0)
	if d.rev == 0 {
		port = d.be16(12)
	} else {
		port = d.be16(24)
	}
	w.add("--on-port", fmt.Sprint(port), "--on-ip", addr.String(), "--tproxy-mark", fmt.Sprintf("%#x/%#x", value, mask))
	return func(s *netfilter.State) netfilter.Effect {
		to := addr
		if addr.IsUnspecified() {
			to = netip.Addr{}
		}
		divert := &facts.FilterDivert{Kind: "tproxy", To: netip.AddrPortFrom(to, port)}
		s.Mark = s.Mark&^mask ^ value
		s.MarkKnown = s.MarkKnown || mask == 0xffffffff
		return verdict(netfilter.Verdict{Code: netfilter.Divert, Divert: divert})
	}
}

// notrack keeps a packet out of connection tracking, if it is not in it already.
func notrack(data, *phrase) func(*netfilter.State) netfilter.Effect { return untrack }

func untrack(s *netfilter.State) netfilter.Effect {
	if s.CTKnown && s.CT == netfilter.CTInvalid {
		s.CT = netfilter.CTUntracked
	}
	return next
}

// ctTarget is xt_ct_target_info and _v1.
func ctTarget(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	const aNotrack, alias, orig, reply, fromMark = 1, 2, 4, 8, 16
	flags, zone := d.u16(0), d.u16(2)
	if flags&^(aNotrack|alias|orig|reply|fromMark) != 0 {
		return nil
	}
	if flags&alias != 0 {
		w.rename("-j", "NOTRACK")
		return untrack
	}
	if flags&aNotrack != 0 {
		w.add("--notrack")
	}
	if helper := d.str(12, 16); helper != "" {
		w.add("--helper", helper)
	}
	if d.rev >= 1 {
		if timeout := d.str(28, 32); timeout != "" {
			w.add("--timeout", timeout)
		}
	}
	if events := d.u32(4); events != 0 {
		w.add("--ctevents", bits(events, "", "new", "related", "destroy", "reply", "assured", "protoinfo", "helper",
			"mark", "natseqinfo", "secmark"))
	}
	if events := d.u32(8); events != 0 {
		w.add("--expevents", bits(events, "", "new"))
	}
	option := "--zone"
	if flags&orig != 0 {
		option = "--zone-orig"
	} else if flags&reply != 0 {
		option = "--zone-reply"
	}
	if flags&fromMark != 0 {
		w.add(option, "mark")
	} else if zone != 0 {
		w.add(option, fmt.Sprint(zone))
	}
	if flags&aNotrack != 0 {
		return untrack
	}
	w.tracks = true // nf_ct_netns_get, xt_ct_tg_check
	return constant(next)
}
