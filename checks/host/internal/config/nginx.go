package config

import (
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// ParseNginx reads nginx.conf and what it includes:
//
//	listen [::]:80 default_server ipv6only=on;
//
// https://nginx.org/en/docs/http/ngx_http_core_module.html#listen
func ParseNginx(data []byte) Found {
	var f Found
	for n, s := range nginxStatements(data) {
		switch {
		case s.end != ';' || len(s.words) < 2:
		case s.words[0] == "include":
			f.include(s.words[1])
		case s.words[0] == "listen":
			nginxListen(&f, n, s.words)
		}
	}
	return f
}

func nginxListen(f *Found, n int, words []string) {
	text := strings.Join(words, " ") + ";"
	if path, ok := strings.CutPrefix(words[1], "unix:"); ok {
		f.add(Nginx, n, text, facts.ConfigLine{Unix: path}, "")
		return
	}
	l, port := endpoint(words[1], all4)
	if port == "" {
		port = "80"
	}
	if l.Addr == (netip.Addr{}) && l.Host == "" {
		l.Addr = all4 // a port alone is IPv4
	}
	for _, w := range words[2:] {
		if v, ok := strings.CutPrefix(w, "ipv6only="); ok {
			only := v == "on"
			l.V6Only = &only
		}
		l.UDP = l.UDP || oneOf(w, "udp", "quic")
	}
	f.add(Nginx, n, text, l, port)
}

// nginxStatement is the words before a semicolon, before the brace that opens a
// block, or before the one that closes it (none, in a correct file).
type nginxStatement struct {
	words []string
	end   rune
}

// nginxStatements yields each statement, and the line on which it begins; of a
// closing brace its own.
func nginxStatements(data []byte) func(yield func(int, nginxStatement) bool) {
	return func(yield func(int, nginxStatement) bool) {
		var words []string
		var word strings.Builder
		var in rune
		began, depth, inWord := 0, 0, false
		end := func() {
			if inWord && len(words) < 32 {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		}
		for n, line := range lines(data) {
			escaped := false
			for i, c := range line {
				switch {
				case escaped:
					word.WriteRune(c)
					escaped = false
					continue
				case in != 0:
					switch c {
					case in:
						in = 0
					case '\\':
						escaped = true
					default:
						word.WriteRune(c)
					}
					continue
				case c == '\\':
					escaped = true
				case c == '#' && !inWord:
					line = line[:i]
				}
				if i >= len(line) {
					break
				}
				switch c {
				case ' ', '\t':
					end()
				case ';', '{', '}':
					end()
					if began == 0 {
						began = n
					}
					if (c != ';' || len(words) > 0) && !yield(began, nginxStatement{words, c}) {
						return
					}
					if c == '{' {
						depth++
					}
					if depth > maxNesting {
						return
					}
					if c == '}' {
						depth = max(0, depth-1)
					}
					words, began = nil, 0
				default:
					if began == 0 {
						began = n
					}
					inWord = true
					if c == '"' || c == '\'' {
						in = c
					} else if c != '\\' {
						word.WriteRune(c)
					}
				}
				if word.Len() > maxLine {
					return
				}
			}
			if in == 0 {
				end()
			}
		}
	}
}
