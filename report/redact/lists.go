package redact

import (
	"net/netip"
	"strings"
)

// each returns a text with each of its words, between the given separators, as of says.
func each(s, separators string, of func(word string) string) string {
	var b strings.Builder
	for s != "" {
		n := strings.IndexAny(s, separators)
		if n < 0 {
			n = len(s)
		}
		if n == 0 {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		b.WriteString(of(s[:n]))
		s = s[n:]
	}
	return b.String()
}

const blank = " \t\r\n"

// hostsLine is a line of a hosts file with its address and its names as of says. Its
// comment is left out, unless it is a line of names itself.
func hostsLine(s string, of func(name string) string) string {
	entry, comment, is := strings.Cut(s, "#")
	out := each(entry, blank, of)
	if !is {
		return out
	}
	comment, _, _ = strings.Cut(comment, "#")
	if f := strings.Fields(comment); len(f) > 1 {
		if _, err := netip.ParseAddr(f[0]); err == nil {
			return out + "#" + each(comment, blank, of)
		}
	}
	return strings.TrimRight(out, blank)
}

// The words that an access list has in the place of a name: hosts_access(5), and those
// of pg_hba.conf.
var everybody = lazySet(`all local known unknown paranoid except samehost samenet sameuser samerole samegroup replication`)

// access is a line of hosts.deny or pg_hba.conf with its users and its hosts as told.
func access(s string, user, host func(string) string) string {
	named := func(of func(string) string) func(string) string {
		return func(w string) string {
			if everybody()[strings.ToLower(strings.Trim(w, `"`))] {
				return w
			}
			return of(w)
		}
	}
	rest := strings.TrimLeft(s, blank)
	kind, _, _ := strings.Cut(strings.ReplaceAll(rest, "\t", " "), " ")
	if strings.Contains(" local host hostssl hostnossl hostgssenc hostnogssenc ", " "+kind+" ") && kind != "" {
		return postgresLine(s, kind, named(user), named(host))
	}
	daemons, clients, ok := strings.Cut(s, ":")
	if !ok {
		return s
	}
	clients, command, more := strings.Cut(clients, " :") // a shell command may follow
	if more {
		command = " :" + command
	}
	return daemons + ":" + each(clients, blank+",", func(w string) string {
		if u, h, ok := strings.Cut(w, "@"); ok {
			return named(user)(u) + "@" + named(host)(h)
		}
		return named(host)(w)
	}) + command
}

// postgresLine is access for a line of pg_hba.conf: TYPE DATABASE USER [ADDRESS] METHOD.
func postgresLine(s, kind string, user, host func(string) string) string {
	field := 0
	return each(s, blank, func(w string) string {
		field++
		switch {
		case field == 3:
			return each(w, `,"+`, user)
		case field == 4 && kind != "local":
			return host(w)
		}
		return w
	})
}

// entryOf is a line of pg_hba.conf without its type: "host shop" names no host.
func entryOf(s string) string {
	if kind, rest, ok := strings.Cut(s, " "); ok && strings.HasPrefix(kind, "host") && !strings.Contains(kind, ":") {
		return rest
	}
	return s
}
