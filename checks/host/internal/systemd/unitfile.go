// Package systemd reads unit files and asks a manager for the state of units.
// It starts, stops and loads nothing, and runs no program.
package systemd

import (
	"bufio"
	"bytes"
	"path"
	"slices"
	"strings"
)

// How much is read: the largest unit file that a distribution ships is below
// 8 KiB, and a desktop has about 400 of them.
const (
	maxFile  = 64 << 10
	maxFiles = 2000
)

// Unit is a unit file and its drop-ins, merged.
type Unit struct {
	Name     string
	File     string
	Masked   bool // a link to /dev/null, or empty
	Settings []Setting
}

// Setting is one assignment.
type Setting struct {
	Section, Key, Value string
}

// Parse reads a unit file as systemd.syntax(7) describes it:
//
//	[Service]
//	ExecStart=/usr/bin/app \
//	    --port=62893
//
// What is no assignment is passed over.
func Parse(data []byte) []Setting {
	var all []Setting
	section, line, joined := "", "", false
	scan := bufio.NewScanner(bytes.NewReader(data))
	scan.Buffer(nil, maxFile+1)
	for scan.Scan() {
		text := strings.TrimSpace(strings.ToValidUTF8(scan.Text(), "\uFFFD"))
		if strings.HasPrefix(text, "#") || strings.HasPrefix(text, ";") {
			continue // also between joined lines
		}
		if joined {
			text = line + " " + text
		}
		if line, joined = strings.CutSuffix(text, `\`); joined {
			continue
		}
		if name, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(name, "]") {
			section = strings.TrimSuffix(name, "]")
			continue
		}
		if key, value, ok := strings.Cut(text, "="); ok {
			all = append(all, Setting{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return all
}

// Values returns what a key that may be given several times is set to. An empty
// value drops those before it.
func (u Unit) Values(section, key string) []string {
	var values []string
	for _, s := range u.Settings {
		switch {
		case s.Section != section || s.Key != key:
		case s.Value == "":
			values = nil
		default:
			values = append(values, s.Value)
		}
	}
	return values
}

// value is what a key is set to last.
func (u Unit) value(section, key string) string {
	if values := u.Values(section, key); len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// Kind is "service" or "socket".
func (u Unit) Kind() string { return strings.TrimPrefix(path.Ext(u.Name), ".") }

// Triggers is the service that a socket unit starts; empty for one that starts a
// new one for each connection.
func (u Unit) Triggers() string {
	if u.Kind() != "socket" || slices.Contains([]string{"yes", "true", "on", "1"}, strings.ToLower(u.value("Socket", "Accept"))) {
		return ""
	}
	if s := u.value("Socket", "Service"); s != "" {
		return s
	}
	return strings.TrimSuffix(u.Name, ".socket") + ".service"
}

// split cuts a command line or a list of assignments at white space, outside of
// quotes.
func split(s string) []string {
	var words []string
	var word strings.Builder
	quote, any := rune(0), false
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, any = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if word.Len() > 0 || any {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
		}
	}
	if word.Len() > 0 || any {
		words = append(words, word.String())
	}
	return words
}
