package nft

import (
	"os/exec"
	"strings"
	"testing"
)

// TestTextIsThatOfIPTables compares rules of iptables-nft with what iptables -S
// prints, and makes each again by its words.
func TestTextIsThatOfIPTables(t *testing.T) {
	enterNamespace(t)
	for _, c := range []struct{ command, rules string }{
		{"iptables-nft", `
-A INPUT -p tcp -m tcp --dport 62893 -j DROP
-A INPUT ! -s 127.0.0.0/8 -d 127.0.0.1/32 ! -i eth0 -p tcp -m tcp --sport 1:1023 --dport 62000:62999 -j ACCEPT
-A INPUT -s 10.0.0.0/9 -i br-+ -p udp -m udp ! --dport 5353 -j RETURN
-A INPUT -p tcp -m tcp ! --dport 1:1023 -j guard
-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -g guard
-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP
-A INPUT -m mark --mark 0x1/0xff -m comment --comment "two words" -j DROP
-A INPUT -m mark ! --mark 0x4000 -j MARKED
-A INPUT -m limit --limit 3/min --limit-burst 7 -j ACCEPT
-A INPUT -m limit --limit 5/sec -j LOG --log-prefix "web "
-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A INPUT ! -p tcp -j REJECT --reject-with icmp-port-unreachable
-A INPUT -f -j DROP
-A INPUT -p tcp -m multiport --dports 80,443 -m addrtype --dst-type LOCAL -j REJECT --reject-with tcp-reset
-A INPUT -j NFLOG --nflog-prefix "a b" --nflog-group 3
-A OUTPUT -o lo -p sctp -m sctp --dport 5 -j ACCEPT
-A OUTPUT -o lo -m owner --uid-owner 1000 -j DROP
-A OUTPUT -d 127.0.0.0/8
`},
		{"ip6tables-nft", `
-A INPUT -s ::1/128 -d fe80::/10 -i lo -p tcp -m tcp --dport 62893 -j DROP
-A INPUT -s 2001:db8::/33 -p ipv6-icmp -j guard
-A INPUT ! -d ::1/128 -p udp -m udp --dport 546 -j REJECT --reject-with icmp6-adm-prohibited
`},
	} {
		if _, err := exec.LookPath(c.command); err != nil {
			t.Skipf("needs the program %s", c.command)
		}
		execute(t, "*filter\n:guard - [0:0]\n:MARKED - [0:0]"+c.rules+"COMMIT\n", c.command+"-restore")
		before := execute(t, "", c.command, "-S")
		var got []string
		for _, table := range read(t).Tables {
			for _, chain := range table.Chains {
				if (table.Family.String() == "ip6") != strings.HasPrefix(c.command, "ip6") {
					continue
				}
				for i, rule := range chain.Rules {
					text, words := rule.Print()
					got = append(got, text)
					if rule.Opaque != "" {
						got[len(got)-1] = strings.Replace(text, "[match]", "-m sctp --dport 5", 1)
						continue
					}
					if words == nil {
						t.Errorf("no words: %s", text)
						continue
					}
					execute(t, "", c.command, append([]string{"-R", chain.Name, decimal(uint64(i + 1))}, words...)...)
				}
			}
		}
		var want []string
		for line := range strings.Lines(before) {
			if strings.HasPrefix(line, "-A ") {
				want = append(want, strings.TrimSpace(line))
			}
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("\n got %s\nwant %s", g, w)
		}
		if after := execute(t, "", c.command, "-S"); after != before {
			t.Errorf("made again:\n%s\nit was:\n%s", after, before)
		}
	}
}
