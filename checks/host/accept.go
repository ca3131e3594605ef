package host

import (
	"context"
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
		ok = !l.halted(a) && taken(acceptLate)
	}
	switch {
	case !ok && !l.halted(a) && (time.Since(begin) < acceptLate || l.moves()):
		c.Forget()
	case ok && l.own == nil && c.Fact().Server != nil:
		if l.waitForOwners(); l.forwarded(a) {
			c.Early(earlyEnd)
		}
	}
}

// moves tells whether the accept queue of the port has moved since the first
// look: somebody who waited then waits no more.
func (l *look) moves() bool {
	if l.f.Sockets == nil || l.sources.sockets == nil {
		return false
	}
	now, err := l.sources.sockets(l.f.Target.Port)
	if err != nil {
		return false
	}
	waits := func(s facts.Socket) bool {
		return s.Network == "tcp" && s.State == facts.Established && s.Inode == 0 && s.Local.Port() == l.f.Target.Port
	}
	return slices.ContainsFunc(l.f.Sockets.Sockets, func(old facts.Socket) bool {
		return waits(old) && !slices.ContainsFunc(now.Sockets, func(s facts.Socket) bool {
			return waits(s) && s.Local == old.Local && s.Remote == old.Remote
		})
	})
}

func (l *look) waitForOwners() {
	if l.ownersDone != nil {
		<-l.ownersDone
	}
}
