package checks

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What TCP itself throws away, beyond all rules: the packet arrived, and a policy of IPsec
// or the listener's own socket does not take it.

var ipsecPolicyBlocks = &Check{
	Name:     "ipsec-policy-blocks",
	Doc:      "a policy of IPsec on lo throws the connection away",
	Stage:    StageInput, // or where the policy stands
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupLedger},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupPackets},
	Explains: []*Check{noReply, localhostSlowFallback},
	Refines:  []*Check{lostOnOutput, lostOnInput, replyLost},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			l := ledgerOf(f, d.Addr)
			name := ipsecCounter(l)
			if name == "" || d.Outcome != facts.Timeout {
				continue
			}
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: cond(l.SYNs > 1, Proven, Inferred), Stage: StageInput, Settle: "sudo ip xfrm policy"}
			where, setting := "on its way in", "disable_policy"
			if strings.HasPrefix(name, "XfrmOut") {
				x.Stage, where, setting = StageOutput, "on its way out", "disable_xfrm"
			}
			x.Summary = fmt.Sprintf("A policy of IPsec throws the connection to %s away %s (%s).", at(f, d.Addr), where, name)
			x.Evidence = append([]Evidence{{"counters", fmt.Sprintf("%s +%d with our %s", name, l.Delta[name], plural(l.SYNs, "SYN"))}}, seen(f, d)...)
			family := cond(d.Addr.Is4(), "ipv4", "ipv6")
			if setting == "disable_policy" {
				key := fmt.Sprintf("net.%s.conf.lo.%s", family, setting)
				x.Fixes = append(x.Fixes, Fix{Do: cond(d.Addr.Is4(), "Exempt lo from policies of IPsec again, as it is by itself.", "Exempt lo from policies of IPsec."), Elevated: true, Lasts: UntilReboot,
					Steps: [][]string{{"sysctl", "-w", key + "=1"}}, Undo: [][]string{{"sysctl", "-w", key + "=0"}},
					Risk: "what goes over lo is no longer checked by any policy"})
			}
			x.Fixes = append(x.Fixes, Fix{Do: "Take the policy away, or leave 127.0.0.0/8 and ::1 out of its selector, in the configuration of what loads it (strongSwan, Libreswan): sudo ip xfrm policy lists it."})
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// ipsecCounter is the counter of IPsec that moved with the SYNs; empty if none did. Of
// several the first by name: one packet moves one.
func ipsecCounter(l *facts.Ledger) string {
	if l == nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(l.Delta)) {
		if strings.HasPrefix(name, "Xfrm") && aboutSYNs(l, name) {
			return name
		}
	}
	return ""
}

// aboutSYNs tells whether a counter moved by about as many as there were SYNs: what it
// counts for others at the same time would make it more.
func aboutSYNs(l *facts.Ledger, name string) bool {
	n := l.Delta[name]
	return facts.Enough(n, l.SYNs) && n*4 <= int64(l.SYNs)*5
}

var listenerDiscards = &Check{
	Name:     "listener-discards",
	Doc:      "the connection arrives, and the listener's own socket throws it away",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupLedger},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupPackets},
	Explains: []*Check{noReply, localhostSlowFallback},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			l := ledgerOf(f, d.Addr)
			if l == nil || d.Outcome != facts.Timeout || ipsecCounter(l) != "" {
				continue
			}
			if _, lost := lostAt(f, d); lost {
				continue
			}
			// The queue that is full counts there as well, and has a cause of its own.
			dropped := l.Delta["listener.drops"] - l.Delta["ListenDrops"]
			why := wantsOfListener(l)
			if !facts.Enough(dropped, l.SYNs) && (why == nil || len(serving(f, d.Addr)) == 0) {
				continue
			}
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: cond(facts.Enough(dropped, l.SYNs) && l.SYNs > 1, Proven, Inferred)}
			name := "the listener"
			if ls := serving(f, d.Addr); len(ls) > 0 {
				name = holder(f, ls[0])
			}
			if dropped > 0 {
				x.Evidence = append(x.Evidence, Evidence{"socket", fmt.Sprintf("the listener threw away %s while we sent %s", plural(int(dropped), "packet"), plural(l.SYNs, "SYN"))})
			}
			if why != nil {
				x.Summary = fmt.Sprintf("The connection to %s arrives, and the socket of %s throws it away: %s.", at(f, d.Addr), name, why.text)
				x.Evidence = append(x.Evidence, Evidence{"counters", fmt.Sprintf("%s +%d", why.counter, l.Delta[why.counter])})
				x.Fixes = []Fix{{Do: why.do}}
			} else {
				x.Summary = fmt.Sprintf("The connection to %s arrives, and the socket of %s throws it away: a BPF program of its service's cgroup (IPAddressDeny= of its systemd unit), a filter that it put on its own socket (SO_ATTACH_FILTER), or a security module.", at(f, d.Addr), name)
				x.Settle = "sudo bpftool cgroup tree"
				x.Fixes = []Fix{{Do: "Where the service has IPAddressDeny=, allow it lo: IPAddressAllow=localhost in the same unit (systemctl edit), then restart the service."},
					{Do: "Where the program filters its own socket, change that in its configuration, or start it without."}}
				for _, o := range f.Owners.Of(first(serving(f, d.Addr))) {
					if o.Unit != "" && isName(o.Unit) {
						x.Settle = "systemctl show -p IPAddressDeny -p IPAddressAllow " + o.Unit + "; " + x.Settle
						break
					}
				}
			}
			x.Evidence = append(x.Evidence, seen(f, d)...)
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// demand is what a listener wants of a packet.
type demand struct{ counter, text, do string }

// wantsOfListener reads it off the counters that moved with the SYNs; nil: they say nothing.
func wantsOfListener(l *facts.Ledger) *demand {
	const signed = "it takes signed packets only (TCP MD5 or TCP-AO), as speakers of BGP do, and ours carry no such signature"
	const sign = "Connect as a peer that has the key (TCP_MD5SIG), or have the server leave 127.0.0.1 and ::1 out of the peers for which it wants one."
	for _, w := range []demand{
		{"TCPMD5NotFound", signed, sign}, {"TCPMD5Failure", signed, sign}, {"TCPAORequired", signed, sign}, {"TCPAOKeyNotFound", signed, sign}, {"TCPAOBad", signed, sign},
		{"TCPMinTTLDrop", "it wants a time to live that packets over lo do not have (IP_MINTTL, the TTL security of BGP and the like)",
			"Switch TTL security off for peers on lo in the server's configuration, or connect with a TTL of 255 (net.ipv4.ip_default_ttl)."},
	} {
		if aboutSYNs(l, w.counter) {
			return &w
		}
	}
	return nil
}
