package checks

import (
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Words for tables about packet filters: rules, and what they do to packets.

type ruleChange = func(*facts.FilterRule)

// nftRule is a rule of the table inet guard, in the chain that is named like its
// hook, with handle 4.
func nftRule(hook, text string, changes ...ruleChange) facts.FilterRule {
	r := facts.FilterRule{Engine: facts.NFTables, Family: "inet", Table: "guard", Chain: hook, Hook: hook, Handle: 4, Number: 2, Text: text, Words: strings.Fields(text)}
	for _, c := range changes {
		c(&r)
	}
	return r
}

// iptablesNFTRule is rule 3 of a built-in chain of iptables-nft.
func iptablesNFTRule(chain, spec string, changes ...ruleChange) facts.FilterRule {
	r := facts.FilterRule{Engine: facts.NFTables, IPTables: true, Family: "ip", Table: "filter", Chain: chain, Hook: strings.ToLower(chain), Handle: 9, Number: 3, Text: "-A " + chain + " " + spec, Words: strings.Fields(spec)}
	for _, c := range changes {
		c(&r)
	}
	return r
}

// legacyRule is the same of iptables-legacy.
func legacyRule(chain, spec string, changes ...ruleChange) facts.FilterRule {
	r := iptablesNFTRule(chain, spec)
	r.Engine, r.IPTables, r.Handle = facts.IPTables, false, 0
	for _, c := range changes {
		c(&r)
	}
	return r
}

func policy(r *facts.FilterRule) {
	r.Policy, r.Number, r.Handle, r.Words = true, 0, 0, nil
	r.Text = cond(iptablesRule(*r), "policy DROP", "policy drop")
}

func reachedBy(chains ...string) ruleChange {
	return func(r *facts.FilterRule) { r.Path, r.Chain = chains, chains[len(chains)-1] }
}
func inTable(family, table string) ruleChange {
	return func(r *facts.FilterRule) { r.Family, r.Table = family, table }
}
func handle(n, next uint64) ruleChange {
	return func(r *facts.FilterRule) { r.Handle, r.Next = n, next }
}
func number(n int) ruleChange          { return func(r *facts.FilterRule) { r.Number = n } }
func ownedBy(s string) ruleChange      { return func(r *facts.FilterRule) { r.Owner = s } }
func commented(s string) ruleChange    { return func(r *facts.FilterRule) { r.Comment = s } }
func withoutWords(r *facts.FilterRule) { r.Words = nil }
func forIPv6(r *facts.FilterRule)      { r.Family = "ip6" }
func atPriority(n int) ruleChange      { return func(r *facts.FilterRule) { r.Priority = n } }
func inLegacyIPv6(r *facts.FilterRule) { r.Engine, r.Family = facts.IP6Tables, "ip6" }
func rulesOf(f *facts.Facts) (r *facts.Filters) {
	if f.Filters == nil {
		f.Filters = &facts.Filters{Engines: []facts.FilterEngine{{Name: facts.NFTables, Tables: 3, Chains: 9, Rules: 41}}}
	}
	return f.Filters
}

// walks is the way of one packet of ann's dial.
func walks(to, packet string, changes ...func(*facts.FilterWalk)) change {
	return func(f *facts.Facts) {
		a := netip.MustParseAddr(to)
		w := facts.FilterWalk{Addr: a, As: 1000, Packet: packet, From: netip.AddrPortFrom(a, 40000), To: netip.AddrPortFrom(a, port)}
		if packet == facts.SynAck {
			w.From, w.To = w.To, w.From
		}
		for _, c := range changes {
			c(&w)
		}
		rulesOf(f).Walks = append(f.Filters.Walks, w)
	}
}

// stoppedBy adds a rule that ends the packet's way: "drop", "reject tcp reset",
// "queue".
func stoppedBy(verdict string, r facts.FilterRule) func(*facts.FilterWalk) {
	return func(w *facts.FilterWalk) {
		verdict, with, _ := strings.Cut(verdict, " ")
		w.Stops = append(w.Stops, facts.FilterStop{Rule: r, Where: whereOf(r), Verdict: verdict, With: with})
	}
}

func dropped(r facts.FilterRule) func(*facts.FilterWalk) { return stoppedBy("drop", r) }

func perhaps(verdict, why string, r facts.FilterRule) func(*facts.FilterWalk) {
	return func(w *facts.FilterWalk) {
		w.Unsure = append(w.Unsure, facts.FilterDoubt{Rule: r, Where: whereOf(r), Verdict: verdict, Why: why})
	}
}

// moved is by how much the counter of the last stop grew.
func moved(packets, syns int) func(*facts.FilterWalk) {
	return func(w *facts.FilterWalk) {
		s := &w.Stops[len(w.Stops)-1]
		s.Packets, s.SYNs = packets, syns
	}
}

func diverted(kind string, to netip.AddrPort, r facts.FilterRule) func(*facts.FilterWalk) {
	return func(w *facts.FilterWalk) {
		w.Diverts = append(w.Diverts, facts.FilterDivert{Rule: r, Kind: kind, To: to})
	}
}

func walkOf(uid uint32) func(*facts.FilterWalk) { return func(w *facts.FilterWalk) { w.As = uid } }

// traced is the rule that the kernel named for a packet of ours.
func traced(to, packet, verdict string, r facts.FilterRule) change {
	return func(f *facts.Facts) {
		rulesOf(f).Traced = append(f.Filters.Traced, facts.FilterTrace{Addr: netip.MustParseAddr(to), Packet: packet, Rule: r, Where: whereOf(r), Verdict: verdict, How: "nftrace"})
	}
}

// keptBy is what manages rules here; "-ufw": it is installed and off.
func keptBy(names ...string) change {
	return func(f *facts.Facts) {
		for _, n := range names {
			name, offed := strings.CutPrefix(n, "-")
			rulesOf(f).Managers = append(f.Filters.Managers, facts.FilterManager{Name: name, Active: !offed})
		}
	}
}

func engine(name string, rules int) change {
	return func(f *facts.Facts) {
		rulesOf(f).Engines = append(f.Filters.Engines, facts.FilterEngine{Name: name, Tables: 1, Chains: 3, Rules: rules})
	}
}

func bootLine(path string, line int, text, by string) change {
	return func(f *facts.Facts) {
		rulesOf(f).Boot = append(f.Filters.Boot, facts.BootLine{Path: path, Line: line, Text: text, By: by, On: true})
	}
}

// rulesForbidden: only root may read them.
func rulesForbidden(f *facts.Facts) {
	f.Absent[facts.GroupFilters] = facts.Absence{Why: facts.CouldNot, Reason: "needs root", Remedy: "run it with sudo"}
}

// notDialled is the run with --no-connect.
func notDialled(f *facts.Facts) {
	f.Dials = nil
	f.Absent[facts.GroupDials] = facts.Absence{Why: facts.NotWanted, Reason: "--no-connect"}
}
