package config

import (
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// ParseHAProxy reads haproxy.cfg:
//
//	bind 127.0.0.1:8000-8010,[::1]:8000 interface lo v6only
//
// https://docs.haproxy.org/2.6/configuration.html#4.2-bind
func ParseHAProxy(data []byte) Found {
	var f Found
	section := ""
	for n, line := range lines(data) {
		words := strings.Fields(uncomment(line, '#'))
		if len(words) == 0 {
			continue
		}
		if oneOf(words[0], "global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "cache", "program", "ring", "mailers", "http-errors", "fcgi-app") {
			section = words[0]
			continue
		}
		if words[0] == "bind" && len(words) > 1 && oneOf(section, "frontend", "listen") {
			for i, a := range strings.Split(words[1], ",") {
				if i < maxFound {
					haproxyBind(&f, n, line, a, words[2:])
				}
			}
		}
	}
	return f
}

func haproxyBind(f *Found, n int, line, a string, options []string) {
	var l facts.ConfigLine
	family, rest, ok := strings.Cut(a, "@")
	if !ok {
		family, rest = "", a
	}
	switch {
	case oneOf(family, "unix", "abns") || strings.HasPrefix(rest, "/"):
		l.Unix = rest
		if family == "abns" {
			l.Unix = "@" + rest
		}
		f.add(HAProxy, n, line, l, "")
		return
	case oneOf(family, "fd", "sockpair"):
		return
	}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return // HAProxy wants a port
	}
	port := rest[i+1:]
	l = where(strings.Trim(rest[:i], "[]"), all4) // ":::80" is [::]:80
	if l.Addr == (netip.Addr{}) && l.Host == "" {
		l.Addr = all4
		if strings.Contains(family, "6") {
			l.Addr = all6
		}
	}
	l.UDP = strings.HasPrefix(family, "udp") || strings.HasPrefix(family, "quic")
	for k, w := range options {
		switch w {
		case "v6only", "v4v6":
			only := w == "v6only"
			l.V6Only = &only
		case "interface":
			if k+1 < len(options) {
				l.Device = options[k+1]
			}
		}
	}
	f.add(HAProxy, n, line, l, port)
}
