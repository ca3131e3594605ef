package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The container behind the port is not well, and its engine knows it. One that has ended
// for good is server-exited-or-crash-looping.

var containerUnhealthyOrRestarting = &Check{
	Name:     "container-unhealthy-or-restarting",
	Doc:      "the container behind the port fails its own health check, or ends and is restarted again and again",
	Stage:    StageListen, // or where its forwarder accepts
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupForwards, facts.GroupBinds, facts.GroupLedger, facts.GroupAnswers},
	Explains: []*Check{refused, closedAtOnce, noAnswer},
	Refines:  []*Check{noListener, serverExitedOrCrashLooping, forwarderAcceptsBackendDead, containerNothingListens, answeredElsewhere, natHijacksLoopback, filterRejectsLoopback, lostOnOutput},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if !slices.Contains(f.Target.Expected(), d.Addr) {
				continue
			}
			c, p := sickFor(f, d)
			_, lost := lostAt(f, d)
			if nat, _ := byNATAlone(f, d.Addr); c == nil || lost && nat == nil {
				continue // what is lost on the way to the engine's program is not the container's doing
			}
			x := Finding{}
			switch {
			case endsAgain(f, c) && (d.Outcome == facts.Refused || d.Closed != ""):
				x = keepsEnding(f, c, p)
			case c.Health == "unhealthy" && lives(c) && c.State != "paused":
				var ok bool
				if x, ok = unhealthy(f, d, c, p); !ok {
					continue
				}
			default:
				continue
			}
			x.Affects = []netip.Addr{d.Addr}
			if d.Outcome != facts.Refused && !x.Remark {
				x.Stage = StageAnswer
			}
			if d.Closed != "" {
				x.Evidence = append([]Evidence{closedEvidence(f, d)}, x.Evidence...)
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// sickFor finds the container that is published where the dial went, also while it does
// not run for a moment.
func sickFor(f *facts.Facts, d facts.Dial) (*facts.Container, facts.Publication) {
	if p := publishedAt(f, d.Addr); p != nil {
		return p.Container, p.Port
	}
	var found *facts.Container
	var port facts.Publication
	if len(listeners(f)) > 0 {
		return nil, port
	}
	for i := range f.Containers.Found {
		c := &f.Containers.Found[i]
		for _, p := range c.Ports {
			if c.State == "created" || !publishesAt(f, p, d.Addr) {
				continue
			}
			if found != nil && found.ID != c.ID {
				return nil, port
			}
			found, port = c, p
		}
	}
	return found, port
}

// endsAgain tells whether the engine starts the container again and again: it waits to do
// so, or has done so and not long ago.
func endsAgain(f *facts.Facts, c *facts.Container) bool {
	return c.State == "restarting" || c.State == "running" && c.Restarts > 1 && !c.Started.IsZero() && f.Time.Sub(c.Started) < unstable
}

func keepsEnding(f *facts.Facts, c *facts.Container, p facts.Publication) Finding {
	x := Finding{Certainty: Proven, Since: c.Ended, Evidence: sickEvidence(c, p)}
	how := fmt.Sprintf("with status %d", c.Exit)
	switch {
	case c.State == "running": // its status is that of no end
		how = "soon after its start"
	case c.OOM:
		how = "since its memory runs out"
	case c.Exit > 128 && c.Exit < 193:
		how = fmt.Sprintf("by signal %s (status %d)", signalName(c.Exit-128), c.Exit)
	}
	x.Summary = fmt.Sprintf("%s, which publishes %s, ends again and again, %s, and was restarted %s%s", "The "+strings.TrimPrefix(theContainer(c), "the "), p.Host, how, times(max(1, c.Restarts)), because(telling(c.Log)))
	x.Fixes = []Fix{{Do: fmt.Sprintf("Read why it ends%s, and mend that: it is started again by itself.", reading(c, "logs", "--tail", "50"))}}
	if c.OOM {
		x.Fixes = append([]Fix{{Do: "Give the container more memory (--memory, or mem_limit in the compose file), or let it need less.", Interrupts: "it is made again"}}, x.Fixes...)
	}
	return x
}

func unhealthy(f *facts.Facts, d facts.Dial, c *facts.Container, p facts.Publication) (Finding, bool) {
	silent := slices.ContainsFunc(asked(f), func(a *facts.Answer) bool {
		return a.Addr == d.Addr && a.Bytes == 0 && (a.End == facts.Silence || a.End == facts.Stalled || a.End == facts.EndOfFile || a.End == facts.Reset)
	})
	x := Finding{Certainty: Inferred, Since: c.Started, Evidence: sickEvidence(c, p)}
	said := because(c.Checked)
	x.Fixes = []Fix{{Do: fmt.Sprintf("Read why it is not well%s, and mend that.", reading(c, "logs", "--tail", "50"))},
		restartFix(c, fmt.Sprintf("Restart %s: that helps where it only got stuck.", containerCalled(c)))}
	switch {
	case d.Outcome != facts.Refused && (!d.Outcome.Works() || unanswered(d)):
		return x, false // it did not come to an answer
	case d.Outcome != facts.Refused && d.Closed == "" && !silent:
		x.Remark = true // what is asked of it is answered
		x.Summary = fmt.Sprintf("%s, which publishes %s, fails its own health check, and yet it answers%s", "The "+strings.TrimPrefix(theContainer(c), "the "), p.Host, said)
		x.Certainty = Proven
		x.Fixes = x.Fixes[:1]
		return x, true
	case c.Inside == nil || c.Inside.Partial != "" && len(c.Inside.Listeners) == 0:
		x.Settle = settleAsRoot(f)
	case len(c.Inside.Listeners) > 0:
		if !c.Inside.Serves(p.Port) {
			return x, false // it listens elsewhere in there: that is another story
		}
	default:
		x.Certainty = Proven
		x.Summary = fmt.Sprintf("%s, which publishes %s, is unhealthy, and nothing listens in it%s", "The "+strings.TrimPrefix(theContainer(c), "the "), p.Host, said)
		return x, true
	}
	x.Summary = fmt.Sprintf("%s, which publishes %s, fails its own health check, too%s", "The "+strings.TrimPrefix(theContainer(c), "the "), p.Host, said)
	if x.Settle == "" {
		x.Settle = fmt.Sprintf("%s logs --tail 50 %s", c.Engine, tame(c.ID, 12))
	}
	return x, true
}

func sickEvidence(c *facts.Container, p facts.Publication) []Evidence {
	es := []Evidence{publishedEvidence(c, p)}
	if c.Restarts > 0 {
		es = append(es, Evidence{c.Engine, fmt.Sprintf("restarted %s, last exit status %d", times(c.Restarts), c.Exit)})
	}
	if c.Health == "unhealthy" {
		text := "unhealthy"
		if len(c.Check) > 0 {
			text += fmt.Sprintf(": %q", c.Check[len(c.Check)-1])
		}
		es = append(es, Evidence{"health check", tame(text, 200)})
		if c.Checked != "" {
			es = append(es, Evidence{"health check", "it said: " + tame(c.Checked, 200)})
		}
	}
	es = append(es, insideEvidence(c)...)
	for _, line := range c.Log {
		es = append(es, Evidence{c.Engine + " logs", tame(line, 300)})
	}
	return es
}

// reading is the command that shows more, in brackets.
func reading(c *facts.Container, verb ...string) string {
	command := onContainer(c, verb...)
	if command == nil {
		return ""
	}
	return fmt.Sprintf(" (%s)", strings.Join(command, " "))
}
