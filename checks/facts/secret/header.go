package secret

import (
	"slices"
	"strings"
)

// Schemes are the words before the credentials of an Authorization header, in lower case:
// IANA's registry of them, and what is common besides.
var Schemes = []string{"basic", "bearer", "digest", "negotiate", "ntlm", "token", "oauth", "dpop", "hoba", "mutual", "vapid", "hawk", "apikey", "scram-sha-1", "scram-sha-256", "aws4-hmac-sha256"}

func isScheme(s string) bool { return slices.Contains(Schemes, strings.ToLower(s)) }

// authorizes tells whether the name of a header ends in one whose value has a scheme.
func authorizes(name string) bool { return strings.HasSuffix(strings.ToLower(name), "authorization") }

// taker says what becomes of an argument that may be a value, and of the next one. Not ok:
// it is none.
type taker func(a string) (to string, next taker, ok bool)

// once is the taker of one argument, whatever it is.
func once(f func(string) string) taker {
	return func(a string) (string, taker, bool) {
		if strings.HasPrefix(a, "--") {
			return "", nil, false
		}
		return f(a), nil, true
	}
}

// header tells what follows an argument with which a header begins whose value the shell
// has cut off, as nobody quoted it: -H Authorization: Basic aGk6aGk=. before is the
// argument before it.
func (m masker) header(a, before string) taker {
	colon := strings.IndexByte(a, ':')
	if colon <= 0 {
		return nil
	}
	j := colon
	for j > 0 && inName(a[j-1]) {
		j--
	}
	name, value := a[j:colon], strings.Trim(a[colon+1:], " \"'")
	switch {
	case headerOf(name):
	case value == "" && (before == "-H" || before == "--header") && Named(name): // Private-Token:
	default:
		return nil
	}
	switch {
	case value == "", authorizes(name) && isScheme(value):
		return m.credentials(authorizes(name))
	case goesOn(value):
		return m.parameters
	}
	return nil
}

// credentials is the taker of a header's value. A header without one is to be left out
// (curl(1), -H): then the next argument is what it stands before.
func (m masker) credentials(scheme bool) taker {
	return func(a string) (string, taker, bool) {
		switch {
		case strings.HasPrefix(a, "--"), len(a) == 2 && a[0] == '-', target(a):
			return "", nil, false
		case scheme && isScheme(a):
			return a, m.credentials(false), true
		case goesOn(a):
			return m.with(a), m.parameters, true
		}
		return m.with(a), nil, true
	}
}

// parameters is the taker of what a value has behind a comma or a semicolon:
// Digest username="ann", response="…", and a=b; c=d of a cookie.
func (m masker) parameters(a string) (string, taker, bool) {
	switch {
	case a[:min(len(a), 1)] == "-", target(a), !strings.Contains(a, "="):
		return "", nil, false
	case goesOn(a):
		return m.with(a), m.parameters, true
	}
	return m.with(a), nil, true
}

func goesOn(value string) bool { return strings.HasSuffix(value, ",") || strings.HasSuffix(value, ";") }

// target tells whether an argument is what a client is to connect to: a URL, a path, or a
// host with a port.
func target(a string) bool {
	low := strings.ToLower(a)
	for _, start := range []string{"/", "[", "localhost", "127."} {
		if strings.HasPrefix(low, start) {
			return true
		}
	}
	host, rest, ok := strings.Cut(low, ":")
	return strings.Contains(low, "://") || ok && host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" && port(rest)
}
