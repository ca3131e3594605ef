package host

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// settle is how long after the last SYN the counters are read: packets over lo
// run to their end inside the system call, so only a steered one is waited for.
const settle = 200 * time.Microsecond

// ledger sends SYNs between two looks at the kernel's counters, and tells bound
// how each socket's port is called before its SYN leaves. The sockets are reset
// afterwards, so that the kernel does not repeat their SYNs.
func ledger(to netip.AddrPort, as client, syns int, bound func(port uint16)) (facts.Ledger, error) {
	l := facts.Ledger{Addr: to.Addr(), SYNs: syns, Outcomes: map[string]int{}}
	probes := make([]*probe, 0, syns)
	defer func() {
		for _, p := range probes {
			p.Close()
		}
	}()
	tc := trafficCounters()
	defer tc.close()
	dropped := tc.read()
	server := newServerSide(to)
	defer server.close()
	thrown, listener, listens := server.dropped()
	before, err := readCounters(to.Addr().Is6())
	if err != nil {
		return l, err
	}
	err = asClient(as.Identity, func() {
		for range syns {
			p := newProbe(to, as)
			p.bound = func(port uint16) {
				server.before(port)
				if bound != nil {
					bound(port)
				}
			}
			p.open(to)
			probes = append(probes, p)
		}
	})
	if err != nil {
		return l, fmt.Errorf("connect as %s: %w", as.Name(), err)
	}
	time.Sleep(settle)
	after, err := readCounters(to.Addr().Is6())
	if err != nil {
		return l, err
	}
	l.Delta, l.Missing = after.since(before)
	maps.Copy(l.Delta, tc.since(dropped))
	if n, same, ok := server.dropped(); ok && listens && same == listener && n > thrown {
		l.Delta["listener.drops"] = int64(n - thrown)
	}
	from := make([]netip.AddrPort, len(probes))
	for i, p := range probes {
		f := p.Fact()
		name := f.Errno
		if name == "" {
			name = string(f.Outcome)
		}
		l.Outcomes[name]++
		from[i] = f.From
	}
	l.HalfOpen = server.halfOpen(from, l.Delta["InSegs"] > 0)
	return l, nil
}

// serverSide looks for half-open sockets of our own on the server's side: their SYN
// has arrived.
type serverSide struct {
	diag  *sockdiag.Client // nil: the kernel cannot be asked
	to    netip.AddrPort
	stale map[uint16]bool // ports whose socket was there before
}

func newServerSide(to netip.AddrPort) *serverSide {
	c, _ := sockdiag.Open()
	return &serverSide{c, to, map[uint16]bool{}}
}

func (s *serverSide) close() {
	if s.diag != nil {
		s.diag.Close()
	}
}

// dropped is what the listener has thrown away so far.
func (s *serverSide) dropped() (packets uint32, listener uint64, ok bool) {
	if s.diag == nil {
		return 0, 0, false
	}
	return s.diag.Dropped(s.to)
}

// before is called with the port of a client that has not sent its SYN yet: what is
// half open of a run a moment ago lives for a minute, and a port comes up again.
func (s *serverSide) before(port uint16) {
	if s.diag == nil {
		return
	}
	if x, _ := s.diag.Pair(s.to, netip.AddrPortFrom(s.to.Addr(), port)); x != nil {
		s.stale[port] = true
	}
}

// halfOpen counts those of our clients. Where they have no socket at all although
// something arrived, a translation may have led them to another address: then the
// kernel goes through all sockets of the port, which takes it a millisecond and more.
func (s *serverSide) halfOpen(from []netip.AddrPort, arrived bool) (n int) {
	if s.diag == nil {
		return 0
	}
	ours := map[netip.AddrPort]bool{}
	for _, client := range from {
		if !client.IsValid() || s.stale[client.Port()] {
			continue
		}
		x, err := s.diag.Pair(s.to, client)
		switch {
		case err != nil:
		case x == nil:
			ours[client] = true
		case x.State == facts.SynRecv:
			n++
		}
	}
	if n > 0 || !arrived || len(ours) == 0 {
		return n
	}
	all, _ := s.diag.Port(s.to.Port())
	for _, x := range all {
		if x.State == facts.SynRecv && ours[x.Remote] {
			n++
		}
	}
	return n
}

// readCounters reads the counters of this network namespace.
func readCounters(v6 bool) (counters, error) {
	c := counters{}
	snmp, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	if v6 {
		data, err := os.ReadFile("/proc/net/snmp6")
		if err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		c.parseSNMP6(data)
	} else if err := c.parseSNMP(snmp, "Ip"); err != nil {
		return nil, err
	}
	if err := c.parseSNMP(snmp, "Tcp"); err != nil {
		return nil, err
	}
	stat, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	if err := c.parseSNMP(stat, "TcpExt"); err != nil {
		return nil, err
	}
	if !v6 {
		// OutTransmits stands in Ip on some kernels and in IpExt on others.
		more := counters{}
		if more.parseSNMP(stat, "IpExt") == nil {
			if v, ok := more["OutTransmits"]; ok {
				c["OutTransmits"] = v
			}
		}
	}
	if xfrm, err := os.ReadFile("/proc/net/xfrm_stat"); err == nil { // only of a kernel with IPsec
		c.parseXfrm(xfrm)
	}
	if dev, err := os.ReadFile("/proc/net/dev"); err == nil {
		c.parseDev(dev, "lo")
	}
	c.addConntrack()
	return c, nil
}
