package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Cures of a translation: loopback is left out ahead of the rule, or the rule is
// given what it lacks to act on loopback.

const oldOnes = "connections that are open keep the way they have"

// leaveOutFixes lets loopback past rules that would lead it elsewhere: its own port,
// then all of it, then the rules go. Past all of them in one fix.
func leaveOutFixes(f *facts.Facts, hs ...hurdle) []Fix {
	if len(hs) == 0 {
		return []Fix{leaveOut}
	}
	rules := len(slices.CompactFunc(slices.Clone(hs), func(a, b hurdle) bool { return sameRule(a.rule, b.rule) }))
	ahead := cond(rules > 1, fmt.Sprintf("ahead of those %d rules", rules), "ahead of that rule")
	var out []Fix
	for _, wide := range []bool{false, true} {
		x := Fix{Do: fmt.Sprintf("Leave loopback port %d out, %s.", hs[0].port, ahead), Elevated: true, Lasts: Persistent}
		risks := []string{oldOnes}
		if wide {
			x.Do, risks = "Leave all of loopback out, "+ahead+".", []string{"nothing on lo is led elsewhere by that chain then", oldOnes}
		}
		able := true
		for _, h := range hs {
			o, ok := h.open(f, wide)
			able = able && ok
			if slices.ContainsFunc(x.Steps, func(s []string) bool { return slices.Equal(s, o.step) }) {
				continue
			}
			x.Steps, x.Undo = append(x.Steps, o.step), append(x.Undo, o.undo)
			x.Lasts = cond(o.lasts == UntilReboot, UntilReboot, x.Lasts)
			if o.risk != "" && !slices.Contains(risks, o.risk) {
				risks = append(risks, o.risk)
			}
		}
		if !able {
			out = append(out, cond(keeperOf(f, hs[0].rule) != nil || hs[0].rule.Owner != "", byHand(f, hs), leaveOut))
			break
		}
		x.Risk = strings.Join(risks, "; ")
		out = append(out, x)
	}
	if x, ok := removal(f, hs); ok {
		x.Risk = "whoever relies on it, here or on other machines, is no longer led there; " + oldOnes
		out = append(out, x)
	}
	return append(append(out, instead(f, hs)...), boot(f, hs)...)
}

// byIPTables is the iptables that a cure uses: that of the rule, or "" for nft.
func byIPTables(f *facts.Facts, r facts.FilterRule) string {
	if iptablesRule(r) {
		return iptablesCommand(f, r)
	}
	return ""
}

// forwardTable is the table of nf_tables that a cure makes: it goes as a whole.
const forwardTable = "lo_forward"

// mayLeave lets packets from loopback leave by a device, with an address that the
// far end can answer. command is the iptables, or "" for nft(8).
func mayLeave(command, device string, sysctl bool) (steps, undo [][]string) {
	if sysctl {
		key := "net.ipv4.conf." + strings.ReplaceAll(device, ".", "/") + ".route_localnet"
		steps, undo = append(steps, []string{"sysctl", "-w", key + "=1"}), append(undo, []string{"sysctl", "-w", key + "=0"})
	}
	if command != "" {
		match := []string{"POSTROUTING", "-s", "127.0.0.0/8", "-o", device, "-j", "MASQUERADE"}
		return append(steps, append([]string{command, "-t", "nat", "-A"}, match...)), append(undo, append([]string{command, "-t", "nat", "-D"}, match...))
	}
	steps = append(steps, []string{"nft", "add", "table", "ip", forwardTable},
		strings.Fields("nft add chain ip "+forwardTable+" postrouting { type nat hook postrouting priority 100 ; }"),
		[]string{"nft", "add", "rule", "ip", forwardTable, "postrouting", "ip", "saddr", "127.0.0.0/8", "oifname", device, "masquerade"})
	return steps, append(undo, []string{"nft", "delete", "table", "ip", forwardTable})
}

// alsoFromHere is a second rule, at OUTPUT, for a port forward that acts on packets
// from outside only.
func alsoFromHere(command string, ipv6 bool, port uint16, kind, to string) (steps, undo [][]string) {
	if command != "" {
		match := []string{"OUTPUT", "-o", "lo", "-p", "tcp", "--dport", fmt.Sprint(port)}
		if kind == "redirect" {
			match = append(match, "-j", "REDIRECT", "--to-ports", to)
		} else {
			match = append(match, "-j", "DNAT", "--to-destination", to)
		}
		return [][]string{append([]string{command, "-t", "nat", "-A"}, match...)}, [][]string{append([]string{command, "-t", "nat", "-D"}, match...)}
	}
	family := cond(ipv6, "ip6", "ip")
	rule := []string{"nft", "add", "rule", family, forwardTable, "output", "oif", "lo", "tcp", "dport", fmt.Sprint(port)}
	rule = append(rule, cond(kind == "redirect", []string{"redirect", "to", ":" + to}, []string{"dnat", "to", to})...)
	return [][]string{{"nft", "add", "table", family, forwardTable},
		strings.Fields("nft add chain " + family + " " + forwardTable + " output { type nat hook output priority -100 ; }"), rule}, [][]string{{"nft", "delete", "table", family, forwardTable}}
}

// onlyOnce drops steps that were there before, such as the making of one table.
func onlyOnce(steps [][]string) [][]string {
	var out [][]string
	for _, s := range steps {
		if !slices.ContainsFunc(out, func(o []string) bool { return slices.Equal(o, s) }) {
			out = append(out, s)
		}
	}
	return out
}
