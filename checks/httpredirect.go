package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The server sends the client to another address.

// redirect reads where an answer leads; empty if it leads nowhere, or stays.
func redirect(a *facts.Answer) (scheme, host string) {
	if a.HTTP == nil || !slices.Contains([]int{301, 302, 303, 307, 308}, a.HTTP.Status) {
		return "", ""
	}
	scheme, rest, ok := strings.Cut(a.HTTP.Get("Location"), "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" {
		return "", "" // a path of the same server
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return scheme, rest[strings.LastIndexByte(rest, '@')+1:]
}

// deadEnd finds what came of the question where a redirect leads, at each address that
// was asked, if none of it is of use to a client. Only this machine is asked.
func deadEnd(f *facts.Facts, a *facts.Answer) []*facts.Answer {
	tried := further(f, a, facts.WithRedirect)
	for _, o := range tried {
		dead := o.HTTP == nil && o.Handshake == nil || o.TLS && (o.Handshake == nil || o.Handshake.Version == "")
		if !dead || o.End == facts.NotAsked && o.Errno == "" {
			return nil
		}
	}
	return tried
}

// redirectFails is felt where the server sends the client to an address that was asked
// and does not answer.
var redirectFails = &Check{
	Name:   "redirect-fails",
	Doc:    "the server sends the client to an address that does not answer",
	Stage:  StageAnswer,
	Intent: facts.Connect,
	Needs:  []facts.Group{facts.GroupAnswers},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if there := deadEnd(f, a); len(there) > 0 {
				fs = append(fs, Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Settle: settleRedirect(f),
					Summary:  fmt.Sprintf("%s sends the client to %s, which does not answer.", at(f, a.Addr), a.HTTP.Get("Location")),
					Evidence: append([]Evidence{leadsTo(a)}, isThere(there)...)})
			}
		}
		return mergeAddresses(f, fs)
	},
}

func settleRedirect(f *facts.Facts) string {
	return cond(f.Target.URL != "", "curl -vL "+f.Target.URL, "")
}

// leadsTo and isThere are the two halves of the evidence: what the server said, and
// what is there.
func leadsTo(a *facts.Answer) Evidence {
	return Evidence{"answer", fmt.Sprintf("%s, Location: %s", inShort(a), a.HTTP.Get("Location"))}
}

func isThere(tried []*facts.Answer) []Evidence {
	var out []Evidence
	for _, o := range tried {
		text := inShort(o)
		switch {
		case o.End == facts.NotAsked:
			text = o.Errno
		case o.TLS && o.Handshake != nil && o.Handshake.Error != "":
			text = "no TLS: " + o.Handshake.Error
		}
		out = append(out, Evidence{"connect", o.To.String() + ": " + text})
	}
	return out
}

var hstsOrHTTPSUpgrade = &Check{
	Name:     "hsts-or-https-upgrade",
	Doc:      "http is turned into https, which is not served there",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{redirectFails, clientFails},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if a.HTTP == nil {
				continue
			}
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven}
			scheme, to := redirect(a)
			sts := a.HTTP.Get("Strict-Transport-Security")
			switch there := deadEnd(f, a); {
			case scheme == "https" && !a.TLS && len(there) > 0:
				x.Brings = []*Check{redirectFails}
				x.Summary = fmt.Sprintf("%s answers http with %d to https://%s, where nobody speaks TLS.", replier(f, a), a.HTTP.Status, to)
				x.Evidence = append([]Evidence{leadsTo(a)}, isThere(there)...)
				keeps := ""
				if a.HTTP.Status == 301 || a.HTTP.Status == 308 {
					keeps = fmt.Sprintf(" A browser keeps a %d: reload once with the cache off (developer tools, Network, Disable cache).", a.HTTP.Status)
				}
				x.Fixes = []Fix{
					{Do: "Switch the redirect off where no TLS is served: SECURE_SSL_REDIRECT of Django, config.force_ssl of Rails, UseHttpsRedirection of ASP.NET, return 301 https:// of nginx." + keeps},
					{Do: fmt.Sprintf("Serve TLS at %s (mkcert makes a certificate that browsers here trust).", to)},
				}
			case upgraded(f, a):
				x.Certainty, x.Brings = Inferred, []*Check{clientFails}
				x.Summary = fmt.Sprintf("%s speaks plain HTTP and answers, and %s speaks TLS to it: the browser turns http into https by itself.", replier(f, a), f.Target.Error.Client)
				x.Evidence = []Evidence{replied(a), {"client", f.Target.Error.Text}}
				x.Fixes = []Fix{
					{Do: fmt.Sprintf("Delete what the browser remembers of %s: chrome://net-internals/#hsts, Delete domain security policies; in Firefox, Forget About This Site.", f.Target.Host)},
					{Do: fmt.Sprintf("Use a name of which it remembers nothing: %s.", withHost(f, otherName(f)))},
				}
			case sts != "" && a.TLS && !f.Target.Literal && !strings.HasPrefix(strings.ReplaceAll(sts, " ", ""), "max-age=0"):
				// Without TLS, and for an address, the field means nothing (RFC 6797 sections 7.2 and 8.1.1).
				x.Remark, x.Brings = true, []*Check{clientFails}
				x.Summary = fmt.Sprintf("%s tells browsers to use https alone for %s (%s): that holds for every port of this name.", replier(f, a), f.Target.Host, sts)
				x.Evidence = []Evidence{{"answer", "Strict-Transport-Security: " + sts}}
				x.Fixes = []Fix{{Do: "Do not send Strict-Transport-Security in development; max-age=0 makes browsers forget it."}}
			default:
				continue
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// upgraded tells whether a browser says that there is no TLS, where http was asked for
// and works.
func upgraded(f *facts.Facts, a *facts.Answer) bool {
	e := f.Target.Error
	return e != nil && e.Names == "https-to-plain-http" && slices.Contains([]string{"Chrome", "Firefox", "Safari"}, e.Client) &&
		strings.HasPrefix(f.Target.URL, "http://") && a.HTTP != nil && !a.TLS && a.HTTP.Status < 400
}

var redirectToDeadPort = &Check{
	Name:     "redirect-to-dead-port",
	Doc:      "the server redirects to an address of this machine where nothing answers",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{redirectFails},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			there := deadEnd(f, a)
			scheme, to := redirect(a)
			if len(there) == 0 || scheme == "https" && !a.TLS {
				continue // hsts-or-https-upgrade
			}
			fs = append(fs, Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Evidence: append([]Evidence{leadsTo(a)}, isThere(there)...),
				Summary: fmt.Sprintf("%s answers %d and sends the client to %s://%s, where nothing answers.", replier(f, a), a.HTTP.Status, scheme, to),
				Fixes: []Fix{
					{Do: fmt.Sprintf("Start what belongs there; loopdoctor %s says why it does not answer.", cond(len(there) > 1, fmt.Sprintf("localhost:%d", there[0].To.Port()), there[0].To.String()))},
					{Do: "Let the server redirect to a path (Location: /login) or to its own address: its base URL, site URL or external URL in its configuration."},
				}})
		}
		return mergeAddresses(f, fs)
	},
}

// redirectLeavesLoopback is a remark: to send a client to a login elsewhere is
// healthy, and what is elsewhere is never contacted.
var redirectLeavesLoopback = &Check{
	Name:     "redirect-leaves-loopback",
	Doc:      "the server redirects to another machine or name",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{redirectFails},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			scheme, to := redirect(a)
			if scheme == "" || onLoopback(f, to) || len(further(f, a, facts.WithRedirect)) > 0 {
				continue
			}
			fs = append(fs, Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Remark: true, Evidence: []Evidence{leadsTo(a)},
				Summary: fmt.Sprintf("%s sends the client away from this machine, to %s://%s; what is there was not asked.", replier(f, a), scheme, to),
				Fixes:   []Fix{{Do: "If that is not a login, set the address that the server thinks it has: its base URL, site URL (WordPress: WP_HOME and WP_SITEURL) or external URL."}}})
		}
		return mergeAddresses(f, fs)
	},
}

// onLoopback tells whether the host of a URL is loopback, or that of the target.
func onLoopback(f *facts.Facts, host string) bool {
	name := host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name = host[:i]
	}
	name = strings.Trim(name, "[]")
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().IsLoopback() || slices.ContainsFunc(f.Target.Addresses, func(t facts.Address) bool { return t.Addr == a.Unmap() })
	}
	return facts.IsLocalhost(name) || strings.EqualFold(name, f.Target.Host)
}
