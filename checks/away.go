package checks

import (
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// LedAway tells whether a rule of NAT leads the connection of a dial off this machine's
// loopback, into another network namespace or to another machine: the loopback
// interface, and a listener here, then never see it. The rules' walk says so.
func LedAway(f *facts.Facts, d facts.Dial) bool {
	w := f.Filters.Walk(d, facts.Syn)
	return d.Server == nil && w != nil && slices.ContainsFunc(w.Diverts, func(v facts.FilterDivert) bool {
		return leads(v.Kind) && strings.HasPrefix(v.Route, "unicast ")
	})
}

// wentAway tells whether the packets of a dial are seen to have gone past lo, by the rules
// or, where these were not read, by the counters: what loses or refuses them on this side
// of a container is no matter of the container.
func wentAway(f *facts.Facts, d facts.Dial) bool {
	l := ledgerOf(f, d.Addr)
	if l != nil {
		stayed := l.Delta["lo.tx"]+l.Delta["lo.txdrop"] > 0 || l.Delta["OutRsts"] > 0
		if st, lost := lostAt(f, d); stayed || lost && st == StageOutput {
			return false
		}
	}
	if f.Filters != nil {
		if w := f.Filters.Walk(d, facts.Syn); w != nil && (len(w.Stops) > 0 || w.Partial == "" || len(w.Diverts) > 0) {
			return len(w.Stops) == 0 && slices.ContainsFunc(w.Diverts, func(v facts.FilterDivert) bool { return v.Kind == "dnat" })
		}
	}
	return l != nil && l.Delta["OutTransmits"] > 0 // they were sent, and no counter of lo moved
}
