package redact

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"sync"
)

// plan gives addresses their pseudonyms. Within a class, the first n bits of a
// pseudonym depend on the first n bits of the address alone, and a bit is kept only
// where addresses or prefixes of the recording part there: so what is inside of a
// prefix stays inside, what is outside stays outside, ranges keep their order, and
// nothing else of the address is left.
type plan struct {
	seen   map[netip.Prefix]bool // addresses and prefixes, Unmap'ed
	root4  *node
	root6  *node
	index4 map[byte]byte             // of public addresses: the first eight bits
	index6 map[uint32]uint32         // and the first 32
	ranked map[netip.Addr]netip.Addr // public ones that found no room there, in their order
	pinned []netip.Prefix            // of stays, those that pseudonyms have to keep away from
	known  map[netip.Addr]netip.Addr
}

// node is a node of a binary tree in which a chain of nodes with one child is one node.
type node struct {
	path netip.Prefix
	kids [2]*node
}

func lazyPrefixes(texts ...string) func() []netip.Prefix {
	return sync.OnceValue(func() []netip.Prefix {
		var ps []netip.Prefix
		for _, s := range texts {
			ps = append(ps, netip.MustParsePrefix(s))
		}
		return ps
	})
}

var (
	// The classes with a place of their own: RFC 1918, 6598, 3927, 4193, 4291 section 2.5.6.
	classes = lazyPrefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/8", "fd00::/8", "fe80::/10", "fec0::/10")
	// What means the same on every machine: this network, loopback, documentation,
	// benchmarks, multicast, broadcast and masks (RFC 6890); the inner networks of
	// Docker, Podman, slirp4netns and QEMU, Docker Desktop, libvirt, Lima, gvproxy; the
	// addresses that clouds, Tailscale, WSL and Kubernetes give to services; public
	// resolvers.
	stays = lazyPrefixes("0.0.0.0/8", "127.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "224.0.0.0/4", "255.0.0.0/8",
		"::/128", "::1/128", "ff00::/8", "2001:db8::/32",
		"172.17.0.0/24", "10.88.0.0/24", "10.0.2.0/24", "192.168.65.0/24", "192.168.122.0/24", "192.168.5.0/24", "192.168.127.0/24",
		"169.254.169.254/32", "169.254.170.2/32", "169.254.73.153/32", "169.254.73.250/32", "169.254.20.10/32", "100.100.100.100/32", "fd7a:115c:a1e0::53/128", "fd00:ec2::254/128",
		"10.96.0.1/32", "10.96.0.10/32", "10.43.0.1/32", "10.43.0.10/32",
		"8.8.8.8/32", "8.8.4.4/32", "1.1.1.1/32", "1.0.0.1/32", "9.9.9.9/32", "2001:4860:4860::8888/128", "2001:4860:4860::8844/128", "2606:4700:4700::1111/128", "2606:4700:4700::1001/128")
	mapped = netip.MustParsePrefix("::ffff:0:0/96") // RFC 4291 section 2.5.5.2
	nat64  = netip.MustParsePrefix("64:ff9b::/96")  // RFC 6052
	compat = netip.MustParsePrefix("::/96")         // RFC 4291 section 2.5.5.1
)

// Where public addresses go: 240.0.0.0/4 is reserved (RFC 1112 section 4), and
// 3fff::/20 is for documentation (RFC 9637). The last part of each is for what finds
// no room of its own.
const (
	first4, last4 = 240, 254
	base6, last6  = 0x3fff0000, 0x3fff0fff
)

func newPlan() *plan { return &plan{seen: map[netip.Prefix]bool{}} }

// embedded returns the IPv4 address that the last 32 bits of an IPv6 address are.
func embedded(a netip.Addr) (v4 netip.Addr, ok bool) {
	if a.Is4() || !(mapped.Contains(a.WithZone("")) || a.Is4In6() || nat64.Contains(a) || compat.Contains(a)) {
		return a, false
	}
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[12:])), true
}

// stay tells whether an address means the same on every machine.
func stay(a netip.Addr) bool {
	return slices.ContainsFunc(stays(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// public tells whether an address is of no class that it has to stay in.
func public(a netip.Addr) bool {
	return !stay(a) && !slices.ContainsFunc(classes(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// wide tells whether a prefix is too wide to tell anything: it holds a class as a
// whole, or it is shorter than what parts public addresses.
func wide(p netip.Prefix) bool {
	if p.Addr().Is4() && p.Bits() < 8 || p.Addr().Is6() && p.Bits() <= 16 {
		return true
	}
	return slices.ContainsFunc(slices.Concat(classes(), stays()), func(c netip.Prefix) bool {
		return c.Bits() <= 16 && p.Bits() <= c.Bits() && p.Contains(c.Addr())
	})
}

// broad tells whether a public prefix is wider than what parts public addresses of
// IPv6 from each other.
func broad(p netip.Prefix) bool { return p.Addr().Is6() && p.Bits() < 32 && public(p.Addr()) }

// see notes an address (bits -1, or its width) or a prefix that occurs.
func (pl *plan) see(a netip.Addr, n int) {
	a = a.WithZone("")
	if v4, ok := embedded(a); ok {
		a, n = v4, max(n-96, -1)
	}
	if n < 0 || n > a.BitLen() {
		n = a.BitLen()
	}
	p := netip.PrefixFrom(a, n)
	if n == a.BitLen() || !wide(p.Masked()) && !broad(p.Masked()) {
		pl.seen[p.Masked()] = true
	}
	if a != p.Masked().Addr() { // the address of an interface, with its prefix
		pl.seen[netip.PrefixFrom(a, a.BitLen())] = true
	}
}

// make builds the tree: from now on addr and prefix answer.
func (pl *plan) make() {
	pl.index4, pl.index6 = map[byte]byte{}, map[uint32]uint32{}
	pl.ranked, pl.known = map[netip.Addr]netip.Addr{}, map[netip.Addr]netip.Addr{}
	all := make([]netip.Prefix, 0, len(pl.seen))
	for p := range pl.seen {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	var next4, next6 uint32 // how many found no room
	for _, p := range all {
		a := p.Addr()
		if !public(a) {
			continue
		}
		switch {
		case a.Is4():
			b := a.As4()[0]
			if _, ok := pl.index4[b]; !ok && first4+len(pl.index4) < last4 {
				pl.index4[b] = byte(first4 + len(pl.index4))
			} else if !ok {
				if _, ok := pl.ranked[a]; !ok {
					next4++
					pl.ranked[a] = v4(last4<<24 | min(next4, 1<<24-1))
				}
			}
		default:
			b := first32(a)
			if _, ok := pl.index6[b]; !ok && base6+len(pl.index6) < last6 {
				pl.index6[b] = uint32(base6 + len(pl.index6))
			} else if !ok {
				if _, ok := pl.ranked[a]; !ok {
					next6++
					out := [16]byte{}
					binary.BigEndian.PutUint32(out[:], last6)
					binary.BigEndian.PutUint32(out[12:], next6)
					pl.ranked[a] = netip.AddrFrom16(out)
				}
			}
		}
	}
	for _, p := range all {
		a, ok := pl.place(p.Addr())
		if !ok {
			continue
		}
		root := &pl.root4
		if a.Is6() {
			root = &pl.root6
		}
		insert(root, netip.PrefixFrom(a, p.Bits()))
	}
	pl.pin(all)
}

// pin finds the addresses that stay and that matter: those that occur, and those that
// a pseudonym would be taken for.
func (pl *plan) pin(all []netip.Prefix) {
	pinned := map[netip.Prefix]bool{}
	note := func(a netip.Addr) (more bool) {
		for _, p := range stays() {
			if !pinned[p] && p.Contains(a) {
				pinned[p], more = true, true
				pl.pinned = append(pl.pinned, p)
			}
		}
		return more
	}
	for _, p := range all {
		note(p.Addr())
	}
	for more := true; more; {
		more = false
		clear(pl.known)
		for _, p := range all {
			if !stay(p.Addr()) {
				more = note(pl.fresh(p.Addr())) || more
			}
		}
	}
	clear(pl.known)
}

// place moves a public address to where its pseudonyms are; others stay. Not ok: it
// has no place in the tree.
func (pl *plan) place(a netip.Addr) (netip.Addr, bool) {
	if !public(a) {
		return a, true
	}
	if a.Is4() {
		b := a.As4()
		to, ok := pl.index4[b[0]]
		b[0] = to
		return netip.AddrFrom4(b), ok
	}
	b := a.As16()
	to, ok := pl.index6[first32(a)]
	binary.BigEndian.PutUint32(b[:], to)
	return netip.AddrFrom16(b), ok
}

// addr is the pseudonym of an address; zones stay.
func (pl *plan) addr(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return a
	}
	if known, ok := pl.known[a]; ok {
		return known
	}
	out := pl.fresh(a.WithZone(""))
	if z := a.Zone(); z != "" {
		out = out.WithZone(z)
	}
	pl.known[a] = out
	return out
}

func (pl *plan) fresh(a netip.Addr) netip.Addr {
	if stay(a) {
		return a
	}
	if v4, ok := embedded(a); ok {
		b, to := a.As16(), pl.fresh(v4).As4()
		copy(b[12:], to[:])
		return netip.AddrFrom16(b)
	}
	if r, ok := pl.ranked[a]; ok {
		return r
	}
	at, ok := pl.place(a)
	if !ok { // it was never seen: a mistake, which must not tell the address
		if a.Is4() {
			return v4(last4 << 24)
		}
		return netip.AddrFrom16([16]byte{0x3f, 0xff, 0x0f, 0xff})
	}
	return pl.squeeze(at)
}

// squeeze leaves of an address the bits that the recording needs.
func (pl *plan) squeeze(a netip.Addr) netip.Addr {
	in, out := a.AsSlice(), make([]byte, a.BitLen()/8)
	keep := func(i int) { out[i/8] |= in[i/8] & (0x80 >> (i % 8)) }
	end := 0 // behind the last bit that was kept on purpose
	upTo := func(n int) {
		for i := range min(n, a.BitLen()) {
			keep(i)
		}
		end = max(end, min(n, a.BitLen()))
	}
	switch {
	case a.Is4() && a.As4()[0] >= first4:
		upTo(8)
	case a.Is6() && first32(a)>>12 == base6>>12:
		upTo(32)
	}
	for _, c := range classes() {
		if c.Contains(a) {
			upTo(c.Bits())
		}
	}
	if !public(a) {
		for _, p := range pl.pinned { // as far as it goes along with addresses that stay, and where it parts from them
			if p.Addr().Is4() == a.Is4() {
				upTo(common(a, p.Addr()) + 1)
			}
		}
	}
	for n := pl.root(a); n != nil && n.path.Contains(a); {
		b := n.path.Bits()
		if b >= a.BitLen() {
			break
		}
		if n.kids[0] != nil && n.kids[1] != nil {
			keep(b)
			end = max(end, b+1)
		}
		n = n.kids[bit(a, b)]
	}
	// A host is no network: its last bit is set, unless all that was left out is zero.
	for i := end; i < a.BitLen(); i++ {
		if bit(a, i) == 1 {
			out[len(out)-1] |= 1
			break
		}
	}
	to, _ := netip.AddrFromSlice(out)
	return to
}

func (pl *plan) root(a netip.Addr) *node {
	if a.Is4() {
		return pl.root4
	}
	return pl.root6
}

// prefix is the pseudonym of a prefix, of the same length. Bits of the host, as an
// interface has them, are those of the address's pseudonym.
func (pl *plan) prefix(p netip.Prefix) netip.Prefix {
	if !p.IsValid() {
		return p
	}
	if in, ok := embedded(p.Addr()); ok && p.Bits() >= 96 {
		b, to := p.Addr().As16(), pl.prefix(netip.PrefixFrom(in, p.Bits()-96)).Addr().As4()
		copy(b[12:], to[:])
		return netip.PrefixFrom(netip.AddrFrom16(b), p.Bits())
	}
	if wide(p.Masked()) {
		if p.Addr() == p.Masked().Addr() {
			return p
		}
		return netip.PrefixFrom(pl.addr(p.Addr()), p.Bits())
	}
	if p.Addr() != p.Masked().Addr() || p.Bits() == p.Addr().BitLen() {
		return netip.PrefixFrom(pl.addr(p.Addr()), p.Bits())
	}
	if broad(p) {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x3f, 0xff}), p.Bits()).Masked()
	}
	return netip.PrefixFrom(pl.fresh(p.Addr()), p.Bits()).Masked()
}

// insert adds a path to the tree below root.
func insert(root **node, p netip.Prefix) {
	n := *root
	if n == nil {
		*root = &node{path: p}
		return
	}
	shared := min(common(n.path.Addr(), p.Addr()), n.path.Bits(), p.Bits())
	switch {
	case shared == n.path.Bits() && shared == p.Bits():
	case shared == n.path.Bits():
		insert(&n.kids[bit(p.Addr(), shared)], p)
	default: // they part within the chain that n stands for, or p ends there
		top := &node{path: netip.PrefixFrom(p.Addr(), shared).Masked()}
		top.kids[bit(n.path.Addr(), shared)] = n
		if shared < p.Bits() {
			top.kids[bit(p.Addr(), shared)] = &node{path: p}
		}
		*root = top
	}
}

// common is how many bits two addresses of one family share from the left.
func common(a, b netip.Addr) int {
	x, y := a.AsSlice(), b.AsSlice()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			return i*8 + bits.LeadingZeros8(d)
		}
	}
	return a.BitLen()
}

func bit(a netip.Addr, i int) int {
	if a.Is4() {
		b := a.As4()
		return int(b[i/8] >> (7 - i%8) & 1)
	}
	b := a.As16()
	return int(b[i/8] >> (7 - i%8) & 1)
}

func first32(a netip.Addr) uint32 {
	b := a.As16()
	return binary.BigEndian.Uint32(b[:])
}

func v4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
