package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The port cannot be taken: bind() fails.

var portHeldByOtherApp = &Check{
	Name:     "port-held-by-other-app",
	Doc:      "another program listens on the port already",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		held, verb := listeners(f), "listens on"
		if f.Target.Network == "udp" {
			held, verb = slices.DeleteFunc(slices.Clone(f.Sockets.Sockets), func(s facts.Socket) bool {
				return s.Network != "udp" || s.Local.Port() != f.Target.Port
			}), "has the UDP port"
		}
		for _, s := range held {
			on := bindsLostTo(f, s)
			if len(on) == 0 {
				continue
			}
			fs = append(fs, Finding{Affects: on, Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
				Summary: fmt.Sprintf("%s %s %s already.", holder(f, s), verb, s.Local),
				Fixes:   append(stopHolders(f, s, "Stop %s."), Fix{Do: "Give your server another port."})})
		}
		return mergeAddresses(f, fs)
	},
}

// staleOwnDevServer: same user and same directory as the person who asks. That
// the process holds the port is proven; that it is a forgotten run is the
// nearest reading of it.
var staleOwnDevServer = &Check{
	Name:     "stale-own-dev-server",
	Doc:      "an earlier run of the same project still holds the port",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupBinds},
	Explains: []*Check{cannotBind},
	Refines:  portHeldByOtherApp,
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on := bindsLostTo(f, s)
			ps := f.Owners.Of(s)
			if len(on) == 0 || len(ps) == 0 || !ownProject(f, ps[0]) {
				continue
			}
			p := ps[0]
			orphan := ""
			if p.PPID == 1 && f.Host.Vantage == "host" { // in a container process 1 may well be its parent
				orphan = ", and the shell that started it is gone"
			}
			fs = append(fs, Finding{Affects: on, Certainty: cond(f.Owners.Seen(s), Proven, Inferred), Since: p.Started,
				Summary:  fmt.Sprintf("An earlier run of your own still holds %s: %s, started in %s%s.", s.Local, who(p), p.Cwd, orphan),
				Evidence: []Evidence{socketEvidence(f, s), {"process", fmt.Sprintf("%d: %s, working directory %s", p.PID, words(p), p.Cwd)}},
				Fixes:    stopHolders(f, s, "Stop the earlier run, %s.")})
		}
		return mergeAddresses(f, fs)
	},
}

func ownProject(f *facts.Facts, p facts.Process) bool {
	mine := slices.ContainsFunc(f.Host.As, func(i facts.Identity) bool { return i.UID == p.UID })
	return mine && p.Container == "" && p.Cwd != "" && p.Cwd != "/" && p.Cwd == f.Host.Cwd
}

var ephemeralClientHoldsPort = &Check{
	Name:     "ephemeral-client-holds-port",
	Doc:      "an outgoing connection was given the port as its own",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupLimits, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		if len(listeners(f)) > 0 || !f.Limits.Ephemeral(f.Target.Port) {
			return nil
		}
		var fs []Finding
		for _, s := range pick(f, func(s facts.Socket) bool {
			return (s.State == facts.Established || s.State == facts.SynSent || s.State == facts.CloseWait) && s.Local != s.Remote && s.Remote.Port() != 0
		}) {
			on := bindsLostTo(f, s)
			if len(on) == 0 {
				continue
			}
			x := Finding{Affects: on, Certainty: Inferred, Since: since(f, s),
				Summary: fmt.Sprintf("%s has an outgoing connection from %s to %s: the kernel gave it port %d as a temporary one.", holder(f, s), s.Local, s.Remote, f.Target.Port),
				Evidence: []Evidence{socketEvidence(f, s),
					{"net.ipv4.ip_local_port_range", fmt.Sprintf("%d %d contains port %d", f.Limits.EphemeralLow, f.Limits.EphemeralHigh, f.Target.Port)}},
				Fixes: append(cutFirst(f, stopHolders(f, s, "Close the connection, and stop %s.")), reservePort(f)...)}
			// A connection that a dead listener left behind has a temporary port
			// at its far end.
			if !f.Limits.Ephemeral(s.Remote.Port()) {
				x.Certainty = Proven
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// cutFirst ends the connections on the port before their process: one that ends
// by itself closes them first, and is left with TIME_WAITs on the port.
func cutFirst(f *facts.Facts, fixes []Fix) []Fix {
	for i := range fixes {
		if len(fixes[i].Steps) > 0 {
			fixes[i].Steps = append([][]string{{"ss", "-K", "-t", "-n", fmt.Sprintf("sport = :%d", f.Target.Port)}}, fixes[i].Steps...)
			fixes[i].Elevated = true
		}
	}
	return fixes
}

// reservePort keeps the kernel from handing the port out again. The list is
// one value, so what is reserved already is kept.
func reservePort(f *facts.Facts) []Fix {
	l := f.Limits
	if l == nil || !l.Ephemeral(f.Target.Port) {
		return nil
	}
	ports := fmt.Sprint(f.Target.Port)
	if l.Reserved != "" {
		ports = l.Reserved + "," + ports
	}
	return []Fix{{Do: "Keep the kernel from giving this port to clients again.", Elevated: true, Lasts: UntilReboot,
		Steps: [][]string{{"sysctl", "-w", "net.ipv4.ip_local_reserved_ports=" + ports}},
		Undo:  [][]string{{"sysctl", "-w", "net.ipv4.ip_local_reserved_ports=" + l.Reserved}},
		Risk:  "connections that have the port already keep it"}}
}

var timeWaitBlocksBind = &Check{
	Name:     "time-wait-blocks-bind",
	Doc:      "connections of the last run are in TIME_WAIT, and the server does not set SO_REUSEADDR",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		tw := pick(f, func(s facts.Socket) bool { return s.State == facts.TimeWait })
		if len(tw) == 0 || len(pick(f, func(s facts.Socket) bool { return s.State == facts.Listen || s.State == facts.Bound })) > 0 {
			return nil
		}
		var plain, always []netip.Addr
		var last int64
		for _, s := range tw {
			last = max(last, s.TimerMS)
			for _, b := range f.Binds {
				if b.Errno == "EADDRINUSE" && conflicts(s, b.Addr) {
					if b.ReuseAddr {
						always = append(always, b.Addr)
					} else {
						plain = append(plain, b.Addr)
					}
				}
			}
		}
		if len(plain) == 0 && len(always) == 0 {
			return nil
		}
		x := Finding{Affects: plain, Certainty: Proven, Remark: len(always) == 0,
			Summary: fmt.Sprintf("%s in TIME_WAIT for another %d s: a server that does not set SO_REUSEADDR cannot take port %d until then.", are(len(tw), "connection"), (last+999)/1000, f.Target.Port)}
		if len(always) > 0 {
			x.Affects = always
			x.Summary = fmt.Sprintf("%s in TIME_WAIT for another %d s, and the last run had no SO_REUSEADDR: nobody can take port %d until then.", are(len(tw), "connection"), (last+999)/1000, f.Target.Port)
		}
		for _, s := range tw[:min(len(tw), 3)] {
			x.Evidence = append(x.Evidence, Evidence{"socket", fmt.Sprintf("tcp time-wait %s to %s, %.0f s left", s.Local, s.Remote, float64(s.TimerMS)/1000)})
		}
		x.Fixes = []Fix{
			{Do: "Remove the connections of the last run from the kernel's table.", Elevated: true,
				Steps: [][]string{{"ss", "-K", "-t", "-n", "state", "time-wait", fmt.Sprintf("sport = :%d", f.Target.Port)}},
				Risk:  "a packet of an old connection that is still on its way could reach a new one; on loopback there is none"},
			{Do: fmt.Sprintf("Wait %d s, and set SO_REUSEADDR before bind() in the server (Python: allow_reuse_address = True).", (last+999)/1000)},
		}
		return []Finding{x}
	},
}

// lingeringConnectionBlocksBind: what a listener accepted keeps the port as its
// own port, also when the listener has gone.
var lingeringConnectionBlocksBind = &Check{
	Name:     "lingering-connection-blocks-bind",
	Doc:      "a connection of a server that no longer listens still holds the port",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds, facts.GroupLimits},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		if len(pick(f, func(s facts.Socket) bool { return s.State == facts.Listen || s.State == facts.Bound })) > 0 {
			return nil
		}
		var fs []Finding
		for _, s := range pick(f, lingers) {
			if f.Limits.Ephemeral(f.Target.Port) && !f.Limits.Ephemeral(s.Remote.Port()) {
				continue // ephemeral-client-holds-port
			}
			x := Finding{Affects: bindsLostTo(f, s), Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)}}
			who := "nobody can take the port until it has gone"
			if len(x.Affects) == 0 {
				x.Affects, x.Remark = plainBindsLostTo(f, s), true
				who = "a server that does not set SO_REUSEADDR cannot take the port until it has gone"
			}
			if len(x.Affects) == 0 {
				continue
			}
			x.Summary = fmt.Sprintf("Nothing listens any more, but a connection from %s to %s is still there in state %s (%s): %s.", s.Local, s.Remote, s.State, holder(f, s), who)
			cut := Fix{Do: "Cut the connection.", Elevated: true, Steps: [][]string{{"ss", "-K", "-t", "-n", fmt.Sprintf("sport = :%d", f.Target.Port)}},
				Interrupts: "what the two ends still have to say to each other"}
			x.Fixes = append([]Fix{cut}, stopHolders(f, s, "Stop %s, which holds it, and wait for its TIME_WAIT.")...)
			if s.Inode == 0 { // no process holds it: it goes by itself
				x.Fixes = []Fix{cut, {Do: "Wait: the kernel ends it within about a minute (net.ipv4.tcp_fin_timeout)."}}
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// lingers tells whether a socket is an end of a connection that stays: one that a
// process holds, or one whose other end does not close. The states between last
// for moments, and TIME_WAIT is a cause of its own.
func lingers(s facts.Socket) bool {
	switch s.State {
	case facts.Established, facts.CloseWait:
		return s.Inode != 0 && s.Local != s.Remote && s.Remote.Port() != 0
	case facts.FinWait2:
		return true
	}
	return false
}

var privilegedPort = &Check{
	Name:     "privileged-port",
	Doc:      "the port is below ip_unprivileged_port_start, and the user may not take it",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupLimits, facts.GroupBinds},
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
			{Do: fmt.Sprintf("Give your server a port from %d on.", start)},
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
