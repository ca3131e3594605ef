package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Addresses that lo should have, and the local routes to them.

var localTableRouteMissing = &Check{
	Name:     "local-table-route-missing",
	Doc:      "the routing table local has lost the route to an address of this machine",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupRoutes, facts.GroupInterfaces},
	Explains: []*Check{unreachable, denied, noReply, notAccepted, cannotBind, lostOnOutput, lostOnWire},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, r := range f.Routes.Lookups {
			if r.Type == "local" || r.Table == nil || hasLocalRow(r) || len(inFront(f, r)) > 0 || localRule(f.Routes.Rules, r.To).first() != nil {
				continue
			}
			dev, prefix := holderOf(f, r.To)
			if dev == "" {
				continue
			}
			fix := Fix{Do: "Put the local route back.", Elevated: true, Lasts: UntilReboot}
			route := localRoute(dev, prefix)
			fix.Steps, fix.Undo = [][]string{ip(r.To, "route", "add", route)}, [][]string{ip(r.To, "route", "del", route)}
			has := "nothing for " + r.To.String()
			if len(r.Table) > 0 {
				has = fmt.Sprintf("no local route for %s, only %s", r.To, strings.Join(routeWords(r.Table[0])[:2], " "))
			}
			fs = append(fs, Finding{Affects: []netip.Addr{r.To}, Certainty: Proven,
				Summary:  fmt.Sprintf("%s has the address %s, but table local has no route to it: the kernel does not know it as its own.", dev, r.To),
				Evidence: []Evidence{{"interface " + dev, prefix.String()}, {"ip route show table local", has}, lookupEvidence(f, r)},
				Fixes:    []Fix{fix}})
		}
		return mergeAddresses(f, fs)
	},
}

// localRoute is a local route, as ip-route(8) takes it. Without a source: the
// kernel's own route names one, which would have to be local already, and then takes
// the destination, as this does.
func localRoute(dev string, prefix netip.Prefix) []string {
	route := []string{"local", prefix.Masked().String(), "dev", dev, "table", "local", "proto", "kernel"}
	if prefix.Addr().Is4() {
		route = append(route, "scope", "host")
	}
	return route
}

// localPlace is where the local route to the address should be; what interfaces have
// need not be known for the addresses that lo has everywhere.
func localPlace(f *facts.Facts, a netip.Addr) (string, netip.Prefix) {
	if f.Interfaces != nil {
		if dev, prefix := holderOf(f, a); dev != "" {
			return dev, prefix
		}
	}
	switch {
	case !a.IsLoopback():
		return "", netip.Prefix{}
	case a.Is4():
		return "lo", netip.PrefixFrom(v4Loopback, 8)
	}
	return "lo", netip.PrefixFrom(a, a.BitLen())
}

// holderOf returns the interface that has the address and the prefix it has it
// by; the whole of 127.0.0.0/8 is local where lo has 127.0.0.1/8.
func holderOf(f *facts.Facts, a netip.Addr) (string, netip.Prefix) {
	for _, i := range append(slices.Clone(f.Interfaces.Others), deref(f.Interfaces.Loopback)) {
		for _, p := range i.Addresses {
			switch {
			case p.Addr() == a && a.IsLoopback() && a.Is4(), p.Contains(a) && a.IsLoopback() && a.Is4():
				return i.Name, p
			case p.Addr() == a:
				return i.Name, netip.PrefixFrom(a, a.BitLen())
			}
		}
	}
	return "", netip.Prefix{}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

var loopbackAliasMissing = &Check{
	Name:     "loopback-alias-missing",
	Doc:      "lo does not have the whole of 127.0.0.0/8, and the address is another than 127.0.0.1",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupInterfaces},
	Explains: []*Check{unreachable, cannotBind},
	Run: func(f *facts.Facts) []Finding {
		lo := f.Interfaces.Loopback
		var on []netip.Addr
		for _, a := range f.Target.Expected() {
			if a.Is4() && a.IsLoopback() && a != v4Loopback && lo != nil {
				if dev, _ := holderOf(f, a); dev == "" {
					on = append(on, a)
				}
			}
		}
		if len(on) == 0 {
			return nil
		}
		return []Finding{{Affects: on, Certainty: Proven,
			Summary:  fmt.Sprintf("%s does not have %s: its addresses are %s.", lo.Name, on[0], cond(len(lo.Addresses) > 0, prefixes(lo.Addresses), "none")),
			Evidence: []Evidence{{"interface " + lo.Name, "addresses " + cond(len(lo.Addresses) > 0, prefixes(lo.Addresses), "none")}},
			Fixes: []Fix{{Do: "Give lo the whole of 127.0.0.0/8, as it is by default.", Elevated: true, Lasts: UntilReboot,
				Steps: [][]string{{"ip", "addr", "add", "127.0.0.1/8", "dev", lo.Name}}, Undo: [][]string{{"ip", "addr", "del", "127.0.0.1/8", "dev", lo.Name}}}}}}
	},
}

// addressNotOnThisMachine is about servers alone: loopdoctor connects to no address
// that is not here.
var addressNotOnThisMachine = &Check{
	Name:     "address-not-on-this-machine",
	Doc:      "the server is to listen on an address that no interface of this machine has",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupInterfaces, facts.GroupBinds},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		i := f.Interfaces
		var on []netip.Addr
		for _, b := range f.Binds {
			foreign := !b.Addr.IsLoopback() && !b.Addr.IsUnspecified() && (b.Addr.Is4() || i.IPv6.Present && !i.IPv6.Disabled)
			has := slices.ContainsFunc(i.Others, func(o facts.Interface) bool { return o.Holds(b.Addr) }) || i.Loopback != nil && i.Loopback.Holds(b.Addr)
			if b.Errno == "EADDRNOTAVAIL" && foreign && !has && !slices.Contains(on, b.Addr) {
				on = append(on, b.Addr)
			}
		}
		if len(on) == 0 {
			return nil
		}
		var own []string
		for _, o := range i.Others {
			for _, p := range o.Addresses {
				if p.Addr().Is4() == on[0].Is4() && !p.Addr().IsLinkLocalUnicast() {
					own = append(own, fmt.Sprintf("%s (%s)", p.Addr(), o.Name))
				}
			}
		}
		has := cond(len(own) > 0, list(few(own, 3)), "none but loopback")
		return []Finding{{Affects: on, Certainty: Proven,
			Summary:  fmt.Sprintf("No interface of this machine has %s, so no server can listen there; it has %s.", on[0], has),
			Evidence: []Evidence{{"bind", fmt.Sprintf("%s: EADDRNOTAVAIL", at(f, on[0]))}, {"interfaces", has}},
			Fixes: []Fix{{Do: fmt.Sprintf("Have your server listen on %s, for clients on this machine alone%s.", cond(on[0].Is4(), "127.0.0.1", "::1"),
				cond(len(own) > 0, ", or on an address that the machine has", ""))},
				{Do: "If the machine is to have that address (a network that is not up yet, a VPN, a floating address): bring that up first, and start the server after it."}}}}
	},
}

// localhostBindV6Missing is named for what servers meet first: a name that is
// ::1 in the hosts file, on a machine whose lo has no such address.
var localhostBindV6Missing = &Check{
	Name:     "localhost-bind-v6-missing",
	Doc:      "::1 is not assigned to lo",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupInterfaces},
	Explains: []*Check{unreachable, cannotBind},
	Run: func(f *facts.Facts) []Finding {
		lo := f.Interfaces.Loopback
		if lo == nil || lo.Holds(v6Loopback) || !slices.Contains(f.Target.Expected(), v6Loopback) {
			return nil
		}
		x := Finding{Affects: []netip.Addr{v6Loopback}, Certainty: Proven,
			Evidence: []Evidence{{"interface " + lo.Name, "addresses " + cond(len(lo.Addresses) > 0, prefixes(lo.Addresses), "none")}}}
		use4 := Fix{Do: "Use 127.0.0.1 instead."}
		switch {
		case !f.Interfaces.IPv6.Present:
			x.Summary = "This kernel does not speak IPv6, so there is no ::1."
			x.Fixes = []Fix{use4}
		case f.Interfaces.IPv6.Disabled:
			key := disableKey(lo.Name)
			x.Summary = fmt.Sprintf("IPv6 is switched off on %s (%s = 1), so there is no ::1.", lo.Name, key)
			if f.Interfaces.IPv6.All {
				x.Summary = fmt.Sprintf("IPv6 is switched off on all interfaces (%s = 1), so %s has no ::1.", disableKey("all"), lo.Name)
				x.Evidence = append(x.Evidence, Evidence{"sysctl", fmt.Sprintf("%s = 1, %s = 1", disableKey("all"), key)})
			}
			x.Fixes = []Fix{{Do: "Switch IPv6 on for lo.", Elevated: true, Lasts: UntilReboot, Steps: [][]string{{"sysctl", "-w", key + "=0"}}, Undo: [][]string{{"sysctl", "-w", key + "=1"}},
				Risk: cond(f.Interfaces.IPv6.All, "the other interfaces stay without IPv6; whatever sets "+disableKey("all")+" (see /etc/sysctl.d) may switch it off again", "")}, use4}
		default:
			x.Summary = fmt.Sprintf("The address ::1 is missing from %s.", lo.Name)
			x.Fixes = []Fix{{Do: "Give lo its address back.", Elevated: true, Lasts: UntilReboot,
				Steps: [][]string{{"ip", "-6", "addr", "add", "::1/128", "dev", lo.Name}}, Undo: [][]string{{"ip", "-6", "addr", "del", "::1/128", "dev", lo.Name}}}, use4}
		}
		return []Finding{x}
	},
}

// minMTU is the smallest an IPv6 link may have (RFC 8200 section 5): below it
// the kernel takes IPv6 off the interface.
const minMTU = 1280

var loMTUTooSmall = &Check{
	Name:     "lo-mtu-too-small",
	Doc:      "the MTU of lo is below 1280, so the kernel has taken IPv6 off it",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupInterfaces},
	Explains: []*Check{unreachable, cannotBind},
	Refines:  []*Check{localhostBindV6Missing},
	Run: func(f *facts.Facts) []Finding {
		lo := f.Interfaces.Loopback
		if lo == nil || lo.MTU >= minMTU || lo.Holds(v6Loopback) || !slices.Contains(f.Target.Expected(), v6Loopback) {
			return nil
		}
		x := Finding{Affects: []netip.Addr{v6Loopback}, Certainty: Proven,
			Summary:  fmt.Sprintf("The MTU of %s is %d, and IPv6 needs %d: the kernel has taken ::1 away.", lo.Name, lo.MTU, minMTU),
			Evidence: []Evidence{{"interface " + lo.Name, fmt.Sprintf("mtu %d, addresses %s", lo.MTU, cond(len(lo.Addresses) > 0, prefixes(lo.Addresses), "none"))}}}
		fix := Fix{Do: "Give lo its default MTU, and ::1 back.", Elevated: true, Lasts: UntilReboot,
			Steps: [][]string{{"ip", "link", "set", lo.Name, "mtu", "65536"}, {"ip", "-6", "addr", "add", "::1/128", "dev", lo.Name}},
			Undo:  [][]string{{"ip", "link", "set", lo.Name, "mtu", fmt.Sprint(lo.MTU)}}}
		if f.Interfaces.IPv6.Disabled {
			key := disableKey(lo.Name)
			x.Summary = strings.TrimSuffix(x.Summary, ".") + fmt.Sprintf("; IPv6 is switched off on it as well (%s = 1).", key)
			fix.Do = "Give lo its default MTU, and switch IPv6 on, which brings ::1."
			fix.Steps = [][]string{fix.Steps[0], {"sysctl", "-w", key + "=0"}}
			fix.Undo = append([][]string{{"sysctl", "-w", key + "=1"}}, fix.Undo...)
		}
		x.Fixes = []Fix{fix}
		return []Finding{x}
	},
}

// disableKey is the sysctl that switches IPv6 off on an interface.
func disableKey(name string) string { return "net.ipv6.conf." + name + ".disable_ipv6" }
