package report

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// sockets joins sockets with their owners: listeners first, then by port and
// address.
func sockets(f *facts.Facts, ss *facts.Sockets) []Socket {
	if ss == nil {
		return nil
	}
	sorted := slices.Clone(ss.Sockets)
	slices.SortStableFunc(sorted, func(a, b facts.Socket) int {
		return cmp.Or(
			cmp.Compare(rank(a.State), rank(b.State)),
			cmp.Compare(a.Local.Port(), b.Local.Port()),
			cmp.Compare(a.Network, b.Network),
			a.Local.Addr().Compare(b.Local.Addr()),
			cmp.Compare(a.State, b.State),
			a.Remote.Compare(b.Remote),
		)
	})
	var out []Socket
	for _, s := range sorted {
		x := Socket{
			Network: cmp.Or(s.Network, "tcp"), Address: addr(s.Local.Addr()), Port: s.Local.Port(), State: s.State, UID: s.UID,
			V6Only: s.V6Only, Device: s.Device, Reach: reach(f.Interfaces, s),
		}
		if s.Remote.IsValid() && s.Remote.Port() != 0 {
			x.Remote = s.Remote.String()
		}
		if s.Queue != nil {
			x.AcceptQueue = &Queue{Length: s.Queue.Length, Limit: s.Queue.Limit}
		}
		if f.Owners != nil && s.Inode != 0 {
			for _, h := range f.Owners.Holders[s.Inode] {
				if p := f.Owners.Process(h.PID); p != nil {
					x.Processes = append(x.Processes, Process{
						PID: p.PID, Name: p.Name, Exe: p.Exe, User: p.User, Unit: p.Unit, Container: p.Container,
						Project: p.Project, From: p.From, Terminal: p.Terminal, Parents: ancestors(p.Parents),
						Since: p.Started, Attribution: h.Attribution,
					})
				}
			}
		}
		x.User = cmp.Or(userName(f, s.UID), s.User)
		out = append(out, x)
	}
	return out
}

func ancestors(as []facts.Ancestor) []Ancestor {
	var out []Ancestor
	for _, a := range as {
		out = append(out, Ancestor(a))
	}
	return out
}

func rank(s facts.State) int {
	return cmp.Or(slices.Index([]facts.State{facts.Listen, facts.Bound, facts.Established}, s)+1, 4)
}

// userName finds the name of a uid in what was seen; empty if it was not.
func userName(f *facts.Facts, uid uint32) string {
	if uid == 0 {
		return "root"
	}
	for _, id := range f.Host.As {
		if id.UID == uid && id.User != "" {
			return id.User
		}
	}
	if f.Owners != nil {
		for _, p := range f.Owners.Processes {
			if p.UID == uid && p.User != "" {
				return p.User
			}
		}
	}
	return ""
}

// reach tells who can reach a listener; nil for other sockets, and where the
// machine's addresses are not known.
func reach(ifs *facts.Interfaces, s facts.Socket) *Reach {
	open := s.State == facts.Listen || s.Network == "udp" && s.State == facts.Bound
	if !open || ifs == nil {
		return nil
	}
	a := s.Local.Addr().Unmap()
	lo := ifs.Loopback
	switch {
	case a.IsLoopback(), lo != nil && (s.Device == lo.Name || lo.Holds(a)):
		return &Reach{Scope: ScopeMachine}
	case s.Device != "":
		return &Reach{Scope: ScopeDevice, Addresses: through(ifs, s)}
	case a.IsUnspecified():
		if as := through(ifs, s); len(as) > 0 {
			return &Reach{Scope: ScopeEvery, Addresses: as}
		}
		return &Reach{Scope: ScopeMachine} // there is no other address
	}
	return &Reach{Scope: ScopeAddress, Addresses: []string{a.String()}}
}

// through lists the addresses of the other interfaces at which the socket
// listens, link-local ones last.
func through(ifs *facts.Interfaces, s facts.Socket) []string {
	var as []netip.Addr
	for _, i := range ifs.Others {
		if !i.Up || s.Device != "" && s.Device != i.Name {
			continue
		}
		for _, p := range i.Addresses {
			if s.Covers(p.Addr()) {
				as = append(as, p.Addr())
			}
		}
	}
	slices.SortStableFunc(as, func(a, b netip.Addr) int {
		return cmp.Compare(localOnly(a), localOnly(b))
	})
	return texts(slices.Compact(as))
}

func localOnly(a netip.Addr) int {
	if a.IsLinkLocalUnicast() {
		return 1
	}
	return 0
}
