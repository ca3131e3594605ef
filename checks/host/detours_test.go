package host

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What may take a packet off its way is looked at where one got lost, and who has
// the ports where there was none: a healthy look pays for neither.
func TestWhatIsLookedAtWhereAConnectionGetsLost(t *testing.T) {
	noPort := func(m *machine) {
		m.dials["127.0.0.1"] = facts.Dial{Outcome: facts.Unreachable, Errno: "EADDRNOTAVAIL"}
	}
	for _, test := range []struct {
		name    string
		machine *machine
		want    []string
	}{
		{"it works", newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Connected)), nil},
		{"nothing listens", newMachine(), nil},
		{"it gets no answer", newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Timeout)), []string{"traffic lo", "rules"}},
		{"there is no port to connect from", newMachine(listening("127.0.0.1", false), noPort), []string{"ports"}},
	} {
		var asked []string
		test.machine.traffic = func(i *facts.Interface) (*facts.Traffic, error) {
			asked = append(asked, "traffic "+i.Name)
			return nil, errors.New("not today")
		}
		test.machine.rules = func(facts.Target, uint32) ([]facts.Rule, error) {
			asked = append(asked, "rules")
			return []facts.Rule{{Priority: 1}}, nil
		}
		test.machine.portUse = func(context.Context, *facts.Limits) (*facts.PortUse, error) {
			asked = append(asked, "ports")
			return &facts.PortUse{Ports: 4}, nil
		}
		f := mustLook(t, test.machine, target("127.0.0.1"), Options{})
		if !slices.Equal(asked, test.want) {
			t.Errorf("%s: looked at %q, want %q", test.name, asked, test.want)
		}
		switch lo := f.Interfaces.Loopback; {
		case slices.Contains(test.want, "rules") && (len(f.Routes.Rules) != 1 || lo.Traffic == nil || lo.Traffic.Partial != "not today"):
			t.Errorf("%s: what was seen, or why not, is not written down: %+v", test.name, lo.Traffic)
		case slices.Contains(test.want, "ports") && (f.Sockets.Temporary == nil || f.Sockets.Temporary.Ports != 4):
			t.Errorf("%s: who has the ports is not written down", test.name)
		}
	}
}

// Where no program may open a socket for IPv6, a name does not lead there.
func TestNoIPv6ForThisProcess(t *testing.T) {
	m := newMachine(listening("::", false))
	m.limits = func([]facts.Identity) (*facts.Limits, error) { return &facts.Limits{NoIPv6: true}, nil }
	for name, want := range map[string][]netip.Addr{"": {v4}, "localhost": {v4}, "::1": {v6}} {
		if got := mustLook(t, m, target(name), Options{NoConnect: true}).Target.Expected(); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}
