package redact

import (
	"net/netip"
	"slices"
	"strings"
)

// address hands out the address that begins at s[i], with the length of its prefix or
// its mask. It returns where that ends, or i.
func (sc *scan) address(s string, i int, put func(i, j int, with string)) int {
	j := i
	if k := i + 17; k <= len(s) && isMAC(s[i:k]) && (k == len(s) || wordAt(s, k) == 0 && s[k] != s[i+2]) && (i == 0 || s[i-1] != s[i+2]) {
		if sc.mac != nil {
			put(i, k, sc.mac(s[i:k]))
		}
		return k
	}
	if k := i + 14; k <= len(s) && s[i+4] == '.' && dottedMAC(s[i:k]) && (k == len(s) || wordAt(s, k) == 0 && s[k] != '.') {
		if sc.mac != nil {
			put(i, k, sc.mac(s[i:k]))
		}
		return k
	}
	colons, dots := 0, 0
	for j < len(s) && j < i+64 && (hexDigit(s[j]) || s[j] == ':' || s[j] == '.') { // none is longer
		switch s[j] {
		case ':':
			colons++
		case '.':
			dots++
		}
		j++
	}
	if colons >= 2 && (i == 0 || s[i-1] != '_') {
		if wordAt(s, j) > 0 { // std::string
			return i
		}
		for k := j; k > i+1; {
			t := strings.TrimRight(s[i:k], ".")
			if a, ok := address6(t); ok {
				return sc.found(s, i, i+len(t), a, put)
			}
			// a port, or the end of a sentence, may stick to it
			cut := strings.LastIndexAny(s[i:k], ".:")
			if cut <= 0 {
				break
			}
			k = i + cut
			if j-k > 7 {
				break
			}
		}
		return i
	}
	if !digit(s[i]) || dots < 1 || i > 0 && s[i-1] == '.' && i > 1 && digit(s[i-2]) {
		return i
	}
	if j < len(s) && s[j] == '*' {
		return sc.wildcard(s, i, j, put)
	}
	a, k, ok := address4(s, i)
	if !ok {
		return i
	}
	return sc.found(s, i, k, a, put)
}

// wildcard hands out the prefix that 192.168.7.* is, as lists of exceptions of proxies
// have it.
func (sc *scan) wildcard(s string, i, j int, put func(i, j int, with string)) int {
	parts := strings.Split(strings.TrimSuffix(s[i:j], "."), ".")
	a, err := netip.ParseAddr(strings.Join(append(slices.Clone(parts), "0", "0", "0")[:4], "."))
	if err != nil || len(parts) > 3 || s[j-1] != '.' {
		return i
	}
	if sc.addr != nil {
		if to, err := netip.ParseAddr(sc.addr(a, 8*len(parts), a.String())); err == nil && to != a {
			put(i, j-1, strings.Join(strings.Split(to.String(), ".")[:len(parts)], "."))
		}
	}
	return j
}

// found hands out one address, and steps over what says how long its prefix is.
func (sc *scan) found(s string, i, j int, a netip.Addr, put func(i, j int, with string)) int {
	bits, end := -1, j
	if j+1 < len(s) && s[j] == '/' && digit(s[j+1]) {
		k := j + 1
		for k < len(s) && digit(s[k]) {
			k++
		}
		if k < len(s) && s[k] == '.' { // a mask: 192.168.7.0/255.255.255.0
			if m, to, ok := address4(s, j+1); ok && a.Is4() {
				if n, ok := maskBits(m); ok {
					bits, end = n, to
				}
			}
		} else if n := number(s[j+1 : k]); n <= a.BitLen() {
			bits, end = n, k
		}
	} else if a.Is4() && j+1 < len(s) && s[j] == ' ' && digit(s[j+1]) { // 192.168.7.0 255.255.255.0, as pg_hba.conf and route have it
		if m, to, ok := address4(s, j+1); ok {
			if n, ok := maskBits(m); ok && n >= 8 {
				bits, end = n, to
			}
		}
	}
	if sc.addr != nil {
		put(i, j, sc.addr(a, bits, s[i:j]))
	}
	return end
}

func number(s string) int {
	n := 0
	for i := range len(s) {
		if n = n*10 + int(s[i]-'0'); n > 999 {
			break
		}
	}
	return n
}

// address4 reads an IPv4 address at s[i:]. Behind it may stand a port with a dot, as
// tcpdump prints it; more numbers than that are a version, or an object identifier.
func address4(s string, i int) (a netip.Addr, end int, ok bool) {
	var b [4]byte
	j := i
	for k := range 4 {
		from := j
		for j < len(s) && digit(s[j]) && j-from < 4 {
			j++
		}
		n := number(s[from:j])
		if j == from || j-from > 3 || n > 255 {
			return a, i, false
		}
		b[k] = byte(n)
		if k < 3 {
			if j >= len(s) || s[j] != '.' {
				return a, i, false
			}
			j++
		}
	}
	rest := s[j:]
	switch {
	case rest == "":
	case wordAt(rest, 0) > 0, strings.HasPrefix(rest, "-microsoft"): // "5.15.153.1-microsoft-standard-WSL2", a kernel
		return a, i, false
	case rest[0] == '.' && len(rest) > 1 && digit(rest[1]):
		k := 1
		for k < len(rest) && digit(rest[k]) {
			k++
		}
		if k+1 < len(rest) && rest[k] == '.' && digit(rest[k+1]) {
			return a, i, false
		}
	case rest[0] == '.' && wordAt(rest, 1) > 0:
		if k, _ := dotted(s, i); k > i { // 10.1.2.3.nip.io, 1.0.0.127.in-addr.arpa
			if _, _, _, isName := domain(s[i:k], false); isName {
				return a, i, false
			}
		}
	}
	return netip.AddrFrom4(b), j, true
}

func address6(s string) (netip.Addr, bool) {
	if len(s) < 2 || len(s) > 45 || strings.Count(s, ":") < 2 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Is6()
}

// maskBits is the length of the prefix that a mask stands for.
func maskBits(m netip.Addr) (int, bool) {
	b := m.As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	ones := 0
	for n&(1<<31) != 0 {
		n <<= 1
		ones++
	}
	return ones, n == 0 && ones > 0
}

// isMAC tells whether a text is a hardware address, as Linux writes it or, with hyphens,
// Windows.
func isMAC(s string) bool {
	if len(s) != 17 || s[2] != ':' && s[2] != '-' {
		return false
	}
	for i := range len(s) {
		if i%3 == 2 && s[i] != s[2] || i%3 != 2 && !hexDigit(s[i]) {
			return false
		}
	}
	return true
}

// dottedMAC tells whether a text is a hardware address as switches write it:
// aabb.cc12.3456. One without a letter may be anything else.
func dottedMAC(s string) bool {
	for i := range len(s) {
		if i%5 == 4 && s[i] != '.' || i%5 != 4 && !hexDigit(s[i]) {
			return false
		}
	}
	return strings.ContainsAny(s, "abcdefABCDEF") && strings.ContainsAny(s, "0123456789")
}

// plainMAC is a hardware address in lower case, with colons.
func plainMAC(s string) string {
	var b []byte
	for i := range len(s) {
		if !hexDigit(s[i]) {
			continue
		}
		if n := len(b); n%3 == 2 {
			b = append(b, ':')
		}
		b = append(b, lower(s[i]))
	}
	return string(b)
}
