package host

import (
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestTellingVariables(t *testing.T) {
	got := tellingVariables([]string{
		"AWS_SECRET_ACCESS_KEY=x", "PATH=/bin", "PORT=3000", "PORT=4000", "broken", "=", "MY_PORT=1",
		"DATABASE_URL=postgres://app:pa/ss@db:5432/app", "REDIS_URL=redis://:hidden@127.0.0.1", "DOCKER_HOST=tcp://127.0.0.1:2375",
		"JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStorePassword=hidden -Djava.net.preferIPv4Stack=true",
		"LD_PRELOAD=" + strings.Repeat("ä", 600), "SSH_CONNECTION=203.0.113.9 51234 192.0.2.10 22",
		"CODESPACE_NAME=ann-fuzzy-waffle-4x7", "VSCODE_IPC_HOOK_CLI=", "KUBECONFIG=/home/ann/kube?token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP",
	})
	var text []string
	for _, v := range got {
		text = append(text, v.Name+"="+v.Value)
	}
	want := []string{"CODESPACE_NAME=set", "DATABASE_URL=postgres://***@db:5432/app", "DOCKER_HOST=tcp://127.0.0.1:2375",
		"JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStorePassword=*** -Djava.net.preferIPv4Stack=true",
		"KUBECONFIG=/home/ann/kube?token=***",
		"LD_PRELOAD=" + strings.Repeat("ä", 256) + "…", "PORT=3000", "REDIS_URL=redis://***@127.0.0.1", "SSH_CONNECTION=203.0.113.9 51234 192.0.2.10 22", "VSCODE_IPC_HOOK_CLI="}
	if !slices.Equal(text, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(text, "\n"), strings.Join(want, "\n"))
	}
	if none := tellingVariables(nil); none == nil || len(none) != 0 {
		t.Errorf("of nothing: %v", none)
	}
}

func FuzzTellingVariables(f *testing.F) {
	f.Add("DATABASE_URL", "postgres://app:secret@db/app")
	f.Add("LD_PRELOAD", "\xff\x00")
	f.Fuzz(func(t *testing.T, name, value string) {
		for _, v := range tellingVariables([]string{name + "=" + value, "PORT=" + value}) {
			if len(v.Value) > maxValue+len("…") || utf8.ValidString(value) && !utf8.ValidString(v.Value) {
				t.Errorf("%q became %q", value, v.Value)
			}
		}
	})
}

// The environment is that of the main client: one that cannot be read says
// nothing of its proxies, either.
func TestWhoseEnvironment(t *testing.T) {
	m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Connected))
	m.environ = func(pid int) ([]string, error) {
		if pid == 71 {
			return nil, &fs.PathError{Op: "open", Path: "/proc/71/environ", Err: fs.ErrPermission}
		}
		return []string{"PORT=3000", "http_proxy=http://proxy:3128"}, nil
	}
	f := mustLook(t, m, target("127.0.0.1"), Options{As: []facts.Identity{{UID: 1000, PID: 70}, {UID: 0}}})
	if f.Environment == nil || f.Environment.From != "process 70" || len(f.Environment.Variables) != 1 || len(f.Proxies.Variables) != 1 {
		t.Errorf("got %+v, %+v", f.Environment, f.Proxies)
	}
	if f := mustLook(t, m, target("127.0.0.1"), Options{}); f.Environment == nil || f.Environment.From != "loopdoctor's own" {
		t.Errorf("got %+v", f.Environment)
	}
	f = mustLook(t, m, target("127.0.0.1"), Options{As: []facts.Identity{{UID: 1000, PID: 71}}})
	if f.Environment != nil || f.Proxies != nil || f.Absent[facts.GroupProxies].Remedy == "" || f.Absent[facts.GroupEnvironment].Remedy == "" {
		t.Errorf("unreadable: %+v", f.Absent)
	}
}

// A user and a process of that user are two clients: each dials, and each binds.
func TestAUserAndAProcessOfTheUser(t *testing.T) {
	m := newMachine()
	f := mustLook(t, m, target("127.0.0.1"), Options{NoCapture: true, As: []facts.Identity{{UID: 1000, PID: 70}, {UID: 1000}}})
	if len(f.Dials) != 2 || f.Dials[0].AsPID != 70 || f.Dials[1].AsPID != 0 || len(f.Binds) != 4 || f.Binds[0].AsPID != 70 || f.Binds[2].AsPID != 0 {
		t.Errorf("got %+v, %+v", f.Dials, f.Binds)
	}
}

func TestRoutesOfWhoFails(t *testing.T) {
	two := []facts.Identity{{UID: 0}, {UID: 1000}}
	for _, test := range []struct {
		name  string
		fails []uint32
		want  []uint32
	}{
		{"nobody", nil, []uint32{0}},
		{"the second client", []uint32{1000}, []uint32{0, 1000}},
		{"both", []uint32{0, 1000}, []uint32{0}},
	} {
		m := newMachine(listening("127.0.0.1", false))
		var asked []uint32
		m.sources.routes = func(_ facts.Target, uid uint32) (*facts.Routes, error) {
			asked = append(asked, uid)
			return &facts.Routes{}, nil
		}
		m.dial = func(to netip.AddrPort, as client) connection {
			d := facts.Dial{Addr: to.Addr(), As: as.UID, Outcome: facts.Connected}
			if slices.Contains(test.fails, as.UID) {
				d.Outcome = facts.Unreachable
			}
			return &fakeDial{fact: d}
		}
		if mustLook(t, m, target("127.0.0.1"), Options{As: two}); !slices.Equal(asked, test.want) {
			t.Errorf("%s fails: routes of %v, want %v", test.name, asked, test.want)
		}
	}
}
