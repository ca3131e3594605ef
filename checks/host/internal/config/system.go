package config

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// ParseSSHD reads sshd_config:
//
//	ListenAddress 127.0.0.1:2222
//
// sshd_config(5). What stands below a Match says nothing about listening.
func ParseSSHD(data []byte) Found {
	var f Found
	for n, line := range lines(data) {
		text := strings.TrimSpace(uncomment(line, '#'))
		name, value := split(text)
		value = unquote(value)
		switch {
		case name == "match":
			return f
		case value == "":
		case name == "port":
			f.add(SSHD, n, text, facts.ConfigLine{}, value)
		case name == "listenaddress":
			if words := strings.Fields(value); len(words) > 0 {
				l, port := endpoint(words[0], all4)
				if digits(words[0]) { // a number is an old way to write an address
					continue
				}
				f.add(SSHD, n, text, l, port)
			}
		case name == "include":
			for _, w := range strings.Fields(value) {
				f.include(unquote(w))
			}
		}
	}
	return f
}

// ParseSocketUnit reads a .socket unit of systemd, or a drop-in of one:
//
//	[Socket]
//	ListenStream=127.0.0.1:8080
//	BindIPv6Only=ipv6-only
//
// systemd.socket(5). BindToDevice= and BindIPv6Only= are lines of their own: they
// hold for all sockets of the unit, also for those of other files.
func ParseSocketUnit(data []byte) Found {
	var f Found
	section := ""
	for n, line := range lines(data) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[':
			section = line
			continue
		case section != "[Socket]":
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch name {
		case "ListenStream", "ListenDatagram":
			udp := name == "ListenDatagram"
			switch {
			case value == "": // the list begins anew
				f.Lines, f.Reset = nil, true
			case value[0] == '/' || value[0] == '@':
				f.add(Systemd, n, line, facts.ConfigLine{Unix: value, UDP: udp}, "")
			case strings.HasPrefix(value, "vsock:"):
			default:
				l, port := endpoint(value, all6)
				l.UDP = udp
				if port != "" {
					f.add(Systemd, n, line, l, port)
				}
			}
		case "BindToDevice":
			if value != "" {
				f.add(Systemd, n, line, facts.ConfigLine{Device: value}, "")
			}
		case "BindIPv6Only":
			if oneOf(value, "both", "ipv6-only") {
				only := value == "ipv6-only"
				f.add(Systemd, n, line, facts.ConfigLine{V6Only: &only}, "")
			}
		}
	}
	return f
}
