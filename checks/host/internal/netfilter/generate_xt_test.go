package netfilter_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// The sets of ipset that rules ask: made once.
const ipsets = `create p bitmap:port range 20000-21000
add p 20001
add p 20003
create n4 hash:net family inet
add n4 127.0.0.2
add n4 10.0.0.0/8
create n6 hash:net family inet6
add n6 ::1
create ip4 hash:ip,port family inet
add ip4 127.0.0.1,tcp:20001
add ip4 127.0.0.2,tcp:20002
create ip6 hash:ip,port family inet6
add ip6 ::1,tcp:20002
`

// builtin is the chains of each table, by the order of the tables of iptables.
var builtin = []struct {
	table  string
	chains []string
}{
	{"raw", []string{"PREROUTING", "OUTPUT"}},
	{"mangle", []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}},
	{"nat", []string{"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}},
	{"filter", []string{"INPUT", "FORWARD", "OUTPUT"}},
	{"security", []string{"INPUT", "FORWARD", "OUTPUT"}},
}

// xtRuleset writes what iptables-restore reads: every table, so that nothing is left
// of the one before.
func xtRuleset(seed uint64, v6, empty bool) string {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, map[bool]uint64{false: 4, true: 6}[v6]))}
	for _, b := range builtin {
		g.printf("*%s\n", b.table)
		n := g.IntN(3)
		for _, c := range b.chains {
			policy := "ACCEPT"
			if !empty && b.table != "nat" && g.chance(4) {
				policy = "DROP"
			}
			g.printf(":%s %s [0:0]\n", c, policy)
		}
		if !empty {
			for i := range n {
				g.printf(":c%d - [0:0]\n", i)
			}
			for i := range n {
				for range g.IntN(4) {
					g.printf("-A c%d %s\n", i, g.xtRule(b.table, "", i, v6))
				}
			}
			for _, c := range b.chains {
				if c == "FORWARD" || g.chance(55) {
					continue
				}
				for range 1 + g.IntN(3) {
					g.printf("-A %s %s\n", c, g.xtRule(b.table, c, n, v6))
				}
			}
		}
		g.printf("COMMIT\n")
	}
	return g.b.String()
}

// xtRule writes a rule of a chain (empty: one of the user's), from which so many of
// the user's chains may be called.
func (g *generator) xtRule(table, chain string, below int, v6 bool) string {
	parts := []string{"-p tcp"}
	used := map[string]bool{}
	for range g.IntN(3) {
		m := g.xtMatch(chain, v6)
		key, _, _ := strings.Cut(strings.TrimPrefix(m, "! "), " ")
		if key == "-m" {
			key = strings.Fields(m)[1]
		}
		if !used[key] { // an option may stand once
			parts = append(parts, m)
		}
		used[key] = true
	}
	if g.chance(60) && !used["tcp"] && !used["multiport"] {
		parts = append(parts, g.pick(fmt.Sprintf("-m tcp --dport %d", g.port()), fmt.Sprintf("-m tcp --sport %d", g.port()),
			fmt.Sprintf("-m multiport --dports %s", strings.ReplaceAll(g.ports(), " ", "")), "-m tcp --tcp-flags SYN,ACK SYN", "-m tcp --tcp-flags SYN,ACK SYN,ACK", "-m tcp --tcp-flags SYN,ACK ACK"))
	}
	return strings.Join(append(parts, g.xtTarget(table, chain, below, v6)), " ")
}

func (g *generator) xtMatch(chain string, v6 bool) string {
	lo, other, set, pairs := "127.0.0.1", "127.0.0.0/8", "n4", "ip4"
	if v6 {
		lo, other, set, pairs = "::1", "fe80::/10", "n6", "ip6"
	}
	all := []string{
		fmt.Sprintf("-m tcp ! --dport %d", g.port()), fmt.Sprintf("-m tcp --dport %d:%d", 20000+g.IntN(3), 20002+g.IntN(3)), "-m tcp --sport 1024:65535", "-m tcp --syn", "-m tcp ! --syn",
		fmt.Sprintf("-m multiport ! --dports %d,%d:%d", g.port(), 20003, 20003+g.IntN(3)), fmt.Sprintf("-m multiport --ports %d", g.port()), "-m multiport --sports 20001:20003",
		"-m conntrack --ctstate NEW", "-m conntrack --ctstate ESTABLISHED,RELATED", "-m conntrack --ctstate INVALID", "-m conntrack ! --ctstate NEW", "-m conntrack --ctstate UNTRACKED",
		"-m conntrack --ctstate DNAT", "-m conntrack --ctstate SNAT", "-m conntrack --ctdir ORIGINAL", "-m conntrack --ctdir REPLY", "-m conntrack --ctproto tcp",
		fmt.Sprintf("-m conntrack --ctorigdstport %d", g.port()), fmt.Sprintf("-m conntrack --ctreplsrcport %d", g.port()), "-m conntrack --ctstatus SEEN_REPLY", "-m conntrack --ctstatus CONFIRMED",
		"-m conntrack --ctorigdst " + lo, "-m conntrack ! --ctorigdst " + other,
		"-m state --state NEW", "-m state --state ESTABLISHED", fmt.Sprintf("-m mark --mark %d", g.IntN(4)), fmt.Sprintf("-m mark ! --mark 0x%d/0x3", g.IntN(4)),
		fmt.Sprintf("-m connmark --mark %d", g.IntN(4)), "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL", "-m addrtype --dst-type UNICAST",
		"-m set --match-set p dst", "-m set ! --match-set p src", "-m set --match-set " + set + " dst", "-m set --match-set " + set + " src", "-m set --match-set " + pairs + " dst,dst",
		"-m comment --comment \"it's a comment\"", "-s " + lo, "! -d " + other, "-d " + other,
	}
	all = append(all, "-m pkttype --pkt-type unicast", "-m tos --tos 0x10", "-m tcp ! --tcp-flags FIN,RST NONE", "-m tcp --tcp-option 2")
	if !v6 {
		all = append(all, "-m iprange --dst-range 127.0.0.2-127.0.0.9", "-d 127.0.0.2")
	}
	switch chain {
	case "OUTPUT", "POSTROUTING":
		all = append(all, "-o lo", "! -o lo", "-m owner --uid-owner 0", "-m owner --uid-owner 1000", "-m owner ! --uid-owner 500-2000", "-m owner --gid-owner 0", "-m owner --socket-exists")
	case "INPUT", "PREROUTING":
		all = append(all, "-i lo", "! -i lo", "-m addrtype --limit-iface-in --dst-type LOCAL")
	}
	if g.chance(2) {
		return g.pick("-m limit --limit 1/second", "-m statistic --mode random --probability 0.5", "-m length --length 0:100")
	}
	return all[g.IntN(len(all))]
}

func (g *generator) xtTarget(table, chain string, below int, v6 bool) string {
	if table == "nat" && (chain == "OUTPUT" || chain == "PREROUTING" || chain == "POSTROUTING") && g.chance(60) {
		lo := fmt.Sprintf("127.0.0.%d", 1+g.IntN(3))
		if v6 {
			lo = "[::1]"
		}
		switch {
		case chain == "POSTROUTING":
			return "-j SNAT --to-source " + strings.Trim(lo, "[]")
		case g.chance(50):
			return fmt.Sprintf("-j REDIRECT --to-ports %d", g.port())
		}
		return fmt.Sprintf("-j DNAT --to-destination %s:%d", lo, g.port())
	}
	if table == "mangle" && g.chance(40) {
		return g.pick(fmt.Sprintf("-j MARK --set-mark %d", g.IntN(4)), fmt.Sprintf("-j MARK --set-mark %d", g.IntN(4)), "-j MARK --xor-mark 3", "-j MARK --and-mark 1", "-j TOS --set-tos 0x10", "-j MARK --set-xmark 0x1/0x3", "-j MARK --or-mark 2", fmt.Sprintf("-j CONNMARK --set-mark %d", g.IntN(4)),
			"-j CONNMARK --save-mark", "-j CONNMARK --restore-mark")
	}
	if table == "raw" && chain != "" && g.chance(25) {
		return "-j CT --notrack"
	}
	n := g.IntN(20)
	switch {
	case n < 3 && table != "nat":
		return "-j DROP"
	case n < 9:
		return "-j ACCEPT"
	case n < 11:
		return "-j RETURN"
	case n < 15 && below > 0:
		return g.pick("-j ", "-j ", "-g ") + fmt.Sprintf("c%d", g.IntN(below))
	case n < 17 && table == "filter":
		if v6 {
			return "-j REJECT --reject-with " + g.pick("tcp-reset", "icmp6-port-unreachable", "icmp6-adm-prohibited")
		}
		return "-j REJECT --reject-with " + g.pick("tcp-reset", "icmp-port-unreachable", "icmp-host-unreachable", "icmp-admin-prohibited")
	case n < 18:
		return g.pick("-j LOG --log-prefix x", "-j NFLOG --nflog-group 5", "-m comment --comment x")
	case n < 19 && g.chance(20) && table != "nat":
		return g.pick("-j NFQUEUE --queue-num 3", "-j NFQUEUE --queue-num 3 --queue-bypass")
	}
	return ""
}
