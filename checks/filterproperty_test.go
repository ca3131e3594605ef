package checks

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

var filterCauses = []*Check{filterDropsLoopback, filterDropsReplies, filterOneFamilyOnly, legacyAndNFTSplit}

// anyFilters is facts in which everything about filters is left to chance, also
// what no machine would show.
func anyFilters(random *rand.Rand) *facts.Facts {
	pick := func(words ...string) string { return words[random.IntN(len(words))] }
	rule := func() facts.FilterRule {
		hook := pick("output", "postrouting", "egress", "ingress", "prerouting", "input", "", "forward")
		switch random.IntN(4) {
		case 0:
			return iptablesNFTRule(strings.ToUpper(hook), "-p tcp -j DROP", number(random.IntN(4)))
		case 1:
			return legacyRule(strings.ToUpper(hook), "-p tcp -j DROP", number(random.IntN(4)))
		case 2:
			return nftRule(hook, "", policy)
		}
		return nftRule(hook, "drop", handle(uint64(random.IntN(4)), uint64(random.IntN(4))), number(random.IntN(4)), atPriority(random.IntN(3)))
	}
	f := machine("62893", listens(pick("127.0.0.1", "::", "::1"), 50), clients(0, 1000))
	for _, a := range []string{"127.0.0.1", "::1"} {
		for _, u := range []uint32{0, 1000} {
			dials(a, facts.Outcome(pick(string(facts.Timeout), string(facts.Refused), string(facts.Connected), string(facts.Deferred))), as(u))(f)
			for _, packet := range []string{facts.Syn, facts.SynAck, facts.Ack} {
				var parts []func(*facts.FilterWalk)
				for range random.IntN(3) {
					parts = append(parts, stoppedBy(pick("drop", "reject tcp reset", "queue queue 1"), rule()))
				}
				for range random.IntN(2) {
					parts = append(parts, perhaps(pick("drop", "accept", "reject", "unknown", ""), "random", rule()))
				}
				walks(a, packet, append(parts, walkOf(u))...)(f)
			}
		}
		deltas := pick(diedOnInput, diedOnOutput, diedOnWire, replyDied, replyDiedInside, rejectedByFilter, realReset, queueFull, busyMachine, "")
		counts(a, 1+31*random.IntN(2), deltas)(f)
		halfOpen(random.IntN(2) * 32)(f)
	}
	if random.IntN(2) == 0 {
		engine(facts.IPTables, 2)(f)
		keptBy(pick(iptablesNFT, iptablesLegacy, "ufw", "firewalld"))(f)
	}
	if random.IntN(4) == 0 {
		traced("127.0.0.1", facts.Syn, pick("drop", "accept"), rule())(f)
	}
	return f
}

// Whatever the facts: who connects is not blamed for, what is proven has two
// witnesses, and one rule is told once for an address.
func TestFilterCausesOfAnyFacts(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 62893))
	said := 0
	for i := range 3000 {
		f := anyFilters(random)
		for _, c := range filterCauses {
			fs, err := run(c, f)
			if err != nil {
				t.Fatalf("%d: %s: %v", i, c.Name, err)
			}
			for _, x := range fs {
				said++
				if x.Remark {
					t.Errorf("%d: %s is a remark, though there were dials: %s", i, c.Name, x.Summary)
				}
				for _, fix := range x.Fixes {
					if fault := unsafe(f, fix); fault != "" {
						t.Errorf("%d: %s: %s: %+v", i, c.Name, fault, fix)
					}
				}
				for _, a := range x.Affects {
					failed := func(d facts.Dial) bool {
						return d.Addr == a && (d.Outcome == facts.Timeout || d.Outcome == facts.Refused || ackLost(f, d))
					}
					if !slices.ContainsFunc(f.Dials, failed) {
						t.Errorf("%d: %s blames a rule for %s, and every dial is fine: %s", i, c.Name, a, x.Summary)
					}
					if x.Certainty == Proven && !witnessedAt(f, a) {
						t.Errorf("%d: %s is sure, and nothing agrees with it: %s", i, c.Name, x.Summary)
					}
				}
			}
		}
		told := map[string]string{}
		for _, c := range Diagnose(f).Causes {
			for _, a := range c.Affects {
				key := fmt.Sprint(a, " ", c.Summary)
				if before := told[key]; before != "" && slices.Contains(filterCauses, c.Check) {
					t.Errorf("%d: %s and %s tell one thing: %s", i, before, c.Check.Name, c.Summary)
				}
				told[key] = c.Check.Name
			}
		}
	}
	if said < 500 {
		t.Errorf("only %d findings: the facts are too poor", said)
	}
}

// witnessedAt tells whether the ledger or a trace says that a packet to the address
// was stopped.
func witnessedAt(f *facts.Facts, a netip.Addr) bool {
	return slices.ContainsFunc(f.Filters.Traced, func(x facts.FilterTrace) bool { return x.Addr == a }) ||
		slices.ContainsFunc(f.Dials, func(d facts.Dial) bool {
			_, lost := lostAt(f, d)
			return d.Addr == a && lost
		})
}

// The order of findings never matters, for these facts either.
func TestOrderOfFilterFindings(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 62893))
	for i := range 200 {
		f := anyFilters(random)
		first := seenByReader(Diagnose(f))
		slices.Reverse(causes)
		second := seenByReader(Diagnose(f))
		slices.Reverse(causes)
		if !slices.Equal(first, second) {
			t.Fatalf("%d: in one order\n\t%s\nin another\n\t%s", i, strings.Join(first, "\n\t"), strings.Join(second, "\n\t"))
		}
	}
}
