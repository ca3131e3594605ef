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
