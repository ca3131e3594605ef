package secret

import (
	"regexp"
	"strings"
)

// shapes are tokens that tell by themselves what they are, whatever stands before
// them. The prefixes are those that their makers document for secret scanners.
var shapes = []struct {
	starts string                // without it in the text the expression is not tried
	back   int                   // bytes that the expression has before it
	re     func() *regexp.Regexp // its group, if it has one, is the secret
}{
	{"AKIA", 0, lazy(`\bAKIA[0-9A-Z]{16}\b`)}, // AWS access key ids
	{"ASIA", 0, lazy(`\bASIA[0-9A-Z]{16}\b`)},
	{"gh", 0, lazy(`\bgh[pousr]_[A-Za-z0-9]{20,}`)}, // GitHub's
	{"github_pat_", 0, lazy(`\bgithub_pat_[A-Za-z0-9_]{20,}`)},
	{"glpat-", 0, lazy(`\bglpat-[\w-]{16,}`)},
	{"xox", 0, lazy(`\bxox[abeoprs]-[\w-]{10,}`)}, // Slack
	{"xapp-", 0, lazy(`\bxapp-[\w-]{10,}`)},
	{"hooks.slack.com/", 0, lazy(`hooks\.slack\.com/(?:services|workflows|triggers)/([\w-]+/[\w/-]{6,})`)}, // who has it can post
	{"/api/webhooks/", 14, lazy(`discord(?:app)?\.com/api/webhooks/\d+/([\w-]{20,})`)},
	{"/bot", 0, lazy(`/bot\d{6,12}:([\w-]{30,})`)}, // Telegram
	{"eyJ", 0, lazy(`\beyJ[\w-]{5,}\.eyJ[\w-]{5,}(?:\.[\w-]*)?`)},
	{"AIza", 0, lazy(`\bAIza[\w-]{30,}`)}, // Google
	{"ya29.", 0, lazy(`\bya29\.[\w-]{20,}`)},
	{"k_", 1, lazy(`\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}`)}, // Stripe
	{"whsec_", 0, lazy(`\bwhsec_[A-Za-z0-9+/]{16,}=*`)},
	{"npm_", 0, lazy(`\bnpm_[A-Za-z0-9]{30,}`)},
	{"pypi-", 0, lazy(`\bpypi-[\w-]{50,}`)},
	{"hf_", 0, lazy(`\bhf_[A-Za-z0-9]{20,}`)}, // Hugging Face
	{"dckr_", 0, lazy(`\bdckr_(?:pat|oat)_[\w-]{16,}`)},
	{"dop_v1_", 0, lazy(`\bdop_v1_[0-9a-f]{32,}`)},   // DigitalOcean
	{"SG.", 0, lazy(`\bSG\.[\w-]{10,}\.[\w-]{10,}`)}, // SendGrid
	{"hvs.", 0, lazy(`\bhvs\.[\w-]{20,}`)},           // Vault
	{"tskey-", 0, lazy(`\btskey-[\w-]{16,}`)},        // Tailscale
	{"glsa_", 0, lazy(`\bglsa_\w{20,}`)},             // Grafana
	{"sk-", 0, lazy(`\bsk-[A-Za-z0-9_-]{24,}`)},
	{"-----BEGIN", 0, lazy(`-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)`)},
}

var (
	// what RFC 6750 section 2.1 lets follow the scheme, if it is long
	bearer = lazy(`(?i)\b(bearer)(\s+|%20)([A-Za-z0-9._~+/-]{16,}=*)`)
	// what RFC 4559 section 4 and RFC 7617 section 2 let follow the scheme
	base64Word = lazy(`(?i)\b(negotiate|ntlm|basic)(\s+|%20)([A-Za-z0-9+/]{12,}=*)`)
)

// schemes are the words at whose letters an expression is tried.
var schemes = []struct {
	ends string
	back int // letters before them
	re   func() *regexp.Regexp
	some string // the token has one of them: it is no word of a language
}{
	{"earer", 1, bearer, "0123456789"},
	{"egotiate", 1, base64Word, "0123456789="},
	{"EGOTIATE", 1, base64Word, "0123456789="},
	{"NTLM", 0, base64Word, "0123456789="},
	{"asic", 1, base64Word, "0123456789="},
}

func (m masker) shapes(s string) string {
	if len(s) < 12 { // shorter than any
		return s
	}
	for _, x := range shapes {
		s = near(s, x.starts, x.back, func(part string) string {
			return replace(part, x.re(), func(found []string) string {
				if len(found) == 1 {
					return m.with(found[0])
				}
				return strings.TrimSuffix(found[0], found[1]) + m.with(found[1])
			})
		})
	}
	for _, x := range schemes {
		s = near(s, x.ends, x.back, func(part string) string {
			return replace(part, x.re(), func(found []string) string {
				if !strings.ContainsAny(found[3], x.some) { // "bearer authentication-method", "Basic AuthenticationEntryPoint"
					return found[0]
				}
				return found[1] + found[2] + m.with(found[3])
			})
		})
	}
	return s
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
	for i, next := strings.Index(s, "://"), 0; i >= 0 && next >= 0; i += 3 + next {
		if from, end := userinfo(s, i, false); end > from && end-i < 512 && s[from-1] == ':' {
			see(s[from:end])
		}
		next = strings.Index(s[i+3:], "://")
	}
	return found
}
