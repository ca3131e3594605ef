package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Which container is behind the port. Every check about containers asks here, so that
// two of them never blame two containers for one connection.

// containerPort is a container, and its publication that takes what is sent to an address.
type containerPort struct {
	*facts.Container
	Port facts.Publication
	Way  *facts.Forward // the forwarder that takes it there; nil: none is seen
}

// publishedAt finds the container that an engine put behind an address of the target.
// Nil: none is, or more than one may be. What is seen to hold the port has to be an
// engine's; where a proxy's arguments are seen, they decide.
func publishedAt(f *facts.Facts, a netip.Addr) *containerPort {
	return publishedBy(f, serving(f, a), waysOn(f, a), func(h netip.Addr) bool { return h.Is4() == a.Is4() && (h == a || h.IsUnspecified()) })
}

// publishedOn is the same for one listener.
func publishedOn(f *facts.Facts, s facts.Socket) *containerPort {
	a := s.Local.Addr().Unmap()
	ways := slices.DeleteFunc(waysOn(f, a), func(w facts.Forward) bool { return w.Listen.Addr().IsValid() && w.Listen.Addr().Unmap() != a })
	return publishedBy(f, []facts.Socket{s}, ways, func(h netip.Addr) bool { return h == a })
}

func publishedBy(f *facts.Facts, ls []facts.Socket, ways []facts.Forward, takes func(netip.Addr) bool) *containerPort {
	if f.Containers == nil || f.Target.Network != "tcp" {
		return nil
	}
	for _, s := range ls {
		if ps := f.Owners.Of(s); len(ps) > 0 && !slices.ContainsFunc(ps, facts.Process.HoldsForContainers) {
			return nil
		}
	}
	for _, w := range ways {
		if p := endOf(f, w); p != nil {
			return p
		}
	}
	if f.Owners == nil && len(ls) > 0 {
		return nil // it may be another program that has the port
	}
	var found []containerPort
	for i := range f.Containers.Found {
		c := &f.Containers.Found[i]
		for _, p := range c.Ports {
			if lives(c) && !p.UDP && p.Host.Port() == f.Target.Port && takes(p.Host.Addr().Unmap()) {
				found = append(found, containerPort{c, p, nil})
				break
			}
		}
	}
	if len(found) != 1 {
		return nil
	}
	return &found[0]
}

// endOf finds the container to whose address a proxy leads.
func endOf(f *facts.Facts, w facts.Forward) *containerPort {
	to, err := netip.ParseAddrPort(w.To)
	if err != nil || f.Containers == nil {
		return nil
	}
	for i := range f.Containers.Found {
		c := &f.Containers.Found[i]
		if lives(c) && slices.Contains(c.Addresses, to.Addr()) {
			return &containerPort{c, facts.Publication{Host: netip.AddrPortFrom(w.Listen.Addr(), f.Target.Port), Port: to.Port()}, &w}
		}
	}
	return nil
}

// lives tells whether processes of the container are there.
func lives(c *facts.Container) bool {
	return c.State == "running" || c.State == "paused" || c.State == "" && c.PID != 0
}

// sure tells whether it is known that the port is published so: the engine says it, or
// the proxy is seen to hold the port.
func (p *containerPort) sure() bool { return p.State != "" || p.Way != nil && p.Way.Held }

// to is where what comes in arrives in the container.
func (p *containerPort) to() netip.AddrPort {
	if p.Way != nil {
		if to, err := netip.ParseAddrPort(p.Way.To); err == nil {
			return to
		}
	}
	for _, a := range p.Addresses {
		if a.Is4() == p.Port.Host.Addr().Unmap().Is4() {
			return netip.AddrPortFrom(a, p.Port.Port)
		}
	}
	if len(p.Addresses) > 0 {
		return netip.AddrPortFrom(p.Addresses[0], p.Port.Port)
	}
	return netip.AddrPortFrom(netip.Addr{}, p.Port.Port)
}

// room is who listens in a container, as what comes in for one port sees it.
type room struct {
	takes  []facts.Socket // it, where it arrives
	own    []facts.Socket // on its port, on the container's own loopback
	narrow []facts.Socket // on its port, at another address or in the other family
	others []facts.Socket // on other ports, where it arrives
}

// room is nil if nobody could look into the container.
func (p *containerPort) room() *room {
	if p.Inside == nil || p.Inside.Partial != "" && len(p.Inside.Listeners) == 0 {
		return nil
	}
	to, r := p.to(), &room{}
	for _, s := range p.Inside.Listeners {
		a := s.Local.Addr().Unmap()
		reached := s.Serves(to.Addr()) || !to.Addr().IsValid() && !a.IsLoopback()
		switch {
		case s.Device != "" || a == dockerDNS:
		case s.Local.Port() != to.Port() && reached:
			r.others = append(r.others, s)
		case s.Local.Port() != to.Port():
		case reached:
			r.takes = append(r.takes, s)
		case a.IsLoopback():
			r.own = append(r.own, s)
		default:
			r.narrow = append(r.narrow, s)
		}
	}
	return r
}

// dockerDNS is where Docker puts its name server into each container's namespace.
var dockerDNS = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// theContainer names a container: "the container shop-web (docker, image shop, service
// web of project shop)".
func theContainer(c *facts.Container) string {
	var more []string
	for _, s := range []string{c.Engine, cond(c.Image != "", "image "+tame(c.Image, 64), ""), cond(c.Service != "", "service "+tame(c.Service, 64)+cond(c.Project != "", " of project "+tame(c.Project, 64), ""), "")} {
		if s != "" {
			more = append(more, s)
		}
	}
	name := tame(c.Name, 64)
	if name == "" {
		name = tame(c.ID, 64)
	}
	return fmt.Sprintf("the container %s (%s)", name, strings.Join(more, ", "))
}

// its names the server in a container, as far as one alone is seen.
func its(c *facts.Container) string {
	if c.Inside != nil && len(c.Inside.Processes) == 1 {
		p := c.Inside.Processes[0]
		return fmt.Sprintf("its %s (pid %d)", tame(p.Name, 32), p.PID)
	}
	return "its server"
}

// containerEvidence quotes what says that the port is the container's, and who listens
// in there.
func containerEvidence(f *facts.Facts, p *containerPort) []Evidence {
	var es []Evidence
	switch {
	case p.Way != nil:
		es = wayEvidence(f, *p.Way)
	case p.State != "":
		es = []Evidence{{p.Engine, fmt.Sprintf("%s: publishes %s as %s", theContainer(p.Container), p.to(), p.Port.Host)}}
	default:
		es = []Evidence{{p.Engine, fmt.Sprintf("%s: %s", theContainer(p.Container), p.By)}}
	}
	return append(es, insideEvidence(p.Container)...)
}

// insideEvidence quotes the listeners of a container.
func insideEvidence(c *facts.Container) []Evidence {
	if c.Inside == nil {
		return nil
	}
	var on []string
	for _, s := range c.Inside.Listeners {
		if s.Local.Addr().Unmap() != dockerDNS && len(on) < 8 {
			on = append(on, s.Local.String())
		}
	}
	return []Evidence{{"in the container", cond(len(on) == 0, "nothing listens", "tcp listen "+strings.Join(on, ", "))}}
}
