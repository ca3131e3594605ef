package resolve

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestHosts(t *testing.T) {
	file := "# localhost is used to configure the loopback interface\r\n" +
		"127.0.0.1\tlocalhost\tlocalhost.localdomain\r\n" +
		"\r\n" +
		"  ::1 ip6-localhost LOCALHOST # ours\n" +
		"fe80::1%lo0 localhost\n" +
		"not-an-address localhost\n" +
		"127.0.0.3 # localhost\n" +
		"127.0.0.4 notlocalhost localhost2\n" +
		"10.0.0.9 localhost"
	want := []facts.HostsLine{
		{Line: 2, Addr: addr("127.0.0.1"), Text: "127.0.0.1\tlocalhost\tlocalhost.localdomain"},
		{Line: 4, Addr: addr("::1"), Text: "::1 ip6-localhost LOCALHOST # ours"},
		{Line: 5, Addr: addr("fe80::1%lo0"), Text: "fe80::1%lo0 localhost"},
		{Line: 9, Addr: addr("10.0.0.9"), Text: "10.0.0.9 localhost"},
	}
	if got := Hosts([]byte(file), "LocalHost"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	huge := "127.0.0.1" + strings.Repeat(" x", 1<<20) + " localhost\n"
	got := Hosts([]byte(huge), "localhost")
	if len(got) != 1 || len(got[0].Text) > maxText+len("…") {
		t.Errorf("a huge line gave %d lines", len(got))
	}
}

func TestNameSwitch(t *testing.T) {
	sw, err := NameSwitch([]byte("# hosts: nis\npasswd: files\n\nhosts:\tfiles mdns4_minimal [NOTFOUND=return] dns [!UNAVAIL=return]\n"))
	want := []Source{
		{Name: "files", On: [4]Action{Return, Continue, Continue, Continue}},
		{Name: "mdns4_minimal", On: [4]Action{Return, Return, Continue, Continue}},
		{Name: "dns", On: [4]Action{Return, Return, Continue, Return}},
	}
	if err != nil || sw.Line != 4 || sw.Text != "hosts:\tfiles mdns4_minimal [NOTFOUND=return] dns [!UNAVAIL=return]" || !reflect.DeepEqual(sw.Sources, want) {
		t.Errorf("got %+v, %v", sw, err)
	}
	for text, msg := range map[string]string{
		"\nhosts: files [FOO=return]":  `line 2, source files: "FOO" is no status`,
		"passwd: files [NOTFOUND=go]":  `line 1, source files: "go" is no action`,
		"hosts: dns [NOTFOUND=return":  `line 1, source dns: the bracket is not closed`,
		"hosts: dns [NOTFOUND return]": `line 1, source dns: "NOTFOUND" is no status`,
	} {
		if _, err := NameSwitch([]byte(text)); err == nil || err.Error() != msg {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestResolvConf(t *testing.T) {
	c := ResolvConf([]byte("; comment\nnameserver 127.0.0.53\nnameserver\t::1#53\n nameserver 9.9.9.9\nnameserverx 8.8.8.8\nnameserver fe80::1%eth0\nnameserver 1.1.1.1\noptions edns0 no-aaaa\n"))
	want := []netip.AddrPort{netip.AddrPortFrom(addr("127.0.0.53"), 53), netip.AddrPortFrom(addr("::1"), 53), netip.AddrPortFrom(addr("fe80::1%eth0"), 53)}
	if !slices.Equal(c.Servers, want) || !c.NoAAAA {
		t.Errorf("got %+v", c)
	}
	for text, want := range map[string]time.Duration{
		"": 10 * time.Second, "options timeout:1 attempts:3\n": 3 * time.Second, "options timeout:0 attempts:x\n": 10 * time.Second,
		"options timeout:99\noptions attempts:9\n": 150 * time.Second, "options timeout:-1\n": 10 * time.Second,
	} {
		if c := ResolvConf([]byte(text)); c.Wait != want {
			t.Errorf("%q: a silent server is waited for %v, want %v", text, c.Wait, want)
		}
	}
	if c := ResolvConf(nil); len(c.Servers) != 1 || c.Servers[0].String() != "127.0.0.1:53" || c.NoAAAA {
		t.Errorf("an empty file means %+v", c)
	}
}

// What getent cannot be asked here, because the modules are not installed.
func TestLookup(t *testing.T) {
	hosts := func(lines ...string) []facts.HostsLine { return Hosts([]byte(strings.Join(lines, "\n")), "localhost") }
	unasked := []facts.NameServer{{Addr: netip.MustParseAddrPort("9.9.9.9:53")}}
	for name, c := range map[string]struct {
		sw   string
		q    Query
		want string
	}{
		"myhostname":               {"files myhostname", Query{}, "::1 (myhostname) 127.0.0.1 (myhostname)"},
		"myhostname, subdomain":    {"files myhostname", Query{Name: "a.LOCALHOST"}, "::1 (myhostname) 127.0.0.1 (myhostname)"},
		"myhostname, other":        {"files myhostname", Query{Name: "other"}, "not found"},
		"myhostname, self":         {"myhostname", Query{Name: "Box", HostName: "box", Local: []netip.Addr{addr("10.0.0.5")}}, "10.0.0.5 (myhostname)"},
		"not installed":            {"myhostname", Query{Installed: func(string) bool { return false }}, "not found"},
		"resolved makes it up":     {"resolve [!UNAVAIL=return] files", Query{Resolved: true, Hosts: hosts("127.0.0.1 localhost")}, "::1 (systemd-resolved) 127.0.0.1 (systemd-resolved)"},
		"resolved obeys hosts":     {"resolve", Query{Resolved: true, Hosts: hosts("10.0.0.9 localhost")}, "10.0.0.9 (hosts file line 1)"},
		"resolved, another name":   {"resolve", Query{Resolved: true, Hosts: hosts("127.0.0.1 localhost box")}, "127.0.0.1 (hosts file line 1)"},
		"resolved is not running":  {"resolve [!UNAVAIL=return] files", Query{Hosts: hosts("127.0.0.1 localhost")}, "127.0.0.1 (hosts file line 1)"},
		"resolved would ask":       {"resolve", Query{Name: "example.test", Resolved: true}, "not known here"},
		"mdns is for .local":       {"mdns4_minimal [NOTFOUND=return] files", Query{Hosts: hosts("127.0.0.1 localhost")}, "127.0.0.1 (hosts file line 1)"},
		"mdns, .local":             {"mdns4_minimal [NOTFOUND=return] files", Query{Name: "printer.local"}, "not known here"},
		"a source nobody knows":    {"sss files", Query{Hosts: hosts("127.0.0.1 localhost")}, "not known here"},
		"dns was not asked":        {"files dns", Query{Servers: unasked}, "not known here, needs dns"},
		"dns is not reached":       {"files [NOTFOUND=return] dns", Query{Servers: unasked}, "not found"},
		"dns will be silent":       {"dns files", Query{Silent: true, Servers: []facts.NameServer{{Asked: true, Error: NoAnswer}}, Hosts: hosts("::1 localhost")}, "::1 (hosts file line 1)"},
		"dns is silent, and ends":  {"dns [TRYAGAIN=return] files", Query{Silent: true, Servers: []facts.NameServer{{Asked: true, Error: NoAnswer}}, Hosts: hosts("::1 localhost")}, "not found"},
		"the next one answers":     {"dns files", Query{Silent: true, Servers: []facts.NameServer{{Asked: true, Error: NoAnswer}, {Asked: true, Rcode: "NXDOMAIN"}}, Hosts: hosts("::1 localhost")}, "::1 (hosts file line 1)"},
		"dns was silent":           {"dns files", Query{Servers: []facts.NameServer{{Asked: true, Error: NoAnswer}}, Hosts: hosts("::1 localhost")}, "not known here, needs dns"},
		"the first server decides": {"dns", Query{Servers: []facts.NameServer{{Asked: true, Rcode: "SERVFAIL"}, {Asked: true, Rcode: "NOERROR", Addr: netip.MustParseAddrPort("127.0.0.53:53"), Answers: []netip.Addr{addr("127.0.0.9")}}}}, "127.0.0.9 (name server 127.0.0.53)"},
		"merge":                    {"files [SUCCESS=merge] dns", Query{Hosts: hosts("::1 localhost")}, "hosts cannot be merged: [SUCCESS=merge] after files"},
	} {
		t.Run(name, func(t *testing.T) {
			sw, err := NameSwitch([]byte("hosts: " + c.sw))
			if err != nil {
				t.Fatal(err)
			}
			q := c.q
			q.Sources, q.Multi = sw.Sources, true
			if q.Name == "" {
				q.Name = "localhost"
			}
			if q.Installed == nil {
				q.Installed = func(string) bool { return true }
			}
			a := Lookup(q)
			var parts []string
			for _, n := range a.Addresses {
				parts = append(parts, n.Addr.String()+" ("+n.Source+")")
			}
			got := strings.Join(parts, " ") + a.Error
			if a.NeedsDNS {
				got += ", needs dns"
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	direct := func(a netip.Addr) netip.Addr { return a }
	without6 := func(a netip.Addr) netip.Addr {
		if a.Is6() {
			return netip.Addr{}
		}
		return a
	}
	lan := func(a netip.Addr) netip.Addr {
		if a.IsLoopback() {
			return a
		}
		return addr("10.0.0.5")
	}
	for name, c := range map[string]struct {
		in, want string
		source   func(netip.Addr) netip.Addr
		table    []Precedence
	}{
		"::1 first":                 {"127.0.0.1 ::1", "::1 127.0.0.1", direct, nil},
		"no IPv6":                   {"::1 127.0.0.1", "127.0.0.1 ::1", without6, nil},
		"smaller scope first":       {"10.0.0.9 127.0.0.1", "127.0.0.1 10.0.0.9", lan, nil},
		"as they came":              {"127.0.0.2 127.0.0.1", "127.0.0.2 127.0.0.1", direct, nil},
		"gai.conf prefers IPv4":     {"::1 127.0.0.1", "127.0.0.1 ::1", direct, GaiConf([]byte("precedence ::ffff:0:0/96  100\n"))},
		"gai.conf without a change": {"127.0.0.1 ::1", "::1 127.0.0.1", direct, GaiConf([]byte("#precedence ::ffff:0:0/96  100\nlabel ::1/128 0\n"))},
	} {
		var list []facts.NamedAddr
		for _, s := range strings.Fields(c.in) {
			list = append(list, facts.NamedAddr{Addr: addr(s)})
		}
		q := Query{Source: c.source, Precedence: c.table}
		var got []string
		for _, a := range q.order(list) {
			got = append(got, a.Addr.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func FuzzHosts(f *testing.F) {
	f.Add([]byte("127.0.0.1 localhost\r\n::1\tlocalhost ip6-localhost # x\nfe80::1%lo0 localhost"), "localhost")
	f.Add([]byte("\xff\x00 localhost\n\n#"), "")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		for _, l := range Hosts(data, name) {
			if l.Line < 1 || !l.Addr.IsValid() || len(l.Text) > maxText+len("…") {
				t.Errorf("%+v", l)
			}
			plainLocalhost(l)
		}
		ResolvConf(data)
		GaiConf(data)
		Multi(data)
	})
}

func FuzzNameSwitch(f *testing.F) {
	f.Add([]byte("hosts: files mdns4_minimal [NOTFOUND=return] dns [!UNAVAIL=return TRYAGAIN=continue]\n"))
	f.Add([]byte("hosts :dns[!unavail = merge]files#x\npasswd: [\nhosts: [=]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sw, err := NameSwitch(data)
		if err != nil {
			return
		}
		for _, s := range sw.Sources {
			if s.Name == "" {
				t.Errorf("a source without a name: %+v", sw)
			}
		}
		Lookup(Query{Name: "localhost", Sources: sw.Sources, Multi: true})
	})
}
