package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// line adds a line of configuration, the third of its file.
func line(program, at, text string, changes ...func(*facts.ConfigLine)) change {
	return func(f *facts.Facts) {
		l := facts.ConfigLine{Program: program, File: at, Line: 3, Text: text}
		for _, c := range changes {
			c(&l)
		}
		if f.Configs == nil {
			f.Configs = &facts.Configs{}
		}
		f.Configs.Lines = append(f.Configs.Lines, l)
	}
}

type lineChange = func(*facts.ConfigLine)

func giving(port uint16) lineChange   { return func(l *facts.ConfigLine) { l.Port = port } }
func bad(value string) lineChange     { return func(l *facts.ConfigLine) { l.Bad = value } }
func onUnix(path string) lineChange   { return func(l *facts.ConfigLine) { l.Unix = path } }
func onDevice(name string) lineChange { return func(l *facts.ConfigLine) { l.Device = name } }
func off(l *facts.ConfigLine)         { l.Off = true }
func ofClient(l *facts.ConfigLine)    { l.Upstr = true }
func inProject(l *facts.ConfigLine)   { l.Project = true }
func atAddress(a string) lineChange {
	return func(l *facts.ConfigLine) { l.Addr = netip.MustParseAddr(a) }
}

func unixSocketAt(path string) change {
	return func(f *facts.Facts) {
		f.UnixSockets = &facts.UnixSockets{Found: []facts.UnixSocket{{Path: path, Inode: 5, About: "usual socket of redis"}}}
	}
}

func wants(port uint16) change { return func(f *facts.Facts) { f.Target.Port = port } }

func configSituations() []situation {
	const redis, pg, my, env = "/etc/redis/redis.conf", "/etc/postgresql/15/main/postgresql.conf", "/etc/mysql/my.cnf", "/home/ann/shop/.env"
	read := func(f *facts.Facts) { f.Configs = &facts.Configs{} }
	return slices.Concat(of(tcpSwitchedOff,
		row{"it has TCP switched off", machine("127.0.0.1", wants(6379), dials("127.0.0.1", facts.Refused), line("redis", redis, "port 0", off), line("redis", redis, "unixsocket /run/redis.sock", onUnix("/run/redis.sock"))), says("inferred 127.0.0.1", "redis is told not to listen for TCP")},
		row{"it has TCP switched off beside the right port", machine("127.0.0.1", wants(3306), line("mysql", my, "skip-networking", off), line("mysql", my, "port = 3306", giving(3306))), says("inferred 127.0.0.1", "mysql", "not to listen for TCP")},
		row{"it is given no addresses", machine("127.0.0.1", wants(5432), line("postgresql", pg, "port = 5432", giving(5432)), line("postgresql", pg, "listen_addresses = ''", off)), says("inferred 127.0.0.1", "postgresql")},
		row{"the last line counts", machine("127.0.0.1", wants(6379), line("redis", redis, "port 0", off), line("redis", redis, "port 6379", giving(6379))), nothing},
		row{"the addresses are given later", machine("127.0.0.1", wants(5432), line("postgresql", pg, "listen_addresses = ''", off), line("postgresql", pg, "listen_addresses = '*'", atAddress("::"))), nothing},
		row{"and its own socket is there", machine("127.0.0.1", wants(6379), line("redis", redis, "port 0", off), line("redis", redis, "unixsocket /run/redis.sock", onUnix("/run/redis.sock")), unixSocketAt("/run/redis.sock")), says("proven 127.0.0.1", "redis")},
		row{"and another's socket is there", machine("127.0.0.1", wants(6379), line("redis", redis, "port 0", off), line("redis", redis, "unixsocket /run/redis.sock", onUnix("/run/redis.sock")), unixSocketAt("/run/redis.sock2")), says("inferred 127.0.0.1", "redis")},
		row{"and the socket of a cluster is there", machine("127.0.0.1", wants(5432), line("postgresql", pg, "listen_addresses = ''", off), line("postgresql", pg, "unix_socket_directories = '/run/pg'", onUnix("/run/pg")), unixSocketAt("/run/pg/.s.PGSQL.5432")), says("proven 127.0.0.1", "postgresql")},
		row{"a server that owns another port", machine("127.0.0.1", line("redis", redis, "port 0", off)), nothing},
		row{"something listens", machine("127.0.0.1", wants(6379), listens("127.0.0.2", 50, onPort(6379)), line("redis", redis, "port 0", off)), nothing},
		row{"no line was found", machine("127.0.0.1", wants(6379), read), nothing},
	), of(configuredElsewhere,
		row{"the usual server has another port", machine("127.0.0.1", wants(6379), dials("127.0.0.1", facts.Refused), line("redis", redis, "port 6380", giving(6380))), says("inferred 127.0.0.1", "6379", "redis", "port 6380")},
		row{"its port is none", machine("127.0.0.1", wants(6379), line("redis", redis, "port 6379;", bad("6379;"))), says("inferred 127.0.0.1", "redis", `"6379;"`)},
		row{"the project has the next port", machine("127.0.0.1", line(".env", env, "PORT=62894", giving(62894), inProject)), says("inferred 127.0.0.1", "62893", "the server of this project", "62894")},
		row{"the project does not keep the usual port of its kind", machine("127.0.0.1", wants(5173), line("vite", "vite.config.js", "port: 3001", giving(3001), inProject)), says("inferred 127.0.0.1", "5173", "3001")},

		row{"the only web server has one port, which is not the usual one", machine("127.0.0.1", wants(80), line("nginx", "nginx.conf", "listen 8080;", giving(8080)), line("nginx", "nginx.conf", "listen [::]:8080;", giving(8080))), says("inferred 127.0.0.1", "nginx is configured for port 8080")},

		row{"the last line counts", machine("127.0.0.1", wants(6379), line("redis", redis, "port 0", off), line("redis", redis, "port 6379", giving(6379))), nothing},
		row{"the addresses are given later", machine("127.0.0.1", wants(5432), line("postgresql", pg, "listen_addresses = ''", off), line("postgresql", pg, "listen_addresses = '*'", atAddress("::"))), nothing},
		row{"TCP is switched off, which has a name of its own", machine("127.0.0.1", wants(6379), line("redis", redis, "port 6380", giving(6380)), line("redis", redis, "port 0", off)), nothing},
		row{"the usual server is configured well", machine("127.0.0.1", wants(6379), line("redis", redis, "port 6379", giving(6379))), nothing},
		row{"one of two clusters is", machine("127.0.0.1", wants(5432), line("postgresql", pg, "port = 5432", giving(5432)), line("postgresql", "/etc/postgresql/14/main/postgresql.conf", "port = 5433", giving(5433))), nothing},
		row{"the port is among those of a range", machine("127.0.0.1", wants(80), line("nginx", "nginx.conf", "listen 70-90;", giving(70), func(l *facts.ConfigLine) { l.LastPort = 90 })), nothing},
		row{"two servers could be meant", machine("127.0.0.1", wants(80), line("nginx", "nginx.conf", "listen 8080;", giving(8080)), line("caddy", "Caddyfile", ":8081", giving(8081))), nothing},
		row{"a web server without TLS", machine("127.0.0.1", wants(443), line("nginx", "nginx.conf", "listen 80;", giving(80))), nothing},
		row{"a web server with ports of its own", machine("127.0.0.1", wants(80), line("nginx", "nginx.conf", "listen 8080;", giving(8080)), line("nginx", "nginx.conf", "listen 8081;", giving(8081))), nothing},
		row{"a server that owns no port is next to it", machine("127.0.0.1", line("nginx", "nginx.conf", "listen 62894;", giving(62894))), nothing},
		row{"the port of a database in .env", machine("127.0.0.1", line(".env", env, "DB_PORT=62894", giving(62894), ofClient, inProject)), nothing},
		row{"the project connects to the port", machine("127.0.0.1", line(".env", env, "PORT=62894", giving(62894), inProject), line(".env", env, "API_PORT=62893", giving(62893), ofClient, inProject)), nothing},
		row{"a compose file of many", machine("127.0.0.1", line("compose", "compose.yml", "- 62894:80", giving(62894), inProject)), nothing},
		row{"the project has two ports", machine("127.0.0.1", line(".env", env, "PORT=62894", giving(62894), inProject), line("package.json", "package.json", `"api": "node . --port 62895"`, giving(62895), inProject)), nothing},
		row{"the project is far away", machine("127.0.0.1", line(".env", env, "PORT=3001", giving(3001), inProject)), nothing},
		row{"a database is missed, and the project has a port", machine("127.0.0.1", wants(5432), line(".env", env, "PORT=5433", giving(5433), inProject)), nothing},
		row{"a value in .env is no port, which a process shows", machine("127.0.0.1", line(".env", env, "PORT=62893;", bad("62893;"), inProject)), nothing},
		row{"something listens", machine("127.0.0.1", wants(6379), listens("127.0.0.2", 50, onPort(6379)), line("redis", redis, "port 6380", giving(6380))), nothing},
		row{"something redirects the port", machine("127.0.0.1", wants(6379), dials("127.0.0.1", facts.Connected), line("redis", redis, "port 6380", giving(6380))), nothing},
		row{"UDP is asked for", machine("127.0.0.1", asksUDP, wants(6379), line("redis", redis, "port 6380", giving(6380))), nothing},
		row{"no line was found", machine("127.0.0.1", wants(6379), read), nothing},
	))
}

func TestConfiguration(t *testing.T) { judge(t, configSituations()) }

// The line is quoted with its place, and the fix is written in its language.
func TestFixesNameFileAndLine(t *testing.T) {
	const conf = "/etc/x.conf"
	for _, test := range []struct {
		name  string
		check *Check
		facts *facts.Facts
		want  string
	}{
		{"nginx on [::] alone", v6OnlyWildcard, machine("127.0.0.1", listens("::", 50, v6only), line("nginx", conf, "listen [::]:62893;", giving(port), atAddress("::")), line("nginx", conf, "listen 192.0.2.7:62893;", giving(port), atAddress("192.0.2.7"))),
			"In /etc/x.conf, line 3 (`listen [::]:62893;`), add below it `listen 127.0.0.1:62893;`, then let it read the file again (kill -HUP 50)."},
		{"in a unit", lanIPOnlyBind, machine("127.0.0.1", listens("192.0.2.7", 50, inUnit("apache2.service")), line("apache", conf, "Listen 192.0.2.7:62893", giving(port), atAddress("192.0.2.7"))),
			"In /etc/x.conf, line 3 (`Listen 192.0.2.7:62893`), add below it `Listen 127.0.0.1:62893`, then run systemctl reload apache2.service."},
		{"a list of addresses", lanIPOnlyBind, machine("127.0.0.1", listens("192.0.2.7", 50), line("postgresql", "port.conf", "port = 62893", giving(port)), line("postgresql", conf, "listen_addresses = '192.0.2.7, db'", atAddress("192.0.2.7")), line("postgresql", conf, "listen_addresses = '192.0.2.7, db'", func(l *facts.ConfigLine) { l.Host = "db" })),
			"In /etc/x.conf, line 3 (`listen_addresses = '192.0.2.7, db'`), write instead `listen_addresses = '192.0.2.7, db, 127.0.0.1'`, then restart the server."},
		{"vite on ::1", v6OnlyServerV4Client, machine("127.0.0.1", listens("::1", 50), line("vite", "vite.config.js", "port: 62893", giving(port), inProject)),
			"In vite.config.js, line 3 (`port: 62893`), add below it `host: '127.0.0.1',`, then restart the server."},
		{"a script", v6OnlyServerV4Client, machine("127.0.0.1", listens("::1", 50), line("package.json", conf, `"dev": "vite --port 62893"`, giving(port), inProject)),
			"In /etc/x.conf, line 3 (`\"dev\": \"vite --port 62893\"`), give the command --host 127.0.0.1, then restart the server."},
		{"a device", listenerPinnedToDevice, machine("127.0.0.1", listens("0.0.0.0", 50, device("eth0")), line("haproxy", conf, "bind :62893 interface eth0", giving(port), atAddress("0.0.0.0"), onDevice("eth0"))),
			"In /etc/x.conf, line 3 (`bind :62893 interface eth0`), take the device out, then restart the server."},
		{"nothing listens", noListener, machine("127.0.0.1", line("haproxy", conf, "bind :62893", giving(port))),
			"Start haproxy, or restart it if it runs: /etc/x.conf, line 3, tells it to listen there (`bind :62893`)."},
		{"nothing listens, and two would", noListener, machine("127.0.0.1", wants(80), line("nginx", conf, "listen 80;", giving(80)), line("nginx", conf, "listen [::]:80;", giving(80)), line("caddy", conf, ":80 {", giving(80))),
			"Start the one that you mean: caddy and nginx are told to listen there."},
		{"another port", configuredElsewhere, machine("127.0.0.1", wants(5432), line("postgresql", conf, "port = 5433", giving(5433))),
			"In /etc/x.conf, line 3, write `port = 5432` in place of `port = 5433`, then restart postgresql."},
		{"a line with a secret", configuredElsewhere, machine("127.0.0.1", wants(3000), line("package.json", conf, `"dev": "TOKEN=*** node . -p 3001"`, giving(3001), inProject)),
			"In /etc/x.conf, line 3, write 3000 in place of 3001 (`\"dev\": \"TOKEN=*** node . -p 3001\"`), then restart the server of this project."},
	} {
		x := found(t, test.check, test.facts)[0]
		if got := x.Fixes[0].Do; got != test.want {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", test.name, got, test.want)
		}
		if !slices.ContainsFunc(x.Evidence, func(e Evidence) bool { return strings.HasSuffix(e.Source, ":3") }) {
			t.Errorf("%s: no line is quoted: %v", test.name, x.Evidence)
		}
	}
}

// A line of another server, or of another port, is nobody's.
func TestForeignLinesAreNotQuoted(t *testing.T) {
	for name, f := range map[string]*facts.Facts{
		"another port":    machine("127.0.0.1", listens("::", 50, v6only), line("nginx", "a", "listen [::]:80;", giving(80), atAddress("::"))),
		"another address": machine("127.0.0.1", listens("::", 50, v6only), line("nginx", "a", "listen 192.0.2.7:62893;", giving(port), atAddress("192.0.2.7"))),
		"a client's":      machine("127.0.0.1", listens("::", 50, v6only), line(".env", "a", "X_PORT=62893", giving(port), ofClient)),
	} {
		if x := found(t, v6OnlyWildcard, f)[0]; len(x.Evidence) != 1 {
			t.Errorf("%s: quoted: %v", name, x.Evidence)
		}
	}
	named := func(host string) lineChange { return func(l *facts.ConfigLine) { l.Host = host } }
	for name, l := range map[string]change{
		"localhost is not there": line("postgresql", "a", "listen_addresses = 'localhost'", named("localhost")),
		"a host of somebody's":   line(".env", "a", "HOST=db", named("db"), inProject),
		"UDP":                    line("nginx", "a", "listen 192.0.2.7:62893 quic;", giving(port), atAddress("192.0.2.7"), func(l *facts.ConfigLine) { l.UDP = true }),
	} {
		if x := found(t, lanIPOnlyBind, machine("127.0.0.1", listens("192.0.2.7", 50), l))[0]; len(x.Evidence) != 1 {
			t.Errorf("%s: quoted: %v", name, x.Evidence)
		}
	}
	port62893 := machine("127.0.0.1", listens("::1", 50), line(".env", "a", "PORT=62893", giving(port), inProject))
	if x := found(t, v6OnlyServerV4Client, port62893)[0]; len(x.Evidence) != 2 || len(x.Fixes) != 1 {
		t.Errorf("nobody knows which variable the server reads its address from: %v", x.Fixes)
	}
	far := machine("127.0.0.1", line("nginx", "a", "listen 80;", giving(80)), line(".env", "b", "PORT=3000", giving(3000), inProject))
	if x := found(t, noListener, far)[0]; len(x.Evidence) != 1 || len(x.Fixes) != 1 {
		t.Errorf("nothing of this is about the port: %v %v", x.Evidence, x.Fixes)
	}
}

// What only root may read is told, if it is about the server that is missed.
func TestUnreadConfigurationIsTold(t *testing.T) {
	f := machine("127.0.0.1", wants(6379), func(f *facts.Facts) {
		f.Configs = &facts.Configs{Partial: "/etc/redis/redis.conf: needs root; /etc/nginx/x: leads elsewhere"}
	})
	if got := found(t, noListener, f)[0].Evidence; len(got) != 2 || got[1].Text != "/etc/redis/redis.conf: needs root" {
		t.Errorf("got %v", got)
	}
}

func TestReplaceNumber(t *testing.T) {
	for in, want := range map[string]string{"listen 10.80.0.1:80;": "listen 10.80.0.1:81;", "-p 80 8080 80": "-p 81 8080 81", "": "", "Port=80": "Port=81"} {
		if got := replaceNumber(in, "80", "81"); got != want {
			t.Errorf("%s: got %s", in, got)
		}
	}
}
