package redact

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts/secret"
)

var (
	// The directory of a user's home, and other places in which each user has one: below
	// one of the domain, where sssd or winbind makes it. An apostrophe may be part of the name.
	home = lazyExp(`(?i)(?:[/\\]homes?\d*|[/\\]users|%2Fhome|%2Fusers|/run/media|/var/mail|/var/spool/mail|/crontabs|/linger|documents and settings)(?:/|\\+|%2F)(` + nameInPath + `)(?:/(` + nameInPath + `))?`)
	// /media/ann/usb, where udisks mounts.
	media = lazyExp(`(?:^|[\s"'=:(])/media/([A-Za-z_][\w.-]*)/`)
	// C:\Users\Ann Lee\x: a name of two words ends at the next backslash.
	twoWords = lazyExp(`(?i)[a-z]:\\+users\\+([^\\/"<>|:*?\r\n]* [^\\/"<>|:*?\r\n]*)\\`)
	// /Users/Ann Lee/x, C:/Users/Ann Lee: elsewhere the words have to look like names.
	twoNames = lazyExp(`[/\\](?i:users)[/\\]+(\p{Lu}[\w.'-]*(?: \p{Lu}[\w.'-]*){1,2})(?:[/\\]|$)`)
	tilde    = lazyExp(`(?:^|[\s"'=:(,])~([A-Za-z_][\w.-]*)(?:/|$|[\s"'])`)
	// user=ann, user "ann", DB_USER=ann, -Duser.name=ann: how connection strings and messages of databases name one.
	userIs = lazyExp(`(?i)(?:\b|_|-D)(?:user|username|user_name|user\.name|user id|pguser|logname|login|github_actor|role)["']?\s*(?:=\s*|:\s*["']|\s["'])["']?([\w.-]+)`)
	// 'ann'@'db7', as MySQL writes it.
	quotedAt = lazyExp(`'([^'@\s]+)'@'([^'@\s]+)'`)
	// ann%40acme.com in a URL.
	escapedAt = lazyExp(`([A-Za-z_][\w.+-]*)%40([A-Za-z0-9][\w.-]*)`)
	// ann/admin@ACME.COM, of Kerberos.
	principal = lazyExp(`\b([A-Za-z_][\w.-]*)/[\w.-]+@([A-Z0-9-]+(?:\.[A-Z0-9-]+)+)\b`)
	// \\server\share, and ACME\ann.
	unc  = lazyExp(`(?:^|[\s"'=(])\\\\([A-Za-z0-9][\w.-]{2,})\\[\w$]`)
	ofNT = lazyExp(`(?:^|[\s"'=(])([A-Z][A-Z0-9-]{2,14})\\([A-Za-z][\w.-]+)(?:$|[\s"',;)])`)
	// //server/share, where something tells of SMB.
	share = lazyExp(`(?:^|[\s"'=(])//([A-Za-z0-9][\w.-]*)/[\w$]`)
	// ann@shop: who, and where. What follows says whether it is one.
	userAt = lazyExp(`([A-Za-z_][\w.+-]*)@(\[?[\w.:-]+\]?)`)
	// jdoe:***@tcp(db7:3306)/shop, jdoe:***@proxy7:3128: a login without a scheme, its password found before.
	loginAt = lazyExp(`([A-Za-z_][\w.-]*):(?:hidden\d+|\*+)@(?:(?:tcp6?|udp)\()?([A-Za-z0-9][\w.-]*)`)
	urlAt   = lazyExp(`[A-Za-z][A-Za-z0-9+.-]*://(?:([^\s/?#:@"']*)(?::[^\s/?#"']*)?@)?(\[[^\]\s]*\]|[^\s/?#:@"'<>,;|)\]\\]+)`)
	// Who says that a name could not be resolved or reached tells it: curl, psql, Node, Go, ssh, getaddrinfo's callers.
	hostIs = lazyExp(`(?i)(?:\bhost(?:name)?(?: name)?[:=\s]|\bserver at\s|\b(?:getaddrinfo\s+)?(?:ENOTFOUND|EAI_AGAIN)\s|\b(?:lookup|getaddrinfo|connect to|connected to)\s|\bgetaddrinfo\()\s*["'(]*([A-Za-z0-9][A-Za-z0-9.-]*)`)
	// host=db7 of connection strings and variables, TCP:db7:5432 of socat.
	hostWas = lazyExp(`(?i)(?:host(?:name)?["']?\s*=\s*["']?|\b(?:TCP|UDP|SSL|OPENSSL)[46]?(?:-CONNECT)?:)([A-Za-z0-9][A-Za-z0-9.-]*)`)
	// Nov 30 02:00:01 munich app[71]: as syslog and journalctl begin a line.
	logged = lazyExp(`^(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*) ([A-Za-z0-9][A-Za-z0-9.-]*) [^\s:\[\]]+(?:\[\d+\])?: `)
	// Interfaces that are named after their hardware address (systemd.net-naming-scheme(7)).
	enx  = lazyExp(`\benx[0-9a-f]{12}\b`)
	like = lazyExp(`(?i)\b(?:(?:user|host|domain|hidden|masked|organization)\d+|02:00:00(?::[0-9a-f]{2}){3}|enx020000[0-9a-f]{6})\b`)
	// The names that cloud machines have by default tell their addresses.
	ipName = lazyExp(`\b(?:ip|ec2|host)-\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}\b`)
)

const nameInPath = `[^/\\\s"'<>|:;,()\[\]{}*?$%&=#]+(?:'[^/\\\s"'<>|:;,()\[\]{}*?$%&=#]+)*`

// learn notes what of a text has to be replaced wherever it stands.
func (m *masker) learn(s string) string {
	if m.seen[s] || len(s) < 2 {
		return s
	}
	m.seen[s] = true
	in := s
	if len(s) >= 6 {
		s = secret.Line(s, m.learnSecret)
	}
	low := strings.ToLower(s)
	has := func(words ...string) bool { // what is sought costs more than to see that it is not there
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(low, w) })
	}
	if has("home", "users", "run/media", "mail/", "crontabs", "linger", "documents and settings") {
		for _, x := range home().FindAllStringSubmatch(s, -1) {
			name := strings.TrimRight(x[1], ".")
			if _, _, _, ok := domain(name, false); ok && x[2] != "" {
				m.host(name)
				name = strings.TrimRight(x[2], ".")
			}
			m.user(name)
		}
	}
	if has("/media/") {
		for _, x := range media().FindAllStringSubmatch(s, -1) {
			m.user(x[1])
		}
	}
	if has("users/", `users\`) {
		for _, x := range twoNames().FindAllStringSubmatch(s, -1) {
			m.user(x[1])
		}
		for _, x := range twoWords().FindAllStringSubmatch(s, -1) {
			m.user(x[1])
		}
	}
	if has("cifs", "smb") {
		for _, x := range share().FindAllStringSubmatch(s, -1) {
			m.host(x[1])
		}
	}
	if has(`\`) {
		for _, x := range unc().FindAllStringSubmatch(s, -1) {
			if !strings.HasPrefix(strings.ToLower(x[1]), "wsl") {
				m.host(x[1])
			}
		}
		for _, x := range ofNT().FindAllStringSubmatch(s, -1) {
			if !ordinary()(strings.ToLower(x[1])) {
				m.host(x[1])
				m.user(x[2])
			}
		}
	}
	if has("%40") {
		for _, x := range escapedAt().FindAllStringSubmatch(s, -1) {
			m.at(x[1], x[2])
		}
	}
	if strings.Contains(s, "~") {
		for _, x := range tilde().FindAllStringSubmatch(s, -1) {
			m.user(x[1])
		}
	}
	if has("user", "logname", "login", "actor", "role") {
		for _, x := range userIs().FindAllStringSubmatch(s, -1) {
			if !hides(x[1]) {
				m.user(x[1])
			}
		}
	}
	if strings.Contains(s, "://") {
		for _, x := range urlAt().FindAllStringSubmatch(s, -1) {
			if !hides(x[1]) {
				m.user(x[1])
			}
			if n, err := strconv.ParseUint(x[2], 10, 32); err == nil && len(x[2]) >= 8 && n>>24 != 127 { // an address as one number
				m.entry(Host, x[2])
			}
			m.host(x[2])
		}
	}
	if strings.Contains(s, "@") {
		if bareLogin().MatchString(s) {
			m.logged = append(m.logged, s)
		}
		for _, x := range loginAt().FindAllStringSubmatch(s, -1) {
			m.user(x[1])
			m.host(x[2])
		}
		for _, x := range quotedAt().FindAllStringSubmatch(s, -1) {
			m.user(x[1])
			if !ordinary()(strings.ToLower(x[2])) {
				m.host(x[2])
			}
		}
		for _, x := range principal().FindAllStringSubmatch(s, -1) {
			m.login(x[1] + "@" + x[2])
		}
		for _, x := range userAt().FindAllStringSubmatch(s, -1) {
			m.at(x[1], x[2])
		}
	}
	if has("host", "server at", "enotfound", "eai_again", "lookup", "getaddrinfo", "connect") {
		for _, x := range hostIs().FindAllStringSubmatch(s, -1) {
			if !ordinary()(strings.ToLower(x[1])) {
				m.host(x[1])
			}
		}
	}
	if has("host", "tcp", "udp", "ssl") {
		for _, x := range hostWas().FindAllStringSubmatch(s, -1) {
			m.host(x[1])
		}
	}
	if has(": ") {
		if x := logged().FindStringSubmatch(s); x != nil {
			m.host(x[1])
		}
	}
	if has("ip-", "ec2-", "host-") {
		for _, x := range ipName().FindAllString(s, -1) {
			m.label(x)
		}
	}
	if has("enx") {
		for _, x := range enx().FindAllString(s, -1) {
			if !strings.HasPrefix(x, "enx020000") {
				m.entry(Hardware, x)
			}
		}
	}
	sc := scan{
		addr: func(a netip.Addr, bits int, text string) string { m.plan.see(a, bits); return text },
		mac:  func(text string) string { m.hardware(text); return text },
		name: func(text string, sure bool) string { m.dotted(text, sure); return text },
	}
	sc.run(s)
	return in
}

// at learns from user@host, where the second part is no instance of a unit, no version
// and no package.
func (m *masker) at(user, host string) {
	host = strings.TrimRight(host, ".:")
	if h, port, ok := strings.Cut(host, ":"); ok && strings.Trim(port, "0123456789") == "" {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	_, _, _, dotted := domain(host, false)
	if err == nil || dotted || localName(host) {
		m.user(user)
		m.host(host)
	}
}

// login learns from user@host where nothing else can stand: the argument of ssh.
func (m *masker) login(s string) {
	user, host, ok := strings.Cut(s, "@")
	if !ok {
		user, host = "", s
	}
	m.user(user)
	m.host(host)
}

// user learns the name of a user. DOMAIN\name is both.
func (m *masker) user(name string) {
	if domain, rest, ok := strings.Cut(name, `\`); ok {
		m.host(domain)
		name = rest
	}
	name = strings.Trim(strings.TrimSpace(name), "\"'")
	if i := strings.IndexFunc(name, sign); i >= 0 {
		name = name[:i]
	}
	if name == "" || name[0] == '.' || len(name) > 64 || keptUser(strings.TrimFunc(name, func(r rune) bool { return r < 0x80 && !wordByte(byte(r)) && r != '_' })) || !strings.ContainsFunc(name, func(r rune) bool { return r > ' ' && (r >= 0x80 || wordByte(byte(r))) }) {
		return
	}
	m.entry(User, name)
}

// sign tells whether a character beyond ASCII is no letter: ’ behind a path.
func sign(r rune) bool { return r >= 0x80 && !letter(r) }

// account is user, of one whose uid is known: below 1000 are those of the system
// (login.defs(5); 500 on macOS).
func (m *masker) account(name string, uid uint32, os string) {
	low := uint32(1000)
	if os == "darwin" {
		low = 500
	}
	if os != "windows" && (uid != 0 && uid < low || uid == 65534) {
		m.system(name)
		return
	}
	m.user(name)
}

// system notes an account of the system: it stays. One of that name in a home does not.
func (m *masker) system(name string) { m.enums[strings.ToLower(name)] = true }

// host learns a name that stands where only a host can: a name of one word, too.
func (m *masker) host(name string) {
	if p, _, ok := beginning(name); ok {
		m.plan.see(p.Addr(), p.Bits())
		return
	}
	name = bare(name)
	if strings.Contains(name, ".") {
		m.dotted(name, true)
		return
	}
	m.label(name)
}

// bare is the name of a host, in lower case, without its port and the brackets, dots and
// stars around it; "": it is none, or one that every machine has.
func bare(name string) string {
	name = strings.Trim(strings.TrimSpace(name), "[]")
	name = strings.TrimPrefix(strings.TrimPrefix(name, "*"), ".")
	name = strings.ToLower(strings.TrimRight(name, "."))
	if h, port, ok := strings.Cut(name, ":"); ok && strings.Trim(port, "0123456789") == "" {
		name = h
	}
	if i := strings.IndexFunc(name, sign); i >= 0 {
		name = name[:i]
	}
	if name == "" || len(name) > 253 || localName(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return r < 0x80 && !wordByte(byte(r)) && !strings.ContainsRune(".-_", r) }) {
		return ""
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	return name
}

// dotted learns the labels of a host's name.
func (m *masker) dotted(name string, sure bool) {
	labels, ending, public, ok := domain(name, sure)
	if !ok || localName(name) {
		return
	}
	if !public && !sure && len(labels) == 1 && ordinary()(labels[0]) { // jail.local is a file
		return
	}
	if public {
		last := len(labels) - 1
		if !reservedDomain(labels[last] + "." + ending) {
			m.domains[m.entry(Host, labels[last]+"."+ending)] = true
		}
		labels = labels[:last]
	}
	if p, n := numeric(labels, ending); n > 0 {
		m.plan.see(p.Addr(), p.Bits())
		labels = labels[:len(labels)-n]
	}
	for _, l := range labels {
		m.label(l)
	}
}

func (m *masker) label(l string) {
	if l != "" && len(l) <= 63 && strings.Trim(l, "0123456789") != "" && !pseudonymous(strings.ToLower(l)) {
		m.entry(Host, strings.ToLower(l))
	}
}

// reservedDomain tells whether a name is a pseudonym already.
func reservedDomain(name string) bool { return strings.HasSuffix(name, ".example") }

// hardware learns an Ethernet address; none and all are no machine's.
func (m *masker) hardware(text string) {
	low := plainMAC(text)
	if low != "00:00:00:00:00:00" && low != "ff:ff:ff:ff:ff:ff" && !strings.HasPrefix(low, "02:00:00:") {
		m.entry(Hardware, low)
	}
}

// keep notes the name of a program, a container or the like: it stays, and so does a
// host that is called so.
func (m *masker) keep(names ...string) {
	for _, n := range names {
		n = strings.ToLower(n)
		m.kept[n] = true
		base, _, _ := strings.Cut(n, ".") // of a unit
		m.kept[base] = true
	}
}
