package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Listener and client disagree: something listens on the port, but not at the
// address or in the family that the client uses.

var (
	v4Loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	v6Loopback = netip.IPv6Loopback()
)

var v6OnlyServerV4Client = &Check{
	Name:     "v6-only-server-v4-client",
	Doc:      "the server listens on ::1 only, and the client uses 127.0.0.1",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupInterfaces, facts.GroupConfigs},
	Explains: []*Check{refused, portUnreachable},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		if f.Target.Network == "udp" {
			return udpMismatch(f, netip.Addr.Is4, func(s facts.Socket) bool {
				return s.Local.Addr().Is6() && s.Serves(v6Loopback) && !s.Local.Addr().IsUnspecified()
			}, "IPv6", "IPv4",
				fmt.Sprintf("Have the server bind to 127.0.0.1 too, or let the client use [::1]:%d.", f.Target.Port))
		}
		do := fmt.Sprintf("Make the server listen on 127.0.0.1 too (Vite, Nuxt, Angular: --host 127.0.0.1; Node: listen(%d, '127.0.0.1'))", f.Target.Port)
		if i := f.Interfaces; i == nil || i.Loopback == nil || i.Loopback.Holds(v6Loopback) {
			do += fmt.Sprintf(", or let the client use [::1]:%d", f.Target.Port)
		}
		return familyMismatch(f, v6Loopback, func(a netip.Addr) bool { return a.Is4() }, "IPv6", "IPv4", do+".")
	},
}

var v4OnlyServerV6Client = &Check{
	Name:     "v4-only-server-v6-client",
	Doc:      "the server listens on IPv4 only, and the client uses ::1",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupNames, facts.GroupConfigs},
	Explains: []*Check{refused, portUnreachable},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		if f.Target.Network == "udp" {
			return udpMismatch(f, netip.Addr.Is6, func(s facts.Socket) bool { return s.Serves(v4Loopback) }, "IPv4", "IPv6",
				fmt.Sprintf("Have the server bind to ::1 too, or let the client use 127.0.0.1:%d.", f.Target.Port))
		}
		// Of a name that has both the order is the matter: v6-first-v4-only-server.
		both := slices.ContainsFunc(f.Target.Addresses, func(a facts.Address) bool { return a.Addr.Is4() })
		if both && !triedSecond(f) {
			return nil
		}
		return familyMismatch(f, v4Loopback, func(a netip.Addr) bool { return a.Is6() }, "IPv4", "IPv6",
			fmt.Sprintf("Make the server listen on ::1 too, or let the client use 127.0.0.1:%d.", f.Target.Port))
	},
}

// triedSecond tells whether a client's error names ::1 although that is not the
// first address of the name.
func triedSecond(f *facts.Facts) bool {
	if f.Target.Error == nil || f.Target.Error.Addr.Addr() != v6Loopback || f.Names == nil {
		return false
	}
	return len(f.Names.Addresses) == 0 || f.Names.Addresses[0].Addr != v6Loopback
}

// familyMismatch: every listener that serves the other family's loopback
// address misses an address of this one.
func familyMismatch(f *facts.Facts, other netip.Addr, mine func(netip.Addr) bool, has, wants, do string) []Finding {
	there := serving(f, other)
	if len(there) == 0 || slices.ContainsFunc(there, func(s facts.Socket) bool { return s.Local.Addr().IsUnspecified() && s.Local.Addr().Is6() }) {
		return nil // [::] that serves IPv6 only is v6only-wildcard
	}
	if slices.ContainsFunc(listeners(f), func(s facts.Socket) bool { return mine(s.Local.Addr().Unmap()) }) {
		return nil // the family is served, at another address: lan-ip-only-bind
	}
	var missed []netip.Addr
	remark := true
	for _, a := range f.Target.Addresses {
		if mine(a.Addr) && a.Addr.IsLoopback() && len(serving(f, a.Addr)) == 0 {
			missed, remark = append(missed, a.Addr), remark && !a.Expected
		}
	}
	if len(missed) == 0 {
		return nil
	}
	s := there[0]
	return inConfig(f, s, missed[0], Finding{Affects: missed, Certainty: Proven, Remark: remark, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
		Summary: fmt.Sprintf("%s listens for %s only (%s): a client that uses %s (%s) is refused.", holder(f, s), has, s.Local, wants, ats(f, missed)),
		Fixes:   []Fix{{Do: do}}})
}

// v6FirstV4OnlyServer is about the name localhost, so it is a remark as long as
// some address works: only clients that do not try the next address suffer.
var v6FirstV4OnlyServer = &Check{
	Name:   "v6-first-v4-only-server",
	Doc:    "localhost resolves to ::1 first, and the server listens on IPv4 only",
	Stage:  StageListen,
	Intent: facts.Connect,
	Needs:  []facts.Group{facts.GroupSockets, facts.GroupNames},
	Uses:   []facts.Group{facts.GroupOwners, facts.GroupDials, facts.GroupInterfaces, facts.GroupRoutes, facts.GroupLedger},
	// It brings a refusal about only for such a client: one whose error says so.
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		x, ok := firstIsV6(f)
		if !ok || hasBusyBox(f) { // healthcheck-client-no-fallback says it
			return nil
		}
		var who []string
		for _, c := range Clients(f) {
			if c.Works != nil && !*c.Works && len(c.Addresses) > 0 && c.Addresses[0] == v6Loopback {
				who = append(who, c.Name)
			}
		}
		x.Summary = fmt.Sprintf("%s resolves to ::1 first, and %s: a client that takes the first address and does not fall back is refused%s.", f.Names.Name, v4Listener(f), cond(len(who) > 0, " ("+strings.Join(who, ", ")+")", ""))
		x.Fixes = []Fix{{Do: fmt.Sprintf("Let such a client use 127.0.0.1:%d, or make the server listen on ::1 too.", f.Target.Port)}}
		return []Finding{x}
	},
}

// firstIsV6 finds a name that is ::1 first, and a server for IPv4 only that
// works: what both causes about clients without a fallback have in common.
func firstIsV6(f *facts.Facts) (Finding, bool) {
	ns := f.Names.Addresses
	there := serving(f, v4Loopback)
	if f.Target.Literal || len(ns) == 0 || ns[0].Addr != v6Loopback || len(there) == 0 || len(serving(f, v6Loopback)) > 0 {
		return Finding{}, false
	}
	if f.Dials != nil && !works(f, v4Loopback) {
		return Finding{}, false // there is a worse fault to speak of
	}
	if slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == v6Loopback && d.Outcome == facts.Timeout }) {
		return Finding{}, false // nobody is refused: localhost-slow-fallback
	}
	return Finding{Affects: []netip.Addr{v6Loopback}, Certainty: Proven, Remark: true, Since: since(f, there[0]),
		Evidence: []Evidence{{ns[0].Source, f.Names.Name + " is ::1"}, socketEvidence(f, there[0])}}, true
}

func v4Listener(f *facts.Facts) string {
	s := serving(f, v4Loopback)[0]
	return fmt.Sprintf("%s listens on IPv4 only (%s)", holder(f, s), s.Local)
}

var v6OnlyWildcard = &Check{
	Name:     "v6only-wildcard",
	Doc:      "the server listens on [::] with IPV6_V6ONLY, so IPv4 clients are refused",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupInterfaces, facts.GroupConfigs},
	Explains: []*Check{refused, portUnreachable},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		if f.Target.Network == "udp" {
			return udpMismatch(f, netip.Addr.Is4, func(s facts.Socket) bool { return s.Local.Addr() == netip.IPv6Unspecified() && s.V6Only }, "IPv6, with IPV6_V6ONLY,", "IPv4",
				fmt.Sprintf("Give the server a socket for IPv4 as well, or let it clear IPV6_V6ONLY; or let the client use [::1]:%d.", f.Target.Port))
		}
		for _, s := range listeners(f) {
			l := s.Local.Addr()
			if !(l.Is6() && l.IsUnspecified() && s.V6Only) {
				continue
			}
			var missed []netip.Addr
			remark := true
			for _, a := range f.Target.Addresses {
				if a.Addr.Is4() && len(serving(f, a.Addr)) == 0 {
					missed, remark = append(missed, a.Addr), remark && !a.Expected
				}
			}
			if len(missed) == 0 {
				return nil
			}
			x := Finding{Affects: missed, Certainty: Proven, Remark: remark, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
				Summary: fmt.Sprintf("%s listens on [::]:%d with IPV6_V6ONLY: it serves IPv6 alone, and %s is refused.", holder(f, s), f.Target.Port, ats(f, missed)),
				Fixes: []Fix{{Do: fmt.Sprintf("Give the server a listener for IPv4 as well (nginx: listen 127.0.0.1:%d; next to listen [::]:%d;), or let it clear IPV6_V6ONLY (nginx: ipv6only=off).", f.Target.Port, f.Target.Port),
					Risk: "a wildcard listener can be reached from other machines"}}}
			if f.Interfaces != nil && f.Interfaces.IPv6.BindV6Only {
				const key = "net.ipv6.bindv6only"
				x.Evidence = append(x.Evidence, Evidence{"sysctl", key + " = 1: a program that does not say otherwise gets it so"})
				x.Fixes = append(x.Fixes, Fix{Do: "Let [::] take IPv4 as well, as it does by default, and restart the server (nginx has its own setting).", Elevated: true, Lasts: UntilReboot,
					Steps: [][]string{{"sysctl", "-w", key + "=0"}}, Undo: [][]string{{"sysctl", "-w", key + "=1"}},
					Risk: "a program that opens one socket for each family may find the second one taken"})
			}
			return inConfig(f, s, missed[0], x)
		}
		return nil
	},
}

var lanIPOnlyBind = &Check{
	Name:     "lan-ip-only-bind",
	Doc:      "the server listens on another address of this machine only",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupConfigs, facts.GroupContainers, facts.GroupForwards},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		var on []netip.Addr
		var s facts.Socket
		for _, a := range unserved(f) {
			if !a.IsLoopback() && onLoopbackAlone(f) {
				continue // the mirror of this: loopback-only-remote-client
			}
			for _, l := range listeners(f) {
				if local := l.Local.Addr(); l.Device == "" && !local.IsUnspecified() && local.Unmap().Is4() == a.Is4() {
					on, s = append(on, a), l
					break
				}
			}
		}
		if len(on) == 0 {
			return nil
		}
		none := meant(f, on)
		var where []string
		for _, l := range listeners(f) {
			where = append(where, l.Local.String())
		}
		slices.Sort(where)
		if p := publishedOn(f, s); p != nil {
			return publishedElsewhere(f, s, p, none)
		}
		return inConfig(f, s, none[0], Finding{Affects: none, Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
			Summary: fmt.Sprintf("%s listens on %s only, not on %s.", holder(f, s), list(slices.Compact(where)), ats(f, none)),
			Fixes:   []Fix{{Do: fmt.Sprintf("Let the client use %s, or make the server listen on %s as well.", s.Local, none[0])}}})
	},
}

var listenerPinnedToDevice = &Check{
	Name:     "listener-pinned-to-device",
	Doc:      "the listening socket is tied to another interface than lo",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupConfigs},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none := unserved(f)
		for _, s := range listeners(f) {
			var on []netip.Addr
			for _, a := range none {
				if s.Covers(a) && !s.Serves(a) {
					on = append(on, a)
				}
			}
			if len(on) > 0 {
				return inConfig(f, s, on[0], Finding{Affects: meant(f, on), Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
					Summary: fmt.Sprintf("%s listens on %s, but its socket is tied to the interface %s (SO_BINDTODEVICE): connections over lo do not reach it.", holder(f, s), s.Local, s.Device),
					Fixes:   []Fix{{Do: fmt.Sprintf("Remove the device from the server's configuration (systemd: BindToDevice=%s), or give it a second listener on 127.0.0.1:%d.", s.Device, f.Target.Port)}}})
			}
		}
		return nil
	},
}
