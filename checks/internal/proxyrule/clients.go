// Package proxyrule tells whether a client asks a proxy for a URL, by the rules of
// that very client. It refuses to look: variables and settings are given to it.
// Every rule that has a program here is compared with it (real_linux_test.go).
package proxyrule

import (
	"cmp"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Request is what is asked for. The host is without brackets, in lower case.
type Request struct {
	Scheme string // "http" or "https"
	Host   string
	Port   uint16
}

// Use is what a client makes of a request.
type Use struct {
	Proxy  facts.ProxySetting // what names the proxy; its value is empty: the client goes there itself
	Exempt facts.ProxySetting // the list of exemptions that it reads; its name is empty: there is none
}

// Proxied tells whether the client asks the proxy.
func (u Use) Proxied() bool { return u.Proxy.Value != "" }

// Client is a kind of client.
type Client struct {
	Name     string
	Programs []string // what its process may be called
	Speakers []string // what --error calls it
	Common   bool     // many programs are built with it
	Needs    string   // a variable without which it reads none of the others
	Reads    string   // how it reads a list of exemptions

	http, https []string // the variables that name the proxy, the first that is there counts
	fallback    []string // for both, where there is none of those
	noProxy     []string
	emptyCounts bool // a variable that is empty is there, and says: none
	anyCase     bool // every spelling of the first one counts, its own first
	loopback    bool // this client never asks a proxy for localhost or a loopback address
	exempts     func(list string, r Request) bool
	settings    func(c *Client, p *facts.Proxies, r Request) (Use, bool) // files and options go before variables
}

var (
	bothNo = []string{"no_proxy", "NO_PROXY"}
	all    = []string{"all_proxy", "ALL_PROXY"}
)

// Clients are the kinds of clients whose rules are known. Where they come from:
// curl lib/url.c (detect_proxy) and lib/noproxy.c, git http.c (http_init), wget
// src/retr.c (getproxy) and src/host.c (sufmatch), CPython Lib/urllib/request.py
// (getproxies_environment), requests utils.py (should_bypass_proxies), Go
// golang.org/x/net/http/httpproxy, undici lib/dispatcher/env-http-proxy-agent.js,
// proxy-from-env index.js, OpenJDK sun/net/spi/DefaultProxySelector.java.
var Clients = []*Client{
	// HTTP_PROXY in capitals could come from a request's header Proxy, in a CGI
	// program: curl does not read it (CVE-2016-5385).
	{Name: "curl", Common: true, Reads: "names and what is below them, IPv4 addresses and networks; neither ports nor *.name",
		Programs: []string{"curl"}, Speakers: []string{"curl"},
		http: []string{"http_proxy"}, https: []string{"https_proxy", "HTTPS_PROXY"}, fallback: all, noProxy: bothNo, exempts: curlExempts, settings: curlFile},
	{Name: "git", Reads: "names and what is below them, IPv4 addresses and networks; neither ports nor *.name",
		Programs: []string{"git", "git-remote-http", "git-remote-https"}, Speakers: []string{"git"},
		http: []string{"http_proxy"}, https: []string{"https_proxy", "HTTPS_PROXY"}, fallback: all, noProxy: bothNo, emptyCounts: true, exempts: curlExempts, settings: gitFile},
	{Name: "wget", Reads: "what the host ends with; neither networks, ports nor *, and only the variable in small letters",
		Programs: []string{"wget"}, Speakers: []string{"wget"},
		http: []string{"http_proxy"}, https: []string{"https_proxy"}, noProxy: []string{"no_proxy"}, exempts: wgetExempts, settings: wgetFile},
	{Name: "Python's urllib", Reads: "what the host ends with, as it stands in the URL: ::1 in brackets; neither networks nor *.name",
		Programs: python, Speakers: []string{"Python"},
		http: []string{"http_proxy"}, https: []string{"https_proxy"}, noProxy: []string{"no_proxy"}, emptyCounts: true, anyCase: true, exempts: urllibExempts},
	{Name: "Python's requests", Common: true, Reads: "what the host ends with, and IPv4 networks; ::1 without brackets, no *.name",
		Programs: append([]string{"pip", "pip3", "http", "https"}, python...), Speakers: []string{"Python", "requests"},
		http: []string{"http_proxy"}, https: []string{"https_proxy"}, fallback: []string{"all_proxy"}, noProxy: bothNo, emptyCounts: true, anyCase: true, exempts: requestsExempts},
	{Name: "Go", Reads: "names, addresses and networks, with a port or without",
		Speakers: []string{"Go"},
		http:     []string{"HTTP_PROXY", "http_proxy"}, https: []string{"HTTPS_PROXY", "https_proxy"}, noProxy: []string{"NO_PROXY", "no_proxy"}, loopback: true, exempts: goExempts},
	{Name: "Node's fetch", Common: true, Reads: "the very host, ::1 in brackets, and what ends with .name or *.name; no networks",
		Programs: node, Speakers: []string{"Node"}, Needs: "NODE_USE_ENV_PROXY",
		http: []string{"http_proxy", "HTTP_PROXY"}, https: []string{"https_proxy", "HTTPS_PROXY"}, noProxy: bothNo, emptyCounts: true, exempts: undiciExempts},
	{Name: "axios", Common: true, Reads: "the very host, ::1 in brackets, and what ends with .name or *.name; no networks",
		Programs: node, Speakers: []string{"Node", "axios"},
		http: []string{"npm_config_http_proxy", "NPM_CONFIG_HTTP_PROXY", "http_proxy", "HTTP_PROXY"}, https: []string{"npm_config_https_proxy", "NPM_CONFIG_HTTPS_PROXY", "https_proxy", "HTTPS_PROXY"},
		fallback: append([]string{"npm_config_proxy", "NPM_CONFIG_PROXY"}, all...), noProxy: append([]string{"npm_config_no_proxy", "NPM_CONFIG_NO_PROXY"}, bothNo...), exempts: proxyFromEnvExempts},
	{Name: "Java", Reads: "http.nonProxyHosts, separated by |, with a * at the start or the end; no variables",
		Programs: []string{"java"}, Speakers: []string{"Java"}, settings: javaOptions},
}

var (
	python = []string{"python", "python3"}
	node   = []string{"node", "MainThread"} // since Node 22 the first thread may be called so
)

// Is tells whether a process of that name may be such a client.
func (c *Client) Is(program string) bool {
	if slices.Contains(c.Programs, program) {
		return true
	}
	version, ok := strings.CutPrefix(program, "python3.") // python3.11
	return ok && slices.Contains(c.Programs, "python3") && strings.Trim(version, "0123456789") == ""
}

// Heeds tells whether the client reads proxy variables at all.
func (c *Client) Heeds(p *facts.Proxies) bool {
	return c.Needs == "" || slices.Contains(p.Variables, facts.Variable{Name: c.Needs, Value: "1"})
}

// Use tells what the client makes of a request.
func (c *Client) Use(p *facts.Proxies, r Request) Use {
	if !c.Heeds(p) {
		return Use{}
	}
	if c.settings != nil {
		if u, ok := c.settings(c, p, r); ok {
			return u
		}
	}
	var u Use
	u.Proxy, _ = c.proxy(p, r)
	return c.exempt(p, r, u)
}

// exempt takes the proxy away where a list of exemptions holds the host.
func (c *Client) exempt(p *facts.Proxies, r Request, u Use) Use {
	if u.Exempt.Name == "" {
		u.Exempt, _ = c.lookup(p, c.noProxy)
	}
	if !u.Proxied() {
		return u
	}
	if c.loopback && (r.Host == "localhost" || isLoopback(r.Host)) || u.Exempt.Value != "" && c.exempts(u.Exempt.Value, r) {
		u.Proxy = facts.ProxySetting{}
	}
	return u
}

func (c *Client) proxy(p *facts.Proxies, r Request) (facts.ProxySetting, bool) {
	names := c.http
	if r.Scheme == "https" {
		names = c.https
	}
	// Of Python's an empty variable takes away the same one in capitals, no other.
	if v, ok := c.lookup(p, names); ok && (v.Value != "" || !c.anyCase) {
		return v, true
	}
	if c.Name == "Node's fetch" && r.Scheme == "https" { // it takes the other one
		return c.lookup(p, c.http)
	}
	return c.lookup(p, c.fallback)
}

// lookup finds the first of the variables that is there.
func (c *Client) lookup(p *facts.Proxies, names []string) (facts.ProxySetting, bool) {
	for _, name := range names {
		is := func(v facts.Variable) bool { return v.Name == name && (v.Value != "" || c.emptyCounts) }
		i := slices.IndexFunc(p.Variables, is)
		if i < 0 && c.anyCase {
			i = slices.IndexFunc(p.Variables, func(v facts.Variable) bool { return strings.EqualFold(v.Name, name) && v.Value != "" })
		}
		if i >= 0 {
			return facts.ProxySetting{Name: p.Variables[i].Name, Value: p.Variables[i].Value}, true
		}
	}
	return facts.ProxySetting{}, false
}

// option finds a setting of a program, the last one that was read.
func option(p *facts.Proxies, program string, names ...string) (facts.ProxySetting, bool) {
	var found facts.ProxySetting
	ok := false
	for _, s := range p.Settings {
		if s.Program == program && slices.Contains(names, s.Name) {
			found, ok = s, true
		}
	}
	return found, ok
}

// curlFile: ~/.curlrc names the proxy for every scheme.
func curlFile(c *Client, p *facts.Proxies, r Request) (u Use, ok bool) {
	if u.Exempt, ok = option(p, "curl", "noproxy"); ok && u.Exempt.Value == "" {
		u.Exempt.Value = "," // it is read, and exempts nothing
	}
	if u.Proxy, ok = option(p, "curl", "proxy"); !ok {
		u.Proxy, _ = c.proxy(p, r)
	}
	return c.exempt(p, r, u), true
}

// gitFile: http.proxy is for every scheme; an empty one says: none. The most
// particular http.<url>.proxy goes before it (git-config(1)).
func gitFile(c *Client, p *facts.Proxies, r Request) (u Use, ok bool) {
	found := -1
	for _, s := range p.Settings {
		if s.Program != "git" {
			continue
		}
		fits := 0
		if s.Name != "http.proxy" {
			url, named := strings.CutPrefix(strings.TrimSuffix(s.Name, ".proxy"), "http.")
			if !named || !about(url, r) {
				continue
			}
			fits = len(url)
		}
		if fits >= found {
			u.Proxy, found = s, fits
		}
	}
	if found < 0 {
		return u, false
	}
	return c.exempt(p, r, u), true
}

// about tells whether a URL of git's configuration covers the request.
func about(url string, r Request) bool {
	scheme, rest, ok := strings.Cut(strings.ToLower(url), "://")
	if !ok || scheme != r.Scheme {
		return false
	}
	rest, path, _ := strings.Cut(rest, "/")
	host, port := splitPort(rest)
	standard := map[string]uint16{"http": 80, "https": 443}[scheme]
	return path == "" && strings.Trim(host, "[]") == r.Host && cmp.Or(port, standard) == cmp.Or(r.Port, standard)
}

// wgetFile: wgetrc goes before the variables; its no_proxy is added to theirs.
func wgetFile(c *Client, p *facts.Proxies, r Request) (u Use, ok bool) {
	if s, ok := option(p, "wget", "use_proxy"); ok && slices.Contains([]string{"off", "no", "0"}, strings.ToLower(s.Value)) {
		return u, true
	}
	if u.Proxy, ok = option(p, "wget", r.Scheme+"_proxy"); !ok || u.Proxy.Value == "" {
		u.Proxy, _ = c.proxy(p, r)
	}
	u.Exempt, _ = c.lookup(p, c.noProxy)
	if s, ok := option(p, "wget", "no_proxy"); ok {
		if u.Exempt.Value != "" {
			s.Value = u.Exempt.Value + "," + s.Value
		}
		u.Exempt = s
	}
	return c.exempt(p, r, u), true
}

// javaNever is what Java never asks a proxy for, unless http.nonProxyHosts is there
// and empty; also for https (DefaultProxySelector.java, NonProxyInfo.defStringVal).
const javaNever = "localhost|127.*|[::1]|0.0.0.0|[::0]"

// javaOptions: Java reads no variable of the kind, only its own properties. The list
// for http goes before one of SOCKS; a socket of TLS asks for itself as well.
func javaOptions(c *Client, p *facts.Proxies, r Request) (u Use, ok bool) {
	port := "80"
	u.Proxy, ok = option(p, "java", r.Scheme+".proxyHost")
	switch {
	case !ok:
		port = "1080"
		if u.Proxy, ok = option(p, "java", "socksProxyHost"); !ok {
			return u, true
		}
	case r.Scheme == "https":
		port = "443"
	}
	if s, ok := option(p, "java", strings.TrimSuffix(u.Proxy.Name, "Host")+"Port"); ok {
		port = s.Value
	}
	if u.Proxy.Value != "" {
		u.Proxy.Value += ":" + port
	}
	lists := []string{"http.nonProxyHosts"}
	if u.Proxy.Name == "socksProxyHost" && r.Scheme == "https" {
		lists = append(lists, "socksNonProxyHosts")
	}
	for _, name := range lists {
		not, there := option(p, "java", name)
		if there && not.Value == "" || !javaExempts(strings.Trim(not.Value+"|"+javaNever, "|"), r) {
			u.Exempt = not
			return u, true
		}
	}
	u.Proxy = facts.ProxySetting{}
	return u, true
}
