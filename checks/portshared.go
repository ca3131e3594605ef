package checks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Two sockets that could have lived beside each other, and do not.

var wildcardSpecificConflict = &Check{
	Name:     "wildcard-specific-conflict",
	Doc:      "the server wants every address, and another program has the port on one of them",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on := narrowedBy(f, s)
			if len(on) == 0 {
				continue
			}
			x := Finding{Affects: on, Certainty: Proven, Since: since(f, s), Evidence: heldEvidence(f, s)}
			free := freeAt(f)
			var listen Fix
			if len(free) > 0 {
				x.Evidence = append(x.Evidence, Evidence{"free", fmt.Sprintf("port %d on %s", f.Target.Port, list(texts(free)))})
				listen = Fix{Do: fmt.Sprintf("Have your server listen on the address that it needs instead of on every one: %s is free.", at(f, free[0]))}
			}
			switch {
			case s.Local.Addr() == netip.IPv6Unspecified():
				x.Summary = fmt.Sprintf("%s listens on %s, which takes IPv4 as well (IPV6_V6ONLY is off), so that nothing is left for %s.", shown(f, s), s.Local, ats(f, on))
			case s.Local.Addr() == netip.IPv4Unspecified():
				x.Summary = fmt.Sprintf("%s listens on %s, and your server wants %s for IPv4 as well: with IPV6_V6ONLY set it could have IPv6 alone.", shown(f, s), s.Local, ats(f, on))
			default:
				x.Summary = fmt.Sprintf("%s listens on %s, and your server wants every address: %s includes that one.", shown(f, s), s.Local, ats(f, on))
			}
			if ps := f.Owners.Of(s); len(ps) > 0 && ps[0].Name == "systemd-resolve" {
				x.Fixes = append(x.Fixes, Fix{Do: "Switch off the stub of systemd-resolved: DNSStubListener=no in /etc/systemd/resolved.conf, and let /etc/resolv.conf name another server before you restart it."})
			}
			stop := append(stopHolders(f, s, "Stop %s."), x.Fixes...)
			switch {
			case listen.Do == "":
				x.Fixes = stop
			case slices.Contains(free, v4Loopback): // it can have what a client of this machine needs
				x.Fixes = append([]Fix{listen}, stop...)
			default:
				x.Fixes = append(stop, listen)
			}
			x.Fixes = append(x.Fixes, anotherPort(f))
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// narrowedBy returns the wildcards that the server wants and cannot have because
// of a listener on something narrower, or on the wildcard of the other family.
func narrowedBy(f *facts.Facts, s facts.Socket) []netip.Addr {
	on := bindsLostTo(f, s)
	if slices.Contains(on, s.Local.Addr()) { // it has just what is wanted
		return nil
	}
	single := func(a netip.Addr) bool { return !a.IsUnspecified() }
	if s.Local.Addr().IsUnspecified() && slices.ContainsFunc(on, single) { // it has all that is wanted: [::] where IPv6 is off
		return nil
	}
	return slices.DeleteFunc(on, single)
}

// reuseportUIDMismatch: the kernel lets servers share a port only if all of them
// set SO_REUSEPORT and one user started them (socket(7)). That the listener has
// set it shows when its own user can bind, and only that user.
var reuseportUIDMismatch = &Check{
	Name:     "reuseport-uid-mismatch",
	Doc:      "the listener shares the port (SO_REUSEPORT), but only with servers of its own user",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds, facts.GroupReusePort},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on := shareable(f, s)
			if len(on) == 0 || holdOf(f, s) != heldForUser {
				continue
			}
			x := Finding{Affects: on, Certainty: Proven, Since: since(f, s), Evidence: heldEvidence(f, s)}
			var refused []string
			for _, b := range f.ReusePort {
				if b.Addr == on[0] && b.As != s.UID {
					refused = append(refused, fmt.Sprintf("uid %d: %s", b.As, cond(b.Errno != "", b.Errno, "ok")))
				}
			}
			x.Evidence = append(x.Evidence, Evidence{"bind", fmt.Sprintf("with SO_REUSEPORT, as uid %d: ok; as %s", s.UID, list(refused))})
			name := s.User
			if ps := f.Owners.Of(s); len(ps) > 0 && ps[0].UID == s.UID {
				name = ps[0].User
			}
			x.Summary = fmt.Sprintf("%s listens on %s and shares it (SO_REUSEPORT), but only with servers of %s: yours runs as another user.", holder(f, s), s.Local, user(s.UID, name))
			x.Fixes = append([]Fix{{Do: "If the two are to share the port, run both as the same user, and with SO_REUSEPORT set before bind()."}}, stopHolders(f, s, "Stop %s.")...)
			x.Fixes = append(x.Fixes, anotherPort(f))
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// shareable returns the addresses that are lost to a listener which its own user
// could share with SO_REUSEPORT, and no client can. What the listener itself has
// decides: once somebody was given the port on 0.0.0.0, the kernel lets the same
// user have [::] without a look at who has [::1] (sk_reuseport_match in the kernel).
func shareable(f *facts.Facts, s facts.Socket) []netip.Addr {
	own, others := false, false
	for _, b := range f.ReusePort {
		if b.Addr == s.Local.Addr() {
			own = own || b.As == s.UID && b.Errno == ""
			others = others || b.As != s.UID && b.Errno == "EADDRINUSE"
		}
	}
	if !own || !others || slices.ContainsFunc(f.Host.As, func(i facts.Identity) bool { return i.UID == s.UID }) {
		return nil
	}
	return bindsLostTo(f, s)
}

// listenTimeEADDRINUSE: two sockets that set SO_REUSEADDR may both be bound as
// long as neither listens. Who comes second fails in listen() alone. That it was
// tried is not to be seen, so this is inferred.
var listenTimeEADDRINUSE = &Check{
	Name:     "listen-time-eaddrinuse",
	Doc:      "two programs have bound the port, one listens, and the other one's listen() fails",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupBinds, facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			for _, b := range failedToListen(f, s) {
				x := Finding{Certainty: Inferred, Since: since(f, b), Evidence: append(heldEvidence(f, b), socketEvidence(f, s)),
					Summary: fmt.Sprintf("%s has %s too, but does not listen: %s was first, so listen() fails with EADDRINUSE, whatever the program's log says.", holder(f, b), b.Local, holder(f, s))}
				if f.Target.Intent == facts.ToBind {
					x.Affects = bindsLostTo(f, s)
					if len(x.Affects) == 0 || holdOf(f, s) != heldTwice {
						continue
					}
					x.Fixes = append(stopHolders(f, s, "Stop %s, which listens."), anotherPort(f))
				} else {
					x.Remark = true
					x.Fixes = []Fix{{Do: fmt.Sprintf("Stop one of the two. Clients reach %s.", holder(f, s))}}
				}
				fs = append(fs, x)
			}
		}
		return fs
	},
}

// failedToListen returns the sockets of other programs that are bound to just what
// the listener has. Workers of one program, the first of which listens already,
// are no strangers to each other.
func failedToListen(f *facts.Facts, s facts.Socket) []facts.Socket {
	return pick(f, func(b facts.Socket) bool {
		return b.State == facts.Bound && b.Local == s.Local && b.Device == s.Device && b.Inode != 0 && b.Inode != s.Inode &&
			len(f.Owners.Of(b)) > 0 && !oneProgram(f, s, b) && (len(f.Owners.Of(s)) > 0 || s.UID != b.UID)
	})
}

func texts(as []netip.Addr) []string {
	var out []string
	for _, a := range as {
		out = append(out, a.String())
	}
	return out
}
