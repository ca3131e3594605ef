package checks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The connection comes to the container, and nobody in there takes it.

// pausedBehind finds the containers that are paused behind their engine's proxy, or
// behind NAT: a connection comes up, since the kernel in there makes it, and nothing
// is said. Once nobody took as many as the accept queue holds, none comes up any more.
func pausedBehind(f *facts.Facts) []Finding {
	var fs []Finding
	for _, a := range unheard(f) {
		if p := publishedAt(f, a.Addr); isHalted(p) {
			x := pausedFinding(f, p)
			x.Affects, x.Stage = []netip.Addr{a.Addr}, StageAnswer
			x.Summary = fmt.Sprintf("%s is published from %s, which is paused: the connection comes up, and nobody answers.", at(f, a.Addr), theContainer(p.Container))
			x.Evidence = append([]Evidence{heard(a)}, x.Evidence...)
			fs = append(fs, x)
		}
	}
	for _, k := range lostInsides(f) {
		if isHalted(k.p) {
			x := k.tell(f, pausedFinding(f, k.p))
			x.Summary = fmt.Sprintf("%s is published from %s, which is paused: no connection comes up%s.", at(f, k.d.Addr), theContainer(k.p.Container), cond(k.full != nil, ", since its accept queue is full of those that nobody took", ""))
			if k.full == nil {
				x.Certainty, x.Settle = Inferred, settleHolder(f, facts.Forward{}) // a rule may lose them as well
			}
			fs = append(fs, x)
		}
	}
	return mergeAddresses(f, fs)
}

// isHalted tells whether a container is paused.
func isHalted(p *containerPort) bool {
	return p != nil && (p.State == "paused" || isFrozen(p.Container))
}

func isFrozen(c *facts.Container) bool {
	return c.Inside != nil && slices.ContainsFunc(c.Inside.Processes, func(x facts.Process) bool { return x.Halted() == "frozen" })
}

func pausedFinding(f *facts.Facts, p *containerPort) Finding {
	x := Finding{Certainty: cond(p.sure(), Proven, Inferred), Evidence: containerEvidence(f, p)}
	if p.State == "paused" {
		x.Evidence = append(x.Evidence, Evidence{p.Engine, tame(p.Status, 100)})
	} else {
		x.Evidence = append(x.Evidence, Evidence{"process", "its cgroup is frozen"})
	}
	fix := Fix{Do: fmt.Sprintf("Unpause %s.", containerCalled(p.Container)), Elevated: !p.Rootless, Lasts: UntilReboot}
	if on, off := onContainer(p.Container, "unpause"), onContainer(p.Container, "pause"); on != nil {
		fix.Steps, fix.Undo = [][]string{on}, [][]string{off}
	}
	x.Fixes = []Fix{fix}
	if x.Certainty == Inferred {
		x.Settle = settleHolder(f, facts.Forward{})
	}
	return x
}

// lostInside is a connection that NAT alone leads into a container, and that gets no answer.
type lostInside struct {
	d    facts.Dial
	p    *containerPort
	full *facts.Socket // the listener in there whose queue is full
}

func lostInsides(f *facts.Facts) []lostInside {
	var ks []lostInside
	for _, d := range f.Dials {
		if d.Outcome != facts.Timeout {
			continue
		}
		p, _ := byNATAlone(f, d.Addr)
		if p == nil {
			continue
		}
		if !wentAway(f, d) || p.Inside != nil && p.Inside.RouteLocalnet != nil && !*p.Inside.RouteLocalnet && d.Addr.IsLoopback() {
			continue // they are lost before they come to it
		}
		k := lostInside{d: d, p: p}
		if r := p.room(); r != nil {
			if i := slices.IndexFunc(r.takes, func(s facts.Socket) bool { return s.Queue.Full() }); i >= 0 {
				k.full = &r.takes[i]
			}
		}
		ks = append(ks, k)
	}
	return ks
}

// tell makes of a finding one about the connection. That it is lost where NAT leads it
// away is how a full queue looks from here.
func (k lostInside) tell(f *facts.Facts, x Finding) Finding {
	x.Affects, x.Stage = []netip.Addr{k.d.Addr}, StageWire
	if st, lost := lostAt(f, k.d); lost {
		x.Stage = st
	}
	x.Refines = []*Check{nodeportNotOnLoopback, natHijacksLoopback, lostOnOutput, lostOnWire}
	if k.full != nil {
		x.Evidence = append(x.Evidence, Evidence{"in the container", fmt.Sprintf("tcp listen %s, accept queue %d of %d", k.full.Local, k.full.Queue.Length, k.full.Queue.Limit)})
	}
	return x
}

// fullInside finds the containers behind NAT whose server does not take its connections.
func fullInside(f *facts.Facts) []Finding {
	var fs []Finding
	for _, k := range lostInsides(f) {
		if k.full == nil || isHalted(k.p) {
			continue
		}
		x := k.tell(f, Finding{Certainty: cond(k.p.sure(), Proven, Inferred), Since: k.p.Started, Evidence: containerEvidence(f, k.p)})
		x.Summary = fmt.Sprintf("%s is published from %s, and the accept queue of %s in there is full (%d waiting, limit %d): %s does not take its connections, and the kernel drops new ones.", at(f, k.d.Addr), theContainer(k.p.Container), k.full.Local, k.full.Queue.Length, k.full.Queue.Limit, its(k.p.Container))
		x.Fixes = []Fix{{Do: fmt.Sprintf("Find out what keeps it from accepting: %s.", readItsLog(k.p.Container))},
			restartFix(k.p.Container, fmt.Sprintf("Restart %s: that helps where it only got stuck.", containerCalled(k.p.Container)))}
		fs = append(fs, x)
	}
	return mergeAddresses(f, fs)
}
