package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// parsers is every format.
var parsers = map[string]func([]byte) Found{
	"nginx": ParseNginx, "apache": ParseApache, "caddy": ParseCaddy, "haproxy": ParseHAProxy, "redis": ParseRedis, "postgresql": ParsePostgreSQL,
	"mysql": ParseMySQL, "sshd": ParseSSHD, "socket": ParseSocketUnit, "env": ParseEnv, "package": ParsePackage, "vite": ParseVite,
	"properties": ParseProperties, "application": ParseApplication, "compose": ParseCompose,
}

// told is what a file says, a line each: "3 127.0.0.1:80-90 v6only=true".
func told(f Found) []string {
	var out []string
	for _, l := range f.Lines {
		s := fmt.Sprint(l.Line)
		if l.Addr.IsValid() {
			s += " " + l.Addr.String()
		}
		for _, w := range []struct {
			is   bool
			text string
		}{
			{l.Host != "", " host=" + l.Host}, {l.Port != 0, fmt.Sprintf(" port=%d", l.Port)}, {l.LastPort != 0, fmt.Sprintf("-%d", l.LastPort)},
			{l.Unix != "", " unix=" + l.Unix}, {l.Off, " off"}, {l.Bad != "", " bad=" + l.Bad}, {l.Device != "", " device=" + l.Device},
			{l.UDP, " udp"}, {l.Upstr, " upstream"},
		} {
			if w.is {
				s += w.text
			}
		}
		if l.V6Only != nil {
			s += fmt.Sprintf(" v6only=%v", *l.V6Only)
		}
		out = append(out, s)
	}
	for _, i := range f.Include {
		out = append(out, "include "+i)
	}
	if f.Reset {
		out = append(out, "reset")
	}
	return out
}

var samples = []struct {
	format, file string
	want         []string
}{
	{"nginx", `
# listen 1;
include /etc/nginx/conf.d/*.conf;
http { server {
	listen 80 default_server; # the first
	listen [::]:80 ipv6only=off;
	listen 127.0.0.1; listen *:8000-8010;
	listen
		localhost:8080
		backlog=5;
	listen unix:/run/app.sock;
	listen $port; listen 443 quic;
	listen 127.0.0.1:99999;
	set $a "listen 9;"; add_header x 'it''s; listen 10;';
	proxy_pass http://127.0.0.1:3000; } }`,
		[]string{"5 0.0.0.0 port=80", "6 :: port=80 v6only=false", "7 127.0.0.1 port=80", "7 0.0.0.0 port=8000-8010", "8 host=localhost port=8080", "11 unix=/run/app.sock", "12 0.0.0.0 port=443 udp", "13 127.0.0.1 bad=99999", "include /etc/nginx/conf.d/*.conf"}},
	{"apache", "#Listen 1\nlisten 80\n<IfModule ssl_module>\n\tListen 127.0.0.1:443 https\n</IfModule>\nListen [::]:80\nListen \\\n  8080\nListen ${PORT}\nListen 80a\nIncludeOptional sites-enabled/*.conf\nListen *:81\n",
		[]string{"2 port=80", "4 127.0.0.1 port=443", "6 :: port=80", "7 port=8080", "12 :: port=81", "include sites-enabled/*.conf"}},
	{"caddy", "{\n\thttp_port 8080\n\tadmin off\n}\n(common) {\n\tbind 192.0.2.1\n}\nhttp://localhost, :8081 {\n\tbind 127.0.0.1 ::1\n\treverse_proxy localhost:3000 {\n\t\theader_up Host :9\n\t}\n}\nexample.com,\nhttps://a.example:8443 {\n}\n:{$PORT} {\n}\nimport sites/*\n",
		[]string{"2 port=8080", "9 127.0.0.1 port=8080", "9 ::1 port=8080", "8 127.0.0.1 port=8080", "8 127.0.0.1 port=8081", "14 port=443", "15 port=8443", "include sites/*"}},
	{"caddy", "# one site, no braces\n:8080\nrespond hello\nreverse_proxy :9\nbind 127.0.0.1\n", []string{"5 127.0.0.1 port=8080", "2 127.0.0.1 port=8080"}},
	{"haproxy", "global\n  bind :1\nfrontend a\n  bind 127.0.0.1:8000-8010,[::1]:8000 interface eth0\n  bind :::80 v6only # both\n  bind *:81\n  bind :82\n  bind /run/x.sock mode 600\n  bind unix@/run/y.sock\n  bind \"$IP:83\"\n  bind quic4@:443\n  bind fd@3\n  bind nonsense\nbackend b\n  bind :2\n  server s 127.0.0.1:3000\nlisten c\n  #bind :3\n  bind ipv6@:84\n",
		[]string{"4 127.0.0.1 port=8000-8010 device=eth0", "4 ::1 port=8000 device=eth0", "5 :: port=80 v6only=true", "6 0.0.0.0 port=81", "7 0.0.0.0 port=82", "8 unix=/run/x.sock", "9 unix=/run/y.sock", "11 0.0.0.0 port=443 udp", "19 :: port=84"}},
	{"redis", "# port 1\nbind 127.0.0.1 -::1\nBIND * -::*\nport 6380\nport 0\ntls-port 0\nunixsocket /run/redis.sock\nrequirepass s3cr3t\ninclude /etc/redis/local.conf\nport six\n",
		[]string{"2 127.0.0.1", "2 ::1", "3 0.0.0.0", "3 ::", "4 port=6380", "5 off", "7 unix=/run/redis.sock", "10 bad=six", "include /etc/redis/local.conf"}},
	{"postgresql", "#listen_addresses = 'x'\nlisten_addresses = 'localhost, 192.0.2.7'\t# what\nlisten_addresses='*'\nlisten_addresses = ''\nport = 5433# a\nPort 5434\nport = '5435'\nunix_socket_directories = '/run/postgresql,/tmp'\ninclude_dir 'conf.d'\n",
		[]string{"2 host=localhost", "2 192.0.2.7", "3 ::", "4 off", "5 port=5433", "6 port=5434", "7 port=5435", "8 unix=/run/postgresql", "8 unix=/tmp", "include conf.d/*.conf"}},
	{"mysql", "[client]\nport=3306\nbind-address=9.9.9.9\n[mysqld]\nport = 3307\nbind_address=127.0.0.1,::1\n#skip-networking\nskip-networking=0\nsocket=/run/mysqld/mysqld.sock\n[mariadb-10.11]\nskip_networking\n[mysqldump]\nport=1\n!includedir /etc/mysql/conf.d/\n",
		[]string{"2 port=3306 upstream", "5 port=3307", "6 127.0.0.1", "6 ::1", "9 unix=/run/mysqld/mysqld.sock", "11 off", "include /etc/mysql/conf.d/*.cnf"}},
	{"sshd", "#Port 22\nPort 2222\nport=23\nListenAddress 127.0.0.1\nListenAddress [::1]:24 rdomain x\nListenAddress host:25\nInclude /etc/ssh/sshd_config.d/*.conf\nMatch User a\nPort 9\n",
		[]string{"2 port=2222", "3 port=23", "4 127.0.0.1", "5 ::1 port=24", "6 host=host port=25", "include /etc/ssh/sshd_config.d/*.conf"}},
	{"socket", "[Unit]\nListenStream=1\n[Socket]\nListenStream=2\nListenStream=\nListenStream = 80\nListenStream=127.0.0.1:81\nListenStream=[::1]:82\nListenStream=/run/x\nListenStream=@y\nListenStream=vsock::9\nListenStream=%i\nListenDatagram=53\nBindToDevice=eth0\nBindIPv6Only=ipv6-only\n;ListenStream=3\n",
		[]string{"6 port=80", "7 127.0.0.1 port=81", "8 ::1 port=82", "9 unix=/run/x", "10 unix=@y", "13 port=53 udp", "14 device=eth0", "15 v6only=true", "reset"}},
	{"env", "#PORT=1\nexport PORT=\"3001\" # of the API\nPORT=3002 # more\nPORT='3000;'\nPORT=/run/app.sock\nPORT=${OTHER}\nPORT=\nPORT=0\nDB_PORT=5432\nHOST=0.0.0.0\nBIND=127.0.0.1:8000\nDATABASE_URL=postgres://ann:s3cr3t@db.example:5432/shop\nREDIS_URL=redis://localhost\nSECRET=5\nHOST=db\nVITE_API=http://localhost:3001/v1\n",
		[]string{"2 port=3001", "3 port=3002", "4 bad=3000;", "5 unix=/run/app.sock", "9 port=5432 upstream", "10 0.0.0.0", "11 127.0.0.1 port=8000", "12 host=db.example port=5432 upstream", "15 host=db", "16 host=localhost port=3001 upstream"}},
	{"package", "{\n \"name\": \"shop\", \"config\": {\"scripts\": {\"x\": \"PORT=1 a\"}},\n \"scripts\": {\n  \"dev\": \"PORT=3001 API_KEY=s3cr3t vite --host 127.0.0.1\",\n  \"a\": \"next dev -p 3002 && mkdir -p 3003\",\n  \"b\": \"concurrently 'vite --port=3004' 'node api.js --port 3005'\",\n  \"c\": \"vite --port $PORT\",\n  \"d\": \"cross-env PORT=abc node .\"\n }\n}\n",
		[]string{"4 127.0.0.1 port=3001", "5 port=3002", "6 port=3005", "8 bad=abc"}},
	{"vite", "// server: { port: 1 }\nimport x from 'y'\nexport default defineConfig(({ mode }) => ({\n  plugins: [react({ server: { port: 2 } })],\n  server: {\n    host: '127.0.0.1', /* port: 3, */\n    port: 5174,\n    proxy: { '/api': 'http://localhost:3000' },\n    hmr: { port: 4 }\n  },\n  preview: { port: 5 },\n}))\n",
		[]string{"6 127.0.0.1", "7 port=5174"}},
	{"vite", "export default { server: { port: Number(process.env.PORT) || 3000, host: true } }", []string{"1 ::"}},
	{"properties", "# server.port=1\nserver.port=8081\nserver.port: 8082\nserver.port=${PORT:8080}\nserver.port=-1\nserver.port=0\nserver.address=127.0.0.1\nmanagement.server.port=9\nserver.port=80x\n",
		[]string{"2 port=8081", "3 port=8082", "5 off", "7 127.0.0.1", "9 bad=80x"}},
	{"application", "spring:\n  server:\n    port: 1\nserver:\n  # port: 2\n  port: 8081 # the shop\n  address: \"::1\"\n---\nserver.port: 8082\nnote: |\n  server:\n    port: 3\n",
		[]string{"6 port=8081", "7 ::1", "9 port=8082"}},
	{"compose", "services:\n  web:\n    image: \"nginx:1\"\n    ports:\n      - \"127.0.0.1:8080:80\"\n      - 8081:81/udp\n      - '82'\n      - target: 83\n        published: \"8083\"\n        host_ip: ::1\n      - published: 8084-8086\n        target: 84\n      - \"[::1]:8087:87\"\n      - \"${PORT:-3000}:88\"\n    expose:\n      - \"9\"\n  db:\n    ports: [\"5433:5432\", '6:7']\n  api:\n    ports:\n    - 8090:90\nx-ports:\n  ports:\n    - 1:1\n",
		[]string{"5 127.0.0.1 port=8080", "6 port=8081 udp", "9 ::1 port=8083", "11 port=8084-8086", "13 ::1 port=8087", "18 port=5433", "18 port=6", "21 port=8090"}},
	{"compose", "x-base: &base\n  ports:\n    - 8088:80\nservices:\n  web:\n    <<: *base\n  loop: &loop\n    ports: *loop\n", []string{"3 port=8088"}},
}

func TestParsers(t *testing.T) {
	for _, s := range samples {
		if got := told(parsers[s.format]([]byte(s.file))); !slices.Equal(got, s.want) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", s.format, strings.Join(got, "\n\t"), strings.Join(s.want, "\n\t"))
		}
	}
}

// What is quoted is one short line, and keeps no secret.
func TestQuotesAreShortAndMasked(t *testing.T) {
	for _, s := range samples {
		f := parsers[s.format]([]byte(s.file))
		quotesWell(t, f)
		if text := fmt.Sprint(f); strings.Contains(text, "s3cr3t") {
			t.Errorf("%s: a secret is kept: %s", s.format, text)
		}
	}
	l := ParseEnv([]byte("DATABASE_URL=postgres://ann:s3cr3t@db:5432/x")).Lines
	if len(l) != 1 || l[0].Text != "DATABASE_URL=postgres://db:5432" {
		t.Errorf("got %v", l)
	}
	for _, text := range []string{
		"HOOK_URL=http://localhost:80/services/s3cr3t", "API_URL=http://localhost:80/?jwt=s3cr3t", "SENTRY_DSN=http://s3cr3t@localhost:80/1",
		"PORT=80 # s3cr3t",
	} {
		if f := ParseEnv([]byte(text)); len(f.Lines) != 1 || strings.Contains(fmt.Sprint(f), "s3cr3t") {
			t.Errorf("%s: %v", text, f)
		}
	}
	for _, script := range []string{
		"SESSION=s3cr3t PORT=80 next dev", "cross-env SALT='s3cr3t s3cr3t' vite --port 80",
		"app --port 80 -H 'Authorization: Bearer s3cr3t'", "app --port 80 --password 's3cr3t s3cr3t'",
	} {
		if f := ParsePackage([]byte(`{"scripts":{"dev":"` + script + `"}}`)); len(f.Lines) != 1 || strings.Contains(fmt.Sprint(f), "s3cr3t") {
			t.Errorf("%s: %v", script, f)
		}
	}
	long := ParseNginx([]byte("listen 80 " + strings.Repeat("a\x1b[2J ", 200) + ";")).Lines
	quotesWell(t, Found{Lines: long})
}

func quotesWell(t *testing.T, f Found) {
	t.Helper()
	if len(f.Lines) > maxFound || len(f.Include) > maxInclude {
		t.Errorf("%d lines and %d includes are kept", len(f.Lines), len(f.Include))
	}
	for _, l := range f.Lines {
		for _, s := range []string{l.Text, l.Host, l.Unix, l.Bad, l.Device} {
			if strings.ContainsFunc(s, unicode.IsControl) || len([]rune(s)) > 3*maxText {
				t.Errorf("kept %q", s)
			}
		}
		if l.Text == "" || l.Line < 1 || l.Program == "" {
			t.Errorf("a line without text, number or program: %+v", l)
		}
	}
}

func TestLargeFilesEnd(t *testing.T) {
	for name, parse := range parsers {
		for _, s := range []string{strings.Repeat("{", 1<<20), strings.Repeat("listen 80; ", 1<<17), strings.Repeat("a: [\n - ", 1<<17), strings.Repeat("Port 22\n", 1<<17), strings.Repeat("\"", 1<<20)} {
			if f := parse([]byte(s)); len(f.Lines) > maxFound {
				t.Errorf("%s keeps %d lines", name, len(f.Lines))
			}
		}
	}
}

func FuzzParsers(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s.file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range slices.Sorted(maps.Keys(parsers)) {
			quotesWell(t, parsers[name](data))
		}
	})
}
