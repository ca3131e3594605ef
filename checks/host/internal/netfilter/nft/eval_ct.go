package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// The keys of ct that are judged: enum nft_ct_keys in linux/netfilter/nf_tables.h.
const (
	ctState     = 0
	ctDirection = 1
	ctStatus    = 2
	ctMark      = 3
	ctHelper    = 6
	ctL3Proto   = 7
	ctSrc       = 8
	ctDst       = 9
	ctProto     = 10
	ctProtoSrc  = 11
	ctProtoDst  = 12
	ctLabels    = 13
	ctZone      = 17
	ctSrcIP     = 19
	ctDstIP     = 20
	ctSrcIP6    = 21
	ctDstIP6    = 22
)

var ctNames = [...]string{"state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3proto", "saddr", "daddr",
	"protocol", "proto-src", "proto-dst", "label", "packets", "bytes", "avgpkt", "zone", "event", "ip saddr", "ip daddr",
	"ip6 saddr", "ip6 daddr", "id"}

// Sizes of what the keys answer, in the order of the keys; 0: that of an address.
var ctSize = [...]int{4, 1, 4, 4, 4, 4, 16, 1, 0, 0, 1, 2, 2, 16, 8, 8, 8, 2, 4, 4, 4, 16, 16, 4}

// Eval is nft_ct_get_eval and nft_ct_set_eval.
func (e *CT) Eval(s *netfilter.State) netfilter.Effect {
	if e.Set {
		return e.write(s)
	}
	r := &s.Registers
	if e.Key == ctState {
		if s.CTKnown {
			r.SetMasked(e.Reg, native32(uint32(s.CT)), nil)
		} else {
			e.unknown(s)
		}
		return netfilter.Continue
	}
	switch s.Tracked() {
	case netfilter.No:
		return netfilter.Break
	case netfilter.Unknown:
		e.unknown(s)
		return netfilter.Perhaps("whether connection tracking has it")
	}
	tuple := s.Original
	if e.Direction == 1 {
		tuple = s.Answer
	}
	v6 := s.Family == netfilter.IPv6
	switch e.Key {
	case ctDirection:
		dir := byte(0)
		if s.Reply {
			dir = 1
		}
		r.SetMasked(e.Reg, []byte{dir}, nil)
	case ctStatus:
		known := uint32(netfilter.StatusKnown)
		if s.Kind != facts.Ack {
			known |= 4 // IPS_ASSURED: not before the third packet
		}
		r.SetMasked(e.Reg, native32(s.CTStatus), native32(known))
		s.Cause = "ct status"
	case ctMark:
		if s.CTMarkOK {
			r.SetMasked(e.Reg, native32(s.CTMark), nil)
		} else {
			e.unknown(s)
		}
	case ctZone: // who sets another one is not known to be tracked: see write
		r.SetMasked(e.Reg, []byte{0, 0}, nil)
	case ctL3Proto:
		r.SetMasked(e.Reg, []byte{byte(s.Family)}, nil)
	case ctProto:
		r.SetMasked(e.Reg, []byte{tcp}, nil)
	case ctProtoSrc:
		e.port(s, tuple[0])
	case ctProtoDst:
		e.port(s, tuple[1])
	case ctSrc:
		e.addr(s, tuple[0])
	case ctDst:
		e.addr(s, tuple[1])
	case ctSrcIP, ctDstIP:
		if v6 {
			return netfilter.Break
		}
		e.addr(s, tuple[e.Key-ctSrcIP])
	case ctSrcIP6, ctDstIP6:
		if !v6 {
			return netfilter.Break
		}
		e.addr(s, tuple[e.Key-ctSrcIP6])
	default:
		e.unknown(s)
		if e.Key == ctHelper {
			return netfilter.Perhaps("ct helper") // without one the rule ends
		}
	}
	return netfilter.Continue
}

func (e *CT) port(s *netfilter.State, end netip.AddrPort) {
	if end.Port() == 0 {
		e.unknown(s)
		return
	}
	s.Registers.SetMasked(e.Reg, binary.BigEndian.AppendUint16(nil, end.Port()), nil)
}

func (e *CT) addr(s *netfilter.State, end netip.AddrPort) {
	if !end.IsValid() || s.Outside {
		e.unknown(s)
		return
	}
	s.Registers.SetMasked(e.Reg, end.Addr().AsSlice(), nil)
}

func (e *CT) unknown(s *netfilter.State) {
	n, name := 16, "what connection tracking holds"
	if int(e.Key) < len(ctSize) {
		n, name = ctSize[e.Key], "ct "+ctNames[e.Key]
	}
	if n == 0 && s.Family == netfilter.IPv6 {
		n = 16
	} else if n == 0 {
		n = 4
	}
	unknown(s, e.Reg, n, name)
}

// write sets the mark; a zone that is set in front of connection tracking takes the
// connection into another world, where nothing is known of it.
func (e *CT) write(s *netfilter.State) netfilter.Effect {
	switch e.Key {
	case ctMark:
		if s.Tracked() == netfilter.No {
			return netfilter.Continue
		}
		value, mask := s.Registers.View(e.Reg, 4)
		if value == nil {
			return whatever
		}
		s.CTMark, s.CTMarkOK = binary.NativeEndian.Uint32(value), allKnown(mask) && s.CTKnown
	case ctZone:
		if s.Tracked() != netfilter.Yes {
			s.CTKnown = false
		}
	}
	return netfilter.Continue
}

// Eval is nft_notrack_eval: it has no effect on what is tracked already.
func (e *Notrack) Eval(s *netfilter.State) netfilter.Effect {
	switch s.Tracked() {
	case netfilter.No:
		s.CT = netfilter.CTUntracked
	case netfilter.Unknown:
		s.CTKnown = false
	}
	return netfilter.Continue
}

// What switches connection tracking on.

// Tracks implements netfilter.Tracker.
func (e *CT) Tracks(netfilter.Family) bool { return true }

// Tracks implements netfilter.Tracker.
func (e *NAT) Tracks(f netfilter.Family) bool {
	return netfilter.Family(e.Family) == f || netfilter.Family(e.Family) == netfilter.Inet
}

// Tracks implements netfilter.Tracker.
func (e *Masquerade) Tracks(netfilter.Family) bool { return true }

// Tracks implements netfilter.Tracker.
func (e *Redirect) Tracks(netfilter.Family) bool { return true }

// Tracks implements netfilter.Tracker.
func (e *Connlimit) Tracks(netfilter.Family) bool { return true }

// Tracks implements netfilter.Tracker.
func (e *Compat) Tracks(netfilter.Family) bool { return netfilter.TracksByName(e.Name) }
