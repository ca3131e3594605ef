package checks

import (
	"cmp"
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
			if x, ok := beforeLocal(f, r); ok {
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

var rejectRouteOnLoopback = &Check{
	Name:     "reject-route-on-loopback",
	Doc:      "a route of another type (blackhole, unreachable, prohibit, throw, unicast) stands where the local route should be",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupRoutes},
	Uses:     []facts.Group{facts.GroupInterfaces},
	Explains: []*Check{unreachable, denied, cannotBind, noReply, notAccepted, lostOnOutput, lostOnWire},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, r := range f.Routes.Lookups {
			if r.Type == "local" || localRule(f.Routes.Rules, r.To).first() != nil || throughWindows(f, r.To) != nil {
				continue
			}
			bad := inFront(f, r)
			if len(bad) == 0 {
				continue
			}
			does := "refuses to send to"
			if t := bad[0].Type; t != "blackhole" && t != "unreachable" && t != "prohibit" {
				does = "does not deliver on this machine what is sent to"
			}
			x := Finding{Affects: []netip.Addr{r.To}, Certainty: Proven,
				Summary:  fmt.Sprintf("Table local holds a %s route for %s: the kernel %s %s.", bad[0].Type, bad[0].Prefix, does, at(f, r.To)),
				Evidence: []Evidence{{"ip route show table local", strings.Join(routeWords(bad[0])[:2], " ")}, lookupEvidence(f, r)}}
			fix := Fix{Do: "Remove the route.", Elevated: true, Lasts: UntilReboot}
			for _, row := range bad {
				words := append(routeWords(row), "table", "local")
				fix.Steps = append(fix.Steps, ip(r.To, "route", "del", words))
				if row.Hops {
					fix.Risk = "the route has more than one way, and to have it again whoever made it has to make it"
					continue
				}
				// Of two routes for one prefix the first one counts, and "add" takes no second one.
				verb := cond(r.To.Is4() && slices.ContainsFunc(r.Table, func(t facts.TableRow) bool { return t.Type == "local" && t.Prefix == row.Prefix }), "prepend", "add")
				fix.Undo = append([][]string{ip(r.To, "route", verb, words)}, fix.Undo...)
			}
			if len(bad) > 1 {
				fix.Do = "Remove the routes."
			}
			// Deleting them uncovers a local route only if there is one left.
			if dev, prefix := localPlace(f, r.To); !hasLocalRow(r) && dev != "" {
				good := localRoute(dev, prefix)
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

// inFront returns the rows of table local that stand in front of the local route to
// the address, or of the place where it should be, the one that decides first. A
// wider one, such as a default route, does no harm there.
func inFront(f *facts.Facts, r facts.Route) []facts.TableRow {
	dev, prefix := localPlace(f, r.To)
	bits := prefix.Bits()
	if dev == "" {
		bits = r.To.BitLen()
	}
	if hasLocalRow(r) {
		bits = 0
		for _, t := range r.Table {
			if t.Type == "local" {
				bits = max(bits, t.Prefix.Bits())
			}
		}
	}
	var bad []facts.TableRow
	for _, t := range r.Table {
		switch t.Type {
		case "blackhole", "unreachable", "prohibit", "throw", "unicast":
			if t.Prefix.Bits() >= bits {
				bad = append(bad, t)
			}
		}
	}
	slices.SortStableFunc(bad, func(a, b facts.TableRow) int {
		return cmp.Or(cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()), cmp.Compare(a.Metric, b.Metric))
	})
	return bad
}

// routeWords are a route as ip-route(8) takes it, without its table.
func routeWords(t facts.TableRow) []string {
	w := []string{t.Type, t.Prefix.String()}
	if t.Via.IsValid() {
		w = append(w, "via", t.Via.String())
	}
	if t.Device != "" && t.Type == "unicast" { // the kernel gives lo to the others of IPv6
		w = append(w, "dev", t.Device)
	}
	if t.Metric != 0 && (t.Prefix.Addr().Is4() || t.Metric != 1024) { // IP6_RT_PRIO_USER, the default of ip-route(8)
		w = append(w, "metric", fmt.Sprint(t.Metric))
	}
	return w
}

func hasLocalRow(r facts.Route) bool {
	return slices.ContainsFunc(r.Table, func(t facts.TableRow) bool { return t.Type == "local" })
}

func lookupEvidence(f *facts.Facts, r facts.Route) Evidence {
	return Evidence{"route lookup", fmt.Sprintf("%s: %s", at(f, r.To), cond(r.Errno != "", r.Errno, strings.TrimSuffix(r.Type+" dev "+r.Device, " dev ")))}
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
