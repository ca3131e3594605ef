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

// leaveOutFixes lets loopback past a rule that would lead it elsewhere: its own
// port, then all of it, then the rule goes.
func leaveOutFixes(f *facts.Facts, h hurdle) []Fix {
	var out []Fix
	for _, wide := range []bool{false, true} {
		o, ok := h.open(f, wide)
		if !ok {
			out = append(out, cond(keeperOf(f, h.rule) != nil || h.rule.Owner != "", byHand(f, []hurdle{h}), leaveOut))
			break
		}
		do := fmt.Sprintf("Leave loopback port %d out, ahead of that rule.", h.port)
		risk := oldOnes
		if wide {
			do, risk = "Leave all of loopback out, ahead of that rule.", "nothing on lo is led elsewhere by that chain then; "+oldOnes
		}
		if o.risk != "" {
			risk += "; " + o.risk
		}
		out = append(out, Fix{Do: do, Steps: [][]string{o.step}, Undo: [][]string{o.undo}, Elevated: true, Lasts: o.lasts, Risk: risk})
	}
	if x, ok := removal(f, []hurdle{h}); ok {
		x.Risk = "whoever relies on it, here or on other machines, is no longer led there; " + oldOnes
		out = append(out, x)
	}
	return append(append(out, instead(f, []hurdle{h})...), boot(f, []hurdle{h})...)
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
