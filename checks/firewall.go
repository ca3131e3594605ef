package checks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Where the kernel lost the packet, told by its counters and by what crossed
// lo. Which rule did it is told by those of filterdrops.go, if rules were read.

const findRule = "sudo nft list ruleset; sudo iptables-legacy-save; sudo ip6tables-legacy-save"

const findOnWire = "ip -d link show lo; tc qdisc show dev lo; tc filter show dev lo ingress; tc filter show dev lo egress"

var lostOnOutput = lostCheck("lost-on-output", "the connection is lost on its way out, before it reaches lo", StageOutput,
	"on its way out", "a packet filter or NAT rule at OUTPUT or POSTROUTING, or a BPF program of the client's cgroup")

var lostOnWire = lostCheck("lost-on-wire", "the connection is lost between leaving and arriving, on lo itself", StageWire,
	"on the interface lo itself", "a traffic control, netdev or XDP program on lo drops it")

var lostOnInput = lostCheck("lost-on-input", "the connection is lost on its way in, before TCP sees it", StageInput,
	"on its way in", "a packet filter at PREROUTING or INPUT")

// lostCheck makes one of the three checks that read a gap between counters.
func lostCheck(name, doc string, stage Stage, where, what string) *Check {
	return &Check{
		Name: name, Doc: doc, Stage: stage, Intent: facts.Connect,
		Needs:    []facts.Group{facts.GroupDials, facts.GroupLedger},
		Uses:     []facts.Group{facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupFilters, facts.GroupInterfaces},
		Explains: []*Check{noReply, notAccepted, localhostSlowFallback},
		Run: func(f *facts.Facts) []Finding {
			var fs []Finding
			for _, d := range f.Dials {
				st, ok := lostAt(f, d)
				if d.Outcome != facts.Timeout && !d.HalfOpen() || !ok || st != stage {
					continue
				}
				l := ledgerOf(f, d.Addr)
				certainty, perhaps := sure(l), ""
				// A reject sends an answer: that one of the two is lost at output, and the
				// other at input, is all that the counters tell.
				if g := l.Gaps(); st == StageOutput && !d.HalfOpen() && facts.Enough(g.Input, l.SYNs) {
					certainty, perhaps = Inferred, "; or a packet filter at INPUT rejects it, and that answer is lost on its way out"
				}
				x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: certainty, Settle: settleRule(f, d, stage),
					Summary:  fmt.Sprintf("The connection to %s is lost %s: %s%s.", at(f, d.Addr), where, what, perhaps),
					Evidence: slices.Concat([]Evidence{{"counters", countedAt(l, d, stage)}}, rulesSay(f, d, stage), seen(f, d)),
					Fixes:    []Fix{acceptAhead(stage)}}
				if st == StageWire && perhapsLedAway(f, l) {
					x.Certainty = Inferred
					x.Evidence = append(x.Evidence, Evidence{"counters", fmt.Sprintf("lo +%d packets", l.Delta["lo.tx"])})
					x.Summary = fmt.Sprintf("The connection to %s is lost %s: %s; or a NAT rule leads it to another interface.", at(f, d.Addr), where, what)
					if perhapsToContainer(f, d) {
						x.Summary = fmt.Sprintf("The connection to %s leaves and does not come to lo: a NAT rule leads it to another interface, as to a container, and nobody answers there; or %s.", at(f, d.Addr), what)
						x.Fixes = append([]Fix{perhapsContainer}, x.Fixes...)
					}
				}
				fs = append(fs, x)
			}
			return mergeAddresses(f, fs)
		},
	}
}

// perhapsLedAway tells whether NAT may have led the packets to another interface: lo has
// counted none, there is one, and the rules were not seen.
func perhapsLedAway(f *facts.Facts, l *facts.Ledger) bool {
	return f.Filters == nil && !facts.Enough(l.Delta["lo.tx"]+l.Delta["lo.txdrop"], l.SYNs) && f.Interfaces != nil &&
		slices.ContainsFunc(f.Interfaces.Others, func(i facts.Interface) bool { return i.Up })
}

// perhapsToContainer tells whether it may be one to a container: there is a bridge, and
// what listens here is an engine's, as far as it is seen.
func perhapsToContainer(f *facts.Facts, d facts.Dial) bool {
	for _, s := range serving(f, d.Addr) {
		for _, o := range f.Owners.Of(s) {
			if !o.HoldsForContainers() {
				return false
			}
		}
	}
	return slices.ContainsFunc(f.Interfaces.Others, func(i facts.Interface) bool { return i.Up && i.Kind == "bridge" })
}

var replyLost = &Check{
	Name:     "reply-lost",
	Doc:      "the connection arrives, but the answer to it is lost on its way back",
	Stage:    StageReply,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupLedger},
	Uses:     []facts.Group{facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupFilters},
	Explains: []*Check{noReply, refused, localhostSlowFallback}, // refused: the refusal is lost
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			st, ok := lostAt(f, d)
			if d.Outcome != facts.Timeout || !ok || st != StageReply {
				continue
			}
			l := ledgerOf(f, d.Addr)
			out := facts.Enough(l.Gaps().Output, l.SYNs)
			where := cond(out, "on its way out (OUTPUT, with the source port of the server)", "on its way back in (INPUT, with the source port of the server)")
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: cond(sawSYN(l), sure(l), Inferred), Settle: settleRule(f, d, StageReply),
				Summary:  fmt.Sprintf("The server's side answers on %s, but the answer is lost %s.", at(f, d.Addr), where),
				Evidence: slices.Concat([]Evidence{{"counters", countedAt(l, d, StageReply)}}, rulesSay(f, d, StageReply), seen(f, d)),
				Fixes:    []Fix{acceptAhead(cond(out, StageOutput, StageInput))}}
			if refusalLost(f, d) {
				x.Summary = fmt.Sprintf("The kernel refuses the connection to %s, and its reset is lost %s: the client waits in vain.", at(f, d.Addr), cond(out, "on its way out (OUTPUT)", "on its way back in (INPUT)"))
			}
			if l.HalfOpen > 0 {
				x.Evidence = append(x.Evidence, Evidence{"socket", fmt.Sprintf("%d connections of ours in SYN_RECV", l.HalfOpen)})
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var filterRejectsLoopback = &Check{
	Name:     "filter-rejects-loopback",
	Doc:      "a packet filter rejects the connection",
	Stage:    StageInput,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupLedger},
	Uses:     []facts.Group{facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupFilters},
	Explains: []*Check{refused},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			st, ok := lostAt(f, d)
			if d.Outcome != facts.Refused || !ok {
				continue
			}
			with, proof := "a forged reset", "the kernel sent no reset of its own (TcpOutRsts +0)"
			if l := ledgerOf(f, d.Addr); l.SYNs > 1 {
				proof = fmt.Sprintf("of %d SYNs, %d never reached TCP", l.SYNs, max(l.Gaps().Input, l.Gaps().Output))
			}
			if d.ICMP != "" {
				with, proof = "an ICMP error", "ICMP type/code "+d.ICMP+" came back: the kernel never sends that for a closed TCP port"
			}
			x := Finding{Affects: []netip.Addr{d.Addr}, Stage: st, Certainty: Proven, Settle: settleRule(f, d, st),
				Summary:  fmt.Sprintf("A packet filter rejects the connection to %s on its way %s, with %s (%s).", at(f, d.Addr), cond(st == StageOutput, "out", "in"), with, d.Errno),
				Evidence: slices.Concat([]Evidence{{"counters", proof}}, rulesSay(f, d, st), seen(f, d)),
				Fixes:    []Fix{acceptAhead(st)}}
			// That it is a filter needs no rule; which one it is does.
			if b := blamed(f, d); b != nil && b.packet == facts.Syn {
				y := b.finding(f, d)
				y.Certainty = Proven
				y.Evidence = slices.DeleteFunc(y.Evidence, func(e Evidence) bool { return e.Source == "counters" })
				y.Evidence = slices.Insert(y.Evidence, 1, x.Evidence[0])
				x = y
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var answeredElsewhere = &Check{
	Name:     "answered-elsewhere",
	Doc:      "something redirects the connection, so another socket answers it",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupLedger, facts.GroupPackets, facts.GroupOwners, facts.GroupFilters, facts.GroupLimits},
	Explains: []*Check{refused, answeredByAnother, notAccepted},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if redirected(f, d) {
				far := ""
				if ps := f.Owners.Of(facts.Socket{Inode: d.Server.Inode}); len(ps) > 0 {
					far = ", where " + who(ps[0]) + " answers"
				}
				fs = append(fs, Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven, Settle: settleDivert(f, d),
					Summary:  fmt.Sprintf("Something redirects connections to %s: they arrive at %s%s.", at(f, d.Addr), arrival(f, d), far),
					Evidence: append([]Evidence{{"connection", fmt.Sprintf("the far end of %s is the socket %s", d.From, d.Server.Local)}}, noneDiverts(f, d)...),
					Fixes:    []Fix{leaveOut}})
				continue
			}
			ls := serving(f, d.Addr)
			if d.Outcome != facts.Refused || len(ls) == 0 {
				continue
			}
			// /proc/net/tcp does not say whether [::] has IPV6_V6ONLY.
			if l := ls[0].Local.Addr(); f.Sockets.From != "sock_diag" && d.Addr.Is4() && l.Is6() && l.IsUnspecified() {
				continue
			}
			l := ledgerOf(f, d.Addr)
			if l == nil || d.ICMP != "" || forged(l, d) || silent(l) {
				continue
			}
			// A reset that crossed lo and that TCP itself sent, although a socket
			// listens there: our SYN must have met another port.
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: Inferred, Settle: settleDivert(f, d),
				Summary: fmt.Sprintf("%s listens on %s, yet TCP refuses the connection: something redirects it to a port where nothing listens.", holder(f, ls[0]), ls[0].Local),
				Evidence: []Evidence{socketEvidence(f, ls[0]),
					{"counters", fmt.Sprintf("of %d SYN none was lost on the way, and TCP sent a reset (TcpOutRsts +%d, lo +%d packets)", l.SYNs, l.Delta["OutRsts"], l.Delta["lo.tx"])}},
				Fixes: []Fix{leaveOut}}
			if l.Delta["lo.tx"] == 0 {
				x.Summary = fmt.Sprintf("%s listens on %s, yet the connection is refused by something that is not on lo: it is sent on to another network namespace or machine.", holder(f, ls[0]), ls[0].Local)
				if f.Filters == nil {
					x.Fixes = []Fix{perhapsContainer, leaveOut}
				}
			}
			x.Evidence = append(x.Evidence, noneDiverts(f, d)...)
			for _, c := range conversations(f, d) {
				if c.Server.Port() != f.Target.Port {
					x.Certainty = Proven
					x.Evidence = append(x.Evidence, Evidence{"packets", ladder(c)})
					break
				}
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var leaveOut = Fix{Do: "Leave loopback out of the redirect: in its chain, ahead of it, nft insert rule FAMILY TABLE CHAIN oif lo accept, or iptables -t nat -I OUTPUT 1 -o lo -j ACCEPT."}

// perhapsContainer comes first where the rule was not seen: those of container engines
// lead to published ports, and are to stay.
var perhapsContainer = Fix{Do: "If a container has the port (docker ps, podman ps), leave that rule alone, and see in there: whether it is paused, what listens, and on which address."}

// acceptAhead is the cure as far as it is known without the rule: only a person
// can say which chain it belongs to. Never the whole firewall.
func acceptAhead(stage Stage) Fix {
	switch stage {
	case StageOutput:
		return Fix{Do: "Accept loopback ahead of the rule that does it: nft insert rule FAMILY TABLE CHAIN oif lo accept, or iptables (for IPv6 ip6tables) -I OUTPUT 1 -o lo -j ACCEPT."}
	case StageWire:
		return Fix{Do: "Take off lo what is attached to it: the rule of an nftables netdev chain, a tc filter (tc filter del dev lo ingress prio N), or a program that bpftool shows."}
	}
	return Fix{Do: "Accept loopback ahead of the rule that does it: nft insert rule FAMILY TABLE CHAIN iif lo accept, or iptables (for IPv6 ip6tables) -I INPUT 1 -i lo -j ACCEPT."}
}

// sure: one SYN may be lost in the noise of other traffic, a burst is not.
func sure(l *facts.Ledger) Certainty {
	if l.SYNs > 1 {
		return Proven
	}
	return Inferred
}

// seen is what else there is to say about a dial that failed on the way: whom it
// happens to, if not to all, the packets, and the listener that would have answered.
func seen(f *facts.Facts, d facts.Dial) []Evidence {
	var es []Evidence
	if fine := connects(f, d); len(fine) > 0 {
		es = append(es, Evidence{"client", fmt.Sprintf("%s; not %s", f.Host.Client(d.As, d.AsPID).Name(), list(fine))})
	}
	for _, c := range conversations(f, d) {
		es = append(es, Evidence{"packets", ladder(c)})
		break
	}
	for _, s := range serving(f, d.Addr) {
		es = append(es, socketEvidence(f, s))
		break
	}
	return es
}

// conversations returns what our own probe of the address said on lo.
func conversations(f *facts.Facts, d facts.Dial) []facts.Conversation {
	if f.Packets == nil {
		return nil
	}
	// Others may talk to the server at the same time. Of what was recorded before it
	// was written down whose it is, everything may be ours.
	known := slices.ContainsFunc(f.Packets.Conversations, func(c facts.Conversation) bool { return c.Ours })
	return slices.DeleteFunc(slices.Clone(f.Packets.Conversations), func(c facts.Conversation) bool {
		return c.Client.Addr() != d.Addr && c.Server.Addr() != d.Addr || len(c.Packets) == 0 || known && !c.Ours
	})
}

// ladder tells a conversation in one line.
func ladder(c facts.Conversation) string {
	s := fmt.Sprintf("%s to %s:", c.Client, c.Server)
	replied := false
	for i, p := range c.Packets {
		if i == 6 {
			s += " …"
			break
		}
		what := cond(p.ICMP != "", "ICMP "+p.ICMP, p.Flags)
		if p.FromClient {
			s += " " + what + cond(p.Out && !p.In, " (left, never arrived)", "")
		} else {
			s += " ←" + what
			replied = true
		}
	}
	if !replied {
		s += ", no reply"
	}
	return s
}
