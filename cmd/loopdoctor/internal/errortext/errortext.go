// Package errortext reads what a client or a server printed when it could not
// connect or listen: who speaks, what went wrong and at which address. It knows
// words and nothing of this machine: it refuses to look, and to say why.
package errortext

import (
	"cmp"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Reading is what a text says. Its Text is one line, safe to print, but not
// masked: a password in it is for the caller to hide. Its Addr has the port 0
// if the text names none.
type Reading struct {
	facts.ClientError
	Intent  facts.Intent
	Network string // "tcp" or "udp"
	Host    string // a name or an address; empty: the text names none, or several
	Port    uint16 // 0: the text names none
	Guessed bool   // the port stands in another line than the error
	Usual   bool   // the text names no port: it is the usual one of the service
	Unix    string // path of the UNIX socket that was used instead
}

// What is read of a text. A stack trace is a few kilobytes.
const (
	MaxText = 64 << 10
	maxLine = 2 << 10
	maxShow = 300
)

// line is one line of the text and what it says.
type line struct {
	text  string
	says  *saying
	place place
	cause bool // it begins with "Caused by", as the innermost error of Java and Node does
	frame bool // of a stack trace: its numbers are lines of source code
}

var (
	ansi   = re(`\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])`)
	quotes = strings.NewReplacer("’", "'", "‘", "'", "“", `"`, "”", `"`)
	inner  = re(`^\s*(?:Caused by:|\[cause\]:|--->)`)
	frames = re(`^\s*(?:npm (?:error|ERR!)\s+)?(?:at |File "|from /|\.\.\. \d+ (?:more|common))`)
)

// Read reads the text; false if nothing of it is understood.
func Read(text string) (Reading, bool) {
	lines := split(text)
	t := telling(lines)
	if t == nil {
		return Reading{}, false
	}
	says, where := t.says, t.place
	r := Reading{Network: "tcp", Intent: says.intent}
	if r.Intent == "" {
		r.Intent = intentOf(t.text, lines)
	}
	guessed := where.complete(lines, t)
	merge(&where, lines, t)
	r.Client = client(t.text, lines)
	r.Text, r.Errno, r.Symptom, r.Means, r.Failed = show(t.text), says.code(t.text), says.symptom, says.means, says.failed
	r.Answer, r.Names = says.answer, says.cause
	if r.Symptom == "" && says.errno != "" {
		r.Symptom, r.Means = felt(says.errno, r.Intent)
	}
	if udp.MatchString(t.text) {
		r.Network = "udp"
		if r.Symptom == "refused" {
			r.Symptom = "port-unreachable"
		}
	}
	r.Host, r.Port, r.Unix = where.host, where.port, where.unix
	r.Guessed = guessed
	if r.Port == 0 {
		r.Port = usualPort(t.text, where.unix)
		r.Usual = r.Port != 0
	}
	if r.Unix != "" {
		r.Symptom, r.Failed, r.Answer, r.Names = "", false, false, ""
		r.Errno = cmp.Or(r.Errno, fileErrno(t.text))
		r.Means = "the UNIX socket " + show(r.Unix) + " cannot be reached, and TCP was not tried"
		if r.Intent == facts.ToBind {
			r.Means = "the UNIX socket " + show(r.Unix) + " cannot be taken"
		}
	}
	// BusyBox names the address of IPv4 alone (libbb/xconnect.c).
	if busyboxV6.MatchString(t.text) && !where.addr.IsValid() && (where.host == "" || facts.IsLocalhost(where.host)) {
		where.addr = netip.IPv6Loopback()
	}
	if where.addr.IsValid() {
		r.Addr = netip.AddrPortFrom(where.addr, r.Port)
	}
	return r, true
}

// fileErrno is why a UNIX socket could not be reached: "(2)" of mysql, "(2: No
// such file or directory)" of nginx, or the words alone.
func fileErrno(text string) string {
	switch {
	case strings.Contains(text, "No such file") || strings.Contains(text, "(2)"):
		return "ENOENT"
	case strings.Contains(text, "(111)"):
		return "ECONNREFUSED"
	case strings.Contains(text, "(13)"):
		return "EACCES"
	}
	return ""
}

// split makes lines of the text, without colours, control characters and curly
// quotes, and reads each.
func split(text string) []line {
	if len(text) > MaxText {
		text = text[:MaxText]
	}
	// A text that was copied out of a log or of JSON has its line ends spelled.
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, `\n`, "\n")
	}
	var lines []line
	for l := range strings.Lines(ansi.ReplaceAllString(text, "")) {
		l = quotes.Replace(clean(cut(l, maxLine)))
		if strings.TrimSpace(l) == "" {
			continue
		}
		x := line{text: l, cause: inner.MatchString(l), frame: frames.MatchString(l)}
		if !x.frame {
			x.says, x.place = understand(l), find(l)
			// A file that is missing says something of a socket only.
			if x.says != nil && x.says.errno == "ENOENT" && x.place.unix == "" {
				x.says = nil
			}
		}
		lines = append(lines, x)
	}
	return lines
}

// telling picks the line that says most: of nested errors the innermost, if it
// says where; then the first that says both what and where; then what alone.
func telling(lines []line) *line {
	var best *line
	rank := 0
	for i := range lines {
		l := &lines[i]
		if l.says == nil {
			continue
		}
		n := 1
		switch where := l.place.port != 0 || l.place.unix != ""; {
		case l.says.weak && where:
			n = 2
		case l.says.weak:
		case l.cause && where:
			n = 6
		case where:
			n = 5
		case l.cause:
			n = 4
		default:
			n = 3
		}
		// The last of the causes is the innermost.
		if n > rank || n == rank && l.cause {
			best, rank = l, n
		}
	}
	return best
}

// merge joins several attempts of one client: a name that was tried at two
// addresses names none of them, and two addresses of one port make the port.
func merge(p *place, lines []line, t *line) {
	for i := range lines {
		q, l := lines[i].place, &lines[i]
		if l == t || l.says == nil || l.says.errno != t.says.errno || q.port != p.port || q.port == 0 {
			continue
		}
		p.join(q)
	}
}

var (
	binding    = re(`(?i)\b(?:listen|listening|bind|binding|bound|server_bind|make_sock|setupListenHandle)\b|start(?:ing)? (?:the |development )?server`)
	connecting = re(`(?i)\b(?:connect|connects|connected|connecting|connection|dial|dialing|fetch|request|establish|upstream|create_connection|getaddrinfo)\b`)
	busyboxV6  = re(`\b(?:wget|nc|telnet): can't connect to remote host: `)
	udp        = re(`(?i)\b(?:dial|read|listen|write) udp\d?\b|\budp://|communications error to|\bdgram\b`)
)

// intentOf tells what a client was about whose error has two readings. Servers
// meet these far more often.
func intentOf(text string, lines []line) facts.Intent {
	switch {
	case binding.MatchString(text):
		return facts.ToBind
	case connecting.MatchString(text):
		return facts.Connect
	}
	for i := len(lines) - 1; i >= 0; i-- {
		switch {
		case binding.MatchString(lines[i].text):
			return facts.ToBind
		case connecting.MatchString(lines[i].text):
			return facts.Connect
		}
	}
	return facts.ToBind
}

// client tells who speaks: by the telling line, or else by the others.
func client(text string, lines []line) string {
	for _, c := range clients {
		if c.words.MatchString(text) {
			return c.name
		}
	}
	for _, c := range clients {
		for i := range lines {
			if c.words.MatchString(lines[i].text) {
				return c.name
			}
		}
	}
	return ""
}

func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == utf8.RuneError, unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}

func show(s string) string {
	s = strings.TrimSpace(s)
	if short := cut(s, maxShow); short != s {
		return short + "…"
	}
	return s
}

// cut shortens without breaking a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
