package nft

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// BenchmarkWalk follows the last packet of a handshake, and with it the two before,
// through rules like "ip saddr 10.0.0.1 tcp dport 80 counter drop".
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t := &netfilter.Table{Engine: facts.NFTables, Family: netfilter.Inet, Name: "t"}
			c := &netfilter.Chain{Table: t, Name: "input", Hook: netfilter.Input, Type: "filter"}
			t.Chains = []*netfilter.Chain{c}
			for i := range n {
				c.Rules = append(c.Rules, &netfilter.Rule{Chain: c, Handle: uint64(i + 1), Number: i + 1, Exprs: []netfilter.Expr{
					&Meta{Key: metaNFProto, Reg: 1}, &Cmp{Reg: 1, Data: []byte{2}},
					&Payload{Base: 1, Offset: 12, Len: 4, Reg: 1}, &Cmp{Reg: 1, Data: []byte{127, 0, 0, 1}},
					&Meta{Key: metaL4Proto, Reg: 1}, &Cmp{Reg: 1, Data: []byte{6}},
					&Payload{Base: 2, Offset: 2, Len: 2, Reg: 1}, &Cmp{Reg: 1, Data: []byte{byte(i >> 8), byte(i)}},
					&Counter{}, &Immediate{Verdict: netfilter.Verdict{Code: netfilter.Drop}}}})
			}
			rs := &netfilter.Ruleset{Tables: []*netfilter.Table{t}}
			conn := netfilter.Connection{From: netip.MustParseAddrPort("127.0.0.1:40000"), To: netip.MustParseAddrPort("127.0.0.1:62893")}
			b.ReportAllocs()
			for b.Loop() {
				rs.Walk(conn, facts.Ack)
			}
		})
	}
}
