package nft

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// at makes the state of a packet at a hook.
func at(hook netfilter.Hook, kind string, from, to string) *netfilter.State {
	p := &netfilter.Packet{Kind: kind, From: netip.MustParseAddrPort(from), To: netip.MustParseAddrPort(to), MarkKnown: true, CTKnown: true, CT: netfilter.CTNew,
		Reply: kind == facts.SynAck, CTMarkOK: true}
	p.Original = [2]netip.AddrPort{p.From, p.To}
	p.Answer = [2]netip.AddrPort{p.To, p.From}
	s := &netfilter.State{Packet: p, Family: netfilter.IPv4, Table: &netfilter.Table{Family: netfilter.Inet}, Hook: hook}
	if p.IPv6() {
		s.Family = netfilter.IPv6
	}
	switch hook {
	case netfilter.Output, netfilter.Postrouting, netfilter.Egress:
		s.Out, s.OutIndex = "lo", 1
		p.Socket = &netfilter.Owner{Known: true, UID: 1000, GID: 100}
	default:
		s.In, s.InIndex = "lo", 1
	}
	return s
}

func syn(hook netfilter.Hook) *netfilter.State {
	return at(hook, facts.Syn, "127.0.0.1:40000", "127.0.0.1:80")
}

// applied runs expressions as a rule does, to the first that does not simply go on.
func applied(s *netfilter.State, exprs ...netfilter.Expr) netfilter.Effect {
	for _, e := range exprs {
		if x := e.Eval(s); x.Match != netfilter.Yes || x.Verdict.Code != netfilter.None {
			return x
		}
	}
	return netfilter.Continue
}

func n32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
func n16(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }

func eq(data ...byte) *Cmp { return &Cmp{Reg: 1, Data: data} }

func TestEvalMatches(t *testing.T) {
	const yes, no, perhaps = netfilter.Yes, netfilter.No, netfilter.Unknown
	meta := func(key uint32) netfilter.Expr { return &Meta{Key: key, Reg: 1} }
	load := func(base, offset, n uint32) netfilter.Expr {
		return &Payload{Base: base, Offset: offset, Len: n, Reg: 1}
	}
	ct := func(key uint32, dir int) netfilter.Expr { return &CT{Key: key, Direction: dir, Reg: 1} }
	untracked, unknownCT, unknownMark := syn(netfilter.Input), syn(netfilter.Input), syn(netfilter.Input)
	untracked.CT, unknownCT.CTKnown, unknownMark.MarkKnown = netfilter.CTUntracked, false, false
	translated := syn(netfilter.Input)
	translated.CTStatus, translated.Answer[0] = 8|32, netip.MustParseAddrPort("127.0.0.2:81")
	ack := at(netfilter.Input, facts.Ack, "127.0.0.1:40000", "127.0.0.1:80")
	answer := at(netfilter.Output, facts.SynAck, "127.0.0.1:80", "127.0.0.1:40000")
	answer.Request = true
	v6 := at(netfilter.Output, facts.Syn, "[::1]:40000", "[::1]:80")
	someone := syn(netfilter.Output)
	someone.Socket = &netfilter.Owner{}
	classed := syn(netfilter.Output)
	classed.Socket = &netfilter.Owner{Known: true, ClassID: new(uint32), CgroupIDs: []uint64{1, 77}}
	received := syn(netfilter.Input)
	received.Receiver = classed.Socket
	outside := syn(netfilter.Prerouting)
	outside.Outside, outside.In, outside.InIndex = true, "", 0
	netdev := syn(netfilter.Ingress)
	netdev.Table = &netfilter.Table{Family: netfilter.Netdev}
	otherPort := at(netfilter.Output, facts.Syn, "127.0.0.1:0", "127.0.0.1:80")
	ones := []byte{0xff, 0xff}

	for _, c := range []struct {
		name  string
		s     *netfilter.State
		want  netfilter.Truth
		exprs []netfilter.Expr
	}{
		{"oifname lo at output", syn(netfilter.Output), yes, []netfilter.Expr{meta(metaOIFName), eq(padded("lo")...)}},
		{"iifname lo at output: empty, not missing", syn(netfilter.Output), no, []netfilter.Expr{meta(metaIIFName), eq(padded("lo")...)}},
		{"iifname != lo at output", syn(netfilter.Output), yes, []netfilter.Expr{meta(metaIIFName), &Cmp{1, 1, padded("lo")}}},
		{"iif 0 at output", syn(netfilter.Output), yes, []netfilter.Expr{meta(metaIIF), eq(n32(0)...)}},
		{"iif lo at input", syn(netfilter.Input), yes, []netfilter.Expr{meta(metaIIF), eq(n32(1)...)}},
		{"iiftype at output: missing", syn(netfilter.Output), no, []netfilter.Expr{meta(metaIIFType), &Cmp{1, 1, n16(1)}}},
		{"iiftype loopback", syn(netfilter.Input), yes, []netfilter.Expr{meta(metaIIFType), eq(n16(772)...)}},
		{"iifkind: lo has none", syn(netfilter.Input), no, []netfilter.Expr{meta(metaIIFKind), &Cmp{1, 1, padded("veth")}}},
		{"iifgroup can be changed", syn(netfilter.Input), perhaps, []netfilter.Expr{meta(metaIIFGroup), eq(n32(0)...)}},
		{"iifname of another machine's packet", outside, perhaps, []netfilter.Expr{meta(metaIIFName), eq(padded("eth0")...)}},
		{"daddr of another machine's packet", outside, perhaps, []netfilter.Expr{load(1, 16, 4), eq(203, 0, 113, 1)}},
		{"it goes to this machine", outside, yes, []netfilter.Expr{&Fib{Result: fibType, Flags: fibDaddr, Reg: 1}, eq(n32(2)...)}},
		{"and comes from who knows", outside, perhaps, []netfilter.Expr{&Fib{Result: fibType, Flags: fibSaddr, Reg: 1}, eq(n32(2)...)}},
		{"skuid", syn(netfilter.Output), yes, []netfilter.Expr{meta(metaSKUID), eq(n32(1000)...)}},
		{"skgid", syn(netfilter.Output), no, []netfilter.Expr{meta(metaSKGID), eq(n32(1000)...)}},
		{"skuid at input: no socket", syn(netfilter.Input), no, []netfilter.Expr{meta(metaSKUID), &Cmp{1, 1, n32(4)}}},
		{"skuid of somebody", someone, perhaps, []netfilter.Expr{meta(metaSKUID), eq(n32(1000)...)}},
		{"cgroup", classed, yes, []netfilter.Expr{meta(metaCgroup), eq(n32(0)...)}},
		{"cgroup that was not read", syn(netfilter.Output), perhaps, []netfilter.Expr{meta(metaCgroup), eq(n32(0)...)}},
		{"protocol", v6, yes, []netfilter.Expr{meta(metaProtocol), eq(0x86, 0xdd)}},
		{"nfproto", v6, yes, []netfilter.Expr{meta(metaNFProto), eq(10)}},
		{"nfproto in a netdev table", netdev, yes, []netfilter.Expr{meta(metaNFProto), eq(5)}},
		{"length", syn(netfilter.Input), perhaps, []netfilter.Expr{meta(metaLen), &Cmp{1, 4, n32(20)}}},
		{"mark", syn(netfilter.Input), yes, []netfilter.Expr{meta(metaMark), eq(n32(0)...)}},
		{"mark that is not known", unknownMark, perhaps, []netfilter.Expr{meta(metaMark), eq(n32(0)...)}},
		{"masked to nothing it is", unknownMark, yes, []netfilter.Expr{meta(metaMark), &Bitwise{From: 1, To: 1, Len: 4, Mask: n32(0), Xor: n32(5)}, eq(n32(5)...)}},
		{"what was set", unknownMark, yes, []netfilter.Expr{&Immediate{Reg: 1, Data: n32(3)}, &Meta{Key: metaMark, Reg: 1, Set: true}, meta(metaMark), eq(n32(3)...)}},
		{"time", syn(netfilter.Input), perhaps, []netfilter.Expr{meta(metaTimeHour), eq(n32(0)...)}},
		{"a key from the future", syn(netfilter.Input), perhaps, []netfilter.Expr{meta(99), eq(n32(0)...)}},

		{"dport", syn(netfilter.Input), yes, []netfilter.Expr{load(2, 2, 2), eq(0, 80)}},
		{"dport <", syn(netfilter.Input), yes, []netfilter.Expr{load(2, 2, 2), &Cmp{1, 2, []byte{1, 0}}}},
		{"dport >=", syn(netfilter.Input), no, []netfilter.Expr{load(2, 2, 2), &Cmp{1, 5, []byte{1, 0}}}},
		{"dport range", syn(netfilter.Input), yes, []netfilter.Expr{load(2, 2, 2), &Range{1, 0, []byte{0, 80}, []byte{0, 90}}}},
		{"dport != range", syn(netfilter.Input), no, []netfilter.Expr{load(2, 2, 2), &Range{1, 1, []byte{0, 80}, []byte{0, 90}}}},
		{"sport that is not known", otherPort, perhaps, []netfilter.Expr{load(2, 0, 2), eq(0, 80)}},
		{"is a port all the same", otherPort, yes, []netfilter.Expr{load(2, 0, 2), &Range{1, 0, []byte{0, 0}, ones}}},
		{"both ports at once", syn(netfilter.Input), yes, []netfilter.Expr{load(2, 0, 4), eq(0x9c, 0x40, 0, 80)}},
		{"saddr in a net", syn(netfilter.Input), yes, []netfilter.Expr{load(1, 12, 1), eq(127)}},
		{"saddr of IPv6", v6, yes, []netfilter.Expr{load(1, 8, 16), eq(append(make([]byte, 15), 1)...)}},
		{"ttl", syn(netfilter.Input), perhaps, []netfilter.Expr{load(1, 8, 1), eq(64)}},
		{"protocol of IP", syn(netfilter.Input), yes, []netfilter.Expr{load(1, 9, 1), eq(6)}},
		{"version of IPv6", v6, yes, []netfilter.Expr{load(1, 0, 1), &Bitwise{From: 1, To: 1, Len: 1, Mask: []byte{0xf0}, Xor: []byte{0}}, eq(0x60)}},
		{"flags of a SYN", syn(netfilter.Input), yes, []netfilter.Expr{load(2, 13, 1), &Bitwise{From: 1, To: 1, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}}, eq(2)}},
		{"flags of an answer", answer, yes, []netfilter.Expr{load(2, 13, 1), &Bitwise{From: 1, To: 1, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}}, eq(0x12)}},
		{"flags of an ACK", ack, yes, []netfilter.Expr{load(2, 13, 1), &Bitwise{From: 1, To: 1, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}}, eq(0x10)}},
		{"all flags: ECN is a setting", syn(netfilter.Input), perhaps, []netfilter.Expr{load(2, 13, 1), eq(2)}},
		{"a flag that it has not", syn(netfilter.Input), no, []netfilter.Expr{load(2, 13, 1), eq(1)}},
		{"the link header at output: missing", syn(netfilter.Output), no, []netfilter.Expr{load(0, 0, 6), &Cmp{1, 1, []byte{1, 2, 3, 4, 5, 6}}}},
		{"and at input zeroes", syn(netfilter.Input), yes, []netfilter.Expr{load(0, 6, 6), eq(make([]byte, 6)...)}},
		{"data: a SYN has none", syn(netfilter.Input), no, []netfilter.Expr{load(3, 0, 1), &Cmp{1, 1, []byte{1}}}},
		{"behind the header", syn(netfilter.Input), perhaps, []netfilter.Expr{load(2, 20, 4), eq(2, 4, 1, 1)}},
		{"far behind", syn(netfilter.Input), perhaps, []netfilter.Expr{load(2, 0xffffffff, 4), eq(2, 4, 1, 1)}},
		{"more than a register", syn(netfilter.Input), perhaps, []netfilter.Expr{load(2, 0, 0xffffffff)}},

		{"ct state new", syn(netfilter.Input), yes, []netfilter.Expr{ct(ctState, -1), &Bitwise{From: 1, To: 1, Len: 4, Mask: n32(8), Xor: n32(0)}, &Cmp{1, 1, n32(0)}}},
		{"ct state perhaps", unknownCT, perhaps, []netfilter.Expr{ct(ctState, -1), eq(n32(8)...)}},
		{"ct mark of what is not tracked", untracked, no, []netfilter.Expr{ct(ctMark, -1), eq(n32(0)...)}},
		{"ct mark of what is perhaps", unknownCT, perhaps, []netfilter.Expr{ct(ctMark, -1), eq(n32(0)...)}},
		{"ct direction", answer, yes, []netfilter.Expr{ct(ctDirection, -1), eq(1)}},
		{"ct status dnat", translated, yes, []netfilter.Expr{ct(ctStatus, -1), &Bitwise{From: 1, To: 1, Len: 4, Mask: n32(32), Xor: n32(0)}, &Cmp{1, 1, n32(0)}}},
		{"ct status assured, of a SYN", translated, no, []netfilter.Expr{ct(ctStatus, -1), &Bitwise{From: 1, To: 1, Len: 4, Mask: n32(4), Xor: n32(0)}, &Cmp{1, 1, n32(0)}}},
		{"ct status assured, of an ACK", ack, perhaps, []netfilter.Expr{ct(ctStatus, -1), &Bitwise{From: 1, To: 1, Len: 4, Mask: n32(4), Xor: n32(0)}, &Cmp{1, 1, n32(0)}}},
		{"ct original proto-dst", translated, yes, []netfilter.Expr{ct(ctProtoDst, 0), eq(0, 80)}},
		{"ct reply proto-src", translated, yes, []netfilter.Expr{ct(ctProtoSrc, 1), eq(0, 81)}},
		{"ct reply saddr", translated, yes, []netfilter.Expr{ct(ctSrcIP, 1), eq(127, 0, 0, 2)}},
		{"ct ip saddr of IPv6", v6, no, []netfilter.Expr{ct(ctSrcIP, 0), &Cmp{1, 1, []byte{127, 0, 0, 2}}}},
		{"ct expiration", translated, perhaps, []netfilter.Expr{ct(5, -1), eq(n32(0)...)}},

		{"fib daddr type local", syn(netfilter.Input), yes, []netfilter.Expr{&Fib{Result: fibType, Flags: fibDaddr, Reg: 1}, eq(n32(2)...)}},
		{"fib saddr iif oif missing", syn(netfilter.Prerouting), no, []netfilter.Expr{&Fib{Result: fibOIF, Flags: fibSaddr | fibIIF | fibPresent, Reg: 1}, eq(0)}},
		{"fib saddr iif oif", syn(netfilter.Prerouting), yes, []netfilter.Expr{&Fib{Result: fibOIF, Flags: fibSaddr | fibIIF, Reg: 1}, eq(n32(1)...)}},
		{"socket cgroupv2", classed, yes, []netfilter.Expr{&Socket{Key: socketCgroup, Level: 1, Reg: 1}, eq(binary.NativeEndian.AppendUint64(nil, 77)...)}},
		{"socket cgroupv2 of the receiver", received, no, []netfilter.Expr{&Socket{Key: socketCgroup, Level: 1, Reg: 1}, eq(binary.NativeEndian.AppendUint64(nil, 76)...)}},
		{"socket cgroupv2, too deep", classed, no, []netfilter.Expr{&Socket{Key: socketCgroup, Level: 2, Reg: 1}}},
		{"socket mark of a request", answer, no, []netfilter.Expr{&Socket{Key: socketMark, Reg: 1}}},
		{"socket transparent", classed, perhaps, []netfilter.Expr{&Socket{Key: socketTransparent, Reg: 1}, eq(1)}},
		{"nobody known to have the port", syn(netfilter.Input), perhaps, []netfilter.Expr{&Socket{Key: socketTransparent, Reg: 1}}},
		{"maxseg exists", syn(netfilter.Input), yes, []netfilter.Expr{&Exthdr{Reg: 1, Type: 2, Len: 1, Flags: 1, Op: 1}, eq(1)}},
		{"maxseg of an ACK", ack, no, []netfilter.Expr{&Exthdr{Reg: 1, Type: 2, Len: 1, Flags: 1, Op: 1}, eq(1)}},
		{"timestamps", syn(netfilter.Input), perhaps, []netfilter.Expr{&Exthdr{Reg: 1, Type: 8, Len: 1, Flags: 1, Op: 1}, eq(1)}},
		{"fragments of IPv6", v6, no, []netfilter.Expr{&Exthdr{Reg: 1, Type: 44, Len: 1, Flags: 1, Op: 0}, eq(1)}},

		{"limit", syn(netfilter.Input), perhaps, []netfilter.Expr{&Limit{Rate: 5, Unit: 1}}},
		{"numgen", syn(netfilter.Input), perhaps, []netfilter.Expr{&Numgen{Reg: 1, Modulus: 2, Type: 1}, eq(n32(0)...)}},
		{"numgen is never that large", syn(netfilter.Input), yes, []netfilter.Expr{&Numgen{Reg: 1, Modulus: 1}, eq(n32(0)...)}},
		{"counter", syn(netfilter.Input), yes, []netfilter.Expr{&Counter{}, &Log{}, &Last{}, &Dup{}}},
		{"registers that are none", syn(netfilter.Input), perhaps, []netfilter.Expr{&Cmp{Reg: 99, Data: []byte{1}}}},
		{"nat ip of IPv6", v6, no, []netfilter.Expr{&Immediate{Reg: 1, Data: []byte{127, 0, 0, 1}}, &NAT{Type: 1, Family: 2, AddrMin: 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.Registers, c.s.Cause = netfilter.Registers{}, ""
			if got := applied(c.s, c.exprs...); got.Match != c.want || got.Match == netfilter.Unknown && got.Why == "" {
				t.Errorf("got %+v, want %v", got, c.want)
			}
		})
	}
}

// TestEvalShift compares with numbers of 64 bits.
func TestEvalShift(t *testing.T) {
	for _, left := range []bool{true, false} {
		v := []byte{0, 0, 0, 0, 0, 0, 0, 0}
		binary.NativeEndian.PutUint32(v, 0x12345678)
		binary.NativeEndian.PutUint32(v[4:], 0x9abcdef0)
		want := uint64(0x123456789abcdef0)
		got := shift(v, left, 4, false)
		if left {
			want <<= 4
		} else {
			want >>= 4
		}
		if g := uint64(binary.NativeEndian.Uint32(got))<<32 | uint64(binary.NativeEndian.Uint32(got[4:])); g != want {
			t.Errorf("left %v: %x, want %x", left, g, want)
		}
	}
}

func TestEvalReasons(t *testing.T) {
	for _, c := range []struct {
		want  string
		exprs []netfilter.Expr
	}{
		{"limit rate 5/second", []netfilter.Expr{&Limit{Rate: 5, Unit: 1}}},
		{"limit rate over 1000 bytes/minute", []netfilter.Expr{&Limit{Rate: 1000, Unit: 60, Bytes: true, Inverse: true}}},
		{"quota over 25 bytes", []netfilter.Expr{&Quota{Bytes: 25, Inverse: true}}},
		{"ct count over 3", []netfilter.Expr{&Connlimit{Count: 3, Inverse: true}}},
		{"numgen random", []netfilter.Expr{&Numgen{Reg: 1, Modulus: 2, Type: 1}, eq(n32(0)...)}},
		{"meta cpu", []netfilter.Expr{&Meta{Key: metaCPU, Reg: 1}, eq(n32(0)...)}},
		{"ip ttl", []netfilter.Expr{&Payload{Base: 1, Offset: 8, Len: 1, Reg: 1}, eq(64)}},
		{"set bad could not be read", []netfilter.Expr{&Lookup{Set: &Set{Name: "bad", KeyLen: 1, load: func() ([]Element, error) { return nil, fmt.Errorf("no") }}, From: 1}}},
	} {
		if got := applied(syn(netfilter.Input), c.exprs...).Why; got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestEvalVerdicts(t *testing.T) {
	s := syn(netfilter.Output)
	v6 := at(netfilter.Output, facts.Syn, "[::1]:40000", "[::1]:80")
	for _, c := range []struct {
		want  string
		s     *netfilter.State
		exprs []netfilter.Expr
	}{
		{"reject tcp reset", s, []netfilter.Expr{&Reject{Type: 1}}},
		{"reject icmp port-unreachable", s, []netfilter.Expr{&Reject{Type: 0, Code: 3}}},
		{"reject icmpv6 port-unreachable", v6, []netfilter.Expr{&Reject{Type: 0, Code: 4}}},
		{"reject icmp admin-prohibited", s, []netfilter.Expr{&Reject{Type: 2, Code: 3}}},
		{"reject icmpv6 addr-unreachable", v6, []netfilter.Expr{&Reject{Type: 2, Code: 2}}},
		{"queue 3-5 bypass", s, []netfilter.Expr{&Queue{Num: 3, Total: 3, Flags: 1}}},
		{"redirect 127.0.0.1:8080", s, []netfilter.Expr{&Immediate{Reg: 1, Data: []byte{0x1f, 0x90}}, &Redirect{ProtoMin: 1}}},
		{"redirect [::1]:0", v6, []netfilter.Expr{&Redirect{}}},
		{"dnat 127.0.0.2:80", s, []netfilter.Expr{&Immediate{Reg: 1, Data: []byte{127, 0, 0, 2}}, &Immediate{Reg: 9, Data: []byte{0, 80}}, &NAT{Type: 1, Family: 2, AddrMin: 1, ProtoMin: 9}}},
		{"dnat 127.0.0.2:0 one of several addresses", s, []netfilter.Expr{&Immediate{Reg: 1, Data: []byte{127, 0, 0, 2}}, &Immediate{Reg: 2, Data: []byte{127, 0, 0, 9}}, &NAT{Type: 1, Family: 2, AddrMin: 1, AddrMax: 2}}},
		{"masquerade invalid AddrPort which address masquerade takes", s, []netfilter.Expr{&Masquerade{}}},
	} {
		x := applied(c.s, c.exprs...)
		got := ""
		switch v := x.Verdict; v.Code {
		case netfilter.Reject:
			got = "reject " + v.With
		case netfilter.Queue:
			got = v.With
			if v.Bypass {
				got += " bypass"
			}
		case netfilter.Divert:
			got = strings.TrimSpace(v.Divert.Kind + " " + v.Divert.To.String() + " " + v.With)
		}
		if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestSetFind compares with a search of all values: each set against each key, of
// which bits may be hidden.
func TestSetFind(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		exact := map[byte]bool{}
		s := &Set{Name: "s", KeyLen: 1, loaded: true}
		kind := g.IntN(3)
		switch kind {
		case 0:
			for range g.IntN(6) {
				k := byte(g.IntN(16))
				exact[k] = true
				s.elements = append(s.elements, Element{Key: []byte{k}})
			}
		case 1:
			s.Flags = setInterval
			last := 0
			for range g.IntN(4) {
				from := last + g.IntN(6)
				to := from + 1 + g.IntN(5)
				if to > 255 {
					break
				}
				s.elements = append(s.elements, Element{Key: []byte{byte(from)}}, Element{Key: []byte{byte(to)}, End: true})
				for k := from; k < to; k++ {
					exact[byte(k)] = true
				}
				last = to
			}
			if g.IntN(3) == 0 { // open at the end
				from := last + g.IntN(6)
				s.elements = append(s.elements, Element{Key: []byte{byte(from)}})
				for k := from; k < 256; k++ {
					exact[byte(k)] = true
				}
			}
		case 2:
			s.Flags, s.Fields, s.KeyLen = setInterval, []uint32{1, 1}, 5
			for range g.IntN(4) {
				from := byte(g.IntN(16))
				to := from + byte(g.IntN(8))
				s.elements = append(s.elements, Element{Key: []byte{from, 0, 0, 0, 7}, KeyEnd: []byte{to, 0, 0, 0, 9}})
				for k := from; k <= to; k++ {
					exact[k] = true
				}
			}
		}
		g.Shuffle(len(s.elements), func(i, j int) { s.elements[i], s.elements[j] = s.elements[j], s.elements[i] })
		value, hidden := byte(g.IntN(32)), []byte{0, 0, 1, 3, 4, 0xff}[g.IntN(6)]
		some, all := false, true
		for k := range 256 {
			if (byte(k)^value)&^hidden == 0 {
				some, all = some || exact[byte(k)], all && exact[byte(k)]
			}
		}
		want := netfilter.Unknown
		if all {
			want = netfilter.Yes
		} else if !some {
			want = netfilter.No
		}
		key, mask := []byte{value &^ hidden}, []byte{^hidden}
		if kind == 2 {
			key, mask = append(key, 0, 0, 0, 8), append(mask, 0xff, 0xff, 0xff, 0xff)
		}
		got := netfilter.Unknown
		_, got = s.find(s.elements, key, mask)
		// Never wrong; and certain where all bits are known. With some hidden it may know
		// less than a search of all values.
		if got != want && (got != netfilter.Unknown || hidden == 0) {
			t.Fatalf("%+v\nkey %d hidden %#x: got %v, want %v", s.elements, value, hidden, got, want)
		}
	}
}

func TestLookup(t *testing.T) {
	drop := netfilter.Verdict{Code: netfilter.Drop}
	vmap := &Set{Name: "v", KeyLen: 2, Flags: 8, DataType: 0xffffff00, loaded: true, elements: []Element{
		{Key: []byte{0, 80}, Verdict: drop}, {Key: []byte{0, 81}, Verdict: netfilter.Verdict{Code: netfilter.Accept}}}}
	caught := &Set{Name: "c", KeyLen: 2, Flags: 8, DataType: 0xffffff00, loaded: true, elements: []Element{{CatchAll: true, Verdict: drop}}}
	data := &Set{Name: "d", KeyLen: 2, Flags: 8, DataLen: 4, loaded: true, elements: []Element{{Key: []byte{0, 80}, Data: n32(7)}}}
	grows := &Set{Name: "g", KeyLen: 2, Flags: setEval, loaded: true}
	limited := &Set{Name: "l", KeyLen: 2, loaded: true, elements: []Element{{Key: []byte{0, 80}, Exprs: []netfilter.Expr{&Limit{}}}}}
	port := &Payload{Base: 2, Offset: 2, Len: 2, Reg: 1}
	from := &Payload{Base: 2, Offset: 0, Len: 2, Reg: 1}
	anyone := at(netfilter.Input, facts.Syn, "127.0.0.1:0", "127.0.0.1:80")
	for i, c := range []struct {
		want  netfilter.Effect
		exprs []netfilter.Expr
	}{
		{netfilter.Effect{Match: netfilter.Yes, Verdict: drop}, []netfilter.Expr{port, &Lookup{Set: vmap, From: 1, HasTo: true}}},
		{netfilter.Break, []netfilter.Expr{port, &Lookup{Set: vmap, From: 1, Inverse: true}}},
		{netfilter.Effect{Match: netfilter.Yes, Verdict: drop}, []netfilter.Expr{port, &Lookup{Set: caught, From: 1, HasTo: true}}},
		{netfilter.Continue, []netfilter.Expr{port, &Lookup{Set: data, From: 1, HasTo: true, To: 2}, &Cmp{Reg: 2, Data: n32(7)}}},
		{netfilter.Perhaps("set g is filled by packets"), []netfilter.Expr{port, &Lookup{Set: grows, From: 1}}},
		{netfilter.Perhaps("an element of set l with a state"), []netfilter.Expr{port, &Lookup{Set: limited, From: 1}}},
		{netfilter.Effect{Match: netfilter.Unknown, Why: "set v: tcp sport", Verdict: netfilter.Verdict{Code: netfilter.Any}}, []netfilter.Expr{from, &Lookup{Set: vmap, From: 1, HasTo: true}}},
		{netfilter.Perhaps("a set that was not read"), []netfilter.Expr{port, &Lookup{From: 1}}},
	} {
		if got := applied(anyone, c.exprs...); got.Match != c.want.Match || got.Why != c.want.Why || got.Verdict.Code != c.want.Verdict.Code {
			t.Errorf("%d: got %+v, want %+v", i, got, c.want)
		}
	}
}
