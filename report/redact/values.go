package redact

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts/secret"
)

// sort is what the value of a variable, a setting or a header is, by its name.
type sort int

const (
	plainValue sort = iota
	secretValue
	userValue
	hostsValue // one host or a list of them, alone or in URLs
	hostHeader // the same, among other words
	linkValue  // a URL whose parameters may be tickets and names
	realmValue // a challenge: WWW-Authenticate
)

// Names of variables, settings and headers, by what they hold; those that end with _user
// or _host need no entry.
var (
	userNames   = lazySet(`user logname sudo_user username doas_user pguser github_actor x-user x-remote-user remote-user x-forwarded-user x-authenticated-user x-auth-request-user x-webauth-user user.name`)
	hostNames   = lazySet(`host hostname pghost localdomain codespace_name display docker_host computername runner_name http.proxyhost https.proxyhost socksproxyhost x-host x-hostname`)
	hostHeaders = lazySet(`x-served-by x-backend-server x-backend x-server x-server-name x-server-id x-instance x-instance-id x-upstream x-node x-pod x-forwarded-host x-forwarded-server x-forwarded-for x-real-ip x-cache x-powered-host via alt-svc forwarded`)
	linkNames   = lazySet(`location content-location referer`)
	sessionName = lazyExp(`(?i)^(?:set-cookie|.*sess(?:ion)?[-_]?id)$`)
)

func sortOf(name string) sort {
	low := strings.ToLower(name)
	switch {
	case low == "www-authenticate", low == "proxy-authenticate":
		return realmValue
	case secret.Named(name), sessionName().MatchString(name):
		return secretValue
	case userNames()[low], strings.HasSuffix(low, "_user"), strings.HasSuffix(low, "_username"), strings.HasSuffix(low, "_login"):
		return userValue
	case hostHeaders()[low]:
		return hostHeader
	case linkNames()[low]:
		return linkValue
	case hostNames()[low], strings.HasSuffix(low, "_host"), strings.HasSuffix(low, "_hostname"), lists(low), strings.Contains(low, "proxy"):
		return hostsValue
	}
	return plainValue
}

// lists tells whether the name is that of a list of hosts: no_proxy, ignore-hosts, nonProxyHosts.
func lists(low string) bool {
	return strings.HasPrefix(low, "no") || strings.Contains(low, "noproxy") || strings.Contains(low, "no_proxy") || strings.Contains(low, "nonproxy") ||
		strings.Contains(low, "ignore") || strings.Contains(low, "exclude") || strings.Contains(low, "bypass")
}

// value1 learns from a value by its name.
func (m *masker) value1(name, value string) {
	if value != "" {
		valued(name, value, func(s string) string { return m.learnSecret(s) }, func(s string) string { m.user(s); return s }, func(s string) string { m.host(s); return s },
			func(s string) string { m.entry(Organization, s); return s })
	}
}

// named is what becomes of a value, by its name.
func (m *masker) named(value, name string) string {
	return m.text(valued(name, value, m.oneSecret, m.userName, m.hostName, func(s string) string { return m.pseudonym(Organization, s) }))
}

// valued is a value with its parts, by its name, as told.
func valued(name, value string, hide, user, host, owner func(string) string) string {
	switch sortOf(name) {
	case secretValue:
		return hide(value)
	case userValue:
		return user(value)
	case hostsValue:
		return each(value, ", \t|;'\"[]()", func(item string) string { return hostOf(item, host) })
	case hostHeader:
		return hostWords(value, host)
	case linkValue:
		return link(value, hide, host)
	case realmValue:
		return challenge(value, hide, owner)
	}
	return value
}

// hostOf is an item of a list of hosts, with its host as told: a URL, a name with a port,
// the beginning of an address.
func hostOf(item string, host func(string) string) string {
	from := 0
	if i := strings.Index(item, "://"); i >= 0 {
		from = i + 3
	}
	to := len(item)
	if i := strings.IndexByte(item[from:], '/'); i >= 0 {
		to = from + i
	}
	from += strings.LastIndexByte(item[from:to], '@') + 1
	return item[:from] + host(item[from:to]) + item[to:]
}

// hostWords is the value of a header with each of its words that can only be a host as
// told: behind the protocol in Via (RFC 9110 section 7.6.3) and the = of Alt-Svc
// (RFC 7838), and alone.
func hostWords(value string, host func(string) string) string {
	return each(value, ", \t;\"()=", func(w string) string {
		low := strings.ToLower(w)
		if number(low) > 0 && strings.Trim(low, "0123456789.") == "" || protocols()[low] || strings.HasPrefix(low, "http/") {
			return w
		}
		return host(w)
	})
}

// protocols are words of these headers that are no hosts.
var protocols = lazySet(`h2 h3 h2c h3-29 h3-q050 quic clear ma persist for by host proto http https hit miss from cloudfront squid varnish nginx haproxy envoy caddy traefik apache internal google kong vegur unknown`)

// link is a URL, or what holds one, with its host and what its parameters may tell as
// told. A number, a word for yes or no, and a URL stay; what is learned of them elsewhere
// is replaced all the same.
func link(value string, hide, host func(string) string) string {
	if rest, ok := strings.CutPrefix(value, "//"); ok { // of the same scheme
		end := strings.IndexAny(rest, "/?#;")
		if end < 0 {
			end = len(rest)
		}
		value = "//" + host(rest[:end]) + rest[end:]
	}
	return replaceAll(parameter(), value, func(x []string) string {
		if harmless(x[2]) {
			return x[0]
		}
		return x[1] + hide(x[2])
	})
}

var parameter = lazyExp(`([?&;#][\w.~-]+=)([^&;#?\s"'<>]+)`)

func harmless(v string) bool {
	if _, err := strconv.ParseFloat(v, 64); err == nil && len(v) < 8 {
		return true
	}
	switch strings.ToLower(v) {
	case "true", "false", "yes", "no", "on", "off", "none", "code", "token", "id_token", "openid", "query", "form_post", "consent", "login":
		return true
	}
	u, err := url.QueryUnescape(v)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddrPort(u)
	return err == nil || strings.HasPrefix(u, "/") || strings.HasPrefix(u, "http://") || strings.HasPrefix(u, "https://")
}

var (
	realm = lazyExp(`(?i)(\brealm=")([^"]*)(")`)
	offer = lazyExp(`(?i)^((?:negotiate|ntlm|kerberos)\s+)(\S+)$`)
)

// challenge is the value of WWW-Authenticate with its realm and its token as told.
func challenge(value string, hide, owner func(string) string) string {
	value = replaceAll(offer(), value, func(x []string) string { return x[1] + hide(x[2]) })
	return replaceAll(realm(), value, func(x []string) string {
		if plain(x[2]) || vague(x[2]) {
			return x[0]
		}
		return x[1] + owner(x[2]) + x[3]
	})
}
