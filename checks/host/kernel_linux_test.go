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
	c := dial(netip.AddrPortFrom(to, port), us())
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
