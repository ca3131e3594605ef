package host

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func pair(state facts.State, local, remote string) facts.Socket {
	return facts.Socket{Network: "tcp", State: state, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}
}

// Only the connections to the target whose far end is not here may end in a container.
func TestWhichConnectionsAreLedElsewhere(t *testing.T) {
	x := target("127.0.0.1")
	x.Addresses = []facts.Address{{Addr: v4, Expected: true}}
	got := slices.Sorted(maps.Keys(ledElsewhere(x, []facts.Socket{
		{Network: "tcp", State: facts.Listen, Local: netip.MustParseAddrPort("127.0.0.1:62893")},
		pair(facts.Established, "127.0.0.1:40001", "127.0.0.1:62893"),
		pair(facts.FinWait2, "127.0.0.1:40002", "127.0.0.1:62893"),
		pair(facts.TimeWait, "127.0.0.1:40003", "127.0.0.1:62893"),
		pair(facts.Established, "127.0.0.1:40004", "127.0.0.1:62893"), // its far end is here
		pair(facts.Established, "127.0.0.1:62893", "127.0.0.1:40004"),
		pair(facts.Established, "10.0.0.5:40005", "10.0.0.9:62893"), // another machine's
		pair(facts.Established, "127.0.0.1:40006", "127.0.0.1:80"),
	})))
	if !slices.Equal(got, []uint16{40001, 40002}) {
		t.Errorf("%v", got)
	}
}

// The far end talks with this machine, and with the client's port; a port alone is
// everybody's.
func TestFarEnds(t *testing.T) {
	f := &facts.Facts{Interfaces: &facts.Interfaces{Others: []facts.Interface{{Name: "podman0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.88.0.1/16")}}}}}
	to := netip.MustParseAddrPort("127.0.0.1:62893")
	ours := map[uint16]netip.AddrPort{40001: to}
	for name, x := range map[string]struct {
		s    facts.Socket
		want bool
	}{
		"NAT has changed both addresses": {pair(facts.CloseWait, "[::ffff:10.88.0.2]:80", "[::ffff:10.88.0.1]:40001"), true},
		"another port":                   {pair(facts.CloseWait, "10.88.0.2:80", "10.88.0.1:40002"), false},
		"another container's":            {pair(facts.Established, "10.88.0.2:80", "10.88.0.3:40001"), false},
		"its own loopback":               {pair(facts.Established, "127.0.0.1:80", "127.0.0.1:40001"), false},
		"it is over":                     {pair(facts.TimeWait, "10.88.0.2:80", "10.88.0.1:40001"), false},
	} {
		if got, ok := farEndOf(f, ours, x.s); ok != x.want || ok && got != to {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	if _, ok := farEndOf(&facts.Facts{}, ours, pair(facts.CloseWait, "10.88.0.2:80", "10.88.0.1:40001")); ok {
		t.Error("whose address it is was not seen")
	}
}
