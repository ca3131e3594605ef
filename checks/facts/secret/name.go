package secret

import (
	"slices"
	"strings"
)

// keys are the words before "key" that make it a secret one; other keys are files, or
// columns of a table.
var keys = []string{"encryption", "master", "app", "application", "signing", "session", "private", "secret", "account", "api", "access", "auth",
	"cookie", "jwt", "hmac", "shared", "preshared", "storage", "subscription", "license", "licence", "webhook", "aes", "fernet"}

// Named tells whether a flag, variable or field of that name holds a secret. A
// name that ends in file, path or dir says only where one is.
func Named(name string) bool {
	name = name[max(0, len(name)-256):]    // no more of it is a name
	if name == "PWD" || name == "OLDPWD" { // directories
		return false
	}
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' })
	if len(words) == 0 || words[0] == "no" {
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
	before := "" // the word before the last
	if len(words) > 1 {
		before = words[len(words)-2]
	}
	if last == "pw" || strings.HasSuffix(last, "proxyauth") || strings.HasSuffix(last, "basicauth") {
		return true
	}
	return keyOf(before, last) || sessionOf(words, before, last) || slices.ContainsFunc(words, func(w string) bool {
		switch w {
		case "pass", "auth", "bearer", "cookie", "creds", "jwt", "pat", "sig", "signature":
			return true
		}
		return strings.HasSuffix(w, "token")
	})
}

// keyOf tells whether the name ends in a secret key: APP_KEY, master-key, encryptionKey.
func keyOf(before, last string) bool {
	kind, ok := strings.CutSuffix(last, "key")
	if !ok {
		return false
	}
	if kind == "" {
		kind = before
	}
	return slices.ContainsFunc(keys, func(k string) bool { return kind == k || len(k) > 5 && strings.HasSuffix(kind, k) })
}

// sessionOf tells whether the name is that of a session that a server knows its client
// by: PHPSESSID, session_id, connect.sid. The numbers of logind's sessions are none.
func sessionOf(words []string, before, last string) bool {
	switch {
	case words[0] == "xdg":
		return false
	case last == "id":
		return before == "session" || before == "sess"
	case last == "sid":
		return before == "connect"
	}
	return strings.HasSuffix(last, "sessid") || strings.HasSuffix(last, "sessionid")
}

// sessionLike tells whether a name may be that of a session, or of something else: its
// value tells.
func sessionLike(name string) bool {
	switch low := strings.ToLower(name); low {
	case "sid", "session", "sess", "ticket":
		return true
	default:
		return strings.HasPrefix(low, "saml")
	}
}

// parameter tells whether a parameter of a URL, of a name that says nothing elsewhere,
// holds a secret: those of OAuth 2.0 (RFC 6749), OpenID Connect, PKCE (RFC 7636), SAML
// and CAS.
func parameter(name string) bool {
	low := strings.ToLower(name)
	switch low {
	case "code", "state", "nonce", "ticket", "sid", "key", "otp", "session", "session_state", "relaystate", "id_token_hint",
		"code_verifier", "code_challenge", "oauth_verifier", "assertion", "client_assertion", "st", "pgtiou":
		return true
	}
	return strings.HasPrefix(low, "saml")
}

// headerOf tells whether a name is, or ends in, that of an HTTP header whose whole value
// is a secret.
func headerOf(name string) bool {
	if h := strings.IndexByte(name, 'H'); h > 0 && h < 6 && name[0] == '-' && name[1] != '-' { // -HCookie, -sSHCookie
		name = name[h+1:]
	}
	low := strings.ToLower(name)
	for _, end := range []string{"authorization", "cookie"} {
		if rest, ok := strings.CutSuffix(low, end); ok && (rest == "" || strings.HasSuffix(rest, "-") || strings.HasSuffix(rest, ".")) {
			return true
		}
	}
	if !strings.HasSuffix(low, "key") && !strings.HasSuffix(low, "token") && !strings.HasSuffix(low, "secret") {
		return false
	}
	return strings.HasPrefix(low, "x-") || strings.Contains(low, "-x-")
}
