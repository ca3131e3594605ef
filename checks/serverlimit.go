package checks

import (
	"fmt"
	"net/netip"
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

// metLimit is the limit of which the client repeats what the server said to it, where
// what answers there is that server; -1: none. PostgreSQL says it after a login only, which
// is not tried; of the others a place may have come free since.
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
