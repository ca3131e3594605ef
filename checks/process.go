package checks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The port is open, but nobody answers.

var nobodyAccepts = &Check{
	Name:     "nobody-accepts",
	Doc:      "a program listens but does not accept connections",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupWork, facts.GroupAnswers},
	Explains: []*Check{notAccepted, noAnswer},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if !unanswered(d) || redirected(f, d) {
				continue
			}
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven,
				Evidence: []Evidence{{"connection", fmt.Sprintf("%s to %s is established and still in the accept queue after %.0f ms", d.From, at(f, d.Addr), d.Server.WaitedMS)}}}
			name := "The program"
			if ls := serving(f, d.Addr); len(ls) > 0 {
				x.Evidence = append(x.Evidence, socketEvidence(f, ls[0]))
				name = holder(f, ls[0])
				if ps := f.Owners.Of(ls[0]); len(ps) > 0 {
					if w := f.Work.Of(ps[0].PID); w != nil {
						x.Evidence = append(x.Evidence, workEvidence(f, w)...)
					} else {
						x.Evidence = append(x.Evidence, Evidence{"process", fmt.Sprintf("pid %d in state %s", ps[0].PID, ps[0].State)})
					}
				}
			}
			x.Summary = fmt.Sprintf("%s listens on %s, but does not accept connections: it is busy with another one, stuck, or never calls accept().", name, at(f, d.Addr))
			if len(f.Owners.Of(first(serving(f, d.Addr)))) == 0 {
				x.Settle = "sudo loopdoctor " + at(f, d.Addr)
			}
			x.Fixes = acceptFixes(f, first(serving(f, d.Addr)), nil)
			fs = append(fs, x)
		}
		return mergeAddresses(f, slices.Concat(fs, twinAcceptsNothing(f), heldBehind(f), questionLeft(f)))
	},
}

// twinAcceptsNothing is the same of one of several listeners on an address: our own
// connection may have been given to another.
func twinAcceptsNothing(f *facts.Facts) []Finding {
	var fs []Finding
	for _, a := range f.Target.Expected() {
		s := stuckTwin(f, a)
		if s == nil || !f.Work.Stays(*s) || slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && unanswered(d) }) {
			continue
		}
		fs = append(fs, Finding{Affects: []netip.Addr{a}, Certainty: Proven, Evidence: []Evidence{queueEvidence(f, *s)},
			Summary: fmt.Sprintf("%s listens on %s, but does not accept connections.%s", holder(f, *s), s.Local, oneOf(f, a)),
			Fixes:   []Fix{{Do: "See what that process is doing (its log, a stack dump: py-spy, jstack, kill -QUIT for Go), then restart it."}}})
	}
	return fs
}

// heldBehind is the same where the kernel hands a connection to the program with its first
// byte only: what those fare that have sent theirs tells.
func heldBehind(f *facts.Facts) []Finding {
	var fs []Finding
	for _, a := range f.Target.Expected() {
		s := queueStands(f, a)
		if s == nil {
			continue
		}
		x := Finding{Affects: []netip.Addr{a}, Certainty: Proven, Evidence: []Evidence{queueEvidence(f, *s)},
			Summary: fmt.Sprintf("%s listens on %s, but does not accept connections: it is busy with another one, or stuck.", holder(f, *s), s.Local),
			Fixes:   acceptFixes(f, *s, nil)}
		if len(f.Owners.Of(*s)) == 0 {
			x.Settle = "sudo loopdoctor " + at(f, a)
		}
		fs = append(fs, x)
	}
	return fs
}

// questionLeft is the same of the connection over which a question was put, where the one
// before it was accepted: the program has not come back since.
func questionLeft(f *facts.Facts) []Finding {
	var fs []Finding
	for _, a := range unheard(f) {
		ls := serving(f, a.Addr)
		if a.Server == nil || a.Server.Accepted || a.Server.Local.Port() != f.Target.Port || serversAt(f, a.Addr) != 1 || !f.Work.Stays(ls[0]) ||
			slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a.Addr && unanswered(d) }) {
			continue
		}
		x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Stage: StageAnswer, Evidence: append([]Evidence{
			{"connection", fmt.Sprintf("%s to %s is established and still in the accept queue after %.0f ms", a.From, at(f, a.Addr), a.Server.WaitedMS)}, queueEvidence(f, ls[0])}, logEvidence(f, a)...),
			Summary: fmt.Sprintf("%s listens on %s, and took one connection, but does not come back for the next: it is busy with another one, or stuck.", holder(f, ls[0]), at(f, a.Addr)),
			Fixes:   acceptFixes(f, ls[0], a)}
		if len(f.Owners.Of(ls[0])) == 0 {
			x.Settle = "sudo loopdoctor " + at(f, a.Addr)
		}
		fs = append(fs, x)
	}
	return fs
}

var processStoppedOrDebugged = &Check{
	Name:     "process-stopped-or-debugged",
	Doc:      "the process that listens is stopped, or halted in a debugger",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupAnswers, facts.GroupForwards},
	Explains: []*Check{notAccepted, acceptQueueFull, noReply, noAnswer, serverError},
	Refines:  []*Check{nobodyAccepts, reverseProxyUpstream},
	Run: func(f *facts.Facts) []Finding {
		by := func(p facts.Process) bool { return p.Halted() != "" && p.Halted() != "frozen" }
		return append(haltedBy(f, by, haltedFinding), haltedBeyond(f, by, haltedFinding)...)
	},
}

// haltedBy makes a finding of each listener none of whose processes can run. by picks
// those that a check is about: it speaks of the first of them that is halted.
func haltedBy(f *facts.Facts, by func(facts.Process) bool, say func(*facts.Facts, netip.Addr, facts.Socket, []facts.Process) Finding) []Finding {
	var fs []Finding
	for _, a := range f.Target.Expected() {
		for _, s := range serving(f, a) {
			ps := f.Owners.Of(s)
			// A look can meet a tracer's momentary stop: who has accepted
			// our connection runs.
			if serversAt(f, a) == 1 && slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && accepted(d) }) {
				continue
			}
			halted := slices.DeleteFunc(slices.Clone(ps), func(p facts.Process) bool { return p.Halted() == "" })
			waits := s.Queue.Full() || slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && unanswered(d) })
			switch {
			case len(halted) == 0 || !by(halted[0]):
			case len(halted) == len(ps):
				fs = append(fs, say(f, a, s, ps))
			case waits:
				// Workers share the listener, and nobody accepts: the ones
				// that run may be those that never do. Their parent is one
				// that does not.
				x := say(f, a, s, halted)
				if slices.ContainsFunc(ps, func(p facts.Process) bool {
					return p.Halted() == "" && !slices.ContainsFunc(halted, func(w facts.Process) bool { return w.PPID == p.PID })
				}) {
					x.Certainty = Inferred
				}
				x.Summary += fmt.Sprintf(" Of the %d processes that share the listener, none accepts.", len(ps))
				fs = append(fs, x)
			}
		}
	}
	return mergeAddresses(f, fs)
}

func haltedFinding(f *facts.Facts, a netip.Addr, s facts.Socket, ps []facts.Process) Finding {
	p := ps[0]
	x := Finding{Affects: []netip.Addr{a}, Certainty: cond(f.Owners.Seen(s), Proven, Inferred), Brings: brought(s),
		Evidence: []Evidence{{"process", fmt.Sprintf("pid %d (%s): state %s", p.PID, p.Name, p.State)}, socketEvidence(f, s)}}
	switch p.Halted() {
	case "halted by a debugger":
		x.Summary = fmt.Sprintf("%s listens on %s, but is halted by the debugger %s (pid %d).", who(p), s.Local, p.TracedBy, p.Tracer)
		x.Fixes = []Fix{{Do: "Continue the program in the debugger, or detach it."}}
	default:
		x.Summary = fmt.Sprintf("%s listens on %s, but is stopped (Ctrl-Z, SIGSTOP).", who(p), s.Local)
		fix := Fix{Do: "Let it go on (fg in its terminal does the same).", Guard: &Process{p.PID, p.Started}}
		for _, p := range ps {
			fix.Steps = append(fix.Steps, []string{"kill", "-CONT", fmt.Sprint(p.PID)})
			fix.Undo = append(fix.Undo, []string{"kill", "-STOP", fmt.Sprint(p.PID)})
			fix.Elevated = fix.Elevated || signal(f, p, "CONT", "").Elevated
		}
		x.Fixes = []Fix{fix}
	}
	x.Summary += oneOf(f, a)
	return x
}
