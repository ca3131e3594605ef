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
	// Those of a run a moment ago live for a minute, and a port comes up again.
	stale := halfOpen(to.Port())
	before, err := readCounters(to.Addr().Is6())
	if err != nil {
		return l, err
	}
	err = asClient(as.Identity, func() {
		for range syns {
			p := newProbe(to, as)
			p.bound = bound
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
	ours := map[netip.AddrPort]bool{}
	for _, p := range probes {
		f := p.Fact()
		name := f.Errno
		if name == "" {
			name = string(f.Outcome)
		}
		l.Outcomes[name]++
		ours[f.From] = true
	}
	// Half-open sockets of our own on the server's side: the SYN arrived.
	for remote := range halfOpen(to.Port()) {
		if ours[remote] && !stale[remote] {
			l.HalfOpen++
		}
	}
	return l, nil
}

// halfOpen returns who has half-open sockets at a port.
func halfOpen(port uint16) map[netip.AddrPort]bool {
	found := map[netip.AddrPort]bool{}
	c, err := sockdiag.Open()
	if err != nil {
		return found
	}
	defer c.Close()
	ss, _ := c.Port(port)
	for _, s := range ss {
		if s.State == facts.SynRecv {
			found[s.Remote] = true
		}
	}
	return found
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
	if dev, err := os.ReadFile("/proc/net/dev"); err == nil {
		c.parseDev(dev, "lo")
	}
	c.addConntrack()
	return c, nil
}
