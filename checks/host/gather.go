package host

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How long the kernel may take, in order of appearance.
const (
	// acceptSoon is how long a program that is alive takes at most to accept, on
	// an idle machine; acceptLate is when loopdoctor says that it does not. A
	// server that serves one at a time may be busy for a second.
	acceptSoon = 20 * time.Millisecond
	acceptLate = 1500 * time.Millisecond
	// earlyEnd is how long to watch for an end of file behind a forwarder.
	earlyEnd = 300 * time.Millisecond
	// lateReply is how long an unexplained silence is waited for: past the first
	// retransmission of a SYN, which comes after 1 s (RFC 6298 section 2).
	lateReply = 1300 * time.Millisecond
	// burst is how many SYNs make a gap that other traffic cannot hide.
	burst = 32
	// manyClients is how many connections to the port may all be one browser's, which
	// then makes no more.
	manyClients = 6
	// few is enough where the loss is a rare thing to look for.
	few = 4
)

// target runs both rounds.
func (l *look) target(ctx context.Context) error {
	f := l.f
	l.settings(ctx)
	defer l.endProxies(ctx)
	if f.Target.Port == 0 {
		return l.loopback(ctx)
	}
	if err := l.addresses(); err != nil {
		return err
	}
	if l.sources.sockets == nil {
		l.missing(facts.GroupSockets, errNotHere)
	} else {
		get(ctx, l, facts.GroupSockets, &f.Sockets, func() (*facts.Sockets, error) { return l.sources.sockets(f.Target.Port) })
	}
	l.expect()

	// The owners take longest, and only they do.
	l.ownersDone = make(chan struct{})
	go func() {
		defer close(l.ownersDone)
		l.owners(ctx)
	}()
	l.routesAndRules(ctx)
	l.lookByConnecting(ctx)
	return nil
}

// settings are what every target needs, cheap and quick.
func (l *look) settings(ctx context.Context) {
	f := l.f
	if l.sources.interfaces == nil {
		l.missing(facts.GroupInterfaces, errNotHere)
	} else {
		get(ctx, l, facts.GroupInterfaces, &f.Interfaces, l.sources.interfaces)
	}
	if l.sources.limits == nil {
		l.missing(facts.GroupLimits, errNotHere)
	} else {
		get(ctx, l, facts.GroupLimits, &f.Limits, func() (*facts.Limits, error) { return l.sources.limits(f.Host.As) })
	}
	name := f.Target.Host
	switch {
	case f.Target.Literal:
		l.skipped(facts.GroupNames, facts.DidNotNeedTo, "no name was given")
	case l.names == nil:
		l.missing(facts.GroupNames, errNotHere)
	default:
		if name == "" {
			name = "localhost"
		}
		get(ctx, l, facts.GroupNames, &f.Names, func() (*facts.Names, error) { return l.names(ctx, name, f.Host.As[0], l.AskDNS) })
	}
	l.environment(ctx)
}

// loopback is the look without a target: every listener and its owner, and
// whether a connection over lo comes to pass at all, tried with a listener of
// our own.
func (l *look) loopback(ctx context.Context) error {
	f := l.f
	f.Target.Addresses = []facts.Address{{Addr: v4, Source: "loopback", Expected: true}}
	if f.Interfaces != nil && f.Interfaces.Loopback != nil && f.Interfaces.Loopback.Holds(v6) {
		f.Target.Addresses = append(f.Target.Addresses, facts.Address{Addr: v6, Source: "loopback", Expected: true})
	}
	if l.sources.listeners == nil {
		l.missing(facts.GroupListeners, errNotHere)
	} else {
		get(ctx, l, facts.GroupListeners, &f.Listeners, l.sources.listeners)
	}
	l.routesAndRules(ctx)
	if f.Listeners != nil {
		l.ownersOf(ctx, f.Listeners.Sockets)
	}
	for _, g := range []facts.Group{facts.GroupSockets, facts.GroupBinds, facts.GroupNamespaces} {
		l.skipped(g, facts.DidNotNeedTo, "no target was given")
	}
	if !l.NoConnect {
		own, stop := ownListeners(f.Target.Addresses)
		defer stop()
		l.own = own
	}
	l.lookByConnecting(ctx)
	return nil
}

// ownListeners listens on a free port of each address. Where that is not
// possible a connect is tried all the same: its error says why.
func ownListeners(addrs []facts.Address) (ports map[netip.Addr]uint16, stop func()) {
	ports = map[netip.Addr]uint16{}
	var open []net.Listener
	for _, a := range addrs {
		ports[a.Addr] = discard
		n, err := net.Listen("tcp", netip.AddrPortFrom(a.Addr, 0).String())
		if err != nil {
			continue
		}
		open = append(open, n)
		ports[a.Addr] = n.Addr().(*net.TCPAddr).AddrPort().Port()
		go func() {
			for {
				c, err := n.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	return ports, func() {
		for _, n := range open {
			n.Close()
		}
	}
}

// discard is the port of RFC 863, on which hardly anybody listens any more.
const discard = 9

// lookByConnecting dials, and looks deeper where that fails.
func (l *look) lookByConnecting(ctx context.Context) {
	// Some are gone after a connection: kubectl port-forward ends when it cannot pass
	// one on.
	l.waitForOwners()
	var open []connection
	if err := guard(func() error { open = l.dials(ctx); return nil }); err != nil {
		l.missing(facts.GroupDials, err)
	}
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	l.routesOfWhoFails(ctx, open)
	if l.f.Target.Port != 0 {
		if err := guard(func() error { l.binds(); return nil }); err != nil {
			l.missing(facts.GroupBinds, err)
		}
	}
	l.deeper(ctx, open)
	l.open = open
	l.speak(ctx)
	l.fellSilent(ctx, open)
	l.work(ctx)
	if l.movedLater(open) {
		l.speak(ctx)
	}
	l.carried(ctx)
	l.whereabouts(ctx)
	l.forwards(ctx)
	for _, c := range open {
		l.f.Dials = append(l.f.Dials, c.Fact())
	}
	l.expectWhatAnswers()
	if err := guard(func() error { l.ownersOfFarEnds(ctx); return nil }); err != nil {
		l.missing(facts.GroupOwners, err)
	}
	if len(open) == 0 && !l.said(facts.GroupDials) {
		if ctx.Err() != nil {
			l.missing(facts.GroupDials, ctx.Err())
		} else {
			l.skipped(facts.GroupDials, facts.DidNotNeedTo, "no address of this machine")
		}
	}
}

// to is where an address is dialled.
func (l *look) to(a netip.Addr) netip.AddrPort {
	if l.own != nil {
		return netip.AddrPortFrom(a, l.own[a])
	}
	return netip.AddrPortFrom(a, l.f.Target.Port)
}

// owners looks for the processes behind the sockets that matter: with many
// thousand connections on a port, its listeners do.
func (l *look) owners(ctx context.Context) {
	f := l.f
	if f.Sockets == nil {
		l.skipped(facts.GroupOwners, facts.CouldNot, "sockets were not seen")
		return
	}
	var want, rest, clients []facts.Socket
	for _, s := range f.Sockets.Sockets {
		switch {
		case s.State == facts.Listen || s.State == facts.Bound:
			want = append(want, s)
		case s.Local.Port() == f.Target.Port && len(rest) < 64:
			rest = append(rest, s)
		case s.Remote.Port() == f.Target.Port && s.State == facts.Established && len(clients) < 64:
			clients = append(clients, s)
		}
	}
	if len(clients) >= manyClients {
		want = append(want, clients...)
	}
	if len(want) == 0 || f.Target.Intent == facts.ToBind {
		want = append(want, rest...)
	}
	l.ownersOf(ctx, want)
}

func (l *look) ownersOf(ctx context.Context, want []facts.Socket) {
	if l.sources.owners == nil {
		l.missing(facts.GroupOwners, errNotHere)
		return
	}
	get(ctx, l, facts.GroupOwners, &l.f.Owners, func() (*facts.Owners, error) { return l.sources.owners(ctx, want) })
}

// ownersOfFarEnds adds the processes to which a redirect took us.
func (l *look) ownersOfFarEnds(ctx context.Context) {
	var ends []facts.Socket
	for _, d := range l.f.Dials {
		if s := d.Server; s != nil && s.Inode != 0 && s.Local.Port() != l.to(d.Addr).Port() {
			ends = append(ends, facts.Socket{Network: "tcp", Local: s.Local, Inode: s.Inode})
		}
	}
	if len(ends) == 0 || l.f.Owners == nil || l.sources.owners == nil {
		return
	}
	if more, err := l.sources.owners(ctx, ends); err == nil {
		maps.Copy(l.f.Owners.Holders, more.Holders)
		for _, p := range more.Processes {
			if l.f.Owners.Process(p.PID) == nil {
				l.f.Owners.Processes = append(l.f.Owners.Processes, p)
			}
		}
	}
}

func (l *look) routesAndRules(ctx context.Context) { l.routesOf(ctx, l.f.Host.As[0].UID) }

func (l *look) routesOf(ctx context.Context, uid uint32) {
	if l.sources.routes == nil {
		l.missing(facts.GroupRoutes, errNotHere)
		return
	}
	get(ctx, l, facts.GroupRoutes, &l.f.Routes, func() (*facts.Routes, error) { return l.sources.routes(l.f.Target, uid) })
}

// dials connects to every address that is this machine's, one after the other:
// a server that serves one connection at a time would keep the second waiting.
// Only a connection without an answer stays open, in case one comes late.
func (l *look) dials(ctx context.Context) []connection {
	t := l.f.Target
	switch {
	case t.Intent == facts.ToBind:
		l.skipped(facts.GroupDials, facts.DidNotNeedTo, "the question is who can bind")
	case l.NoConnect:
		l.skipped(facts.GroupDials, facts.NotWanted, "--no-connect")
	case t.Network != "tcp":
		l.skipped(facts.GroupDials, facts.DidNotNeedTo, "UDP says nothing until it is asked")
	case l.sources.dial == nil:
		l.missing(facts.GroupDials, errNotHere)
	default:
		var open []connection
		var stuck []uint64
		for _, a := range t.Addresses {
			for _, as := range l.f.Host.As {
				// An address of another machine is never contacted, whatever
				// the hosts file calls it.
				if !l.mine(a.Addr) || ctx.Err() != nil {
					continue
				}
				// What was not accepted stays in the queue of its listener:
				// a second one would only take another place there.
				if ls := l.listening(a.Addr); len(ls) == 1 && slices.Contains(stuck, ls[0].Inode) {
					open = append(open, untried{facts.Dial{Addr: a.Addr, As: as.UID, AsPID: as.PID, Outcome: facts.Skipped}})
					continue
				}
				c := l.sources.dial(l.place(a.Addr), l.client(as))
				open = append(open, c)
				if c.Fact().Outcome.Works() {
					l.accept(ctx, c)
					c.Close()
				}
				if d := c.Fact(); d.Outcome == facts.Connected && d.Server != nil && !d.Server.Accepted {
					for _, s := range l.listening(a.Addr) {
						stuck = append(stuck, s.Inode)
					}
				}
			}
		}
		l.again(open)
		return open
	}
	return nil
}

// untried is a connection that was not made.
type untried struct{ fact facts.Dial }

func (u untried) Fact() facts.Dial  { return u.fact }
func (untried) Accepted() bool      { return true }
func (untried) Forget()             {}
func (untried) Early(time.Duration) {}
func (untried) Close()              {}

// again repeats the first client's connection where another client's failed: a
// rule that limits how many may pass would look like one about users.
func (l *look) again(open []connection) {
	for i, c := range open {
		for _, other := range open[i+1:] {
			a, b := c.Fact(), other.Fact()
			if a.Addr != b.Addr || !a.Outcome.Works() || b.Outcome.Works() || b.Outcome == facts.Skipped {
				continue
			}
			second := l.sources.dial(l.place(a.Addr), l.client(l.f.Host.Client(a.As, a.AsPID)))
			if second.Fact().Outcome.Works() {
				second.Close()
				continue
			}
			open[i], c = second, second
		}
	}
}

// halted tells whether no process that serves the address can run: then
// there is no point in waiting for one.
func (l *look) halted(a netip.Addr) bool {
	ps := l.serving(a)
	return len(ps) > 0 && !slices.ContainsFunc(ps, func(p facts.Process) bool { return p.Halted() == "" })
}

// forwarded tells whether the address may be served for somebody else: by a
// known forwarder, or by a process that cannot be seen.
func (l *look) forwarded(a netip.Addr) bool {
	ps := l.serving(a)
	return len(ps) == 0 || slices.ContainsFunc(ps, facts.Process.Forwards)
}

// serving returns the processes whose listeners serve the address.
func (l *look) serving(a netip.Addr) []facts.Process {
	var ps []facts.Process
	for _, s := range l.listening(a) {
		ps = append(ps, l.f.Owners.Of(s)...)
	}
	return ps
}

// listening returns the listeners that serve the address.
func (l *look) listening(a netip.Addr) []facts.Socket {
	if l.f.Sockets == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(l.f.Sockets.Sockets), func(s facts.Socket) bool {
		return s.Network != "tcp" || s.State != facts.Listen || s.Local.Port() != l.f.Target.Port || !s.Serves(a)
	})
}

// binds tries whether a server could take the port. If something listens and
// the question is who can reach it, the answer is known.
func (l *look) binds() {
	t := l.f.Target
	listening := l.f.Sockets != nil && slices.ContainsFunc(l.f.Sockets.Sockets, func(s facts.Socket) bool {
		return s.Network == t.Network && s.Local.Port() == t.Port && (s.State == facts.Listen || t.Network == "udp")
	})
	if t.Intent != facts.ToBind && listening {
		l.skipped(facts.GroupBinds, facts.DidNotNeedTo, "something listens there")
		return
	}
	if l.sources.bind == nil {
		l.missing(facts.GroupBinds, errNotHere)
		return
	}
	// Two UDP sockets that both set SO_REUSEADDR share a port: there it would
	// prove nothing.
	reuses := []bool{true, false}
	if t.Network == "udp" {
		reuses = reuses[1:]
	}
	for _, a := range t.Addresses {
		for _, as := range l.f.Host.As {
			if !a.Expected && (a.Addr.Is6() || !l.mine(a.Addr)) {
				continue
			}
			for _, reuse := range reuses {
				b, err := l.sources.bind(t.Network, l.place(a.Addr), l.client(as), reuse)
				if err != nil {
					l.missing(facts.GroupBinds, err)
					continue
				}
				l.f.Binds = append(l.f.Binds, b)
			}
		}
	}
	if l.f.Binds == nil && !l.said(facts.GroupBinds) {
		l.skipped(facts.GroupBinds, facts.CouldNot, "no address of this machine")
	}
}
