package host

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// What the real kernel says, in a network namespace of its own: nothing of it
// can be seen, or felt, outside.

// alone runs the test again where the network is its own, and tells whether this
// is that run.
func alone(t *testing.T) bool {
	t.Helper()
	const env = "LOOPDOCTOR_TEST_ALONE"
	if os.Getenv(env) == t.Name() {
		loopbackUp(t)
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), env+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no network namespace of our own here: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "skipped: ") {
			t.Log(strings.TrimSpace(line))
		}
	}
	return false
}

// run runs a command of the system, which has to be there.
func run(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skipf("skipped: %s is not installed", args[0])
	}
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// filter installs a ruleset until the test ends; the kernel may not know it.
func filter(t *testing.T, rules string) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("skipped: nft is not installed")
	}
	t.Cleanup(func() { exec.Command("nft", "flush", "ruleset").Run() })
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("Operation not supported")) || bytes.Contains(out, []byte("No such file")) {
			t.Skipf("skipped: this kernel does not know\n%s\n%s", rules, out)
		}
		t.Fatalf("%s\n%s", rules, out)
	}
}

func hook(name, rule string) string {
	return fmt.Sprintf("table inet t {\nchain c {\ntype filter hook %s priority 0; %s\n}\n}\n", name, rule)
}

const served, closed, servedToo = 8081, 8082, 8083 // ports of the tests

var families = map[string]netip.Addr{"IPv4": v4, "IPv6": v6}

// serve listens on the address until the test ends, and hands each connection to
// do; nil accepts none.
func serve(t *testing.T, a netip.Addr, do func(net.Conn)) net.Listener {
	t.Helper()
	n, err := net.Listen("tcp", netip.AddrPortFrom(a, served).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if do != nil {
		go func() {
			for {
				c, err := n.Accept()
				if err != nil {
					return
				}
				do(c)
			}
		}()
	}
	return n
}

// keep holds a connection until its client ends it.
func keep(c net.Conn) {
	go func() {
		c.Read(make([]byte, 1))
		c.Close()
	}()
}

func within(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// connects dials as ourselves and closes with the test.
func connects(t *testing.T, to netip.Addr, port uint16) connection {
	t.Helper()
	c := dial(netip.AddrPortFrom(to, port), uint32(os.Geteuid()))
	t.Cleanup(c.Close)
	return c
}

func TestDialMeetsAServer(t *testing.T) {
	if !alone(t) {
		return
	}
	for family, a := range families {
		t.Run(family+": it accepts", func(t *testing.T) {
			serve(t, a, keep)
			c := connects(t, a, served)
			if !within(5*time.Second, c.Accepted) {
				t.Fatalf("not accepted: %+v, %+v", c.Fact(), c.Fact().Server)
			}
			d := c.Fact()
			if d.Outcome != facts.Connected || d.Errno != "" || d.From.Addr() != a || d.From.Port() == served || d.Late {
				t.Errorf("got %+v", d)
			}
			if s := d.Server; s == nil || s.Local != netip.AddrPortFrom(a, served) || s.State != "established" || s.Inode == 0 || !s.Accepted {
				t.Errorf("the server's side is %+v", s)
			}
		})
		t.Run(family+": it never accepts", func(t *testing.T) {
			serve(t, a, nil)
			c := connects(t, a, served)
			for range 5 {
				if c.Accepted() {
					t.Fatalf("accepted by nobody: %+v", c.Fact().Server)
				}
			}
			if d := c.Fact(); d.Outcome != facts.Connected || d.Server.Inode != 0 || d.Server.State != "established" {
				t.Errorf("got %+v, %+v", d, d.Server)
			}
		})
		t.Run(family+": it waits for the first byte", func(t *testing.T) {
			n := serve(t, a, nil)
			raw, _ := n.(*net.TCPListener).SyscallConn()
			raw.Control(func(fd uintptr) {
				if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30); err != nil {
					t.Error(err)
				}
			})
			c := connects(t, a, served)
			if !c.Accepted() || c.Fact().Outcome != facts.Deferred || c.Fact().Server.State != "syn-recv" {
				t.Errorf("got %+v, %+v", c.Fact(), c.Fact().Server)
			}
		})
		t.Run(family+": something else answers", func(t *testing.T) {
			serve(t, a, keep)
			filter(t, fmt.Sprintf("table inet t {\nchain c {\ntype nat hook output priority -100; tcp dport %d redirect to :%d\n}\n}\n", closed, served))
			c := connects(t, a, closed)
			within(5*time.Second, c.Accepted)
			if d := c.Fact(); d.Outcome != facts.Connected || d.Server == nil || d.Server.Local.Port() != served {
				t.Errorf("got %+v, %+v", d, d.Server)
			}
		})
		t.Run(family+": it closes at once", func(t *testing.T) {
			serve(t, a, func(c net.Conn) { c.Close() })
			c := connects(t, a, served)
			if c.Early(5 * time.Second); c.Fact().Closed != "end of file" {
				t.Errorf("got %q of %+v", c.Fact().Closed, c.Fact())
			}
		})
		t.Run(family+": it resets", func(t *testing.T) {
			connected := make(chan struct{})
			serve(t, a, func(c net.Conn) {
				<-connected
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			})
			c := connects(t, a, served)
			close(connected)
			if c.Early(5 * time.Second); c.Fact().Closed != "reset" {
				t.Errorf("got %q of %+v", c.Fact().Closed, c.Fact())
			}
		})
		t.Run(family+": it says nothing", func(t *testing.T) {
			serve(t, a, keep)
			c := connects(t, a, served)
			if c.Early(20 * time.Millisecond); c.Fact().Closed != "" {
				t.Errorf("got %q of %+v", c.Fact().Closed, c.Fact())
			}
		})
		t.Run(family+": it greets", func(t *testing.T) {
			serve(t, a, func(c net.Conn) { c.Write([]byte("220 hello")); c.Close() })
			c := connects(t, a, served)
			if c.Early(5 * time.Second); c.Fact().Closed != "" {
				t.Errorf("got %q of %+v", c.Fact().Closed, c.Fact())
			}
		})
	}
}

func TestDialMeetsNobody(t *testing.T) {
	if !alone(t) {
		return
	}
	reject := func(with string) func(*testing.T) {
		return func(t *testing.T) { filter(t, hook("input", fmt.Sprintf("tcp dport %d reject with %s", closed, with))) }
	}
	nothing := func(*testing.T) {}
	for _, test := range []struct {
		name string
		to   netip.Addr
		set  func(*testing.T)
		want facts.Dial
	}{
		{"nothing listens", v4, nothing, facts.Dial{Outcome: facts.Refused, Errno: "ECONNREFUSED"}},
		{"nothing listens, IPv6", v6, nothing, facts.Dial{Outcome: facts.Refused, Errno: "ECONNREFUSED"}},
		{"a reset of a filter", v4, reject("tcp reset"), facts.Dial{Outcome: facts.Refused, Errno: "ECONNREFUSED"}},
		{"port unreachable", v4, reject("icmpx port-unreachable"), facts.Dial{Outcome: facts.Refused, Errno: "ECONNREFUSED", ICMP: "3/3"}},
		{"port unreachable, IPv6", v6, reject("icmpx port-unreachable"), facts.Dial{Outcome: facts.Refused, Errno: "ECONNREFUSED", ICMP: "1/4"}},
		{"prohibited by an administrator", v4, reject("icmpx admin-prohibited"), facts.Dial{Outcome: facts.Refused, Errno: "EHOSTUNREACH", ICMP: "3/13"}},
		{"prohibited by an administrator, IPv6", v6, reject("icmpx admin-prohibited"), facts.Dial{Outcome: facts.Refused, Errno: "EACCES", ICMP: "1/1"}},
		{"host unreachable", v4, reject("icmpx host-unreachable"), facts.Dial{Outcome: facts.Refused, Errno: "EHOSTUNREACH", ICMP: "3/1"}},
		{"dropped", v4, func(t *testing.T) { filter(t, hook("input", "tcp dport 8082 drop")) }, facts.Dial{Outcome: facts.Timeout}},
		{"dropped, IPv6", v6, func(t *testing.T) { filter(t, hook("input", "tcp dport 8082 drop")) }, facts.Dial{Outcome: facts.Timeout}},
		{"dropped on its way out", v4, func(t *testing.T) { filter(t, hook("output", "tcp dport 8082 drop")) }, facts.Dial{Outcome: facts.Timeout}},
		{"a prohibiting route", netip.MustParseAddr("127.0.0.3"), func(t *testing.T) {
			run(t, "ip", "route", "add", "prohibit", "127.0.0.3/32", "table", "local")
		}, facts.Dial{Outcome: facts.Denied, Errno: "EACCES"}},
		{"an unreachable route", netip.MustParseAddr("127.0.0.4"), func(t *testing.T) {
			run(t, "ip", "route", "add", "unreachable", "127.0.0.4/32", "table", "local")
		}, facts.Dial{Outcome: facts.Unreachable, Errno: "EHOSTUNREACH"}},
		{"a blackhole", netip.MustParseAddr("127.0.0.5"), func(t *testing.T) {
			run(t, "ip", "route", "add", "blackhole", "127.0.0.5/32", "table", "local")
		}, facts.Dial{Outcome: facts.Unreachable, Errno: "EINVAL"}},
		{"the address is gone", v4, func(t *testing.T) {
			run(t, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
			t.Cleanup(func() { exec.Command("ip", "addr", "add", "127.0.0.1/8", "dev", "lo").Run() })
		}, facts.Dial{Outcome: facts.Unreachable, Errno: "ENETUNREACH"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.set(t)
			got := connects(t, test.to, closed).Fact()
			if got.Outcome != test.want.Outcome || got.Errno != test.want.Errno || got.ICMP != test.want.ICMP || got.Addr != test.to || got.Server != nil {
				t.Errorf("got %s %s %s to %s, want %s %s %s", got.Outcome, got.Errno, got.ICMP, got.Addr, test.want.Outcome, test.want.Errno, test.want.ICMP)
			}
		})
	}
}

// A silence that ends with the first repeated SYN was none.
func TestDialConnectsLate(t *testing.T) {
	if !alone(t) {
		return
	}
	serve(t, v4, keep)
	filter(t, hook("input", "tcp dport 8081 drop"))
	c := connects(t, v4, served)
	if c.Fact().Outcome != facts.Timeout {
		t.Fatalf("got %+v through a drop", c.Fact())
	}
	run(t, "nft", "flush", "ruleset")
	if !within(5*time.Second, func() bool { return c.Fact().Outcome == facts.Connected }) || !c.Fact().Late {
		t.Errorf("got %+v", c.Fact())
	}
}

func TestBindAsked(t *testing.T) {
	if !alone(t) {
		return
	}
	serve(t, v4, nil)
	me := uint32(os.Geteuid())
	for _, test := range []struct {
		name  string
		to    netip.Addr
		port  uint16
		reuse bool
		want  string
	}{
		{"it is free", v4, closed, true, ""},
		{"it is free, without SO_REUSEADDR", v4, closed, false, ""},
		{"it is free on all addresses", netip.IPv6Unspecified(), closed, true, ""},
		{"something listens", v4, served, true, "EADDRINUSE"},
		{"something listens, without SO_REUSEADDR", v4, served, false, "EADDRINUSE"},
		{"something listens at one of all addresses", netip.IPv4Unspecified(), served, true, "EADDRINUSE"},
		{"something listens in the other family", v6, served, true, ""},
		{"something listens in one of both families", netip.IPv6Unspecified(), served, true, "EADDRINUSE"},
		{"not an address of this machine", netip.MustParseAddr("192.0.2.1"), closed, true, "EADDRNOTAVAIL"},
	} {
		got := bind("tcp", netip.AddrPortFrom(test.to, test.port), me, test.reuse)
		if want := (facts.Bind{Addr: test.to, As: me, ReuseAddr: test.reuse, Errno: test.want}); got != want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, want)
		}
	}
	// It gave everything back: a server can have the port now.
	if n, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", closed)); err != nil {
		t.Error(err)
	} else {
		n.Close()
	}
}

// Of 32 SYNs all are missing exactly where they died, in both families, and none
// elsewhere: nothing else moves in this namespace.
func TestWhereTheLedgerLosesSYNs(t *testing.T) {
	if !alone(t) {
		return
	}
	type where struct{ output, wire, input int64 }
	netdev := func(hook string) string {
		return fmt.Sprintf("table netdev t {\nchain c {\ntype filter hook %s device lo priority 0; tcp dport 8081 drop\n}\n}\n", hook)
	}
	for _, test := range []struct {
		name, rules    string
		want           where
		segs, halfOpen int64
	}{
		{"on its way out", hook("output", "tcp dport 8081 drop"), where{output: burst}, 0, 0},
		{"after routing", hook("postrouting", "tcp dport 8081 drop"), where{output: burst}, 0, 0},
		{"leaving lo", netdev("egress"), where{wire: burst}, 0, 0},
		{"entering lo", netdev("ingress"), where{wire: burst}, 0, 0},
		{"before routing", hook("prerouting", "tcp dport 8081 drop"), where{input: burst}, 0, 0},
		{"on its way in", hook("input", "tcp dport 8081 drop"), where{input: burst}, 0, 0},
		{"the answer, on its way out", hook("output", "tcp sport 8081 drop"), where{output: burst}, burst, burst},
		{"the answer, on its way in", hook("input", "tcp sport 8081 drop"), where{input: burst}, burst, burst},
	} {
		for family, a := range families {
			t.Run(test.name+", "+family, func(t *testing.T) {
				// A port of its own for each family: what is half open in one
				// stays so for a while.
				port := map[netip.Addr]uint16{v4: served, v6: servedToo}[a]
				n, err := net.Listen("tcp", netip.AddrPortFrom(a, port).String())
				if err != nil {
					t.Fatal(err)
				}
				defer n.Close()
				filter(t, strings.ReplaceAll(test.rules, "8081", fmt.Sprint(port)))
				l, err := ledger(netip.AddrPortFrom(a, port), uint32(os.Geteuid()), burst, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(l.Missing) > 0 {
					t.Skipf("skipped: this kernel does not count %v", l.Missing)
				}
				d := l.Delta
				got := where{d["OutRequests"] - d["OutTransmits"], d["OutTransmits"] - d["InReceives"], d["InReceives"] - d["InDelivers"] - d["ForwDatagrams"]}
				if got != test.want || d["InSegs"] != test.segs || int64(l.HalfOpen) != test.halfOpen {
					t.Errorf("lost %+v, want %+v; %d reached TCP, want %d; %d half open, want %d\n%v", got, test.want, d["InSegs"], test.segs, l.HalfOpen, test.halfOpen, d)
				}
				if l.Addr != a || l.SYNs != burst || l.Outcomes["timeout"] != burst {
					t.Errorf("%d SYNs to %s ended as %v", l.SYNs, l.Addr, l.Outcomes)
				}
			})
		}
	}
}

// What TCP says by itself is told from what a filter forges.
func TestWhoSentTheReset(t *testing.T) {
	if !alone(t) {
		return
	}
	for family, a := range families {
		for name, test := range map[string]struct {
			rules  string
			resets int64
		}{
			"TCP":      {"", 1},
			"a filter": {hook("input", "tcp dport 8082 reject with tcp reset"), 0},
		} {
			t.Run(name+", "+family, func(t *testing.T) {
				if test.rules != "" {
					filter(t, test.rules)
				}
				ports := []uint16{}
				l, err := ledger(netip.AddrPortFrom(a, closed), uint32(os.Geteuid()), 1, func(p uint16) { ports = append(ports, p) })
				if err != nil || l.Delta["OutRsts"] != test.resets || l.Outcomes["ECONNREFUSED"] != 1 || len(ports) != 1 {
					t.Errorf("resets %d, want %d; %v from ports %v: %v", l.Delta["OutRsts"], test.resets, l.Outcomes, ports, err)
				}
			})
		}
	}
}

// A full accept queue drops SYNs after TCP has seen them, and says so.
func TestLedgerOfAFullQueue(t *testing.T) {
	if !alone(t) {
		return
	}
	n := serve(t, v4, nil)
	raw, _ := n.(*net.TCPListener).SyscallConn()
	raw.Control(func(fd uintptr) { unix.Listen(int(fd), 0) })
	connects(t, v4, served) // one more than the limit of none is let in
	c := connects(t, v4, served)
	if c.Fact().Outcome != facts.Timeout {
		t.Fatalf("got %+v at a full queue", c.Fact())
	}
	l, err := ledger(netip.AddrPortFrom(v4, served), uint32(os.Geteuid()), 1, nil)
	if err != nil || l.Delta["ListenOverflows"] != 1 || l.Delta["InSegs"] != 1 {
		t.Errorf("got %v: %v", l.Delta, err)
	}
}

// With few temporary ports, the target's own among them, a client that does not
// watch out meets itself.
func TestProbeNeverMeetsItself(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, ports := range []string{"40000 40001", "40000 40000"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(ports), 0o644); err != nil {
			t.Skipf("skipped: %v", err)
		}
		for family, a := range families {
			for range 50 {
				c := dial(netip.AddrPortFrom(a, 40000), uint32(os.Geteuid()))
				d := c.Fact()
				c.Close()
				if d.Outcome != facts.Refused && d.Outcome != facts.Skipped || d.From.Port() == 40000 {
					t.Fatalf("%s, ports %s: %+v", family, ports, d)
				}
			}
		}
	}
}

// What loopdoctor leaves behind must not be what it finds next time, nor keep a
// server from starting.
func TestProbeLeavesNothingOnTheServersPort(t *testing.T) {
	if !alone(t) {
		return
	}
	for family, a := range families {
		for name, accepts := range map[string]bool{"accepted": true, "not accepted": false} {
			t.Run(name+", "+family, func(t *testing.T) {
				over := make(chan struct{}, 1)
				var n net.Listener
				if accepts {
					n = serve(t, a, func(c net.Conn) {
						c.Read(make([]byte, 1))
						c.Close()
						over <- struct{}{}
					})
				} else {
					n = serve(t, a, nil)
				}
				c := dial(netip.AddrPortFrom(a, served), uint32(os.Geteuid()))
				if accepts {
					within(5*time.Second, c.Accepted)
				} else {
					c.Accepted()
				}
				c.Close()
				if accepts {
					<-over
				}
				n.Close()
				diag, err := sockdiag.Open()
				if err != nil {
					t.Skipf("skipped: %v", err)
				}
				defer diag.Close()
				if !within(5*time.Second, func() bool {
					left, err := diag.Port(served)
					for _, s := range left {
						if s.Local.Port() == served {
							return false
						}
					}
					return err == nil
				}) {
					left, _ := diag.Port(served)
					t.Errorf("left: %+v", left)
				}
				// The next server needs no SO_REUSEADDR.
				if b := bind("tcp", netip.AddrPortFrom(a, served), uint32(os.Geteuid()), false); b.Errno != "" {
					t.Errorf("bind: %s", b.Errno)
				}
			})
		}
	}
}

// The kernel's own eyes: a rule that drops what one uid sends.
func TestDialAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	if !alone(t) {
		return
	}
	const nobody = 65534
	serve(t, v4, keep)
	filter(t, hook("output", fmt.Sprintf("meta skuid %d tcp dport %d drop", nobody, served)))
	to := netip.AddrPortFrom(v4, served)
	for uid, want := range map[uint32]facts.Outcome{nobody: facts.Timeout, 0: facts.Connected, 1000: facts.Connected} {
		c := dial(to, uid)
		if d := c.Fact(); d.Outcome != want || d.As != uid {
			t.Errorf("as %d: got %+v, want %s", uid, d, want)
		}
		c.Close()
	}
	l, err := ledger(to, nobody, 4, nil)
	if err != nil || l.Outcomes["timeout"] != 4 {
		t.Errorf("SYNs of uid %d ended as %v: %v", nobody, l.Outcomes, err)
	}
	for uid, want := range map[uint32]string{0: "", nobody: "EACCES"} {
		if b := bind("tcp", netip.AddrPortFrom(v4, 80), uid, true); b.Errno != want || b.As != uid {
			t.Errorf("bind port 80 as %d: got %+v, want %q", uid, b, want)
		}
	}
	// Nobody else became nobody.
	for range 100 {
		if os.Geteuid() != 0 || unix.Getuid() != 0 {
			t.Fatal("a thread of ours kept the other identity")
		}
	}
}

// The whole look, at each fault: what it says fits what was done.
func TestGatherInANamespace(t *testing.T) {
	if !alone(t) {
		return
	}
	look := func(t *testing.T) *facts.Facts {
		t.Helper()
		all, err := Gather(t.Context(), []facts.Target{{Raw: "8081", Host: "127.0.0.1", Port: served, Literal: true, Named: true, Network: "tcp", Intent: facts.Connect}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return all[0]
	}
	t.Run("it works", func(t *testing.T) {
		serve(t, v4, keep)
		f := look(t)
		if len(f.Dials) != 1 || f.Dials[0].Outcome != facts.Connected || !f.Dials[0].Server.Accepted || f.Ledger != nil || f.Packets != nil {
			t.Errorf("got %+v, ledger %v, packets %v", f.Dials, f.Ledger, f.Packets)
		}
		if ps := f.Owners.Of(f.Sockets.Sockets[0]); len(ps) != 1 || ps[0].PID != os.Getpid() {
			t.Errorf("it belongs to %v, want this test", ps)
		}
	})
	t.Run("a filter drops it", func(t *testing.T) {
		serve(t, v4, nil)
		filter(t, hook("input", "tcp dport 8081 drop"))
		f := look(t)
		if len(f.Ledger) != 2 || f.Ledger[1].SYNs != burst || f.Ledger[1].Delta["InReceives"]-f.Ledger[1].Delta["InDelivers"] != burst {
			t.Errorf("ledger %+v", f.Ledger)
		}
		if f.Packets == nil {
			t.Skipf("skipped: packets %+v", f.Absent[facts.GroupPackets])
		}
		if len(f.Packets.Conversations) == 0 || f.Packets.Conversations[0].Server.Port() != served || len(f.Packets.Conversations[0].Packets) == 0 {
			t.Errorf("packets %+v", f.Packets)
		}
	})
	t.Run("lo is down", func(t *testing.T) {
		run(t, "ip", "link", "set", "lo", "down")
		f := look(t)
		if f.Interfaces.Loopback.Up {
			t.Errorf("lo %+v", f.Interfaces.Loopback)
		}
		run(t, "ip", "link", "set", "lo", "up")
	})
}
