package redact

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts/secret"
)

// scheme is the word before the credentials of an Authorization header (RFC 9110
// section 11.4). It stays.
var scheme = lazyExp(`(?is)^(` + strings.Join(secret.Schemes, "|") + `)(\s+|%20)(.+)$`)

// inner is a secret without its quotes and its scheme, and what stands around it.
func inner(s string) (before, value, after string) {
	if len(s) > 1 && (s[0] == '"' || s[0] == '\'') {
		before, s = s[:1], s[1:]
		if s[len(s)-1] == before[0] {
			s, after = s[:len(s)-1], before
		}
	} else if len(s) > 1 && s[len(s)-1] == '"' { // its beginning is in another argument
		s, after = s[:len(s)-1], `"`
	}
	if m := scheme().FindStringSubmatch(s); m != nil {
		return before + m[1] + m[2], m[3], after
	}
	return before, s, after
}

// none are words that stand in the place of a secret and are none: how a message or a
// manual goes on, or a scheme whose credentials are the next argument.
var none = lazySet(`bearer basic digest negotiate - null nil none true false yes no on off x required optional empty missing invalid wrong unknown not
	password passwd pass secret token key pwd user username name string value file`)

// variable is what a shell replaces: $TOKEN, ${TOKEN}, $(cat token).
var variable = lazyExp(`^["']?(?:\$\w+|\$\{[^{}]*\}?|\$\([^()]*\))["']?$`)

// hides tells whether what stands in the place of a secret is none: it was masked before,
// or says that there is none.
func hides(s string) bool {
	low := strings.ToLower(strings.Trim(s, "\"'\\;,.() \t\r\n"))
	return none()[low] || pseudonymous(low) || strings.Trim(s, "*•… \"'\\,;.:") == "" || variable().MatchString(s) || placeholder().MatchString(low) || within(low)
}

// within tells whether a text is a secret that was found by a narrower rule and what it
// was found by: "cookie:hidden1".
func within(low string) bool {
	if !strings.Contains(low, hidden) {
		return false
	}
	found := false
	for _, w := range strings.FieldsFunc(low, func(r rune) bool { return notWord(r) && !strings.ContainsRune("-_.", r) }) {
		switch {
		case numbered(w, hidden):
			found = true
		case !none()[w] && !secret.Named(w):
			return false
		}
	}
	return found
}

// placeholder is how a manual names what is to be put in: <token>, also as JSON and HTML
// write it.
var placeholder = lazyExp(`(?s)^(?:<|\\*u003c|&lt;).*(?:>|\\u003e|&gt)$`)

// hidden begins the pseudonym of a secret. It is no word that makes what follows it a
// secret, as "secret1: not found" would.
const hidden = "hidden"

// partly is a pseudonym and what is left of a secret that a narrower rule took too
// little of: password=Tr0ub&3.
var partly = lazyExp(`(?s)^(hidden[0-9]+)[^0-9A-Za-z]+.*$`)

// learnSecret notes a secret and gives it its pseudonym at once: a wider rule sees the
// same text here as when everything is replaced.
func (m *masker) learnSecret(s string) string {
	before, value, after := inner(s)
	if !hides(value) && !partly().MatchString(value) {
		if e := &m.entries[m.entry(Secret, value)]; e.Pseudonym == "" {
			e.Pseudonym = m.next(hidden)
		}
	}
	return m.oneSecret(before + value + after)
}

func (m *masker) oneSecret(s string) string {
	before, value, after := inner(s)
	if hides(value) {
		return s
	}
	if p := partly().FindStringSubmatch(value); p != nil {
		return before + p[1] + after
	}
	return before + m.pseudonym(Secret, value) + after
}

// secrets replaces in a line what its place or its shape makes a secret.
func (m *masker) secrets(s string) string {
	if len(s) < 6 {
		return s
	}
	s = secret.Line(s, m.oneSecret)
	if m.bare {
		s = m.bareLogins(s, func(string) {}, m.oneSecret)
	}
	return s
}

// bareLogin is ann:secret@db7. Whether it is one, and not what it looks like too, as
// group:name@version, says the host: it has to be known from elsewhere.
var bareLogin = lazyExp(`(^|[\s"'=,(])([A-Za-z_][\w.%+-]*):([^\s/@"'=,(<>]+)@([A-Za-z0-9][\w-]*)($|[\s"',;)/])`)

// bareLogins is a text with the passwords of logins to hosts of one word that are known as
// told. see is told the user.
func (m *masker) bareLogins(s string, see func(user string), hide func(string) string) string {
	if at := strings.IndexByte(s, '@'); at < 0 || strings.IndexByte(s[:at], ':') < 0 {
		return s
	}
	return replaceAll(bareLogin(), s, func(x []string) string {
		if _, known := m.index[indexOf(Host, x[4])]; !known || !secret.LogsIn(x[2]) {
			return x[0]
		}
		see(x[2])
		return x[1] + x[2] + ":" + hide(x[3]) + "@" + x[4] + x[5]
	})
}

// telling tells whether a secret is long and odd enough to be looked for inside of
// words, too.
func telling(s string) bool {
	return len(s) >= 8 || len(s) >= 6 && strings.ContainsAny(s, "0123456789") && strings.Trim(s, "0123456789.:/-") != ""
}

// forms are the texts as which a secret may stand somewhere: as it is, decoded, escaped
// for URLs, JSON and HTML, and in Base64.
func forms(s string) []string {
	all := []string{s}
	if d, err := url.PathUnescape(s); err == nil {
		all = append(all, d, url.QueryEscape(d), url.PathEscape(d))
	}
	for _, x := range slices.Clone(all) {
		all = append(all, escapes(x)...)
	}
	if len(s) >= 8 {
		// Of the encoding only what does not depend on what stands around it.
		all = append(all, base64.StdEncoding.EncodeToString([]byte(s)), base64.RawStdEncoding.EncodeToString([]byte(s)), base64.URLEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// escapes are other spellings of a text in JSON, HTML and URLs.
func escapes(s string) []string {
	var all []string
	if j, err := json.Marshal(s); err == nil {
		all = append(all, string(j[1:len(j)-1]))
	}
	all = append(all, html.EscapeString(s), url.PathEscape(s), url.QueryEscape(s))
	all = slices.DeleteFunc(all, func(x string) bool { return x == s })
	slices.Sort(all)
	return slices.Compact(all)
}
