package host

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// filterTime is how long the look at packet filters may take, or half of what is left
// of the whole run if that is longer. To read 10,000 rules takes less than a tenth of
// it on an idle machine, and they may be read three times. The time grows with the
// square of their number (the kernel looks for its place in a long chain anew for each
// 32 KiB): 50,000 take seconds, which who wants them gives with --timeout.
const filterTime = 2 * time.Second

// maxSuspects is how many connections are followed through the rules: clients and
// addresses are few, unless somebody asks for many.
const maxSuspects = 16

// suspect is a connection that packet filters may have to do with.
type suspect struct {
	facts.Dial
	to   netip.AddrPort
	as   client
	data bool // the connection was made, and what is sent over it is lost
}

// suspects returns the connections that got no answer, or a forged one, or an answer
// from elsewhere. Where nothing was dialled, nothing else can tell: then it is every
// one that could have been.
//
// A connect that was denied, or unreachable, met no filter: what one drops on the way
// out is silence to TCP, which takes no notice of the error (tcp_connect).
func (l *look) suspects(open []connection) (about []suspect) {
	t := l.f.Target
	if t.Intent != facts.Connect || t.Network != "tcp" {
		return nil
	}
	add := func(d facts.Dial) {
		if len(about) < maxSuspects {
			about = append(about, suspect{d, l.to(d.Addr), l.client(l.f.Host.Client(d.As, d.AsPID)), false})
		}
	}
	if l.NoConnect {
		for _, a := range t.Expected() {
			for _, as := range l.f.Host.As {
				if l.mine(a) && l.to(a).Port() != 0 {
					add(facts.Dial{Addr: a, As: as.UID, AsPID: as.PID, Outcome: facts.Skipped})
				}
			}
		}
		return about
	}
	for _, c := range open {
		d := c.Fact()
		elsewhere := d.Server != nil && d.Server.Local.IsValid() && (d.Server.Local.Port() != l.to(d.Addr).Port() || d.Server.Local.Addr().Unmap() != d.Addr.Unmap())
		// A half-open server's side is healthy with TCP_DEFER_ACCEPT: the ledger tells.
		halfOpen := d.HalfOpen() && (d.NoServer || lostOf(l.f.Ledger, d.Addr) != nothing)
		if (d.Outcome == facts.Timeout || d.Outcome == facts.Refused || halfOpen || elsewhere) && expected(t, d.Addr) {
			add(d)
		}
	}
	return about
}

// filters reads what packet filters do to the connections that failed or were
// diverted, and what connection tracking knows of them.
func (l *look) filters(ctx context.Context, open []connection) {
	about := l.suspects(open)
	if len(about) == 0 {
		for _, g := range []facts.Group{facts.GroupFilters, facts.GroupConntrack} {
			l.skipped(g, facts.DidNotNeedTo, "no connection was lost")
		}
		return
	}
	most := filterTime
	if end, limited := ctx.Deadline(); limited {
		most = max(most, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if l.sources.conntrack == nil {
		l.missing(facts.GroupConntrack, errNotHere)
	} else {
		get(ctx, l, facts.GroupConntrack, &l.f.Conntrack, func() (*facts.Conntrack, error) { return l.sources.conntrack(l.f, about) })
	}
	if l.sources.filters == nil {
		l.missing(facts.GroupFilters, errNotHere)
		return
	}
	get(ctx, l, facts.GroupFilters, &l.f.Filters, func() (*facts.Filters, error) {
		return l.sources.filters(ctx, l.f, about, !l.NoSystemChanges)
	})
}

// carried reads what packet filters do to data, where a question or the answer to it was
// lost on a connection that was made.
func (l *look) carried(ctx context.Context) {
	var about []suspect
	for _, a := range l.f.Answers {
		lost := a.Bytes == 0 && a.End == facts.Silence && a.Server != nil && (a.Unacked > 0 || a.Server.Unacked > 0)
		i := slices.IndexFunc(l.open, func(c connection) bool {
			d := c.Fact()
			return d.Addr == a.Addr && d.As == a.As && d.AsPID == a.AsPID && d.Outcome.Works()
		})
		if lost && i >= 0 && len(about) < maxSuspects && !slices.ContainsFunc(about, func(s suspect) bool { return s.Addr == a.Addr }) {
			d := l.open[i].Fact()
			d.From = a.From
			about = append(about, suspect{d, l.to(d.Addr), l.client(l.f.Host.Client(d.As, d.AsPID)), true})
		}
	}
	if len(about) == 0 || l.sources.filters == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, filterTime)
	defer cancel()
	var seen *facts.Filters
	get(ctx, l, facts.GroupFilters, &seen, func() (*facts.Filters, error) { return l.sources.filters(ctx, l.f, about, false) })
	switch {
	case seen == nil:
	case l.f.Filters == nil:
		l.f.Filters = seen
		l.mu.Lock()
		delete(l.f.Absent, facts.GroupFilters)
		l.mu.Unlock()
	default: // another address failed otherwise
		l.f.Filters.Walks = append(l.f.Filters.Walks, seen.Walks...)
	}
}

// lost is where the counters lost SYNs, or the answers to them, as
// facts.FilterStop.Where names it. It is no verdict: it says whether what the rules
// foretell came to pass, or has to be looked at more closely.
type lost string

const (
	unseen  lost = "?" // no ledger was taken
	nothing lost = ""
)

// lostOf reads the ledger of an address.
func lostOf(ls []facts.Ledger, a netip.Addr) lost {
	l := facts.LedgerOf(ls, a)
	if l == nil {
		return unseen
	}
	g := l.Gaps()
	switch {
	case facts.Enough(g.Output, l.SYNs):
		return "output"
	case facts.Enough(g.Wire, l.SYNs):
		return "wire"
	case facts.Enough(g.Input, l.SYNs):
		return "input"
	}
	return nothing
}
