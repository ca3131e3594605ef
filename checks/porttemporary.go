package checks

import (
	"fmt"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The port is one of those that the kernel gives to clients.

var ephemeralClientHoldsPort = &Check{
	Name:     "ephemeral-client-holds-port",
	Doc:      "an outgoing connection was given the port as its own",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupLimits, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupSpare},
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
				Evidence: append(heldEvidence(f, s),
					Evidence{"net.ipv4.ip_local_port_range", fmt.Sprintf("%d %d contains port %d", f.Limits.EphemeralLow, f.Limits.EphemeralHigh, f.Target.Port)}),
				Fixes: orAnother(f, append(cutFirst(f, stopHolders(f, s, "Close the connection, and stop %s.")), reservePort(f)...))}
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
	if l == nil || !l.Ephemeral(f.Target.Port) || l.IsReserved(f.Target.Port) {
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

// temporaryPort is no fault as long as the server has its port: it may lose it to
// a client while it is down.
var temporaryPort = &Check{
	Name:     "temporary-port",
	Doc:      "the port is one of those that the kernel gives to clients, so that any connection may be given it first",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupLimits, facts.GroupSockets},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		l := f.Limits
		if !l.Ephemeral(f.Target.Port) || l.IsReserved(f.Target.Port) {
			return nil
		}
		// Where a client has it already, that is a cause with the same advice.
		if len(listeners(f)) == 0 && len(pick(f, func(s facts.Socket) bool { return s.Remote.Port() != 0 })) > 0 {
			return nil
		}
		// Nobody has it now: what is in the way today is something else.
		return []Finding{{Brings: []*Check{}, Certainty: Proven, Remark: true,
			Summary:  fmt.Sprintf("Port %d is a temporary one here: while your server is down, the kernel may give it to any client as its own.", f.Target.Port),
			Evidence: []Evidence{{"net.ipv4.ip_local_port_range", fmt.Sprintf("%d %d contains port %d", l.EphemeralLow, l.EphemeralHigh, f.Target.Port)}},
			Fixes:    reservePort(f)}}
	},
}
