package redact

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// around is a recording whose only free text is the given lines, on the machine of the
// user alice: its first target has them in its log.
func around(lines ...string) *facts.Recording {
	return &facts.Recording{Schema: facts.Schema, Version: "devel", Facts: []*facts.Facts{{
		Target: facts.Target{Raw: "62893", Network: "tcp", Host: "localhost", Port: 62893},
		Host:   facts.Host{OS: "linux", Kernel: "5.15.153.1-microsoft-standard-WSL2", As: []facts.Identity{{UID: 1000, User: "alice"}}},
		Units:  &facts.Units{From: "systemd", Units: []facts.Unit{{Name: "shop.service", Log: lines}}},
	}}}
}

func redactLine(t *testing.T, line string, words ...string) string {
	t.Helper()
	r := around(line)
	to, key := Redact(r, words...)
	again, more := Redact(to)
	if got := again.Facts[0].Units.Units[0].Log[0]; got != to.Facts[0].Units.Units[0].Log[0] {
		t.Errorf("%s\nbecame %s\nand then %s %v", line, to.Facts[0].Units.Units[0].Log[0], got, more.Entries)
	}
	data, _ := json.Marshal(to)
	if leaks := key.Leaks("facts.json", data); len(leaks) > 0 {
		t.Errorf("%s: leaks %v of %v in %s", line, leaks, leaks[0].Entry, data)
	}
	return to.Facts[0].Units.Units[0].Log[0]
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		// users
		"open /home/alice/app: no such file":                         "open /home/user1/app: no such file",
		"alice, Alice and ALICE; not malice, alice2 or aliceandbob":  "user1, user1 and user1; not malice, alice2 or aliceandbob",
		"alice_db, alice-pc; %2Fhome%2Falice%2Fx \\nalice":           "user1_db, user1-pc; %2Fhome%2Fuser1%2Fx \\nuser1",
		`C:\Users\bob.smith\x and C:\\Users\\Ann Lee\\x`:             `C:\Users\user2\x and C:\\Users\\user4\\x`,
		"/Users/carol/src /var/home/dave/x /root/x /home/ubuntu/x":   "/Users/user2/src /var/home/user3/x /root/x /home/ubuntu/x",
		"~erin/bin/x ~/bin/y":                                        "~user2/bin/x ~/bin/y",
		`no pg_hba.conf entry for host "10.1.2.3", user "frank"`:     `no pg_hba.conf entry for host "10.0.0.1", user "user2"`,
		"user=gina dbname=shop; user=postgres":                       "user=user2 dbname=shop; user=postgres",
		"root www-data nobody systemd-resolve postgres git node":     "root www-data nobody systemd-resolve postgres git node",
		"getty@tty1.service postgresql@15-main wg-quick@wg0 pkg@1.2": "getty@tty1.service postgresql@15-main wg-quick@wg0 pkg@1.2",
		// users whose names are words: only where a user is meant
		"/home/drop/x: tcp dport 80 drop; drop@shop7.acme.com ~drop/x": "/home/user2/x: tcp dport 80 drop; user2@host1.domain1.example ~user2/x",
		"/home/j/x j k":     "/home/user2/x j k",
		`user "mark": mark`: `user "user2": mark`,
		// hosts
		"connect to db7.acme.com:5432 (www.acme.com)":                                                                           "connect to host1.domain1.example:5432 (www.domain1.example)",
		"acme.com acme.co.uk ACME.COM .acme.com *.acme.com acme":                                                                "domain1.example domain2.example domain1.example .domain1.example *.domain1.example domain1",
		"printer.local nas42.lan x9.corp db.internal host.docker.internal":                                                      "host1.local host2.lan x9.corp db.internal host.docker.internal",
		"getaddrinfo ENOTFOUND muc-db-3":                                                                                        "getaddrinfo ENOTFOUND host1",
		`could not translate host name "muc-db-3" to address`:                                                                   `could not translate host name "host1" to address`,
		"http://buildbox:8080/x then buildbox":                                                                                  "http://host1:8080/x then host1",
		"server.py app.js nginx.conf docker.service foo.sh main.rs lib.so libc.so.6 a.zip jail.local README.md x.min.js":        "server.py app.js nginx.conf docker.service foo.sh main.rs lib.so libc.so.6 a.zip jail.local README.md x.min.js",
		"java.net.ConnectException http.server com.docker.backend org.apache.kafka.common.Node net.ipv4.ip_forward self.app":    "java.net.ConnectException http.server com.docker.backend org.apache.kafka.common.Node net.ipv4.ip_forward self.app",
		"docker.io/library/nginx ghcr.io quay.io registry.k8s.io github.com localhost localhost.localdomain ip6-localhost":      "docker.io/library/nginx ghcr.io quay.io registry.k8s.io github.com localhost localhost.localdomain ip6-localhost",
		"app.localhost ip-10-1-2-3 ip-10-1-2-3.ec2.internal":                                                                    "app.localhost host1 host1.ec2.internal",
		"10.1.2.3.nip.io 3.2.1.10.in-addr.arpa 1.0.0.127.in-addr.arpa":                                                          "10.0.0.1.domain1.example 1.0.0.10.in-addr.arpa 1.0.0.127.in-addr.arpa",
		"django.core.management.base app.support.tools shop.acme.xyz":                                                           "django.core.management.base app.support.tools shop.domain1.example",
		"Nov 30 02:00:01 munich app[71]: munich is up, munich.":                                                                 "Nov 30 02:00:01 host1 app[71]: host1 is up, host1.",
		"DB_HOST=db-muc7 host=db-muc7 TCP:db-muc8:80 enx3c5282aabbcc":                                                           "DB_HOST=host1 host=host1 TCP:host2:80 enx020000000001",
		"/srv/hosts-wrong.other-x /run/home/.config/x; This host (\"tun7.acme.com\") is not allowed; lookup muc9: no such host": "/srv/hosts-wrong.other-x /run/home/.config/x; This host (\"host1.domain1.example\") is not allowed; lookup host2: no such host",
		"no_proxy 192.168.7.*|10.*|10.20.*, 192.168.7.9 81.2.*":                                                                 "no_proxy 192.168.0.*|10.*|10.0.*, 192.168.0.1 240.0.*",
		"\x1b[32malice\x1b[0m \x1b[malice [1;31malice[0m \x1b[33m81.2.69.142\x1b[0m itemalice":                                  "\x1b[32muser1\x1b[0m \x1b[muser1 [1;31muser1[0m \x1b[33m240.0.0.1\x1b[0m itemalice",
		`\\wsl$\Ubuntu\home\bob\x /run/media/carol/usb`:                                                                         `\\wsl$\Ubuntu\home\user2\x /run/media/user3/usb`,
		"su: user ‘alice’ “alice” …alice… ‘/home/bob’ «db7.acme.com» ‘81.2.69.142’ http://muc7… aliceß éalice":                  "su: user ‘user1’ “user1” …user1… ‘/home/user2’ «host2.domain1.example» ‘240.0.0.1’ http://host1… aliceß éalice",
		"/home/Émilie/x émilie ÉMILIE %C3%89milie":                                                                              "/home/user2/x user2 user2 user2",
		"_http._tcp.acme.com":                    "_http._tcp.domain1.example",
		"bob@acme.com wrote; git@github.com:x/y": "user2@domain1.example wrote; git@github.com:x/y",
		// addresses
		"from 192.168.7.23:4431 to [2a01:4f8:c17::9]:80, [::1]:80, :::80, ::ffff:192.168.7.23": "from 192.168.0.1:4431 to [3fff::1]:80, [::1]:80, :::80, ::ffff:192.168.0.1",
		"ip saddr 192.168.7.0/24 ip saddr 192.168.7.9-192.168.7.20 drop":                       "ip saddr 192.168.0.0/24 ip saddr 192.168.0.1-192.168.0.17 drop",
		"10.9.8.7/255.255.255.0 0.0.0.0:80 255.255.255.255 127.0.0.53 172.17.0.2":              "10.0.0.1/255.255.255.0 0.0.0.0:80 255.255.255.255 127.0.0.53 172.17.0.2",
		"IP 81.2.69.142.443 > 127.0.0.1.80; 1.3.6.1.4.1.311 and 5.15.153.1-microsoft":          "IP 240.0.0.1.443 > 127.0.0.1.80; 1.3.6.1.4.1.311 and 5.15.153.1-microsoft",
		"fe80::42%eth0 16:01:14 std::string 2a01:4f8::c.443 a81.2.69.142 81.2.69.142.":         "fe80::1%eth0 16:01:14 std::string 3fff::1.443 a81.2.69.142 240.0.0.1.",
		"link/ether 3c:52:82:aa:bb:cc brd ff:ff:ff:ff:ff:ff":                                   "link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff",
		// secrets
		"dsn bob:hunter22@db-muc7 of host=db-muc7, hunter22; a:b@nowhere":                "dsn user2:hidden1@host1 of host=host1, hidden1; a:b@nowhere",
		"password=&amp; x&amp;y, password: user1 authorization: host2":                   "password=hidden1 x&amp;y, password: user1 authorization: host2",
		"password=hunter22! and hunter22, HUNTER22?":                                     "password=hidden1 and hidden1, hidden1?",
		"bob:hunter22@db7.acme.com/x":                                                    "user2:hidden1@host1.domain1.example/x",
		"password=hunter22 then hunter22, https://svc:hunter22@acme.com/?token=hunter22": "password=hidden1 then hidden1, https://user2:hidden1@domain1.example/?token=hidden1",
		"Authorization: Bearer abc123def456ghi789":                                       "Authorization: Bearer hidden1",
		"AKIAIOSFODNN7EXAMPLE ghp_16C7e42F292c6912E7710c838347Ae178B4a":                  "hidden1 hidden2",
		"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----":           "hidden1",
		"password=*** token=${TOKEN} --api-key=, auth required":                          "password=*** token=${TOKEN} --api-key=, auth required",
		"pw aHVudGVyMjI= of password=hunter22":                                           "pw hidden1 of password=hidden1",
		"https://acme.com/?sig=a%2Fb%2Fcdefgh a/b/cdefgh":                                "https://domain1.example/?sig=hidden1 hidden1",
	} {
		if got := redactLine(t, in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestMaskedWords(t *testing.T) {
	for _, c := range []struct {
		in, want string
		words    []string
	}{
		{"the Acme shop of acmeweb at x.acme-staging.io", "the masked1 shop of masked1web at x.domain1.example", []string{"acme"}},
		{"db of debt", "masked1 of debt", []string{"db"}},
		{"project Blue Moon, bluemoon", "project masked1, masked1", []string{"blue moon", " "}},
		{"shop.service", "masked1.service", []string{"shop"}},
	} {
		if got := redactLine(t, c.in, c.words...); got != c.want {
			t.Errorf("%q %s\n got %s\nwant %s", c.words, c.in, got, c.want)
		}
	}
}

// TestFieldsThatSayWhatTheyAre: a field for users or hosts needs no pattern.
func TestFieldsThatSayWhatTheyAre(t *testing.T) {
	r := around("nothing of note")
	f := r.Facts[0]
	f.Host.As[0].User = "drop"
	f.Owners = &facts.Owners{Processes: []facts.Process{
		{PID: 7, Name: "ssh", UID: 1001, User: `GLOBEX\bob`, Args: []string{"ssh", "-N", "-L", "62893:127.0.0.1:80", "-L", "8080:db-inner:80", "-J", "dave@hop1,hop2", "carol@jumpbox"}},
		{PID: 8, Name: "gunicorn", UID: 998, User: "shopd", Args: []string{"gunicorn", "--password", "s3cr3tPW", "--bind", "10.1.2.3:80"}},
	}}
	f.Names = &facts.Names{Name: "muc1", Hosts: facts.HostsFile{Path: "/etc/hosts", Lines: []facts.HostsLine{{Line: 3, Text: "10.1.2.3\tmuc1 muc1-db # upstairs"}}}}
	f.Environment = &facts.Environment{Variables: []facts.Variable{{Name: "USER", Value: "drop"}, {Name: "PGHOST", Value: "muc1-db"}, {Name: "API_TOKEN", Value: "abcd1234efgh"}}}
	f.Proxies = &facts.Proxies{Variables: []facts.Variable{{Name: "no_proxy", Value: "localhost,.acme.corp,intra7"}, {Name: "http_proxy", Value: "http://px9:3128"}}}
	f.Answers = []facts.Answer{{Handshake: &facts.Handshake{Certificates: []facts.Certificate{{Subject: "CN=mkcert ann@thinkpad7 (Ann Lee),OU=ann@thinkpad7 (Ann Lee),O=mkcert development CA", Issuer: "CN=Q,O=Initech GmbH,L=Bielefeld",
		Names: []string{"tower.run", "10.1.2.3", "localhost"}, SHA256: strings.Repeat("ab", 32)}}},
		HTTP: &facts.HTTPAnswer{Headers: []facts.Header{{Name: "Set-Cookie", Value: "sid=abc"}, {Name: "Location", Value: "https://tower.run/"}}}}}
	to, key := Redact(r)
	data, _ := json.Marshal(to)
	text := string(data)
	for _, gone := range []string{`"drop"`, "GLOBEX", "bob", "carol", "jumpbox", "db-inner", "hop1", "dave", "s3cr3tPW", "10.1.2.3", "muc1", "abcd1234", "acme", "intra7", "px9", "ann@", "thinkpad7", "Ann Lee", "Initech", "Bielefeld", "tower.run", "abababab", "sid=abc", "upstairs"} {
		if strings.Contains(text, gone) {
			t.Errorf("%s is still there: %s", gone, text)
		}
	}
	for _, stays := range []string{"shopd", "gunicorn", "62893:127.0.0.1:80", "mkcert development CA", ".corp", "localhost", "5.15.153.1-microsoft-standard-WSL2", "shop.service"} {
		if !strings.Contains(text, stays) {
			t.Errorf("%s is gone: %s", stays, text)
		}
	}
	if a, b := to.Facts[0].Names.Name, strings.Fields(to.Facts[0].Names.Hosts.Lines[0].Text)[1]; a != b || a == "muc1" {
		t.Errorf("the name became %s, and %s in the hosts file", a, b)
	}
	if len(key.Of(User)) < 4 || len(key.Of(Certificate)) != 1 || len(key.Of(Organization)) != 2 {
		t.Errorf("%v", key.Entries)
	}
	if leaks := key.Leaks("facts.json", data); len(leaks) > 0 {
		t.Errorf("%v %v", leaks, leaks[0].Entry)
	}
}

// TestWalkerKnowsEveryField: whoever adds a field of a kind that the walker would leave
// out, or renames one that it treats in its own way, learns of it here.
func TestWalkerKnowsEveryField(t *testing.T) {
	fields, seen := map[string]bool{}, map[reflect.Type]bool{}
	var visit func(v reflect.Type, where string)
	visit = func(v reflect.Type, where string) {
		if seen[v] || slices.Contains([]reflect.Type{timeType, addrType, addrPortType, prefixType}, v) {
			return
		}
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice:
			if v.Elem().Kind() == reflect.Uint8 && !strings.HasSuffix(where, ".Header") {
				t.Errorf("%s: bytes are left out, unless they are the headers of a packet", where)
			}
			visit(v.Elem(), where)
		case reflect.Map:
			visit(v.Key(), where)
			visit(v.Elem(), where)
		case reflect.Struct:
			seen[v] = true
			for i := range v.NumField() {
				f := v.Field(i)
				if !f.IsExported() {
					t.Errorf("%s.%s is not exported: it would be lost", v.Name(), f.Name)
				}
				fields[v.Name()+"."+f.Name] = true
				visit(f.Type, v.Name()+"."+f.Name)
			}
		case reflect.Interface, reflect.Func, reflect.Chan, reflect.Array, reflect.Complex64, reflect.Complex128, reflect.Uintptr, reflect.UnsafePointer:
			t.Errorf("%s is a %s: say in walk.go how it is redacted", where, v.Kind())
		}
	}
	visit(reflect.TypeFor[facts.Recording](), "Recording")
	for name := range ways() {
		if !fields[name] {
			t.Errorf("walk.go treats %s, and there is no such field", name)
		}
	}
	if len(fields) < 300 {
		t.Errorf("only %d fields were seen", len(fields))
	}
}

// TestEveryTextIsTreated puts names into every string there is, by reflection.
func TestEveryTextIsTreated(t *testing.T) {
	const evil = "at /home/alice/x of db7.acmecorp.com 81.2.69.142 password=hunter22xyz"
	var fill func(v reflect.Value, depth int)
	fill = func(v reflect.Value, depth int) {
		if depth > 12 || slices.Contains([]reflect.Type{timeType, addrType, addrPortType, prefixType}, v.Type()) {
			return
		}
		switch v.Kind() {
		case reflect.String:
			v.SetString(evil)
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), depth+1)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), depth+1)
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(k, depth+1)
			fill(e, depth+1)
			v.SetMapIndex(k, e)
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i), depth+1)
			}
		}
	}
	var r facts.Recording
	fill(reflect.ValueOf(&r).Elem(), 0)
	r.Facts[0].Host.OS = "linux"
	before, _ := json.Marshal(r)
	to, key := Redact(&r)
	after, _ := json.Marshal(to)
	if n := strings.Count(string(before), "alice"); n < 250 {
		t.Fatalf("only %d texts were filled", n)
	}
	for _, gone := range []string{"alice", "acmecorp", "81.2.69", "hunter22"} {
		if i := strings.Index(string(after), gone); i >= 0 {
			t.Errorf("%s is still there: …%s", gone, after[max(i-80, 0):i+40])
		}
	}
	if leaks := key.Leaks("facts.json", after); len(leaks) > 0 {
		t.Errorf("%v", leaks[0])
	}
	if leaks := key.Leaks("facts.json", before); len(leaks) < maxLeaks {
		t.Errorf("the original has %d leaks only", len(leaks))
	}
}

// TestTwoTurns: a pseudonym can make a name of what was none. It is the redaction of a
// redaction that has to be the same, and the key tells what stands there in the end.
func TestTwoTurns(t *testing.T) {
	r := around("of x")
	r.Facts[0].Names = &facts.Names{Name: `ab"cab"c`}
	to, key := Redact(r, `ab"c`)
	again, more := Redact(to)
	if to.Facts[0].Names.Name != again.Facts[0].Names.Name || len(more.Entries) > 0 {
		t.Errorf("%q, and then %q %v", to.Facts[0].Names.Name, again.Facts[0].Names.Name, more.Entries)
	}
	if es := key.Of(Host); len(es) != 1 || es[0].Pseudonym != to.Facts[0].Names.Name {
		t.Errorf("%v", key.Entries)
	}
	// What has no letter and no digit is no word.
	if got := redactLine(t, `a""b "" 1`, `""`, "="); got != `a""b "" 1` {
		t.Error(got)
	}
}

// TestServersOfShares: who mounts a directory tells a server without any dot.
func TestServersOfShares(t *testing.T) {
	for in, want := range map[string]string{
		"smbclient|//nas-muc7/shop|hunter22|-U|bob":                                     "smbclient|//host1/shop|hidden1|-U|user2",
		"mount|-t|cifs|//nas-muc7/shop|/mnt|-o|username=bob,password=hunter22,vers=3.0": "mount|-t|cifs|//host1/shop|/mnt|-o|username=user2,password=hidden1,vers=3.0",
		"mount.nfs|nas-muc7:/srv/x|/mnt":                                                "mount.nfs|host1:/srv/x|/mnt",
		"sh|-c|exec mount -t cifs //nas-muc7/shop /mnt":                                 "sh|-c|exec mount -t cifs //host1/shop /mnt",
		"curl|-H|Authorization:|Basic|aGk6aGk6aGk=|http://localhost/":                   "curl|-H|Authorization:|Basic|hidden1|http://localhost/",
		"tool|//nas-muc7/shop":                                                          "tool|//nas-muc7/shop",
	} {
		r := around("nothing")
		r.Facts[0].Owners = &facts.Owners{Processes: []facts.Process{{PID: 7, Args: strings.Split(in, "|")}}}
		to, _ := Redact(r)
		if got := strings.Join(to.Facts[0].Owners.Processes[0].Args, "|"); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
		unmoved(t, r)
	}
	if got := redactLine(t, "CIFS: mount of //nas-muc7/shop failed; nas-muc7"); got != "CIFS: mount of //host1/shop failed; host1" {
		t.Error(got)
	}
}

// TestLongSecretsCutOff: a log cuts lines, and a copy of a key that has lost its end is one.
func TestLongSecretsCutOff(t *testing.T) {
	long := strings.Repeat("pass key é ", 100)
	r := around("Cookie: "+long+"1", "saw "+long+"2", "saw "+long[:300], "saw "+long[:200])
	to, key := Redact(r)
	log := to.Facts[0].Units.Units[0].Log
	if log[0] != "Cookie: hidden1" || log[1] != "saw hidden12" || !strings.HasPrefix(log[2], "saw hidden1") || len(log[2]) > 13 || log[3] != "saw "+long[:200] {
		t.Errorf("%q", log)
	}
	if leaks := key.Leaks("facts.json", []byte(write(t, to))); len(leaks) > 0 {
		t.Errorf("%v", leaks)
	}
	unmoved(t, r)
}

// TestSecretsAtTheEdges: signs around a name are no part of it, and a secret in a secret is
// found once.
func TestSecretsAtTheEdges(t *testing.T) {
	r := around("CN=x of bob7, of globex7 corp7", "Cookie:Cookie:-----BEGIN PRIVATE KEY-----", "Cookie:-----BEGIN PRIVATE KEY-----", `password="<x> " <x>`)
	f := r.Facts[0]
	f.Environment = &facts.Environment{Variables: []facts.Variable{{Name: "USER", Value: `"bob7`}, {Name: "LOGNAME", Value: `bob7\`}, {Name: "X_TOKEN", Value: `//\`}}}
	f.Answers = []facts.Answer{{Handshake: &facts.Handshake{Certificates: []facts.Certificate{{Subject: "O=Globex7 corp7 !"}}}}}
	to, _ := Redact(r)
	if got := to.Facts[0].Units.Units[0].Log; got[0] != "CN=x of user2, of organization1" || got[1] != "Cookie:Cookie:hidden1" || got[2] != "Cookie:hidden1" || got[3] != `password="<x> " <x>` {
		t.Errorf("%q", got)
	}
	unmoved(t, r)
}
