package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What the configuration of a server says of where it listens, and how it is told
// something else, in its own words.

// usualServers are the programs that own a well-known port, as they are called in
// facts.ConfigLine.
var usualServers = map[uint16][]string{22: {"sshd"}, 80: {"nginx", "apache", "caddy"}, 443: {"nginx", "apache", "caddy"}, 3306: {"mysql"}, 5432: {"postgresql"}, 6379: {"redis"}}

// usualPorts are those at which a project is served if its files say nothing.
var usualPorts = map[string][]uint16{".env": {3000, 5000, 8000, 8080}, "package.json": {3000, 5173, 8080}, "vite": {5173}, "spring": {8080}}

// configLines returns the lines of configuration that fit.
func configLines(f *facts.Facts, fits func(facts.ConfigLine) bool) []facts.ConfigLine {
	if f.Configs == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(f.Configs.Lines), func(l facts.ConfigLine) bool { return !fits(l) })
}

// namesPort tells whether the line makes a server listen on the port, or a client
// use it.
func namesPort(l facts.ConfigLine, port uint16) bool {
	return l.Port != 0 && (l.Port == port || l.Port < port && port <= l.LastPort)
}

// nearPorts tells whether one could be the other: who finds a port taken counts up.
func nearPorts(a, b uint16) bool { return a != 0 && max(a, b)-min(a, b) <= 10 }

// configEvidence quotes a line.
func configEvidence(l facts.ConfigLine) Evidence {
	return Evidence{fmt.Sprintf("%s:%d", l.File, l.Line), l.Text}
}

// lineOf returns the line that makes the server of the socket listen as it does:
// the one about its device or IPV6_V6ONLY if that is the matter, else the one with
// its address, else the one with its port alone.
func lineOf(f *facts.Facts, s facts.Socket) *facts.ConfigLine {
	var best *facts.ConfigLine
	most := 0
	for _, l := range configLines(f, func(l facts.ConfigLine) bool { return !l.Upstr && !l.UDP && !l.Off && l.Bad == "" && l.Unix == "" }) {
		local := s.Local.Addr().Unmap()
		fits := 0
		switch {
		case l.Port != 0 && !namesPort(l, s.Local.Port()):
		case l.Device != "" && l.Device == s.Device:
			fits = 5
		case s.V6Only && l.V6Only != nil && *l.V6Only && (l.Addr == local || !l.Addr.IsValid()):
			fits = 4
		case l.Addr.IsValid() && l.Addr == local:
			fits = cond(l.Port != 0, 4, 3)
		// Of a name it is not known here what it stands for.
		case l.Host == "localhost" && local.IsLoopback(), l.Host != "" && l.Host != "localhost" && l.Program != ".env":
			fits = 2
		case l.Port != 0 && !l.Addr.IsValid() && l.Host == "":
			fits = 1
		}
		if fits > most {
			most, best = fits, &l
		}
	}
	return best
}

// inConfig adds to a finding about a socket the line that makes its server listen
// there, and how to write that it shall listen at the address too.
func inConfig(f *facts.Facts, s facts.Socket, at netip.Addr, x Finding) []Finding {
	l := lineOf(f, s)
	if l == nil {
		return []Finding{x}
	}
	x.Evidence = append(slices.Clip(x.Evidence), configEvidence(*l))
	write := alsoAt(f, *l, netip.AddrPortFrom(at, s.Local.Port()))
	if write == "" {
		return []Finding{x}
	}
	if l.Device != "" && l.Device == s.Device {
		write, x.Fixes = "take the device out", nil
	}
	fix := Fix{Do: fmt.Sprintf("In %s, line %d (`%s`), %s, then %s.", l.File, l.Line, l.Text, write, reload(f, s, l.Program))}
	x.Fixes = append([]Fix{fix}, x.Fixes...)
	return []Finding{x}
}

// alsoAt says what to write so that a server listens at one more address. Some
// programs have a line for each, others one line with a list, others one address.
// Empty: whether the server would read such a line is not known.
func alsoAt(f *facts.Facts, l facts.ConfigLine, at netip.AddrPort) string {
	below := func(text string) string { return fmt.Sprintf("add below it `%s`", text) }
	instead := func(text string) string { return fmt.Sprintf("write instead `%s`", text) }
	var listed []string
	for _, o := range configLines(f, func(o facts.ConfigLine) bool { return o.File == l.File && o.Line == l.Line }) {
		listed = append(listed, cond(o.Addr.IsValid(), o.Addr.String(), o.Host))
	}
	listed = slices.DeleteFunc(append(listed, at.Addr().String()), func(s string) bool { return s == "" })
	switch l.Program {
	case "nginx":
		return below(fmt.Sprintf("listen %s;", at))
	case "apache":
		return below(fmt.Sprintf("Listen %s", at))
	case "haproxy":
		return below(fmt.Sprintf("bind %s", at))
	case "systemd":
		return below(fmt.Sprintf("ListenStream=%s", at))
	case "sshd":
		return below(fmt.Sprintf("ListenAddress %s", at.Addr()))
	case "caddy":
		if strings.HasPrefix(l.Text, "bind ") {
			return instead("bind " + strings.Join(listed, " "))
		}
		return below(fmt.Sprintf("bind %s", at.Addr()))
	case "redis":
		return cond(l.Port == 0, instead, below)("bind " + strings.Join(listed, " "))
	case "postgresql":
		return cond(l.Port == 0, instead, below)(fmt.Sprintf("listen_addresses = '%s'", strings.Join(listed, ", ")))
	case "mysql":
		return cond(l.Port == 0, instead, below)(fmt.Sprintf("bind-address = %s", at.Addr()))
	case "vite":
		return cond(l.Port == 0, instead, below)(fmt.Sprintf("host: '%s',", at.Addr()))
	case "spring":
		return cond(l.Port == 0, instead, below)(fmt.Sprintf("server.address=%s", at.Addr()))
	}
	if l.Program == "package.json" {
		return fmt.Sprintf("give the command --host %s", at.Addr())
	}
	if l.Program == ".env" && l.Port == 0 {
		return fmt.Sprintf("write the address %s", at.Addr())
	}
	return ""
}

// reload says how the program of a socket reads its configuration again. What
// listens is settled at the start for some: these have to be restarted.
func reload(f *facts.Facts, s facts.Socket, program string) string {
	ps := f.Owners.Of(s)
	restart := slices.Contains([]string{"redis", "postgresql", "mysql", "caddy"}, program)
	unit := ""
	for _, p := range ps {
		if strings.HasSuffix(p.Unit, ".service") && !strings.HasPrefix(p.Unit, "user@") {
			unit = p.Unit
		}
	}
	switch {
	case program == "systemd":
		return "run systemctl daemon-reload, and restart the socket unit"
	case unit != "":
		return fmt.Sprintf("run systemctl %s %s", cond(restart, "restart", "reload"), unit)
	case len(ps) > 0 && program == "nginx", len(ps) > 0 && program == "sshd":
		return fmt.Sprintf("let it read the file again (kill -HUP %d)", ps[0].PID)
	case len(ps) > 0 && program == "apache":
		return fmt.Sprintf("let it read the file again (kill -USR1 %d)", ps[0].PID)
	}
	return "restart the server"
}

// withConfig adds to "nothing listens" what configuration says of this very port,
// and of the ports next to it. It accuses nobody.
func withConfig(f *facts.Facts, x Finding) Finding {
	t := f.Target
	exact := configLines(f, func(l facts.ConfigLine) bool { return namesPort(l, t.Port) })
	// "3000;" is meant as 3000.
	near := configLines(f, func(l facts.ConfigLine) bool {
		return !l.Upstr && !namesPort(l, t.Port) && (nearPorts(l.Port, t.Port) || strings.Contains(l.Bad, strconv.Itoa(int(t.Port))))
	})
	const some = 3
	for _, l := range slices.Concat(exact[:min(some, len(exact))], near[:min(some, len(near))]) {
		x.Evidence = append(slices.Clip(x.Evidence), configEvidence(l))
	}
	for what := range strings.SplitSeq(unread(f), "; ") {
		if slices.ContainsFunc(usualServers[t.Port], func(s string) bool { return strings.Contains(what, s) }) {
			x.Evidence = append(x.Evidence, Evidence{"not read", what})
		}
	}
	// A unit of a distribution is there without being wanted.
	told := slices.DeleteFunc(exact, func(l facts.ConfigLine) bool { return l.Upstr || l.Program == "systemd" })
	if len(told) == 0 || len(listeners(f)) > 0 {
		return x
	}
	var servers []string
	for _, l := range told {
		servers = append(servers, cond(l.Project, "the server of this project", l.Program))
	}
	slices.Sort(servers)
	fix := Fix{Do: fmt.Sprintf("Start %s, or restart it if it runs: %s, line %d, tells it to listen there (`%s`).", servers[0], told[0].File, told[0].Line, told[0].Text)}
	if servers = slices.Compact(servers); len(servers) > 1 {
		fix.Do = fmt.Sprintf("Start the one that you mean: %s are told to listen there.", list(servers))
	}
	x.Fixes = append([]Fix{fix}, x.Fixes...)
	return x
}

// unread is the files of configuration that could not be read.
func unread(f *facts.Facts) string {
	if f.Configs == nil {
		return ""
	}
	return f.Configs.Partial
}
