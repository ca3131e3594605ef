package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// maxArgs is how much of a command line is read, in bytes.
const maxArgs = 16 << 10

// PIDs lists the processes that /proc shows, in the kernel's order.
func PIDs() ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Describe says what the process is. What may not be read stays empty; the
// error is for a process that is not there, or is gone before it was described.
func Describe(pid int) (facts.Process, error) { return newDescriber().describe(pid) }

// describer keeps what is the same for all processes of one look.
type describer struct {
	boot      time.Time // zero: unknown
	mounts    []Mount
	users     func() map[uint32]string
	ancestors func() map[int]bool
	frozen    map[string]bool // by directory
}

func newDescriber() *describer {
	d := &describer{frozen: map[string]bool{}}
	d.boot, _ = parseFile("/proc/stat", parseBoot)
	d.mounts, _ = parseFile("/proc/thread-self/mountinfo", ParseMountinfo)
	d.users = sync.OnceValue(func() map[uint32]string {
		users, _ := parseFile("/etc/passwd", parsePasswd)
		return users
	})
	d.ancestors = sync.OnceValue(ancestors)
	return d
}

// RealUID is who started the process. A setuid program has another effective uid,
// but the name and the arguments that its user gave it.
func RealUID(pid int) (uint32, error) {
	s, err := parseFile("/proc/"+strconv.Itoa(pid)+"/status", parseStatus)
	return s.real, err
}

func (d *describer) describe(pid int) (facts.Process, error) {
	// All is read through one descriptor, which does not follow a PID that is
	// given to another process meanwhile.
	dir, err := os.OpenRoot("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return facts.Process{}, fmt.Errorf("describe process: %w", err)
	}
	defer dir.Close()
	st, err := readStat(dir)
	if err != nil {
		return facts.Process{}, fmt.Errorf("describe process %d: %w", pid, err)
	}
	f, err := dir.Open("status")
	if err != nil {
		return facts.Process{}, fmt.Errorf("describe process %d: %w", pid, err)
	}
	defer f.Close()
	status, err := parseStatus(f)
	if err != nil {
		return facts.Process{}, fmt.Errorf("describe process %d: %w", pid, err)
	}
	p := facts.Process{
		PID: pid, PPID: st.ppid, Name: st.comm, State: text([]byte{st.state}),
		UID: status.uid, User: d.users()[status.uid],
		Args:  readArgs(dir),
		Netns: inode(dir.Stat("net/tcp")),
		Me:    d.ancestors()[pid],
	}
	var gone bool
	if p.Cwd, gone = readLink(dir, pid, "cwd"); gone {
		p.Deleted = "its directory"
	}
	if p.Exe, gone = readLink(dir, pid, "exe"); gone {
		p.Deleted = "its program"
	}
	if !d.boot.IsZero() {
		p.Started = d.boot.Add(st.start)
	}
	if status.tracer != 0 {
		p.Tracer = process(status.tracer)
		p.TracedBy = comm(p.Tracer)
	}
	if f, err := dir.Open("cgroup"); err == nil {
		ms, _ := parseCgroup(f)
		f.Close()
		p.Unit, p.Container = home(ms)
		p.Frozen = d.isFrozen(ms)
	}
	return p, nil
}

// isFrozen tells whether a freezer holds the cgroup. The state letter does not
// tell: a process in a frozen cgroup2 reads S.
func (d *describer) isFrozen(ms []membership) bool {
	for _, h := range []struct{ kind, controller, file, frozen string }{
		{"cgroup2", "", "cgroup.events", "frozen 1"},
		{"cgroup", "freezer", "freezer.state", "FROZEN"},
	} {
		p, ok := pathOf(ms, h.controller)
		dir := ""
		if ok {
			dir, ok = locate(d.mounts, h.kind, h.controller, p)
		}
		if !ok {
			continue
		}
		frozen, known := d.frozen[dir]
		if !known {
			for line, err := range linesOf(path.Join(dir, h.file)) {
				frozen = frozen || err == nil && line == h.frozen
			}
			d.frozen[dir] = frozen
		}
		if frozen {
			return true
		}
	}
	return false
}

// ancestors is this process and those above it.
func ancestors() map[int]bool {
	up := map[int]bool{}
	for pid := os.Getpid(); pid > 0 && !up[pid]; {
		up[pid] = true
		st, err := statOf(pid)
		if err != nil {
			break
		}
		pid = st.ppid
	}
	return up
}

func statOf(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// Parent gives the name of a process and its parent.
func Parent(pid int) (name string, parent int, err error) {
	st, err := statOf(pid)
	return st.comm, st.ppid, err
}

// Args is its command line, with its secrets masked.
func Args(pid int) []string {
	dir, err := os.OpenRoot("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return nil
	}
	defer dir.Close()
	return readArgs(dir)
}

func readStat(dir *os.Root) (stat, error) {
	b, err := dir.ReadFile("stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// process gives the process of a thread: the kernel names a debugger by the
// thread that attached.
func process(tid int) int {
	st, err := parseFile("/proc/"+strconv.Itoa(tid)+"/status", parseStatus)
	if err != nil || st.tgid == 0 {
		return tid
	}
	return st.tgid
}

func comm(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	return text(bytes.TrimSuffix(b, []byte("\n")))
}

func readArgs(dir *os.Root) []string {
	f, err := dir.Open("cmdline")
	if err != nil {
		return nil
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxArgs))
	return Mask(parseArgs(b))
}

// readLink reads exe or cwd. The kernel adds " (deleted)" to the path of a file
// that is gone, after an update of a running program for example; it is cut
// off, and gone says so, unless a file bears just that name.
func readLink(dir *os.Root, pid int, name string) (target string, gone bool) {
	s, err := dir.Readlink(name)
	if err != nil {
		return "", false
	}
	if cut, ok := strings.CutSuffix(s, " (deleted)"); ok {
		if _, err := os.Lstat("/proc/" + strconv.Itoa(pid) + "/root" + s); err != nil {
			s, gone = cut, true
		}
	}
	return text([]byte(s)), gone
}

// inode takes the result of a stat; 0 is unknown.
func inode(fi os.FileInfo, err error) uint64 {
	if err != nil {
		return 0
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return st.Ino
}

func parseFile[T any](name string, parse func(io.Reader) (T, error)) (T, error) {
	f, err := os.Open(name)
	if err != nil {
		var zero T
		return zero, err
	}
	defer f.Close()
	return parse(f)
}

func linesOf(name string) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		f, err := os.Open(name)
		if err != nil {
			yield("", err)
			return
		}
		defer f.Close()
		lines(f)(yield)
	}
}
