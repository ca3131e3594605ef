package process

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	maxEnviron = 128 << 10 // of an environment that is read, in bytes
	maxMatched = 128       // processes that are described
	maxKept    = 16        // that are told

	// A process younger than this may be one of a series: it is watched for as
	// long as a supervisor takes at least to start the next one.
	young    = 5 * time.Second
	watching = 400 * time.Millisecond
	tick     = 25 * time.Millisecond
	// A shell that loops mostly sleeps for a second between two tries.
	round = 1500 * time.Millisecond
)

// supervisors start what ended again.
var supervisors = words("supervisord pm2 runsv s6-supervise supervise circusd monit nodemon foreman honcho overmind forever watchmedo")

// Query says what candidates have to do with.
type Query struct {
	Port uint16
	Cwd  string // the project's directory; empty: none
	// Listeners gives the listening sockets of this network namespace by inode.
	Listeners func() (tcp map[uint64]netip.AddrPort, unix map[uint64]string, err error)
}

// Candidates finds the processes that name the port on their command line or in
// their environment, or that run in the project and listen on something. Those
// that only look at the port or connect to it, loopdoctor itself and what it was
// started from, and those of other network namespaces do not count.
func Candidates(ctx context.Context, q Query) (*facts.Candidates, error) {
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("find candidates: %w", &fs.PathError{Op: "open", Path: "/proc", Err: err})
	}
	defer unix.Close(proc)
	pids, err := PIDs()
	if err != nil {
		return nil, fmt.Errorf("find candidates: %w", err)
	}
	s := &search{Query: q, proc: proc, describer: newDescriber(), found: map[int]*facts.Candidate{}, whole: present("/proc/1")}
	s.mine = inode(os.Stat("/proc/thread-self/net/tcp"))
	s.walk(ctx, pids)
	s.describeAll()
	if err := s.sockets(ctx); err != nil {
		return nil, err
	}
	if s.restless() {
		s.watch(ctx, pids)
		if err := s.sockets(ctx); err != nil {
			return nil, err
		}
	}
	return &facts.Candidates{Found: s.best(), Complete: s.whole && ctx.Err() == nil}, nil
}

// search is one look for candidates.
type search struct {
	outside map[int]bool // started a process in another network namespace that names the port
	Query
	proc      int
	describer *describer
	mine      uint64 // our network namespace
	found     map[int]*facts.Candidate
	killed    map[int]int64 // for want of memory, in the cgroup of who starts them, when it was first seen

	mu         sync.Mutex // for what the workers find
	matched    []facts.Candidate
	supervised bool // a supervisor is there
	whole      bool
}

// walk looks at each process.
func (s *search) walk(ctx context.Context, pids []int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(1, min(runtime.GOMAXPROCS(0), 4, len(pids)/16)) {
		wg.Go(func() {
			buf := make([]byte, maxEnviron)
			for k := next.Add(1) - 1; k < int64(len(pids)) && ctx.Err() == nil; k = next.Add(1) - 1 {
				s.process(pids[k], buf)
			}
		})
	}
	wg.Wait()
}

// process looks at one: its command line, environment and directory. A kernel
// thread and a zombie have none of them.
func (s *search) process(pid int, buf []byte) {
	name, port := strconv.Itoa(pid), []byte(strconv.Itoa(int(s.Port)))
	line, err := s.read(name+"/cmdline", buf[:maxArgs])
	if s.hidden(err) || len(line) == 0 {
		return
	}
	args := parseArgs(line)
	if len(args) == 0 {
		return
	}
	c := facts.Candidate{Process: facts.Process{PID: pid}}
	if supervisors[base(strings.Fields(args[0] + " x")[0])] {
		s.mu.Lock()
		s.supervised = true
		s.mu.Unlock()
	}
	if bytes.Contains(line, port) {
		c.Names = mentions(args, s.Port)
	}
	env, err := s.read(name+"/environ", buf)
	if !s.hidden(err) && bytes.Contains(env, port) && !bystanders[base(args[0])] && !client(args) {
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			if m, ok := variable(text(kv), s.Port); ok {
				c.Names = append(c.Names, m)
			}
		}
	}
	if s.Cwd != "" {
		n, err := unix.Readlinkat(s.proc, name+"/cwd", buf[:4096])
		if !s.hidden(err) && err == nil {
			cwd := string(buf[:n])
			c.InProject = cwd == s.Cwd || strings.HasPrefix(cwd, s.Cwd+"/")
		}
	}
	if len(c.Names) == 0 && !c.InProject {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.matched) < maxMatched {
		s.matched = append(s.matched, c)
	} else {
		s.whole = false
	}
}

// hidden notes a look that was not permitted. A process that is gone is none.
func (s *search) hidden(err error) bool {
	if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = false
	return true
}

// read reads what there is at once: a file of /proc comes whole if it fits.
func (s *search) read(name string, buf []byte) ([]byte, error) {
	fd, err := unix.Openat(s.proc, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		k, err := unix.Read(fd, buf[n:])
		if err != nil || k <= 0 {
			break
		}
		n += k
	}
	return buf[:n], nil
}

// describeAll turns what matched into candidates.
func (s *search) describeAll() {
	for _, c := range s.matched {
		p, err := s.describer.describe(c.PID)
		// Another namespace has a localhost of its own.
		if err == nil && p.Netns != 0 && s.mine != 0 && p.Netns != s.mine {
			s.passedOn(p.PPID)
			continue
		}
		if err != nil || p.Me || p.State == "Z" || clients[p.Name] || s.outside[p.PID] {
			continue
		}
		c.Process = p
		if _, seen := s.killed[p.PPID]; !seen {
			if s.killed == nil {
				s.killed = map[int]int64{}
			}
			s.killed[p.PPID] = s.describer.oomKills(p.PPID)
		}
		if up, err := statOf(p.PPID); err == nil {
			c.Reaped = up.reaped
			if !s.describer.boot.IsZero() {
				c.Since = s.describer.boot.Add(up.start)
			}
		}
		s.found[p.PID] = &c
	}
	s.matched = nil
}

// passedOn leaves out whoever started a process in another namespace: a sandbox that
// names the port names it for what runs in there.
func (s *search) passedOn(pid int) {
	for range 6 {
		st, err := statOf(pid)
		if err != nil || pid <= 1 {
			return
		}
		if s.outside == nil {
			s.outside = map[int]bool{}
		}
		s.outside[pid] = true
		delete(s.found, pid)
		pid = st.ppid
	}
}

// sockets tells what each of them listens on.
func (s *search) sockets(ctx context.Context) error {
	if len(s.found) == 0 {
		return nil
	}
	tcp, unixes, err := s.Listeners()
	if err != nil {
		return fmt.Errorf("find candidates: %w", err)
	}
	wanted := map[uint64]bool{}
	for inode := range tcp {
		wanted[inode] = true
	}
	for inode := range unixes {
		wanted[inode] = true
	}
	var pids []int
	for pid, c := range s.found {
		if !c.Gone {
			pids = append(pids, pid)
		}
		c.Listens, c.Unix, c.Sockets, c.Told = nil, nil, !c.Gone, false
	}
	scan := &scanner{proc: s.proc, wanted: wanted, held: map[uint64]map[int]int{}, whole: true}
	if len(wanted) > 0 {
		scan.scan(ctx, pids)
	}
	for _, pid := range scan.denied {
		s.found[pid].Sockets = false
	}
	for inode, holders := range scan.held {
		for pid := range holders {
			c := s.found[pid]
			if a, ok := tcp[inode]; ok {
				c.Listens = append(c.Listens, a)
				c.Told = c.Told || s.told(c, a.Port())
			} else {
				c.Unix = append(c.Unix, unixes[inode])
			}
		}
	}
	for _, c := range s.found {
		slices.SortFunc(c.Listens, func(a, b netip.AddrPort) int { return cmp.Or(cmp.Compare(a.Port(), b.Port()), a.Compare(b)) })
		slices.Sort(c.Unix)
		c.Unix = slices.Compact(c.Unix)
	}
	return nil
}

// told tells whether the process names the port that it listens on.
func (s *search) told(c *facts.Candidate, port uint16) bool {
	if len(mentions(c.Args, port)) > 0 {
		return true
	}
	env, _ := s.read(strconv.Itoa(c.PID)+"/environ", make([]byte, maxEnviron))
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if m, ok := variable(text(kv), port); ok && m.Sure {
			return true
		}
	}
	return false
}

// restless tells whether a second look is worth the time.
func (s *search) restless() bool {
	return s.supervised || s.loops() || slices.ContainsFunc(s.list(), func(c *facts.Candidate) bool {
		return len(c.Names) > 0 && len(c.Listens) == 0 && time.Since(c.Started) < young
	})
}

// loops tells whether a shell runs what names the port over and over.
func (s *search) loops() bool {
	return slices.ContainsFunc(s.list(), func(c *facts.Candidate) bool {
		return slices.ContainsFunc(c.Names, func(m facts.Mention) bool { return m.Loops() })
	})
}

func (s *search) list() []*facts.Candidate {
	var all []*facts.Candidate
	for _, c := range s.found {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *facts.Candidate) int { return older(a.Process, b.Process) })
	return all
}

// watch sees who ends and who takes its place.
func (s *search) watch(ctx context.Context, before []int) {
	old := map[int]bool{}
	for _, pid := range before {
		old[pid] = true
	}
	buf := make([]byte, maxEnviron)
	long := watching
	if s.loops() {
		long = round
	}
	for end := time.Now().Add(long); time.Now().Before(end) && ctx.Err() == nil && !s.replaced(); {
		time.Sleep(tick)
		pids, err := PIDs()
		if err != nil {
			return
		}
		here := map[int]bool{}
		for _, pid := range pids {
			here[pid] = true
			if !old[pid] && s.found[pid] == nil {
				s.process(pid, buf)
			}
		}
		s.describeAll()
		for pid, c := range s.found {
			st, err := statOf(pid)
			c.Gone = c.Gone || !here[pid] || err != nil || st.state == 'Z'
		}
	}
	for _, c := range s.list() {
		if next := s.next(c); next != nil {
			next.Restarts += c.Restarts + 1
			if before, ok := s.killed[next.PPID]; ok {
				next.OOMKills = max(s.describer.oomKills(next.PPID)-before, 0)
			}
			delete(s.found, c.PID)
		}
	}
}

// replaced tells whether one was seen to end, and another one in its place.
func (s *search) replaced() bool {
	return slices.ContainsFunc(s.list(), func(c *facts.Candidate) bool { return s.next(c) != nil })
}

// next is who has the same parent and command line as one that is gone: it took
// its place.
func (s *search) next(c *facts.Candidate) *facts.Candidate {
	for _, next := range s.list() {
		if c.Gone && next.PID != c.PID && !next.Started.Before(c.Started) && next.PPID == c.PPID && slices.Equal(next.Args, c.Args) {
			return next
		}
	}
	return nil
}

// best puts the most telling ones first.
func (s *search) best() []facts.Candidate {
	for _, c := range s.list() {
		for pid, depth := c.PPID, 0; pid > 1 && depth < 8; depth++ {
			if up := s.found[pid]; up != nil {
				up.ParentOf = c.PID
				break
			}
			st, err := statOf(pid)
			if err != nil {
				break
			}
			pid = st.ppid
		}
	}
	var kept []facts.Candidate
	for _, c := range s.list() {
		if len(c.Names) > 0 || len(c.Listens)+len(c.Unix) > 0 {
			kept = append(kept, *c)
		}
	}
	slices.SortStableFunc(kept, func(a, b facts.Candidate) int {
		return cmp.Or(cmp.Compare(telling(b), telling(a)), b.Started.Compare(a.Started), cmp.Compare(a.PID, b.PID))
	})
	return kept[:min(len(kept), maxKept)]
}

// telling weighs how much a candidate has to do with the port.
func telling(c facts.Candidate) int {
	n := 0
	for _, m := range c.Names {
		n = max(n, cond(m.Sure, 8, 4))
	}
	return n + btoi(c.InProject)*3 + btoi(len(c.Listens) > 0)*2 + btoi(c.ParentOf == 0)
}

func cond(c bool, yes, no int) int {
	if c {
		return yes
	}
	return no
}

// Project tells whether a directory can be one: everybody's processes live in
// the root and in a home directory.
func Project(dir string) bool {
	home, _ := os.UserHomeDir()
	parent, name := path.Split(strings.TrimSuffix(dir, "/"))
	return path.IsAbs(dir) && dir != home && name != "" && parent != "/home/" &&
		!slices.Contains([]string{"/root", "/tmp", "/run", "/var", "/etc", "/usr", "/home", "/dev", "/proc", "/sys", "/bin", "/sbin", "/opt", "/srv", "/mnt", "/var/tmp"}, dir)
}
