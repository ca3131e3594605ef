package xt

import (
	"fmt"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// Targets that change something of the packet, or of nothing, and go on.

func setMSS(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	if mss := d.u16(0); mss == 0xffff { // XT_TCPMSS_CLAMP_PMTU
		w.add("--clamp-mss-to-pmtu")
	} else {
		w.add("--set-mss", fmt.Sprint(mss))
	}
	return constant(next)
}

func setTOS(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	value, mask := d.u8(0), d.u8(1)
	w.add("--set-tos", fmt.Sprintf("0x%02x/0x%02x", value, mask))
	return func(s *netfilter.State) netfilter.Effect {
		s.TOS = s.TOS&^mask ^ value
		return next
	}
}

func setDSCP(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	w.add("--set-dscp", fmt.Sprintf("0x%02x", d.u8(0)))
	return func(s *netfilter.State) netfilter.Effect {
		s.TOS = s.TOS&3 | d.u8(0)<<2
		return next
	}
}

func setTTL(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	mode, option := d.u8(0), "--ttl"
	if d.name == "HL" {
		option = "--hl"
	}
	if mode > 2 {
		return nil
	}
	w.add(option+[...]string{"-set", "-inc", "-dec"}[mode], fmt.Sprint(d.u8(1)))
	return constant(next)
}

func classify(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	class := d.u32(0)
	w.add("--set-class", fmt.Sprintf("%04x:%04x", class>>16, class&0xffff))
	return func(s *netfilter.State) netfilter.Effect {
		s.Priority = class
		return next
	}
}

func audit(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	if d.u8(0) > 2 {
		return nil
	}
	w.add("--type", [...]string{"accept", "drop", "reject"}[d.u8(0)])
	return constant(next)
}

func secmark(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	at := 8
	if d.rev == 1 {
		at = 1
	}
	w.add("--selctx", d.str(at, 256))
	return constant(next)
}

func connsecmark(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	switch d.u8(0) {
	case 1:
		w.add("--save")
	case 2:
		w.add("--restore")
	default:
		return nil
	}
	return constant(next)
}

func tee(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	w.add("--gateway", d.addr(0).String())
	if device := d.str(16, 16); device != "" {
		w.add("--oif", device)
	}
	return constant(next)
}

func checksum(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	w.add("--checksum-fill")
	return constant(next)
}

func idletimer(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	w.add("--timeout", fmt.Sprint(d.u32(0)), "--label", d.str(4, 28))
	if d.rev == 1 && d.u8(33)&1 != 0 { // XT_IDLETIMER_ALARM
		w.add("--alarm")
	}
	return constant(next)
}

// netmap translates the first part of an address: the destination's on the way
// out and in, the source's otherwise.
func netmap(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	r, ok := natRangeOf(d)
	if !ok || r.min.BitLen() != r.max.BitLen() {
		return nil
	}
	low, high := r.min.AsSlice(), r.max.AsSlice()
	mask := make([]byte, len(low))
	for i := range mask {
		mask[i] = ^(low[i] ^ high[i])
	}
	text := r.min.String()
	if bits := printMask(mask); bits != fmt.Sprint(8*len(mask)) {
		text += "/" + bits
	}
	w.add("--to", text)
	return func(s *netfilter.State) netfilter.Effect {
		kind, old := "dnat", s.To.Addr()
		if s.Hook == netfilter.Postrouting || s.Hook == netfilter.Input {
			kind, old = "snat", s.From.Addr()
		}
		to := append([]byte(nil), low...)
		for i, b := range old.AsSlice() {
			if i < len(to) {
				to[i] = low[i]&mask[i] | b&^mask[i]
			}
		}
		a, _ := netip.AddrFromSlice(to)
		return verdict(netfilter.Verdict{Code: netfilter.Divert, Divert: &facts.FilterDivert{Kind: kind, To: netip.AddrPortFrom(a, 0)}})
	}
}
