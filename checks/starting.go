package checks

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The server runs, and does not listen on this port: it starts, or has another.

var slowStart = &Check{
	Name:     "slow-start",
	Doc:      "the server was started a moment ago and does not listen yet",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupCandidates},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupUnits},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		c, s := suspect(f)
		if s != starts {
			return nil
		}
		old := age(f, c).Round(time.Second)
		x := Finding{Affects: abandoned(f), Certainty: Inferred, Since: c.Started, Evidence: []Evidence{candidateEvidence(c)},
			Summary: fmt.Sprintf("%s was started %s ago and names port %d in %s, but does not listen yet.", who(c.Process), seconds(old), f.Target.Port, place(c)),
			Fixes: []Fix{{Do: fmt.Sprintf("Wait until it listens: until ss -Htln 'sport = :%d' | grep -q .; do sleep 1; done", f.Target.Port)},
				{Do: "Let what depends on it wait, too (compose: a healthcheck, and depends_on with condition: service_healthy), rather than sleep for a fixed time."}}}
		if has(c, f.Target.Port) {
			if !slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Outcome == facts.Refused && slices.Contains(x.Affects, d.Addr) }) {
				return nil // silence is not what a port gives that nobody listens on yet
			}
			x.Certainty = Proven
			x.Summary = fmt.Sprintf("%s was started %s ago; it did not listen on port %d when the connection was refused, and does now.", who(c.Process), seconds(old), f.Target.Port)
		}
		return []Finding{x}
	},
}

func seconds(d time.Duration) string {
	return cond(d < time.Second, "less than a second", fmt.Sprintf("%.0f s", d.Seconds()))
}

// staying are servers that end if their port is taken, and never move to another.
var staying = []string{"nginx", "apache2", "httpd", "caddy", "haproxy", "redis-server", "postgres", "mariadbd", "mysqld", "sshd"}

var portAutoIncremented = &Check{
	Name:     "port-auto-incremented",
	Doc:      "the server found the port taken when it started, and took one of the next",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupCandidates},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupUnits},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		c, s := suspect(f)
		if s != nextPort && s != kinPort {
			return nil
		}
		i := slices.IndexFunc(c.Listens, func(a netip.AddrPort) bool { return a.Port() > f.Target.Port })
		to := c.Listens[i].Port()
		why := cond(s == nextPort, "names port "+fmt.Sprint(f.Target.Port)+" in "+place(c), "runs in this project")
		again := fmt.Sprintf("Start it again now that port %d is free; let it fail rather than move the next time (Vite: --strictPort, others: PORT=%[1]d).", f.Target.Port)
		if slices.Contains(staying, c.Name) {
			again = fmt.Sprintf("Have it listen on port %d: its configuration says where.", f.Target.Port)
		}
		return []Finding{{Affects: abandoned(f), Certainty: Inferred, Since: c.Started, Evidence: []Evidence{candidateEvidence(c)},
			Summary: fmt.Sprintf("Nothing listens on port %d, but %s %s and listens on %s: you may mean :%d.", f.Target.Port, who(c.Process), why, c.Listens[i], to),
			Fixes:   []Fix{{Do: fmt.Sprintf("Use port %d.", to)}, {Do: again}}}}
	},
}

var listensOnAnotherPort = &Check{
	Name:     "listens-on-another-port",
	Doc:      "the server was told to take the port, and listens on another one",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupCandidates},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupUnits},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		c, s := suspect(f)
		if s != movedPort {
			return nil
		}
		return []Finding{{Affects: abandoned(f), Certainty: Inferred, Since: c.Started, Evidence: []Evidence{candidateEvidence(c)},
			Summary: fmt.Sprintf("%s names port %d in %s, but listens on %s instead.", who(c.Process), f.Target.Port, place(c), holdings(c)),
			Fixes: []Fix{{Do: fmt.Sprintf("Use the port that it has: %d.", c.Listens[0].Port())},
				{Do: fmt.Sprintf("Find out what it reads its port from (a configuration file, another variable), and start it again with port %d.", f.Target.Port)}}}}
	},
}

var portValueNotANumber = &Check{
	Name:     "port-value-not-a-number",
	Doc:      "the server's port is set to something that is not a number",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupCandidates, facts.GroupUnixSockets, facts.GroupConfigs, facts.GroupDials, facts.GroupUnits},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none := abandoned(f)
		if len(none) == 0 {
			return nil
		}
		do := fmt.Sprintf("Set it to %d, digits alone, without quotes, semicolon or URL, and start the server again.", f.Target.Port)
		if c, s := suspect(f); s == badValue {
			x := Finding{Affects: none, Certainty: Inferred, Since: c.Started, Evidence: []Evidence{candidateEvidence(c)},
				Summary: fmt.Sprintf("The port of %s is set to %q, which is not a number: it listens on no TCP port.", who(c.Process), wrongValue(c)), Fixes: []Fix{{Do: do}}}
			if u := valueSocket(c); u != "" {
				x.Certainty = Proven
				x.Summary = fmt.Sprintf("The port of %s is set to %q, which is not a number: it listens on a UNIX socket of that name, and on no TCP port.", who(c.Process), wrongValue(c))
			}
			return []Finding{x}
		}
		if f.UnixSockets != nil {
			for _, u := range f.UnixSockets.Found {
				if oddName(u.Path, f.Target.Port) {
					return []Finding{{Affects: none, Certainty: Proven, Evidence: []Evidence{unixEvidence(u)}, Fixes: []Fix{{Do: do}},
						Summary: fmt.Sprintf("The port of a server is set to %q, which is not a number: it listens on a UNIX socket of that name.", path.Base(u.Path))}}
				}
			}
		}
		if f.Configs != nil {
			for _, l := range f.Configs.Lines {
				if l.Bad != "" && !l.Upstr && l.Project && begins(l.Bad, f.Target.Port) {
					return []Finding{{Affects: none, Certainty: Inferred, Evidence: []Evidence{{fmt.Sprintf("%s:%d", l.File, l.Line), l.Text}}, Fixes: []Fix{{Do: do}},
						Summary: fmt.Sprintf("%s sets the port to %q in line %d, which is not a number.", l.File, l.Bad, l.Line)}}
				}
			}
		}
		return nil
	},
}

// oddName tells whether a socket has the name of a port that somebody spoilt:
// "62893;" or "\"62893\"". "62893.sock" was meant to be one.
func oddName(name string, port uint16) bool {
	b := path.Base(name)
	return strings.Trim(b, " ;,\"'`") == fmt.Sprint(port) && b != fmt.Sprint(port)
}

// begins tells whether a value would be the port, were it not for what surrounds it.
func begins(value string, port uint16) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(value, " \"'`"), fmt.Sprint(port))
	return ok && (rest == "" || rest[0] < '0' || rest[0] > '9')
}

var unixSocketNotTCP = &Check{
	Name:     "unix-socket-not-tcp",
	Doc:      "the server listens on a UNIX socket only, and the client speaks TCP",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupUnixSockets, facts.GroupCandidates, facts.GroupDials, facts.GroupUnits},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none := abandoned(f)
		if len(none) == 0 {
			return nil
		}
		if f.UnixSockets != nil {
			for _, u := range f.UnixSockets.Found {
				service, usual := strings.CutPrefix(u.About, "usual socket of ")
				if !usual {
					service = ""
				}
				// Port 9000 is that of many programs besides php-fpm.
				if oddName(u.Path, f.Target.Port) || service == "php-fpm" || !isFile(u.Path) {
					continue
				}
				x := Finding{Affects: none, Certainty: Inferred, Evidence: []Evidence{unixEvidence(u)}, Fixes: unixFixes(f, service, u.Path),
					Summary: fmt.Sprintf("Nothing listens on TCP port %d, but a server listens on the UNIX socket %s.", f.Target.Port, u.Path)}
				if u.PID != 0 {
					x.Summary = fmt.Sprintf("%s (pid %d) listens on the UNIX socket %s, and not on TCP port %d.", u.Program, u.PID, u.Path, f.Target.Port)
				} else {
					x.Settle = "sudo loopdoctor " + at(f, none[0])
				}
				if u.PID > 1 && len(u.Listens) == 0 {
					x.Certainty = Proven
				}
				if !usual && x.Certainty == Inferred {
					continue // the number in a name alone says little
				}
				return []Finding{x}
			}
		}
		c, s := suspect(f)
		if s != unixOnly {
			return nil
		}
		u := c.Unix[slices.IndexFunc(c.Unix, isFile)]
		return []Finding{{Affects: none, Certainty: Inferred, Since: c.Started, Evidence: []Evidence{candidateEvidence(c)}, Fixes: unixFixes(f, "", u),
			Summary: fmt.Sprintf("%s names port %d in %s, but listens on the UNIX socket %s and on no TCP port.", who(c.Process), f.Target.Port, place(c), u)}}
	},
}

// unixFixes: let the client use the socket, or the server the port.
func unixFixes(f *facts.Facts, service, socket string) []Fix {
	p := f.Target.Port
	switch service {
	case "mysql":
		return []Fix{{Do: fmt.Sprintf("Let the client use the socket: mysql --protocol=socket -S %s.", socket)},
			{Do: fmt.Sprintf("Switch TCP on for this machine alone: no skip-networking, and bind-address = 127.0.0.1 and port = %d below [mysqld]; then restart the server.", p)}}
	case "postgresql":
		return []Fix{{Do: fmt.Sprintf("Let the client use the socket: psql -h %s -p %d.", path.Dir(socket), p)},
			{Do: "Switch TCP on for this machine alone: listen_addresses = 'localhost' in postgresql.conf; then restart the server."}}
	case "redis":
		return []Fix{{Do: fmt.Sprintf("Let the client use the socket: redis-cli -s %s.", socket)},
			{Do: fmt.Sprintf("Switch TCP on for this machine alone: port %d and bind 127.0.0.1 -::1 in redis.conf; then restart the server.", p)}}
	case "docker":
		return []Fix{{Do: fmt.Sprintf("Let the client use the socket: DOCKER_HOST=unix://%s, or unset DOCKER_HOST. (Whoever reaches Docker's TCP port is root here: leave it off.)", socket)}}
	case "":
		return []Fix{{Do: fmt.Sprintf("Let the client use the socket: curl --unix-socket %s http://localhost/.", socket)},
			{Do: fmt.Sprintf("Start the server with a TCP address in place of the socket (gunicorn: --bind 127.0.0.1:%d).", p)}}
	}
	return []Fix{{Do: fmt.Sprintf("Let the client use the socket %s.", socket)}, {Do: fmt.Sprintf("Switch on TCP port %d on 127.0.0.1 in the server's configuration, and restart it.", p)}}
}
