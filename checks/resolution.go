package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What localhost resolves to.

var hostsLocalhostMissing = &Check{
	Name:     "hosts-localhost-missing",
	Doc:      "the hosts file has no usable line for localhost",
	Stage:    StageResolve,
	Needs:    []facts.Group{facts.GroupNames},
	Explains: []*Check{nameNotResolved},
	Run: func(f *facts.Facts) []Finding {
		n := f.Names
		if !facts.IsLocalhost(n.Name) || len(n.Hosts.Lines) > 0 || len(n.Addresses) > 0 || !slices.Contains(n.Switch.Sources, "files") {
			return nil
		}
		x := Finding{Certainty: cond(n.Unknown(), Inferred, Proven), Settle: cond(n.Unknown(), "getent ahosts "+n.Name, ""), Since: n.Hosts.Changed,
			Summary:  fmt.Sprintf("%s has no line for %s, and nothing else on this machine answers for the name: programs that ask the system fail.", n.Hosts.Path, n.Name),
			Evidence: []Evidence{{n.Hosts.Path, "no line with " + n.Name}, {n.Switch.Path, "hosts: " + strings.Join(n.Switch.Sources, " ")}},
			Fixes:    []Fix{addHostsLines(f)}}
		if n.Hosts.Error != "" {
			x.Summary = fmt.Sprintf("%s cannot be read (%s), so %s does not resolve.", n.Hosts.Path, n.Hosts.Error, n.Name)
			x.Evidence[0].Text = n.Hosts.Error
			if n.Hosts.Error != "missing" && n.Hosts.Mode&0o004 == 0 {
				x.Evidence[0].Text += fmt.Sprintf(", mode %04o", n.Hosts.Mode)
				x.Fixes = []Fix{{Do: "Let everybody read the hosts file.", Elevated: true, Lasts: Persistent,
					Steps: [][]string{{"chmod", "644", n.Hosts.Path}}, Undo: [][]string{{"chmod", fmt.Sprintf("%04o", n.Hosts.Mode), n.Hosts.Path}}}}
			}
		}
		return []Finding{x}
	},
}

var hostsLocalhostWrong = &Check{
	Name:     "hosts-localhost-wrong",
	Doc:      "the hosts file gives localhost another address than loopback",
	Stage:    StageResolve,
	Needs:    []facts.Group{facts.GroupNames},
	Uses:     []facts.Group{facts.GroupSockets},
	Explains: []*Check{nameLeadsElsewhere, noListener, lanIPOnlyBind, refused, unreachable, noReply},
	Run: func(f *facts.Facts) []Finding {
		n := f.Names
		if !facts.IsLocalhost(n.Name) {
			return nil
		}
		for _, l := range n.Hosts.Lines {
			if a := l.Addr.Unmap(); a == v4Loopback || a == v6Loopback {
				continue
			}
			// 127.0.1.1 does no harm when the server can be reached there.
			if l.Addr.IsLoopback() && f.Sockets != nil && len(serving(f, l.Addr)) > 0 {
				continue
			}
			if !slices.ContainsFunc(n.Addresses, func(a facts.NamedAddr) bool { return a.Addr == l.Addr }) {
				continue
			}
			x := Finding{Certainty: Proven, Since: n.Hosts.Changed,
				Summary:  fmt.Sprintf("Line %d of %s gives %s the address %s: programs that ask the system go there.", l.Line, n.Hosts.Path, n.Name, l.Addr),
				Evidence: []Evidence{{fmt.Sprintf("%s:%d", n.Hosts.Path, l.Line), l.Text}},
				Fixes:    []Fix{rewriteLine(n.Hosts.Path, l.Line, append([]string{"127.0.0.1 " + n.Name}, withoutName(l.Text, n.Name)...), fmt.Sprintf("Give %s its address in line %d.", n.Name, l.Line))}}
			if f.Target.Named && !f.Target.Literal {
				x.Affects = []netip.Addr{l.Addr.Unmap()}
				// The name has lost the address at which the server is.
				if f.Sockets != nil && len(serving(f, v4Loopback)) > 0 && !slices.ContainsFunc(n.Addresses, func(a facts.NamedAddr) bool { return a.Addr.Unmap() == v4Loopback }) {
					x.Affects = nil
				}
			} else {
				x.Remark = true
			}
			return []Finding{x}
		}
		return nil
	},
}

var nsswitchWithoutFiles = &Check{
	Name:     "nsswitch-without-files",
	Doc:      "nsswitch.conf does not let the C library read the hosts file",
	Stage:    StageResolve,
	Needs:    []facts.Group{facts.GroupNames},
	Explains: []*Check{nameNotResolved},
	Run: func(f *facts.Facts) []Finding {
		n := f.Names
		if !facts.IsLocalhost(n.Name) || n.Switch.Line == 0 || slices.Contains(n.Switch.Sources, "files") || len(n.Addresses) > 0 ||
			belowLocalhost(n) && len(n.Hosts.Lines) == 0 { // then reading the file would not help
			return nil
		}
		return []Finding{{Certainty: cond(n.Unknown(), Inferred, Proven), Settle: cond(n.Unknown(), "getent ahosts "+n.Name, ""), Since: n.Switch.Changed,
			Summary:  fmt.Sprintf("Line %d of %s does not name files: the hosts file is never read, and %s does not resolve.", n.Switch.Line, n.Switch.Path, n.Name),
			Evidence: nameEvidence(f), Fixes: []Fix{addFiles(n)}}}
	},
}

var dnsAnswersLocalhost = &Check{
	Name:     "dns-answers-localhost",
	Doc:      "localhost is asked at a name server, which answers with another address",
	Stage:    StageResolve,
	Needs:    []facts.Group{facts.GroupNames},
	Explains: []*Check{nameLeadsElsewhere, noListener, lanIPOnlyBind},
	Run: func(f *facts.Facts) []Finding {
		n := f.Names
		if !facts.IsLocalhost(n.Name) || len(n.Addresses) == 0 || n.Addresses[0].Addr.IsLoopback() || !strings.HasPrefix(n.Addresses[0].Source, "name server") {
			return nil
		}
		a := n.Addresses[0]
		x := Finding{Certainty: Proven, Remark: !f.Target.Named, Since: n.Switch.Changed, Evidence: nameEvidence(f),
			Summary: fmt.Sprintf("The %s answers that %s is %s: the question should never have left this machine (RFC 6761 section 6.3).", a.Source, n.Name, a.Addr)}
		if filesLast(n) && n.Switch.Line > 0 {
			x.Fixes = []Fix{addFiles(n)}
		} else {
			x.Fixes = []Fix{addHostsLines(f)}
		}
		return []Finding{x}
	},
}

func nameEvidence(f *facts.Facts) []Evidence {
	n := f.Names
	es := []Evidence{{fmt.Sprintf("%s:%d", n.Switch.Path, n.Switch.Line), n.Switch.Text}}
	for _, s := range n.Servers {
		switch {
		case s.Error != "":
			es = append(es, Evidence{"name server " + s.Addr.Addr().String(), s.Error})
		case s.Asked:
			es = append(es, Evidence{"name server " + s.Addr.Addr().String(), strings.TrimSpace(fmt.Sprintf("%s %s", s.Rcode, addrs(s.Answers)))})
		default:
			es = append(es, Evidence{"name server " + s.Addr.Addr().String(), "not asked: it is not on this machine"})
		}
	}
	for _, l := range n.Hosts.Lines {
		es = append(es, Evidence{fmt.Sprintf("%s:%d", n.Hosts.Path, l.Line), l.Text + cond(slices.Contains(n.Switch.Sources, "files"), " (read too late)", " (never read)")})
	}
	return es
}

func addrs(as []netip.Addr) string {
	var out []string
	for _, a := range as {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

const backup = ".before-loopdoctor"

// addHostsLines appends the two lines of RFC 6761. The copy makes the undo
// exact; a missing file has nothing to copy.
func addHostsLines(f *facts.Facts) Fix {
	path := f.Names.Hosts.Path
	fix := Fix{Do: fmt.Sprintf("Add %s to the hosts file.", f.Names.Name), Elevated: true, Lasts: Persistent,
		Steps: [][]string{{"cp", "-p", path, path + backup}},
		Undo:  [][]string{{"cp", path + backup, path}, {"rm", path + backup}},
		Files: []File{{Path: path, Append: fmt.Sprintf("127.0.0.1 %[1]s\n::1 %[1]s\n", f.Names.Name)}}}
	if f.Names.Hosts.Open {
		fix.Files[0].Append = "\n" + fix.Files[0].Append
	}
	if f.Names.Hosts.Error == "missing" {
		fix.Steps, fix.Undo = nil, [][]string{{"rm", path}}
	}
	return fix
}

// filesLast tells whether a name server is asked before the hosts file, if that
// is read at all.
func filesLast(n *facts.Names) bool {
	files, dns := slices.Index(n.Switch.Sources, "files"), slices.Index(n.Switch.Sources, "dns")
	return files < 0 || dns >= 0 && dns < files
}

func addFiles(n *facts.Names) Fix {
	_, sources, _ := strings.Cut(n.Switch.Text, ":")
	words := slices.DeleteFunc(strings.Fields(sources), func(w string) bool { return w == "files" })
	line := "hosts: files " + strings.Join(words, " ")
	return rewriteLine(n.Switch.Path, n.Switch.Line, []string{line}, "Let the C library read the hosts file first.")
}

// withoutName is a line of the hosts file without one of its names; nothing if
// it has no other.
func withoutName(line, name string) []string {
	entry, comment, commented := strings.Cut(line, "#")
	words := slices.DeleteFunc(strings.Fields(entry), func(w string) bool { return strings.EqualFold(w, name) })
	if len(words) < 2 {
		return nil
	}
	if commented {
		words = append(words, "#"+comment)
	}
	return []string{strings.Join(words, " ")}
}

// rewriteLine puts others in the place of one line. sed's w writes into the
// file that is there, so it works on a bind-mounted /etc/hosts too, where
// sed -i cannot rename. In the C locale a dot matches any byte.
func rewriteLine(path string, line int, lines []string, do string) Fix {
	for i := range lines {
		lines[i] = strings.NewReplacer(`\`, `\\`, `/`, `\/`, `&`, `\&`, "\n", " ").Replace(lines[i])
	}
	text := strings.Join(lines, `\n`)
	return Fix{Do: do, Elevated: true, Lasts: Persistent,
		Steps: [][]string{{"cp", "-p", path, path + backup}, {"env", "LC_ALL=C", "sed", "-n", "-e", fmt.Sprintf("%ds/.*/%s/", line, text), "-e", "w " + path, path + backup}},
		Undo:  [][]string{{"cp", path + backup, path}, {"rm", path + backup}}}
}
