package host

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// tcpSocket binds a socket with the options, and listens if backlog is not 0.
func tcpSocket(t *testing.T, at netip.AddrPort, backlog int, options ...int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	for _, o := range options {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 1)
	}
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		t.Fatal(err)
	}
	if backlog > 0 {
		if err := unix.Listen(fd, backlog); err != nil {
			t.Fatal(err)
		}
	}
	return fd
}

// The look at SO_REUSEPORT binds beside a live server. That must not take a single
// connection from it: the kernel spreads them over sockets that listen, and over
// no others.
func TestABoundSocketTakesNoConnections(t *testing.T) {
	if !alone(t) {
		return
	}
	at := netip.AddrPortFrom(v4, served)
	server := tcpSocket(t, at, 16, unix.SO_REUSEPORT)
	for range 16 {
		tcpSocket(t, at, 0, unix.SO_REUSEPORT)
	}
	for i := range 400 {
		c, err := net.DialTimeout("tcp", at.String(), 5*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		fd, _, err := unix.Accept(server) // another socket's connection would never come
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		c.Close()
	}
	// A second server may still join, as before.
	tcpSocket(t, at, 16, unix.SO_REUSEPORT)
}

func TestWhoMayShareThePort(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("skipped: needs root, to be several users")
	}
	if !alone(t) {
		return
	}
	at := netip.AddrPortFrom(v4, served)
	tcpSocket(t, at, 16, unix.SO_REUSEPORT)
	f := &facts.Facts{Host: facts.Host{As: []facts.Identity{{UID: 1000}}}, Target: facts.Target{Network: "tcp", Port: served},
		Binds:   []facts.Bind{{Addr: v4, As: 1000, Errno: "EADDRINUSE"}},
		Sockets: &facts.Sockets{Sockets: []facts.Socket{{Network: "tcp", State: facts.Listen, Local: at}}}}
	got, err := reusePort(t.Context(), f)
	if want := []facts.Bind{{Addr: v4, As: 1000, Errno: "EADDRINUSE"}, {Addr: v4}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	f.Target.Network = "udp" // where a bound socket takes its share
	if got, err := reusePort(t.Context(), f); err == nil {
		t.Errorf("it bound %+v", got)
	}
}

func TestSparePort(t *testing.T) {
	if !alone(t) {
		return
	}
	me := uint32(os.Geteuid())
	tcpSocket(t, netip.AddrPortFrom(v4, 50001), 16)
	tcpSocket(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.53"), 50002), 16)
	any4 := netip.IPv4Unspecified()
	for _, test := range []struct {
		name  string
		port  uint16
		binds []facts.Bind
		want  []facts.SparePort
	}{
		{"the next one", 50002, []facts.Bind{{Addr: v4, Errno: "EADDRINUSE"}}, []facts.SparePort{{Port: 50003, As: me, Addrs: []netip.Addr{v4}}}},
		{"the next one is taken", 50000, []facts.Bind{{Addr: v4, Errno: "EADDRINUSE"}}, []facts.SparePort{{Port: 50002, As: me, Addrs: []netip.Addr{v4}}}},
		{"on both addresses", 50000, []facts.Bind{{Addr: v4, Errno: "EADDRINUSE"}, {Addr: v6, Errno: "EADDRINUSE"}}, []facts.SparePort{{Port: 50002, As: me, Addrs: []netip.Addr{v4, v6}}}},
		{"on one that could be bound", 50000, []facts.Bind{{Addr: v4, Errno: "EADDRINUSE"}, {Addr: netip.MustParseAddr("192.0.2.1"), Errno: "EADDRNOTAVAIL"}}, []facts.SparePort{{Port: 50002, As: me, Addrs: []netip.Addr{v4}}}},
		{"on every address, and the same one elsewhere", 50002, []facts.Bind{{Addr: any4, Errno: "EADDRINUSE"}},
			[]facts.SparePort{{Port: 50002, As: me, Addrs: []netip.Addr{v4, v6}}, {Port: 50003, As: me, Addrs: []netip.Addr{any4}}}},
	} {
		f := &facts.Facts{Host: facts.Host{As: []facts.Identity{{UID: me}}}, Target: facts.Target{Network: "tcp", Port: test.port}, Binds: test.binds, Limits: &facts.Limits{UnprivilegedPortStart: 1024, EphemeralLow: 60000, EphemeralHigh: 60999}}
		begin := time.Now()
		got, err := spare(t.Context(), f)
		if err != nil || !slices.EqualFunc(got, test.want, func(a, b facts.SparePort) bool {
			return a.Port == b.Port && a.As == b.As && slices.Equal(a.Addrs, b.Addrs)
		}) {
			t.Errorf("%s: got %+v, %v; want %+v", test.name, got, err, test.want)
		}
		t.Logf("%s: %v", test.name, time.Since(begin))
	}
	if _, err := spare(t.Context(), &facts.Facts{Binds: []facts.Bind{{Addr: v4, Errno: "EADDRNOTAVAIL"}}}); err == nil {
		t.Error("there was no address to bind")
	}
}

func TestWhichPortsAreTried(t *testing.T) {
	for _, test := range []struct {
		port   uint16
		limits facts.Limits
		want   []uint16 // the first of them
	}{
		{62893, facts.Limits{UnprivilegedPortStart: 1024, EphemeralLow: 32768, EphemeralHigh: 60999}, []uint16{62894, 62895}},
		{80, facts.Limits{UnprivilegedPortStart: 1024}, []uint16{8080, 8081}},
		{443, facts.Limits{UnprivilegedPortStart: 1024}, []uint16{8443}},
		{80, facts.Limits{UnprivilegedPortStart: 0}, []uint16{81}},
		{62893, facts.Limits{UnprivilegedPortStart: 63000}, []uint16{63000}},
		{3305, facts.Limits{}, []uint16{3307}},
		{5000, facts.Limits{Reserved: "5001,5003-5009"}, []uint16{5002, 5010}},
		{32767, facts.Limits{EphemeralLow: 32768, EphemeralHigh: 60999}, []uint16{61000}},
		{40000, facts.Limits{EphemeralLow: 32768, EphemeralHigh: 60999}, []uint16{40001}},
		{65535, facts.Limits{}, nil},
	} {
		got := near(&facts.Facts{Target: facts.Target{Port: test.port}, Limits: &test.limits})
		if len(got) < len(test.want) || len(got) > maxSpare || !slices.Equal(got[:len(test.want)], test.want) {
			t.Errorf("beside %d: got %v, want %v first", test.port, got, test.want)
		}
	}
}

// A listener that has ended since its owner was looked for has none, and that
// proves nothing.
func TestAListenerThatEndedIsNobodys(t *testing.T) {
	for _, ended := range []bool{false, true} {
		m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Timeout))
		looks := 0
		m.sources.sockets = func(uint16) (*facts.Sockets, error) {
			if looks++; looks > 1 && ended {
				return &facts.Sockets{}, nil
			}
			return &facts.Sockets{Sockets: slices.Clone(m.sockets)}, nil
		}
		m.sources.owners = func(context.Context, []facts.Socket) (*facts.Owners, error) {
			return &facts.Owners{Complete: true, Visible: true}, nil
		}
		m.sources.userName = func(uint32) string { return "ann" }
		f := mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true})
		if f.Owners.Complete == ended || f.Owners.Visible == ended {
			t.Errorf("ended %v: complete %v, visible %v", ended, f.Owners.Complete, f.Owners.Visible)
		}
		if f.Sockets.Sockets[0].User != "ann" {
			t.Errorf("of %q", f.Sockets.Sockets[0].User)
		}
	}
}

// Where a process comes from is asked on failure only, and not waited for.
func TestOriginsAreAskedOnFailure(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	holder := func(context.Context, []facts.Socket) (*facts.Owners, error) {
		return &facts.Owners{Processes: []facts.Process{{PID: 7}}, Holders: map[uint64][]facts.Holder{1: {{PID: 7}}}}, nil
	}
	for _, test := range []struct {
		name    string
		outcome facts.Outcome
		hangs   bool
		want    string
	}{{"it works", facts.Connected, false, ""}, {"it fails", facts.Timeout, false, "tmux"}, {"it fails, and a directory hangs", facts.Timeout, true, ""}} {
		m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", test.outcome))
		m.sources.owners = holder
		m.sources.origins = func(ps []facts.Process) []facts.Process {
			if test.hangs {
				<-over
			}
			ps[0].From = "tmux"
			return ps
		}
		f := mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true})
		if got := f.Owners.Processes[0].From; got != test.want {
			t.Errorf("%s: from %q, want %q", test.name, got, test.want)
		}
	}
}
