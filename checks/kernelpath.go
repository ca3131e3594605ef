package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The kernel's own path: the interface lo, its addresses, routes and rules.

var loDown = &Check{
	Name:     "lo-down",
	Doc:      "the loopback interface is down",
	Stage:    StageRoute, // it was never up: the addresses are missing; it went down later: packets die on the wire
	Needs:    []facts.Group{facts.GroupInterfaces},
	Uses:     []facts.Group{facts.GroupLedger},
	Explains: []*Check{unreachable, noReply, cannotBind, loV4AddressMissing, localhostBindV6Missing, loopbackAliasMissing},
	Refines:  []*Check{lostOnWire},
	Run: func(f *facts.Facts) []Finding {
		lo := f.Interfaces.Loopback
		if lo == nil || lo.Up {
			return nil
		}
		var on []netip.Addr
		for _, a := range f.Target.Addresses {
			// Every address of this machine is reached over lo.
			if a.Addr.IsLoopback() || slices.ContainsFunc(f.Interfaces.Others, func(i facts.Interface) bool { return i.Holds(a.Addr) }) {
				on = append(on, a.Addr)
			}
		}
		if len(on) == 0 {
			return nil
		}
		x := Finding{Affects: on, Certainty: Proven, Summary: fmt.Sprintf("The loopback interface %s is down: nothing on this machine can reach its own addresses.", lo.Name),
			Evidence: []Evidence{{"interface " + lo.Name, fmt.Sprintf("flags without UP, mtu %d, addresses %s", lo.MTU, cond(len(lo.Addresses) > 0, prefixes(lo.Addresses), "none"))}},
			Fixes: []Fix{{Do: "Bring the interface up.", Steps: [][]string{{"ip", "link", "set", lo.Name, "up"}}, Undo: [][]string{{"ip", "link", "set", lo.Name, "down"}},
				Elevated: true, Lasts: UntilReboot}}}
		if lo.Holds(v4Loopback) {
			x.Stage = StageWire
		}
		return []Finding{x}
	},
}

var loV4AddressMissing = &Check{
	Name:     "lo-v4-address-missing",
	Doc:      "127.0.0.1 is not assigned to lo",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupInterfaces},
	Explains: []*Check{unreachable, cannotBind},
	Run: func(f *facts.Facts) []Finding {
		lo := f.Interfaces.Loopback
		if lo == nil || lo.Holds(v4Loopback) || slices.ContainsFunc(f.Interfaces.Others, func(i facts.Interface) bool { return i.Holds(v4Loopback) }) {
			return nil
		}
		if f.Target.Port != 0 && !slices.ContainsFunc(f.Target.Addresses, func(a facts.Address) bool { return a.Addr == v4Loopback }) {
			return nil
		}
		return []Finding{{Affects: []netip.Addr{v4Loopback}, Certainty: Proven, Summary: fmt.Sprintf("The address 127.0.0.1 is missing from %s.", lo.Name),
			Evidence: []Evidence{{"interface " + lo.Name, "addresses " + cond(len(lo.Addresses) > 0, prefixes(lo.Addresses), "none")}},
			Fixes: []Fix{{Do: "Give lo its address back.", Elevated: true, Lasts: UntilReboot,
				Steps: [][]string{{"ip", "addr", "add", "127.0.0.1/8", "dev", lo.Name}}, Undo: [][]string{{"ip", "addr", "del", "127.0.0.1/8", "dev", lo.Name}}}}}}
	},
}

var policyRuleBeforeLocal = &Check{
	Name:     "policy-rule-before-local",
	Doc:      "a routing policy rule catches the packets before the local table",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupRoutes},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupLedger, facts.GroupSockets, facts.GroupFilters},
	Explains: []*Check{unreachable, denied, noReply, notAccepted, lostOnOutput, lostOnWire, replyLost},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, m := range markedWays(f) {
			fs = append(fs, m.finding(f))
		}
		for _, r := range f.Routes.Lookups {
			if r.Type == "local" || throughWindows(f, r.To) != nil { // WSL needs the rule, and it is no fault
				continue
			}
			rule := catches(f.Routes.Rules, r.To)
			if rule == nil {
				continue
			}
			x := Finding{Affects: []netip.Addr{r.To}, Certainty: Proven,
				Summary:  fmt.Sprintf("The routing policy rule %q comes before the local table and takes the packets to %s.", rule.Text, at(f, r.To)),
				Evidence: []Evidence{{"ip rule", rule.Text}, {"route lookup", fmt.Sprintf("%s: %s", at(f, r.To), cond(r.Errno != "", r.Errno, r.Type+" dev "+r.Device))}}}
			x.Fixes = []Fix{removeRule(*rule)}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

func removeRule(r facts.Rule) Fix {
	spec := append(strings.Fields(r.Selector), "pref", fmt.Sprint(r.Priority))
	spec = append(spec, action(r)...)
	family := cond(r.IPv6, "-6", "-4")
	return Fix{Do: "Remove the rule.", Elevated: true, Lasts: UntilReboot,
		Steps: [][]string{append([]string{"ip", family, "rule", "del"}, spec...)}, Undo: [][]string{append([]string{"ip", family, "rule", "add"}, spec...)},
		Risk: "what set the rule (a VPN, a transparent proxy) may need it, and may set it again"}
}

// catches returns the rule that decides over the address before any rule looks
// up table local (255): the first that matches it.
func catches(rules []facts.Rule, a netip.Addr) *facts.Rule {
	for i, r := range rules {
		if r.IPv6 != a.Is6() || !slices.Contains(r.Matches, a) {
			continue
		}
		if r.Action == "lookup" && r.Table == 255 {
			return nil
		}
		if r.Action == "lookup" || r.Action == "blackhole" || r.Action == "unreachable" || r.Action == "prohibit" {
			return &rules[i]
		}
	}
	return nil
}

func action(r facts.Rule) []string {
	if r.Action == "lookup" {
		return []string{"lookup", fmt.Sprint(r.Table)}
	}
	return []string{r.Action}
}

var rejectRouteOnLoopback = &Check{
	Name:     "reject-route-on-loopback",
	Doc:      "a blackhole, unreachable or prohibit route stands where the local route should be",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupRoutes},
	Explains: []*Check{unreachable, denied},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, r := range f.Routes.Lookups {
			if r.Type == "local" || catches(f.Routes.Rules, r.To) != nil {
				continue
			}
			row := rejecting(r)
			if row == nil {
				continue
			}
			bad := []string{row.Type, row.Prefix.String(), "table", "local"}
			x := Finding{Affects: []netip.Addr{r.To}, Certainty: Proven,
				Summary:  fmt.Sprintf("Table local holds a %s route for %s: the kernel refuses to send to %s.", row.Type, row.Prefix, at(f, r.To)),
				Evidence: []Evidence{{"ip route show table local", row.Type + " " + row.Prefix.String()}, {"route lookup", fmt.Sprintf("%s: %s", at(f, r.To), cond(r.Errno != "", r.Errno, r.Type))}}}
			fix := Fix{Do: "Remove the route.", Elevated: true, Lasts: UntilReboot, Steps: [][]string{ip(r.To, "route", "del", bad)}, Undo: [][]string{ip(r.To, "route", "add", bad)}}
			// Deleting it uncovers a local route only if there is one left.
			if r.To.IsLoopback() && !hasLocalRow(r) {
				good := []string{"local", row.Prefix.String(), "dev", "lo", "table", "local", "proto", "kernel"}
				if r.To.Is4() {
					good = append(good, "scope", "host", "src", "127.0.0.1")
				}
				fix.Do = "Put the local route back."
				fix.Steps = append(fix.Steps, ip(r.To, "route", "add", good))
				fix.Undo = append([][]string{ip(r.To, "route", "del", good)}, fix.Undo...)
			}
			x.Fixes = []Fix{fix}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

func rejecting(r facts.Route) *facts.TableRow {
	var best *facts.TableRow
	for i := range r.Table {
		row := &r.Table[i]
		if (row.Type == "blackhole" || row.Type == "unreachable" || row.Type == "prohibit") && (best == nil || row.Prefix.Bits() > best.Prefix.Bits()) {
			best = row
		}
	}
	return best
}

func hasLocalRow(r facts.Route) bool {
	return slices.ContainsFunc(r.Table, func(t facts.TableRow) bool { return t.Type == "local" })
}

// ip is one call of ip(8) in the family of the address.
func ip(a netip.Addr, object, verb string, args []string) []string {
	return append([]string{"ip", cond(a.Is6(), "-6", "-4"), object, verb}, args...)
}

func prefixes(ps []netip.Prefix) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
