package host

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// Rules are read for connections that have to work and do not, or lead elsewhere,
// and for no other: a healthy run pays nothing.
func TestWhatIsFollowedThroughFilters(t *testing.T) {
	here := listening("127.0.0.1", false)
	dialled := func(d facts.Dial) func(*machine) {
		return func(m *machine) { m.dials["127.0.0.1"] = d }
	}
	died := map[string]int64{"InReceives": 1}
	arrived := map[string]int64{"InReceives": 3, "InDelivers": 3, "InSegs": 3}
	server := func(local string) *facts.ServerSide {
		return &facts.ServerSide{Local: netip.MustParseAddrPort(local), Accepted: true}
	}
	two := []facts.Identity{{UID: 1000}, {UID: 0}}
	for _, test := range []struct {
		name    string
		machine *machine
		target  facts.Target
		options Options
		want    []string
	}{
		{"it works", newMachine(here, outcome("127.0.0.1", facts.Connected)), target("127.0.0.1"), Options{}, nil},
		{"it works, and the other family is not expected to", newMachine(here, outcome("127.0.0.1", facts.Connected)), target(""), Options{}, nil},
		{"silence", newMachine(here, outcome("127.0.0.1", facts.Timeout), counted(died, died)), target("127.0.0.1"), Options{}, []string{"127.0.0.1:62893 as 1000"}},
		{"silence, and nothing is to be changed", newMachine(here, outcome("127.0.0.1", facts.Timeout), counted(died, died)), target("127.0.0.1"), Options{NoSystemChanges: true}, []string{"127.0.0.1:62893 as 1000, no trace"}},
		{"silence for both users", newMachine(here, outcome("127.0.0.1", facts.Timeout), counted(died, died)), target("127.0.0.1"), Options{As: two}, []string{"127.0.0.1:62893 as 1000", "127.0.0.1:62893 as 0"}},
		{"refused although it listens", newMachine(here), target("127.0.0.1"), Options{}, []string{"127.0.0.1:62893 as 1000"}},
		{"refused where nothing listens: a port forward, perhaps", newMachine(), target("127.0.0.1"), Options{}, []string{"127.0.0.1:62893 as 1000"}},
		{"unreachable", newMachine(here, outcome("127.0.0.1", facts.Unreachable)), target("127.0.0.1"), Options{}, nil},
		{"denied: no filter does that to TCP", newMachine(here, outcome("127.0.0.1", facts.Denied)), target("127.0.0.1"), Options{}, nil},
		{"answered by another port", newMachine(here, dialled(facts.Dial{Outcome: facts.Connected, Server: server("127.0.0.1:8080")})), target("127.0.0.1"), Options{}, []string{"127.0.0.1:62893 as 1000"}},
		{"answered by another address", newMachine(here, dialled(facts.Dial{Outcome: facts.Connected, Server: server("10.0.0.5:62893")})), target("127.0.0.1"), Options{}, []string{"127.0.0.1:62893 as 1000"}},
		{"answered by a mapped address, which is the same", newMachine(here, dialled(facts.Dial{Outcome: facts.Connected, Server: server("[::ffff:127.0.0.1]:62893")})), target("127.0.0.1"), Options{}, nil},
		{"the server's side is not here", newMachine(here, dialled(facts.Dial{Outcome: facts.Connected, NoServer: true})), target("127.0.0.1"), Options{}, []string{"127.0.0.1:62893 as 1000"}},
		{"the server waits for the first byte, which is healthy", newMachine(here, outcome("127.0.0.1", facts.Deferred), counted(arrived)), target("127.0.0.1"), Options{}, nil},
		{"the handshake's last packet is lost", newMachine(here, outcome("127.0.0.1", facts.Deferred), counted(map[string]int64{"InReceives": 3, "InDelivers": 2}, map[string]int64{"InReceives": 12, "InDelivers": 8})), target("127.0.0.1"), Options{}, []string{"127.0.0.1:62893 as 1000"}},
		{"nothing is connected: nothing else can tell", newMachine(here), target("127.0.0.1"), Options{NoConnect: true, As: two}, []string{"127.0.0.1:62893 as 1000", "127.0.0.1:62893 as 0"}},
		{"who can bind", newMachine(), toBind(target("127.0.0.1")), Options{}, nil},
		{"UDP", newMachine(udpSocket("127.0.0.1")), overUDP(target("127.0.0.1")), Options{NoConnect: true}, nil},
		{"without a target, nothing is connected", newMachine(), facts.Target{Network: "tcp", Intent: facts.Connect}, Options{NoConnect: true}, nil},
	} {
		test.options.NoCapture = true
		f := mustLook(t, test.machine, test.target, test.options)
		if !slices.Equal(test.machine.suspects, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, test.machine.suspects, test.want)
		}
		for _, g := range []facts.Group{facts.GroupFilters, facts.GroupConntrack} {
			if a := f.Absent[g]; f.Has(g) == (test.want == nil) || !f.Has(g) && (a.Why != facts.DidNotNeedTo || a.Reason == "") {
				t.Errorf("%s: %s is there %v, absent because %+v", test.name, g, f.Has(g), a)
			}
		}
	}
}

// Rules that are not read in time do not hold up the rest.
func TestFiltersThatTakeTooLong(t *testing.T) {
	m := newMachine(listening("127.0.0.1", false))
	m.sources.filters = func(ctx context.Context, _ *facts.Facts, _ []suspect, _ bool) (*facts.Filters, error) {
		<-ctx.Done()
		return nil, errors.New("late")
	}
	begin := time.Now()
	f := mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true})
	if a := f.Absent[facts.GroupFilters]; a.Why != facts.CouldNot || time.Since(begin) > filterTime+time.Second {
		t.Errorf("after %v: %+v", time.Since(begin), a)
	}
}

func TestLostOf(t *testing.T) {
	for _, test := range []struct {
		delta map[string]int64
		want  lost
	}{
		{map[string]int64{"OutRequests": 32}, "output"},
		{map[string]int64{"OutRequests": 32, "OutTransmits": 32}, "wire"},
		{map[string]int64{"OutRequests": 32, "OutTransmits": 32, "InReceives": 32}, "input"},
		{map[string]int64{"OutRequests": 64, "OutTransmits": 32, "InReceives": 32, "InDelivers": 32}, "output"}, // the answers
		{map[string]int64{"OutRequests": 99, "OutTransmits": 99, "InReceives": 99, "InDelivers": 98}, nothing},
	} {
		if got := lostOf([]facts.Ledger{{Addr: v4, SYNs: 1}, {Addr: v4, SYNs: 32, Delta: test.delta}}, v4); got != test.want {
			t.Errorf("%v: got %q, want %q", test.delta, got, test.want)
		}
	}
	old := facts.Ledger{Addr: v4, SYNs: 32, Delta: map[string]int64{"OutRequests": 32, "lo.tx": 32, "InReceives": 32}, Missing: []string{"OutTransmits"}}
	if got := lostOf([]facts.Ledger{old}, v4); got != "input" {
		t.Errorf("without OutTransmits: %q", got)
	}
	if got := lostOf([]facts.Ledger{old}, v6); got != unseen {
		t.Errorf("of another address: %q", got)
	}
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{"": "", "abc": "abc", "abcd": "abc…", "abäx": "ab…", "äää": "ä…"} {
		if got := netfilter.Cut(in, 3); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
