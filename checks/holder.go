package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Who holds a socket, and what hangs on it.

// heldEvidence quotes a socket, and what is known of the process that holds it.
func heldEvidence(f *facts.Facts, s facts.Socket) []Evidence {
	es := []Evidence{socketEvidence(f, s)}
	ps := f.Owners.Of(s)
	if len(ps) == 0 {
		return es
	}
	p := ps[0]
	text := fmt.Sprintf("%d: %s, run by %s", p.PID, words(p), user(p.UID, p.User))
	switch {
	case p.Container != "": // a path in there is none here
	case p.Project != "" && p.Project != p.Cwd:
		text += fmt.Sprintf(" in %s (project %s)", p.Cwd, p.Project)
	case p.Cwd != "":
		text += " in " + p.Cwd
	}
	if why := p.Halted(); why != "" {
		text += ", " + why
	}
	es = append(es, Evidence{"process", text})
	if from := origin(p); from != "" {
		es = append(es, Evidence{"started", from})
	}
	return es
}

// origin says where a process was started from: "from npm run dev, tmux, on pts/3,
// below sh (40) and node (38)".
func origin(p facts.Process) string {
	var parts, above []string
	if p.From != "" {
		parts = append(parts, "from "+p.From)
	}
	if p.Terminal != "" {
		parts = append(parts, "on "+p.Terminal)
	}
	for _, a := range p.Parents[:min(len(p.Parents), 4)] { // the rest is seldom news
		above = append(above, fmt.Sprintf("%s (%d)", a.Name, a.PID))
	}
	if len(above) > 0 {
		parts = append(parts, "below "+list(above))
	}
	return strings.Join(parts, ", ")
}

// user names somebody by name and number.
func user(uid uint32, name string) string {
	switch {
	case uid == 0:
		return "root (uid 0)"
	case name != "":
		return fmt.Sprintf("%s (uid %d)", name, uid)
	}
	return fmt.Sprintf("uid %d", uid)
}

// interrupts says what ends together with a process that holds the port.
func interrupts(f *facts.Facts, p facts.Process) string {
	what := openConnections(f)
	if n := p.Children; n > 0 {
		what = append(what, cond(n == 1, "the process that it started", fmt.Sprintf("the %d processes that it started", n)))
	}
	if len(what) == 0 {
		return "whatever " + who(p) + " is doing"
	}
	return list(what)
}

// openConnections is "3 open connections" to the port, or nothing.
func openConnections(f *facts.Facts) []string {
	n := len(pick(f, func(s facts.Socket) bool {
		return (s.State == facts.Established || s.State == facts.CloseWait) && s.Local != s.Remote && s.Remote.Port() != 0
	}))
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d open connection%s", n, cond(n == 1, "", "s"))}
}

// anotherPort is the advice that disturbs nobody.
func anotherPort(f *facts.Facts) Fix {
	if n := spare(f); n != 0 {
		return Fix{Do: fmt.Sprintf("Give your server another port: %d is free for you.", n)}
	}
	return Fix{Do: "Give your server another port."}
}

// orAnother adds that advice where a port was shown to be free.
func orAnother(f *facts.Facts, fixes []Fix) []Fix {
	if f.Target.Intent != facts.ToBind || spare(f) == 0 {
		return fixes
	}
	return append(fixes, anotherPort(f))
}

// spare is the port near by that was shown to be free; 0 if none was.
func spare(f *facts.Facts) uint16 {
	for _, s := range f.Spare {
		if s.Port != f.Target.Port && len(f.Host.As) > 0 && s.As == f.Host.As[0].UID {
			return s.Port
		}
	}
	return 0
}

// freeAt lists the addresses of this machine on which the target's own port was
// shown to be free.
func freeAt(f *facts.Facts) []netip.Addr {
	for _, s := range f.Spare {
		if s.Port == f.Target.Port && len(f.Host.As) > 0 && s.As == f.Host.As[0].UID {
			return s.Addrs
		}
	}
	return nil
}

// hold is the way in which a socket holds the port. One socket has one, so that
// no two causes name it; the first that fits counts.
type hold int

const (
	heldPlainly      hold = iota
	heldNarrowly          // it has another address than is wanted: every address against one
	heldByChild           // by a process that is no server
	heldForElsewhere      // for somebody elsewhere
	heldTwice             // and another one has it too, without listening
	heldByEarlier         // an earlier run of the same project
	heldForUser           // with servers of its own user
)

func holdOf(f *facts.Facts, s facts.Socket) hold {
	ps := f.Owners.Of(s)
	switch {
	case s.State != facts.Listen || f.Target.Network != "tcp":
		return heldPlainly
	case len(narrowedBy(f, s)) > 0:
		return heldNarrowly
	case leftInChild(f, s):
		return heldByChild
	case len(ps) > 0 && forwarderName(ps[0]) != "":
		return heldForElsewhere
	case len(failedToListen(f, s)) > 0:
		return heldTwice
	case len(ps) > 0 && ownProject(f, ps[0]):
		return heldByEarlier
	case len(shareable(f, s)) > 0:
		return heldForUser
	}
	return heldPlainly
}

// shown is the first holder of a socket for a summary: "node (pid 50) of ann".
func shown(f *facts.Facts, s facts.Socket) string {
	ps := f.Owners.Of(s)
	foreign := len(ps) > 0 && !slices.ContainsFunc(f.Host.As, func(i facts.Identity) bool { return i.UID == ps[0].UID })
	if foreign {
		return holder(f, s) + " of " + cond(ps[0].User != "", ps[0].User, user(ps[0].UID, ""))
	}
	return holder(f, s)
}
