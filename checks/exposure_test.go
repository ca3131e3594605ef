package checks

import (
	"fmt"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func exposureSituations() []situation {
	works := dials("127.0.0.1", facts.Connected)
	wild := listens("0.0.0.0", 50, named("node"))
	lan := holdsOn("eth0", "192.168.1.5/24", "fe80::1/64")
	far := func(i *facts.Interface) { i.Kind, i.Elsewhere = "veth", true }
	return of(exposedBeyondLoopback,
		row{"on all addresses", machine("127.0.0.1", wild, works, lan), says("remark 127.0.0.1", "node (pid 50)", "0.0.0.0:62893", "192.168.1.5 (eth0)", "may still say no")},
		row{"a bare port", machine("62893", wild, works, lan), says("remark 127.0.0.1")},
		row{"all of IPv6 too", machine("127.0.0.1", listens("::", 50), works, lan, holdsOn("eth1", "2001:db8::5/64")), says("remark 127.0.0.1", "2001:db8::5 (eth1)")},
		row{"a tailnet", machine("127.0.0.1", wild, works, holdsOn("tailscale0", "100.64.1.2/32")), says("remark 127.0.0.1", "tailnet")},
		row{"a tunnel, and containers", machine("127.0.0.1", wild, works, holdsOn("wg0", "10.8.0.2/24"), link(func(i *facts.Interface) { i.Kind = "wireguard" }), holdsOn("docker0", "172.17.0.1/16")), says("remark 127.0.0.1", "10.8.0.2 (wg0: a VPN", "172.17.0.1 (docker0: containers")},
		row{"many addresses", machine("127.0.0.1", wild, works, holdsOn("eth0", "10.0.0.1/24", "10.0.1.1/24", "10.0.2.1/24", "10.0.3.1/24")), says("remark 127.0.0.1", "10.0.1.1 (eth0) and 2 more addresses")},
		row{"a data store that a container publishes", machine("127.0.0.1", onTarget(5432, listens("0.0.0.0", 50, named("docker-proxy"))), works, lan), says("remark 127.0.0.1", "docker-proxy")},

		row{"any other port that a container publishes", machine("127.0.0.1", listens("0.0.0.0", 50, named("docker-proxy")), works, lan), nothing},
		row{"on loopback", machine("127.0.0.1", listens("127.0.0.1", 50), works, lan), nothing},
		row{"pinned to lo", machine("127.0.0.1", listens("0.0.0.0", 50, device("lo")), works, lan), nothing},
		row{"there is no other interface", machine("127.0.0.1", wild, works), nothing},
		row{"the other is down", machine("127.0.0.1", wild, works, lan, othersDown), nothing},
		row{"no cable", machine("127.0.0.1", wild, works, lan, link(func(i *facts.Interface) { i.NoCarrier = true })), nothing},
		row{"another socket is for the LAN", machine("127.0.0.1", listens("127.0.0.1", 50), listens("192.168.1.5", 50), works, lan), nothing},
		row{"nobody accepts", machine("127.0.0.1", wild, dials("127.0.0.1", facts.Connected, waiting), lan), nothing},
		row{"containers alone", machine("127.0.0.1", wild, works, holdsOn("docker0", "172.17.0.1/16"), holdsOn("br-0123456789ab", "172.18.0.1/16")), nothing},
		row{"from within a container", machine("127.0.0.1", wild, works, holdsOn("eth0", "172.17.0.2/16"), link(far)), nothing},
		row{"a link-local address alone", machine("127.0.0.1", listens("::", 50), works, holdsOn("eth0", "fe80::1/64")), nothing},
		row{"sshd", machine("127.0.0.1", listens("0.0.0.0", 50, named("sshd")), works, lan), nothing},
		row{"a port of the machine's services", machine("127.0.0.1", onTarget(443, listens("0.0.0.0", 50, named("nginx"))), works, lan), nothing},
		row{"the LAN is meant", machine("192.168.1.5", wild, dials("192.168.1.5", facts.Connected), lan), nothing},
		row{"nobody knows whose it is", machine("127.0.0.1", listens("0.0.0.0", 0), works, lan), nothing},
		row{"it does not work", machine("127.0.0.1", wild, dials("127.0.0.1", facts.Timeout), lan), nothing},
		row{"a server asks", machine("127.0.0.1", toBind, wild, lan), nothing},
	)
}

func TestExposure(t *testing.T) { judge(t, exposureSituations()) }

// Each server is told in the words of its own configuration.
func TestHowToRestrictAServer(t *testing.T) {
	for _, test := range []struct{ name, exe, args, want string }{
		{"nginx", "", "", "listen 127.0.0.1:62893;"},
		{"apache2", "", "", "Listen 127.0.0.1:62893"},
		{"caddy", "", "", "bind 127.0.0.1"},
		{"haproxy", "", "", "bind 127.0.0.1:62893"},
		{"redis-server", "", "", "protected-mode yes"},
		{"postgres", "/usr/lib/postgresql/15/bin/postgres", "", "listen_addresses = 'localhost'"},
		{"mariadbd", "", "", "bind-address = 127.0.0.1"},
		{"mysqld", "", "", "bind-address"},
		{"docker-proxy", "", "", "-p 127.0.0.1:62893:PORT"},
		{"systemd", "", "", "ListenStream=127.0.0.1:62893"},
		{"node", "", "node /srv/node_modules/.bin/vite --host", "server.host"},
		{"MainThread", "/usr/bin/node", "node node_modules/vite/bin/vite.js", "server.host"},
		{"next-server (v1", "/usr/bin/node", "next-server (v15.1)", "-H 127.0.0.1"},
		{"node", "", "node /srv/node_modules/.bin/next dev", "-H 127.0.0.1"},
		{"node", "", "node server.js", "server.listen(62893, '127.0.0.1')"},
		{"gunicorn", "/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/gunicorn app:app", "--bind 127.0.0.1:62893"},
		{"uvicorn", "/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/uvicorn app:app", "--host 127.0.0.1"},
		{"python3", "", "python3 -m uvicorn app:app", "--host 127.0.0.1"},
		{"flask", "/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/flask run", "flask run"},
		{"python3", "", "python3 manage.py runserver 0.0.0.0:62893", "runserver 127.0.0.1:62893"},
		{"python3", "", "python3 -m http.server 62893", "--bind 127.0.0.1 62893"},
		{"jupyter-lab", "/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/jupyter-lab", "c.ServerApp.ip"},
		{"python3.11", "/usr/bin/python3.11", "python3.11 app.py", "bind it to '127.0.0.1'"},
		{"java", "", "java -jar shop.jar", "server.address=127.0.0.1"},
		{"puma", "/usr/bin/ruby3.1", "puma 5.6.5 (tcp://0.0.0.0:3000) [shop]", "rails server -b 127.0.0.1"},
		{"ruby", "", "ruby bin/rails server", "rails server -b"},
		{"php", "/usr/bin/php8.2", "php -S 0.0.0.0:62893", "php -S 127.0.0.1:62893"},
		{"dotnet", "", "", "http://localhost:62893"},
		{"shop", "/srv/shop", "", "listen on 127.0.0.1"},
	} {
		p := facts.Process{Name: test.name, Exe: test.exe, Args: strings.Fields(test.args)}
		if got := recognise([]facts.Process{p}).restrict(v4Loopback, port); !strings.Contains(got, test.want) {
			t.Errorf("%s (%s): got %q, want %q in it", test.name, test.args, got, test.want)
		}
	}
	if got := recognise([]facts.Process{{Name: "nginx"}}).restrict(v6Loopback, port); !strings.Contains(got, "[::1]:62893") {
		t.Errorf("got %q", got)
	}
}

// The line of the configuration is quoted where it was found, and no other.
func TestTheLineThatExposes(t *testing.T) {
	line := func(program, text, a string, n uint16) facts.ConfigLine {
		c := facts.ConfigLine{Program: program, File: "/etc/" + program, Line: 7, Text: text, Port: n}
		if a != "" {
			c.Addr = addr(a).Addr()
		}
		return c
	}
	f := machine("127.0.0.1", listens("0.0.0.0", 50, named("nginx")), dials("127.0.0.1", facts.Connected), holdsOn("eth0", "192.168.1.5/24"))
	f.Configs = &facts.Configs{Lines: []facts.ConfigLine{line("nginx", "listen 127.0.0.1:62893;", "127.0.0.1", port), line("nginx", "listen 80;", "0.0.0.0", 80),
		line("apache", "Listen 62893", "", port), line("nginx", "listen 62893;", "0.0.0.0", port)}}
	x := found(t, exposedBeyondLoopback, f)
	if len(x) != 1 || len(x[0].Evidence) != 2 || x[0].Evidence[1].Text != "listen 62893;" {
		t.Errorf("got %+v", x)
	}
}

// The advice of every server is a sentence with its address filled in.
func TestEveryServerHasAdvice(t *testing.T) {
	for _, s := range servers {
		got := s.restrict(v4Loopback, port)
		if strings.ContainsAny(got, "{}") || !strings.HasSuffix(got, ".") || len(s.names) == 0 && s.word == "" {
			t.Errorf("%v %s: %q", s.names, s.word, got)
		}
	}
}

func TestBridgesOfThisHost(t *testing.T) {
	for name, want := range map[string]bool{"docker0": true, "br-0123456789ab": true, "virbr0": true, "cni-podman0": true, "flannel.1": true, "lxcbr0": true,
		"br0": false, "br-lan": false, "eth0": false, "wlan0": false, "": false} {
		if got := inside(name); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// onTarget asks for another port, on which everything listens.
func onTarget(n uint16, changes ...change) change {
	return func(f *facts.Facts) {
		for _, c := range changes {
			c(f)
		}
		f.Target.Port, f.Target.Raw = n, fmt.Sprint(n)
		for i := range f.Sockets.Sockets {
			onPort(n)(&f.Sockets.Sockets[i], nil)
		}
	}
}

// link changes the interface that was added last.
func link(do func(*facts.Interface)) change {
	return func(f *facts.Facts) { do(&f.Interfaces.Others[len(f.Interfaces.Others)-1]) }
}
