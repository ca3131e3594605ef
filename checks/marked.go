package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// markedWay is a routing policy rule, ahead of the local table, for packets with a
// mark that a packet filter gives to those of a dial.
type markedWay struct {
	dial  facts.Dial
	rule  facts.Rule
	mark  *facts.FilterMark // who sets it; nil: rules were not read, or it cannot be told
	stage Stage             // where the packet was lost
	reply bool
}

func (m *markedWay) setter() *facts.FilterRule {
	if m.mark == nil {
		return nil
	}
	return &m.mark.Rule
}

// markedWays finds them. The route of a socket is looked up without the mark; a
// packet filter at OUTPUT that sets it has the packet routed once more, and the
// kernel loses it there.
func markedWays(f *facts.Facts) []markedWay {
	var ways []markedWay
	for _, d := range f.Dials {
		st, lost := lostAt(f, d)
		if !lost || st != StageOutput && st != StageWire && st != StageReply || localRule(f.Routes.Rules, d.Addr).first() != nil {
			continue
		}
		for _, r := range f.Routes.Rules {
			if r.IPv6 != d.Addr.Is6() {
				continue
			}
			if slices.Contains(r.Matches, d.Addr) && r.Action == "lookup" && r.Table == tableLocal {
				break // the local table comes first
			}
			if !slices.Contains(r.Marked, d.Addr) || r.WithMark == "" || r.WithMark == "local" || slices.Contains(r.Passes, d.Addr) {
				continue
			}
			m := markedWay{dial: d, rule: r, stage: st, reply: st == StageReply}
			w := (*facts.FilterWalk)(nil)
			if f.Filters != nil {
				w = f.Filters.Walk(d, cond(m.reply, facts.SynAck, facts.Syn))
			}
			if w != nil {
				i := slices.IndexFunc(w.Marks, func(k facts.FilterMark) bool { return takesMark(r.Selector, k.Mark) })
				switch {
				case i >= 0:
					m.mark = &w.Marks[i]
				case len(w.Stops) > 0 || len(w.Unsure) == 0:
					continue // no rule sets it, or a rule stops the packet
				}
			}
			ways = append(ways, m)
			break
		}
	}
	return ways
}

func (m *markedWay) finding(f *facts.Facts) Finding {
	how := cond(m.reply, "on its way back", "on its way out")
	x := Finding{Affects: []netip.Addr{m.dial.Addr}, Certainty: Inferred,
		Summary: fmt.Sprintf("The routing policy rule %q comes before the local table and takes every packet with its mark: the connection to %s is lost %s as if a packet filter had set that mark on it.",
			m.rule.Text, at(f, m.dial.Addr), how),
		Evidence: []Evidence{{"ip rule", m.rule.Text}, {"route lookup", fmt.Sprintf("%s without the mark: local; with it: %s", at(f, m.dial.Addr), m.rule.WithMark)}},
		Settle:   "sudo nft list ruleset; sudo iptables -t mangle -S OUTPUT",
		Fixes:    []Fix{m.localFirst(f), {Do: "Leave loopback out where the mark is set: ahead of the rule that sets it, nft insert rule FAMILY TABLE CHAIN oif lo accept, or iptables (for IPv6 ip6tables) -t mangle -I OUTPUT 1 -o lo -j ACCEPT."}}}
	if m.mark == nil {
		return x
	}
	x.Certainty, x.Settle = Proven, ""
	x.Summary = fmt.Sprintf("A packet filter gives the connection to %s the mark %#x, and the routing policy rule %q, ahead of the local table, takes it off lo: it is lost %s: %s.",
		at(f, m.dial.Addr), m.mark.Mark, m.rule.Text, how, placeOf(f, m.mark.Rule))
	x.Evidence = slices.Concat([]Evidence{{"rule", ruleText(f, m.mark.Rule)}}, x.Evidence, []Evidence{{"counters", countedAt(ledgerOf(f, m.dial.Addr), m.dial, m.stage)}})
	x.Fixes = append(leaveOutFixes(f, m.hurdles(f)...), m.localFirst(f))
	return x
}

// localFirst has the packets to the address look up table local ahead of the rule.
func (m *markedWay) localFirst(f *facts.Facts) Fix {
	return localFirst(f.Routes.Rules, localRule(f.Routes.Rules, m.dial.Addr), m.dial.Addr, []*facts.Rule{&m.rule})
}

// hurdles are the rules that set the mark on any packet of the connection: the
// answer may get it too.
func (m *markedWay) hurdles(f *facts.Facts) []hurdle {
	var hs []hurdle
	for _, packet := range []string{facts.Syn, facts.SynAck, facts.Ack} {
		w := f.Filters.Walk(m.dial, packet)
		if packet == facts.SynAck && deref(w).Partial != "" { // nobody can say, as long as the first packet goes astray
			hs = append(hs, hurdle{rule: m.mark.Rule, reply: true, port: f.Target.Port, from: m.dial.From.Addr()})
			continue
		}
		for _, k := range deref(w).Marks {
			h := hurdleOf(f, w, packet, k.Rule, "")
			if takesMark(m.rule.Selector, k.Mark) && !slices.ContainsFunc(hs, func(o hurdle) bool { return sameRule(o.rule, h.rule) && o.reply == h.reply }) {
				hs = append(hs, h)
			}
		}
	}
	return hs
}

// takesMark reads the mark that a routing rule asks for: "fwmark 0x7" or "fwmark
// 0x7/0xff" (ip-rule(8)).
func takesMark(selector string, mark uint32) bool {
	w := strings.Fields(selector)
	for i := 0; i+1 < len(w); i++ {
		if w[i] != "fwmark" {
			continue
		}
		value, mask, masked := strings.Cut(w[i+1], "/")
		v, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return false
		}
		m := uint64(0xffffffff)
		if masked {
			if m, err = strconv.ParseUint(mask, 0, 32); err != nil {
				return false
			}
		}
		return uint64(mark)&m == v
	}
	return false
}
