package xt

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// What the match conntrack compares (XT_CONNTRACK_*, linux/netfilter/xt_conntrack.h).
const (
	byState     = 1 << 0
	byProto     = 1 << 1
	byTuple     = 1 << 2 // the first of four addresses
	byStatus    = 1 << 6
	byExpiry    = 1 << 7
	byPort      = 1 << 8 // the first of four ports
	byDirection = 1 << 12
	stateAlias  = 1 << 13 // it was written as -m state
)

// The bits of its state mask behind those that the packet's own states have
// (XT_CONNTRACK_STATE_SNAT …).
const (
	stateSNAT      = 1 << 6
	stateDNAT      = 1 << 7
	stateUntracked = 1 << 8
)

// Bits of a connection's status (IPS_*, linux/netfilter/nf_conntrack_common.h).
const (
	ipsAssured = 1 << 2
	ipsSrcNAT  = 1 << 4
	ipsDstNAT  = 1 << 5
)

// noTracking is what a match finds that cannot tell how the connection is tracked.
var noTracking = netfilter.Effect{Why: "connection tracking is not known"}

// conntrack is xt_conntrack_mtinfo1, 2 and 3. Revision 1 has masks of one byte,
// and 3 has ranges of ports, in the order of the machine.
func conntrack(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	c := conntrackMatch{data: d, match: d.u16(146), invert: d.u16(148), states: uint32(d.u16(150))}
	if d.rev == 1 {
		c.states, c.status = uint32(d.u8(150)), uint32(d.u8(151))
	} else {
		c.status = uint32(d.u16(152))
	}
	c.print(w)
	return c.eval
}

type conntrackMatch struct {
	data
	match, invert  uint16
	states, status uint32
}

func (c *conntrackMatch) print(w *phrase) {
	not := func(flag uint16) bool { return c.invert&flag != 0 }
	option := "--ctstate"
	if c.match&stateAlias != 0 {
		w.rename("-m", "state")
		option = "--state"
	}
	if c.match&byState != 0 {
		w.option(not(byState), option, stateNames(c.states))
	}
	if c.match&byProto != 0 {
		w.option(not(byProto), "--ctproto", fmt.Sprint(c.u16(136)))
	}
	for i, name := range [...]string{"--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst"} {
		if flag := uint16(byTuple << i); c.match&flag != 0 {
			w.option(not(flag), name, c.addr(32*i).String()+c.suffix(32*i+16))
		}
	}
	for i, name := range [...]string{"--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport"} {
		if flag := uint16(byPort << i); c.match&flag != 0 {
			from, to := c.ports(i)
			w.option(not(flag), name, span(uint64(from), uint64(to)))
		}
	}
	if c.match&byStatus != 0 {
		w.option(not(byStatus), "--ctstatus", bits(c.status, "NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"))
	}
	if c.match&byExpiry != 0 {
		w.option(not(byExpiry), "--ctexpire", span(uint64(c.u32(128)), uint64(c.u32(132))))
	}
	if c.match&byDirection != 0 {
		direction := "ORIGINAL"
		if not(byDirection) {
			direction = "REPLY"
		}
		w.add("--ctdir", direction)
	}
}

// suffix prints the mask of an address: nothing for a single one.
func (c *conntrackMatch) suffix(at int) string {
	mask := c.mask(at)
	if m := printMask(mask); m != strconv.Itoa(8*len(mask)) {
		return "/" + m
	}
	return ""
}

func (c *conntrackMatch) ports(i int) (from, to uint16) {
	if c.rev < 3 {
		p := c.be16(138 + 2*i)
		return p, p
	}
	return c.u16(138 + 2*i), c.u16(154 + 2*i)
}

// stateNames prints a mask of states, in the order of iptables.
func stateNames(states uint32) string {
	order := states&1 | states>>3&1<<1 | states>>2&1<<2 | states>>1&1<<3 | states>>8&1<<4 | states>>6&1<<5 | states>>7&1<<6
	return bits(order, "", "INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")
}

// eval follows conntrack_mt (net/netfilter/xt_conntrack.c).
func (c *conntrackMatch) eval(s *netfilter.State) netfilter.Effect {
	if !s.CTKnown {
		return noTracking
	}
	tracked := s.Tracked() == netfilter.Yes
	if c.match&byState != 0 {
		is := uint32(s.CT & 0xf)
		if s.CT&netfilter.CTUntracked != 0 {
			is = stateUntracked
		}
		if tracked && s.CTStatus&ipsSrcNAT != 0 {
			is |= stateSNAT
		}
		if tracked && s.CTStatus&ipsDstNAT != 0 {
			is |= stateDNAT
		}
		if (is&c.states != 0) == (c.invert&byState != 0) {
			return netfilter.Break
		}
	}
	if !tracked {
		return effect(c.match&byState != 0)
	}
	e := netfilter.Continue
	also := func(flag uint16, next func() netfilter.Effect) {
		if c.match&flag != 0 {
			e = all(e, unless(c.invert&flag != 0, next()))
		}
	}
	also(byDirection, func() netfilter.Effect { return effect(!s.Reply) })
	also(byProto, func() netfilter.Effect { return effect(c.u16(136) == 6) })
	tuples := [...]netip.AddrPort{s.Original[0], s.Original[1], s.Answer[0], s.Answer[1]}
	for i := range 4 {
		also(byTuple<<i, func() netfilter.Effect {
			if s.Outside || !tuples[i].IsValid() {
				return netfilter.Perhaps("the address is not known")
			}
			return effect(masked(tuples[i].Addr(), c.addr(32*i), c.mask(32*i+16)))
		})
		also(byPort<<i, func() netfilter.Effect {
			from, to := c.ports(i)
			if !tuples[i].IsValid() {
				return netfilter.Perhaps("the port is not known")
			}
			return portIn(tuples[i].Port(), from, to)
		})
	}
	also(byStatus, func() netfilter.Effect { return statusIs(s, c.status) })
	also(byExpiry, func() netfilter.Effect { return netfilter.Perhaps("when the connection expires") })
	return e
}

// statusIs compares the status of the connection with a mask. Assured it is from
// the ACK on.
func statusIs(s *netfilter.State, mask uint32) netfilter.Effect {
	status := s.CTStatus & netfilter.StatusKnown
	if s.Kind == facts.Ack {
		status |= ipsAssured
	}
	if status&mask == 0 && mask&^(netfilter.StatusKnown|ipsAssured) != 0 {
		return netfilter.Perhaps("the status of the connection is not known")
	}
	return effect(status&mask != 0)
}

// state is struct xt_state_info; newer programs write conntrack instead.
func state(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	states := d.u32(0)
	names := states&^(1<<6) | states>>6&1<<8 // XT_STATE_UNTRACKED
	w.add("--state", stateNames(names))
	return func(s *netfilter.State) netfilter.Effect {
		if !s.CTKnown {
			return noTracking
		}
		return effect(uint32(s.CT)&states != 0)
	}
}

// connmark is struct xt_connmark_mtinfo1.
func connmark(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	value, mask, invert := d.u32(0), d.u32(4), d.u8(8) != 0
	w.option(invert, "--mark", hexMask(value, mask))
	return func(s *netfilter.State) netfilter.Effect {
		switch tracked := s.Tracked(); {
		case tracked == netfilter.Unknown:
			return noTracking
		case tracked == netfilter.No:
			return netfilter.Break // also if inverted
		case !s.CTMarkOK && mask != 0:
			return netfilter.Perhaps("the connection's mark is not known")
		}
		return unless(invert, effect(s.CTMark&mask == value))
	}
}

// helper is struct xt_helper_info: of a connection that another one announced,
// which ours is not.
func helper(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	invert := d.u32(0) != 0
	w.option(invert, "--helper")
	w.quote(d.str(4, 30))
	return func(s *netfilter.State) netfilter.Effect {
		if s.CTKnown && s.CT&netfilter.CTRelated == 0 {
			return effect(invert)
		}
		return netfilter.Perhaps("helper " + d.str(4, 30))
	}
}

// connbytes is struct xt_connbytes_info; where the ends are swapped it is inverted.
func connbytes(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	from, to, what, direction := d.u64(0), d.u64(8), d.u8(16), d.u8(17)
	if what > 2 || direction > 2 {
		return nil
	}
	low, high := min(from, to), max(from, to)
	ends := fmt.Sprintf("%d:%d", low, high)
	if high == math.MaxUint64 {
		ends = fmt.Sprint(low)
	}
	w.option(from > to, "--connbytes", ends)
	w.add("--connbytes-mode", [...]string{"packets", "bytes", "avgpkt"}[what],
		"--connbytes-dir", [...]string{"original", "reply", "both"}[direction])
	return constant(netfilter.Perhaps("connbytes"))
}
