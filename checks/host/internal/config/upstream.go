package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Upstream is one line that says where a reverse proxy sends requests on to.
type Upstream struct {
	Program string
	File    string
	Line    int
	Text    string
	To      string   // as written: "http://localhost:3000", "unix:/run/app.sock"; or the name of a group
	Group   string   // the line makes To a member of that group, which others lead to
	Path    string   // of the requests: a prefix, "= /exact" or "~ pattern" as nginx has it; empty: all
	Own     int      // no upstream: the proxy itself answers with this status; 444: it closes without an answer
	Maybe   bool     // of Own: on a condition. Of others: only an inner redirect leads there
	Asked   bool     // it leads on only once it has got a request
	Site    int      // the line where its site begins; 0: it stands outside of sites
	Listen  []string // ports of its site; empty: not known
	Names   []string // of its site
	Default bool     // its site serves the names that no other one has
}

// Proxying is what one file says of where requests are sent on to.
type Proxying struct {
	Upstreams []Upstream
	Include   []string
}

func (p *Proxying) add(program string, n int, text string, u Upstream) {
	if len(p.Upstreams) >= maxFound || u.To == "" && u.Own == 0 {
		return
	}
	u.Program, u.Line, u.Text = program, n, quote(text)
	u.To, u.Path, u.Group = clip(u.To, maxText), clip(u.Path, maxText), clip(u.Group, maxText)
	p.Upstreams = append(p.Upstreams, u)
}

// own adds a line by which the proxy answers itself, where that is an error.
func (p *Proxying) own(program string, n int, text, status string, u Upstream) {
	if status, err := strconv.Atoi(status); err == nil && (status == 444 || status >= 500 && status <= 599) {
		u.Own = status
		p.add(program, n, text, u)
	}
}

func (p *Proxying) include(name string) {
	if name != "" && len(p.Include) < maxInclude && !variable(name) {
		p.Include = append(p.Include, name)
	}
}

// Target takes apart where an upstream leads: "http://localhost:3000/api",
// "127.0.0.1:9000", ":3000", "unix:/run/app.sock:/uri", "unix//run/app.sock",
// "unix:/run/php.sock|fcgi://localhost". A name that is not known before it is used
// gives nothing.
func Target(to string) (host string, port uint16, unix string) {
	if i := strings.Index(to, "unix:"); i >= 0 {
		unix, _, _ = strings.Cut(to[i+len("unix:"):], "|")
		unix, _, _ = strings.Cut(unix, ":")
		return "", 0, unix
	}
	for _, prefix := range []string{"unix//", "unix+h2c//", "unix@"} {
		if rest, ok := strings.CutPrefix(to, prefix); ok {
			return "", 0, "/" + strings.TrimPrefix(rest, "/")
		}
	}
	if strings.HasPrefix(to, "/") {
		return "", 0, to
	}
	scheme, rest, ok := strings.Cut(to, "://")
	if !ok {
		scheme, rest = "", to
	}
	if i := strings.IndexAny(rest, "/?$"); i >= 0 {
		rest = rest[:i]
	}
	if variable(rest) || strings.ContainsAny(rest, "*,") {
		return "", 0, ""
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 { // haproxy: ipv4@host
		rest = rest[i+1:]
	}
	p := ""
	switch i := strings.LastIndexByte(rest, ':'); {
	case strings.HasPrefix(rest, "["):
		host, p, _ = strings.Cut(rest[1:], "]")
		p = strings.TrimPrefix(p, ":")
	case i >= 0:
		host, p = rest[:i], rest[i+1:]
	default:
		host = rest
	}
	if p == "" {
		p = map[string]string{"http": "80", "h2c": "80", "ws": "80", "grpc": "80", "https": "443", "wss": "443", "grpcs": "443", "ajp": "8009", "fcgi": "9000", "fastcgi": "9000"}[scheme]
	}
	if host == "" && p != "" { // caddy
		host = "localhost"
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, ""
	}
	return clip(host, maxText), uint16(n), ""
}

// For picks the lines that a request to the port may be sent on by, each group
// replaced by its members: the site of that name, or the default one, or the first;
// in it the most special path. Of the lines by which the proxy answers itself it picks
// those that come before them, or may.
func For(all []Upstream, port uint16, host, path string) []Upstream {
	p := strconv.Itoa(int(port))
	var fits []Upstream
	for _, u := range all {
		if u.Group == "" && (len(u.Listen) == 0 || slices.Contains(u.Listen, p)) {
			fits = append(fits, u)
		}
	}
	fits = bySite(fits, strings.ToLower(host))
	best, own := -1, -1
	for _, u := range fits {
		switch r := u.rank(path); {
		case u.Own == 0:
			best = max(best, r)
		case !u.Maybe:
			own = max(own, r)
		}
	}
	var out []Upstream
	for _, u := range fits {
		switch r := u.rank(path); {
		case u.Own != 0:
			// Apache sends on before it redirects (hooks of mod_proxy, mod_alias).
			if before := r >= best && (u.Program != Apache || best < 0); r >= 0 && (u.Maybe || before && r == own) {
				out = append(out, u)
			}
			continue
		case best >= 0 && r < best:
			continue
		case best < 0 && !u.inner(path):
			continue
		}
		u.Maybe = best < 0
		members := 0
		for _, m := range all {
			if m.Group != "" && m.Group == groupName(u.To) {
				m.Path, m.Site, m.Group, m.Maybe, m.Asked = u.Path, u.Site, "", u.Maybe, u.Asked
				out = append(out, m)
				members++
			}
		}
		if members == 0 {
			out = append(out, u)
		}
	}
	return out[:min(len(out), maxFound)]
}

// inner tells whether a request to the path may come there all the same, as one for
// the index that a directory has, or the one script that serves all.
func (u Upstream) inner(path string) bool {
	return u.rank("/index.php") >= 0 || u.rank(strings.TrimSuffix(path, "/")+"/index.php") >= 0
}

func bySite(us []Upstream, host string) []Upstream {
	of := func(fits func(Upstream) bool) []Upstream {
		i := slices.IndexFunc(us, fits)
		if i < 0 {
			return nil
		}
		return slices.DeleteFunc(slices.Clone(us), func(u Upstream) bool {
			return u.Site != 0 && (u.Site != us[i].Site || u.File != us[i].File)
		})
	}
	for _, fits := range []func(Upstream) bool{
		func(u Upstream) bool { return u.Site != 0 && slices.Contains(u.Names, host) },
		func(u Upstream) bool { return u.Site != 0 && u.Default },
		func(u Upstream) bool { return u.Site != 0 && len(u.Names) == 0 },
		func(u Upstream) bool { return u.Site != 0 },
	} {
		if found := of(fits); found != nil {
			return found
		}
	}
	return us
}

// rank is how well the path fits: -1 not at all, then by length; a pattern beats a
// prefix, and the very path beats both.
func (u Upstream) rank(path string) int {
	if path == "" {
		path = "/"
	}
	switch kind, rest, _ := strings.Cut(u.Path, " "); {
	case kind == "" && u.Own != 0: // before anything else
		return 1 << 21
	case kind == "", strings.HasPrefix(kind, "@"): // what leads to a location with a name is not followed
		return 0
	case kind == "=":
		if path == rest {
			return 1 << 20
		}
		return -1
	case kind == "~", kind == "~*":
		if kind == "~*" {
			rest = "(?i)" + rest
		}
		if re, err := regexp.Compile(rest); err == nil && re.MatchString(path) {
			return 1 << 19
		}
		return -1
	case kind == "^~":
		if strings.HasPrefix(path, rest) {
			return 1<<19 + len(rest)
		}
		return -1
	}
	prefix := strings.TrimSuffix(u.Path, "*")
	if strings.HasPrefix(path, prefix) || path+"/" == prefix {
		return len(prefix)
	}
	return -1
}

// groupName is the part of a target that may be the name of a group.
func groupName(to string) string {
	if _, rest, ok := strings.Cut(to, "://"); ok {
		to = rest
	}
	to, _, _ = strings.Cut(to, "/")
	return to
}
