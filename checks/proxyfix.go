package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How a client is kept from asking a proxy for this machine.

// fixes are alternatives, what concerns this machine alone first.
func (p *proxying) fixes(f *facts.Facts) []Fix {
	a := p.asking[0]
	if a.use.Proxy.Program == "git" {
		return p.gitFixes(a.use.Proxy)
	}
	list := exempting(a.use.Exempt.Value, p.request.Host)
	switch a.use.Proxy.Program {
	case "java":
		return []Fix{{Do: fmt.Sprintf("Take -Dhttp.nonProxyHosts= out of %s: without it Java exempts localhost and 127.*, and else write them there, separated by |.", a.use.Proxy.Where())}}
	case "curl":
		return []Fix{onceCurl(p),
			{Do: fmt.Sprintf("Write the line noproxy = \"%s\" into %s.", list, a.use.Proxy.File)}}
	case "wget":
		return []Fix{onceWget(p),
			{Do: fmt.Sprintf("Write the line no_proxy = %s into %s.", list, a.use.Proxy.File)}}
	}
	all := slices.ContainsFunc(f.Proxies.Variables, func(v facts.Variable) bool {
		return strings.EqualFold(v.Name, "no_proxy") && strings.TrimSpace(v.Value) == "*"
	})
	if round := once(p); all && len(round) > 0 {
		return round // curl and Python read * only where it is alone: a longer list would send them to the proxy
	}
	return append([]Fix{exemptInEnvironment(f, p.request.Host, a.use.Proxy.Name)}, once(p)...)
}

// once is a way round the proxy for one request.
func once(p *proxying) []Fix {
	for _, a := range p.asking {
		switch a.client.Name {
		case "curl":
			return []Fix{onceCurl(p)}
		case "wget":
			return []Fix{onceWget(p)}
		}
	}
	return nil
}

func onceCurl(p *proxying) Fix {
	return Fix{Do: "Go round the proxy this once.", Paste: "curl --noproxy '*' " + urlOf(p.request)}
}

func onceWget(p *proxying) Fix {
	return Fix{Do: "Go round the proxy this once.", Paste: "wget --no-proxy " + urlOf(p.request)}
}

// exempting is a list with which every client goes to this machine itself: none reads
// networks, brackets and stars as another does, so each form stands by itself.
func exempting(old, host string) string {
	var list []string
	for _, e := range strings.FieldsFunc(old, func(c rune) bool { return strings.ContainsRune(", \t|;", c) }) {
		if !slices.Contains(list, e) { // both spellings often say the same
			list = append(list, e)
		}
	}
	want := []string{"localhost", "127.0.0.1", "::1", "[::1]", host}
	if strings.Contains(host, ":") {
		want = append(want, "["+host+"]")
	}
	for _, e := range want {
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	return strings.Join(list, ",")
}

// exemptInEnvironment sets both spellings: wget reads the small letters only, Go the
// capitals first. Whatever either of them exempts already stays so.
func exemptInEnvironment(f *facts.Facts, host, name string) Fix {
	p := f.Proxies
	old := ""
	for _, v := range p.Variables {
		if strings.EqualFold(v.Name, "no_proxy") {
			old += "," + v.Value
		}
	}
	list := exempting(old, host)
	if strings.HasSuffix(p.Unit, ".service") && !strings.HasPrefix(p.Unit, "user@") {
		return Fix{Do: fmt.Sprintf("Exempt this machine in the unit: sudo systemctl edit %[1]s, write the line below [Service], then sudo systemctl restart %[1]s.", p.Unit),
			Paste: fmt.Sprintf(`Environment="no_proxy=%[1]s" "NO_PROXY=%[1]s"`, list)}
	}
	fix := Fix{Do: "Exempt this machine, in the shell that starts the client.", Paste: fmt.Sprintf("export no_proxy=%[1]s NO_PROXY=%[1]s", quoteWord(list))}
	for _, s := range p.SetIn {
		if s.Name == name {
			fix.Do = fmt.Sprintf("Exempt this machine, in the shell that starts the client, and to keep it so behind line %d of %s.", s.Line, s.File)
			break
		}
	}
	return fix
}

// quoteWord keeps a shell from reading anything else into a word.
func quoteWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// gitFixes: an empty proxy of a URL exempts it and leaves the rest as it is.
func (p *proxying) gitFixes(s facts.ProxySetting) []Fix {
	name := "http." + urlOf(p.request) + ".proxy"
	if s.Name == name { // it names a proxy for this very URL
		return unsetFixes(s)
	}
	return append([]Fix{{Do: "Exempt this server for git.", Lasts: Persistent,
		Steps: [][]string{{"git", "config", "--file", s.File, name, ""}}, Undo: [][]string{{"git", "config", "--file", s.File, "--unset", name}}}}, unsetFixes(s)...)
}

// unsetFixes take a setting away, by its program where that has a command. What was
// masked cannot be put back.
func unsetFixes(s facts.ProxySetting) []Fix {
	switch masked := strings.Contains(s.Name+s.Value, "***"); {
	case s.File == "":
		return []Fix{{Do: "Take the variable away, in the shell that starts the client.", Paste: "unset " + s.Name}}
	case s.Program == "git" && !masked:
		return []Fix{{Do: "Let git use no proxy any more.", Lasts: Persistent, Risk: "without it git may not reach other servers",
			Steps: [][]string{{"git", "config", "--file", s.File, "--unset", s.Name}}, Undo: [][]string{{"git", "config", "--file", s.File, s.Name, s.Value}}}}
	}
	return []Fix{{Do: fmt.Sprintf("Take the line %s = %s out of %s.", s.Name, s.Value, s.Where())}}
}
