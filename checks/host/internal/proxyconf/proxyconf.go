// Package proxyconf reads where programs are told to use a proxy: one function for
// each format. It keeps those settings and nothing else of a file, and refuses to
// open files and to judge. Secrets are for the caller to mask.
package proxyconf

import (
	"bytes"
	"encoding/json"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What is read of a file, and kept.
const (
	MaxBytes = 256 << 10
	maxLine  = 4096
	maxFound = 50
)

// Format is how a file is read.
type Format func(data []byte) []facts.ProxySetting

// lines are the lines with something in them, numbered from 1.
func lines(data []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range bytes.Lines(data[:min(len(data), MaxBytes)]) {
			n++
			text := strings.TrimSpace(strings.ToValidUTF8(string(line[:min(len(line), maxLine)]), "�"))
			if text != "" && len(line) <= maxLine && !yield(n, text) {
				return
			}
		}
	}
}

// keyed reads lines of keys and values: key=value, and key value where blank is.
// A key is compared in lower case; sections stand in brackets.
type keyed struct {
	program  string
	comments string // characters with which a comment begins
	blank    bool   // white space or a colon may stand for the =
	keys     []string
	name     func(section, key string) string // what the setting is called; empty: it is another one
}

func (k keyed) read(data []byte) []facts.ProxySetting {
	var out []facts.ProxySetting
	section := ""
	for n, line := range lines(data) {
		if strings.ContainsRune(k.comments, rune(line[0])) {
			continue
		}
		if line[0] == '[' {
			name, rest, ok := strings.Cut(line[1:], "]")
			section = name
			if line = strings.TrimSpace(rest); !ok || line == "" { // git takes a key behind it
				continue
			}
		}
		at := strings.IndexByte(line, '=')
		if k.blank {
			at = strings.IndexAny(line, "=: \t")
		}
		if at < 0 {
			continue
		}
		key := strings.ToLower(strings.TrimSpace(line[:at]))
		value := strings.TrimSpace(line[at+1:])
		if k.blank {
			value = strings.TrimLeft(value, "=: \t")
		}
		name := key
		if k.name != nil {
			name = k.name(section, key)
		}
		if k.keys != nil && !slices.Contains(k.keys, name) || name == "" || len(out) == maxFound {
			continue
		}
		out = append(out, facts.ProxySetting{Program: k.program, Name: name, Value: unquote(value), Line: n})
	}
	return out
}

// unquote takes the quotes off. What stands behind the closing one is dropped.
func unquote(s string) string {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		if i := strings.IndexByte(s[1:], s[0]); i >= 0 {
			return s[1 : i+1]
		}
	}
	return s
}

// Curl reads a .curlrc: proxy = "http://127.0.0.1:3128", -x 127.0.0.1:3128.
func Curl(data []byte) []facts.ProxySetting {
	short := map[string]string{"-x": "proxy", "x": "proxy"}
	return keyed{program: "curl", comments: "#", blank: true, keys: []string{"proxy", "noproxy"}, name: func(_, key string) string {
		if s, ok := short[key]; ok {
			return s
		}
		return strings.TrimLeft(key, "-")
	}}.read(data)
}

// Git reads a gitconfig: [http] proxy = …, [http "http://localhost:3000"] proxy = ….
// Files that it includes are not read.
func Git(data []byte) []facts.ProxySetting {
	return keyed{program: "git", comments: "#;", name: func(section, key string) string {
		head, url, _ := strings.Cut(section, " ")
		if !strings.EqualFold(head, "http") || key != "proxy" {
			return ""
		}
		if url = unquote(strings.TrimSpace(url)); url == "" {
			return "http.proxy"
		}
		return "http." + url + ".proxy"
	}}.read(data)
}

// NPM reads an npmrc: proxy=…, https-proxy=…, noproxy=….
func NPM(data []byte) []facts.ProxySetting {
	return keyed{program: "npm", comments: "#;", keys: []string{"proxy", "http-proxy", "https-proxy", "noproxy"}}.read(data)
}

// Wget reads a wgetrc, in which - and _ mean the same: use_proxy = on.
func Wget(data []byte) []facts.ProxySetting {
	return keyed{program: "wget", comments: "#", keys: []string{"http_proxy", "https_proxy", "no_proxy", "use_proxy"},
		name: func(_, key string) string { return strings.ReplaceAll(key, "-", "_") }}.read(data)
}

// Pip reads a pip.conf: [global] proxy = ….
func Pip(data []byte) []facts.ProxySetting {
	return keyed{program: "pip", comments: "#;", keys: []string{"proxy"}}.read(data)
}

// Docker reads a config.json: what it puts into the environment of containers.
func Docker(data []byte) []facts.ProxySetting {
	var c struct {
		Proxies map[string]map[string]string `json:"proxies"`
	}
	if len(data) > MaxBytes || json.Unmarshal(data, &c) != nil {
		return nil
	}
	var out []facts.ProxySetting
	for _, name := range []string{"httpProxy", "httpsProxy", "noProxy"} {
		if v := c.Proxies["default"][name]; v != "" {
			out = append(out, facts.ProxySetting{Program: "docker", Name: name, Value: v})
		}
	}
	return out
}

// KDE reads a kioslaverc. Its type is 0 none, 1 by hand, 2 a PAC file, 3 WPAD, 4 the
// variables (kprotocolmanager.h).
func KDE(data []byte) []facts.ProxySetting {
	return keyed{program: "KDE", comments: "#", name: func(section, key string) string {
		if section != "Proxy Settings" {
			return ""
		}
		return map[string]string{"proxytype": "mode", "httpproxy": "http", "httpsproxy": "https", "socksproxy": "socks", "noproxyfor": "ignore-hosts",
			"reversedexception": "reversed", "proxy config script": "autoconfig-url"}[key]
	}}.read(data)
}

// DConf reads a keyfile of /etc/dconf/db: [system/proxy] mode='manual'.
func DConf(data []byte) []facts.ProxySetting {
	return keyed{program: "GNOME", comments: "#", name: func(section, key string) string {
		return gnomeName(strings.Trim(section, "/") + "/" + key)
	}}.read(data)
}

// gnomeName is the name of a setting below /system/proxy.
func gnomeName(key string) string {
	name, ok := strings.CutPrefix(key, "system/proxy/")
	if !ok {
		return ""
	}
	switch name {
	case "mode", "autoconfig-url", "ignore-hosts":
		return name
	}
	if scheme, what, ok := strings.Cut(name, "/"); ok && slices.Contains([]string{"http", "https", "socks"}, scheme) && (what == "host" || what == "port") {
		return scheme + "-" + what
	}
	return ""
}

// assignment is how a variable is set in a shell, in fish, in environment(5), and in
// a unit: export http_proxy=…, set -x http_proxy …, Environment="HTTP_PROXY=…".
var assignment = regexp.MustCompile(`(?i)(?:^|[\s"';])((?:https?|all|no|ftp)_proxy)(?:\s*=\s*|\s+)("[^"]*"|'[^']*'|[^\s;"']*)`)

// Variables reads a file that sets variables.
func Variables(data []byte) []facts.ProxySetting {
	var out []facts.ProxySetting
	for n, line := range lines(data) {
		if line[0] == '#' {
			continue
		}
		for _, m := range assignment.FindAllStringSubmatch(line, maxFound) {
			if before, _, _ := strings.Cut(line, m[0]); strings.Contains(before, "unset") || len(out) == maxFound {
				continue
			}
			out = append(out, facts.ProxySetting{Program: "shell", Name: m[1], Value: unquote(m[2]), Line: n})
		}
	}
	return out
}

// Proxychains reads a proxychains.conf: its localnet lines, and below [ProxyList] the
// type, address and port of each proxy, without user and password.
func Proxychains(data []byte) []facts.ProxySetting {
	var out []facts.ProxySetting
	for n, line := range lines(data) {
		f := strings.Fields(line)
		switch {
		case line[0] == '#' || line[0] == '[' || len(out) == maxFound:
		case f[0] == "localnet" && len(f) > 1:
			out = append(out, facts.ProxySetting{Program: "proxychains", Name: "localnet", Value: f[1], Line: n})
		case len(f) > 2 && slices.Contains([]string{"socks4", "socks5", "http", "raw"}, f[0]):
			out = append(out, facts.ProxySetting{Program: "proxychains", Name: "proxy", Value: f[0] + "://" + host(f[1]) + ":" + f[2], Line: n})
		}
	}
	return out
}

func host(s string) string {
	if strings.Contains(s, ":") {
		return "[" + s + "]"
	}
	return s
}

// Torsocks reads a torsocks.conf: AllowOutboundLocalhost 1.
func Torsocks(data []byte) []facts.ProxySetting {
	return keyed{program: "torsocks", comments: "#", blank: true, keys: []string{"allowoutboundlocalhost", "toraddress", "torport"}}.read(data)
}

// Tsocks reads a tsocks.conf: local = 127.0.0.0/255.0.0.0.
func Tsocks(data []byte) []facts.ProxySetting {
	return keyed{program: "tsocks", comments: "#", keys: []string{"local", "server", "server_port"}}.read(data)
}
