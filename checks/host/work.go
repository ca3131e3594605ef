package host

import (
	"context"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// work looks at what the processes behind the port do, where a connection is not
// accepted or a question not answered.
func (l *look) work(ctx context.Context) {
	switch {
	case l.own != nil || !l.idle():
		l.skipped(facts.GroupWork, facts.DidNotNeedTo, "nothing was kept waiting")
	case l.sources.work == nil:
		l.missing(facts.GroupWork, errNotHere)
	default:
		get(ctx, l, facts.GroupWork, &l.f.Work, func() (*facts.Work, error) {
			f := *l.f
			for _, c := range l.open { // they are not among the facts yet
				f.Dials = append(slices.Clip(f.Dials), c.Fact())
			}
			return l.sources.work(ctx, &f)
		})
	}
}

// idle tells whether somebody waits for the application, or is turned away by it.
func (l *look) idle() bool {
	kept := func(c connection) bool {
		d := c.Fact()
		// What is lost before it gets there waits for nobody.
		at := lostOf(l.f.Ledger, d.Addr)
		silent := d.Outcome == facts.Timeout && (at == nothing || at == unseen)
		return expected(l.f.Target, d.Addr) && len(l.listening(d.Addr)) > 0 &&
			(silent || d.Server != nil && !d.Server.Accepted || d.Closed != "")
	}
	held := slices.ContainsFunc(l.open, func(c connection) bool { return c.Fact().Outcome == facts.Deferred })
	return slices.ContainsFunc(l.open, kept) || crowded(l.f, held) ||
		slices.ContainsFunc(l.f.Answers, func(a facts.Answer) bool {
			if a.Protocol == "redis" && strings.HasPrefix(a.Says, "-BUSY ") {
				return true // it says so itself
			}
			return a.End == facts.Silence || a.End == facts.Stalled || (a.End == facts.EndOfFile || a.End == facts.Reset) && a.Bytes == 0
		})
}

// crowded tells whether a queue is full, or of several listeners on one address
// somebody waits at one: our connection may have been given to another. Where our own is
// held back until its first byte comes (TCP_DEFER_ACCEPT), those that wait at the one
// listener tell.
func crowded(f *facts.Facts, held bool) bool {
	if f.Sockets == nil || f.Target.Network != "tcp" || f.Target.Intent == facts.ToBind {
		return false
	}
	for _, a := range f.Target.Expected() {
		n, wait := 0, false
		for _, s := range f.Sockets.Sockets {
			if s.Network == "tcp" && s.State == facts.Listen && s.Local.Port() == f.Target.Port && s.Serves(a) {
				n, wait = n+1, wait || s.Queue != nil && s.Queue.Length > 0
				if s.Queue.Full() {
					return true
				}
			}
		}
		if (n > 1 || held) && wait {
			return true
		}
	}
	return false
}
