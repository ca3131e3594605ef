package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	ackDiedOnInput   = "OutRequests=96 OutTransmits=96 OutSegs=96 lo.tx=96 InReceives=96 InDelivers=64 InSegs=64"
	replyDiedOnWire  = "OutRequests=64 OutTransmits=64 OutSegs=64 lo.tx=32 InReceives=32 InDelivers=32 InSegs=32"
	rejectedByFilter = "OutRequests=64 OutTransmits=64 OutSegs=32 lo.tx=64 InReceives=64 InDelivers=32 InSegs=32 AttemptFails=32"
)

func filterSituations() []situation {
	silent := dials("127.0.0.1", facts.Timeout)
	silent6 := dials("::1", facts.Timeout)
	refusal := dials("127.0.0.1", facts.Refused)
	here := listens("127.0.0.1", 50)
	both := listens("::", 50)
	deferred := dials("127.0.0.1", facts.Deferred)
	in := counts("127.0.0.1", 32, diedOnInput)
	in6 := counts("::1", 32, diedOnInput)
	out := counts("127.0.0.1", 32, diedOnOutput)
	wire := counts("127.0.0.1", 32, diedOnWire)
	inRule := nftRule("input", "tcp dport 62893 drop")
	outRule := nftRule("output", "tcp dport 62893 drop")
	limit := nftRule("input", "tcp dport 62893 limit rate over 5/second drop")
	reply := nftRule("output", "tcp sport 62893 drop")
	back := nftRule("input", "tcp sport 62893 drop")
	egress := nftRule("egress", "tcp dport 62893 drop", inTable("netdev", "wall"))
	reset := nftRule("input", "tcp dport 62893 reject with tcp reset")
	clean := walks("127.0.0.1", facts.Syn)

	return slices.Concat(
		of(filterDropsLoopback,
			row{"a rule at input, and the counters agree", machine("127.0.0.1", here, silent, in, walks("127.0.0.1", facts.Syn, dropped(inRule))), says("proven 127.0.0.1", "127.0.0.1:62893", "on its way in", "nftables table inet guard, chain input, handle 4")},
			row{"one SYN is enough where both agree", machine("127.0.0.1", silent, counts("127.0.0.1", 1, oneDiedOnInput), walks("127.0.0.1", facts.Syn, dropped(inRule))), says("proven 127.0.0.1")},
			row{"a rule at output", machine("127.0.0.1", silent, out, walks("127.0.0.1", facts.Syn, dropped(outRule))), says("proven 127.0.0.1 at output", "on its way out", "chain output")},
			row{"a netdev rule on lo", machine("127.0.0.1", silent, wire, walks("127.0.0.1", facts.Syn, dropped(egress))), says("proven 127.0.0.1 at wire", "lo itself", "nftables table netdev wall, chain egress")},
			row{"a policy", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, dropped(nftRule("input", "", policy)))), says("proven 127.0.0.1", "the policy of nftables table inet guard, chain input")},
			row{"iptables-nft", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-p tcp -j DROP")))), says("proven 127.0.0.1", "iptables table filter, chain INPUT, rule 3")},
			row{"iptables-legacy", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, dropped(legacyRule("INPUT", "-p tcp -j DROP"))), func(f *facts.Facts) { f.Filters.Engines[0].Rules = 0 }), says("proven 127.0.0.1", "iptables-legacy table filter, chain INPUT, rule 3")},
			row{"one rule for both families", machine("62893", both, silent, silent6, in, in6, walks("127.0.0.1", facts.Syn, dropped(inRule)), walks("::1", facts.Syn, dropped(inRule))), says("proven 127.0.0.1 ::1", "[::1]:62893")},
			row{"a rule for one user", machine("127.0.0.1", here, clients(0, 1000), dials("127.0.0.1", facts.Connected, as(0)), silent, out, walks("127.0.0.1", facts.Syn, walkOf(0)), walks("127.0.0.1", facts.Syn, dropped(nftRule("output", "meta skuid 1000 drop")))), says("proven 127.0.0.1 at output", "for uid 1000 only")},
			row{"a limit, which nobody can foresee", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("drop", "limit rate over 5/second", limit))), says("inferred 127.0.0.1", "probably", "handle 4", "limit rate over 5/second")},
			row{"the same, and the kernel says so", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("drop", "limit rate over 5/second", limit)), traced("127.0.0.1", facts.Syn, "drop", limit)), says("proven 127.0.0.1", "limit rate over 5/second")},
			row{"something unknown may accept it before", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("accept", "expression osf is unknown", nftRule("input", "osf name Linux accept", number(1))), dropped(inRule))), says("inferred 127.0.0.1", "handle 4")},
			row{"a rule with an expression that nobody knows", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("unknown", "osf is unknown", nftRule("input", "osf")))), says("inferred 127.0.0.1", "probably stops", "osf is unknown")},
			row{"one that drops is more likely than that", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("unknown", "osf is unknown", nftRule("input", "osf", handle(3, 4))), perhaps("drop", "random", inRule))), says("inferred 127.0.0.1", "probably drops", "handle 4")},
			row{"what was in doubt lies behind: it got past output", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("drop", "random", nftRule("output", "numgen random mod 2 0 drop")), perhaps("accept", "random", nftRule("output", "numgen random mod 3 0 accept")), dropped(inRule))), says("proven 127.0.0.1", "handle 4")},
			row{"but it may have been translated there", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("dnat", "random", nftRule("output", "numgen random mod 2 0 dnat to 127.0.0.2")), dropped(inRule))), says("inferred 127.0.0.1", "handle 4")},
			row{"a limit, and behind it a policy that is certain", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("drop", "limit rate over 5/second", limit), dropped(nftRule("input", "", policy)))), says("inferred 127.0.0.1", "the policy of")},
			row{"the doubt comes after the rule", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("drop", "random", nftRule("input", "numgen random mod 2 0 drop", number(3))), dropped(inRule))), says("proven 127.0.0.1", "handle 4")},
			row{"its counter moved", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, perhaps("accept", "random", nftRule("input", "numgen random mod 2 0 accept", number(1))), dropped(inRule), moved(32, 32))), says("proven 127.0.0.1")},
			row{"it rejects, and the reset is lost, too", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, stoppedBy("reject tcp reset", reset))), says("proven 127.0.0.1", "rejects")},
			row{"it rejects on the way in, and its answer is lost on the way out", machine("127.0.0.1", silent, counts("127.0.0.1", 32, "OutRequests=64 OutTransmits=32 OutSegs=32 lo.tx=32 InReceives=32"), walks("127.0.0.1", facts.Syn, stoppedBy("reject tcp reset", reset)), traced("127.0.0.1", facts.Syn, "drop", reset)), says("proven 127.0.0.1 at output", "on its way in", "rejects")},
			row{"nothing was dialled", machine("127.0.0.1", here, notDialled, walks("127.0.0.1", facts.Syn, dropped(inRule))), says("remark 127.0.0.1", "would drop", "handle 4")},
			row{"nobody could count", machine("127.0.0.1", silent, walks("127.0.0.1", facts.Syn, dropped(inRule))), says("inferred 127.0.0.1")},

			row{"a rule at input, and the counters lost it at output", machine("127.0.0.1", silent, out, walks("127.0.0.1", facts.Syn, dropped(inRule))), nothing},
			row{"the rule is of the other family's dial", machine("62893", silent, silent6, in, in6, clean, walks("::1", facts.Syn)), nothing},
			row{"another user's walk", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, walkOf(7), dropped(inRule))), nothing},
			row{"it connected", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), walks("127.0.0.1", facts.Syn, dropped(inRule))), nothing},
			row{"it connected late", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected, late), in, walks("127.0.0.1", facts.Syn, dropped(inRule))), nothing},
			row{"the rules let it pass", machine("127.0.0.1", silent, in, clean), nothing},
			row{"the accept queue is full", machine("127.0.0.1", listens("127.0.0.1", 50, queue(6, 5)), silent, counts("127.0.0.1", 1, queueFull), walks("127.0.0.1", facts.Syn, dropped(inRule))), nothing},
			row{"a queue is no drop", machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn, stoppedBy("queue queue 3", nftRule("input", "queue to 3")))), nothing},
			row{"an answer that was refused was not dropped", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 32, rejectedByFilter), walks("127.0.0.1", facts.Syn, dropped(inRule))), nothing},
			row{"nothing listens, and the reset is real", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, realReset), walks("127.0.0.1", facts.Syn, dropped(inRule))), nothing},
			row{"without a dial, a rule in doubt", machine("127.0.0.1", notDialled, walks("127.0.0.1", facts.Syn, perhaps("drop", "random", inRule))), nothing},
			row{"rules were not read", machine("127.0.0.1", silent, in, rulesForbidden), nothing},
		),
		of(filterDropsReplies,
			row{"the SYN-ACK is dropped as it leaves", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, replyDied), halfOpen(32), clean, walks("127.0.0.1", facts.SynAck, dropped(reply))), says("proven 127.0.0.1", "the answer of 127.0.0.1:62893", "on its way out", "handle 4")},
			row{"the SYN-ACK is dropped as it arrives", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, replyDiedInside), halfOpen(32), clean, walks("127.0.0.1", facts.SynAck, dropped(back))), says("proven 127.0.0.1", "on its way in")},
			row{"a TPROXY drops it, and the kernel says so", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, replyDiedInside), halfOpen(32), clean, walks("127.0.0.1", facts.SynAck, diverted("tproxy", to("0.0.0.0:7893"), back)), traced("127.0.0.1", facts.SynAck, "drop", back)), says("proven 127.0.0.1", "the answer of 127.0.0.1:62893", "handle 4")},
			row{"on lo itself", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, replyDiedOnWire), halfOpen(32), clean, walks("127.0.0.1", facts.SynAck, dropped(egress))), says("proven 127.0.0.1 at wire", "lo itself")},
			row{"the last packet of the handshake", machine("127.0.0.1", here, deferred, counts("127.0.0.1", 32, ackDiedOnInput), clean, walks("127.0.0.1", facts.Ack, dropped(nftRule("input", "tcp flags & (syn | ack) == ack drop")))), says("proven 127.0.0.1 at input", "last packet of the handshake")},
			row{"the answer is rejected", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, replyDied+" EmbryonicRsts=32"), clean, walks("127.0.0.1", facts.SynAck, stoppedBy("reject tcp reset", reply))), says("proven 127.0.0.1", "rejects the answer")},
			row{"nothing was dialled", machine("127.0.0.1", notDialled, clean, walks("127.0.0.1", facts.SynAck, dropped(reply))), says("remark 127.0.0.1", "would drop the answer")},
			row{"at the other end of the way", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, replyDied), halfOpen(32), clean, walks("127.0.0.1", facts.SynAck, dropped(back))), nothing},
			row{"the SYN was lost already", machine("127.0.0.1", here, silent, in, walks("127.0.0.1", facts.Syn, dropped(inRule)), walks("127.0.0.1", facts.SynAck, dropped(reply))), nothing},
			row{"TCP_DEFER_ACCEPT leaves it half-open", machine("127.0.0.1", here, deferred, clean, walks("127.0.0.1", facts.Ack)), nothing},
			row{"nothing was dialled, and the SYN would not arrive", machine("127.0.0.1", notDialled, walks("127.0.0.1", facts.Syn, dropped(inRule)), walks("127.0.0.1", facts.SynAck, dropped(reply))), nothing},
		),
		of(filterRejectsLoopback,
			row{"and the rule is known", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 32, rejectedByFilter), walks("127.0.0.1", facts.Syn, stoppedBy("reject tcp reset", reset))), says("proven 127.0.0.1", "on its way in, with tcp reset (ECONNREFUSED)", "handle 4")},
			row{"an ICMP error at output", machine("127.0.0.1", here, dials("127.0.0.1", facts.Refused, icmp("3/3")), counts("127.0.0.1", 32, diedOnOutput), walks("127.0.0.1", facts.Syn, stoppedBy("reject icmp port-unreachable", nftRule("output", "tcp dport 62893 reject")))), says("proven 127.0.0.1 at output", "icmp port-unreachable", "chain output")},
			row{"a rule that may or may not match", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 32, rejectedByFilter), walks("127.0.0.1", facts.Syn, perhaps("reject", "random", reset))), says("proven 127.0.0.1", ": probably nftables", "random")},
			row{"the rules say that another one drops it", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 32, rejectedByFilter), walks("127.0.0.1", facts.Syn, dropped(inRule))), says("proven 127.0.0.1", "forged reset")},
		),
		of(filterOneFamilyOnly,
			row{"ip6tables drops, and IPv4 works", machine("62893", both, dials("127.0.0.1", facts.Connected), silent6, in6, clean, walks("::1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-p tcp -j DROP", forIPv6)))), says("proven ::1", "[::1]:62893", "ip6tables table filter, chain INPUT, rule 3", "127.0.0.1:62893 works")},
			row{"a policy of IPv4 only", machine("62893", both, silent, dials("::1", facts.Connected), in, walks("::1", facts.Syn), walks("127.0.0.1", facts.Syn, dropped(nftRule("input", "", policy, inTable("ip", "wall"))))), says("proven 127.0.0.1", "IPv4 only", "[::1]:62893 works")},
			row{"an inet rule about IPv6", machine("62893", both, dials("127.0.0.1", facts.Connected), silent6, in6, clean, walks("::1", facts.Syn, dropped(nftRule("input", "meta nfproto ipv6 drop")))), says("proven ::1")},
			row{"it rejects", machine("62893", both, dials("127.0.0.1", facts.Connected), dials("::1", facts.Refused), counts("::1", 32, rejectedByFilter), clean, walks("::1", facts.Syn, stoppedBy("reject tcp reset", iptablesNFTRule("INPUT", "-j REJECT", forIPv6)))), says("proven ::1", "rejects")},
			row{"an inet rule with an exception for IPv4 ahead of it", machine("62893", both, dials("127.0.0.1", facts.Connected), silent6, in6, clean, walks("::1", facts.Syn, dropped(nftRule("input", "iif lo meta l4proto tcp drop")))), says("proven ::1", "no exception for IPv6")},
			row{"fail2ban banned the one address", machine("62893", both, silent, dials("::1", facts.Connected), in, walks("::1", facts.Syn), walks("127.0.0.1", facts.Syn, dropped(nftRule("input", "ip saddr @addr-set-sshd drop", inTable("inet", "f2b-table"))))), nothing},
			row{"both are dropped", machine("62893", both, silent, silent6, in, in6, walks("127.0.0.1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-j DROP"))), walks("::1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-j DROP", forIPv6)))), nothing},
			row{"a rule about both, that let the other through", machine("62893", both, dials("127.0.0.1", facts.Connected), silent6, in6, clean, walks("::1", facts.Syn, dropped(nftRule("input", "tcp sport 40000 drop")))), nothing},
			row{"nobody asked the other family", machine("::1", both, silent6, in6, walks("::1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-j DROP", forIPv6)))), nothing},
			row{"the server is not there for both", machine("62893", here, dials("127.0.0.1", facts.Connected), silent6, in6, clean, walks("::1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-j DROP", forIPv6)))), nothing},
		),
		of(legacyAndNFTSplit,
			row{"iptables is the other one", machine("127.0.0.1", silent, in, engine(facts.IPTables, 1), keptBy(iptablesNFT), walks("127.0.0.1", facts.Syn, dropped(legacyRule("INPUT", "-p tcp -j DROP")))), says("proven 127.0.0.1", "iptables-legacy table filter, chain INPUT, rule 3", "nft list ruleset")},
			row{"a policy in the legacy one", machine("127.0.0.1", silent, in, engine(facts.IPTables, 0), walks("127.0.0.1", facts.Syn, dropped(legacyRule("INPUT", "", policy)))), says("proven 127.0.0.1", "the policy of iptables-legacy")},
			row{"iptables is the legacy one", machine("127.0.0.1", silent, in, engine(facts.IPTables, 1), keptBy(iptablesLegacy), walks("127.0.0.1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-p tcp -j DROP")))), says("proven 127.0.0.1", "iptables-nft table filter, chain INPUT, rule 3", "which is iptables-legacy here")},
			row{"it rejects", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 32, rejectedByFilter), engine(facts.IPTables, 1), walks("127.0.0.1", facts.Syn, stoppedBy("reject icmp port-unreachable", legacyRule("INPUT", "-j REJECT")))), says("proven 127.0.0.1", "rejects")},
			row{"iptables is the legacy one and has no rule", machine("127.0.0.1", silent, in, keptBy(iptablesLegacy), walks("127.0.0.1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-p tcp -j DROP")))), says("proven 127.0.0.1")},
			row{"nft alone, and iptables is the legacy one", machine("127.0.0.1", silent, in, keptBy(iptablesLegacy), walks("127.0.0.1", facts.Syn, dropped(inRule))), nothing},
			row{"both have rules, and iptables shows this one", machine("127.0.0.1", silent, in, engine(facts.IPTables, 1), keptBy(iptablesNFT), walks("127.0.0.1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-p tcp -j DROP")))), nothing},
			row{"nf_tables has none", machine("127.0.0.1", silent, in, engine(facts.IPTables, 1), walks("127.0.0.1", facts.Syn, dropped(legacyRule("INPUT", "-j DROP"))), func(f *facts.Facts) { f.Filters.Engines[0].Rules = 0 }), nothing},
			row{"the legacy rules let it pass", machine("127.0.0.1", silent, in, engine(facts.IPTables, 1), keptBy(iptablesNFT), walks("127.0.0.1", facts.Syn, dropped(inRule))), nothing},
		),
	)
}

func TestFilters(t *testing.T) { judge(t, filterSituations()) }

// The finer cause replaces the broader one, and one rule is told by one of them.
func TestFilterCausesReplaceTheirParents(t *testing.T) {
	in := counts("127.0.0.1", 32, diedOnInput)
	silent := dials("127.0.0.1", facts.Timeout)
	rule := nftRule("input", "tcp dport 62893 drop")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), silent, in, walks("127.0.0.1", facts.Syn, dropped(rule))), "broken", "active filter-drops-loopback proven")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), silent, in, walks("127.0.0.1", facts.Syn)), "broken", "active lost-on-input proven")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), silent, in, engine(facts.IPTables, 4), walks("127.0.0.1", facts.Syn, dropped(legacyRule("INPUT", "-j DROP")))), "broken", "active legacy-and-nft-split proven")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 32, rejectedByFilter), walks("127.0.0.1", facts.Syn, stoppedBy("reject tcp reset", rule))), "broken", "active filter-rejects-loopback proven")
	expect(t, machine("62893", listens("::", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Timeout), counts("::1", 32, diedOnInput), walks("127.0.0.1", facts.Syn), walks("::1", facts.Syn, dropped(iptablesNFTRule("INPUT", "-j DROP", forIPv6)))), "partly", "active filter-one-family-only proven")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), silent, counts("127.0.0.1", 32, replyDied), halfOpen(32), walks("127.0.0.1", facts.Syn), walks("127.0.0.1", facts.SynAck, dropped(nftRule("output", "tcp sport 62893 drop")))), "broken", "active filter-drops-replies proven")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Deferred), counts("127.0.0.1", 32, ackDiedOnInput), walks("127.0.0.1", facts.Ack, dropped(rule))), "broken", "active filter-drops-replies proven")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), notDialled, walks("127.0.0.1", facts.Syn, dropped(rule))), "unknown", "remark filter-drops-loopback")
}

// Two that disagree are both told, and nobody is blamed.
func TestFilterAndCountersDisagree(t *testing.T) {
	f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput), walks("127.0.0.1", facts.Syn, dropped(nftRule("input", "tcp dport 62893 drop"))))
	expect(t, f, "broken", "active lost-on-output proven")
	if got := quoted(found(t, lostOnOutput, f)); !strings.Contains(got, "stopped on its way in, and the counters do not agree: inet guard input, handle 4: tcp dport 62893 drop\n") {
		t.Errorf("the rule is not told:\n%s", got)
	}
}

// A broad cause tells whether rules were read, and what would settle it.
func TestParentsSayWhatTheRulesSaid(t *testing.T) {
	silent, in := dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput)
	for _, test := range []struct {
		facts          *facts.Facts
		check          *Check
		settle, quotes string
	}{
		{machine("127.0.0.1", silent, in, rulesForbidden), lostOnInput, "sudo loopdoctor 127.0.0.1:62893", ""},
		{machine("::1", dials("::1", facts.Timeout), counts("::1", 32, diedOnWire), rulesForbidden), lostOnWire, "sudo loopdoctor '[::1]:62893'", ""},
		{machine("127.0.0.1", silent, in, rulesForbidden, func(f *facts.Facts) { f.Host.As = []facts.Identity{{UID: 33, User: "www-data", Named: true}} }), lostOnInput, "sudo loopdoctor --as www-data 127.0.0.1:62893", ""},
		{machine("127.0.0.1", silent, in, rulesForbidden, func(f *facts.Facts) { f.Host.As = []facts.Identity{{UID: 33, User: "a b", Named: true}} }), lostOnInput, "sudo loopdoctor --as +33 127.0.0.1:62893", ""},
		{machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn)), lostOnInput, "sudo bpftool link show", "rules: none of the 41 rules read here stops it"},
		{machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnOutput), walks("127.0.0.1", facts.Syn)), lostOnOutput, "sudo bpftool cgroup tree", "IPAddressDeny"},
		{machine("127.0.0.1", silent, in), lostOnInput, findRule, ""},
		{machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 32, rejectedByFilter), rulesForbidden), filterRejectsLoopback, "sudo loopdoctor 127.0.0.1:62893", ""},
		{machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected, arrivesAt("127.0.0.1:9999")), walks("127.0.0.1", facts.Syn)), answeredElsewhere, "sudo bpftool link show; sudo bpftool cgroup tree", "rules: none of the 41 rules read here diverts it"},
		{machine("127.0.0.1", silent, in, walks("127.0.0.1", facts.Syn), func(f *facts.Facts) { f.Filters.Engines[0].Opaque = 2 }), lostOnInput, "sudo bpftool link show", "not judged: 2 rules of nf_tables"},
	} {
		fs := found(t, test.check, test.facts)
		if len(fs) != 1 || fs[0].Settle != test.settle || !strings.Contains(quoted(fs), test.quotes) {
			t.Errorf("%s: got %q\n%swant %q and %q", test.check.Name, first(fs).Settle, quoted(fs), test.settle, test.quotes)
		}
	}
}

func quoted(fs []Finding) string {
	var b strings.Builder
	for _, x := range fs {
		for _, e := range x.Evidence {
			b.WriteString(e.Source + ": " + e.Text + "\n")
		}
	}
	return b.String()
}

// The rule is quoted as its own command prints it, with what agrees with it.
func TestEvidenceOfARule(t *testing.T) {
	bad := nftRule("input", "tcp dport 62893 counter drop", reachedBy("input", "tcp_in", "bad"), handle(17, 0), commented("no shop here"))
	f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput), wentTo(port),
		walks("127.0.0.1", facts.Syn, dropped(bad), moved(32, 32), dropped(iptablesNFTRule("INPUT", "-p tcp -j DROP"))))
	got := quoted(found(t, filterDropsLoopback, f))
	for _, want := range []string{
		"rule: inet guard bad, handle 17: tcp dport 62893 counter drop (input → tcp_in → bad)\n",
		"comment: no shop here\n",
		"counter: the rule's own counter grew by 32 with our 32 SYNs\n",
		"counters: of 32 SYNs, 32 arrived and were never handed to TCP\n",
		"packets: 127.0.0.1:40000 to 127.0.0.1:62893: S, no reply\n",
		"socket: tcp listen 127.0.0.1:62893, accept queue 0 of 5: server (pid 50)\n",
		"behind it: iptables filter INPUT, rule 3: -A INPUT -p tcp -j DROP\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for want, r := range map[string]facts.FilterRule{
		"inet guard input: policy drop":                     nftRule("input", "", policy),
		"iptables filter INPUT: policy DROP":                iptablesNFTRule("INPUT", "", policy),
		"ip6tables-legacy filter INPUT, rule 3: -A INPUT x": legacyRule("INPUT", "x", inLegacyIPv6),
		"ip6tables filter INPUT, rule 3: -A INPUT x":        iptablesNFTRule("INPUT", "x", forIPv6),
	} {
		if got := ruleText(f, r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// After a translation later hooks see another port, and the exception has to be
// about that one.
func TestExceptionIsForThePortOfTheHook(t *testing.T) {
	nat := nftRule("output", "redirect to :8080", inTable("ip", "nat"), atPriority(-100))
	to := netip.MustParseAddrPort("127.0.0.1:8080")
	f := machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput),
		walks("127.0.0.1", facts.Syn, diverted("redirect", to, nat), dropped(nftRule("input", "tcp dport 8080 drop"))))
	if got, _, _ := strings.Cut(allSteps(found(t, filterDropsLoopback, f)), ";"); got != "root runs nft -ae insert rule inet guard input handle 4 iif lo tcp dport 8080 accept" {
		t.Errorf("got %q", got)
	}
}
