package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// configuredElsewhere is only inferred: that a line of configuration says
// something else does not prove that its server is the one that is missed.
//
// Two kinds of lines are about the missing server, and every other is not more
// than evidence of noListener:
//   - those of the only server on this system that owns the well-known port;
//   - those of the project in which loopdoctor was started, if all of them agree on
//     one port, none of its files has the target's to do with anything, and the port
//     is a neighbour of the target's, or the target's is the one that such a project
//     has when it says nothing. Compose files publish the ports of many: they never
//     accuse.
//
// A value of the project's that is no port is the matter of another cause: a process
// may have been started with it.
var configuredElsewhere = &Check{
	Name:     "configured-elsewhere",
	Doc:      "the configuration of the server names another port",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupConfigs},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupCandidates},
	Explains: []*Check{refused},
	// A server that follows its configuration to another port was not moved there
	// by a taken one, which is all that its process shows.
	Refines: []*Check{portAutoIncremented},
	Run: func(f *facts.Facts) []Finding {
		none := abandoned(f)
		if len(none) == 0 {
			return nil
		}
		x := ofUsualServer(f)
		if len(usualServers[f.Target.Port]) == 0 {
			x = ofProject(f)
		}
		if x == nil {
			return nil
		}
		x.Affects = none
		return []Finding{*x}
	},
}

// tcpSwitchedOff is proven where a server listens on the UNIX socket that the same
// configuration names; else it is inferred for the same reason.
var tcpSwitchedOff = &Check{
	Name:     "tcp-switched-off",
	Doc:      "the configuration of the server switches TCP off",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupConfigs},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupUnixSockets},
	Explains: []*Check{refused},
	Refines:  []*Check{unixSocketNotTCP},
	Run: func(f *facts.Facts) []Finding {
		none, mine := abandoned(f), usualServer(f)
		off := switchedOff(mine)
		if len(none) == 0 || off == nil {
			return nil
		}
		x := Finding{Affects: none, Evidence: []Evidence{configEvidence(*off)},
			Summary: fmt.Sprintf("Nothing listens on port %d: %s is told not to listen for TCP at all.", f.Target.Port, off.Program),
			Fixes:   []Fix{{Do: fmt.Sprintf("In %s, line %d (`%s`), %s, then restart %s.", off.File, off.Line, off.Text, switchOn(*off, f.Target.Port), off.Program)}}}
		if i := slices.IndexFunc(mine, func(l facts.ConfigLine) bool { return l.Unix != "" }); i >= 0 {
			x.Evidence = append(x.Evidence, configEvidence(mine[i]))
			x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Let the client use the UNIX socket (%s).", mine[i].Unix)})
			if u := socketAt(f, mine[i].Unix); u != nil {
				x.Certainty, x.Evidence = Proven, append(x.Evidence, unixEvidence(*u))
			}
		}
		return []Finding{x}
	},
}

// socketAt returns the UNIX socket of that path, or in that directory, that somebody
// listens on.
func socketAt(f *facts.Facts, path string) *facts.UnixSocket {
	if f.UnixSockets == nil {
		return nil
	}
	for _, u := range f.UnixSockets.Found {
		if u.Path == path || strings.HasPrefix(u.Path, path+"/") {
			return &u
		}
	}
	return nil
}

// usualServer returns the lines of the only server here that owns the well-known
// port.
func usualServer(f *facts.Facts) []facts.ConfigLine {
	mine := configLines(f, func(l facts.ConfigLine) bool {
		return !l.Project && !l.Upstr && !l.UDP && slices.Contains(usualServers[f.Target.Port], l.Program)
	})
	if slices.ContainsFunc(mine, func(l facts.ConfigLine) bool { return l.Program != mine[0].Program }) {
		return nil
	}
	return mine
}

// ofUsualServer judges the lines of the server that owns a well-known port.
func ofUsualServer(f *facts.Facts) *Finding {
	port := f.Target.Port
	mine := usualServer(f)
	if switchedOff(mine) != nil {
		return nil
	}
	mine = slices.DeleteFunc(mine, func(l facts.ConfigLine) bool { return l.Port == 0 && l.Bad == "" })
	// A web server with several ports, or with plain HTTP alone, is as it should be.
	if len(usualServers[port]) > 1 && slices.ContainsFunc(mine, func(l facts.ConfigLine) bool { return l.Port != mine[0].Port || len(usualServers[l.Port]) > 1 }) {
		return nil
	}
	return another(f, mine)
}

// switchedOff returns the line that switches TCP off. In redis.conf and
// postgresql.conf the last one of its kind counts; skip-networking stays.
func switchedOff(mine []facts.ConfigLine) *facts.ConfigLine {
	var off *facts.ConfigLine
	for _, l := range mine {
		switch {
		case l.Off:
			off = &l
		case l.Unix != "" || l.Program == "mysql":
		case l.Program == "redis" && l.Port != 0, l.Program == "postgresql" && (l.Addr.IsValid() || l.Host != ""):
			off = nil
		}
	}
	return off
}

func switchOn(l facts.ConfigLine, port uint16) string {
	switch l.Program {
	case "redis":
		return fmt.Sprintf("write instead `port %d`", port)
	case "postgresql":
		return "write instead `listen_addresses = 'localhost'`"
	case "mysql":
		return "put a # before it, and keep bind-address = 127.0.0.1"
	}
	return fmt.Sprintf("write the port %d", port)
}

// ofProject judges the lines of the current directory.
func ofProject(f *facts.Facts) *Finding {
	port := f.Target.Port
	all := configLines(f, func(l facts.ConfigLine) bool { return l.Project })
	if slices.ContainsFunc(all, func(l facts.ConfigLine) bool { return namesPort(l, port) }) {
		return nil
	}
	mine := slices.DeleteFunc(all, func(l facts.ConfigLine) bool {
		return l.Upstr || l.UDP || l.Program == "compose" || l.Port == 0
	})
	if len(mine) == 0 || slices.ContainsFunc(mine, func(l facts.ConfigLine) bool { return l.Port != mine[0].Port || l.LastPort != 0 }) {
		return nil
	}
	if !slices.ContainsFunc(mine, func(l facts.ConfigLine) bool {
		return nearPorts(l.Port, port) || slices.Contains(usualPorts[l.Program], port)
	}) {
		return nil
	}
	return another(f, mine)
}

// another says that the lines name other ports, or none that is one; nothing if
// one names the target's.
func another(f *facts.Facts, mine []facts.ConfigLine) *Finding {
	port := f.Target.Port
	if len(mine) == 0 || slices.ContainsFunc(mine, func(l facts.ConfigLine) bool { return namesPort(l, port) }) {
		return nil
	}
	l := mine[0]
	for _, m := range mine {
		if m.Bad != "" {
			l = m
		}
	}
	what := cond(l.Project, "the server of this project", l.Program)
	x := &Finding{}
	for _, m := range mine[:min(3, len(mine))] {
		x.Evidence = append(x.Evidence, configEvidence(m))
	}
	x.Fixes = []Fix{{Do: fmt.Sprintf("In %s, line %d, %s, then restart %s.", l.File, l.Line, otherPort(l, port), what)}}
	if l.Bad != "" {
		x.Summary = fmt.Sprintf("Nothing listens on port %d: %s is given a port that is none, %q.", port, what, l.Bad)
		return x
	}
	x.Summary = fmt.Sprintf("Nothing listens on port %d: %s is configured for port %d.", port, what, l.Port)
	if f.Candidates != nil {
		for _, c := range f.Candidates.Found {
			if slices.ContainsFunc(c.Listens, func(a netip.AddrPort) bool { return namesPort(l, a.Port()) }) {
				x.Evidence = append(x.Evidence, candidateEvidence(c))
			}
		}
	}
	if len(x.Evidence) > min(3, len(mine)) { // it was seen to run there: nothing has to be changed
		x.Fixes = append([]Fix{{Do: fmt.Sprintf("Let the client use port %d: the server listens there.", l.Port)}}, x.Fixes...)
		return x
	}
	x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Let the client use port %d, if the server runs there: ss -tln 'sport = :%[1]d'.", l.Port)})
	return x
}

// otherPort says how the line reads with the port. A line that was masked or cut
// is not written out: it would not work.
func otherPort(l facts.ConfigLine, port uint16) string {
	old := cmp.Or(l.Bad, fmt.Sprint(l.Port))
	text := replaceNumber(l.Text, old, fmt.Sprint(port))
	if text == l.Text || strings.Contains(text, "***") || strings.Contains(text, "…") {
		return fmt.Sprintf("write %d in place of %s (`%s`)", port, old, l.Text)
	}
	return fmt.Sprintf("write `%s` in place of `%s`", text, l.Text)
}

// replaceNumber replaces a number, and no part of another one or of an address.
func replaceNumber(s, old, by string) string {
	part := func(i int) bool { return i >= 0 && i < len(s) && strings.IndexByte("0123456789.", s[i]) >= 0 }
	var b strings.Builder
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], old) && !part(i-1) && !part(i+len(old)) {
			b.WriteString(by)
			i += len(old)
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}
