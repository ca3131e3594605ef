package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Two programs on one port: which of them answers depends on the address, or on
// chance.

var shadowSpecificVsWildcard = &Check{
	Name:     "shadow-specific-vs-wildcard",
	Doc:      "one program listens on a loopback address, and another one on all addresses of the same port",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupInterfaces},
	Explains: []*Check{answeredByAnother},
	Run: func(f *facts.Facts) []Finding {
		for _, a := range addressesOf(f) {
			here := seenHolders(f, serving(f, a))
			for _, one := range here {
				for _, all := range here {
					if one.Local.Addr().Unmap() != a || !all.Local.Addr().IsUnspecified() || !one.strange(&all) {
						continue
					}
					return []Finding{{Affects: []netip.Addr{a}, Certainty: Proven, Remark: true, Since: later(since(f, one.Socket), since(f, all.Socket)),
						Evidence: []Evidence{socketEvidence(f, one.Socket), socketEvidence(f, all.Socket)},
						Summary: fmt.Sprintf("%s listens on %s and %s on %s: who connects to %s gets the first, and through %s the other one answers.",
							holder(f, one.Socket), one.Local, holder(f, all.Socket), all.Local, at(f, a), elsewhereOf(f, a)),
						Fixes: eitherOfTwo(f, one.Socket, all.Socket)}}
				}
			}
		}
		return nil
	},
}

var shadowV4V6Split = &Check{
	Name:     "shadow-v4-v6-split",
	Doc:      "one program listens on the port for IPv4, and another one for IPv6",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupNames, facts.GroupInterfaces, facts.GroupRoutes, facts.GroupDials, facts.GroupLedger},
	Explains: []*Check{answeredByAnother},
	Run: func(f *facts.Facts) []Finding {
		on4, on6 := serving(f, v4Loopback), serving(f, v6Loopback)
		if f.Target.Literal || len(on4) == 0 || len(on6) == 0 {
			return nil
		}
		held4, held6 := seenHolders(f, on4), seenHolders(f, on6)
		if len(held4) < len(on4) || len(held6) < len(on6) {
			return nil
		}
		for _, s := range held4 {
			for _, other := range held6 {
				if s.Local == other.Local || !s.strange(&other) {
					return nil
				}
			}
		}
		x := Finding{Affects: []netip.Addr{v4Loopback, v6Loopback}, Certainty: Proven, Remark: true, Since: later(since(f, on4[0]), since(f, on6[0])),
			Summary: fmt.Sprintf("%s is two programs here: %s listens on %s, and %s on %s. Which one answers depends on the client.",
				nameOf(f), holder(f, on4[0]), on4[0].Local, holder(f, on6[0]), on6[0].Local),
			Evidence: []Evidence{socketEvidence(f, on4[0]), socketEvidence(f, on6[0])},
			Fixes:    eitherOfTwo(f, on4[0], on6[0])}
		gets := map[bool][]string{}
		for _, c := range Clients(f) {
			if len(c.Reaches) > 0 && (c.Next || c.Reaches[0] == c.Addresses[0]) {
				gets[c.Reaches[0].Is4()] = append(gets[c.Reaches[0].Is4()], c.Name)
			}
		}
		if v4, v6 := gets[true], gets[false]; len(v4) > 0 && len(v6) > 0 {
			few := cond(len(v4) <= len(v6), v4, v6)
			x.Summary = strings.TrimSuffix(x.Summary, ".") + fmt.Sprintf(": %s take %s first, and the others %s.", list(few), cond(len(v4) <= len(v6), "IPv4", "IPv6"), cond(len(v4) <= len(v6), "IPv6", "IPv4"))
			x.Evidence = append(x.Evidence, Evidence{"IPv4 first", list(v4)}, Evidence{"IPv6 first", list(v6)})
		}
		return []Finding{x}
	},
}

// reuseportStaleTwin is a remark as long as both accept: half of the answers
// are old, and no connection fails.
var reuseportStaleTwin = &Check{
	Name:     "reuseport-stale-twin",
	Doc:      "an older instance still listens on the same address and gets a part of the connections",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupWork},
	Explains: []*Check{notAccepted, nobodyAccepts, processStoppedOrDebugged, containerPausedOrFrozen, eventLoopOrWorkersBlocked, fdExhausted, cgroupAtItsLimit, acceptQueueFull, noReply},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range f.Target.Expected() {
			old, young, ok := twins(f, serving(f, a))
			if !ok {
				continue
			}
			was, is := f.Owners.Of(old)[0], f.Owners.Of(young)[0]
			x := Finding{Affects: []netip.Addr{a}, Certainty: Proven, Since: is.Started, Brings: []*Check{},
				Evidence: []Evidence{socketEvidence(f, old), socketEvidence(f, young), {"older", which(was) + fmt.Sprintf(", started %s before the other", is.Started.Sub(was.Started).Round(time.Second))}, {"newer", which(is)}},
				Summary: fmt.Sprintf("Two programs listen on %s with SO_REUSEPORT: %s and the newer %s. The kernel spreads the connections over both, so a part of the answers is the older one's.",
					old.Local, who(was), who(is))}
			stuck := stuckTwin(f, a)
			if stuck != nil && stuck.Inode == old.Inode || old.Queue.Full() {
				x.Brings = nil
				x.Summary = fmt.Sprintf("%s still listens on %s beside the newer %s, and accepts nothing: the kernel gives it a part of the connections, and those hang.", who(was), old.Local, who(is))
			}
			x.Fixes = stopHolders(f, old, "Stop the older one, %s.")
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// apart is how long after each other the workers of one program are started at
// most.
const apart = 10 * time.Second

// twins finds two listeners on one address that belong to different programs, or
// to two generations of one.
func twins(f *facts.Facts, ls []facts.Socket) (old, young facts.Socket, ok bool) {
	all := seenHolders(f, ls)
	for i := range all {
		for j := range all {
			a, b := &all[i], &all[j]
			if a.Local != b.Local || !a.strange(b) {
				continue
			}
			p, q := &a.by[0], &b.by[0]
			if p.Container != "" && q.Container != "" && p.Name == q.Name {
				continue // replicas, perhaps
			}
			if !p.Started.IsZero() && !q.Started.IsZero() && cmp.Or(p.Started.Compare(q.Started), p.PID-q.PID) < 0 {
				return a.Socket, b.Socket, true
			}
		}
	}
	return old, young, false
}

// held is a listener and who holds it.
type held struct {
	facts.Socket
	by []facts.Process
}

// seenHolders returns the listeners all of whose holders are seen, and looks those up
// once, not for each pair. Whoever does not see all of them can call nobody a stranger.
func seenHolders(f *facts.Facts, ls []facts.Socket) []held {
	var out []held
	for _, s := range ls {
		if ps := f.Owners.Of(s); len(ps) > 0 && f.Owners.Seen(s) {
			out = append(out, held{s, ps})
		}
	}
	return out
}

// strange tells whether two listeners are held by programs that have nothing to do
// with each other.
func (h *held) strange(o *held) bool { return h.Inode != o.Inode && !related(h.by, o.by) }

// oneProgram tells whether somebody who holds the one socket belongs together with
// somebody who holds the other.
func oneProgram(f *facts.Facts, a, b facts.Socket) bool {
	return related(f.Owners.Of(a), f.Owners.Of(b))
}

// related tells whether one of the ones belongs together with one of the others.
func related(ones, others []facts.Process) bool {
	for i := range ones {
		for j := range others {
			if kin(&ones[i], &others[j]) {
				return true
			}
		}
	}
	return false
}

// kin tells whether two processes belong together: one has started the other, or
// one parent started one program several times, or they are one unit or one
// container. Process 1 adopts whatever is left over: there it takes the same
// command at the same time.
func kin(p, q *facts.Process) bool {
	siblings := p.PPID == q.PPID && p.Name == q.Name && p.Exe == q.Exe
	together := slices.Equal(p.Args, q.Args) && p.Cwd == q.Cwd && p.Deleted == q.Deleted && p.Started.Sub(q.Started).Abs() < apart
	return p.PID == q.PID || p.PPID == q.PID || q.PPID == p.PID || siblings && (p.PPID > 1 || together) ||
		service(*p) != "" && service(*p) == service(*q) || p.Container != "" && p.Container == q.Container
}

// service is the unit of a process; of web@1.service its template, since the
// instances of one may share a port on purpose.
func service(p facts.Process) string {
	if !strings.HasSuffix(p.Unit, ".service") || strings.HasPrefix(p.Unit, "user@") {
		return ""
	}
	name, _, _ := strings.Cut(strings.TrimSuffix(p.Unit, ".service"), "@")
	return name
}

// eitherOfTwo are the fixes where only the person knows which program is meant.
func eitherOfTwo(f *facts.Facts, a, b facts.Socket) []Fix {
	fixes := []Fix{{Do: "Let each server have a port of its own, or name in its configuration the one address that it is to listen on."}}
	for _, s := range []facts.Socket{a, b} {
		fixes = append(fixes, stopHolders(f, s, "If %s is not the one you want, stop it.")[0])
	}
	return fixes
}

// which says which run of a program a process is.
func which(p facts.Process) string {
	return fmt.Sprintf("pid %d in %s%s", p.PID, cmp.Or(p.Cwd, "an unknown directory"), cond(p.Deleted != "", " ("+p.Deleted+" has been deleted)", ""))
}

func later(a, b time.Time) time.Time { return cond(a.After(b), a, b) }

// addressesOf lists the addresses of the target, expected or not.
func addressesOf(f *facts.Facts) []netip.Addr {
	var out []netip.Addr
	for _, a := range f.Target.Addresses {
		out = append(out, a.Addr)
	}
	return out
}

// nameOf is how the target was called.
func nameOf(f *facts.Facts) string {
	return fmt.Sprintf("%s:%d", cmp.Or(f.Target.Host, "localhost"), f.Target.Port)
}

// elsewhereOf names another way to this machine, of the address's family.
func elsewhereOf(f *facts.Facts, a netip.Addr) string {
	if f.Interfaces != nil {
		for _, i := range f.Interfaces.Others {
			for _, p := range i.Addresses {
				if p.Addr().Is4() == a.Is4() && !p.Addr().IsLinkLocalUnicast() {
					return at(f, p.Addr())
				}
			}
		}
	}
	return "every other address of this machine"
}
