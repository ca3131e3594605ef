package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Nothing answers there: no program listens where the client connects.

var noListener = &Check{
	Name:   "no-listener",
	Doc:    "no process listens on the port",
	Stage:  StageListen,
	Intent: facts.Connect,
	Needs:  []facts.Group{facts.GroupSockets},
	Uses: []facts.Group{facts.GroupOwners, facts.GroupDials, facts.GroupCandidates, facts.GroupUnixSockets, facts.GroupConfigs,
		facts.GroupNamespaces, facts.GroupUnits, facts.GroupContainers},
	Explains: []*Check{refused, portUnreachable},
	Run: func(f *facts.Facts) []Finding {
		if f.Target.Network != "tcp" {
			return noUDPListener(f)
		}
		// Where a connection comes to pass all the same, something redirects it.
		none := slices.DeleteFunc(unserved(f), func(a netip.Addr) bool { return works(f, a) })
		if len(none) == 0 {
			return nil
		}
		x := Finding{Affects: none, Certainty: Proven, Summary: fmt.Sprintf("Nothing listens on %s.", ats(f, none)),
			Evidence: []Evidence{{f.Sockets.From, fmt.Sprintf("no TCP socket in state listen serves %s", ats(f, none))}},
			Fixes:    []Fix{{Do: "Start the server, or look for the port that it really listens on: ss -tlnp."}}}
		for _, s := range listeners(f) {
			x.Evidence = append(x.Evidence, socketEvidence(f, s))
		}
		if len(listeners(f)) == 0 {
			x.Evidence = append(x.Evidence, whereabouts(f)...)
			if f.Namespaces != nil && len(likelyRooms(f)) == 0 { // else they are a cause of their own
				x.Evidence = append(x.Evidence, roomEvidence(f, f.Namespaces.Found)...)
			}
			x.Settle = cond(veiled(f) || engineUnasked(f), "sudo loopdoctor "+at(f, none[0]), "")
		}
		return []Finding{withConfig(f, x)}
	},
}

func noUDPListener(f *facts.Facts) []Finding {
	none := unbound(f)
	if len(none) == 0 {
		return nil
	}
	for _, s := range f.Sockets.Sockets {
		if s.Network != "udp" || s.Local.Port() != f.Target.Port || !slices.ContainsFunc(none, func(a netip.Addr) bool { return s.Serves(a) }) {
			continue
		}
		// Serves, and is not one that takes datagrams: it is connected.
		return []Finding{{Affects: none, Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
			Summary: fmt.Sprintf("%s has the UDP socket %s, and has connected it to %s: it takes datagrams from there alone.", holder(f, s), s.Local, s.Remote),
			Fixes:   []Fix{{Do: "If it is the server: have it not connect() that socket, but answer with sendto() whoever asks. If it is a client, to which the kernel gave this port: start the server."}}}}
	}
	x := Finding{Affects: none, Certainty: Proven, Summary: fmt.Sprintf("No program has the UDP port %s.", ats(f, none)),
		Evidence: []Evidence{{f.Sockets.From, "no UDP socket is bound there"}}, Fixes: []Fix{{Do: "Start the server."}}}
	for _, s := range f.Sockets.Sockets {
		if s.State == facts.Listen && s.Local.Port() == f.Target.Port { // the service may speak TCP
			x.Evidence = append(x.Evidence, socketEvidence(f, s))
		}
		if takesDatagrams(f, s) { // or it has another address
			x.Evidence = append(x.Evidence, socketEvidence(f, s))
			x.Fixes = []Fix{{Do: fmt.Sprintf("Let the client use %s, or have the server bind to an address that it uses.", s.Local)}}
		}
	}
	return []Finding{x}
}

var boundNotListening = &Check{
	Name:     "bound-not-listening",
	Doc:      "a process has taken the port with bind() but never called listen()",
	Stage:    StageListen,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupBinds, facts.GroupSpare},
	Explains: []*Check{refused, cannotBind},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		if f.Target.Network != "tcp" {
			return nil // a UDP socket never listens
		}
		for _, s := range pick(f, func(s facts.Socket) bool { return s.State == facts.Bound }) {
			// Another program listens there: that one is in the way.
			if slices.ContainsFunc(listeners(f), func(l facts.Socket) bool { return l.Local == s.Local }) {
				continue
			}
			x := Finding{Certainty: Proven, Since: since(f, s), Evidence: heldEvidence(f, s)}
			for _, a := range f.Target.Expected() {
				if f.Target.Intent == facts.ToBind && conflicts(s, a) && bindFails(f, a) || f.Target.Intent != facts.ToBind && s.Serves(a) && serversAt(f, a) == 0 {
					x.Affects = append(x.Affects, a)
				}
			}
			if len(x.Affects) == 0 {
				continue
			}
			blocks := slices.ContainsFunc(x.Affects, func(a netip.Addr) bool { return bindFails(f, a) })
			x.Affects = meant(f, x.Affects)
			x.Summary = fmt.Sprintf("%s has taken %s with bind() but does not listen: clients are refused%s.", holder(f, s), s.Local, cond(blocks, ", and no other server can have the port", ""))
			x.Fixes = orAnother(f, stopHolders(f, s, "Stop %s, then start the server again."))
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var udpNotTCP = &Check{
	Name:     "udp-not-tcp",
	Doc:      "the port is open for UDP, and the client speaks TCP",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		if f.Target.Network != "tcp" || len(pick(f, func(s facts.Socket) bool { return s.State == facts.Listen || s.State == facts.Bound })) > 0 {
			return nil
		}
		for _, s := range f.Sockets.Sockets {
			// A connected UDP socket is a client that the kernel gave this port.
			if s.Network != "udp" || s.Local.Port() != f.Target.Port || s.State != facts.Bound {
				continue
			}
			var on []netip.Addr
			for _, a := range f.Target.Expected() {
				if s.Serves(a) {
					on = append(on, a)
				}
			}
			if len(on) > 0 {
				return []Finding{{Affects: unserved(f), Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
					Summary: fmt.Sprintf("Port %d is open for UDP (%s), and nothing listens there for TCP.", f.Target.Port, holder(f, s)),
					Fixes:   []Fix{{Do: "Use a client that speaks UDP, or switch on the TCP listener of the server."}}}}
			}
		}
		return nil
	},
}

// selfConnect: with the port inside the range of temporary ports the kernel may
// give a client its own destination as source; TCP's simultaneous open
// (RFC 9293 section 3.5) then connects the socket to itself.
var selfConnect = &Check{
	Name:     "self-connect",
	Doc:      "a client that retries has connected to itself and holds the port",
	Stage:    StageListen,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupLimits, facts.GroupBinds},
	Explains: []*Check{refused, cannotBind},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range pick(f, func(s facts.Socket) bool { return s.State == facts.Established && s.Local == s.Remote }) {
			if len(listeners(f)) > 0 {
				continue
			}
			x := Finding{Certainty: Proven, Since: since(f, s), Evidence: heldEvidence(f, s)}
			for _, a := range f.Target.Expected() {
				if a == s.Local.Addr() || f.Target.Intent == facts.ToBind && conflicts(s, a) && bindFails(f, a) {
					x.Affects = append(x.Affects, a)
				}
			}
			if len(x.Affects) == 0 {
				continue
			}
			x.Affects = meant(f, x.Affects)
			x.Summary = fmt.Sprintf("%s is connected to itself on %s: nothing listens there, and the server cannot take the port.", holder(f, s), s.Local)
			x.Fixes = append(cutFirst(f, stopHolders(f, s, "Cut the connection, stop %s, then start the server.")), reservePort(f)...)
			if l := f.Limits; l != nil && l.Ephemeral(f.Target.Port) {
				x.Evidence = append(x.Evidence, Evidence{"net.ipv4.ip_local_port_range", fmt.Sprintf("%d %d contains port %d", l.EphemeralLow, l.EphemeralHigh, f.Target.Port)})
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// stopHolders is one fix for each process that has to end before the socket is
// free; do takes its name. A worker goes with its parent. What a supervisor
// would start again has to be stopped there.
func stopHolders(f *facts.Facts, s facts.Socket, do string) []Fix {
	var fixes []Fix
	ps := f.Owners.Of(s)
	for _, p := range ps {
		worker := slices.ContainsFunc(ps, func(q facts.Process) bool { return q.PID == p.PPID })
		switch {
		case p.Me && p.PID != 1 || worker:
		case p.PID == 1:
			fixes = append(fixes, Fix{Do: "Find the socket unit that listens there (systemctl list-sockets), and stop it."})
		case p.Container != "":
			fixes = append(fixes, Fix{Do: fmt.Sprintf(do, "the container of "+who(p)), Interrupts: list(append(openConnections(f), "everything else in the container"))})
		case strings.HasSuffix(p.Unit, ".service") && !strings.HasPrefix(p.Unit, "user@"):
			manager := cond(strings.HasSuffix(p.From, "systemd user manager"), "systemctl --user", "systemctl")
			fixes = append(fixes, Fix{Do: fmt.Sprintf(do, fmt.Sprintf("the unit of %s (%s stop %s)", who(p), manager, p.Unit)), Interrupts: list(append(openConnections(f), "the service "+p.Unit))})
		default:
			fixes = append(fixes, signal(f, p, "TERM", fmt.Sprintf(do, who(p))))
		}
	}
	if len(fixes) > 1 {
		fixes[0].Risk = strings.TrimPrefix(fixes[0].Risk+"; others hold the port too: all of them have to go", "; ")
	}
	if len(fixes) == 0 {
		fixes = []Fix{{Do: "Run loopdoctor with sudo: it names the process that holds the port. Then stop that one."}}
	}
	return fixes
}
