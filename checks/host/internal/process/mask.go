package process

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// hidden stands for a secret.
const hidden = "***"

// secretWords is what a name that isSecret approves of holds at least.
const secretWords = `pass|jwt|pat|secret|key|token|credential|auth|pwd|bearer|cookie|signature|sig`

var (
	// user:password@ of a URL; RFC 3986 section 3.2.1 ends it before / ? #.
	credentials = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#:@]*):([^\s/?#]*)@`)
	// a long user name without a password is an access token: https://ghp_…@github.com
	tokenAsUser = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#:@]{20,})@`)
	// name=value and "name":"value" inside a longer argument: a query, JSON, a connection string
	pair = regexp.MustCompile(`(?i)([\w.-]*(?:` + secretWords + `)[\w.-]*)(["']?\s*[=:]\s*)("[^"]*"?|'[^']*'?|[^\s;&,"'}]+)`)
	// --name "two words" inside the argument of a shell's -c
	quoted = regexp.MustCompile(`(?i)(--?[\w.-]*(?:` + secretWords + `)[\w.-]*)(\s+)("[^"]*"?|'[^']*'?)`)
	// an HTTP header, as curl -H takes it
	header = regexp.MustCompile(`(?is)\b((?:proxy-)?authorization|cookie|x-[\w-]*(?:key|token|secret))(["']?\s*[:=]\s*).+`)
)

// Mask returns the command line with its secrets replaced by ***: values of
// flags and variables with a name like password, token, secret or api-key,
// passwords in URLs, authorization headers, and the short flags of mysql,
// sshpass, redis-cli and curl. It masks rather too much than too little; the
// argument is not changed.
func Mask(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	out := make([]string, len(args))
	program := path.Base(strings.ReplaceAll(args[0], `\`, "/"))
	next := false // this argument is the value of the one before
	for i, a := range args {
		switch {
		case next && !strings.HasPrefix(a, "--"):
			out[i], next = hidden, false
		default:
			out[i], next = maskOne(a)
			if i > 0 {
				out[i], next = maskShort(program, a, out[i], next)
			}
		}
	}
	return out
}

// maskOne masks inside one argument and tells whether the next one is a secret.
func maskOne(a string) (masked string, next bool) {
	if strings.HasPrefix(a, "-") && isSecret(a) && !strings.ContainsAny(a, "=: \t\n") {
		return a, true
	}
	// The whole argument is NAME=VALUE: the value may hold any byte.
	if name, _, ok := strings.Cut(a, "="); ok && isSecret(name) && !strings.ContainsAny(name, " \t\n?&;,:{") {
		return name + "=" + hidden, false
	}
	a = header.ReplaceAllString(a, "${1}${2}"+hidden)
	a = credentials.ReplaceAllString(a, "${1}${2}:"+hidden+"@")
	a = tokenAsUser.ReplaceAllString(a, "${1}"+hidden+"@")
	a = maskPairs(maskPairs(a, pair), quoted)
	// A shell's -c and a rewritten title hold a whole command line in one argument.
	if words := strings.Fields(a); len(words) > 1 {
		if m := Mask(words); !slices.Equal(m, words) {
			a = strings.Join(m, " ")
		}
	}
	return a, false
}

// maskPairs hides the values of names that are secret. The value of another name
// may hold a pair of its own: SIGNED_URL=http://host/?signature=…
func maskPairs(a string, re *regexp.Regexp) string {
	return re.ReplaceAllStringFunc(a, func(s string) string {
		m := re.FindStringSubmatch(s)
		if isSecret(m[1]) && !strings.HasPrefix(m[3], "//") {
			return m[1] + m[2] + hidden
		}
		return m[1] + m[2] + maskPairs(m[3], re)
	})
}

// maskShort knows the one-letter flags of programs that are commonly given a
// password on the command line. prior is what maskOne made of the argument.
func maskShort(program, a, prior string, next bool) (string, bool) {
	switch program {
	case "mysql", "mysqldump", "mysqladmin", "mysqld", "mysqlimport", "mariadb", "mariadb-dump", "mariadb-admin":
		if len(a) > 2 && strings.HasPrefix(a, "-p") {
			return "-p" + hidden, false
		}
	case "sshpass":
		if a == "-p" {
			return a, true
		}
		if strings.HasPrefix(a, "-p") {
			return "-p" + hidden, false
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
			return "-u" + hidden, false
		}
	}
	return prior, next
}

// isSecret tells whether a flag or variable of that name holds a secret. A
// name that ends in file, path or dir says only where one is.
func isSecret(name string) bool {
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
