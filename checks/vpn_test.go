package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// tunnelUp adds an interface that is up.
func tunnelUp(name, kind string) change {
	return func(f *facts.Facts) {
		f.Interfaces.Others = append(f.Interfaces.Others, facts.Interface{Name: name, Index: 9, Up: true, Kind: kind})
	}
}

func marks(mark uint32, r facts.FilterRule) func(*facts.FilterWalk) {
	return func(w *facts.FilterWalk) { w.Marks = append(w.Marks, facts.FilterMark{Rule: r, Mark: mark}) }
}

func vpnSituations() []situation {
	here := listens("127.0.0.1", 50)
	silent := dials("127.0.0.1", facts.Timeout)
	out := counts("127.0.0.1", 32, diedOnOutput)
	mullvad := nftRule("output", "reject", inTable("inet", "mullvad"))
	last := iptablesNFTRule("OUTPUT", "-j DROP")
	outPolicy := nftRule("output", "", policy)
	quick := iptablesNFTRule("OUTPUT", "! -o wg0 -m mark ! --mark 0xca6c -m addrtype ! --dst-type LOCAL -j REJECT", commented("wg-quick(8) rule for wg0"))
	istio := iptablesNFTRule("ISTIO_REDIRECT", "-p tcp -j REDIRECT --to-ports 15001", inTable("ip", "nat"), func(r *facts.FilterRule) {
		r.Hook, r.Path = "output", []string{"OUTPUT", "ISTIO_OUTPUT", "ISTIO_REDIRECT"}
	})
	all := nftRule("output", "meta l4proto tcp redirect to :7892", inTable("ip", "proxy"))
	own := nftRule("output", "tcp dport 62893 redirect to :7892", inTable("ip", "proxy"))
	setMark := nftRule("output", "meta l4proto tcp meta mark set 0x7", inTable("inet", "proxy"))
	toTun := []change{markRule(1, "lookup", "unicast dev tun0", "127.0.0.1"), rule(2, "", "lookup", 255, "127.0.0.1")}
	lost := func(changes ...change) *facts.Facts {
		return machine("127.0.0.1", slices.Concat([]change{here, silent, out}, toTun, changes)...)
	}

	return slices.Concat(
		of(vpnKillSwitch,
			row{"a client that is known by its table", machine("127.0.0.1", here, silent, out, walks("127.0.0.1", facts.Syn, stoppedBy("reject icmp port-unreachable", mullvad))), says("proven 127.0.0.1 at output", "The kill switch of Mullvad", "nftables table inet mullvad")},
			row{"by a comment", machine("127.0.0.1", here, silent, out, walks("127.0.0.1", facts.Syn, dropped(quick))), says("proven 127.0.0.1 at output", "wg-quick")},
			row{"a policy at output, and a tunnel is up", machine("127.0.0.1", here, silent, out, tunnelUp("wg0", "wireguard"), walks("127.0.0.1", facts.Syn, dropped(outPolicy))), says("inferred 127.0.0.1 at output", "looks like", "wg0")},
			row{"a last rule at output, and a tunnel is up", machine("127.0.0.1", here, silent, out, tunnelUp("tun0", "tun"), walks("127.0.0.1", facts.Syn, dropped(last))), says("inferred 127.0.0.1 at output", "looks like", "tun0")},

			row{"no tunnel is up", machine("127.0.0.1", here, silent, out, walks("127.0.0.1", facts.Syn, dropped(outPolicy))), nothing},
			row{"a rule for this port", machine("127.0.0.1", here, silent, out, tunnelUp("tun0", "tun"), walks("127.0.0.1", facts.Syn, dropped(nftRule("output", "tcp dport 62893 drop")))), nothing},
			row{"a policy at input", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, diedOnInput), tunnelUp("tun0", "tun"), walks("127.0.0.1", facts.Syn, dropped(nftRule("input", "", policy)))), nothing},
			row{"the tap of a virtual machine", machine("127.0.0.1", here, silent, out, tunnelUp("vnet0", "tun"), walks("127.0.0.1", facts.Syn, dropped(outPolicy))), nothing},
			row{"it connects", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), tunnelUp("wg0", "wireguard"), walks("127.0.0.1", facts.Syn, dropped(outPolicy))), nothing},
		),
		of(vpnTunCapturesLoopback,
			row{"a sidecar that is not there", machine("127.0.0.1", here, dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), walks("127.0.0.1", facts.Syn, diverted("redirect", to("127.0.0.1:15001"), istio), listening(false))), says("proven 127.0.0.1", "istio catches loopback", "port 15001")},
			row{"known by who answers", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), acceptedBy("127.0.0.1:7892", other("mihomo")), walks("127.0.0.1", facts.Syn, diverted("redirect", to("127.0.0.1:7892"), all))), says("proven 127.0.0.1", "clash (mihomo)", "mihomo (pid 77)")},
			row{"a mark leads into a tunnel", lost(tunnelUp("tun0", "tun"), walks("127.0.0.1", facts.Syn, marks(7, setMark))), says("proven 127.0.0.1 at route", "The tunnel tun0", "mark 0x7", "fwmark 0x7", "nftables table inet proxy")},
			row{"a mark of a known client", lost(walks("127.0.0.1", facts.Syn, marks(7, nftRule("output", "meta mark set 0x7", inTable("inet", "sing-box"))))), says("proven 127.0.0.1 at route", "sing-box")},

			row{"a mark, and no tunnel", lost(walks("127.0.0.1", facts.Syn, marks(7, setMark))), nothing},
			row{"another mark", lost(tunnelUp("tun0", "tun"), walks("127.0.0.1", facts.Syn, marks(8, setMark))), nothing},
			row{"nobody saw who sets the mark", lost(tunnelUp("tun0", "tun"), rulesForbidden), nothing},
			row{"a port forward to such a program", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), acceptedBy("127.0.0.1:7892", other("mihomo")), walks("127.0.0.1", facts.Syn, diverted("redirect", to("127.0.0.1:7892"), own))), nothing},
			row{"loopback is left out", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), walks("127.0.0.1", facts.Syn)), nothing},
		),
		of(policyRuleBeforeLocal,
			row{"a rule sets the mark", lost(walks("127.0.0.1", facts.Syn, marks(7, setMark))), says("proven 127.0.0.1", "mark 0x7", "fwmark 0x7", "nftables table inet proxy, chain output, handle 4")},
			row{"no rule sets it", lost(walks("127.0.0.1", facts.Syn)), nothing},
			row{"no rule sets it, and another drops the packet", lost(walks("127.0.0.1", facts.Syn, dropped(nftRule("output", "tcp dport 62893 drop")))), nothing},
			row{"it cannot be told whether one does", lost(walks("127.0.0.1", facts.Syn, perhaps("unknown", "osf is unknown", setMark))), says("inferred 127.0.0.1", "as if a packet filter")},
		),
	)
}

func TestVPN(t *testing.T) { judge(t, vpnSituations()) }

func TestVPNAmongOthers(t *testing.T) {
	here := listens("127.0.0.1", 50)
	silent := dials("127.0.0.1", facts.Timeout)
	out := counts("127.0.0.1", 32, diedOnOutput)
	expect(t, machine("127.0.0.1", here, silent, out, tunnelUp("wg0", "wireguard"), walks("127.0.0.1", facts.Syn, dropped(nftRule("output", "", policy)))),
		"broken", "active vpn-kill-switch inferred")
	expect(t, machine("127.0.0.1", here, silent, out, walks("127.0.0.1", facts.Syn, dropped(nftRule("output", "reject", inTable("inet", "mullvad"))))),
		"broken", "active vpn-kill-switch proven")
	marked := []change{here, silent, out, tunnelUp("tun0", "tun"), markRule(1, "lookup", "unicast dev tun0", "127.0.0.1"), rule(2, "", "lookup", 255, "127.0.0.1")}
	expect(t, machine("127.0.0.1", append(marked, walks("127.0.0.1", facts.Syn, marks(7, nftRule("output", "meta mark set 0x7"))))...),
		"broken", "active vpn-tun-captures-loopback proven")
	expect(t, machine("127.0.0.1", append(marked, rulesForbidden)...),
		"broken", "active policy-rule-before-local inferred")
	expect(t, machine("127.0.0.1", append(marked, walks("127.0.0.1", facts.Syn, dropped(nftRule("output", "tcp dport 62893 drop"))))...),
		"broken", "active filter-drops-loopback proven")
}

func TestTakesMark(t *testing.T) {
	for selector, want := range map[string]bool{
		"fwmark 0x7": true, "from all fwmark 0x7 dport 1": true, "fwmark 0x3/0x3": true, "fwmark 0x107/0xff": false, "fwmark 8": false,
		"fwmark": false, "": false, "fwmark x": false, "fwmark 7/": false, "fwmark 0x1ffffffff": false, "fwmark 7": true,
	} {
		if got := takesMark(selector, 7); got != want {
			t.Errorf("%q takes 7: %v", selector, got)
		}
	}
}

func TestKnownByName(t *testing.T) {
	for chain, want := range map[string]string{"ISTIO_OUTPUT": "istio", "PROXY_INIT_OUTPUT": "linkerd", "openclash_output": "clash (mihomo)", "CLASH": "clash (mihomo)",
		"CONSUL_PROXY_REDIRECT": "Consul", "KUMA_MESH_OUTBOUND_REDIRECT": "Kuma", "REDSOCKS": "redsocks", "V2RAY_MASK": "v2ray (xray)", "OUTPUT": "", "output": "", "storage": ""} {
		got := ""
		if c := catcherOf(&facts.FilterRule{Chain: chain, Table: "nat"}); c != nil {
			got = c.name
			if !strings.Contains(c.exclude, " ") {
				t.Errorf("%s: no advice", c.name)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", chain, got, want)
		}
	}
}
