package redact

import (
	"net/netip"
	"strconv"
	"strings"
)

// Names may hold an address as labels: 10.1.2.3.nip.io, and 3.2.1.10.in-addr.arpa, which
// counts from the other end, as nibbles in ip6.arpa do (RFC 1035 section 3.5, RFC 3596).

// numeric returns the address, or prefix, that labels before an ending are, and how many
// of the last labels it takes. 0: they are none.
func numeric(labels []string, ending string) (netip.Prefix, int) {
	switch ending {
	case "ip6.arpa":
		var b [16]byte
		n := 0
		for ; n < 32 && n < len(labels); n++ {
			l := labels[len(labels)-1-n]
			x, err := strconv.ParseUint(l, 16, 4)
			if err != nil || len(l) != 1 {
				break
			}
			b[n/2] |= byte(x) << (4 - n%2*4)
		}
		return netip.PrefixFrom(netip.AddrFrom16(b), n*4), n
	case "in-addr.arpa":
		var b [4]byte
		n := 0
		for ; n < 4 && n < len(labels); n++ {
			x, err := strconv.ParseUint(labels[len(labels)-1-n], 10, 8)
			if err != nil {
				break
			}
			b[n] = byte(x)
		}
		return netip.PrefixFrom(netip.AddrFrom4(b), n*8), n
	}
	if len(labels) >= 4 {
		if a, err := netip.ParseAddr(strings.Join(labels[len(labels)-4:], ".")); err == nil {
			return netip.PrefixFrom(a, 32), 4
		}
	}
	return netip.Prefix{}, 0
}

// labelsOf is the reverse of numeric: n labels for a prefix.
func labelsOf(p netip.Prefix, n int, ending string) []string {
	if ending != "ip6.arpa" && ending != "in-addr.arpa" {
		return strings.Split(p.Addr().String(), ".")
	}
	b := p.Addr().AsSlice()
	out := make([]string, n)
	for i := range n {
		at := n - 1 - i
		if ending == "in-addr.arpa" {
			out[at] = strconv.Itoa(int(b[i]))
		} else {
			out[at] = strconv.FormatUint(uint64(b[i/2]>>(4-i%2*4)&15), 16)
		}
	}
	return out
}

// beginning reads the first n numbers of an address, which stand for its network in lists
// of hosts: "10.1.".
func beginning(s string) (p netip.Prefix, n int, ok bool) {
	parts := strings.Split(s, ".")
	n = len(parts) - 1
	if n < 1 || n > 3 || parts[n] != "" {
		return p, 0, false
	}
	a, err := netip.ParseAddr(strings.Join(append(parts[:n:n], "0", "0", "0")[:4], "."))
	return netip.PrefixFrom(a, 8*n), n, err == nil
}
