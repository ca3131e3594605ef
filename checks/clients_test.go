package checks

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What each client does is compared with the real ones in
// cmd/loopdoctor/clients_linux_test.go; here is what follows from it.

func fares(f *facts.Facts) map[string]string {
	out := map[string]string{}
	for _, c := range Clients(f) {
		s := c.Unknown
		if s == "" {
			s = strings.Trim(fmt.Sprint(c.Addresses), "[]")
		}
		switch {
		case c.Works == nil:
			s += "?"
		case !*c.Works:
			s += " fails"
		}
		out[c.Name] = s
	}
	return out
}

func TestClients(t *testing.T) {
	v6first := hosts("::1", "127.0.0.1")
	lan := func(f *facts.Facts) {
		f.Interfaces.Others = []facts.Interface{{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}}}
	}
	refused6, ok4 := dials("::1", facts.Refused), dials("127.0.0.1", facts.Connected)
	for _, test := range []struct {
		name  string
		facts *facts.Facts
		want  string
	}{
		{"IPv4 alone is served", machine("localhost", v6first, listens("127.0.0.1", 50), ok4, refused6),
			"Python: ::1 127.0.0.1; Node 16 and older: 127.0.0.1 ::1; Node 17 to 19: ::1 127.0.0.1 fails; Node 20 and newer: ::1 127.0.0.1; Java: 127.0.0.1 ::1; BusyBox wget: ::1 127.0.0.1 fails; curl: 127.0.0.1 ::1"},
		{"on a machine with IPv4 addresses only Node asks for IPv4 only", machine("localhost", v6first, listens("127.0.0.1", 50), ok4, refused6, lan),
			"Python: ::1 127.0.0.1; Node 17 to 19: 127.0.0.1; nginx proxy_pass: 127.0.0.1; BusyBox wget: ::1 127.0.0.1 fails"},
		{"IPv6 alone is served", machine("62893", v6first, listens("::1", 50), dials("::1", facts.Connected), dials("127.0.0.1", facts.Refused)),
			"Java: 127.0.0.1 ::1 fails; Node 16 and older: 127.0.0.1 ::1 fails; Node 17 to 19: ::1 127.0.0.1"},
		{"the name is nothing here", machine("localhost", hosts(), nsswitch("hosts: files", "files"), listens("127.0.0.1", 50), ok4),
			"Python:  fails; Java: 127.0.0.1; curl: 127.0.0.1 ::1; Go:  fails"},
		{"a name server was not asked", machine("localhost", hosts(), listens("127.0.0.1", 50), ok4, func(f *facts.Facts) {
			f.Names.Error, f.Names.Servers = facts.UnknownHere, []facts.NameServer{{Addr: netip.MustParseAddrPort("192.0.2.1:53")}}
		}), "Python: not known here?; C library (musl): name server not asked?; Go: name server not asked?; curl: 127.0.0.1 ::1"},
		{"a silent one", machine("localhost", silentServer("hosts file line 1", "dns", "files"), listens("127.0.0.1", 50), ok4),
			"Python: waits for a silent name server?; C library (musl): ::1 127.0.0.1; Go: waits for a silent name server?"},
		{"localhost below localhost", machine("app.localhost", hosts(), asksFor("app.localhost"), listens("127.0.0.1", 50), ok4),
			"Java:  fails; Firefox: 127.0.0.1 ::1; Chromium: ::1 127.0.0.1"},
		{"nobody tried, and something listens", machine("localhost", v6first, listens("127.0.0.1", 50)),
			"Python: ::1 127.0.0.1?; Node 17 to 19: ::1 127.0.0.1 fails"},
		{"Node cuts an attempt short", machine("localhost", v6first, listens("::1", 50), dials("::1", facts.Connected, took(612)), dials("127.0.0.1", facts.Refused)),
			"Node 20 and newer: ::1 127.0.0.1 fails; Node 17 to 19: ::1 127.0.0.1; Chromium: ::1 127.0.0.1"},
	} {
		got := fares(test.facts)
		for part := range strings.SplitSeq(test.want, "; ") {
			name, want, _ := strings.Cut(part, ": ")
			if got[name] != want {
				t.Errorf("%s: %s %q, want %q", test.name, name, got[name], want)
			}
		}
	}
	if cs := Clients(machine("127.0.0.1")); cs != nil {
		t.Errorf("of an address there is nothing to tell, and it tells %v", cs)
	}
}

func TestUnusualCriteria(t *testing.T) {
	for text, want := range map[string]bool{
		" files dns": false, " files [NOTFOUND=return] dns": false, " files [!UNAVAIL=return]": true, " files [SUCCESS=continue] dns": true,
		" mdns4_minimal [NOTFOUND=return] dns": false, " files [NOTFOUND=return SUCCESS=return]": true, " files [": false, " files []": false,
	} {
		if got := unusualCriteria(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
