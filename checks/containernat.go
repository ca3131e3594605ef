package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A published port without a proxy: the engine's daemon holds it and takes nothing, and
// NAT leads the connections into the container.

// byNATAlone finds the container to which NAT alone leads what is sent to an address. The
// daemon is seen to hold the port, or nobody is and no proxy was told to; or connections
// to it are seen to end in the container.
func byNATAlone(f *facts.Facts, a netip.Addr) (p *containerPort, held bool) {
	p = publishedAt(f, a)
	if p == nil || p.Way != nil {
		return nil, false
	}
	for _, s := range serving(f, a) {
		for _, o := range f.Owners.Of(s) {
			if o.Name != "dockerd" && o.Name != "conmon" {
				return nil, false
			}
			held = true
		}
	}
	if !held && !p.Reached.IsValid() && (f.Forwards == nil || f.Forwards.Partial != "") {
		return nil, false
	}
	return p, held
}

var dockerNoUserlandProxy = &Check{
	Name:     "docker-no-userland-proxy",
	Doc:      "the container engine publishes by NAT alone, and its way from loopback is closed or does not exist",
	Stage:    StageOutput, // or where nothing listens on ::1
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupForwards, facts.GroupLedger},
	Explains: []*Check{noReply, refused, localhostSlowFallback},
	Refines:  []*Check{natHijacksLoopback, nodeportNotOnLoopback, lostOnOutput, v4OnlyServerV6Client, noListener},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			switch {
			case d.Addr.Is4() && d.Addr.IsLoopback() && d.Outcome == facts.Timeout:
				if x, ok := closedToLoopback(f, d); ok {
					fs = append(fs, x)
				}
			case d.Addr == v6Loopback && d.Outcome == facts.Refused && f.Target.Literal && len(serving(f, d.Addr)) == 0:
				if x, ok := noWayForV6(f, d); ok {
					fs = append(fs, x)
				}
			}
		}
		return mergeAddresses(f, fs)
	},
}

func closedToLoopback(f *facts.Facts, d facts.Dial) (Finding, bool) {
	p, held := byNATAlone(f, d.Addr)
	if p == nil || p.Inside == nil || p.Inside.RouteLocalnet == nil || *p.Inside.RouteLocalnet {
		return Finding{}, false
	}
	if st, lost := lostAt(f, d); lost && st != StageOutput {
		return Finding{}, false
	}
	in := p.Inside
	key := fmt.Sprintf("net.ipv4.conf.%s.route_localnet", in.Bridge)
	x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: cond(held, Proven, Inferred), Since: p.Started,
		Summary:  fmt.Sprintf("%s is published from %s without a proxy: NAT leads it to %s, and the kernel lets no packet from 127.0.0.0/8 leave by %s (%s = 0).", at(f, d.Addr), theContainer(p.Container), p.to(), tame(in.Bridge, 32), "route_localnet"),
		Evidence: append(containerEvidence(f, p), Evidence{"sysctl", key + " = 0"})}
	if !held {
		x.Settle = settleAsRoot(f)
	}
	for _, s := range serving(f, d.Addr) {
		x.Evidence = append(x.Evidence, socketEvidence(f, s))
	}
	if l := ledgerOf(f, d.Addr); l != nil {
		x.Evidence = append(x.Evidence, Evidence{"counters", countedAt(l, d, StageOutput)})
	}
	x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Connect to %s itself, the container's address: it is another one after each start.", p.to())})
	if isName(in.Bridge) {
		x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Let packets from loopback leave by %s, as %s sets it when it makes that bridge.", in.Bridge, p.Engine), Elevated: true, Lasts: UntilReboot,
			Steps: [][]string{{"sysctl", "-w", key + "=1"}}, Undo: [][]string{{"sysctl", "-w", key + "=0"}}, Risk: openRisk(in.Bridge, true)})
	}
	if p.Engine == "docker" {
		x.Fixes = append(x.Fixes, proxyAgain())
	}
	return x, true
}

// proxyAgain is the setting of dockerd that needs no NAT for loopback.
func proxyAgain() Fix {
	return Fix{Do: "Let Docker use its proxy, which it does by default: take `\"userland-proxy\": false` out of /etc/docker/daemon.json (or --userland-proxy=false out of the arguments of dockerd), and restart Docker.",
		Interrupts: "every container, unless live-restore is set"}
}

// noWayForV6: NAT for IPv6 is no way out, since the kernel has no route_localnet for ::1.
func noWayForV6(f *facts.Facts, d facts.Dial) (Finding, bool) {
	p, held := byNATAlone(f, v4Loopback)
	if p == nil || !p.Port.Host.Addr().IsUnspecified() || !held {
		return Finding{}, false
	}
	x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven, Stage: StageListen, Since: p.Started,
		Summary:  fmt.Sprintf("%s is published from %s without a proxy, by NAT alone, and for ::1 there is no such way: %s is refused.", at(f, v4Loopback), theContainer(p.Container), at(f, d.Addr)),
		Evidence: containerEvidence(f, p),
		Fixes:    []Fix{{Do: fmt.Sprintf("Let the client use %s.", at(f, v4Loopback))}}}
	for _, s := range serving(f, v4Loopback) {
		x.Evidence = append(x.Evidence, socketEvidence(f, s))
	}
	if p.Engine == "docker" {
		x.Fixes = append(x.Fixes, proxyAgain())
	}
	return x, true
}

var dockerNATRulesFlushed = &Check{
	Name:     "docker-nat-rules-flushed",
	Doc:      "the NAT rules that the container engine wrote for its published ports are gone",
	Stage:    StageAccept, // or where the packet is lost
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupForwards, facts.GroupFilters, facts.GroupLedger},
	Explains: []*Check{notAccepted, acceptQueueFull, noReply, noAnswer},
	Refines:  []*Check{nobodyAccepts, natHijacksLoopback, nodeportNotOnLoopback, lostOnWire, lostOnOutput},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if x, ok := notLedOn(f, d); ok {
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

// notLedOn: a connection that lies in the queue of the daemon's own socket was led
// nowhere; one that leaves with 127.0.0.1 as its source gets no answer.
func notLedOn(f *facts.Facts, d facts.Dial) (Finding, bool) {
	waits, gone := unanswered(d) && d.Addr.Is4(), ""
	if d.Outcome == facts.Timeout && d.Addr.Is4() && f.Filters != nil {
		if w := f.Filters.Walk(d, facts.Syn); w != nil && !masked(w) && (w.Partial == "" || strings.HasPrefix(w.Partial, "it leaves lo for ")) && slices.ContainsFunc(w.Diverts, func(v facts.FilterDivert) bool { return v.Kind == "dnat" }) {
			gone = "masquerade"
		}
	}
	if !waits && gone == "" {
		return Finding{}, false
	}
	p, held := byNATAlone(f, d.Addr)
	if p == nil || p.Inside != nil && p.Inside.RouteLocalnet != nil && !*p.Inside.RouteLocalnet {
		return Finding{}, false
	}
	x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: cond(held, Proven, Inferred), Evidence: containerEvidence(f, p)}
	for _, s := range serving(f, d.Addr) {
		x.Evidence = append(x.Evidence, socketEvidence(f, s))
	}
	daemon := cond(p.Engine == "podman", "conmon", "dockerd")
	if waits {
		x.Summary = fmt.Sprintf("%s is published from %s, and %s holds it without taking anything: the NAT rule that leads connections on to %s is gone.", at(f, d.Addr), theContainer(p.Container), daemon, p.to())
		x.Evidence = append([]Evidence{{"connection", fmt.Sprintf("%s arrived at %s itself, and was led nowhere", d.From, at(f, d.Addr))}}, x.Evidence...)
	} else {
		x.Stage = StageWire
		if st, lost := lostAt(f, d); lost {
			x.Stage = st
		}
		x.Summary = fmt.Sprintf("%s is published from %s, and the NAT rule (MASQUERADE) that gives connections of this machine an address which %s can answer is gone.", at(f, d.Addr), theContainer(p.Container), p.to())
	}
	if !held {
		x.Settle = settleAsRoot(f)
	}
	x.Fixes = rulesAgain(f, p)
	return x, true
}

// rulesAgain has the engine write its rules: nobody else knows all of them.
func rulesAgain(f *facts.Facts, p *containerPort) []Fix {
	last := Fix{Do: "Then let whatever flushed them (nft flush ruleset, iptables -t nat -F, a firewall's start) come before the engine, or keep its tables: nftables.service begins with flush ruleset."}
	again := Fix{Elevated: true, Lasts: UntilReboot}
	if p.Engine == "podman" {
		again.Do, again.Steps = "Let Podman write its rules again (4.0 and newer).", [][]string{{"podman", "network", "reload", "--all"}}
		return []Fix{again, last}
	}
	again.Do, again.Steps = "Restart Docker: it writes its rules when it starts, and no other command does.", [][]string{{"systemctl", "restart", "docker"}}
	again.Interrupts = "every container, unless live-restore is set"
	return []Fix{again, last}
}
