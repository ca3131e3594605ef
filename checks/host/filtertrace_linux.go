package host

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/nft"
)

const (
	// traceTries is how many connections are traced at most: a rule that is a matter
	// of chance, or of a limit, lets some pass.
	traceTries = 4
	// traceWait is how long the kernel's word is waited for. It is there when connect()
	// returns, unless lo steers packets to another CPU.
	traceWait = 20 * time.Millisecond
)

// trace has the kernel name the rule that decides on a connection of the client's:
// for that nf_tables needs a table that marks its packets.
func (l *filterLook) trace(s suspect, may bool) {
	switch {
	case !may:
		l.out.NotTraced = "--no-system-changes"
	case l.reading == nil || len(l.reading.Tables) == 0:
		// Nothing of it would be told: the kernel's word is that of nf_tables.
	case l.hasLegacy(s):
		// A traced packet is written to the kernel's log by every rule of ip_tables that
		// it meets (trace_packet in net/ipv4/netfilter/ip_tables.c).
		l.out.NotTraced = "rules of iptables-legacy would log it"
	case !l.timeFor(0):
		l.out.NotTraced = "time was over"
	default:
		if err := l.traceOpenly(s); err != nil {
			l.out.NotTraced = netfilter.Cut(whyNot(err), maxWhy)
		}
	}
}

func (l *filterLook) hasLegacy(s suspect) bool {
	name := map[bool]string{true: facts.IPTables, false: facts.IP6Tables}[s.to.Addr().Is4()]
	return slices.ContainsFunc(l.rules.Tables, func(t *netfilter.Table) bool { return t.Engine == name })
}

func (l *filterLook) traceOpenly(s suspect) (err error) {
	if l.tracer == nil {
		if l.tracer, err = nft.OpenTrace(); err != nil {
			return err
		}
	}
	lost := 0 // connections that came to nothing, though no rule ended a packet
	for range traceTries {
		var watch error
		p := newProbe(s.to, s.as)
		p.bound = func(port uint16) {
			// This thread is the client's, who may not change anything. Another one may.
			done := make(chan error, 1)
			go func() { done <- l.tracer.Watch(netip.AddrPortFrom(l.source(s.Addr), port), s.to) }()
			watch = <-done
		}
		if err := asClient(s.as.Identity, func() { p.open(s.to) }); err != nil {
			return err
		}
		if watch != nil {
			p.Close()
			return watch
		}
		l.out.Changed = fmt.Sprintf("a table of nf_tables, %s, had the kernel trace the packets of a few connections of its own, and is gone again", l.tracer.Table)
		events := l.tracer.Drain(traceWait)
		p.Close()
		if found := l.told(s, events); len(found) > 0 {
			l.out.Traced = append(l.out.Traced, found...)
			return nil
		}
		if p.fact.Outcome == s.Outcome && l.tracer.Marked(facts.Syn) && !l.tracer.Marked(facts.Ack) &&
			!slices.ContainsFunc(events, func(e nft.TraceEvent) bool { return e.Final() }) {
			lost++
		}
	}
	if lost == traceTries && !l.tracer.Lost {
		l.out.Cleared = append(l.out.Cleared, s.Addr)
	}
	return nil
}

// told reads what the kernel said of one connection: of each packet of the handshake
// the rule that ended it, or else the one that translated the first.
func (l *filterLook) told(s suspect, events []nft.TraceEvent) (found []facts.FilterTrace) {
	for _, packet := range handshakePackets {
		for i, e := range events {
			if e.Packet != packet || !e.Final() || e.Verdict.Code == netfilter.Queue && l.hasReader(e.Verdict.With) {
				continue
			}
			if t, ok := l.traced(s, events[:i], e); ok && !l.diverts(s, t.Rule) {
				found = append(found, t)
			}
			break
		}
	}
	if len(found) > 0 || !s.Outcome.Works() && s.Outcome != facts.Refused {
		return found
	}
	for i, e := range events {
		c := l.chainOf(e)
		if e.Packet == facts.Syn && e.Handle != 0 && e.Verdict.Code == netfilter.Accept && c != nil && c.Table.Chain(l.pathTo(events[:i], e)[0]).Type == "nat" {
			if t, ok := l.traced(s, events[:i], e); ok {
				return []facts.FilterTrace{t}
			}
		}
	}
	return nil
}

// diverts tells whether the walk knows the rule as one that leads elsewhere: TPROXY
// drops what it finds no socket for, and is no filter for that.
func (l *filterLook) diverts(s suspect, r facts.FilterRule) bool {
	w := l.out.Walk(s.Dial, facts.Syn)
	return w != nil && slices.ContainsFunc(w.Diverts, func(d facts.FilterDivert) bool { return placeOfFact(d.Rule) == placeOfFact(r) })
}

// traced makes a fact of an event. Those before it tell by which chains it was
// reached.
func (l *filterLook) traced(s suspect, before []nft.TraceEvent, e nft.TraceEvent) (t facts.FilterTrace, ok bool) {
	c := l.chainOf(e)
	if c == nil {
		return t, false // it is newer than our reading
	}
	path := l.pathTo(before, e)
	base := c.Table.Chain(path[0])
	if base == nil || base.Hook == netfilter.NoHook {
		return t, false
	}
	t = facts.FilterTrace{Addr: s.Addr, Packet: e.Packet, Where: base.Hook.Where(), Verdict: verdictWord(e.Verdict.Code), How: "nftrace"}
	if e.Handle == 0 {
		t.Rule = base.PolicyFact()
		return t, e.Policy
	}
	i := slices.IndexFunc(c.Rules, func(r *netfilter.Rule) bool { return r.Handle == e.Handle })
	if i < 0 {
		return t, false
	}
	if len(path) == 1 {
		path = nil
	}
	t.Rule = c.Rules[i].Fact(base, path)
	l.complete(&t.Rule)
	t.With = rejectsWith(c.Rules[i], s.to)
	return t, true
}

func (l *filterLook) chainOf(e nft.TraceEvent) *netfilter.Chain {
	for _, t := range l.rules.Tables {
		if t.Engine == facts.NFTables && t.Family == e.Family && t.Name == e.Table {
			return t.Chain(e.Chain)
		}
	}
	return nil
}

// pathTo follows the jumps back to the base chain.
func (l *filterLook) pathTo(before []nft.TraceEvent, e nft.TraceEvent) []string {
	path := []string{e.Chain}
	for _, b := range slices.Backward(before) {
		jump := b.Verdict.Code == netfilter.Jump || b.Verdict.Code == netfilter.Goto
		if jump && b.Packet == e.Packet && b.Family == e.Family && b.Table == e.Table && b.Verdict.Chain == path[0] && len(path) < maxPath {
			path = slices.Insert(path, 0, b.Chain)
		}
	}
	return path
}

func verdictWord(c netfilter.Code) string {
	switch c {
	case netfilter.Queue:
		return "queue"
	case netfilter.Accept:
		return "accept"
	}
	return "drop"
}

// rejectsWith is the answer that a rule sends, which a trace calls a drop; "" if it
// sends none.
func rejectsWith(r *netfilter.Rule, to netip.AddrPort) string {
	family := netfilter.IPv4
	if to.Addr().Is6() {
		family = netfilter.IPv6
	}
	for _, e := range r.Whole().Exprs {
		switch x := e.(type) {
		case *nft.Reject:
		case *nft.Compat:
			if !x.Target {
				continue
			}
		default:
			continue
		}
		if v := e.Eval(&netfilter.State{Packet: &netfilter.Packet{From: to, To: to}, Family: family}).Verdict; v.Code == netfilter.Reject {
			return v.With
		}
	}
	return ""
}
