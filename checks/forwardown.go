package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Whose error it is: a reverse proxy's own word about what stands behind it, an answer
// that it was told to give itself, or the application's, which it only passes on.

// closesItself is facts.Forward.Own of a proxy that is told to close without an answer.
const closesItself = 444

// ownOn is the line by which a program that serves the address is told to answer with
// the status itself. One that depends on more than the path comes last.
func ownOn(f *facts.Facts, a netip.Addr, status int) *facts.Forward {
	var maybe *facts.Forward
	for _, w := range toldAt(f, a) {
		switch {
		case w.Own != status:
		case !w.Maybe:
			return &w
		case maybe == nil:
			maybe = &w
		}
	}
	return maybe
}

// deadSays is the status with which a reverse proxy says that nothing listens upstream,
// where it has one for that (measured); 0: not known.
func deadSays(kind string) int {
	return map[string]int{"nginx": 502, "caddy": 502, "apache": 503, "haproxy": 503}[kind]
}

// mayBeUpstreams tells whether a proxy of the kind gives that status of its own for an
// upstream that fails. nginx says 503 where it limits, or where it is told to
// (ngx_http_upstream_next of nginx 1.22 maps no failure to it).
func mayBeUpstreams(kind string, status int) bool {
	return kind != "nginx" || status != 503
}

// pagesOf are the gateways whose own page of an error begins with its status, or, of
// Caddy, is empty.
var pagesOf = []string{"nginx", "apache", "apache2", "httpd", "haproxy", "caddy"}

// foreignPage tells whether the page of an error is not the one that the gateway has
// for it: it is an application's, or somebody wrote another one for the gateway.
func foreignPage(f *facts.Facts, a *facts.Answer) bool {
	return a.HTTP != nil && a.HTTP.Body != "" && !strings.HasPrefix(a.HTTP.Body, fmt.Sprint(a.HTTP.Status)) &&
		!strings.Contains(a.HTTP.Body, "No server is available to handle this request") && slices.Contains(pagesOf, gateway(f, a))
}

// passedOn are the ways to those who may have given an error that a gateway passes on:
// the page is not its own, and there are far ends, all of which have a listener.
func passedOn(f *facts.Facts, a *facts.Answer) []facts.Forward {
	ways := slices.DeleteFunc(waysOn(f, a.Addr), func(w facts.Forward) bool { return w.To == "" || w.Maybe })
	if !foreignPage(f, a) || slices.ContainsFunc(ways, func(w facts.Forward) bool { return len(w.Far) == 0 || w.Dead() }) {
		return nil
	}
	return ways
}

// answersItself words what a proxy was told to answer itself.
func answersItself(f *facts.Facts, w *facts.Forward, x *Finding) {
	x.Certainty, x.Since = cond(w.Held && !w.Maybe, Proven, Inferred), w.Started
	x.Evidence = append(x.Evidence, wayEvidence(f, *w)...)
	if x.Certainty == Inferred {
		x.Settle = settleHolder(f, *w)
	}
	x.Fixes = []Fix{{Do: fmt.Sprintf("If that is not meant any more, let %s lead on to the service again (%s), and read it anew.", w.Program, w.From)}}
}

// keepsOut are the forwarders at the address whose range this client is not in: on lo a
// connection comes from where it goes to, or from 127.0.0.1.
func keepsOut(f *facts.Facts, a netip.Addr) []facts.Forward {
	return slices.DeleteFunc(waysOn(f, a), func(w facts.Forward) bool {
		return !w.Only.IsValid() || !a.IsLoopback() || w.Only.Addr().Is4() != a.Is4() || w.Only.Contains(a) || w.Only.Contains(v4Loopback)
	})
}

// closedByRule finds the proxies that close without an answer because they are told to:
// at once, or once they were asked.
func closedByRule(f *facts.Facts) []Finding {
	var fs []Finding
	judge := func(a netip.Addr, felt Evidence, brings *Check) {
		for _, w := range keepsOut(f, a) {
			x := Finding{Affects: []netip.Addr{a}, Brings: []*Check{brings}, Evidence: []Evidence{felt}}
			answersItself(f, &w, &x)
			x.Refines = []*Check{forwarderAcceptsBackendDead}
			x.Summary = fmt.Sprintf("%s takes connections from %s alone (range=%s in its arguments), and closes this one.", onwards(f, w), w.Only, w.Only)
			x.Fixes = []Fix{{Do: fmt.Sprintf("Start %s again with a range that this client is in, as range=%s/%d; it takes one only. Or connect from an address in %s.", w.Program, a, a.BitLen(), w.Only)}}
			fs = append(fs, x)
			return
		}
		w := ownOn(f, a, closesItself)
		if w == nil || slices.ContainsFunc(fs, func(x Finding) bool { return slices.Contains(x.Affects, a) }) {
			return
		}
		x := Finding{Affects: []netip.Addr{a}, Brings: []*Check{brings}, Evidence: []Evidence{felt}}
		answersItself(f, w, &x)
		x.Summary = fmt.Sprintf("%s is told to close without an answer: `%s` in %s.", onwards(f, *w), w.Text, w.From)
		x.Fixes = []Fix{{Do: fmt.Sprintf("Send what that rule lets pass (%s), as another name or from another address; or let the rule except this client, and let %s read it anew.", w.From, w.Program)}}
		fs = append(fs, x)
	}
	for _, d := range f.Dials {
		if d.Closed != "" && slices.Contains(f.Target.Expected(), d.Addr) {
			judge(d.Addr, closedEvidence(f, d), closedAtOnce)
		}
	}
	for _, a := range asked(f) {
		if a.Bytes == 0 && (a.End == facts.EndOfFile || a.End == facts.Reset) {
			judge(a.Addr, heard(a), noAnswer)
		}
	}
	return fs
}

// letWrite heals a UNIX socket that a proxy may not open.
const letWrite = "Let the user of the proxy's workers write to that socket, and start its service again: its group and mode 0660 (php-fpm: listen.group, listen.mode; gunicorn: --umask 007; systemd: SocketGroup=, SocketMode=). Every directory above must let that user in, too (namei -l shows it)."

// barredAt is the UNIX socket that no process which leads on there may open.
func barredAt(ways []facts.Forward) (w facts.Forward, e facts.FarEnd, found bool) {
	for _, w := range ways {
		for _, e := range w.Far {
			if e.Listens && len(w.Workers) > 0 && !slices.ContainsFunc(w.Workers, func(uid uint32) bool { return !e.Barred(uid) }) {
				return w, e, true
			}
		}
	}
	return w, e, false
}
