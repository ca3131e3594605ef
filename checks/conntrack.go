package checks

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// conntrackFull: a first packet for which the table of connections has no room, and
// nothing in it that may be thrown out, is dropped (__nf_conntrack_alloc in
// net/netfilter/nf_conntrack_core.c). Its counters may be read by everybody.
var conntrackFull = &Check{
	Name:     "conntrack-full",
	Doc:      "the table of connection tracking is full, and new connections are dropped",
	Stage:    StageOutput,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupConntrack, facts.GroupDials, facts.GroupLedger},
	Uses:     []facts.Group{facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupFilters},
	Explains: []*Check{noReply, localhostSlowFallback},
	Refines:  []*Check{lostOnOutput},
	Run: func(f *facts.Facts) []Finding {
		c := f.Conntrack
		// Within a hair: entries come and go between our SYNs and the look.
		if c.Max <= 0 || c.Count < c.Max-max(c.Max/50, 1) {
			return nil
		}
		var fs []Finding
		for _, d := range f.Dials {
			st, lost := lostAt(f, d)
			if d.Outcome != facts.Timeout || !lost || st != StageOutput {
				continue
			}
			l := ledgerOf(f, d.Addr)
			moved := facts.Enough(int64(c.Dropped["drop"]), l.SYNs)
			// Where that column was seen and stood still, something else drops them.
			if c.Dropped != nil && !moved || f.Filters != nil && blamed(f, d) != nil {
				continue
			}
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: cond(moved && l.SYNs > 1, Proven, Inferred),
				Summary:  fmt.Sprintf("The connection tracking table is full (%d of %d entries), and the kernel drops the first packet of new connections, also to %s.", c.Count, c.Max, at(f, d.Addr)),
				Evidence: []Evidence{{"conntrack", fmt.Sprintf("nf_conntrack_count %d, nf_conntrack_max %d", c.Count, c.Max)}}}
			if moved {
				x.Evidence = append(x.Evidence, Evidence{"/proc/net/stat/nf_conntrack", fmt.Sprintf("drop +%d with our %s", c.Dropped["drop"], plural(l.SYNs, "SYN"))})
			} else {
				x.Settle = "sudo conntrack -S; sudo dmesg | grep nf_conntrack"
			}
			for i, line := range c.LogLines {
				if i == 2 {
					break
				}
				x.Evidence = append(x.Evidence, Evidence{"kernel log", cut(line, 200)})
			}
			x.Evidence = append(append(x.Evidence, Evidence{"counters", countedAt(l, d, st)}), seen(f, d)...)
			x.Fixes = conntrackFixes(f)
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// notrackTable is the table that a cure makes.
const notrackTable = "lo_notrack"

// conntrackFixes: a larger table is the usual cure, and only the first network
// namespace can have it; without tracking, loopback needs no room in it.
func conntrackFixes(f *facts.Facts) []Fix {
	c := f.Conntrack
	risk := "rules that ask for the state of a connection (ct state, -m conntrack) do not know those on lo then: they need a rule that accepts lo; NAT rules no longer act on lo"
	notrack := Fix{Do: "Do not track connections on lo: they need no room in the table then.", Elevated: true, Lasts: UntilReboot, Risk: risk}
	if f.Filters.Engine(facts.NFTables) == nil && f.Filters.Engine(facts.IPTables) != nil && alternative(f) != iptablesNFT {
		for _, cmd := range []string{"iptables-legacy", "ip6tables-legacy"} {
			notrack.Steps = append(notrack.Steps, strings.Fields(cmd+" -t raw -I OUTPUT 1 -o lo -j CT --notrack"))
			notrack.Undo = append(notrack.Undo, strings.Fields(cmd+" -t raw -D OUTPUT -o lo -j CT --notrack"))
		}
	} else {
		notrack.Steps = [][]string{{"nft", "add", "table", "inet", notrackTable},
			strings.Fields("nft add chain inet " + notrackTable + " output { type filter hook output priority raw ; }"),
			strings.Fields("nft add rule inet " + notrackTable + " output oif lo notrack")}
		notrack.Undo = [][]string{{"nft", "delete", "table", "inet", notrackTable}}
	}
	fixes := []Fix{notrack}
	larger := c.Max * 2
	if c.Namespaced {
		fixes = append(fixes, Fix{Do: fmt.Sprintf("Give the table more room, on the host: this network namespace cannot change the limit, and it holds for each. sysctl -w net.netfilter.nf_conntrack_max=%d in the first one.", larger)})
	} else {
		fixes = append(fixes, Fix{Do: "Give the table more room.", Elevated: true, Lasts: UntilReboot,
			Steps: [][]string{{"sysctl", "-w", fmt.Sprintf("net.netfilter.nf_conntrack_max=%d", larger)}},
			Undo:  [][]string{{"sysctl", "-w", fmt.Sprintf("net.netfilter.nf_conntrack_max=%d", c.Max)}},
			Risk:  fmt.Sprintf("about 300 bytes for each entry, %d MB if all of it is used", larger*300>>20)})
	}
	return append(fixes,
		Fix{Do: fmt.Sprintf("To keep it over a reboot, write net.netfilter.nf_conntrack_max = %d into a file below /etc/sysctl.d.", larger)},
		Fix{Do: "See what fills it (sudo conntrack -L | awk '{print $1, $4}' | sort | uniq -c | sort -rn | head), and let idle entries go sooner: net.netfilter.nf_conntrack_tcp_timeout_established is five days unless it was changed."})
}
