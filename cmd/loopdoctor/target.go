package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// ParseTarget reads what the person asked about: a port (62893 or :62893), a
// service name, host:port, [::1]:port, or a URL. Addresses stays empty: to
// find them is to look. An error is one line that says what would be right.
func ParseTarget(s string, intent facts.Intent) (facts.Target, error) {
	t, err := parseTarget(s)
	if err != nil {
		// What is quoted of the target as it was typed may be anything.
		return facts.Target{}, fmt.Errorf("target %q: %s", withoutPassword(s), report.Clean(err.Error()))
	}
	t.Intent = intent
	return t, nil
}

func parseTarget(s string) (facts.Target, error) {
	switch {
	case s == "":
		return facts.Target{}, errors.New("it is empty: give a port, as in 3000")
	case strings.Contains(s, "://"):
		return parseURL(s)
	}
	t := facts.Target{Raw: s, Network: "tcp", Host: "localhost"}
	if port, ok := strings.CutPrefix(s, ":"); ok && !strings.Contains(port, ":") {
		return t, parsePort(&t, port)
	}
	if strings.HasPrefix(s, "[") {
		host, rest, _ := strings.Cut(s[1:], "]")
		port, ok := strings.CutPrefix(rest, ":")
		if !ok {
			return t, fmt.Errorf("the port is missing: write [%s]:3000", host)
		}
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return t, errors.New("only an IPv6 address stands in brackets: [::1]:3000")
		}
		if err := parseHost(&t, host); err != nil {
			return t, err
		}
		return t, parsePort(&t, port)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return t, missingPort(s)
	}
	host, port, ok := strings.Cut(s, ":")
	switch {
	case strings.Contains(port, ":"):
		if err := unbracketed(s); err != nil {
			return t, err
		}
		return t, errors.New("too many colons: write host:port, and an IPv6 address in brackets: [::1]:3000")
	case ok:
		if err := parseHost(&t, host); err != nil {
			return t, err
		}
		return t, parsePort(&t, port)
	}
	if err := parsePort(&t, s); err == nil || isNumber(s) {
		return t, err
	}
	if err := parseHost(&t, s); err != nil {
		return t, errors.New("it is no port: write a number, as in 3000, or host:port")
	}
	if s == "localhost" || strings.Contains(s, ".") {
		return t, missingPort(s)
	}
	return t, fmt.Errorf("no service has this name; if it is a host, add the port: %s:3000", s)
}

func missingPort(host string) error {
	a, err := netip.ParseAddr(host)
	if err != nil || a.Is4() {
		return fmt.Errorf("the port is missing: write %s:3000", host)
	}
	if err := unbracketed(host); err != nil {
		return err
	}
	return fmt.Errorf("the port is missing: write [%s]:3000", host)
}

// unbracketed finds the address and the port in ::1:62893 and in ::1:3000,
// which is an address as it stands, but hardly the one that was meant.
func unbracketed(s string) error {
	i := strings.LastIndexByte(s, ':')
	if a, err := netip.ParseAddr(s[:i]); err == nil && a.Is6() && isNumber(s[i+1:]) {
		return fmt.Errorf("an IPv6 address with a port stands in brackets: write [%s]:%s", s[:i], s[i+1:])
	}
	return nil
}

// parsePort takes a number or the name of a service.
func parsePort(t *facts.Target, s string) error {
	if !isNumber(s) {
		port, network, ok := service(s)
		switch {
		case ok && (t.URL == "" || t.Network == network):
			t.Port, t.Network = port, network
			return nil
		case s == "":
			return errors.New("the port is missing: write 3000, or host:3000")
		}
		return fmt.Errorf("%q is neither a port nor a service: write a number from 1 to 65535", s)
	}
	n, err := strconv.ParseUint(s, 10, 16)
	switch {
	case err != nil:
		return fmt.Errorf("%s is no port: they go from 1 to 65535", s)
	case n == 0:
		return errors.New("port 0 means any free port: name the one that your server took")
	}
	t.Port = uint16(n)
	return nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// parseHost takes an IP address or a name as DNS and hosts files have it.
func parseHost(t *facts.Target, host string) error {
	t.Host, t.Named = host, true
	if a, err := netip.ParseAddr(host); err == nil {
		t.Literal, t.Wildcard = true, a.Unmap().IsUnspecified()
		return nil
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	switch name := strings.TrimSuffix(host, "."); {
	case name == "":
		return errors.New("the host is missing: write localhost:3000, or the port alone")
	case len(name) > 253, strings.Trim(name, letters) != "", strings.Contains(name, ".."), name[0] == '.', name[0] == '-':
		return fmt.Errorf("%q is not the name of a host: write host:port, as in localhost:3000", host)
	case strings.Trim(name, "0123456789.") == "":
		return fmt.Errorf("%q is not an IP address: write it in full, as in 127.0.0.1:3000", host)
	}
	return nil
}

// parseURL takes http://localhost:3000/path, tcp:// and udp://, and the URL of
// any service that has a name: postgresql://localhost/db.
func parseURL(s string) (facts.Target, error) {
	t := facts.Target{Network: "tcp"}
	u, err := url.Parse(s)
	if err != nil { // its text would repeat the URL, and a password in it
		return t, errors.New("it is not a URL: write http://host:port/")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	// What could be a secret is not needed to find the service.
	query := u.RawQuery
	if u.User != nil || query != "" || u.Fragment != "" {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		s = u.String()
	}
	t.Raw = s
	host, port := u.Hostname(), u.Port()
	if host == "" {
		return t, fmt.Errorf("the host is missing: write %s://localhost:3000", u.Scheme)
	}
	if err := parseHost(&t, host); err != nil {
		return t, err
	}
	switch u.Scheme {
	case "tcp", "udp":
		t.Network = u.Scheme
		if port == "" {
			return t, fmt.Errorf("the port is missing: write %s://%s:3000", u.Scheme, u.Host)
		}
		if strings.Trim(u.Path, "/") != "" || query != "" {
			return t, fmt.Errorf("%s:// takes a host and a port, nothing more", u.Scheme)
		}
		err := parsePort(&t, port)
		if t.Network == "udp" && t.Port == 53 {
			t.Speak = facts.AskDNS
		}
		return t, err
	case "http", "https", "ws", "wss":
		t.URL = u.String()
	}
	speakAs(&t, u.Scheme)
	if port == "" {
		well, _, ok := service(cmp.Or(usual[u.Scheme], u.Scheme))
		if !ok {
			return t, fmt.Errorf("the port is missing: write %s://%s:3000", u.Scheme, u.Host)
		}
		t.Port = well
		return t, nil
	}
	return t, parsePort(&t, port)
}

// usual names the service of a scheme that services(5) does not have.
var usual = map[string]string{"ws": "http", "wss": "https", "h2c": "http", "h2": "https", "rediss": "redis", "mariadb": "mysql", "sftp": "ssh", "dns": "domain"}

// withoutPassword takes the password out of something like a URL, for messages.
func withoutPassword(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@')
	if !ok || at < 0 {
		return s
	}
	user, _, secret := strings.Cut(rest[:at], ":")
	if !secret {
		return s
	}
	return scheme + "://" + user + rest[at:]
}

// service finds a name in services(5), or in a short list where there is no
// such file, as in a container.
func service(name string) (port uint16, network string, ok bool) {
	if name == "" {
		return 0, "", false
	}
	data, _ := os.ReadFile("/etc/services")
	for _, list := range [][]byte{data, []byte(wellKnown)} {
		if port, network, ok = findService(list, name); ok {
			return port, network, ok
		}
	}
	return 0, "", false
}

const wellKnown = `http 80/tcp www
https 443/tcp
ssh 22/tcp
smtp 25/tcp
domain 53/tcp dns
mysql 3306/tcp
postgresql 5432/tcp postgres
amqp 5672/tcp
redis 6379/tcp
mongodb 27017/tcp`

// findService reads services(5): "postgresql	5432/tcp	postgres # comment".
// TCP goes before UDP where a name has both.
func findService(data []byte, name string) (port uint16, network string, ok bool) {
	for line := range bytes.Lines(data) {
		text, _, _ := strings.Cut(string(line), "#")
		f := strings.Fields(text)
		if len(f) < 2 || !contains(f, name) {
			continue
		}
		number, proto, _ := strings.Cut(f[1], "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 || (proto != "tcp" && proto != "udp") {
			continue
		}
		if proto == "tcp" {
			return uint16(n), proto, true
		}
		if !ok {
			port, network, ok = uint16(n), proto, true
		}
	}
	return port, network, ok
}

// contains looks for a service's name or alias; the second field is its port.
func contains(fields []string, name string) bool {
	for i, f := range fields {
		if i != 1 && f == name {
			return true
		}
	}
	return false
}
