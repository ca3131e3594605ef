package host

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

const (
	// apart is how long two looks at a process are apart: several ticks of the
	// clock by which the kernel counts, and less than a person notices.
	apart = 120 * time.Millisecond
	// apartMost is for a limit of CPU time with a long period.
	apartMost = 1200 * time.Millisecond
	// apartMore is for a machine that is so busy that a program hardly gets to run.
	apartMore = 900 * time.Millisecond
)

// hardlyRan tells whether a thread that wants to run all the time got so little of it
// that one that was about to accept might not have come to that.
func hardlyRan(w facts.Work) bool {
	return slices.ContainsFunc(w.Processes, func(p facts.Worker) bool { return p.Busiest != nil && p.Busiest.Tireless && !p.Busiest.Busy() })
}

// lookWork looks twice at the processes that hold the listeners of the port. Those
// that cannot run are looked at once: they do nothing in between.
func lookWork(ctx context.Context, f *facts.Facts) (*facts.Work, error) {
	pids, halted := workers(f)
	if halted {
		w := process.Glance(pids)
		return &w, nil
	}
	watch := process.NewWatch(pids)
	queues := &queueWatch{port: f.Target.Port, f: f}
	queues.look()
	until := max(apart, min(watch.Period()+20*time.Millisecond, apartMost))
	held := slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Outcome == facts.Deferred })
	if crowded(f, held) && !keptWaiting(f) {
		until = acceptLate // as long as a connection of our own is given
	}
	for end := time.Now().Add(until); time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(min(40*time.Millisecond, time.Until(end)))
		if until == acceptLate && queues.look() {
			break
		}
	}
	w, err := watch.Since()
	for end := time.Now().Add(apartMore); hardlyRan(w) && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(apart)
		w, err = watch.Since()
	}
	if err != nil && len(pids) > 0 {
		return nil, err
	}
	queues.look()
	w.Queues, w.Left = queues.queues, queues.left
	if len(pids) == 0 {
		w.Partial = "the processes (needs root)"
	}
	return &w, nil
}

// workers returns the processes that hold a listener of the port that serves an
// expected address, and whether none of them can run.
func workers(f *facts.Facts) (pids []int, halted bool) {
	if f.Sockets == nil {
		return nil, false
	}
	halted = true
	for _, s := range f.Sockets.Sockets {
		if s.Network != f.Target.Network || s.State != facts.Listen || s.Local.Port() != f.Target.Port || !slices.ContainsFunc(f.Target.Expected(), s.Serves) {
			continue
		}
		for _, p := range f.Owners.Of(s) {
			if !slices.Contains(pids, p.PID) {
				pids = append(pids, p.PID)
			}
			halted = halted && p.Halted() != ""
		}
	}
	return pids, halted && len(pids) > 0
}

// keptWaiting tells whether a connection of our own waits for the application.
func keptWaiting(f *facts.Facts) bool {
	return slices.ContainsFunc(f.Dials, func(d facts.Dial) bool {
		return d.Outcome != facts.Deferred && d.Server != nil && !d.Server.Accepted
	})
}

// queueWatch looks at the accept queues of the listeners, again and again.
type queueWatch struct {
	port    uint16
	f       *facts.Facts
	queues  []facts.QueueAt
	waiting map[netip.AddrPort]bool // who waited to be accepted at the first look
	left    int
}

// look tells whether a program has taken a connection since the first one.
func (q *queueWatch) look() (moved bool) {
	now, err := linuxSockets(q.port)
	if err != nil {
		return false
	}
	first := q.waiting == nil
	waiting := map[netip.AddrPort]bool{}
	for _, s := range now.Sockets {
		switch {
		case s.Network != "tcp" || s.Local.Port() != q.port:
		case s.State == facts.Listen && s.Queue != nil && first:
			q.queues = append(q.queues, facts.QueueAt{Inode: s.Inode, Before: *s.Queue, Queue: *s.Queue})
		case s.State == facts.Listen && s.Queue != nil:
			if i := slices.IndexFunc(q.queues, func(at facts.QueueAt) bool { return at.Inode == s.Inode }); i >= 0 {
				q.queues[i].Queue = *s.Queue
				moved = moved || s.Queue.Length < q.queues[i].Before.Length
			}
		case s.Inode == 0:
			waiting[s.Remote] = true
		}
	}
	if first {
		q.waiting = waiting
		return false
	}
	// Who gave up meanwhile was perhaps not accepted, and who is gone perhaps was: that
	// somebody left is enough to say no more.
	for remote := range q.waiting {
		if !waiting[remote] {
			q.left++
			delete(q.waiting, remote)
		}
	}
	if moved && q.left == 0 {
		q.left = 1
	}
	return q.left > 0
}
