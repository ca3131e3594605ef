package host

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// whereabouts looks for the server where nothing serves an expected address, and
// for a way around who holds the port.
func (l *look) whereabouts(ctx context.Context) {
	t := l.f.Target
	l.holders(ctx)
	held := l.f.Sockets != nil && slices.ContainsFunc(l.f.Sockets.Sockets, func(s facts.Socket) bool {
		return s.Network == t.Network && s.Local.Port() == t.Port && (s.State == facts.Listen || s.State == facts.Bound)
	})
	why := ""
	switch {
	case t.Port == 0:
		why = "no target was given"
	case held:
		why = "something holds the port"
	case t.Intent == facts.ToBind:
		why = "the question is who can bind"
	}
	bindFails := slices.ContainsFunc(l.f.Binds, func(b facts.Bind) bool { return b.Errno != "" })

	// Each writes a field of its own, and l.absent is guarded.
	var wg sync.WaitGroup
	search(ctx, l, &wg, facts.GroupCandidates, &l.f.Candidates, l.sources.candidates, why)
	units := why
	if held && t.Intent == facts.ToBind && bindFails && l.managerMayHold() {
		units = "" // which of its units is it?
	}
	search(ctx, l, &wg, facts.GroupUnits, &l.f.Units, l.sources.units, units)
	search(ctx, l, &wg, facts.GroupContainers, &l.f.Containers, l.sources.containers, l.noContainers(held, bindFails))
	search(ctx, l, &wg, facts.GroupUnixSockets, &l.f.UnixSockets, l.sources.unixSockets, why)
	search(ctx, l, &wg, facts.GroupConfigs, &l.f.Configs, l.sources.configs, l.noConfigs(held))
	wg.Wait()

	why = ""
	switch {
	case t.Port == 0:
		why = "no target was given"
	case !bindFails:
		why = "nothing is in the way"
	}
	search(ctx, l, &wg, facts.GroupSpare, &l.f.Spare, l.sources.spare, why)
	switch {
	case why != "":
	case !held:
		why = "nothing holds the port"
	case t.Network != "tcp":
		why = "a bound UDP socket takes datagrams"
	}
	search(ctx, l, &wg, facts.GroupReusePort, &l.f.ReusePort, l.sources.reusePort, why)
	wg.Wait()
}

// originTime is how long it may take to see where the holders came from: their
// directories may lie on a file system that does not answer.
const originTime = 200 * time.Millisecond

// holders says more of who holds the port, where something is wrong.
func (l *look) holders(ctx context.Context) {
	f := l.f
	if !l.troubled() || f.Sockets == nil {
		return
	}
	l.stillThere()
	for i := range f.Sockets.Sockets {
		s := &f.Sockets.Sockets[i]
		if l.sources.userName != nil && (s.State == facts.Listen || s.State == facts.Bound) && len(f.Owners.Of(*s)) == 0 {
			s.User = l.sources.userName(s.UID)
		}
	}
	if f.Owners == nil || l.sources.origins == nil {
		return
	}
	// Not by get: it would write to a group that is there already.
	done := make(chan []facts.Process, 1)
	ps := slices.Clone(f.Owners.Processes)
	go guard(func() error {
		done <- l.sources.origins(ps[:min(len(ps), 16)])
		return nil
	})
	ctx, cancel := context.WithTimeout(ctx, originTime)
	defer cancel()
	select {
	case known := <-done:
		copy(f.Owners.Processes, known)
	case <-ctx.Done():
	}
}

// troubled tells whether an address does not work, or cannot be bound.
func (l *look) troubled() bool {
	if slices.ContainsFunc(l.f.Binds, func(b facts.Bind) bool { return b.Errno != "" }) {
		return true
	}
	return slices.ContainsFunc(l.open, func(c connection) bool {
		d := c.Fact()
		fine := d.Outcome == facts.Skipped || d.Outcome.Works() && d.Closed == "" && (d.Server == nil || d.Server.Accepted)
		return !fine && expected(l.f.Target, d.Addr)
	})
}

// stillThere looks once more for a listener that no process was seen to hold:
// one that has ended since proves nothing.
func (l *look) stillThere() {
	f := l.f
	orphan := func(s facts.Socket) bool {
		return s.State == facts.Listen && s.Inode != 0 && s.Local.Port() == f.Target.Port && len(f.Owners.Of(s)) == 0
	}
	if f.Owners == nil || !f.Owners.Visible || !slices.ContainsFunc(f.Sockets.Sockets, orphan) {
		return
	}
	now, err := l.sources.sockets(f.Target.Port)
	for _, s := range f.Sockets.Sockets {
		if orphan(s) && (err != nil || !slices.ContainsFunc(now.Sockets, func(n facts.Socket) bool { return n.State == s.State && n.Inode == s.Inode })) {
			f.Owners.Complete, f.Owners.Visible = false, false
		}
	}
}

// managerMayHold tells whether a service manager may listen on the port: it is
// seen to, or it is not seen who does.
func (l *look) managerMayHold() bool {
	return slices.ContainsFunc(l.f.Sockets.Sockets, func(s facts.Socket) bool {
		if s.State != facts.Listen || s.Local.Port() != l.f.Target.Port {
			return false
		}
		ps := l.f.Owners.Of(s)
		return len(ps) == 0 || slices.ContainsFunc(ps, facts.Process.IsServiceManager)
	})
}

// noContainers says why containers are of no interest; empty where they are: nothing
// holds the port, or something is wrong and a container may be what is behind it.
func (l *look) noContainers(held, bindFails bool) string {
	t := l.f.Target
	switch {
	case t.Port == 0:
		return "no target was given"
	case t.Intent == facts.ToBind && !bindFails:
		return "nothing is in the way"
	case !held || t.Intent == facts.ToBind: // a container that wants it may be waiting for it
		return ""
	}
	lost := slices.ContainsFunc(l.open, func(c connection) bool {
		d := c.Fact()
		return !d.Outcome.Works() && d.Outcome != facts.Skipped && expected(t, d.Addr)
	})
	unanswered := slices.ContainsFunc(l.f.Answers, func(a facts.Answer) bool { return a.With == "" && a.End != facts.Answered })
	switch {
	case lost:
		return ""
	case !l.troubled() && !unanswered:
		return "something holds the port"
	case !l.engineMayHold():
		return "what holds the port is no container engine's"
	}
	return ""
}

// engineMayHold tells whether a program of a container engine holds the port, or a
// process of a container: it is seen to, or it is not seen who does.
func (l *look) engineMayHold() bool {
	t := l.f.Target
	return slices.ContainsFunc(l.f.Sockets.Sockets, func(s facts.Socket) bool {
		if s.Network != t.Network || s.State != facts.Listen && s.State != facts.Bound || s.Local.Port() != t.Port {
			return false
		}
		ps := l.f.Owners.Of(s)
		return len(ps) == 0 || slices.ContainsFunc(ps, func(p facts.Process) bool { return p.Container != "" || p.HoldsForContainers() })
	})
}

// noConfigs says why the configuration of servers is of no interest; empty where
// it is: nothing listens, or what listens does not serve an address that has to work,
// or serves more than loopback.
func (l *look) noConfigs(held bool) string {
	t := l.f.Target
	switch {
	case t.Port == 0:
		return "no target was given"
	case !held && t.Intent == facts.ToBind:
		return "the question is who can bind"
	case !held:
		return ""
	}
	for _, a := range t.Expected() {
		if t.Intent == facts.Connect && len(l.listening(a)) == 0 {
			return ""
		}
	}
	exposed := slices.ContainsFunc(l.f.Sockets.Sockets, func(s facts.Socket) bool {
		return s.State == facts.Listen && s.Local.Port() == t.Port && !s.Local.Addr().Unmap().IsLoopback()
	})
	others := l.f.Interfaces != nil && slices.ContainsFunc(l.f.Interfaces.Others, func(i facts.Interface) bool { return len(i.Addresses) > 0 })
	if exposed && others {
		return ""
	}
	return "the listener serves what it should"
}

// search runs one of these looks beside the others, unless there is a reason not to.
func search[T any](ctx context.Context, l *look, wg *sync.WaitGroup, g facts.Group, into *T, do func(context.Context, *facts.Facts) (T, error), why string) {
	switch {
	case why != "":
		l.skipped(g, facts.DidNotNeedTo, why)
	case do == nil:
		l.missing(g, errNotHere)
	default:
		wg.Go(func() { get(ctx, l, g, into, func() (T, error) { return do(ctx, l.f) }) })
	}
}
