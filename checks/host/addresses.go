package host

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

var (
	v4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	v6 = netip.IPv6Loopback()
)

// addresses fills in what the target can mean.
func (l *look) addresses() error {
	t := &l.f.Target
	add := func(a netip.Addr, source string, expected bool) {
		a = a.Unmap().WithZone("")
		if !slices.ContainsFunc(t.Addresses, func(x facts.Address) bool { return x.Addr == a }) {
			t.Addresses = append(t.Addresses, facts.Address{Addr: a, Source: source, Expected: expected})
		}
	}
	if t.Literal {
		a, err := netip.ParseAddr(t.Host)
		if err != nil {
			return &ForeignTargetError{Target: t.Raw, Why: err.Error()}
		}
		a = a.Unmap()
		switch {
		case t.Wildcard && t.Intent != facts.ToBind:
			// Linux takes 0.0.0.0 and [::] as a destination for loopback
			// (ip(7)); no other system promises to.
			if a.Is4() {
				add(v4, "0.0.0.0 as a destination means this machine", true)
			} else {
				add(v6, ":: as a destination means this machine", true)
			}
		case t.Wildcard:
			add(a, "named", true)
		case !l.zoned(a) && t.Intent != facts.ToBind: // a bind says by itself that it is not there
			return l.foreign(a, a.String()+" is not an address of this machine")
		default:
			add(a, "named", true)
		}
		return nil
	}
	local := t.Host == "" || facts.IsLocalhost(t.Host)
	if l.f.Names != nil {
		found := l.f.Names.Addresses
		if len(found) == 0 {
			found = l.f.Names.Later
		}
		for _, n := range found {
			if !local && !l.mine(n.Addr) {
				return l.foreign(n.Addr, t.Host+" is "+n.Addr.String()+", which is not an address of this machine")
			}
			if t.Named {
				add(n.Addr, n.Source, false)
			}
		}
		if !local && len(found) == 0 {
			return &ForeignTargetError{Target: t.Raw, Why: t.Host + " does not resolve to an address of this machine (" + l.f.Names.Error + ")"}
		}
	} else if !local {
		return &ForeignTargetError{Target: t.Raw, Why: t.Host + " cannot be resolved here"}
	}
	if !t.Named || len(t.Addresses) == 0 {
		add(v4, "loopback", false)
		add(v6, "loopback", false)
	}
	if !t.Named && t.Intent == facts.ToBind {
		add(netip.IPv4Unspecified(), "all IPv4 addresses", false)
		add(netip.IPv6Unspecified(), "all addresses", false)
	}
	if a := tried(*t); a.IsValid() {
		if !l.mine(a) {
			return l.foreign(a, a.String()+" is not an address of this machine")
		}
		add(a, "named by the error", false)
	}
	return nil
}

// foreign refuses an address of somebody else. That of the machine around a container
// can be asked for over there.
func (l *look) foreign(a netip.Addr, why string) error {
	e := &ForeignTargetError{Target: l.f.Target.Raw, Why: why}
	if in := l.f.Host.Inside; in.InContainer() && a.IsValid() && (a == in.Gateway || a == in.Outer) {
		e.Ask = netip.AddrPortFrom(a, l.f.Target.Port).String()
	}
	return e
}

// tried is the address that a client tried of a name or a port, if its error
// names it.
func tried(t facts.Target) netip.Addr {
	if t.Error == nil || t.Literal || t.Intent == facts.ToBind {
		return netip.Addr{}
	}
	return t.Error.Addr.Addr()
}

// mine tells whether the kernel routes the address as local.
func (l *look) mine(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	if i := l.f.Interfaces; i != nil {
		return i.Loopback != nil && i.Loopback.Holds(a) || slices.ContainsFunc(i.Others, func(o facts.Interface) bool { return o.Holds(a) })
	}
	return ownAddress(a)
}

// zoned tells whether the address is this machine's, on the interface that its zone
// names, by name or number (RFC 4007 section 11).
func (l *look) zoned(a netip.Addr) bool {
	if a.Zone() == "" || l.f.Interfaces == nil {
		return l.mine(a.WithZone(""))
	}
	return slices.ContainsFunc(l.f.Interfaces.Others, func(i facts.Interface) bool {
		return (i.Name == a.Zone() || fmt.Sprint(i.Index) == a.Zone()) && i.Holds(a.WithZone(""))
	})
}

// place is the address as connect() and bind() take it: one of a link alone is told by
// the link as well, if the person did.
func (l *look) place(a netip.Addr) netip.AddrPort {
	to := l.to(a)
	if named, err := netip.ParseAddr(l.f.Target.Host); err == nil && named.WithZone("") == a {
		to = netip.AddrPortFrom(named, to.Port())
	}
	return to
}

// expect decides which addresses have to work: the one that a client's error
// names, those that the person named literally and those that a socket here
// serves. If nothing serves any, all of them could have been meant.
func (l *look) expect() {
	t := &l.f.Target
	if a := tried(*t); a.IsValid() {
		for i := range t.Addresses {
			t.Addresses[i].Expected = t.Addresses[i].Addr == a
		}
		return
	}
	// BusyBox wget takes the first address of a name alone.
	if n := l.f.Names; n != nil && len(n.Addresses) > 0 && n.BusyBoxWget != "" && t.Intent == facts.Connect && len(t.Addresses) > 0 &&
		(l.f.Host.Inside.Pings(t.Port) || l.f.Host.As[0].Program == "wget") {
		first := n.Addresses[0].Addr.Unmap()
		if slices.ContainsFunc(t.Addresses, func(a facts.Address) bool { return a.Addr == first }) {
			for i := range t.Addresses {
				t.Addresses[i].Expected = t.Addresses[i].Addr == first
			}
			return
		}
	}
	hasV6 := l.f.Interfaces == nil || l.f.Interfaces.Loopback == nil || l.f.Interfaces.Loopback.Holds(v6)
	if l.f.Limits != nil && l.f.Limits.NoIPv6 {
		hasV6 = false // of a name, no program that runs here tries it
	}
	possible := func(a netip.Addr) bool {
		return (a.IsUnspecified() || l.mine(a)) && (a.Is4() || hasV6 || t.Literal)
	}
	any := false
	for i := range t.Addresses {
		a := &t.Addresses[i]
		if t.Intent == facts.ToBind {
			a.Expected = a.Expected || possible(a.Addr)
			any = any || a.Expected
			continue
		}
		if !a.Expected && l.f.Sockets != nil && possible(a.Addr) {
			a.Expected = slices.ContainsFunc(l.f.Sockets.Sockets, func(s facts.Socket) bool {
				open := s.State == facts.Listen || t.Network == "udp" && s.State == facts.Bound
				return s.Network == t.Network && open && s.Local.Port() == t.Port && s.Serves(a.Addr)
			})
		}
		any = any || a.Expected
	}
	for i := range t.Addresses {
		if !any && possible(t.Addresses[i].Addr) {
			t.Addresses[i].Expected = true
		}
	}
}

// expectWhatAnswers decides after the dials where no socket serves any address,
// or none could be seen: of a port or a name at least one has to work, and the
// one that does is expected.
func (l *look) expectWhatAnswers() {
	t := &l.f.Target
	works := func(a netip.Addr) bool {
		return slices.ContainsFunc(l.f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Outcome.Works() })
	}
	served := slices.ContainsFunc(t.Addresses, func(a facts.Address) bool { return len(l.listening(a.Addr)) > 0 })
	if served || t.Literal || t.Port == 0 || tried(*t).IsValid() || !slices.ContainsFunc(t.Addresses, func(a facts.Address) bool { return works(a.Addr) }) {
		return
	}
	for i := range t.Addresses {
		t.Addresses[i].Expected = works(t.Addresses[i].Addr)
	}
}
