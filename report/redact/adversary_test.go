package redact

import (
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// TestNamesInEveryCase: letters beyond ASCII have two cases and two forms, too.
func TestNamesInEveryCase(t *testing.T) {
	for in, want := range map[string]string{
		"/home/Ünsal/x: ünsal ÜNSAL Ünsal U\u0308nsal u\u0308nsal": "/home/user2/x: user2 user2 user2 user2 user2",
		"/home/u\u0308nsal/x: Ünsal":                               "/home/user2/x: user2",
		"http://münchenhost9:80/ MÜNCHENHOST9 Münchenhost9":        "http://host1:80/ host1 host1",
	} {
		if got := redactLine(t, in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	for _, word := range []string{"Ärger", "ärger", "ÄRGER"} {
		if got := redactLine(t, "ÄRGER projekt, Ärger, ärger", word); got != "masked1 projekt, masked1, masked1" {
			t.Errorf("--mask %s: %s", word, got)
		}
	}
}

// TestLeaksIsOfTwoMinds: what the needles miss, be it by a mistake, is found.
func TestLeaksIsOfTwoMinds(t *testing.T) {
	_, key := Redact(around("/home/Émilien/x http://münchenhost9/ http://target/ password=hunter22xyz"))
	key.words = nil
	for text, want := range map[string]Kind{
		"of ÉMILIEN.":                   User,
		"e\u0301MILIEN":                 User,
		"at MÜNCHENHOST9:80":            Host,
		"(hunter22xyz)":                 Secret,
		`<a title="on münchenhost9">x`:  Host,
		`{"k":"{\"alice\": \"alice\"}"`: User,
	} {
		for _, name := range []string{"report.html", "facts.json", "report.md"} {
			if got := key.Leaks(name, []byte(text)); len(got) == 0 || got[0].Kind != want {
				t.Errorf("%s: %s: %v", name, text, got)
			}
		}
	}
	for name, clean := range map[string]string{
		"a.html": `<style>.alice{}</style><script>alice()</script><alice class="alice" data-alice="x"><alice>&#34;x&#34;: {&#34;alice&#34;: 1}`,
		"a.json": `{"alice": {"x":1,"alice":2, "header":"AAAA/alice+"}}`,
		"a.md":   "target, targets, malice, alice2, aliceß and émiliens",
	} {
		if got := key.Leaks(name, []byte(clean)); len(got) > 0 {
			t.Errorf("%s: %v at %d", clean, got[0].Entry, got[0].Offset)
		}
	}
}

// TestOrdinaryNames: that loopdoctor uses a word itself is no reason to leave it where
// only a host, a user or an organization can stand.
func TestOrdinaryNames(t *testing.T) {
	r := around("http://target:80/ target http://shop_dev.apple:62893/ user=block block", "whale")
	f := r.Facts[0]
	f.Environment = &facts.Environment{Variables: []facts.Variable{{Name: "http_proxy", Value: "http://ring:3128"}, {Name: "https_proxy", Value: "google:3128"}, {Name: "no_proxy", Value: "archive,.sun,10.1.2.3"}}}
	f.Names = &facts.Names{Hosts: facts.HostsFile{Lines: []facts.HostsLine{{Text: "127.0.0.1 blue."}}}}
	f.Answers = []facts.Answer{{Handshake: &facts.Handshake{Certificates: []facts.Certificate{{Subject: "CN=block,O=Target", Issuer: "O=mkcert development CA"}}}}}
	to, key := Redact(r)
	text := write(t, to)
	for _, gone := range []string{"//target", "apple", "user=block", "ring:3128", "google", "archive", ".sun", "10.1.2.3", "blue", "CN=block", "O=Target"} {
		if strings.Contains(text, gone) {
			t.Errorf("%s is still there: %s", gone, text)
		}
	}
	for _, stays := range []string{" target ", " block", "mkcert development CA", "whale"} {
		if !strings.Contains(text, stays) {
			t.Errorf("%s is gone: %s", stays, text)
		}
	}
	again, more := Redact(to)
	if write(t, again) != text {
		t.Errorf("again: %v\n%s", more.Entries, diff(text, write(t, again)))
	}
	if leaks := key.Leaks("facts.json", []byte(text)); len(leaks) > 0 {
		t.Errorf("%v", leaks[0].Entry)
	}
}

// TestUsersCalledLikeUnits: the unit keeps its name, and the advice to look at it is no leak.
func TestUsersCalledLikeUnits(t *testing.T) {
	for _, user := range []string{"shop", "start"} {
		r := around("/home/"+user+"/x of shop.service", "journalctl --user -u shop.service; systemctl --user start shop")
		r.Facts[0].Host.As = []facts.Identity{{UID: 1000, User: user}}
		to, key := Redact(r)
		u := to.Facts[0].Units.Units[0]
		if u.Name != "shop.service" || u.Log[0] != "/home/user1/x of shop.service" || u.Log[1] != "journalctl --user -u shop.service; systemctl --user start shop" || to.Facts[0].Host.As[0].User != "user1" {
			t.Errorf("%s: %v %v", user, u, to.Facts[0].Host.As)
		}
		for name, data := range reports(t, to) {
			data = append(data, "\njournalctl --user -u shop.service\nsystemctl --user start shop.service\n"...)
			if leaks := key.Leaks(name, data); len(leaks) > 0 {
				t.Errorf("%s: %s: %+v", user, name, leaks[0])
			}
		}
	}
	if got := redactLine(t, "/home/drop/x; sudo -u drop id; mysql --user=drop"); got != "/home/user2/x; sudo -u user2 id; mysql --user=user2" {
		t.Error(got)
	}
}

func TestHardwareAddressesStayApart(t *testing.T) {
	if got := redactLine(t, "02:00:00:00:00:01 aa:bb:cc:dd:ee:ff enx020000000003 enxaabbccddeeff"); got != "02:00:00:00:00:01 02:00:00:00:00:02 enx020000000003 enx020000000001" {
		t.Error(got)
	}
}

func TestPlacesThatAreNoUsers(t *testing.T) {
	const s = "/run/home/.config/systemd/user/shop.service ~/.config/y"
	if got := redactLine(t, s); got != s {
		t.Error(got)
	}
}

// valuesOf is a recording of these variables and headers, redacted.
func valuesOf(t *testing.T, values map[string]string) map[string]string {
	t.Helper()
	r := around()
	r.Facts[0].Environment = &facts.Environment{}
	r.Facts[0].Answers = []facts.Answer{{HTTP: &facts.HTTPAnswer{}}}
	for name, v := range values {
		if strings.Contains(name, "-") || name == "Via" || name == "Location" {
			h := r.Facts[0].Answers[0].HTTP
			h.Headers = append(h.Headers, facts.Header{Name: name, Value: v})
			continue
		}
		r.Facts[0].Environment.Variables = append(r.Facts[0].Environment.Variables, facts.Variable{Name: name, Value: v})
	}
	to, key := Redact(r)
	again, more := Redact(to)
	if was, is := write(t, to), write(t, again); was != is {
		t.Errorf("again: %v\n%s", more.Entries, diff(was, is))
	}
	if leaks := key.Leaks("facts.json", []byte(write(t, to))); len(leaks) > 0 {
		t.Errorf("%v", leaks[0].Entry)
	}
	out := map[string]string{}
	for _, v := range to.Facts[0].Environment.Variables {
		out[v.Name] = v.Value
	}
	for _, h := range to.Facts[0].Answers[0].HTTP.Headers {
		out[h.Name] = h.Value
	}
	return out
}

func TestValuesByTheirNames(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"Location", "https://sso.acmecorp.com/auth?code=abcSecretXyz&state=s1te&login_hint=jdoe&page=2&next=%2Fx&ok=true", "https://host1.domain1.example/auth?code=hidden1&state=hidden2&login_hint=hidden3&page=2&next=%2Fx&ok=true"},
		{"Location", "/x;jsessionid=ABCDEF12?ticket=ST-1-abc#sid=zzz9", "/x;jsessionid=hidden1?ticket=hidden2#sid=hidden3"},
		{"Location", "http://127.0.0.1:62999/?port=8080&u=http://127.0.0.1:1/", "http://127.0.0.1:62999/?port=8080&u=http://127.0.0.1:1/"},
		{"Location", "//acmecorp7/x", "//host1/x"},
		{"X-Session-Id", "abcSecretXyz", "hidden1"},
		{"WWW-Authenticate", "Negotiate YIIabcdef12", "Negotiate hidden1"},
		{"WWW-Authenticate", `Basic realm="Acme Corp Intranet"`, `Basic realm="organization1"`},
		{"WWW-Authenticate", `Basic realm="Restricted"`, `Basic realm="Restricted"`},
		{"X-Served-By", "cache7-muc", "host1"},
		{"X-Backend-Server", "dbprod7:8080", "host1:8080"},
		{"Via", "1.1 squidhost7 (squid/5.7)", "1.1 host1 (squid/5.7)"},
		{"Alt-Svc", `h3="dbprod7:443"; ma=86400`, `h3="host1:443"; ma=86400`},
		{"X-User", "jdoe", "user1"},
		{"X-Remote-User", "jdoe", "user1"},
		{"DB_USER", "jdoe", "user1"},
		{"PGUSER", "jdoe", "user1"},
		{"GITHUB_ACTOR", "jdoe", "user1"},
		{"CI_SERVER_HOST", "dbprod7", "host1"},
		{"RUNNER_NAME", "runner-muc7", "host1"},
		{"http_proxy", "http://squid7:3128/", "http://host1:3128/"},
		{"no_proxy", "localhost,10.21.,10.21.32.,archive,.acme.corp", "localhost,10.0.,10.0.0.,host1,.host2.corp"},
	} {
		if got := valuesOf(t, map[string]string{c.name: c.in})[c.name]; got != c.want {
			// alice is user1 only where she occurs
			if strings.ReplaceAll(got, "user2", "user1") != c.want {
				t.Errorf("%s: %s\n got %s\nwant %s", c.name, c.in, got, c.want)
			}
		}
	}
}

// argsOf is a command line, redacted.
func argsOf(t *testing.T, args ...string) string {
	t.Helper()
	r := around()
	r.Facts[0].Host.As = nil
	r.Facts[0].Owners = &facts.Owners{Processes: []facts.Process{{PID: 7, Name: args[0], Args: args}}}
	to, key := Redact(r)
	again, more := Redact(to)
	if was, is := write(t, to), write(t, again); was != is {
		t.Errorf("%q again: %v\n%s", args, more.Entries, diff(was, is))
	}
	if leaks := key.Leaks("facts.json", []byte(write(t, to))); len(leaks) > 0 {
		t.Errorf("%q: %v", args, leaks[0].Entry)
	}
	return strings.Join(to.Facts[0].Owners.Processes[0].Args, "|")
}

func TestWhoAndWhereInArguments(t *testing.T) {
	for in, want := range map[string]string{
		"x|/home/corp.acmecorp.com/jdoe/a":                           "x|/home/corp.domain1.example/user1/a",
		"x|C:/Users/Jane Zappelin/a":                                 "x|C:/Users/user2/a",
		"x|/mnt/c/Users/J Doe/a":                                     "x|/mnt/c/Users/user2/a",
		"x|/Users/Jane Zappelin/a":                                   "x|/Users/user2/a",
		`x|C:\Users\Jane Zappelin`:                                   `x|C:\Users\user2`,
		"x|/home/O'Brienx/a":                                         "x|/home/user1/a",
		"x|'/home/jdoe' '/home/wsmith'":                              "x|'/home/user1' '/home/user2'",
		"x|http://127.0.0.1/?m=jane%40zappelin.com":                  "x|http://127.0.0.1/?m=user1%40domain1.example",
		"x|Access denied for user 'jdoe'@'dbhost77' (using":          "x|Access denied for user 'user1'@'host1' (using",
		`x|role "jdoe" does not exist`:                               `x|role "user1" does not exist`,
		"x|DB_USER=jdoe|PGUSER=wsmith|-Duser.name=kbaker|login=lee7": "x|DB_USER=user1|PGUSER=user2|-Duser.name=user3|login=user4",
		"x|Server=127.0.0.1;User Id=jdoe;Port=1":                     "x|Server=127.0.0.1;User Id=user1;Port=1",
		"psql|-U|jdoe":                                               "psql|-U|user1",
		"mysql|-ujdoe|-hdbprod7":                                     "mysql|-uuser1|-hhost1",
		"ssh|-N|-ljdoe|bast9":                                        "ssh|-N|-luser1|host1",
		"ssh|-o|X=y|-NL|62893:127.0.0.1:80|bast9|-p|22":              "ssh|-o|X=y|-NL|62893:127.0.0.1:80|host1|-p|22",
		"sh|-c|ssh -N -L 62893:127.0.0.1:80 jdoe@dbprod7":            "sh|-c|ssh -N -L 62893:127.0.0.1:80 user1@host1",
		"sh|-c|exec psql -U jdoe -h dbprod7":                         "sh|-c|exec psql -U user1 -h host1",
		`x|\\fileserv7\homes\jdoe`:                                   `x|\\host1\homes\user1`,
		`x|ACMEDOM\jdoe`:                                             `x|host1\user1`,
		"kinit|jdoe/admin@ACME.COM":                                  "kinit|user1/admin@domain1.example",
		"x|/homes/jdoe/a|/home2/wsmith/a|/media/kbaker/u":            "x|/homes/user1/a|/home2/user2/a|/media/user3/u",
		"kubectl|--context|jdoe@acmecluster|port-forward":            "kubectl|--context|user1@host1|port-forward",
		"psql|-h|/var/run/postgresql|-U|postgres":                    "psql|-h|/var/run/postgresql|-U|postgres",
		"docker|login|-u|jdoe|-p|hunter2zz":                          "docker|login|-u|user1|-p|hidden1",
		"docker|run|-u|1000:1000|shop":                               "docker|run|-u|1000:1000|shop",
		"app|jdoe:hunter2zz@tcp(dbprod7:3306)/shop":                  "app|user1:hidden1@tcp(host1:3306)/shop",
		"x|http_proxy=jdoe:hunter2zz@squidhost7:3128":                "x|http_proxy=user1:hidden1@host1:3128",
		"du|-sh|x": "du|-sh|x",
	} {
		if got := argsOf(t, strings.Split(in, "|")...); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestAccessLists(t *testing.T) {
	for in, want := range map[string]string{
		"ALL: 10.21.32.":                                "ALL: 10.0.0.",
		"sshd: dbprod7, jdoe@dbtest8 : spawn x":         "sshd: host1, user1@host2 : spawn x",
		"ALL: ALL EXCEPT LOCAL, .acmecorp.com":          "ALL: ALL EXCEPT LOCAL, .domain1.example",
		"sshd: 10.21.32.0/255.255.255.0, [2a01:4f8::1]": "sshd: 10.0.0.0/255.255.255.0, [3fff::1]",
		"host all jdoe 10.21.32.0/24 md5":               "host all user1 10.0.0.0/24 md5",
		"host all drop,+admins all md5":                 "host all user1,+user2 all md5",
		"host all jdoe 10.21.32.0 255.255.255.0 md5":    "host all user1 10.0.0.0 255.255.255.0 md5",
		"hostssl shop all dbprod7 scram-sha-256":        "hostssl shop all host1 scram-sha-256",
		"local all postgres peer":                       "local all postgres peer",
		"local\tall\tmd5user\tmd5":                      "local\tall\tuser1\tmd5",
		"host replication all samenet reject":           "host replication all samenet reject",
	} {
		r := around()
		r.Facts[0].Host.As = nil
		r.Facts[0].Answers = []facts.Answer{{Access: []facts.AccessLine{{From: "/etc/hosts.deny:3", Text: in}}}}
		to, key := Redact(r)
		got := to.Facts[0].Answers[0].Access[0].Text
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
		again, _ := Redact(to)
		if s := again.Facts[0].Answers[0].Access[0].Text; s != got {
			t.Errorf("%s became %s", got, s)
		}
		if leaks := key.Leaks("facts.json", []byte(write(t, to))); len(leaks) > 0 {
			t.Errorf("%s: %v", in, leaks[0].Entry)
		}
	}
	if got := redactLine(t, "from 10.21.32.* and 10.21.32.7; took 10.5. of 1.2.3."); got != "from 10.0.0.* and 10.0.0.1; took 10.5. of 1.2.3." {
		t.Error(got)
	}
}

func TestHostsLines(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.1.1 dbprod7 # laptop of Jane":     "127.0.1.1 host1",
		"#10.21.32.43 dbprod7":                   "#10.0.0.1 host1",
		"127.0.0.1 localhost # 10.1.2.3 block #": "127.0.0.1 localhost # 10.0.0.1 host1",
		"127.0.0.1\tlocalhost acme.":             "127.0.0.1\tlocalhost host1.",
		"::1 ip6-localhost ip6-loopback":         "::1 ip6-localhost ip6-loopback",
	} {
		if got := hostsLine(in, func(s string) string { return s }); strings.Contains(got, "Jane") {
			t.Error(got)
		}
		r := around()
		r.Facts[0].Host.As = nil
		r.Facts[0].Names = &facts.Names{Hosts: facts.HostsFile{Lines: []facts.HostsLine{{Text: in}}}}
		to, _ := Redact(r)
		if got := strings.TrimSpace(to.Facts[0].Names.Hosts.Lines[0].Text); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestNamesInCertificates(t *testing.T) {
	for in, want := range map[string]string{
		"CN=Jane Zappelin":                         "CN=organization1",
		"UID=jdoe,DC=acmecorp,DC=com":              "UID=user1,DC=host1,DC=com",
		"CN=Acme Root CA G2":                       "CN=organization1",
		`O=Acme Corp\, Inc.,CN=dbprod7`:            "O=organization1,CN=host1",
		"1.2.840.113549.1.9.1=#0c0f6a61,CN=x":      "1.2.840.113549.1.9.1=#,CN=x",
		"CN=MÜLLER CA,O=MÜLLER GMBH":               "CN=organization1,O=organization2",
		"CN=Caddy Local Authority - 2026 ECC Root": "CN=Caddy Local Authority - 2026 ECC Root",
		"CN=localhost,O=mkcert development CA":     "CN=localhost,O=mkcert development CA",
	} {
		r := around()
		r.Facts[0].Host.As = nil
		r.Facts[0].Answers = []facts.Answer{{Handshake: &facts.Handshake{Certificates: []facts.Certificate{{Subject: in, Issuer: in}}}}}
		to, key := Redact(r)
		c := to.Facts[0].Answers[0].Handshake.Certificates[0]
		if c.Subject != want || c.Issuer != want {
			t.Errorf("%s\n got %s\nand %s\nwant %s", in, c.Subject, c.Issuer, want)
		}
		again, more := Redact(to)
		if got := again.Facts[0].Answers[0].Handshake.Certificates[0].Subject; got != want {
			t.Errorf("%s became %s: %v", want, got, more.Entries)
		}
		if leaks := key.Leaks("facts.json", []byte(write(t, to))); len(leaks) > 0 {
			t.Errorf("%s: %v", in, leaks[0].Entry)
		}
	}
}

func TestFormsOfHardwareAddresses(t *testing.T) {
	if got := redactLine(t, "AA-BB-CC-12-34-56 aa:bb:cc:12:34:56 aabb.cc12.3456 host-10-21-32-43 2026-11-30-02-00-01 12-34-56-78-90"); got != "02:00:00:00:00:01 02:00:00:00:00:01 02:00:00:00:00:01 host1 2026-11-30-02-00-01 12-34-56-78-90" {
		t.Error(got)
	}
}

func TestVariantsOfWords(t *testing.T) {
	if got := redactLine(t, "blue-whale Blue_Whale BlueWhale blue whale bluewhales", "blue-whale"); got != "masked1 masked1 masked1 masked1 masked1s" {
		t.Error(got)
	}
}

// TestNamesThatStayAreNoLeaks: what is left where it is no name is not found there.
func TestNamesThatStayAreNoLeaks(t *testing.T) {
	for in, want := range map[string]string{
		"/home/cafe/x 2001:db8::cafe 2001:db8:cafe::1 cafe": "/home/user2/x 2001:db8::cafe 2001:db8:cafe::1 user2",
		"password=postgres then postgres is up":             "password=hidden1 then postgres is up",
		"/home/4chan/x of 4chan; /home/00z/x 02:00:00z":     "/home/user2/x of user2; /home/user3/x 02:00:00z",
		"http://target/ target":                             "http://host1/ target",
	} {
		if got := redactLine(t, in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	r := around("/home/shopd/x of shopd")
	r.Facts[0].Owners = &facts.Owners{Processes: []facts.Process{{PID: 8, Name: "gunicorn", UID: 998, User: "shopd"}}}
	to, key := Redact(r)
	if got := to.Facts[0].Units.Units[0].Log[0]; got != "/home/user2/x of shopd" || len(key.Leaks("facts.json", []byte(write(t, to)))) > 0 {
		t.Errorf("%s %v", got, key.Leaks("facts.json", []byte(write(t, to))))
	}
}

func TestAddressesAsNumbers(t *testing.T) {
	if got := redactLine(t, "http://168108075/ http://0x0a15202b:80/ http://2130706433/ http://80/ at 168108076"); got != "http://host1/ http://host2:80/ http://2130706433/ http://80/ at 168108076" {
		t.Error(got)
	}
}
