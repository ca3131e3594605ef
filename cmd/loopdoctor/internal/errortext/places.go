package errortext

import (
	"net/netip"
	"strconv"
	"strings"
)

// place is where it went wrong.
type place struct {
	host string     // a name, or an address as it stands
	addr netip.Addr // the address; of a name the one that was tried
	port uint16
	unix string
}

// The pieces of the patterns.
const (
	name = `[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?`
	v4   = `\d{1,3}(?:\.\d{1,3}){3}`
	v6   = `[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f.]{0,15}){2,8}`
	dig  = `(?P<port>\d{1,5})\b`
)

// pattern finds a place by its named groups: host, addr, port, end (an address
// or a name with its port), url, unix.
type pattern struct {
	*lazy
	last bool // what else stands in the line is of others
}

func at(s string) pattern { return pattern{lazy: re(s)} }

// patterns, the exact ones first.
var patterns = []pattern{
	// nginx: … while connecting to upstream, client: 127.0.0.1, server: localhost, request: …, upstream: "http://[::1]:3000/", host: "localhost"
	{re(`upstream: "(?:[a-z]+://)?unix:(?P<unix>/[^":]+)`), true},
	{re(`upstream: "(?P<url>[^"]+)"`), true},
	// Dart: OS Error: Connection refused, errno = 111, address = localhost, port = 36323. The port is the client's own.
	{re(`OS Error.*address = (?P<host>[^,\s]+), port = \d+`), true},
	// UNIX sockets of psql, mysql, docker, nginx, systemd
	at(`(?:on socket|Unix domain socket|through socket) ['"](?P<unix>[/@][^'"]+)`),
	at(`unix:(?://)?(?P<unix>/[\w./-]*\w)`),
	at(`Redis at (?P<unix>/[^\s:]+)`),
	at(`\bconnect ENOENT (?P<unix>/\S+)`),
	// psql: connection to server at "localhost" (::1), port 5432 failed: …
	at(`server at "(?P<host>[^"]+)" \((?P<addr>[^)]+)\), port ` + dig),
	at(`server at "(?P<host>[^"]+)", port ` + dig),
	at(`on host "(?P<host>[^"]+)" \((?P<addr>[^)]+)\)`),
	at(`on host "(?P<host>[^"]+)"`),
	// Go: lookup localhost on 127.0.0.53:53: no such host; read tcp 127.0.0.1:53412->127.0.0.1:8080
	at(`\blookup (?P<host>` + name + `)(?: on \S+)?: `),
	at(`->(?P<end>\[?[0-9A-Fa-f:.]+\]?:\d+)`),
	at(`\b(?:dial|listen) (?:tcp|udp)[46]? (?P<end>\[` + v6 + `\]:\d+|` + v4 + `:\d+|` + name + `:\d+)`),
	at(`\b(?:dial|listen) (?:tcp|udp)[46]? :` + dig),
	// Java: Connect to localhost:8080 [localhost/127.0.0.1] failed; localhost/127.0.0.1:8080; /[0:0:0:0:0:0:0:1]:8080
	at(`Connect to (?P<host>` + name + `):` + dig + ` \[[^\],/]*/(?P<addr>[^\],]+)\]`),
	at(`Connect to (?P<host>` + name + `):` + dig + ` \[`),
	at(`(?:^|[\s(\[=:])(?P<host>` + name + `)?/\[?(?P<addr>` + v4 + `|` + v6 + `)\]?:` + dig),
	// wget: Connecting to localhost (localhost)|127.0.0.1|:62893... failed; BusyBox: Connecting to localhost:80 ([::1]:80)
	at(`Connecting to (?P<host>` + name + `) \([^)]*\)\|(?P<addr>[^|]+)\|:` + dig),
	at(`Connecting to (?P<host>` + name + `):\d+ \(\[?(?P<addr>` + v4 + `|` + v6 + `)\]?:` + dig + `\)`),
	// nc: connect to localhost (127.0.0.1) port 80 (tcp) failed; BusyBox: can't connect to remote host (127.0.0.1)
	at(`connect to (?P<host>` + name + `) \((?P<addr>[^)]+)\) port ` + dig),
	at(`can't connect to remote host \((?P<addr>[^)]+)\)`),
	// Apache: attempt to connect to 127.0.0.1:3000 (localhost:3000) failed
	at(`connect to \[?(?P<addr>` + v4 + `|` + v6 + `)\]?:` + dig + ` \((?P<host>` + name + `)(?::\d+)?\) failed`),
	// Docker: failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp
	at(`host port (?:for )?(?P<end>` + v4 + `:\d+)`),
	at(`Cannot connect to host (?P<host>` + name + `):` + dig),                         // aiohttp
	at(`host='(?P<host>[^']+)', port=` + dig),                                          // urllib3
	at(`\(['"](?P<host>[^'"]*)['"], ` + dig),                                           // Python's address tuple
	at(`for "(?P<host>[^"]+)" port ` + dig),                                            // Ruby
	at(`Host: (?P<host>[^,\s]+), Port: ` + dig),                                        // Laravel
	at(`host: Some\((?:Domain|Ipv[46])\("?(?P<host>[^")]+)"?\)\), port: Some\(` + dig), // Rust's url
	at(`server on '(?P<end>[^']+)'`),                                                   // mysql
	at(`(?:connect to|connection to|host) (?P<host>[\w.:\[\]-]+)(?: on)? port ` + dig), // curl, ssh
	at(`\bport,\s*` + dig + `.*\bip,\s*\{(?P<tuple>\d+(?:,\d+){3})\}`),                 // Erlang
	at(`\bip,\s*\{(?P<tuple>\d+(?:,\d+){3})\}.*\bport,\s*` + dig),
	at(`(?P<url>\b[a-z][a-z0-9+.-]*://[^\s"'<>(),;]+)`),
	at(`\[(?P<addr>` + v6 + `|` + v4 + `)\]:` + dig),
	at(`(?:^|[^\d.:]|ipv4:)(?P<addr>` + v4 + `):` + dig),   // gRPC: ipv4:127.0.0.1:50051
	at(`(?:^|[\s("'])(?P<bare>` + v6 + `)(?:$|[\s,;)"'])`), // Node: ::1:3000, :::3000
	at(`(?P<addr>` + v4 + `|` + v6 + `)#` + dig),           // dig
	at(`\b(?P<host>(?:[\w-]+\.)*localhost):` + dig),
	at(`(?:\bto|\bat|\bon|\bhost|\bserver|\baddress|\bupstream|E[A-Z_]{5,}) ['"(]?(?P<host>` + name + `):` + dig),
	at(`\((?P<host>` + name + `):` + dig + `\)`), // .NET: Connection refused (localhost:5000)
	at(`(?:\*|<null>):` + dig),
	at(`(?i:\bport)[ :=,({'"]+` + dig),
	// a name alone
	at(`getaddrinfo (?:ENOTFOUND|EAI_AGAIN) \S+ (?P<host>` + name + `):` + dig),
	at(`getaddrinfo (?:ENOTFOUND|EAI_AGAIN) (?P<host>` + name + `)`),
	at(`(?:resolve host: |UnknownHostException: |No such host is known\. \()(?P<host>` + name + `)`),
	at(`(?:host address|bad address|getaddresses: getaddrinfo for) ['"]?(?P<host>` + name + `)['"]?`),
	at(`(?P<host>` + name + `)(?:'s server)? (?:refused to connect|didn't send any data|took too long|unexpectedly closed)`),
	at(`listening socket for (?P<addr>` + v6 + `|` + v4 + `):`),
	at(`connect to the server "(?P<host>` + name + `)"`),
	at(`E(?:CONNREFUSED|TIMEDOUT|HOSTUNREACH|NETUNREACH|ACCES|ADDRNOTAVAIL)\b:? (?P<addr>` + v6 + `|` + v4 + `)(?:$|[\s,)])`),
}

// find reads the places that a line names.
func find(text string) place {
	var p place
	for _, pat := range patterns {
		var here place
		for _, m := range pat.FindAllStringSubmatch(text, 8) {
			q, ok := pat.read(m)
			switch {
			case !ok:
			case here == place{}:
				here = q
			case q.port == here.port:
				here.join(q)
			}
		}
		p.add(here)
		if pat.last && p != (place{}) {
			break
		}
	}
	return p
}

// read makes a place of a match; false if it is none.
func (pat pattern) read(m []string) (p place, ok bool) {
	for i, group := range pat.SubexpNames() {
		if m[i] == "" {
			continue
		}
		switch group {
		case "host":
			p.host = strings.Trim(m[i], "[]")
			if p.host == "null" || p.host == "nil" {
				p.host = ""
			}
		case "addr":
			if p.addr, ok = address(m[i]); !ok {
				return place{}, false
			}
		case "port":
			if p.port, ok = portOf(m[i]); !ok {
				return place{}, false
			}
		case "bare":
			cut := strings.LastIndexByte(m[i], ':')
			if p.addr, ok = address(m[i][:cut]); !ok {
				return place{}, false
			}
			if p.port, ok = portOf(m[i][cut+1:]); !ok {
				return place{}, false
			}
		case "end":
			p.host, p.port = endpoint(m[i])
		case "url":
			p = ofURL(m[i])
		case "unix":
			p.unix = m[i]
			if n, isPG := strings.CutPrefix(m[i][strings.LastIndexByte(m[i], '/')+1:], ".s.PGSQL."); isPG {
				p.port, _ = portOf(n)
			}
		case "tuple":
			p.addr, _ = address(strings.ReplaceAll(m[i], ",", "."))
		}
	}
	if a, isAddr := address(p.host); isAddr && !p.addr.IsValid() {
		p.addr = a
	}
	if p.host == "" && p.addr.IsValid() {
		p.host = p.addr.String()
	}
	if p.host != "" && !p.literal() && !plausible.MatchString(p.host) {
		return place{}, false
	}
	return p, p != place{}
}

var plausible = re(`^(?:` + name + `)\.?$`)

// literal tells whether the host is an address.
func (p place) literal() bool {
	a, ok := address(p.host)
	return ok && a == p.addr
}

// add completes what is known by what another pattern found in the same line.
func (p *place) add(q place) {
	switch {
	case q == place{}:
	case *p == place{}:
		*p = q
	case p.unix != "" || q.unix != "":
	case p.port == 0 && q.port != 0 && (q.host == p.host || q.host == "" || p.host == ""):
		p.port = q.port
		if p.host == "" {
			p.host, p.addr = q.host, q.addr
		}
	// request to http://localhost:62893/ failed, reason: connect ECONNREFUSED 127.0.0.1:62893
	case q.literal() && p.host != "" && !p.addr.IsValid() && q.port == p.port && !q.addr.IsUnspecified():
		p.addr = q.addr
	// Get "http://localhost:3000/": dial tcp 127.0.0.1:3000: the name and what it became.
	case p.literal() && q.host != "" && !q.literal() && q.port == p.port && !p.addr.IsUnspecified():
		p.host = q.host
	}
}

// join keeps what two attempts at one port have in common.
func (p *place) join(q place) {
	switch {
	case q.host == "" || q == *p:
	case p.host == q.host || !p.literal() && q.literal():
		if p.addr != q.addr {
			p.addr = netip.Addr{}
		}
		if p.literal() {
			p.host = ""
		}
	default:
		p.host, p.addr = "", netip.Addr{}
	}
}

// complete takes what the telling line lacks from the others: from the first
// that fits. It tells whether the port came from there.
func (p *place) complete(lines []line, t *line) (guessed bool) {
	if p.port != 0 || p.unix != "" {
		return false
	}
	for _, l := range lines {
		q := l.place
		if q.port == 0 && q.host != "" && p.host == "" && q.unix == "" {
			p.host, p.addr = q.host, q.addr // of psql before 14: the port is in the next line
		}
	}
	for _, l := range lines {
		q := l.place
		if q.port == 0 || q.unix != "" || l.text == t.text {
			continue
		}
		if p.host == "" || q.host == p.host || q.host == "" || q.addr.IsValid() && q.addr == p.addr {
			p.port = q.port
			if p.host == "" || q.addr == p.addr {
				p.host, p.addr = q.host, q.addr
			}
			return true
		}
	}
	return false
}

func address(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap().WithZone(""), err == nil
}

func portOf(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, false
	}
	return uint16(n), n > 0
}

// endpoint reads host:port, [::1]:3000, or a host alone.
func endpoint(s string) (host string, port uint16) {
	if _, ok := address(s); ok {
		return strings.Trim(s, "[]"), 0
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0
	}
	port, _ = portOf(s[i+1:])
	return strings.Trim(s[:i], "[]"), port
}

var schemes = map[string]uint16{"http": 80, "ws": 80, "https": 443, "wss": 443, "postgres": 5432, "postgresql": 5432, "mysql": 3306,
	"redis": 6379, "amqp": 5672, "mongodb": 27017, "fastcgi": 9000}

var authority = re(`^([a-z][a-z0-9+.-]*)://(?:[^\s/@]*@)?(\[` + v6 + `\]|[^\s/:?#\[\]]+)(?::(\d{1,5}))?(?:[/?#:.\]\\]|$)`)

// ofURL reads the host and the port of a URL.
func ofURL(s string) (p place) {
	m := authority.FindStringSubmatch(s)
	if m == nil {
		return place{}
	}
	p.host, p.port = strings.Trim(m[2], "[]"), schemes[m[1]]
	if m[3] != "" {
		p.port, _ = portOf(m[3])
	}
	return p
}
