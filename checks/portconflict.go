package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The port cannot be taken: bind() fails.

var privilegedPort = &Check{
	Name:     "privileged-port",
	Doc:      "the port is below ip_unprivileged_port_start, and the user may not take it",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupLimits, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		start := f.Limits.UnprivilegedPortStart
		if int(f.Target.Port) >= start {
			return nil
		}
		x := Finding{Certainty: Proven, Evidence: []Evidence{{"net.ipv4.ip_unprivileged_port_start", fmt.Sprint(start)}}}
		uid := uint32(0)
		for _, b := range f.Binds {
			if b.Errno == "EACCES" && !slices.Contains(f.Limits.MayBindLow, b.As) {
				x.Affects, uid = append(x.Affects, b.Addr), b.As
			}
		}
		if len(x.Affects) == 0 {
			return nil
		}
		x.Summary = fmt.Sprintf("Port %d is below %d, and uid %d has no CAP_NET_BIND_SERVICE.", f.Target.Port, start, uid)
		x.Fixes = []Fix{
			{Do: fmt.Sprintf("Give your server a port from %d on%s.", start, cond(spare(f) != 0, fmt.Sprintf(": %d is free for you", spare(f)), ""))},
			{Do: fmt.Sprintf("Let every user take ports from %d on.", f.Target.Port), Elevated: true, Lasts: UntilReboot,
				Steps: [][]string{{"sysctl", "-w", fmt.Sprintf("net.ipv4.ip_unprivileged_port_start=%d", f.Target.Port)}},
				Undo:  [][]string{{"sysctl", "-w", fmt.Sprintf("net.ipv4.ip_unprivileged_port_start=%d", start)}},
				Risk:  fmt.Sprintf("any program of any user can then take ports %d to %d before the service that should have them", f.Target.Port, start-1)},
			{Do: "Give the program the capability (sudo setcap cap_net_bind_service=+ep PROGRAM; not for scripts), or its unit AmbientCapabilities=CAP_NET_BIND_SERVICE."},
		}
		return []Finding{x}
	},
}

// conflicts tells whether a socket can keep another from binding the address:
// a wildcard stands in the way of every address of its family, and [::] of both
// unless IPV6_V6ONLY is set.
func conflicts(s facts.Socket, a netip.Addr) bool {
	if s.Covers(a) {
		return true
	}
	l := s.Local.Addr().Unmap()
	switch {
	case a.Is4() && a.IsUnspecified():
		return l.Is4()
	case a.Is6() && a.IsUnspecified(): // tried without IPV6_V6ONLY, as servers do
		return true
	}
	return false
}

// bindFails tells whether the address could not be taken even with SO_REUSEADDR.
func bindFails(f *facts.Facts, a netip.Addr) bool {
	return slices.ContainsFunc(f.Binds, func(b facts.Bind) bool { return b.Addr == a && b.ReuseAddr && b.Errno == "EADDRINUSE" })
}

// bindsLostTo returns the addresses that could not be taken and with which the
// socket conflicts.
func bindsLostTo(f *facts.Facts, s facts.Socket) []netip.Addr {
	var as []netip.Addr
	for _, b := range f.Binds {
		if b.Errno == "EADDRINUSE" && (b.ReuseAddr || f.Target.Network == "udp") && conflicts(s, b.Addr) && !slices.Contains(as, b.Addr) {
			as = append(as, b.Addr)
		}
	}
	return as
}

// plainBindsLostTo is the same for a server that does not set SO_REUSEADDR.
func plainBindsLostTo(f *facts.Facts, s facts.Socket) []netip.Addr {
	var as []netip.Addr
	for _, b := range f.Binds {
		if b.Errno == "EADDRINUSE" && !b.ReuseAddr && conflicts(s, b.Addr) && !slices.Contains(as, b.Addr) {
			as = append(as, b.Addr)
		}
	}
	return as
}

// words is a command line, short.
func words(p facts.Process) string {
	s := strings.Join(p.Args, " ")
	if len(s) > 120 {
		s = s[:120] + "…"
	}
	return cond(s != "", s, p.Name)
}
