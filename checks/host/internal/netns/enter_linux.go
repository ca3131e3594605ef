package netns

import (
	"context"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// enter goes into the namespaces, one after the other, as far as privilege
// (CAP_SYS_ADMIN) and time allow, and asks the kernel for the listeners there.
// It returns the namespaces, each one once: only inside can be seen that a
// mount and a process keep the same one.
func enter(ctx context.Context, mine uint64, spaces []*space, port uint16) []*space {
	if len(spaces) == 0 {
		return nil
	}
	done := make(chan []*space)
	go onThread(func() {
		byID := map[uint64]*space{mine: nil}
		var kept []*space
		for _, s := range spaces {
			if same := byID[s.id]; s.id != 0 && same != nil {
				same.pids = s.pids // a mount brought us there already
				continue
			}
			if s.id, _ = s.enter(ctx, port); s.id != 0 {
				if _, taken := byID[s.id]; taken {
					continue // ours, or kept by a second mount
				}
				byID[s.id] = s
			}
			kept = append(kept, s)
		}
		done <- kept
	})
	return <-done
}

// enter moves the calling thread into the namespace and looks around. It
// returns the number of the namespace, 0 if that is not known.
func (s *space) enter(ctx context.Context, port uint16) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return s.id, err
	}
	name := s.pin
	if name == "" {
		name = procPath(s.pids[0], "ns/net")
	}
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return s.id, err
	}
	err = unix.Setns(fd, unix.CLONE_NEWNET)
	unix.Close(fd)
	if err != nil {
		return s.id, err
	}
	// Not /proc/net: that is the network of the first thread.
	id, err := inode("/proc/thread-self/net/tcp")
	if err != nil || s.id != 0 && id != s.id {
		return s.id, err // the PID was given to another process meanwhile
	}
	c, err := sockdiag.Open()
	if err != nil {
		return id, err
	}
	defer c.Close()
	sockets, err := c.Listeners() // not Port: connections are all in one table, of every namespace
	if err != nil {
		return id, err
	}
	s.seen, s.listeners = true, listening(sockets, port)
	return id, nil
}

// onThread runs f on a thread that ends with it. It is never the first thread
// of the process: that one cannot end, and /proc/self would tell of the
// namespace it was left in.
func onThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return // still locked: the runtime ends the thread
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}
