package rtnetlink

import (
	"net/netip"
	"os"
	"testing"
)

// Where NAT sends a packet: to this machine, by a device that takes a source of
// 127.0.0.0/8 or does not, by a table that the mark chooses, or nowhere.
func TestWay(t *testing.T) {
	c := enterNamespace(t)
	for _, args := range []string{"link add d0 type veth peer name d1", "link set d1 up", "link set d0 up", "addr add 192.0.2.1/24 dev d0", "rule add fwmark 7 blackhole", "rule add from 127.0.0.1 fwmark 8 unreachable"} {
		ip(t, args)
	}
	away := netip.MustParseAddr("192.0.2.9")
	for _, test := range []struct {
		from, to netip.Addr
		mark     uint32
		want     string
		device   string
		local    bool
	}{
		{v4, v4, 0, "local", "lo", true},
		{v6, v6, 0, "local", "lo", true},
		{v4, netip.MustParseAddr("192.0.2.1"), 0, "local", "lo", true},
		{v4, away, 0, "unicast dev d0", "d0", false}, // although it may not: route_localnet is 0
		{netip.Addr{}, away, 0, "unicast dev d0", "d0", false},
		{v4, netip.MustParseAddr("198.51.100.1"), 0, "ENETUNREACH", "", false},
		{v4, away, 7, "EINVAL", "", false},
		{v4, away, 8, "ENETUNREACH", "", false},
		{v4, netip.Addr{}, 0, "EINVAL", "", false},
	} {
		if text, device, local := c.Way(test.from, test.to, 0, test.mark); text != test.want || device != test.device || local != test.local {
			t.Errorf("from %v to %v, mark %d: got %q, %q, %v", test.from, test.to, test.mark, text, device, local)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/d0/route_localnet", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if text, _, _ := c.Way(v4, away, 0, 0); text != "unicast dev d0" {
		t.Errorf("with route_localnet: %q", text)
	}
}
