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
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{notAccepted},
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
					x.Evidence = append(x.Evidence, Evidence{"process", fmt.Sprintf("pid %d in state %s", ps[0].PID, ps[0].State)})
				}
			}
			x.Summary = fmt.Sprintf("%s listens on %s, but does not accept connections: it is busy with another one, stuck, or never calls accept().", name, at(f, d.Addr))
			if len(f.Owners.Of(first(serving(f, d.Addr)))) == 0 {
				x.Settle = "sudo loopdoctor " + at(f, d.Addr)
			}
			x.Fixes = []Fix{{Do: "See what the program is doing (its log, a stack dump: py-spy, jstack, kill -QUIT for Go), then restart it."}}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var acceptQueueFull = &Check{
	Name:     "accept-queue-full",
	Doc:      "the accept queue of the listener is full, so the kernel drops new connections",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupLedger, facts.GroupDials},
	Explains: []*Check{noReply, notAccepted},
	Refines:  []*Check{nobodyAccepts},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range f.Target.Expected() {
			for _, s := range serving(f, a) {
				if !s.Queue.Full() {
					continue
				}
				x := Finding{Affects: []netip.Addr{a}, Certainty: Inferred, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
					Summary: fmt.Sprintf("The accept queue of %s is full (%d waiting, limit %d): %s does not take its connections, and the kernel drops new ones.", s.Local, s.Queue.Length, s.Queue.Limit, holder(f, s)),
					Fixes: []Fix{{Do: "Restart the program that listens, or find out what keeps it from accepting (its log, a stack dump).", Interrupts: "the connections that wait in the queue"},
						{Do: "If it is merely overloaded: a larger backlog in listen(), and net.core.somaxconn at least as large."}}}
				if slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && unanswered(d) }) {
					x.Certainty = Proven
				}
				if l := ledgerOf(f, a); l != nil && l.Delta["ListenOverflows"] > 0 {
					x.Certainty = Proven
					x.Evidence = append(x.Evidence, Evidence{"counters", fmt.Sprintf("TcpExtListenOverflows +%d for %d SYN", l.Delta["ListenOverflows"], l.SYNs)})
				}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

var processStoppedOrDebugged = &Check{
	Name:     "process-stopped-or-debugged",
	Doc:      "the process that listens is stopped, frozen or halted in a debugger",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupDials},
	Explains: []*Check{notAccepted, acceptQueueFull},
	Refines:  []*Check{nobodyAccepts},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range f.Target.Expected() {
			for _, s := range serving(f, a) {
				ps := f.Owners.Of(s)
				// A look can meet a tracer's momentary stop: who has accepted
				// our connection runs.
				if len(serving(f, a)) == 1 && slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && accepted(d) }) {
					continue
				}
				halted := slices.DeleteFunc(slices.Clone(ps), func(p facts.Process) bool { return p.Halted() == "" })
				waits := s.Queue.Full() || slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && unanswered(d) })
				switch {
				case len(halted) == 0:
				case len(halted) == len(ps):
					fs = append(fs, haltedFinding(f, a, s, ps))
				case waits:
					// Workers share the listener, and nobody accepts: the ones
					// that run may be those that never do. Their parent is one
					// that does not.
					x := haltedFinding(f, a, s, halted)
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
	},
}

func haltedFinding(f *facts.Facts, a netip.Addr, s facts.Socket, ps []facts.Process) Finding {
	p := ps[0]
	x := Finding{Affects: []netip.Addr{a}, Certainty: cond(f.Owners.Seen(s), Proven, Inferred),
		Evidence: []Evidence{{"process", fmt.Sprintf("pid %d (%s): state %s%s", p.PID, p.Name, p.State, cond(p.Frozen, ", its cgroup is frozen", ""))}, socketEvidence(f, s)}}
	switch p.Halted() {
	case "halted by a debugger":
		x.Summary = fmt.Sprintf("%s listens on %s, but is halted by the debugger %s (pid %d).", who(p), s.Local, p.TracedBy, p.Tracer)
		x.Fixes = []Fix{{Do: "Continue the program in the debugger, or detach it."}}
	case "frozen":
		x.Summary = fmt.Sprintf("%s listens on %s, but its cgroup is frozen%s.", who(p), s.Local, cond(p.Container != "", ": the container is paused", ""))
		x.Fixes = []Fix{{Do: cond(p.Container != "", "Unpause the container.", "Thaw the cgroup: write 0 to its cgroup.freeze (version 1: THAWED to its freezer.state).")}}
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
	if l := len(serving(f, a)); l > 1 {
		x.Summary += fmt.Sprintf(" It is one of %d listeners that share the address, so only a part of the connections hangs.", l)
	}
	return x
}
