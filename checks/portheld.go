package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Another program has the port.

var portHeldByOtherApp = &Check{
	Name:     "port-held-by-other-app",
	Doc:      "another program listens on the port already",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		held, verb := listeners(f), "listens on"
		if f.Target.Network == "udp" {
			held, verb = slices.DeleteFunc(slices.Clone(f.Sockets.Sockets), func(s facts.Socket) bool {
				return s.Network != "udp" || s.Local.Port() != f.Target.Port
			}), "has the UDP port"
		}
		for _, s := range held {
			on := bindsLostTo(f, s)
			if len(on) == 0 {
				continue
			}
			fs = append(fs, Finding{Affects: on, Certainty: Proven, Since: since(f, s), Evidence: heldEvidence(f, s),
				Summary: fmt.Sprintf("%s %s %s already.", shown(f, s), verb, s.Local),
				Fixes:   append(stopHolders(f, s, "Stop %s."), anotherPort(f))})
		}
		return allHaveToGo(mergeAddresses(f, fs))
	},
}

// allHaveToGo says of listeners that share an address that to stop one is not
// enough.
func allHaveToGo(fs []Finding) []Finding {
	for i := range fs {
		shared := slices.ContainsFunc(fs, func(y Finding) bool { return y.Summary != fs[i].Summary && shareAddress(fs[i], y) })
		if fix := &fs[i].Fixes[0]; shared && len(fix.Steps) > 0 {
			fix.Risk = strings.TrimPrefix(fix.Risk+"; another listener has the port as well: each of them has to go", "; ")
		}
	}
	return fs
}

// staleOwnDevServer: same user and same directory as the person who asks. That
// the process holds the port is proven; that it is a forgotten run is the
// nearest reading of it.
var staleOwnDevServer = &Check{
	Name:     "stale-own-dev-server",
	Doc:      "an earlier run of the same project still holds the port",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on := bindsLostTo(f, s)
			if len(on) == 0 || holdOf(f, s) != heldByEarlier {
				continue
			}
			p := f.Owners.Of(s)[0]
			orphan := ""
			if p.PPID == 1 && f.Host.Vantage == "host" { // in a container process 1 may well be its parent
				orphan = ", and the shell that started it is gone"
			}
			fs = append(fs, Finding{Affects: on, Certainty: cond(f.Owners.Seen(s), Proven, Inferred), Since: p.Started,
				Summary:  fmt.Sprintf("An earlier run of your own still holds %s: %s, started in %s%s.", s.Local, who(p), p.Cwd, orphan),
				Evidence: heldEvidence(f, s),
				Fixes:    append(stopHolders(f, s, "Stop the earlier run, %s."), anotherPort(f))})
		}
		return mergeAddresses(f, fs)
	},
}

func ownProject(f *facts.Facts, p facts.Process) bool {
	mine := slices.ContainsFunc(f.Host.As, func(i facts.Identity) bool { return i.UID == p.UID })
	return mine && p.Container == "" && !p.HoldsForContainers() && p.Cwd != "" && p.Cwd != "/" && p.Cwd == f.Host.Cwd
}

// ownerHiddenFromYou is no fault: it says why lsof shows nothing.
var ownerHiddenFromYou = &Check{
	Name:     "owner-hidden-from-you",
	Doc:      "the process that holds the port belongs to another user, so its number is hidden from you",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds, facts.GroupOwners},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on := bindsLostTo(f, s)
			foreign := !slices.ContainsFunc(f.Host.As, func(i facts.Identity) bool { return i.UID == s.UID || i.UID == 0 })
			if len(on) == 0 || len(f.Owners.Of(s)) > 0 || f.Owners.Complete || !foreign {
				continue
			}
			// That one cannot see who it is keeps nobody from the port.
			fs = append(fs, Finding{Affects: on, Brings: []*Check{}, Certainty: Proven, Remark: true, Evidence: []Evidence{socketEvidence(f, s)},
				Summary: fmt.Sprintf("What holds %s belongs to %s: without root neither loopdoctor nor lsof nor ss sees which process it is.", s.Local, user(s.UID, s.User)),
				Settle:  fmt.Sprintf("sudo ss -tlnp 'sport = :%d'", f.Target.Port)})
		}
		return mergeAddresses(f, fs)
	},
}

// ideForwarderSquats knows editors and tunnels by their programs and arguments.
var ideForwarderSquats = &Check{
	Name:     "ide-forwarder-squats",
	Doc:      "an editor or a tunnel forwards the port to somewhere else, and so holds it",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on := bindsLostTo(f, s)
			if len(on) == 0 || holdOf(f, s) != heldForElsewhere {
				continue
			}
			p := f.Owners.Of(s)[0]
			name := forwarderName(p)
			x := Finding{Affects: on, Certainty: cond(f.Owners.Seen(s), Proven, Inferred), Since: p.Started, Evidence: heldEvidence(f, s)}
			if tunnel(p) {
				spec := forwardOf(p, f.Target.Port)
				x.Summary = fmt.Sprintf("%s holds %s for a tunnel: %s.", who(p), s.Local, cond(spec != "", spec, name))
				x.Fixes = append(stopHolders(f, s, "End the tunnel, %s."), Fix{Do: "Give the tunnel another local port, and leave this one to your server."})
			} else {
				x.Summary = fmt.Sprintf("%s, that is %s, holds %s: it forwards the port from another machine, or serves a part of itself there.", who(p), name, s.Local)
				x.Fixes = []Fix{{Do: cond(strings.HasPrefix(name, "JetBrains"), "Stop the forwarding in the IDE (Port Forwarding in the Services window).",
					"Stop the forwarding in the editor: view Ports, Stop Forwarding Port. So that it does not come back, set remote.autoForwardPorts to false.")}}
			}
			x.Fixes = append(x.Fixes, anotherPort(f))
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// editors by the name of their program; their helpers bear the same one.
var editors = map[string]string{"code": "VS Code", "code-insiders": "VS Code", "code-oss": "VS Code", "codium": "VSCodium", "cursor": "Cursor", "windsurf": "Windsurf",
	"zed": "Zed", "zed-editor": "Zed", "idea": "JetBrains IntelliJ IDEA", "goland": "JetBrains GoLand", "pycharm": "JetBrains PyCharm", "webstorm": "JetBrains WebStorm",
	"phpstorm": "JetBrains PhpStorm", "rider": "JetBrains Rider", "clion": "JetBrains CLion", "rubymine": "JetBrains RubyMine", "studio": "JetBrains Android Studio"}

// folders in which the part of an editor lies that runs beside the project.
var editorFolders = map[string]string{"/.vscode-server/": "VS Code", "/.vscode-remote/": "VS Code", "/.cursor-server/": "Cursor", "/.windsurf-server/": "Windsurf"}

// forwarderName says what an editor or a tunnel is; empty for anything else.
func forwarderName(p facts.Process) string {
	base := p.Exe[strings.LastIndexByte(p.Exe, '/')+1:]
	for folder, name := range editorFolders {
		if strings.Contains(p.Exe, folder) {
			return name
		}
	}
	first := first(p.Args)
	switch {
	case base == "ssh":
		return "the SSH client"
	case strings.HasPrefix(base, "sshd") && (strings.HasPrefix(first, "sshd: ") || strings.HasPrefix(first, "sshd-session: ")) && !strings.Contains(first, "[listener]") && !strings.Contains(first, "sshd -"):
		return "a session of the SSH server (ssh -R at the other end)"
	case base == "kubectl" && slices.Contains(p.Args, "port-forward"):
		return "kubectl port-forward"
	case base == "gh" && slices.Contains(p.Args, "codespace"):
		return "gh codespace"
	case slices.Contains(p.Args, "com.intellij.idea.Main"):
		return "JetBrains"
	}
	return editors[base]
}

// tunnel tells whether the program does nothing but forward.
func tunnel(p facts.Process) bool {
	return slices.Contains([]string{"ssh", "kubectl", "gh"}, p.Exe[strings.LastIndexByte(p.Exe, '/')+1:]) || strings.HasPrefix(first(p.Args), "sshd")
}

// forwardOf finds in the arguments of ssh(1) or kubectl what is forwarded from the
// port: "-L 62893:localhost:80"; empty if it was agreed on otherwise.
func forwardOf(p facts.Process, port uint16) string {
	n := fmt.Sprint(port)
	for i, a := range p.Args {
		flag := a[:min(len(a), 2)]
		if flag == "-L" || flag == "-D" {
			spec := a[2:]
			if spec == "" && i+1 < len(p.Args) {
				spec = p.Args[i+1]
			}
			parts := strings.Split(spec, ":")
			if at := len(parts) - 3; flag == "-D" && parts[len(parts)-1] == n || flag == "-L" && at >= 0 && (parts[at] == n || parts[0] == n || len(parts) > 1 && parts[1] == n) {
				return flag + " " + spec
			}
		}
		if local, _, ok := strings.Cut(a, ":"); ok && local == n && slices.Contains(p.Args, "port-forward") {
			return a
		}
	}
	return ""
}
