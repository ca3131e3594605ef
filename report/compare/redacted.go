package compare

import (
	"net/netip"
	"regexp"
	"strings"
)

// terms are the terms on which two sides can be compared.
type terms struct {
	a, b    bool // redacted: a pseudonym can be compared with nothing but its kind
	unequal bool // one side looked with privileges and the other without: what it names in more detail is no difference
}

func between(a, b *Side) terms {
	return terms{a.Redacted, b.Redacted, a.privileged() != b.privileged()}
}

func (s *Side) privileged() bool { return len(s.Report.Host.LookedWith) > 0 }

// pseudonym is what redaction puts in the place of a name: its class and a number
// that was given in the order of meeting.
var pseudonym = regexp.MustCompile(`\b(user|group|host|domain|name|project|path|dir|file|secret|token|value|mail|mac|uuid|redacted)-?\d+\b`)

// address finds what may be an IP address; loopback and wildcards are not masked.
var address = regexp.MustCompile(`\[?[0-9a-fA-F:]*:[0-9a-fA-F:]+(%\w+)?\]?|\b\d{1,3}(\.\d{1,3}){3}\b`)

// alike tells whether two texts are the same as far as redaction lets it be told.
func (m terms) alike(a, b string) bool {
	switch {
	case a == b:
		return true
	case !m.a && !m.b:
		return false
	case m.a && m.b:
		return mask(a) == mask(b)
	case m.a:
		return fits(a, b)
	}
	return fits(b, a)
}

// key is by what a thing is found on the other side.
func (m terms) key(what string) string {
	what = normal(what)
	if m.a || m.b {
		return mask(what)
	}
	return what
}

// mask leaves the classes of pseudonyms and of addresses.
func mask(s string) string {
	return maskAddresses(pseudonym.ReplaceAllString(s, "$1 N"))
}

func maskAddresses(s string) string {
	return address.ReplaceAllStringFunc(s, func(text string) string {
		a, err := netip.ParseAddr(strings.Trim(text, "[]"))
		switch {
		case err != nil || a.IsLoopback() || a.IsUnspecified():
			return text
		case a.IsPrivate(), a.IsLinkLocalUnicast():
			return "PRIVATE"
		}
		return "PUBLIC"
	})
}

// fits tells whether the redacted text may have been the other one.
func fits(redacted, open string) bool {
	redacted, open = maskAddresses(redacted), maskAddresses(open)
	at := pseudonym.FindAllStringIndex(redacted, -1)
	for i, span := range at {
		before := redacted[:span[0]]
		if i > 0 {
			before = redacted[at[i-1][1]:span[0]]
		}
		if i == 0 && !strings.HasPrefix(open, before) {
			return false
		}
		_, rest, ok := strings.Cut(open, before)
		if !ok {
			return false
		}
		open = rest
	}
	if len(at) == 0 {
		return redacted == open
	}
	return strings.HasSuffix(open, redacted[at[len(at)-1][1]:])
}
