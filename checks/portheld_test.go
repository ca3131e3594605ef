package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func runs(exe string, args ...string) mark {
	return func(_ *facts.Socket, p *facts.Process) {
		p.Exe, p.Name = exe, exe[strings.LastIndexByte(exe, '/')+1:]
		p.Args = append([]string{p.Name}, args...)
	}
}

// titled is a program that writes its own title.
func titled(exe, title string) mark {
	return func(_ *facts.Socket, p *facts.Process) {
		p.Exe, p.Name, p.Args = exe, exe[strings.LastIndexByte(exe, '/')+1:], []string{title}
	}
}

// ownerless is a listener that no process holds, as far as can be seen.
func ownerless(on string, u uint32) change {
	return func(f *facts.Facts) {
		f.Sockets.Sockets = append(f.Sockets.Sockets, facts.Socket{Network: "tcp", State: facts.Listen, Local: addr(on), UID: u, Inode: 7, Queue: &facts.Queue{Limit: 5}})
	}
}

func sees(everything, all bool) change {
	return func(f *facts.Facts) { f.Owners.Complete, f.Owners.Visible = everything, all }
}

func spares(n uint16, addrs ...string) change {
	return func(f *facts.Facts) {
		s := facts.SparePort{Port: n, As: f.Host.As[0].UID}
		for _, a := range addrs {
			s.Addrs = append(s.Addrs, netip.MustParseAddr(a))
		}
		f.Spare = append(f.Spare, s)
	}
}

func reuses(u uint32, on, errno string) change {
	return func(f *facts.Facts) {
		f.ReusePort = append(f.ReusePort, facts.Bind{Addr: netip.MustParseAddr(on), As: u, Errno: errno})
	}
}

func portHeldSituations() []situation {
	taken := binds("127.0.0.1", "EADDRINUSE", true)
	anyTaken := func(f *facts.Facts) {
		wildcards(f)
		binds("0.0.0.0", "EADDRINUSE", true)(f)
		binds("::", "EADDRINUSE", true)(f)
	}
	any4 := func(f *facts.Facts) {
		toBind(f)
		f.Target.Addresses = []facts.Address{{Addr: netip.IPv4Unspecified()}}
		binds("0.0.0.0", "EADDRINUSE", true)(f)
	}
	any6 := func(f *facts.Facts) {
		toBind(f)
		f.Target.Addresses = []facts.Address{{Addr: netip.IPv6Unspecified()}}
		binds("::", "EADDRINUSE", true)(f)
	}
	sleep, all := runs("/usr/bin/sleep", "600"), sees(true, true)
	python := runs("/usr/bin/python3.11", "server.py")
	stuck := dials("127.0.0.1", facts.Connected, waiting)
	return slices.Concat(
		of(orphanListenerInChild,
			row{"sleep has inherited it", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, sleep), taken), says("proven 127.0.0.1", "sleep (pid 50)", "127.0.0.1:62893", "no server")},
			row{"busybox sleeps", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, runs("/bin/busybox"), named("sleep")), taken), says("proven 127.0.0.1", "sleep (pid 50)")},
			row{"a shell and its child", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, runs("/usr/bin/dash", "-c", "sleep 9")), shared(51, sleep, childOf(50)), taken), says("proven 127.0.0.1", "dash (pid 50 and 1 more)")},
			row{"who else holds it is hidden", machine("127.0.0.1", toBind, sees(false, false), listens("127.0.0.1", 50, sleep), taken), says("inferred 127.0.0.1")},
			row{"connections wait in its queue", machine("127.0.0.1", all, listens("127.0.0.1", 50, sleep), stuck), says("proven 127.0.0.1 at listen", "sleep (pid 50)")},
			row{"its queue is full", machine("127.0.0.1", all, listens("127.0.0.1", 50, sleep, queue(6, 5)), dials("127.0.0.1", facts.Timeout)), says("proven 127.0.0.1 at listen")},
			row{"the server still has it, too", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, python), shared(51, sleep, childOf(50)), taken), nothing},
			row{"the server still has it, and is stuck", machine("127.0.0.1", all, listens("127.0.0.1", 50, python), shared(51, sleep, childOf(50)), stuck), nothing},
			row{"a server that calls itself sleep", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, python, named("sleep")), taken), nothing},
			row{"busybox serves", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, runs("/bin/busybox"), named("httpd")), taken), nothing},
			row{"workers of a server", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, python), shared(51, python, childOf(50)), taken), nothing},
			row{"its program cannot be read", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, named("sleep")), taken), nothing},
			row{"nobody waits", machine("127.0.0.1", all, listens("127.0.0.1", 50, sleep)), nothing},
			row{"the port can be taken", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50, sleep), binds("127.0.0.1", "", true)), nothing},
		),
		of(listenerWithoutOwner,
			row{"nobody has it", machine("127.0.0.1", toBind, all, ownerless("127.0.0.1", 1000), taken), says("proven 127.0.0.1", "127.0.0.1:62893", "uid 1000", "SCM_RIGHTS")},
			row{"nobody in this PID namespace has it", machine("127.0.0.1", toBind, sees(false, true), ownerless("127.0.0.1", 0), taken), says("inferred 127.0.0.1", "root", "PID namespace")},
			row{"connections wait", machine("127.0.0.1", all, ownerless("127.0.0.1", 1000), stuck), says("proven 127.0.0.1 at listen")},
			row{"the kernel serves it", machine("127.0.0.1", all, ownerless("127.0.0.1", 0), dials("127.0.0.1", facts.Connected)), nothing},
			row{"who has it is hidden", machine("127.0.0.1", toBind, sees(false, false), ownerless("127.0.0.1", 0), taken), nothing},
			row{"somebody has it", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 50), taken), nothing},
			row{"the socket has no number", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 0), taken), nothing},
			row{"it is of another port", machine("127.0.0.1", toBind, all, listens("127.0.0.1", 0, onPort(80)), taken), nothing},
		),
		of(ownerHiddenFromYou,
			row{"root's", machine("127.0.0.1", toBind, sees(false, false), ownerless("127.0.0.1", 0), taken), says("remark 127.0.0.1", "127.0.0.1:62893", "root (uid 0)")},
			row{"your own", machine("127.0.0.1", toBind, sees(false, false), ownerless("127.0.0.1", 1000), taken), nothing},
			row{"root looks", machine("127.0.0.1", toBind, clients(0, 1000), sees(false, false), ownerless("127.0.0.1", 33), bindsAs(0, "127.0.0.1", "EADDRINUSE", true)), nothing},
			row{"it is seen", machine("127.0.0.1", toBind, sees(false, false), listens("127.0.0.1", 50, uid(0)), taken), nothing},
			row{"nobody has it", machine("127.0.0.1", toBind, all, ownerless("127.0.0.1", 0), taken), nothing},
			row{"the port can be taken", machine("127.0.0.1", toBind, sees(false, false), ownerless("127.0.0.1", 0), binds("127.0.0.1", "", true)), nothing},
			row{"the question is who can connect", machine("127.0.0.1", sees(false, false), ownerless("127.0.0.1", 0)), nothing},
		),
		of(ideForwarderSquats,
			row{"ssh -L", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/bin/ssh", "-N", "-L", "62893:localhost:80", "web")), taken), says("proven 127.0.0.1", "ssh (pid 50)", "-L 62893:localhost:80", "127.0.0.1:62893")},
			row{"ssh -Lspec", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/bin/ssh", "-L127.0.0.1:62893:db:5432", "web")), taken), says("proven 127.0.0.1", ": -L 127.0.0.1:62893:db:5432.")},
			row{"ssh -D", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/bin/ssh", "-D", "62893", "web")), taken), says("proven 127.0.0.1", ": -D 62893.")},
			row{"ssh by its configuration", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/bin/ssh", "web")), taken), says("proven 127.0.0.1", "a tunnel: the SSH client")},
			row{"ssh -R from elsewhere", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, titled("/usr/sbin/sshd", "sshd: ann@pts/0")), taken), says("proven 127.0.0.1", "ssh -R")},
			row{"kubectl", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/bin/kubectl", "port-forward", "svc/web", "62893:80")), taken), says("proven 127.0.0.1", ": 62893:80.")},
			row{"VS Code", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/share/code/code", "--type=utility")), taken), says("proven 127.0.0.1", "code (pid 50)", "VS Code")},
			row{"VS Code's server", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/home/ann/.vscode-server/bin/1/node", "server-main.js")), taken), says("proven 127.0.0.1", "node (pid 50)", "VS Code")},
			row{"the server of ssh itself", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, titled("/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups")), taken), nothing},
			row{"a server with a suspicious name", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/bin/node", "ssh.js"), named("ssh")), taken), nothing},
			row{"somebody's node", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/bin/node", "server.js")), taken), nothing},
			row{"the port can be taken", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, runs("/usr/bin/ssh")), binds("127.0.0.1", "", true)), nothing},
		),
		of(wildcardSpecificConflict,
			row{"the stub of systemd-resolved", machine("62893", anyTaken, listens("127.0.0.53", 50, named("systemd-resolve"))), says("proven 0.0.0.0 ::", "systemd-resolve (pid 50)", "127.0.0.53:62893", "every address")},
			row{"whoever it is", machine("62893", anyTaken, ownerless("127.0.0.53", 101)), says("proven 0.0.0.0 ::", "A process of uid 101")},
			row{"it has [::]", machine("62893", any4, listens("::", 50)), says("proven 0.0.0.0", "takes IPv4 as well")},
			row{"it has 0.0.0.0", machine("62893", any6, listens("0.0.0.0", 50)), says("proven ::", "IPV6_V6ONLY")},
			row{"it has just what is wanted", machine("62893", anyTaken, listens("::", 50)), nothing},
			row{"one address is wanted", machine("127.0.0.1", toBind, listens("0.0.0.0", 50), taken), nothing},
			row{"it has [::], and IPv6 is off", machine("127.0.0.1", any4, func(f *facts.Facts) { f.Target.Addresses = append(f.Target.Addresses, facts.Address{Addr: v4Loopback}) }, listens("::", 50), taken), nothing},
			row{"the port can be taken", machine("62893", wildcards, listens("127.0.0.53", 50), binds("0.0.0.0", "", true)), nothing},
			row{"it has [::] for IPv6 alone", machine("62893", wildcards, listens("::", 50, v6only), binds("0.0.0.0", "EADDRINUSE", true)), nothing},
			row{"it has another port", machine("62893", anyTaken, listens("127.0.0.53", 50, onPort(53))), nothing},
		),
		of(listenTimeEADDRINUSE,
			row{"ours came second", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, named("nginx"), childOf(9)), holds(facts.Bound, "127.0.0.1", "", 51, childOf(8)), taken), says("inferred 127.0.0.1", "server (pid 51)", "nginx (pid 50)", "listen() fails")},
			row{"root's came first", machine("127.0.0.1", toBind, ownerless("127.0.0.1", 0), holds(facts.Bound, "127.0.0.1", "", 51), taken), says("inferred 127.0.0.1", "server (pid 51)", "root")},
			row{"and clients reach the other one", machine("127.0.0.1", listens("127.0.0.1", 50, named("nginx"), childOf(9)), holds(facts.Bound, "127.0.0.1", "", 51, childOf(8)), dials("127.0.0.1", facts.Connected)), says("remark 127.0.0.1", "nginx (pid 50)")},
			row{"a worker that does not listen yet", machine("127.0.0.1", listens("127.0.0.1", 50), holds(facts.Bound, "127.0.0.1", "", 51, childOf(50)), dials("127.0.0.1", facts.Connected)), nothing},
			row{"two sockets of one program", machine("127.0.0.1", toBind, listens("127.0.0.1", 50), holds(facts.Bound, "127.0.0.1", "", 50), taken), nothing},
			row{"of another address", machine("127.0.0.1", toBind, listens("127.0.0.1", 50), holds(facts.Bound, "127.0.0.2", "", 51), taken), nothing},
			row{"nobody listens", machine("127.0.0.1", toBind, holds(facts.Bound, "127.0.0.1", "", 51), taken), nothing},
		),
		of(reuseportUIDMismatch,
			row{"its own user could", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, uid(33)), taken, reuses(33, "127.0.0.1", ""), reuses(1000, "127.0.0.1", "EADDRINUSE")), says("proven 127.0.0.1", "server (pid 50)", "127.0.0.1:62893", "uid 33", "SO_REUSEPORT")},
			row{"its own user could not either", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, uid(33)), taken, reuses(33, "127.0.0.1", "EADDRINUSE"), reuses(1000, "127.0.0.1", "EADDRINUSE")), nothing},
			row{"nobody could try as that user", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, uid(33)), taken, reuses(1000, "127.0.0.1", "EADDRINUSE")), nothing},
			row{"the kernel remembers 0.0.0.0", machine("62893", wildcards, listens("::1", 50, uid(33), v6only), binds("::1", "EADDRINUSE", true), binds("::", "EADDRINUSE", true), reuses(33, "::1", "EADDRINUSE"), reuses(1000, "::1", "EADDRINUSE"), reuses(33, "::", ""), reuses(1000, "::", "EADDRINUSE")), nothing},
			row{"you are that user", machine("127.0.0.1", toBind, listens("127.0.0.1", 50), taken, reuses(1000, "127.0.0.1", "")), nothing},
			row{"you and another one ask", machine("127.0.0.1", toBind, clients(1000, 0), listens("127.0.0.1", 50), taken, reuses(1000, "127.0.0.1", ""), reuses(0, "127.0.0.1", "EADDRINUSE")), nothing},
			row{"the port can be taken", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, uid(33)), binds("127.0.0.1", "", true), reuses(33, "127.0.0.1", ""), reuses(1000, "127.0.0.1", "EADDRINUSE")), nothing},
		),
		of(temporaryPort,
			row{"free, and any client's", machine("127.0.0.1", toBind, ephemeral(32768, 65535), binds("127.0.0.1", "", true)), says("remark 127.0.0.1", "62893", "temporary")},
			row{"it is reserved", machine("127.0.0.1", toBind, ephemeral(32768, 65535), reserved("80,62000-62999"), binds("127.0.0.1", "", true)), nothing},
			row{"others are reserved", machine("127.0.0.1", toBind, ephemeral(32768, 65535), reserved("80,6289"), binds("127.0.0.1", "", true)), says("remark 127.0.0.1")},
			row{"it is no temporary one", machine("127.0.0.1", toBind, binds("127.0.0.1", "", true)), nothing},
			row{"a client has it, which is said", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.Established, "127.0.0.1", "127.0.0.1:5432", 50), taken), nothing},
			row{"the question is who can connect", machine("127.0.0.1", ephemeral(32768, 65535)), nothing},
		),
	)
}

func TestPortHeld(t *testing.T) { judge(t, portHeldSituations()) }

// One socket holds the port in one way: the causes never name it twice.
func TestOneHolderOneCause(t *testing.T) {
	for _, s := range portHeldSituations() {
		if s.facts.Target.Intent != facts.ToBind || len(s.says) == 0 {
			continue
		}
		d := Diagnose(s.facts)
		if n := len(d.Causes); n > 1 && len(listeners(s.facts)) == 1 {
			t.Errorf("%s: %v", s, told(d))
		}
		for _, c := range d.Causes {
			if s.says[0] != "remark 127.0.0.1" && c.Check != s.check {
				t.Errorf("%s: %v", s, told(d))
			}
		}
	}
}

// What a child inherited stands behind the program that does not accept.
func TestOrphanExplainsWhyNobodyAccepts(t *testing.T) {
	for _, all := range []bool{true, false} {
		f := machine("127.0.0.1", sees(all, all), listens("127.0.0.1", 50, runs("/usr/bin/sleep", "9")), dials("127.0.0.1", facts.Connected, waiting))
		expect(t, f, "broken", "active orphan-listener-in-child "+cond(all, Proven, Inferred).String())
	}
	f := machine("127.0.0.1", sees(true, true), ownerless("127.0.0.1", 0), dials("127.0.0.1", facts.Connected, waiting))
	expect(t, f, "broken", "active listener-without-owner proven")
}

func TestWhoHoldsThePort(t *testing.T) {
	from := func(_ *facts.Socket, p *facts.Process) {
		p.Args, p.Cwd, p.Project, p.From, p.Terminal = []string{"node", "server.js"}, "/home/ann/shop/api", "/home/ann/shop", "npm run dev, tmux", "pts/3"
		p.Parents, p.Children = []facts.Ancestor{{PID: 40, Name: "sh"}, {PID: 38, Name: "node"}}, 2
	}
	f := machine("127.0.0.1", toBind, listens("127.0.0.1", 50, named("node"), from), holds(facts.Established, "127.0.0.1", "127.0.0.1:40001", 50), holds(facts.Established, "127.0.0.1", "127.0.0.1:40002", 50),
		binds("127.0.0.1", "EADDRINUSE", true), spares(62894, "127.0.0.1"))
	x := found(t, portHeldByOtherApp, f)[0]
	text := fmt.Sprint(x.Summary, x.Evidence, x.Fixes[0].Interrupts, x.Fixes[len(x.Fixes)-1].Do)
	for _, want := range []string{"node (pid 50) listens on 127.0.0.1:62893 already", "50: node server.js, run by ann (uid 1000) in /home/ann/shop/api (project /home/ann/shop)",
		"from npm run dev, tmux, on pts/3, below sh (40) and node (38)", "2 open connections and the 2 processes that it started", "62894 is free for you"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestStoppingEverybodyWhoInheritedIt(t *testing.T) {
	f := machine("127.0.0.1", toBind, sees(true, true), listens("127.0.0.1", 50, runs("/usr/bin/dash")), shared(51, runs("/usr/bin/sleep"), childOf(50)), binds("127.0.0.1", "EADDRINUSE", true))
	own := machine("127.0.0.1", toBind, sees(true, true), listens("127.0.0.1", 50, runs("/usr/bin/bash"), ancestor), binds("127.0.0.1", "EADDRINUSE", true))
	prescribe(t, []cure{
		{"a shell and its child", orphanListenerInChild, f, []string{"run kill -TERM 50", "run kill -TERM 51", "if 50 began at 08:00", "by hand"}},
		{"the shell that one works in", orphanListenerInChild, own, []string{"by hand", "by hand"}},
		{"nobody's", listenerWithoutOwner, machine("127.0.0.1", toBind, sees(true, true), ownerless("127.0.0.1", 0), binds("127.0.0.1", "EADDRINUSE", true)),
			[]string{`root runs ss -K -t -l -n "sport = :62893"`, "by hand"}},
		{"two of them", listenerWithoutOwner, machine("127.0.0.1", toBind, sees(true, true), ownerless("127.0.0.1", 0), listens("::1", 50), binds("127.0.0.1", "EADDRINUSE", true)), []string{"by hand"}},
		{"already reserved", temporaryPort, machine("127.0.0.1", toBind, ephemeral(32768, 65535), reserved("80"), binds("127.0.0.1", "", true)),
			[]string{"root runs sysctl -w net.ipv4.ip_local_reserved_ports=80,62893", "undo sysctl -w net.ipv4.ip_local_reserved_ports=80", "lasts until reboot"}},
	})
}

func TestWhereAWildcardCouldGoInstead(t *testing.T) {
	f := machine("62893", wildcards, listens("127.0.0.53", 50), binds("0.0.0.0", "EADDRINUSE", true), spares(port, "127.0.0.1", "10.0.0.5"), spares(8053, "0.0.0.0"))
	x := found(t, wildcardSpecificConflict, f)[0]
	if do := x.Fixes[0].Do; !strings.Contains(do, "127.0.0.1:62893 is free") {
		t.Errorf("first %q", do)
	}
	f = machine("62893", wildcards, listens("127.0.0.1", 50), binds("0.0.0.0", "EADDRINUSE", true), spares(port, "10.0.0.5"))
	x = found(t, wildcardSpecificConflict, f)[0]
	if do := x.Fixes[0].Do; strings.Contains(do, "is free") {
		t.Errorf("10.0.0.5 is no good place for a server that clients of this machine look for on 127.0.0.1: first %q", do)
	}
}

// A service of the user's own manager is not one of the system's.
func TestStoppingAService(t *testing.T) {
	own := func(_ *facts.Socket, p *facts.Process) { p.From = "systemd user manager" }
	for _, test := range []struct {
		mark mark
		want string
	}{{inUnit("shop.service"), "(systemctl stop shop.service)"}, {func(s *facts.Socket, p *facts.Process) { inUnit("shop.service")(s, p); own(s, p) }, "(systemctl --user stop shop.service)"}} {
		f := machine("127.0.0.1", toBind, listens("127.0.0.1", 50, test.mark), holds(facts.Established, "127.0.0.1", "127.0.0.1:40001", 50), binds("127.0.0.1", "EADDRINUSE", true))
		fix := found(t, portHeldByOtherApp, f)[0].Fixes[0]
		if !strings.Contains(fix.Do, test.want) || fix.Interrupts != "1 open connection and the service shop.service" {
			t.Errorf("%q, which interrupts %q", fix.Do, fix.Interrupts)
		}
	}
}

// A command line is whatever a program likes.
func FuzzForwardOf(f *testing.F) {
	f.Add("ssh -L 62893:localhost:80 web")
	f.Add("ssh -L")
	f.Add("ssh -D -L: -L::: - -L62893")
	f.Add("kubectl port-forward svc/web 62893:80 :")
	f.Fuzz(func(t *testing.T, line string) {
		p := facts.Process{Exe: "/usr/bin/ssh", Args: strings.Split(line, " ")}
		if got := forwardOf(p, port); got != "" && !strings.Contains(line, fmt.Sprint(port)) {
			t.Errorf("%q", got)
		}
		forwarderName(p)
	})
}
