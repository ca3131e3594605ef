package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netns"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// Where NAT alone leads into a container, only the engine and the rules say so, and both
// are for root. The far end of a connection is for everybody: NAT changes the addresses,
// and leaves the client its port where that is free.

// met adds the container in which connections of this machine to the target end, where
// nobody else told of one.
func (b *boxes) met(ctx context.Context) {
	if len(b.found.Found) > 0 || b.f.Target.Network != "tcp" {
		return
	}
	// Once more: our own connections are newer than the first look.
	now, err := linuxSockets(b.f.Target.Port)
	if err != nil {
		return
	}
	ours := ledElsewhere(b.f.Target, now.Sockets)
	if len(ours) == 0 {
		return
	}
	type end struct {
		o     process.Occupant
		ours  netip.AddrPort // where it was sent to
		there facts.Socket
	}
	var ends []end
	seen := map[uint64]bool{0: true, netns.Mine(): true}
	for _, o := range b.occupants {
		id := b.netns[o.PID]
		if seen[id] || len(seen) > maxContainers {
			continue
		}
		seen[id] = true
		ss, err := netns.Connections(ctx, o.PID, id)
		if err != nil {
			continue
		}
		for _, s := range ss {
			if to, ok := farEndOf(b.f, ours, s); ok {
				ends = append(ends, end{o, to, s})
				break
			}
		}
	}
	if len(ends) != 1 {
		return // by its port alone it may be another connection
	}
	x := ends[0]
	there := netip.AddrPortFrom(x.there.Local.Addr().Unmap(), x.there.Local.Port())
	b.addOccupant(x.o, fmt.Sprintf("it has the far end of a connection from port %d, at %s", x.there.Remote.Port(), there), &facts.Publication{Host: x.ours, Port: there.Port()})
	if len(b.found.Found) > 0 {
		b.found.Found[0].Reached = there
	}
}

// ledElsewhere is where each connection of this machine to the target was sent to, by the
// port of the client, if its server's side is not in this network namespace.
func ledElsewhere(t facts.Target, all []facts.Socket) map[uint16]netip.AddrPort {
	ours := map[uint16]netip.AddrPort{}
	here := func(from, to netip.AddrPort) bool {
		return slices.ContainsFunc(all, func(s facts.Socket) bool {
			return s.State != facts.Listen && s.Local.Port() == to.Port() && s.Remote.Port() == from.Port()
		})
	}
	for _, s := range all {
		a := s.Remote.Addr().Unmap()
		if s.Network == "tcp" && s.State != facts.TimeWait && s.Remote.Port() == t.Port && expected(t, a) && !here(s.Local, s.Remote) {
			ours[s.Local.Port()] = netip.AddrPortFrom(a, t.Port)
		}
	}
	return ours
}

// farEndOf tells whether a socket of another namespace is the far end of one of these: it
// talks with an address of this machine, and with the client's port.
func farEndOf(f *facts.Facts, ours map[uint16]netip.AddrPort, s facts.Socket) (to netip.AddrPort, ok bool) {
	to, ok = ours[s.Remote.Port()]
	if !ok || s.State == facts.TimeWait || s.State == facts.Listen || f.Interfaces == nil {
		return to, false
	}
	a := s.Remote.Addr().Unmap()
	return to, !a.IsLoopback() && slices.ContainsFunc(f.Interfaces.Others, func(i facts.Interface) bool {
		return slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr().Unmap() == a })
	})
}
