package checks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What the rules of the packet filters say of a connection that failed, and
// whether the kernel's counters say the same. Two that agree are a proof; where
// they do not, neither is believed.

// blame is the rule that stops a connection.
type blame struct {
	packet  string // of the handshake: facts.Syn …
	rule    facts.FilterRule
	where   string // as facts.FilterStop has it
	verdict string // "drop", "reject"
	with    string // of a reject
	doubt   string // it may match or not, and why; empty: it does
	proof   []Evidence
	sure    Certainty
}

// stage is where it acts in the life of the connection.
func (b *blame) stage() Stage {
	if b.packet == facts.SynAck {
		return StageReply
	}
	return stageOf(b.where)
}

// stageOf reads facts.FilterStop.Where.
func stageOf(where string) Stage {
	switch where {
	case "output":
		return StageOutput
	case "wire":
		return StageWire
	}
	return StageInput
}

// whereOf is the part of the way in which the rule stands, by its hook.
func whereOf(r facts.FilterRule) string {
	switch r.Hook {
	case "output", "postrouting":
		return "output"
	case "egress", "ingress":
		return "wire"
	}
	return "input"
}

// onItsWay is that place in a sentence.
func onItsWay(where string) string {
	switch where {
	case "output":
		return "on its way out"
	case "wire":
		return "on the interface lo itself"
	}
	return "on its way in"
}

// stops tells whether a verdict ends the packet here. A queue is a matter of who
// reads it.
func stops(verdict string) bool { return verdict == "drop" || verdict == "reject" }

// blamed finds the rule that stops the dial's connection: the one that the kernel
// named, or that counted our SYNs, or that the rules' walk and the ledger agree
// on. Nil: no rule is, or the two do not agree.
func blamed(f *facts.Facts, d facts.Dial) *blame {
	if f.Filters == nil || d.Outcome != facts.Timeout && d.Outcome != facts.Refused && !ackLost(f, d) {
		return nil
	}
	packets := []string{facts.Syn, facts.SynAck}
	switch {
	case d.HalfOpen():
		packets = []string{facts.Ack}
	case d.Outcome == facts.Refused: // the answer to a rejected answer goes to the server
		packets = packets[:1]
	}
	for _, packet := range packets {
		if b := witnessed(f, d, packet); b != nil && able(d, b.verdict) {
			return b
		}
	}
	for _, packet := range packets {
		w := cleared(f, passed(f, f.Filters.Walk(d, packet)))
		if w == nil {
			continue
		}
		stop := first(w.Stops)
		if len(w.Stops) == 0 || !able(d, stop.Verdict) || !fits(f, d, packet, stop.Where) {
			if x := likeliest(f, d, packet, before(w)); x != nil {
				return doubtful(f, d, packet, *x)
			}
			continue
		}
		b := &blame{packet: packet, rule: stop.Rule, where: stop.Where, verdict: stop.Verdict, with: stop.With}
		doubts := unsettled(f, d, before(w), stop.Where)
		if len(doubts) == 0 && ledgerOf(f, d.Addr) != nil {
			b.sure = Proven
		}
		for _, x := range doubts {
			b.proof = append(b.proof, Evidence{"not sure", fmt.Sprintf("%s comes before it: %s", ruleText(f, x.Rule), whyOf(x))})
		}
		return b
	}
	return nil
}

// cleared is the walk without rules of nf_tables, where the kernel told the way of
// such packets and no rule of its own ended it: something else does.
func cleared(f *facts.Facts, w *facts.FilterWalk) *facts.FilterWalk {
	if w == nil || !slices.Contains(f.Filters.Cleared, w.Addr) {
		return w
	}
	c := *w
	c.Stops = slices.DeleteFunc(slices.Clone(w.Stops), func(s facts.FilterStop) bool { return s.Rule.Engine == facts.NFTables })
	c.Unsure = slices.DeleteFunc(slices.Clone(w.Unsure), func(x facts.FilterDoubt) bool { return x.Rule.Engine == facts.NFTables })
	return &c
}

// unsettled leaves out doubts about places that the packet did get past, as the
// ledger says: a rule there did not drop it, and that one may have accepted it is the
// same then. What may translate or mark it stays a doubt.
func unsettled(f *facts.Facts, d facts.Dial, doubts []facts.FilterDoubt, where string) []facts.FilterDoubt {
	if ledgerOf(f, d.Addr) == nil {
		return doubts
	}
	return slices.DeleteFunc(slices.Clone(doubts), func(x facts.FilterDoubt) bool {
		return x.Where != where && (stops(x.Verdict) || x.Verdict == "accept" || x.Verdict == "return")
	})
}

// likeliest is the first of the rules in doubt that may have stopped the packet where
// it got lost: one that drops rather than one of which nobody knows what it does.
func likeliest(f *facts.Facts, d facts.Dial, packet string, doubts []facts.FilterDoubt) *facts.FilterDoubt {
	for _, known := range []bool{true, false} {
		for i, x := range doubts {
			if (able(d, x.Verdict) || !known && x.Verdict == "unknown") && fits(f, d, packet, x.Where) {
				return &doubts[i]
			}
		}
	}
	return nil
}

// able tells whether the verdict makes for what the client met: a packet that is
// dropped is not answered.
func able(d facts.Dial, verdict string) bool {
	return stops(verdict) && (d.Outcome != facts.Refused || verdict == "reject")
}

// doubtful is a rule that may stop the packet, at the place where it got lost.
func doubtful(f *facts.Facts, d facts.Dial, packet string, x facts.FilterDoubt) *blame {
	b := &blame{packet: packet, rule: x.Rule, where: x.Where, verdict: x.Verdict, doubt: cut(x.Why, 120)}
	for _, y := range unsettled(f, d, before(f.Filters.Walk(d, packet)), x.Where) {
		if !sameRule(x.Rule, y.Rule) {
			b.proof = append(b.proof, Evidence{"not sure", fmt.Sprintf("%s: %s", ruleText(f, y.Rule), whyOf(y))})
		}
	}
	return b
}

func whyOf(x facts.FilterDoubt) string {
	return fmt.Sprintf("it may %s it (%s)", cond(x.Verdict == "unknown", "stop", cut(x.Verdict, 20)), cut(x.Why, 120))
}

// witnessed is what needs no agreement: the kernel named the rule for a packet of
// ours, or its counter moved with our SYNs.
func witnessed(f *facts.Facts, d facts.Dial, packet string) *blame {
	w := passed(f, f.Filters.Walk(d, packet))
	for _, t := range f.Filters.Traced {
		if t.Addr != d.Addr || t.Packet != packet || !stops(t.Verdict) {
			continue
		}
		// A TPROXY without its program ends like a drop, and is told as what it is
		// (nat.go). What it does to an answer is no detour: the socket of the client is
		// not transparent, and the answer is dropped (xt_TPROXY.c, tproxy_tg4).
		if packet == facts.Syn && slices.ContainsFunc(deref(w).Diverts, func(v facts.FilterDivert) bool { return v.Kind == "tproxy" && sameRule(v.Rule, t.Rule) }) {
			continue
		}
		b := &blame{packet: packet, rule: t.Rule, where: t.Where, verdict: cond(t.With != "", "reject", t.Verdict), with: t.With, sure: Proven,
			proof: []Evidence{{"trace", fmt.Sprintf("the kernel gave our %s to this rule last, and %s", packet, cond(t.How == "counter", "its counter moved", "said so"))}}}
		if w != nil { // the walk knows what a trace calls a drop
			for _, s := range w.Stops {
				if sameRule(s.Rule, t.Rule) {
					b.verdict, b.with = s.Verdict, s.With
				}
			}
			for _, x := range w.Unsure {
				if sameRule(x.Rule, t.Rule) {
					b.verdict, b.doubt = cond(stops(x.Verdict), x.Verdict, b.verdict), cut(x.Why, 120)
				}
			}
		}
		if stops(b.verdict) {
			return b
		}
	}
	if w == nil {
		return nil
	}
	if s := first(w.Stops); stops(s.Verdict) && s.SYNs > 0 && facts.Enough(int64(s.Packets), s.SYNs) {
		return &blame{packet: packet, rule: s.Rule, where: s.Where, verdict: s.Verdict, with: s.With, sure: Proven}
	}
	return nil
}

// before lists the doubts about rules that a packet meets before the first that
// stops it.
func before(w *facts.FilterWalk) []facts.FilterDoubt {
	if w == nil || len(w.Stops) == 0 {
		return deref(w).Unsure
	}
	s := w.Stops[0].Rule
	return slices.DeleteFunc(slices.Clone(w.Unsure), func(x facts.FilterDoubt) bool {
		r := x.Rule
		switch {
		case wayOf(r) != wayOf(s):
			return wayOf(r) > wayOf(s)
		case inOneChain(r, s):
			return s.Policy == r.Policy && r.Number >= s.Number || r.Policy
		}
		return r.Priority > s.Priority
	})
}

// wayOf is the place of its hook on the way of a packet over lo.
func wayOf(r facts.FilterRule) int {
	return slices.Index([]string{"output", "postrouting", "egress", "ingress", "prerouting", "input"}, r.Hook)
}

// fits tells whether the ledger lost the packet where the rule stands. Without a
// ledger nothing says otherwise.
func fits(f *facts.Facts, d facts.Dial, packet, where string) bool {
	l := ledgerOf(f, d.Addr)
	if l == nil {
		return f.Ledger == nil
	}
	st, ok := lostAt(f, d)
	if !ok {
		return false
	}
	g := l.Gaps()
	switch {
	case packet != facts.SynAck:
		return st == stageOf(where) && (st != StageReply)
	case st == StageWire: // of a reply, too
		return where == "wire"
	case st != StageReply:
		return false
	}
	return where == "output" && facts.Enough(g.Output, l.SYNs) || where == "input" && facts.Enough(g.Input, l.SYNs) && !facts.Enough(g.Output, l.SYNs)
}

// conflict is a rule that the walk is sure of, where the ledger lost the packet
// elsewhere: what a parent says when it stays.
func conflict(f *facts.Facts, d facts.Dial) *facts.FilterStop {
	if w := f.Filters.Walk(d, cond(d.HalfOpen(), facts.Ack, facts.Syn)); w != nil && stops(first(w.Stops).Verdict) && len(before(w)) == 0 && blamed(f, d) == nil {
		return &w.Stops[0]
	}
	return nil
}

// forOnly names whom it happens to, where others get through.
func forOnly(f *facts.Facts, d facts.Dial) string {
	if others := connects(f, d); len(others) > 0 {
		return fmt.Sprintf(", for %s only", f.Host.Client(d.As, d.AsPID).Name())
	}
	return ""
}

// finding tells a blame as one of the checks does.
func (b *blame) finding(f *facts.Facts, d facts.Dial) Finding {
	hs := b.hurdles(f, d)
	x := Finding{Affects: []netip.Addr{d.Addr}, Stage: b.stage(), Certainty: b.sure, Fixes: filterFixes(f, hs...)}
	if l, ok := lostAt(f, d); ok && (b.packet != facts.Syn || b.verdict == "reject" && d.Outcome == facts.Timeout) {
		x.Stage = l // the last packet of the handshake is lost like a first one, and so may the answer of a reject be
	}
	what := map[string]string{facts.Syn: "the connection to ", facts.SynAck: "the answer of ", facts.Ack: "the last packet of the handshake with "}[b.packet]
	verb := cond(stops(b.verdict), b.verdict, "stop") + "s"
	if b.verdict == "reject" && b.packet == facts.Syn && d.Outcome == facts.Timeout {
		verb = "rejects, with an answer that does not arrive either,"
	}
	// That it is a filter which rejects is never in doubt: the answer was forged.
	how, place := "A packet filter "+cond(b.sure == Inferred, "probably ", "")+verb, placeOf(f, b.rule)
	if b.sure == Inferred && d.Outcome == facts.Refused {
		how, place = "A packet filter "+verb, "probably "+place
	}
	why := ""
	if b.doubt != "" {
		why = cond(b.sure == Inferred, ", if it matches", "") + " (" + b.doubt + ")"
	}
	x.Summary = fmt.Sprintf("%s %s%s %s%s: %s%s.", how, what, at(f, d.Addr), onItsWay(b.where), rejectedWith(b, d)+forOnly(f, d), place, why)
	if b.sure == Inferred {
		x.Settle = lookAt(f, b.rule)
		if f.Filters.NotTraced == "--no-system-changes" {
			x.Settle = asRoot(f, d.Addr)
			b.proof = append(b.proof, Evidence{"not traced", "--no-system-changes: without it the kernel itself would say which rule it was"})
		}
	}
	x.Evidence = b.evidence(f, d, hs)
	return x
}

// rejectedWith is the answer that the client got, and made of it.
func rejectedWith(b *blame, d facts.Dial) string {
	if b.packet != facts.Syn || b.verdict != "reject" || d.Outcome != facts.Refused {
		return ""
	}
	return fmt.Sprintf(", with %s (%s)", cond(b.with != "", short(b.with), "a forged answer"), d.Errno)
}

// evidence is the rule, then what agrees with it.
func (b *blame) evidence(f *facts.Facts, d facts.Dial, hs []hurdle) []Evidence {
	es := []Evidence{{"rule", ruleText(f, b.rule)}}
	if b.rule.Comment != "" {
		es = append(es, Evidence{"comment", cut(b.rule.Comment, 200)})
	}
	if w := f.Filters.Walk(d, b.packet); w != nil {
		for _, s := range w.Stops {
			if sameRule(s.Rule, b.rule) && s.Packets > 0 && s.SYNs > 0 {
				es = append(es, Evidence{"counter", fmt.Sprintf("the rule's own counter grew by %d with our %s", s.Packets, plural(s.SYNs, "SYN"))})
			}
		}
		for _, r := range w.Untracks[:min(1, len(w.Untracks))] {
			es = append(es, Evidence{"notrack", fmt.Sprintf("connection tracking knows nothing of it: %s", ruleText(f, r))})
		}
	}
	es = append(es, b.proof...)
	if l := ledgerOf(f, d.Addr); l != nil {
		if st, ok := lostAt(f, d); ok {
			es = append(es, Evidence{"counters", countedAt(l, d, st)})
		}
	}
	es = append(es, seen(f, d)...)
	behind := rulesIn(slices.DeleteFunc(slices.Clone(hs[1:]), func(h hurdle) bool { return h.doubt != "" || sameRule(h.rule, b.rule) }))
	for i, r := range behind {
		if i == 8 {
			es = append(es, Evidence{"behind it", fmt.Sprintf("and %d more", len(behind)-i)})
			break
		}
		es = append(es, Evidence{"behind it", ruleText(f, r)})
	}
	return es
}

// countedAt is what the ledger says of the loss.
func countedAt(l *facts.Ledger, d facts.Dial, st Stage) string {
	// What is lost more was other traffic, or the answer of a reject.
	g, most := l.Gaps(), int64(l.SYNs)
	of := plural(l.SYNs, cond(d.HalfOpen(), "handshake", "SYN")) // a handshake is only said of several
	switch st {
	case StageOutput:
		also := ""
		if facts.Enough(g.Input, l.SYNs) {
			also = fmt.Sprintf("; and %d packets arrived and were never handed to TCP: one of the two is the answer of a reject", g.Input)
		}
		if l.SYNs == 1 {
			return "the one SYN was handed to the IP layer and never left it" + also
		}
		return fmt.Sprintf("of %s, %d were handed to the IP layer and never left it%s", of, min(g.Output, most), also)
	case StageWire:
		if l.SYNs == 1 {
			return "the one SYN left the IP layer and never arrived"
		}
		return fmt.Sprintf("of %s, %d left the IP layer and never arrived", of, min(g.Wire, most))
	case StageReply:
		return fmt.Sprintf("%s reached TCP; of the answers %d were lost", plural(l.SYNs, "SYN"), min(max(g.Output, g.Input), most))
	}
	if l.SYNs == 1 {
		return "the one SYN arrived and was never handed to TCP"
	}
	return fmt.Sprintf("of %s, %d arrived and were never handed to TCP", of, min(g.Input, most))
}

// lookAt is the command that shows the chain with its counters.
func lookAt(f *facts.Facts, r facts.FilterRule) string {
	switch {
	case !writable(r):
		return findRule
	case iptablesRule(r):
		return fmt.Sprintf("sudo %s -t %s -vnL %s --line-numbers", iptablesCommand(f, r), r.Table, r.Chain)
	}
	return fmt.Sprintf("sudo nft -a list chain %s %s %s", r.Family, r.Table, r.Chain)
}
