package checks

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How to tell a server where to listen, in its own configuration: on loopback alone,
// or, where loopback is not where its clients are, on all addresses.

// server is a program that is known by name, or by a word of its command line.
type server struct {
	names  []string // of the process or its executable
	word   string   // or this is one of its arguments, or the end of one
	config string   // the program as facts.ConfigLine calls it
	advice string   // {ip}, {host} (an IPv6 address in brackets) and {port} are filled in
	open   string   // the same for all addresses; empty: it only forwards
	env    string   // the variable that does so, unless an option says otherwise
	heed   string   // what else it takes to be answered from elsewhere
}

// servers is asked in this order: what runs inside an interpreter before the
// interpreter.
var servers = []server{
	{names: []string{"docker-proxy", "rootlessport", "rootlesskit"}, config: "compose",
		advice: `publish it on loopback, -p {host}:{port}:PORT or in compose.yaml ports: "{host}:{port}:PORT", and make the container again. Docker's own rules let others in ahead of those of ufw.`},
	{names: []string{"conmon", "pasta", "pasta.avx2", "passt.avx2", "slirp4netns"}, config: "compose", advice: "publish it on loopback, podman run -p {host}:{port}:PORT, and make the container again."},
	{names: []string{"systemd"}, config: "systemd", advice: "in the socket unit ListenStream={host}:{port}, then systemctl daemon-reload and systemctl restart of that socket.",
		open: "ListenStream={port} in the socket unit."},
	{names: []string{"nginx", "openresty"}, config: "nginx", advice: "listen {host}:{port}; in the server block, then nginx -t and nginx -s reload.",
		open: "listen {port}; in the server block."},
	{names: []string{"apache2", "httpd"}, config: "apache", advice: "Listen {host}:{port}, then apachectl configtest and a restart.",
		open: "Listen {port}."},
	{names: []string{"caddy"}, config: "caddy", advice: "bind {ip} in the site block, then caddy reload.",
		open: "leave out bind, and name the site :{port} instead of localhost:{port}."},
	{names: []string{"haproxy"}, config: "haproxy", advice: "bind {host}:{port} in the frontend, then a reload.",
		open: "bind :{port} in the frontend."},
	{names: []string{"traefik"}, advice: `address: "{host}:{port}" of the entry point.`,
		open: `address: ":{port}" of the entry point.`},
	{names: []string{"redis-server", "valkey-server"}, config: "redis", advice: "bind 127.0.0.1 -::1 in redis.conf, and leave protected-mode yes, then a restart.",
		open: "bind * -::* in redis.conf, or redis-server --bind 0.0.0.0.",
		heed: "with protected-mode yes it answers others only once it has a password (requirepass)"},
	{names: []string{"postgres"}, config: "postgresql", advice: "listen_addresses = 'localhost' in postgresql.conf, then a restart.",
		open: "listen_addresses = '*' in postgresql.conf, or postgres -c listen_addresses='*'.",
		heed: "pg_hba.conf needs a line for the network that its clients are in"},
	{names: []string{"mysqld", "mariadbd"}, config: "mysql", advice: "bind-address = {ip} below [mysqld], then a restart; mysqlx has mysqlx-bind-address.",
		open: "bind-address = 0.0.0.0 below [mysqld], or mysqld --bind-address=0.0.0.0, and no skip-networking.",
		heed: "the account has to be allowed from elsewhere, 'user'@'%'"},
	{names: []string{"mongod"}, advice: "net.bindIp: {ip} in mongod.conf, then a restart.",
		open: "net.bindIp: 0.0.0.0 in mongod.conf, or mongod --bind_ip_all.",
		heed: "without authorization: enabled nobody is asked for a password"},
	{names: []string{"memcached"}, advice: "start it with -l {ip}.",
		open: "start it with -l 0.0.0.0."},
	{names: []string{"beam.smp"}, word: "rabbit", advice: "listeners.tcp.1 = {host}:{port} in rabbitmq.conf.",
		open: "listeners.tcp.1 = 0.0.0.0:{port} in rabbitmq.conf (Phoenix: ip: {0, 0, 0, 0} below http: in config/dev.exs)."},
	{names: []string{"ollama"}, advice: "set OLLAMA_HOST={host}:{port} for it.",
		open: "set OLLAMA_HOST=0.0.0.0:{port} for it.", env: "OLLAMA_HOST=0.0.0.0:{port}"},
	{names: []string{"code-server"}, advice: "start it with --bind-addr {host}:{port}.",
		open: "start it with --bind-addr 0.0.0.0:{port}."},

	{word: "vite", config: "vite", advice: "leave out --host, and server.host in vite.config.",
		open: "vite --host 0.0.0.0, or server.host: true in vite.config."},
	{names: []string{"next-server"}, word: "next", advice: "start it with -H {ip}.",
		open: "next start -H 0.0.0.0 (next dev too; the server.js of output: standalone takes HOSTNAME).", env: "HOSTNAME=0.0.0.0"},
	{word: "nuxt", advice: "start it with --host {ip}.",
		open: "start it with --host 0.0.0.0.", env: "NUXT_HOST=0.0.0.0"},
	{word: "webpack-dev-server", advice: "devServer.host: '{ip}'.",
		open: "devServer.host: '0.0.0.0', or webpack serve --host 0.0.0.0."},
	{word: "webpack", advice: "devServer.host: '{ip}'.",
		open: "devServer.host: '0.0.0.0', or webpack serve --host 0.0.0.0."},
	{word: "ng", advice: "ng serve --host {ip}.",
		open: "ng serve --host 0.0.0.0."},
	{word: "astro", advice: "leave out --host.",
		open: "start it with --host 0.0.0.0."},
	{word: "react-scripts", advice: "start it with HOST={ip}.",
		open: "start it with HOST=0.0.0.0, or without HOST.", env: "HOST=0.0.0.0"},
	{word: "http-server", advice: "start it with -a {ip}.",
		open: "start it with -a 0.0.0.0."},

	{names: []string{"gunicorn", "gunicorn:"}, word: "gunicorn", advice: "start it with --bind {host}:{port}.",
		open: "start it with --bind 0.0.0.0:{port}.", env: "GUNICORN_CMD_ARGS=--bind=0.0.0.0:{port}"},
	{names: []string{"uvicorn"}, word: "uvicorn", advice: "leave out --host, or give --host {ip}.",
		open: "start it with --host 0.0.0.0.", env: "UVICORN_HOST=0.0.0.0"},
	{word: "fastapi", advice: "start it with --host {ip}.",
		open: "fastapi dev --host 0.0.0.0; fastapi run does so by itself."},
	{names: []string{"hypercorn"}, word: "hypercorn", advice: "start it with --bind {host}:{port}.",
		open: "start it with --bind 0.0.0.0:{port}."},
	{names: []string{"flask"}, word: "flask", advice: "leave out --host: flask run takes 127.0.0.1 by default.",
		open: "flask run --host 0.0.0.0.", env: "FLASK_RUN_HOST=0.0.0.0",
		heed: "in debug mode whoever reaches it can run code"},
	{word: "manage.py", advice: "manage.py runserver {host}:{port}.",
		open: "manage.py runserver 0.0.0.0:{port}.",
		heed: "ALLOWED_HOSTS has to name the host of the URL, unless that is localhost and DEBUG is on"},
	{word: "django", advice: "runserver {host}:{port}.",
		open: "runserver 0.0.0.0:{port}.",
		heed: "ALLOWED_HOSTS has to name the host of the URL, unless that is localhost and DEBUG is on"},
	{word: "http.server", advice: "python3 -m http.server --bind {ip} {port}.",
		open: "python3 -m http.server --bind 0.0.0.0 {port}."},
	{word: "jupyter-lab", advice: "c.ServerApp.ip = '{ip}', or leave out --ip.",
		open: "jupyter lab --ip 0.0.0.0, or c.ServerApp.ip = '0.0.0.0'.",
		heed: "who has its token can run code"},
	{word: "jupyter-notebook", advice: "c.ServerApp.ip = '{ip}', or leave out --ip.",
		open: "jupyter notebook --ip 0.0.0.0, or c.ServerApp.ip = '0.0.0.0'.",
		heed: "who has its token can run code"},
	{word: "jupyter", advice: "c.ServerApp.ip = '{ip}', or leave out --ip.",
		open: "give it --ip 0.0.0.0, or c.ServerApp.ip = '0.0.0.0'.",
		heed: "who has its token can run code"},
	{word: "streamlit", advice: "start it with --server.address {ip}.",
		open: "start it with --server.address 0.0.0.0.", env: "STREAMLIT_SERVER_ADDRESS=0.0.0.0"},

	{names: []string{"puma"}, word: "rails", advice: "rails server -b {ip}, or bind 'tcp://{host}:{port}' in config/puma.rb.",
		open: "rails server -b 0.0.0.0, or bind 'tcp://0.0.0.0:{port}' in config/puma.rb.", env: "BINDING=0.0.0.0",
		heed: "in development config.hosts has to name the host of the URL, unless that is localhost"},
	{word: "rackup", advice: "rackup -o {ip}.",
		open: "rackup -o 0.0.0.0."},
	{word: "jekyll", advice: "jekyll serve --host {ip}.",
		open: "jekyll serve --host 0.0.0.0."},
	{names: []string{"ruby"}, advice: "bind it to '{ip}' (Sinatra: set :bind, '{ip}').",
		open: "bind it to '0.0.0.0' (Sinatra: set :bind, '0.0.0.0')."},
	{names: []string{"hugo"}, advice: "hugo server --bind {ip}.",
		open: "hugo server --bind 0.0.0.0."},
	{word: "mkdocs", advice: "mkdocs serve -a {host}:{port}.",
		open: "mkdocs serve -a 0.0.0.0:{port}."},
	{names: []string{"php"}, advice: "php -S {host}:{port}; artisan serve --host={ip}.",
		open: "php -S 0.0.0.0:{port}; artisan serve --host=0.0.0.0."},
	{names: []string{"php-fpm"}, advice: "listen = {host}:{port} in the pool's file.",
		open: "listen = {port} in the pool's file, and no listen.allowed_clients that leaves its clients out.",
		heed: "whoever reaches it can run code"},
	{names: []string{"java"}, config: "spring", advice: "server.address={ip} in application.properties (Spring), address=\"{ip}\" of the Connector (Tomcat).",
		open: "server.address=0.0.0.0 in application.properties, or without that line (Spring), no address= at the Connector (Tomcat), quarkus.http.host=0.0.0.0 (Quarkus).", env: "SERVER_ADDRESS=0.0.0.0"},
	{names: []string{"dotnet"}, advice: "set ASPNETCORE_URLS=http://localhost:{port}.",
		open: "set ASPNETCORE_URLS=http://+:{port} for it.", env: "ASPNETCORE_URLS=http://+:{port}"},
	{names: []string{"bun", "deno"}, advice: "hostname: '{ip}' in Bun.serve() or Deno.serve().",
		open: "hostname: '0.0.0.0' in Bun.serve() or Deno.serve(), or deno serve --host 0.0.0.0."},
	{names: []string{"node", "MainThread"}, advice: "give listen() the address: server.listen({port}, '{ip}').",
		open: "give listen() that address, or none: server.listen({port}, '0.0.0.0')."},
	{names: []string{"python", "python3"}, advice: "bind it to '{ip}' instead of '0.0.0.0' or ''.",
		open: "give its server that address: app.run(host='0.0.0.0') in Flask, uvicorn.run(app, host='0.0.0.0'), bind(('', {port}))."},
	{names: []string{"socat"}, advice: "add bind={host} to its listening address.",
		open: "leave out bind= at its listening address."},
	{names: []string{"ssh"}, advice: "leave out -g and GatewayPorts, or forward with -L {host}:{port}:HOST:PORT."},
}

// recognise finds the program that a socket belongs to.
func recognise(ps []facts.Process) server {
	for _, s := range servers {
		if slices.ContainsFunc(ps, s.is) {
			return s
		}
	}
	return unknownServer
}

var unknownServer = server{advice: "have it listen on {ip} instead of on all addresses.",
	open: `have it listen on 0.0.0.0 instead of on 127.0.0.1 or localhost (Go: ":{port}").`}

func (s server) is(p facts.Process) bool {
	for _, name := range []string{p.Name, path.Base(p.Exe)} {
		name, _, _ = strings.Cut(name, " ") // "next-server (v1"
		// python3.11, php-fpm8.2
		if slices.Contains(s.names, name) || slices.Contains(s.names, strings.TrimRight(name, "0123456789.")) {
			return true
		}
	}
	if s.word == "" {
		return false
	}
	for i, a := range p.Args {
		// The program, its script and the module: what comes later is theirs.
		if i < 4 && strings.TrimSuffix(path.Base(a), path.Ext(a)) == strings.TrimSuffix(s.word, ".py") || i < 4 && path.Base(a) == s.word {
			return true
		}
	}
	return false
}

func (s server) restrict(a netip.Addr, port uint16) string { return s.fill(s.advice, a, port) }

func (s server) fill(text string, a netip.Addr, port uint16) string {
	host := a.String()
	if a.Is6() {
		host = "[" + host + "]"
	}
	return strings.NewReplacer("{ip}", a.String(), "{host}", host, "{port}", fmt.Sprint(port)).Replace(text)
}

// lines returns the lines of the program's configuration that have it listen as
// the socket does, two at most.
func (s server) lines(f *facts.Facts, at facts.Socket) []facts.ConfigLine {
	var out []facts.ConfigLine
	if f.Configs == nil || s.config == "" {
		return nil
	}
	for _, c := range f.Configs.Lines {
		if c.Program == s.config && c.Port == at.Local.Port() && !c.Upstr && (!c.Addr.IsValid() || !c.Addr.IsLoopback()) && len(out) < 2 {
			out = append(out, c)
		}
	}
	return out
}
