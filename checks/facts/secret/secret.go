// Package secret finds secrets in command lines, variables and lines of text: by the
// names before them, by the place in which they stand, and by their own shape. It
// refuses to guess: a word that nothing marks as a secret is none. Its time is that of
// one walk over the text, whatever the text is.
package secret

import (
	"slices"
	"strings"
)

// Hidden stands for a secret.
const Hidden = "***"

// Mask returns the command line with its secrets replaced by ***: values of
// flags and variables with a name like password, token, secret or api-key,
// passwords in URLs, authorization headers, tokens of known shapes, and the short
// flags of programs that take a password (see flagsOf). It masks rather too much
// than too little; the argument is not changed.
func Mask(args []string) []string {
	return Replace(args, func(string) string { return Hidden })
}

// Replace is Mask with another word for each secret: with is told what stands there
// (quotes, and a scheme like Bearer, included) and says what shall.
func Replace(args []string, with func(secret string) string) []string {
	return masker{with: with}.args(args)
}

// Line is Replace for a line that is no command of its own.
func Line(s string, with func(secret string) string) string {
	s, _ = masker{with: with, line: true}.one(s)
	return s
}

// masker says what shall stand in the place of a secret.
type masker struct {
	with func(string) string
	line bool // the text is a line, not an argument: a value ends with its word
	word bool // the arguments are words of a text: of "password= x" the first has no value
}

func (m masker) args(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	out := make([]string, len(args))
	var c command
	var next taker // what becomes of this argument: it may be the value of the one before
	for i, a := range args {
		if next != nil {
			to, more, ok := next(a)
			if next = more; ok {
				out[i] = to
				continue
			}
		}
		var named bool
		if out[i], named = m.one(a); named {
			next = once(m.with)
		} else if i > 0 {
			next = m.header(a, args[i-1])
		} else {
			next = m.header(a, "")
		}
		if to, value, ok := c.read(m, a); ok {
			out[i], next = to, nil
			if value != nil {
				next = once(value)
			}
		}
	}
	return out
}

// one masks inside one argument and tells whether the next one is a secret.
func (m masker) one(a string) (masked string, next bool) {
	if strings.HasPrefix(a, "-") && !strings.ContainsAny(a, "=: \t\n") && Named(a) {
		return a, true
	}
	// The whole argument is NAME=VALUE: the value may hold any byte.
	if name, value, ok := strings.Cut(a, "="); ok && !strings.ContainsAny(name, " \t\n?#&;,:{") && Named(name) && !(m.line && strings.ContainsAny(value, " \t\n")) {
		if m.word && value == "" {
			return a, false
		}
		return m.shapes(name) + "=" + m.with(value), false
	}
	a = m.pairs(m.logins(m.urls(m.shapes(a))))
	// A shell's -c and a rewritten title hold a whole command line in one argument.
	if words := strings.Fields(a); len(words) > 1 {
		m.word = true
		if to := m.args(words); !slices.Equal(to, words) {
			a = strings.Join(to, " ")
		}
	}
	return a, false
}
