package nft

import (
	"encoding/binary"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// The keys of meta that are judged: enum nft_meta_keys in linux/netfilter/nf_tables.h.
const (
	metaLen         = 0
	metaProtocol    = 1
	metaPriority    = 2
	metaMark        = 3
	metaIIF         = 4
	metaOIF         = 5
	metaIIFName     = 6
	metaOIFName     = 7
	metaIIFType     = 8
	metaOIFType     = 9
	metaSKUID       = 10
	metaSKGID       = 11
	metaNFTrace     = 12
	metaRTClassID   = 13
	metaSecmark     = 14
	metaNFProto     = 15
	metaL4Proto     = 16
	metaBridgeIn    = 17
	metaBridgeOut   = 18
	metaPktType     = 19
	metaCPU         = 20
	metaIIFGroup    = 21
	metaOIFGroup    = 22
	metaCgroup      = 23
	metaRandom      = 24
	metaSecpath     = 25
	metaIIFKind     = 26
	metaOIFKind     = 27
	metaBridgePVID  = 28
	metaBridgeProto = 29
	metaTimeNS      = 30
	metaTimeDay     = 31
	metaTimeHour    = 32
	metaSDIF        = 33
	metaSDIFName    = 34
)

var metaNames = [...]string{"length", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype",
	"skuid", "skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto", "ibrname", "obrname", "pkttype", "cpu", "iifgroup",
	"oifgroup", "cgroup", "random", "ipsec", "iifkind", "oifkind", "ibrpvid", "ibrvproto", "time", "day", "hour", "sdif", "sdifname"}

// metaSize is how many bytes a key fills, in the order of the keys.
var metaSize = [...]int{4, 2, 4, 4, 4, 4, 16, 16, 2, 2, 4, 4, 1, 4, 4, 1, 1, 16, 16, 1, 4, 4, 4, 4, 4, 1, 16, 16, 2, 2, 8, 1, 4, 4, 16}

const (
	loIndex      = 1   // lo is the first device of every network namespace (loopback_net_init)
	loType       = 772 // ARPHRD_LOOPBACK
	interfaceLen = 16  // IFNAMSIZ
	tcp          = 6   // IPPROTO_TCP
)

// Eval is nft_meta_get_eval and nft_meta_set_eval.
func (e *Meta) Eval(s *netfilter.State) netfilter.Effect {
	if e.Set {
		e.write(s)
		return netfilter.Continue
	}
	r := &s.Registers
	switch e.Key {
	case metaProtocol:
		r.SetMasked(e.Reg, etherType(s), nil)
	case metaPriority:
		if s.PriorityUnknown {
			e.unknown(s)
		} else {
			r.SetMasked(e.Reg, native32(s.Priority), nil)
		}
	case metaMark:
		if s.MarkKnown {
			r.SetMasked(e.Reg, native32(s.Mark), nil)
		} else {
			e.unknown(s)
		}
	case metaIIF:
		return e.device(s, s.In, native32(s.InIndex))
	case metaOIF:
		return e.device(s, s.Out, native32(s.OutIndex))
	case metaIIFName:
		return e.device(s, s.In, padded(s.In))
	case metaOIFName:
		return e.device(s, s.Out, padded(s.Out))
	case metaIIFType, metaIIFGroup, metaIIFKind:
		return e.kind(s, s.In)
	case metaOIFType, metaOIFGroup, metaOIFKind:
		return e.kind(s, s.Out)
	case metaSKUID, metaSKGID, metaCgroup:
		return e.owner(s)
	case metaNFProto:
		family := s.Family
		if s.Table != nil && s.Table.Family == netfilter.Netdev {
			family = netfilter.Netdev
		}
		r.SetMasked(e.Reg, []byte{byte(family)}, nil)
	case metaL4Proto:
		r.SetMasked(e.Reg, []byte{tcp}, nil)
	case metaPktType:
		r.SetMasked(e.Reg, []byte{0}, nil) // PACKET_HOST, on lo at every hook
	case metaSecpath:
		r.SetMasked(e.Reg, []byte{0}, nil) // lo has disable_xfrm
	case metaSDIF:
		r.SetMasked(e.Reg, native32(0), nil) // no VRF
	case metaSDIFName:
		r.SetMasked(e.Reg, make([]byte, interfaceLen), nil)
	case metaBridgeIn, metaBridgeOut, metaBridgePVID, metaBridgeProto:
		return netfilter.Break // there is no bridge
	default:
		e.unknown(s)
	}
	return netfilter.Continue
}

// kind answers for the type, the group and the kind of a device: without a device
// the rule ends.
func (e *Meta) kind(s *netfilter.State, name string) netfilter.Effect {
	switch {
	case s.Outside:
		e.unknown(s)
	case name == "":
		return netfilter.Break
	case name != "lo":
		e.unknown(s)
	case e.Key == metaIIFKind || e.Key == metaOIFKind:
		return netfilter.Break // lo has no rtnl_link_ops
	case e.Key == metaIIFType || e.Key == metaOIFType:
		b := make([]byte, 2)
		binary.NativeEndian.PutUint16(b, loType)
		s.Registers.SetMasked(e.Reg, b, nil)
	default: // the group can be changed
		e.unknown(s)
	}
	return netfilter.Continue
}

// owner answers for the socket that the hook sees.
func (e *Meta) owner(s *netfilter.State) netfilter.Effect {
	o := s.Socket
	switch {
	case o == nil:
		return netfilter.Break
	case e.Key == metaCgroup && o.ClassID != nil:
		s.Registers.SetMasked(e.Reg, native32(*o.ClassID), nil)
	case e.Key == metaCgroup || !o.Known:
		e.unknown(s)
	case e.Key == metaSKUID:
		s.Registers.SetMasked(e.Reg, native32(o.UID), nil)
	default:
		s.Registers.SetMasked(e.Reg, native32(o.GID), nil)
	}
	return netfilter.Continue
}

// write sets a property.
func (e *Meta) write(s *netfilter.State) {
	value, mask := s.Registers.View(e.Reg, 4)
	if value == nil {
		s.MarkKnown = s.MarkKnown && e.Key != metaMark
		s.PriorityUnknown = s.PriorityUnknown || e.Key == metaPriority
		return
	}
	known := allKnown(mask)
	switch e.Key {
	case metaMark:
		s.Mark, s.MarkKnown = binary.NativeEndian.Uint32(value), known
	case metaPriority:
		s.Priority, s.PriorityUnknown = binary.NativeEndian.Uint32(value), !known
	}
}

// device answers with the name or the number of a device.
func (e *Meta) device(s *netfilter.State, name string, value []byte) netfilter.Effect {
	number := e.Key == metaIIF || e.Key == metaOIF
	if s.Outside && name == "" || number && name != "" && name != "lo" {
		e.unknown(s)
		return netfilter.Continue
	}
	s.Registers.SetMasked(e.Reg, value, nil)
	return netfilter.Continue
}

// unknown writes what cannot be foreseen.
func (e *Meta) unknown(s *netfilter.State) {
	n, name := 4, "a property of the packet"
	if int(e.Key) < len(metaSize) {
		n, name = metaSize[e.Key], "meta "+metaNames[e.Key]
	}
	unknown(s, e.Reg, n, name)
}

// unknown writes n bytes that cannot be foreseen, and says what they are.
func unknown(s *netfilter.State, reg uint32, n int, cause string) {
	s.Registers.SetUnknown(reg, n)
	s.Cause = cause
}

func allKnown(mask []byte) bool {
	for _, m := range mask {
		if m != 0xff {
			return false
		}
	}
	return true
}

func native32(v uint32) []byte {
	return binary.NativeEndian.AppendUint32(make([]byte, 0, 4), v)
}

func padded(name string) []byte {
	b := make([]byte, interfaceLen)
	copy(b, name)
	return b
}

// etherType is skb->protocol: ETH_P_IP or ETH_P_IPV6.
func etherType(s *netfilter.State) []byte {
	if s.Family == netfilter.IPv6 {
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0x00}
}
