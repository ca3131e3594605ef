package host

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// deeper is the second round: it begins only on failure, or when what was seen
// does not fit together.
func (l *look) deeper(ctx context.Context, open []connection) {
	t := l.f.Target
	var failing []facts.Dial
	for _, c := range open {
		d := c.Fact()
		// One client that fails is enough: of the others the counters would say
		// the same.
		known := slices.ContainsFunc(failing, func(x facts.Dial) bool { return x.Addr == d.Addr })
		silent := d.Outcome == facts.Timeout || d.Outcome == facts.Refused || d.HalfOpen() && len(l.listening(d.Addr)) > 0
		if silent && expected(t, d.Addr) && !known {
			failing = append(failing, d)
		}
	}
	l.elsewhere(ctx)
	l.portUse(ctx, open)
	switch {
	case l.sources.ledger == nil:
		l.missing(facts.GroupLedger, errNotHere)
		l.missing(facts.GroupPackets, errNotHere)
	case len(failing) == 0:
		l.skipped(facts.GroupLedger, facts.DidNotNeedTo, "no connection was lost")
		l.skipped(facts.GroupPackets, facts.DidNotNeedTo, "no connection was lost")
	default:
		l.sendAgain(ctx, failing)
		l.cameUp(ctx, open)
	}
	l.filters(ctx, open)
	if len(failing) > 0 && l.sources.ledger != nil {
		l.late(ctx, open)
		l.noLongerHalfOpen(ctx, open)
	}
}

// noLongerHalfOpen looks once more at the server's side of connections that were half-open:
// a program that reads a packet queue may have been late with the handshake's last packet.
func (l *look) noLongerHalfOpen(ctx context.Context, open []connection) {
	for _, c := range open {
		if !c.Fact().HalfOpen() {
			continue
		}
		for end := time.Now().Add(10 * acceptSoon); !c.Accepted(); time.Sleep(acceptSoon / 4) {
			if time.Now().After(end) || ctx.Err() != nil {
				c.Forget() // it came too late to say anything of the application
				break
			}
		}
	}
}

// sendAgain repeats the SYNs of connections that failed, and watches lo meanwhile.
func (l *look) sendAgain(ctx context.Context, failing []facts.Dial) {
	l.detours(failing)
	repeat := func(also func(uint16)) {
		for _, d := range failing {
			err := ctx.Err()
			if err == nil {
				err = guard(func() error { l.repeat(d, also); return nil })
			}
			if err != nil {
				l.missing(facts.GroupLedger, err)
			}
		}
	}
	switch {
	case l.NoCapture:
		l.skipped(facts.GroupPackets, facts.NotWanted, "--no-capture")
		repeat(nil)
	case l.sources.capture == nil:
		l.missing(facts.GroupPackets, errNotHere)
		repeat(nil)
	default:
		done := false
		// Not by get: what the capture runs writes facts, so it is not left behind.
		err := guard(func() (err error) {
			l.f.Packets, err = l.sources.capture(l.f.Target.Port, func(also func(uint16)) { done = true; repeat(also) })
			return err
		})
		if err != nil {
			l.missing(facts.GroupPackets, err)
		}
		if !done {
			repeat(nil)
		}
	}
}

// cameUp takes notice of a server that came up while loopdoctor looked: a SYN that
// was sent again got through, and somebody listens now who did not before. What
// was seen until then is of another time.
func (l *look) cameUp(ctx context.Context, open []connection) {
	t := &l.f.Target
	through := func(c connection) bool {
		d := c.Fact()
		return d.Outcome == facts.Refused && len(l.listening(d.Addr)) == 0 && slices.ContainsFunc(l.f.Ledger, func(r facts.Ledger) bool {
			return r.Addr == d.Addr && r.Outcomes[string(facts.Connected)] > 0
		})
	}
	var fresh []int
	for i, c := range open {
		if l.own == nil && l.f.Sockets != nil && through(c) {
			fresh = append(fresh, i)
		}
	}
	if len(fresh) == 0 {
		return
	}
	now, err := l.sources.sockets(t.Port)
	if err != nil {
		return
	}
	was := l.f.Sockets
	l.f.Sockets = now
	for _, i := range fresh {
		d := open[i].Fact()
		if len(l.listening(d.Addr)) == 0 {
			continue
		}
		second := l.sources.dial(l.place(d.Addr), l.client(l.f.Host.Client(d.As, d.AsPID)))
		if second.Fact().Outcome.Works() {
			l.accept(ctx, second)
		}
		second.Close()
		open[i] = belated{second}
	}
	if !slices.ContainsFunc(t.Addresses, func(a facts.Address) bool { return len(l.listening(a.Addr)) > 0 }) {
		l.f.Sockets = was // it has gone again
		return
	}
	l.owners(ctx)
	if !t.Literal {
		for i := range t.Addresses {
			t.Addresses[i].Expected = len(l.listening(t.Addresses[i].Addr)) > 0
		}
	}
}

// belated is a connection to a server that came up while loopdoctor looked.
type belated struct{ connection }

func (b belated) Fact() facts.Dial {
	d := b.connection.Fact()
	d.CameUp = true
	return d
}

// heldBack tells whether the kernel dropped the last packet of a handshake itself, since
// the server waits for a first byte (tcp_check_req of net/ipv4/tcp_minisocks.c), and
// nothing was lost on its way.
func heldBack(r *facts.Ledger) bool {
	g := r.Gaps()
	return r.Delta["TCPDeferAcceptDrop"] > 0 && g.Output <= 0 && g.Wire <= 0 && g.Input <= 0
}

// repeat sends SYNs between two looks at the kernel's counters: one, and a burst
// if that one died before TCP saw it. Refused ones are repeated a few times:
// other traffic can only add to the resets that the kernel sent, so the
// smallest count is the right one. One that got no answer was not refused: a rule
// of chance dropped it, and it says nothing of the dial.
func (l *look) repeat(d facts.Dial, bound func(port uint16)) {
	to := l.to(d.Addr)
	send := func(n int) *facts.Ledger {
		told := bound
		if n > 1 {
			told = nil // one SYN tells the story; its port is watched, not those of a burst
		}
		r, err := l.sources.ledger(to, l.client(l.f.Host.Client(d.As, d.AsPID)), n, told)
		if err != nil {
			l.missing(facts.GroupLedger, err)
			return nil
		}
		return &r
	}
	if d.HalfOpen() {
		// A server's side that stays half-open is what TCP_DEFER_ACCEPT looks
		// like, and what the loss of the handshake's last packet looks like. The
		// kernel counts what it holds back. More of them would do harm: beyond the
		// backlog they get SYN cookies, which cannot be held back, and a connection
		// that nobody accepts keeps its place in the queue also when it is reset.
		one := send(1)
		if one != nil && heldBack(one) {
			l.f.Ledger = append(l.f.Ledger, *one)
			return
		}
		if some := send(few); some != nil {
			l.f.Ledger = append(l.f.Ledger, *some)
		}
		return
	}
	first := send(1)
	if first == nil {
		return
	}
	silent := func(r *facts.Ledger) bool { return r.Outcomes[string(facts.Timeout)] > 0 }
	for try := 0; d.Outcome == facts.Refused && (first.Delta["OutRsts"] > 0 || silent(first)) && try < 2; try++ {
		if again := send(1); again != nil && !silent(again) && (silent(first) || again.Delta["OutRsts"] < first.Delta["OutRsts"]) {
			first = again
		}
	}
	l.f.Ledger = append(l.f.Ledger, *first)
	// A refusal by a listener is a contradiction, unless it has gone since.
	if d.Outcome == facts.Refused && len(l.listening(d.Addr)) > 0 {
		if now, err := l.sources.sockets(l.f.Target.Port); err == nil {
			was := l.f.Sockets
			if l.f.Sockets = now; len(l.listening(d.Addr)) > 0 {
				l.f.Sockets = was
			}
		}
	}
	// A listener, and a refusal that the counters do not settle: a burst tells
	// whether its SYNs were lost on the way.
	if d.Outcome == facts.Refused && first.Delta["OutRsts"] > 0 && len(l.listening(d.Addr)) > 0 {
		if many := send(burst); many != nil {
			l.f.Ledger = append(l.f.Ledger, *many)
		}
	}
	// A full accept queue loses nothing before TCP: no burst is needed there,
	// and none is sent.
	if d.Outcome == facts.Timeout && first.Delta["ListenOverflows"] == 0 && first.Delta["ListenDrops"] == 0 {
		if many := send(burst); many != nil {
			l.f.Ledger = append(l.f.Ledger, *many)
		}
	}
}

// late gives a silence that nothing explains the time of one retransmission, and
// takes notice of a connection that came up after all.
func (l *look) late(ctx context.Context, open []connection) {
	pending := func() bool {
		return slices.ContainsFunc(open, func(c connection) bool { return c.Fact().Outcome == facts.Timeout })
	}
	for end := time.Now().Add(lateReply); pending() && !l.explained() && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(10 * time.Millisecond)
	}
}

// explained tells whether the counters account for the silence; what they mean is
// for the checks to say.
func (l *look) explained() bool {
	// What a queue on lo holds back has not arrived yet; it may.
	if i := l.f.Interfaces; i != nil && i.Loopback != nil && i.Loopback.Qdisc != "noqueue" && i.Loopback.Qdisc != "" {
		return false
	}
	for _, r := range l.f.Ledger {
		// A full queue that moves takes the SYN that is sent again.
		full := r.Delta["ListenOverflows"] > 0 && l.halted(r.Addr)
		if r.SYNs > 1 && (r.Delta["InSegs"] < int64(r.SYNs) || r.HalfOpen > 0) || full {
			return true
		}
	}
	return false
}

// elsewhere looks into the other network namespaces when nothing listens in
// this one.
func (l *look) elsewhere(ctx context.Context) {
	t := l.f.Target
	here := l.f.Sockets != nil && slices.ContainsFunc(l.f.Sockets.Sockets, func(s facts.Socket) bool {
		return s.Network == t.Network && s.Local.Port() == t.Port && (s.State == facts.Listen || s.State == facts.Bound)
	})
	switch {
	case t.Intent == facts.ToBind || t.Network != "tcp" || l.own != nil:
		l.skipped(facts.GroupNamespaces, facts.DidNotNeedTo, "the question is about this one")
	case l.f.Sockets == nil:
		l.skipped(facts.GroupNamespaces, facts.CouldNot, "sockets were not seen")
	case here:
		l.skipped(facts.GroupNamespaces, facts.DidNotNeedTo, "something is here")
	case l.sources.namespaces == nil:
		l.missing(facts.GroupNamespaces, errNotHere)
	default:
		get(ctx, l, facts.GroupNamespaces, &l.f.Namespaces, func() (*facts.Namespaces, error) { return l.sources.namespaces(ctx, t.Port) })
	}
}

func expected(t facts.Target, a netip.Addr) bool { return slices.Contains(t.Expected(), a) }

// detours looks at what may take a packet off its way between the routing of its
// socket and its arrival, where a connection gets no answer: traffic control of
// lo, and routing rules for packets that a filter has marked.
func (l *look) detours(failing []facts.Dial) {
	f := l.f
	if !slices.ContainsFunc(failing, func(d facts.Dial) bool { return d.Outcome == facts.Timeout || d.HalfOpen() }) {
		return
	}
	if f.Interfaces != nil && f.Interfaces.Loopback != nil && f.Interfaces.Loopback.Traffic == nil && l.sources.traffic != nil {
		lo := f.Interfaces.Loopback
		if err := guard(func() (err error) { lo.Traffic, err = l.sources.traffic(lo); return err }); err != nil {
			lo.Traffic = &facts.Traffic{Partial: reason(err)}
		}
	}
	if f.Routes != nil && f.Routes.Rules == nil && l.sources.rules != nil {
		// Without them the cause is the broader one.
		_ = guard(func() (err error) { f.Routes.Rules, err = l.sources.rules(f.Target, f.Host.As[0].UID); return err })
	}
}

// portUse looks who has the temporary ports where a client got none.
func (l *look) portUse(ctx context.Context, open []connection) {
	none := slices.ContainsFunc(open, func(c connection) bool { return c.Fact().Errno == "EADDRNOTAVAIL" })
	if !none || l.f.Sockets == nil || l.f.Limits == nil || l.sources.portUse == nil || ctx.Err() != nil {
		return
	}
	_ = guard(func() (err error) { l.f.Sockets.Temporary, err = l.sources.portUse(ctx, l.f.Limits); return err })
}
