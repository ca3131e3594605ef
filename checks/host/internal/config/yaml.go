package config

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// ParseProperties reads the application.properties of Spring Boot:
//
//	server.port=8081
//
// https://docs.spring.io/spring-boot/appendix/application-properties/
func ParseProperties(data []byte) Found {
	var f Found
	for n, line := range lines(data) {
		line = strings.TrimSpace(line)
		i := strings.IndexAny(line, "=:")
		if i < 0 || line[0] == '#' || line[0] == '!' {
			continue
		}
		spring(&f, n, line, strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:]))
	}
	return f
}

// ParseApplication reads the same as YAML, application.yml:
//
//	server:
//	  port: 8081
func ParseApplication(data []byte) Found {
	var f Found
	for _, e := range yaml(data) {
		if !e.item {
			spring(&f, e.line, e.text, strings.Join(e.path, "."), e.value)
		}
	}
	return f
}

func spring(f *Found, n int, text, name, value string) {
	switch {
	case value == "" || variable(value):
	case name == "server.port" && value == "-1":
		f.add(Spring, n, text, facts.ConfigLine{Off: true}, "")
	case name == "server.port" && value != "0": // 0 is any that is free
		f.add(Spring, n, text, facts.ConfigLine{}, value)
	case name == "server.address":
		f.add(Spring, n, text, where(value, all6), "")
	}
}

// ParseCompose reads the published ports of a compose file, in both syntaxes:
//
//	ports:
//	  - "127.0.0.1:8080:80"
//	  - target: 80
//	    published: "8080"
//
// https://docs.docker.com/reference/compose-file/services/#ports
func ParseCompose(data []byte) Found {
	var f Found
	var long facts.ConfigLine // the item in the long syntax that is being read
	n, text, port := 0, "", ""
	end := func() {
		if port != "" {
			f.add(Compose, n, text, long, port)
		}
		long, port = facts.ConfigLine{}, ""
	}
	for _, e := range yaml(data) {
		in := len(e.path) >= 3 && e.path[0] == "services" && e.path[2] == "ports"
		if e.item || !in {
			end()
		}
		switch {
		case !in:
		case len(e.path) == 3 && strings.HasPrefix(e.value, "["):
			for v := range strings.SplitSeq(strings.Trim(e.value, "[] "), ",") {
				published(&f, e, unquote(strings.TrimSpace(v)))
			}
		case len(e.path) == 3:
			published(&f, e, e.value)
		case len(e.path) == 4:
			switch e.path[3] {
			case "published":
				n, text, port = e.line, e.text, e.value
			case "host_ip":
				long.Addr = where(e.value, all4).Addr
			case "protocol":
				long.UDP = e.value == "udp"
			}
		}
	}
	end()
	return f
}

// published reads the short syntax: [[IP:]PUBLISHED:]TARGET[/PROTOCOL].
func published(f *Found, e yamlEntry, s string) {
	s, protocol, _ := strings.Cut(s, "/")
	i := strings.LastIndexByte(s, ':')
	if i < 0 || variable(s) {
		return // the engine takes any port that is free, or somebody fills it in
	}
	l, port := facts.ConfigLine{}, s[:i]
	if k := strings.LastIndexByte(port, ':'); k >= 0 {
		l, port = where(strings.Trim(port[:k], "[]"), all4), port[k+1:]
	}
	l.UDP = protocol == "udp"
	if port != "" {
		f.add(Compose, e.line, e.text, l, port)
	}
}

// yamlEntry is a scalar of a YAML file and the keys that lead to it.
type yamlEntry struct {
	line  int
	text  string
	path  []string
	value string
	item  bool // it begins an item of a list
}

// yaml reads what compose and Spring files commonly hold: nested mappings and
// lists in block style. What it does not know, it passes over: anchors, tags,
// block scalars, mappings in flow style.
func yaml(data []byte) []yamlEntry {
	type level struct {
		indent int
		key    string
	}
	var open []level
	var out []yamlEntry
	block := -1 // indentation of the key whose block scalar is being read
	for n, line := range lines(data) {
		text := strings.TrimSpace(uncomment(line, '#'))
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case text == "" || block >= 0 && indent > block:
			continue
		case text == "---" || text == "...":
			open = nil
			continue
		}
		block = -1
		rest, item := text, false
		for strings.HasPrefix(rest, "- ") {
			cut := len(rest) - len(strings.TrimLeft(rest[1:], " "))
			rest, item = rest[cut:], true
			indent += cut
		}
		for len(open) > 0 && open[len(open)-1].indent >= indent {
			open = open[:len(open)-1]
		}
		key, value, ok := strings.Cut(rest, ":")
		quoted := rest[0] == '"' || rest[0] == '\''
		if !ok || quoted && !strings.Contains(strings.Trim(rest, `"'`), `":`) || value != "" && value[0] != ' ' && value[0] != '\t' {
			key, value, ok = "", rest, false
		}
		value = strings.TrimSpace(value)
		var path []string
		for _, l := range open {
			path = append(path, l.key)
		}
		if ok {
			path = append(path, unquote(strings.TrimSpace(key)))
			open = append(open, level{indent, path[len(path)-1]})
			if len(open) > maxNesting {
				return out
			}
		}
		if strings.HasPrefix(value, "|") || strings.HasPrefix(value, ">") {
			block = indent
			continue
		}
		if value != "" && len(out) < maxLines {
			out = append(out, yamlEntry{n, text, path, unquote(value), item})
		}
	}
	return out
}
