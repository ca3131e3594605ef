package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Programs that write packet filter rules and write them again: what is changed
// in their chains by hand is lost at best, and at worst it breaks them.

// keeper is such a program.
type keeper struct {
	name    string   // as a person calls it
	kind    keeping  // how its rules are got around
	chains  []string // what the names of its chains begin with
	tables  []string // and its tables of nf_tables
	mark    string   // a comment of its rules says this
	instead string   // what to do for good, an imperative; "": nothing more than getting ahead of it
}

type keeping int

const (
	byHead      keeping = iota // its chains stay as they are: loopback is accepted ahead of the jump to them
	byUFW                      // ufw(8) takes a rule
	byFirewalld                // firewall-cmd(1) does
	byUnban                    // fail2ban-client(1) lets an address go
	byVPN                      // as byHead, and the client has a setting
)

const vpnInstead = "Have the VPN client leave loopback alone: its setting is called local network, LAN access or split tunnelling. Until then its rules come back when it connects."

// keepers are told by names that their own sources give to chains and tables.
var keepers = []*keeper{
	{name: "ufw", kind: byUFW, chains: []string{"ufw-", "ufw6-"}},
	{name: "firewalld", kind: byFirewalld, tables: []string{"firewalld"},
		chains: []string{"INPUT_direct", "OUTPUT_direct", "PREROUTING_direct", "POSTROUTING_direct", "INPUT_ZONES", "INPUT_POLICIES", "PREROUTING_ZONES", "PREROUTING_POLICIES", "IN_", "PRE_"}},
	{name: "fail2ban", kind: byUnban, chains: []string{"f2b-", "fail2ban-"}, tables: []string{"f2b-table"},
		instead: "Let fail2ban never ban this machine itself: ignoreip = 127.0.0.1/8 ::1 (and ignoreself = true) below [DEFAULT] in /etc/fail2ban/jail.local, then fail2ban-client reload."},
	{name: "crowdsec", chains: []string{"CROWDSEC"}, tables: []string{"crowdsec"},
		instead: "Lift the decision: cscli decisions list, then cscli decisions delete --ip 127.0.0.1 (or ::1), and put loopback on its allowlist."},
	{name: "docker", chains: []string{"DOCKER"}, tables: []string{"docker-bridges"},
		instead: "Leave the chains of docker alone, it writes them again at each start: publish the port on loopback, docker run -p 127.0.0.1:PORT:PORT, or put your own rules into DOCKER-USER."},
	{name: "Kubernetes", chains: []string{"KUBE-"}, tables: []string{"kube-proxy"},
		instead: "Leave the chains of kube-proxy and kubelet alone, they are written again every few seconds: reach the service by its cluster address or kubectl port-forward, or change the NetworkPolicy."},
	{name: "Calico", chains: []string{"cali-"}, tables: []string{"calico"}, instead: "Change the policy in Calico that says so, its chains are written again: a GlobalNetworkPolicy or the host endpoint, and FELIX_DEFAULTENDPOINTTOHOSTACTION."},
	{name: "Cilium", chains: []string{"CILIUM_", "OLD_CILIUM_"}, instead: "Change the policy in Cilium that says so: its chains are written again."},
	{name: "CNI plugins", chains: []string{"CNI-"}, tables: []string{"cni_hostport"}, instead: "Leave the chains of the CNI plugins alone: make the pod or container again with another hostPort."},
	{name: "netavark (podman)", chains: []string{"NETAVARK"}, tables: []string{"netavark"}, instead: "Leave the chains of netavark alone: make the container again with podman run -p 127.0.0.1:PORT:PORT, or podman network reload."},
	{name: "libvirt", chains: []string{"LIBVIRT_"}, tables: []string{"libvirt_network"}, instead: "Leave the chains of libvirt alone, it writes them again: change the network with virsh net-edit."},
	{name: "Incus", tables: []string{"incus"}, instead: "Change the network or its ACL in Incus: its table is written again."},
	{name: "LXD", tables: []string{"lxd"}, instead: "Change the network or its ACL in LXD: its table is written again."},
	{name: "tailscale", chains: []string{"ts-"}, instead: "Leave the chains of tailscaled alone, it writes them again at each start: see tailscale up --netfilter-mode."},

	{name: "Mullvad", kind: byVPN, tables: []string{"mullvad"}, instead: vpnInstead},
	{name: "NordVPN", kind: byVPN, chains: []string{"nordvpn", "NORDVPN"}, tables: []string{"nordvpn"}, mark: "nordvpn", instead: "Have NordVPN leave loopback alone: nordvpn allowlist add subnet 127.0.0.0/8, or nordvpn set killswitch off."},
	{name: "Proton VPN", kind: byVPN, chains: []string{"PROTONVPN", "protonvpn", "pvpn"}, tables: []string{"protonvpn", "pvpn"}, mark: "protonvpn", instead: vpnInstead},
	{name: "Private Internet Access", kind: byVPN, chains: []string{"piavpn."}, tables: []string{"piavpn"}, instead: vpnInstead},
	{name: "ExpressVPN", kind: byVPN, chains: []string{"xvpn", "evpn."}, tables: []string{"xvpn"}, instead: vpnInstead},
	{name: "Windscribe", kind: byVPN, chains: []string{"windscribe"}, tables: []string{"windscribe"}, mark: "windscribe", instead: vpnInstead},
	{name: "IVPN", kind: byVPN, chains: []string{"IVPN-"}, tables: []string{"ivpn"}, instead: vpnInstead},
	{name: "AirVPN Eddie", kind: byVPN, chains: []string{"eddie"}, tables: []string{"eddie"}, instead: vpnInstead},
	{name: "Surfshark", kind: byVPN, chains: []string{"surfshark", "SURFSHARK"}, tables: []string{"surfshark"}, instead: vpnInstead},
	{name: "wg-quick", kind: byVPN, tables: []string{"wg-quick-"}, mark: "wg-quick(8) rule for", instead: "Give the PreUp and PostUp lines of the tunnel in /etc/wireguard an exception for lo (! -o lo), or leave them out."},
}

// keeperOf tells who writes the rule; nil: a person, or nobody that is known.
func keeperOf(f *facts.Facts, r facts.FilterRule) *keeper {
	begins := func(s string) func(string) bool {
		return func(prefix string) bool { return strings.HasPrefix(s, prefix) }
	}
	for _, k := range keepers {
		switch {
		case slices.ContainsFunc(k.chains, begins(r.Chain)),
			len(r.Path) > 1 && slices.ContainsFunc(r.Path[1:], func(c string) bool { return slices.ContainsFunc(k.chains, begins(c)) }),
			r.Engine == facts.NFTables && slices.ContainsFunc(k.tables, begins(r.Table)),
			k.mark != "" && strings.Contains(strings.ToLower(r.Comment), k.mark):
			return k
		}
	}
	// ufw sets the policies of the built-in chains.
	if r.Policy && iptablesRule(r) && r.Table == "filter" && manages(f, "ufw") {
		return keepers[0]
	}
	return nil
}

// manages tells whether the program is switched on here.
func manages(f *facts.Facts, name string) bool {
	return f.Filters != nil && slices.ContainsFunc(f.Filters.Managers, func(m facts.FilterManager) bool { return m.Name == name && m.Active })
}

// iptablesRule tells whether iptables shows the rule, either of the two.
func iptablesRule(r facts.FilterRule) bool { return r.Engine != facts.NFTables || r.IPTables }

// What the command iptables is on this machine, as facts.FilterManager names it.
const (
	iptablesNFT    = "iptables-nft"
	iptablesLegacy = "iptables-legacy"
)

// alternative is what the command iptables is here; "" if that is not known.
func alternative(f *facts.Facts) string {
	for _, name := range []string{iptablesNFT, iptablesLegacy} {
		if manages(f, name) {
			return name
		}
	}
	return ""
}

// iptablesCommand is the command that changes the rule: the plain name where it
// is the right one of the two, and else the one that says which.
func iptablesCommand(f *facts.Facts, r facts.FilterRule) string {
	name := cond(r.Family == "ip6" || r.Engine == facts.IP6Tables, "ip6tables", "iptables")
	which := cond(r.Engine == facts.NFTables, iptablesNFT, iptablesLegacy)
	if alternative(f) != which {
		name += strings.TrimPrefix(which, "iptables")
	}
	return name
}

// baseChain is the chain that the kernel calls, from which rules jump to r's.
func baseChain(r facts.FilterRule) string {
	if len(r.Path) > 0 && r.Path[0] != "" {
		return r.Path[0]
	}
	return r.Chain
}

// tableOf names engine and table for a person: "nftables table inet guard",
// "iptables-legacy table filter".
func tableOf(f *facts.Facts, r facts.FilterRule) string {
	if !iptablesRule(r) {
		return fmt.Sprintf("nftables table %s %s", short(r.Family), short(r.Table))
	}
	return fmt.Sprintf("%s table %s", shownBy(f, r), short(r.Table))
}

// shownBy is the word for the engine of an iptables rule: rules of nf_tables are
// those of iptables, unless this machine's iptables is the other one.
func shownBy(f *facts.Facts, r facts.FilterRule) string {
	name := cond(r.Family == "ip6" || r.Engine == facts.IP6Tables, "ip6tables", "iptables")
	switch {
	case r.Engine != facts.NFTables:
		return name + "-legacy"
	case alternative(f) == iptablesLegacy:
		return name + "-nft"
	}
	return name
}

// placeOf names a rule in a sentence.
func placeOf(f *facts.Facts, r facts.FilterRule) string {
	s := fmt.Sprintf("%s, chain %s", tableOf(f, r), short(r.Chain))
	switch {
	case r.Policy:
		s = "the policy of " + s
	case r.Engine == facts.NFTables && !r.IPTables:
		s += fmt.Sprintf(", handle %d", r.Handle)
	default:
		s += fmt.Sprintf(", rule %d", r.Number)
	}
	if r.Device != "" {
		s += " (on " + short(r.Device) + ")"
	}
	if k := keeperOf(f, r); k != nil {
		s += " (kept by " + k.name + ")"
	} else if r.Owner != "" {
		s += " (of " + short(r.Owner) + ")"
	}
	return s
}

// ruleText quotes a rule as evidence: "inet guard input, handle 4: tcp dport
// 62893 drop", "iptables filter INPUT, rule 3: -A INPUT -j DROP", "inet guard
// input: policy drop".
func ruleText(f *facts.Facts, r facts.FilterRule) string {
	s := fmt.Sprintf("%s %s %s", short(r.Family), short(r.Table), short(r.Chain))
	if iptablesRule(r) { // by the names that the two have where both are installed
		word := cond(r.Family == "ip6" || r.Engine == facts.IP6Tables, "ip6tables", "iptables") + cond(r.Engine == facts.NFTables, "", "-legacy")
		s = fmt.Sprintf("%s %s %s", word, short(r.Table), short(r.Chain))
	}
	switch {
	case r.Policy:
	case iptablesRule(r):
		s += fmt.Sprintf(", rule %d", r.Number)
	default:
		s += fmt.Sprintf(", handle %d", r.Handle)
	}
	s += ": " + cut(r.Text, 400)
	if len(r.Path) > 1 {
		path := r.Path
		if len(path) > 12 {
			path = slices.Concat(path[:6], []string{"…"}, path[len(path)-5:])
		}
		var names []string
		for _, c := range path {
			names = append(names, short(c))
		}
		if path[len(path)-1] != r.Chain {
			names = append(names, short(r.Chain))
		}
		s += " (" + strings.Join(names, " → ") + ")"
	}
	return s
}

// short is a name in a sentence: whoever made it may have made it long.
func short(name string) string { return cut(name, 64) }

// cut shortens a text to n characters.
func cut(s string, n int) string {
	if len(s) <= n { // no more characters than bytes
		return s
	}
	i := 0
	for at := range s {
		if i++; i > n {
			return s[:at] + "…"
		}
	}
	return s
}
