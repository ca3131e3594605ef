package checks

import (
	"cmp"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What one fix has to be about, so that it heals.

// hurdles are all the rules that packets have to get past, the one to blame first:
// those of the dial, and of every other that the same rule stops. Behind it another
// may wait for each of them, and one fix is to heal all. A rule for both families is
// met by each: firewalld lets a sender past it, and that is one address.
func (b *blame) hurdles(f *facts.Facts, d facts.Dial) []hurdle {
	var all []hurdle
	for _, o := range f.Dials {
		if x := blamed(f, o); x != nil && x.packet == b.packet && sameRule(x.rule, b.rule) {
			all = append(all, x.hurdlesOf(f, o)...)
		}
	}
	if len(all) == 0 {
		all = b.hurdlesOf(f, d)
	}
	var out []hurdle
	for _, h := range all {
		if !slices.ContainsFunc(out, func(o hurdle) bool {
			return sameRule(o.rule, h.rule) && o.packet == h.packet && o.from.Is4() == h.from.Is4()
		}) {
			out = append(out, h)
		}
	}
	return out
}

// hurdlesOf are those of one dial.
func (b *blame) hurdlesOf(f *facts.Facts, d facts.Dial) []hurdle {
	hs := []hurdle{hurdleOf(f, f.Filters.Walk(d, b.packet), b.packet, b.rule, b.doubt)}
	for _, packet := range []string{facts.Syn, facts.SynAck, facts.Ack} {
		w := f.Filters.Walk(d, packet)
		if w == nil {
			continue
		}
		// What may drop it is let pass as well: a limit ahead of the policy.
		for i, x := range w.Unsure {
			if i < 32 && packet == b.packet && stops(x.Verdict) && x.Where == b.where {
				hs = append(hs, hurdleOf(f, w, packet, x.Rule, cmp.Or(x.Why, "doubt")))
			}
		}
		for i, s := range w.Stops {
			if i < 32 && stops(s.Verdict) {
				hs = append(hs, hurdleOf(f, w, packet, s.Rule, ""))
			}
		}
	}
	return hs
}

// rulesIn are the rules, each once: one may stop packets of both directions.
func rulesIn(hs []hurdle) []facts.FilterRule {
	var out []facts.FilterRule
	for _, h := range hs {
		if !slices.ContainsFunc(out, func(r facts.FilterRule) bool { return sameRule(r, h.rule) }) {
			out = append(out, h.rule)
		}
	}
	return out
}

func hurdleOf(f *facts.Facts, w *facts.FilterWalk, packet string, r facts.FilterRule, doubt string) hurdle {
	h := hurdle{rule: r, packet: packet, reply: packet == facts.SynAck || packet == facts.DataBack, port: f.Target.Port, doubt: doubt}
	if w == nil {
		return h
	}
	h.from = w.From.Addr()
	if h.reply {
		// Its source is translated back at POSTROUTING.
		if r.Hook == "output" && w.From.Port() != 0 {
			h.port = w.From.Port()
		}
		return h
	}
	for _, t := range w.Diverts {
		if t.Kind != "redirect" && t.Kind != "dnat" || t.To.Port() == 0 || t.Rule.Hook != "output" {
			continue
		}
		if r.Hook != "output" || r.Priority > t.Rule.Priority {
			h.port = t.To.Port()
		}
	}
	return h
}
