package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// remote is the environment of a shell on another machine: "SSH_CONNECTION=…".
func remote(vars ...string) change {
	return func(f *facts.Facts) {
		f.Environment = &facts.Environment{From: "loopdoctor's own", Variables: []facts.Variable{{Name: "USER", Value: "ann"}}}
		for _, kv := range vars {
			name, value, _ := strings.Cut(kv, "=")
			f.Environment.Variables = append(f.Environment.Variables, facts.Variable{Name: name, Value: value})
		}
	}
}

const ssh = "SSH_CONNECTION=203.0.113.9 51234 192.0.2.10 22"

func asProcess(pid int) change {
	return func(f *facts.Facts) { f.Host.As = []facts.Identity{{UID: 1000, PID: pid, Program: "node"}} }
}

func wildcard(f *facts.Facts) {
	f.Target.Wildcard, f.Target.Host, f.Target.Raw = true, "0.0.0.0", "0.0.0.0:62893"
	f.Target.Addresses = []facts.Address{{Addr: v4Loopback, Source: "0.0.0.0 as a destination means this machine", Expected: true}}
}

func eth0(f *facts.Facts) {
	f.Interfaces.Others = []facts.Interface{{Name: "eth0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}}}
}

func calledShop(f *facts.Facts) {
	f.Target.Host, f.Target.Named = "shop", true
	f.Target.Addresses = []facts.Address{{Addr: netip.MustParseAddr("192.0.2.10"), Source: "hosts file line 3"}}
}

func clientSituations() []situation {
	works := dials("127.0.0.1", facts.Connected)
	here := listens("127.0.0.1", 50, named("node"))
	return slices.Concat(
		of(browserOnAnotherMachine,
			row{"through ssh, on loopback only", machine("62893", here, works, remote(ssh)), says("remark 127.0.0.1", "through ssh")},
			row{"through ssh, on ::1 only", machine("62893", listens("::1", 50), dials("::1", facts.Connected), remote(ssh)), says("remark ::1")},
			row{"in a codespace", machine("62893", here, works, remote("CODESPACES=true")), says("remark 127.0.0.1", "Codespaces")},
			row{"in a dev container", machine("62893", here, works, remote("REMOTE_CONTAINERS=true")), says("remark 127.0.0.1", "dev container")},
			row{"no session is known of", machine("62893", here, works, remote("PORT=3000")), nothing},
			row{"the environment was not seen", machine("62893", here, works), nothing},
			row{"through ssh, with a display", machine("62893", here, works, remote(ssh, "DISPLAY=localhost:10.0")), nothing},
			row{"Windows forwards to WSL", machine("62893", here, works, remote(ssh, "WSL_DISTRO_NAME=Debian")), nothing},
			row{"it listens on all addresses", machine("62893", listens("0.0.0.0", 50), works, remote(ssh)), nothing},
			row{"it listens on one of the network, too", machine("62893", here, listens("192.0.2.10", 50), works, remote(ssh)), nothing},
			row{"it does not work here either", machine("62893", here, dials("127.0.0.1", facts.Timeout), remote(ssh)), nothing},
			row{"nothing listens", machine("62893", dials("127.0.0.1", facts.Refused), remote(ssh)), nothing},
			row{"ssh from this very machine", machine("62893", here, works, remote("SSH_CONNECTION=127.0.0.1 51234 127.0.0.1 22")), nothing},
			row{"ssh from this very machine, by its address", machine("62893", here, works, remote("SSH_CONNECTION=192.0.2.10 51234 192.0.2.10 22")), nothing},
			row{"what sshd writes has changed", machine("62893", here, works, remote("SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535")), nothing},
			row{"what is no port", machine("62893", here, works, remote(ssh+";reboot")), nothing},
			row{"a database", machine("62893", listens("127.0.0.1", 50, named("postgres")), works, remote(ssh)), nothing},
			row{"the client is a process here", machine("62893", here, works, remote(ssh), asProcess(70)), nothing},
			row{"the question is who can bind", machine("62893", toBind, here, works, remote(ssh)), nothing},
		),
		of(loopbackOnlyRemoteClient,
			row{"the address of eth0 was named", machine("192.0.2.10", eth0, here), says("proven 192.0.2.10", "node (pid 50)", "127.0.0.1:62893", "192.0.2.10:62893")},
			row{"::1 is served", machine("192.0.2.10", eth0, listens("::1", 50)), says("proven 192.0.2.10", "[::1]:62893")},
			row{"a name of this machine was given", machine("localhost", calledShop, eth0, here), says("proven 192.0.2.10")},
			row{"it is localhost that leads there", machine("localhost", hosts("192.0.2.10"), func(f *facts.Facts) { f.Target.Addresses = []facts.Address{{Addr: netip.MustParseAddr("192.0.2.10")}} }, here), nothing},
			row{"the address is served", machine("192.0.2.10", eth0, here, listens("192.0.2.10", 50)), nothing},
			row{"another address of the network is served", machine("192.0.2.10", eth0, here, listens("192.0.2.11", 50)), nothing},
			row{"127.0.0.2 was named", machine("127.0.0.2", here), nothing},
			row{"nothing listens", machine("192.0.2.10", eth0), nothing},
			row{"the question is who can bind", machine("192.0.2.10", toBind, eth0, here), nothing},
		),
		of(destinationWildcard,
			row{"0.0.0.0 was named", machine("127.0.0.1", wildcard, here, works), says("remark 127.0.0.1", "0.0.0.0", "Windows")},
			row{"it does not work in any case", machine("127.0.0.1", wildcard, dials("127.0.0.1", facts.Refused)), nothing},
			row{"loopback was named", machine("127.0.0.1", here, works), nothing},
			row{"a server wants it", machine("127.0.0.1", wildcard, toBind), nothing},
		),
	)
}

func TestClient(t *testing.T) { judge(t, clientSituations()) }

func TestTheTunnelFits(t *testing.T) {
	works := dials("127.0.0.1", facts.Connected)
	low := func(f *facts.Facts) {
		f.Target.Port = 80
		for i := range f.Sockets.Sockets {
			f.Sockets.Sockets[i].Local = netip.AddrPortFrom(f.Sockets.Sockets[i].Local.Addr(), 80)
		}
	}
	for want, f := range map[string]*facts.Facts{
		"ssh -L 62893:127.0.0.1:62893 ann@192.0.2.10 (or": machine("62893", listens("127.0.0.1", 50), works, remote(ssh)),
		"ssh -L 62893:[::1]:62893 ann@192.0.2.10 (or":     machine("62893", listens("::1", 50), dials("::1", facts.Connected), remote(ssh)),
		"ssh -L 62893:127.0.0.1:62893 -p 2222 ann@192.0.2.10 (or": machine("62893", listens("127.0.0.1", 50), works,
			remote("SSH_CONNECTION=203.0.113.9 51234 192.0.2.10 2222")),
		"ssh -L 8080:127.0.0.1:80 ann@192.0.2.10 (or the name that you use for this machine), then open localhost:8080": machine("62893", listens("127.0.0.1", 50), low, works, remote(ssh)),
		"ssh -L 62893:127.0.0.1:62893 USER@192.0.2.10 (or":                                                              machine("62893", listens("127.0.0.1", 50), works, remote(ssh, "SUDO_USER=a;reboot")),
		"Ports view": machine("62893", listens("127.0.0.1", 50), works, remote(ssh, "VSCODE_IPC_HOOK_CLI=/run/user/1000/vscode-ipc.sock")),
	} {
		fs := found(t, browserOnAnotherMachine, f)
		if len(fs) != 1 || !strings.Contains(fs[0].Fixes[0].Do, want) {
			t.Errorf("got %v, want %q", fs, want)
		}
	}
}

// Whoever may then connect is said beside the advice.
func TestListeningForOthersNamesThem(t *testing.T) {
	fs := found(t, loopbackOnlyRemoteClient, machine("192.0.2.10", eth0, listens("127.0.0.1", 50, named("redis-server"))))
	if len(fs) != 1 || !strings.Contains(fs[0].Fixes[0].Risk, "eth0 (192.0.2.0/24)") || !strings.Contains(fs[0].Fixes[0].Do, "bind 127.0.0.1 192.0.2.10") {
		t.Errorf("got %v", fs)
	}
}

func TestTheOptionIsThatOfTheProgram(t *testing.T) {
	args := func(args ...string) func(*facts.Socket, *facts.Process) {
		return func(_ *facts.Socket, p *facts.Process) { p.Args = args }
	}
	for want, how := range map[string]func(*facts.Socket, *facts.Process){
		"62893: vite --host 192.0.2.10 ":   args("node", "/srv/shop/node_modules/vite/bin/vite.js"),
		"62893: --bind 192.0.2.10 ":        args("python3", "-m", "http.server", "62893"),
		"runserver 192.0.2.10:62893 ":      args("python3", "manage.py", "runserver"),
		"listen on 192.0.2.10:62893 as we": args("php", "/srv/nextcloud/cron.php"),
	} {
		fs := found(t, loopbackOnlyRemoteClient, machine("192.0.2.10", eth0, listens("127.0.0.1", 50, how)))
		if len(fs) != 1 || !strings.Contains(fs[0].Fixes[0].Do, want) {
			t.Errorf("got %v, want %q", fs, want)
		}
	}
}

// Commands about networks run where the client lives; a signal finds its process
// from everywhere.
func TestCommandsRunWhereTheClientLives(t *testing.T) {
	f := machine("127.0.0.1", loIsDown, asProcess(70))
	f.Host.As[0].NetNS = 4026532204
	fix := found(t, loDown, f)[0].Fixes[0]
	if want := []string{"nsenter", "--target", "70", "--net", "ip", "link", "set", "lo", "up"}; !slices.Equal(fix.Steps[0], want) || !fix.Elevated {
		t.Errorf("got %q", fix.Steps)
	}
	x := there(f, Finding{Settle: "sudo ss -tlnp 'sport = :80'", Fixes: []Fix{{Steps: [][]string{{"kill", "-CONT", "50"}}}}})
	if x.Settle != `sudo nsenter --target 70 --net sh -c "ss -tlnp 'sport = :80'"` || x.Fixes[0].Steps[0][0] != "kill" || x.Fixes[0].Elevated {
		t.Errorf("got %q, %v", x.Settle, x.Fixes)
	}
	if x := there(machine("127.0.0.1", asProcess(70)), Finding{Settle: "ss -tln"}); x.Settle != "ss -tln" {
		t.Errorf("at home: %q", x.Settle)
	}
}
