package nft

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// TestWhatMissesDoesNotMatch compares what the first expressions say of a rule that is
// not decoded with what all of them say, for real rules and for ones with a few other
// bits.
func TestWhatMissesDoesNotMatch(t *testing.T) {
	all := dump(t)
	random := rand.New(rand.NewPCG(3, 4))
	missed, met := 0, 0
	for _, b := range all['r'] {
		for range 40 {
			d := decoded(all)
			d.addRule(b)
			for _, table := range d.tables {
				for _, c := range table.Chains {
					for _, r := range c.Rules {
						late := r.Late
						for _, addr := range []string{"127.0.0.1:62893", "[::1]:80"} {
							a := netip.MustParseAddrPort(addr)
							packet := func() *netfilter.State {
								return &netfilter.State{Packet: &netfilter.Packet{Kind: facts.Syn, From: a, To: a, MarkKnown: true}, Family: map[bool]netfilter.Family{true: netfilter.IPv4, false: netfilter.IPv6}[a.Addr().Is4()],
									Table: table, Hook: netfilter.Output, Out: "lo", OutIndex: 1}
							}
							if !late.Misses(packet()) {
								met++
								continue
							}
							missed++
							end := netfilter.Yes
							for s, rest := packet(), r.Whole().Exprs; end == netfilter.Yes && len(rest) > 0; rest = rest[1:] {
								end = rest[0].Eval(s).Match
							}
							if end != netfilter.No {
								text, _ := r.Print()
								t.Fatalf("%s: it misses, and all expressions say %v", text, end)
							}
						}
					}
				}
			}
			b = bytes.Clone(b)
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		}
	}
	if missed < 100 || met < 100 {
		t.Errorf("%d missed, %d did not", missed, met)
	}
}
