package netns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const someTrie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 172.17.0.0/16 2 0 2
        +-- 172.17.0.0/30 2 0 2
           |-- 172.17.0.0
              /16 link UNICAST
           |-- 172.17.0.2
              /32 host LOCAL
        |-- 172.17.255.255
           /32 link BROADCAST
Local:
           |-- 172.17.0.2
              /32 host LOCAL
           |-- 10.88.0.7
              /32 link UNICAST
              /32 host LOCAL
`

func TestParseFibTrie(t *testing.T) {
	want := []netip.Addr{netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("10.88.0.7")}
	if got := ParseFibTrie(strings.NewReader(someTrie)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseIfInet6(t *testing.T) {
	const text = "00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000004211fffe110002 02 40 20 80     eth0\n" +
		"fd00000000000000000000000000000a 02 40 00 80     eth0\nnonsense\n"
	want := []netip.Addr{netip.MustParseAddr("fd00::a")}
	if got := ParseIfInet6(strings.NewReader(text)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add(someTrie)
	f.Add("|-- fe80::1\n/32 host LOCAL\nfd00000000000000000000000000000a 02")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range append(ParseFibTrie(strings.NewReader(text)), ParseIfInet6(strings.NewReader(text))...) {
			if !a.IsValid() || a.IsLoopback() || a.Zone() != "" {
				t.Errorf("%q: %v", text, a)
			}
		}
	})
}
