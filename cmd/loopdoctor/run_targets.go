package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host"
	"github.com/loopdoctor/loopdoctor/cmd/loopdoctor/internal/errortext"
)

// view is a target that a client met, and as whom to look at it.
type view struct {
	target  facts.Target
	as      facts.Identity
	met     netip.AddrPort // the address that is in question
	trouble bool           // the client did not get there, or got nothing there; else it failed after, or not at all
}

// maxViews is how many targets one report is about: more than these are hardly read.
const maxViews = 4

// metTargets makes targets of what a client met: one for each port, those that
// failed first.
func metTargets(w *host.Watched) []view {
	m := w.Met
	var views []view
	for _, port := range ports(m.Connects) {
		views = append(views, viewOf(w, port))
	}
	// A URL of this machine, and a proxy on another one: that one was asked.
	if i := slices.IndexFunc(m.Connects, func(c facts.Attempt) bool { return c.Proxy != "" && !c.To.Addr().IsLoopback() }); i >= 0 && len(views) == 0 {
		for _, arg := range m.Args[1:] {
			if t, err := ParseTarget(arg, facts.Connect); err == nil && strings.Contains(arg, "://") && onLoopback(t.Host) {
				t.Met = m
				views = append(views, view{target: t, as: w.Client(m.Connects[i].PID), trouble: m.Exit != 0})
				break
			}
		}
	}
	for _, b := range m.Binds {
		if v, ok := bindView(w, b); ok && !slices.ContainsFunc(views, func(o view) bool { return o.target.Intent == facts.ToBind && o.target.Port == v.target.Port }) {
			views = append(views, v)
		}
	}
	// Nothing was seen: what it was told is all there is.
	if m.Unwatched != "" && m.Exit != 0 && len(views) == 0 {
		for _, arg := range m.Args[1:] {
			if t, err := ParseTarget(arg, facts.Connect); err == nil && t.Named && onLoopback(t.Host) {
				t.Met = m
				views = append(views, view{target: t, as: w.Client(0), trouble: true})
				break
			}
		}
	}
	slices.SortStableFunc(views, func(a, b view) int { return rank(a) - rank(b) })
	return views[:min(len(views), maxViews)]
}

// bindView is about a port that a program wanted for itself and could not have. One that
// went on without it, or until somebody ended it, has helped itself.
func bindView(w *host.Watched, b facts.Attempt) (view, bool) {
	m := w.Met
	if m.Exit == 0 || interrupted(m) {
		return view{}, false
	}
	t, err := ParseTarget(cond(b.Network == "udp", "udp://", "")+b.To.String(), facts.ToBind)
	if err != nil {
		return view{}, false
	}
	e := facts.ClientError{Client: b.Program, Errno: b.Errno, Symptom: "cannot-bind", Means: "the server cannot take the address (" + b.Errno + ")",
		Text: fmt.Sprintf("bind to %s: %s", b.To, b.Errno), Addr: b.To}
	t.Met, t.Error = m, &e
	return view{target: t, as: w.Client(b.PID), met: b.To, trouble: true}, true
}

func rank(v view) int {
	switch {
	case v.trouble && v.target.Error != nil:
		return 0
	case v.trouble:
		return 1
	}
	return 2
}

func onLoopback(name string) bool {
	a, err := netip.ParseAddr(name)
	return facts.IsLocalhost(name) || err == nil && (a.IsLoopback() || a.IsUnspecified())
}

// where is a port of TCP or UDP.
type where struct {
	network string
	port    uint16
}

// ports lists those on this machine that the client tried, in its order. A proxy on
// another machine is none of them.
func ports(cs []facts.Attempt) []where {
	var list []where
	for _, c := range cs {
		at := where{c.Network, c.To.Port()}
		if c.Network != "unix" && (c.Proxy == "" || c.To.Addr().IsLoopback()) && !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	return list
}

// viewOf judges nothing: it says what the client wanted of a port, and what it got.
func viewOf(w *host.Watched, at where) (v view) {
	m := w.Met
	var tried []facts.Attempt
	for _, c := range m.Connects {
		if (where{c.Network, c.To.Port()}) == at {
			tried = append(tried, c)
		}
	}
	worked := slices.ContainsFunc(tried, func(c facts.Attempt) bool { return c.Works() && !c.Mute() })
	// What it met last is what it made its error of, where one address stands for all.
	var bad *facts.Attempt
	for i, c := range tried {
		if !c.Works() || c.Mute() && (bad == nil || bad.Works()) {
			bad = &tried[i]
		}
	}
	c := tried[0]
	if bad != nil {
		c = *bad
	}
	v = view{target: targetOf(m, tried, c), as: w.Client(c.PID), met: c.To}
	v.target.Met = m
	defer func() {
		if v.trouble && v.target.Speak == "" && c.Network == "tcp" {
			v.target.Speak = speaks(c.Program)
		}
	}()
	switch {
	case m.Unwatched != "" && m.Exit == 0: // it may be what another program met
	case worked: // it came through in the end: Happy Eyeballs (RFC 8305), or another try
		v.trouble = m.Exit != 0 && !interrupted(m)
	case bad != nil && (!bad.Works() || m.Exit != 0):
		v.trouble = true
		v.target.Error = metError(v.target, *bad, tried)
	default:
		v.trouble = m.Exit != 0 && !interrupted(m)
	}
	return v
}

// speaks is the protocol of a client that has one alone: what the server says in it the
// client met as well, and its words are not read.
func speaks(program string) facts.Question {
	switch {
	case program == "psql", program == "pgbench", strings.HasPrefix(program, "pg_"):
		return facts.AskPostgreSQL
	case program == "redis-cli":
		return facts.AskRedis
	case slices.Contains([]string{"mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "mariadb-admin"}, program):
		return facts.AskMySQL
	}
	return ""
}

// interrupted tells whether somebody ended the client: that is no failure of its own.
func interrupted(m *facts.Met) bool {
	return slices.Contains([]string{"SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT"}, m.Signal) || m.Exit == 128+2 || m.Exit == 128+15
}

// targetOf is what the person would have typed: the URL or the name of the client's command line,
// localhost if the client looked up a name, or else the address alone.
func targetOf(m *facts.Met, tried []facts.Attempt, c facts.Attempt) facts.Target {
	port := c.To.Port()
	several := slices.ContainsFunc(tried, func(o facts.Attempt) bool { return o.To.Addr() != c.To.Addr() })
	var other *facts.Target // a name that may be another machine's: the look says so, and then the address counts
	if c.Proxy == "" {
		for _, arg := range m.Args[1:] {
			t, ok := named(arg, port, reads(m.Args))
			switch {
			case !ok || t.Network != c.Network:
			case t.Literal && !several, t.Wildcard:
				return t
			case !t.Literal && onLoopback(t.Host):
				return t
			case !t.Literal && other == nil:
				other = &t
			}
		}
	}
	if other != nil {
		return *other
	}
	to := c.To.String()
	if c.To.Addr().IsLoopback() && (several || c.Looked) && c.Proxy == "" {
		to = fmt.Sprintf("localhost:%d", port)
	}
	t, err := ParseTarget(cond(c.Network == "udp", "udp://", "")+to, facts.Connect)
	if err != nil { // the kernel took it for an address, so it is one
		t = facts.Target{Raw: to, Network: c.Network, Host: c.To.Addr().String(), Port: port, Named: true, Literal: true, Intent: facts.Connect}
	}
	return t
}

// literal is the same about the address alone.
func literal(v view) facts.Target {
	t, err := ParseTarget(cond(v.target.Network == "udp", "udp://", "")+v.met.String(), facts.Connect)
	if err != nil {
		return v.target
	}
	t.Met, t.Error = v.target.Met, v.target.Error
	return t
}

func cond[T any](ok bool, a, b T) T {
	if ok {
		return a
	}
	return b
}

// named finds a target of that port in an argument: http://localhost:3000/x,
// localhost:3000, --url=http://localhost:3000. The path of a URL is what a server is
// asked for; it stays only where the client does no more than ask, too.
func named(arg string, port uint16, path bool) (facts.Target, bool) {
	if strings.HasPrefix(arg, "-") {
		_, arg, _ = strings.Cut(arg, "=")
	}
	if u, err := url.Parse(arg); err == nil && u.Host != "" && strings.Contains(arg, "://") && !path {
		arg = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}).String()
	}
	t, err := ParseTarget(arg, facts.Connect)
	return t, err == nil && t.Named && t.Port == port
}

// reads tells whether a client is curl or wget, and changes nothing on the server.
func reads(args []string) bool {
	if len(args) == 0 || !slices.Contains([]string{"curl", "wget"}, filepath.Base(args[0])) {
		return false
	}
	return !slices.ContainsFunc(args[1:], func(a string) bool {
		for _, long := range []string{"--request", "--data", "--json", "--form", "--upload", "--post", "--method", "--body", "--config"} {
			if strings.HasPrefix(a, long) {
				return true
			}
		}
		// -sSXPOST: one of these letters in a bundle, or as a value, which is no harm.
		return strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.ContainsAny(a, "XdFTK")
	})
}

// metError puts what the client met in the words of --error, so that it counts as
// one: for this client a remark about other ones is a cause.
func metError(t facts.Target, bad facts.Attempt, tried []facts.Attempt) *facts.ClientError {
	code, means := bad.Errno, ""
	switch {
	case bad.Works() && bad.End == facts.EndedByReset:
		code, means = "ECONNRESET", "the connection is reset before a byte has come"
	case bad.Works() && bad.End == facts.EndedByServer:
		code, means = "ECONNRESET", "the connection is closed before a byte has come"
	case bad.Works():
		code, means = "", fmt.Sprintf("%d bytes are sent, and no answer comes", bad.Sent)
	case bad.Outcome == facts.Timeout && bad.Errno == "":
		code, means = "ETIMEDOUT", fmt.Sprintf("the connection gets no reply in %.1f s, and the client gives up", bad.ElapsedMS/1000)
	}
	e := facts.ClientError{Client: bad.Program, Errno: bad.Errno, Answer: bad.Works(), Failed: bad.Outcome == facts.Failed}
	if r, ok := errortext.Read(fmt.Sprintf("connect %s %s", code, bad.To)); ok && code != "" {
		e.Symptom, e.Means = r.Symptom, r.Means
	}
	if bad.Network == "udp" && e.Symptom == "refused" {
		e.Symptom, e.Means = "port-unreachable", "nobody has the port"
	}
	e.Means = cmp.Or(means, e.Means, "the connection fails")
	if bad.Errno != "" {
		e.Means += " (" + bad.Errno + ")"
	}
	e.Text = fmt.Sprintf("connect to %s: %s", bad.To, cmp.Or(bad.Errno, string(bad.Outcome)))
	// Where all addresses of a name failed no single one has to work.
	if t.Literal || !slices.ContainsFunc(tried, func(o facts.Attempt) bool { return o.To.Addr() != bad.To.Addr() && !o.Works() }) {
		e.Addr = bad.To
	}
	return &e
}
