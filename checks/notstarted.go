package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// serviceNotStarted: installed, and not running. That a unit says of itself that
// it serves the port is proof; that its kind of server usually does is not.
var serviceNotStarted = &Check{
	Name:     "service-not-started",
	Doc:      "the service that should serve the port is installed, but not started",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupUnits},
	Uses:     []facts.Group{facts.GroupDials},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none := abandoned(f)
		var idle []facts.Unit
		for _, u := range f.Units.Units {
			switch {
			case u.State == "inactive" || u.State == "":
				idle = append(idle, u)
			case u.Names || usualOwner(u):
				return nil // it runs, starts or has failed: that is another story
			}
		}
		if slices.ContainsFunc(idle, func(u facts.Unit) bool { return u.Names }) {
			idle = slices.DeleteFunc(idle, func(u facts.Unit) bool { return !u.Names })
		}
		if len(none) == 0 || len(idle) == 0 {
			return nil
		}
		idle = preferred(idle)
		x := Finding{Affects: none, Certainty: Proven}
		for _, u := range idle {
			x.Evidence = append(x.Evidence, unitEvidence(u)...)
			if !u.Names || u.State == "" {
				x.Certainty = Inferred
			}
		}
		u := idle[0]
		if len(idle) > 1 {
			var names, commands []string
			for _, u := range idle {
				names, commands = append(names, u.Name), append(commands, startCommand(f, u))
			}
			x.Summary = fmt.Sprintf("%s could serve port %d, and none of them is started.", list(names), f.Target.Port)
			x.Fixes = []Fix{{Do: fmt.Sprintf("Start the one that you want: %s.", strings.Join(commands, ", or "))}}
			return []Finding{x}
		}
		story := "is not started"
		switch {
		case u.State == "":
			story = "seems not to be started: nothing listens there, and its state could not be read"
			x.Settle = strings.Join(control(u, "status"), " ")
		case u.Because != "":
			story += " (" + u.Because + ")"
		case !u.Since.IsZero():
			x.Since = u.Since
			story = "is not running: it has ended, or was stopped"
		}
		x.Summary = fmt.Sprintf("%s %s%s.", unitFor(f, u), story, cond(u.Enabled == "masked", ", and masked so that nothing can start it", ""))
		x.Fixes = startFixes(f, u)
		return []Finding{x}
	},
}

// preferred leaves, of a socket and the service that it starts, the one that is
// enabled, or else the one that people start.
func preferred(us []facts.Unit) []facts.Unit {
	return slices.DeleteFunc(slices.Clone(us), func(u facts.Unit) bool {
		return slices.ContainsFunc(us, func(o facts.Unit) bool {
			if o.Manager != u.Manager || o.UID != u.UID {
				return false
			}
			enabled := u.Enabled == "enabled"
			return u.Triggers == o.Name && o.Name != "" && o.Enabled == "enabled" && !enabled ||
				o.Triggers == u.Name && u.Name != "" && !(enabled && o.Enabled != "enabled")
		})
	})
}

func start(u facts.Unit) Fix {
	return Fix{Do: fmt.Sprintf("Start %s.", u.Name), Lasts: UntilReboot, Steps: [][]string{control(u, "start")}, Undo: [][]string{control(u, "stop")}}
}

// startCommand is how somebody would type it.
func startCommand(f *facts.Facts, u facts.Unit) string {
	c := strings.Join(control(u, "start"), " ")
	switch {
	case u.Manager == "systemd --user" && isMine(f, u), u.Manager == "supervisord" && u.UID != 0 && isMine(f, u):
		return c
	case u.Manager == "systemd --user":
		return fmt.Sprintf("%s (as uid %d)", c, u.UID)
	}
	return "sudo " + c
}

func startFixes(f *facts.Facts, u facts.Unit) []Fix {
	once := start(u)
	switch {
	case u.State == "":
		return []Fix{{Do: fmt.Sprintf("See whether it runs (%s); if it does not, start it (%s).", strings.Join(control(u, "status"), " "), startCommand(f, u))}}
	case u.Manager == "supervisord" && u.Because != "": // nobody is there who could be asked
		return []Fix{{Do: fmt.Sprintf("Start supervisord (sudo systemctl start supervisor, or supervisord -c %s).", u.Config)}}
	case u.Manager == "supervisord":
		return []Fix{manage(f, u, once)}
	case u.Enabled == "masked":
		once.Do = fmt.Sprintf("Unmask %s, and start it.", u.Name)
		once.Steps = append([][]string{control(u, "unmask")}, once.Steps...)
		once.Undo = append(once.Undo, control(u, "mask"))
		once.Lasts, once.Risk = Persistent, "somebody has masked it on purpose"
		return []Fix{manage(f, u, once)}
	}
	fixes := []Fix{manage(f, u, once)}
	if u.Enabled == "disabled" {
		fixes = append(fixes, manage(f, u, Fix{Do: fmt.Sprintf("Start %s now and at every boot.", u.Name), Lasts: Persistent,
			Steps: [][]string{control(u, "enable", "--now")}, Undo: [][]string{control(u, "disable", "--now")}}))
	}
	return fixes
}
