package checks

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A container has the service, and its port is not published, or the wrong one is.

var containerPortNotPublished = &Check{
	Name:     "container-port-not-published",
	Doc:      "the service is in a container whose port is not published to this machine, or another port of it is",
	Stage:    StageListen, // or where the wrong one is published: then it opens and closes
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupOwners, facts.GroupForwards, facts.GroupNamespaces, facts.GroupUnits, facts.GroupCandidates, facts.GroupConfigs, facts.GroupFilters, facts.GroupLedger},
	Explains: []*Check{refused, closedAtOnce, noAnswer},
	Refines:  []*Check{noListener, otherNetworkNamespace, forwarderAcceptsBackendDead, containerNothingListens, answeredElsewhere, natHijacksLoopback, filterRejectsLoopback, lostOnOutput},
	Run: func(f *facts.Facts) []Finding {
		if f.Host.Inside.InContainer() {
			return nil // what is published is so on the host: localhost-inside-container
		}
		if x, ok := unpublished(f); ok {
			return []Finding{x}
		}
		return turnedAwayInside(f, func(d facts.Dial, p *containerPort, r *room) (Finding, bool) {
			if len(r.own)+len(r.narrow) > 0 || len(r.others) == 0 {
				return Finding{}, false
			}
			// A server that has a port of its own on this machine is not meant by this one. And
			// the right one may be the one that is not there.
			r.others = slices.DeleteFunc(r.others, func(s facts.Socket) bool {
				return slices.ContainsFunc(p.Container.Ports, func(o facts.Publication) bool { return o.Host.Port() != 0 && o.Port == s.Local.Port() && !o.UDP })
			})
			if len(r.others) == 0 {
				return Finding{}, false
			}
			x := Finding{Stage: StageAnswer, Certainty: Inferred, Fixes: publishFixes(f, p.Container, f.Target.Port, r.others[0].Local.Port())}
			x.Summary = fmt.Sprintf("%s is published to port %d of %s, where nothing listens: %s listens on port %d.", at(f, d.Addr), p.Port.Port, theContainer(p.Container), its(p.Container), r.others[0].Local.Port())
			return x, true
		})
	},
}

// unpublished finds the container that has the service, where nothing on this machine
// listens on the port. It has to be the only one, or of the project of whoever asks. Of
// one that only its processes tell, its engine may have another one that is meant.
func unpublished(f *facts.Facts) (Finding, bool) {
	none := abandoned(f)
	if len(none) == 0 {
		return Finding{}, false
	}
	var all, kin []*facts.Container
	for i := range f.Containers.Found {
		c := &f.Containers.Found[i]
		if lives(c) && (serves(f, c) || hostMode(f, c)) {
			all = append(all, c)
			if inComposeProject(f, c) {
				kin = append(kin, c)
			}
		}
	}
	switch {
	case len(kin) == 1:
	case len(kin) == 0 && len(all) == 1 && !rivals(f, all[0]) && (all[0].State != "" || !refusesWord(f)):
		kin = all
	default:
		return Finding{}, false
	}
	c := kin[0]
	x := Finding{Affects: none, Certainty: Inferred, Since: c.Started, Evidence: insideEvidence(c)}
	if hostMode(f, c) {
		l := outermost(c)
		x.Summary = fmt.Sprintf("Nothing listens on port %d: %s has the network mode host, in which -p is ignored, and %s listens on port %d itself.", f.Target.Port, theContainer(c), its(c), l.Local.Port())
		x.Fixes = append([]Fix{{Do: fmt.Sprintf("Connect to port %d.", l.Local.Port())}}, publishFixes(f, c, f.Target.Port, l.Local.Port())...)
		x.Evidence = append(x.Evidence, Evidence{c.Engine, "network mode host"})
		return x, true
	}
	inner := f.Target.Port
	x.Summary = fmt.Sprintf("Nothing listens on port %d of this machine: it is %s that %s it, and does not publish it.", inner, theContainer(c), cond(c.Inside == nil, "exposes", "has"))
	said := ""
	for _, p := range c.Ports {
		switch {
		case p.UDP || p.Port != inner:
		case p.Host.Port() == 0:
			said = "exposes it, which opens nothing"
		default:
			there := cond(p.Host.Addr().IsUnspecified(), "localhost", p.Host.Addr().String())
			x.Summary = fmt.Sprintf("Nothing listens on port %d of this machine: %s publishes it on port %d.", inner, theContainer(c), p.Host.Port())
			x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Connect to %s:%d.", there, p.Host.Port())})
		}
	}
	if said != "" && len(x.Fixes) == 0 {
		x.Evidence = append(x.Evidence, Evidence{c.Engine, said})
	}
	x.Fixes = append(x.Fixes, publishFixes(f, c, inner, inner)...)
	if in := c.Inside; in != nil && len(in.At(inner)) > 0 && !in.Serves(inner) {
		x.Summary = strings.TrimSuffix(x.Summary, ".") + ", and listens on its own loopback only."
		x.Fixes = append(x.Fixes, listenFixes(f, c, in.Processes, inner)...)
	}
	return x, true
}

// refusesWord tells whether an engine could not be asked.
func refusesWord(f *facts.Facts) bool {
	return slices.ContainsFunc(f.Containers.Engines, func(e facts.Engine) bool { return e.Error != "" })
}

// serves tells whether the container has the target's port: it listens on it, or, if
// nobody could look inside, it says so (EXPOSE).
func serves(f *facts.Facts, c *facts.Container) bool {
	if c.Inside == nil {
		return slices.ContainsFunc(c.Ports, func(p facts.Publication) bool { return !p.UDP && p.Port == f.Target.Port })
	}
	return !c.Inside.Here && len(c.Inside.At(f.Target.Port)) > 0
}

// hostMode tells whether the container was to publish the port and has the host's
// network, in which that means nothing.
func hostMode(f *facts.Facts, c *facts.Container) bool {
	return c.Network == "host" && c.Inside != nil && outermost(c) != nil &&
		slices.ContainsFunc(c.Ignored, func(p facts.Publication) bool { return !p.UDP && p.Host.Port() == f.Target.Port })
}

// outermost is the one listener of a container that its processes hold; nil if there are
// several.
func outermost(c *facts.Container) *facts.Socket {
	if len(c.Inside.Listeners) != 1 {
		return nil
	}
	return &c.Inside.Listeners[0]
}

// rivals tells whether other network namespaces have the port as well.
func rivals(f *facts.Facts, c *facts.Container) bool {
	return claimed(f, facts.Room{Kind: "container", ID: c.ID}) || f.Namespaces != nil && slices.ContainsFunc(f.Namespaces.Found, func(n facts.Namespace) bool {
		return c.Inside == nil || n.ID != c.Inside.NetNS
	})
}

// claimed tells whether something else than that room has to do with the port, as far as
// that was seen: a unit, another container that publishes it, a process that names it, a
// line of a configuration.
func claimed(f *facts.Facts, by facts.Room) bool {
	return f.Units != nil && slices.ContainsFunc(f.Units.Units, func(u facts.Unit) bool { return by.Kind != "unit" || !isUnit(u, by) }) ||
		f.Containers != nil && slices.ContainsFunc(f.Containers.Found, func(c facts.Container) bool { return c.Publish != "" && c.ID != by.ID }) ||
		f.Candidates != nil && slices.ContainsFunc(f.Candidates.Found, func(c facts.Candidate) bool { return !c.Me && len(c.Names) > 0 }) ||
		f.Configs != nil && slices.ContainsFunc(f.Configs.Lines, func(l facts.ConfigLine) bool { return l.Port == f.Target.Port && !l.UDP })
}

// inComposeProject tells whether the container is of the compose project in whose directory
// loopdoctor was started.
func inComposeProject(f *facts.Facts, c *facts.Container) bool {
	if c.Dir == "" || f.Host.Cwd == "" || path.Clean(c.Dir) == "/" {
		return false
	}
	return f.Host.Cwd == path.Clean(c.Dir) || strings.HasPrefix(f.Host.Cwd, path.Clean(c.Dir)+"/")
}

// publishedElsewhere: the port is published, on another address of this machine only.
func publishedElsewhere(f *facts.Facts, s facts.Socket, p *containerPort, none []netip.Addr) []Finding {
	x := Finding{Affects: none, Certainty: Proven, Since: since(f, s), Evidence: append([]Evidence{socketEvidence(f, s)}, containerEvidence(f, p)...),
		Summary: fmt.Sprintf("%s is published from %s on %s only, not on %s.", fmt.Sprintf("Port %d", f.Target.Port), theContainer(p.Container), s.Local.Addr(), none[0]),
		Fixes:   []Fix{{Do: fmt.Sprintf("Let the client use %s.", s.Local)}}}
	x.Fixes = append(x.Fixes, publishFixes(f, p.Container, f.Target.Port, p.to().Port())...)
	return []Finding{x}
}
