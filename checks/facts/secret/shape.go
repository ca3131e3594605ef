package secret

import (
	"regexp"
	"strings"
)

// shapes are tokens that tell by themselves what they are, whatever stands before
// them. The prefixes are those that their makers document for secret scanners.
var shapes = []struct {
	starts string // without it in the text the expression is not tried
	re     *regexp.Regexp
}{
	{"AKIA", regexp.MustCompile(`\bAKIA[0-9A-Z]{16}\b`)}, // AWS access key ids
	{"ASIA", regexp.MustCompile(`\bASIA[0-9A-Z]{16}\b`)},
	{"gh", regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{20,}`)}, // GitHub's
	{"github_pat_", regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{20,}`)},
	{"glpat-", regexp.MustCompile(`\bglpat-[\w-]{16,}`)},
	{"xox", regexp.MustCompile(`\bxox[abeoprs]-[\w-]{10,}`)}, // Slack
	{"eyJ", regexp.MustCompile(`\beyJ[\w-]{5,}\.eyJ[\w-]{5,}(?:\.[\w-]*)?`)},
	{"AIza", regexp.MustCompile(`\bAIza[\w-]{30,}`)}, // Google
	{"k_", regexp.MustCompile(`\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}`)},
	{"npm_", regexp.MustCompile(`\bnpm_[A-Za-z0-9]{30,}`)},
	{"sk-", regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{24,}`)},
	{"-----BEGIN", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)`)},
}

// bearer is what RFC 6750 section 2.1 lets follow the scheme, if it is long.
var bearer = regexp.MustCompile(`(?i)\b(bearer)(\s+|%20)([A-Za-z0-9._~+/-]{16,}=*)`)

func (m masker) shapes(s string) string {
	for _, x := range shapes {
		s = near(s, x.starts, 0, func(part string) string { return x.re.ReplaceAllStringFunc(part, m.with) })
	}
	return near(s, "earer", 1, func(part string) string {
		return replace(part, bearer, func(x []string) string {
			if !strings.ContainsAny(x[3], "0123456789") { // "bearer authentication-method"
				return x[0]
			}
			return x[1] + x[2] + m.with(x[3])
		})
	})
}

// span is how much of a text is given to an expression behind the word that it begins
// with: private keys of RSA with 8192 bits have some 6.4 kB.
const span = 16 << 10

// near applies f to the parts of a text that begin with a word, or back bytes before it.
// Expressions over all of a large text would take most of the time.
func near(s, word string, back int, f func(part string) string) string {
	i := strings.Index(s, word)
	if i < 0 {
		return s
	}
	if len(s) <= span {
		return f(s)
	}
	var b strings.Builder
	for done := 0; ; {
		from := max(i-back-1, done) // one more: the boundary of the word
		to := min(i+span, len(s))
		b.WriteString(s[done:from])
		b.WriteString(f(s[from:to]))
		done = to
		next := strings.Index(s[done:], word)
		if next < 0 {
			b.WriteString(s[done:])
			return b.String()
		}
		i = done + next
	}
}

// Shaped lists what of the text has the shape of a secret: tokens of known makers,
// private keys, and passwords in URLs. It finds what nobody has told it of.
func Shaped(s string) []string {
	var found []string
	see := func(secret string) string {
		if !strings.Contains(secret, Hidden) {
			found = append(found, secret)
		}
		return secret
	}
	masker{with: see}.shapes(s)
	for i := strings.Index(s, "://"); i >= 0; {
		from, to := i, i+3
		for from > 0 && i-from < 16 && (s[from-1] >= 'a' && s[from-1] <= 'z' || s[from-1] >= 'A' && s[from-1] <= 'Z' || s[from-1] == '+') {
			from--
		}
		for to < len(s) && to-i < 512 && s[to] > ' ' && strings.IndexByte(`/?#"<>`, s[to]) < 0 {
			to++
		}
		if m := credentials.FindStringSubmatch(s[from:to]); m != nil {
			see(m[3])
		}
		next := strings.Index(s[i+3:], "://")
		if next < 0 {
			break
		}
		i += 3 + next
	}
	return found
}
