// Package forward reads where a program that holds a port for somebody else leads:
// from the arguments of ssh, kubectl, socat and the like, and from the configuration
// of ssh. It judges nothing, and refuses to look anything up: what it is given is text.
package forward

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what is read.
const (
	maxWays  = 64
	maxWord  = 256 // bytes of a host, a path, a port
	maxLines = 20_000
)

// Way is one way on.
type Way struct {
	Kind    string // "ssh -L", "ssh -D", "ssh -W", "kubectl port-forward", "socat" …
	From    string // "argument 3", "/home/ann/.ssh/config:12"
	Text    string // the words there
	Bind    string // the address or name on which it listens, as written; empty: the program's default
	Port    uint16 // on which it listens; 0: none that is named
	Unix    string // the UNIX socket on which it listens
	Host    string // where it leads to
	To      uint16
	ToUnix  string
	UDP     bool   // it leads on by UDP
	Only    string // the addresses from which it takes connections, "10.0.0.0/8"; empty: from any
	Takes   string // "tcp", "udp": of what it was told to take; empty: TCP, as far as is known
	Through string // the machine, or the pod, that lies between
}

// Target is where the way leads, as a person writes it; empty: that is not known.
func (w Way) Target() string {
	switch {
	case w.ToUnix != "":
		return w.ToUnix
	case w.To == 0:
		return ""
	case strings.Contains(w.Host, ":"):
		return fmt.Sprintf("[%s]:%d", w.Host, w.To)
	}
	return fmt.Sprintf("%s:%d", w.Host, w.To)
}

// Arguments reads the command line of a program that is known to forward; nothing of
// another one. The words are those of the process, without their secrets.
func Arguments(name string, args []string) []Way {
	if len(args) == 0 {
		return nil
	}
	var ways []Way
	switch {
	case name == "kubectl" || name == "oc":
		ways = kubectl(args)
	case name == "socat" || name == "socat1":
		ways = socat(args)
	case strings.HasPrefix(name, "systemd-socket-") && path.Base(args[0]) == "systemd-socket-proxyd":
		ways = socketProxy(args)
	case name == "docker-proxy":
		ways = dockerProxy(args)
	case slices.Contains(pastas, name):
		ways = pasta(args)
	case name == "caddy":
		ways = caddy(args)
	case name == "ssh":
		ways = SSH(args).Ways
	}
	return ways[:min(len(ways), maxWays)]
}

func argument(i int) string { return fmt.Sprintf("argument %d", i) }

// number reads a port.
func number(s string) uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// hostPort takes "host:port" and "[host]:port" apart; port 0: it is neither.
func hostPort(s string) (host string, port uint16) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || len(s) > maxWord {
		return "", 0
	}
	return strings.Trim(s[:i], "[]"), number(s[i+1:])
}

// short bounds a word.
func short(s string) string {
	if len(s) > maxWord {
		return ""
	}
	return s
}
