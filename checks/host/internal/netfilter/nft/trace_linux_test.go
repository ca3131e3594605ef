package nft

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"golang.org/x/sys/unix"
)

// dialTraced listens, traces a connection and begins it, and returns what was said.
func dialTraced(t testing.TB, host string, port uint16) (*Trace, []TraceEvent) {
	t.Helper()
	addr := netip.MustParseAddr(host)
	family, sockaddr := unix.AF_INET, func(port uint16) unix.Sockaddr { return &unix.SockaddrInet4{Addr: addr.As4(), Port: int(port)} }
	if addr.Is6() {
		family, sockaddr = unix.AF_INET6, func(port uint16) unix.Sockaddr { return &unix.SockaddrInet6{Addr: addr.As16(), Port: int(port)} }
	}
	bound := func(port uint16) (int, netip.AddrPort) {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Bind(fd, sockaddr(port)); err != nil {
			t.Fatal(err)
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		switch name := name.(type) {
		case *unix.SockaddrInet4:
			return fd, netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(name.Port))
		case *unix.SockaddrInet6:
			return fd, netip.AddrPortFrom(netip.AddrFrom16(name.Addr), uint16(name.Port))
		}
		t.Fatal("no name")
		return 0, netip.AddrPort{}
	}
	server, to := bound(port)
	if err := unix.Listen(server, 5); err != nil {
		t.Fatal(err)
	}
	client, from := bound(0)
	trace, err := OpenTrace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trace.Close() })
	if err := trace.Watch(from, to); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(client, sockaddr(port)); err != nil && err != unix.EINPROGRESS && err != unix.ECONNREFUSED && err != unix.EHOSTUNREACH {
		t.Fatal(err)
	}
	return trace, trace.Drain(50 * time.Millisecond)
}

// saidIn is an event in a line.
func saidIn(e TraceEvent) string {
	what := fmt.Sprint("handle ", e.Handle)
	if e.Policy {
		what = "policy"
	}
	verdict := map[netfilter.Code]string{netfilter.Accept: "accept", netfilter.Drop: "drop", netfilter.Queue: "queue", netfilter.None: "continue",
		netfilter.Jump: "jump", netfilter.Goto: "goto", netfilter.Return: "return"}[e.Verdict.Code]
	return strings.Join([]string{e.Packet, e.Family.String(), e.Table, e.Chain, what, verdict}, " ")
}

func TestTrace(t *testing.T) {
	for _, test := range []struct {
		name, rules, iptables, host string
		want                        string // the last thing that is said
	}{
		{"input", "table inet t { chain input { type filter hook input priority 0; tcp dport 62893 drop\n } }", "", "127.0.0.1", "SYN inet t input handle 2 drop"},
		{"input, IPv6", "table inet t { chain input { type filter hook input priority 0; tcp dport 62893 drop\n } }", "", "::1", "SYN inet t input handle 2 drop"},
		{"policy", "table ip t { chain input { type filter hook input priority 0; policy drop; tcp dport 1 accept\n } }", "", "127.0.0.1", "SYN ip t input policy drop"},
		{"a chain behind", "table inet t { chain bad { tcp dport 62893 drop\n }\n chain output { type filter hook output priority 0; jump bad\n } }", "", "127.0.0.1", "SYN inet t bad handle 3 drop"},
		{"raw prerouting", "table ip t { chain p { type filter hook prerouting priority -300; tcp dport 62893 drop\n } }", "", "127.0.0.1", "SYN ip t p handle 2 drop"},
		{"netdev ingress", "table netdev t { chain p { type filter hook ingress device lo priority 0; tcp dport 62893 drop\n } }", "", "127.0.0.1", "SYN netdev t p handle 2 drop"},
		{"netdev egress", "table netdev t { chain p { type filter hook egress device lo priority 0; tcp dport 62893 drop\n } }", "", "127.0.0.1", "SYN netdev t p handle 2 drop"},
		{"reply at output", "table inet t { chain o { type filter hook output priority 0; tcp sport 62893 drop\n } }", "", "127.0.0.1", "SYN-ACK inet t o handle 2 drop"},
		{"reply at input", "table inet t { chain i { type filter hook input priority 0; tcp sport 62893 drop\n } }", "", "127.0.0.1", "SYN-ACK inet t i handle 2 drop"},
		{"last ACK", "table inet t { chain i { type filter hook input priority 0; tcp dport 62893 tcp flags & (syn | ack) == ack drop\n } }", "", "127.0.0.1", "ACK inet t i handle 2 drop"},
		{"reject", "table inet t { chain i { type filter hook input priority 0; tcp dport 62893 reject\n } }", "", "127.0.0.1", "SYN inet t i handle 2 drop"},
		{"limit", "table inet t { chain i { type filter hook input priority 0; limit rate over 1/hour burst 1 packets drop\n } }", "", "127.0.0.1", ""},
		{"redirect", "table ip t { chain o { type nat hook output priority -100; tcp dport 62893 redirect to :9\n } }", "", "127.0.0.1", "SYN ip t o handle 2 accept"},
		{"iptables-nft", "", "-A INPUT -p tcp -m multiport --dports 1,62893 -m comment --comment x -j DROP", "127.0.0.1", "SYN ip filter INPUT handle 2 drop"},
		{"nothing", "table inet t { chain i { type filter hook input priority 0; tcp dport 1 drop\n } }", "", "127.0.0.1", "ACK inet t i policy accept"},
	} {
		t.Run(test.name, func(t *testing.T) {
			enterNamespace(t)
			if test.iptables != "" {
				if _, err := exec.LookPath("iptables-nft"); err != nil {
					t.Skip("needs the program iptables-nft")
				}
				execute(t, "", "iptables-nft", strings.Fields(test.iptables)...)
			} else {
				load(t, strings.ReplaceAll(test.rules, "}", "\n}\n"))
			}
			before := execute(t, "", "nft", "-s", "list", "ruleset")
			trace, events := dialTraced(t, test.host, 62893)
			var all []string
			for _, e := range events {
				all = append(all, saidIn(e))
			}
			found := false
			for _, s := range all {
				found = found || s == test.want
			}
			if last := len(all) - 1; test.want != "" && !found || strings.HasSuffix(test.want, "drop") && all[last] != test.want {
				t.Errorf("got  %s\nwant %s", strings.Join(all, "\n     "), test.want)
			}
			if during := execute(t, "", "nft", "-s", "list", "ruleset"); !strings.Contains(during, trace.Table) {
				t.Errorf("while it traces there is no table %s in %s", trace.Table, during)
			}
			trace.Close()
			if after := execute(t, "", "nft", "-s", "list", "ruleset"); after != before {
				t.Errorf("left behind: %s", after)
			}
		})
	}
}

// TestTraceDiesWithItsProgram kills a program that traces, again and again at other
// moments, and looks for its table.
func TestTraceDiesWithItsProgram(t *testing.T) {
	const variable = "TRACE_UNTIL_KILLED"
	if os.Getenv(variable) != "" {
		for i := 0; ; i++ {
			trace, err := OpenTrace()
			if err != nil {
				t.Fatal(err)
			}
			for port := range uint16(3) {
				if err := trace.Watch(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 1000+port), netip.MustParseAddrPort("127.0.0.1:62893")); err != nil {
					t.Fatal(err)
				}
			}
			if i == 0 {
				os.Stdout.WriteString("traces\n")
			}
			trace.Close()
		}
	}
	enterNamespace(t)
	for i := range 40 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestTraceDiesWithItsProgram$")
		cmd.Env = append(os.Environ(), variable+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if n, err := out.Read(make([]byte, 7)); err != nil || n == 0 {
			t.Fatalf("the program did not begin: %v", err)
		}
		time.Sleep(time.Duration(i) * 300 * time.Microsecond)
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
		if left := execute(t, "", "nft", "-s", "list", "ruleset"); left != "" {
			t.Fatalf("left behind: %s", left)
		}
	}
}

func TestOthersCannotChangeTheTrace(t *testing.T) {
	enterNamespace(t)
	trace, err := OpenTrace()
	if err != nil {
		t.Fatal(err)
	}
	defer trace.Close()
	if err := trace.Watch(netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")); err != nil {
		t.Fatal(err)
	}
	execute(t, "", "nft", "flush", "ruleset")
	if out, err := exec.Command("nft", "delete", "table", "inet", trace.Table).CombinedOutput(); err == nil {
		t.Errorf("another program deleted it: %s", out)
	}
	r := read(t)
	if len(r.Tables) != 1 || r.Tables[0].Owner == 0 || r.Opaque() != 0 {
		t.Errorf("read %+v", r.Tables)
	}
}

func BenchmarkTrace(b *testing.B) {
	enterNamespace(b)
	load(b, "table inet t { chain input { type filter hook input priority 0; tcp dport 62893 drop\n }\n }")
	for b.Loop() {
		b.StopTimer()
		from := netip.MustParseAddrPort("127.0.0.1:50000")
		b.StartTimer()
		trace, err := OpenTrace()
		if err != nil {
			b.Fatal(err)
		}
		if err := trace.Watch(from, netip.MustParseAddrPort("127.0.0.1:62893")); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		trace.Close()
		b.StartTimer()
	}
}
