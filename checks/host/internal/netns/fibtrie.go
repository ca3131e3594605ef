package netns

import (
	"bufio"
	"encoding/hex"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// maxOwn is how many addresses of a namespace are told.
const maxOwn = 64

// ParseFibTrie reads the namespace's own IPv4 addresses off /proc/PID/net/fib_trie, but
// for those of loopback:
//
//	|-- 172.17.0.2
//	   /32 host LOCAL
func ParseFibTrie(r io.Reader) []netip.Addr {
	var addrs []netip.Addr
	var last netip.Addr
	scan := bufio.NewScanner(r)
	for scan.Scan() && len(addrs) < maxOwn {
		line := strings.TrimSpace(scan.Text())
		if text, ok := strings.CutPrefix(line, "|-- "); ok {
			last, _ = netip.ParseAddr(text)
			continue
		}
		if line == "/32 host LOCAL" && last.Is4() && !last.IsLoopback() && !slices.Contains(addrs, last) {
			addrs = append(addrs, last)
		}
	}
	return addrs
}

// ParseIfInet6 reads the IPv6 addresses off /proc/PID/net/if_inet6, but for those of
// loopback and of a link alone:
//
//	fd00000000000000000000000000000a 02 40 00 80     eth0
func ParseIfInet6(r io.Reader) []netip.Addr {
	var addrs []netip.Addr
	scan := bufio.NewScanner(r)
	for scan.Scan() && len(addrs) < maxOwn {
		digits, _, _ := strings.Cut(scan.Text(), " ")
		b, err := hex.DecodeString(digits)
		a, ok := netip.AddrFromSlice(b)
		if err == nil && ok && a.Is6() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
