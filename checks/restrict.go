package checks

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How to tell a server to listen on loopback alone, in its own configuration.

// server is a program that is known by name, or by a word of its command line.
type server struct {
	names  []string // of the process or its executable
	word   string   // or this is one of its arguments, or the end of one
	config string   // the program as facts.ConfigLine calls it
	advice string   // {ip}, {host} (an IPv6 address in brackets) and {port} are filled in
}

// servers is asked in this order: what runs inside an interpreter before the
// interpreter.
var servers = []server{
	{names: []string{"docker-proxy", "rootlessport", "rootlesskit"}, config: "compose",
		advice: `publish it on loopback, -p {host}:{port}:PORT or in compose.yaml ports: "{host}:{port}:PORT", and make the container again. Docker's own rules let others in ahead of those of ufw.`},
	{names: []string{"conmon", "pasta", "slirp4netns"}, config: "compose", advice: "publish it on loopback, podman run -p {host}:{port}:PORT, and make the container again."},
	{names: []string{"systemd"}, config: "systemd", advice: "in the socket unit ListenStream={host}:{port}, then systemctl daemon-reload and systemctl restart of that socket."},
	{names: []string{"nginx", "openresty"}, config: "nginx", advice: "listen {host}:{port}; in the server block, then nginx -t and nginx -s reload."},
	{names: []string{"apache2", "httpd"}, config: "apache", advice: "Listen {host}:{port}, then apachectl configtest and a restart."},
	{names: []string{"caddy"}, config: "caddy", advice: "bind {ip} in the site block, then caddy reload."},
	{names: []string{"haproxy"}, config: "haproxy", advice: "bind {host}:{port} in the frontend, then a reload."},
	{names: []string{"traefik"}, advice: `address: "{host}:{port}" of the entry point.`},
	{names: []string{"redis-server", "valkey-server"}, config: "redis", advice: "bind 127.0.0.1 -::1 in redis.conf, and leave protected-mode yes, then a restart."},
	{names: []string{"postgres"}, config: "postgresql", advice: "listen_addresses = 'localhost' in postgresql.conf, then a restart."},
	{names: []string{"mysqld", "mariadbd"}, config: "mysql", advice: "bind-address = {ip} below [mysqld], then a restart; mysqlx has mysqlx-bind-address."},
	{names: []string{"mongod"}, advice: "net.bindIp: {ip} in mongod.conf, then a restart."},
	{names: []string{"memcached"}, advice: "start it with -l {ip}."},
	{names: []string{"beam.smp"}, word: "rabbit", advice: "listeners.tcp.1 = {host}:{port} in rabbitmq.conf."},
	{names: []string{"ollama"}, advice: "set OLLAMA_HOST={host}:{port} for it."},
	{names: []string{"code-server"}, advice: "start it with --bind-addr {host}:{port}."},

	{word: "vite", config: "vite", advice: "leave out --host, and server.host in vite.config."},
	{word: "next", advice: "start it with -H {ip}."},
	{word: "nuxt", advice: "start it with --host {ip}."},
	{word: "webpack-dev-server", advice: "devServer.host: '{ip}'."},
	{word: "webpack", advice: "devServer.host: '{ip}'."},
	{word: "ng", advice: "ng serve --host {ip}."},
	{word: "astro", advice: "leave out --host."},
	{word: "react-scripts", advice: "start it with HOST={ip}."},
	{word: "http-server", advice: "start it with -a {ip}."},

	{names: []string{"gunicorn", "gunicorn:"}, word: "gunicorn", advice: "start it with --bind {host}:{port}."},
	{names: []string{"uvicorn"}, word: "uvicorn", advice: "leave out --host, or give --host {ip}."},
	{names: []string{"hypercorn"}, word: "hypercorn", advice: "start it with --bind {host}:{port}."},
	{names: []string{"flask"}, word: "flask", advice: "leave out --host: flask run takes 127.0.0.1 by default."},
	{word: "manage.py", advice: "manage.py runserver {host}:{port}."},
	{word: "django", advice: "runserver {host}:{port}."},
	{word: "http.server", advice: "python3 -m http.server --bind {ip} {port}."},
	{word: "jupyter-lab", advice: "c.ServerApp.ip = '{ip}', or leave out --ip."},
	{word: "jupyter-notebook", advice: "c.ServerApp.ip = '{ip}', or leave out --ip."},
	{word: "jupyter", advice: "c.ServerApp.ip = '{ip}', or leave out --ip."},
	{word: "streamlit", advice: "start it with --server.address {ip}."},

	{names: []string{"puma"}, word: "rails", advice: "rails server -b {ip}, or bind 'tcp://{host}:{port}' in config/puma.rb."},
	{names: []string{"php"}, advice: "php -S {host}:{port}; artisan serve --host={ip}."},
	{names: []string{"php-fpm"}, advice: "listen = {host}:{port} in the pool's file."},
	{names: []string{"java"}, config: "spring", advice: "server.address={ip} in application.properties (Spring), address=\"{ip}\" of the Connector (Tomcat)."},
	{names: []string{"dotnet"}, advice: "set ASPNETCORE_URLS=http://localhost:{port}."},
	{names: []string{"node", "MainThread", "bun", "deno"}, advice: "give listen() the address: server.listen({port}, '{ip}')."},
	{names: []string{"python", "python3"}, advice: "bind it to '{ip}' instead of '0.0.0.0' or ''."},
	{names: []string{"socat"}, advice: "add bind={host} to its listening address."},
	{names: []string{"ssh"}, advice: "leave out -g and GatewayPorts, or forward with -L {host}:{port}:HOST:PORT."},
}

// recognise finds the program that a socket belongs to.
func recognise(ps []facts.Process) server {
	for _, s := range servers {
		if slices.ContainsFunc(ps, s.is) {
			return s
		}
	}
	return server{advice: "have it listen on {ip} instead of on all addresses."}
}

func (s server) is(p facts.Process) bool {
	for _, name := range []string{p.Name, path.Base(p.Exe)} {
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

func (s server) restrict(a netip.Addr, port uint16) string {
	host := a.String()
	if a.Is6() {
		host = "[" + host + "]"
	}
	return strings.NewReplacer("{ip}", a.String(), "{host}", host, "{port}", fmt.Sprint(port)).Replace(s.advice)
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
