package config

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// serverPorts are the variables that name the port of the server itself. Every
// other *_PORT is most often that of something it connects to.
var serverPorts = []string{"PORT", "APP_PORT", "SERVER_PORT", "HTTP_PORT", "LISTEN_PORT", "DEV_PORT", "FLASK_RUN_PORT", "NUXT_PORT", "NITRO_PORT", "UVICORN_PORT", "ASPNETCORE_HTTP_PORTS"}

var serverHosts = []string{"HOST", "BIND", "SERVER_HOST", "LISTEN_ADDRESS", "BIND_ADDRESS", "FLASK_RUN_HOST", "NUXT_HOST", "NITRO_HOST", "UVICORN_HOST"}

// ParseEnv reads a .env file:
//
//	export PORT="3001" # of the API
func ParseEnv(data []byte) Found {
	var f Found
	for n, line := range lines(data) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || name[0] == '#' {
			continue
		}
		if v := strings.TrimSpace(value); v == "" || v[0] != '"' && v[0] != '\'' {
			value = uncomment(" "+value, '#')
		} else if end := strings.IndexByte(v[1:], v[0]); end >= 0 {
			value = v[:end+2]
		}
		written := strings.TrimSpace(value)
		if value = unquote(written); strings.TrimSpace(value) != "" {
			envLine(&f, n, name+"="+written, name, value)
		}
	}
	return f
}

func envLine(f *Found, n int, text, name, value string) {
	switch {
	case oneOf(name, serverPorts...):
		envPort(f, Env, n, text, value)
	case strings.HasSuffix(name, "_PORT") || name == "PGPORT":
		if digits(value) {
			f.add(Env, n, text, facts.ConfigLine{Upstr: true}, value)
		}
	case oneOf(name, serverHosts...):
		if path, ok := strings.CutPrefix(value, "unix:"); ok || strings.HasPrefix(value, "/") {
			f.add(Env, n, text, facts.ConfigLine{Unix: path}, "")
			return
		}
		if l, port := endpoint(value, all4); !strings.ContainsAny(value, "/ ") {
			f.add(Env, n, text, l, port)
		}
	// Whatever the variable is called, a URL tells where something is: VITE_API,
	// CORS_ORIGIN.
	case strings.Contains(value, "://"):
		u, err := url.Parse(value)
		if err != nil || u.Port() == "" {
			return
		}
		l := where(u.Hostname(), all4)
		l.Upstr = true
		// What else is in it may be a secret: the key of a service, the path of a hook.
		f.add(Env, n, name+"="+u.Scheme+"://"+u.Host, l, u.Port())
	}
}

// envPort reads the value of PORT. A path in it makes many servers listen on a
// UNIX socket; 0 asks for any port that is free.
func envPort(f *Found, program string, n int, text, value string) {
	switch {
	case value == "0":
	case strings.HasPrefix(value, "/") || strings.HasPrefix(value, "./"):
		f.add(program, n, text, facts.ConfigLine{Unix: value}, "")
	case strings.HasPrefix(value, "tcp://"): // of a linked container
	default:
		f.add(program, n, text, facts.ConfigLine{}, value)
	}
}

// ParsePackage reads the scripts of a package.json:
//
//	"scripts": { "dev": "PORT=3001 vite --port 3001 --host 127.0.0.1" }
func ParsePackage(data []byte) Found {
	var f Found
	data = data[:min(len(data), MaxBytes)]
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return f
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return f
		}
		var raw json.RawMessage
		if key != "scripts" {
			if d.Decode(&raw) != nil {
				return f
			}
			continue
		}
		if t, err := d.Token(); err != nil || t != json.Delim('{') {
			return f
		}
		n, counted := 1, int64(0)
		for d.More() && len(f.Lines) < maxFound {
			name, err := d.Token()
			if err != nil {
				return f
			}
			n += bytes.Count(data[counted:d.InputOffset()], []byte("\n"))
			counted = d.InputOffset()
			var script string
			if err := d.Decode(&script); err != nil {
				return f
			}
			if key, ok := name.(string); ok && len(script) <= maxLine {
				scriptLine(&f, n, key, script)
			}
		}
		return f
	}
	return f
}

// assigned is a variable that a script sets.
var assigned = regexp.MustCompile(`\b[A-Z_][A-Z0-9_]*=("[^"]*"|'[^']*'|[^\s"']*)`)

// keepServers hides what is no concern of a server's address: it may be a secret.
func keepServers(assignment string) string {
	name, _, _ := strings.Cut(assignment, "=")
	if oneOf(name, serverPorts...) || oneOf(name, serverHosts...) || name == "NODE_ENV" {
		return assignment
	}
	return name + "=***"
}

// scriptLine reads a command line. A shell's && begins another one, and with it
// another program.
func scriptLine(f *Found, n int, name, script string) {
	text := sync.OnceValue(func() string { // most scripts are of no interest
		return `"` + clip(name, maxValue) + `": "` + quote(assigned.ReplaceAllStringFunc(clip(script, 4*maxText), keepServers)) + `"`
	})
	words := strings.FieldsFunc(script, func(r rune) bool { return strings.ContainsRune(" \t\n\"'", r) })
	program := ""
	var host facts.ConfigLine
	port := ""
	done := func() {
		if port != "" {
			envPort(f, Package, n, text(), port)
			if k := len(f.Lines) - 1; k >= 0 && f.Lines[k].Line == n {
				f.Lines[k].Addr, f.Lines[k].Host = host.Addr, host.Host
			}
		}
		program, port, host = "", "", facts.ConfigLine{}
	}
	for i, w := range words {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		flag, value, joined := strings.Cut(w, "=")
		if !joined {
			value = next
		}
		switch {
		case oneOf(w, "&&", "||", ";", "&", "|"):
			done()
		case flag == "PORT" && joined, flag == "--port" && value != "" && !strings.HasPrefix(value, "-"):
			port = strings.TrimSuffix(value, ";")
		case flag == "-p" && !joined && digits(value) && !oneOf(program, "mkdir", "tsc", "docker", "ssh", "psql", "mysql", "redis-cli", "npx", "kill-port"):
			port = value
		case oneOf(flag, "--host", "--hostname", "-H") && value != "" && !strings.HasPrefix(value, "-"):
			host = where(value, all4)
		case program == "" && !joined && !oneOf(w, "cross-env", "env", "exec", "set", "export", "sudo"):
			program = w
		}
	}
	done()
}

// ParseVite reads server.port and server.host of a vite.config.js, .ts or .mjs. It
// knows no JavaScript: it finds the object that is called server, and in it the
// values that are literal.
//
//	server: { host: '127.0.0.1', port: 5174, strictPort: true },
func ParseVite(data []byte) Found {
	var f Found
	words := scriptWords(data)
	var names []string // of the objects that are open
	for i, w := range words {
		switch w.text {
		case "{", "[", "(":
			name := ""
			if i >= 2 && words[i-1].text == ":" {
				name = words[i-2].text
			}
			if names = append(names, name); len(names) > maxNesting {
				return f
			}
			continue
		case "}", "]", ")":
			names = names[:max(0, len(names)-1)]
			continue
		}
		last := len(names) - 1
		if last < 0 || names[last] != "server" || slices.ContainsFunc(names[:last], func(s string) bool { return s != "" }) {
			continue // preview, hmr and test have ports of their own
		}
		if i+3 >= len(words) || words[i+1].text != ":" || !oneOf(words[i+3].text, ",", "}") {
			continue // the value is more than one word: it is computed
		}
		value := words[i+2]
		text := w.text + ": " + value.text
		switch {
		case w.text == "port" && digits(value.text):
			f.add(Vite, w.line, text, facts.ConfigLine{}, value.text)
		case w.text == "host" && value.text == "true":
			f.add(Vite, w.line, text, facts.ConfigLine{Addr: all6}, "")
		case w.text == "host" && value.quoted && value.text != "":
			f.add(Vite, w.line, "host: '"+value.text+"'", where(value.text, all4), "")
		}
	}
	return f
}

type scriptWord struct {
	line   int
	text   string
	quoted bool
}

// scriptWords splits JavaScript into names, numbers, strings and signs. What
// looks like a regular expression or a template is passed over well enough.
func scriptWords(data []byte) []scriptWord {
	var words []scriptWord
	data = data[:min(len(data), MaxBytes)]
	line := 1
	for i := 0; i < len(data) && len(words) < 10*maxLines; {
		c := data[i]
		switch {
		case c == '\n':
			line++
			i++
		case c <= ' ':
			i++
		case bytes.HasPrefix(data[i:], []byte("//")):
			for i < len(data) && data[i] != '\n' {
				i++
			}
		case bytes.HasPrefix(data[i:], []byte("/*")):
			end := bytes.Index(data[i+2:], []byte("*/"))
			if end < 0 {
				return words
			}
			line += bytes.Count(data[i:i+end+4], []byte("\n"))
			i += end + 4
		case c == '"' || c == '\'' || c == '`':
			from, began := i+1, line
			for i++; i < len(data) && data[i] != c; i++ {
				if data[i] == '\\' {
					i++
				}
				if i < len(data) && data[i] == '\n' {
					line++
				}
			}
			words = append(words, scriptWord{began, clip(string(data[min(from, len(data)):min(i, len(data))]), maxText), true})
			i++
		case nameByte(c):
			from := i
			for i < len(data) && nameByte(data[i]) {
				i++
			}
			words = append(words, scriptWord{line, clip(string(data[from:i]), maxText), false})
		default:
			words = append(words, scriptWord{line, string(rune(c)), false})
			i++
		}
	}
	return words
}

func nameByte(c byte) bool {
	return c == '_' || c == '$' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}
