package process

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// limits is one look at what one cgroup allows, in one hierarchy.
type limits struct {
	dir string

	// CPU time
	quota, period      time.Duration // quota 0: no limit
	cpuFile            string
	throttled          time.Duration // since it was made
	periods, throttles int64
	used               time.Duration

	// memory
	memory, max, high int64 // bytes; 0: no limit
	memoryFile        string
	met               int64 // times that a limit was met, since it was made
	killed            int64
	underOOM          bool
}

// maxDepth is how many cgroups above each other are looked at.
const maxDepth = 16

// limits reads the limits of the cgroup and of those above it, whose limits hold as
// well, in all hierarchies that have one.
func (d *describer) limits(ms []membership) []limits {
	var all []limits
	for _, h := range []struct {
		kind, controller string
		read             func(*limits)
	}{
		{"cgroup2", "", (*limits).read2},
		{"cgroup", "cpu", (*limits).readCPU1},
		{"cgroup", "memory", (*limits).readMemory1},
	} {
		p, ok := pathOf(ms, h.controller)
		if !ok {
			continue
		}
		for depth := 0; depth < maxDepth; depth++ {
			dir, ok := locate(d.mounts, h.kind, h.controller, p)
			if !ok {
				break
			}
			l := limits{dir: dir}
			h.read(&l)
			if l.quota > 0 || l.max > 0 || l.high > 0 || l.killed > 0 {
				all = append(all, l)
			}
			if p == "/" {
				break
			}
			p = path.Dir(p)
		}
	}
	return all
}

func keyed(dir, file string) map[string]int64 {
	values, _ := parseKeyed(bytes.NewReader(readSmall(path.Join(dir, file))))
	return values
}

// read2 reads a cgroup of version 2. memory.events counts those below, too;
// memory.events.local (Linux 5.2) does not.
func (l *limits) read2() {
	if b := readSmall(path.Join(l.dir, "cpu.max")); b != nil {
		var quota, period int64
		if n, _ := fmt.Sscan(string(b), &quota, &period); n == 2 && quota > 0 && period > 0 && period < 1e7 { // "max 100000" has no quota
			l.quota, l.period, l.cpuFile = time.Duration(quota)*time.Microsecond, time.Duration(period)*time.Microsecond, path.Join(l.dir, "cpu.max")
			stat := keyed(l.dir, "cpu.stat")
			l.throttled, l.periods, l.throttles = time.Duration(stat["throttled_usec"])*time.Microsecond, stat["nr_periods"], stat["nr_throttled"]
			l.used = time.Duration(stat["usage_usec"]) * time.Microsecond
		}
	}
	current := readSmall(path.Join(l.dir, "memory.current"))
	if current == nil {
		return
	}
	l.memory = parseMax(current)
	l.max, l.high = parseMax(readSmall(path.Join(l.dir, "memory.max"))), parseMax(readSmall(path.Join(l.dir, "memory.high")))
	events := keyed(l.dir, "memory.events.local")
	if len(events) == 0 {
		events = keyed(l.dir, "memory.events")
	}
	l.killed, l.met = events["oom_kill"], events["max"]+events["high"]+events["oom"]
	l.memoryFile = path.Join(l.dir, "memory.max")
	if l.high > 0 && (l.max == 0 || l.high < l.max) {
		l.memoryFile = path.Join(l.dir, "memory.high")
	}
}

// readCPU1 reads a cgroup of the controller cpu of version 1.
func (l *limits) readCPU1() {
	quota, period := parseMax(readSmall(path.Join(l.dir, "cpu.cfs_quota_us"))), parseMax(readSmall(path.Join(l.dir, "cpu.cfs_period_us")))
	if quota == 0 || period == 0 || period > 1e7 { // a quota of -1 is none
		return
	}
	l.quota, l.period, l.cpuFile = time.Duration(quota)*time.Microsecond, time.Duration(period)*time.Microsecond, path.Join(l.dir, "cpu.cfs_quota_us")
	stat := keyed(l.dir, "cpu.stat")
	l.throttled, l.periods, l.throttles = time.Duration(stat["throttled_time"]), stat["nr_periods"], stat["nr_throttled"]
}

// readMemory1 reads a cgroup of the controller memory of version 1.
func (l *limits) readMemory1() {
	l.memory, l.max = parseMax(readSmall(path.Join(l.dir, "memory.usage_in_bytes"))), parseMax(readSmall(path.Join(l.dir, "memory.limit_in_bytes")))
	l.memoryFile, l.met = path.Join(l.dir, "memory.limit_in_bytes"), parseMax(readSmall(path.Join(l.dir, "memory.failcnt")))
	oom := keyed(l.dir, "memory.oom_control")
	l.underOOM, l.killed = oom["under_oom"] > 0, oom["oom_kill"]
}

// cgroup tells what keeps the cgroup frozen, and how long its processes wait for what.
func (d *describer) cgroup(ms []membership) *facts.CgroupState {
	c := &facts.CgroupState{Frozen: d.isFrozen(ms)}
	for _, h := range []struct{ kind, controller, file string }{
		{"cgroup2", "", "cgroup.freeze"},
		{"cgroup", "freezer", "freezer.self_freezing"},
	} {
		p, ok := pathOf(ms, h.controller)
		if !ok {
			continue
		}
		if c.Path == "" || c.Path == "/" {
			c.Path = p
		}
		for depth := 0; c.Frozen && c.FrozenBy == "" && depth < maxDepth; depth++ {
			dir, ok := locate(d.mounts, h.kind, h.controller, p)
			if ok && strings.TrimSpace(string(readSmall(path.Join(dir, h.file)))) == "1" {
				c.FrozenBy = path.Join(dir, strings.Replace(h.file, "self_freezing", "state", 1))
			}
			if p == "/" {
				break
			}
			p = path.Dir(p)
		}
	}
	p, ok := pathOf(ms, "")
	dir, found := locate(d.mounts, "cgroup2", "", p)
	for _, what := range []string{"cpu", "memory", "io"} {
		file := "/proc/pressure/" + what
		if ok && found && p != "/" {
			file = path.Join(dir, what+".pressure")
		}
		if v, err := parsePressure(bytes.NewReader(readSmall(file))); err == nil && v > 0 {
			if c.Pressure == nil {
				c.Pressure = map[string]float64{}
			}
			c.Pressure[what] = v
		}
	}
	return c
}

// concern writes down the limits that were met between the two looks; where none was,
// the nearest ones.
func concern(c *facts.CgroupState, before, after []limits) {
	cpu, memory := -1, -1
	delta := make([]limits, len(after))
	for i, l := range after {
		j := slices.IndexFunc(before, func(b limits) bool { return b.dir == l.dir })
		if j < 0 {
			continue
		}
		b := before[j]
		delta[i] = limits{throttled: l.throttled - b.throttled, periods: l.periods - b.periods, throttles: l.throttles - b.throttles, used: l.used - b.used, met: l.met - b.met}
		if l.quota > 0 && (cpu < 0 || delta[i].throttles > delta[cpu].throttles) {
			cpu = i
		}
		if (l.max > 0 || l.high > 0) && (memory < 0 || delta[i].met > delta[memory].met || l.underOOM && !after[memory].underOOM) {
			memory = i
		}
		c.OOMKills = max(c.OOMKills, l.killed)
	}
	if cpu >= 0 {
		l, d := after[cpu], delta[cpu]
		c.CPUMax, c.CPUAt = fmt.Sprintf("%d %d", l.quota.Microseconds(), l.period.Microseconds()), l.cpuFile
		c.ThrottledMS, c.Periods, c.Throttled, c.CPUUsedMS = millis(d.throttled), max(d.periods, 0), max(d.throttles, 0), millis(d.used)
	}
	if memory >= 0 {
		l := after[memory]
		c.Memory, c.MemoryMax, c.MemoryHigh, c.MemoryAt, c.AtMemory, c.UnderOOM = l.memory, l.max, l.high, l.memoryFile, max(delta[memory].met, 0), l.underOOM
	}
}

// oomKills is how many processes of the cgroup that a process is in were killed for want
// of memory, since it was made.
func (d *describer) oomKills(pid int) (n int64) {
	ms, err := parseFile("/proc/"+strconv.Itoa(pid)+"/cgroup", parseCgroup)
	if err != nil {
		return 0
	}
	for _, l := range d.limits(ms) {
		n = max(n, l.killed)
	}
	return n
}
