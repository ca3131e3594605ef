package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The causes that name a rule. Whoever may not read rules gets their parents, of
// firewall.go.

var filterDropsLoopback = &Check{
	Name:     "filter-drops-loopback",
	Doc:      "a rule of a packet filter drops the connection",
	Stage:    StageInput, // or where the rule stands
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupLedger, facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupLimits},
	Explains: []*Check{noReply, notAccepted, localhostSlowFallback},
	Refines:  []*Check{lostOnOutput, lostOnWire, lostOnInput},
	Run: func(f *facts.Facts) []Finding {
		fs := foretold(f, facts.Syn)
		for _, d := range f.Dials {
			if b := blamed(f, d); b != nil && b.packet == facts.Syn && d.Outcome == facts.Timeout {
				fs = append(fs, b.finding(f, d))
			}
		}
		return mergeAddresses(f, fs)
	},
}

var filterDropsReplies = &Check{
	Name:     "filter-drops-replies",
	Doc:      "a rule of a packet filter drops the answer to the connection",
	Stage:    StageReply,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupLedger, facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupLimits},
	Explains: []*Check{noReply, notAccepted, localhostSlowFallback},
	Refines:  []*Check{replyLost, lostOnOutput, lostOnWire, lostOnInput}, // the last packet of the handshake is lost at one of these
	Run: func(f *facts.Facts) []Finding {
		fs := append(foretold(f, facts.SynAck), foretold(f, facts.Ack)...)
		for _, d := range f.Dials {
			if b := blamed(f, d); b != nil && b.packet != facts.Syn {
				fs = append(fs, b.finding(f, d))
			}
		}
		return mergeAddresses(f, fs)
	},
}

// filterOneFamilyOnly: who meets it sees "localhost" work or not, as the client
// takes the one address or the other first.
var filterOneFamilyOnly = &Check{
	Name:     "filter-one-family-only",
	Doc:      "a packet filter stops one of IPv4 and IPv6, and lets the other through",
	Stage:    StageInput, // or where the rule stands
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters, facts.GroupDials, facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupLedger, facts.GroupPackets, facts.GroupOwners, facts.GroupLimits},
	Explains: []*Check{noReply, refused, localhostSlowFallback},
	Refines:  []*Check{filterDropsLoopback, filterRejectsLoopback},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			b := blamed(f, d)
			if b == nil || b.packet != facts.Syn || refinement(f, d, b) != oneFamily {
				continue
			}
			x, other := b.finding(f, d), otherFamily(f, d)
			only := "which is about " + familyOf(d.Addr) + " only"
			if !aboutOneFamily(b.rule) {
				only = "which has no exception for " + familyOf(d.Addr)
			}
			x.Summary = fmt.Sprintf("%s, %s: %s works.", strings.TrimSuffix(x.Summary, "."), only, at(f, other))
			x.Evidence = slices.Insert(x.Evidence, 1, Evidence{"connect", fmt.Sprintf("%s works, and the same program listens for both", at(f, other))})
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var legacyAndNFTSplit = &Check{
	Name:     "legacy-and-nft-split",
	Doc:      "the rule that stops the connection is one of iptables-legacy or of nf_tables, and the usual command shows the other",
	Stage:    StageInput, // or where the rule stands
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupLedger, facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupLimits},
	Explains: []*Check{noReply, refused, localhostSlowFallback},
	Refines:  []*Check{filterDropsLoopback, filterRejectsLoopback},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			b := blamed(f, d)
			if b == nil || b.packet != facts.Syn || refinement(f, d, b) != twoEngines {
				continue
			}
			x := b.finding(f, d)
			hides := "nft list ruleset and iptables-nft do not show"
			if b.rule.Engine == facts.NFTables {
				hides = "iptables, which is iptables-legacy here, does not show"
			}
			x.Summary = fmt.Sprintf("%s, which %s.", strings.TrimSuffix(x.Summary, "."), hides)
			x.Evidence = slices.Insert(x.Evidence, 1, Evidence{"engines", engines(f)})
			x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Keep all rules in one of the two, for good: find what loads those of %s (sudo %s), and have it use the other command.",
				cond(b.rule.Engine == facts.NFTables, "nf_tables", "iptables-legacy"), cond(b.rule.Engine == facts.NFTables, "nft list ruleset", iptablesSave(b.rule)))})
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

func iptablesSave(r facts.FilterRule) string {
	return cond(r.Engine == facts.IP6Tables, "ip6tables-legacy-save", "iptables-legacy-save")
}

// special is what a blame may be more precisely. It is one thing at most, so that
// two checks do not tell the same rule.
type special int

const (
	ordinary special = iota
	killSwitch
	twoEngines
	oneFamily
)

func refinement(f *facts.Facts, d facts.Dial, b *blame) special {
	k := keeperOf(f, b.rule)
	switch {
	case k != nil && k.kind == byVPN:
		return killSwitch
	case split(f, b.rule):
		return twoEngines
	case k != nil && k.kind == byUnban: // it is about an address
	case (aboutOneFamily(b.rule) || sameForBoth(b)) && otherFamily(f, d).IsValid():
		return oneFamily
	}
	return ordinary
}

// split tells whether the deciding rule is not where people look: nft(8) shows no
// legacy rule, and iptables those of one engine.
func split(f *facts.Facts, r facts.FilterRule) bool {
	count := func(name string) int { return deref(f.Filters.Engine(name)).Rules }
	if r.Engine != facts.NFTables {
		return count(facts.NFTables) > 0 || alternative(f) == iptablesNFT
	}
	return alternative(f) == iptablesLegacy && (r.IPTables || count(facts.IPTables)+count(facts.IP6Tables) > 0)
}

// engines counts the rules of each.
func engines(f *facts.Facts) string {
	var parts []string
	for _, e := range f.Filters.Engines {
		if e.Rules > 0 || e.Chains > 0 {
			parts = append(parts, fmt.Sprintf("%s has %s", cond(e.Name == facts.NFTables, e.Name, e.Name+" (legacy)"), plural(e.Rules, "rule")))
		}
	}
	if a := alternative(f); a != "" {
		parts = append(parts, "the command iptables is "+a)
	}
	return strings.Join(parts, ", ")
}

func plural(n int, what string) string {
	return fmt.Sprintf("%d %s%s", n, what, cond(n == 1, "", "s"))
}

// aboutOneFamily tells whether the rule cannot concern the other family, though an
// equal one could.
func aboutOneFamily(r facts.FilterRule) bool {
	if r.Family == "ip" || r.Family == "ip6" || r.Engine == facts.IPTables || r.Engine == facts.IP6Tables {
		return true
	}
	words := strings.Fields(r.Text)
	return slices.ContainsFunc(words, func(w string) bool { return w == "ip" || w == "ip6" || w == "ipv4" || w == "ipv6" })
}

// sameForBoth tells whether the rule asks for nothing that two connections to one
// server would differ in but the family: if one gets past it, then by an exception
// that its family has and the other lacks.
func sameForBoth(b *blame) bool { return b.doubt == "" && !strings.Contains(b.rule.Text, "sport") }

// otherFamily is an address of the other family at which the same client gets
// through to a listener, while one is there for the dial's address too.
func otherFamily(f *facts.Facts, d facts.Dial) netip.Addr {
	if len(serving(f, d.Addr)) == 0 {
		return netip.Addr{}
	}
	for _, o := range f.Dials {
		if o.Addr.Is4() != d.Addr.Is4() && o.As == d.As && o.AsPID == d.AsPID && o.Outcome.Works() && !ackLost(f, o) && len(serving(f, o.Addr)) > 0 {
			return o.Addr
		}
	}
	return netip.Addr{}
}

func familyOf(a netip.Addr) string { return cond(a.Is4(), "IPv4", "IPv6") }

// foretold is what the rules would do where nothing was dialled: a remark.
func foretold(f *facts.Facts, packet string) []Finding {
	if f.Dials != nil || f.Filters == nil {
		return nil
	}
	var fs []Finding
	for _, w := range f.Filters.Walks {
		s := first(w.Stops)
		if w.Packet != packet || len(w.Stops) == 0 || !stops(s.Verdict) || len(before(&w)) > 0 || !slices.Contains(f.Target.Expected(), w.Addr) {
			continue
		}
		d := facts.Dial{Addr: w.Addr, As: w.As, AsPID: w.AsPID}
		if stoppedBefore(f, d, packet) {
			continue
		}
		b := &blame{packet: packet, rule: s.Rule, where: s.Where, verdict: s.Verdict, with: s.With}
		hs := b.hurdles(f, d)
		what := map[string]string{facts.Syn: "a connection", facts.SynAck: "the answer to a connection", facts.Ack: "the last packet of a handshake"}[packet]
		fs = append(fs, Finding{Affects: []netip.Addr{w.Addr}, Stage: b.stage(), Remark: true, Settle: asRoot(f, w.Addr),
			Summary: fmt.Sprintf("By its rules a packet filter would %s %s of %s to %s %s: %s. Nothing was connected to see it.",
				s.Verdict, what, f.Host.Client(w.As, w.AsPID).Name(), at(f, w.Addr), onItsWay(s.Where), placeOf(f, s.Rule)),
			Evidence: b.evidence(f, d, hs), Fixes: filterFixes(f, hs...)})
	}
	return mergeAddresses(f, fs)
}

// stoppedBefore tells whether an earlier packet of the handshake is stopped, so
// that there would be none of these.
func stoppedBefore(f *facts.Facts, d facts.Dial, packet string) bool {
	for _, earlier := range []string{facts.Syn, facts.SynAck, facts.Ack} {
		if earlier == packet {
			return false
		}
		if w := f.Filters.Walk(d, earlier); w != nil && len(w.Stops) > 0 {
			return true
		}
	}
	return false
}
