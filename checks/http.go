package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The server answers, and turns the request away.

// further returns the answers of the same server to the same client's further
// questions: those whose With begins so.
func further(f *facts.Facts, to *facts.Answer, with string) []*facts.Answer {
	var out []*facts.Answer
	for i := range f.Answers {
		a := &f.Answers[i]
		if a.Addr == to.Addr && a.As == to.As && a.AsPID == to.AsPID && strings.HasPrefix(a.With, with) && a.With != "" {
			out = append(out, a)
		}
	}
	return out
}

// log returns what the server's log said while it answered.
func logOf(f *facts.Facts, to *facts.Answer) (lines []string, from string) {
	for _, a := range further(f, to, facts.WithLog) {
		if len(a.Log) > 0 {
			return a.Log, a.LogFrom
		}
	}
	return to.Log, to.LogFrom
}

// replied is the evidence of an answer: the question, what came, its first line.
func replied(a *facts.Answer) Evidence {
	text := inShort(a)
	if a.HTTP != nil && a.HTTP.Body != "" && a.HTTP.Body != fmt.Sprintf("%d %s", a.HTTP.Status, a.HTTP.Reason) {
		text += ": " + a.HTTP.Body
	}
	if a.With != "" && a.With != facts.WithLog {
		text = a.With + ": " + text
	}
	return Evidence{"answer", text}
}

// inShort is an answer in a few words: "403 Forbidden", "end of file after 3 ms".
func inShort(a *facts.Answer) string {
	if a.HTTP != nil {
		return strings.TrimSpace(fmt.Sprintf("%d %s", a.HTTP.Status, a.HTTP.Reason))
	}
	return fmt.Sprintf("%s after %.0f ms", a.End, a.ElapsedMS)
}

// logEvidence quotes the server's log.
func logEvidence(f *facts.Facts, a *facts.Answer) []Evidence {
	var out []Evidence
	lines, from := logOf(f, a)
	for _, l := range lines {
		out = append(out, Evidence{from, l})
	}
	return out
}

// replier is who answers: the process that listens, or what the answer calls itself.
func replier(f *facts.Facts, a *facts.Answer) string {
	if ls := serving(f, a.Addr); len(ls) > 0 && len(f.Owners.Of(ls[0])) > 0 {
		return holder(f, ls[0])
	}
	if s := a.HTTP.Get("Server"); s != "" {
		return s
	}
	return "The server"
}

// turnsAway tells whether an answer says that the server will not serve this client
// or this request. It is not 401, nor Redis' NOAUTH: who asks for a login works.
func turnsAway(_ *facts.Facts, a *facts.Answer) bool {
	return a.HTTP != nil && slices.Contains([]int{400, 403, 421, 431}, a.HTTP.Status) || deniedBy(a) != ""
}

// deniedBy tells what turns the client away in the words of a server that does not
// speak HTTP; empty if nothing does.
func deniedBy(a *facts.Answer) string {
	for _, x := range []struct{ words, what string }{
		{"-DENIED Redis is running in protected mode", "Redis' protected mode"},
		{"-DENIED", "Redis"},
		{"SQLSTATE 53300", "the limit of its clients (max_connections)"},              // PostgreSQL, in whatever language
		{"no more connections allowed", "the limit of its clients (max_client_conn)"}, // PgBouncer
		{"no pg_hba.conf entry for", "pg_hba.conf"},
		{"pg_hba.conf rejects", "pg_hba.conf"},
		{"is not allowed to connect to this M", "the server's table of accounts"}, // MySQL, MariaDB: error 1130
		{"-ERR max number of clients reached", "the limit of its clients (maxclients)"},
		{"Too many connections", "the limit of its clients (max_connections)"}, // MySQL, MariaDB: error 1040
		{"Exceeded MaxStartups", "the limit of its clients that have not logged in yet (MaxStartups)"},
		{"is blocked because of many connection errors", "the server's count of failed connections"},
	} {
		if strings.Contains(a.Says, x.words) {
			return x.what
		}
	}
	return ""
}

// hostGuards is how servers say that they do not know a host name, and where each is
// told which ones to know. %s is the name.
var hostGuards = []struct{ words, who, do string }{
	{"Blocked request. This host", "Vite", "Add '%s' to server.allowedHosts in vite.config (preview.allowedHosts for vite preview)."},
	{"Invalid Host header", "webpack-dev-server", "Add '%s' to the server's list of allowed hosts: devServer.allowedHosts of webpack, allowed_hosts of an MCP server or of Starlette."},
	{"Invalid host header", "Starlette", "Add '%s' to allowed_hosts of TrustedHostMiddleware."},
	{"Invalid HTTP_HOST header", "Django", "Add '%s' to ALLOWED_HOSTS in the settings."},
	{"DisallowedHost", "Django", "Add '%s' to ALLOWED_HOSTS in the settings."},
	{"Blocked host", "Rails", "Add '%s' to config.hosts in config/environments/development.rb."},
	{"non-local 'Host'", "Jupyter", "Start it with --ServerApp.local_hostnames='%s'."},
	{"Invalid Hostname", "ASP.NET", "Add '%s' to AllowedHosts in appsettings.json."},
}

// hostGuard finds such words in an answer that turns the request away, or in what the
// server's log said meanwhile. A page that merely speaks of them is none.
func hostGuard(f *facts.Facts, a *facts.Answer) (do string, found bool, by Certainty) {
	lines, _ := logOf(f, a)
	for _, g := range hostGuards {
		if strings.Contains(a.HTTP.Body, g.words) || strings.Contains(a.HTTP.Reason, g.words) ||
			slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, g.words) }) {
			return g.do, true, Proven
		}
	}
	// The page that Django has for what it distrusts (django/views/defaults.py) names no
	// reason; the host name is nearly always the one.
	if a.HTTP.Status == 400 && a.HTTP.Body == "Bad Request (400)" {
		return "Add '%s' to ALLOWED_HOSTS in Django's settings.", true, Inferred
	}
	return "Add '%s' to the list of host names that the server accepts.", false, Proven
}

var hostHeaderCheck = &Check{
	Name:     "host-header-check",
	Doc:      "the server accepts only host names that it knows, and the client uses another",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{turnedAway, clientFails},
	Refines:  []*Check{serverACLOrAuth},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if o := hostRefused(f, a); o != nil {
				name := strings.TrimPrefix(o.With, facts.WithHost)
				do, _, _ := hostGuard(f, o)
				fs = append(fs, Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Brings: []*Check{clientFails},
					Summary:  fmt.Sprintf("%s answers %d to the host name %s, which it does not know; it serves %s.", replier(f, a), o.HTTP.Status, name, f.Target.Host),
					Evidence: []Evidence{{"client", f.Target.Error.Text}, replied(a), replied(o)},
					Fixes: []Fix{{Do: fmt.Sprintf(do, name), Risk: guardsDNS},
						{Do: fmt.Sprintf("Let the tunnel or proxy in front send a name that the server knows: --host-header=%s of ngrok, proxy_set_header Host of nginx.", f.Target.Host)}}})
				continue
			}
			if a.HTTP == nil || !slices.Contains([]int{400, 403, 421}, a.HTTP.Status) {
				continue
			}
			var takes, not []string
			evidence := []Evidence{replied(a)}
			for _, o := range further(f, a, facts.WithHost) {
				switch {
				case o.HTTP == nil:
				case turnsAway(f, o):
					not = append(not, strings.TrimPrefix(o.With, facts.WithHost))
					evidence = append(evidence, replied(o))
				default:
					takes = append(takes, strings.TrimPrefix(o.With, facts.WithHost))
					evidence = append(evidence, replied(o))
				}
			}
			do, known, certainty := hostGuard(f, a)
			if len(takes) == 0 && !known {
				continue
			}
			name := f.Target.Host
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: cond(len(takes) > 0, Proven, certainty), Evidence: append(evidence, logEvidence(f, a)...)}
			if x.Certainty == Inferred {
				x.Settle = "DEBUG = True in Django's settings, for a moment: its page then names the reason"
			}
			x.Brings = []*Check{turnedAway}
			x.Summary = fmt.Sprintf("%s answers %d to the host name %s, which it does not know", replier(f, a), a.HTTP.Status, name)
			if len(takes) > 0 {
				x.Summary += fmt.Sprintf("; it serves %s.", list(takes))
				x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Use a name that it knows: %s.", withHost(f, takes[0]))})
			} else {
				x.Summary += cond(len(not) > 0, fmt.Sprintf(", nor %s.", list(not)), ".")
			}
			x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf(do, name),
				Risk: guardsDNS})
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

const guardsDNS = "allow that name and not all: the check keeps websites from reaching the server through DNS (rebinding)"

// hostRefused finds the question with the host name of which the client's error speaks,
// if that is turned away and the one with the target's is not: the client came through a
// tunnel or a proxy.
func hostRefused(f *facts.Facts, a *facts.Answer) *facts.Answer {
	if !clientSays(f, "host-header-check") || a.HTTP == nil || turnsAway(f, a) {
		return nil
	}
	o := first(further(f, a, facts.WithHost))
	if o == nil || !turnsAway(f, o) || o.HTTP == nil {
		return nil
	}
	return o
}

// withHost is the URL of the target at another host and port.
func withHost(f *facts.Facts, host string) string {
	scheme, rest, ok := strings.Cut(f.Target.URL, "://")
	if !ok {
		return "http://" + host + "/"
	}
	_, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + host + "/" + path
}

// tooLarge tells whether an answer says that the header fields are too many or too
// long: 431 (RFC 6585 section 5), or what older servers say with a 400.
func tooLarge(a *facts.Answer) bool {
	if a.HTTP == nil {
		return false
	}
	words := a.HTTP.Reason + " " + a.HTTP.Body
	return a.HTTP.Status == 431 || a.HTTP.Status == 400 && slices.ContainsFunc([]string{"Header Or Cookie Too Large", "Header Fields Too Large", "header field exceeds", "Header Line Too Long", "exceeds server limit", "Request Header Too Long"},
		func(w string) bool { return strings.Contains(strings.ToLower(words), strings.ToLower(w)) })
}

// cookieTooLarge finds the question with a large Cookie that was refused where the
// same one without it was not.
func cookieTooLarge(f *facts.Facts, a *facts.Answer) *facts.Answer {
	if a.HTTP == nil || turnsAway(f, a) {
		return nil
	}
	for _, big := range further(f, a, facts.WithCookie) {
		if big.HTTP != nil && slices.Contains([]int{400, 413, 431}, big.HTTP.Status) || big.HTTP == nil && (big.End == facts.Reset || big.End == facts.EndOfFile) {
			return big
		}
	}
	return nil
}

var headersTooLarge = &Check{
	Name:     "headers-too-large",
	Doc:      "the client's header fields, of which cookies are the most, are more than the server takes",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{turnedAway, clientFails},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Evidence: []Evidence{replied(a)}}
			big := cookieTooLarge(f, a)
			switch {
			case tooLarge(a):
				x.Summary = fmt.Sprintf("%s takes fewer bytes of header fields than any client sends: it answers %d to %d bytes.", replier(f, a), a.HTTP.Status, a.Sent)
				x.Brings = []*Check{turnedAway}
				x.Fixes = []Fix{{Do: "Raise the limit of the server: " + headerLimits + "."}}
			case big != nil:
				x.Summary = fmt.Sprintf("%s serves the request, and answers %s once a Cookie of 20 kB is with it: a browser sends the cookies of every port of localhost to each.", replier(f, a), inShort(big))
				x.Brings = []*Check{clientFails}
				x.Evidence = append(x.Evidence, replied(big))
				x.Fixes = []Fix{
					{Do: fmt.Sprintf("Delete the cookies of %s in the browser (developer tools, Application, Cookies).", f.Target.Host), Interrupts: "you are logged out of what runs on the other ports of that name"},
					{Do: fmt.Sprintf("Use another name of loopback, which has cookies of its own: %s.", withHost(f, otherName(f)))},
					{Do: "Raise the limit of the server: " + headerLimits + "."},
				}
			default:
				continue
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

const headerLimits = "node --max-http-header-size=65536, large_client_header_buffers 4 64k of nginx, --limit-request-field_size of gunicorn"

// otherName is a name of loopback that the client does not use yet.
func otherName(f *facts.Facts) string {
	host := cond(facts.IsLocalhost(f.Target.Host), "127.0.0.1", "localhost")
	return host + ":" + strconv.Itoa(int(f.Target.Port))
}
