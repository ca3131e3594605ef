package systemd

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Claim says how a configuration concerns a port.
type Claim struct {
	Text string // the words that say so
	Sure bool   // they make it serve the port; else they may name the port of somebody else
}

// Serves returns what of the unit's own configuration makes it serve the TCP
// port; nil for nothing. read is asked for environment files.
func (u Unit) Serves(port uint16, read func(file string) []byte) *Claim {
	for _, v := range u.Values("Socket", "ListenStream") {
		if streamPort(v) == port {
			return &Claim{"ListenStream=" + v, true}
		}
	}
	for _, v := range u.Values("Service", "ExecStart") {
		if c := Command(split(v), port); c != nil {
			return &Claim{"ExecStart names " + c.Text, c.Sure}
		}
	}
	for _, v := range u.Values("Service", "Environment") {
		if c := Environment(split(v), port); c != nil {
			return &Claim{"Environment=" + c.Text, true}
		}
	}
	for _, v := range u.Values("Service", "EnvironmentFile") {
		file := strings.TrimPrefix(v, "-")
		// Only where administrators keep them: a unit may name any file.
		if read == nil || path.Clean(file) != file || !strings.HasPrefix(file, "/etc/") {
			continue
		}
		for line := range strings.Lines(string(read(file))) {
			if c := Environment(split(strings.TrimSpace(line)), port); c != nil {
				return &Claim{c.Text + " in " + file, true}
			}
		}
	}
	return nil
}

// streamPort is the port of a ListenStream= (systemd.socket(5)): "62893",
// "127.0.0.1:62893", "[::1]:62893", "[::]:62893%eth0"; 0 for a path.
func streamPort(v string) uint16 {
	if strings.HasPrefix(v, "/") || strings.HasPrefix(v, "@") || strings.HasPrefix(v, "vsock:") {
		return 0
	}
	v, _, _ = strings.Cut(v, "%")
	n, err := strconv.ParseUint(v[strings.LastIndexByte(v, ':')+1:], 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

var (
	// Flags and variables that say where somebody else is.
	others = regexp.MustCompile(`(?i)upstream|backend|target|remote|connect|proxy|forward|dest|peer|join|broker|data(base|source)|(^|[-_])(db|to|dsn|redis|mysql|mariadb|postgres(ql)?|pg|mongo|amqp|rabbit(mq)?|kafka|smtp|mail|ldap|etcd|consul|statsd|otel|otlp|api|auth|client)([-_]|$)`)
	// Flags and variables that say where a server listens.
	own = regexp.MustCompile(`(?i)(^|[-_.])(port|listen|bind|urls?|addr|address|host|http)([-_.]|$)`)
	// Programs that connect: their ports are those of somebody else.
	clients = regexp.MustCompile(`^(auto)?ssh$|^(scp|sftp|curl|wget|nc|ncat|telnet|psql|pg_\w+|mysql|mariadb|mysqladmin|mysqldump|redis-cli|mongo|mongosh|kubectl|ping|nmap)$|^wait-for|^wait4`)
	// Words right after which a bare number is where the server listens, and those
	// of which it is the only bare number.
	servers = regexp.MustCompile(`^(serve|server|start|listen)$`)
	modules = regexp.MustCompile(`^(http\.server|SimpleHTTPServer|runserver)$`)
	// An address that only a listener has, or loopback.
	local = regexp.MustCompile(`^(0\.0\.0\.0|127(\.\d+){3}|localhost|\*|\+|\[::1?\]|TCP[46]?-LISTEN)?$`)
)

// Command finds the word of a command line that makes a server listen on the
// port; nil if there is none. A port that is another server's, as in
// --upstream=http://127.0.0.1:62893, does not count.
func Command(words []string, port uint16) *Claim {
	if len(words) == 0 {
		return nil
	}
	// systemd.service(5): special prefixes of ExecStart
	client := clients.MatchString(path.Base(strings.TrimLeft(words[0], "@-:+!|")))
	for i, w := range words[1:] {
		prior := words[i]
		flag, value := "", w
		if name, v, ok := strings.Cut(w, "="); ok && !strings.ContainsAny(name, " /:") {
			flag, value = name, v // --port=62893, and PORT=62893 of env
		} else if strings.HasPrefix(w, "-") && len(w) > 2 && w[1] != '-' {
			flag, value = w[:2], w[2:] // -p62893
		} else if strings.HasPrefix(prior, "-") && !strings.Contains(prior, "=") && i > 0 {
			flag = prior
		}
		short := len(flag) == 2 && flag[0] == '-'
		switch {
		case flag == "-c" && strings.Contains(value, " "): // of a shell
			for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(";&|()\n", r) }) {
				if c := Command(append([]string{""}, split(strings.TrimPrefix(strings.TrimSpace(part), "exec "))...), port); c != nil {
					return c
				}
			}
		case client && flag != "-L" && flag != "-D", others.MatchString(flag), !address(value, port):
		case short && !strings.Contains(value, "://"), own.MatchString(flag), flag == "" && (servers.MatchString(prior) || slices.ContainsFunc(words[:i+1], modules.MatchString)):
			return &Claim{strings.TrimSpace(strings.TrimSuffix(flag, value) + " " + value), true}
		case strings.Contains(value, "://"): // where a client goes
		case flag == "" || strings.HasPrefix(flag, "-"):
			return &Claim{value, false}
		}
	}
	return nil
}

// Environment finds the assignment that makes a server listen on the port.
func Environment(words []string, port uint16) *Claim {
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if ok && own.MatchString(name) && !others.MatchString(name) && address(value, port) {
			return &Claim{w, true}
		}
	}
	return nil
}

// Program does the same for a program of another manager, of which there are a
// command and an environment.
func Program(command, environment string, port uint16) *Claim {
	if c := Command(split(command), port); c != nil {
		return &Claim{"command names " + c.Text, c.Sure}
	}
	words := split(environment)
	for i := range words {
		words[i] = strings.Trim(words[i], ",")
	}
	if c := Environment(words, port); c != nil {
		return &Claim{"environment=" + c.Text, true}
	}
	return nil
}

// address tells whether the value is the port, or an address of this machine
// with it: "62893", "127.0.0.1:62893", "[::1]:62893", "http://*:62893/",
// "TCP-LISTEN:62893,fork", and "62893:80" as tunnels and containers say it.
func address(v string, port uint16) bool {
	if _, rest, ok := strings.Cut(v, "://"); ok {
		v, _, _ = strings.Cut(rest, "/")
	}
	v, _, _ = strings.Cut(v, ",")
	v = strings.TrimSuffix(v, "/tcp")
	number := strconv.Itoa(int(port))
	host := ""
	if end := strings.LastIndexByte(v, ']'); end >= 0 {
		host, v = v[:end+1], strings.TrimPrefix(v[end+1:], ":")
	} else if before, after, ok := strings.Cut(v, ":"); ok && before != number {
		host, v = before, after
	}
	v, _, _ = strings.Cut(v, ":")
	return v == number && local.MatchString(host)
}

// usual names the services that most machines have on a port, by the names of
// their units in the common distributions.
var usual = map[uint16][]string{
	22: {"ssh", "sshd"}, 25: {"postfix", "exim4", "sendmail"}, 53: {"named", "bind9", "unbound", "dnsmasq", "systemd-resolved"},
	80: {"nginx", "apache2", "httpd", "caddy", "lighttpd"}, 443: {"nginx", "apache2", "httpd", "caddy", "lighttpd"},
	111: {"rpcbind"}, 389: {"slapd"}, 631: {"cups"}, 1883: {"mosquitto"}, 2375: {"docker"}, 2379: {"etcd"}, 3000: {"grafana-server"},
	3306: {"mariadb", "mysql", "mysqld"}, 5432: {"postgresql"}, 5672: {"rabbitmq-server"}, 5984: {"couchdb"}, 6379: {"redis-server", "redis", "valkey"},
	8080: {"tomcat10", "tomcat9", "tomcat", "jenkins"}, 8086: {"influxdb"}, 8200: {"vault"}, 8500: {"consul"}, 9000: {"minio"}, 9090: {"prometheus", "cockpit"},
	9092: {"kafka"}, 9093: {"prometheus-alertmanager"}, 9100: {"prometheus-node-exporter"}, 9200: {"elasticsearch", "opensearch"},
	11211: {"memcached"}, 27017: {"mongod", "mongodb"},
}
