package process

import (
	"context"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Census is every process, as far as containers go: one look at /proc, which several
// questions share.
type Census struct {
	Programs []Program // those of container engines
	Partial  string    // what could not be seen
}

// Program is a process of a container engine.
type Program struct {
	PID, PPID int
	UID       uint32
	Name      string // comm
	Exe       string // base name; empty: it may not be seen
	Args      []string
}

// Credible tells whether what the program says of containers may be believed: anybody can
// call a program conmon, and write into its arguments what he likes. It has to be root's or
// of one of these users, and its executable, if that may be seen, what it calls itself.
func (p Program) Credible(users []uint32) bool {
	return (p.UID == 0 || slices.Contains(users, p.UID)) && (p.Exe == "" || facts.IsEngineProgram(p.Exe))
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
	c := &Census{}
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(1, min(runtime.GOMAXPROCS(0), 4, len(pids)/64)) {
		wg.Go(func() {
			buf := make([]byte, 64)
			for k := next.Add(1) - 1; k < int64(len(pids)) && ctx.Err() == nil; k = next.Add(1) - 1 {
				// Not stat, which the kernel takes half as long again for.
				fd, err := unix.Openat(proc, strconv.Itoa(pids[k])+"/comm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					continue // gone
				}
				n, _ := unix.Read(fd, buf)
				unix.Close(fd)
				if name := strings.TrimSuffix(string(buf[:max(0, n)]), "\n"); engineProgram(name) {
					mu.Lock()
					c.Programs = append(c.Programs, Program{PID: pids[k], Name: name})
					mu.Unlock()
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
	slices.SortFunc(c.Programs, func(a, b Program) int { return a.PID - b.PID })
	for i := range c.Programs {
		p := &c.Programs[i]
		if dir, err := os.OpenRoot("/proc/" + strconv.Itoa(p.PID)); err == nil {
			p.Args = readArgs(dir)
			if st, err := readStat(dir); err == nil {
				p.PPID = st.ppid
			}
			if st, err := dir.Stat("."); err == nil {
				p.UID = st.Sys().(*syscall.Stat_t).Uid
			}
			if exe, _ := readLink(dir, p.PID, "exe"); exe != "" {
				p.Exe = path.Base(exe)
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
// it, if that is to be believed by these users. Those of a pod have one program above them
// all, and each a cgroup of its own.
func (c *Census) Occupants(users []uint32) []Occupant {
	var all []Occupant
	known := map[string]bool{}
	for _, p := range c.Programs {
		m, ok := ParseMonitor(p.Args)
		if !ok || !p.Credible(users) {
			continue
		}
		for i, pid := range below(p.PID) {
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

// below lists the children of a process, the oldest first. It needs CONFIG_PROC_CHILDREN,
// which the kernels of distributions have.
func below(pid int) (pids []int) {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return nil
	}
	for _, t := range tasks[:min(len(tasks), maxThreads)] { // a child belongs to the thread that started it
		data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + t.Name() + "/children")
		if err != nil {
			return nil
		}
		for word := range strings.FieldsSeq(string(data)) {
			if n, err := strconv.Atoi(word); err == nil {
				pids = append(pids, n)
			}
		}
	}
	since := func(pid int) int64 {
		st, _ := statOf(pid)
		return int64(st.start)
	}
	slices.SortStableFunc(pids, func(a, b int) int { return int(min(1, max(-1, since(a)-since(b)))) })
	return pids
}

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
	if len(id) < 12 {
		return false
	}
	if _, whole := containerIn(pid); whole != "" {
		return len(whole) >= len(id) && whole[:len(id)] == id
	}
	st, err := statOf(pid)
	return err == nil && slices.ContainsFunc(c.Programs, func(p Program) bool {
		m, ok := ParseMonitor(p.Args)
		return ok && p.PID == st.ppid && len(m.ID) >= len(id) && m.ID[:len(id)] == id
	})
}

// Together lists the processes of the container that this one is the first of: those of
// its cgroup, if that is the container's own, else it and what it started, as far as ctx
// and a limit allow.
func Together(ctx context.Context, pid int) []int {
	name := "/proc/" + strconv.Itoa(pid) + "/cgroup"
	if ms, err := parseFile(name, parseCgroup); err == nil {
		if _, id := wholeID(ms); id != "" {
			mounts, _ := parseFile("/proc/thread-self/mountinfo", ParseMountinfo)
			if p, ok := pathOf(ms, ""); ok {
				if dir, ok := locate(mounts, "cgroup2", "", p); ok {
					if pids, ok := members(ctx, dir); ok && slices.Contains(pids, pid) {
						return pids
					}
				}
			}
		}
	}
	all := []int{pid}
	for i := 0; i < len(all) && len(all) < maxMembers && ctx.Err() == nil; i++ {
		all = append(all, below(all[i])...)
	}
	return all
}
