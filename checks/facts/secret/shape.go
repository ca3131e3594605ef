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
	{"A", regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)}, // AWS access key id
	{"gh", regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{20,}`)}, // GitHub
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

func (with masker) shapes(s string) string {
	for _, x := range shapes {
		if strings.Contains(s, x.starts) {
			s = x.re.ReplaceAllStringFunc(s, with)
		}
	}
	if len(s) > 16 && bearer.MatchString(s) {
		s = replace(s, bearer, func(m []string) string {
			if !strings.ContainsAny(m[3], "0123456789") { // "bearer authentication-method"
				return m[0]
			}
			return m[1] + m[2] + with(m[3])
		})
	}
	return s
}

// Shaped lists what of the text has the shape of a secret: tokens of known makers,
// private keys, and passwords in URLs. It finds what nobody has told it of.
func Shaped(s string) []string {
	var found []string
	see := masker(func(secret string) string {
		if !strings.Contains(secret, Hidden) {
			found = append(found, secret)
		}
		return secret
	})
	see.shapes(s)
	if strings.Contains(s, "://") {
		replace(s, credentials, func(m []string) string { see(m[3]); return m[0] })
	}
	return found
}
