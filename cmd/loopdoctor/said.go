package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host"
	"github.com/loopdoctor/loopdoctor/cmd/loopdoctor/internal/errortext"
	"github.com/loopdoctor/loopdoctor/report"
)

// readSaid replaces the - of --error by what stands on the standard input.
func (p *program) readSaid(o *options) error {
	if o.said != "-" {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(p.stdin, errortext.MaxText))
	if err != nil {
		return fmt.Errorf("--error -: %w", err)
	}
	o.said = string(text)
	return nil
}

// saidTarget makes a target of what a client or a server said; an argument adds
// what the text lacks. It reads words: what is wrong the machine tells.
func saidTarget(text string, args []string, bind bool) (facts.Target, error) {
	r, ok := errortext.Read(text)
	switch {
	case strings.TrimSpace(text) == "":
		return facts.Target{}, errors.New("--error is empty: give the line that your client or server printed")
	case !ok:
		return facts.Target{}, fmt.Errorf("--error %q: nothing in it says that a connection or a server failed; give the line that does, or the port alone, as in loopdoctor 3000", brief(text))
	case len(args) > 1:
		return facts.Target{}, fmt.Errorf("--error is about one target: leave out %s", withoutPassword(args[1]))
	case bind && r.Intent == facts.Connect:
		return facts.Target{}, fmt.Errorf("--error says that %s, which a client meets: leave out --bind", r.Means)
	}
	e := r.ClientError
	e.Text, e.Means = host.Mask(e.Text), host.Mask(e.Means)

	where := r.Host
	if r.Host != "" && r.Port != 0 {
		where = net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port)))
	} else if r.Port != 0 {
		where = strconv.Itoa(int(r.Port))
	}
	if len(args) == 1 {
		t, err := ParseTarget(args[0], r.Intent)
		if err != nil {
			return facts.Target{}, err
		}
		if contradicts(r, t) {
			return facts.Target{}, fmt.Errorf("--error names %s, and the target is %s: leave out one of them", where, withoutPassword(args[0]))
		}
		if t.Named || r.Host == "" {
			return about(t, e), nil
		}
		where, r.Network = net.JoinHostPort(r.Host, strconv.Itoa(int(t.Port))), t.Network
	} else if r.Port == 0 {
		if r.Symptom == "name-not-resolved" && (r.Host == "" || facts.IsLocalhost(r.Host)) {
			return about(loopbackTarget(), e), nil
		}
		return facts.Target{}, fmt.Errorf("--error says that %s, but names no port: give it as well, as in loopdoctor --error '…' 3000", e.Means)
	}
	if r.Usual && len(args) == 0 && r.Unix == "" {
		e.Means += fmt.Sprintf(" (at a port that it does not name: %d is the usual one)", r.Port)
	}
	if r.Network == "udp" {
		where = "udp://" + where
	}
	t, err := ParseTarget(where, r.Intent)
	if err != nil {
		return facts.Target{}, fmt.Errorf("--error: %w", err)
	}
	return about(t, e), nil
}

// about joins a target and what was said of it. An address that the text names
// without a port, or one that is the target itself, gets the target's port.
func about(t facts.Target, e facts.ClientError) facts.Target {
	a := e.Addr.Addr()
	if own, err := netip.ParseAddr(t.Host); err == nil {
		a = own.Unmap()
	}
	e.Addr = netip.AddrPort{}
	if a.IsValid() {
		e.Addr = netip.AddrPortFrom(a, t.Port)
	}
	t.Error = &e
	if t.Speak == "" && t.Network == "tcp" {
		t.Speak = spokeTo(e)
	}
	return t
}

// spokeTo is the protocol in which the client got its answer, where the answer's words
// say so: what the server says to it is then to be seen.
func spokeTo(e facts.ClientError) facts.Question {
	switch e.Names {
	case "host-header-check", "headers-too-large", "browser-local-network-access":
		return facts.AskHTTP
	case "server-acl-or-auth":
		for _, x := range []struct {
			words string
			ask   facts.Question
		}{
			{"pg_hba.conf", facts.AskPostgreSQL}, {"too many clients already", facts.AskPostgreSQL}, {"remaining connection slots", facts.AskPostgreSQL}, {"too many connections for", facts.AskPostgreSQL}, {"no more connections allowed", facts.AskPostgreSQL},
			{"protected mode", facts.AskRedis}, {"max number of clients", facts.AskRedis}, {"Too many connections", facts.AskMySQL}, {"MaxStartups", facts.AskSSH},
		} {
			if strings.Contains(e.Text, x.words) {
				return x.ask
			}
		}
	}
	return ""
}

// contradicts tells whether the text and the target cannot both be right. A port
// that was guessed gives way, and localhost may be any loopback address.
func contradicts(r errortext.Reading, t facts.Target) bool {
	if r.Port != 0 && !r.Guessed && !r.Usual && r.Port != t.Port {
		return true
	}
	if !t.Named || r.Host == "" || strings.EqualFold(r.Host, t.Host) {
		return false
	}
	said, ok := netip.ParseAddr(r.Host)
	own, named := netip.ParseAddr(t.Host)
	switch {
	case ok == nil && named == nil:
		return said.Unmap() != own.Unmap()
	case ok == nil:
		return !facts.IsLocalhost(t.Host) || !said.IsLoopback()
	case named == nil:
		return !facts.IsLocalhost(r.Host) || !own.IsLoopback()
	}
	return true
}

// loopbackTarget is what the run without a target is about.
func loopbackTarget() facts.Target {
	return facts.Target{Raw: "loopback", Network: "tcp", Named: true, Intent: facts.Connect}
}

// brief is the beginning of a text, for a message.
func brief(text string) string {
	first, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	short := []rune(report.Clean(host.Mask(first)))
	if more = more || len(short) > 60; more {
		return string(short[:min(60, len(short))]) + " …"
	}
	return cmp.Or(string(short), "…")
}
