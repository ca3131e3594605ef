package config

import (
	"cmp"
	"slices"
	"strings"
)

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
				with.To, with.Path, with.Asked = to, path, true
				p.add(Caddy, n, line, with)
			}
		case oneOf(first, "respond", "error", "abort") && proxy < 0 && len(blocks) > 0:
			with := site
			args := words[1:]
			with.Path = cmp.Or(handled(blocks), "*")
			if len(args) > 0 && args[0] != "*" && (args[0][0] == '/' || args[0][0] == '@') {
				if with.Path = args[0]; args[0][0] == '@' {
					with.Path, with.Maybe = cmp.Or(matchers[args[0]], "*"), matchers[args[0]] == ""
				}
				args = args[1:]
			}
			p.own(Caddy, n, line, caddyStatus(first, args), with)
		case oneOf(first, "reverse_proxy", "php_fastcgi") && proxy < 0:
			args := words[1:]
			path = handled(blocks)
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
				with.To, with.Path, with.Asked = to, path, true
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

// handled is the path of the block that a line stands in: handle /api/* {
func handled(blocks [][]string) (path string) {
	for _, b := range blocks {
		if len(b) > 1 && strings.HasPrefix(b[1], "/") {
			path = b[1]
		}
	}
	return path
}

// caddyStatus is the status with which Caddy answers itself:
//
//	respond "maintenance" 503
//	abort
func caddyStatus(directive string, args []string) string {
	if directive == "abort" {
		return "444"
	}
	if last := len(args) - 1; last >= 0 && args[last] != "0" {
		return args[last]
	}
	return ""
}

// UpstreamsHAProxy reads where HAProxy sends connections on to:
//
//	server app1 127.0.0.1:3000 check
//
// https://docs.haproxy.org/2.6/configuration.html#5
func UpstreamsHAProxy(data []byte) Proxying {
	var p Proxying
	section, name, begun, first := "", "", 0, 0
	standard, http := false, false // "mode http" of the defaults, of the section
	var ports []string
	end := func() {
		for i := first; i < len(p.Upstreams); i++ {
			p.Upstreams[i].Site, p.Upstreams[i].Listen, p.Upstreams[i].Asked = begun, ports, http
		}
		if section == "defaults" {
			standard = http
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
			http = standard && section != "defaults"
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
		case words[0] == "mode":
			http = words[1] == "http"
		case oneOf(words[0], "tcp-request", "http-request") && oneOf(section, "frontend", "listen"):
			status, path, maybe := haproxyOwn(words)
			p.own(HAProxy, n, line, status, Upstream{Path: path, Maybe: maybe})
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

// haproxyOwn reads with what status HAProxy answers itself, to which path, and whether
// more than that has to be so:
//
//	http-request return status 503 content-type text/plain string "soon" if { path / }
//	tcp-request connection reject if !{ src 10.0.0.0/8 }
func haproxyOwn(words []string) (status, path string, maybe bool) {
	at := slices.IndexFunc(words, func(w string) bool { return w == "if" || w == "unless" })
	if at < 0 {
		at = len(words)
	}
	rule, condition := words[:at], words[at:]
	if len(rule) < 2 {
		return "", "", false
	}
	value := func(of, otherwise string) string {
		if i := slices.Index(rule, of); i > 0 && i+1 < len(rule) {
			return rule[i+1]
		}
		return otherwise
	}
	switch {
	case len(rule) > 2 && oneOf(rule[1], "connection", "content", "session") && oneOf(rule[2], "reject", "silent-drop"), oneOf(rule[1], "reject", "silent-drop"):
		status = "444"
	case rule[0] == "http-request" && rule[1] == "return":
		status = value("status", "200")
	case rule[0] == "http-request" && rule[1] == "deny":
		status = value("status", value("deny_status", "403"))
	case rule[0] == "http-request" && rule[1] == "tarpit":
		status = value("status", value("deny_status", "500"))
	}
	switch {
	case len(condition) == 0:
	case len(condition) == 5 && condition[0] == "if" && condition[1] == "{" && condition[2] == "path" && condition[4] == "}":
		path = "= " + condition[3]
	case len(condition) == 5 && condition[0] == "if" && condition[1] == "{" && condition[2] == "path_beg" && condition[4] == "}":
		path = condition[3]
	default:
		maybe = true
	}
	return status, path, maybe
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
		with := func(to, path string) { p.add(Apache, n, line, Upstream{To: to, Path: path, Group: group, Asked: true}) }
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
		case "redirect":
			p.own(Apache, n, line, arg(1), Upstream{Path: cmp.Or(arg(2), path, "*")})
		case "redirectmatch":
			p.own(Apache, n, line, arg(1), Upstream{Path: "~ " + arg(2)})
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
