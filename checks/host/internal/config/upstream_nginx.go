package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// UpstreamsNginx reads where nginx sends requests on to:
//
//	location /api/ { proxy_pass http://localhost:3000; }
//
// https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_pass
func UpstreamsNginx(data []byte) Proxying {
	var p Proxying
	var blocks []nginxBlock
	vars := map[string]string{} // of "set"
	within := func(kind string) *nginxBlock {
		for i := len(blocks) - 1; i >= 0; i-- {
			if blocks[i].kind == kind {
				return &blocks[i]
			}
		}
		return nil
	}
	for n, s := range nginxStatements(data) {
		words := s.words
		switch {
		case s.end == '{':
			b := nginxBlock{line: n, first: len(p.Upstreams)}
			if len(words) > 0 {
				b.kind, b.args = words[0], words[1:]
			}
			blocks = append(blocks, b)
			continue
		case s.end == '}':
			if len(blocks) > 0 {
				blocks[len(blocks)-1].finish(&p)
				blocks = blocks[:len(blocks)-1]
			}
			continue
		case len(words) < 2:
			continue
		}
		text := strings.Join(words, " ") + ";"
		server := within("server")
		switch words[0] {
		case "include":
			p.include(words[1])
		case "set":
			if len(words) > 2 && len(vars) < maxFound {
				vars[words[1]] = words[2]
			}
		case "listen":
			if server != nil && !strings.HasPrefix(words[1], "unix:") {
				_, port := endpoint(words[1], all4)
				if port == "" {
					port = "80"
				}
				server.ports = append(server.ports, port)
				server.standard = server.standard || oneOf("default_server", words[2:]...) || oneOf("default", words[2:]...)
			}
		case "server_name":
			if server != nil {
				server.names = append(server.names, words[1:]...)
			}
		case "server": // of an upstream
			if g := within("upstream"); g != nil && len(g.args) > 0 && !oneOf("down", words[2:]...) {
				to := words[1]
				if _, port := endpoint(to, all4); port == "" && !strings.HasPrefix(to, "unix:") {
					to += ":80"
				}
				p.add(Nginx, n, text, Upstream{To: to, Group: g.args[0]})
			}
		case "proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass":
			u := Upstream{To: substitute(words[1], vars)}
			if location := within("location"); location != nil {
				u.Path, u.Asked = strings.Join(location.args, " "), true
			}
			p.add(Nginx, n, text, u)
		case "return":
			var u Upstream
			if location := within("location"); location != nil {
				u.Path = strings.Join(location.args, " ")
			}
			u.Maybe = within("if") != nil
			p.own(Nginx, n, text, words[1], u)
		}
	}
	for _, b := range blocks { // a file that ends early
		b.finish(&p)
	}
	return p
}

// nginxBlock is a block that is open.
type nginxBlock struct {
	kind         string
	args         []string
	line         int
	first        int // index of the first upstream in it
	ports, names []string
	standard     bool // default_server
}

// finish gives the lines of a server what was known at its end only.
func (b nginxBlock) finish(p *Proxying) {
	if b.kind != "server" {
		return
	}
	if b.ports == nil {
		b.ports = []string{"80"}
	}
	for i := b.first; i < len(p.Upstreams); i++ {
		u := &p.Upstreams[i]
		u.Site, u.Listen, u.Names, u.Default = b.line, b.ports, lower(b.names), b.standard
	}
}

// substitute puts in what "set" said: of a variable that stands for a place.
func substitute(s string, vars map[string]string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	names := slices.SortedFunc(maps.Keys(vars), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for _, name := range names { // $app before $a
		if len(s) < maxLine {
			s = strings.ReplaceAll(s, name, vars[name])
		}
	}
	return s
}

func lower(words []string) []string {
	var out []string
	for _, w := range words {
		if len(out) < maxFound {
			out = append(out, strings.ToLower(clip(w, maxText)))
		}
	}
	return out
}
