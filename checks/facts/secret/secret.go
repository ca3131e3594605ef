// Package secret finds secrets in command lines, variables and lines of text: by the
// names before them, by the place in which they stand, and by their own shape. It
// refuses to guess: a word that nothing marks as a secret is none.
package secret

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Hidden stands for a secret.
const Hidden = "***"

// words is what a name that Named approves of holds at least.
const words = `pass|jwt|pat|secret|key|token|credential|auth|pwd|bearer|cookie|signature|sig`

var (
	// user:password@ of a URL; RFC 3986 section 3.2.1 ends it before / ? #.
	credentials = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#:@]*):([^\s/?#]*)@`)
	// a long user name without a password is an access token: https://ghp_…@github.com
	tokenAsUser = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#:@]{20,})@`)
	// name=value and "name":"value" inside a longer argument: a query, JSON, a connection string
	pair = regexp.MustCompile(`(?i)([\w.-]*(?:` + words + `)[\w.-]*)(["']?\s*[=:]\s*)("[^"]*"?|'[^']*'?|[^\s;&,"'}]+)`)
	// --name "two words" inside the argument of a shell's -c
	quoted = regexp.MustCompile(`(?i)(--?[\w.-]*(?:` + words + `)[\w.-]*)(\s+)("[^"]*"?|'[^']*'?)`)
	// an HTTP header, as curl -H takes it
	header = regexp.MustCompile(`(?is)\b((?:proxy-)?authorization|cookie|x-[\w-]*(?:key|token|secret))(["']?\s*[:=]\s*)(.+)`)
	// whether any of them is worth a try: most text has none
	hint = regexp.MustCompile(`(?i)` + words)
)

// Mask returns the command line with its secrets replaced by ***: values of
// flags and variables with a name like password, token, secret or api-key,
// passwords in URLs, authorization headers, tokens of known shapes, and the short
// flags of mysql, sshpass, redis-cli and curl. It masks rather too much than too
// little; the argument is not changed.
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
	s, _ = masker{with, true}.one(s)
	return s
}

// masker says what shall stand in the place of a secret.
type masker struct {
	with func(string) string
	line bool // the text is a line, not an argument: a value ends with its word
}

func (m masker) args(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	out := make([]string, len(args))
	program := path.Base(strings.ReplaceAll(args[0], `\`, "/"))
	next := false // this argument is the value of the one before
	for i, a := range args {
		switch {
		case next && !strings.HasPrefix(a, "--"):
			out[i], next = m.with(a), false
		default:
			out[i], next = m.one(a)
			if i > 0 {
				out[i], next = m.short(program, a, out[i], next)
			}
		}
	}
	return out
}

// one masks inside one argument and tells whether the next one is a secret.
func (m masker) one(a string) (masked string, next bool) {
	if strings.HasPrefix(a, "-") && Named(a) && !strings.ContainsAny(a, "=: \t\n") {
		return a, true
	}
	// The whole argument is NAME=VALUE: the value may hold any byte.
	if name, value, ok := strings.Cut(a, "="); ok && Named(name) && !strings.ContainsAny(name, " \t\n?&;,:{") && !(m.line && strings.ContainsAny(value, " \t\n")) {
		return name + "=" + m.with(value), false
	}
	a = m.shapes(a)
	if strings.Contains(a, "://") {
		a = replace(a, credentials, func(x []string) string { return x[1] + x[2] + ":" + m.with(x[3]) + "@" })
		a = replace(a, tokenAsUser, func(x []string) string { return x[1] + m.with(x[2]) + "@" })
	}
	if hint.MatchString(a) {
		a = replace(a, header, func(x []string) string { return x[1] + x[2] + m.with(x[3]) })
		a = m.pairs(m.pairs(a, pair), quoted)
	}
	// A shell's -c and a rewritten title hold a whole command line in one argument.
	if words := strings.Fields(a); len(words) > 1 {
		if to := m.args(words); !slices.Equal(to, words) {
			a = strings.Join(to, " ")
		}
	}
	return a, false
}

// pairs hides the values of names that are secret. The value of another name
// may hold a pair of its own: SIGNED_URL=http://host/?signature=…
func (m masker) pairs(a string, re *regexp.Regexp) string {
	return replace(a, re, func(x []string) string {
		if Named(x[1]) && !strings.HasPrefix(x[3], "//") {
			return x[1] + x[2] + m.with(x[3])
		}
		return x[1] + x[2] + m.pairs(x[3], re)
	})
}

// short knows the one-letter flags of programs that are commonly given a
// password on the command line. prior is what one made of the argument.
func (m masker) short(program, a, prior string, next bool) (string, bool) {
	switch program {
	case "mysql", "mysqldump", "mysqladmin", "mysqld", "mysqlimport", "mariadb", "mariadb-dump", "mariadb-admin":
		if len(a) > 2 && strings.HasPrefix(a, "-p") {
			return "-p" + m.with(a[2:]), false
		}
	case "sshpass":
		if a == "-p" {
			return a, true
		}
		if strings.HasPrefix(a, "-p") {
			return "-p" + m.with(a[2:]), false
		}
	case "redis-cli", "valkey-cli":
		if a == "-a" {
			return a, true
		}
	case "curl":
		if slices.Contains([]string{"-u", "--user", "-U", "--proxy-user"}, a) {
			return a, true
		}
		if len(a) > 2 && strings.HasPrefix(a, "-u") {
			return "-u" + m.with(a[2:]), false
		}
	}
	return prior, next
}

// replace is ReplaceAllStringFunc with the groups of the match.
func replace(s string, re *regexp.Regexp, f func(m []string) string) string {
	return re.ReplaceAllStringFunc(s, func(found string) string { return f(re.FindStringSubmatch(found)) })
}

// Named tells whether a flag, variable or field of that name holds a secret. A
// name that ends in file, path or dir says only where one is.
func Named(name string) bool {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' })
	if len(words) == 0 || words[0] == "no" || name == "PWD" || name == "OLDPWD" { // directories
		return false
	}
	last := words[len(words)-1]
	for _, end := range []string{"file", "path", "dir"} {
		if strings.HasSuffix(last, end) {
			return false
		}
	}
	all := strings.Join(words, "")
	for _, s := range []string{"password", "passwd", "passphrase", "requirepass", "masterauth", "secret", "apikey", "accesskey", "privatekey", "credential", "pwd"} {
		if strings.Contains(all, s) {
			return true
		}
	}
	return slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains([]string{"pass", "pw", "auth", "bearer", "cookie", "jwt", "pat", "sig", "signature"}, w) || strings.HasSuffix(w, "token")
	})
}
