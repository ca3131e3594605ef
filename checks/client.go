package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The client is not where loopdoctor is: on another machine, or in another network
// namespace.

// browserOnAnotherMachine is a remark on a healthy service, which is dear: in an ssh
// session it would come with every look. But who asks about a service that works
// has a client that fails, and if that is a browser, this is the reason nearly
// always. So it is said where a browser can be meant, and where nothing but a
// tunnel helps: not of a database, and not of a service that other machines reach.
var browserOnAnotherMachine = &Check{
	Name:   "browser-on-another-machine",
	Doc:    "the person sits before another machine, where localhost is that machine",
	Stage:  StageListen,
	Intent: facts.Connect,
	Needs:  []facts.Group{facts.GroupEnvironment, facts.GroupSockets, facts.GroupDials},
	Uses:   []facts.Group{facts.GroupOwners},
	// The refusal is met on the other machine.
	Explains: []*Check{refused},
	Run: func(f *facts.Facts) []Finding {
		if f.Target.Port == 0 || len(f.Host.As) == 0 || f.Host.As[0].PID != 0 || wordless(f) {
			return nil // a process that was named is a client on this machine
		}
		for _, a := range f.Target.Expected() {
			if !a.IsLoopback() || !works(f, a) {
				return nil
			}
		}
		ls := listeners(f)
		if len(ls) == 0 || slices.ContainsFunc(ls, func(s facts.Socket) bool { return !s.Local.Addr().Unmap().IsLoopback() }) {
			return nil
		}
		from, where, do := remoteSession(f)
		if from == "" {
			return nil
		}
		return []Finding{{Affects: f.Target.Expected(), Certainty: Proven, Remark: true, Evidence: []Evidence{{"environment", from}, socketEvidence(f, ls[0])},
			Summary: fmt.Sprintf("You are here %s: in a browser on your own computer localhost is that computer, not this machine.", where),
			Fixes:   []Fix{{Do: do}}}}
	},
}

// remoteSession tells from the environment that the person sits before another
// machine: the variable, in words, and how to get the port there. It is empty
// where a display is at hand, since a browser may run there.
func remoteSession(f *facts.Facts) (from, where, do string) {
	v := map[string]string{}
	for _, x := range f.Environment.Variables {
		v[x.Name] = x.Value
	}
	if v["DISPLAY"] != "" || v["WAYLAND_DISPLAY"] != "" || v["WSL_DISTRO_NAME"] != "" { // Windows forwards localhost to WSL
		return "", "", ""
	}
	port := f.Target.Port
	switch {
	case v["CODESPACES"] == "true":
		return "CODESPACES=true", "through GitHub Codespaces", fmt.Sprintf("Open the address that the Ports view of the editor shows for %d, or add the port there.", port)
	case v["REMOTE_CONTAINERS"] == "true":
		return "REMOTE_CONTAINERS=true", "through a dev container", fmt.Sprintf("Forward port %d in the Ports view of the editor, and use the address shown there.", port)
	}
	// "203.0.113.9 51234 192.0.2.10 22": client and server, ssh(1). One that comes from
	// loopback is a tunnel's end, or this very machine.
	w := strings.Fields(v["SSH_CONNECTION"])
	if len(w) != 4 {
		return "", "", ""
	}
	client, err1 := netip.ParseAddr(w[0])
	server, err2 := netip.ParseAddr(w[2])
	_, err3 := strconv.ParseUint(w[3], 10, 16)
	if err1 != nil || err2 != nil || err3 != nil || client.IsLoopback() || client == server {
		return "", "", ""
	}
	user := cmp.Or(v["SUDO_USER"], v["USER"])
	if strings.Trim(user, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" || user == "" || user[0] == '-' {
		user = "USER" // this is to be pasted into a shell
	}
	at := fmt.Sprintf("%s@%s", user, server.WithZone(""))
	if w[3] != "22" {
		at = "-p " + w[3] + " " + at
	}
	do = fmt.Sprintf("On your computer: ssh %s (or the name that you use for this machine), then open localhost:%d there.", sshTunnel(f, at), near(port))
	if v["VSCODE_IPC_HOOK_CLI"] != "" {
		do = fmt.Sprintf("Forward port %d in the Ports view of the editor; or, on your computer: ssh %s.", port, sshTunnel(f, at))
	}
	return "SSH_CONNECTION=" + v["SSH_CONNECTION"], "through ssh", do
}

// sshTunnel is what ssh(1) is told to bring the port to the machine that it runs on.
func sshTunnel(f *facts.Facts, at string) string {
	to := "127.0.0.1"
	if len(serving(f, v4Loopback)) == 0 {
		to = "[::1]"
		if ls := listeners(f); len(serving(f, v6Loopback)) == 0 && len(ls) > 0 {
			to = ls[0].Local.Addr().Unmap().String()
		}
	}
	return fmt.Sprintf("-L %d:%s:%d %s", near(f.Target.Port), to, f.Target.Port, at)
}

// near is a port that an ordinary user may have on the near side of a tunnel.
func near(port uint16) uint16 {
	if port < 1024 {
		return port + 8000
	}
	return port
}

// wordless tells whether what listens there speaks a protocol that no browser does:
// by the program, or by the port where that is hidden.
func wordless(f *facts.Facts) bool {
	programs := []string{"sshd", "postgres", "mysqld", "mariadbd", "redis-server", "valkey-server", "mongod", "memcached", "named", "dnsmasq", "systemd-resolve", "master", "exim4", "dovecot", "slapd", "mosquitto", "beam.smp", "cupsd"}
	ports := []uint16{21, 22, 25, 53, 110, 111, 143, 389, 465, 587, 636, 993, 995, 1433, 1521, 1883, 3306, 5432, 5672, 6379, 9042, 11211, 27017}
	if slices.Contains(ports, f.Target.Port) {
		return true
	}
	return slices.ContainsFunc(listeners(f), func(s facts.Socket) bool {
		return slices.ContainsFunc(f.Owners.Of(s), func(p facts.Process) bool { return slices.Contains(programs, p.Name) })
	})
}

// loopbackOnlyRemoteClient is the mirror of lan-ip-only-bind: an address that other
// machines use was named, and loopback is what is served.
var loopbackOnlyRemoteClient = &Check{
	Name:     "loopback-only-remote-client",
	Doc:      "the server listens on loopback only, and the client uses another address of this machine",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupInterfaces},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		missed := slices.DeleteFunc(unserved(f), netip.Addr.IsLoopback)
		if len(missed) == 0 || !onLoopbackAlone(f) {
			return nil
		}
		s := listeners(f)[0]
		var where []string
		for _, l := range listeners(f) {
			where = append(where, l.Local.String())
		}
		slices.Sort(where)
		a := missed[0]
		on := interfaceOf(f, a)
		listen := Fix{Do: fmt.Sprintf("Make the server listen on %s%s.", at(f, a), cmp.Or(option(f, s, a), " as well")),
			Risk: fmt.Sprintf("every machine that reaches %s%s can then connect, unless a packet filter forbids it", a, cond(on != "", " through "+on, ""))}
		ssh := Fix{Do: fmt.Sprintf("Leave it as it is, and let the other machine make a tunnel, ssh %s, and connect to its own localhost:%d.", sshTunnel(f, fmt.Sprintf("USER@%s", a)), near(f.Target.Port))}
		return []Finding{{Affects: missed, Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
			Summary: fmt.Sprintf("%s listens on %s only: it serves this machine through loopback, and refuses %s, which other machines use.", holder(f, s), list(slices.Compact(where)), ats(f, missed)),
			Fixes:   []Fix{listen, ssh}}}
	},
}

// onLoopbackAlone tells whether something listens on the port, on loopback addresses
// only, and another address of this machine was meant. Of the name localhost the
// name is what is wrong.
func onLoopbackAlone(f *facts.Facts) bool {
	ls := listeners(f)
	return len(ls) > 0 && (f.Target.Literal || !facts.IsLocalhost(f.Target.Host)) &&
		!slices.ContainsFunc(ls, func(s facts.Socket) bool { return !s.Local.Addr().Unmap().IsLoopback() })
}

// interfaceOf names the interface that holds the address, and its network.
func interfaceOf(f *facts.Facts, a netip.Addr) string {
	if f.Interfaces == nil {
		return ""
	}
	for _, i := range f.Interfaces.Others {
		for _, p := range i.Addresses {
			if p.Addr() == a {
				return fmt.Sprintf("%s (%s)", i.Name, p.Masked())
			}
		}
	}
	return ""
}

// option is how the program is told where to listen, if it is one that is known.
func option(f *facts.Facts, s facts.Socket, a netip.Addr) string {
	p := first(f.Owners.Of(s))
	words := " "
	for _, arg := range p.Args {
		words += strings.TrimSuffix(path.Base(arg), ".js") + " "
	}
	for _, x := range []struct{ name, arg, how string }{
		{"nginx", "", "listen %[2]s; beside the listen line that is there"},
		{"apache2", "", "Listen %[2]s beside the Listen line that is there"},
		{"httpd", "", "Listen %[2]s beside the Listen line that is there"},
		{"redis-server", "", "bind 127.0.0.1 %[1]s in redis.conf"},
		{"postgres", "", "listen_addresses = 'localhost, %[1]s' in postgresql.conf, and a line for the client in pg_hba.conf"},
		{"mysqld", "", "bind-address = 127.0.0.1,%[1]s in its configuration"},
		{"mariadbd", "", "bind-address = 127.0.0.1,%[1]s in its configuration"},
		{"", "vite", "vite --host %[1]s in place of the address it has, which is then no longer served"},
		{"", "next", "next dev -H %[1]s in place of the address it has, which is then no longer served"},
		{"", "http.server", "--bind %[1]s in place of the address it has, which is then no longer served"},
		{"", "manage.py runserver", "manage.py runserver %[2]s in place of the address it has, which is then no longer served"},
		{"", "flask", "flask run --host %[1]s in place of the address it has, which is then no longer served"},
		{"", "uvicorn", "--host %[1]s in place of the address it has, which is then no longer served"},
		{"", "gunicorn", "a second --bind %[2]s"},
	} {
		if x.name != "" && x.name == p.Name || x.arg != "" && strings.Contains(words, " "+x.arg+" ") {
			return fmt.Sprintf(": "+x.how, a, at(f, a))
		}
	}
	return ""
}

// destinationWildcard goes by its page's name: it is about the text of the target,
// since Linux takes the wildcard as a destination, and other systems do not.
var destinationWildcard = &Check{
	Name:     "destination-0.0.0.0",
	Doc:      "the wildcard address, where servers listen, is used as a destination",
	Stage:    StageRoute,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials},
	Explains: []*Check{unreachable, refused},
	Run: func(f *facts.Facts) []Finding {
		if !f.Target.Wildcard || !slices.ContainsFunc(f.Target.Expected(), func(a netip.Addr) bool { return works(f, a) }) {
			return nil
		}
		return []Finding{{Certainty: Proven, Remark: true, Evidence: []Evidence{{"target", f.Target.Raw}},
			Summary: fmt.Sprintf("%s is where a server listens, not where a client connects to: Linux takes it for loopback, but on Windows it is refused (ERR_ADDRESS_INVALID), and browsers block more and more of it.", f.Target.Host),
			Fixes:   []Fix{{Do: fmt.Sprintf("Use localhost:%d.", f.Target.Port)}}}}
	},
}

// there lets the commands about networks run where the client lives: here they
// would be about another localhost.
func there(f *facts.Facts, x Finding) Finding {
	i := slices.IndexFunc(f.Host.As, func(id facts.Identity) bool { return id.NetNS != 0 && id.PID != 0 })
	if i < 0 {
		return x
	}
	pid := fmt.Sprint(f.Host.As[i].PID)
	tools := []string{"ip", "nft", "tc", "sysctl", "iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft", "ss", "conntrack"}
	enter := func(steps [][]string) (out [][]string, any bool) {
		for _, s := range steps {
			if len(s) > 0 && slices.Contains(tools, s[0]) {
				s, any = slices.Concat([]string{"nsenter", "--target", pid, "--net"}, s), true
			}
			out = append(out, s)
		}
		return out, any
	}
	x.Fixes = slices.Clone(x.Fixes)
	for j := range x.Fixes {
		fix := &x.Fixes[j]
		var a, b bool
		fix.Steps, a = enter(fix.Steps)
		fix.Undo, b = enter(fix.Undo)
		fix.Elevated = fix.Elevated || a || b
	}
	// One that goes to a namespace of its own needs no other.
	if x.Settle != "" && !strings.ContainsAny(x.Settle, "\"$`\\") && !strings.Contains(x.Settle, "nsenter") && !strings.Contains(x.Settle, " --as ") {
		x.Settle = fmt.Sprintf(`sudo nsenter --target %s --net sh -c "%s"`, pid, strings.ReplaceAll(x.Settle, "sudo ", ""))
	}
	return x
}
