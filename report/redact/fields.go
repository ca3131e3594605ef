package redact

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/facts/secret"
)

// special learns from fields whose neighbours say what they hold.
func (w *walker) special(v any) {
	switch x := v.(type) {
	case facts.Identity:
		w.account(x.User, x.UID, w.os)
	case facts.Process:
		w.account(x.User, x.UID, w.os)
		w.commands(x.Name, x.Args)
	case facts.Socket:
		w.account(x.User, x.UID, w.os)
	case facts.Met:
		w.commands(x.Program, x.Args)
	case facts.Forward:
		if strings.HasPrefix(x.Kind, "ssh") {
			w.login(x.Through)
		}
		if strings.ContainsAny(x.To, ":") && !strings.HasPrefix(x.To, "/") {
			w.host(x.To)
		}
	case facts.Answer:
		if h, ok := strings.CutPrefix(x.With, facts.WithHost); ok {
			w.host(h)
		}
	case facts.Header:
		w.value1(x.Name, x.Value)
	case facts.Variable:
		w.value1(x.Name, x.Value)
	case facts.ProxySetting:
		w.value1(x.Name, x.Value)
	}
}

// userName is what becomes of a field that holds the name of a user and nothing else. What
// it does not know is left to text.
func (m *masker) userName(s string) string {
	if to := m.pseudonym(User, s); to != s {
		return to
	}
	if domain, name, ok := strings.Cut(s, `\`); ok {
		return m.hostName(domain) + `\` + m.userName(name)
	}
	return s
}

// version is what becomes of the version of a program or a kernel: it may look like an
// address.
func (w *walker) version(s string) string {
	sc := scan{words: w.found, word: w.wordText}
	if strings.ContainsAny(s, " \t:@/") { // it is none
		return w.text(s)
	}
	return sc.run(s)
}

// enumerated notes the words of a field with few values.
func (m *masker) enumerated(s string) {
	low := strings.ToLower(s)
	if len(low) > 64 {
		return
	}
	for _, word := range append(strings.FieldsFunc(low, func(r rune) bool { return r < 0x80 && !wordByte(byte(r)) }), low) {
		m.enums[word], m.kept[word] = true, true
	}
}

// args treats the arguments of a command together: a flag may say what the next one is.
func (w *walker) args(args []string) []string {
	switch w.turn {
	case looking:
		for _, a := range args {
			w.glance(a, asText)
		}
		return args
	case learning:
		for _, a := range secret.Replace(args, w.learnSecret) {
			w.learn(a)
		}
		return args
	}
	out := secret.Replace(args, w.oneSecret)
	for i := range out {
		out[i] = w.text(out[i])
	}
	return out
}
