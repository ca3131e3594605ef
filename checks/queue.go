package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// packetQueueWithoutReader: nfnetlink_queue drops what it cannot hand to a program,
// unless the rule has the flag bypass (nf_queue in net/netfilter/nf_queue.c).
var packetQueueWithoutReader = &Check{
	Name:     "packet-queue-without-reader",
	Doc:      "a rule hands the connection to a program that is not there: a queue that nobody reads",
	Stage:    StageInput, // or where the rule stands
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters, facts.GroupDials, facts.GroupLedger},
	Uses:     []facts.Group{facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupLimits},
	Explains: []*Check{noReply, notAccepted, localhostSlowFallback},
	Refines:  []*Check{lostOnOutput, lostOnInput, replyLost},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if d.Outcome != facts.Timeout && !ackLost(f, d) {
				continue
			}
			for _, packet := range cond(d.HalfOpen(), []string{facts.Ack}, []string{facts.Syn, facts.SynAck}) {
				if q := queued(f, d, packet); q != nil {
					fs = append(fs, q.finding(f, d))
					break
				}
			}
		}
		return mergeAddresses(f, fs)
	},
}

// lostInQueue is a rule that hands a packet to a program.
type lostInQueue struct {
	stop   facts.FilterStop
	packet string
	none   bool // it was seen that nobody reads any of its queues
	doubts []facts.FilterDoubt
}

// queued finds the rule that loses the packet of a dial in a queue.
func queued(f *facts.Facts, d facts.Dial, packet string) *lostInQueue {
	w := f.Filters.Walk(d, packet)
	if w == nil {
		return nil
	}
	// A rule further on may be the one, where the first has a reader.
	for _, s := range w.Stops {
		if s.Verdict != "queue" || !fits(f, d, packet, s.Where) {
			return nil
		}
		first, last, known := queueNumbers(s.With)
		if f.Filters.Queues == nil || !known {
			return &lostInQueue{stop: s, packet: packet, doubts: before(w)}
		}
		readers := 0
		for n := first; n <= last; n++ {
			if f.Filters.Queues.Reader(uint16(n)) != nil {
				readers++
			}
		}
		if readers <= last-first { // some of them have none
			return &lostInQueue{stop: s, packet: packet, none: readers == 0, doubts: before(w)}
		}
	}
	return nil
}

// passed is the walk without the queues that programs read: each of them may let the
// packet go on to the next rule, or may not.
func passed(f *facts.Facts, w *facts.FilterWalk) *facts.FilterWalk {
	if w == nil || f.Filters.Queues == nil || !slices.ContainsFunc(w.Stops, func(s facts.FilterStop) bool { return s.Verdict == "queue" }) {
		return w
	}
	out := *w
	out.Stops, out.Unsure = nil, slices.Clone(w.Unsure)
	for _, s := range w.Stops {
		readers := queueReaders(f, s)
		if s.Verdict != "queue" || len(readers) == 0 {
			out.Stops = append(out.Stops, s)
			continue
		}
		out.Unsure = append(out.Unsure, facts.FilterDoubt{Rule: s.Rule, Where: s.Where, Verdict: "queue", Why: readers[0] + " reads " + s.With})
	}
	return &out
}

// queueReaders are those who read the queues of a rule; nil unless each has one.
func queueReaders(f *facts.Facts, s facts.FilterStop) []string {
	first, last, ok := queueNumbers(s.With)
	if !ok {
		return nil
	}
	var names []string
	for n := first; n <= last; n++ {
		r := f.Filters.Queues.Reader(uint16(n))
		if r == nil {
			return nil
		}
		names = append(names, short(r.Reader))
	}
	return names
}

// queueNumbers reads "queue 3" and "queue 3-5".
func queueNumbers(with string) (first, last int, ok bool) {
	w := strings.Fields(with)
	if len(w) < 2 {
		return 0, 0, false
	}
	low, high, several := strings.Cut(w[len(w)-1], "-")
	a, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return 0, 0, false
	}
	b := a
	if several {
		if b, err = strconv.ParseUint(high, 10, 16); err != nil || b < a {
			return 0, 0, false
		}
	}
	return int(a), int(b), true
}

func (q *lostInQueue) finding(f *facts.Facts, d facts.Dial) Finding {
	s := q.stop
	name := cond(s.With != "", s.With, "a queue")
	b := &blame{packet: q.packet, rule: s.Rule, where: s.Where}
	x := Finding{Affects: []netip.Addr{d.Addr}, Stage: b.stage(), Certainty: cond(q.none && len(q.doubts) == 0, Proven, Inferred)}
	if l, ok := lostAt(f, d); ok && q.packet != facts.Syn {
		x.Stage = l
	}
	what := map[string]string{facts.Syn: "the connection to ", facts.SynAck: "the answer of ", facts.Ack: "the last packet of the handshake with "}[q.packet]
	x.Summary = fmt.Sprintf("A packet filter hands %s%s to %s %s, %s: %s.", what, at(f, d.Addr), short(name), onItsWay(s.Where),
		cond(q.none, "and no program reads that queue", "which is lost if no program reads that queue"), placeOf(f, s.Rule))
	x.Evidence = []Evidence{{"rule", ruleText(f, s.Rule)}}
	if q.none {
		x.Evidence = append(x.Evidence, Evidence{"/proc/net/netfilter/nfnetlink_queue", "no line for " + short(name)})
	} else {
		x.Settle = "sudo cat /proc/net/netfilter/nfnetlink_queue"
	}
	for _, y := range q.doubts[:min(3, len(q.doubts))] {
		x.Evidence = append(x.Evidence, Evidence{"not sure", fmt.Sprintf("%s comes before it: %s", ruleText(f, y.Rule), whyOf(y))})
	}
	if l := ledgerOf(f, d.Addr); l != nil {
		if st, ok := lostAt(f, d); ok {
			x.Evidence = append(x.Evidence, Evidence{"counters", countedAt(l, d, st)})
		}
	}
	x.Evidence = append(x.Evidence, seen(f, d)...)
	x.Fixes = []Fix{{Do: fmt.Sprintf("Start the program that reads %s. Suricata, Snort, OpenSnitch, Portmaster and zapret (nfqws) are such programs: systemctl --failed and the rule's neighbours tell which.", short(name))}}
	ahead := filterFixes(f, q.hurdles(f, d)...)
	if bypass, ok := withBypass(f, s.Rule); ok && len(ahead) > 0 {
		ahead = slices.Insert(ahead, 1, bypass)
	}
	x.Fixes = append(x.Fixes, ahead...)
	return x
}

// hurdles are the queues that the packets of the connection have to get past, and
// whatever else stops them.
func (q *lostInQueue) hurdles(f *facts.Facts, d facts.Dial) []hurdle {
	hs := []hurdle{hurdleOf(f, f.Filters.Walk(d, q.packet), q.packet, q.stop.Rule, "")}
	for _, packet := range []string{facts.Syn, facts.SynAck, facts.Ack} {
		w := f.Filters.Walk(d, packet)
		for _, s := range deref(w).Stops {
			h := hurdleOf(f, w, packet, s.Rule, "")
			read := f.Filters.Queues != nil && len(queueReaders(f, s)) > 0
			if !read && !slices.ContainsFunc(hs, func(o hurdle) bool { return sameRule(o.rule, h.rule) && o.packet == h.packet }) {
				hs = append(hs, h)
			}
		}
	}
	return hs
}

// withBypass replaces the rule by one that lets packets pass while nobody reads the
// queue.
func withBypass(f *facts.Facts, r facts.FilterRule) (Fix, bool) {
	if len(r.Words) == 0 || r.Owner != "" || keeperOf(f, r) != nil || !isName(r.Table) || !isName(r.Chain) || !sayable(r.Words) {
		return Fix{}, false
	}
	x := Fix{Do: "Add bypass to the rule: while nobody reads the queue, its packets pass.", Elevated: true, Lasts: UntilReboot,
		Risk: "what the rule hands over, from other machines too, passes unseen until the program runs"}
	if iptablesRule(r) {
		if !slices.Contains(r.Words, "NFQUEUE") || r.Number == 0 {
			return Fix{}, false
		}
		cmd := []string{iptablesCommand(f, r)}
		if r.Table != "filter" {
			cmd = append(cmd, "-t", r.Table)
		}
		cmd = append(cmd, "-R", r.Chain, strconv.Itoa(r.Number))
		x.Steps = [][]string{slices.Concat(cmd, r.Words, []string{"--queue-bypass"})}
		x.Undo = [][]string{slices.Concat(cmd, r.Words)}
		return x, true
	}
	// "queue to 3", "queue num 3" and "queue flags fanout to 3-5" (nft(8)).
	i := slices.Index(r.Words, "queue")
	if i < 0 || r.Handle == 0 {
		return Fix{}, false
	}
	words := slices.Clone(r.Words)
	if i+2 < len(words) && words[i+1] == "flags" {
		words[i+2] += ",bypass"
	} else {
		words = slices.Insert(words, i+1, "flags", "bypass")
	}
	cmd := []string{"nft", "replace", "rule", r.Family, r.Table, r.Chain, "handle", strconv.FormatUint(r.Handle, 10)}
	x.Steps, x.Undo = [][]string{slices.Concat(cmd, words)}, [][]string{slices.Concat(cmd, r.Words)}
	return x, true
}
