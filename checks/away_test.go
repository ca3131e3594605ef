package checks

import (
	"net/netip"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestLedAway(t *testing.T) {
	to := netip.MustParseAddr("127.0.0.1")
	for _, test := range []struct {
		name   string
		dial   facts.Dial
		divert facts.FilterDivert
		want   bool
	}{
		{"into a container", facts.Dial{Addr: to}, facts.FilterDivert{Kind: "dnat", Route: "unicast dev docker0"}, true},
		{"to another port here", facts.Dial{Addr: to}, facts.FilterDivert{Kind: "redirect", Route: "local"}, false},
		{"to where no way leads", facts.Dial{Addr: to}, facts.FilterDivert{Kind: "dnat", Route: "ENETUNREACH"}, false},
		{"from another source", facts.Dial{Addr: to}, facts.FilterDivert{Kind: "masquerade", Route: "unicast dev eth0"}, false},
		{"and yet it arrived here", facts.Dial{Addr: to, Server: &facts.ServerSide{}}, facts.FilterDivert{Kind: "dnat", Route: "unicast dev docker0"}, false},
		{"another client's", facts.Dial{Addr: to, As: 1000}, facts.FilterDivert{Kind: "dnat", Route: "unicast dev docker0"}, false},
	} {
		f := &facts.Facts{Filters: &facts.Filters{Walks: []facts.FilterWalk{{Addr: to, Packet: facts.Syn, Diverts: []facts.FilterDivert{test.divert}}}}}
		if got := LedAway(f, test.dial); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if LedAway(&facts.Facts{}, facts.Dial{Addr: to}) {
		t.Error("nobody looked at the rules")
	}
}
