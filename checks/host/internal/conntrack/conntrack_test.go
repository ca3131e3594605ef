package conntrack

import (
	"net/netip"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

const stat = `entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
00000004  00000000 00000000 00000000 00000002 00000000 00000000 00000000 00000000 00000000 0000000f 00000000 00000000  00000000 00000000 00000000 00000000
00000004  00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000003 00000011 00000000 00000000  00000000 00000000 00000000 00000000
`

func TestParseStatAddsUpTheCPUs(t *testing.T) {
	got, err := ParseStat([]byte(stat))
	if err != nil || got["drop"] != 32 || got["invalid"] != 3 || got["insert_failed"] != 3 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, counted := got["entries"]; counted {
		t.Error("entries is no counter")
	}
	for _, bad := range []string{"", "entries\n", "entries drop\n", "found drop\n0 0\n", "entries drop\n0\n", "entries drop\n0 x\n", "entries drop\n0 -1\n"} {
		if got, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q read as %v", bad, got)
		}
	}
}

// What answers is read from the tuple of the reply, of either family; a request is
// laid out as an answer is.
func TestReplyReadsTheSource(t *testing.T) {
	for _, s := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		want := netip.MustParseAddrPort(s)
		b := request(want, netip.AddrPortFrom(want.Addr(), 40000))
		if got, ok := reply(b); ok {
			t.Errorf("%s: an original tuple was read as a reply: %v", s, got)
		}
		b[headerLen+2] = tupleReply
		if got, ok := reply(b); !ok || got != want {
			t.Errorf("got %v, %v, want %v", got, ok, want)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(stat))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseStat(b); err == nil && len(m) == 0 {
			t.Error("read, and nothing in it")
		}
	})
}

func FuzzReply(f *testing.F) {
	to := netip.MustParseAddrPort("127.0.0.1:80")
	b := request(to, to)
	b[headerLen+2] = tupleReply
	f.Add(b)
	f.Add(netlink.Append(make([]byte, headerLen), tupleReply, []byte{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if by, ok := reply(b); ok && (!by.Addr().IsValid() || by.Port() == 0) {
			t.Errorf("read as %v", by)
		}
	})
}
