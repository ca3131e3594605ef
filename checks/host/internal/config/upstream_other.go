package config

import "strings"

// UpstreamsCaddy reads where Caddy sends requests on to:
//
//	reverse_proxy /api/* localhost:3000
//
// https://caddyserver.com/docs/caddyfile/directives/reverse_proxy
func UpstreamsCaddy(data []byte) Proxying {
	var p Proxying
	ports := caddyfile{http: "80", https: "443"}
	var site Upstream     // what is the same for all lines of a site
	var blocks [][]string // the words that opened each block
	proxy, path := -1, "" // the depth of the block of a reverse_proxy, and its path
	matchers := map[string]string{}
	for n, line := range lines(data) {
		words := strings.Fields(uncomment(line, '#'))
		if len(words) == 0 {
			continue
		}
		opens := words[len(words)-1] == "{"
		if opens {
			words = words[:len(words)-1]
		}
		first := ""
		if len(words) > 0 {
			first = words[0]
		}
		switch {
		case first == "}":
			blocks = blocks[:max(0, len(blocks)-1)]
			if proxy >= len(blocks) {
				proxy = -1
			}
			continue
		case first == "import" && len(words) > 1:
			p.include(words[1])
		case proxy >= 0 && len(blocks) == proxy+1 && first == "to":
			for _, to := range words[1:] {
				with := site
				with.To, with.Path = to, path
				p.add(Caddy, n, line, with)
			}
		case oneOf(first, "reverse_proxy", "php_fastcgi") && proxy < 0:
			args := words[1:]
			path = ""
			for _, b := range blocks { // handle /api/* {
				if len(b) > 1 && strings.HasPrefix(b[1], "/") {
					path = b[1]
				}
			}
			if len(args) > 0 && (strings.HasPrefix(args[0], "/") || args[0] == "*" || strings.HasPrefix(args[0], "@")) {
				if args[0] != "*" && args[0][0] != '@' {
					path = args[0]
				} else if m, ok := matchers[args[0]]; ok {
					path = m
				}
				args = args[1:]
			}
			for _, to := range args {
				with := site
				with.To, with.Path = to, path
				p.add(Caddy, n, line, with)
			}
			if opens {
				proxy = len(blocks)
			}
		case strings.HasPrefix(first, "@") && len(words) > 2 && words[1] == "path" && len(matchers) < maxFound:
			matchers[first] = words[2]
		case len(blocks) == 0 && first != "" && !strings.HasPrefix(first, "("):
			if site.Site == 0 || opens || strings.HasSuffix(words[len(words)-1], ",") {
				site = Upstream{Site: n}
				for _, w := range words {
					w = strings.Trim(w, ",")
					site.Listen = append(site.Listen, ports.port(w))
					_, host, ok := strings.Cut(w, "://")
					if !ok {
						host = w
					}
					host, _, _ = strings.Cut(host, "/")
					if l, _ := endpoint(host, all6); l.Host != "" {
						site.Names = append(site.Names, strings.ToLower(clip(l.Host, maxText)))
					}
				}
			}
		}
		if opens {
			if blocks = append(blocks, words); len(blocks) > maxNesting {
				break
			}
		}
	}
	return p
}

// UpstreamsHAProxy reads where HAProxy sends connections on to:
//
//	server app1 127.0.0.1:3000 check
//
// https://docs.haproxy.org/2.6/configuration.html#5
func UpstreamsHAProxy(data []byte) Proxying {
	var p Proxying
	section, name, begun, first := "", "", 0, 0
	var ports []string
	end := func() {
		for i := first; i < len(p.Upstreams); i++ {
			p.Upstreams[i].Site, p.Upstreams[i].Listen = begun, ports
		}
	}
	for n, line := range lines(data) {
		words := strings.Fields(uncomment(line, '#'))
		if len(words) == 0 {
			continue
		}
		if oneOf(words[0], "global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "cache", "program", "ring", "mailers", "http-errors", "fcgi-app") {
			end()
			section, name, begun, first, ports = words[0], "", n, len(p.Upstreams), nil
			if len(words) > 1 {
				name = words[1]
			}
			if section == "listen" {
				p.add(HAProxy, n, line, Upstream{To: name})
			}
			continue
		}
		if len(words) < 2 {
			continue
		}
		switch {
		case words[0] == "bind" && oneOf(section, "frontend", "listen"):
			for _, a := range strings.Split(words[1], ",") {
				if i := strings.LastIndexByte(a, ':'); i >= 0 && len(ports) < maxFound {
					ports = append(ports, a[i+1:])
				}
			}
		case oneOf(words[0], "default_backend", "use_backend") && oneOf(section, "frontend", "listen"):
			p.add(HAProxy, n, line, Upstream{To: words[1]})
		case words[0] == "server" && len(words) > 2 && oneOf(section, "backend", "listen") && !oneOf("disabled", words[3:]...):
			p.add(HAProxy, n, line, Upstream{To: words[2], Group: name})
		}
	}
	end()
	return p
}

// UpstreamsApache reads where Apache sends requests on to:
//
//	ProxyPass "/api" "http://localhost:3000/"
//
// https://httpd.apache.org/docs/2.4/mod/mod_proxy.html#proxypass
func UpstreamsApache(data []byte) Proxying {
	var p Proxying
	var site Upstream
	first, path, group := 0, "", ""
	end := func() {
		for i := first; i < len(p.Upstreams); i++ {
			u := &p.Upstreams[i]
			u.Site, u.Listen, u.Names = site.Site, site.Listen, site.Names
		}
		site, first = Upstream{}, len(p.Upstreams)
	}
	for n, line := range lines(data) {
		words := quotedWords(strings.TrimSpace(line))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		arg := func(i int) string {
			if i < len(words) {
				return strings.TrimSuffix(words[i], ">")
			}
			return ""
		}
		with := func(to, path string) { p.add(Apache, n, line, Upstream{To: to, Path: path, Group: group}) }
		switch strings.ToLower(words[0]) {
		case "<virtualhost":
			end()
			site.Site = n
			for _, w := range words[1:] {
				if _, port := endpoint(strings.TrimSuffix(w, ">"), all4); port != "" && port != "*" && len(site.Listen) < maxFound {
					site.Listen = append(site.Listen, port)
				}
			}
		case "</virtualhost>":
			end()
		case "servername", "serveralias":
			for _, w := range words[1:] {
				w, _, _ = strings.Cut(w, ":")
				site.Names = append(site.Names, lower([]string{w})...)
			}
		case "<location":
			path = arg(1)
			if path == "~" {
				path = "~ " + arg(2)
			}
		case "<locationmatch":
			path = "~ " + arg(1)
		case "</location>", "</locationmatch>":
			path = ""
		case "<proxy":
			if g, ok := strings.CutPrefix(arg(1), "balancer://"); ok {
				group = g
			}
		case "</proxy>":
			group = ""
		case "balancermember":
			if group != "" {
				with(arg(1), "")
			}
		case "proxypass":
			switch {
			case arg(1) == "!" || arg(2) == "!":
			case path != "" && arg(1) != "":
				with(arg(1), path)
			case arg(2) != "":
				with(arg(2), arg(1))
			}
		case "proxypassmatch":
			with(arg(2), "~ "+arg(1))
		case "rewriterule":
			if flags := strings.Split(strings.Trim(arg(3), "[]"), ","); oneOf("P", flags...) || oneOf("proxy", flags...) {
				with(arg(2), "")
			}
		case "sethandler":
			if to, ok := strings.CutPrefix(arg(1), "proxy:"); ok {
				with(to, path)
			}
		case "include", "includeoptional":
			p.include(arg(1))
		}
	}
	end()
	return p
}

// quotedWords splits a line at spaces outside of double quotes.
func quotedWords(line string) []string {
	var words []string
	var word strings.Builder
	in, quoted := false, false
	for _, c := range line {
		switch {
		case c == '"':
			quoted, in = !quoted, true
		case !quoted && (c == ' ' || c == '\t'):
			if in && len(words) < 64 {
				words = append(words, word.String())
			}
			word.Reset()
			in = false
		default:
			word.WriteRune(c)
			in = true
		}
	}
	if in {
		words = append(words, word.String())
	}
	return words
}
