package checks

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// VPN clients, transparent proxies and service meshes whose rules are about all
// traffic and were not told to leave loopback alone.

var vpnKillSwitch = &Check{
	Name:     "vpn-kill-switch",
	Doc:      "the kill switch of a VPN client stops loopback as well",
	Stage:    StageInput, // or where the rule stands
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupLedger, facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupInterfaces, facts.GroupLimits},
	Explains: []*Check{noReply, refused, notAccepted, localhostSlowFallback},
	Refines:  []*Check{filterDropsLoopback, filterRejectsLoopback, filterDropsReplies},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			b := blamed(f, d)
			if b == nil {
				continue
			}
			switch as := refinement(f, d, b); {
			case as == killSwitch:
				k := keeperOf(f, b.rule)
				x := b.finding(f, d)
				x.Summary = fmt.Sprintf("The kill switch of %s: %s", k.name, lowerFirst(x.Summary))
				x.Evidence = append(x.Evidence, clientSeen(f, k.name)...)
				fs = append(fs, x)
			case as == ordinary && !b.rule.Policy && !dropsAll(b.rule):
			case as == ordinary && b.where == "output":
				// A firewall of the usual kind holds back what comes in: what holds
				// back all that goes out, while a tunnel is up, is one of these.
				tunnel := tunnels(f)
				if len(tunnel) == 0 || keeperOf(f, b.rule) != nil {
					continue
				}
				x := b.finding(f, d)
				x.Certainty = Inferred
				x.Summary = fmt.Sprintf("It looks like the kill switch of the VPN that is up on %s: %s", tunnel[0].Name, lowerFirst(x.Summary))
				x.Evidence = append(x.Evidence, Evidence{"interface " + short(tunnel[0].Name), fmt.Sprintf("%s, up", cond(tunnel[0].Kind != "", tunnel[0].Kind, "a tunnel"))})
				x.Settle = lookAt(f, b.rule)
				x.Fixes = append(x.Fixes, Fix{Do: vpnInstead})
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

// lowerFirst goes on with a sentence after a colon.
func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// dropsAll tells whether a rule asks nothing of the packet: a last line in place of
// a policy.
func dropsAll(r facts.FilterRule) bool {
	text := strings.TrimPrefix(r.Text, "-A "+r.Chain+" ")
	if i := strings.Index(text, "counter packets "); i == 0 {
		w := strings.Fields(text)
		text = strings.Join(w[min(5, len(w)):], " ")
	}
	text = strings.TrimPrefix(text, "counter ")
	return text == "drop" || text == "-j DROP" || strings.HasPrefix(text, "reject") && !strings.Contains(text, "dport") || strings.HasPrefix(text, "-j REJECT")
}

// tunnels are the interfaces of VPNs that are up.
func tunnels(f *facts.Facts) []facts.Interface {
	if f.Interfaces == nil {
		return nil
	}
	var out []facts.Interface
	for _, i := range f.Interfaces.Others {
		if i.Up && isTunnel(i) {
			out = append(out, i)
		}
	}
	return out
}

// isTunnel tells whether a program or WireGuard has the other end of the interface.
// Those of virtual machines are of the kind tun, too, and named otherwise.
func isTunnel(i facts.Interface) bool {
	if i.Kind == "wireguard" {
		return true
	}
	named := slices.ContainsFunc([]string{"tun", "utun", "wg", "proton", "nordlynx", "nordtun", "pvpn", "ipv6leakintrf", "surfshark", "xvpn", "Meta", "mihomo", "clash", "sing", "outline"},
		func(p string) bool { return strings.HasPrefix(i.Name, p) })
	return named && (i.Kind == "tun" || i.Kind == "" || i.Kind == "dummy")
}

// clientSeen is that the client is known to be here, apart from its rules.
func clientSeen(f *facts.Facts, name string) []Evidence {
	for _, m := range f.Filters.Managers {
		if strings.EqualFold(m.Name, name) {
			return []Evidence{{"client", fmt.Sprintf("%s %s %s", short(m.Name), cond(m.Active, "is active", "is installed"), cut(m.Detail, 120))}}
		}
	}
	return nil
}

var vpnTunCapturesLoopback = &Check{
	Name:     "vpn-tun-captures-loopback",
	Doc:      "a tunnel, transparent proxy or service mesh catches loopback with all other traffic",
	Stage:    StageOutput, // or at the routing rule
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupRoutes, facts.GroupLedger, facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupConntrack, facts.GroupInterfaces, facts.GroupLimits},
	Explains: []*Check{refused, noReply, answeredByAnother, notAccepted, unreachable, denied, lostOnOutput, lostOnWire, replyLost, localhostSlowFallback},
	Refines:  []*Check{natHijacksLoopback, policyRuleBeforeLocal},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if t := detourOf(f, d); t != nil {
				if i := t.catcher(f, d); i != nil {
					x := t.finding(f, d)
					x.Summary = fmt.Sprintf("%s catches loopback: %s", i.name, lowerFirst(x.Summary))
					x.Fixes = append(x.Fixes, Fix{Do: i.exclude})
					fs = append(fs, x)
				}
			}
		}
		if f.Routes == nil {
			return mergeAddresses(f, fs)
		}
		for _, m := range markedWays(f) {
			i, device := catcherOf(m.setter()), tunnelOf(f, m.rule.WithMark)
			if m.mark == nil || i == nil && device == "" {
				continue
			}
			x := m.finding(f)
			x.Stage = StageRoute
			who := "The tunnel " + device
			exclude := "Have the client of the tunnel leave out loopback (127.0.0.0/8 and ::1), in its list of routes or addresses to bypass."
			if i != nil {
				who, exclude = i.name, i.exclude
			}
			x.Summary = fmt.Sprintf("%s catches loopback: %s", who, lowerFirst(x.Summary))
			x.Fixes = append(x.Fixes, Fix{Do: exclude})
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// catcher is a program that leads all connections of a machine to itself.
type catcher struct {
	name      string
	chains    []string // what the names of its chains or tables begin with, in any case
	processes []string
	exclude   string // an imperative: where it is told to leave loopback alone
}

const bypassList = "Have the client leave out 127.0.0.0/8 and ::1/128: "

// catchers are told by the names that they, or the guides to them, give to chains
// and tables, or by who takes the connections.
var catchers = []*catcher{
	{"istio", []string{"ISTIO_", "istio-proxy", "istio-"}, []string{"pilot-agent", "envoy"},
		"In the pod's template set the annotation traffic.sidecar.istio.io/excludeOutboundPorts to this port, or holdApplicationUntilProxyStarts where the proxy is not up yet."},
	{"linkerd", []string{"PROXY_INIT_"}, []string{"linkerd2-proxy"},
		"In the pod's template set the annotation config.linkerd.io/skip-outbound-ports to this port."},
	{"Consul", []string{"CONSUL_PROXY_", "consul_tproxy"}, nil, "In the pod's template set the annotation consul.hashicorp.com/transparent-proxy-exclude-outbound-ports to this port."},
	{"Kuma", []string{"KUMA_MESH_"}, []string{"kuma-dp"}, "In the pod's template set the annotation traffic.kuma.io/exclude-outbound-ports to this port."},
	{"clash (mihomo)", []string{"clash", "openclash", "mihomo", "shellcrash"}, []string{"clash", "clash-meta", "mihomo", "verge-mihomo", "clash-linux"},
		bypassList + "tun: route-exclude-address in its configuration, and in scripts of your own a line -d 127.0.0.0/8 -j RETURN ahead of the redirect."},
	{"sing-box", []string{"sing-box", "singbox", "sing-tun"}, []string{"sing-box", "hiddify", "HiddifyCli", "HiddifyService", "nekobox_core", "nekoray_core"},
		bypassList + "route_exclude_address of the inbound of type tun."},
	{"v2ray (xray)", []string{"V2RAY", "XRAY", "v2raya", "TP_OUT", "TP_RULE"}, []string{"v2ray", "xray", "v2raya"},
		bypassList + "in the script that makes its rules, a line -d 127.0.0.0/8 -j RETURN ahead of the redirect."},
	{"redsocks", []string{"REDSOCKS"}, []string{"redsocks", "redsocks2"}, bypassList + "iptables -t nat -A REDSOCKS -d 127.0.0.0/8 -j RETURN, ahead of the REDIRECT, in the script that makes the chain."},
	{"shadowsocks", []string{"SHADOWSOCKS", "SS_SPEC", "SSTP_"}, []string{"ss-redir", "sslocal"}, bypassList + "in the script that makes its rules, a line -d 127.0.0.0/8 -j RETURN ahead of the redirect."},
	{"passwall", []string{"PSW", "passwall"}, nil, bypassList + "in its list of direct addresses."},
	{"tor", []string{"TOR_"}, []string{"tor"}, bypassList + "in the script that makes its rules, a line -d 127.0.0.0/8 -j RETURN ahead of the redirect to TransPort."},
	{"trojan", []string{"TROJAN"}, []string{"trojan", "trojan-go"}, bypassList + "in the script that makes its rules."},
}

// catcherOf tells who made a rule, by its names; nil: nobody that is known.
func catcherOf(r *facts.FilterRule) *catcher {
	if r == nil {
		return nil
	}
	names := append([]string{r.Chain, r.Table}, r.Path...)
	for _, c := range catchers {
		for _, prefix := range c.chains {
			if slices.ContainsFunc(names, func(n string) bool {
				return len(n) >= len(prefix) && strings.EqualFold(n[:len(prefix)], prefix)
			}) {
				return c
			}
		}
	}
	return nil
}

// catcher tells whether the detour leads to a program of that kind. One that is
// meant for this very port is a port forward, whoever takes it.
func (t *detour) catcher(f *facts.Facts, d facts.Dial) *catcher {
	if c := catcherOf(&t.Rule); c != nil {
		return c
	}
	if strings.Contains(t.Rule.Text, "dport") {
		return nil
	}
	for _, p := range f.Owners.Of(facts.Socket{Inode: deref(d.Server).Inode}) {
		for _, c := range catchers {
			if slices.Contains(c.processes, p.Name) || slices.Contains(c.processes, path.Base(p.Exe)) {
				return c
			}
		}
	}
	return nil
}

// tunnelOf is the tunnel that "unicast dev tun0" leads to; "" if it is none.
func tunnelOf(f *facts.Facts, route string) string {
	_, device, ok := strings.Cut(route, " dev ")
	if !ok {
		return ""
	}
	for _, i := range tunnels(f) {
		if i.Name == device {
			return i.Name
		}
	}
	return ""
}
