package checks

import (
	"fmt"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// stuck is a connection that the rules stop, the first where the ledger says.
func stuck(rules ...facts.FilterRule) []change {
	var parts []func(*facts.FilterWalk)
	for _, r := range rules {
		parts = append(parts, dropped(r))
	}
	deltas := map[string]string{"output": diedOnOutput, "wire": diedOnWire, "input": diedOnInput}[whereOf(rules[0])]
	return []change{listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, deltas), walks("127.0.0.1", facts.Syn, parts...)}
}

func stuckWith(r facts.FilterRule, changes ...change) *facts.Facts {
	return machine("127.0.0.1", append(stuck(r), changes...)...)
}

func TestFilterFixes(t *testing.T) {
	drops := filterDropsLoopback
	input := nftRule("input", "tcp dport 62893 drop", handle(4, 5))
	lasts := "lasts until reboot"
	replies := func(r facts.FilterRule) *facts.Facts {
		return machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, replyDied), halfOpen(32),
			walks("127.0.0.1", facts.Syn), walks("127.0.0.1", facts.SynAck, dropped(r)))
	}
	prescribe(t, []cure{
		{"nft", drops, stuckWith(input), []string{
			"root runs nft -ae insert rule inet guard input handle 4 iif lo tcp dport 62893 accept", "undo nft delete rule inet guard input handle HANDLE", lasts,
			"root runs nft -ae insert rule inet guard input handle 4 iif lo accept", "undo nft delete rule inet guard input handle HANDLE", lasts,
			"root runs nft delete rule inet guard input handle 4", "undo nft insert rule inet guard input handle 5 tcp dport 62893 drop", lasts}},
		{"nft, the last rule of a chain that is jumped to", drops, stuckWith(nftRule("output", "drop", reachedBy("out", "bad"), handle(9, 0))), []string{
			"root runs nft -ae insert rule inet guard bad handle 9 oif lo tcp dport 62893 accept", "undo nft delete rule inet guard bad handle HANDLE", lasts,
			"root runs nft -ae insert rule inet guard bad handle 9 oif lo accept", "undo nft delete rule inet guard bad handle HANDLE", lasts,
			"root runs nft delete rule inet guard bad handle 9", "undo nft add rule inet guard bad drop", lasts}},
		{"a policy of nft, which stays", drops, stuckWith(nftRule("input", "", policy)), []string{
			"root runs nft -ae insert rule inet guard input iif lo tcp dport 62893 accept", "undo nft delete rule inet guard input handle HANDLE", lasts,
			"root runs nft -ae insert rule inet guard input iif lo accept", "undo nft delete rule inet guard input handle HANDLE", lasts}},
		{"netdev", drops, stuckWith(nftRule("egress", "drop", inTable("netdev", "wall"), withoutWords)), []string{
			"root runs nft -ae insert rule netdev wall egress handle 4 oif lo tcp dport 62893 accept", "undo nft delete rule netdev wall egress handle HANDLE", lasts,
			"root runs nft -ae insert rule netdev wall egress handle 4 oif lo accept", "undo nft delete rule netdev wall egress handle HANDLE", lasts}},
		{"iptables-nft, which iptables is here", drops, stuckWith(iptablesNFTRule("INPUT", "-p tcp -j DROP"), keptBy(iptablesNFT)), []string{
			"root runs iptables -I INPUT 3 -i lo -p tcp --dport 62893 -j ACCEPT", "undo iptables -D INPUT -i lo -p tcp --dport 62893 -j ACCEPT", lasts,
			"root runs iptables -I INPUT 3 -i lo -j ACCEPT", "undo iptables -D INPUT -i lo -j ACCEPT", lasts,
			"root runs iptables -D INPUT -p tcp -j DROP", "undo iptables -I INPUT 3 -p tcp -j DROP", lasts}},
		{"iptables-nft where nobody knows, a table other than filter, IPv6", drops, stuckWith(iptablesNFTRule("PREROUTING", "-j DROP", inTable("ip6", "raw"), withoutWords)), []string{
			"root runs ip6tables-nft -t raw -I PREROUTING 3 -i lo -p tcp --dport 62893 -j ACCEPT", "undo ip6tables-nft -t raw -D PREROUTING -i lo -p tcp --dport 62893 -j ACCEPT", lasts,
			"root runs ip6tables-nft -t raw -I PREROUTING 3 -i lo -j ACCEPT", "undo ip6tables-nft -t raw -D PREROUTING -i lo -j ACCEPT", lasts}},
		{"a legacy policy, where iptables is the legacy one", drops, stuckWith(legacyRule("OUTPUT", "", policy), keptBy(iptablesLegacy), func(f *facts.Facts) { f.Filters.Engines[0].Rules = 0 }), []string{
			"root runs iptables -I OUTPUT 1 -o lo -p tcp --dport 62893 -j ACCEPT", "undo iptables -D OUTPUT -o lo -p tcp --dport 62893 -j ACCEPT", lasts,
			"root runs iptables -I OUTPUT 1 -o lo -j ACCEPT", "undo iptables -D OUTPUT -o lo -j ACCEPT", lasts}},
		{"a reply", filterDropsReplies, replies(nftRule("output", "tcp sport 62893 drop", withoutWords)), []string{
			"root runs nft -ae insert rule inet guard output handle 4 oif lo tcp sport 62893 accept", "undo nft delete rule inet guard output handle HANDLE", lasts,
			"root runs nft -ae insert rule inet guard output handle 4 oif lo accept", "undo nft delete rule inet guard output handle HANDLE", lasts}},
		{"a name that is no word: nothing to run", drops, stuckWith(nftRule("input", "drop", reachedBy("input", "x; flush ruleset"))), []string{"by hand"}},
		{"a table that belongs to a program", drops, stuckWith(nftRule("input", "drop", ownedBy("guardd (pid 7)"))), []string{"by hand"}},
		{"ufw's own rules", drops, stuckWith(iptablesNFTRule("INPUT", "-j DROP", reachedBy("INPUT", "ufw-before-input", "ufw-user-input")), keptBy("ufw")), []string{
			"root runs ufw prepend allow in on lo to any port 62893 proto tcp", "undo ufw delete allow in on lo to any port 62893 proto tcp", "lasts persistent",
			"root runs ufw prepend allow in on lo", "undo ufw delete allow in on lo", "lasts persistent"}},
		{"a policy that ufw set", drops, stuckWith(iptablesNFTRule("INPUT", "", policy), keptBy("ufw", iptablesNFT)), []string{
			"root runs ufw prepend allow in on lo to any port 62893 proto tcp", "undo ufw delete allow in on lo to any port 62893 proto tcp", "lasts persistent",
			"root runs ufw prepend allow in on lo", "undo ufw delete allow in on lo", "lasts persistent"}},
		{"what comes before ufw's rules", drops, stuckWith(iptablesNFTRule("INPUT", "-j DROP", reachedBy("INPUT", "ufw-before-input")), keptBy("ufw", iptablesNFT)), []string{
			"root runs iptables -I INPUT 1 -i lo -p tcp --dport 62893 -j ACCEPT", "undo iptables -D INPUT -i lo -p tcp --dport 62893 -j ACCEPT", lasts,
			"root runs iptables -I INPUT 1 -i lo -j ACCEPT", "undo iptables -D INPUT -i lo -j ACCEPT", lasts,
			"by hand"}},
		{"left over of ufw, which is off", drops, stuckWith(iptablesNFTRule("INPUT", "-j DROP", reachedBy("INPUT", "ufw-user-input")), keptBy("-ufw", iptablesNFT)), []string{
			"root runs iptables -I INPUT 1 -i lo -p tcp --dport 62893 -j ACCEPT", "undo iptables -D INPUT -i lo -p tcp --dport 62893 -j ACCEPT", lasts,
			"root runs iptables -I INPUT 1 -i lo -j ACCEPT", "undo iptables -D INPUT -i lo -j ACCEPT", lasts}},
		{"firewalld's panic mode", drops, stuckWith(nftRule("output", "", policy, inTable("inet", "firewalld_policy_drop"), reachedBy("raw_output"))), []string{
			"root runs firewall-cmd --panic-off", "undo firewall-cmd --panic-on", lasts}},
		{"a zone of firewalld", drops, stuckWith(nftRule("input", "drop", inTable("inet", "firewalld"), reachedBy("filter_INPUT", "filter_INPUT_ZONES", "filter_IN_drop"))), []string{
			`root runs firewall-cmd --zone=drop "--add-rich-rule=rule family=ipv4 source address=127.0.0.1 port port=62893 protocol=tcp accept"`, `undo firewall-cmd --zone=drop "--remove-rich-rule=rule family=ipv4 source address=127.0.0.1 port port=62893 protocol=tcp accept"`, lasts,
			`root runs firewall-cmd --zone=drop "--add-rich-rule=rule family=ipv4 source address=127.0.0.0/8 accept"`, `undo firewall-cmd --zone=drop "--remove-rich-rule=rule family=ipv4 source address=127.0.0.0/8 accept"`, lasts, "by hand"}},
		{"somebody else's rule in firewalld's table", drops, stuckWith(nftRule("output", "drop", inTable("inet", "firewalld"), reachedBy("filter_OUTPUT"))), []string{"by hand"}},
		{"docker's chain, by iptables", drops, stuckWith(iptablesNFTRule("OUTPUT", "-j DROP", reachedBy("OUTPUT", "DOCKER")), keptBy(iptablesNFT)), []string{
			"root runs iptables -I OUTPUT 1 -o lo -p tcp --dport 62893 -j ACCEPT", "undo iptables -D OUTPUT -o lo -p tcp --dport 62893 -j ACCEPT", lasts,
			"root runs iptables -I OUTPUT 1 -o lo -j ACCEPT", "undo iptables -D OUTPUT -o lo -j ACCEPT", lasts, "by hand"}},
		{"a table of libvirt's own", drops, stuckWith(nftRule("input", "drop", inTable("ip", "libvirt_network"))), []string{"by hand"}},
		{"fail2ban, which runs", drops, stuckWith(iptablesNFTRule("INPUT", "-s 127.0.0.1/32 -j DROP", reachedBy("INPUT", "f2b-sshd")), keptBy("fail2ban", iptablesNFT)), []string{
			"root runs fail2ban-client set sshd unbanip 127.0.0.1", "undo fail2ban-client set sshd banip 127.0.0.1", lasts, "by hand"}},
		{"a set of fail2ban, which does not", drops, stuckWith(nftRule("input", "ip saddr @addr-set-sshd drop", inTable("inet", "f2b-table"), reachedBy("f2b-chain"))), []string{
			"root runs nft -ae insert rule inet f2b-table f2b-chain iif lo tcp dport 62893 accept", "undo nft delete rule inet f2b-table f2b-chain handle HANDLE", lasts,
			"root runs nft -ae insert rule inet f2b-table f2b-chain iif lo accept", "undo nft delete rule inet f2b-table f2b-chain handle HANDLE", lasts, "by hand"}},
		{"a VPN client", drops, stuckWith(nftRule("output", "", policy, inTable("inet", "mullvad"))), []string{
			"root runs nft -ae insert rule inet mullvad output oif lo tcp dport 62893 accept", "undo nft delete rule inet mullvad output handle HANDLE", lasts,
			"root runs nft -ae insert rule inet mullvad output oif lo accept", "undo nft delete rule inet mullvad output handle HANDLE", lasts, "by hand"}},
		{"two tables, of which each would stop it", drops, machine("127.0.0.1", stuck(input, nftRule("input", "ip daddr 127.0.0.1 drop", inTable("ip", "other"), handle(7, 0)))...), []string{
			"root runs nft -ae insert rule inet guard input handle 4 iif lo tcp dport 62893 accept", "root runs nft -ae insert rule ip other input handle 7 iif lo tcp dport 62893 accept",
			"undo nft delete rule inet guard input handle HANDLE", "undo nft delete rule ip other input handle HANDLE", lasts,
			"root runs nft -ae insert rule inet guard input handle 4 iif lo accept", "root runs nft -ae insert rule ip other input handle 7 iif lo accept",
			"undo nft delete rule inet guard input handle HANDLE", "undo nft delete rule ip other input handle HANDLE", lasts,
			"root runs nft delete rule inet guard input handle 4", "root runs nft delete rule ip other input handle 7",
			"undo nft insert rule inet guard input handle 5 tcp dport 62893 drop", "undo nft add rule ip other input ip daddr 127.0.0.1 drop", lasts}},
		{"a rule and the policy behind it: one exception does for both", drops, machine("127.0.0.1", stuck(input, nftRule("input", "", policy))...), []string{
			"root runs nft -ae insert rule inet guard input handle 4 iif lo tcp dport 62893 accept", "undo nft delete rule inet guard input handle HANDLE", lasts,
			"root runs nft -ae insert rule inet guard input handle 4 iif lo accept", "undo nft delete rule inet guard input handle HANDLE", lasts}},
		{"two rules of one chain, which come back in their order", drops, machine("127.0.0.1", append(stuck(iptablesNFTRule("INPUT", "-j DROP", number(2)), iptablesNFTRule("INPUT", "-p tcp -j DROP", number(5))), keptBy(iptablesNFT))...), []string{
			"root runs iptables -I INPUT 2 -i lo -p tcp --dport 62893 -j ACCEPT", "undo iptables -D INPUT -i lo -p tcp --dport 62893 -j ACCEPT", lasts,
			"root runs iptables -I INPUT 2 -i lo -j ACCEPT", "undo iptables -D INPUT -i lo -j ACCEPT", lasts,
			"root runs iptables -D INPUT -j DROP", "root runs iptables -D INPUT -p tcp -j DROP",
			"undo iptables -I INPUT 2 -j DROP", "undo iptables -I INPUT 5 -p tcp -j DROP", lasts}},
		{"a neighbour that would go too has no handle to come back to", drops, machine("127.0.0.1", stuck(input, nftRule("input", "tcp drop", handle(5, 0)))...), []string{
			"root runs nft -ae insert rule inet guard input handle 4 iif lo tcp dport 62893 accept", "undo nft delete rule inet guard input handle HANDLE", lasts,
			"root runs nft -ae insert rule inet guard input handle 4 iif lo accept", "undo nft delete rule inet guard input handle HANDLE", lasts}},
		{"the file that brings it back", drops, stuckWith(nftRule("input", "tcp dport 62893 drop", withoutWords), bootLine("/etc/nftables.conf", 12, "  tcp dport 62893 counter drop;", "nftables.service")), []string{
			"root runs nft -ae insert rule inet guard input handle 4 iif lo tcp dport 62893 accept", "undo nft delete rule inet guard input handle HANDLE", lasts,
			"root runs nft -ae insert rule inet guard input handle 4 iif lo accept", "undo nft delete rule inet guard input handle HANDLE", lasts,
			"by hand"}},
	})
}

// The SYN is stopped, and without it the answer would be: one fix is about both.
func TestOneFixGetsTheConnectionPastAll(t *testing.T) {
	f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput),
		walks("127.0.0.1", facts.Syn, dropped(nftRule("output", "", policy))), walks("127.0.0.1", facts.SynAck, dropped(nftRule("output", "", policy))),
		walks("127.0.0.1", facts.Ack, dropped(nftRule("output", "", policy))))
	want := "root runs nft -ae insert rule inet guard output oif lo tcp dport 62893 accept; root runs nft -ae insert rule inet guard output oif lo tcp sport 62893 accept; " +
		"undo nft delete rule inet guard output handle HANDLE; undo nft delete rule inet guard output handle HANDLE; lasts until reboot; " +
		"root runs nft -ae insert rule inet guard output oif lo accept; undo nft delete rule inet guard output handle HANDLE; lasts until reboot"
	if got := allSteps(found(t, filterDropsLoopback, f)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Packets of another kind may meet their rule ahead of the exception, in the same
// chain or by another jump.
func TestOneFixGetsPastRulesAheadOfTheFirst(t *testing.T) {
	nth := func(n int) facts.FilterRule { return iptablesNFTRule("INPUT", fmt.Sprint("rule ", n), number(n)) }
	stopped := func(syn, synAck, ack facts.FilterRule) *facts.Facts {
		return machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput), keptBy(iptablesNFT),
			walks("127.0.0.1", facts.Syn, dropped(syn)), walks("127.0.0.1", facts.SynAck, dropped(synAck)), walks("127.0.0.1", facts.Ack, dropped(ack)))
	}
	for _, test := range []struct {
		facts *facts.Facts
		want  []string
	}{
		{stopped(nth(3), nth(1), nth(4)), []string{"-I INPUT 3 -i lo -j ACCEPT; root runs iptables -I INPUT 1 -i lo -j ACCEPT; undo"}},
		{stopped(nth(3), nth(4), nth(1)), []string{"INPUT 3 -i lo -p tcp --dport 62893", "INPUT 4 -i lo -p tcp --sport 62893", "INPUT 1 -i lo -p tcp --dport 62893", "-I INPUT 3 -i lo -j ACCEPT; root runs iptables -I INPUT 1 -i lo -j ACCEPT; undo"}},
		{stopped(iptablesNFTRule("INPUT", "-j DROP", reachedBy("INPUT", "new")), iptablesNFTRule("INPUT", "", policy), iptablesNFTRule("INPUT", "", policy)),
			[]string{"-I new 3 -i lo -p tcp --dport", "-I INPUT 1 -i lo -p tcp --sport", "-I INPUT 1 -i lo -p tcp --dport"}},
	} {
		got := allSteps(found(t, filterDropsLoopback, test.facts))
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %s", want, got)
			}
		}
	}
}

// A rich rule of firewalld is about one family.
func TestFirewalldLetsBothFamiliesThrough(t *testing.T) {
	r := nftRule("input", "reject", inTable("inet", "firewalld"), reachedBy("filter_INPUT", "filter_IN_drop"))
	f := machine("62893", listens("::", 50), dials("127.0.0.1", facts.Timeout), dials("::1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput), counts("::1", 32, diedOnInput),
		walks("127.0.0.1", facts.Syn, dropped(r)), walks("::1", facts.Syn, dropped(r)))
	got := allSteps(found(t, filterDropsLoopback, f))
	for _, want := range []string{"family=ipv4 source address=127.0.0.1 port", "family=ipv6 source address=::1 port", "address=127.0.0.0/8", "address=::1/128"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// A TPROXY rule catches the answer as well, and drops it.
func TestFixLetsTheAnswerPastTPROXY(t *testing.T) {
	tproxy := iptablesNFTRule("PREROUTING", "-p tcp -j TPROXY --on-port 7893", inTable("ip", "mangle"))
	f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput),
		walks("127.0.0.1", facts.Syn, diverted("tproxy", to("0.0.0.0:7893"), tproxy)), walks("127.0.0.1", facts.SynAck, diverted("tproxy", to("0.0.0.0:7893"), tproxy)))
	if got := allSteps(found(t, natHijacksLoopback, f)); !strings.Contains(got, "-i lo -p tcp --dport 62893") || !strings.Contains(got, "-i lo -p tcp --sport 62893") {
		t.Errorf("got %s", got)
	}
}

// A limit that may drop it stands ahead of the policy that does: past both.
func TestFixGetsPastWhatIsInDoubt(t *testing.T) {
	limit := nftRule("input", "limit rate over 5/second drop", inTable("inet", "early"), handle(7, 0))
	f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput),
		walks("127.0.0.1", facts.Syn, perhaps("drop", "limit rate over 5/second", limit), dropped(nftRule("input", "", policy))))
	want := "root runs nft -ae insert rule inet early input handle 7 iif lo tcp dport 62893 accept; root runs nft -ae insert rule inet guard input iif lo tcp dport 62893 accept; "
	if got := allSteps(found(t, filterDropsLoopback, f)); !strings.HasPrefix(got, want) || strings.Contains(got, "nft delete rule inet early input handle 7;") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	f = machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput),
		walks("127.0.0.1", facts.Syn, perhaps("drop", "random", nftRule("input", "numgen random mod 2 0 drop", handle(3, 4), number(1))), dropped(nftRule("input", "drop"))))
	want = "root runs nft -ae insert rule inet guard input handle 3 iif lo tcp dport 62893 accept; undo"
	if got := allSteps(found(t, filterDropsLoopback, f)); !strings.HasPrefix(got, want) {
		t.Errorf("in one chain: got %s\nwant %s", got, want)
	}
}

// Of the run without a target the port is loopdoctor's own: only lo is let through.
func TestNoTargetNoPort(t *testing.T) {
	f := stuckWith(nftRule("input", "", policy))
	f.Target.Port = 0
	if got := allSteps(found(t, filterDropsLoopback, f)); strings.Contains(got, "dport") || !strings.Contains(got, "iif lo accept") {
		t.Errorf("got %s", got)
	}
}

func TestWhatAPersonHasToDo(t *testing.T) {
	for _, test := range []struct {
		facts *facts.Facts
		want  string
	}{
		{stuckWith(iptablesNFTRule("INPUT", "-j DROP", reachedBy("INPUT", "ufw-before-input")), keptBy("ufw")), "-A ufw-before-input -i lo -j ACCEPT as the first rule of /etc/ufw/before.rules"},
		{stuckWith(iptablesNFTRule("OUTPUT", "-j DROP", forIPv6, reachedBy("OUTPUT", "ufw6-before-output")), keptBy("ufw")), "-A ufw6-before-output -o lo -j ACCEPT as the first rule of /etc/ufw/before6.rules"},
		{stuckWith(iptablesNFTRule("INPUT", "-j DROP"), keptBy("firewalld")), "firewall-cmd --direct --get-all-rules"},
		{stuckWith(nftRule("output", "drop", inTable("inet", "firewalld"), reachedBy("filter_OUTPUT"))), "firewall-cmd --reload"},
		{stuckWith(iptablesNFTRule("OUTPUT", "-j DROP", reachedBy("OUTPUT", "KUBE-FIREWALL"))), "Leave the chains of kube-proxy and kubelet alone"},
		{stuckWith(nftRule("input", "drop", ownedBy("guardd (pid 7)"))), "Have guardd (pid 7) accept loopback there"},
		{stuckWith(nftRule("input", "drop", inTable("ip", "libvirt_network"))), "virsh net-edit"},
		{stuckWith(iptablesNFTRule("OUTPUT", "-j DROP", commented("nordvpn"))), "nordvpn allowlist"},
		{stuckWith(nftRule("input", "tcp dport 62893 drop"), bootLine("/etc/nftables.conf", 12, "tcp dport 62893 drop", "nftables.service")),
			"Write iif lo tcp dport 62893 accept ahead of line 12 of /etc/nftables.conf (tcp dport 62893 drop), to keep it over a reboot: nftables.service loads that file at boot."},
		{stuckWith(iptablesNFTRule("INPUT", "-j DROP"), bootLine("/etc/iptables/rules.v4", 7, "-A INPUT -j DROP", "netfilter-persistent"), func(f *facts.Facts) { f.Filters.Boot[0].On = false }),
			"Write -A INPUT -i lo -p tcp --dport 62893 -j ACCEPT ahead of line 7 of /etc/iptables/rules.v4 (-A INPUT -j DROP), to keep it over a reboot: netfilter-persistent would load that file at boot, and is switched off."},
		{stuckWith(iptablesNFTRule("INPUT", "", policy), bootLine("/etc/iptables/rules.v4", 3, ":INPUT DROP [0:0]", "")), "as the first rule of that chain in /etc/iptables/rules.v4, which line 3 begins, to keep it over a reboot."},
		{stuckWith(iptablesNFTRule("INPUT", "-j DROP"), bootLine("/etc/iptables/rules.v4", 7, "-A INPUT -p udp -j DROP", "")), ""},
	} {
		var dos []string
		for _, fix := range first(found(t, filterDropsLoopback, test.facts)).Fixes {
			if len(fix.Steps) == 0 {
				dos = append(dos, fix.Do)
			}
		}
		if got := strings.Join(dos, "\n"); !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// Docker, kube and the like find their chains as they left them.
func TestNobodysChainsAreEdited(t *testing.T) {
	for _, k := range keepers {
		for _, prefix := range k.chains {
			f := stuckWith(iptablesNFTRule("INPUT", "-j DROP", reachedBy("INPUT", prefix+"x")), keptBy(iptablesNFT))
			if got := allSteps(found(t, filterDropsLoopback, f)); strings.Contains(got, prefix+"x") {
				t.Errorf("%s: %s", k.name, got)
			}
		}
		for _, table := range k.tables {
			f := stuckWith(nftRule("input", "drop", inTable("inet", table+"x")))
			if got := allSteps(found(t, filterDropsLoopback, f)); k.kind == byHead && k.name != "docker" && strings.Contains(got, table+"x") {
				t.Errorf("%s: %s", k.name, got)
			}
		}
	}
}

// A chain that is called as what stands for a printed number would be taken for one.
func TestNoChainIsCalledHandle(t *testing.T) {
	for _, r := range []facts.FilterRule{nftRule("input", "tcp drop", reachedBy("input", PrintedHandle)), iptablesNFTRule("INPUT", "-j DROP", reachedBy("INPUT", PrintedHandle))} {
		if got := allSteps(found(t, filterDropsLoopback, stuckWith(r))); strings.Contains(got, " "+PrintedHandle+" ") {
			t.Error(got)
		}
	}
}

// Whatever a machine has for names and texts, nothing of it becomes a command of
// nft(8), and no report gets longer than a person reads.
func TestHostileRules(t *testing.T) {
	long := strings.Repeat("A", 100_000)
	for _, evil := range []string{"x; flush ruleset", "x\nflush ruleset", "-F", "--flush", "$(reboot)", "`reboot`", "x y", "\x1b[2J", `"`, "{", "", long, "\xff\xfe", "ü"} {
		for i, r := range []facts.FilterRule{
			nftRule("input", "tcp drop", inTable("inet", evil)), nftRule("input", "tcp drop", reachedBy("input", evil)), nftRule("input", evil, func(r *facts.FilterRule) { r.Words = []string{evil, "; flush"} }),
			iptablesNFTRule("INPUT", "-j DROP", inTable("ip", evil)), iptablesNFTRule("INPUT", evil, reachedBy("INPUT", evil, evil)), nftRule("input", "drop", ownedBy(evil), commented(evil)),
			nftRule("input", "@addr-set-"+evil, inTable("inet", "f2b-table")), nftRule("input", "drop", func(r *facts.FilterRule) { r.Device, r.Family, r.Hook = evil, evil, evil }),
			nftRule("input", "drop", func(r *facts.FilterRule) {
				for range 500 {
					r.Path = append(r.Path, evil)
				}
			}),
		} {
			f := stuckWith(r, keptBy("fail2ban", evil), bootLine(evil, 1, evil, evil))
			f.Filters.Walks[0].Stops[0].Where = "input"
			for _, c := range []*Check{filterDropsLoopback, legacyAndNFTSplit, filterOneFamilyOnly, lostOnInput} {
				for _, x := range found(t, c, f) {
					size := len(x.Summary) + len(x.Settle)
					for _, e := range x.Evidence {
						size += len(e.Text)
					}
					for _, fix := range x.Fixes {
						size += len(fix.Do) + len(fix.Risk)
						for _, v := range append(fix.Steps, fix.Undo...) {
							size += len(fmt.Sprint(v))
							if said := strings.Join(v, " "); evil != "" && strings.Contains(said, evil) && !strings.Contains("{-", evil[:1]) || strings.ContainsAny(said, ";\n\x1b$`") {
								t.Errorf("%d with %.20q: %.200q", i, evil, said)
							}
						}
					}
					if size > 20_000 {
						t.Errorf("%d with %.20q: %s says %d bytes", i, evil, c.Name, size)
					}
				}
			}
		}
	}
}

func TestARangeThatHoldsAnswers(t *testing.T) {
	for text, want := range map[string]bool{
		"tcp dport 30000-65535 drop":                  true,
		"tcp dport { 80, 60000-63000 } drop":          true,
		"tcp dport 62893 drop":                        false,
		"tcp dport 62000-63000 drop":                  false,
		"ct state new tcp dport 30000-65535 drop":     false,
		"tcp sport 30000-65535 drop":                  false,
		"-A INPUT -p tcp --dport 30000:65535 -j DROP": true,
	} {
		f := stuckWith(nftRule("input", text), ephemeral(32768, 60999))
		fixes := found(t, filterDropsLoopback, f)[0].Fixes
		if got := strings.Contains(fixes[0].Risk, "whose own port is one of"); got != want {
			t.Errorf("%s: %q", text, fixes[0].Risk)
		}
		if strings.Contains(fixes[1].Risk, "whose own port") {
			t.Errorf("%s: what opens all of lo: %q", text, fixes[1].Risk)
		}
	}
}
