package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Nothing listens, since what should serve the port has ended or keeps ending.

var serverExitedOrCrashLooping = &Check{
	Name:     "server-exited-or-crash-looping",
	Doc:      "the service that should serve the port has ended, or ends each time it is started",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupUnits},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupContainers, facts.GroupCandidates, facts.GroupBinds},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none := abandoned(f)
		if len(none) == 0 {
			return nil
		}
		var fs []Finding
		for _, u := range f.Units.Units {
			if crashed(f, u) && !ofSocket(f, u) {
				fs = append(fs, unitEnded(f, u))
			}
		}
		if f.Containers != nil {
			for _, c := range f.Containers.Found {
				if c.Publish != "" && c.State != "running" && c.State != "paused" && c.State != "" {
					fs = append(fs, containerEnded(f, c))
				}
			}
		}
		if f.Candidates != nil {
			for _, c := range f.Candidates.Found {
				if len(c.Names) > 0 && (c.Restarts > 0 || c.Gone && c.Reaped) {
					fs = append(fs, processReplaced(f, c))
				}
			}
		}
		if len(fs) == 0 {
			return nil
		}
		// One story: what is surest heads it, and the rest is evidence.
		slices.SortStableFunc(fs, func(a, b Finding) int { return cmp.Compare(b.Certainty, a.Certainty) })
		x := fs[0]
		x.Affects = none
		for _, y := range fs[1:] {
			x.Evidence = append(x.Evidence, y.Evidence...)
		}
		return []Finding{x}
	},
}

// crashed tells whether the manager says that the unit did not end as it should,
// or starts it again and again.
func crashed(f *facts.Facts, u facts.Unit) bool {
	switch u.State {
	case "failed":
		return true
	case "activating":
		return u.Sub == "auto-restart" || u.Sub == "BACKOFF" || u.Restarts > 1
	case "active": // just now, and it will not last
		return u.Restarts > 1 && !u.Since.IsZero() && f.Time.Sub(u.Since) < unstable
	}
	return false
}

// ofSocket tells whether the unit is the service of a socket unit that has given
// up as well: then it is a part of that story.
func ofSocket(f *facts.Facts, u facts.Unit) bool {
	return slices.ContainsFunc(f.Units.Units, func(s facts.Unit) bool {
		return crashed(f, s) && triggered(f, s) != nil && triggered(f, s).Name == u.Name
	})
}

// triggered is the service of a socket unit, if it was seen.
func triggered(f *facts.Facts, u facts.Unit) *facts.Unit {
	for i := range f.Units.Units {
		s := &f.Units.Units[i]
		if u.Triggers != "" && s.Name == u.Triggers && s.Manager == u.Manager && s.UID == u.UID {
			return s
		}
	}
	return nil
}

func unitEnded(f *facts.Facts, u facts.Unit) Finding {
	x := Finding{Certainty: cond(u.Names, Proven, Inferred), Since: u.Since, Evidence: unitEvidence(u)}
	speaks := u // the one that has a log
	story := "has failed"
	switch {
	case u.State != "failed" && u.Restarts > 0:
		story = fmt.Sprintf("keeps ending, and was started again %s", times(u.Restarts))
	case u.State != "failed":
		story = "keeps ending and is started again"
	case u.Result == "trigger-limit-hit" || u.Result == "service-start-limit-hit":
		story = fmt.Sprintf("has stopped listening, since %s ended each time that a connection started it", cond(u.Triggers != "", u.Triggers, "its service"))
		if s := triggered(f, u); s != nil {
			speaks = *s
			x.Evidence = append(x.Evidence, unitEvidence(*s)...)
		}
	case u.Restarts > 0:
		story = fmt.Sprintf("has failed after %d restart%s", u.Restarts, cond(u.Restarts == 1, "", "s"))
	}
	if how := howEnded(speaks); how != "" {
		story += ", " + how
	}
	x.Summary = fmt.Sprintf("%s %s%s", unitFor(f, u), story, because(cmp.Or(telling(speaks.Log), speaks.Because)))
	read := Fix{Do: fmt.Sprintf("Read why it ended (%s), mend that, and start it again: until then it will end again.", logCommand(speaks))}
	x.Fixes = []Fix{read, startAgain(f, u, speaks)}
	if bindable(f, speaks.Log) {
		slices.Reverse(x.Fixes)
		x.Summary += " The port is free now."
	}
	if speaks.LogAbsent != "" && x.Certainty == Inferred {
		x.Settle = cond(u.Manager == "systemd", "sudo ", "") + logCommand(speaks)
	}
	return x
}

func containerEnded(f *facts.Facts, c facts.Container) Finding {
	name := tame(cmp.Or(c.Name, c.ID), 64)
	x := Finding{Certainty: Proven, Since: c.Ended, Evidence: []Evidence{{c.Engine, fmt.Sprintf("container %s (%s): %s, publishes %s", name, c.ID, cmp.Or(c.Status, c.State), c.Publish)}}}
	story := fmt.Sprintf("has ended with status %d", c.Exit)
	switch {
	case c.State == "created":
		story = "was created and does not run"
	case c.OOM:
		story = "was killed, since its memory ran out"
	case c.State == "restarting":
		story = fmt.Sprintf("keeps ending with status %d, and was started again %s", c.Exit, times(c.Restarts))
	case c.Exit > 128 && c.Exit < 193:
		story = fmt.Sprintf("was ended by signal %s (status %d)", signalName(c.Exit-128), c.Exit)
	}
	if c.Project != "" {
		x.Evidence = append(x.Evidence, Evidence{c.Engine, fmt.Sprintf("service %s of the compose project %s", tame(c.Service, 64), tame(c.Project, 64))})
	}
	for _, line := range c.Log {
		x.Evidence = append(x.Evidence, Evidence{c.Engine + " logs", line})
	}
	x.Summary = fmt.Sprintf("The container %s, which publishes %s, %s%s", name, c.Publish, story, because(cmp.Or(c.Error, cond(c.Exit != 0, telling(c.Log), ""))))
	start := Fix{Do: fmt.Sprintf("Start the container %s.", name), Lasts: UntilReboot, Elevated: privileged(f),
		Risk: cond(strings.HasPrefix(c.Publish, "0.0.0.0") || strings.HasPrefix(c.Publish, "[::]"), "it publishes the port on every address of this machine", "")}
	if on, off := onContainer(&c, "start"), onContainer(&c, "stop"); on != nil {
		start.Steps, start.Undo = [][]string{on}, [][]string{off}
	}
	read := Fix{Do: fmt.Sprintf("Read why it ended%s, and mend that before it is started again.", reading(&c, "logs", "--tail", "50"))}
	x.Fixes = []Fix{read, start}
	if c.Exit == 0 || c.State == "created" && c.Error == "" || c.Exit == 128+15 || c.Exit == 128+2 || bindable(f, append(c.Log, c.Error)) {
		x.Fixes = []Fix{start, read}
	}
	return x
}

// processReplaced: there is no manager to ask; the process that names the port
// was another one at each look, or ended, as others of its parent did before.
func processReplaced(f *facts.Facts, c facts.Candidate) Finding {
	story := "ended while loopdoctor looked, before it listened"
	if c.Restarts > 0 {
		story = fmt.Sprintf("does not stay: it was started again %s while loopdoctor looked, and ends before it listens", times(c.Restarts))
	}
	x := Finding{Certainty: Inferred, Since: c.Since, Summary: fmt.Sprintf("%s, which names port %d, %s.", who(c.Process), f.Target.Port, story),
		Fixes:  []Fix{{Do: "Read what it prints before it ends (its terminal, its log; or start it by hand), and mend that."}},
		Settle: fmt.Sprintf("sudo strace -f -e trace=bind,listen,exit_group -p %d", c.PPID)}
	if c.OOMKills > 0 {
		x.Summary = strings.TrimSuffix(x.Summary, ".") + ": its memory runs out, and the kernel kills it."
		x.Evidence = append(x.Evidence, Evidence{"cgroup", fmt.Sprintf("oom_kill +%d while loopdoctor looked", c.OOMKills)})
		x.Fixes = []Fix{{Do: "Give it more memory: raise the limit of its cgroup (memory.max; version 1: memory.limit_in_bytes), or of the container or unit that it is in; or let it need less."}}
		x.Settle = "sudo dmesg | grep -i 'killed process'"
	}
	for _, m := range c.Names {
		x.Evidence = append(x.Evidence, Evidence{"process", fmt.Sprintf("pid %d: %s names it: %s", c.PID, m.Where, m.Text)})
	}
	if c.PPID > 0 {
		x.Evidence = append(x.Evidence, Evidence{"process", fmt.Sprintf("pid %d starts it", c.PPID)})
	}
	return x
}
