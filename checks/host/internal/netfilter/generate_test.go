package netfilter_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Ports on which somebody listens in the test, on every address of lo.
var served = []int{20001, 20002, 20003, 20004}

// generator writes random rulesets in the language of nft(8). They are dense: few
// ports, addresses, marks and users, so that rules meet packets.
type generator struct {
	*rand.Rand
	b strings.Builder
}

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }
func (g *generator) chance(percent int) bool     { return g.IntN(100) < percent }
func (g *generator) printf(format string, a ...any) {
	fmt.Fprintf(&g.b, format, a...)
}

// table is what the rules of one table may refer to.
type table struct {
	family string
	chains []string // that may still be jumped to: only those behind, so that there are no loops
}

func nftRuleset(seed uint64) string {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	for i := range 1 + g.IntN(3) {
		g.table(i)
	}
	return g.b.String()
}

func (g *generator) table(number int) {
	t := &table{family: g.pick("ip", "ip6", "inet", "inet", "inet", "netdev")}
	if t.family == "netdev" && g.chance(50) {
		t.family = "inet"
	}
	g.printf("table %s t%d {\n", t.family, number)
	if g.chance(3) {
		g.printf("\tflags dormant;\n")
	}
	g.sets()
	n := g.IntN(4)
	for i := range n {
		t.chains = append(t.chains, fmt.Sprintf("c%d", i))
	}
	// A chain jumps to those in front of it.
	for i := range n {
		g.printf("\tchain c%d {\n", i)
		g.rules(&table{t.family, t.chains[:i]}, "regular", g.IntN(4))
		g.printf("\t}\n")
	}
	for i := range 1 + g.IntN(3) {
		kind, hook, priority := g.place(t.family)
		g.printf("\tchain b%d {\n\t\ttype %s hook %s priority %d; policy %s;\n", i, kind, hook, priority, map[bool]string{true: "drop", false: "accept"}[g.chance(7) && kind != "nat"])
		g.rules(t, kind+" "+hook, 1+g.IntN(5))
		g.printf("\t}\n")
	}
	g.printf("}\n")
}

func (g *generator) place(family string) (kind, hook string, priority int) {
	if family == "netdev" {
		return "filter", g.pick("ingress", "egress") + " device lo", g.IntN(3) - 1
	}
	if family == "inet" && g.chance(8) {
		return "filter", "ingress device lo", g.IntN(3) - 1
	}
	switch g.IntN(8) {
	case 0:
		return "nat", "output", []int{-150, -100, -100, -50}[g.IntN(4)]
	case 1:
		return "nat", g.pick("postrouting", "postrouting", "prerouting", "input"), []int{-100, 100}[g.IntN(2)]
	case 2:
		if family == "inet" {
			return "filter", "output", -150
		}
		return "route", "output", -150
	}
	return "filter", g.pick("output", "output", "input", "input", "prerouting", "postrouting"), []int{-300, -250, -199, -150, -101, -50, 0, 0, 0, 10, 50, 150, 200}[g.IntN(13)]
}

// sets are those that every table has.
func (g *generator) sets() {
	g.printf("\tset ports { type inet_service; elements = { %s } }\n", g.ports())
	g.printf("\tset ranges { type inet_service; flags interval; elements = { 1-%d, %d-%d, %d-65535 } }\n", 10000+g.IntN(10000), 20001+g.IntN(2), 20003, 32000+g.IntN(30000))
	g.printf("\tset nets { type ipv4_addr; flags interval; elements = { %s } }\n", g.pick("127.0.0.0/8", "127.0.0.2-127.0.0.9", "10.0.0.0/8, 127.0.0.1", "0.0.0.0/0"))
	g.printf("\tset nets6 { type ipv6_addr; flags interval; elements = { %s } }\n", g.pick("::1", "fe80::/10", "::/64", "2001:db8::/32, ::1"))
	g.printf("\tset pairs { type ipv4_addr . inet_service; elements = { 127.0.0.1 . %d, 127.0.0.2 . %d } }\n", g.port(), g.port())
	g.printf("\tset areas { type ipv4_addr . inet_service; flags interval; elements = { 127.0.0.0/%d . %d-%d, 10.0.0.0/8 . 1-65535 } }\n", 8+g.IntN(24), 20001+g.IntN(2), 20002+g.IntN(3))
	g.printf("\tset areas6 { type inet_service . ipv6_addr . mark; flags interval; elements = { %d-%d . ::/%d . 0-%d } }\n", 20001+g.IntN(2), 20002+g.IntN(3), 1+g.IntN(128), g.IntN(4))
	g.printf("\tmap marks { type inet_service : mark; elements = { %d : %d, %d : 3 } }\n", served[0], g.IntN(4), served[2])
	g.printf("\tmap verdicts { type inet_service : verdict; elements = { %d : %s, %d : %s } }\n", served[g.IntN(2)], g.pick("accept", "drop", "return"), served[2+g.IntN(2)], g.pick("accept", "drop", "continue"))
	g.printf("\tmap spans { type inet_service : verdict; flags interval; elements = { 20001-20002 : %s, 30000-65535 : %s } }\n", g.pick("accept", "drop", "return"), g.pick("accept", "return", "drop"))
	g.printf("\tset timed { type inet_service; flags timeout; elements = { %d timeout 1h } }\n", g.port())
	g.printf("\tset dyn { type inet_service; flags dynamic, timeout; size 100; }\n")
	g.printf("\tset anyport { type inet_service; elements = { %d, * } }\n", g.port())
	g.printf("\tmap steps { type inet_service : mark; flags interval; elements = { 20001-20002 : %d, 20003 : %d } }\n", g.IntN(4), g.IntN(4))
	g.printf("\tmap duo { type ipv4_addr . inet_service : verdict; elements = { 127.0.0.1 . %d : %s, 127.0.0.2 . %d : %s } }\n", g.port(), g.pick("drop", "accept"), g.port(), g.pick("drop", "return"))
	g.printf("\tmap fields { type mark . inet_service : verdict; flags interval; elements = { 0-1 . 20001-20002 : %s, 2-3 . 20003-65535 : %s } }\n", g.pick("drop", "accept", "return"), g.pick("drop", "continue"))
	g.printf("\tcounter hits { }\n\tlimit slow { rate 1/second }\n")
	g.printf("\tmap elsewhere { type inet_service : inet_service; elements = { %d : %d, %d : %d } }\n", served[0], g.port(), served[1], g.port())
}

func (g *generator) port() int { return served[g.IntN(len(served))] }

func (g *generator) ports() string {
	a, b := g.port(), g.port()
	if a == b {
		return fmt.Sprint(a)
	}
	return fmt.Sprint(a, ", ", b)
}

func (g *generator) rules(t *table, where string, n int) {
	for range n {
		g.printf("\t\t%s\n", g.rule(t, where))
	}
}

func (g *generator) rule(t *table, where string) string {
	var parts []string
	version := map[string]int{"ip": 4, "ip6": 6}[t.family]
	for range g.IntN(3) {
		m := g.match(t, where)
		// nft refuses rules that no packet can meet.
		if v := about(m); v != 0 && version != 0 && v != version {
			continue
		} else if v != 0 {
			version = v
		}
		parts = append(parts, m)
	}
	if g.chance(60) {
		// Most rules are about one of the ports, so that not everything ends at the first.
		parts = append(parts, g.pick(
			fmt.Sprintf("tcp dport %d", g.port()), fmt.Sprintf("tcp sport %d", g.port()), fmt.Sprintf("tcp dport { %s }", g.ports()),
			"tcp dport @ports", "tcp sport @ports", "tcp flags syn / syn,ack", "tcp flags syn,ack / syn,ack", "tcp flags ack / syn,ack"))
	}
	if g.chance(20) {
		parts = append(parts, g.statement(where))
	}
	parts = append(parts, "counter")
	v := g.verdict(t, where)
	if n := about(v); n != 0 && version != 0 && n != version {
		v = "accept"
	}
	if strings.Contains(v, "tcp reset") || strings.Contains(v, ":") && !strings.Contains(v, "vmap") {
		parts = append([]string{"meta l4proto tcp"}, parts...) // nft wants to hear it
	}
	return strings.Join(append(parts, v), " ")
}

// about is the version of IP that a match is about; 0: both.
func about(match string) int {
	switch {
	case strings.Contains(match, "ip6") || strings.Contains(match, "ipv6"):
		return 6
	case strings.Contains(match, "ip ") || strings.Contains(match, "ipv4"):
		return 4
	}
	return 0
}

func (g *generator) match(t *table, where string) string {
	common := []string{
		fmt.Sprintf("tcp dport != %d", g.port()), fmt.Sprintf("tcp dport < %d", g.port()), fmt.Sprintf("tcp sport >= %d", g.port()),
		fmt.Sprintf("tcp dport %d-%d", 20000+g.IntN(3), 20003+g.IntN(3)), fmt.Sprintf("tcp dport != %d-%d", 20000+g.IntN(3), 20003+g.IntN(3)),
		"tcp dport @ranges", "tcp sport @ranges", "tcp dport != @ports", "tcp flags & (fin|syn|rst|ack) == syn", "tcp flags != syn", "tcp flags ack",
		"meta l4proto tcp", "meta protocol ip", "meta protocol ip6", "meta pkttype host",
		fmt.Sprintf("meta mark %d", g.IntN(4)), fmt.Sprintf("meta mark & 0x3 == 0x%d", g.IntN(4)), fmt.Sprintf("meta mark > %d", g.IntN(3)), fmt.Sprintf("meta mark != %d", g.IntN(4)),
		fmt.Sprintf("meta mark %d-%d", g.IntN(2), 2+g.IntN(3)), "meta priority 0",
		"ip saddr 127.0.0.0/8", "ip daddr 127.0.0.1", "ip daddr 127.0.0.2", "ip saddr @nets", "ip daddr != @nets", "ip protocol tcp",
		"ip6 saddr ::1", "ip6 daddr @nets6", "ip6 saddr != @nets6", "ip6 nexthdr tcp",
		"ip daddr . tcp dport @pairs", "ip saddr . tcp sport @areas", "ip daddr . tcp dport @areas", "tcp dport . ip6 daddr . meta mark @areas6",
		fmt.Sprintf("tcp dport . meta mark { %d . 0, %d . 1 }", g.port(), g.port()), "tcp option maxseg exists", "tcp urgptr 0",
		fmt.Sprintf("@th,16,16 %d", g.port()),
	}
	all := common
	if t.family == "inet" {
		all = append(all, "meta nfproto ipv4", "meta nfproto ipv6")
	}
	if t.family != "netdev" && !strings.Contains(where, "ingress") && where != "regular" {
		all = append(all, "ct state new", "ct state established", "ct state established,related", "ct state invalid", "ct state untracked", "ct state != new",
			"ct direction reply", "ct direction original", "ct status dnat", "ct status snat", "ct status seen-reply", "ct status confirmed", "meta l4proto tcp ct original proto-dst "+fmt.Sprint(g.port()), "meta l4proto tcp ct reply proto-src "+fmt.Sprint(g.port()),
			"ct mark 0", fmt.Sprintf("ct mark %d", g.IntN(4)), "ct protocol tcp", "ct l3proto ipv4", "ct original ip daddr 127.0.0.1", "ct zone 0",
			"ct id 5")
	}
	all = append(all, "meta skuid 0", "meta skuid 1000", "meta skuid != 0", "meta skuid { 0, 1000 }", "meta skgid 0", "meta skuid 500-2000")
	switch {
	case where == "regular":
		all = append(all, "iifname lo", "oifname lo", "iif lo")
	case strings.Contains(where, "output") || strings.Contains(where, "postrouting"):
		all = append(all, "oifname lo", "oif lo", "oifname != lo", "oifname l*")
	case !strings.Contains(where, "egress"):
		all = append(all, "iifname lo", "iif lo", "iifname != lo", "iiftype loopback")
	}
	if where == "filter input" || where == "filter output" || where == "filter prerouting" {
		all = append(all, "fib daddr type local", "fib daddr type != local")
		if where == "filter prerouting" {
			all = append(all, "fib saddr . iif oif missing", "fib saddr . iif oif exists")
		}
	}
	all = append(all, "tcp dport @timed", "tcp dport @anyport", "tcp dport != @anyport", "tcp sport . tcp dport { 1-65535 . 20001-20003 }", "meta iifname . tcp dport { lo . 20001, lo . 20002 }",
		"tcp dport & 0x3 == 1", "tcp dport & 1 != 0", "@nh,0,4 4", "meta secmark 5")
	if g.chance(3) {
		return g.pick("socket transparent 1", "socket mark 0", "iifgroup 0", "tcp dport @dyn", "ether saddr 00:00:00:00:00:00", "meta iifkind veth", "ct count over 3", "limit name slow", "ip dscp 0", "ip6 dscp 0",
			"ip id > 0", "ip frag-off & 0x1fff == 0", "rt classid 0", "jhash tcp dport mod 2 0", "ct expiration > 1s", "meta hour > 10:00", "osf name Linux", "tcp doff > 5", "exthdr frag exists", "ip option rr exists", "meta ipsec missing", "rt ipsec missing", "limit rate 1/second", "numgen random mod 2 0", "ip ttl > 10", "meta cpu 0", "meta length > 20", "tcp window > 1000", "quota over 10 mbytes", "tcp option timestamp exists")
	}
	return all[g.IntN(len(all))]
}

func (g *generator) statement(where string) string {
	all := []string{fmt.Sprintf("meta mark set %d", g.IntN(4)), "meta mark set meta mark or 0x2", "meta mark set meta mark and 0x1", "meta mark set meta mark xor 0x3",
		fmt.Sprintf("meta priority set 1:%d", g.IntN(3)), "log prefix \"x\"", "counter name hits", "meta mark set tcp dport map @steps", "meta mark set tcp dport & 3", "meta mark set meta mark << 1", "meta mark set 3", "meta nftrace set 1", "meta mark set tcp dport map @marks"}
	if !strings.Contains(where, "gress") && where != "regular" {
		all = append(all, fmt.Sprintf("ct mark set %d", g.IntN(4)), "ct mark set meta mark", "meta mark set ct mark")
		if g.chance(3) {
			all = append(all, "tcp dport set 20002", "ip daddr set 127.0.0.2", "ip dscp set cs1", "add @dyn { tcp dport }", "update @dyn { tcp sport timeout 5s }", "ct zone set 1", "tcp option maxseg size set 1000")
		}
		if where == "filter output" || where == "filter prerouting" {
			all = append(all, "notrack")
		}
	}
	return g.pick(all...)
}

// jumps is a verdict map to other chains.
func (g *generator) jumps(t *table) string {
	if len(t.chains) == 0 {
		return "accept"
	}
	c := func() string { return t.chains[g.IntN(len(t.chains))] }
	return fmt.Sprintf("tcp dport vmap { %d : jump %s, 20005 : drop, 30000-65535 : goto %s }", g.port(), c(), c())
}

func (g *generator) verdict(t *table, where string) string {
	if strings.HasPrefix(where, "nat") && g.chance(60) {
		v4, v6 := t.family == "ip", t.family == "ip6"
		if where == "nat output" || where == "nat prerouting" {
			if g.chance(60) {
				return g.pick("redirect", fmt.Sprintf("redirect to :%d", g.port()), fmt.Sprintf("redirect to :%d", g.port()), "redirect to :tcp dport map @elsewhere")
			}
			switch {
			case v4:
				return g.pick(fmt.Sprintf("dnat to 127.0.0.%d:%d", 1+g.IntN(3), g.port()), "dnat to 127.0.0.2", fmt.Sprintf("dnat to :%d", g.port()))
			case v6:
				return fmt.Sprintf("dnat to [::1]:%d", g.port())
			}
			return g.pick(fmt.Sprintf("dnat ip to 127.0.0.%d:%d", 1+g.IntN(3), g.port()), fmt.Sprintf("dnat ip6 to [::1]:%d", g.port()))
		}
		switch {
		case v4:
			return fmt.Sprintf("snat to 127.0.0.%d", 1+g.IntN(4))
		case v6:
			return "snat to ::1"
		}
		return fmt.Sprintf("snat ip to 127.0.0.%d", 1+g.IntN(4))
	}
	if g.chance(5) && !strings.Contains(where, "gress") && where != "regular" && t.family != "netdev" {
		return g.pick("ct state vmap { established : accept, invalid : drop }", "ct state vmap { new : return, established : continue }", "ct direction vmap { reply : drop }")
	}
	n := g.IntN(20)
	switch {
	case n < 4:
		return "drop"
	case n < 9:
		return "accept"
	case n < 11:
		return "return"
	case n < 12:
		return ""
	case n < 15 && len(t.chains) > 0:
		return g.pick("jump ", "jump ", "goto ") + t.chains[g.IntN(len(t.chains))]
	case n < 16:
		return g.pick("tcp dport vmap @verdicts", "tcp sport vmap @verdicts", "tcp dport vmap @spans", "tcp sport vmap @spans", "ip daddr . tcp dport vmap @duo",
			"meta mark . tcp dport vmap @fields", "meta mark . tcp sport vmap @fields", "tcp dport vmap { 20001 : accept, * : continue }", g.jumps(t))
	case n < 18 && (where == "filter output" || where == "filter input" || where == "filter prerouting"):
		switch t.family {
		case "ip":
			return g.pick("reject with tcp reset", "reject", "reject with icmp host-unreachable", "reject with icmp admin-prohibited", "reject with icmp host-prohibited")
		case "ip6":
			return g.pick("reject with tcp reset", "reject", "reject with icmpv6 no-route", "reject with icmpv6 admin-prohibited")
		}
		return g.pick("reject with tcp reset", "reject", "reject with icmpx host-unreachable", "reject with icmpx admin-prohibited")
	}
	return ""
}
