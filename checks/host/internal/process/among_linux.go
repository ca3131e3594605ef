package process

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Among finds the holders of the sockets among these processes alone: Owners looks at
// every process, which is too much for each container.
func Among(ctx context.Context, sockets []facts.Socket, pids []int) (*facts.Owners, error) {
	owners := &facts.Owners{Holders: map[uint64][]facts.Holder{}}
	wanted := map[uint64]bool{}
	for _, s := range sockets {
		if s.Inode != 0 {
			wanted[s.Inode] = true
		}
	}
	if len(wanted) == 0 || len(pids) == 0 {
		return owners, nil
	}
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("find owners: %w", &fs.PathError{Op: "open", Path: "/proc", Err: err})
	}
	defer unix.Close(proc)
	s := &scanner{proc: proc, wanted: wanted, held: map[uint64]map[int]int{}, whole: true}
	s.scan(ctx, pids)
	if len(s.held) < len(wanted) {
		s.scanHeadless(ctx)
	}
	d := newDescriber()
	for inode, fds := range s.held {
		for pid, fd := range fds {
			if owners.Process(pid) == nil {
				p, err := d.describe(pid)
				if err != nil {
					continue // gone
				}
				owners.Processes = append(owners.Processes, p)
			}
			owners.Holders[inode] = append(owners.Holders[inode], facts.Holder{PID: pid, FD: fd, Attribution: facts.ByDescriptor})
		}
	}
	slices.SortFunc(owners.Processes, older)
	owners.Visible = s.whole && len(s.denied) == 0
	return owners, nil
}
