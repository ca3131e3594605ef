package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestPasswordsInProxiesAreMasked(t *testing.T) {
	for in, want := range map[string]string{
		"http://proxy:3128":                  "http://proxy:3128",
		"http://ann:secret@proxy:3128":       "http://***@proxy:3128",
		"http://ann:secret@proxy:3128/a/b":   "http://***@proxy:3128/a/b",
		"http://ann:se@cret@proxy":           "http://***@proxy",
		"ann:secret@proxy:3128":              "***@proxy:3128",
		"secret@proxy":                       "***@proxy",
		"socks5h://:secret@127.0.0.1:1080":   "socks5h://***@127.0.0.1:1080",
		"localhost,127.0.0.1,.example":       "localhost,127.0.0.1,.example",
		"http://proxy/path?mail=ann@example": "http://proxy/path?mail=ann@example",
		"":                                   "",
		"@":                                  "***@",
		"://secret@":                         "://***@",
	} {
		if got := maskURL(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestWhichVariablesAreProxies(t *testing.T) {
	p := proxyVariables([]string{"PATH=/bin", "no_proxy=localhost", "HTTP_PROXY=http://a:b@p:1", "https_proxy=", "Http_Proxy=http://mixed", "MY_HTTP_PROXY=http://x:y@z", "ALL_PROXY=socks5://q", "broken"})
	want := []facts.Variable{{Name: "ALL_PROXY", Value: "socks5://q"}, {Name: "HTTP_PROXY", Value: "http://***@p:1"}, {Name: "Http_Proxy", Value: "http://mixed"}, {Name: "https_proxy"}, {Name: "no_proxy", Value: "localhost"}}
	if !slices.Equal(p.Variables, want) {
		t.Errorf("got %v, want %v", p.Variables, want)
	}
	if none := proxyVariables(nil); none.Variables == nil || len(none.Variables) != 0 {
		t.Errorf("got %v: none were seen, which is something", none.Variables)
	}
}

func TestReasons(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("ask: %w", context.DeadlineExceeded), "time was over"},
		{errNotHere, "not on this system"},
		{errors.New("ask: EPROTO"), "ask: EPROTO"},
	} {
		if got := reason(test.err); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestForeignTargetErrorSaysWhereToRun(t *testing.T) {
	err := (&ForeignTargetError{Target: "192.0.2.1:80", Why: "192.0.2.1 is not an address of this machine"}).Error()
	if !strings.HasPrefix(err, "192.0.2.1:80: 192.0.2.1 is not an address of this machine; ") || !strings.Contains(err, "run it where the service runs") {
		t.Error(err)
	}
}

// The real look, at a port of our own: everything is there, or says why not.
func TestGather(t *testing.T) {
	ports, stop := ownListeners([]facts.Address{{Addr: v4}})
	defer stop()
	free := facts.Target{Raw: "1", Network: "tcp", Host: "localhost", Port: ports[v4], Intent: facts.Connect}
	named := free
	named.Literal, named.Named, named.Host = true, true, "127.0.0.1"
	all, err := Gather(t.Context(), []facts.Target{free, named}, Options{NoCapture: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Target.Raw != "1" || !all[1].Target.Literal {
		t.Fatalf("got %d facts, out of order", len(all))
	}
	for _, f := range all {
		if f.Host.OS == "" || len(f.Host.As) != 1 || f.Host.As[0].UID != uint32(max(os.Geteuid(), 0)) || f.Time.IsZero() || f.ElapsedMS <= 0 {
			t.Errorf("where and as whom: %+v, %v after %v ms", f.Host, f.Time, f.ElapsedMS)
		}
		for _, g := range facts.Groups() {
			if _, said := f.Absent[g]; f.Has(g) == said && g != facts.GroupListeners {
				t.Errorf("%s: there %v, said to be absent %v", g, f.Has(g), said)
			}
		}
		for _, d := range f.Dials {
			if d.Addr == v4 && d.Outcome != facts.Connected {
				t.Errorf("our own listener: %+v", d)
			}
		}
	}
	if _, err := Gather(t.Context(), []facts.Target{{Raw: "192.0.2.1", Host: "192.0.2.1", Port: 9, Literal: true, Named: true, Network: "tcp", Intent: facts.Connect}}, Options{}); err == nil {
		t.Error("an address of another machine was looked at")
	}
}

// Without a target the real look finds our own listener among all.
func TestGatherWithoutATarget(t *testing.T) {
	ports, stop := ownListeners([]facts.Address{{Addr: v4}})
	defer stop()
	all, err := Gather(t.Context(), []facts.Target{{Network: "tcp", Intent: facts.Connect}}, Options{NoCapture: true})
	if err != nil {
		t.Fatal(err)
	}
	f := all[0]
	if f.Listeners == nil {
		t.Skipf("listeners cannot be seen here: %+v", f.Absent[facts.GroupListeners])
	}
	i := slices.IndexFunc(f.Listeners.Sockets, func(s facts.Socket) bool { return s.Local.Port() == ports[v4] })
	if i < 0 {
		t.Fatalf("port %d is not among %d listeners", ports[v4], len(f.Listeners.Sockets))
	}
	if ps := f.Owners.Of(f.Listeners.Sockets[i]); len(ps) != 1 || ps[0].PID != os.Getpid() {
		t.Errorf("it belongs to %v, want this test", ps)
	}
	if len(f.Dials) == 0 || f.Dials[0].Outcome != facts.Connected {
		t.Errorf("a connection over lo: %+v", f.Dials)
	}
}
