package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What is said of rules where none of them is the cause: that they could not be
// read, that none stops the connection, or that they and the counters disagree.

// notPermitted tells whether rules were not read because the kernel shows them to root
// only.
func notPermitted(f *facts.Facts) bool {
	if f.Filters == nil {
		return f.Absent[facts.GroupFilters].Remedy == "run it with sudo"
	}
	for _, e := range f.Filters.Engines {
		// The list of legacy tables is a file of root's, and CAP_NET_ADMIN does not open it.
		if e.NotRead == "not permitted" && !lookedWith(f, "dac_read_search") {
			return true
		}
		if e.NotRead != "" {
			return !lookedWith(f, "net_admin") // what reading rules takes
		}
	}
	return false
}

// allRead tells whether the rules of every engine here are known.
func allRead(f *facts.Facts) bool {
	return !slices.ContainsFunc(f.Filters.Engines, func(e facts.FilterEngine) bool { return e.NotRead != "" })
}

// lookedWith tells whether loopdoctor had that capability.
func lookedWith(f *facts.Facts, capability string) bool {
	return slices.Contains(f.Host.LookedWith, capability)
}

// asRoot is the command that looks again with root's eyes, as the same client.
func asRoot(f *facts.Facts, a netip.Addr) string {
	words := []string{"sudo loopdoctor"}
	switch id := first(f.Host.As); {
	case id.PID != 0:
		words = append(words, "--as", fmt.Sprint(id.PID))
	case id.Named && isName(id.User):
		words = append(words, "--as", id.User)
	case id.Named:
		words = append(words, "--as", fmt.Sprintf("+%d", id.UID))
	}
	if f.Target.Port != 0 {
		// Brackets are a pattern to a shell.
		words = append(words, cond(a.Is6(), "'"+at(f, a)+"'", at(f, a)))
	}
	return strings.Join(words, " ")
}

// settleRule is the command that finds what the counters cannot name.
func settleRule(f *facts.Facts, d facts.Dial, stage Stage) string {
	switch {
	case notPermitted(f):
		return asRoot(f, d.Addr)
	case !noneStops(f, d):
		return cond(stage == StageWire, findOnWire+"; "+findRule, findRule)
	case stage == StageWire:
		return findOnWire
	case stage == StageInput:
		return "sudo bpftool link show"
	}
	return "sudo bpftool cgroup tree"
}

// settleDivert is the same for what leads a connection elsewhere.
func settleDivert(f *facts.Facts, d facts.Dial) string {
	switch {
	case notPermitted(f):
		return asRoot(f, d.Addr)
	case len(noneDiverts(f, d)) > 0:
		return "sudo bpftool link show; sudo bpftool cgroup tree"
	}
	return findRule
}

// noneStops tells whether all rules were read and followed, and let the packets of the
// dial pass.
func noneStops(f *facts.Facts, d facts.Dial) bool {
	if f.Filters == nil || f.Filters.Walk(d, facts.Syn) == nil || !allRead(f) {
		return false
	}
	for _, packet := range []string{facts.Syn, facts.SynAck, facts.Ack} {
		if w := f.Filters.Walk(d, packet); w != nil && (len(w.Stops)+len(w.Unsure) > 0 || w.Partial != "") {
			return false
		}
	}
	return true
}

// whatElse drops packets at a place and is no rule.
var whatElse = map[Stage]string{
	StageOutput: "a BPF program of the client's cgroup may (IPAddressDeny= of its systemd unit), or a route that NAT or a mark leads to",
	StageWire:   "traffic control (tc) or an XDP program on lo may",
	StageInput:  "a BPF program at the netfilter hooks may, IPsec, or a full connection tracking table",
	StageReply:  "a BPF program of the server's or the client's cgroup may (IPAddressDeny= of their systemd units)",
}

// rulesSay is what a broad cause adds about the rules that were read.
func rulesSay(f *facts.Facts, d facts.Dial, stage Stage) []Evidence {
	if f.Filters == nil {
		return nil
	}
	var es []Evidence
	if s := conflict(f, d); s != nil {
		es = append(es, Evidence{"rules", fmt.Sprintf("by them it would be stopped %s, and the counters do not agree: %s", onItsWay(s.Where), ruleText(f, s.Rule))})
	} else if noneStops(f, d) {
		n := 0
		for _, e := range f.Filters.Engines {
			n += e.Rules
		}
		es = append(es, Evidence{"rules", fmt.Sprintf("%s stops it: %s", noneOf(n), whatElse[stage])})
	}
	if w := f.Filters.Walk(d, facts.Syn); w != nil && w.Partial != "" {
		es = append(es, Evidence{"rules", "they could not be followed to the end: " + cut(w.Partial, 120)})
	}
	return append(es, notRead(f)...)
}

func noneOf(n int) string {
	switch n {
	case 0:
		return "there is no rule here that"
	case 1:
		return "the one rule read here is not what"
	}
	return fmt.Sprintf("none of the %d rules read here", n)
}

// notRead lists the engines of which not all is known.
func notRead(f *facts.Facts) []Evidence {
	var es []Evidence
	for i, e := range f.Filters.Engines {
		if i == 8 {
			break
		}
		if e.NotRead != "" {
			es = append(es, Evidence{"not read", fmt.Sprintf("the rules of %s: %s", short(e.Name), cut(e.NotRead, 120))})
		}
		if e.Opaque > 0 {
			es = append(es, Evidence{"not judged", fmt.Sprintf("%s of %s: loopdoctor does not know an expression in it", plural(e.Opaque, "rule"), short(e.Name))})
		}
	}
	return es
}

// noneDiverts says that rules were read, and none leads the connection elsewhere.
func noneDiverts(f *facts.Facts, d facts.Dial) []Evidence {
	if f.Filters == nil || !allRead(f) {
		return nil
	}
	w := f.Filters.Walk(d, facts.Syn)
	if w == nil || len(w.Diverts)+len(w.Unsure) > 0 {
		return nil
	}
	n := 0
	for _, e := range f.Filters.Engines {
		n += e.Rules
	}
	return []Evidence{{"rules", noneOf(n) + " diverts it: a BPF program may (sk_lookup, or connect4 and connect6 of a cgroup)"}}
}
