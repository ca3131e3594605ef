package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var upstreamParsers = map[string]func([]byte) Proxying{"nginx": UpstreamsNginx, "caddy": UpstreamsCaddy, "haproxy": UpstreamsHAProxy, "apache": UpstreamsApache}

var upstreamSamples = []struct {
	format, file string
	port         uint16
	host, path   string
	want         []string // what For picks, "4 http://localhost:3000"
}{
	{"nginx", `
http {
	include conf.d/*.conf;
	upstream app { least_conn; server 127.0.0.1:3000 weight=2; server unix:/run/app.sock backup; server 10.0.0.7 down; }
	server { location / { proxy_pass http://app; } listen 127.0.0.1:8080 default_server; }
	server { listen 8080; server_name shop.local; location / { proxy_pass http://localhost:4000; }
		location /api/ { proxy_pass http://localhost:4001/; }
		location ~ \.php$ { fastcgi_pass unix:/run/php/php8.2-fpm.sock; }
		location = /up { proxy_pass http://127.0.0.1:4002; } }
	server { listen 9090; location / { proxy_pass http://localhost:5000; } }
}
`, 8080, "localhost", "/", []string{"4 127.0.0.1:3000", "4 unix:/run/app.sock"}},
	{"nginx", "server { listen 80; server_name shop.local; location / { proxy_pass http://a:1; }\nlocation /api/ { proxy_pass http://b:2; }\nlocation ~ \\.php$ { fastcgi_pass unix:/run/p; }\nlocation = /up { proxy_pass http://c:3; } }", 80, "shop.local", "/api/x", []string{"2 http://b:2"}},
	{"nginx", "server { listen 80; location / { proxy_pass http://a:1; }\nlocation ~ \\.php$ { fastcgi_pass unix:/run/p; }\nlocation = /up { proxy_pass http://c:3; } }", 80, "x", "/index.php", []string{"2 unix:/run/p"}},
	{"nginx", "server { listen 80; location / { proxy_pass http://a:1; }\nlocation = /up { proxy_pass http://c:3; } }", 80, "x", "/up", []string{"2 http://c:3"}},
	{"nginx", "server { listen [::]:80; set $app http://127.0.0.1:3000;\nlocation / { proxy_pass $app; } }", 80, "x", "/", []string{"2 http://127.0.0.1:3000"}},
	{"nginx", "stream { server { listen 5433;\nproxy_pass db; } upstream db { server 127.0.0.1:5432; } }", 5433, "x", "", []string{"2 127.0.0.1:5432"}},
	{"nginx", "server { listen 81; location / { proxy_pass http://a:1; } }", 80, "x", "/", nil},
	{"nginx", "# proxy_pass http://a:1;\nlocation / { proxy_pass http://b:2; }", 80, "x", "/", []string{"2 http://b:2"}},
	{"caddy", `
http://localhost:8080 {
	@api path /api/*
	handle /old/* {
		reverse_proxy localhost:3001
	}
	reverse_proxy @api 127.0.0.1:3002
	reverse_proxy localhost:3000 {
		to unix//run/app.sock
		health_uri /
	}
}
:9090 {
	reverse_proxy :4000
}
`, 8080, "localhost", "/", []string{"8 localhost:3000", "9 unix//run/app.sock"}},
	{"caddy", "http://a.local:8080, http://b.local:8080 {\n\treverse_proxy /api/* localhost:1\n\treverse_proxy localhost:2\n}\n", 8080, "b.local", "/api/x", []string{"2 localhost:1"}},
	{"caddy", ":8080\nreverse_proxy localhost:3000", 8080, "localhost", "/", []string{"2 localhost:3000"}},
	{"caddy", ":8080 {\n\tphp_fastcgi unix//run/php.sock\n}", 8080, "localhost", "/", []string{"2 unix//run/php.sock"}},
	{"haproxy", `
frontend web
	bind 127.0.0.1:8080,[::1]:8080
	use_backend api if { path_beg /api }
	default_backend app
backend app
	server a1 127.0.0.1:3000 check
	server a2 [::1]:3001 disabled
backend api
	server b1 unix@/run/api.sock
listen db
	bind :5433
	server d1 127.0.0.1:5432
`, 8080, "x", "/", []string{"10 unix@/run/api.sock", "7 127.0.0.1:3000"}},
	{"haproxy", "listen db\n\tbind :5433\n\tserver d1 127.0.0.1:5432\n", 5433, "x", "", []string{"3 127.0.0.1:5432"}},
	{"apache", `
<Proxy "balancer://app">
	BalancerMember "http://127.0.0.1:3000"
	BalancerMember http://127.0.0.1:3001
</Proxy>
<VirtualHost *:8080>
	ServerName shop.local
	ProxyPass /static !
	ProxyPass "/" "balancer://app/"
	ProxyPassReverse "/" "balancer://app/"
	<Location /api>
		ProxyPass http://localhost:4000/
	</Location>
	<FilesMatch \.php$>
		SetHandler "proxy:unix:/run/php.sock|fcgi://localhost"
	</FilesMatch>
</VirtualHost>
`, 8080, "shop.local", "/api/x", []string{"12 http://localhost:4000/"}},
	{"apache", "<Proxy balancer://app>\nBalancerMember http://127.0.0.1:3000\n</Proxy>\nProxyPass / balancer://app/\n", 80, "x", "/", []string{"2 http://127.0.0.1:3000"}},
	// What the proxy answers itself, and paths that nothing is sent on for.
	{"nginx", "server { listen 80; location / { return 503 \"soon\"; }\nlocation /other { proxy_pass http://a:1; } }", 80, "x", "/", []string{"1 itself 503"}},
	{"nginx", "server { listen 80; location / { return 503 \"soon\"; }\nlocation /other { proxy_pass http://a:1; } }", 80, "x", "/other/1", []string{"2 http://a:1"}},
	{"nginx", "server { listen 80; location / { root /srv; }\nlocation /other { proxy_pass http://a:1; } }", 80, "x", "/", nil},
	{"nginx", "server { listen 80; location / { index index.php; }\nlocation ~ \\.php$ { fastcgi_pass unix:/run/p; } }", 80, "x", "/", []string{"2 unix:/run/p maybe"}},
	{"nginx", "server { listen 80; location / { try_files $uri @app; }\nlocation @app { proxy_pass http://a:1; } }", 80, "x", "/", []string{"2 http://a:1"}},
	{"nginx", "server { listen 80; return 503;\nlocation / { proxy_pass http://a:1; } }", 80, "x", "/", []string{"1 itself 503", "2 http://a:1"}},
	{"nginx", "server { listen 80; if (-f /srv/stop) { return 503; }\nlocation / { proxy_pass http://a:1; } }", 80, "x", "/", []string{"1 itself 503 maybe", "2 http://a:1"}},
	{"nginx", "server { listen 80 default_server; return 444; }\nserver { listen 80; server_name app.local; location / { proxy_pass http://a:1; } }", 80, "localhost", "/", []string{"1 itself 444"}},
	{"nginx", "server { listen 80 default_server; return 444; }\nserver { listen 80; server_name app.local; location / { proxy_pass http://a:1; } }", 80, "app.local", "/", []string{"2 http://a:1"}},
	{"nginx", "server { listen 80; location / { return 301 https://$host; } }", 80, "x", "/", nil},
	{"caddy", ":80 {\n\thandle /up/* {\n\t\treverse_proxy a:1\n\t}\n\thandle {\n\t\trespond \"soon\" 503\n\t}\n}\n", 80, "x", "/", []string{"6 itself 503"}},
	{"caddy", ":80 {\n\thandle /up/* {\n\t\treverse_proxy a:1\n\t}\n\thandle {\n\t\trespond \"soon\" 503\n\t}\n}\n", 80, "x", "/up/1", []string{"3 a:1"}},
	{"caddy", ":80 {\n\t@stop header X-Stop *\n\trespond @stop 503\n\trespond /gone 200\n\treverse_proxy a:1\n}\n", 80, "x", "/", []string{"3 itself 503 maybe", "5 a:1"}},
	{"haproxy", "frontend f\n\tbind :80\n\thttp-request return status 503 string \"soon\" if { path / }\n\tdefault_backend b\nbackend b\n\tserver s 127.0.0.1:1\n", 80, "x", "/", []string{"3 itself 503", "6 127.0.0.1:1"}},
	{"haproxy", "frontend f\n\tbind :80\n\thttp-request return status 503 string \"soon\" if { path / }\n\tdefault_backend b\nbackend b\n\tserver s 127.0.0.1:1\n", 80, "x", "/a", []string{"6 127.0.0.1:1"}},
	{"haproxy", "frontend f\n\tbind :80\n\ttcp-request connection reject if !{ src 10.0.0.0/8 }\n\thttp-request deny deny_status 429\n\tdefault_backend b\nbackend b\n\tserver s 127.0.0.1:1\n", 80, "x", "", []string{"3 itself 444 maybe", "7 127.0.0.1:1"}},
	{"haproxy", "frontend f\n\tbind :80\n\thttp-request if\n\thttp-request deny if { path_beg /x }\n\thttp-request tarpit\n\tdefault_backend b\nbackend b\n\tserver s 127.0.0.1:1\n", 80, "x", "", []string{"5 itself 500", "8 127.0.0.1:1"}},
	{"apache", "RedirectMatch 503 ^/$\nProxyPass /api http://127.0.0.1:1/\n", 80, "x", "/", []string{"1 itself 503"}},
	{"apache", "Redirect 503 /\nProxyPass /api http://127.0.0.1:1/\n", 80, "x", "/api/x", []string{"2 http://127.0.0.1:1/"}},
	{"apache", "ProxyPass /api http://127.0.0.1:1/\n", 80, "x", "/", nil},
	{"apache", "RewriteRule ^/(.*) http://localhost:3000/$1 [P,L]\nRewriteRule ^/x /y [L]\n", 80, "x", "/", []string{"1 http://localhost:3000/$1"}},
}

func TestUpstreams(t *testing.T) {
	for _, s := range upstreamSamples {
		var got []string
		for _, u := range For(upstreamParsers[s.format]([]byte(s.file)).Upstreams, s.port, s.host, s.path) {
			to := u.To
			if u.Own != 0 {
				to = fmt.Sprintf("itself %d", u.Own)
			}
			if u.Maybe {
				to += " maybe"
			}
			got = append(got, fmt.Sprintf("%d %s", u.Line, to))
		}
		if !slices.Equal(got, s.want) {
			t.Errorf("%s, %d %s%s of\n%s\n\tgot  %q\n\twant %q", s.format, s.port, s.host, s.path, s.file, got, s.want)
		}
	}
}

// Who speaks HTTP with the client leads on once it has been asked.
func TestAskedBeforeItLeadsOn(t *testing.T) {
	for _, c := range []struct {
		format, file string
		want         bool
	}{
		{"haproxy", "defaults\n\tmode http\nfrontend f\n\tbind :80\n\tdefault_backend b\nbackend b\n\tserver s a:1\n", true},
		{"haproxy", "defaults\n\tmode http\nfrontend f\n\tmode tcp\n\tbind :80\n\tdefault_backend b\nbackend b\n\tserver s a:1\n", false},
		{"haproxy", "listen f\n\tbind :80\n\tserver s a:1\n", false},
		{"nginx", "server { listen 80; location / { proxy_pass http://a:1; } }", true},
		{"nginx", "stream { server { listen 80; proxy_pass a:1; } }", false},
		{"caddy", ":80 {\n\treverse_proxy a:1\n}\n", true},
		{"apache", "ProxyPass / http://a:1/\n", true},
	} {
		got := For(upstreamParsers[c.format]([]byte(c.file)).Upstreams, 80, "x", "/")
		if len(got) != 1 || got[0].Asked != c.want {
			t.Errorf("%s: %+v, want asked: %v\n%s", c.format, got, c.want, c.file)
		}
	}
}

func TestTarget(t *testing.T) {
	for to, want := range map[string]string{
		"http://localhost:3000/api": "localhost 3000 ", "https://[::1]": "::1 443 ", "http://10.0.0.7$request_uri": "10.0.0.7 80 ", "127.0.0.1:9000": "127.0.0.1 9000 ",
		":3000": "localhost 3000 ", "http://unix:/run/app.sock:/uri": " 0 /run/app.sock", "unix:/run/php.sock|fcgi://localhost": " 0 /run/php.sock", "unix//run/app.sock": " 0 /run/app.sock",
		"ipv4@127.0.0.1:80": "127.0.0.1 80 ", "unix@/run/api.sock": " 0 /run/api.sock", "$backend": " 0 ", "http://{env.HOST}:80": " 0 ", "app": " 0 ", "h:70000": " 0 ", "": " 0 ",
	} {
		host, port, unix := Target(to)
		if got := fmt.Sprintf("%s %d %s", host, port, unix); got != want {
			t.Errorf("%q is %q, want %q", to, got, want)
		}
	}
}

func TestLargeUpstreamFilesEnd(t *testing.T) {
	for name, parse := range upstreamParsers {
		for _, s := range []string{strings.Repeat("{", 1<<20), strings.Repeat("server { proxy_pass http://a:1; ", 1<<15), strings.Repeat("reverse_proxy a:1 {\n", 1<<15), strings.Repeat("listen x\nserver a b:1\n", 1<<15),
			strings.Repeat("ProxyPass / http://a:1\n", 1<<15), strings.Repeat("set $a $a$a; proxy_pass $a; ", 1<<15)} {
			if p := parse([]byte(s)); len(p.Upstreams) > maxFound {
				t.Errorf("%s keeps %d lines", name, len(p.Upstreams))
			}
		}
	}
}

func FuzzUpstreams(f *testing.F) {
	for _, s := range upstreamSamples {
		f.Add([]byte(s.file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range slices.Sorted(maps.Keys(upstreamParsers)) {
			p := upstreamParsers[name](data)
			for _, u := range p.Upstreams {
				for _, s := range []string{u.Text, u.To, u.Path, u.Group} {
					if strings.ContainsFunc(s, unicode.IsControl) || len([]rune(s)) > maxText {
						t.Errorf("%s keeps %q", name, s)
					}
				}
				Target(u.To)
			}
			if got := For(p.Upstreams, 80, "localhost", "/a"); len(got) > maxFound {
				t.Errorf("%s picks %d", name, len(got))
			}
		}
	})
}
