package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The routing policy rule that leads to table local, and what stands before it.

// Tables of the kernel (linux/rtnetlink.h), each with a rule that the kernel makes.
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// rulesTo are the routing policy rules that a packet to an address meets.
type rulesTo struct {
	local  *facts.Rule   // the first that looks up table local; nil: none does
	before []*facts.Rule // those ahead of it that decide, the first one first
}

// localRule finds them. A rule whose table has no way is passed.
func localRule(rules []facts.Rule, a netip.Addr) (to rulesTo) {
	for i, r := range rules {
		switch {
		case r.IPv6 != a.Is6() || !slices.Contains(r.Matches, a):
		case r.Action == "lookup" && r.Table == tableLocal:
			to.local = &rules[i]
			return to
		case slices.Contains(r.Passes, a):
		case slices.Contains([]string{"lookup", "blackhole", "unreachable", "prohibit"}, r.Action):
			to.before = append(to.before, &rules[i])
		}
	}
	return to
}

// first is the rule that decides ahead of table local; nil: none does.
func (t rulesTo) first() *facts.Rule {
	if len(t.before) == 0 {
		return nil
	}
	return t.before[0]
}

// kernels tells whether a rule is one of the two that the kernel makes for all traffic:
// without it the machine has no way to any other.
func kernels(r facts.Rule) bool {
	return r.Action == "lookup" && (r.Table == tableMain || r.Table == tableDefault) && (r.Selector == "from all" || r.Selector == "")
}

// beforeLocal judges why a packet to the address does not get to table local. The cure
// adds what is missing and deletes nothing that others may need: a VPN needs its rule,
// and everybody those of the kernel.
func beforeLocal(f *facts.Facts, r facts.Route) (Finding, bool) {
	to := localRule(f.Routes.Rules, r.To)
	first := to.first()
	if first == nil && to.local != nil {
		return Finding{}, false
	}
	// Another table may lead to it as well.
	if (first == nil || kernels(*first)) && works(f, r.To) {
		return Finding{}, false
	}
	x := Finding{Affects: []netip.Addr{r.To}, Certainty: Proven}
	switch {
	case first != nil && !kernels(*first):
		x.Summary = fmt.Sprintf("The routing policy rule %q comes before the local table and takes the packets to %s.", first.Text, at(f, r.To))
		if to.local == nil {
			x.Summary = strings.TrimSuffix(x.Summary, ".") + "; the rule for that table is missing as well."
		}
		x.Evidence = []Evidence{{"ip rule", first.Text}}
	case to.local != nil:
		x.Summary = fmt.Sprintf("The routing policy rule for the local table (%q) comes too late: %q takes the packets to %s first.", to.local.Text, first.Text, at(f, r.To))
		x.Evidence = []Evidence{{"ip rule", first.Text}, {"ip rule", to.local.Text}}
	default:
		x.Summary = fmt.Sprintf("The routing policy rule for the local table is missing: the kernel does not look there for %s.", at(f, r.To))
		x.Evidence = []Evidence{{"ip rule", fmt.Sprintf("none with lookup local for %s", r.To)}}
		if !slices.ContainsFunc(f.Routes.Rules, func(o facts.Rule) bool { return o.IPv6 == r.To.Is6() }) {
			// A kernel without rules of that family (CONFIG_IPV6_MULTIPLE_TABLES) shows none either.
			if r.Table == nil || !hasLocalRow(r) {
				return Finding{}, false
			}
			x.Certainty, x.Settle = Inferred, "ip "+cond(r.To.Is6(), "-6", "-4")+" rule"
		} else if first != nil {
			x.Evidence = append(x.Evidence, Evidence{"ip rule", first.Text})
		}
	}
	x.Evidence = append(x.Evidence, lookupEvidence(f, r))
	x.Fixes = []Fix{localFirst(f.Routes.Rules, to, r.To, to.before)}
	return x, true
}

// localFirst puts table local first: for all addresses, if its rule is missing or only
// rules of the kernel come before it; else for loopback, or that one address, alone.
func localFirst(rules []facts.Rule, to rulesTo, a netip.Addr, before []*facts.Rule) Fix {
	fix := Fix{Do: "Put the rule for the local table back, as the first one.", Elevated: true, Lasts: UntilReboot}
	spec := []string{"pref", "0", "lookup", "local"}
	if to.local != nil && len(before) > 0 && !kernels(*before[0]) {
		aim := a.String()
		if a.Is4() && a.IsLoopback() {
			aim = "127.0.0.0/8"
		}
		fix.Do = fmt.Sprintf("Look up the local table first for %s.", aim)
		fix.Risk = "what set the rule (a VPN, a transparent proxy) does not get packets to " + aim + " any more"
		spec = append([]string{"pref", "0", "to", aim}, spec[2:]...)
	} else if to.local != nil {
		fix.Do = "Put a rule for the local table first."
	}
	rule := func(verb string, words ...string) []string { return ip(a, "rule", verb, words) }
	last := to.local != nil && to.local.Priority == 0 // behind others with 0: they have to move, and there is nothing to add
	if !last {
		fix.Steps, fix.Undo = [][]string{rule("add", spec...)}, [][]string{rule("del", spec...)}
	}
	// A rule of the same preference comes after those that are there: what has 0 itself
	// goes behind it. It is there again before it is taken away.
	var back, away [][]string
	for _, r := range before {
		if r.Priority != 0 {
			continue
		}
		here, behind := ruleWords(*r, 0), ruleWords(*r, 1)
		fix.Steps = append(fix.Steps, rule("add", behind...), rule("del", here...))
		back, away = append(back, rule("add", here...)), append(away, rule("del", behind...))
		fix.Do = "Put table local first, and the rule that has preference 0 behind it."
	}
	fix.Undo = slices.Concat(fix.Undo, back, away)
	// The order of before, if the rule for table local had 0, too: it comes after them.
	if last {
		behind, here := ruleWords(*to.local, 1), ruleWords(*to.local, 0)
		fix.Undo = append(fix.Undo, rule("add", behind...), rule("del", here...), rule("add", here...), rule("del", behind...))
	}
	return fix
}

// ruleWords are a rule as ip-rule(8) takes it, with that preference.
func ruleWords(r facts.Rule, priority int) []string {
	w := append(strings.Fields(r.Selector), "pref", fmt.Sprint(priority))
	if r.Action == "lookup" {
		return append(w, "lookup", fmt.Sprint(r.Table))
	}
	return append(w, r.Action)
}
