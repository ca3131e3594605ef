package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netns"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/rtnetlink"
)

// What is seen of containers without their engine, and what is in them. Nothing in a
// container is ever connected to.

// withoutEngine adds the containers that no engine told of: those to which a
// docker-proxy leads, those in whose namespaces somebody listens on the port, and those
// that hold the port here.
func (b *boxes) withoutEngine() {
	b.proxied()
	for _, o := range b.occupants {
		if slices.Contains(b.listening, o.ID[:12]) {
			b.addOccupant(o, "", nil)
		}
	}
	b.holding()
}

// proxied finds the containers of the docker-proxies that take the port.
func (b *boxes) proxied() {
	t := b.f.Target
	addrs := map[uint64][]netip.Addr{} // by namespace
	for _, p := range b.census.Programs {
		if len(b.found.Found) >= maxContainers {
			b.found.Partial = "not every container (there are too many)"
			return
		}
		x, ok := process.ParseProxy(p.Args)
		if !ok || !p.Credible(b.users) || x.Host.Port() != t.Port || x.UDP != (t.Network == "udp") {
			continue
		}
		pub := facts.Publication{Host: x.Host, Port: x.Container.Port(), UDP: x.UDP}
		by := fmt.Sprintf("arguments of %s (pid %d)", p.Name, p.PID)
		var at []process.Occupant
		for _, o := range b.occupants {
			id := b.netns[o.PID]
			if id == 0 || id == netns.Mine() {
				continue
			}
			if addrs[id] == nil {
				addrs[id] = append([]netip.Addr{}, netns.Addresses(o.PID)...)
			}
			if slices.Contains(addrs[id], x.Container.Addr()) {
				at = append(at, o)
			}
		}
		at = firstOfEach(at, b.netns)
		switch {
		case len(at) == 1:
			b.addOccupant(at[0], by, &pub)
		case !slices.ContainsFunc(b.found.Found, func(c facts.Container) bool { return slices.Contains(c.Ports, pub) }):
			// Whose address it is cannot be seen, or two engines have a container there.
			b.found.Found = append(b.found.Found, facts.Container{Engine: "docker", Publish: publish(pub), Ports: []facts.Publication{pub},
				Addresses: []netip.Addr{x.Container.Addr()}, By: by})
		}
	}
}

// firstOfEach keeps the first container of each network namespace.
func firstOfEach(os []process.Occupant, netns map[int]uint64) []process.Occupant {
	seen := map[uint64]bool{}
	return slices.DeleteFunc(os, func(o process.Occupant) bool {
		before := seen[netns[o.PID]]
		seen[netns[o.PID]] = true
		return before
	})
}

// holding finds the containers whose own processes hold the port here, where the
// network is that of the host.
func (b *boxes) holding() {
	if b.f.Owners == nil || b.f.Sockets == nil {
		return
	}
	for _, s := range b.f.Sockets.Sockets {
		if s.Local.Port() != b.f.Target.Port || s.State != facts.Listen && s.State != facts.Bound {
			continue
		}
		for _, p := range b.f.Owners.Of(s) {
			for _, o := range b.occupants {
				if p.Container != "" && p.Container == shortContainer(o) {
					b.addOccupant(o, fmt.Sprintf("cgroup of %s (pid %d)", p.Name, p.PID), nil)
				}
			}
		}
	}
}

func shortContainer(o process.Occupant) string { return o.Engine + " " + o.ID[:12] }

// addOccupant adds a container, or adds to it what the engine did not say.
func (b *boxes) addOccupant(o process.Occupant, by string, pub *facts.Publication) {
	if by == "" {
		by = fmt.Sprintf("arguments of %s (pid %d)", o.Above.Name, o.Above.PID)
	}
	i := slices.IndexFunc(b.found.Found, func(c facts.Container) bool { return c.ID == o.ID[:12] })
	if i < 0 {
		b.add(facts.Container{Engine: o.Engine, ID: o.ID[:12], Name: o.Name, PID: o.PID, By: by})
		if i = len(b.found.Found) - 1; b.found.Found[i].ID != o.ID[:12] {
			return // there are too many
		}
		c := &b.found.Found[i]
		if p, err := process.Describe(o.PID); err == nil {
			c.Started = p.Started
			c.Rootless = o.Above.UID != 0
		}
		if b.netns[o.PID] == netns.Mine() {
			c.Network = "host"
		}
	}
	c := &b.found.Found[i]
	if pub != nil && c.State == "" && !slices.Contains(c.Ports, *pub) {
		c.Ports = append(c.Ports, *pub)
		if c.Publish == "" {
			c.Publish = publish(*pub)
		}
	}
}

func publish(p facts.Publication) string {
	kind := "tcp"
	if p.UDP {
		kind = "udp"
	}
	return fmt.Sprintf("%s->%d/%s", p.Host, p.Port, kind)
}

// lookInside looks into the network namespaces of the containers that run.
func (b *boxes) lookInside(ctx context.Context) {
	var pids []int
	for _, c := range b.found.Found {
		if c.PID != 0 {
			pids = append(pids, c.PID)
		}
	}
	if len(pids) == 0 {
		return
	}
	seen := netns.Look(ctx, pids)
	mine := netns.Mine()
	for i := range b.found.Found {
		c := &b.found.Found[i]
		in, ok := seen[c.PID]
		if !ok || in.ID == 0 {
			continue
		}
		x := &facts.Indoors{NetNS: in.ID, Here: in.ID == mine, Listeners: []facts.Socket{}, Processes: []facts.Process{}, Addresses: in.Addresses}
		together := process.Together(ctx, c.PID)
		switch {
		case x.Here:
			b.ours(ctx, x, together)
		case !in.Seen:
			x.Partial = "its sockets could not be read"
		default:
			x.Listeners = in.Listeners
			b.holders(ctx, x, together)
		}
		if len(x.Processes) == 0 {
			if p, err := process.Describe(c.PID); err == nil {
				x.Processes = append(x.Processes, p)
			}
		}
		if !x.Here {
			b.way(x)
		}
		c.Inside = x
		if c.Addresses == nil {
			c.Addresses = x.Addresses
		}
	}
}

// ours keeps those of our own listeners that the processes of the container hold.
func (b *boxes) ours(ctx context.Context, x *facts.Indoors, pids []int) {
	all, err := linuxListeners()
	if err != nil {
		x.Partial = "its sockets could not be read"
		return
	}
	owners, err := process.Among(ctx, tcpListeners(all), pids)
	if err != nil {
		return
	}
	for _, s := range tcpListeners(all) {
		if len(owners.Holders[s.Inode]) > 0 {
			x.Listeners = append(x.Listeners, s)
		}
	}
	if !owners.Visible && len(x.Listeners) == 0 {
		x.Partial = "which of our sockets it holds needs root"
	}
	x.Processes = append(x.Processes, owners.Processes...)
}

// holders finds who holds the listeners: most likely a process of the container, else
// one that shares its namespace.
func (b *boxes) holders(ctx context.Context, x *facts.Indoors, pids []int) {
	owners, err := process.Among(ctx, x.Listeners, pids)
	if err != nil {
		return
	}
	x.Processes = append(x.Processes, owners.Processes...)
	if len(owners.Holders) < len(x.Listeners) {
		var others []int
		for _, o := range b.occupants {
			if b.netns[o.PID] == x.NetNS && !slices.Contains(pids, o.PID) {
				others = append(others, process.Together(ctx, o.PID)...)
			}
		}
		if more, err := process.Among(ctx, x.Listeners, others); err == nil {
			x.Processes = append(x.Processes, more.Processes...)
		}
	}
}

// way finds the device through which the container is reached from here, if it is on
// one: an address may be that of another network behind the default route.
func (b *boxes) way(x *facts.Indoors) {
	c, err := rtnetlink.Open()
	if err != nil {
		return
	}
	defer c.Close()
	for _, a := range x.Addresses {
		_, device, local := c.Way(netip.Addr{}, a, b.f.Host.As[0].UID, 0)
		if device == "" || local || !b.onLink(device, a) {
			continue
		}
		x.Bridge = device
		if a.Is4() {
			x.RouteLocalnet = routeLocalnet(device)
		}
		return
	}
}

// onLink tells whether the device has an address of the same network.
func (b *boxes) onLink(device string, a netip.Addr) bool {
	return b.f.Interfaces != nil && slices.ContainsFunc(b.f.Interfaces.Others, func(i facts.Interface) bool {
		return i.Name == device && slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}
