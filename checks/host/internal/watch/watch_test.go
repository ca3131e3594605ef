package watch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func raw(family uint16, rest ...byte) []byte {
	return append(binary.NativeEndian.AppendUint16(nil, family), rest...)
}

func TestSockaddr(t *testing.T) {
	v6 := append([]byte{0x1f, 0x90, 0, 0, 0, 0}, netip.MustParseAddr("::1").AsSlice()...)
	mapped := append([]byte{0x1f, 0x90, 0, 0, 0, 0}, netip.MustParseAddr("::ffff:127.0.0.1").AsSlice()...)
	for _, test := range []struct {
		raw        []byte
		want, path string
	}{
		{raw(2, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0), "127.0.0.1:8080", ""},
		{raw(2, 0x1f, 0x90, 127, 0, 0, 1), "127.0.0.1:8080", ""},
		{raw(2, 0x1f, 0x90, 127, 0, 0), "invalid AddrPort", ""},
		{raw(10, v6...), "[::1]:8080", ""},
		{raw(10, append(v6, 0, 0, 0, 2)...), "[::1]:8080", ""},
		{raw(10, v6[:20]...), "invalid AddrPort", ""},
		{raw(10, mapped...), "127.0.0.1:8080", ""},
		{raw(1, []byte("/run/x.sock\x00rest")...), "invalid AddrPort", "/run/x.sock"},
		{raw(1, []byte("\x00abstract")...), "invalid AddrPort", ""},
		{raw(1, []byte("/"+strings.Repeat("x", 200))...), "invalid AddrPort", "/" + strings.Repeat("x", 107)},
		{raw(16, 1, 2, 3, 4, 5, 6, 7, 8), "invalid AddrPort", ""}, // AF_NETLINK
		{raw(0, 0, 0), "invalid AddrPort", ""},                    // AF_UNSPEC takes a connection apart
		{nil, "invalid AddrPort", ""},
	} {
		to, path := sockaddr(test.raw)
		if to.String() != test.want || path != test.path {
			t.Errorf("%x: %s %q instead of %s %q", test.raw, to, path, test.want, test.path)
		}
	}
}

func FuzzSockaddr(f *testing.F) {
	f.Add(raw(2, 0x1f, 0x90, 127, 0, 0, 1))
	f.Add(raw(10, make([]byte, 26)...))
	f.Add(raw(1, []byte("/run/x")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if to, path := sockaddr(b); to.Addr().Is4In6() || len(path) > maxPath || to.IsValid() && path != "" {
			t.Errorf("%x: %s, %d bytes", b, to, len(path))
		}
	})
}

func TestThreadGroup(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tcurl\nUmask:\t0022\nTgid:\t4121\nPid:\t4122\n": 4121,
		"Name:\tTgid:\t1\n": 7, "": 7, "\nTgid:\t-1\n": 7, "\nTgid:\tx\n": 7,
	} {
		if got := threadGroup([]byte(status), 7); got != want {
			t.Errorf("%q: %d", status, got)
		}
	}
}

// A client that tries for hours takes no more room than one that tries once.
func TestRecordIsBounded(t *testing.T) {
	r := record{start: time.Now()}
	c := facts.Attempt{To: netip.MustParseAddrPort("127.0.0.1:1"), Network: "tcp", Program: "a", Outcome: facts.Refused}
	for range 1000 {
		r.add(c)
		r.note("said once")
	}
	if len(r.connects) != 1 || r.connects[0].Count != 1000 || len(r.notes) != 1 {
		t.Errorf("%+v", r)
	}
	for i := range 1000 {
		c.To = netip.AddrPortFrom(c.To.Addr(), uint16(i+2))
		r.add(c)
		r.note(fmt.Sprint(i))
	}
	if len(r.connects) != maxConnects || r.more != 1000-maxConnects+1 || len(r.notes) > 8 {
		t.Errorf("%d connects and %d more, %d notes", len(r.connects), r.more, len(r.notes))
	}
}
