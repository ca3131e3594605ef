package checks

import (
	"cmp"
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
	Way  *facts.Forward // the forwarder that takes it there, if there is one
}

// engineHolders are the programs that hold a published port. dockerd and conmon hold it
// alone and take nothing: there NAT leads the connections into the container.
var engineHolders = []string{"docker-proxy", "dockerd", "conmon", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "pasta.avx2", "podman"}

// publishedAt finds the container that an engine put behind an address of the target.
// Nil: none is, or more than one may be. What is seen to hold the port has to be an
// engine's; where a proxy's arguments are seen, they decide.
func publishedAt(f *facts.Facts, a netip.Addr) *containerPort {
	if f.Containers == nil || f.Target.Network != "tcp" {
		return nil
	}
	for _, s := range serving(f, a) {
		if ps := f.Owners.Of(s); len(ps) > 0 && !slices.ContainsFunc(ps, ofEngine) {
			return nil
		}
	}
	for _, w := range waysOn(f, a) {
		if p := endOf(f, w); p != nil {
			return p
		}
	}
	var found []containerPort
	for i := range f.Containers.Found {
		c := &f.Containers.Found[i]
		for _, p := range c.Ports {
			if lives(c) && takes(p, f.Target.Port, a) {
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

func ofEngine(p facts.Process) bool { return slices.Contains(engineHolders, p.Name) }

// lives tells whether processes of the container are there.
func lives(c *facts.Container) bool {
	return c.State == "running" || c.State == "paused" || c.State == "" && c.PID != 0
}

// takes tells whether a publication takes what is sent to the port at the address.
func takes(p facts.Publication, port uint16, a netip.Addr) bool {
	h := p.Host.Addr().Unmap()
	return !p.UDP && p.Host.Port() == port && h.Is4() == a.Is4() && (h == a || h.IsUnspecified())
}

// endOf finds the container to whose address a proxy leads.
func endOf(f *facts.Facts, w facts.Forward) *containerPort {
	to, err := netip.ParseAddrPort(w.To)
	if err != nil {
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

// theContainer names a container: "the container shop-web (docker, image shop, service web of project shop)".
func theContainer(c *facts.Container) string {
	more := []string{c.Engine}
	if c.Image != "" {
		more = append(more, "image "+short(c.Image))
	}
	if c.Service != "" {
		more = append(more, "service "+short(c.Service)+cond(c.Project != "", " of project "+short(c.Project), ""))
	}
	return fmt.Sprintf("the container %s (%s)", handleOf(c), strings.Join(more, ", "))
}

// handleOf is the shortest name by which a container is known.
func handleOf(c *facts.Container) string {
	return short(cmp.Or(c.Name, c.ID, fmt.Sprintf("of pid %d", c.PID)))
}
