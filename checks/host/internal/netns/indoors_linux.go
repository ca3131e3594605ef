package netns

import (
	"context"
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// Indoors is what is in the network namespace of a process.
type Indoors struct {
	ID        uint64
	Seen      bool
	Listeners []facts.Socket // of TCP
	Addresses []netip.Addr
}

// Mine is the number of our own network namespace; 0 if it is not known.
func Mine() uint64 {
	id, _ := inode("/proc/thread-self/net/tcp")
	return id
}

// Of is the number of the network namespace of a process; 0 if it is not known.
func Of(pid int) uint64 {
	id, _ := inode(procPath(pid, "net/tcp"))
	return id
}

// Addresses are the own addresses of the namespace of a process, which everybody may
// read.
func Addresses(pid int) []netip.Addr {
	var addrs []netip.Addr
	for name, parse := range map[string]func(io.Reader) []netip.Addr{"net/fib_trie": ParseFibTrie, "net/if_inet6": ParseIfInet6} {
		if f, err := os.Open(procPath(pid, name)); err == nil {
			addrs = append(addrs, parse(io.LimitReader(f, 1<<20))...)
			f.Close()
		}
	}
	return addrs
}

// Look looks into the namespaces of these processes: what listens there, and at which
// addresses. Our own is none of them.
func Look(ctx context.Context, pids []int) map[int]Indoors {
	mine := Mine()
	all := map[int]Indoors{}
	byID := map[uint64]Indoors{}
	done := make(chan bool)
	go onThread(func() {
		defer close(done)
		for _, pid := range pids {
			in := Indoors{ID: Of(pid)}
			if in.ID == 0 || in.ID == mine || ctx.Err() != nil {
				all[pid] = in
				continue
			}
			if same, known := byID[in.ID]; known {
				all[pid] = same
				continue
			}
			in.Listeners, in.Seen = listenersIn(pid, in.ID)
			byID[in.ID], all[pid] = in, in
		}
	})
	<-done
	for pid, in := range all {
		if in.ID == 0 || in.ID == mine || ctx.Err() != nil {
			continue
		}
		if !in.Seen {
			all, err := readListeners(ctx, pid, in.ID)
			in.Listeners, in.Seen = tcpListeners(all), err == nil
		}
		in.Addresses = Addresses(pid)
		all[pid] = in
	}
	return all
}

// listenersIn moves the calling thread into the namespace and asks the kernel there.
func listenersIn(pid int, id uint64) ([]facts.Socket, bool) {
	fd, err := unix.Open(procPath(pid, "ns/net"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	err = unix.Setns(fd, unix.CLONE_NEWNET)
	unix.Close(fd)
	if err != nil {
		return nil, false
	}
	if now, err := inode("/proc/thread-self/net/tcp"); err != nil || now != id {
		return nil, false // the PID was given to another process meanwhile
	}
	c, err := sockdiag.Open()
	if err != nil {
		return nil, false
	}
	defer c.Close()
	all, err := c.Listeners()
	return tcpListeners(all), err == nil
}

func tcpListeners(all []facts.Socket) []facts.Socket {
	kept := []facts.Socket{}
	for _, s := range all {
		if s.Network == "tcp" && s.State == facts.Listen {
			kept = append(kept, s)
		}
	}
	return kept
}
