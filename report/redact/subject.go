package redact

import (
	"regexp"
	"strings"
)

var (
	// an attribute of a distinguished name as Go prints it (RFC 2253)
	attribute = lazyExp(`(^|[,+])([A-Za-z]+|[0-9.]+)=((?:\\.|[^,+\\])*)`)
	fullName  = lazyExp(`([\w.-]+@[\w.-]+) \(([^()]+)\)`)
	escaped   = lazyExp(`\\(.)`)
)

// subject is what becomes of the name of a certificate's subject or issuer. What the
// tools themselves write into it ("mkcert development CA") stays, and tells which tool it
// was.
func (m *masker) subject(s string) string {
	return replaceAll(attribute(), s, func(x []string) string {
		if strings.HasPrefix(x[3], "#") { // an attribute that Go does not know, in hexadecimal: often a mail address
			return x[1] + x[2] + "=#"
		}
		value := escaped().ReplaceAllString(x[3], "$1")
		to := value
		switch kind, host := attributeOf(x[2], value); {
		case kind == User:
			to = m.pseudonym(User, value)
		case kind == Organization:
			to = m.pseudonym(Organization, value)
		case host:
			to = m.hostName(value)
		}
		if to == value {
			return x[0]
		}
		return x[1] + x[2] + "=" + to
	})
}

// organizations learns from the name of a certificate's subject or issuer whom it names.
func (m *masker) organizations(s string) {
	for _, x := range attribute().FindAllStringSubmatch(s, -1) {
		value := escaped().ReplaceAllString(x[3], "$1")
		for _, w := range strings.Fields(value) {
			if u := loginWord().FindStringSubmatch(w); u != nil {
				m.login(u[1])
			}
		}
		if f := fullName().FindStringSubmatch(value); f != nil && !plain(f[2]) { // mkcert: "ann@laptop (Ann Lee)"
			m.user(f[2])
		}
		switch kind, host := attributeOf(x[2], value); {
		case kind == User:
			m.user(value)
		case kind == Organization:
			m.entry(Organization, value)
		case host:
			m.host(value)
		}
	}
}

// attributeOf tells what an attribute of a distinguished name names: a user, an
// organization (or a person, by a name of several words), or a host.
func attributeOf(name, value string) (kind Kind, host bool) {
	switch strings.ToUpper(name) {
	case "UID":
		return User, false
	case "DC":
		low := strings.ToLower(value)
		return "", !strong()[low] && !privateEndings()[low]
	case "CN":
		if !strings.ContainsAny(value, " @") {
			return "", true
		}
		fallthrough
	case "O", "OU", "L", "ST", "STREET", "POSTALCODE", "SERIALNUMBER":
		if !strings.Contains(value, "@") && !plain(value) {
			return Organization, false
		}
	}
	return "", false
}

// plain tells whether a text has none but pseudonyms and the words that the tools which
// make certificates write into them.
func plain(s string) bool {
	for _, w := range strings.FieldsFunc(strings.ToLower(s), notWord) {
		if len(w) > 2 && !madeByTools()[w] && !pseudonymous(w) && strings.Trim(w, "0123456789") != "" {
			return false
		}
	}
	return true
}

// vague tells whether a text has none but loopdoctor's own words.
func vague(s string) bool {
	for _, w := range strings.FieldsFunc(strings.ToLower(s), notWord) {
		if len(w) > 2 && !ordinary()(w) {
			return false
		}
	}
	return true
}

func notWord(r rune) bool { return r < 0x80 && !wordByte(byte(r)) }

// madeByTools are words of names that openssl req, mkcert, Caddy, Kubernetes, Go's and
// Debian's tools give, and of Let's Encrypt's.
var madeByTools = lazySet(`internet widgits pty ltd some state let encrypt isrg authority ecc rsa intermediate mkcert development caddy local localhost root certificate
	signed self fake kubernetes ingress controller snakeoil traefik default cert test testing example server client dev docker desktop stable valid invalid expired unknown none not available`)

// replaceAll is ReplaceAllStringFunc with the groups of the match.
func replaceAll(re *regexp.Regexp, s string, f func(x []string) string) string {
	var b strings.Builder
	done := 0
	for _, at := range re.FindAllStringSubmatchIndex(s, -1) {
		x := make([]string, len(at)/2)
		for i := range x {
			if at[2*i] >= 0 {
				x[i] = s[at[2*i]:at[2*i+1]]
			}
		}
		b.WriteString(s[done:at[0]])
		b.WriteString(f(x))
		done = at[1]
	}
	b.WriteString(s[done:])
	return b.String()
}
