package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/internal/proxyrule"
)

// Clients that ask a proxy for the target. Whether one does follows from its own rules
// (checks/internal/proxyrule), its variables and its files.

// asking is a client that asks a proxy for the target.
type asking struct {
	client *proxyrule.Client
	use    proxyrule.Use
}

// proxying is what is known of them.
type proxying struct {
	request proxyrule.Request
	asking  []asking
	who     string // the client that is known: "curl (pid 70)"; empty: none is
	all     bool   // whatever that program uses, it asks the proxy
	dead    *facts.ProxyEnd
}

// felt tells whether a client that is known asks the proxy.
func (p *proxying) felt() bool { return p != nil && p.who != "" && len(p.asking) > 0 }

// notHTTP are ports at which other protocols are spoken, so that of a bare number
// nobody means HTTP.
var notHTTP = []uint16{21, 22, 23, 25, 53, 110, 143, 389, 465, 587, 993, 995, 1433, 1521, 1883, 2049, 3306, 3389, 4222, 5432, 5672, 6379, 9042, 9092, 11211, 27017}

// requestOf is what an HTTP client asks for to reach the target.
func requestOf(f *facts.Facts) (proxyrule.Request, bool) {
	t := f.Target
	r := proxyrule.Request{Scheme: "http", Host: "localhost", Port: t.Port}
	if t.Host != "" {
		r.Host = strings.ToLower(strings.TrimSuffix(strings.Trim(t.Host, "[]"), "."))
	}
	if strings.HasPrefix(t.URL, "https:") {
		r.Scheme = "https"
	}
	other := t.URL == "" && (strings.Contains(t.Raw, "://") || slices.Contains(notHTTP, t.Port))
	return r, t.Network == "tcp" && t.Port != 0 && t.Intent == facts.Connect && !other
}

// url is the request as it is typed.
func urlOf(r proxyrule.Request) string {
	host := r.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s://%s:%d", r.Scheme, host, r.Port)
}

// proxied finds the clients that ask a proxy; nil: none does, or it is not known.
//
// A client is known that is a process (--as), that speaks in an error (--error), or
// that gets a URL: there it is curl. Of the others it is worth a remark only, and only
// where they read what the whole shell has: a person who has a proxy for git knows it.
func proxied(f *facts.Facts) *proxying {
	r, ok := requestOf(f)
	if !ok {
		return nil
	}
	p := &proxying{request: r}
	kinds := proxyrule.Clients
	switch e := f.Target.Error; {
	case e != nil && !proxyTrouble(f, e) && !worksFor(f):
		return nil // what the client says is what loopdoctor meets without a proxy
	case f.Proxies.Client != "":
		if own := clientsOf(func(c *proxyrule.Client) bool { return c.Is(f.Proxies.Client) }); len(own) > 0 {
			kinds, p.who = own, clientName(f)
		}
	case e != nil && e.Client != "":
		kinds, p.who = clientsOf(func(c *proxyrule.Client) bool { return slices.Contains(c.Speakers, e.Client) }), e.Client
	case f.Target.URL != "":
		if curl := proxyrule.Clients[0]; curl.Use(f.Proxies, r).Proxied() {
			kinds, p.who = []*proxyrule.Client{curl}, curl.Name
		}
	}
	if p.who == "" || f.Target.Error == nil && f.Proxies.Client == "" {
		if !worksFor(f) {
			return nil // what is broken comes first
		}
	}
	p.all = true
	for _, c := range kinds {
		use := c.Use(f.Proxies, r)
		if !use.Proxied() {
			p.all = p.all && !c.Heeds(f.Proxies)
			continue
		}
		if p.who == "" && use.Proxy.Program == "git" {
			continue
		}
		p.asking = append(p.asking, asking{c, use})
	}
	common := slices.ContainsFunc(p.asking, func(a asking) bool { return a.client.Common })
	if len(p.asking) == 0 || p.who == "" && f.Target.URL == "" && !common {
		return nil
	}
	if end := f.Proxies.End(p.asking[0].use.Proxy.Value); end != nil {
		if end.Addr.Port() == f.Target.Port { // the target is the proxy
			return nil
		}
		if !end.Listens {
			p.dead = end
		}
	}
	return p
}

// clientName is the client that is a program.
func clientName(f *facts.Facts) string {
	if as := first(f.Host.As); as.PID != 0 {
		return as.Name()
	}
	return f.Proxies.Client
}

func clientsOf(fits func(*proxyrule.Client) bool) []*proxyrule.Client {
	return slices.DeleteFunc(slices.Clone(proxyrule.Clients), func(c *proxyrule.Client) bool { return !fits(c) })
}

// worksFor tells whether every expected address takes connections.
func worksFor(f *facts.Facts) bool {
	as := f.Target.Expected()
	return len(as) > 0 && !slices.ContainsFunc(as, func(a netip.Addr) bool {
		return !slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Outcome.Works() })
	})
}

// proxyTrouble tells whether the client's error is about a proxy: in words, or by the
// address that it could not reach.
func proxyTrouble(f *facts.Facts, e *facts.ClientError) bool {
	return e.Fits(toProxy) || e.Addr.IsValid() && e.Addr.Port() != f.Target.Port && slices.ContainsFunc(f.Proxies.Ends, func(x facts.ProxyEnd) bool { return x.Addr == e.Addr })
}

// names lists the clients.
func (p *proxying) names() string {
	if p.who != "" && p.all {
		return p.who
	}
	var out []string
	for _, a := range p.asking {
		name, _, both := strings.Cut(a.client.Name, "'s ")
		if both && p.who == "" { // Python's two, Node's fetch
			name = strings.TrimSpace(name)
		} else {
			name = a.client.Name
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if p.who != "" && (p.who != out[0] || !p.all) {
		return p.who + ", if it uses " + strings.Join(out, " or ") + ","
	}
	return list(out)
}

// verb is that of their names.
func (p *proxying) verb(one, many string) string {
	return cond(p.who != "" || len(p.asking) == 1, one, many)
}

// by is what names the proxy: "http_proxy", "http.proxy in /home/ann/.gitconfig".
func by(s facts.ProxySetting) string {
	if s.File != "" {
		return s.Name + " in " + s.File
	}
	return s.Name
}

// toProxy is the name of the symptom, as --error knows it.
const toProxy = "sent-to-proxy"

// sentToProxy is what that client feels: the proxy's answer, or its silence.
var sentToProxy = &Check{
	Name:   toProxy,
	Doc:    "the client asks a proxy instead of the server",
	Stage:  StageResolve, // before the client looks the name up
	Intent: facts.Connect,
	Needs:  []facts.Group{facts.GroupProxies},
	Uses:   []facts.Group{facts.GroupDials},
	Run: func(f *facts.Facts) []Finding {
		if p := proxied(f); p.felt() {
			return []Finding{{Certainty: Proven, Settle: "curl -v " + urlOf(p.request),
				Summary: fmt.Sprintf("%s asks the proxy %s for %s, not the server.", p.names(), p.asking[0].use.Proxy.Value, urlOf(p.request))}}
		}
		if w := wrapped(f); w.felt() {
			return []Finding{{Certainty: Proven, Affects: w.to, Summary: fmt.Sprintf("%s connects to %s through a proxy, by way of %s.", w.who, ats(f, w.to), w.name())}}
		}
		if d := desktopProxy(f); d != nil && d.felt {
			return []Finding{{Certainty: Proven, Summary: fmt.Sprintf("%s says that it asks a proxy.", f.Target.Error.Client)}}
		}
		return nil
	},
}

var proxyEnvCapturesLocalhost = &Check{
	Name:     "proxy-env-captures-localhost",
	Doc:      "a proxy setting is in force for this machine too",
	Stage:    StageResolve,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupProxies},
	Uses:     []facts.Group{facts.GroupDials},
	Explains: []*Check{sentToProxy},
	Run: func(f *facts.Facts) []Finding {
		p := proxied(f)
		if p == nil || p.dead != nil || exemption(f, p) != nil {
			return nil
		}
		a := p.asking[0]
		return []Finding{p.finding(f, fmt.Sprintf("%s %s the proxy %s for %s: %s says so, and nothing exempts %s.",
			p.names(), p.verb("asks", "ask"), a.use.Proxy.Value, urlOf(p.request), by(a.use.Proxy), p.request.Host))}
	},
}

var noProxyFormatMismatch = &Check{
	Name:     "no-proxy-format-mismatch",
	Doc:      "the client reads the list of proxy exemptions in another way than it was meant",
	Stage:    StageResolve,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupProxies},
	Uses:     []facts.Group{facts.GroupDials},
	Explains: []*Check{sentToProxy},
	Refines:  []*Check{proxyEnvCapturesLocalhost},
	Run: func(f *facts.Facts) []Finding {
		p := proxied(f)
		if p == nil || p.dead != nil {
			return nil
		}
		list := exemption(f, p)
		if list == nil {
			return nil
		}
		a := p.asking[0]
		x := p.finding(f, fmt.Sprintf("%s %s the proxy %s for %s although %s=%s: %s.",
			p.names(), p.verb("asks", "ask"), a.use.Proxy.Value, urlOf(p.request), by(*list), list.Value, whyNot(p, *list)))
		x.Evidence = append(x.Evidence, settingEvidence(f, *list))
		return []Finding{x}
	},
}

// exemption is a list that means this machine and does not exempt it for the client:
// the one that it reads, or one in another spelling.
func exemption(f *facts.Facts, p *proxying) *facts.ProxySetting {
	read := p.asking[0].use.Exempt
	lists := []facts.ProxySetting{read}
	for _, v := range f.Proxies.Variables {
		if strings.EqualFold(v.Name, "no_proxy") {
			lists = append(lists, facts.ProxySetting{Name: v.Name, Value: v.Value})
		}
	}
	for i, l := range lists {
		means := slices.ContainsFunc([]string{"localhost", "127.", "::1", "<local>", "*"}, func(s string) bool { return strings.Contains(strings.ToLower(l.Value), s) })
		if l.Name != "" && (means || strings.Contains(strings.ToLower(l.Value), p.request.Host)) {
			return &lists[i]
		}
	}
	return nil
}

// whyNot says what the client makes of the list.
func whyNot(p *proxying, list facts.ProxySetting) string {
	a := p.asking[0]
	switch read := a.use.Exempt; {
	case read.Name == "" && list.Name != "":
		return fmt.Sprintf("%s does not read %s", a.client.Name, list.Name)
	case read.Name != list.Name:
		return fmt.Sprintf("%s reads %s, and then not %s", a.client.Name, by(read), list.Name)
	}
	return fmt.Sprintf("%s understands %s", a.client.Name, a.client.Reads)
}

// finding is what all of them have in common.
func (p *proxying) finding(f *facts.Facts, summary string) Finding {
	x := Finding{Certainty: cond(p.all || p.who == "", Proven, Inferred), Remark: !p.felt(), Summary: summary, Fixes: p.fixes(f)}
	seen := map[string]bool{}
	for _, a := range p.asking {
		if e := settingEvidence(f, a.use.Proxy); !seen[e.Text] {
			seen[e.Text] = true
			x.Evidence = append(x.Evidence, e)
			x.Evidence = append(x.Evidence, setIn(f, a.use.Proxy.Name)...)
		}
	}
	return x
}

// settingEvidence quotes a setting.
func settingEvidence(f *facts.Facts, s facts.ProxySetting) Evidence {
	if s.File != "" {
		return Evidence{s.Where(), s.Name + " = " + s.Value}
	}
	source := "environment"
	if strings.HasPrefix(f.Proxies.From, "process ") {
		source += " of " + f.Proxies.From
	}
	return Evidence{source, s.Name + "=" + s.Value}
}

// setIn quotes the lines that set a variable.
func setIn(f *facts.Facts, name string) (out []Evidence) {
	for _, s := range f.Proxies.SetIn {
		if s.Name == name && len(out) < 2 {
			out = append(out, Evidence{s.Where(), s.Name + "=" + s.Value})
		}
	}
	return out
}
