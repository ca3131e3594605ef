package host

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

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
	for i, test := range []struct {
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
				// A port of its own for each: what is half open stays so for a while, and a
				// client's port that comes up again is not counted.
				port := map[netip.Addr]uint16{v4: served, v6: servedToo}[a] + uint16(10*i)
				n, err := net.Listen("tcp", netip.AddrPortFrom(a, port).String())
				if err != nil {
					t.Fatal(err)
				}
				defer n.Close()
				filter(t, strings.ReplaceAll(test.rules, "8081", fmt.Sprint(port)))
				l, err := ledger(netip.AddrPortFrom(a, port), us(), burst, nil)
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
				l, err := ledger(netip.AddrPortFrom(a, closed), us(), 1, func(p uint16) { ports = append(ports, p) })
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
	l, err := ledger(netip.AddrPortFrom(v4, served), us(), 1, nil)
	if err != nil || l.Delta["ListenOverflows"] != 1 || l.Delta["InSegs"] != 1 {
		t.Errorf("got %v: %v", l.Delta, err)
	}
}

// What is half open is found in a listener of both families, and where a translation
// leads to another address.
func TestHalfOpenElsewhere(t *testing.T) {
	if !alone(t) {
		return
	}
	for name, test := range map[string]struct {
		listens netip.Addr
		port    uint16
		rules   string
	}{
		"both families":   {netip.IPv6Unspecified(), served, ""},
		"another address": {netip.MustParseAddr("127.0.0.5"), servedToo, fmt.Sprintf("table ip n {\nchain c {\ntype nat hook output priority -100; tcp dport %d dnat to 127.0.0.5\n}\n}\n", servedToo)},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := net.Listen("tcp", netip.AddrPortFrom(test.listens, test.port).String())
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			filter(t, hook("input", fmt.Sprintf("tcp sport %d drop", test.port))+test.rules)
			l, err := ledger(netip.AddrPortFrom(v4, test.port), us(), burst, nil)
			if err != nil || l.HalfOpen != burst {
				t.Errorf("%d half open: %v, %v", l.HalfOpen, l.Delta, err)
			}
		})
	}
}
