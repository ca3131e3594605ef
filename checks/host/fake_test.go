package host

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A machine that answers whatever a test wants: healthy, with lo, both loopback
// addresses and nothing on the port. What it was asked to send is written down.
type machine struct {
	sources
	sockets  []facts.Socket
	dials    map[string]facts.Dial // by address; missing: refused
	ledger   []facts.Ledger        // what the next looks at the counters see
	mu       sync.Mutex            // of asked: a look that was left behind may go on
	suspects []string              // "127.0.0.1:62893 as 1000": what was followed through packet filters
	asked    []string              // "connect 127.0.0.1:80 as 1000", "2 SYNs to …", "bind …", "capture", "namespaces"
}

const port = 62893

func newMachine(changes ...func(*machine)) *machine {
	m := &machine{dials: map[string]facts.Dial{}}
	note := func(s string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.asked = append(m.asked, s)
	}
	m.sources = sources{
		interfaces: func() (*facts.Interfaces, error) {
			return &facts.Interfaces{Loopback: &facts.Interface{Name: "lo", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}},
				Others: []facts.Interface{{Name: "eth0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")}}}}, nil
		},
		limits: func([]facts.Identity) (*facts.Limits, error) { return &facts.Limits{}, nil },
		names: func(_ context.Context, name string, _ facts.Identity, _ bool) (*facts.Names, error) {
			return &facts.Names{Name: name, Addresses: []facts.NamedAddr{{Addr: v4, Source: "hosts file line 1"}, {Addr: v6, Source: "hosts file line 2"}}}, nil
		},
		routes:    func(facts.Target, uint32) (*facts.Routes, error) { return &facts.Routes{}, nil },
		sockets:   func(uint16) (*facts.Sockets, error) { return &facts.Sockets{Sockets: m.sockets}, nil },
		listeners: func() (*facts.Sockets, error) { return &facts.Sockets{Sockets: m.sockets}, nil },
		owners:    func(context.Context, []facts.Socket) (*facts.Owners, error) { return &facts.Owners{}, nil },
		namespaces: func(context.Context, uint16) (*facts.Namespaces, error) {
			note("namespaces")
			return &facts.Namespaces{}, nil
		},
		bind: func(network string, to netip.AddrPort, as client, reuse bool) (facts.Bind, error) {
			note("bind " + map[bool]string{true: "UDP "}[network == "udp"] + to.Addr().String() + map[bool]string{true: " reusing"}[reuse])
			return facts.Bind{Addr: to.Addr(), As: as.UID, AsPID: as.PID, ReuseAddr: reuse}, nil
		},
		dial: func(to netip.AddrPort, as client) connection {
			note("connect " + to.Addr().String() + map[bool]string{true: " as root"}[as.UID == 0])
			d, ok := m.dials[to.Addr().String()]
			if !ok {
				d.Outcome = facts.Refused
			}
			d.Addr, d.As, d.AsPID = to.Addr(), as.UID, as.PID
			return &fakeDial{d}
		},
		ledger: func(to netip.AddrPort, _ client, syns int, bound func(uint16)) (facts.Ledger, error) {
			note(map[bool]string{true: "one SYN to ", false: "a burst to "}[syns == 1] + to.Addr().String())
			l := facts.Ledger{Delta: map[string]int64{}}
			if len(m.ledger) > 0 {
				l, m.ledger = m.ledger[0], m.ledger[1:]
			}
			l.Addr, l.SYNs = to.Addr(), syns
			if bound != nil {
				bound(40000)
			}
			return l, nil
		},
		capture: func(_ uint16, during func(func(uint16))) (*facts.Packets, error) {
			note("capture")
			during(func(uint16) {})
			return &facts.Packets{}, nil
		},
		filters: func(_ context.Context, _ *facts.Facts, about []suspect, mayTrace bool) (*facts.Filters, error) {
			for _, s := range about {
				m.suspects = append(m.suspects, s.to.String()+" as "+strconv.Itoa(int(s.As))+map[bool]string{true: "", false: ", no trace"}[mayTrace])
			}
			return &facts.Filters{}, nil
		},
		conntrack:   func(*facts.Facts, []suspect) (*facts.Conntrack, error) { return &facts.Conntrack{}, nil },
		candidates:  func(context.Context, *facts.Facts) (*facts.Candidates, error) { return &facts.Candidates{}, nil },
		units:       func(context.Context, *facts.Facts) (*facts.Units, error) { return &facts.Units{}, nil },
		containers:  func(context.Context, *facts.Facts) (*facts.Containers, error) { return &facts.Containers{}, nil },
		configs:     func(context.Context, *facts.Facts) (*facts.Configs, error) { return &facts.Configs{}, nil },
		unixSockets: func(context.Context, *facts.Facts) (*facts.UnixSockets, error) { return &facts.UnixSockets{}, nil },
		environ:     func(int) ([]string, error) { return nil, nil },
	}
	for _, c := range changes {
		c(m)
	}
	return m
}

type fakeDial struct{ fact facts.Dial }

func (d *fakeDial) Fact() facts.Dial    { return d.fact }
func (d *fakeDial) Accepted() bool      { return d.fact.Server == nil || d.fact.Server.Accepted }
func (d *fakeDial) Forget()             { d.fact.Server = nil }
func (d *fakeDial) Early(time.Duration) { d.fact.Closed = "end of file" }
func (d *fakeDial) Close()              {}

func listening(on string, v6only bool) func(*machine) {
	return func(m *machine) {
		m.sockets = append(m.sockets, facts.Socket{Network: "tcp", State: facts.Listen, Local: netip.AddrPortFrom(netip.MustParseAddr(on), port), V6Only: v6only, Inode: 1})
	}
}

func udpSocket(on string) func(*machine) {
	return func(m *machine) {
		m.sockets = append(m.sockets, facts.Socket{Network: "udp", State: facts.Bound, Local: netip.AddrPortFrom(netip.MustParseAddr(on), port)})
	}
}

func outcome(of string, o facts.Outcome) func(*machine) {
	return func(m *machine) { m.dials[of] = facts.Dial{Outcome: o} }
}

func counted(deltas ...map[string]int64) func(*machine) {
	return func(m *machine) {
		for _, d := range deltas {
			m.ledger = append(m.ledger, facts.Ledger{Delta: d})
		}
	}
}

func withoutIPv6(m *machine) {
	m.interfaces = func() (*facts.Interfaces, error) {
		return &facts.Interfaces{Loopback: &facts.Interface{Name: "lo", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}}, nil
	}
}

func resolves(addrs ...string) func(*machine) {
	return func(m *machine) {
		m.names = func(_ context.Context, name string, _ facts.Identity, _ bool) (*facts.Names, error) {
			n := &facts.Names{Name: name}
			for _, a := range addrs {
				n.Addresses = append(n.Addresses, facts.NamedAddr{Addr: netip.MustParseAddr(a), Source: "hosts file line 1"})
			}
			if len(addrs) == 0 {
				n.Error = "not found"
			}
			return n, nil
		}
	}
}

// target is what the command makes of an argument.
func target(raw string) facts.Target {
	t := facts.Target{Raw: raw, Network: "tcp", Host: "localhost", Port: port, Intent: facts.Connect, Named: raw != ""}
	if raw != "" {
		t.Host = raw
	}
	if a, err := netip.ParseAddr(raw); err == nil {
		t.Literal, t.Wildcard = true, a.IsUnspecified()
	}
	return t
}

func toBind(t facts.Target) facts.Target  { t.Intent = facts.ToBind; return t }
func overUDP(t facts.Target) facts.Target { t.Network = "udp"; return t }

// look lets loopdoctor look at the machine.
func (m *machine) look(t *testing.T, target facts.Target, o Options) (*facts.Facts, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return m.lookIn(ctx, target, o)
}

func (m *machine) lookIn(ctx context.Context, target facts.Target, o Options) (*facts.Facts, error) {
	as := o.As
	if len(as) == 0 {
		as = []facts.Identity{{UID: 1000}}
	}
	l := &look{sources: m.sources, Options: o, f: &facts.Facts{Target: target, Host: facts.Host{As: as}, Absent: map[facts.Group]facts.Absence{}}}
	err := l.target(ctx)
	return l.f, err
}

func mustLook(t *testing.T, m *machine, target facts.Target, o Options) *facts.Facts {
	t.Helper()
	f, err := m.look(t, target, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
