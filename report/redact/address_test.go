package redact

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// planOf sees addresses and prefixes, written as such.
func planOf(texts ...string) *plan {
	pl := newPlan()
	for _, s := range texts {
		if p, err := netip.ParsePrefix(s); err == nil {
			pl.see(p.Addr(), p.Bits())
		} else {
			pl.see(netip.MustParseAddr(s), -1)
		}
	}
	pl.make()
	return pl
}

func TestAddressesKeepTheirClass(t *testing.T) {
	for in, want := range map[string]string{
		// what means the same everywhere
		"0.0.0.0": "0.0.0.0", "127.0.0.1": "127.0.0.1", "127.0.0.53": "127.0.0.53", "127.8.9.1": "127.8.9.1", "255.255.255.255": "255.255.255.255", "255.255.240.0": "255.255.240.0",
		"224.0.0.251": "224.0.0.251", "169.254.169.254": "169.254.169.254", "172.17.0.1": "172.17.0.1", "172.17.0.2": "172.17.0.2", "10.0.2.2": "10.0.2.2", "192.168.65.3": "192.168.65.3",
		"100.100.100.100": "100.100.100.100", "8.8.8.8": "8.8.8.8", "192.0.2.10": "192.0.2.10", "198.18.0.1": "198.18.0.1",
		"::": "::", "::1": "::1", "ff02::1": "ff02::1", "2001:db8::10": "2001:db8::10", "::ffff:127.0.0.1": "::ffff:127.0.0.1", "fd7a:115c:a1e0::53": "fd7a:115c:a1e0::53",
		// each in its own range
		"10.20.30.40": "10.0.0.1", "172.20.30.40": "172.16.0.1", "192.168.7.23": "192.168.0.1", "100.101.102.103": "100.64.0.1", "169.254.7.8": "169.254.0.1",
		"fd12:3456:789a::5": "fd00::1", "fc00:1::5": "fc00::1", "fe80::a1b2:c3ff:fed4:e5f6": "fe80::1", "fe80::42%eth0": "fe80::1%eth0",
		"::ffff:10.20.30.40": "::ffff:10.0.0.1", "64:ff9b::81.2.69.142": "64:ff9b::f000:1",
		// what no machine has
		"81.2.69.142": "240.0.0.1", "2a01:4f8:c17::1": "3fff::1", "2a01:4f8:c17:2::1": "3fff::1",
	} {
		if got := planOf(in).addr(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestPrefixesHoldWhatTheyHeld(t *testing.T) {
	texts := []string{"192.168.7.0/24", "192.168.7.23", "192.168.8.1", "192.168.7.200/24", "10.1.0.0/16", "10.2.3.4", "81.2.69.0/24", "81.2.69.142", "81.2.70.1", "93.184.216.34",
		"2a01:4f8:c17::/48", "2a01:4f8:c17:1::7", "2a01:4f8:c18::7", "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "192.168.0.0/16", "10.0.0.0/8", "fe80::/64", "fe80::1:2/64", "::/0", "2000::/3",
		"::ffff:10.1.2.0/120", "::ffff:10.1.2.9", "192.168.7.23/32"}
	pl := planOf(texts...)
	to := func(s string) netip.Prefix {
		if p, err := netip.ParsePrefix(s); err == nil {
			return pl.prefix(p)
		}
		a := pl.addr(netip.MustParseAddr(s))
		return netip.PrefixFrom(a, a.BitLen())
	}
	from := func(s string) netip.Prefix {
		if p, err := netip.ParsePrefix(s); err == nil {
			return p
		}
		a := netip.MustParseAddr(s)
		return netip.PrefixFrom(a, a.BitLen())
	}
	inside := func(a, b netip.Prefix) bool { return b.Bits() <= a.Bits() && b.Masked().Contains(a.Addr()) }
	for _, a := range texts {
		for _, b := range texts {
			if inside(from(a), from(b)) != inside(to(a), to(b)) && !(from(b).Bits() < 8 && !from(a).Addr().IsPrivate()) { // of the widest public ones the package says that it does not hold
				t.Errorf("%s in %s was %v; %s in %s", a, b, inside(from(a), from(b)), to(a), to(b))
			}
		}
		if from(a).Bits() != to(a).Bits() {
			t.Errorf("%s became %s", a, to(a))
		}
	}
	for _, s := range []string{"0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "192.168.0.0/16", "10.0.0.0/8", "::/0", "2000::/3"} {
		if to(s).String() != s {
			t.Errorf("%s tells nothing and became %s", s, to(s))
		}
	}
}

// TestPlanIsOrderedAndStable draws addresses at random, close together and far apart.
func TestPlanIsOrderedAndStable(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 2))
	draw := func() netip.Addr {
		first := []uint32{10 << 24, 172<<24 | 16<<16, 192<<24 | 168<<16, 100<<24 | 64<<16, 81<<24 | 2<<16, 5 << 24, 172<<24 | 17<<16, 169<<24 | 254<<16}[g.IntN(8)]
		if g.IntN(3) > 0 {
			return v4(first | g.Uint32()&uint32(1<<(4+g.IntN(14))-1))
		}
		var b [16]byte
		binary.BigEndian.PutUint32(b[:], []uint32{0x2a0104f8, 0x20010470, 0xfd001234, 0xfe800000}[g.IntN(4)])
		binary.BigEndian.PutUint64(b[8:], g.Uint64()>>g.IntN(64))
		return netip.AddrFrom16(b)
	}
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		pl, again := newPlan(), newPlan()
		var as []netip.Addr
		var ps []netip.Prefix
		for range 2 + g.IntN(30) {
			a := draw()
			as = append(as, a)
			pl.see(a, -1)
			p := netip.PrefixFrom(draw(), 8+g.IntN(a.BitLen()-8)).Masked()
			if p.IsValid() {
				ps = append(ps, p)
				pl.see(p.Addr(), p.Bits())
			}
		}
		pl.make()
		for _, a := range as {
			again.see(pl.addr(a), -1)
			for _, b := range as {
				if public(a) == public(b) && a.Is4() == b.Is4() && a.Compare(b) != pl.addr(a).Compare(pl.addr(b)) {
					t.Fatalf("%s, %s became %s, %s", a, b, pl.addr(a), pl.addr(b))
				}
			}
			for _, p := range ps {
				if to := pl.prefix(p); !wide(p) && p.Contains(a) != to.Contains(pl.addr(a)) && !(p.Addr().Is6() && p.Bits() < 32 && public(p.Addr())) {
					t.Fatalf("%s in %s was %v; %s in %s", a, p, p.Contains(a), pl.addr(a), to)
				}
			}
			if public(a) != public(pl.addr(a)) || a.IsPrivate() != pl.addr(a).IsPrivate() || a.IsLinkLocalUnicast() != pl.addr(a).IsLinkLocalUnicast() {
				t.Fatalf("%s became %s, of another class", a, pl.addr(a))
			}
		}
		for _, p := range ps {
			to := pl.prefix(p)
			again.see(to.Addr(), to.Bits())
		}
		again.make()
		for _, a := range as {
			if once := pl.addr(a); again.addr(once) != once {
				t.Fatalf("%s became %s, and then %s", a, once, again.addr(once))
			}
		}
	}
}

// TestMorePublicAddressesThanRoom: those that find no room keep apart all the same.
func TestMorePublicAddressesThanRoom(t *testing.T) {
	pl := newPlan()
	var as []netip.Addr
	for i := range 200 {
		as = append(as, netip.AddrFrom4([4]byte{byte(11 + i), 3, byte(i), 9}), netip.AddrFrom4([4]byte{byte(11 + i), 3, byte(i), 10}))
	}
	for i := range 5000 {
		as = append(as, netip.AddrFrom16([16]byte{0x2a, 0, byte(i >> 8), byte(i), 15: 7}))
	}
	for _, a := range as {
		pl.see(a, -1)
	}
	pl.make()
	known := map[netip.Addr]netip.Addr{}
	for _, a := range as {
		to := pl.addr(a)
		if other, ok := known[to]; ok {
			t.Fatalf("%s and %s both became %s", a, other, to)
		}
		known[to] = a
		if public(a) && !(netip.MustParsePrefix("240.0.0.0/4").Contains(to) || netip.MustParsePrefix("3fff::/20").Contains(to)) || to.String() == "255.255.255.255" {
			t.Errorf("%s became %s", a, to)
		}
	}
}
