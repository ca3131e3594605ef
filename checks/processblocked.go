package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A program that runs and does something else, or waits for something else, than for
// connections.

var acceptsNeverReads = &Check{
	Name:     "accepts-never-reads",
	Doc:      "the program takes the connection and does not read what the client sends",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupWork},
	Explains: []*Check{noAnswer},
	Run: func(f *facts.Facts) []Finding {
		return silences(f, func(a *facts.Answer) bool { return a.Server.Unread > 0 && int(a.Server.Unread)+a.Unsent >= a.Sent },
			"%s takes the connection to %s, but has read none of the %d bytes of the question within %.0f ms.", Proven)
	},
}

// readsNeverAnswers is inferred: a program that was asked in the wrong protocol may
// read and wait for more.
var readsNeverAnswers = &Check{
	Name:     "reads-never-answers",
	Doc:      "the program reads the question and does not answer it",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupWork},
	Explains: []*Check{noAnswer},
	Run: func(f *facts.Facts) []Finding {
		return silences(f, func(a *facts.Answer) bool { return int(a.Server.Unread) < a.Sent },
			"%s takes the connection to %s and reads the question (%d bytes), but says nothing within %.0f ms: it is still at work, waits for something else, or waits for more, since it speaks another protocol.", Inferred)
	},
}

func silences(f *facts.Facts, fits func(*facts.Answer) bool, text string, sure Certainty) []Finding {
	var fs []Finding
	for _, addr := range f.Target.Expected() {
		a := unanswering(f, addr)
		if a == nil || !fits(a) {
			continue
		}
		name := "The program"
		x := Finding{Affects: []netip.Addr{addr}, Certainty: sure, Settle: cond(sure == Inferred, settleSilence(f, addr), ""),
			Evidence: []Evidence{{"connection", fmt.Sprintf("%s: %d of %d bytes are unread after %.0f ms", at(f, addr), a.Server.Unread, a.Sent, a.ElapsedMS)}}}
		var ls []facts.Socket
		if ls = serving(f, addr); len(ls) > 0 {
			name = holder(f, ls[0])
			x.Evidence = append(x.Evidence, socketEvidence(f, ls[0]))
			for _, p := range f.Owners.Of(ls[0]) {
				if w := f.Work.Of(p.PID); w != nil && len(x.Evidence) < 8 {
					x.Evidence = append(x.Evidence, workEvidence(f, w)...)
				}
			}
		}
		x.Summary = fmt.Sprintf(text, name, at(f, addr), a.Sent, a.ElapsedMS)
		x.Fixes = []Fix{{Do: "See what the program is doing (its log, a stack dump: py-spy, jstack, kill -QUIT for Go), and what it waits for: a database, another service, a lock."},
			{Do: "If it is only slow, wait longer: --patience 10s."}}
		fs = append(fs, x)
	}
	return mergeAddresses(f, fs)
}

// settleSilence shows who has the port, where that is hidden: it may wait for somebody
// else.
func settleSilence(f *facts.Facts, a netip.Addr) string {
	if ls := serving(f, a); len(ls) > 0 && len(f.Owners.Of(ls[0])) == 0 {
		if s := settleHolder(f, facts.Forward{}); s != "" {
			return s
		}
	}
	return settleAnswer(f)
}

var eventLoopOrWorkersBlocked = &Check{
	Name:     "event-loop-or-workers-blocked",
	Doc:      "the program that listens is kept busy, or waits for something else, and comes to no new connection",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupWork},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupAnswers, facts.GroupForwards},
	Explains: []*Check{notAccepted, acceptQueueFull, noReply, noAnswer, serverError},
	Refines:  []*Check{nobodyAccepts, acceptsNeverReads, readsNeverAnswers, reverseProxyUpstream},
	Run: func(f *facts.Facts) []Finding {
		fs := append(blockedBeyond(f), scripted(f)...)
		for _, a := range f.Target.Expected() {
			for _, s := range serving(f, a) {
				waits := kept(f, a, s)
				if !waits && (unanswering(f, a) == nil || serversAt(f, a) > 1) || leftInChild(f, s) {
					continue
				}
				if x, ok := blockedFinding(f, a, s); ok {
					x.Brings = brought(s)
					if !waits { // it took the connection: a thread of its own may be at work on the answer
						x.Stage, x.Certainty = StageAnswer, Inferred
						x.Brings = []*Check{noAnswer}
						x.Settle = stackDump(f.Owners.Of(s)[0])
					}
					fs = append(fs, x)
				}
			}
		}
		return mergeAddresses(f, fs)
	},
}

// blockedFinding says why none of those who are to accept does; ok is false where one of
// them might.
func blockedFinding(f *facts.Facts, a netip.Addr, s facts.Socket) (x Finding, ok bool) {
	all := f.Owners.Of(s)
	x = Finding{Affects: []netip.Addr{a}, Certainty: cond(f.Owners.Seen(s), Proven, Inferred)}
	var ps []facts.Process
	var how []string
	stuck := false
	for _, p := range workersFirst(all) {
		text, sure, ok := blockedBy(f, p)
		if !ok {
			child := slices.IndexFunc(all, func(q facts.Process) bool { return q.PPID == p.PID && q.PID != p.PID })
			if child < 0 {
				return x, false
			}
			// It looks after the others, and accepts nothing itself, since it is not
			// kept from it and does not.
			sure = all[child].Name == p.Name && all[child].Exe == p.Exe
		}
		if !sure {
			x.Certainty = Inferred
		}
		if !ok {
			continue
		}
		w := f.Work.Of(p.PID)
		stuck = stuck || w.Stuck > 0
		ps, how = append(ps, p), append(how, text)
		if len(x.Evidence) < 8 {
			x.Evidence = append(x.Evidence, workEvidence(f, w)...)
		}
	}
	if len(ps) == 0 {
		return x, false
	}
	x.Evidence = append(x.Evidence, queueEvidence(f, s))
	if c := othersServed(f); c != "" {
		x.Evidence = append(x.Evidence, Evidence{"socket", c})
	}
	if len(ps) == 1 {
		x.Summary = fmt.Sprintf("%s listens on %s, but comes to no new connection: %s.", who(ps[0]), s.Local, how[0])
	} else {
		x.Summary = fmt.Sprintf("%s listens on %s with %d processes, and none of them comes to a new connection: of pid %d, %s.", holder(f, s), s.Local, len(all), ps[0].PID, how[0])
	}
	x.Summary += oneOf(f, a)
	if x.Certainty == Inferred {
		x.Settle = stackDump(ps[0])
	}
	x.Fixes = []Fix{{Do: fmt.Sprintf("See where it hangs, before it is stopped: %s.", stackDump(ps[0]))}}
	if stuck {
		x.Fixes[0].Do = "Bring back what it waits for (a disk, a file server, a child): until then no signal reaches it, not even KILL. What it is, its kernel stack tells: sudo cat /proc/" + fmt.Sprint(ps[0].PID) + "/stack."
	}
	x.Fixes = append(x.Fixes, stopHolders(f, s, "Stop %s, and start it again.")...)
	x.Fixes = append(x.Fixes, Fix{Do: "So that it does not come back: slow work and calls without a time limit belong into threads or workers of their own, of which there are more than can hang at one time."})
	return x, true
}

// workersFirst puts those last that have started another of the same program: a reloader
// (Flask, Django, uvicorn) holds the socket too, and waits for its worker, which is the one
// that hangs.
func workersFirst(all []facts.Process) []facts.Process {
	parent := func(p facts.Process) bool {
		return slices.ContainsFunc(all, func(q facts.Process) bool {
			return q.PPID == p.PID && q.PID != p.PID && q.Name == p.Name && q.Exe == p.Exe
		})
	}
	var workers, parents []facts.Process
	for _, p := range all {
		if parent(p) {
			parents = append(parents, p)
		} else {
			workers = append(workers, p)
		}
	}
	return append(workers, parents...)
}

// nearlyAll is how much of the time between two looks a thread that never waits ran, or
// stood in the queue for a processor.
const nearlyAll = 0.9

// blockedBy says what keeps a process from accepting, and how sure that is.
func blockedBy(f *facts.Facts, p facts.Process) (text string, sure, ok bool) {
	w := f.Work.Of(p.PID)
	if w == nil || f.Work.ApartMS <= 0 || p.Halted() != "" || w.Cgroup != nil && (w.Cgroup.Frozen || starved(f, w)) {
		return "", false, false
	}
	if w.Stuck > 0 && (w.State == "D" || w.Stuck == w.Threads) {
		text, _ := waitsFor(w.StuckIn)
		if w.StuckIn == "" {
			text = "waits for a disk, a file server or a device"
		}
		return "it is stuck in the kernel, in state D: it " + text, true, true
	}
	if b := w.Busiest; b != nil && (b.Tireless || b.CPUMS+b.QueuedMS >= nearlyAll*f.Work.ApartMS) {
		whose := fmt.Sprintf("its thread %s (%d)", b.Name, b.TID)
		if main := b.TID == w.PID || w.Threads == 1; main {
			whose = cond(w.Threads == 1, "its only thread", "its main thread")
		}
		text = fmt.Sprintf("%s ran for %.0f of %.0f ms", whose, b.CPUMS, f.Work.ApartMS)
		if b.CPUMS < f.Work.ApartMS*nearlyAll {
			text += " and stood in the queue for a processor for the rest"
		}
		return text + ", without a pause", b.Busy() && (b.TID == w.PID || w.Threads == 1), true
	}
	if text, ok := allWait(w); ok {
		if w.Headless {
			text = "its main thread has ended, and " + text
		}
		return text, true, true
	}
	return "", false, false
}

// othersServed says whose connections the program has meanwhile.
func othersServed(f *facts.Facts) string {
	var from []string
	n := 0
	for _, s := range pick(f, func(s facts.Socket) bool { return s.State == facts.Established && s.Inode != 0 }) {
		if slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.From == s.Remote }) {
			continue
		}
		if n++; len(from) < 2 {
			from = append(from, s.Remote.String())
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("it has %s open, from %s%s", plural(n, "connection"), strings.Join(from, ", "), cond(n > len(from), " …", ""))
}

// stackDump is the command that shows where a program is.
func stackDump(p facts.Process) string {
	base := strings.TrimRight(p.Exe[strings.LastIndexByte(p.Exe, '/')+1:], "0123456789.")
	switch {
	case base == "python" || strings.HasPrefix(p.Name, "python") || p.Name == "gunicorn" || p.Name == "uvicorn":
		return fmt.Sprintf("py-spy dump --pid %d", p.PID)
	case base == "java" || p.Name == "java":
		return fmt.Sprintf("jstack %d", p.PID)
	case base == "ruby":
		return fmt.Sprintf("rbspy dump --pid %d", p.PID)
	}
	return fmt.Sprintf("gdb -p %d -batch -ex 'thread apply all backtrace'", p.PID)
}
