package host

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A server that accepts and resets at once: the reset may reach us before poll() reads SO_ERROR.
func TestResetAfterTheHandshakeIsNoRefusal(t *testing.T) {
	if !alone(t) {
		return
	}
	serve(t, v4, func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() })
	seen := map[string]int{}
	for range 500 {
		c := dial(netip.AddrPortFrom(v4, served), us())
		c.Accepted()
		c.Early(time.Second)
		d := c.Fact()
		seen[string(d.Outcome)+" "+d.Errno+" closed "+d.Closed]++
		c.Close()
	}
	if len(seen) != 1 || seen[string(facts.Connected)+"  closed reset"] != 500 {
		t.Errorf("%v", seen)
	}
}

// Where the server is in another network namespace it may have accepted: it is left as any
// client leaves it. What is seen to be unaccepted, or was not looked at, is reset.
func TestHowAConnectionIsLeft(t *testing.T) {
	if !alone(t) {
		return
	}
	ends := make(chan error, 1)
	serve(t, v4, func(c net.Conn) { _, err := c.Read(make([]byte, 1)); ends <- err; c.Close() })
	for name, test := range map[string]struct {
		change func(*facts.Dial)
		want   error
	}{
		"accepted":       {func(d *facts.Dial) { d.Server = &facts.ServerSide{Accepted: true} }, io.EOF},
		"not here":       {func(d *facts.Dial) { d.NoServer = true }, io.EOF},
		"nobody looked":  {func(*facts.Dial) {}, syscall.ECONNRESET},
		"nobody took it": {func(d *facts.Dial) { d.Server = &facts.ServerSide{} }, syscall.ECONNRESET},
	} {
		p := dial(netip.AddrPortFrom(v4, served), us()).(*probe)
		p.fact.Server, p.fact.NoServer = nil, false
		test.change(&p.fact)
		p.Close()
		if got := <-ends; !errors.Is(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// Half-open sockets of the other family with the same source port are counted as ours.
func TestHalfOpenSocketsOfAnotherFamilyAreNotOurs(t *testing.T) {
	if !alone(t) {
		return
	}
	os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40079"), 0o644)
	serve(t, v4, nil)
	filter(t, hook("output", "tcp sport 8081 drop"))
	if l, err := ledger(netip.AddrPortFrom(v4, served), us(), burst, nil); err != nil || l.HalfOpen == 0 {
		t.Fatalf("%+v %v", l, err)
	}
	run(t, "nft", "flush", "ruleset")
	filter(t, hook("input", "meta nfproto ipv6 tcp dport 8081 drop"))
	l, err := ledger(netip.AddrPortFrom(v6, served), us(), burst, nil)
	if err != nil || l.HalfOpen != 0 {
		t.Errorf("no SYN over IPv6 reached TCP (InSegs %d), and %d are half open: %v", l.Delta["InSegs"], l.HalfOpen, err)
	}
}
