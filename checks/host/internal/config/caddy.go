package config

import (
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// ParseCaddy reads a Caddyfile:
//
//	http://localhost:8080, :8081 {
//		bind 127.0.0.1
//	}
//
// The host of a site only selects requests: Caddy listens on all addresses unless
// there is a bind. https://caddyserver.com/docs/caddyfile/concepts
func ParseCaddy(data []byte) Found {
	c := caddyfile{http: "80", https: "443"}
	depth := 0
	for n, line := range lines(data) {
		words := strings.Fields(uncomment(line, '#'))
		if len(words) == 0 {
			continue
		}
		opens := words[len(words)-1] == "{"
		switch {
		case words[0] == "}":
			depth = max(0, depth-1)
			continue
		case depth == 0:
			c.top(n, line, words, opens)
		case depth == 1:
			c.inside(n, line, words)
		}
		if opens {
			if depth++; depth > maxNesting {
				break
			}
		}
	}
	c.finish()
	return c.found
}

type caddyfile struct {
	found       Found
	http, https string
	global      bool
	known       bool         // some block or site has begun
	sites       []site       // of the block
	bound       []netip.Addr // by its bind
	open        bool         // a site without braces: the rest of the file is its
}

type site struct {
	n    int
	text string
	port string
}

// top reads a line outside of braces: global options, a snippet, or sites.
func (c *caddyfile) top(n int, line string, words []string, opens bool) {
	if c.open {
		c.inside(n, line, words)
		return
	}
	switch {
	case words[0] == "{":
		c.global = !c.known
	case strings.HasPrefix(words[0], "("):
		c.finish()
		c.global = false
	case words[0] == "import":
		if len(words) > 1 {
			c.found.include(words[1])
		}
		return
	default:
		list := strings.HasSuffix(words[len(words)-1], ",")
		if !c.listing() {
			c.finish()
		}
		c.global = false
		for _, w := range words {
			if w = strings.Trim(w, ","); w != "{" && w != "" && len(c.sites) < maxFound {
				c.sites = append(c.sites, site{n, line, c.port(w)})
			}
		}
		c.open = !opens && !list && !c.known
		if list {
			c.sites = append(c.sites, site{})
		}
	}
	c.known = true
}

// listing tells whether the list of sites goes on from the line before; its
// mark is taken away.
func (c *caddyfile) listing() bool {
	if i := len(c.sites) - 1; i >= 0 && c.sites[i].n == 0 {
		c.sites = c.sites[:i]
		return true
	}
	return false
}

// port is where a site is served.
func (c *caddyfile) port(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "", address
	}
	rest, _, _ = strings.Cut(rest, "/")
	if _, port := endpoint(rest, all6); port != "" && !digits(rest) {
		return port
	}
	if variable(rest) {
		return rest
	}
	if scheme == "http" {
		return c.http
	}
	return c.https
}

// inside reads a line of a block.
func (c *caddyfile) inside(n int, line string, words []string) {
	switch {
	case len(words) < 2:
	case c.global && words[0] == "http_port":
		c.http = words[1]
		c.found.add(Caddy, n, line, facts.ConfigLine{}, words[1])
	case c.global && words[0] == "https_port":
		c.https = words[1]
		c.found.add(Caddy, n, line, facts.ConfigLine{}, words[1])
	case c.global && words[0] == "default_bind", words[0] == "bind" && len(c.sites) > 0:
		port := ""
		if len(c.sites) > 0 {
			port = c.sites[0].port
		}
		for _, w := range words[1:] {
			if path, ok := strings.CutPrefix(w, "unix/"); ok {
				c.found.add(Caddy, n, line, facts.ConfigLine{Unix: path}, "")
				continue
			}
			l := where(strings.Trim(w, "[]"), all6)
			if l.Addr.IsValid() && len(c.bound) < maxFound {
				c.bound = append(c.bound, l.Addr)
			}
			if w != "{" {
				c.found.add(Caddy, n, line, l, port)
			}
		}
	case words[0] == "import":
		c.found.include(words[1])
	}
}

// finish writes down the sites of the block that ends.
func (c *caddyfile) finish() {
	for _, s := range c.sites {
		if s.n == 0 {
			continue
		}
		var l facts.ConfigLine
		if len(c.bound) > 0 {
			l.Addr = c.bound[0]
		}
		c.found.add(Caddy, s.n, s.text, l, s.port)
	}
	c.sites, c.bound = nil, nil
}
