package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The port is published, and what comes in meets nobody in the container.

// turnedAwayInside runs a check at each container that does not take what is published:
// its proxy closes the connection at once, or, where NAT alone leads there, the kernel
// in there refuses it.
func turnedAwayInside(f *facts.Facts, judge func(facts.Dial, *containerPort, *room) (Finding, bool)) []Finding {
	var fs []Finding
	for _, d := range f.Dials {
		if d.Closed == "" && d.Outcome != facts.Refused {
			continue
		}
		p := publishedAt(f, d.Addr)
		if p == nil || d.Outcome == facts.Refused && p.Way != nil {
			continue
		}
		if d.Outcome == facts.Refused && !wentAway(f, d) {
			continue // it may have been refused on this side
		}
		r := p.room()
		if r == nil || len(r.takes) > 0 {
			continue
		}
		x, ok := judge(d, p, r)
		if !ok {
			continue
		}
		x.Affects, x.Since = []netip.Addr{d.Addr}, p.Started
		e := closedEvidence(f, d)
		if d.Outcome == facts.Refused {
			e.Text = fmt.Sprintf("%s: refused, by the kernel in the container", at(f, d.Addr))
			x.Stage = StageListen
		}
		x.Evidence = append([]Evidence{e}, containerEvidence(f, p)...)
		if x.Certainty == Proven && !p.sure() {
			x.Certainty, x.Settle = Inferred, settleAsRoot(f)
		}
		fs = append(fs, x)
	}
	return mergeAddresses(f, fs)
}

// settleAsRoot has the one who looked without privileges look with them.
func settleAsRoot(f *facts.Facts) string {
	if privileged(f) || !sayableWord(f.Target.Raw) {
		return ""
	}
	return "sudo loopdoctor " + f.Target.Raw
}

var containerBindsLoopback = &Check{
	Name:     "container-binds-loopback",
	Doc:      "the server in the container listens on the container's own loopback only, where published connections do not arrive",
	Stage:    StageAnswer, // or where NAT leads into the container, and its kernel refuses
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupForwards, facts.GroupFilters, facts.GroupLedger},
	Explains: []*Check{closedAtOnce, refused, noAnswer},
	Refines:  []*Check{forwarderAcceptsBackendDead, answeredElsewhere, natHijacksLoopback, filterRejectsLoopback, lostOnOutput},
	Run: func(f *facts.Facts) []Finding {
		return turnedAwayInside(f, func(d facts.Dial, p *containerPort, r *room) (Finding, bool) {
			if len(r.own) == 0 || len(r.narrow) > 0 {
				return Finding{}, false
			}
			return Finding{Certainty: Proven,
				Summary: fmt.Sprintf("%s is published from %s, and %s listens on %s only, the container's own loopback: what is published arrives at %s.", at(f, d.Addr), theContainer(p.Container), its(p.Container), r.own[0].Local, p.to()),
				Fixes:   listenFixes(f, p.Container, p.Inside.Processes, p.Port.Port)}, true
		})
	},
}

var containerNothingListens = &Check{
	Name:     "container-nothing-listens",
	Doc:      "the port is published by NAT alone, and nothing in the container listens on it: its kernel refuses",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupForwards, facts.GroupFilters, facts.GroupLedger},
	Explains: []*Check{refused},
	Refines:  []*Check{answeredElsewhere, natHijacksLoopback, filterRejectsLoopback, lostOnOutput},
	Run: func(f *facts.Facts) []Finding {
		return turnedAwayInside(f, func(d facts.Dial, p *containerPort, r *room) (Finding, bool) {
			if d.Outcome != facts.Refused || len(r.own)+len(r.narrow) > 0 {
				return Finding{}, false
			}
			x := Finding{Certainty: Proven, Summary: fmt.Sprintf("%s is published from %s: NAT leads it to %s, and nothing listens there.", at(f, d.Addr), theContainer(p.Container), p.to())}
			startInside(p, r, &x)
			return x, true
		})
	},
}

var publishedOnV6AppOnV4 = &Check{
	Name:     "published-on-v6-app-on-v4",
	Doc:      "the port is published for IPv6 as well, and the server in the container listens for IPv4 only",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupForwards},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupContainers},
	Explains: []*Check{closedAtOnce, refused, noAnswer},
	Refines:  []*Check{forwarderAcceptsBackendDead},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if d.Closed == "" || !d.Addr.Is6() {
				continue
			}
			for _, w := range waysOn(f, d.Addr) {
				if x, ok := v4Behind(f, d, w); ok {
					x.Affects, x.Since = []netip.Addr{d.Addr}, w.Started
					x.Evidence = append([]Evidence{closedEvidence(f, d)}, x.Evidence...)
					fs = append(fs, x)
				}
			}
		}
		return mergeAddresses(f, fs)
	},
}

// v4Behind: the way for IPv6 ends at an IPv6 address of the container. That nobody
// listens there is seen; or the way for IPv4 works, and this one does not.
func v4Behind(f *facts.Facts, d facts.Dial, w facts.Forward) (Finding, bool) {
	to, err := netip.ParseAddrPort(w.To)
	if err != nil || !to.Addr().Is6() || w.Kind != "docker-proxy" && w.Kind != "rootlessport" {
		return Finding{}, false
	}
	x := Finding{Certainty: Inferred, Evidence: wayEvidence(f, w)}
	at4 := at(f, v4Loopback)
	x.Fixes = []Fix{{Do: fmt.Sprintf("Let the client use %s.", at4)},
		{Do: fmt.Sprintf("Publish the port for IPv4 alone: `-p 127.0.0.1:%d:%d`, or the same under ports: of the compose file.", f.Target.Port, to.Port()), Interrupts: "the container is made again"},
		{Do: fmt.Sprintf("Let the server in the container listen on [::]:%d, which takes both families.", to.Port()), Interrupts: "the container is restarted"}}
	if p := endOf(f, w); p != nil {
		r := p.room()
		if r != nil && (len(r.takes) > 0 || len(r.narrow) == 0) {
			return Finding{}, false
		}
		if r != nil {
			x.Certainty = cond(p.sure(), Proven, Inferred)
			x.Evidence = append(x.Evidence, insideEvidence(p.Container)...)
			x.Summary = fmt.Sprintf("%s is published from %s for IPv6 as well and leads to %s, but %s listens on %s only.", at(f, d.Addr), theContainer(p.Container), to, its(p.Container), r.narrow[0].Local)
			return x, true
		}
	}
	ways := waysOn(f, v4Loopback)
	fine := slices.ContainsFunc(f.Dials, func(o facts.Dial) bool { return o.Addr == v4Loopback && o.Outcome.Works() && o.Closed == "" })
	if len(ways) == 0 || ways[0].Kind != w.Kind || !fine {
		return Finding{}, false
	}
	x.Summary = fmt.Sprintf("%s leads %s to %s, where nothing answers, while %s works: the server in the container seems to listen for IPv4 only.", onwards(f, w), at(f, d.Addr), to, at4)
	x.Settle = settleAsRoot(f)
	return x, true
}

// deadInContainer says of a forwarder's dead end that it is a container, and who listens
// in there: nobody on this port, or somebody who closes himself.
func deadInContainer(f *facts.Facts, d facts.Dial, w facts.Forward, x *Finding) bool {
	p := endOf(f, w)
	if p == nil {
		return false
	}
	r := p.room()
	if r == nil {
		return false
	}
	x.Evidence = insideEvidence(p.Container)
	if len(r.takes) > 0 {
		x.Summary = fmt.Sprintf("%s takes %s to %s of %s, where a server listens, and closes at once (%s): it is closed in there, or the server came up just now.", onwards(f, w), at(f, d.Addr), w.To, theContainer(p.Container), d.Closed)
		x.Fixes = []Fix{{Do: fmt.Sprintf("Connect once more, and %s.", readItsLog(p.Container))}}
		return true
	}
	x.Certainty = cond(p.sure(), Proven, Inferred)
	if x.Certainty == Inferred {
		x.Settle = settleAsRoot(f)
	}
	x.Summary = fmt.Sprintf("%s takes %s to %s of %s, and nothing listens there.", onwards(f, w), at(f, d.Addr), w.To, theContainer(p.Container))
	startInside(p, r, x)
	return true
}

// startInside adds what helps where nothing in the container listens on the port.
func startInside(p *containerPort, r *room, x *Finding) {
	x.Fixes = []Fix{{Do: fmt.Sprintf("Start the server in %s, or wait until it is ready: %s.", containerCalled(p.Container), readItsLog(p.Container))}}
	// Another port, and its own loopback as well: which of its servers is meant is not known.
	if i := slices.IndexFunc(p.Inside.Listeners, func(s facts.Socket) bool {
		a := s.Local.Addr().Unmap()
		return a.IsLoopback() && a != dockerDNS && s.Local.Port() != p.to().Port()
	}); i >= 0 && len(r.others) == 0 {
		on := p.Inside.Listeners[i].Local
		x.Summary = strings.TrimSuffix(x.Summary, ".") + fmt.Sprintf("; what listens in it is at %s, its own loopback and another port.", on)
		x.Fixes = append([]Fix{{Do: fmt.Sprintf("If that is the server that is meant, let it listen on 0.0.0.0:%d instead of %s, where what is published arrives.", p.to().Port(), on), Interrupts: "the server, which is started anew"}}, x.Fixes...)
	}
}

// readItsLog has a person read what the server in a container says.
func readItsLog(c *facts.Container) string {
	if words := onContainer(c, "logs", "--tail", "20"); words != nil {
		return fmt.Sprintf("see what it says (`%s`)", strings.Join(words, " "))
	}
	return "see what its log says"
}
