package nft

import (
	"net/netip"
	"strconv"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// Results and flags of fib: linux/netfilter/nf_tables.h.
const (
	fibOIF     = 1
	fibOIFName = 2
	fibType    = 3

	fibSaddr   = 1
	fibDaddr   = 2
	fibIIF     = 8
	fibPresent = 32

	routeLocal = 2 // RTN_LOCAL
)

// Eval is nft_fib4_eval and nft_fib4_eval_type, and those of IPv6. An address on
// lo is local; asked for the device, at prerouting and input, the kernel takes lo
// as it is (nft_fib_can_skip; older ones at prerouting only).
func (e *Fib) Eval(s *netfilter.State) netfilter.Effect {
	addr := s.To.Addr()
	if e.Flags&fibSaddr != 0 {
		addr = s.From.Addr()
	}
	local := addr.IsLoopback() && (e.Flags&fibSaddr == 0 || !s.Outside)
	switch {
	case e.Result == fibType && (local || s.Outside && e.Flags&fibDaddr != 0 && e.Flags&fibIIF == 0) && !broadcast(addr):
		s.Registers.SetMasked(e.Reg, native32(routeLocal), nil)
	case (e.Result == fibOIF || e.Result == fibOIFName) && s.Hook == netfilter.Prerouting && s.In == "lo":
		value := native32(s.InIndex)
		if e.Flags&fibPresent != 0 {
			value = []byte{1}
		} else if e.Result == fibOIFName {
			value = padded("lo")
		}
		s.Registers.SetMasked(e.Reg, value, nil)
	default:
		n := 4
		if e.Result == fibOIFName {
			n = interfaceLen
		}
		if e.Flags&fibPresent != 0 {
			n = 1
		}
		unknown(s, e.Reg, n, "a route (fib)")
	}
	return netfilter.Continue
}

// broadcast addresses of the network of lo have routes of their own.
func broadcast(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 255, 255, 255}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 0})
}

// Keys of socket (enum nft_socket_keys).
const (
	socketTransparent = 0
	socketMark        = 1
	socketWildcard    = 2
	socketCgroup      = 3
)

// Eval is nft_socket_eval: the socket of the packet, or one that is looked up by its
// addresses.
func (e *Socket) Eval(s *netfilter.State) netfilter.Effect {
	owner, request := s.Socket, s.Request
	if owner == nil {
		owner, request = s.Receiver, s.ReceiverRequest
	}
	if owner == nil {
		// Whether somebody has this address is not the walk's to know.
		unknown(s, e.Reg, e.size(), e.name())
		return netfilter.Perhaps("whether there is a socket")
	}
	if request && e.Key != socketTransparent {
		return netfilter.Break // not a whole socket (sk_fullsock)
	}
	if e.Key == socketCgroup && owner.Known && owner.CgroupIDs != nil {
		if int(e.Level) >= len(owner.CgroupIDs) {
			return netfilter.Break // no ancestor that deep
		}
		b := append(native32(0), native32(0)...)
		nativePut64(b, owner.CgroupIDs[e.Level])
		s.Registers.SetMasked(e.Reg, b, nil)
		return netfilter.Continue
	}
	unknown(s, e.Reg, e.size(), e.name())
	return netfilter.Continue
}

func (e *Socket) size() int {
	return map[uint32]int{socketTransparent: 1, socketMark: 4, socketWildcard: 1, socketCgroup: 8}[e.Key]
}

func (e *Socket) name() string {
	switch e.Key {
	case socketTransparent:
		return "socket transparent"
	case socketMark:
		return "socket mark"
	case socketWildcard:
		return "socket wildcard"
	}
	return "socket cgroupv2 level " + strconv.FormatUint(uint64(e.Level), 10)
}

// Eval of a property of the route.
func (e *Rt) Eval(s *netfilter.State) netfilter.Effect {
	n := map[uint32]int{0: 4, 1: 4, 2: 16, 3: 2, 4: 1}[e.Key]
	if e.Key == 4 {
		s.Registers.SetMasked(e.Reg, []byte{0}, nil) // no xfrm on lo
		return netfilter.Continue
	}
	unknown(s, e.Reg, max(n, 4), "a property of the route (rt)")
	return netfilter.Perhaps("a property of the route (rt)")
}

// Of exthdr: operations (enum nft_exthdr_op), the flag and options of TCP (RFC 9293, 3.2).
const (
	extIPv6       = 0
	extTCP        = 1
	extIPv4       = 2
	extPresent    = 1
	optionEnd     = 0
	optionNop     = 1
	optionMSS     = 2
	optionMPTCP   = 30
	optionUnknown = "a TCP option"
)

// Eval is nft_exthdr_tcp_eval and its siblings.
func (e *Exthdr) Eval(s *netfilter.State) netfilter.Effect {
	if e.Writes {
		return netfilter.Perhaps("changes a TCP option")
	}
	n := int(min(e.Len, maxValue))
	if e.Flags&extPresent != 0 {
		n = 1
	}
	there := netfilter.Unknown
	switch e.Op {
	case extTCP:
		if e.Type == optionMSS {
			there = truth(s.Kind != facts.Ack) // a SYN always offers it (tcp_syn_options)
		}
	case extIPv6, extIPv4:
		there = netfilter.No
		if s.Outside {
			there = netfilter.Unknown
		}
		if e.Op == extIPv6 && s.Family != netfilter.IPv6 || e.Op == extIPv4 && s.Family == netfilter.IPv6 {
			return netfilter.Break
		}
	default: // of SCTP and DCCP
		return netfilter.Break
	}
	switch {
	case e.Flags&extPresent != 0 && there != netfilter.Unknown:
		b := byte(0)
		if there == netfilter.Yes {
			b = 1
		}
		s.Registers.SetMasked(e.Reg, []byte{b}, nil)
		return netfilter.Continue
	case there == netfilter.No:
		return netfilter.Break
	}
	unknown(s, e.Reg, n, optionUnknown)
	if there == netfilter.Yes || e.Flags&extPresent != 0 {
		return netfilter.Continue
	}
	return netfilter.Perhaps(optionUnknown)
}
