package host

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What the files of a server say, its log and its access lists. Parsers only.

const tellingMost = 3

var (
	// 127.0.0.1 - - [29/Nov/2026:09:00:00 +0000] "GET / HTTP/1.1" 500 145
	accessLog = regexp.MustCompile(`"(?:GET|HEAD|POST|OPTIONS|PUT|DELETE|PATCH) [^"]*" \d{3}\b`)
	troubled  = regexp.MustCompile(`(?i)(?:^|[^a-z])(?:error|exception|fatal|panic|crit|critical|emerg|alert|denied|forbidden|refused|invalid|disallowed|blocked|rejects|failed|failure|timed out|not allowed)(?:[^a-z]|$)|\w(?:Error|Exception): `)
)

// tellingLines picks what a log says of an error, the last of it: neither the lines of
// an access log nor the frames of a stack trace, but what stands at its end.
func tellingLines(data []byte) []string {
	var lines []string
	last, inTrace := "", false
	for b := range bytes.Lines(data) {
		b = bytes.TrimRight(b[:min(len(b), 4096)], "\r\n")
		line := string(bytes.TrimSpace(b))
		switch {
		case line == "", accessLog.MatchString(line) && !strings.Contains(line, "[error]"):
		case strings.HasPrefix(line, "Traceback ("):
			inTrace = true
		case b[0] == ' ' || b[0] == '\t': // a frame, or a line of source
		case inTrace || troubled.MatchString(line):
			lines, inTrace = append(lines, line), false
		default:
			last = line
		}
	}
	if len(lines) == 0 && last != "" {
		return []string{last}
	}
	return slices.Compact(lines[max(0, len(lines)-tellingMost):])
}

// deniedBy lists the lines of hosts.deny that keep a client from the address away from
// a server, as hosts_access(5) has it: what hosts.allow allows is not denied.
func deniedBy(allow, deny []byte, daemon string, client netip.Addr) []facts.AccessLine {
	if len(wrapLines("/etc/hosts.allow", allow, daemon, client)) > 0 {
		return nil
	}
	return wrapLines("/etc/hosts.deny", deny, daemon, client)
}

// wrapLines finds the first line that matches: "sshd, vsftpd : ALL EXCEPT 127.0.0.1 : deny".
func wrapLines(name string, data []byte, daemon string, client netip.Addr) []facts.AccessLine {
	text := strings.ReplaceAll(string(data[:min(len(data), 64<<10)]), "\\\n", " ")
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		daemons, clients, ok := cutColon(line)
		if !ok {
			continue
		}
		clients, _, _ = cutColon(clients)
		if matches(daemons, func(p string) bool { return p == "ALL" || p == daemon }) && matches(clients, func(p string) bool { return isClient(p, client) }) {
			return []facts.AccessLine{{From: name + ":" + strconv.Itoa(n), Text: line}}
		}
	}
	return nil
}

// cutColon cuts at the first colon that is not inside the brackets of an address.
func cutColon(s string) (before, after string, found bool) {
	depth := 0
	for i, r := range s {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ':' && depth == 0:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// matches tells whether a list matches: "a b EXCEPT c EXCEPT d" is a b, but not (c, but
// not d).
func matches(list string, one func(string) bool) bool {
	words := strings.FieldsFunc(list, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
	if i := slices.Index(words, "EXCEPT"); i >= 0 {
		return slices.ContainsFunc(words[:i], one) && !matches(strings.Join(words[i+1:], " "), one)
	}
	return slices.ContainsFunc(words, one)
}

// isClient tells whether a pattern is about a client at the address. Names are those
// that loopback has; what a name server would say is not asked.
func isClient(pattern string, client netip.Addr) bool {
	if pattern == "ALL" || client.IsLoopback() && (pattern == "localhost" || pattern == "LOCAL" || pattern == "KNOWN") {
		return true
	}
	if strings.HasSuffix(pattern, ".") {
		return strings.HasPrefix(client.String(), pattern)
	}
	address, size, net := strings.Cut(pattern, "/")
	a, err := netip.ParseAddr(strings.Trim(address, "[]"))
	if err != nil {
		return false
	}
	if !net {
		return a == client
	}
	bits, err := strconv.Atoi(strings.Trim(size, "[]"))
	if m, err2 := netip.ParseAddr(size); err2 == nil && m.Is4() { // 127.0.0.0/255.0.0.0
		bits, err = 0, nil
		for _, b := range m.As4() {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
	}
	return err == nil && bits >= 0 && bits <= a.BitLen() && netip.PrefixFrom(a, bits).Contains(client)
}
