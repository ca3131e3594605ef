package rtnetlink

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func TestParseLinkSeesXDP(t *testing.T) {
	b := make([]byte, linkLen)
	binary.NativeEndian.PutUint32(b[4:], 7)
	binary.NativeEndian.PutUint32(b[8:], iffUp)
	b = netlink.Append(b, iflaName, []byte("eth0\x00"))
	b = netlink.Append(b, iflaMTU, u32(1500))
	b = slices.Clip(b)
	none := netlink.Append(b, iflaXDP, netlink.Append(nil, xdpAttached, []byte{0}))
	some := netlink.Append(b, 0x8000|iflaXDP, netlink.Append(nil, xdpAttached, []byte{2}))
	if l, ok := parseLink(none); !ok || l.XDP || l.Name != "eth0" || l.Index != 7 || l.MTU != 1500 || !l.Up || l.loopback {
		t.Errorf("got %+v, %v", l, ok)
	}
	if l, _ := parseLink(some); !l.XDP {
		t.Errorf("got %+v", l)
	}
}

func TestParseRouteReadsTheLargeTableNumber(t *testing.T) {
	b := []byte{familyV6, 128, 0, 0, 252, 0, 0, 7, 0, 0, 0, 0}
	b = netlink.Append(b, rtaDst, netip.MustParseAddr("::1").AsSlice())
	b = netlink.Append(b, rtaTable, u32(1000))
	b = netlink.Append(b, rtaCacheInfo, append(make([]byte, 12), u32(22)...))
	r, ok := parseRoute(b)
	if !ok || r.table != 1000 || routeType(r.typ) != "unreachable" || r.errno != 22 || r.dst != netip.MustParsePrefix("::1/128") {
		t.Errorf("got %+v, %v", r, ok)
	}
	b[0] = 128 // RTNL_FAMILY_IPMR
	if r, ok = parseRoute(b); ok {
		t.Errorf("a multicast route was read as %+v", r)
	}
}

// A selector that this program does not know must not pass for one that
// matches everything.
func TestUnknownSelectorMatchesNothing(t *testing.T) {
	b := []byte{familyV4, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0}
	b = netlink.Append(b, fraPriority, u32(5))
	b = slices.Clip(b)
	r, ok := parseRule(b)
	a := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	if f := r.fact(a, 6, 80, nil); !ok || len(f.Matches) != 1 || f.Text != "5: from all blackhole" || f.Selector != "from all" {
		t.Errorf("got %+v", f)
	}
	r, _ = parseRule(netlink.Append(b, 25, []byte{8})) // FRA_DSCP
	if f := r.fact(a, 6, 80, nil); f.Matches != nil || !strings.Contains(f.Text, "unknown selector 25") {
		t.Errorf("got %+v", f)
	}
}

func TestMaskedPort(t *testing.T) {
	b := []byte{familyV4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0}
	port := binary.NativeEndian.AppendUint16(nil, 0xf500)
	b = netlink.Append(b, fraDports, append(port, port...))
	b = netlink.Append(b, fraDportMask, binary.NativeEndian.AppendUint16(nil, 0xff00))
	r, _ := parseRule(b)
	a := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	if f := r.fact(a, 6, 0xf5ad, nil); len(f.Matches) != 1 || f.Selector != "dport 62720/0xff00" {
		t.Errorf("got %+v", f)
	}
	if f := r.fact(a, 6, 0xf6ad, nil); f.Matches != nil {
		t.Errorf("got %+v", f)
	}
}

func FuzzParse(f *testing.F) {
	rule := []byte{familyV4, 8, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0}
	rule = netlink.Append(rule, fraDst, []byte{127, 0, 0, 0})
	rule = netlink.Append(rule, fraDports, []byte{80, 0, 90, 0})
	f.Add(rule)
	f.Add(netlink.Append(make([]byte, linkLen), iflaName, []byte("lo\x00")))
	f.Add(netlink.Append([]byte{familyV4, 8, 0, 0, 1, 0, 0, 0}, ifaLocal, []byte{127, 0, 0, 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, ok := parseLink(b); ok && l.Name == "" {
			t.Errorf("link without a name: %+v", l)
		}
		if a, ok := parseAddress(b); ok && !a.prefix.IsValid() {
			t.Errorf("address: %+v", a)
		}
		if r, ok := parseRoute(b); ok && !r.dst.IsValid() {
			t.Errorf("route: %+v", r)
		}
		if r, ok := parseRule(b); ok {
			fact := r.fact([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}, 6, 80, []uint32{0})
			if fact.Selector == "" || fact.Action == "" || len(fact.Matches) > 1 {
				t.Errorf("rule: %+v", fact)
			}
		}
	})
}
