package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// serverACLOrAuth: the server's own list of who may do what. It is the broad cause of
// what turns a request away; one that needs no list is a cause of its own.
var serverACLOrAuth = &Check{
	Name:     "server-acl-or-auth",
	Doc:      "the server's own rules of access turn the client away",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials},
	Uses:     []facts.Group{facts.GroupAnswers, facts.GroupSockets, facts.GroupOwners, facts.GroupForwards},
	Explains: []*Check{turnedAway, noAnswer, closedAtOnce, clientFails},
	Run: func(f *facts.Facts) []Finding {
		fs := closedByRule(f)
		for _, a := range asked(f) {
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Brings: []*Check{turnedAway}, Evidence: append([]Evidence{replied(a)}, logEvidence(f, a)...)}
			wrapped := wrappers(a)
			told := toldBy(f, a)
			switch by := deniedBy(told); {
			case by != "":
				x.Evidence[0] = Evidence{"answer", told.Says}
				x.Summary = fmt.Sprintf("%s turns the client away: by %s.", replier(f, a), by)
				x.Fixes = letIn(f, told)
			case a.HTTP != nil && a.HTTP.Status == 403:
				x.Summary = fmt.Sprintf("%s answers 403: it forbids this request by rules of its own.", replier(f, a))
				x.Fixes = forbiddenFixes(f, a)
			case a.HTTP != nil && a.HTTP.Status == 401:
				x.Remark = true
				x.Summary = fmt.Sprintf("%s works and wants a login: it answers 401%s.", replier(f, a), cond(a.HTTP.Get("WWW-Authenticate") != "", " ("+a.HTTP.Get("WWW-Authenticate")+")", ""))
				x.Fixes = []Fix{{Do: "Give the client a user and a password, or a token."}}
			case strings.HasPrefix(a.Says, "-NOAUTH"):
				x.Remark = true
				x.Evidence[0] = Evidence{"answer", a.Says}
				x.Summary = fmt.Sprintf("%s works and wants a password first.", replier(f, a))
				x.Fixes = []Fix{{Do: "Give the client the password: redis://:PASSWORD@…, or redis-cli --askpass."}}
			case strings.HasPrefix(a.Says, "-NOPERM"):
				x.Remark = true
				x.Evidence[0] = Evidence{"answer", a.Says}
				x.Summary = fmt.Sprintf("%s works, and its ACL lets a client that has not logged in give no PING.", replier(f, a))
				x.Fixes = []Fix{{Do: "Give the client a user and a password that may: redis://USER:PASSWORD@…."}}
			case len(wrapped) > 0:
				x.Certainty, x.Brings = Inferred, []*Check{noAnswer, closedAtOnce}
				x.Evidence = append([]Evidence{replied(a)}, wrapped...)
				x.Summary = fmt.Sprintf("%s says no word to this client, which %s denies: TCP wrappers (libwrap) keep it away.", replier(f, a), list(sourcesOf(wrapped)))
				x.Fixes = []Fix{{Do: fmt.Sprintf("Allow loopback: a line \"%s: localhost, 127.0.0.1, [::1]\" in /etc/hosts.allow, which is read first.", daemon(f, a)), Risk: "every process of this machine can then connect"}}
			case refusedLogin(f, a):
				x.Certainty, x.Brings = Inferred, []*Check{clientFails}
				if lines, _ := logOf(f, a); slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "pg_hba.conf") }) {
					x.Certainty = Proven
				}
				x.Evidence[0] = Evidence{"client", f.Target.Error.Text}
				x.Summary = fmt.Sprintf("%s answers, and its pg_hba.conf turns this client's user, database or address away.", replier(f, a))
				x.Fixes = letIn(f, a)
			case metLimit(f, a) >= 0:
				x = fullFinding(f, a)
			default:
				continue
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// refusedLogin tells whether the client repeats what PostgreSQL said to it, and what
// answers there is PostgreSQL. A login is not tried.
func refusedLogin(f *facts.Facts, a *facts.Answer) bool {
	e := f.Target.Error
	return e != nil && e.Names == "server-acl-or-auth" && a.Protocol == "postgresql" && strings.Contains(e.Text, "pg_hba.conf")
}

// letIn is how servers that do not speak HTTP are told to let the client in.
func letIn(f *facts.Facts, a *facts.Answer) []Fix {
	from := netip.PrefixFrom(a.Addr, a.Addr.BitLen())
	switch {
	case strings.HasPrefix(a.Says, "-DENIED"):
		return []Fix{
			{Do: fmt.Sprintf("Connect to 127.0.0.1:%d: in protected mode Redis serves loopback addresses.", f.Target.Port)},
			{Do: "Set a password (requirepass, or an ACL) in redis.conf, and give it to the client."},
		}
	case isFull(a):
		return fullFixes(a)
	case a.Protocol == "postgresql":
		return []Fix{{Do: fmt.Sprintf("Put a line for the client before those that reject it in pg_hba.conf, as \"host DATABASE USER %s scram-sha-256\", and reload: SELECT pg_reload_conf().", from)}}
	case strings.Contains(a.Says, "many connection errors"):
		return []Fix{{Do: "Let the server forget them: mysqladmin flush-hosts."}}
	case limitFixes(a.Says) != nil:
		return limitFixes(a.Says)
	case strings.Contains(a.Says, "is not allowed to connect"):
		return []Fix{{Do: fmt.Sprintf("Create an account for that host: CREATE USER 'NAME'@'%s' ….", a.Addr)}}
	}
	return []Fix{{Do: "Allow the client in the server's configuration."}}
}

// forbiddenFixes go by what the server's log says; without one they say where to look.
func forbiddenFixes(f *facts.Facts, a *facts.Answer) []Fix {
	lines, _ := logOf(f, a)
	for _, x := range []struct{ words, do string }{
		{"client denied by server configuration", "Allow the request in Apache's configuration: Require local, or Require all granted, in the <Directory> or <Location> that it is about."},
		{"access forbidden by rule", "Allow the client in nginx's configuration: allow 127.0.0.1; allow ::1; before the deny that it meets."},
		{"directory index of", "There is no index file: put an index.html there, or name the file in the URL."},
		{"Cannot serve directory", "There is no index file: put an index.html there, or name the file in the URL."},
		{"Permission denied", "Let the server's user read the file, and enter every directory above it (namei -l FILE shows which one it cannot)."},
		{"CSRF", "Send the CSRF token, or list the origin in CSRF_TRUSTED_ORIGINS."},
	} {
		if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, x.words) }) {
			return []Fix{{Do: x.do}}
		}
	}
	return []Fix{{Do: "See the server's log for the rule that it applied, and allow this client, path or method there."}}
}

// wrappers are the lines of hosts.deny that concern a server which said no word. Most
// programs close the connection at once then; who leaves it to libwrap, as sshd does,
// closes it after five silent seconds (measured; clean_exit.c of libwrap sleeps).
func wrappers(a *facts.Answer) []Evidence {
	if a.Bytes > 0 || a.End == facts.NotAsked {
		return nil
	}
	var out []Evidence
	for _, l := range a.Access {
		out = append(out, Evidence{l.From, l.Text})
	}
	return out
}

func sourcesOf(es []Evidence) []string {
	var out []string
	for _, e := range es {
		out = append(out, e.Source)
	}
	return out
}

// daemon is what hosts.allow calls the server.
func daemon(f *facts.Facts, a *facts.Answer) string {
	if p := first(f.Owners.Of(first(serving(f, a.Addr)))); p.Name != "" {
		return p.Name
	}
	return "ALL"
}
