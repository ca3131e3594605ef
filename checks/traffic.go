package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What tc(8) and XDP have put on lo.

var tcOrXDPDropsOnLo = &Check{
	Name:     "tc-or-xdp-drops-on-lo",
	Doc:      "a traffic control filter or an XDP program on lo drops the connection",
	Stage:    StageWire,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupLedger, facts.GroupInterfaces},
	Uses:     []facts.Group{facts.GroupPackets, facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{noReply, notAccepted},
	Refines:  []*Check{lostOnWire},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		lo := deref(f.Interfaces.Loopback)
		for _, d := range f.Dials {
			l := lostOn(f, d, StageWire)
			if l == nil {
				continue
			}
			filters := culprits(lo.Traffic, l)
			dropped := l.Delta["tc.clsact"] + l.Delta["tc.ingress"]
			x := Finding{Affects: []netip.Addr{d.Addr}, Evidence: []Evidence{{"counters", fmt.Sprintf("of %s, %d left the IP layer and never arrived", plural(l.SYNs, "SYN"), l.Gaps().Wire)}}}
			switch {
			case len(filters) > 0 && (facts.Enough(dropped, l.SYNs) || filters[0].Drops != nil):
				x.Certainty = sure(l)
				x.Summary = fmt.Sprintf("The connection to %s is dropped on %s by traffic control: %s%s.", at(f, d.Addr), lo.Name, cond(len(filters) > 1 && filters[0].Drops == nil, "one of ", ""), list(filterNames(filters)))
				if facts.Enough(dropped, l.SYNs) {
					x.Evidence = append(x.Evidence, Evidence{"tc -s qdisc show dev " + lo.Name, fmt.Sprintf("dropped %d more with these SYNs", dropped)})
				}
			case lo.XDP:
				// Its drops are counted nowhere: it is what is left.
				x.Summary = fmt.Sprintf("An XDP program is attached to %s, and the connection to %s is lost there.", lo.Name, at(f, d.Addr))
			default:
				continue
			}
			for _, t := range filters {
				x.Evidence = append(x.Evidence, Evidence{fmt.Sprintf("tc filter show dev %s %s", lo.Name, t.At), strings.Join(append([]string{"protocol", t.Protocol, "pref", fmt.Sprint(t.Priority), t.Kind, t.Name}, t.Options...), " ")})
				x.Fixes = append(x.Fixes, removeFilter(lo.Name, t))
			}
			if len(filters) > 1 {
				x.Settle = fmt.Sprintf("tc -s filter show dev %s ingress; tc -s filter show dev %s egress", lo.Name, lo.Name)
			}
			if len(filters) == 0 {
				x.Evidence = append(x.Evidence, Evidence{"ip -d link show " + lo.Name, strings.TrimSpace(fmt.Sprintf("%s, program %d", lo.XDPMode, lo.XDPID))})
				x.Settle = fmt.Sprintf("sudo bpftool net show dev %s; sudo bpftool prog show id %d", lo.Name, lo.XDPID)
				x.Fixes = []Fix{{Do: fmt.Sprintf("Take the program off: ip link set dev %s %s off (until reboot). There is no undo: only what loaded it can attach it again; stop that first.", lo.Name, cond(lo.XDPMode != "", lo.XDPMode, "xdp"))}}
			}
			x.Evidence = append(x.Evidence, seen(f, d)...)
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// lostOn returns the ledger of a connection that got lost at the stage.
func lostOn(f *facts.Facts, d facts.Dial, stage Stage) *facts.Ledger {
	if st, ok := lostAt(f, d); !ok || st != stage || d.Outcome != facts.Timeout && !d.HalfOpen() {
		return nil
	}
	return ledgerOf(f, d.Addr)
}

// culprits returns the filters that may have dropped the SYNs of the ledger:
// the ones whose own counter moved, or else all at ingress and egress that have
// none.
func culprits(t *facts.Traffic, l *facts.Ledger) []facts.Filter {
	if t == nil {
		return nil
	}
	var counted, silent []facts.Filter
	for _, x := range t.Filters {
		switch {
		case facts.Enough(l.Delta[fmt.Sprintf("tc.%s.%d", x.At, x.Priority)], l.SYNs):
			counted = append(counted, x)
		case x.Drops == nil && x.At != "root" && (x.Protocol == "all" || (x.Protocol == "ipv6") == l.Addr.Is6()):
			silent = append(silent, x)
		}
	}
	if len(counted) > 0 {
		return counted
	}
	return silent
}

func filterNames(fs []facts.Filter) []string {
	var out []string
	for _, x := range fs {
		out = append(out, fmt.Sprintf("the %s filter %d at %s%s", x.Kind, x.Priority, x.At, cond(x.Name != "", " ("+x.Name+")", "")))
	}
	return out
}

// removeFilter takes off one filter, never the whole of traffic control. Only
// one that is known in full can be put back, so only then there are steps.
func removeFilter(device string, t facts.Filter) Fix {
	where := []string{"dev", device, t.At, "protocol", t.Protocol, "prio", fmt.Sprint(t.Priority)}
	del := append([]string{"tc", "filter", "del"}, where...)
	if !t.Full {
		return Fix{Do: fmt.Sprintf("Take off that filter alone: %s (until reboot). There is no undo: only what set it can set it again.", strings.Join(del, " "))}
	}
	add := slices.Concat([]string{"tc", "filter", "add"}, where, []string{t.Kind}, t.Options)
	return Fix{Do: "Take off that filter.", Steps: [][]string{del}, Undo: [][]string{add}, Elevated: true, Lasts: UntilReboot, Risk: "what set it may set it again"}
}

// shaping are disciplines that hold packets back or drop them on purpose; others
// only order them.
var shaping = []string{"tbf", "netem", "cake", "htb", "hfsc", "cbq", "plug", "red", "sfb", "choke", "gred"}

var tcShapesLo = &Check{
	Name:     "tc-shapes-lo",
	Doc:      "a queueing discipline on lo delays or drops what loopback carries",
	Stage:    StageWire,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupInterfaces},
	Uses:     []facts.Group{facts.GroupLedger, facts.GroupSockets},
	Explains: []*Check{noReply, notAccepted},
	Refines:  []*Check{lostOnWire},
	Run: func(f *facts.Facts) []Finding {
		lo := deref(f.Interfaces.Loopback)
		q := lo.Traffic.Root()
		if q == nil {
			return nil
		}
		var fs []Finding
		what := strings.Join(append([]string{q.Kind}, q.Options...), " ")
		late := false
		for _, d := range f.Dials {
			late = late || d.Late
			l := lostOn(f, d, StageWire)
			if l == nil {
				continue
			}
			dropped, waits := l.Delta["tc.root"], l.Delta["tc.backlog"]
			if !facts.Enough(dropped, l.SYNs) && waits <= 0 {
				continue
			}
			fs = append(fs, Finding{Affects: []netip.Addr{d.Addr}, Certainty: sure(l),
				Summary: fmt.Sprintf("The queueing discipline %q on %s %s the connection to %s.", what, lo.Name, cond(facts.Enough(dropped, l.SYNs), "drops", "holds back"), at(f, d.Addr)),
				Evidence: []Evidence{{"tc -s qdisc show dev " + lo.Name, fmt.Sprintf("of %s, %d dropped and %d bytes left waiting", plural(l.SYNs, "SYN"), dropped, waits)},
					{"counters", fmt.Sprintf("%d left the IP layer and did not arrive", l.Gaps().Wire)}},
				Fixes: []Fix{removeQdisc(lo.Name, *q)}})
		}
		if len(fs) > 0 || !slices.Contains(shaping, q.Kind) || f.Target.Port != 0 && !slices.ContainsFunc(f.Target.Expected(), func(a netip.Addr) bool { return works(f, a) }) {
			return mergeAddresses(f, fs)
		}
		return []Finding{{Certainty: Proven, Remark: true,
			Summary:  fmt.Sprintf("The queueing discipline %q on %s shapes all loopback traffic%s: connections may come up and then crawl, stall or lose large packets.", what, lo.Name, cond(late, ", and the connection came late", "")),
			Evidence: []Evidence{{"tc -s qdisc show dev " + lo.Name, fmt.Sprintf("%s: %d packets dropped so far, %d bytes wait", what, q.Drops, q.Backlog)}},
			Fixes:    []Fix{removeQdisc(lo.Name, *q)}}}
	},
}

// removeQdisc gives lo its default back, which is none. What cannot be made again
// as it was is taken off by hand.
func removeQdisc(device string, q facts.Qdisc) Fix {
	del := []string{"tc", "qdisc", "del", "dev", device, "root"}
	if !q.Full {
		return Fix{Do: fmt.Sprintf("Take it off: %s (until reboot). To put it back you need what set it: keep what tc -d qdisc show dev %s and tc class show dev %s say.", strings.Join(del, " "), device, device)}
	}
	return Fix{Do: "Take it off; by default lo has no queue.", Steps: [][]string{del}, Elevated: true, Lasts: UntilReboot,
		Undo: [][]string{append([]string{"tc", "qdisc", "add", "dev", device, "root", q.Kind}, q.Options...)}, Risk: "what set it may set it again"}
}
