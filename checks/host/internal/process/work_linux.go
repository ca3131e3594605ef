package process

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	maxWorkers = 64   // processes that are looked at
	maxLooked  = 1000 // of each
)

// Watch is the first of two looks at what processes do.
type Watch struct {
	d     *describer
	at    time.Time
	looks []glance
}

// glance is one look at one process.
type glance struct {
	worker  facts.Worker
	threads map[int]thread
	groups  []limits
}

// thread is one look at one thread.
type thread struct {
	stat
	ran, queued time.Duration
	waits       string
	paused      int64 // times that it has waited; only of one that runs
}

// NewWatch takes the first look. More than a few processes that share a listener are
// alike.
func NewWatch(pids []int) *Watch {
	w := &Watch{d: newDescriber(), at: time.Now()}
	if len(pids) > maxWorkers {
		pids = pids[:maxWorkers]
	}
	for _, pid := range pids {
		if g, ok := w.d.glance(pid); ok {
			w.looks = append(w.looks, g)
		}
	}
	return w
}

// Period is the longest period of a limit of CPU time that holds for one of the
// processes; 0 is none. Less than one of them says nothing of it.
func (w *Watch) Period() time.Duration {
	var longest time.Duration
	for _, g := range w.looks {
		for _, l := range g.groups {
			if l.quota > 0 {
				longest = max(longest, l.period)
			}
		}
	}
	return longest
}

// Since takes the second look, and tells what the processes did in between. Those that
// are gone are not among them.
func (w *Watch) Since() (facts.Work, error) {
	work := facts.Work{Processes: []facts.Worker{}}
	now := time.Now()
	work.ApartMS = float64(now.Sub(w.at).Microseconds()) / 1000
	for _, before := range w.looks {
		after, ok := w.d.glance(before.worker.PID)
		if !ok {
			continue
		}
		first := before.threads[before.worker.PID].start
		if after.threads[before.worker.PID].start != first {
			continue // another process has its number
		}
		after.since(before)
		work.Processes = append(work.Processes, after.worker)
	}
	if len(work.Processes) == 0 {
		return work, errors.New("the processes were not seen")
	}
	return work, nil
}

// Glance is one look at what a process is kept from, where nothing of it can run.
func Glance(pids []int) facts.Work {
	work := facts.Work{Processes: []facts.Worker{}}
	for _, g := range NewWatch(pids).looks {
		g.since(g)
		work.Processes = append(work.Processes, g.worker)
	}
	return work
}

// OutOfFiles tells whether the process has as many files open as it may.
func OutOfFiles(pid int) bool {
	dir, err := os.OpenRoot("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return false
	}
	defer dir.Close()
	fds, err := dir.Open("fd")
	if err != nil {
		return openFiles(nil, dir).Full()
	}
	defer fds.Close()
	return openFiles(fds, dir).Full()
}

func (d *describer) glance(pid int) (glance, bool) {
	name := strconv.Itoa(pid)
	dir, err := os.OpenRoot("/proc/" + name)
	if err != nil {
		return glance{}, false
	}
	defer dir.Close()
	st, err := readStat(dir)
	if err != nil {
		return glance{}, false
	}
	g := glance{worker: facts.Worker{PID: pid, State: text([]byte{st.state}), Headless: st.state == 'Z' && st.threads > 1}, threads: map[int]thread{pid: {stat: st}}}
	if st.state == 'Z' && st.threads <= 1 {
		return g, true
	}
	seen := ""
	for _, tid := range threadIDs(dir) {
		sub := "task/" + tid + "/"
		b, err := dir.ReadFile(sub + "stat")
		if err != nil {
			continue
		}
		t := thread{}
		if t.stat, err = parseStat(b); err != nil {
			continue
		}
		t.ran = t.cpu
		if b, err := dir.ReadFile(sub + "schedstat"); err == nil {
			if ran, queued, err := parseSchedstat(b); err == nil {
				t.ran, t.queued = ran, queued
			}
		}
		if t.state == 'R' {
			t.paused = paused(dir, sub)
		} else if b, err := dir.ReadFile(sub + "wchan"); err == nil {
			t.waits = parseWchan(b)
		}
		if t.state != 'Z' {
			seen = sub
		}
		g.threads[t.pid] = t
	}
	if len(g.threads) >= maxLooked {
		g.worker.NotSeen = append(g.worker.NotSeen, "all of its threads (too many)")
	}
	// Who may not read its descriptors is told that it waits nowhere, ptrace(2).
	if f, err := dir.Open(seen + "fd"); err == nil {
		g.worker.Files = openFiles(f, dir)
		f.Close()
	} else {
		g.worker.Files = openFiles(nil, dir)
		why := "cannot be read"
		if errors.Is(err, fs.ErrPermission) {
			why = "needs root"
		}
		g.worker.NotSeen = append(g.worker.NotSeen, "where it waits ("+why+")")
		if g.worker.Files == nil || g.worker.Files.Open < 0 {
			g.worker.NotSeen = append(g.worker.NotSeen, "its descriptors ("+why+")")
		}
	}
	if f, err := dir.Open("cgroup"); err == nil {
		ms, _ := parseCgroup(f)
		f.Close()
		g.groups = d.limits(ms)
		g.worker.Cgroup = d.cgroup(ms)
	}
	return g, true
}

func threadIDs(dir *os.Root) []string {
	f, err := dir.Open("task")
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxLooked)
	return names
}

// openFiles counts descriptors. The size of the directory is their number since Linux
// 6.2, which everybody may see; before, they have to be listed.
func openFiles(fds *os.File, dir *os.Root) *facts.OpenFiles {
	f, err := dir.Open("limits")
	if err != nil {
		return nil
	}
	defer f.Close()
	limit, hard, err := parseOpenFiles(f)
	if err != nil {
		return nil
	}
	o := &facts.OpenFiles{Open: -1, Limit: limit, Hard: hard}
	if fi, err := dir.Stat("fd"); err == nil && fi.Size() > 0 {
		o.Open = int(fi.Size())
	}
	if fds == nil || o.Open >= 0 && o.Open < limit {
		return o
	}
	// The limit is of their numbers: one above it, inherited from a parent with a
	// larger limit, takes no place.
	if names, err := fds.Readdirnames(1 << 20); err == nil || len(names) > 0 {
		o.Open = 0
		for _, name := range names {
			if n, err := strconv.Atoi(name); err == nil && (n < limit || limit == 0) {
				o.Open++
			}
		}
	}
	return o
}

// since fills in what the process did since the look before.
func (g *glance) since(before glance) {
	w := &g.worker
	w.Waits = map[string]int{}
	for _, tid := range slices.Sorted(maps.Keys(g.threads)) {
		now := g.threads[tid]
		if now.state == 'Z' || now.state == 'X' {
			continue
		}
		w.Threads++
		was, ok := before.threads[tid]
		if !ok || was.start != now.start {
			continue
		}
		ran, queued := millis(now.ran-was.ran), millis(now.queued-was.queued)
		w.CPUMS += ran
		// The kernel counts the time in a queue when that ends: what never waits tells
		// more.
		tireless := now.state == 'R' && was.state == 'R' && now.paused == was.paused && now.paused >= 0
		if b := w.Busiest; (tireless || ran+queued > 0) && (b == nil || tireless && !b.Tireless || tireless == b.Tireless && ran+queued > b.CPUMS+b.QueuedMS) {
			w.Busiest = &facts.Thread{TID: tid, Name: now.comm, CPUMS: ran, QueuedMS: queued, Tireless: tireless}
		}
		if now.state == 'R' || was.state == 'R' || now.waits != was.waits {
			continue
		}
		w.Waits[now.waits]++
		if tid == w.PID {
			w.WaitsIn = now.waits
		}
		if now.state == 'D' && was.state == 'D' {
			w.Stuck++
			w.StuckIn = now.waits
		}
	}
	if w.Cgroup != nil {
		concern(w.Cgroup, before.groups, g.groups)
	}
}

func millis(d time.Duration) float64 { return float64(max(d, 0).Microseconds()) / 1000 }

// readSmall reads a file of a few bytes below a directory; nil if it cannot.
func readSmall(name string) []byte {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		return nil
	}
	return bytes.Clone(b[:n])
}

// paused reads how often a thread has waited; -1 is not known.
func paused(dir *os.Root, sub string) int64 {
	b, err := dir.ReadFile(sub + "status")
	if err != nil {
		return -1
	}
	_, rest, ok := strings.Cut(string(b), "\nvoluntary_ctxt_switches:\t")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(line, 10, 64)
	if !ok || err != nil {
		return -1
	}
	return n
}
