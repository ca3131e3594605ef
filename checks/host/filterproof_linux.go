package host

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/nft"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/xt"
)

// Where the rules alone do not settle it: their counters, and the kernel's own word.

// probes is how many SYNs of our own the counters are read around.
const probes = 8

// prove has the kernel say what it did with packets of ours, where the walk cannot
// tell or the ledger says otherwise: first by the rules' own counters, which changes
// nothing, then by a trace.
func (l *filterLook) prove(mayTrace bool) {
	for _, s := range l.about {
		if l.ctx.Err() != nil {
			return
		}
		if s.data || l.settled(s) {
			continue
		}
		l.count(s)
		if !l.settled(s) {
			l.trace(s, mayTrace)
		}
	}
}

// leftHere tells whether the connection has its other end in another network namespace.
func (l *filterLook) leftHere(s suspect) bool {
	counts := facts.LedgerOf(l.f.Ledger, s.Addr)
	return s.NoServer && counts != nil && !counts.SentCookies()
}

// settled tells whether what the rules foretell of a connection is what came to
// pass, or the kernel has said which rule it was.
func (l *filterLook) settled(s suspect) bool {
	if s.Outcome == facts.Skipped || slices.ContainsFunc(l.out.Traced, func(t facts.FilterTrace) bool { return t.Addr == s.Addr }) {
		return true
	}
	at := lostOf(l.f.Ledger, s.Addr)
	syn := l.out.Walk(s.Dial, facts.Syn)
	if syn == nil || at == unseen && !s.Outcome.Works() {
		return true // there is nothing to compare
	}
	natural := s.Outcome == facts.Refused && s.ICMP == "" && at == nothing && l.reset(s)
	switch {
	case natural && len(listenersOf(l.f, s.to)) == 0:
		return true // TCP refused it
	case natural, s.Outcome.Works() && (!s.HalfOpen() || s.NoServer && (len(listenersOf(l.f, s.to)) == 0 || l.leftHere(s))):
		// Somebody else has it: a translation that is certain says so.
		return len(syn.Diverts) > 0 && len(doubts(syn)) == 0
	case s.Outcome == facts.Refused:
		return len(syn.Unsure) == 0 && len(syn.Stops) > 0 && syn.Stops[0].Verdict == "reject"
	}
	for _, packet := range handshakePackets {
		w := l.out.Walk(s.Dial, packet)
		switch {
		case w == nil:
			return true
		case len(doubts(w)) > 0:
			return false
		case len(w.Stops) > 0 && l.handedOn(w.Stops[0]):
			return false // its reader decides, or a rule behind it
		case len(w.Stops) > 0:
			return w.Stops[0].Where == string(at)
		case w.Partial != "":
			return at == "output"
		}
	}
	return at == nothing
}

// doubts are those that what becomes of the packet depends on: a masquerade takes an
// address that only the kernel knows, and what depends on that is a doubt of its own.
func doubts(w *facts.FilterWalk) []facts.FilterDoubt {
	return slices.DeleteFunc(slices.Clone(w.Unsure), func(x facts.FilterDoubt) bool { return x.Verdict == "masquerade" })
}

// reset tells whether TCP itself sent a reset for the one SYN of the ledger.
func (l *filterLook) reset(s suspect) bool {
	return slices.ContainsFunc(l.f.Ledger, func(r facts.Ledger) bool { return r.Addr == s.Addr && r.Delta["OutRsts"] > 0 })
}

// count sends a few SYNs of the client's between two readings of the counters.
func (l *filterLook) count(s suspect) {
	if !l.counts(s) || !l.timeFor(2) {
		return
	}
	before, ok := readCounted(s)
	if !ok {
		return
	}
	if _, err := ledger(s.to, s.as, probes, nil); err != nil {
		return
	}
	after, ok := readCounted(s)
	if !ok {
		return
	}
	moved := map[place]uint64{}
	for r, n := range netfilter.Diff(before, after) {
		moved[placeOf(r)] = n
	}
	for c, n := range netfilter.DiffPolicies(before, after) {
		moved[place{c.Table.Engine, c.Table.Family.String(), c.Table.Name, c.Name, 0, 0}] = n
	}
	for _, packet := range handshakePackets {
		w := l.out.Walk(s.Dial, packet)
		if w == nil {
			return
		}
		for i := range w.Stops {
			stop := &w.Stops[i]
			if n, seen := moved[placeOfFact(stop.Rule)]; seen && ours(n) {
				stop.Packets, stop.SYNs = int(n), probes
				if l.last(stop.Rule) && !l.handedOn(*stop) {
					l.counted(s, packet, stop.Rule, stop.Where, stop.Verdict, stop.With)
					return
				}
			}
		}
		for _, x := range w.Unsure {
			if n, seen := moved[placeOfFact(x.Rule)]; seen && ours(n) && ends(x.Verdict) && l.last(x.Rule) && !l.diverts(s, x.Rule) {
				l.counted(s, packet, x.Rule, x.Where, x.Verdict, "")
				return
			}
		}
	}
}

// timeFor tells whether there is time to read all rules so many times more, judged by
// the first time: what is seen already is not to be lost for it.
func (l *filterLook) timeFor(readings int) bool {
	took := 50.0
	for _, e := range l.out.Engines {
		took += float64(readings) * e.ReadInMS
	}
	deadline, limited := l.ctx.Deadline()
	return !limited || millis(time.Until(deadline)) > 1.5*took
}

// handedOn tells whether the rule hands the packet to a program that is there.
func (l *filterLook) handedOn(s facts.FilterStop) bool {
	return s.Verdict == "queue" && l.hasReader(s.With)
}

// hasReader tells whether every queue that is named, "queue 3" or "queue 3-5", has a
// reader.
func (l *filterLook) hasReader(with string) bool {
	low, high, several := strings.Cut(strings.TrimPrefix(with, "queue "), "-")
	first, err := strconv.ParseUint(low, 10, 16)
	last := first
	if several && err == nil {
		last, err = strconv.ParseUint(high, 10, 16)
	}
	if err != nil || l.out.Queues == nil {
		return false
	}
	for n := first; n <= last; n++ {
		if l.out.Queues.Reader(uint16(n)) == nil {
			return false
		}
	}
	return true
}

// counted notes that a counter has named the rule.
func (l *filterLook) counted(s suspect, packet string, r facts.FilterRule, where, verdict, with string) {
	l.out.Traced = append(l.out.Traced, facts.FilterTrace{Addr: s.Addr, Packet: packet, Rule: r, Where: where, Verdict: verdict, How: "counter", With: with})
}

// ours tells whether a counter moved by about what we sent.
func ours(n uint64) bool { return n*4 >= probes*3 && n*4 <= probes*6 }

func ends(verdict string) bool { return verdict == "drop" || verdict == "reject" || verdict == "queue" }

// counts tells whether a rule in question has a counter.
func (l *filterLook) counts(s suspect) bool {
	has := func(r facts.FilterRule) bool { return r.Packets != nil }
	for _, packet := range handshakePackets {
		if w := l.out.Walk(s.Dial, packet); w != nil &&
			(slices.ContainsFunc(w.Stops, func(x facts.FilterStop) bool { return has(x.Rule) }) ||
				slices.ContainsFunc(w.Unsure, func(x facts.FilterDoubt) bool { return has(x.Rule) })) {
			return true
		}
	}
	return false
}

// last tells whether the counter of a rule counts what the rule decides: xtables
// counts whole matches, nf_tables what comes as far as the counter stands.
func (l *filterLook) last(f facts.FilterRule) bool {
	if f.Engine != facts.NFTables || f.Policy {
		return true
	}
	t := l.table(&f)
	if t == nil || t.Chain(f.Chain) == nil {
		return false
	}
	for _, r := range t.Chain(f.Chain).Rules {
		if r.Handle != f.Handle {
			continue
		}
		seen := false
		for _, e := range r.Whole().Exprs {
			switch x := e.(type) {
			case *nft.Counter:
				seen = true
			case *nft.Log, *nft.Immediate, *nft.Reject, *nft.Queue:
			case *nft.Compat:
				if !x.Target {
					seen = false
				}
			default:
				seen = false
			}
		}
		return seen
	}
	return false
}

// readCounted reads the rules once more, for their counters.
func readCounted(s suspect) ([]*netfilter.Table, bool) {
	var tables []*netfilter.Table
	if loaded("nf_tables") {
		r, err := nft.Read()
		if err != nil {
			return nil, false
		}
		r.Close() // sets are not asked for
		tables = r.Tables
	}
	family := netfilter.IPv4
	if s.to.Addr().Is6() {
		family = netfilter.IPv6
	}
	if legacy, err := xt.Read(family); err == nil { // of one that may not be read no rule is in question
		tables = append(tables, legacy...)
	}
	return tables, len(tables) > 0
}

// place is a rule, or a policy, between two readings.
type place struct {
	engine, family, table, chain string
	handle                       uint64
	number                       int // of a legacy rule
}

func placeOf(r *netfilter.Rule) place {
	p := place{chain: r.Chain.Name, handle: r.Handle}
	if t := r.Chain.Table; t != nil {
		p.engine, p.family, p.table = t.Engine, t.Family.String(), t.Name
	}
	if p.handle == 0 {
		p.number = r.Number
	}
	return p
}

func placeOfFact(f facts.FilterRule) place {
	p := place{f.Engine, f.Family, f.Table, f.Chain, f.Handle, 0}
	if p.handle == 0 {
		p.number = f.Number
	}
	return p
}
