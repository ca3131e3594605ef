package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Addresses that lo should have, the local routes to them, and the ports from
// which clients connect.

var localTableRouteMissing = &Check{
	Name:     "local-table-route-missing",
	Doc:      "the routing table local has lost the route to an address of this machine",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupRoutes, facts.GroupInterfaces},
	Explains: []*Check{unreachable, noReply, cannotBind, lostOnOutput, lostOnWire},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, r := range f.Routes.Lookups {
			if r.Type == "local" || r.Table == nil || hasLocalRow(r) || rejecting(r) != nil || catches(f.Routes.Rules, r.To) != nil {
				continue
			}
			dev, prefix := holderOf(f, r.To)
			if dev == "" {
				continue
			}
			fix := Fix{Do: "Put the local route back.", Elevated: true, Lasts: UntilReboot}
			// Without a source: the kernel's own route names one, which would have
			// to be local already, and then takes the destination, as this does.
			route := []string{"local", prefix.Masked().String(), "dev", dev, "table", "local", "proto", "kernel"}
			if r.To.Is4() {
				route = append(route, "scope", "host")
			}
			fix.Steps, fix.Undo = [][]string{ip(r.To, "route", "add", route)}, [][]string{ip(r.To, "route", "del", route)}
			fs = append(fs, Finding{Affects: []netip.Addr{r.To}, Certainty: Proven,
				Summary: fmt.Sprintf("%s has the address %s, but table local has no route to it: the kernel does not know it as its own.", dev, r.To),
				Evidence: []Evidence{{"interface " + dev, prefix.String()}, {"ip route show table local", "nothing for " + r.To.String()},
					{"route lookup", fmt.Sprintf("%s: %s", at(f, r.To), cond(r.Errno != "", r.Errno, r.Type+" dev "+r.Device))}},
				Fixes: []Fix{fix}})
		}
		return mergeAddresses(f, fs)
	},
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

func deref(i *facts.Interface) facts.Interface {
	if i == nil {
		return facts.Interface{}
	}
	return *i
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
			key := "net.ipv6.conf." + lo.Name + ".disable_ipv6"
			x.Summary = fmt.Sprintf("IPv6 is switched off on %s (%s = 1), so there is no ::1.", lo.Name, key)
			x.Fixes = []Fix{{Do: "Switch IPv6 on for lo.", Elevated: true, Lasts: UntilReboot, Steps: [][]string{{"sysctl", "-w", key + "=0"}}, Undo: [][]string{{"sysctl", "-w", key + "=1"}}}, use4}
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
	Refines:  localhostBindV6Missing,
	Run: func(f *facts.Facts) []Finding {
		lo := f.Interfaces.Loopback
		if lo == nil || lo.MTU >= minMTU || lo.Holds(v6Loopback) || !slices.Contains(f.Target.Expected(), v6Loopback) {
			return nil
		}
		return []Finding{{Affects: []netip.Addr{v6Loopback}, Certainty: Proven,
			Summary:  fmt.Sprintf("The MTU of %s is %d, and IPv6 needs %d: the kernel has taken ::1 away.", lo.Name, lo.MTU, minMTU),
			Evidence: []Evidence{{"interface " + lo.Name, fmt.Sprintf("mtu %d, addresses %s", lo.MTU, cond(len(lo.Addresses) > 0, prefixes(lo.Addresses), "none"))}},
			Fixes: []Fix{{Do: "Give lo its default MTU, and ::1 back.", Elevated: true, Lasts: UntilReboot,
				Steps: [][]string{{"ip", "link", "set", lo.Name, "mtu", "65536"}, {"ip", "-6", "addr", "add", "::1/128", "dev", lo.Name}},
				Undo:  [][]string{{"ip", "link", "set", lo.Name, "mtu", fmt.Sprint(lo.MTU)}}}}}}
	},
}

var sourcePortsExhausted = &Check{
	Name:     "source-ports-exhausted",
	Doc:      "all temporary ports towards the address are in use",
	Stage:    StageRoute,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupLimits},
	Uses:     []facts.Group{facts.GroupInterfaces},
	Explains: []*Check{unreachable},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if d.Errno != "EADDRNOTAVAIL" || f.Interfaces != nil && d.Addr == v6Loopback && (f.Interfaces.Loopback == nil || !f.Interfaces.Loopback.Holds(d.Addr)) {
				continue // there is no such address to connect from
			}
			low, high := f.Limits.EphemeralLow, f.Limits.EphemeralHigh
			size, used := high-low+1-reservedIn(f.Limits), map[uint16]bool{}
			states := map[facts.State]int{}
			for _, s := range f.Sockets.Sockets {
				if s.Network == "tcp" && s.Remote.Port() == f.Target.Port && s.Remote.Addr().Unmap() == d.Addr && f.Limits.Ephemeral(s.Local.Port()) && !used[s.Local.Port()] {
					used[s.Local.Port()] = true
					states[s.State]++
				}
			}
			if len(used)*10 < size*9 {
				continue
			}
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven,
				Summary: fmt.Sprintf("%d of the %d temporary ports are in use towards %s, most of them in state %s: the kernel has none left for a new client.", len(used), size, at(f, d.Addr), most(states)),
				Evidence: []Evidence{{"net.ipv4.ip_local_port_range", fmt.Sprintf("%d %d", f.Limits.EphemeralLow, f.Limits.EphemeralHigh)},
					{"connect", at(f, d.Addr) + ": EADDRNOTAVAIL"}}}
			const key = "net.ipv4.ip_local_port_range"
			if wide := fmt.Sprintf("%d %d", min(low, 10240), max(high, 60999)); low > 10240 || high < 60999 {
				x.Fixes = append(x.Fixes, Fix{Do: "Widen the range of temporary ports.", Elevated: true, Lasts: UntilReboot,
					Steps: [][]string{{"sysctl", "-w", key + "=" + wide}}, Undo: [][]string{{"sysctl", "-w", fmt.Sprintf("%s=%d %d", key, f.Limits.EphemeralLow, f.Limits.EphemeralHigh)}},
					Risk: "a service that wants a port of the wider range may find it given to a client"})
			}
			x.Fixes = append(x.Fixes, Fix{Do: "Let the clients keep their connections and use them again (keep-alive, a pool) instead of opening one for each request."})
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// reservedIn counts the ports of the range that no client is given: the list of
// net.ipv4.ip_local_reserved_ports is like 8080,9148-9150.
func reservedIn(l *facts.Limits) int {
	n := 0
	for _, part := range strings.Split(l.Reserved, ",") {
		first, last, ok := strings.Cut(part, "-")
		a, errA := strconv.Atoi(first)
		b, errB := a, error(nil)
		if ok {
			b, errB = strconv.Atoi(last)
		}
		if errA == nil && errB == nil {
			n += max(0, min(b, l.EphemeralHigh)-max(a, l.EphemeralLow)+1)
		}
	}
	return n
}

// most is the state that is counted most often.
func most(states map[facts.State]int) facts.State {
	var best facts.State
	for s, n := range states {
		if n > states[best] || n == states[best] && s < best {
			best = s
		}
	}
	return best
}
