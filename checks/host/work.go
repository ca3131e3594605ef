package host

import (
	"context"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// work looks at what the processes behind the port do, where a connection is not
// accepted or a question not answered.
func (l *look) work(ctx context.Context) {
	switch {
	case !l.idle():
		l.skipped(facts.GroupWork, facts.DidNotNeedTo, "nothing was kept waiting")
	case l.sources.work == nil:
		l.missing(facts.GroupWork, errNotHere)
	default:
		get(ctx, l, facts.GroupWork, &l.f.Work, func() (*facts.Work, error) { return l.sources.work(ctx, l.f) })
	}
}

// idle tells whether somebody waits for the application.
func (l *look) idle() bool {
	kept := func(c connection) bool {
		d := c.Fact()
		return expected(l.f.Target, d.Addr) && (d.Outcome == facts.Timeout && len(l.listening(d.Addr)) > 0 || d.Server != nil && !d.Server.Accepted)
	}
	return slices.ContainsFunc(l.open, kept) ||
		slices.ContainsFunc(l.f.Answers, func(a facts.Answer) bool { return a.End == facts.Silence || a.End == facts.Stalled })
}
