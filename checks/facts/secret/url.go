package secret

import (
	"net/netip"
	"regexp"
	"strings"
	"sync"
)

// lazy compiles an expression when it is first used: most runs meet no such text.
func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// services are the schemes of databases and proxies: people write passwords into their
// URLs that no URL may hold, like hun#ter2 and hun/ter2.
var services = []string{"postgres", "postgresql", "mysql", "mariadb", "mongodb", "mongodb+srv", "redis", "rediss", "valkey", "amqp", "amqps", "mssql", "sqlserver",
	"oracle", "clickhouse", "cockroachdb", "nats", "kafka", "socks", "socks4", "socks4a", "socks5", "socks5h", "ldap", "ldaps", "smtp", "smtps", "ftp", "sftp", "mqtt", "mqtts"}

// userinfo returns where the password stands in the URL whose :// is at i, or the long
// user name without one: that is a token (https://ghp_…@github.com). RFC 3986 section
// 3.2.1 ends it before / ? #; lax looks further where none can be a port.
func userinfo(s string, i int, lax bool) (from, end int) {
	start := i
	for start > 0 && i-start < 24 && (isLetter(s[start-1]) || isDigit(s[start-1]) || strings.IndexByte("+.-", s[start-1]) >= 0) {
		start--
	}
	for start < i && !isLetter(s[start]) { // RFC 3986 section 3.1
		start++
	}
	if start == i {
		return 0, 0
	}
	i += 3
	stop, ends := i, `/?#"`
	if !lax {
		ends += "<>" // the text may be HTML
	}
	for stop < len(s) && !blank(s[stop]) && strings.IndexByte(ends, s[stop]) < 0 {
		stop++
	}
	if at := strings.LastIndexByte(s[i:stop], '@'); at >= 0 {
		colon := strings.IndexByte(s[i:i+at], ':')
		switch {
		case colon >= 0:
			return i + colon + 1, i + at
		case at >= 20:
			return i, i + at
		}
		return 0, 0
	}
	colon := strings.IndexByte(s[i:stop], ':')
	if !lax || colon < 0 || s[i] == '[' {
		return 0, 0
	}
	from = i + colon + 1
	if from == len(s) || strings.IndexByte("$<{%*", s[from]) >= 0 || port(s[from:]) {
		return 0, 0
	}
	for end = stop; end < len(s) && !blank(s[end]) && strings.IndexByte(`"'<>`, s[end]) < 0 && !strings.HasPrefix(s[end:], "://"); end++ {
	}
	at := strings.LastIndexByte(s[from:end], '@')
	if at < 0 {
		return 0, 0
	}
	for _, scheme := range services {
		if strings.EqualFold(s[start:i-3], scheme) {
			return from, from + at
		}
	}
	// Of other URLs, where an @ may belong to the path, only if a host and nothing else is left.
	rest := strings.TrimSuffix(s[from+at+1:end], "/")
	host, number, ok := strings.Cut(rest, ":")
	if ok && host != "" && port(number) && strings.Trim(number, "0123456789") == "" {
		return from, from + at
	}
	return 0, 0
}

// port tells whether a text begins with the number of a port and no more.
func port(s string) bool {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n > 0 && n < 6 && (n == len(s) || !isLetter(s[n]) && s[n] != '_' && s[n] != '.' && s[n] != '-' && s[n] != '@')
}

// urls hides the passwords of URLs.
func (m masker) urls(s string) string {
	i := strings.Index(s, "://")
	if i < 0 {
		return s
	}
	e := edit{s: s}
	for i >= 0 {
		next := i + 3
		if from, end := userinfo(s, i, true); end > from {
			e.put(from, end, m.with(s[from:end]))
			next = end
		}
		if i = strings.Index(s[next:], "://"); i >= 0 {
			i += next
		}
	}
	return e.String()
}

// oracle is a thin JDBC URL of Oracle with a user and a password.
var oracle = lazy(`(jdbc:oracle:\w+:[^\s/@"':]+/)([^\s@"']+)(@)`)

// logins hides passwords before an @ without a scheme: user:password@tcp(db:3306)/x of
// Go's MySQL driver, user:password@proxy:3128 of a proxy variable, user:password@db7.acme.com,
// and those of Oracle.
func (m masker) logins(s string) string {
	at := strings.IndexByte(s, '@')
	if at < 0 {
		return s
	}
	e := edit{s: s}
	for at >= 0 {
		if from := password(s, at, e.done); from < at {
			e.put(from, at, m.with(s[from:at]))
		}
		next := strings.IndexByte(s[at+1:], '@')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	s = e.String()
	if strings.Contains(s, "jdbc:oracle:") {
		s = replace(s, oracle(), func(x []string) string { return x[1] + m.with(x[2]) + x[3] })
	}
	return s
}

// password returns where the password begins that ends before the @ at, or at. It looks
// no further back than floor and the @ before.
func password(s string, at, floor int) int {
	sure := located(s[at+1:])
	if !sure && !plainHost(s[at+1:]) {
		return at
	}
	start := at
	for start > floor && !blank(s[start-1]) && strings.IndexByte(`/@"'=,(<>`, s[start-1]) < 0 {
		start--
	}
	user, pw, ok := strings.Cut(s[start:at], ":")
	if !ok || pw == "" || start > floor && s[start-1] == '/' || !named(user) || !sure && !LogsIn(user) {
		return at
	}
	return at - len(pw)
}

// named tells whether a text may be the name of a user: it is no scheme of a URL.
func named(user string) bool {
	if user == "" || !isLetter(user[0]) && user[0] != '_' {
		return false
	}
	for i := range len(user) {
		if !inName(user[i]) && user[i] != '%' && user[i] != '+' {
			return false
		}
	}
	switch user {
	case "jdbc", "sip", "sips", "mailto", "xmpp", "acct", "ssh", "urn":
		return false
	}
	return true
}

// LogsIn tells whether what stands before a colon and something with an @ is plainly the
// name of a user, even if no port follows: no kind of package, no level of a log, and no
// word for whose address follows.
func LogsIn(user string) bool {
	switch low := strings.ToLower(user[strings.LastIndexAny(user, "._-")+1:]); low {
	case "scp", "sftp", "git", "svn", "hg", "http", "https", "ftp", "imap", "smtp", "ldap", "tcp", "udp", "unix", "im", "data",
		"npm", "yarn", "workspace", "portal", "link", "file", "patch", "catalog", "jsr", "pkg", "docker",
		"info", "warn", "warning", "error", "err", "debug", "trace", "fatal", "critical", "notice",
		"to", "from", "cc", "bcc", "by", "for", "at", "on", "of", "contact", "author", "owner", "sender", "recipient", "rcpt", "subject", "upn", "principal", "user", "username", "login", "account", "name", "id", "uid", "host", "server", "address", "addr":
		return false
	default:
		return named(user) && !strings.HasSuffix(low, "mail")
	}
}

// located tells whether a text begins with tcp(, unix( or host:port; the digest of an image is
// none (app:1.2@sha256:…).
func located(s string) bool {
	if strings.HasPrefix(s, "tcp(") || strings.HasPrefix(s, "unix(") {
		return true
	}
	n := hostLen(s)
	return n > 0 && n < len(s) && s[n] == ':' && !strings.HasPrefix(s, "sha") && port(s[n+1:])
}

// plainHost tells whether a text begins with the name of a host that needs no port to be
// one: localhost, an address, or a name with a dot that is none of a file, of a unit or of
// a version.
func plainHost(s string) bool {
	n := hostLen(s)
	if n == 0 || n < len(s) && !blank(s[n]) && strings.IndexByte("/?\"',;)>]}|", s[n]) < 0 {
		return false
	}
	host := strings.ToLower(strings.TrimRight(s[:n], "."))
	dot := strings.LastIndexByte(host, '.')
	switch {
	case host == "localhost":
		return true
	case dot <= 0 || strings.Contains(host, ".."):
		return false
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Is4()
	}
	last := host[dot+1:]
	switch last {
	case "js", "mjs", "cjs", "ts", "jsx", "tsx", "vue", "py", "rb", "go", "rs", "java", "kt", "php", "c", "cc", "cpp", "h", "hpp", "cs", "html", "htm", "css", "json", "xml", "yml", "yaml", "toml", "ini", "conf", "cfg",
		"txt", "md", "log", "sh", "lua", "pl", "sql", "so", "jar", "zip", "tgz", "gz", "service", "socket", "timer", "mount", "target", "slice", "scope", "device", "path", "swap":
		return false
	}
	return len(last) > 1 && strings.Trim(last, "abcdefghijklmnopqrstuvwxyz") == ""
}

// hostLen is how long the name is that a text begins with.
func hostLen(s string) int {
	n := 0
	for n < len(s) && n < 256 && inName(s[n]) {
		n++
	}
	return n
}

// replace is ReplaceAllStringFunc with the groups of the match, each of which takes part
// in it.
func replace(s string, re *regexp.Regexp, f func(m []string) string) string {
	e := edit{s: s}
	for _, x := range re.FindAllStringSubmatchIndex(s, -1) {
		groups := make([]string, len(x)/2)
		for i := range groups {
			groups[i] = s[x[2*i]:x[2*i+1]]
		}
		e.put(x[0], x[1], f(groups))
	}
	return e.String()
}
