package resolve

import (
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// order sorts as getaddrinfo does (RFC 6724 section 6, rules 1, 2, 5, 6, 8 and
// 10). Left out are the rules on deprecated, home and tunnel addresses and on
// the longest prefix: no loopback address differs in them.
func (q *Query) order(list []facts.NamedAddr) []facts.NamedAddr {
	if q.Source == nil || len(list) < 2 {
		return list
	}
	table := q.Precedence
	if table == nil {
		table = defaultPrecedence
	}
	type candidate struct {
		facts.NamedAddr
		keys [5]int // smaller is better
	}
	var cs []candidate
	for _, a := range list {
		src := q.Source(a.Addr)
		c := candidate{NamedAddr: a}
		c.keys = [5]int{
			truth(!src.IsValid()),
			truth(!src.IsValid() || scope(src) != scope(a.Addr)),
			truth(!src.IsValid() || label(src) != label(a.Addr)),
			-precedence(table, a.Addr),
			scope(a.Addr),
		}
		cs = append(cs, c)
	}
	slices.SortStableFunc(cs, func(a, b candidate) int { return slices.Compare(a.keys[:], b.keys[:]) })
	sorted := make([]facts.NamedAddr, len(cs))
	for i, c := range cs {
		sorted[i] = c.NamedAddr
	}
	return sorted
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// scope is RFC 6724 section 3.1 as glibc has it: loopback is link-local.
func scope(a netip.Addr) int {
	switch a = a.Unmap(); {
	case a.IsMulticast() && a.Is6():
		return int(a.As16()[1] & 0xf)
	case a.IsLoopback(), a.IsLinkLocalUnicast():
		return 0x2
	case netip.MustParsePrefix("fec0::/10").Contains(a):
		return 0x5
	}
	return 0xe
}

// labels is the default table of RFC 6724 section 2.1.
var labels = []Precedence{
	{netip.MustParsePrefix("::1/128"), 0},
	{netip.MustParsePrefix("::/0"), 1},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("::/96"), 3},
	{netip.MustParsePrefix("::ffff:0:0/96"), 4},
	{netip.MustParsePrefix("2001::/32"), 5},
	{netip.MustParsePrefix("fec0::/10"), 11},
	{netip.MustParsePrefix("fc00::/7"), 13},
}

func label(a netip.Addr) int { return precedence(labels, a) }

// precedence is the value of the longest prefix that covers the address; an
// IPv4 address counts as ::ffff:a.b.c.d.
func precedence(table []Precedence, a netip.Addr) int {
	a16 := a.As16()
	best, value := -1, 0
	for _, p := range table {
		p16 := p.Prefix.Addr().As16()
		if p.Prefix.Bits() > best && commonBits(a16, p16) >= p.Prefix.Bits() {
			best, value = p.Prefix.Bits(), p.Value
		}
	}
	return value
}

func commonBits(a, b [16]byte) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			n := i * 8
			for x&0x80 == 0 {
				n, x = n+1, x<<1
			}
			return n
		}
	}
	return 128
}
