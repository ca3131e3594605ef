package host

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

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
		got, _ := bind("tcp", netip.AddrPortFrom(test.to, test.port), us(), test.reuse)
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
				c := dial(netip.AddrPortFrom(a, 40000), us())
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
				c := dial(netip.AddrPortFrom(a, served), us())
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
				if b, err := bind("tcp", netip.AddrPortFrom(a, served), us(), false); err != nil || b.Errno != "" {
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
		c := dial(to, client{Identity: UID(uid)})
		if d := c.Fact(); d.Outcome != want || d.As != uid {
			t.Errorf("as %d: got %+v, want %s", uid, d, want)
		}
		c.Close()
	}
	l, err := ledger(to, client{Identity: UID(nobody)}, 4, nil)
	if err != nil || l.Outcomes["timeout"] != 4 {
		t.Errorf("SYNs of uid %d ended as %v: %v", nobody, l.Outcomes, err)
	}
	for uid, want := range map[uint32]string{0: "", nobody: "EACCES"} {
		if b, err := bind("tcp", netip.AddrPortFrom(v4, 80), client{Identity: UID(uid)}, true); err != nil || b.Errno != want || b.As != uid {
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
