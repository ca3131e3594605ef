package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// systemdSocketUnitOwnsPort: systemd itself listens, so that it can start a
// service at the first connection. Whoever starts that service by hand finds the
// port taken by process 1.
var systemdSocketUnitOwnsPort = &Check{
	Name:     "systemd-socket-unit-owns-port",
	Doc:      "a socket unit of systemd listens on the port for its service",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupUnits},
	Explains: []*Check{cannotBind},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on := bindsLostTo(f, s)
			ps := f.Owners.Of(s)
			i := slices.IndexFunc(ps, facts.Process.IsServiceManager)
			unit, service := socketUnit(f, ps, i)
			// Who is seen to hold it, and is no manager, has it from somewhere else.
			if len(on) == 0 || i < 0 && (len(ps) > 0 || unit == nil) {
				continue
			}
			x := Finding{Affects: on, Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)}}
			if unit == nil {
				x.Certainty = cond(f.Owners.Seen(s), Proven, Inferred)
				x.Summary = fmt.Sprintf("%s listens on %s for one of its socket units: a server that is started by hand cannot have the port.", who(ps[i]), s.Local)
				x.Settle = "systemctl list-sockets --all"
				x.Fixes = []Fix{{Do: "Find the socket unit (systemctl list-sockets; systemctl --user list-sockets), and disable it: systemctl disable --now NAME.socket."}}
				fs = append(fs, x)
				continue
			}
			starts := cond(unit.Triggers != "", unit.Triggers, "its service")
			x.Summary = fmt.Sprintf("%s listens on %s, so that systemd can start %s at the first connection: a server that is started by hand cannot have the port.", unit.Name, s.Local, starts)
			x.Evidence = append(x.Evidence, unitEvidence(*unit)...)
			x.Fixes = socketFixes(f, *unit, service)
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// socketUnit returns the socket unit that listens, and its service, as far as
// the manager who holds the socket, process i of ps, may be theirs.
func socketUnit(f *facts.Facts, ps []facts.Process, i int) (unit, service *facts.Unit) {
	if f.Units == nil {
		return nil, nil
	}
	for j := range f.Units.Units {
		u := &f.Units.Units[j]
		fits := i < 0 || (ps[i].PID == 1) == (u.Manager == "systemd") && (ps[i].PID == 1 || ps[i].UID == u.UID)
		if fits && u.Names && u.State == "active" && (u.Sub == "listening" || u.Sub == "running") && isSocket(*u) {
			unit = u
		}
	}
	if unit != nil {
		for j := range f.Units.Units {
			if u := &f.Units.Units[j]; u.Name == unit.Triggers && u.Manager == unit.Manager && u.UID == unit.UID {
				service = u
			}
		}
	}
	return unit, service
}

func isSocket(u facts.Unit) bool { return strings.HasSuffix(u.Name, ".socket") }

func socketFixes(f *facts.Facts, u facts.Unit, service *facts.Unit) []Fix {
	fix := Fix{Do: fmt.Sprintf("Stop %s, then start your server.", u.Name), Lasts: UntilReboot,
		Steps: [][]string{control(u, "stop")}, Undo: [][]string{control(u, "start")}, Interrupts: cond(u.Triggers != "", "the service "+u.Triggers, "")}
	if u.Enabled == "enabled" {
		fix.Do, fix.Lasts = fmt.Sprintf("Disable %s, then start your server.", u.Name), Persistent
		fix.Steps, fix.Undo = [][]string{control(u, "disable", "--now")}, [][]string{control(u, "enable", "--now")}
	}
	// A service that runs has the socket as well.
	if service != nil && (service.State == "active" || service.State == "activating") {
		fix.Steps = append(fix.Steps, control(*service, "stop"))
		fix.Undo = append(fix.Undo, control(*service, "start"))
	}
	return []Fix{manage(f, u, fix),
		{Do: "Leave it to systemd: do not start the server by hand, and let it take the socket that it is given (sd_listen_fds) in place of one of its own."}}
}
