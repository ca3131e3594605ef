package host

import (
	"cmp"
	"context"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// slow is when a first byte came so late that it is asked for again, in milliseconds.
const slow = 500

// logWatch is the log of a server, watched from now on.
type logWatch interface {
	Since() (lines []string, from string) // what was written since; it waits a moment
	Close()
}

// askMore puts further questions to a server whose answer calls for one: each differs
// from the first in one thing, is a request that any client might send, and has a
// connection of its own. A good answer calls for none.
func (l *look) askMore(ctx context.Context) {
	for _, a := range slices.Clone(l.f.Answers) {
		if a.With != "" || ctx.Err() != nil || l.f.Target.Speak == facts.AskGuess {
			continue
		}
		if err := guard(func() error { l.askAbout(ctx, a); return nil }); err != nil {
			return // what was asked already stays
		}
	}
}

func (l *look) askAbout(ctx context.Context, a facts.Answer) {
	who := asked{a.Addr, l.f.Host.Client(a.As, a.AsPID)}
	e := l.f.Target.Error
	ask := func(q inquiry) {
		if ctx.Err() == nil {
			q.Question, q.tls = a.Question, a.TLS
			l.f.Answers = append(l.f.Answers, l.put(ctx, who, q))
		}
	}
	status := 0
	if a.HTTP != nil {
		status = a.HTTP.Status
	}
	if slices.Contains([]int{400, 403, 421}, status) && !l.wantsTLS(a) {
		for _, host := range l.otherHosts(a) {
			ask(inquiry{host: host, with: facts.WithHost + host})
		}
	}
	if status >= 500 || slices.Contains([]int{400, 403, 421}, status) {
		l.askWatching(ctx, a, ask)
	}
	if a.HTTP != nil && status < 400 {
		l.follow(ctx, who, a)
	}
	if a.Bytes > 0 && a.FirstMS >= slow && a.Question != facts.AskNothing {
		ask(inquiry{with: facts.WithAgain}) // what a development server builds for the first request it keeps
	}
	if a.Question == facts.AskPostgreSQL && a.Protocol == "postgresql" && strings.HasPrefix(a.Says, "takes ") {
		ask(inquiry{with: facts.WithStartup}) // that it takes a connection says nothing of whether it has room
	}
	switch {
	case a.HTTP != nil && e != nil && e.Names == "host-header-check" && status < 400:
		if host := hostIn(e.Text); host != "" {
			ask(inquiry{host: host, with: facts.WithHost + host})
		}
	case a.HTTP != nil && e != nil && e.Names == "headers-too-large" && status < 400:
		ask(inquiry{with: facts.WithCookie, header: []facts.Header{{Name: "Cookie", Value: "loopdoctor=" + strings.Repeat("x", 20<<10)}}})
	case a.HTTP != nil && e != nil && e.Names == "browser-local-network-access":
		ask(inquiry{with: facts.WithPreflight, method: "OPTIONS", header: []facts.Header{{Name: "Origin", Value: originIn(e.Text)},
			{Name: "Access-Control-Request-Method", Value: "GET"}, {Name: "Access-Control-Request-Private-Network", Value: "true"}}})
	case a.Bytes == 0 && a.End != facts.NotAsked && l.sources.accessLines != nil:
		ps := l.serving(a.Addr)
		if len(ps) == 0 && a.Question == facts.AskSSH { // another user's, not to be seen
			ps = []facts.Process{{Name: "sshd"}}
		}
		l.note(a, func(x *facts.Answer) {
			x.Access = l.sources.accessLines(ps, a.Addr)
			for _, words := range []string{"server reached MaxRequestWorkers", "server reached pm.max_children"} {
				if l.sources.lastLog != nil && len(x.Log) == 0 && a.End == facts.Silence {
					x.Log, x.LogFrom = l.sources.lastLog(l.f, a.Addr, words)
				}
			}
		})
	case e != nil && e.Names == "server-acl-or-auth" && a.HTTP == nil && l.sources.lastLog != nil:
		for _, words := range []string{"pg_hba.conf", "too many clients already", "remaining connection slots are reserved"} {
			if strings.Contains(e.Text, words) {
				l.note(a, func(x *facts.Answer) { x.Log, x.LogFrom = l.sources.lastLog(l.f, a.Addr, words) })
				return
			}
		}
	}
}

// wantsTLS tells whether a second question settled that the server speaks TLS: then that
// is what its 400 is about.
func (l *look) wantsTLS(a facts.Answer) bool {
	return slices.ContainsFunc(l.f.Answers, func(x facts.Answer) bool {
		return x.Addr == a.Addr && strings.HasPrefix(x.With, facts.ToSettle) && x.Handshake != nil && x.Handshake.Version != ""
	})
}

// note changes the answer in its place.
func (l *look) note(a facts.Answer, change func(*facts.Answer)) {
	for i := range l.f.Answers {
		x := &l.f.Answers[i]
		if x.With == "" && x.Addr == a.Addr && x.As == a.As && x.AsPID == a.AsPID {
			change(x)
			return
		}
	}
}

// otherHosts are values of the Host field that a server on loopback may know, beside
// the one that was used.
func (l *look) otherHosts(a facts.Answer) []string {
	t := l.f.Target
	var hosts []string
	for _, name := range []string{"localhost", a.Addr.String(), "127.0.0.1", t.Host} {
		t.Host = name
		if h := hostField(t, a.TLS); h != hostField(l.f.Target, a.TLS) && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts[:min(len(hosts), 3)]
}

// askWatching asks the same once more, while the server's log is watched: what it
// writes meanwhile is about this question, unless others ask as well.
func (l *look) askWatching(ctx context.Context, a facts.Answer, ask func(inquiry)) {
	if l.sources.watchLog == nil || ctx.Err() != nil {
		return
	}
	w := l.sources.watchLog(l.f, a.Addr)
	if w == nil {
		return
	}
	defer w.Close()
	ask(inquiry{with: facts.WithLog})
	x := &l.f.Answers[len(l.f.Answers)-1]
	x.Log, x.LogFrom = w.Since()
}

// follow asks where a redirect leads, if that is another port of this machine. Other
// machines are never contacted.
func (l *look) follow(ctx context.Context, who asked, a facts.Answer) {
	if !slices.Contains([]int{301, 302, 303, 307, 308}, a.HTTP.Status) || l.sources.ask == nil {
		return
	}
	u, err := url.Parse(a.HTTP.Get("Location"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]), 10, 16)
	tls := u.Scheme == "https"
	addrs := l.onThisMachine(u.Hostname(), a.Addr)
	if err != nil || port == 0 || len(addrs) == 0 || uint16(port) == l.f.Target.Port && tls == a.TLS {
		return
	}
	for _, addr := range addrs {
		to := netip.AddrPortFrom(addr, uint16(port))
		q := inquiry{Question: facts.AskHTTP, with: facts.WithRedirect, tls: tls, host: u.Host, path: u.EscapedPath(), patience: l.patience()}
		if tls {
			q.trust = l.trust()
		}
		x := masked(l.sources.ask(ctx, to, l.client(who.as), q))
		x.Addr, x.As, x.AsPID, x.With, x.To = who.addr, who.as.UID, who.as.PID, q.with, to
		l.f.Answers = append(l.f.Answers, x)
		if x.End != facts.NotAsked {
			return
		}
	}
}

// onThisMachine lists the addresses of a host in a URL, as far as they are known to be
// this machine's without asking anybody.
func (l *look) onThisMachine(host string, used netip.Addr) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		if a = a.Unmap(); a.IsLoopback() || a == used {
			return []netip.Addr{a}
		}
		return nil
	}
	switch {
	case facts.IsLocalhost(host) && used == v6:
		return []netip.Addr{v6, v4}
	case facts.IsLocalhost(host):
		return []netip.Addr{v4, v6}
	case strings.EqualFold(host, l.f.Target.Host):
		return []netip.Addr{used}
	}
	return nil
}

// saidHosts is how a server names the host that it does not know: Vite, Django, Rails.
var saidHosts = regexp.MustCompile(`host \("([^"]+)"\)|HTTP_HOST header: '([^']+)'|Blocked hosts?: (\S+)`)

// hostIn reads that host; empty if it is none that a Host field could hold.
func hostIn(text string) string {
	for _, host := range saidHosts.FindStringSubmatch(text) {
		if host != "" && len(host) < 256 && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:[]_-") == "" {
			return host
		}
	}
	return ""
}

// originIn reads the page's origin from what a browser says: "… from origin
// 'https://app.example' has been blocked by CORS policy".
func originIn(text string) string {
	_, rest, ok := strings.Cut(text, "from origin '")
	origin, _, closed := strings.Cut(rest, "'")
	if u, err := url.Parse(origin); !ok || !closed || err != nil || u.Host == "" {
		return "https://example.com"
	}
	return origin
}
