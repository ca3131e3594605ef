package netns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// What could not be looked into.
const (
	timeRanOut   = "time ran out"
	needsRoot    = "mounted namespaces need root"
	hiddenFromUs = "processes of others are hidden"
	ownPIDsOnly  = "only processes of our PID namespace"
)

// space is one other network namespace.
type space struct {
	id        uint64 // 0: not known before it was entered
	name      string // of "ip netns"
	pin       string // path of a mount that keeps it
	pinned    uint64 // inode of that mount: the kernel's number of the namespace
	pids      []int
	residents []int // those of the processes that are weighed
	seen      bool
	listeners []facts.Socket
}

// Find looks for TCP listeners on the port in network namespaces other than
// that of the calling thread. A namespace is named by the inode number of its
// /proc/PID/net/tcp: like the number of ns/net it belongs to one namespace
// only, but everybody may read it.
//
// What was not looked into, for want of privilege or of time, is said in
// Partial. The error is for a system without /proc.
func Find(ctx context.Context, port uint16) (*facts.Namespaces, error) {
	mine, err := inode("/proc/thread-self/net/tcp")
	if err != nil {
		return nil, fmt.Errorf("find other network namespaces: %w", err)
	}
	spaces, partial, err := list(ctx, mine)
	if err != nil {
		return nil, fmt.Errorf("find other network namespaces: %w", err)
	}
	spaces = enter(ctx, mine, spaces, port)
	over := read(ctx, spaces, port)

	ns := &facts.Namespaces{Mine: mine, Found: []facts.Namespace{}}
	var found []*space
	for _, s := range spaces {
		switch {
		case !s.seen && ctx.Err() == nil && len(s.pids) == 0:
			partial = append(partial, needsRoot)
		case !s.seen && (ctx.Err() != nil || over):
			partial = append(partial, timeRanOut)
		case s.seen:
			ns.Seen++
			if len(s.listeners) > 0 {
				found = append(found, s)
			}
		}
	}
	ns.Found = append(ns.Found, owned(ctx, found, port)...)
	slices.SortFunc(ns.Found, func(a, b facts.Namespace) int { return cmp.Compare(a.ID, b.ID) })
	slices.Sort(partial)
	ns.Partial = strings.Join(slices.Compact(partial), ", ")
	return ns, nil
}

// list gives the namespaces that processes live in, and those that a mount
// keeps. One may be among both until it has been entered.
func list(ctx context.Context, mine uint64) (spaces []*space, partial []string, err error) {
	pids, err := process.PIDs()
	if err != nil {
		return nil, nil, err
	}
	ids, done := homes(ctx, pids)
	if !done {
		partial = append(partial, timeRanOut)
	}
	byID := map[uint64]*space{}
	for i, pid := range pids {
		switch id := ids[i]; {
		case id == denied:
			partial = append(partial, hiddenFromUs)
		case id == 0 || id == mine: // a zombie has no network, a process that is gone neither
		case byID[id] == nil:
			byID[id] = &space{id: id, pids: []int{pid}}
			spaces = append(spaces, byID[id])
		default:
			byID[id].pids = append(byID[id].pids, pid)
		}
	}
	if _, err := os.Stat("/proc/1"); err != nil {
		partial = append(partial, hiddenFromUs) // the mount option hidepid
	}
	// PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h
	if n, err := inode("/proc/self/ns/pid"); err == nil && n != 4026531836 {
		partial = append(partial, ownPIDsOnly)
	}
	// If time runs out, let it be after the containers.
	likely := map[*space]int{}
	for _, s := range spaces {
		if b, err := os.ReadFile(procPath(s.pids[0], "cgroup")); err == nil && process.InContainer(b) {
			likely[s] = -1
		}
	}
	slices.SortStableFunc(spaces, func(a, b *space) int { return likely[a] - likely[b] })
	return pins(spaces), partial, nil
}

// denied stands for a process that may not even be looked at.
const denied = ^uint64(0)

// homes gives the number of each process's network namespace, 0 where it has none. The
// look at net/tcp takes the kernel ten times as long as the link ns/net, which only the
// owner of a process and root may follow: of several with the same link one is enough.
func homes(ctx context.Context, pids []int) (ids []uint64, done bool) {
	ids = make([]uint64, len(pids))
	var mu sync.Mutex
	known := map[string]uint64{} // by link
	_, err := os.Readlink("/proc/1/ns/net")
	mayFollow := err == nil // else it fails nearly everywhere, and takes its time
	look := func(pid int) uint64 {
		link := ""
		if mayFollow {
			link, _ = os.Readlink(procPath(pid, "ns/net"))
		}
		if link != "" {
			mu.Lock()
			id := known[link]
			mu.Unlock()
			if id != 0 {
				return id
			}
		}
		id, err := inode(procPath(pid, "net/tcp"))
		switch {
		case errors.Is(err, fs.ErrPermission):
			return denied
		case err != nil:
			return 0
		}
		if link == "" {
			return id
		}
		if again, err := os.Readlink(procPath(pid, "ns/net")); err == nil && again == link { // it has not moved meanwhile
			mu.Lock()
			known[link] = id
			mu.Unlock()
		}
		return id
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(1, min(runtime.GOMAXPROCS(0), 4, len(pids)/64)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(pids)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				ids[i] = look(pids[i])
			}
		})
	}
	wg.Wait()
	return ids, ctx.Err() == nil
}

// pins adds the namespaces that a mount keeps, by lines of mountinfo such as
//
//	612 23 0:4 net:[4026532204] /run/netns/blue rw shared:300 - nsfs nsfs rw
//
// They come first: entering them tells the names of those that follow.
func pins(spaces []*space) []*space {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return spaces
	}
	defer f.Close()
	mounts, _ := process.ParseMountinfo(f)
	ours, _ := inode("/proc/thread-self/ns/net")
	known := map[uint64]*space{}
	for _, s := range spaces {
		if n, err := inode(procPath(s.pids[0], "ns/net")); err == nil { // else it is another user's
			s.pinned = n
			known[n] = s
		}
	}
	var more []*space
	for _, m := range mounts {
		n, ok := pinned(m)
		if !ok || n == ours {
			continue
		}
		s := known[n]
		if s == nil {
			s = &space{pinned: n}
			known[n] = s
			more = append(more, s)
		}
		s.pin = m.Point
		if dir := path.Dir(m.Point); s.name == "" && (dir == "/run/netns" || dir == "/var/run/netns") {
			s.name = path.Base(m.Point)
		}
	}
	return append(more, spaces...)
}

// pinned gives the kernel's number of the network namespace that is mounted.
func pinned(m process.Mount) (uint64, bool) {
	s, ok := strings.CutPrefix(m.Root, "net:[")
	if !ok || m.Type != "nsfs" || !strings.HasSuffix(s, "]") {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64)
	return n, err == nil
}

// owned turns the namespaces with a listener into facts, with its owner or,
// when that one is hidden, with a process that lives there.
func owned(ctx context.Context, found []*space, port uint16) []facts.Namespace {
	if len(found) == 0 {
		return nil
	}
	var sockets []facts.Socket
	var pids []int
	for _, s := range found[:min(len(found), maxTold)] {
		sockets = append(sockets, s.listeners...)
		pids = append(pids, s.pids...)
	}
	// Who holds a listener lives in its namespace; one that came from elsewhere is
	// looked for only if there are few.
	owners, err := process.Among(ctx, sockets, pids)
	if err == nil && len(found) < fewSpaces && len(owners.Holders) < len(sockets) {
		owners, err = process.Owners(ctx, sockets, pids...)
	}
	if err != nil {
		owners = &facts.Owners{}
	}
	var all []facts.Namespace
	each := max(minResidents, maxResidents/len(found))
	for _, s := range found {
		s.residents = s.pids[:min(len(s.pids), each)]
		n := facts.Namespace{ID: s.id, Name: process.Tidy(s.name), Listeners: s.listeners, Processes: []facts.Process{}, Proven: true}
		for _, l := range s.listeners {
			hs := owners.Holders[l.Inode]
			if len(hs) == 0 || hs[0].Attribution != facts.ByDescriptor {
				n.Proven = false
			}
			for _, p := range owners.Of(l) {
				if !slices.ContainsFunc(n.Processes, func(q facts.Process) bool { return q.PID == p.PID }) {
					n.Processes = append(n.Processes, p)
				}
			}
		}
		if len(n.Processes) == 0 && len(all) < maxTold {
			if p, ok := s.resident(port); ok {
				n.Processes = append(n.Processes, p)
			}
		}
		n.Room = s.room(n.Processes)
		all = append(all, n)
	}
	return all
}

const (
	maxResidents = 128 // processes that are weighed, of all namespaces together
	minResidents = 4   // of each
	maxTold      = 16  // namespaces whose processes are told
	fewSpaces    = 4   // namespaces for whose listeners every process is looked at
)

// resident picks a process of the namespace to name: one of the listener's
// user, if possible one whose arguments hold the port, then the oldest.
func (s *space) resident(port uint16) (best facts.Process, ok bool) {
	rank := func(p facts.Process) (n int) {
		if p.UID == s.listeners[0].UID {
			n -= 2
		}
		if slices.ContainsFunc(p.Args, func(a string) bool { return strings.Contains(a, strconv.Itoa(int(port))) }) {
			n--
		}
		return n
	}
	for _, pid := range s.residents {
		p, err := process.Describe(pid)
		if err != nil || p.Netns != s.id {
			continue // gone
		}
		if !ok || cmp.Or(rank(p)-rank(best), p.Started.Compare(best.Started), p.PID-best.PID) < 0 {
			best, ok = p, true
		}
	}
	return best, ok
}

// listening keeps the TCP listeners on the port.
func listening(sockets []facts.Socket, port uint16) []facts.Socket {
	return slices.DeleteFunc(sockets, func(s facts.Socket) bool {
		return s.Network != "tcp" || s.State != facts.Listen || s.Local.Port() != port
	})
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

func inode(name string) (uint64, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return fi.Sys().(*syscall.Stat_t).Ino, nil
}
