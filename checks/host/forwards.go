package host

import (
	"context"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// forwards looks one hop further, where a program holds the port for somebody else
// or should do so, and it does not work.
func (l *look) forwards(ctx context.Context) {
	switch why := l.noForwards(); {
	case why != "":
		l.skipped(facts.GroupForwards, facts.DidNotNeedTo, why)
	case l.sources.forwards == nil:
		l.missing(facts.GroupForwards, errNotHere)
	default:
		get(ctx, l, facts.GroupForwards, &l.f.Forwards, func() (*facts.Forwards, error) { return l.sources.forwards(ctx, l.f) })
	}
}

// noForwards says why it is of no interest where a forwarder leads; empty where it
// is.
func (l *look) noForwards() string {
	t := l.f.Target
	switch {
	case t.Port == 0:
		return "no target was given"
	case t.Network != "tcp":
		return "known forwarders take TCP"
	case t.Error != nil: // it may be the forwarder's own
		return ""
	case l.f.Containers != nil && len(l.f.Containers.Found) > 0: // with a proxy, or by NAT alone?
		return ""
	case t.Intent == facts.ToBind:
		if slices.ContainsFunc(l.f.Binds, func(b facts.Bind) bool { return b.Errno != "" }) {
			return ""
		}
		return "nothing is in the way"
	}
	for _, a := range t.Expected() {
		if len(l.listening(a)) == 0 {
			return ""
		}
	}
	if slices.ContainsFunc(l.open, func(c connection) bool { return c.Fact().Closed != "" && expected(t, c.Fact().Addr) }) ||
		slices.ContainsFunc(l.f.Answers, unansweredFurther) {
		return ""
	}
	return "nothing is closed or unanswered"
}

// staysAway tells whether an answer has not come, neither from the program that has the
// port nor, as it says, from the one behind it.
func staysAway(a facts.Answer) bool {
	return a.End == facts.Silence || a.End == facts.Stalled || a.HTTP != nil && slices.Contains([]int{502, 503, 504}, a.HTTP.Status)
}

// unansweredFurther tells whether an answer may be that of a reverse proxy which got
// none itself.
func unansweredFurther(a facts.Answer) bool {
	return staysAway(a) || (a.End == facts.EndOfFile || a.End == facts.Reset) && a.Bytes == 0
}
