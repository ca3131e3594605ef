package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A server that has as many clients as it takes turns the next one away in words.

// limits are those words, as the server says them and its clients repeat them.
var limits = []struct{ words, protocol, setting, do string }{
	{"too many clients already", "postgresql", "max_connections", "Find who holds the connections (SELECT pid, usename, application_name, client_addr, state FROM pg_stat_activity, as a superuser: some are kept for one), and have them closed, or put a pool in between (PgBouncer)"},
	{"remaining connection slots are reserved", "postgresql", "max_connections, of which some are kept for a superuser", "Find who holds the connections (SELECT pid, usename, application_name, client_addr, state FROM pg_stat_activity, as a superuser), and have them closed, or put a pool in between (PgBouncer)"},
	{"too many connections for role", "postgresql", "CONNECTION LIMIT of the role", "Have connections of this role closed (pg_stat_activity shows them), or raise its limit: ALTER ROLE NAME CONNECTION LIMIT N"},
	{"too many connections for database", "postgresql", "CONNECTION LIMIT of the database", "Have connections to this database closed (pg_stat_activity shows them), or raise its limit: ALTER DATABASE NAME CONNECTION LIMIT N"},
	{"no more connections allowed", "postgresql", "max_client_conn", "Find who holds the connections (SHOW CLIENTS, on the database pgbouncer), and have them closed, or raise max_client_conn in pgbouncer.ini"},
	{"max number of clients reached", "redis", "maxclients", "Find who holds the connections (CLIENT LIST, over one that is open), and have them closed, or raise maxclients in redis.conf"},
	{"Too many connections", "mysql", "max_connections", "Find who holds the connections (SHOW PROCESSLIST: one more is kept for an administrator), and have them closed, or raise max_connections"},
	{"Exceeded MaxStartups", "ssh", "MaxStartups", "Find who opens connections and does not log in (ss -tnp), and have them closed, or raise MaxStartups in sshd_config. From its first number on sshd turns clients away at random: the next try may get in"},
}

// limitFixes heal a limit that the words speak of; nil if they speak of none.
func limitFixes(words string) []Fix {
	for _, l := range limits {
		if !strings.Contains(words, l.words) {
			continue
		}
		fixes := []Fix{{Do: l.do + "."}}
		if l.setting == "max_connections" && l.protocol == "postgresql" {
			fixes = append(fixes, Fix{Do: "Raise max_connections in postgresql.conf, and restart the server.", Interrupts: "every connection that it has", Risk: "each one takes memory"})
		}
		return fixes
	}
	return nil
}

// fullFixes heal the limit that PostgreSQL speaks of, in whatever language.
func fullFixes(a *facts.Answer) []Fix {
	if fixes := limitFixes(a.Says); fixes != nil {
		return fixes
	}
	return limitFixes("too many clients already")
}

// metLimit is the limit of which the client repeats what the server said to it, where
// what answers there is that server; -1: none. A place may have come free since, and of those
// that are kept for a superuser PostgreSQL speaks after a login only, which is not tried.
func metLimit(f *facts.Facts, a *facts.Answer) int {
	e := f.Target.Error
	if e == nil || e.Names != "server-acl-or-auth" {
		return -1
	}
	for i, l := range limits {
		if strings.Contains(e.Text, l.words) && a.Protocol == l.protocol {
			return i
		}
	}
	return -1
}

// fullFinding says of such a limit what the client met.
func fullFinding(f *facts.Facts, a *facts.Answer) Finding {
	l := limits[metLimit(f, a)]
	x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Inferred, Brings: []*Check{clientFails}, Fixes: limitFixes(l.words),
		Evidence: append([]Evidence{{"client", f.Target.Error.Text}}, logEvidence(f, a)...)}
	x.Summary = fmt.Sprintf("%s answers, and had as many clients as it takes when this one came (%s).", replier(f, a), l.setting)
	open := pick(f, func(s facts.Socket) bool {
		return s.State == facts.Established && s.Inode != 0 && s.Local.Addr().Unmap() == a.Addr
	})
	if len(open) > 0 {
		x.Evidence = append(x.Evidence, Evidence{"sockets", fmt.Sprintf("it has %s open on %s", plural(len(open), "connection"), at(f, a.Addr))})
	}
	return x
}

// workerLimits are those of servers that take no connection more, or answer none, while all
// their workers have one: what the log says of it, and what the setting is called.
var workerLimits = []struct{ program, words, setting string }{
	{"apache2", "server reached MaxRequestWorkers", "MaxRequestWorkers"}, // AH00161, AH00484
	{"httpd", "server reached MaxRequestWorkers", "MaxRequestWorkers"},
	{"php-fpm", "server reached pm.max_children", "pm.max_children"},
	{"haproxy", "", "maxconn"}, // it says nothing of it
}

// acceptFixes are for a program that does not come to a new connection; a is the answer
// whose log may say why, nil: there is none. One that has as many clients as it takes is
// not stuck: a restart cuts those off, and the next ones fill it again.
func acceptFixes(f *facts.Facts, s facts.Socket, a *facts.Answer) []Fix {
	see := Fix{Do: "See what the program is doing (its log, a stack dump: py-spy, jstack, kill -QUIT for Go), then restart it."}
	setting, said := workerLimit(f, s, a)
	if setting == "" {
		return []Fix{see}
	}
	who := cond(othersServed(f) != "", ": "+othersServed(f), "")
	fix := Fix{Do: fmt.Sprintf("Find who holds its workers (ss -tnp 'sport = :%d'%s), and have those connections closed. Clients that connect and send nothing, or read nothing, hold one each: a shorter time limit ends them (Apache: mod_reqtimeout, Timeout; HAProxy: timeout http-request, timeout client).", f.Target.Port, who)}
	more := Fix{Do: fmt.Sprintf("Raise %s in its configuration, and restart it.", setting), Interrupts: "every connection that it has", Risk: "each one takes memory"}
	if said {
		return []Fix{fix, more}
	}
	fix.Do = fmt.Sprintf("It may have as many clients as it takes (%s). ", setting) + fix.Do
	return []Fix{fix, more, see}
}

// workerLimit names the limit of the program that may be reached; said: its log says so.
func workerLimit(f *facts.Facts, s facts.Socket, a *facts.Answer) (setting string, said bool) {
	p := first(f.Owners.Of(s))
	for _, l := range workerLimits {
		if a != nil && l.words != "" {
			lines, _ := logOf(f, a)
			if slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, l.words) }) {
				return l.setting, true
			}
		}
		if p.Name != "" && strings.HasPrefix(p.Name, l.program) && othersServed(f) != "" {
			setting = l.setting
		}
	}
	return setting, false
}
