package nft

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// Eval drops and answers: nft_reject_inet_eval. The words are those of nft(8).
func (e *Reject) Eval(s *netfilter.State) netfilter.Effect {
	return verdict(netfilter.Verdict{Code: netfilter.Reject, With: e.with(s.Family)})
}

func (e *Reject) with(family netfilter.Family) string {
	v6 := family == netfilter.IPv6
	switch e.Type {
	case 1:
		return "tcp reset"
	case 2: // of both families: NFT_REJECT_ICMPX_*
		codes := map[uint32][2]string{
			0: {"net-unreachable", "no-route"}, 1: {"port-unreachable", "port-unreachable"},
			2: {"host-unreachable", "addr-unreachable"}, 3: {"admin-prohibited", "admin-prohibited"},
		}
		if c, ok := codes[e.Code]; ok && v6 {
			return "icmpv6 " + c[1]
		} else if ok {
			return "icmp " + c[0]
		}
		return "icmpx " + strconv.FormatUint(uint64(e.Code), 10)
	}
	number := strconv.FormatUint(uint64(e.Code), 10)
	if v6 { // RFC 4443, 3.1
		names := map[uint32]string{0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail", 6: "reject-route"}
		if n := names[e.Code]; n != "" {
			number = n
		}
		return "icmpv6 " + number
	}
	names := map[uint32]string{0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable",
		9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"} // RFC 1812, 5.2.7.1
	if n := names[e.Code]; n != "" {
		number = n
	}
	return "icmp " + number
}

func verdict(v netfilter.Verdict) netfilter.Effect {
	return netfilter.Effect{Match: netfilter.Yes, Verdict: v}
}

// Eval hands the packet to a program.
func (e *Queue) Eval(*netfilter.State) netfilter.Effect {
	with := "queue"
	if e.Reg == 0 {
		with += " " + strconv.FormatUint(uint64(e.Num), 10)
		if e.Total > 1 {
			with += "-" + strconv.FormatUint(uint64(e.Num)+uint64(e.Total)-1, 10)
		}
	}
	return verdict(netfilter.Verdict{Code: netfilter.Queue, With: with, Bypass: e.Flags&1 != 0})
}

// Eval sends the packet out of another device: it does not go on here.
func (e *Fwd) Eval(*netfilter.State) netfilter.Effect {
	return verdict(netfilter.Verdict{Code: netfilter.Drop, With: "fwd"})
}

// Flags of translations (NF_NAT_RANGE_*): random and fully random choose the port.
const randomPort = 4 | 16

// Eval is nft_nat_eval.
func (e *NAT) Eval(s *netfilter.State) netfilter.Effect {
	d := &facts.FilterDivert{Kind: "dnat"}
	if e.Type == 0 {
		d.Kind = "snat"
	}
	family := netfilter.Family(e.Family)
	if family != s.Family && family != netfilter.Inet && e.AddrMin != 0 {
		return netfilter.Break // "ip" or "ip6" of a packet that is the other
	}
	addr, why := netip.Addr{}, ""
	if e.AddrMin != 0 {
		n := 4
		if s.Family == netfilter.IPv6 {
			n = 16
		}
		addr, why = address(s, e.AddrMin, n)
		if e.AddrMax != 0 && e.AddrMax != e.AddrMin {
			if to, w := address(s, e.AddrMax, n); why == "" && (w != "" || to != addr) {
				d.Range, why = true, "one of several addresses"
			}
		}
	}
	return translate(s, d, addr, e.ProtoMin, e.ProtoMax, e.Flags, why)
}

// Eval is nft_redir_eval: at output the destination becomes this machine's
// loopback address (nf_nat_redirect_ipv4, _ipv6).
func (e *Redirect) Eval(s *netfilter.State) netfilter.Effect {
	d := &facts.FilterDivert{Kind: "redirect"}
	why, to := "", netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if s.Family == netfilter.IPv6 {
		to = netip.IPv6Loopback()
	}
	if s.Hook == netfilter.Prerouting {
		to = s.To.Addr() // the device's own
	}
	return translate(s, d, to, e.ProtoMin, e.ProtoMax, e.Flags, why)
}

// Eval is nft_masq_eval: which address the kernel takes is that of a device.
func (e *Masquerade) Eval(s *netfilter.State) netfilter.Effect {
	d := &facts.FilterDivert{Kind: "masquerade"}
	return translate(s, d, netip.Addr{}, e.ProtoMin, e.ProtoMax, e.Flags, "which address masquerade takes")
}

// translate completes a diversion with its port.
func translate(s *netfilter.State, d *facts.FilterDivert, addr netip.Addr, low, high, flags uint32, why string) netfilter.Effect {
	port := uint16(0)
	if low != 0 {
		value, mask := s.Registers.View(low, 2)
		switch {
		case value == nil:
			return whatever
		case !allKnown(mask):
			why = unforeseen(s)
		default:
			port = binary.BigEndian.Uint16(value)
		}
		if high != 0 && high != low {
			if last, m := s.Registers.View(high, 2); why == "" && (last == nil || !allKnown(m) || binary.BigEndian.Uint16(last) != port) {
				d.Range, why = true, "one of several ports"
			}
		}
	}
	if flags&randomPort != 0 && (low != 0 || d.Kind == "snat" || d.Kind == "masquerade") && why == "" {
		why = "a random port"
	}
	d.To = netip.AddrPortFrom(addr, port)
	effect := verdict(netfilter.Verdict{Code: netfilter.Divert, Divert: d})
	if why != "" {
		// That it is translated is certain, and where to is not.
		effect.Verdict.With = why
	}
	return effect
}

func address(s *netfilter.State, reg uint32, n int) (netip.Addr, string) {
	value, mask := s.Registers.View(reg, n)
	if value == nil || !allKnown(mask) {
		return netip.Addr{}, unforeseen(s)
	}
	a, _ := netip.AddrFromSlice(value)
	return a, ""
}

// Eval is nft_tproxy_eval: only a socket that is transparent takes the packet, and
// without one the rule ends.
func (e *TProxy) Eval(s *netfilter.State) netfilter.Effect {
	d := &facts.FilterDivert{Kind: "tproxy"}
	addr, port := netip.Addr{}, s.To.Port()
	if e.Addr != 0 {
		n := 4
		if s.Family == netfilter.IPv6 {
			n = 16
		}
		addr, _ = address(s, e.Addr, n)
	}
	if e.Port != 0 {
		if value, mask := s.Registers.View(e.Port, 2); value != nil && allKnown(mask) {
			port = binary.BigEndian.Uint16(value)
		}
	}
	d.To = netip.AddrPortFrom(addr, port)
	return netfilter.Effect{Match: netfilter.Unknown, Why: "whether a transparent socket listens there",
		Verdict: netfilter.Verdict{Code: netfilter.None, Divert: d}}
}

func nativePut64(b []byte, v uint64) { binary.NativeEndian.PutUint64(b, v) }
