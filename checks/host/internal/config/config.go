// Package config reads where servers are told to listen: one parser for each
// format, named after it. It keeps the lines that say so and nothing else of a
// file, masks secrets in them, and refuses to open files: what a file includes is
// told to the caller, who decides.
package config

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// The programs, as they stand in facts.ConfigLine.
const (
	Nginx      = "nginx"
	Apache     = "apache"
	Caddy      = "caddy"
	HAProxy    = "haproxy"
	Redis      = "redis"
	PostgreSQL = "postgresql"
	MySQL      = "mysql"
	SSHD       = "sshd"
	Systemd    = "systemd"
	Env        = ".env"
	Package    = "package.json"
	Vite       = "vite"
	Spring     = "spring"
	Compose    = "compose"
)

// What is read of a file, and kept: no server's configuration needs more. The
// largest that a distribution ships is redis.conf, with 107 kB and 2,300 lines.
const (
	MaxBytes   = 1 << 20
	maxLines   = 20_000
	maxLine    = 4096 // bytes; a longer line is passed over
	maxFound   = 200
	maxInclude = 50
	maxNesting = 64
	maxSteps   = 50_000 // through the nodes of a YAML file, aliases followed
	maxText    = 200    // runes of a quoted line
	maxValue   = 60     // runes of a value that is no port, of a path, of a name
)

// Found is what one file says.
type Found struct {
	Lines   []facts.ConfigLine
	Include []string // files that it includes, as written; they may be patterns
	Reset   bool     // systemd: it empties the list that files before it made
}

// add keeps a line. What stands where a port should is in port, as written;
// empty: nothing does. A variable is no value, and the line is not kept.
func (f *Found) add(program string, n int, text string, l facts.ConfigLine, port string) {
	if len(f.Lines) >= maxFound || variable(port) || variable(l.Host) || variable(l.Unix) || variable(l.Device) {
		return
	}
	if port != "" {
		l.Port, l.LastPort, l.Bad = number(port)
	}
	l.Host, l.Unix, l.Device = clip(l.Host, maxValue), clip(l.Unix, 2*maxValue), clip(l.Device, maxValue)
	if l.Program, l.Line, l.Text = program, n, quote(text); l.Text != "" {
		f.Lines = append(f.Lines, l)
	}
}

func (f *Found) include(name string) {
	if name != "" && len(f.Include) < maxInclude && !variable(name) {
		f.Include = append(f.Include, name)
	}
}

// lines numbers the lines of a file.
func lines(data []byte) iter.Seq2[int, string] {
	data = bytes.TrimPrefix(data[:min(len(data), MaxBytes)], []byte("\xef\xbb\xbf"))
	return func(yield func(int, string) bool) {
		n := 0
		for l := range bytes.Lines(data) {
			if n++; n > maxLines || len(l) <= maxLine && !yield(n, strings.TrimRight(string(l), "\r\n")) {
				return
			}
		}
	}
}

// number reads a port, or a range of them: "80", "8000-8010". What is neither is
// given back as bad.
func number(s string) (first, last uint16, bad string) {
	low, high, ranged := strings.Cut(s, "-")
	a, err := strconv.ParseUint(low, 10, 16)
	b := a
	if err == nil && ranged {
		b, err = strconv.ParseUint(high, 10, 16)
	}
	switch {
	case err != nil || a == 0 || b < a:
		return 0, 0, clip(s, maxValue)
	case b > a:
		return uint16(a), uint16(b), ""
	}
	return uint16(a), 0, ""
}

// endpoint takes an address, a port or both apart: "80", ":80", "*:80",
// "127.0.0.1:80", "[::]:80", "name:80", "127.0.0.1", "[::1]", "::1", "name". any
// is what * stands for.
func endpoint(s string, any netip.Addr) (l facts.ConfigLine, port string) {
	if digits(s) {
		return l, s
	}
	host := s
	switch i := strings.LastIndexByte(s, ':'); {
	case strings.HasPrefix(s, "["):
		var ok bool
		if host, port, ok = strings.Cut(s[1:], "]"); ok {
			port = strings.TrimPrefix(port, ":")
		}
	case i >= 0 && (strings.IndexByte(s, ':') == i):
		host, port = s[:i], s[i+1:]
	}
	return where(host, any), port
}

// where reads the address at which a server listens.
func where(host string, any netip.Addr) (l facts.ConfigLine) {
	if host == "" {
		return l
	}
	if host == "*" {
		l.Addr = any
		return l
	}
	if a, err := netip.ParseAddr(host); err == nil {
		l.Addr = a.WithZone("")
		return l
	}
	l.Host = host
	return l
}

var all4, all6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// variable tells whether somebody else fills the value in.
func variable(s string) bool {
	return strings.ContainsAny(s, "$`%") || strings.Contains(s, "{{") || strings.HasPrefix(s, "{") || strings.HasPrefix(s, "<")
}

// quote makes one line of text out of a line of a file: without its secrets and
// its control characters, and not too long.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return clip(process.Mask([]string{"", strings.Join(strings.Fields(s), " ")})[1], maxText)
}

func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// unquote takes the quotes off a value.
func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

// split takes "name value" or "name = value" apart; the name is in lower case.
func split(s string) (name, value string) {
	s = strings.TrimSpace(s)
	i := strings.IndexAny(s, " \t=")
	if i < 0 {
		return strings.ToLower(s), ""
	}
	value = strings.TrimSpace(s[i:])
	if strings.HasPrefix(value, "=") {
		value = strings.TrimSpace(value[1:])
	}
	return strings.ToLower(s[:i]), value
}

// uncomment cuts a comment off that begins with mark outside of quotes.
func uncomment(s string, mark byte) string {
	var in byte
	for i := range len(s) {
		switch c := s[i]; {
		case in != 0:
			if c == in {
				in = 0
			}
		case c == '"' || c == '\'':
			in = c
		case c == mark && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t'):
			return s[:i]
		}
	}
	return s
}

func oneOf(s string, words ...string) bool { return slices.Contains(words, s) }
