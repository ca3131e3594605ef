package checks

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A program that may not go on: its descriptors, its cgroup.

var fdExhausted = &Check{
	Name:     "fd-exhausted",
	Doc:      "the program that listens has as many files open as it may, so it cannot accept",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupWork},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupAnswers},
	Explains: []*Check{notAccepted, acceptQueueFull, noReply, closedAtOnce, noAnswer, eventLoopOrWorkersBlocked},
	Refines:  []*Check{nobodyAccepts},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range f.Target.Expected() {
			for _, s := range serving(f, a) {
				i := slices.IndexFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Closed != "" })
				ps, alike := acceptors(f, s)
				all := len(ps) > 0 && !slices.ContainsFunc(ps, func(p facts.Process) bool {
					w := f.Work.Of(p.PID)
					return w == nil || !w.Files.Full() || p.Halted() != ""
				})
				if !all || !kept(f, a, s) && i < 0 {
					continue
				}
				p, o := ps[0], f.Work.Of(ps[0].PID).Files
				x := Finding{Affects: []netip.Addr{a}, Certainty: cond(f.Owners.Seen(s) && alike, Proven, Inferred), Brings: append(brought(s), closedAtOnce, eventLoopOrWorkersBlocked),
					Evidence: []Evidence{{"descriptors", fmt.Sprintf("pid %d: %d open, limit %d", p.PID, o.Open, o.Limit)}, queueEvidence(f, s)}}
				x.Summary = fmt.Sprintf("%s listens on %s and has %d files open, of %d that it may have: accept() fails with EMFILE%s.", who(p), s.Local, o.Open, o.Limit,
					cond(i >= 0, ", and it closes what it cannot keep", ", and connections stay in the queue"))
				x.Summary += oneOf(f, a)
				if i >= 0 {
					x.Evidence = append(x.Evidence, Evidence{"connection", fmt.Sprintf("%s: %s after the handshake, without a byte", at(f, a), f.Dials[i].Closed)})
				}
				x.Fixes = []Fix{moreFiles(f, ps), {Do: fmt.Sprintf("See what it has open (ls -l /proc/%d/fd). If it grows and grows, the program does not close what it opens: mend that, since a larger limit only delays it.", p.PID)},
					{Do: "For good: LimitNOFILE= in its unit, ulimits in its container, or ulimit -n where it is started."}}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

// moreFiles raises the limit of running processes, prlimit(1): by themselves as far as
// their hard limit goes.
func moreFiles(f *facts.Facts, ps []facts.Process) Fix {
	fix := Fix{Do: "Raise the limit of the running program; it lasts until that ends.", Guard: &Process{ps[0].PID, ps[0].Started}, Risk: "if it leaks descriptors, it will fill that up as well"}
	for _, p := range ps {
		o := f.Work.Of(p.PID).Files
		want := max(4*o.Limit, 1024)
		to := fmt.Sprintf("--nofile=%d:", want)
		switch {
		case o.Hard == 0 || want <= o.Hard:
		case o.Hard >= 2*o.Limit:
			to = fmt.Sprintf("--nofile=%d:", o.Hard)
		default:
			to, fix.Elevated = fmt.Sprintf("--nofile=%d:%d", want, want), true
		}
		pid := fmt.Sprintf("--pid=%d", p.PID)
		fix.Steps = append(fix.Steps, []string{"prlimit", pid, to})
		back := fmt.Sprintf("--nofile=%d:", o.Limit)
		if strings.Count(to, ":") == 1 && !strings.HasSuffix(to, ":") {
			back = fmt.Sprintf("--nofile=%d:%d", o.Limit, o.Hard)
		}
		fix.Undo = append(fix.Undo, []string{"prlimit", pid, back})
		fix.Elevated = fix.Elevated || signal(f, p, "CONT", "").Elevated
	}
	return fix
}

var containerPausedOrFrozen = &Check{
	Name:     "container-paused-or-frozen",
	Doc:      "the program that listens is frozen by its cgroup, as a paused container is",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupAnswers, facts.GroupWork, facts.GroupContainers, facts.GroupForwards, facts.GroupFilters, facts.GroupLedger},
	Explains: []*Check{notAccepted, acceptQueueFull, noReply, noAnswer, serverError},
	Refines:  []*Check{nobodyAccepts, acceptsNeverReads, readsNeverAnswers, reverseProxyUpstream},
	Run: func(f *facts.Facts) []Finding {
		by := func(p facts.Process) bool { return p.Halted() == "frozen" }
		return append(append(haltedBy(f, by, frozenFinding), haltedBeyond(f, by, frozenFinding)...), pausedBehind(f)...)
	},
}

func frozenFinding(f *facts.Facts, a netip.Addr, s facts.Socket, ps []facts.Process) Finding {
	p := ps[0]
	x := Finding{Affects: []netip.Addr{a}, Certainty: cond(f.Owners.Seen(s), Proven, Inferred), Brings: brought(s),
		Evidence: []Evidence{{"process", fmt.Sprintf("pid %d (%s): state %s, its cgroup is frozen", p.PID, p.Name, p.State)}, socketEvidence(f, s)}}
	x.Summary = fmt.Sprintf("%s listens on %s, but its cgroup is frozen%s.", who(p), s.Local, cond(p.Container != "", ": the container is paused", "")) + oneOf(f, a)
	by := ""
	if w := f.Work.Of(p.PID); w != nil && w.Cgroup != nil && w.Cgroup.FrozenBy != "" {
		by = w.Cgroup.FrozenBy
		x.Evidence = append(x.Evidence, Evidence{"cgroup", by + cond(path.Base(by) == "freezer.state", ": FROZEN", ": 1")})
	}
	engine, id, _ := strings.Cut(p.Container, " ")
	switch {
	case slices.Contains([]string{"docker", "podman", "nerdctl"}, engine) && isName(engine+"/"+id):
		x.Fixes = []Fix{{Do: "Unpause the container.", Elevated: engine != "podman" || privileged(f), Lasts: UntilReboot, Steps: [][]string{{engine, "unpause", id}}, Undo: [][]string{{engine, "pause", id}}}}
	case p.Container != "":
		x.Fixes = []Fix{{Do: "Unpause the container."}}
	case p.Unit != "" && path.Base(path.Dir(by)) == p.Unit && plainPath(by) && !strings.HasPrefix(p.Unit, "user@"):
		x.Fixes = []Fix{{Do: "Thaw the unit.", Elevated: true, Lasts: UntilReboot, Steps: [][]string{{"systemctl", "thaw", p.Unit}}, Undo: [][]string{{"systemctl", "freeze", p.Unit}}}}
	case plainPath(by):
		thaw, freeze := "0", "1"
		if path.Base(by) == "freezer.state" {
			thaw, freeze = "THAWED", "FROZEN"
		}
		x.Fixes = []Fix{{Do: "Thaw the cgroup.", Elevated: true, Lasts: UntilReboot, Steps: [][]string{write(thaw, by)}, Undo: [][]string{write(freeze, by)},
			Risk: "whoever froze it meant to: everything in it goes on"}}
	default:
		x.Fixes = []Fix{{Do: "Thaw the cgroup: write 0 to its cgroup.freeze (version 1: THAWED to its freezer.state)."}}
	}
	return x
}

// write is the command that sets a file of a cgroup: awk needs no shell for the
// redirection. The path has to be a plain one.
func write(value, file string) []string {
	return []string{"awk", fmt.Sprintf("BEGIN { print %q > %q }", value, file)}
}

// plainPath tells whether a path is one of a cgroup and means to awk, and to a shell, what it is.
func plainPath(p string) bool {
	return strings.HasPrefix(p, "/sys/fs/cgroup/") && len(p) < 1000 && !strings.Contains(p, "..") && !strings.ContainsFunc(p, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("/._-@:", c))
	})
}

var cgroupAtItsLimit = &Check{
	Name:     "cgroup-at-its-limit",
	Doc:      "the cgroup of the program that listens has used up its processor time or its memory",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupWork},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupAnswers},
	Explains: []*Check{notAccepted, acceptQueueFull, noReply, noAnswer},
	Refines:  []*Check{nobodyAccepts, acceptsNeverReads, readsNeverAnswers},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range f.Target.Expected() {
			for _, s := range serving(f, a) {
				silent := serversAt(f, a) == 1 && unanswering(f, a) != nil
				if !kept(f, a, s) && !silent {
					continue
				}
				ps, alike := acceptors(f, s)
				met := len(ps) > 0 && !slices.ContainsFunc(ps, func(p facts.Process) bool { return p.Halted() != "" || !starved(f, f.Work.Of(p.PID)) })
				if !met {
					continue
				}
				x := atLimit(f, a, s, ps[0])
				if !f.Owners.Seen(s) || !alike {
					x.Certainty = Inferred
				}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

// starved tells whether the process was kept from running by a limit of its cgroup:
// most of the time by that of processor time, or it is out of memory. A cache that is
// full meets its limit of memory as well, and does no harm: the pressure tells.
func starved(f *facts.Facts, w *facts.Worker) bool {
	return w != nil && w.Cgroup != nil && (throttled(f, w) || w.Cgroup.UnderOOM || w.Cgroup.AtMemory > 0 && w.Cgroup.Pressure["memory"] >= 10)
}

func throttled(f *facts.Facts, w *facts.Worker) bool {
	c := w.Cgroup
	return c.Throttled > 0 && 2*c.Throttled >= c.Periods && (c.ThrottledMS >= f.Work.ApartMS/2 || c.Throttled == c.Periods)
}

func atLimit(f *facts.Facts, a netip.Addr, s facts.Socket, p facts.Process) Finding {
	w := f.Work.Of(p.PID)
	c := w.Cgroup
	x := Finding{Affects: []netip.Addr{a}, Certainty: Proven, Brings: brought(s), Evidence: append(workEvidence(f, w), queueEvidence(f, s))}
	if throttled(f, w) {
		quota, period := cpuMax(c)
		x.Summary = fmt.Sprintf("%s listens on %s, but its cgroup may use %.1f ms of processor time in each %.0f ms, and has used them up: within %.0f ms it was held back in %d of %d periods.",
			who(p), s.Local, quota/1000, period/1000, f.Work.ApartMS, c.Throttled, c.Periods)
		x.Evidence = append(x.Evidence, Evidence{"cgroup", fmt.Sprintf("%s: %s; held back in %d of %d periods", c.CPUAt, c.CPUMax, c.Throttled, c.Periods)})
		// Who eats the allowance itself would not come to accept with a larger one.
		if allowed := quota / period * f.Work.ApartMS; w.CPUMS > allowed/2 && w.Busiest != nil && w.Busiest.CPUMS > 0.8*w.CPUMS {
			x.Certainty = Inferred
			x.Summary += fmt.Sprintf(" Most of it was used by the program itself (%.1f ms), so it may be in a loop.", w.CPUMS)
			x.Settle = stackDump(p)
		}
		x.Fixes = append(x.Fixes, moreCPU(p, c), Fix{Do: "Find out what else in the cgroup uses the time (systemd-cgtop, docker stats), and end that."})
	} else {
		x.Summary = fmt.Sprintf("%s listens on %s, but its cgroup has no memory left (%s of %s): %s.", who(p), s.Local, mib(c.Memory), mib(lower(c.MemoryMax, c.MemoryHigh)),
			cond(c.UnderOOM, "whoever asks for more is made to wait, since nobody is killed for it", fmt.Sprintf("it met the limit %d times in %.0f ms, and what it asks for has to be taken from itself first", c.AtMemory, f.Work.ApartMS)))
		x.Evidence = append(x.Evidence, Evidence{"cgroup", fmt.Sprintf("%s: %d bytes used, limit %d", c.MemoryAt, c.Memory, lower(c.MemoryMax, c.MemoryHigh))})
		if !c.UnderOOM && c.Pressure["memory"] < 50 {
			x.Certainty = Inferred
		}
		x.Fixes = append(x.Fixes, moreMemory(p, c), Fix{Do: "Find out what uses the memory (systemd-cgtop -m, docker stats), and let it use less."})
	}
	for _, what := range []string{"cpu", "memory"} {
		if v := c.Pressure[what]; v > 0 {
			x.Evidence = append(x.Evidence, Evidence{"pressure", fmt.Sprintf("%s: some task of the cgroup waited for it in %.0f %% of the last 10 s", what, v)})
		}
	}
	x.Summary += oneOf(f, a)
	return x
}

func cpuMax(c *facts.CgroupState) (quota, period float64) {
	if n, _ := fmt.Sscan(c.CPUMax, &quota, &period); n != 2 || period <= 0 {
		return 0, 1
	}
	return quota, period
}

func lower(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func moreCPU(p facts.Process, c *facts.CgroupState) Fix {
	fix := Fix{Do: "Lift the limit of processor time.", Elevated: true, Lasts: UntilReboot, Risk: "the cgroup then takes what it can get"}
	quota, period := cpuMax(c)
	unit := path.Base(path.Dir(c.CPUAt))
	switch {
	case p.Container != "":
		return Fix{Do: "Give the container more processor time: docker update --cpus 2 CONTAINER, or cpus: in its compose file."}
	case unit == p.Unit && p.Unit != "" && plainPath(c.CPUAt):
		fix.Steps = [][]string{{"systemctl", "set-property", "--runtime", p.Unit, "CPUQuota="}}
		fix.Undo = [][]string{{"systemctl", "set-property", "--runtime", p.Unit, fmt.Sprintf("CPUQuota=%.0f%%", quota/period*100)}}
	case !plainPath(c.CPUAt):
		return Fix{Do: "Lift the limit of processor time of its cgroup (cpu.max; version 1: cpu.cfs_quota_us)."}
	case path.Base(c.CPUAt) == "cpu.max":
		fix.Steps, fix.Undo = [][]string{write(fmt.Sprintf("max %.0f", period), c.CPUAt)}, [][]string{write(fmt.Sprintf("%.0f %.0f", quota, period), c.CPUAt)}
	default:
		fix.Steps, fix.Undo = [][]string{write("-1", c.CPUAt)}, [][]string{write(fmt.Sprintf("%.0f", quota), c.CPUAt)}
	}
	return fix
}

func moreMemory(p facts.Process, c *facts.CgroupState) Fix {
	limit := lower(c.MemoryMax, c.MemoryHigh)
	switch {
	case p.Container != "":
		return Fix{Do: "Give the container more memory: docker update --memory 1g CONTAINER, or mem_limit: in its compose file."}
	case path.Base(path.Dir(c.MemoryAt)) == p.Unit && p.Unit != "":
		return Fix{Do: fmt.Sprintf("Give the unit more memory: sudo systemctl set-property --runtime %s MemoryMax=%dM MemoryHigh=infinity.", p.Unit, 2*limit>>20+1)}
	case !plainPath(c.MemoryAt):
		return Fix{Do: "Raise the limit of memory of its cgroup (memory.max, memory.high; version 1: memory.limit_in_bytes)."}
	}
	return Fix{Do: "Raise the limit of memory to the double.", Elevated: true, Lasts: UntilReboot, Risk: "this much is then missing elsewhere",
		Steps: [][]string{write(fmt.Sprint(2*limit), c.MemoryAt)}, Undo: [][]string{write(fmt.Sprint(limit), c.MemoryAt)}}
}
