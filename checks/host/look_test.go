package host

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Only addresses that have to work have symptoms.
func TestWhichAddressesHaveToWork(t *testing.T) {
	for _, test := range []struct {
		name    string
		machine *machine
		target  facts.Target
		want    []string
	}{
		{"a bare port that nothing serves: either could be meant", newMachine(), target(""), []string{"127.0.0.1", "::1"}},
		{"a bare port, served in IPv4", newMachine(listening("127.0.0.1", false)), target(""), []string{"127.0.0.1"}},
		{"a bare port, served in IPv6", newMachine(listening("::1", false)), target(""), []string{"::1"}},
		{"a bare port, served everywhere", newMachine(listening("::", false)), target(""), []string{"127.0.0.1", "::1"}},
		{"a bare port, served by [::] without IPv4", newMachine(listening("::", true)), target(""), []string{"::1"}},
		{"a bare port, served by all of IPv4", newMachine(listening("0.0.0.0", false)), target(""), []string{"127.0.0.1"}},
		{"a bare port, where lo has no ::1", newMachine(withoutIPv6), target(""), []string{"127.0.0.1"}},
		{"a bare port, UDP has it alone", newMachine(udpSocket("127.0.0.1")), target(""), []string{"127.0.0.1", "::1"}},
		{"a bare port of UDP", newMachine(udpSocket("::1")), overUDP(target("")), []string{"::1"}},
		{"a bare port of UDP that nothing has", newMachine(listening("127.0.0.1", false)), overUDP(target("")), []string{"127.0.0.1", "::1"}},
		{"localhost, served in IPv4", newMachine(listening("127.0.0.1", false)), target("localhost"), []string{"127.0.0.1"}},
		{"localhost is ::1 alone, and 127.0.0.1 is served", newMachine(resolves("::1"), listening("127.0.0.1", false)), target("localhost"), []string{"::1"}},
		{"localhost is nothing", newMachine(resolves(), listening("127.0.0.1", false)), target("localhost"), []string{"127.0.0.1"}},
		{"localhost is 127.0.1.1, which is served", newMachine(resolves("127.0.1.1"), listening("0.0.0.0", false)), target("localhost"), []string{"127.0.1.1"}},
		{"an address, served or not", newMachine(listening("127.0.0.1", false)), target("::1"), []string{"::1"}},
		{"::1, where lo has none", newMachine(withoutIPv6), target("::1"), []string{"::1"}},
		{"an address of eth0", newMachine(), target("10.0.0.5"), []string{"10.0.0.5"}},
		{"a mapped address", newMachine(), target("::ffff:127.0.0.1"), []string{"127.0.0.1"}},
		{"0.0.0.0 to connect to", newMachine(), target("0.0.0.0"), []string{"127.0.0.1"}},
		{"[::] to connect to", newMachine(), target("::"), []string{"::1"}},
		{"0.0.0.0 to bind", newMachine(), toBind(target("0.0.0.0")), []string{"0.0.0.0"}},
		{"a bare port to bind", newMachine(), toBind(target("")), []string{"127.0.0.1", "::1", "0.0.0.0", "::"}},
		{"a bare port to bind, where lo has no ::1", newMachine(withoutIPv6), toBind(target("")), []string{"127.0.0.1", "0.0.0.0"}},
		{"::1, which a client tried of localhost, and 127.0.0.1 is served", newMachine(listening("127.0.0.1", false)), saidToTry("::1", target("localhost")), []string{"::1"}},
		{"an address that localhost is not, which a client tried all the same", newMachine(resolves("127.0.0.1")), saidToTry("::1", target("localhost")), []string{"::1"}},
		{"::1, which a client tried of a port", newMachine(listening("127.0.0.1", false)), saidToTry("::1", target("")), []string{"::1"}},
		{"an address to bind, that a server names", newMachine(), toBind(saidToTry("::1", target("localhost"))), []string{"127.0.0.1", "::1"}},
		{"localhost to bind, although something serves it", newMachine(listening("127.0.0.1", false)), toBind(target("localhost")), []string{"127.0.0.1", "::1"}},
	} {
		f := mustLook(t, test.machine, test.target, Options{NoConnect: true})
		var got []string
		for _, a := range f.Target.Expected() {
			got = append(got, a.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// saidToTry is a target whose client's error names the address.
func saidToTry(addr string, t facts.Target) facts.Target {
	t.Error = &facts.ClientError{Symptom: "refused", Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), port)}
	return t
}

// loopdoctor never talks to another machine.
func TestForeignTargets(t *testing.T) {
	for _, test := range []struct {
		machine *machine
		target  facts.Target
		why     string
	}{
		{newMachine(), target("192.0.2.1"), "192.0.2.1 is not an address of this machine"},
		{newMachine(), target("2001:db8::1"), "2001:db8::1 is not an address of this machine"},
		{newMachine(resolves("192.0.2.1")), target("shop"), "shop is 192.0.2.1, which is not an address of this machine"},
		{newMachine(resolves("127.0.0.1", "192.0.2.1")), target("shop"), "shop is 192.0.2.1, which is not an address of this machine"},
		{newMachine(), saidToTry("192.0.2.1", target("localhost")), "192.0.2.1 is not an address of this machine"},
		{newMachine(resolves()), target("shop"), "shop does not resolve to an address of this machine (not found)"},
		{newMachine(func(m *machine) { m.names = nil }), target("shop"), "shop cannot be resolved here"},
	} {
		_, err := test.machine.look(t, test.target, Options{})
		var foreign *ForeignTargetError
		if !errors.As(err, &foreign) || foreign.Why != test.why || foreign.Target != test.target.Raw {
			t.Errorf("%s: got %v, want %q", test.target.Raw, err, test.why)
		}
		if len(test.machine.asked) > 0 {
			t.Errorf("%s: it was touched: %v", test.target.Raw, test.machine.asked)
		}
	}
	// To bind it concerns nobody else: the kernel says that the address is not here.
	m := newMachine()
	if mustLook(t, m, toBind(target("192.0.2.1")), Options{}); !slices.Equal(m.asked, []string{"bind 192.0.2.1 reusing", "bind 192.0.2.1"}) {
		t.Errorf("asked %v", m.asked)
	}
	for _, m := range []*machine{newMachine(resolves("10.0.0.5")), newMachine(resolves("127.0.0.1"))} {
		if _, err := m.look(t, target("shop"), Options{NoConnect: true}); err != nil {
			t.Errorf("a name of this machine: %v", err)
		}
	}
}

// Whatever the hosts file calls localhost, an address of another machine is not
// contacted; it is a fact all the same.
func TestLocalhostElsewhereIsNotContacted(t *testing.T) {
	m := newMachine(resolves("192.0.2.1", "127.0.0.1"))
	f := mustLook(t, m, target("localhost"), Options{})
	if len(f.Target.Addresses) != 2 || slices.ContainsFunc(m.asked, func(s string) bool { return s == "connect 192.0.2.1" || s == "bind 192.0.2.1 reusing" }) {
		t.Errorf("addresses %v, asked %v", f.Target.Addresses, m.asked)
	}
}

func TestWhatIsTried(t *testing.T) {
	works := outcome("127.0.0.1", facts.Connected)
	silent := outcome("127.0.0.1", facts.Timeout)
	died := map[string]int64{"OutRequests": 1}
	full := map[string]int64{"InSegs": 1, "ListenOverflows": 1, "ListenDrops": 1}
	reset := func(n int64) map[string]int64 { return map[string]int64{"OutRsts": n} }
	here := listening("127.0.0.1", false)
	for _, test := range []struct {
		name    string
		machine *machine
		target  facts.Target
		options Options
		want    []string
	}{
		{"it works: one connect, and no second round", newMachine(here, works), target("127.0.0.1"), Options{}, []string{"connect 127.0.0.1"}},
		{"it works in one family, and the other is not expected to", newMachine(here, works), target(""), Options{}, []string{"connect 127.0.0.1", "connect ::1"}},
		{"as two users, one after the other", newMachine(here, works), target("127.0.0.1"), Options{As: []facts.Identity{{UID: 1000}, {UID: 0}}}, []string{"connect 127.0.0.1", "connect 127.0.0.1 as root"}},
		{"nothing is to be connected", newMachine(here), target("127.0.0.1"), Options{NoConnect: true}, nil},
		{"silence: one SYN, then a burst", newMachine(here, silent, counted(died, died)), target("127.0.0.1"), Options{}, []string{"connect 127.0.0.1", "capture", "one SYN to 127.0.0.1", "a burst to 127.0.0.1"}},
		{"silence, and no capture is wanted", newMachine(here, silent, counted(died, died)), target("127.0.0.1"), Options{NoCapture: true}, []string{"connect 127.0.0.1", "one SYN to 127.0.0.1", "a burst to 127.0.0.1"}},
		{"a full queue loses nothing before TCP: no burst", newMachine(here, silent, counted(full)), target("127.0.0.1"), Options{NoCapture: true}, []string{"connect 127.0.0.1", "one SYN to 127.0.0.1"}},
		{"two users meet silence: the counters say the same of both", newMachine(here, silent, counted(died, died)), target("127.0.0.1"), Options{NoCapture: true, As: []facts.Identity{{UID: 1000}, {UID: 0}}}, []string{"connect 127.0.0.1", "connect 127.0.0.1 as root", "one SYN to 127.0.0.1", "a burst to 127.0.0.1"}},
		{"refused where nothing listens: other namespaces, a reset, and whether a server could have it", newMachine(counted(reset(0))), target("127.0.0.1"), Options{NoCapture: true},
			[]string{"connect 127.0.0.1", "bind 127.0.0.1 reusing", "bind 127.0.0.1", "namespaces", "one SYN to 127.0.0.1"}},
		{"refused where it listens, by a filter", newMachine(here, counted(reset(0))), target("127.0.0.1"), Options{NoCapture: true}, []string{"connect 127.0.0.1", "one SYN to 127.0.0.1"}},
		{"refused where it listens, and resets of TCP: twice more, then a burst", newMachine(here, counted(reset(2), reset(1), reset(1), reset(1))), target("127.0.0.1"), Options{NoCapture: true},
			[]string{"connect 127.0.0.1", "one SYN to 127.0.0.1", "one SYN to 127.0.0.1", "one SYN to 127.0.0.1", "a burst to 127.0.0.1"}},
		{"unreachable: no SYN would leave", newMachine(here, outcome("127.0.0.1", facts.Unreachable)), target("127.0.0.1"), Options{}, []string{"connect 127.0.0.1"}},
		{"denied: no SYN would leave", newMachine(here, outcome("127.0.0.1", facts.Denied)), target("127.0.0.1"), Options{}, []string{"connect 127.0.0.1"}},
		{"who can bind: nothing is connected", newMachine(), toBind(target("127.0.0.1")), Options{}, []string{"bind 127.0.0.1 reusing", "bind 127.0.0.1"}},
		{"who can bind anywhere", newMachine(withoutIPv6), toBind(target("")), Options{}, []string{"bind 127.0.0.1 reusing", "bind 127.0.0.1", "bind 0.0.0.0 reusing", "bind 0.0.0.0"}},
		{"UDP says nothing until it is asked", newMachine(udpSocket("127.0.0.1")), overUDP(target("127.0.0.1")), Options{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := mustLook(t, test.machine, test.target, test.options)
			if !slices.Equal(test.machine.asked, test.want) {
				t.Errorf("got  %q\nwant %q", test.machine.asked, test.want)
			}
			for _, g := range facts.Groups() {
				if a, said := f.Absent[g]; f.Has(g) == said && g != facts.GroupListeners {
					t.Errorf("%s: there %v, and said to be absent %v: %+v", g, f.Has(g), said, a)
				}
			}
		})
	}
}

// Of a refusal the smallest count of resets is the right one.
func TestTheSmallestCountOfResetsIsKept(t *testing.T) {
	m := newMachine(listening("127.0.0.1", false), counted(map[string]int64{"OutRsts": 2}, map[string]int64{"OutRsts": 1}, map[string]int64{"OutRsts": 3}))
	f := mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true})
	if len(f.Ledger) == 0 || f.Ledger[0].SYNs != 1 || f.Ledger[0].Delta["OutRsts"] != 1 {
		t.Errorf("got %+v", f.Ledger)
	}
}

// A SYN that got no answer is not the one that was refused: it is sent again, and never
// preferred to one that was.
func TestASilenceIsNoRefusal(t *testing.T) {
	refusal := facts.Ledger{Delta: map[string]int64{"OutRsts": 1}, Outcomes: map[string]int{"ECONNREFUSED": 1}}
	silence := facts.Ledger{Delta: map[string]int64{"OutRsts": 0}, Outcomes: map[string]int{string(facts.Timeout): 1}}
	for _, ledgers := range [][]facts.Ledger{{refusal, silence, silence}, {silence, silence, refusal}} {
		m := newMachine(outcome("127.0.0.1", facts.Refused))
		m.ledger = ledgers
		if f := mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true}); len(f.Ledger) == 0 || f.Ledger[0].Outcomes["ECONNREFUSED"] != 1 {
			t.Errorf("got %+v", f.Ledger)
		}
	}
}

// A forwarder is watched for an end that nobody asked for; a program of its own
// right may end a connection as it likes.
func TestOnlyForwardersAreWatched(t *testing.T) {
	for name, want := range map[string]string{"socat": "end of file", "node": ""} {
		m := newMachine(listening("127.0.0.1", false))
		m.dials["127.0.0.1"] = facts.Dial{Outcome: facts.Connected, Server: &facts.ServerSide{Accepted: true}}
		m.owners = func(context.Context, []facts.Socket) (*facts.Owners, error) {
			return &facts.Owners{Processes: []facts.Process{{PID: 5, Name: name}}, Holders: map[uint64][]facts.Holder{1: {{PID: 5}}}}, nil
		}
		if f := mustLook(t, m, target("127.0.0.1"), Options{}); f.Dials[0].Closed != want {
			t.Errorf("%s: closed %q, want %q", name, f.Dials[0].Closed, want)
		}
	}
}

// Nobody waits long for a process that cannot run.
func TestAStoppedProcessIsNotWaitedFor(t *testing.T) {
	for state, patient := range map[string]bool{"S": true, "T": false} {
		m := newMachine(listening("127.0.0.1", false))
		m.dials["127.0.0.1"] = facts.Dial{Outcome: facts.Connected, Server: &facts.ServerSide{}}
		m.owners = func(context.Context, []facts.Socket) (*facts.Owners, error) {
			return &facts.Owners{Processes: []facts.Process{{PID: 5, Name: "node", State: state}}, Holders: map[uint64][]facts.Holder{1: {{PID: 5}}}}, nil
		}
		begin := time.Now()
		mustLook(t, m, target("127.0.0.1"), Options{})
		if waited := time.Since(begin) >= acceptLate; waited != patient {
			t.Errorf("in state %s it was watched for %v", state, time.Since(begin))
		}
	}
}

// groupsThatFail is every look that reports an error of its own.
var groupsThatFail = map[facts.Group]struct {
	fails  func(m *machine, fail func() error)
	absent func(m *machine)
}{
	facts.GroupInterfaces: {func(m *machine, fail func() error) {
		m.interfaces = func() (*facts.Interfaces, error) { return nil, fail() }
	}, func(m *machine) { m.interfaces = nil }},
	facts.GroupLimits: {func(m *machine, fail func() error) {
		m.limits = func([]facts.Identity) (*facts.Limits, error) { return nil, fail() }
	}, func(m *machine) { m.limits = nil }},
	facts.GroupNames: {func(m *machine, fail func() error) {
		m.names = func(context.Context, string, facts.Identity, bool) (*facts.Names, error) { return nil, fail() }
	}, func(m *machine) { m.names = nil }},
	facts.GroupRoutes: {func(m *machine, fail func() error) {
		m.routes = func(facts.Target, uint32) (*facts.Routes, error) { return nil, fail() }
	}, func(m *machine) { m.routes = nil }},
	facts.GroupSockets: {func(m *machine, fail func() error) {
		m.sources.sockets = func(uint16) (*facts.Sockets, error) { return nil, fail() }
	}, func(m *machine) { m.sources.sockets = nil }},
	facts.GroupOwners: {func(m *machine, fail func() error) {
		m.owners = func(context.Context, []facts.Socket) (*facts.Owners, error) { return nil, fail() }
	}, func(m *machine) { m.owners = nil }},
	facts.GroupNamespaces: {func(m *machine, fail func() error) {
		m.namespaces = func(context.Context, uint16) (*facts.Namespaces, error) { return nil, fail() }
	}, func(m *machine) { m.namespaces = nil }},
	facts.GroupPackets: {func(m *machine, fail func() error) {
		m.capture = func(uint16, func(func(uint16))) (*facts.Packets, error) { return nil, fail() }
	}, func(m *machine) { m.capture = nil }},
	facts.GroupFilters: {func(m *machine, fail func() error) {
		m.sources.filters = func(context.Context, *facts.Facts, []suspect, bool) (*facts.Filters, error) { return nil, fail() }
	}, func(m *machine) { m.sources.filters = nil }},
	facts.GroupConntrack: {func(m *machine, fail func() error) {
		m.sources.conntrack = func(*facts.Facts, []suspect) (*facts.Conntrack, error) { return nil, fail() }
	}, func(m *machine) { m.sources.conntrack = nil }},
	facts.GroupCandidates: {func(m *machine, fail func() error) {
		m.candidates = func(context.Context, *facts.Facts) (*facts.Candidates, error) { return nil, fail() }
	}, func(m *machine) { m.candidates = nil }},
	facts.GroupUnits: {func(m *machine, fail func() error) {
		m.units = func(context.Context, *facts.Facts) (*facts.Units, error) { return nil, fail() }
	}, func(m *machine) { m.units = nil }},
	facts.GroupContainers: {func(m *machine, fail func() error) {
		m.containers = func(context.Context, *facts.Facts) (*facts.Containers, error) { return nil, fail() }
	}, func(m *machine) { m.containers = nil }},
	facts.GroupConfigs: {func(m *machine, fail func() error) {
		m.configs = func(context.Context, *facts.Facts) (*facts.Configs, error) { return nil, fail() }
	}, func(m *machine) { m.configs = nil }},
	facts.GroupUnixSockets: {func(m *machine, fail func() error) {
		m.unixSockets = func(context.Context, *facts.Facts) (*facts.UnixSockets, error) { return nil, fail() }
	}, func(m *machine) { m.unixSockets = nil }},
}

// One look that goes wrong is absent, with its reason, and the others go on.
func TestALookThatGoesWrong(t *testing.T) {
	denied, cure := "needs root", "run it with sudo"
	if os.Geteuid() == 0 {
		denied, cure = "not permitted, even as root", "run it outside the sandbox"
	}
	for _, wrong := range []struct {
		name           string
		fail           func() error
		reason, remedy string
	}{
		{"it panics", func() error { panic("oh") }, "internal error: oh", ""},
		{"it fails", func() error { return errors.New("ask the kernel: EPROTO") }, "ask the kernel: EPROTO", ""},
		{"it is not permitted", func() error { return &fs.PathError{Op: "open", Path: "/proc/x", Err: fs.ErrPermission} }, denied, cure},
		{"it took too long", func() error { return context.DeadlineExceeded }, "time was over", ""},
	} {
		for g, look := range groupsThatFail {
			m := newMachine()
			look.fails(m, wrong.fail)
			onlyOneIsAbsent(t, string(g)+": "+wrong.name, mustLook(t, m, target(""), Options{}), g, wrong.reason, wrong.remedy)
		}
	}
}

func TestALookThatThisSystemDoesNotHave(t *testing.T) {
	for g, look := range groupsThatFail {
		m := newMachine()
		look.absent(m)
		onlyOneIsAbsent(t, string(g), mustLook(t, m, target(""), Options{}), g, "not on this system", "")
	}
	for g, absent := range map[facts.Group]func(*machine){
		facts.GroupDials:  func(m *machine) { m.dial = nil },
		facts.GroupBinds:  func(m *machine) { m.bind = nil },
		facts.GroupLedger: func(m *machine) { m.sources.ledger = nil },
	} {
		m := newMachine()
		absent(m)
		f := mustLook(t, m, target(""), Options{})
		if f.Has(g) || f.Absent[g].Reason != "not on this system" {
			t.Errorf("%s: %+v", g, f.Absent[g])
		}
	}
}

func onlyOneIsAbsent(t *testing.T, name string, f *facts.Facts, g facts.Group, reason, remedy string) {
	t.Helper()
	a := f.Absent[g]
	if f.Has(g) || a.Why != facts.CouldNot && a.Why != facts.NotOnThisOS || a.Reason != reason || a.Remedy != remedy {
		t.Errorf("%s: there %v, absent because %+v, want %q and %q", name, f.Has(g), a, reason, remedy)
	}
	for _, other := range facts.Groups() {
		// Without sockets nobody knows whose, nor whether something listens here.
		follows := g == facts.GroupSockets && (other == facts.GroupOwners || other == facts.GroupNamespaces)
		unneeded := slices.Contains([]facts.Group{facts.GroupListeners, facts.GroupSpare, facts.GroupReusePort, facts.GroupAnswers, facts.GroupWork, facts.GroupForwards}, other)
		if other != g && !unneeded && !follows && !f.Has(other) {
			t.Errorf("%s: %s is absent too: %+v", name, other, f.Absent[other])
		}
	}
}

// Without a target a connection over lo is tried with a listener of our own, and
// nothing is asked of anybody's port.
func TestLookWithoutATarget(t *testing.T) {
	m := newMachine(outcome("127.0.0.1", facts.Connected), outcome("::1", facts.Connected))
	none := facts.Target{Network: "tcp", Intent: facts.Connect}
	f := mustLook(t, m, none, Options{})
	if want := []string{"connect 127.0.0.1", "connect ::1"}; !slices.Equal(m.asked, want) || !f.Has(facts.GroupListeners) || f.Has(facts.GroupSockets) {
		t.Errorf("asked %v, want %v; groups %+v", m.asked, want, f.Absent)
	}
}

// A connection that the kernel holds back until its first byte comes is not repeated
// often: beyond the backlog such ones fill the queue of a server that accepts nobody.
func TestHeldBackIsAskedOnce(t *testing.T) {
	for want, counts := range map[string]map[string]int64{
		"one SYN to 127.0.0.1":                        {"TCPDeferAcceptDrop": 1, "OutRequests": 3, "OutTransmits": 3, "InReceives": 3, "InDelivers": 3},
		"one SYN to 127.0.0.1, a burst to 127.0.0.1":  {"OutRequests": 3, "OutTransmits": 3, "InReceives": 3, "InDelivers": 2},
		"one SYN to 127.0.0.1, a burst to 127.0.0.1 ": {"TCPDeferAcceptDrop": 1, "OutRequests": 3, "OutTransmits": 3, "InReceives": 3, "InDelivers": 2}, // that of another server
	} {
		m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Deferred), counted(counts, counts))
		mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true})
		var sent []string
		for _, a := range m.asked {
			if strings.HasSuffix(a, " to 127.0.0.1") {
				sent = append(sent, a)
			}
		}
		if got := strings.Join(sent, ", "); got != strings.TrimSpace(want) {
			t.Errorf("%v: sent %q", counts, got)
		}
	}
}

// A silence that the counters explain is not waited for, any other is, until a
// repeated SYN could have been answered.
func TestHowLongSilenceIsWaitedFor(t *testing.T) {
	burstDied := []map[string]int64{{"OutRequests": 1}, {"OutRequests": 32}}
	arrived := []map[string]int64{{"InSegs": 1}, {"InSegs": 32}}
	for _, test := range []struct {
		name    string
		counts  []map[string]int64
		patient bool
	}{
		{"the counters explain it", burstDied, false},
		{"the queue is full, and may move", []map[string]int64{{"InSegs": 1, "ListenOverflows": 1}}, true},
		{"nothing explains it", arrived, true},
	} {
		m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Timeout), counted(test.counts...))
		begin := time.Now()
		mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true})
		if waited := time.Since(begin) >= lateReply; waited != test.patient {
			t.Errorf("%s: it was waited %v", test.name, time.Since(begin))
		}
	}
}

// A server that comes up while loopdoctor looks is not refused by a filter, and
// not missing either.
func TestAServerThatComesUpMeanwhile(t *testing.T) {
	m := newMachine()
	m.sources.ledger = func(to netip.AddrPort, _ client, syns int, _ func(uint16)) (facts.Ledger, error) {
		listening("127.0.0.1", false)(m)
		outcome("127.0.0.1", facts.Connected)(m)
		return facts.Ledger{Addr: to.Addr(), SYNs: syns, Delta: map[string]int64{"lo.tx": 3, "OutRequests": 3}, Outcomes: map[string]int{string(facts.Connected): 1}}, nil
	}
	f := mustLook(t, m, target(""), Options{NoCapture: true})
	if d := f.Dials[0]; d.Outcome != facts.Connected || !d.CameUp || len(f.Sockets.Sockets) == 0 {
		t.Errorf("%+v, sockets %+v", d, f.Sockets)
	}
	if e := f.Target.Expected(); len(e) != 1 || e[0] != v4 {
		t.Errorf("expected are %v", e)
	}

	// What was refused although it listened all the time is another matter.
	m = newMachine(listening("127.0.0.1", false))
	m.sources.ledger = func(to netip.AddrPort, _ client, syns int, _ func(uint16)) (facts.Ledger, error) {
		return facts.Ledger{Addr: to.Addr(), SYNs: syns, Delta: map[string]int64{}, Outcomes: map[string]int{string(facts.Connected): 1}}, nil
	}
	if f := mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true}); f.Dials[0].CameUp || f.Dials[0].Outcome != facts.Refused {
		t.Errorf("%+v", f.Dials[0])
	}
}

// The time limit ends a wait that has no other end.
func TestTheTimeLimitEndsTheWaiting(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Timeout), counted(map[string]int64{"InSegs": 1}, map[string]int64{"InSegs": 32}))
	begin := time.Now()
	if _, err := m.lookIn(ctx, target("127.0.0.1"), Options{NoCapture: true}); err != nil || time.Since(begin) > time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	// When it is over before it began, nothing is dialled, and the report says so.
	ended, stop := context.WithCancel(t.Context())
	stop()
	m = newMachine()
	f, err := m.lookIn(ended, target("127.0.0.1"), Options{})
	if err != nil || slices.Contains(m.asked, "connect 127.0.0.1") || f.Absent[facts.GroupDials].Why != facts.CouldNot {
		t.Errorf("asked %v, %+v, %v", m.asked, f.Absent[facts.GroupDials], err)
	}
}

// What the processes do is looked at where somebody waits for them, or they turn him
// away; never on a healthy run.
func TestWhenProcessesAreLookedAt(t *testing.T) {
	here := listening("127.0.0.1", false)
	waits := func(length uint32) func(*machine) {
		return func(m *machine) { m.sockets[len(m.sockets)-1].Queue = &facts.Queue{Length: length, Limit: 5} }
	}
	fares := func(d facts.Dial) func(*machine) { return func(m *machine) { m.dials["127.0.0.1"] = d } }
	server := &facts.ServerSide{Accepted: true, State: "established"}
	for _, test := range []struct {
		name    string
		machine *machine
		want    bool
	}{
		{"it works", newMachine(here, waits(0), fares(facts.Dial{Outcome: facts.Connected, Server: server})), false},
		{"it works, and somebody waits for a moment", newMachine(here, waits(2), fares(facts.Dial{Outcome: facts.Connected, Server: server})), false},
		{"it waits for the first byte", newMachine(here, waits(0), fares(facts.Dial{Outcome: facts.Deferred, Server: server})), false},
		{"it waits for the first byte, and somebody has sent his", newMachine(here, waits(1), fares(facts.Dial{Outcome: facts.Deferred, Server: server})), true},
		{"nothing listens", newMachine(outcome("127.0.0.1", facts.Refused)), false},
		{"no answer, and nothing listens", newMachine(outcome("127.0.0.1", facts.Timeout)), false},
		{"nobody accepts", newMachine(here, waits(0), fares(facts.Dial{Outcome: facts.Connected, Server: &facts.ServerSide{State: "established", WaitedMS: 1500}})), true},
		{"no answer", newMachine(here, waits(0), outcome("127.0.0.1", facts.Timeout)), true},
		{"its queue is full", newMachine(here, waits(6), outcome("127.0.0.1", facts.Timeout)), true},
		{"it closes at once", newMachine(here, waits(0), fares(facts.Dial{Outcome: facts.Connected, Server: server, Closed: "end of file"})), true},
		{"somebody waits at the other of two listeners", newMachine(here, waits(0), here, waits(1), fares(facts.Dial{Outcome: facts.Connected, Server: server})), true},
		{"nobody waits at either", newMachine(here, waits(0), here, waits(0), fares(facts.Dial{Outcome: facts.Connected, Server: server})), false},
	} {
		looked := false
		// Of an owner that is hidden an early end of file is waited for.
		test.machine.owners = func(context.Context, []facts.Socket) (*facts.Owners, error) {
			return &facts.Owners{Processes: []facts.Process{{PID: 5, Name: "server", State: "S"}}, Holders: map[uint64][]facts.Holder{1: {{PID: 5, Attribution: facts.ByDescriptor}}}}, nil
		}
		test.machine.sources.work = func(context.Context, *facts.Facts) (*facts.Work, error) { looked = true; return &facts.Work{}, nil }
		f := mustLook(t, test.machine, target("127.0.0.1"), Options{NoCapture: true})
		if looked != test.want || (f.Work != nil) != test.want {
			t.Errorf("%s: looked %v, want %v: %+v", test.name, looked, test.want, f.Absent[facts.GroupWork])
		}
	}
}
