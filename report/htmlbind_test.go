package report

import (
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// TestBindPath shows what each error makes of the way to the port, and under which station
// its cause is filed. Letters are the marks of TestPath, from the server to the port.
func TestBindPath(t *testing.T) {
	v4, v6 := []string{"127.0.0.1"}, []string{"::1"}
	privileged := Cause{Name: "privileged-port", Stage: "bind", State: "active", Affects: v4}
	for _, test := range []struct {
		name   string
		binds  []Bind
		causes []Cause
		want   string // a lane each
		filed  string // the station of each cause
	}{
		{"free", []Bind{{Address: "127.0.0.1"}}, nil, "pppp", ""},
		{"no such address", []Bind{{Address: "127.0.0.1", Errno: "EADDRNOTAVAIL"}}, nil, "pBuu", ""},
		{"forbidden before the address was looked at", []Bind{{Address: "127.0.0.1", Errno: "EPERM"}}, nil, "p?Bu", ""},
		{"forbidden, nobody knows by whom", []Bind{{Address: "127.0.0.1", Errno: "EACCES"}}, nil, "p?Bu", ""},
		{"the port is privileged, perhaps", []Bind{{Address: "127.0.0.1", Errno: "EACCES"}}, []Cause{with(privileged, "inferred")}, "p?Bu", "permission"},
		{"the port is privileged", []Bind{{Address: "127.0.0.1", Errno: "EACCES"}}, []Cause{with(privileged, "proven")}, "ppBu", "permission"},
		{"two errors, a cause each", []Bind{{Address: "127.0.0.1", Errno: "EADDRINUSE"}, {Address: "::1", Errno: "EADDRNOTAVAIL"}},
			[]Cause{{Stage: "route", Affects: v6}, {Stage: "listen", Affects: v4}}, "pppB pBuu", "address port"},
		{"two errors of one cause", []Bind{{Address: "127.0.0.1", Errno: "EADDRINUSE"}, {Address: "::1", Errno: "EPERM"}},
			[]Cause{{Stage: "bind", Affects: []string{"127.0.0.1", "::1"}}}, "pppB p?Bu", "permission+port"},
	} {
		target := Target{Host: "localhost", Port: 80, Network: "tcp", Intent: facts.ToBind, Binds: test.binds, Causes: test.causes}
		for i := range target.Binds {
			target.Binds[i].ReuseAddr = true
		}
		for i := range target.Causes {
			target.Causes[i].Summary = string(rune('A' + i))
		}
		p := (&Report{}).path(&target, "t")
		var filed []string
		for i := range target.Causes {
			var at []string
			for _, s := range p.Stations {
				for _, f := range s.Findings {
					if f.Summary == target.Causes[i].Summary {
						at = append(at, s.Key)
					}
				}
			}
			filed = append(filed, strings.Join(at, "+"))
		}
		if got := drawn(p); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if got := strings.Join(filed, " "); got != test.filed {
			t.Errorf("%s: filed under %s, want %s", test.name, got, test.filed)
		}
		if e := p.Stations[len(p.Stations)-1].Else(); strings.Contains(e, "connection") {
			t.Errorf("%s: %s", test.name, e)
		}
	}
}

func with(c Cause, certainty string) Cause {
	c.Certainty = certainty
	return c
}
