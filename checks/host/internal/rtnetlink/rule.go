package rtnetlink

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

// Attributes, flags and actions of a rule (linux/fib_rules.h).
const (
	fraDst            = 1
	fraSrc            = 2
	fraIif            = 3
	fraGoto           = 4
	fraPriority       = 6
	fraMark           = 10
	fraFlow           = 11
	fraTunID          = 12
	fraSuppressGroup  = 13
	fraSuppressPrefix = 14
	fraTable          = 15
	fraMask           = 16
	fraOif            = 17
	fraL3MDev         = 19
	fraUIDRange       = 20
	fraProtocol       = 21
	fraIPProto        = 22
	fraSports         = 23
	fraDports         = 24
	fraSportMask      = 28
	fraDportMask      = 29

	ruleInvert     = 0x2
	ruleUnresolved = 0x4
	ruleIifGone    = 0x8
	ruleOifGone    = 0x10

	actLookup = 1
	actGoto   = 2
	actNop    = 3

	none32   = 1<<32 - 1 // -1: nothing is suppressed
	fullMask = 1<<16 - 1 // of a port
)

// span is a range of ports or users, both ends included.
type span struct{ from, to uint32 }

func (s span) has(n uint32) bool { return s.from <= n && n <= s.to }

func (s span) String() string { return fmt.Sprintf("%d-%d", s.from, s.to) }

// ports is what a rule says about a port: a range, or since kernel 6.15 one
// port of which only the bits of the mask count.
type ports struct {
	span
	mask uint16 // 0: none was given
}

func (p ports) masked() bool { return p.mask != 0 && p.mask != fullMask }

func (p ports) has(port uint16) bool {
	if p.masked() {
		return (uint16(p.from)^port)&p.mask == 0
	}
	return p.span.has(uint32(port))
}

func (p ports) String() string {
	switch {
	case p.masked():
		return fmt.Sprintf("%d/%#x", p.from, p.mask)
	case p.from == p.to:
		return fmt.Sprint(p.from)
	}
	return p.span.String()
}

// rule is one RTM_NEWRULE. A pointer that is nil selects nothing.
type rule struct {
	v6             bool
	flags          uint32
	from, to       netip.Prefix
	tos            uint8
	action         uint8
	table          uint32
	priority       uint32
	target         uint32 // of a goto
	mark, mask     *uint32
	iif, oif       string
	l3mdev         bool
	tunID          *uint64
	uids           *span
	ipproto        uint8
	sports, dports *ports
	realms         uint32
	suppressPrefix uint32
	suppressGroup  uint32
	protocol       uint8    // who made the rule, RTPROT_*
	unknown        []uint16 // attributes that came after this was written
}

func parseRule(b []byte) (r rule, ok bool) {
	if len(b) < routeLen {
		return r, false
	}
	zero := netip.IPv4Unspecified()
	switch b[0] {
	case familyV4:
	case familyV6:
		r.v6, zero = true, netip.IPv6Unspecified()
	default:
		return r, false
	}
	from, to := zero, zero
	var sportMask, dportMask uint16
	r.tos, r.table, r.action, r.flags = b[3], uint32(b[4]), b[7], netlink.Uint32(b[8:])
	r.suppressPrefix, r.suppressGroup = none32, none32
	for typ, v := range netlink.Attributes(b[routeLen:]) {
		n := netlink.Uint32(v)
		switch typ {
		case fraDst:
			to, _ = netip.AddrFromSlice(v)
		case fraSrc:
			from, _ = netip.AddrFromSlice(v)
		case fraIif:
			r.iif = netlink.String(v)
		case fraOif:
			r.oif = netlink.String(v)
		case fraGoto:
			r.target = n
		case fraPriority:
			r.priority = n
		case fraMark:
			r.mark = &n
		case fraMask:
			r.mask = &n
		case fraFlow:
			r.realms = n
		case fraTunID:
			if len(v) == 8 {
				id := binary.BigEndian.Uint64(v)
				r.tunID = &id
			}
		case fraSuppressGroup:
			r.suppressGroup = n
		case fraSuppressPrefix:
			r.suppressPrefix = n
		case fraTable:
			r.table = n
		case fraL3MDev:
			r.l3mdev = len(v) > 0 && v[0] != 0
		case fraUIDRange:
			if len(v) == 8 {
				r.uids = &span{n, netlink.Uint32(v[4:])}
			}
		case fraProtocol:
			r.protocol = first(v)
		case fraIPProto:
			r.ipproto = first(v)
		case fraSports:
			r.sports = portSpan(v)
		case fraDports:
			r.dports = portSpan(v)
		case fraSportMask:
			sportMask = uint16Of(v)
		case fraDportMask:
			dportMask = uint16Of(v)
		default:
			if typ > fraDports {
				r.unknown = append(r.unknown, typ)
			}
		}
	}
	if r.sports != nil {
		r.sports.mask = sportMask
	}
	if r.dports != nil {
		r.dports.mask = dportMask
	}
	r.to, r.from = netip.PrefixFrom(to, int(b[1])), netip.PrefixFrom(from, int(b[2]))
	return r, r.to.IsValid() && r.from.IsValid()
}

func first[T any](v []T) (zero T) {
	if len(v) == 0 {
		return zero
	}
	return v[0]
}

// portSpan reads struct fib_rule_port_range.
func portSpan(v []byte) *ports {
	if len(v) != 4 {
		return nil
	}
	return &ports{span: span{uint32(uint16Of(v)), uint32(uint16Of(v[2:]))}}
}

func uint16Of(v []byte) uint16 {
	if len(v) < 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(v)
}

// matches tells whether the rule applies to what a local client sends to its
// own address a, from that address. Without uids every user counts. It follows
// fib_rule_match, fib4_rule_match and fib6_rule_match of the kernel.
func (r rule) matches(a netip.Addr, proto uint8, dport uint16, uids []uint32) bool {
	if a.Is6() != r.v6 {
		return false
	}
	hit := r.to.Contains(a) && r.from.Contains(a) &&
		(r.iif == "" || r.iif == "lo") && // a packet that is made here "comes in" by lo
		r.oif == "" && // such a client is not bound to a device
		r.tos == 0 && r.tunID == nil && !r.l3mdev && len(r.unknown) == 0 &&
		value(r.mark)&value(r.mask) == 0 && // the packet's mark is 0
		(r.ipproto == 0 || r.ipproto == proto) &&
		(r.dports == nil || r.dports.has(dport)) &&
		// The client's port is not known. A range counts if it holds all that
		// the kernel gives out by default.
		(r.sports == nil || r.sports.has(32768) && r.sports.has(60999)) &&
		(r.uids == nil || len(uids) == 0 || slices.ContainsFunc(uids, r.uids.has))
	return hit != (r.flags&ruleInvert != 0)
}

// passes tells whether a look-up in the rule's table leads nowhere, so that the
// kernel goes on to the next rule, by the rows of all tables that cover the address:
// none is there, the narrowest is a throw, or the rule suppresses it. A device that is
// down is not looked at, and suppress_ifgroup is not: then the answer is no.
func (r rule) passes(rows []route) bool {
	var best *route
	for i, w := range rows {
		if w.table == r.table && (best == nil || w.dst.Bits() > best.dst.Bits() || w.dst.Bits() == best.dst.Bits() && w.metric < best.metric) {
			best = &rows[i]
		}
	}
	return best == nil || best.typ == typeThrow || r.suppressPrefix != none32 && best.dst.Bits() <= int(r.suppressPrefix)
}

func (r rule) fact(addrs []netip.Addr, proto uint8, dport uint16, uids []uint32) facts.Rule {
	f := facts.Rule{IPv6: r.v6, Priority: r.priority, Action: r.deed(), Table: r.table, Selector: r.selector(), Text: r.text()}
	for _, a := range addrs {
		plain := a.Unmap().WithZone("")
		switch marked := r; {
		case r.matches(plain, proto, dport, uids):
			f.Matches = append(f.Matches, a)
		case value(r.mark)&value(r.mask) != 0:
			if marked.mark = nil; marked.matches(plain, proto, dport, uids) {
				f.Marked = append(f.Marked, a)
			}
		}
	}
	return f
}

func value(p *uint32) uint32 {
	if p == nil {
		return 0
	}
	return *p
}
