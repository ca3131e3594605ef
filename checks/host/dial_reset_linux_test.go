package host

import (
	"net"
	"net/netip"
	"os"
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
