package report

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// This file says what is known of how far a connection came: what was seen that had
// passed a station.

// resolved tells whether the address came out of a name.
func (t *Target) resolved(a *Address) bool {
	if _, err := netip.ParseAddr(strings.Trim(t.Host, "[]")); err == nil {
		return false
	}
	return !slices.Contains([]string{"", "loopback", "named", "named by the error"}, a.Source)
}

// feltAt is the stage at which this client's connection fails.
func (t *Target) feltAt(a *Address) checks.Stage {
	if tried := a.Outcome != facts.Skipped; a.Stage != "" && (tried || t.alone(a)) { // else it is the other client's
		return stageOf(a.Stage)
	}
	if !a.Outcome.Works() && a.Outcome != facts.Skipped {
		return checks.StageNone // it need not work
	}
	// It connects, or it was not worth trying, and is felt all the same: the name leads
	// elsewhere, the client asks a proxy, another program answers.
	if s := t.symptomOf(a); s != nil {
		return stageOf(s.Stage)
	}
	return checks.StageNone
}

// breaksAt is the stage that ends the way of this client's connection, the one at which that
// is felt, and the cause, if there is one.
func (t *Target) breaksAt(a *Address) (stage, feltAt checks.Stage, cause *Cause) {
	feltAt = t.feltAt(a)
	cause = t.causeOf(a, feltAt)
	stage = feltAt
	if cause != nil && stageOf(cause.Stage) != checks.StageBind && stageOf(cause.Stage) != checks.StageNone {
		stage = stageOf(cause.Stage)
	}
	switch {
	case stage == checks.StageAccept && a.accepted():
		// The kernel shares the connections out among several sockets: this one was taken,
		// others go to a program that takes none.
		stage = checks.StageListen
	case stage == checks.StageWire && t.elsewhere(a, feltAt, cause) == markLed:
		// It was lost behind the rule that led it away, and never came to lo.
		stage, feltAt = checks.StageOutput, checks.StageOutput
	}
	return stage, feltAt, cause
}

// causeAt tells whether a cause belongs to a station: to those where it ends a way that is
// drawn, or to that of its stage where it ends none.
func (t *Target) causeAt(all []station, key string, c *Cause) bool {
	if t.Intent == facts.ToBind {
		return t.bindFindingAt(all, key, c.Stage, c.Affects)
	}
	ends := false
	for i := range t.Addresses[:min(len(t.Addresses), lanesDrawn)] {
		if stage, _, cause := t.breaksAt(&t.Addresses[i]); cause == c {
			if all[at(all, stage)].Key == key {
				return true
			}
			ends = true
		}
	}
	return !ends && all[at(all, stageOf(c.Stage))].Key == key
}

// causeOf is the cause of what is felt: the first that is active there, and explains what
// this client feels.
func (t *Target) causeOf(a *Address, feltAt checks.Stage) *Cause {
	s := t.symptomOf(a)
	for i := range t.Causes {
		c := &t.Causes[i]
		if feltAt != checks.StageNone && c.State == string(checks.Active) && slices.Contains(c.Affects, a.Address) && (s == nil || slices.Contains(s.ExplainedBy, c.Name)) {
			return c
		}
	}
	return nil
}

// elsewhere is the mark of lo, the input hooks and the listener where the connection went
// by none of them: into a container or to another machine. Empty: nothing says so, or
// packets of it were seen on lo.
func (t *Target) elsewhere(a *Address, feltAt checks.Stage, cause *Cause) mark {
	// The causes of a refusal that comes from the kernel inside a container.
	inside := cause != nil && cause.Certainty == checks.Proven.String() && a.Outcome == facts.Refused &&
		(cause.Name == "container-binds-loopback" || cause.Name == "container-nothing-listens")
	switch {
	case t.alone(a) && t.carried(a) != checks.StageNone:
		return ""
	case a.led || inside:
		return markLed
	case a.unmet && (feltAt == checks.StageNone || feltAt > checks.StageAccept): // else the counters tell where its last packet was lost
		return markUnknown
	}
	return ""
}

// came is the last stage of which it was seen that a connection which failed had
// passed it. That it was refused or not answered says that connect() found a
// route. A symptom at output, on lo, at input or on the way back stands there because the
// kernel's counters say so; a proven cause has something to prove its place with.
func (t *Target) came(a *Address, feltAt, stage checks.Stage, cause *Cause) checks.Stage {
	if a.Outcome != facts.Refused && a.Outcome != facts.Timeout {
		return checks.StageNone
	}
	last := checks.StageRoute
	counted := feltAt == checks.StageWire || feltAt == checks.StageInput || feltAt == checks.StageReply
	if counted || cause != nil && cause.Certainty == checks.Proven.String() {
		last = max(last, feltAt-1)
	}
	if t.alone(a) { // else the packets may be another client's
		last = max(last, t.carried(a))
	}
	if stage != checks.StageNone {
		last = min(last, stage-1)
	}
	if a.Outcome == facts.Timeout { // nothing came back
		last = min(last, checks.StageListen)
	}
	return last
}

// alone tells whether one client only dialled the address.
func (t *Target) alone(a *Address) bool {
	n := 0
	for i := range t.Addresses {
		if t.Addresses[i].Address == a.Address {
			n++
		}
	}
	return n == 1
}

// carried reads the capture: a packet of the client that was seen on lo has passed
// the output hooks, and a SYN that was answered by a SYN met a listener. That one was seen to
// arrive does not say that it passed lo: the capture stands before traffic control. A reset
// may be forged, and proves nothing.
func (t *Target) carried(a *Address) checks.Stage {
	last := checks.StageNone
	for _, c := range t.Packets {
		if c.Server != endpoint(a.Address, t.Port) {
			continue
		}
		for _, p := range c.Packets {
			switch {
			case !p.FromClient && strings.Contains(p.Flags, "S"):
				last = max(last, checks.StageListen)
			case p.FromClient:
				last = max(last, checks.StageOutput)
			}
		}
	}
	return last
}

// idleStage is where an address that need not work ends.
func idleStage(a *Address) checks.Stage {
	switch a.Outcome {
	case facts.Refused:
		return checks.StageListen
	case facts.Timeout:
		return checks.StageAccept
	}
	return checks.StageRoute
}

// gotThrough tells whether the connection came up, or of UDP, where there is none, whether an
// answer came.
func (t *Target) gotThrough(a *Address) bool {
	return a.Outcome.Works() || a.Outcome == facts.Skipped && t.answered(a) != nil
}

// asked finds a question that was put to the server at the address, one that was answered
// before the others; nil: there is none.
func (t *Target) asked(a *Address) *Answer {
	if x := t.answered(a); x != nil {
		return x
	}
	return t.heard(a, func(e facts.End) bool { return e != facts.NotAsked })
}

// answered finds the server's answer to a question of ours at the address.
func (t *Target) answered(a *Address) *Answer {
	return t.heard(a, func(e facts.End) bool { return e == facts.Answered })
}

func (t *Target) heard(a *Address, ended func(facts.End) bool) *Answer {
	for i := range t.Answers {
		x := &t.Answers[i]
		if x.Address == a.Address && x.With == "" && ended(x.End) && (x.Client == a.Client || x.Client == "" || a.Client == "") {
			return x
		}
	}
	return nil
}
