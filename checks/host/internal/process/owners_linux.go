package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Owners finds the processes that hold the sockets. Those named first are looked
// into first, then those of the sockets' cgroups, then those of the sockets'
// users, then all others: a listener may be shared by forked workers, by systemd and the
// service it started, or by a child that its parent left behind, and all of
// them count. A process whose descriptors may not be read is named by its
// cgroup if nobody else can be meant.
//
// When ctx ends before all were looked into, the result is what was found by
// then, with Complete false. Sockets without an inode have no owner.
func Owners(ctx context.Context, sockets []facts.Socket, first ...int) (*facts.Owners, error) {
	owners := &facts.Owners{Holders: map[uint64][]facts.Holder{}, Complete: true}
	wanted, uids, ids := map[uint64]bool{}, map[uint32]bool{}, map[uint64]bool{}
	for _, s := range sockets {
		if s.Inode == 0 {
			continue
		}
		wanted[s.Inode], uids[s.UID] = true, true
		if s.Cgroup > 1 { // 1 is the root: on a host without cgroup2 every socket has it
			ids[s.Cgroup] = true
		}
	}
	if len(wanted) == 0 {
		return owners, nil
	}
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("find owners: %w", &fs.PathError{Op: "open", Path: "/proc", Err: err})
	}
	defer unix.Close(proc)

	d := newDescriber()
	dirs := directories(ctx, d.mounts, ids)
	inCgroup := map[uint64][]int{}
	first = slices.Clone(first)
	for id, dir := range dirs {
		if pids, ok := members(ctx, dir); ok {
			inCgroup[id] = pids
			first = append(first, pids...)
		}
	}

	s := &scanner{proc: proc, wanted: wanted, held: map[uint64]map[int]int{}, whole: true}
	done := map[int]bool{}
	todo := func(pids []int) []int {
		return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool {
			before := done[pid]
			done[pid] = true
			return before
		})
	}
	s.scan(ctx, todo(first))
	pids, err := PIDs()
	if err != nil {
		return nil, fmt.Errorf("find owners: %w", err)
	}
	// The uid only orders them: a setuid program has another one than the
	// sockets it made.
	same, other := splitByUID(proc, pids, uids)
	s.scan(ctx, todo(same))
	s.scan(ctx, todo(other))
	if len(s.held) < len(wanted) {
		s.scanHeadless(ctx)
	}
	s.whole = s.whole && s.unchanged()

	found := map[int]*facts.Process{}
	describe := func(pid int) *facts.Process {
		if p, ok := found[pid]; ok {
			return p
		}
		found[pid] = nil
		if p, err := d.describe(pid); err == nil {
			found[pid] = &p
		}
		return found[pid]
	}
	for inode, fds := range s.held {
		for pid, fd := range fds {
			if describe(pid) != nil { // else it is gone, and its descriptor with it
				owners.Holders[inode] = append(owners.Holders[inode], facts.Holder{PID: pid, FD: fd, Attribution: facts.ByDescriptor})
			}
		}
	}
	hidden := map[int]bool{}
	for _, pid := range s.denied {
		hidden[pid] = true
	}
	orphan := false // a socket that nobody we can see holds
	for _, sock := range sockets {
		if sock.Inode == 0 || len(owners.Holders[sock.Inode]) > 0 {
			continue
		}
		orphan = true
		suspects := slices.DeleteFunc(slices.Clone(inCgroup[sock.Cgroup]), func(pid int) bool {
			return !hidden[pid] || describe(pid) == nil
		})
		if pid, ok := onlyOne(suspects, dirs[sock.Cgroup], sock.UID, describe); ok {
			owners.Holders[sock.Inode] = []facts.Holder{{PID: pid, Attribution: facts.ByCgroup}}
		}
	}

	for _, hs := range owners.Holders {
		slices.SortFunc(hs, func(a, b facts.Holder) int { return older(*found[a.PID], *found[b.PID]) })
		for _, h := range hs {
			if owners.Process(h.PID) == nil {
				owners.Processes = append(owners.Processes, *found[h.PID])
			}
		}
	}
	slices.SortFunc(owners.Processes, older)
	owners.Visible = s.whole && !slices.ContainsFunc(s.denied, mayHold) && present("/proc/1")
	owners.Complete = owners.Visible && (!orphan || inFirstPIDNamespace())
	return owners, nil
}

// older orders processes by their start.
func older(a, b facts.Process) int {
	return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.PID, b.PID))
}

// onlyOne picks the process that must be meant: the only one of the cgroup
// whose descriptors are hidden, or the main one of a service or container, all
// of whose processes are one thing to whoever has to deal with it. Those of a
// login session have nothing in common.
func onlyOne(suspects []int, dir string, uid uint32, describe func(int) *facts.Process) (int, bool) {
	if len(suspects) == 0 {
		return 0, false
	}
	unit, container := place(dir)
	if len(suspects) > 1 && container == "" && path.Ext(unit) != ".service" {
		return 0, false
	}
	return slices.MinFunc(suspects, func(a, b int) int {
		p, q := describe(a), describe(b)
		return cmp.Or(cmp.Compare(btoi(p.UID != uid), btoi(q.UID != uid)), older(*p, *q))
	}), true
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// splitByUID puts the processes of those users apart from the others. Those with
// few descriptors come first, as the kernel counts them since 6.2: the first
// holder is found sooner then, and compare is quicker.
func splitByUID(proc int, pids []int, uids map[uint32]bool) (same, other []int) {
	count := make(map[int]int64, len(pids))
	for _, pid := range pids {
		var st unix.Stat_t
		err := unix.Fstatat(proc, strconv.Itoa(pid)+"/fd", &st, 0)
		count[pid] = st.Size
		if err == nil && uids[st.Uid] {
			same = append(same, pid)
		} else {
			other = append(other, pid)
		}
	}
	fewest := func(a, b int) int { return cmp.Compare(count[a], count[b]) }
	slices.SortStableFunc(same, fewest)
	slices.SortStableFunc(other, fewest)
	return same, other
}

// mayHold tells whether a process can have descriptors at all: kernel threads
// and zombies have none, but theirs may not be read either.
func mayHold(pid int) bool {
	st, err := statOf(pid)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH)
	}
	return st.flags&kernelThread == 0 && (st.state != 'Z' || st.threads > 1)
}

// present tells whether the file is there. The mount option hidepid leaves the
// directories of other users' processes out of /proc, and that of process 1.
func present(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// inFirstPIDNamespace tells whether there are no processes but those that /proc
// shows. In a PID namespace of its own only an orphan tells that somebody outside
// holds it: a container that shares the network of its host.
func inFirstPIDNamespace() bool {
	ns, err := os.Readlink("/proc/self/ns/pid")
	// PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h
	return err == nil && ns == "pid:[4026531836]"
}
