package redact

import (
	"regexp"
	"strings"
	"sync"
)

// userFields are words behind which a user's name stands.
var userFields = lazySet(`user username user_name logname sudo_user role owner login --login --username`)

// hostFields are words behind which the name of a host stands.
var hostFields = lazySet(`host hostname --host --hostname`)

// homes are directories in which each user has one of that name.
var homes = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:[/\\]homes?\d*|[/\\]users|%2fhome|%2fusers|/var/mail|/var/spool/mail|/media|/crontabs|/linger|documents and settings)(?:[/\\]+|%2f)$`)
})

// ofUnit tells whether what follows makes a word the name of a unit: shop.service.
func ofUnit(after string) bool {
	rest, ok := strings.CutPrefix(after, ".")
	if !ok {
		return false
	}
	n := 0
	for n < len(rest) && wordByte(rest[n]) {
		n++
	}
	return unitTypes()[strings.ToLower(rest[:n])]
}

// userFlag is the end of a command line that takes a user's name next.
var userFlag = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:\b(?:sudo|su|runuser|doas|docker|podman|mysql\w*|mariadb|psql|pg_\w+|createdb|mongosh|ssh|scp|sftp)\b[^;|&\n]*\s(?:-u ?|-l ?|--user |--login )|--user=)["']?$`)
})

// userPlace tells whether the place of s[i:j] says that it is a user: below the directory
// of homes, behind a tilde or a word for it, before an @ or a URL's password.
func userPlace(s string, i, j int) bool {
	before, after := strings.ToLower(s[max(i-64, 0):i]), s[j:]
	if ofUnit(after) {
		return false
	}
	if strings.HasSuffix(before, "~") || len(after) > 1 && after[0] == '@' && (wordByte(after[1]) || after[1] == '[' || after[1] == '\'') || strings.HasPrefix(after, "'@'") {
		return true
	}
	if strings.HasSuffix(before, "//") {
		return after != "" && after[0] == ':' && strings.Contains(after[:min(len(after), 128)], "@")
	}
	if strings.HasSuffix(before, "/") || strings.HasSuffix(before, `\`) || strings.HasSuffix(before, "%2f") {
		return homes().MatchString(before)
	}
	return field(before, userFields()) || userFlag().MatchString(before)
}

// hostPlace tells whether the place of s[i:j] says that it is a host of one word: in a
// URL, behind an @ or a word for it. Dotted names are found as such.
func hostPlace(s string, i, j int) bool {
	before, after := strings.ToLower(s[max(i-64, 0):i]), s[j:]
	if len(after) > 1 && after[0] == '.' && wordAt(after, 1) > 0 {
		return false
	}
	if b := strings.TrimSuffix(before, "//"); b != before {
		end := strings.IndexAny(after, "/@ \"'")
		return (b == "" || strings.IndexByte(": \t\"'=(,", b[len(b)-1]) >= 0) && (end < 0 || after[end] != '@')
	}
	if n := len(before); n > 1 && before[n-1] == '@' && (wordByte(before[n-2]) || strings.IndexByte("._-'\"", before[n-2]) >= 0) {
		return !ofUnit(after)
	}
	return field(before, hostFields())
}

// field tells whether a text, in lower case, ends with one of the words and what says
// that its value follows: = or : or a quote, or a space behind a flag.
func field(before string, words map[string]bool) bool {
	head := strings.TrimRight(before, ` "'=:(\`)
	gap := before[len(head):]
	if gap == "" {
		return false
	}
	k := len(head)
	for k > 0 && (wordByte(head[k-1]) || head[k-1] == '_' || head[k-1] == '-') {
		k--
	}
	name := head[k:]
	if !words[name] { // db_user=
		name = name[strings.LastIndexByte(name, '_')+1:]
	}
	return words[name] && (strings.ContainsAny(gap, `"'=:`) || head[k] == '-')
}
