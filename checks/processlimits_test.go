package checks

import (
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func files(open, limit, hard int) func(*facts.Worker) {
	return func(w *facts.Worker) { w.Files = &facts.OpenFiles{Open: open, Limit: limit, Hard: hard} }
}

func cgroupOf(w *facts.Worker) *facts.CgroupState {
	if w.Cgroup == nil {
		w.Cgroup = &facts.CgroupState{Path: "/app"}
	}
	return w.Cgroup
}

// throttledAt: so many periods of a limit of 1 ms in 100 ms, and how many it was held back in.
func throttledAt(throttled, periods int64) func(*facts.Worker) {
	return func(w *facts.Worker) {
		c := cgroupOf(w)
		c.CPUMax, c.CPUAt, c.Throttled, c.Periods, c.ThrottledMS = "1000 100000", "/sys/fs/cgroup/app/cpu.max", throttled, periods, 99*float64(throttled)
	}
}
func atMemory(times int64, pressure float64) func(*facts.Worker) {
	return func(w *facts.Worker) {
		c := cgroupOf(w)
		c.Memory, c.MemoryMax, c.MemoryAt, c.AtMemory = 20<<20, 20<<20, "/sys/fs/cgroup/app/memory.max", times
		c.Pressure = map[string]float64{"memory": pressure}
	}
}
func underOOM(w *facts.Worker) { atMemory(0, 0)(w); w.Cgroup.UnderOOM = true }
func frozenBy(file string) func(*facts.Worker) {
	return func(w *facts.Worker) { c := cgroupOf(w); c.Frozen, c.FrozenBy = true, file }
}

const synQueueDrops = "OutRequests=1 OutTransmits=1 OutSegs=1 lo.tx=1 InReceives=1 InDelivers=1 InSegs=1 TCPReqQFullDrop=1 ListenDrops=1"

func processLimitsSituations() []situation {
	here := listens("127.0.0.1", 50, named("node"))
	hangs := dials("127.0.0.1", facts.Connected, waiting)
	fine := dials("127.0.0.1", facts.Connected)
	silent := dials("127.0.0.1", facts.Timeout)
	half := holds(facts.SynRecv, "127.0.0.1", "127.0.0.1:40001", 0)
	m := func(changes ...change) *facts.Facts { return machine("127.0.0.1", changes...) }
	return slices.Concat(
		of(fdExhausted,
			row{"connections stay in the queue", m(here, hangs, atWork(50, files(24, 24, 4096))), says("proven 127.0.0.1", "node (pid 50)", "24 files open, of 24", "stay in the queue")},
			row{"it closes what it cannot keep", m(here, dials("127.0.0.1", facts.Connected, closedBy), atWork(50, files(40, 40, 40))), says("proven 127.0.0.1", "40 files open, of 40", "closes")},
			row{"the queue is full", m(listens("127.0.0.1", 50, queue(6, 5)), silent, atWork(50, files(25, 24, 4096))), says("proven 127.0.0.1")},
			row{"one more would do", m(here, hangs, atWork(50, files(23, 24, 4096))), nothing},
			row{"it is full and accepts", m(here, fine, atWork(50, files(24, 24, 4096))), nothing},
			row{"how many it has cannot be seen", m(here, hangs, atWork(50, files(-1, 24, 4096))), nothing},
			row{"there is no limit", m(here, hangs, atWork(50, files(24, 0, 0))), nothing},
			row{"another worker has room", m(here, shared(51), hangs, atWork(50, files(24, 24, 24)), atWork(51, files(9, 24, 24))), nothing},
			row{"it is stopped", m(listens("127.0.0.1", 50, stopped), hangs, atWork(50, files(24, 24, 24))), nothing},
		),
		of(containerPausedOrFrozen,
			row{"frozen", m(listens("127.0.0.1", 50, frozen)), says("proven 127.0.0.1", "server (pid 50)", "cgroup is frozen")},
			row{"its container is paused", m(listens("127.0.0.1", 50, frozen, container)), says("proven 127.0.0.1", "docker 0123456789ab", "paused")},
			row{"a worker of a master that is not", m(here, shared(51, frozen, childOf(50)), hangs), says("proven 127.0.0.1", "none accepts")},
			row{"one of two listeners", m(here, listens("127.0.0.1", 51, frozen)), says("proven 127.0.0.1", "one of 2 listeners")},
			row{"it is stopped", m(listens("127.0.0.1", 50, stopped), hangs), nothing},
			row{"it was thawed and accepts", m(listens("127.0.0.1", 50, frozen), fine), nothing},
			row{"the owner cannot be seen", m(listens("127.0.0.1", 0), hangs), nothing},
		),
		of(cgroupAtItsLimit,
			row{"no processor time", m(here, hangs, atWork(50, tireless(50, 0.2), throttledAt(1, 1))), says("proven 127.0.0.1", "node (pid 50)", "1.0 ms of processor time in each 100 ms", "1 of 1 periods")},
			row{"it uses the most itself", m(here, hangs, atWork(50, tireless(50, 1.1), throttledAt(1, 1))), says("inferred 127.0.0.1", "it may be in a loop")},
			row{"no memory, and nobody is killed", m(here, hangs, atWork(50, inKernel("mem_cgroup_oom_synchronize"), underOOM)), says("proven 127.0.0.1", "20.0 MiB of 20.0 MiB", "made to wait")},
			row{"it reclaims all the time", m(here, hangs, atWork(50, atMemory(31, 80))), says("proven 127.0.0.1", "31 times in 120 ms")},
			row{"it reclaims some of the time", m(here, hangs, atWork(50, atMemory(31, 20))), says("inferred 127.0.0.1")},
			row{"it does not answer", m(here, fine, asks("127.0.0.1", 0), atWork(50, tireless(50, 0.2), throttledAt(1, 1))), says("proven 127.0.0.1")},
			row{"a limit that it does not meet", m(here, hangs, atWork(50, waitsIn("ep_poll"), throttledAt(0, 1))), nothing},
			row{"one period of ten", m(here, hangs, atWork(50, waitsIn("ep_poll"), throttledAt(1, 10))), nothing},
			row{"a cache that is full", m(here, hangs, atWork(50, waitsIn("ep_poll"), atMemory(31, 0))), nothing},
			row{"it is held back and accepts", m(here, fine, atWork(50, tireless(50, 0.2), throttledAt(1, 1))), nothing},
			row{"it has no cgroup", m(here, hangs, atWork(50, waitsIn("ep_poll"))), nothing},
		),
		of(synQueueFull,
			row{"half-open connections", m(listens("127.0.0.1", 50), half, half, silent, counts("127.0.0.1", 1, synQueueDrops)), says("proven 127.0.0.1", "2 connections are half-open", "SYN cookies are off")},
			row{"they cannot be seen", m(listens("127.0.0.1", 50), silent, counts("127.0.0.1", 1, synQueueDrops)), says("inferred 127.0.0.1")},
			row{"most of a burst", m(listens("127.0.0.1", 50), half, silent, counts("127.0.0.1", 32, "TCPReqQFullDrop=30")), says("proven 127.0.0.1")},
			row{"somebody else's SYN", m(listens("127.0.0.1", 50), half, silent, counts("127.0.0.1", 32, "TCPReqQFullDrop=1")), nothing},
			row{"it got through", m(listens("127.0.0.1", 50), half, fine, counts("127.0.0.1", 1, synQueueDrops)), nothing},
			row{"cookies are on", m(listens("127.0.0.1", 50), half, silent, counts("127.0.0.1", 1, "TCPReqQFullDoCookies=1")), nothing},
			row{"nothing listens", m(silent, counts("127.0.0.1", 1, synQueueDrops)), nothing},
		),
	)
}

func TestProcessLimits(t *testing.T) { judge(t, processLimitsSituations()) }

func TestLiftingLimits(t *testing.T) {
	hangs := dials("127.0.0.1", facts.Connected, waiting)
	m := func(w change, changes ...mark) *facts.Facts {
		return machine("127.0.0.1", listens("127.0.0.1", 50, changes...), hangs, w)
	}
	prescribe(t, []cure{
		{"up to its hard limit", fdExhausted, m(atWork(50, files(24, 24, 4096))), []string{"run prlimit --pid=50 --nofile=1024:", "if 50 began at 08:00", "undo prlimit --pid=50 --nofile=24:", "by hand", "by hand"}},
		{"as far as the hard limit goes", fdExhausted, m(atWork(50, files(1024, 1024, 2048))), []string{"run prlimit --pid=50 --nofile=2048:", "if 50 began at 08:00", "undo prlimit --pid=50 --nofile=1024:", "by hand", "by hand"}},
		{"past its hard limit", fdExhausted, m(atWork(50, files(1024, 1024, 1024))), []string{"root runs prlimit --pid=50 --nofile=4096:4096", "if 50 began at 08:00", "undo prlimit --pid=50 --nofile=1024:1024", "by hand", "by hand"}},
		{"somebody else's", fdExhausted, m(atWork(50, files(24, 24, 4096)), uid(33)), []string{"root runs prlimit --pid=50 --nofile=1024:", "if 50 began at 08:00", "undo prlimit --pid=50 --nofile=24:", "by hand", "by hand"}},
		{"a cgroup of version 2", containerPausedOrFrozen, m(atWork(50, frozenBy("/sys/fs/cgroup/a/cgroup.freeze")), frozen), []string{`root runs awk "BEGIN { print \"0\" > \"/sys/fs/cgroup/a/cgroup.freeze\" }"`, `undo awk "BEGIN { print \"1\" > \"/sys/fs/cgroup/a/cgroup.freeze\" }"`, "lasts until reboot"}},
		{"a cgroup of version 1", containerPausedOrFrozen, m(atWork(50, frozenBy("/sys/fs/cgroup/freezer/a/freezer.state")), frozen), []string{`root runs awk "BEGIN { print \"THAWED\" > \"/sys/fs/cgroup/freezer/a/freezer.state\" }"`, `undo awk "BEGIN { print \"FROZEN\" > \"/sys/fs/cgroup/freezer/a/freezer.state\" }"`, "lasts until reboot"}},
		{"a unit", containerPausedOrFrozen, m(atWork(50, frozenBy("/sys/fs/cgroup/system.slice/web.service/cgroup.freeze")), frozen, inUnit("web.service")), []string{"root runs systemctl thaw web.service", "undo systemctl freeze web.service", "lasts until reboot"}},
		{"a container", containerPausedOrFrozen, m(atWork(50), frozen, container), []string{"root runs docker unpause 0123456789ab", "undo docker pause 0123456789ab", "lasts until reboot"}},
		{"a path of an enemy", containerPausedOrFrozen, m(atWork(50, frozenBy("/sys/fs/cgroup/a$(reboot)/cgroup.freeze")), frozen), []string{"by hand"}},
		{"nobody looked what freezes it", containerPausedOrFrozen, m(atWork(50), frozen), []string{"by hand"}},
		{"processor time", cgroupAtItsLimit, m(atWork(50, tireless(50, 0.2), throttledAt(1, 1))), []string{`root runs awk "BEGIN { print \"max 100000\" > \"/sys/fs/cgroup/app/cpu.max\" }"`, `undo awk "BEGIN { print \"1000 100000\" > \"/sys/fs/cgroup/app/cpu.max\" }"`, "lasts until reboot", "by hand"}},
		{"memory", cgroupAtItsLimit, m(atWork(50, underOOM)), []string{`root runs awk "BEGIN { print \"41943040\" > \"/sys/fs/cgroup/app/memory.max\" }"`, `undo awk "BEGIN { print \"20971520\" > \"/sys/fs/cgroup/app/memory.max\" }"`, "lasts until reboot", "by hand"}},
		{"cookies", synQueueFull, machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 1, synQueueDrops)), []string{"root runs sysctl -w net.ipv4.tcp_syncookies=1", "undo sysctl -w net.ipv4.tcp_syncookies=0", "lasts until reboot", "by hand", "by hand"}},
	})
}
