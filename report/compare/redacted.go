package compare

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
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

// pseudonyms are what redaction puts in the place of a name: its class and a number
// that was given in the order of meeting. Addresses get one of their own class.
const pseudonyms = `\b(user|host|domain|hidden|masked|organization)\d+\b`

var pseudonym = lazy(pseudonyms)

// address finds what may be an IP address; loopback and wildcards are not masked.
var address = lazy(`\[?[0-9a-fA-F:]*:[0-9a-fA-F:]+(%\w+)?\]?|\b\d{1,3}(\.\d{1,3}){3}\b`)

// telling is a pseudonym at a place where hardly anybody has such a name.
var telling = lazy(`^user\d+$|/(home|Users)/user\d+\b|\bdomain\d+\.example\b|\bhidden\d+\b`)

// Redacted tells whether names in a case are pseudonyms, by the look of them: facts
// and reports do not say it.
func Redacted(fs []*facts.Facts, r *report.Report) bool {
	var texts []string
	process := func(p *facts.Process) { texts = append(append(texts, p.User, p.Cwd, p.Exe, p.Project), p.Args...) }
	for _, f := range fs {
		texts = append(texts, f.Host.Cwd, f.Target.URL)
		for _, id := range f.Host.As {
			texts = append(texts, id.User)
		}
		if f.Owners != nil {
			for i := range f.Owners.Processes {
				process(&f.Owners.Processes[i])
			}
		}
		if f.Candidates != nil {
			for i := range f.Candidates.Found {
				process(&f.Candidates.Found[i].Process)
			}
		}
		if f.Names != nil {
			for _, l := range f.Names.Hosts.Lines {
				texts = append(texts, l.Text)
			}
		}
		if f.Environment != nil {
			for _, v := range f.Environment.Variables {
				texts = append(texts, v.Value)
			}
		}
	}
	if r != nil {
		for _, id := range r.Host.As {
			texts = append(texts, id.User)
		}
		for i := range r.Targets {
			for _, s := range r.Targets[i].Sockets {
				texts = append(texts, s.User)
				for _, p := range s.Processes {
					texts = append(texts, p.User, p.Exe, p.Project)
				}
			}
		}
	}
	return slices.ContainsFunc(texts, telling().MatchString)
}

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
	return maskAddresses(pseudonym().ReplaceAllString(s, "$1 N"))
}

func maskAddresses(s string) string {
	return address().ReplaceAllStringFunc(s, func(text string) string {
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
	if !strings.Contains(redacted, "#") { // comments of a hosts file are left out
		open, _, _ = strings.Cut(open, " #")
	}
	at := pseudonym().FindAllStringIndex(redacted, -1)
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
