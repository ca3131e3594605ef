package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What a table of facts is built from: a healthy machine, and words that change
// one thing each, so that a row reads like a sentence.

type change func(*facts.Facts)

const port = 62893

var morning = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// machine is a healthy host on which nothing uses the port. The target's
// addresses are settled after all changes, as the look does it.
func machine(target string, changes ...change) *facts.Facts {
	f := &facts.Facts{Time: morning, Absent: map[facts.Group]facts.Absence{},
		Host:       facts.Host{OS: "linux", Vantage: "host", As: []facts.Identity{{UID: 1000, User: "ann"}}, Cwd: "/home/ann/shop"},
		Target:     facts.Target{Raw: target, Network: "tcp", Host: "localhost", Port: port, Intent: facts.Connect},
		Names:      &facts.Names{Name: "localhost", Hosts: facts.HostsFile{Path: "/etc/hosts"}, Switch: facts.NameSwitch{Path: "/etc/nsswitch.conf", Line: 1, Text: "hosts: files dns", Sources: []string{"files", "dns"}}},
		Interfaces: &facts.Interfaces{Loopback: &facts.Interface{Name: "lo", Index: 1, Up: true, MTU: 65536, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}}},
		Routes:     &facts.Routes{Lookups: []facts.Route{{To: v4Loopback, Type: "local", Device: "lo"}, {To: v6Loopback, Type: "local", Device: "lo"}}},
		Sockets:    &facts.Sockets{From: "sock_diag"},
		Owners:     &facts.Owners{Holders: map[uint64][]facts.Holder{}, Complete: true},
		Limits:     &facts.Limits{UnprivilegedPortStart: 1024, EphemeralLow: 32768, EphemeralHigh: 60999},
		Namespaces: &facts.Namespaces{},
		Proxies:    &facts.Proxies{},
	}
	f.Target.Named = target != fmt.Sprint(port)
	if a, err := netip.ParseAddr(target); err == nil {
		f.Target.Literal, f.Target.Host = true, target
		f.Target.Addresses = []facts.Address{{Addr: a, Source: "named", Expected: true}}
	} else {
		f.Target.Addresses = []facts.Address{{Addr: v4Loopback, Source: "loopback"}, {Addr: v6Loopback, Source: "loopback"}}
	}
	hosts("127.0.0.1", "::1")(f)
	for _, c := range changes {
		c(f)
	}
	any := false
	for i := range f.Target.Addresses {
		a := &f.Target.Addresses[i]
		a.Expected = a.Expected || len(serving(f, a.Addr)) > 0 || f.Target.Intent == facts.ToBind
		any = any || a.Expected
	}
	for i := range f.Target.Addresses {
		f.Target.Addresses[i].Expected = f.Target.Addresses[i].Expected || !any
	}
	return f
}

// hosts lists the addresses of localhost in the hosts file.
func hosts(addrs ...string) change {
	return func(f *facts.Facts) {
		f.Names.Hosts.Lines, f.Names.Addresses = nil, nil
		for i, s := range addrs {
			a := netip.MustParseAddr(s)
			f.Names.Hosts.Lines = append(f.Names.Hosts.Lines, facts.HostsLine{Line: i + 1, Addr: a, Text: s + " localhost"})
			f.Names.Addresses = append(f.Names.Addresses, facts.NamedAddr{Addr: a, Source: fmt.Sprintf("hosts file line %d", i+1)})
		}
		if len(addrs) == 0 {
			f.Names.Error = "not found"
		}
	}
}

// listens adds a listener and its process, number pid.
func listens(on string, pid int, changes ...func(*facts.Socket, *facts.Process)) change {
	return func(f *facts.Facts) {
		addSocket(f, facts.Socket{Network: "tcp", State: facts.Listen, Local: addr(on), UID: 1000, Queue: &facts.Queue{Limit: 5}}, pid, changes)
	}
}

// holds adds a socket in another state.
func holds(state facts.State, local, remote string, pid int, changes ...func(*facts.Socket, *facts.Process)) change {
	return func(f *facts.Facts) {
		s := facts.Socket{Network: "tcp", State: state, Local: addr(local), UID: 1000}
		if remote != "" {
			s.Remote = netip.MustParseAddrPort(remote)
		}
		addSocket(f, s, pid, changes)
	}
}

func addSocket(f *facts.Facts, s facts.Socket, pid int, changes []func(*facts.Socket, *facts.Process)) {
	p := facts.Process{PID: pid, PPID: 1, Name: "server", UID: 1000, User: "ann", State: "S", Cwd: "/srv", Started: morning.Add(-time.Hour)}
	for _, c := range changes {
		c(&s, &p)
	}
	if pid != 0 {
		s.Inode = uint64(len(f.Sockets.Sockets)) + 100
		f.Owners.Holders[s.Inode] = []facts.Holder{{PID: pid, Attribution: facts.ByDescriptor}}
		f.Owners.Processes = append(f.Owners.Processes, p)
	}
	f.Sockets.Sockets = append(f.Sockets.Sockets, s)
}

func addr(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), port) }

func stopped(_ *facts.Socket, p *facts.Process) { p.State = "T" }
func named(name string) func(*facts.Socket, *facts.Process) {
	return func(_ *facts.Socket, p *facts.Process) { p.Name = name }
}
func container(_ *facts.Socket, p *facts.Process) { p.Container = "docker 0123456789ab" }
func queue(length, limit uint32) func(*facts.Socket, *facts.Process) {
	return func(s *facts.Socket, _ *facts.Process) { s.Queue = &facts.Queue{Length: length, Limit: limit} }
}

// dials adds a dial of uid 1000.
func dials(to string, outcome facts.Outcome, changes ...func(*facts.Dial)) change {
	return func(f *facts.Facts) {
		d := facts.Dial{Addr: netip.MustParseAddr(to), As: 1000, Outcome: outcome, From: netip.MustParseAddrPort("127.0.0.1:40000")}
		switch outcome {
		case facts.Refused:
			d.Errno = "ECONNREFUSED"
		case facts.Unreachable:
			d.Errno = "ENETUNREACH"
		case facts.Connected:
			d.Server = &facts.ServerSide{Local: addr(to), State: "established", Inode: 7, Accepted: true}
		}
		for _, c := range changes {
			c(&d)
		}
		f.Dials = append(f.Dials, d)
	}
}

func waiting(d *facts.Dial)  { d.Server.Accepted, d.Server.Inode, d.Server.WaitedMS = false, 0, 300 }
func closedBy(d *facts.Dial) { d.Closed = "end of file" }

// counts adds a ledger: counters and their differences, "OutRequests=32 …".
func counts(to string, syns int, deltas string) change {
	return func(f *facts.Facts) {
		l := facts.Ledger{Addr: netip.MustParseAddr(to), SYNs: syns, Delta: map[string]int64{}}
		for _, d := range strings.Fields(deltas) {
			name, value, _ := strings.Cut(d, "=")
			var n int64
			fmt.Sscan(value, &n)
			l.Delta[name] = n
		}
		f.Ledger = append(f.Ledger, l)
	}
}

const (
	diedOnOutput = "OutRequests=32 OutSegs=32"
	diedOnWire   = "OutRequests=32 OutTransmits=32 OutSegs=32 lo.txdrop=32"
	ledOffLo     = "OutRequests=32 OutTransmits=32 OutSegs=32"
	refusedOffLo = "OutRequests=1 OutTransmits=1 OutSegs=1 InReceives=1 InDelivers=1 InSegs=1 AttemptFails=1"
	diedOnInput  = "OutRequests=32 OutTransmits=32 OutSegs=32 lo.tx=32 InReceives=32"
	replyDied    = "OutRequests=64 OutTransmits=32 OutSegs=64 lo.tx=32 InReceives=32 InDelivers=32 InSegs=32"
	queueFull    = "OutRequests=1 OutTransmits=1 OutSegs=1 lo.tx=1 InReceives=1 InDelivers=1 InSegs=1 ListenOverflows=1 ListenDrops=1"
	realReset    = "OutRequests=2 OutTransmits=2 OutSegs=2 lo.tx=2 InReceives=2 InDelivers=2 InSegs=2 OutRsts=1 AttemptFails=1"
	forgedReset  = "OutRequests=2 OutTransmits=2 OutSegs=1 lo.tx=2 InReceives=2 InDelivers=1 InSegs=1 AttemptFails=1"
)

// toBind asks whether a server can take the port.
func toBind(f *facts.Facts) { f.Target.Intent = facts.ToBind }

func binds(to, errno string, reuse bool) change {
	return func(f *facts.Facts) {
		f.Binds = append(f.Binds, facts.Bind{Addr: netip.MustParseAddr(to), As: 1000, ReuseAddr: reuse, Errno: errno})
	}
}

func loIsDown(f *facts.Facts) { f.Interfaces.Loopback.Up = false }

// told is a diagnosis in the lab's words: the verdict, then a line for each
// cause, remark and unexplained symptom.
func told(d *Diagnosis) []string {
	lines := []string{string(d.Verdict)}
	for _, c := range d.Causes {
		line := fmt.Sprintf("%s %s %s", c.State, c.Check.Name, c.Certainty)
		if len(c.Candidates) > 0 {
			line += " of " + strings.Join(c.Candidates, " ")
		}
		lines = append(lines, line)
	}
	var rest []string
	for _, r := range d.Remarks {
		rest = append(rest, "remark "+r.Check.Name)
	}
	for _, s := range d.Symptoms {
		if len(s.ExplainedBy) == 0 {
			rest = append(rest, "unexplained "+s.Check.Name)
		}
	}
	slices.Sort(rest)
	return append(lines, slices.Compact(rest)...)
}

func expect(t *testing.T, f *facts.Facts, want ...string) {
	t.Helper()
	d := Diagnose(f)
	if got := told(d); !slices.Equal(got, want) {
		t.Errorf("got:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		for _, c := range d.Causes {
			t.Logf("%s: %s", c.Check.Name, c.Summary)
		}
	}
}
