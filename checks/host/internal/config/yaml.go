package config

import (
	"bytes"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

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
	for _, e := range entries(data) {
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
	for _, e := range entries(data) {
		in := len(e.path) >= 3 && e.path[0] == "services" && e.path[2] == "ports"
		if e.item || !in {
			end()
		}
		switch {
		case !in:
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

// entries lists the scalars of a YAML file in their order, as long as it can be
// read. What a merge key or an alias stands for counts where it stands.
func entries(data []byte) []yamlEntry {
	w := walker{lines: strings.Split(string(data), "\n")}
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var document yaml.Node
		if err := d.Decode(&document); err != nil {
			return w.out
		}
		w.walk(&document, nil, false, 0)
	}
}

type walker struct {
	lines []string
	out   []yamlEntry
	steps int // aliases make a small file large
}

func (w *walker) walk(n *yaml.Node, path []string, item bool, depth int) {
	if w.steps++; w.steps > maxSteps || depth > maxNesting || len(w.out) >= maxLines {
		return
	}
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			w.walk(c, path, item, depth+1)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			w.walk(c, path, true, depth+1)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			below := append(slices.Clip(path), key.Value)
			if key.Tag == "!!merge" {
				below = path
			}
			w.walk(value, below, item && i == 0, depth+1)
		}
	case yaml.AliasNode:
		w.walk(n.Alias, path, item, depth+1)
	case yaml.ScalarNode:
		if n.Value != "" && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && n.Line >= 1 && n.Line <= len(w.lines) {
			w.out = append(w.out, yamlEntry{n.Line, strings.TrimSpace(uncomment(w.lines[n.Line-1], '#')), path, n.Value, item})
		}
	}
}
