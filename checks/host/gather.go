package host

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How long the kernel may take, in order of appearance.
const (
	// acceptSoon is how long a program that is alive takes at most to accept, on
	// an idle machine; acceptLate is when loopdoctor says that it does not.
	acceptSoon = 20 * time.Millisecond
	acceptLate = 300 * time.Millisecond
	// earlyEnd is how long to watch for an end of file behind a forwarder.
	earlyEnd = 300 * time.Millisecond
	// lateReply is how long an unexplained silence is waited for: past the first
	// retransmission of a SYN, which comes after 1 s (RFC 6298 section 2).
	lateReply = 1300 * time.Millisecond
	// burst is how many SYNs make a gap that other traffic cannot hide.
	burst = 32
)

// target runs both rounds.
func (l *look) target(ctx context.Context) error {
	f := l.f
	l.settings(ctx)
	if f.Target.Port == 0 {
		return l.loopback(ctx)
	}
	if err := l.addresses(); err != nil {
		return err
	}
	if l.sources.sockets == nil {
		l.missing(facts.GroupSockets, errNotHere)
	} else {
		get(l, facts.GroupSockets, &f.Sockets, func() (*facts.Sockets, error) { return l.sources.sockets(f.Target.Port) })
	}
	l.expect()

	// The owners take longest, and only they do.
	l.ownersDone = make(chan struct{})
	go func() {
		defer close(l.ownersDone)
		l.owners(ctx)
	}()
	l.routesAndRules()
	l.lookByConnecting(ctx)
	return nil
}

// settings are what every target needs, cheap and quick.
func (l *look) settings(ctx context.Context) {
	f := l.f
	if l.sources.interfaces == nil {
		l.missing(facts.GroupInterfaces, errNotHere)
	} else {
		get(l, facts.GroupInterfaces, &f.Interfaces, l.sources.interfaces)
	}
	if l.sources.limits == nil {
		l.missing(facts.GroupLimits, errNotHere)
	} else {
		get(l, facts.GroupLimits, &f.Limits, func() (*facts.Limits, error) { return l.sources.limits(f.Host.As) })
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
		get(l, facts.GroupNames, &f.Names, func() (*facts.Names, error) { return l.names(ctx, name, f.Host.As[0].UID, l.AskDNS) })
	}
	f.Proxies = proxyVariables(os.Environ())
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
		get(l, facts.GroupListeners, &f.Listeners, l.sources.listeners)
	}
	l.routesAndRules()
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

// lookByConnecting dials, watches the accepts, and looks deeper where it fails.
func (l *look) lookByConnecting(ctx context.Context) {
	open := l.dials(ctx)
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	if l.ownersDone != nil {
		<-l.ownersDone
	}
	l.accepts(ctx, open)
	if l.own == nil {
		l.binds()
	}
	l.deeper(ctx, open)
	for _, c := range open {
		l.f.Dials = append(l.f.Dials, c.Fact())
	}
	l.expectWhatAnswers()
	if _, said := l.f.Absent[facts.GroupDials]; len(open) == 0 && !said {
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

var (
	v4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	v6 = netip.IPv6Loopback()
)

// addresses fills in what the target can mean.
func (l *look) addresses() error {
	t := &l.f.Target
	add := func(a netip.Addr, source string, expected bool) {
		a = a.Unmap().WithZone("")
		if !slices.ContainsFunc(t.Addresses, func(x facts.Address) bool { return x.Addr == a }) {
			t.Addresses = append(t.Addresses, facts.Address{Addr: a, Source: source, Expected: expected})
		}
	}
	if t.Literal {
		a, err := netip.ParseAddr(t.Host)
		if err != nil {
			return &ForeignTargetError{t.Raw, err.Error()}
		}
		a = a.Unmap()
		switch {
		case t.Wildcard && t.Intent != facts.ToBind:
			// Linux takes 0.0.0.0 and [::] as a destination for loopback
			// (ip(7)); no other system promises to.
			if a.Is4() {
				add(v4, "0.0.0.0 as a destination means this machine", true)
			} else {
				add(v6, ":: as a destination means this machine", true)
			}
		case t.Wildcard:
			add(a, "named", true)
		case !l.mine(a):
			return &ForeignTargetError{t.Raw, a.String() + " is not an address of this machine"}
		default:
			add(a, "named", true)
		}
		return nil
	}
	local := t.Host == "" || facts.IsLocalhost(t.Host)
	if l.f.Names != nil {
		for _, n := range l.f.Names.Addresses {
			if !local && !l.mine(n.Addr) {
				return &ForeignTargetError{t.Raw, t.Host + " is " + n.Addr.String() + ", which is not an address of this machine"}
			}
			if t.Named {
				add(n.Addr, n.Source, false)
			}
		}
		if !local && len(l.f.Names.Addresses) == 0 {
			return &ForeignTargetError{t.Raw, t.Host + " does not resolve to an address of this machine (" + l.f.Names.Error + ")"}
		}
	} else if !local {
		return &ForeignTargetError{t.Raw, t.Host + " cannot be resolved here"}
	}
	if !t.Named || len(t.Addresses) == 0 {
		add(v4, "loopback", false)
		add(v6, "loopback", false)
	}
	if !t.Named && t.Intent == facts.ToBind {
		add(netip.IPv4Unspecified(), "all IPv4 addresses", false)
		add(netip.IPv6Unspecified(), "all addresses", false)
	}
	return nil
}

// mine tells whether the kernel routes the address as local.
func (l *look) mine(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	if i := l.f.Interfaces; i != nil {
		return i.Loopback != nil && i.Loopback.Holds(a) || slices.ContainsFunc(i.Others, func(o facts.Interface) bool { return o.Holds(a) })
	}
	return ownAddress(a)
}

// expect decides which addresses have to work: those that the person named
// literally and those that a socket here serves. If nothing serves any, all of
// them could have been meant.
func (l *look) expect() {
	t := &l.f.Target
	hasV6 := l.f.Interfaces == nil || l.f.Interfaces.Loopback == nil || l.f.Interfaces.Loopback.Holds(v6)
	possible := func(a netip.Addr) bool { return a.Is4() || hasV6 || t.Literal }
	any := false
	for i := range t.Addresses {
		a := &t.Addresses[i]
		if t.Intent == facts.ToBind {
			a.Expected = possible(a.Addr)
			any = any || a.Expected
			continue
		}
		if !a.Expected && l.f.Sockets != nil && possible(a.Addr) {
			a.Expected = slices.ContainsFunc(l.f.Sockets.Sockets, func(s facts.Socket) bool {
				open := s.State == facts.Listen || t.Network == "udp" && s.State == facts.Bound
				return s.Network == t.Network && open && s.Local.Port() == t.Port && s.Serves(a.Addr)
			})
		}
		any = any || a.Expected
	}
	for i := range t.Addresses {
		if !any && (possible(t.Addresses[i].Addr) || len(t.Addresses) == 1) {
			t.Addresses[i].Expected = true
		}
	}
}

// expectWhatAnswers decides after the dials where no socket could be seen: of a
// port or a name at least one address has to work, and that one is expected.
func (l *look) expectWhatAnswers() {
	t := &l.f.Target
	works := func(a netip.Addr) bool {
		return slices.ContainsFunc(l.f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Outcome.Works() })
	}
	if l.f.Sockets != nil || t.Literal || t.Port == 0 || !slices.ContainsFunc(t.Addresses, func(a facts.Address) bool { return works(a.Addr) }) {
		return
	}
	for i := range t.Addresses {
		t.Addresses[i].Expected = works(t.Addresses[i].Addr)
	}
}

// owners looks for the processes behind the sockets that matter: with many
// thousand connections on a port, its listeners do.
func (l *look) owners(ctx context.Context) {
	f := l.f
	if f.Sockets == nil {
		l.skipped(facts.GroupOwners, facts.CouldNot, "sockets were not seen")
		return
	}
	var want, rest []facts.Socket
	for _, s := range f.Sockets.Sockets {
		switch {
		case s.State == facts.Listen || s.State == facts.Bound:
			want = append(want, s)
		case s.Local.Port() == f.Target.Port && len(rest) < 64:
			rest = append(rest, s)
		}
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
	get(l, facts.GroupOwners, &l.f.Owners, func() (*facts.Owners, error) { return l.sources.owners(ctx, want) })
}

func (l *look) routesAndRules() {
	if l.sources.routes == nil {
		l.missing(facts.GroupRoutes, errNotHere)
		return
	}
	get(l, facts.GroupRoutes, &l.f.Routes, func() (*facts.Routes, error) { return l.sources.routes(l.f.Target, l.f.Host.As[0].UID) })
}

// dials connects to every address that is this machine's, one after the other:
// two at a time would share the kernel's counters.
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
		for _, a := range t.Addresses {
			for _, as := range l.f.Host.As {
				// An address of another machine is never contacted, whatever
				// the hosts file calls it.
				if l.mine(a.Addr) && ctx.Err() == nil {
					open = append(open, l.sources.dial(l.to(a.Addr), as.UID))
				}
			}
		}
		return open
	}
	return nil
}

// accepts watches the server's side of each connection until the application
// has taken it.
func (l *look) accepts(ctx context.Context, open []connection) {
	for _, c := range open {
		d := c.Fact()
		if !d.Outcome.Works() {
			continue
		}
		limit := acceptLate
		if l.halted(d.Addr) {
			limit = acceptSoon
		}
		begin := time.Now()
		for pause := 200 * time.Microsecond; !c.Accepted() && time.Since(begin) < limit && ctx.Err() == nil; pause = min(2*pause, 20*time.Millisecond) {
			time.Sleep(pause)
		}
		if d := c.Fact(); l.own == nil && d.Server != nil && d.Server.Accepted && l.forwarded(d.Addr) {
			c.Early(earlyEnd)
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

func (l *look) serving(a netip.Addr) []facts.Process {
	var ps []facts.Process
	if l.f.Sockets == nil {
		return nil
	}
	for _, s := range l.f.Sockets.Sockets {
		if s.Network == "tcp" && s.State == facts.Listen && s.Local.Port() == l.f.Target.Port && s.Serves(a) {
			ps = append(ps, l.f.Owners.Of(s)...)
		}
	}
	return ps
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
	switch {
	case t.Network != "tcp":
		l.skipped(facts.GroupBinds, facts.DidNotNeedTo, "it is tried for TCP only")
		return
	case l.sources.bind == nil:
		l.missing(facts.GroupBinds, errNotHere)
		return
	}
	for _, a := range t.Addresses {
		for _, as := range l.f.Host.As {
			if !a.Addr.IsUnspecified() && !l.mine(a.Addr) || a.Addr.Is6() && !a.Expected {
				continue
			}
			for _, reuse := range []bool{true, false} {
				l.f.Binds = append(l.f.Binds, l.sources.bind(netip.AddrPortFrom(a.Addr, t.Port), as.UID, reuse))
			}
		}
	}
	if l.f.Binds == nil {
		l.skipped(facts.GroupBinds, facts.CouldNot, "no address of this machine")
	}
}
