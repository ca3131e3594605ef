package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func to(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// route completes the last translation: how the kernel would send it on.
func route(route string, localnet bool) func(*facts.FilterWalk) {
	return func(w *facts.FilterWalk) {
		v := &w.Diverts[len(w.Diverts)-1]
		v.Route, v.RouteLocalnet = route, &localnet
	}
}

// somebody listens at the end of the last translation, or nobody does.
func listening(yes bool) func(*facts.FilterWalk) {
	return func(w *facts.FilterWalk) { w.Diverts[len(w.Diverts)-1].Listens = &yes }
}

// published is what rules would do to a packet from outside.
func published(kind, dest string, r facts.FilterRule, changes ...func(*facts.FilterWalk)) change {
	return func(f *facts.Facts) {
		w := facts.FilterWalk{Addr: v4Loopback, Packet: facts.Syn, To: netip.AddrPortFrom(v4Loopback, port)}
		diverted(kind, to(dest), r)(&w)
		for _, c := range changes {
			c(&w)
		}
		rulesOf(f).Published = append(f.Filters.Published, w)
	}
}

// answersFrom is the reply tuple of connection tracking.
func answersFrom(by string) change {
	return func(f *facts.Facts) {
		if f.Conntrack == nil {
			f.Conntrack = &facts.Conntrack{Count: 10, Max: 262144}
		}
		f.Conntrack.Replies = append(f.Conntrack.Replies, facts.ReplyTuple{Addr: v4Loopback, From: to("127.0.0.1:40000"), By: to(by)})
	}
}

// acceptedBy is the server's side of the connection, in the hands of another process.
func acceptedBy(at string, p facts.Process) change {
	return func(f *facts.Facts) {
		f.Dials[len(f.Dials)-1].Server = &facts.ServerSide{Local: to(at), State: "established", Inode: 900, Accepted: true}
		f.Owners.Holders[900] = []facts.Holder{{PID: p.PID, Attribution: facts.ByDescriptor}}
		f.Owners.Processes = append(f.Owners.Processes, p)
	}
}

func other(name string) facts.Process {
	return facts.Process{PID: 77, PPID: 1, Name: name, UID: 0, State: "S", Started: morning}
}

func nobodyHere(d *facts.Dial) { d.Server, d.NoServer = nil, true }

var (
	redirectRule = nftRule("output", "tcp dport 62893 redirect to :3128", inTable("ip", "guard"))
	dnatRule     = iptablesNFTRule("OUTPUT", "-d 127.0.0.1/32 -p tcp -m tcp --dport 62893 -j DNAT --to-destination 192.0.2.20:80", inTable("ip", "nat"))
	outsideRule  = iptablesNFTRule("PREROUTING", "-p tcp -m tcp --dport 62893 -j DNAT --to-destination 192.0.2.20:80", inTable("ip", "nat"))
)

func natSituations() []situation {
	here := listens("127.0.0.1", 50)
	refusal := dials("127.0.0.1", facts.Refused)
	silent := dials("127.0.0.1", facts.Timeout)
	works := dials("127.0.0.1", facts.Connected)
	out := counts("127.0.0.1", 32, diedOnOutput)
	wire := counts("127.0.0.1", 32, diedOnWire)
	reset := counts("127.0.0.1", 1, realReset)
	led := func(changes ...func(*facts.FilterWalk)) change {
		return walks("127.0.0.1", facts.Syn, append([]func(*facts.FilterWalk){diverted("redirect", to("127.0.0.1:3128"), redirectRule)}, changes...)...)
	}
	sent := func(changes ...func(*facts.FilterWalk)) change {
		return walks("127.0.0.1", facts.Syn, append([]func(*facts.FilterWalk){diverted("dnat", to("192.0.2.20:80"), dnatRule)}, changes...)...)
	}
	tproxy := iptablesNFTRule("PREROUTING", "-p tcp -j TPROXY --on-port 7893", inTable("ip", "mangle"))
	taken := walks("127.0.0.1", facts.Syn, diverted("tproxy", to("0.0.0.0:7893"), tproxy))
	in := counts("127.0.0.1", 32, diedOnInput)

	return slices.Concat(
		of(natHijacksLoopback,
			row{"another program answers", machine("127.0.0.1", here, works, acceptedBy("127.0.0.1:3128", other("squid")), led()), says("proven 127.0.0.1", "port 3128", "squid (pid 77) answers", "nftables table ip guard, chain output, handle 4")},
			row{"on another address, at the same port", machine("127.0.0.1", here, works, acceptedBy("127.0.0.2:62893", other("squid")), walks("127.0.0.1", facts.Syn, diverted("dnat", to("127.0.0.2:62893"), redirectRule))), says("proven 127.0.0.1", "127.0.0.2:62893")},
			row{"a dead port", machine("127.0.0.1", here, refusal, reset, led(listening(false))), says("proven 127.0.0.1", "port 3128, where nothing listens")},
			row{"a dead port, by the packets", machine("127.0.0.1", here, refusal, reset, led(), wentTo(3128)), says("proven 127.0.0.1", "where nothing listens")},
			row{"a dead port, and nobody saw who answers", machine("127.0.0.1", here, refusal, reset, led()), says("inferred 127.0.0.1", "probably")},
			row{"a dead port, by connection tracking", machine("127.0.0.1", here, refusal, reset, led(), answersFrom("127.0.0.1:3128")), says("proven 127.0.0.1")},
			row{"nothing listens on the port itself", machine("127.0.0.1", refusal, reset, led(listening(false))), says("proven 127.0.0.1 at listen", "port 3128, where nothing listens")},
			row{"no route there", machine("127.0.0.1", here, silent, out, sent(route("ENETUNREACH", false))), says("proven 127.0.0.1", "192.0.2.20:80", "ENETUNREACH")},
			row{"to another machine, and no answer", machine("127.0.0.1", here, silent, wire, sent(route("unicast dev lan0", true))), says("proven 127.0.0.1 at wire", "by lan0")},
			row{"refused by another machine", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, "OutRequests=1 OutTransmits=1 OutSegs=1 InReceives=1 InDelivers=1 InSegs=1"), sent(route("unicast dev lan0", true))), says("proven 127.0.0.1", "from where it is refused")},
			row{"answered in another namespace", machine("127.0.0.1", works, nth(nobodyHere), sent(route("unicast dev lan0", true)), answersFrom("192.0.2.20:80")), says("proven 127.0.0.1 at listen", "not in this network namespace")},
			row{"a TPROXY whose program is not there", machine("127.0.0.1", here, silent, in, taken), says("proven 127.0.0.1 at input", "A TPROXY rule", "no program takes it")},
			row{"a TPROXY whose program answers", machine("127.0.0.1", here, works, acceptedBy("127.0.0.1:62893", other("mihomo")), taken), says("proven 127.0.0.1 at input", "mihomo (pid 77) answers")},
			row{"a redirect by chance", machine("127.0.0.1", here, works, acceptedBy("127.0.0.1:3128", other("squid")), walks("127.0.0.1", facts.Syn, perhaps("redirect", "random", redirectRule))), says("inferred 127.0.0.1", "probably leads", "port 3128", "squid (pid 77)")},
			row{"a refusal by chance", machine("127.0.0.1", here, refusal, reset, walks("127.0.0.1", facts.Syn, perhaps("redirect", "random", redirectRule))), says("inferred 127.0.0.1", "probably leads", "another port")},
			row{"a range of ports", machine("127.0.0.1", here, works, acceptedBy("127.0.0.1:3130", other("squid")), led(func(w *facts.FilterWalk) { w.Diverts[0].Range = true })), says("proven 127.0.0.1", "port 3130")},

			row{"a container engine leads its own port into a container", machine("127.0.0.1", listens("127.0.0.1", 50, named("conmon")), works, nth(nobodyHere), sent(route("unicast dev podman0", true)), answersFrom("192.0.2.20:80")), nothing},
			row{"it arrives where it was sent", machine("127.0.0.1", here, works, led()), nothing},
			row{"it arrives at a port that the rule does not name", machine("127.0.0.1", here, works, acceptedBy("127.0.0.1:9999", other("squid")), led()), nothing},
			row{"somebody listens there, and yet it is refused", machine("127.0.0.1", here, refusal, reset, led(listening(true))), nothing},
			row{"connection tracking has another port", machine("127.0.0.1", here, refusal, reset, led(listening(false)), answersFrom("127.0.0.1:62893")), nothing},
			row{"the refusal is forged", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, forgedReset), led(listening(false))), nothing},
			row{"the counters lost it at input", machine("127.0.0.1", here, silent, in, sent(route("ENETUNREACH", false))), nothing},
			row{"it leads where it was going", machine("127.0.0.1", here, works, walks("127.0.0.1", facts.Syn, diverted("dnat", addr("127.0.0.1"), redirectRule))), nothing},
			row{"only the source is translated", machine("127.0.0.1", here, works, walks("127.0.0.1", facts.Syn, diverted("masquerade", to("127.0.0.1:0"), redirectRule))), nothing},
			row{"the TPROXY's listener is the one", machine("127.0.0.1", here, works, func(f *facts.Facts) { f.Dials[0].Server.Inode = f.Sockets.Sockets[0].Inode }, taken), nothing},
			row{"a server that hands connections to its children", machine("127.0.0.1", here, works, acceptedBy("127.0.0.1:62893", facts.Process{PID: 78, PPID: 50, Name: "worker", State: "S", Started: morning}), taken), nothing},
			row{"chance, and it arrives where it was sent", machine("127.0.0.1", here, works, walks("127.0.0.1", facts.Syn, perhaps("redirect", "random", redirectRule))), nothing},
			row{"rules were not read", machine("127.0.0.1", here, works, rulesForbidden), nothing},
		),
		of(nodeportNotOnLoopback,
			row{"the way out is closed to 127.0.0.1", machine("127.0.0.1", silent, out, sent(route("unicast dev lan0", false))), says("proven 127.0.0.1 at output", "192.0.2.20:80", "lan0", "127.0.0.0/8")},
			row{"it leaves with a source that nobody can answer", machine("127.0.0.1", silent, wire, sent(route("unicast dev lan0", true))), says("proven 127.0.0.1 at wire", "the source 127.0.0.1")},
			row{"only packets from outside", machine("127.0.0.1", refusal, reset, walks("127.0.0.1", facts.Syn), published("dnat", "192.0.2.20:80", outsideRule, route("unicast dev lan0", false))), says("inferred 127.0.0.1", "192.0.2.20:80", "only for packets from other machines", "chain PREROUTING, rule 3")},
			row{"only packets from outside, and somebody is there", machine("127.0.0.1", refusal, reset, walks("127.0.0.1", facts.Syn), published("redirect", "0.0.0.0:8080", outsideRule, listening(true))), says("proven 127.0.0.1", "port 8080")},

			row{"its source is translated, and it gets no answer", machine("127.0.0.1", silent, wire, sent(route("unicast dev lan0", true), diverted("masquerade", to("192.0.2.10:0"), redirectRule), func(w *facts.FilterWalk) { slices.Reverse(w.Diverts) })), nothing},
			row{"the forward works from here, too", machine("127.0.0.1", works, nth(nobodyHere), sent(route("unicast dev lan0", true))), nothing},
			row{"a server of our own listens", machine("127.0.0.1", here, refusal, reset, walks("127.0.0.1", facts.Syn), published("dnat", "192.0.2.20:80", outsideRule)), nothing},
			row{"a filter refuses it", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, forgedReset), walks("127.0.0.1", facts.Syn), published("dnat", "192.0.2.20:80", outsideRule)), nothing},
			row{"nothing is forwarded", machine("127.0.0.1", refusal, reset, walks("127.0.0.1", facts.Syn)), nothing},
			row{"it is led to a port of this machine that is dead", machine("127.0.0.1", refusal, reset, led(listening(false))), nothing},
		),
	)
}

// nth changes the last dial.
func nth(c func(*facts.Dial)) change {
	return func(f *facts.Facts) { c(&f.Dials[len(f.Dials)-1]) }
}

func TestNAT(t *testing.T) { judge(t, natSituations()) }

func TestNATAmongOthers(t *testing.T) {
	here := listens("127.0.0.1", 50)
	led := walks("127.0.0.1", facts.Syn, diverted("redirect", to("127.0.0.1:3128"), redirectRule), listening(false))
	expect(t, machine("127.0.0.1", here, dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), led),
		"broken", "active nat-hijacks-loopback proven")
	expect(t, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), led),
		"broken", "active nat-hijacks-loopback proven")
	expect(t, machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), acceptedBy("127.0.0.1:3128", other("squid")), led),
		"broken", "active nat-hijacks-loopback proven")
	expect(t, machine("127.0.0.1", here, dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), rulesForbidden),
		"broken", "active answered-elsewhere inferred")
	expect(t, machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput), walks("127.0.0.1", facts.Syn, diverted("dnat", to("192.0.2.20:80"), dnatRule), route("unicast dev lan0", false))),
		"broken", "active nodeport-or-dnat-not-on-loopback proven")
	// The outside's port forward and a container that holds the port are one story.
	expect(t, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), walks("127.0.0.1", facts.Syn), published("redirect", "0.0.0.0:8080", outsideRule, listening(true))),
		"broken", "active nodeport-or-dnat-not-on-loopback proven")
}

func TestNATFixes(t *testing.T) {
	here := listens("127.0.0.1", 50)
	fixes := func(c *Check, f *facts.Facts) string {
		var b strings.Builder
		for _, x := range found(t, c, f) {
			for _, fix := range x.Fixes {
				b.WriteString(fix.Do + "\n")
				for _, s := range fix.Steps {
					b.WriteString("  " + strings.Join(s, " ") + "\n")
				}
				for _, s := range fix.Undo {
					b.WriteString("  undo " + strings.Join(s, " ") + "\n")
				}
			}
		}
		return b.String()
	}
	for _, c := range []struct {
		check *Check
		facts *facts.Facts
		want  []string
		never string
	}{
		{natHijacksLoopback, machine("127.0.0.1", here, dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), walks("127.0.0.1", facts.Syn, diverted("redirect", to("127.0.0.1:3128"), redirectRule), listening(false))),
			[]string{"nft -ae insert rule ip guard output handle 4 oif lo tcp dport 62893 accept", "undo nft delete rule ip guard output handle HANDLE", "nft -ae insert rule ip guard output handle 4 oif lo accept", "nft delete rule ip guard output handle 4"}, "Start the server"},
		{natHijacksLoopback, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), walks("127.0.0.1", facts.Syn, diverted("redirect", to("127.0.0.1:3128"), redirectRule), listening(false))),
			[]string{"Start the server at port 3128"}, "nft"},
		// Docker's own chain stays as it is: what is added comes ahead of the jump to it.
		{natHijacksLoopback, machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), acceptedBy("127.0.0.1:3128", other("x")), walks("127.0.0.1", facts.Syn, diverted("redirect", to("127.0.0.1:3128"), iptablesNFTRule("DOCKER", "-j REDIRECT --to-ports 3128", inTable("ip", "nat"), func(r *facts.FilterRule) { r.Path, r.Hook = []string{"OUTPUT", "DOCKER"}, "output" })))),
			[]string{"-t nat -I OUTPUT 1 -o lo -p tcp --dport 62893 -j ACCEPT", "publish the port on loopback"}, "-D DOCKER"},
		{nodeportNotOnLoopback, machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput), walks("127.0.0.1", facts.Syn, diverted("dnat", to("192.0.2.20:80"), dnatRule), route("unicast dev lan0", false))),
			[]string{"Connect to 192.0.2.20:80", "sysctl -w net.ipv4.conf.lan0.route_localnet=1", "-t nat -A POSTROUTING -s 127.0.0.0/8 -o lan0 -j MASQUERADE", "undo sysctl -w net.ipv4.conf.lan0.route_localnet=0"}, "handle"},
		{nodeportNotOnLoopback, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), walks("127.0.0.1", facts.Syn), published("redirect", "0.0.0.0:8080", outsideRule, listening(true))),
			[]string{"Connect to 127.0.0.1:8080", "-t nat -A OUTPUT -o lo -p tcp --dport 62893 -j REDIRECT --to-ports 8080", "undo iptables"}, "sysctl"},
		{nodeportNotOnLoopback, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), walks("127.0.0.1", facts.Syn), published("dnat", "192.0.2.20:80", nftRule("prerouting", "tcp dport 62893 dnat to 192.0.2.20:80", inTable("ip", "fw")), route("unicast dev lan0", false))),
			[]string{"nft add rule ip lo_forward output oif lo tcp dport 62893 dnat to 192.0.2.20:80", "route_localnet=1", "oifname lan0 masquerade", "undo nft delete table ip lo_forward"}, "iptables"},
		// kube-proxy writes its chains again.
		{nodeportNotOnLoopback, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), walks("127.0.0.1", facts.Syn), published("dnat", "10.1.0.7:8080", iptablesNFTRule("KUBE-SEP-X", "-j DNAT --to-destination 10.1.0.7:8080", inTable("ip", "nat"), func(r *facts.FilterRule) {
			r.Hook, r.Path = "prerouting", []string{"PREROUTING", "KUBE-SERVICES", "KUBE-SEP-X"}
		}))),
			[]string{"Connect to 10.1.0.7:8080", "kubectl port-forward"}, "-A OUTPUT"},
	} {
		got := fixes(c.check, c.facts)
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", c.check.Name, w, got)
			}
		}
		if strings.Contains(got, c.never) {
			t.Errorf("%s: %q in\n%s", c.check.Name, c.never, got)
		}
	}
}
