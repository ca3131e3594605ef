package redact

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// FuzzRedact: whatever somebody makes of a recording, it is redacted without a panic,
// what was redacted stays as it is, and no original is left.
func FuzzRedact(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(replays, "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no recordings (%v)", err)
	}
	for i := 0; i < len(files); i += 60 {
		f.Add([]byte(write(f, sow(f, slurp(f, files[i]), seeds[i/60%len(seeds)]))))
	}
	for _, s := range []string{"/home/alice/x alice@db7.acme.com password=x 10.1.2.3/8 fe80::1%eth0", "hidden1 user1 host1.domain1.example 240.0.0.1 3fff::1", `C:\Users\A B\x`} {
		f.Add([]byte(write(f, around(s))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r facts.Recording
		if json.Unmarshal(data, &r) != nil {
			return
		}
		unmoved(t, &r)
	})
}

// unmoved checks what holds for every recording.
func unmoved(t *testing.T, r *facts.Recording, words ...string) {
	t.Helper()
	to, key := Redact(r, words...)
	once, err := json.Marshal(to)
	if err != nil {
		return // a time that JSON cannot tell, perhaps
	}
	if leaks := key.Leaks("facts.json", once); len(leaks) > 0 {
		l := leaks[0]
		t.Fatalf("%v %+v at %d still stands there: …%s…", l.Kind, l.Entry, l.Offset, once[max(l.Offset-60, 0):min(l.Offset+60, len(once))])
	}
	twice, more := Redact(to)
	if again, _ := json.Marshal(twice); string(again) != string(once) {
		t.Fatalf("what was redacted does not stay as it is: %+v\n%s", more.Entries, diff(string(once), string(again)))
	}
}

// FuzzText is FuzzRedact for what stands in the fields: JSON is seldom JSON any more
// after a change.
func FuzzText(f *testing.F) {
	f.Add("open /home/alice/app of db7.acme.com 10.1.2.3/8", "alice", "db7", "acme")
	f.Add("https://svc:hunter22@db:80/?token=x%2Fy user \"drop\"", "drop", "muc1.acme.corp", "x y")
	f.Add(`C:\Users\Ann Lee\x -p hunter22 fe80::1%eth0 ::ffff:10.1.2.3 3c:52:82:aa:bb:cc`, `CORP\bob`, "10.1.2.3.nip.io", "")
	f.Add("hidden1 user1 host1.domain1.example 240.0.0.1 3fff::1 organization2", "user3", "host2", "masked1")
	f.Add("Authorization: Basic aGk6aGk= eyJhbGciOi.eyJzdWIiOi.x AKIAIOSFODNN7EXAMPLE 7.2.1.10.in-addr.arpa", "a+b", "x.y.z.local", ".")
	f.Add("AuthoriZAtion:basic aGk6aGk=", "", "", "") // as arguments, two
	f.Add("0", "0", strings.Repeat(`a"`, 10), `a"a"`) // masked1masked1 could be a host
	for i, line := range hostile() {
		others := []string{"alice", "drop", "hidden1", "user2", "x y", "token", "a\"b", "localhost", "masked1masked1", "="}
		f.Add(line, others[i%10], others[i/10%10], others[i/7%10])
	}
	f.Add("Cookie:0", "0", "0", "den1") // a part of hidden1
	f.Fuzz(func(t *testing.T, line, user, host, word string) {
		r := around(strings.ToValidUTF8(line, ""))
		x := r.Facts[0]
		x.Host.As[0].User = strings.ToValidUTF8(user, "")
		x.Names = &facts.Names{Name: strings.ToValidUTF8(host, ""), Hosts: facts.HostsFile{Lines: []facts.HostsLine{{Text: "10.1.2.3 " + strings.ToValidUTF8(host+" "+user, "")}}}}
		x.Owners = &facts.Owners{Processes: []facts.Process{{Name: "ssh", Args: strings.Fields(strings.ToValidUTF8("ssh "+line, ""))}}}
		x.Answers = []facts.Answer{{Handshake: &facts.Handshake{Certificates: []facts.Certificate{{Subject: "CN=" + strings.ToValidUTF8(host+",O="+line, "")}}}}}
		if word = strings.ToValidUTF8(word, ""); len(word) < 3 {
			word = "" // "o" stands in pseudonyms
		}
		unmoved(t, r, word)
	})
}

// hostile are lines in which a secret is, or stands beside, what secrets are found by.
func hostile() (lines []string) {
	values := []string{"aGk6aGk=", "s3cr3tQQ", "Basic", "bearer", "--token", "-H", "password", "X-Api-Key:", "Authorization:", "Authorization", "http", "http://", "localhost", "{", "=", ":", "@", "user=", "hidden1", "hidden1x",
		"masked1", "user1", "host1.domain1.example", "***", "a\u00a0b", "a\u0085b", "a\nb c", `"two words"`, `'it"s'`, `a\"b`, "a%20b", "a b", "é", "10.1.2.3", "alice", "Cookie", "=hidden2", "$TOKEN", "<token>"}
	headers := []string{"Authorization", "authorization", "AuthoriZAtion", "Proxy-Authorization", "Cookie", "X-Api-Key"}
	for i, v := range values {
		h := headers[i%len(headers)]
		scheme := []string{"", "Basic ", "bearer ", "DIGEST ", "Negotiate\u00a0", "token%20"}[i/2%6]
		lines = append(lines,
			h+": "+scheme+v,
			"curl -H "+h+": "+scheme+v+" http://localhost:80/",
			"-H"+h+":"+scheme+v+" x "+v,
			`{"`+h+`":"`+scheme+v+`","password":"`+v+`"}`,
			`{\"`+h+`\": \"`+scheme+v+`\"}`,
			"http://a:"+v+"@db7.acme.com/x?token="+v+"&code="+v+" "+v,
			"password="+v+" token: "+v+" --api-key "+v+" user="+v+" host="+v,
			"'--password' '"+v+"' \""+h+": "+scheme+v+"\" a:"+v+"@localhost:80 a:"+v+"@tcp(db7:1)",
		)
	}
	return lines
}
