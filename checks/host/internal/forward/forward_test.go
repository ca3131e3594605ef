package forward

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// told is what a command line says, a line each: "ssh -L argument 2: 127.0.0.1 8080 > localhost:80 by ann@shop".
func told(ways []Way) []string {
	var out []string
	for _, w := range ways {
		at := strings.TrimSpace(fmt.Sprintf("%s %s", w.Bind, w.Unix))
		if w.Port != 0 {
			at = strings.TrimSpace(fmt.Sprintf("%s %d", at, w.Port))
		}
		s := fmt.Sprintf("%s, %s: %s > %s", w.Kind, w.From, at, w.Target())
		if w.Through != "" {
			s += " by " + w.Through
		}
		if w.Only != "" {
			s += " for " + w.Only
		}
		out = append(out, s)
	}
	return out
}

func TestArguments(t *testing.T) {
	for _, test := range []struct {
		args string // words are separated by "|" where one has a space in it
		want []string
	}{
		{"ssh -L 8080:localhost:80 shop", []string{"ssh -L, argument 1: 8080 > localhost:80"}},
		{"ssh -fNL 127.0.0.1:8080:[::1]:80 ann@shop -p 2222", []string{"ssh -L, argument 1: 127.0.0.1 8080 > [::1]:80"}},
		{"ssh -NT -L8080:db.internal:5432 shop", []string{"ssh -L, argument 2: 8080 > db.internal:5432"}},
		{"ssh -L [::1]:8080:10.0.0.7:80 shop", []string{"ssh -L, argument 1: ::1 8080 > 10.0.0.7:80"}},
		{"ssh -L *:8080:h:80 shop", []string{"ssh -L, argument 1: * 8080 > h:80"}},
		{"ssh -L :8080:h:80 shop", []string{"ssh -L, argument 1: * 8080 > h:80"}},
		{"ssh -L 8080:/run/app.sock shop", []string{"ssh -L, argument 1: 8080 > /run/app.sock"}},
		{"ssh -L /tmp/s:/run/app.sock shop", []string{"ssh -L, argument 1: /tmp/s > /run/app.sock"}},
		{"ssh -L /tmp/s:h:80 shop", []string{"ssh -L, argument 1: /tmp/s > h:80"}},
		{"ssh -L 8080/fe80::1/80 shop", []string{"ssh -L, argument 1: 8080 > [fe80::1]:80"}},
		{"ssh shop -L 8080:h:80 -D 1080", []string{"ssh -L, argument 2: 8080 > h:80", "ssh -D, argument 4: 1080 > "}},
		{"ssh -o|LocalForward=8080 h:80|shop", []string{"ssh -L, argument 1: 8080 > h:80"}},
		{"ssh|-oLocalForward 8080 h:80|shop", []string{"ssh -L, argument 1: 8080 > h:80"}},
		{"ssh -W h:80 shop", []string{"ssh -W, argument 1:  > h:80"}},
		{"ssh -R 9000:localhost:3000 shop", []string{"ssh -R, argument 1: 9000 > localhost:3000"}},
		{"ssh shop echo -L 8080:h:80", nil},
		{"ssh -i key -L", nil},
		{"ssh: /home/ann/.ssh/cm-shop [mux]", nil},
		{"kubectl port-forward web-7d4 8080:80", []string{"kubectl port-forward, argument 3: 8080 > localhost:80 by pod/web-7d4"}},
		{"kubectl -n shop port-forward --address 0.0.0.0 svc/web 8080 :9090", []string{"kubectl port-forward, argument 7: 0.0.0.0 8080 > localhost:8080 by svc/web in namespace shop"}},
		{"kubectl port-forward --namespace=shop deploy/web 8080:https", []string{"kubectl port-forward, argument 4: 8080 >  by deploy/web in namespace shop"}},
		{"kubectl get pods", nil},
		{"socat -d -d TCP4-LISTEN:8080,bind=127.0.0.1,fork TCP:localhost:3000", []string{"socat, argument 4: 127.0.0.1 8080 > localhost:3000"}},
		{"socat -T 5 tcp-l:8080,fork unix-connect:/run/app.sock", []string{"socat, argument 4: 8080 > /run/app.sock"}},
		{"socat TCP6:[::1]:80 TCP-LISTEN:8080", []string{"socat, argument 1: 8080 > [::1]:80"}},
		{"socat TCP-LISTEN:8080 EXEC:cat", []string{"socat, argument 2: 8080 > "}},
		{"socat TCP-LISTEN:8080,fork,range=10.0.0.0/8 EXEC:cat", []string{"socat, argument 2: 8080 >  for 10.0.0.0/8"}},
		{"socat - TCP:h:80", nil},
		{"/usr/lib/systemd/systemd-socket-proxyd --exit-idle-time 5s 127.0.0.1:3000", []string{"systemd-socket-proxyd, argument 3:  > 127.0.0.1:3000"}},
		{"/usr/lib/systemd/systemd-socket-proxyd /run/app.sock", []string{"systemd-socket-proxyd, argument 1:  > /run/app.sock"}},
		{"docker-proxy -proto tcp -host-ip 127.0.0.1 -host-port 8080 -container-ip 172.17.0.2 -container-port 80", []string{"docker-proxy, argument 7: 127.0.0.1 8080 > 172.17.0.2:80"}},
		{"caddy reverse-proxy --from :8080 --to :3000", []string{"caddy, argument 4: 8080 > localhost:3000"}},
		{"caddy run", nil},
		{"python3 -m http.server 8080", nil},
	} {
		words := strings.Split(test.args, "|")
		if len(words) == 1 {
			words = strings.Fields(test.args)
		} else {
			words = slices.Concat(strings.Fields(words[0]), words[1:2], strings.Fields(strings.Join(words[2:], " ")))
		}
		name := words[0][strings.LastIndexByte(words[0], '/')+1:]
		if strings.HasPrefix(test.args, "ssh: ") {
			words, name = []string{test.args}, "ssh"
		}
		if got := told(Arguments(name, words)); !slices.Equal(got, test.want) {
			t.Errorf("%s\n\tgot  %q\n\twant %q", test.args, got, test.want)
		}
	}
}

func TestSession(t *testing.T) {
	files := map[string]string{
		"/home/ann/.ssh/more": "LocalForward 8081 localhost:81\nHost other\nLocalForward 1 h:1\n",
	}
	for _, test := range []struct {
		args, config string
		want         string
	}{
		{"ssh ann@shop", "", "ann@shop  [] strict=false jumps=false mux=false"},
		{"ssh ssh://ann@shop:2222", "", "ann@shop 2222 [] strict=false jumps=false mux=false"},
		{"ssh -l ann -p 22 -J bastion shop", "", "ann@shop 22 [] strict=false jumps=true mux=false"},
		{"ssh shop", "Host shop\n  HostName 10.0.0.7\n  User ann\n  LocalForward 8080 localhost:80\n", "ann@shop=10.0.0.7  [8080>localhost:80 /c:4] strict=false jumps=false mux=false"},
		{"ssh shop", "Host sh?p !shop\nLocalForward 8080 h:80\nHost *\nExitOnForwardFailure yes\n", "@shop  [] strict=true jumps=false mux=false"},
		{"ssh shop", "Match exec true\nLocalForward 8080 h:80\nMatch all\nControlPath ~/.ssh/cm\n", "@shop  [] strict=false jumps=false mux=true"},
		{"ssh shop", "Include more\nHost shop\nLocalForward=8080 \"h:80\"\n", "@shop  [8081>localhost:81 /home/ann/.ssh/more:1 8080>h:80 /c:3] strict=false jumps=false mux=false"},
		{"ssh -p 2200 shop", "Port 22\nHostName %h.example\nProxyCommand none\n", "@shop=shop.example 2200 [] strict=false jumps=false mux=false"},
	} {
		s := SSH(strings.Fields(test.args))
		if test.config != "" {
			s.Configure(File{"/c", []byte(test.config)}, func(p string) []File {
				return []File{{"/home/ann/.ssh/" + p, []byte(files["/home/ann/.ssh/"+p])}}
			})
		}
		var ways []string
		for _, w := range s.Ways {
			ways = append(ways, fmt.Sprintf("%d>%s %s", w.Port, w.Target(), w.From))
		}
		host := s.Host
		if s.HostName != "" {
			host += "=" + s.HostName
		}
		got := fmt.Sprintf("%s@%s %s %v strict=%v jumps=%v mux=%v", s.User, host, s.Port, ways, s.Strict, s.Jumps, s.Mux)
		if got != test.want {
			t.Errorf("%s with %q\n\tgot  %s\n\twant %s", test.args, test.config, got, test.want)
		}
	}
}

// An include that includes itself ends.
func TestIncludesEnd(t *testing.T) {
	s := SSH([]string{"ssh", "shop"})
	n := 0
	me := File{"/c", []byte("Include c\nInclude c\nLocalForward 8080 h:80\n")}
	s.Configure(me, func(string) []File { n++; return []File{me, me} })
	if n > 1000 || len(s.Ways) > maxWays {
		t.Errorf("%d files are read, %d ways kept", n, len(s.Ways))
	}
}

func bounded(t *testing.T, ways []Way) {
	t.Helper()
	if len(ways) > maxWays {
		t.Errorf("%d ways are kept", len(ways))
	}
	for _, w := range ways {
		if w.Kind == "" || w.From == "" {
			t.Errorf("a way without kind or place: %+v", w)
		}
		if len(w.Host) > 5*maxWord || len(w.ToUnix) > 5*maxWord || len(w.Through) > 4*maxWord {
			t.Errorf("a long word is kept: %d %d %d", len(w.Host), len(w.ToUnix), len(w.Through))
		}
	}
}

func FuzzArguments(f *testing.F) {
	for _, s := range []string{"ssh\x00-L\x008080:localhost:80\x00shop", "ssh\x00-oLocalForward=[::1]:1 /run/x\x00h", "kubectl\x00-n\x00shop\x00port-forward\x00svc/web\x008080:80",
		"socat\x00TCP-LISTEN:8080,fork\x00TCP:h:80", "systemd-socket-proxyd\x00h:80", "docker-proxy\x00-host-ip\x00::\x00-host-port\x0080\x00-container-ip\x00::1\x00-container-port\x0080", "caddy\x00reverse-proxy\x00--to\x00:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Split(s, "\x00")
		for _, name := range []string{"ssh", "kubectl", "socat", "systemd-socket-", "docker-proxy", "pasta", "caddy", args[0]} {
			bounded(t, Arguments(name, args))
		}
	})
}

func FuzzConfigure(f *testing.F) {
	f.Add("Host shop\nLocalForward 8080 localhost:80\n", "shop")
	f.Add("Include x\nMatch all\nHostName %h\nHost * !a\nPort 1\n", "a")
	f.Fuzz(func(t *testing.T, config, host string) {
		s := SSH([]string{"ssh", host})
		left := 20
		s.Configure(File{"/c", []byte(config)}, func(string) []File {
			if left--; left < 0 {
				return nil
			}
			return []File{{"/d", []byte(config)}}
		})
		bounded(t, s.Ways)
	})
}

func TestStunnel(t *testing.T) {
	for _, test := range []struct {
		config string
		want   []string
	}{
		{"[shop]\naccept = 127.0.0.1:8443\ncert = /c.pem\nconnect = 127.0.0.1:8080\n", []string{"stunnel, /s:4: 127.0.0.1 8443 > 127.0.0.1:8080"}},
		{"connect=8080\nACCEPT = 8443\n", []string{"stunnel, /s:1: 0.0.0.0 8443 > localhost:8080"}},
		{"[a]\naccept = :::8443\nconnect = ::1:8080\n[b]\naccept = 8444\nconnect = /run/app.sock\n", []string{"stunnel, /s:3: :: 8443 > [::1]:8080", "stunnel, /s:6: 0.0.0.0 8444 > /run/app.sock"}},
		{"[a]\naccept = 8443\nconnect = h:1\nconnect = h:2\n", []string{"stunnel, /s:3: 0.0.0.0 8443 > h:1", "stunnel, /s:4: 0.0.0.0 8443 > h:2"}},
		{"[a]\n;accept = 8443\n# accept = 8443\nconnect = 8080\n[b]\naccept = 8443\nexec = /bin/cat\n", nil},
		{"[a]\naccept = 8443\nconnect = pop3\n", []string{"stunnel, /s:3: 0.0.0.0 8443 > "}},
	} {
		if got := told(Stunnel(File{"/s", []byte(test.config)})); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.config, got, test.want)
		}
	}
	for args, want := range map[string]string{"stunnel": "/etc/stunnel/stunnel.conf", "stunnel st.conf": "st.conf", "stunnel -fd 0": ""} {
		if got := StunnelConfig(strings.Fields(args)); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

func FuzzStunnel(f *testing.F) {
	f.Add("[shop]\naccept = 127.0.0.1:8443\nconnect = 8080\n")
	f.Add("accept=:::1\nconnect=/x\n[\n=\nconnect")
	f.Fuzz(func(t *testing.T, config string) { bounded(t, Stunnel(File{"/s", []byte(config)})) })
}

func TestPasta(t *testing.T) {
	for line, want := range map[string][]string{
		"pasta -f --config-net -t 127.0.0.1/62893:80 -u none -T none -U none 4121": {"127.0.0.1 62893 argument 3"},
		"pasta --tcp-ports=62893-62894:80-81 --netns /run/x":                       {"* 62893 argument 1", "* 62894 argument 1"},
		"pasta -t8080 -t [::1]%lo/9090":                                            {"* 8080 argument 1", "[::1] 9090 argument 2"},
		"pasta -t 8000-8002,~8001 4121":                                            {"* 8000 argument 1", "* 8002 argument 1"},
		"pasta -t none -u 53":                                                      nil,
		"pasta -t auto":                                                            nil,
		"pasta -t":                                                                 nil,
		"pasta --tcp-ns 62893 -T 62893 4121":                                       nil,
		"passt -t 99999,x-y,9-1":                                                   nil,
	} {
		args := strings.Fields(line)
		var got []string
		for _, w := range Arguments(args[0], args) {
			got = append(got, fmt.Sprintf("%s %d %s", w.Bind, w.Port, w.From))
			if w.Target() != "" || w.Takes != "tcp" {
				t.Errorf("%s: %+v", line, w)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if n := len(Arguments("pasta", []string{"pasta", "-t", "1-65535"})); n != maxWays {
		t.Errorf("%d ways", n)
	}
}

// A docker-proxy takes datagrams or connections, and is told which.
func TestWhatDockerProxyTakes(t *testing.T) {
	for proto, want := range map[string]Way{"tcp": {Takes: "tcp"}, "udp": {Takes: "udp", UDP: true}} {
		ways := Arguments("docker-proxy", strings.Fields("docker-proxy -proto "+proto+" -host-ip :: -host-port 53 -container-ip 172.17.0.2 -container-port 53"))
		if len(ways) != 1 || ways[0].Takes != want.Takes || ways[0].UDP != want.UDP {
			t.Errorf("%s: %+v", proto, ways)
		}
	}
}
