package forward

import (
	"fmt"
	"path"
	"strings"
)

// Session is what an ssh client was told.
type Session struct {
	Host     string // as written: an alias, perhaps
	HostName string // what the configuration has in its place
	User     string
	Port     string
	Family   string // "4" or "6": it uses that one only
	Jumps    bool   // by way of another machine
	Config   string // -F
	Log      string // -E
	Strict   bool   // ExitOnForwardFailure
	Mux      bool   // it is a master, or speaks to one: another ssh process may hold its ports
	Ways     []Way
	Cleared  bool // ClearAllForwardings
}

// sshValues are the options that take a value; ssh(1).
const sshValues = "bcDEeFIiJLlmOopPQRSWw"

// SSH reads the command line of ssh, in all its spellings:
//
//	ssh -fNL 8080:localhost:80 -o LocalForward=[::1]:8081\ /run/app.sock ann@shop -p 2222
func SSH(args []string) Session {
	var s Session
	if len(args) > 0 && strings.HasPrefix(args[0], "ssh: ") { // the title of a master: "ssh: /home/ann/.ssh/cm-x [mux]"
		s.Mux = true
		return s
	}
	for i := 1; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			if s.Host == "" && i+1 < len(args) {
				s.host(args[i+1])
			}
			return s
		case !strings.HasPrefix(a, "-") || a == "-":
			if s.Host != "" {
				return s // the command
			}
			s.host(a)
			continue
		}
		for k := 1; k < len(a); k++ {
			c := a[k]
			if strings.IndexByte(sshValues, c) < 0 {
				s.Mux = s.Mux || c == 'M'
				if c == '4' || c == '6' {
					s.Family = string(c)
				}
				continue
			}
			at, text, value := i, a, a[k+1:]
			if value == "" {
				if i++; i >= len(args) {
					return s
				}
				value, text = args[i], a+" "+args[i]
			}
			s.option(c, value, argument(at), text)
			break
		}
	}
	return s
}

// host reads "ann@shop" and "ssh://ann@shop:2222".
func (s *Session) host(a string) {
	a, url := strings.CutPrefix(short(a), "ssh://")
	if i := strings.LastIndexByte(a, '@'); i >= 0 {
		s.User, a = a[:i], a[i+1:]
	}
	if url {
		a, _, _ = strings.Cut(a, "/")
		if h, p := hostPort(a); p != 0 {
			a, s.Port = h, a[strings.LastIndexByte(a, ':')+1:]
		}
	}
	s.Host = strings.Trim(a, "[]")
}

func (s *Session) option(c byte, value, from, text string) {
	switch c {
	case 'L', 'R', 'D', 'W':
		s.way("ssh -"+string(c), value, from, text)
	case 'J':
		s.Jumps = true
	case 'p':
		s.Port = short(value)
	case 'l':
		s.User = short(value)
	case 'F':
		s.Config = value
	case 'E':
		s.Log = value
	case 'S':
		s.Mux = s.Mux || value != "none"
	case 'o':
		key, value := keyValue(value)
		s.set(key, value, from, text)
	}
}

// set takes one line of configuration; the first one that says something counts.
func (s *Session) set(key, value, from, text string) {
	first := func(into *string) {
		if *into == "" {
			*into = short(value)
		}
	}
	switch key {
	case "localforward":
		s.way("ssh -L", strings.Join(strings.Fields(strings.ReplaceAll(value, `"`, "")), " "), from, text)
	case "dynamicforward":
		s.way("ssh -D", value, from, text)
	case "remoteforward":
		s.way("ssh -R", value, from, text)
	case "hostname":
		first(&s.HostName)
	case "proxyjump", "proxycommand":
		s.Jumps = s.Jumps || !strings.EqualFold(value, "none")
	case "addressfamily":
		if family := map[string]string{"inet": "4", "inet6": "6"}[strings.ToLower(value)]; s.Family == "" {
			s.Family = family
		}
	case "user":
		first(&s.User)
	case "port":
		first(&s.Port)
	case "exitonforwardfailure":
		s.Strict = s.Strict || strings.EqualFold(value, "yes")
	case "clearallforwardings":
		s.Cleared = s.Cleared || strings.EqualFold(value, "yes")
	case "controlpath", "controlmaster":
		s.Mux = s.Mux || !strings.EqualFold(value, "none") && !strings.EqualFold(value, "no")
	}
}

// way reads a forwarding specification.
func (s *Session) way(kind, spec, from, text string) {
	if len(s.Ways) >= maxWays || len(spec) > 4*maxWord {
		return
	}
	w := Way{Kind: kind, From: from, Text: text}
	// "8080 localhost:80" of LocalForward is "8080:localhost:80" of -L.
	parts := specification(strings.Replace(spec, " ", ":", 1))
	path := func(p string) bool { return strings.HasPrefix(p, "/") }
	switch kind {
	case "ssh -W":
		w.Host, w.To = hostPort(spec)
	case "ssh -D":
		switch len(parts) {
		case 1:
			w.Port = number(parts[0])
		case 2:
			w.Bind, w.Port = parts[0], number(parts[1])
		}
	default: // [bind:]port:host:hostport, [bind:]port:path, path:host:hostport, path:path
		n := len(parts)
		switch {
		case n == 2 && path(parts[0]) && path(parts[1]):
			w.Unix, w.ToUnix = parts[0], parts[1]
		case n == 2 && path(parts[1]):
			w.Port, w.ToUnix = number(parts[0]), parts[1]
		case n == 3 && path(parts[2]):
			w.Bind, w.Port, w.ToUnix = parts[0], number(parts[1]), parts[2]
		case n == 3 && path(parts[0]):
			w.Unix, w.Host, w.To = parts[0], parts[1], number(parts[2])
		case n == 3:
			w.Port, w.Host, w.To = number(parts[0]), parts[1], number(parts[2])
		case n == 4:
			w.Bind, w.Port, w.Host, w.To = parts[0], number(parts[1]), parts[2], number(parts[3])
			if w.Bind == "" { // ":8080:host:80" is every address
				w.Bind = "*"
			}
		case kind == "ssh -R" && n == 1:
			w.Port = number(parts[0])
		}
	}
	if w.Port != 0 || w.Unix != "" || w.To != 0 {
		s.Ways = append(s.Ways, w)
	}
}

// specification splits at colons or at slashes that stand for them, outside of
// brackets. A path takes the rest up to the next colon.
func specification(s string) []string {
	sep := byte(':')
	if slash, colon := strings.IndexByte(s, '/'), strings.IndexByte(s, ':'); slash > 0 && (colon < 0 || slash < colon) {
		sep = '/' // "8080/fe80::1/80", for IPv6
	}
	var parts []string
	start, in := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '[':
			in = true
		case s[i] == ']':
			in = false
		case s[i] == sep && !in && len(parts) < 8:
			parts = append(parts, strings.Trim(s[start:i], "[]"))
			start = i + 1
		}
	}
	return append(parts, strings.Trim(s[start:], "[]"))
}

// keyValue takes "Key value", "Key=value" and "Key = "value"" apart; the key is in
// lower case.
func keyValue(line string) (key, value string) {
	line = strings.TrimSpace(line)
	i := strings.IndexAny(line, " \t=")
	if i < 0 {
		return strings.ToLower(line), ""
	}
	value = strings.TrimLeft(line[i:], " \t")
	value = strings.TrimPrefix(value, "=")
	return strings.ToLower(line[:i]), strings.Trim(strings.TrimSpace(value), `"`)
}

// File is one file that was read.
type File struct {
	Name string
	Data []byte
}

// Configure adds what ssh_config(5) says of the host to what the arguments said. read
// gives what an Include means.
func (s *Session) Configure(f File, read func(pattern string) []File) { s.configure(f, read, 0) }

func (s *Session) configure(f File, read func(string) []File, depth int) {
	on := true
	for n, line := range strings.Split(string(f.Data), "\n") {
		if n >= maxLines {
			break
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value := keyValue(line)
		switch {
		case key == "host":
			on = hostMatches(value, s.Host)
		case key == "match": // what it asks for may be anything
			on = strings.EqualFold(value, "all")
		case !on:
		case key == "include" && depth < 4:
			for _, pattern := range strings.Fields(value) {
				for _, more := range read(pattern) {
					s.configure(more, read, depth+1)
				}
			}
		case key == "hostname":
			s.set(key, strings.ReplaceAll(value, "%h", s.Host), "", "")
		default:
			s.set(key, value, fmt.Sprintf("%s:%d", f.Name, n+1), line)
		}
	}
}

// hostMatches tells whether a Host line means the alias: any of its patterns, and
// none of those with an exclamation mark.
func hostMatches(patterns, alias string) bool {
	on := false
	for _, p := range strings.Fields(patterns) {
		p = strings.Trim(p, `"`)
		p, not := strings.CutPrefix(p, "!")
		if ok, err := path.Match(strings.ReplaceAll(p, "/", "_"), strings.ReplaceAll(alias, "/", "_")); err == nil && ok {
			if not {
				return false
			}
			on = true
		}
	}
	return on
}
