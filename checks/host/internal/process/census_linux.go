package process

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Census is every process, as far as containers go: one look at /proc, which several
// questions share.
type Census struct {
	Programs []Program // those of container engines
	Partial  string    // what could not be seen
	all      map[int]resident
	below    map[int][]int // children, the oldest first
}

// Program is a process of a container engine.
type Program struct {
	PID, PPID int
	UID       uint32
	Name      string // comm
	Args      []string
}

type resident struct {
	ppid  int
	start time.Duration
}

// TakeCensus looks at every process once.
func TakeCensus(ctx context.Context) (*Census, error) {
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(proc)
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	c := &Census{all: make(map[int]resident, len(pids)), below: map[int][]int{}}
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(1, min(runtime.GOMAXPROCS(0), 4, len(pids)/64)) {
		wg.Go(func() {
			buf := make([]byte, 1024)
			found := map[int]stat{}
			for k := next.Add(1) - 1; k < int64(len(pids)) && ctx.Err() == nil; k = next.Add(1) - 1 {
				fd, err := unix.Openat(proc, strconv.Itoa(pids[k])+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					continue // gone
				}
				n, _ := unix.Read(fd, buf)
				unix.Close(fd)
				if st, err := parseStat(buf[:max(0, n)]); err == nil && st.flags&kernelThread == 0 && st.state != 'Z' {
					found[pids[k]] = st
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for pid, st := range found {
				c.all[pid] = resident{st.ppid, st.start}
				c.below[st.ppid] = append(c.below[st.ppid], pid)
				if engineProgram(st.comm) {
					c.Programs = append(c.Programs, Program{PID: pid, PPID: st.ppid, Name: st.comm})
				}
			}
		})
	}
	wg.Wait()
	switch {
	case ctx.Err() != nil:
		c.Partial = "not every process (time was over)"
	case !present("/proc/1"):
		c.Partial = "processes of others are hidden"
	}
	for _, pids := range c.below {
		slices.SortFunc(pids, func(a, b int) int { return cmp.Or(cmp.Compare(c.all[a].start, c.all[b].start), a-b) })
	}
	slices.SortFunc(c.Programs, func(a, b Program) int { return a.PID - b.PID })
	for i := range c.Programs {
		p := &c.Programs[i]
		if dir, err := os.OpenRoot("/proc/" + strconv.Itoa(p.PID)); err == nil {
			p.Args = readArgs(dir)
			if st, err := dir.Stat("."); err == nil {
				p.UID = st.Sys().(*syscall.Stat_t).Uid
			}
			dir.Close()
		}
	}
	return c, nil
}

// Occupant is the first process of a container.
type Occupant struct {
	Monitor
	PID   int
	Above Program // who says so
}

// Occupants finds the first process of each container by the program that watches over
// it. Those of a pod have one program above them all, and each a cgroup of its own.
func (c *Census) Occupants() []Occupant {
	var all []Occupant
	known := map[string]bool{}
	for _, p := range c.Programs {
		m, ok := ParseMonitor(p.Args)
		if !ok {
			continue
		}
		for i, pid := range c.below[p.PID] {
			o := Occupant{m, pid, p}
			if engine, id := containerIn(pid); id != "" && id != m.ID {
				o.Monitor = Monitor{Engine: engine, ID: id}
			} else if id == "" && i > 0 {
				continue // what "exec" started is a child as well
			}
			if !known[o.ID] {
				known[o.ID] = true
				all = append(all, o)
			}
		}
	}
	return all
}

// Below lists the children of a process, the oldest first.
func (c *Census) Below(pid int) []int { return c.below[pid] }

// containerIn reads the engine and the whole id of the container off the cgroup of a
// process.
func containerIn(pid int) (engine, id string) {
	ms, err := parseFile("/proc/"+strconv.Itoa(pid)+"/cgroup", parseCgroup)
	if err != nil {
		return "", ""
	}
	return wholeID(ms)
}

// IsIn tells whether the process is in the container, of whose id the first twelve
// digits are given: by its cgroup, or else by the program above it. A PID that an engine
// told may be one of another PID namespace.
func (c *Census) IsIn(pid int, id string) bool {
	if _, whole := containerIn(pid); whole != "" {
		return len(whole) >= len(id) && whole[:len(id)] == id
	}
	r, ok := c.all[pid]
	return ok && slices.ContainsFunc(c.Programs, func(p Program) bool {
		m, ok := ParseMonitor(p.Args)
		return ok && p.PID == r.ppid && len(m.ID) >= len(id) && m.ID[:len(id)] == id
	})
}

// Together lists the processes of the container that this one is the first of: those of
// its cgroup, if that is the container's own, else it and what it started.
func (c *Census) Together(pid int) []int {
	name := "/proc/" + strconv.Itoa(pid) + "/cgroup"
	if ms, err := parseFile(name, parseCgroup); err == nil {
		if _, id := wholeID(ms); id != "" {
			mounts, _ := parseFile("/proc/thread-self/mountinfo", ParseMountinfo)
			if p, ok := pathOf(ms, ""); ok {
				if dir, ok := locate(mounts, "cgroup2", "", p); ok {
					if pids, ok := members(dir); ok && slices.Contains(pids, pid) {
						return pids
					}
				}
			}
		}
	}
	all := []int{pid}
	for i := 0; i < len(all) && len(all) < maxMembers; i++ {
		all = append(all, c.below[all[i]]...)
	}
	return all
}
