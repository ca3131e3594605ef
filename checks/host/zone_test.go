package host

import (
	"net/netip"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// An address of one link belongs to that link alone, and is dialled with it.
func TestZonedAddresses(t *testing.T) {
	lan := facts.Interface{Name: "lan0", Index: 7, Addresses: []netip.Prefix{netip.MustParsePrefix("fe80::10/64")}}
	l := &look{f: &facts.Facts{Interfaces: &facts.Interfaces{Others: []facts.Interface{lan, {Name: "lan1", Index: 8}}}}}
	for text, want := range map[string]bool{"fe80::10": true, "fe80::10%lan0": true, "fe80::10%7": true, "fe80::10%lan1": false, "fe80::11%lan0": false} {
		if got := l.zoned(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is ours: %v", text, got)
		}
	}
	l.f.Target = facts.Target{Host: "fe80::10%lan0", Literal: true, Port: 80}
	if got := l.place(netip.MustParseAddr("fe80::10")).String(); got != "[fe80::10%lan0]:80" {
		t.Errorf("dialled at %s", got)
	}
	s := facts.Socket{Local: netip.MustParseAddrPort("[fe80::10]:80"), Device: "lan0"}
	if !s.Serves(netip.MustParseAddr("fe80::10")) || s.Serves(netip.MustParseAddr("fe80::11")) {
		t.Error("a socket of one link serves its own address, and no other")
	}
}
