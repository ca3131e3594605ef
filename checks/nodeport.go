package checks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Port forwards that serve other machines, and not this one's loopback.

var nodeportNotOnLoopback = &Check{
	Name:     "nodeport-or-dnat-not-on-loopback",
	Doc:      "a port forward does not reach from loopback: it is for packets from outside, or its way out is closed to 127.0.0.1",
	Stage:    StageListen, // or where the packet is lost
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters, facts.GroupDials, facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupLedger, facts.GroupPackets, facts.GroupOwners, facts.GroupConntrack, facts.GroupInterfaces},
	Explains: []*Check{refused, noReply, localhostSlowFallback},
	Refines:  []*Check{natHijacksLoopback, noListener},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if t := detourOf(f, d); t != nil {
				if w := f.Filters.Walk(d, facts.Syn); t.stranded(w) {
					fs = append(fs, t.strandedFinding(f, d, w))
				}
			} else if p := outsideOnly(f, d); p != nil {
				fs = append(fs, outsideFinding(f, d, p))
			}
		}
		return mergeAddresses(f, fs)
	},
}

// stranded tells whether the packet is led off this machine with an address of
// loopback as its source: it may not leave, or nobody can answer it.
func (t *detour) stranded(w *facts.FilterWalk) bool {
	return t.Kind == "dnat" && t.stage != StageNone && t.away() && t.from.IsLoopback() && (t.martian() || !masked(w))
}

// masked tells whether a rule gives the packet another source, or perhaps does.
func masked(w *facts.FilterWalk) bool {
	gives := func(kind string) bool { return kind == "snat" || kind == "masquerade" }
	return w != nil && (slices.ContainsFunc(w.Diverts, func(v facts.FilterDivert) bool { return gives(v.Kind) }) ||
		slices.ContainsFunc(w.Unsure, func(d facts.FilterDoubt) bool { return gives(d.Verdict) }))
}

func (t *detour) strandedFinding(f *facts.Facts, d facts.Dial, w *facts.FilterWalk) Finding {
	x := t.finding(f, d)
	x.Summary = fmt.Sprintf("A port forward leads connections to %s on to %s by %s, and the kernel lets no packet from 127.0.0.0/8 leave by it: %s.", at(f, d.Addr), t.To, t.device(), placeOf(f, t.Rule))
	if !t.martian() {
		x.Summary = fmt.Sprintf("A port forward leads connections to %s on to %s by %s with the source %s, to which nobody there can answer: %s.", at(f, d.Addr), t.To, t.device(), t.from, placeOf(f, t.Rule))
	}
	own := x.Fixes
	x.Fixes = []Fix{{Do: fmt.Sprintf("Connect to %s itself: the rule leads there and nowhere else.", t.To)}}
	if t.from.Is4() && isName(t.device()) {
		steps, undo := mayLeave(byIPTables(f, t.Rule), t.device(), t.martian())
		if masked(w) { // what is missing is the sysctl alone
			steps, undo = steps[:1], undo[:1]
		}
		x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Let packets from loopback leave by %s, with an address that can be answered.", t.device()), Steps: steps, Undo: undo, Elevated: true, Lasts: UntilReboot, Risk: openRisk(t.device(), t.martian())})
	}
	if len(serving(f, d.Addr)) > 0 {
		x.Fixes = append(x.Fixes, own...)
	} else {
		x.Fixes = append(x.Fixes, instead(f, []hurdle{t.hurdle(f)})...)
	}
	return x
}

// openRisk: route_localnet also lets packets to 127.0.0.0/8 come in by the device.
func openRisk(device string, sysctl bool) string {
	if !sysctl {
		return ""
	}
	return fmt.Sprintf("whoever is on the network behind %s can then send packets to services on 127.0.0.0/8 of this machine, unless a rule drops what comes in by it for those addresses", device)
}

// forward is a translation that packets from outside would get.
type forward struct {
	facts.FilterDivert
	sure bool // it asks for nothing that is not known
}

// outsideOnly finds the rule that would lead a packet from outside elsewhere, where
// none does so with our own and nothing listens here.
func outsideOnly(f *facts.Facts, d facts.Dial) *forward {
	if f.Filters == nil || d.Outcome != facts.Refused || len(serving(f, d.Addr)) > 0 || f.Target.Port == 0 {
		return nil
	}
	w := f.Filters.Walk(d, facts.Syn)
	if w == nil || len(w.Stops)+len(w.Unsure) > 0 || slices.ContainsFunc(w.Diverts, func(v facts.FilterDivert) bool { return leads(v.Kind) }) {
		return nil
	}
	if l := ledgerOf(f, d.Addr); l != nil && forged(l, d) {
		return nil
	}
	for _, p := range f.Filters.Published {
		if p.To.Port() != f.Target.Port || p.To.Addr().Is4() != d.Addr.Is4() && p.Addr.Is4() != d.Addr.Is4() {
			continue
		}
		for _, v := range p.Diverts {
			if (v.Kind == "dnat" || v.Kind == "redirect") && (v.To.Port() != f.Target.Port || v.Kind == "dnat") {
				return &forward{v, len(p.Unsure) == 0}
			}
		}
	}
	return nil
}

func outsideFinding(f *facts.Facts, d facts.Dial, p *forward) Finding {
	to := p.To.String()
	if p.Kind == "redirect" || !p.To.Addr().IsValid() {
		to = fmt.Sprintf("port %d", p.To.Port())
	}
	x := Finding{Affects: meant(f, []netip.Addr{d.Addr}), Certainty: cond(deref(p.Listens), Proven, Inferred),
		Summary:  fmt.Sprintf("Nothing listens on port %d: a port forward leads it on to %s, but only for packets from other machines, not for those of this one: %s.", f.Target.Port, to, placeOf(f, p.Rule)),
		Evidence: []Evidence{{"rule", ruleText(f, p.Rule)}, {"rules", "none at output leads connections of this machine there"}}}
	if x.Certainty == Inferred {
		x.Settle = lookAt(f, p.Rule)
	}
	x.Fixes = forwardFixes(f, d, p, to)
	return x
}

func forwardFixes(f *facts.Facts, d facts.Dial, p *forward, to string) []Fix {
	there := p.To.String()
	if p.Kind == "redirect" || !p.To.Addr().IsValid() {
		there = netip.AddrPortFrom(d.Addr, p.To.Port()).String()
	}
	fixes := []Fix{{Do: fmt.Sprintf("Connect to %s itself: the rule leads there and nowhere else.", there)}}
	h := hurdle{rule: p.Rule, port: f.Target.Port}
	if keeperOf(f, p.Rule) == nil && p.To.Port() != 0 {
		command := byIPTables(f, p.Rule)
		device := (&detour{FilterDivert: p.FilterDivert}).device()
		arg := cond(p.Kind == "redirect", fmt.Sprint(p.To.Port()), p.To.String())
		steps, undo := alsoFromHere(command, d.Addr.Is6(), f.Target.Port, p.Kind, arg)
		fix := Fix{Do: fmt.Sprintf("Add a second rule that leads what this machine itself sends to port %d there.", f.Target.Port), Elevated: true, Lasts: UntilReboot,
			Risk: "connections of every program here to that port are led there"}
		away := p.Kind == "dnat" && !p.To.Addr().IsLoopback() && (&detour{FilterDivert: p.FilterDivert}).away()
		switch {
		case away && d.Addr.Is4() && isName(device):
			closed := !deref(p.RouteLocalnet)
			s, u := mayLeave(command, device, closed)
			steps, undo = onlyOnce(slices.Concat(steps, s)), onlyOnce(slices.Concat(undo, u))
			if r := openRisk(device, closed); r != "" {
				fix.Risk += "; " + r
			}
			fallthrough
		case !away:
			fix.Steps, fix.Undo = steps, undo
			fixes = append(fixes, fix)
		}
	}
	return append(fixes, instead(f, []hurdle{h})...)
}
