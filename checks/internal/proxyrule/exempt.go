package proxyrule

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// How each client reads a list of exemptions. None does it like another.

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// fields splits at commas, and at white space if the client does.
func fields(list, at string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return strings.ContainsRune(at, c) })
}

// splitPort takes a number at the end after a colon, as (.+):(\d+) does: of ::1 it
// is the 1.
func splitPort(s string) (host string, port uint16) {
	if i := strings.LastIndexByte(s, ':'); i > 0 {
		if n, err := strconv.ParseUint(s[i+1:], 10, 16); err == nil {
			return s[:i], uint16(n)
		}
	}
	return s, 0
}

// bracketed is the host as it stands in a URL.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// below tells whether host is name, or a name below it.
func below(host, name string) bool {
	return host == name || name != "" && strings.HasSuffix(host, "."+name)
}

// curlExempts: names and what is below them, IPv4 addresses and networks; no ports.
// Alone a * is everything. Networks count since 7.86 (curl/curl#9773), those of IPv6
// not in 7.88: there such an address is compared as a name.
func curlExempts(list string, r Request) bool {
	if list == "*" {
		return true
	}
	addr, err := netip.ParseAddr(r.Host)
	return slices.ContainsFunc(fields(strings.ToLower(list), ", \t"), func(e string) bool {
		if err == nil && addr.Is4() {
			return inNetwork(addr, e)
		}
		return below(r.Host, strings.TrimPrefix(strings.TrimSuffix(e, "."), "."))
	})
}

// inNetwork tells whether an entry is the address, or a network with it.
func inNetwork(addr netip.Addr, e string) bool {
	if a, err := netip.ParseAddr(e); err == nil {
		return a == addr
	}
	n, err := netip.ParsePrefix(e)
	return err == nil && n.Contains(addr)
}

// wgetExempts: what the host ends with, at a dot. White space is skipped after a
// comma, and counts before one.
func wgetExempts(list string, r Request) bool {
	return slices.ContainsFunc(strings.Split(strings.ToLower(list), ","), func(e string) bool {
		e = strings.TrimLeft(e, " \t")
		rest, ok := strings.CutSuffix(r.Host, e)
		return ok && e != "" && (rest == "" || strings.HasSuffix(rest, ".") || e[0] == '.')
	})
}

// urllibExempts compares with the host as it stands in the URL, with and without
// its port.
func urllibExempts(list string, r Request) bool {
	return bypass(list, bracketed(r.Host), r.Port)
}

// bypass is proxy_bypass_environment.
func bypass(list, host string, port uint16) bool {
	if list == "*" {
		return true
	}
	with := fmt.Sprintf("%s:%d", host, port)
	return slices.ContainsFunc(strings.Split(strings.ToLower(list), ","), func(e string) bool {
		e = strings.TrimLeft(strings.TrimSpace(e), ".")
		return e != "" && (below(host, e) || port != 0 && below(with, e))
	})
}

// requestsExempts: of an IPv4 address networks count; of everything else what the
// host ends with, even in the middle of a word. Then urllib is asked, without port.
func requestsExempts(list string, r Request) bool {
	addr, err := netip.ParseAddr(r.Host)
	for _, e := range fields(strings.ReplaceAll(list, " ", ""), ",") {
		if err == nil && addr.Is4() {
			if inNetwork(addr, e) {
				return true
			}
		} else if strings.HasSuffix(r.Host, e) || r.Port != 0 && strings.HasSuffix(fmt.Sprintf("%s:%d", r.Host, r.Port), e) {
			return true
		}
	}
	return bypass(list, r.Host, 0)
}

// goExempts: addresses, networks and names, each with a port or without. A name
// with a dot before it is for what is below it only.
func goExempts(list string, r Request) bool {
	port := r.Port
	if port == 0 {
		port = map[string]uint16{"http": 80, "https": 443}[r.Scheme]
	}
	addr, err := netip.ParseAddr(r.Host)
	for _, e := range strings.Split(strings.ToLower(list), ",") {
		e = strings.TrimSpace(e)
		if e == "*" {
			return true
		}
		if err == nil && inNetwork(addr, e) {
			return true
		}
		if _, err := netip.ParsePrefix(e); err == nil || e == "" {
			continue
		}
		name, at := e, uint16(0)
		if strings.Contains(e, "]") || strings.Count(e, ":") == 1 {
			name, at = splitPort(e)
		}
		name = strings.Trim(name, "[]")
		if at != 0 && at != port {
			continue
		}
		if a, err2 := netip.ParseAddr(name); err2 == nil {
			if err == nil && a == addr {
				return true
			}
			continue
		}
		name = strings.TrimPrefix(name, "*")
		if strings.HasPrefix(name, ".") {
			if strings.HasSuffix(r.Host, name) {
				return true
			}
		} else if below(r.Host, name) {
			return true
		}
	}
	return false
}

// undiciExempts: without a dot or a star before it an entry is this host only.
func undiciExempts(list string, r Request) bool {
	if list == "*" {
		return true
	}
	return slices.ContainsFunc(fields(strings.ToLower(list), ", \t\n"), func(e string) bool {
		host, port := splitPort(e)
		if port != 0 && port != r.Port {
			return false
		}
		if strings.HasPrefix(host, ".") || strings.HasPrefix(host, "*") {
			return strings.HasSuffix(bracketed(r.Host), strings.TrimPrefix(host, "*"))
		}
		return host == bracketed(r.Host)
	})
}

// proxyFromEnvExempts is undici's rule, which was taken from there.
func proxyFromEnvExempts(list string, r Request) bool { return undiciExempts(list, r) }

// javaExempts: a * stands at the start or the end of an entry, or nowhere.
func javaExempts(list string, r Request) bool {
	host := bracketed(r.Host)
	return slices.ContainsFunc(strings.Split(strings.ToLower(list), "|"), func(e string) bool {
		switch {
		case e == "":
			return false
		case e == "*":
			return true
		case strings.HasPrefix(e, "*"):
			return strings.HasSuffix(host, e[1:])
		case strings.HasSuffix(e, "*"):
			return strings.HasPrefix(host, e[:len(e)-1])
		}
		return host == e
	})
}
