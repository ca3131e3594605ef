// Package resolve tells what a program that asks the C library for a name
// would get, from the files that decide it and from answers that others
// fetched. It refuses to look: it reads no file and asks no server.
//
// The rules are those of glibc's getaddrinfo with AF_UNSPEC and without
// AI_ADDRCONFIG, measured on 2.36. musl reads neither nsswitch.conf nor
// host.conf: it always takes the hosts file, then every name server at once.
package resolve

import (
	"bytes"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// maxText keeps a report readable when a hosts file has one endless line.
const maxText = 256

// lines yields each line with its number; 1 is the first.
func lines(data []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for n := 1; len(data) > 0; n++ {
			line, rest, _ := bytes.Cut(data, []byte{'\n'})
			if !yield(n, string(line)) {
				return
			}
			data = rest
		}
	}
}

// isSpace is C's isspace in the C locale: it makes the carriage return of a
// file from Windows harmless.
func isSpace(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }

func shorten(s string) string {
	s = strings.TrimFunc(s, isSpace)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// hostsFields splits a line of hosts(5), "127.0.0.1 localhost foo # comment",
// into the address and the names.
func hostsFields(line string) []string {
	line, _, _ = strings.Cut(line, "#")
	return strings.FieldsFunc(line, isSpace)
}

// Hosts lists the lines of a hosts file (hosts(5)) that give the name an
// address, in their order. Names are compared without regard to case. An
// address with a zone, as macOS has one, is listed too; glibc passes over it.
func Hosts(data []byte, name string) []facts.HostsLine {
	var found []facts.HostsLine
	for n, line := range lines(data) {
		fields := hostsFields(line)
		if len(fields) < 2 || !slices.ContainsFunc(fields[1:], func(f string) bool { return strings.EqualFold(f, name) }) {
			continue
		}
		if addr, err := netip.ParseAddr(fields[0]); err == nil {
			found = append(found, facts.HostsLine{Line: n, Addr: addr, Text: shorten(line)})
		}
	}
	return found
}

// Multi tells whether host.conf(5) has "multi on": without it, getaddrinfo
// stops at the first line of the hosts file that carries the name.
func Multi(data []byte) bool {
	on := false
	for _, line := range lines(data) {
		if f := hostsFields(line); len(f) >= 2 && strings.EqualFold(f[0], "multi") {
			on = strings.EqualFold(f[1], "on")
		}
	}
	return on
}

// Conf is what resolv.conf(5) says.
type Conf struct {
	Servers []netip.AddrPort
	NoAAAA  bool          // options no-aaaa: IPv6 addresses are not asked for
	Wait    time.Duration // how long glibc waits for each silent server: options timeout and attempts
}

// maxServers is MAXNS of <resolv.h>: glibc passes over the rest. The others are
// RES_TIMEOUT, RES_DFLRETRY, and their highest values (resolv.conf(5)).
const (
	maxServers      = 3
	defaultTimeout  = 5
	defaultAttempts = 2
	maxTimeout      = 30
	maxAttempts     = 5
)

// ResolvConf reads resolv.conf(5). A file that names no server means the one
// on 127.0.0.1.
func ResolvConf(data []byte) Conf {
	var c Conf
	timeout, attempts := defaultTimeout, defaultAttempts
	for _, line := range lines(data) {
		if line == "" || isSpace(rune(line[0])) { // a keyword begins its line
			continue
		}
		f := strings.FieldsFunc(line, isSpace)
		switch {
		case len(f) < 2:
		case f[0] == "nameserver" && len(c.Servers) < maxServers:
			text, _, _ := strings.Cut(f[1], "#")
			text, _, _ = strings.Cut(text, ";")
			if a, err := netip.ParseAddr(text); err == nil {
				c.Servers = append(c.Servers, netip.AddrPortFrom(a, 53))
			}
		case f[0] == "options":
			c.NoAAAA = c.NoAAAA || slices.Contains(f[1:], "no-aaaa")
			timeout = option(f[1:], "timeout:", timeout, maxTimeout)
			attempts = option(f[1:], "attempts:", attempts, maxAttempts)
		}
	}
	c.Wait = time.Duration(timeout*attempts) * time.Second
	if c.Servers == nil {
		c.Servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	return c
}

// option is the number of an option "timeout:2"; what is no number, or zero,
// changes nothing that matters here.
func option(words []string, name string, value, most int) int {
	for _, w := range words {
		if text, ok := strings.CutPrefix(w, name); ok {
			if n, err := strconv.Atoi(text); err == nil && n > 0 {
				value = min(n, most)
			}
		}
	}
	return value
}

// Precedence is one row of the policy table that orders addresses (RFC 6724
// section 2.1).
type Precedence struct {
	Prefix netip.Prefix
	Value  int
}

// defaultPrecedence is glibc's own table, RFC 3484's: what matters here is
// that ::1 comes before IPv4.
var defaultPrecedence = []Precedence{
	{netip.MustParsePrefix("::1/128"), 50},
	{netip.MustParsePrefix("::/0"), 40},
	{netip.MustParsePrefix("2002::/16"), 30},
	{netip.MustParsePrefix("::/96"), 20},
	{netip.MustParsePrefix("::ffff:0:0/96"), 10},
}

// GaiConf reads the table of gai.conf(5). One line "precedence" replaces the
// whole default: "precedence ::ffff:0:0/96 100" is how IPv4 is made to win.
func GaiConf(data []byte) []Precedence {
	var table []Precedence
	for _, line := range lines(data) {
		f := hostsFields(line)
		if len(f) < 3 || f[0] != "precedence" {
			continue
		}
		prefix, err1 := parsePrefix6(f[1])
		value, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil {
			table = append(table, Precedence{prefix, value})
		}
	}
	if table == nil {
		return defaultPrecedence
	}
	return table
}

// parsePrefix6 reads "::1/128" or "::1".
func parsePrefix6(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		s += "/128"
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && !p.Addr().Is6() {
		err = fmt.Errorf("%s is no IPv6 prefix", s)
	}
	return p, err
}
