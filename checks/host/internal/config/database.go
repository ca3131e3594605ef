package config

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// ParseRedis reads redis.conf:
//
//	bind 127.0.0.1 -::1
//	port 6379
//
// https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/
func ParseRedis(data []byte) Found {
	var f Found
	for n, line := range lines(data) {
		words := strings.Fields(line)
		if len(words) < 2 || strings.HasPrefix(words[0], "#") {
			continue
		}
		value := unquote(words[1])
		switch strings.ToLower(words[0]) {
		case "port":
			if value == "0" {
				f.add(Redis, n, line, facts.ConfigLine{Off: true}, "")
			} else {
				f.add(Redis, n, line, facts.ConfigLine{}, value)
			}
		case "tls-port":
			if value != "0" {
				f.add(Redis, n, line, facts.ConfigLine{}, value)
			}
		case "bind":
			for _, w := range words[1:] {
				// A minus: it is no error if the machine has no such address.
				w = strings.TrimPrefix(unquote(w), "-")
				if w == "::*" {
					w = "::"
				}
				f.add(Redis, n, line, where(w, all4), "")
			}
		case "unixsocket":
			f.add(Redis, n, line, facts.ConfigLine{Unix: value}, "")
		case "include":
			f.include(value)
		}
	}
	return f
}

// ParsePostgreSQL reads postgresql.conf:
//
//	listen_addresses = 'localhost, 192.0.2.7'	# what IP address(es) to listen on
//
// https://www.postgresql.org/docs/15/config-setting.html
func ParsePostgreSQL(data []byte) Found {
	var f Found
	for n, line := range lines(data) {
		// There a comment may follow a value at once.
		name, value := split(uncomment(strings.ReplaceAll(line, "#", " #"), '#'))
		value = unquote(value)
		text := uncomment(line, '#')
		switch name {
		case "port":
			if value != "" {
				f.add(PostgreSQL, n, text, facts.ConfigLine{}, value)
			}
		case "listen_addresses":
			if strings.TrimSpace(value) == "" {
				f.add(PostgreSQL, n, text, facts.ConfigLine{Off: true}, "")
				continue
			}
			for a := range strings.SplitSeq(value, ",") {
				if a = strings.TrimSpace(a); a != "" {
					f.add(PostgreSQL, n, text, where(a, all6), "")
				}
			}
		case "unix_socket_directories":
			for d := range strings.SplitSeq(value, ",") {
				if d = strings.TrimSpace(d); d != "" {
					f.add(PostgreSQL, n, text, facts.ConfigLine{Unix: d}, "")
				}
			}
		case "include", "include_if_exists":
			f.include(value)
		case "include_dir":
			if value != "" {
				f.include(value + "/*.conf")
			}
		}
	}
	return f
}

// ParseMySQL reads my.cnf and what it includes:
//
//	[mysqld]
//	bind-address = 127.0.0.1
//
// https://mariadb.com/kb/en/configuring-mariadb-with-option-files/
func ParseMySQL(data []byte) Found {
	var f Found
	server, client := false, false
	for n, line := range lines(data) {
		line = strings.TrimSpace(uncomment(line, '#'))
		switch {
		case line == "" || line[0] == ';':
			continue
		case line[0] == '[':
			s := strings.Trim(line, "[] ")
			server = oneOf(s, "server", "mysqld", "mariadb", "mariadbd", "client-server") || strings.HasPrefix(s, "mysqld-") || strings.HasPrefix(s, "mariadb-") || strings.HasPrefix(s, "mariadbd-")
			client = oneOf(s, "client", "client-mariadb", "mysql")
			continue
		case line[0] == '!':
			name, value := split(line)
			switch {
			case value == "":
			case name == "!include":
				f.include(value)
			case name == "!includedir":
				f.include(strings.TrimSuffix(value, "/") + "/*.cnf")
			}
			continue
		}
		name, value := split(line)
		name = strings.TrimPrefix(strings.ReplaceAll(name, "_", "-"), "loose-")
		value = unquote(value)
		switch {
		case client && name == "port" && value != "":
			f.add(MySQL, n, line, facts.ConfigLine{Upstr: true}, value)
		case !server:
		case name == "port" && value != "":
			f.add(MySQL, n, line, facts.ConfigLine{}, value)
		case name == "bind-address" && value != "":
			for a := range strings.SplitSeq(value, ",") {
				f.add(MySQL, n, line, where(strings.TrimSpace(a), all6), "")
			}
		case name == "socket" && value != "":
			f.add(MySQL, n, line, facts.ConfigLine{Unix: value}, "")
		case name == "skip-networking" && !oneOf(strings.ToLower(value), "0", "off", "false"):
			f.add(MySQL, n, line, facts.ConfigLine{Off: true}, "")
		}
	}
	return f
}
