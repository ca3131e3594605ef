package host

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// accept watches the server's side of a connection until the application has
// taken it.
func (l *look) accept(ctx context.Context, c connection) {
	begin := time.Now()
	taken := func(limit time.Duration) bool {
		for pause := 200 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
			switch {
			case c.Accepted():
				return true
			case time.Since(begin) >= limit || ctx.Err() != nil:
				return false
			}
			time.Sleep(pause)
		}
	}
	a := c.Fact().Addr
	ok := taken(acceptSoon)
	if !ok {
		l.waitForOwners()
		// For one that cannot run there is no point in waiting; one that is
		// busy may serve those who came before us first.
		ok = !l.halted(a) && taken(l.acceptLate())
	}
	switch {
	case !ok && !l.halted(a) && (time.Since(begin) < l.acceptLate() || l.moves(a)):
		c.Forget()
	case ok && l.own == nil && c.Fact().Server != nil:
		l.waitForOwners()
		switch st := facts.State(c.Fact().Server.State); {
		case st == facts.SynRecv: // the program has not even seen it
		case l.forwarded(a):
			c.Early(earlyEnd)
		case st != facts.Established && st != "" && l.outOfFiles(a):
			// It has closed already, since it cannot keep it (libuv, on EMFILE). Others
			// that close at once mean to.
			c.Early(0)
		}
	}
}

// acceptLate is when a program that does not accept is said not to: who has more patience
// for an answer has it for this, too.
func (l *look) acceptLate() time.Duration { return max(acceptLate, l.Patience) }

// movedLater tells whether a queue in which our connection waited became shorter while the
// processes were looked at: their program was only busy, and has come to it by now. What
// was thought of its connection is dropped.
func (l *look) movedLater(open []connection) (moved bool) {
	if l.f.Work == nil {
		return false
	}
	for _, c := range open {
		d := c.Fact()
		if d.Server == nil || d.Server.Accepted {
			continue
		}
		for _, s := range l.listening(d.Addr) {
			for _, q := range l.f.Work.Queues {
				if q.Inode == s.Inode && q.Queue.Length < q.Before.Length {
					moved = true
					c.Forget()
				}
			}
		}
	}
	return moved
}

// fellSilent dials once more where the first connection came up and the one for the
// question got no answer: ours may have filled an accept queue, or a rule lets one of
// several pass. What a client meets from now on is what has to be explained.
func (l *look) fellSilent(ctx context.Context, open []connection) {
	var silent []netip.Addr
	for i, c := range open {
		d := c.Fact()
		unasked := slices.ContainsFunc(l.f.Answers, func(a facts.Answer) bool {
			return a.Addr == d.Addr && a.With == "" && a.End == facts.NotAsked && a.Errno == ""
		})
		if !unasked || !d.Outcome.Works() || ctx.Err() != nil {
			continue
		}
		second := l.sources.dial(l.to(d.Addr), l.client(l.f.Host.Client(d.As, d.AsPID)))
		if second.Fact().Outcome != facts.Timeout {
			second.Close()
			continue
		}
		c.Close()
		open[i], silent = second, append(silent, d.Addr)
	}
	if len(silent) == 0 {
		return
	}
	// What was counted before was before.
	l.f.Ledger = slices.DeleteFunc(l.f.Ledger, func(r facts.Ledger) bool { return slices.Contains(silent, r.Addr) })
	for _, g := range []facts.Group{facts.GroupLedger, facts.GroupPackets, facts.GroupFilters, facts.GroupConntrack} {
		l.expectAgain(g)
	}
	l.deeper(ctx, open)
}

// expectAgain drops why a group was not there: it is looked at once more.
func (l *look) expectAgain(g facts.Group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.f.Absent, g)
}

// outOfFiles tells whether a process that serves the address has as many files open as
// it may.
func (l *look) outOfFiles(a netip.Addr) bool {
	return l.sources.full != nil && slices.ContainsFunc(l.serving(a), func(p facts.Process) bool { return l.sources.full(p.PID) })
}

// moves tells whether the accept queue has moved since the first look: somebody
// who waited in it has been accepted, or it is shorter although we have joined
// it. A client that gave up does not leave it.
func (l *look) moves(a netip.Addr) bool {
	if l.f.Sockets == nil || l.sources.sockets == nil {
		return false
	}
	now, err := l.sources.sockets(l.f.Target.Port)
	if err != nil {
		return false
	}
	for _, s := range now.Sockets {
		for _, old := range l.f.Sockets.Sockets {
			if s.Network != "tcp" || s.Local != old.Local || s.Remote != old.Remote {
				continue
			}
			accepted := old.Inode == 0 && s.Inode != 0 && old.State == facts.Established
			shorter := s.Inode == old.Inode && s.Serves(a) && s.Queue != nil && old.Queue != nil && s.Queue.Length <= old.Queue.Length && old.Queue.Length > 0
			if accepted || shorter {
				return true
			}
		}
	}
	return false
}

func (l *look) waitForOwners() {
	if l.ownersDone != nil {
		<-l.ownersDone
	}
}
