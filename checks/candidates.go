package checks

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What is to be read off the processes that have to do with the port and do not
// listen on it. One judgement is made here for all checks, so that two of them
// never blame one process, or two processes, for two things.

// startTime is how long a server may take before it listens: longer than a
// start with migrations takes, shorter than a person's memory of the start.
const startTime = time.Minute

// portsAbove is how far a development server looks for a free port: Vite, Next
// and Create React App take the next one, and rarely the tenth.
const portsAbove = 10

// story is what a candidate is about.
type story int

// The stories, the most telling first.
const (
	badValue  story = iota // the value that names the port is no number
	crashes                // it ends and is started again
	nextPort               // it names the port, and has one of the next
	movedPort              // it names the port, and has another one
	unixOnly               // it names the port, and listens on a UNIX socket
	starts                 // it names the port, is young, and listens on nothing
	kinPort                // it runs in the project and has one of the next ports
	untold                 // nothing that would explain anything
)

// suspect picks the candidate that explains best why nothing listens.
func suspect(f *facts.Facts) (facts.Candidate, story) {
	var best facts.Candidate
	told := untold
	if f.Candidates == nil || len(abandoned(f)) == 0 {
		return best, untold
	}
	for _, c := range f.Candidates.Found {
		if s := tells(f, c); s < told {
			best, told = c, s
		}
	}
	return best, told
}

// abandoned returns the expected addresses of a port on which nobody listens at
// all and to which no redirect leads.
func abandoned(f *facts.Facts) []netip.Addr {
	if f.Target.Network != "tcp" || len(listeners(f)) > 0 {
		return nil
	}
	return slices.DeleteFunc(unserved(f), func(a netip.Addr) bool { return works(f, a) })
}

// tells judges one candidate.
func tells(f *facts.Facts, c facts.Candidate) story {
	sure := slices.ContainsFunc(c.Names, func(m facts.Mention) bool { return m.Sure })
	argument := slices.ContainsFunc(c.Names, func(m facts.Mention) bool { return m.Where != "environment" })
	// A variable is handed down to every child: it says something of a process
	// only if no other one has it too.
	named := argument || sure && alone(f, c)
	above := slices.ContainsFunc(c.Listens, func(a netip.AddrPort) bool {
		return a.Port() > f.Target.Port && int(a.Port()) <= int(f.Target.Port)+portsAbove
	})
	bare := len(c.Listens) == 0
	switch {
	case c.Me, windowsProgram(f, c) != "": // what that one listens on is not to be seen here
		return untold
	case c.Process.Forwards() && c.Process.HoldsForContainers(): // the server is elsewhere
		return untold
	case named && (c.Gone || c.Restarts > 0):
		return crashes
	case !c.Sockets:
		return untold
	case bare && wrongValue(c) != "" && (alone(f, c) || valueSocket(c) != ""):
		return badValue
	case named && above && !c.Told:
		return nextPort
	case named && sure && !bare && !c.Told && !has(c, f.Target.Port):
		return movedPort
	case argument && sure && bare && slices.ContainsFunc(c.Unix, isFile):
		return unixOnly
	case named && (bare && c.ParentOf == 0 || has(c, f.Target.Port)) && age(f, c) < startTime && !repeats(f, c):
		return starts
	case c.InProject && above && !c.Told:
		return kinPort
	}
	return untold
}

// repeats tells whether the process may be one of a series: a script that starts
// its server over and over, or a service. Of that only its manager knows whether
// this is the first time.
func repeats(f *facts.Facts, c facts.Candidate) bool {
	loop := slices.ContainsFunc(f.Candidates.Found, func(o facts.Candidate) bool {
		return (o.PID == c.PID || o.ParentOf == c.PID) && slices.ContainsFunc(o.Names, facts.Mention.Loops)
	})
	if loop || !strings.HasSuffix(c.Unit, ".service") {
		return loop
	}
	return f.Units == nil || slices.ContainsFunc(f.Units.Units, func(u facts.Unit) bool {
		return u.Name == c.Unit && (u.Restarts > 0 || u.State != "active" && u.State != "activating" || u.Sub == "auto-restart")
	})
}

// alone tells whether no other process names the port without being an ancestor.
func alone(f *facts.Facts, c facts.Candidate) bool {
	return !slices.ContainsFunc(f.Candidates.Found, func(o facts.Candidate) bool {
		return o.PID != c.PID && len(o.Names) > 0 && o.ParentOf == 0 && o.PPID != c.PID
	})
}

func has(c facts.Candidate, port uint16) bool {
	return slices.ContainsFunc(c.Listens, func(a netip.AddrPort) bool { return a.Port() == port })
}

// age is how long the process ran when loopdoctor looked.
func age(f *facts.Facts, c facts.Candidate) time.Duration {
	if c.Started.IsZero() {
		return startTime
	}
	return max(0, f.Time.Sub(c.Started))
}

func isFile(name string) bool { return name != "" && !strings.HasPrefix(name, "@") }

// wrongValue is the value of a variable PORT that is no number; a program that
// does not parse it takes it for the name of a UNIX socket, or fails.
func wrongValue(c facts.Candidate) string {
	for _, m := range c.Names {
		name, value, _ := strings.Cut(m.Text, "=")
		if m.Where != "environment" || !strings.HasSuffix(strings.ToUpper(name), "PORT") {
			continue
		}
		if _, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16); err != nil {
			return value
		}
	}
	return ""
}

// valueSocket is the UNIX socket of that name.
func valueSocket(c facts.Candidate) string {
	v := wrongValue(c)
	i := slices.IndexFunc(c.Unix, func(u string) bool { return v != "" && (u == v || path.Base(u) == v) })
	if i < 0 {
		return ""
	}
	return c.Unix[i]
}

// place says where a candidate names the port, without a quotation.
func place(c facts.Candidate) string {
	if len(c.Names) == 0 {
		return ""
	}
	if c.Names[0].Where == "environment" {
		name, _, _ := strings.Cut(c.Names[0].Text, "=")
		return "its variable " + name
	}
	return c.Names[0].Where
}

// mentioned quotes where a candidate names the port.
func mentioned(c facts.Candidate) string {
	var ms []string
	for _, m := range c.Names {
		ms = append(ms, fmt.Sprintf("%s (%s)", m.Where, m.Text))
	}
	return list(ms[:min(2, len(ms))])
}

// holdings says what a candidate listens on.
func holdings(c facts.Candidate) string {
	var on []string
	for _, a := range c.Listens {
		on = append(on, a.String())
	}
	for _, u := range c.Unix {
		on = append(on, "the UNIX socket "+u)
	}
	if more := len(on) - 3; more > 0 {
		on = append(on[:3], fmt.Sprintf("%d more", more))
	}
	return cond(len(on) == 0, "nothing", list(on))
}

// candidateEvidence quotes one candidate.
func candidateEvidence(c facts.Candidate) Evidence {
	t := fmt.Sprintf("%s, pid %d", c.Name, c.PID)
	switch {
	case len(c.Names) > 0:
		t += " names the port in " + mentioned(c)
	case c.InProject:
		t += " runs in this project (" + c.Cwd + ")"
	}
	switch {
	case c.Gone:
		t += ", and has ended meanwhile"
	case c.Sockets:
		t += ", and listens on " + holdings(c)
	default:
		t += "; what it listens on cannot be seen"
	}
	return Evidence{"process", t}
}

// whereabouts is what no-listener has to say of processes and UNIX sockets that
// fit no narrower cause.
func whereabouts(f *facts.Facts) []Evidence {
	var es []Evidence
	if f.Candidates != nil {
		for _, c := range f.Candidates.Found {
			// A parent that only passes the port on, and a neighbour in the
			// project that is where it was told to be, say nothing.
			if len(es) < 3 && (len(c.Names) > 0 && (c.ParentOf == 0 || len(c.Listens) > 0) || c.InProject && len(c.Listens) > 0) {
				es = append(es, candidateEvidence(c))
			}
		}
	}
	if f.UnixSockets != nil {
		for _, u := range f.UnixSockets.Found[:min(2, len(f.UnixSockets.Found))] {
			es = append(es, unixEvidence(u))
		}
	}
	return es
}

// veiled tells whether what a process that names the port listens on cannot be seen.
func veiled(f *facts.Facts) bool {
	return f.Candidates != nil && slices.ContainsFunc(f.Candidates.Found, func(c facts.Candidate) bool {
		return len(c.Names) > 0 && !c.Sockets && !c.Gone
	})
}

func unixEvidence(u facts.UnixSocket) Evidence {
	return Evidence{"socket", fmt.Sprintf("unix listen %s, %s: %s", u.Path, u.About, cond(u.PID != 0, fmt.Sprintf("%s (pid %d)", u.Program, u.PID), "its process cannot be seen"))}
}
