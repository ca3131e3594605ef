package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The server answers with an error of its own, late, or with another address.

// gateways are programs that answer for somebody else: by Server, or by the process.
var gateways = []string{"nginx", "apache2", "httpd", "caddy", "haproxy", "traefik", "envoy", "squid", "varnishd"}

// gateway names the reverse proxy that gave the answer; empty if none is known.
func gateway(f *facts.Facts, a *facts.Answer) string {
	for _, p := range f.Owners.Of(first(serving(f, a.Addr))) {
		if slices.Contains(gateways, p.Name) {
			return p.Name
		}
	}
	said := strings.ToLower(a.HTTP.Get("Server"))
	for _, g := range append(gateways, "apache") {
		if strings.HasPrefix(said, g) {
			return g
		}
	}
	// HAProxy has no Server field, and this text (src/http.c).
	if strings.Contains(a.HTTP.Body, "No server is available to handle this request") {
		return "haproxy"
	}
	return ""
}

// behind tells whether an error is one of what stands behind a gateway: 502 and 504
// say so (RFC 9110 sections 15.6.3 and 15.6.5). 503 does where the gateway is one that
// says it of a backend which refuses.
//
// What it was told to answer itself is its own, and a page that is not the gateway's is
// of the one behind, which answers then.
func behind(f *facts.Facts, a *facts.Answer) bool {
	if a.HTTP.Status < 502 || a.HTTP.Status > 504 {
		return false
	}
	lines, _ := logOf(f, a)
	own := ownOn(f, a.Addr, a.HTTP.Status)
	switch {
	case slices.ContainsFunc(lines, func(l string) bool { return upstreamIn(l) != "" }):
		return true
	case own != nil && (!own.Maybe || !mayBeUpstreams(own.Kind, a.HTTP.Status)), len(passedOn(f, a)) > 0:
		return false
	case a.HTTP.Status == 503:
		return gateway(f, a) == "haproxy" && !foreignPage(f, a)
	}
	return true
}

// upstreamIn reads where a gateway led from a line of its log:
//
//	… connect() failed (111: Connection refused) while connecting to upstream, … upstream: "http://127.0.0.1:3000/", host: "localhost"
//	[proxy:error] … AH00957: http: attempt to connect to 127.0.0.1:3000 (127.0.0.1:3000) failed
func upstreamIn(line string) string {
	if _, rest, ok := strings.Cut(line, `upstream: "`); ok {
		to, _, _ := strings.Cut(rest, `"`)
		// The path is the client's, and may hold anything.
		if scheme, host, ok := strings.Cut(to, "://"); ok && !strings.HasPrefix(host, "unix:") && !pasteable(to) {
			host, _, _ = strings.Cut(host, "/")
			to = scheme + "://" + host + "/"
		}
		return to
	}
	if _, rest, ok := strings.Cut(line, "attempt to connect to "); ok {
		rest = strings.TrimPrefix(rest, "Unix domain socket ")
		to, _, _ := strings.Cut(rest, " ")
		return to
	}
	return ""
}

// pasteable tells whether a place that was read from a log is a URL or host:port, and
// nothing that a shell would take for more.
func pasteable(s string) bool {
	return s != "" && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/[]_-") == "" && !strings.Contains(s, "unix:")
}

// upstreamWord is what a log says of an upstream, and what heals it, if that is not
// found out by asking the upstream.
type upstreamWord struct{ words, and, what, do string }

var upstreamWords = []upstreamWord{
	{"(111: ", "", "refuses its connections", ""},
	{"Connection refused", "", "refuses its connections", ""},
	{"connect() to unix:", "(13: Permission denied)", "listens on a socket that the proxy may not open (permission denied)", letWrite},
	{"(13)Permission denied", "Unix domain socket", "listens on a socket that the proxy may not open (permission denied)", letWrite},
	{"(13: Permission denied) while connecting to upstream", "", "is one that the proxy may not connect to (permission denied)", "SELinux may keep the proxy from it: sudo ausearch -m AVC -ts recent shows it, and sudo setsebool -P httpd_can_network_connect 1 allows it (undo: the same with 0)."},
	{"(110: ", "", "is too slow to answer it", ""},
	{"prematurely closed", "", "closes without an answer", ""},
	{"wrong version number", "", "speaks no TLS", ""},
	{"no live upstreams", "", "has failed too often, so it is not tried", ""},
	{"too big header", "", "answers with a head that is larger than the proxy's buffer", "See what that one puts into the head of its answer (a large Set-Cookie), or give nginx a larger buffer for it: proxy_buffer_size 16k; proxy_buffers 8 16k; (fastcgi_… and the like have their own), and reload it."},
	{"no valid HTTP/1.0 header", "", "answers with something that is no HTTP", ""},
}

var upstreamFails = &Check{
	Name:     "upstream-fails",
	Doc:      "a reverse proxy answers, and the server behind it does not answer the proxy",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupForwards},
	Explains: []*Check{serverError},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if a.HTTP == nil || a.HTTP.Status < 500 || !behind(f, a) {
				continue
			}
			// Which one it is and why it fails shows a look at the proxy's own
			// configuration. This is the broader word: what the answer and the log say.
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Inferred, Evidence: append([]Evidence{replied(a)}, logEvidence(f, a)...)}
			to := ""
			lines, _ := logOf(f, a)
			for _, l := range lines {
				if to = upstreamIn(l); to != "" {
					x.Certainty = Proven // the proxy itself says where it failed
					break
				}
			}
			what := cond(a.HTTP.Status == 504, "is too slow to answer it", "does not answer it properly")
			why := upstreamWord{}
			if i := slices.IndexFunc(upstreamWords, func(w upstreamWord) bool {
				return slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, w.words) && strings.Contains(l, w.and) })
			}); i >= 0 {
				why = upstreamWords[i]
				what = why.what
			}
			who := replier(f, a)
			x.Summary = fmt.Sprintf("%s answers %d: the server behind it%s %s.", who, a.HTTP.Status, cond(to != "", ", "+to+",", ""), what)
			if why.do != "" {
				x.Fixes = []Fix{{Do: why.do}}
			} else {
				x.Fixes = []Fix{{Do: cond(pasteable(to), "See why that one does not answer: loopdoctor "+to, "See in the proxy's configuration and log where it leads, and ask loopdoctor about that address") + "."}}
			}
			if x.Certainty == Inferred && f.Target.URL != "" && len(f.Owners.Of(first(serving(f, a.Addr)))) == 0 {
				x.Settle = "sudo loopdoctor " + f.Target.URL // whose configuration it is shows then
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var applicationError = &Check{
	Name:     "application-error",
	Doc:      "the application fails while it answers",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupForwards},
	Explains: []*Check{serverError},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if x, ok := stateFinding(f, a); ok && f.Target.Speak != facts.AskGuess {
				fs = append(fs, x)
				continue
			}
			if a.HTTP == nil || a.HTTP.Status < 500 || behind(f, a) {
				continue
			}
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Evidence: append([]Evidence{replied(a)}, logEvidence(f, a)...)}
			lines, from := logOf(f, a)
			why := a.HTTP.Body
			if len(lines) > 0 {
				why = lines[len(lines)-1]
			}
			said := fmt.Sprintf("%d %s%s", a.HTTP.Status, a.HTTP.Reason, cond(why != "", fmt.Sprintf(", %q", why), ""))
			x.Summary = fmt.Sprintf("%s is reached, and fails while it answers: %s.", replier(f, a), said)
			x.Fixes = []Fix{{Do: cond(from != "", fmt.Sprintf("Mend what its log says (%s); the network has no part in it.", from), "See its log for the error; the network has no part in it.")}}
			own, ways := ownOn(f, a.Addr, a.HTTP.Status), passedOn(f, a)
			switch {
			case own != nil:
				x.Summary = fmt.Sprintf("%s is told to answer %d itself: `%s` in %s.", onwards(f, *own), a.HTTP.Status, own.Text, own.From)
				answersItself(f, own, &x)
				fs = append(fs, x)
				continue
			case len(ways) > 0 && from == "":
				w := ways[0]
				x.Since, x.Refines = w.Started, []*Check{upstreamFails}
				if mayBeUpstreams(w.Kind, a.HTTP.Status) { // and somebody wrote another page for the proxy
					x.Certainty, x.Settle = Inferred, askThere(f, w)
				}
				x.Summary = fmt.Sprintf("%s passes on what %s at %s answers: %s.", onwards(f, w), listensAt(w), w.To, said)
				x.Evidence = append(x.Evidence, wayEvidence(f, w)...)
				x.Fixes = []Fix{{Do: fmt.Sprintf("See the log of %s for the error; the network has no part in it.", cond(strings.Contains(listensAt(w), "(pid "), listensAt(w), "who listens on "+w.To))}}
			}
			if a.HTTP.Status == 503 {
				x.Fixes = append(x.Fixes, Fix{Do: "If it is still starting or being updated, wait and try again" + cond(a.HTTP.Get("Retry-After") != "", " (it says: after "+a.HTTP.Get("Retry-After")+")", "") + "."})
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// slowMS is what a person calls slow, and what clients with a short time-out (health
// checks, service workers) may not wait for.
const slowMS = 500

// slowAnswer is a remark: it works. Who waits less than that meets no answer.
var slowAnswer = &Check{
	Name:     "slow-answer",
	Doc:      "the application takes long to begin its answer",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupDials},
	Explains: []*Check{noAnswer},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if a.Bytes == 0 || a.FirstMS < slowMS || a.Question == facts.AskNothing {
				continue
			}
			again := first(further(f, a, facts.WithAgain))
			if again != nil && again.Bytes > 0 && again.FirstMS < slowMS {
				continue // it was slow once: at its first request, or because the machine was busy
			}
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Remark: true, Evidence: []Evidence{{"answer", fmt.Sprintf("the first byte after %.0f ms, all after %.0f ms", a.FirstMS, a.ElapsedMS)}},
				Summary: fmt.Sprintf("%s takes %.1f s to begin its answer: a client that waits less sees none.", replier(f, a), a.FirstMS/1000),
				Fixes:   []Fix{{Do: "Give the client more time, or see what the server does meanwhile (its log, a profiler)."}}}
			if again != nil {
				x.Evidence = append(x.Evidence, Evidence{"asked again", cond(again.Bytes > 0, fmt.Sprintf("the first byte after %.0f ms", again.FirstMS), inShort(again))})
			}
			for _, d := range f.Dials {
				if d.Addr == a.Addr && d.As == a.As && d.AsPID == a.AsPID && d.Outcome.Works() {
					x.Evidence = append(x.Evidence, Evidence{"connect", fmt.Sprintf("after %.1f ms: the network is not what is slow", d.ElapsedMS)})
					break
				}
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}
