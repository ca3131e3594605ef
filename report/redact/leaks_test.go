package redact

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestLeaks(t *testing.T) {
	r := around("open /home/bob/x of db7.acmecorp.com at 192.168.7.23 and 2a01:4f8:c17::9 password=hunter22xyz, 3c:52:82:aa:bb:cc", `user "drop"`)
	r.Facts[0].Interfaces = &facts.Interfaces{Others: []facts.Interface{{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.30.0/24")}}}}
	_, key := Redact(r, "Project Phoenix9")
	secret := "hunter22xyz"
	for text, want := range map[string]Kind{
		"hello alice":                 User,
		"/HOME/BOB/y":                 User,
		`{"user":"drop"}`:             User,
		"see DB7.AcmeCorp.COM":        Host,
		"ask acmecorp":                Host,
		"at 192.168.7.23:80":          Address,
		"at [2a01:04f8:0c17:0::9]:80": Address,
		"::ffff:192.168.7.23":         Address,
		"10.20.30.0/24":               Address,
		"3C:52:82:AA:BB:CC":           Hardware,
		"x" + secret + "y":            Secret,
		base64.StdEncoding.EncodeToString([]byte(secret)): Secret,
		"%68ome " + url.QueryEscape(secret):               Secret,
		"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n":     Secret,
		"ghp_16C7e42F292c6912E7710c838347Ae178B4b":        Secret,
		"postgres://svc:pa55@db/":                         Secret,
		"\"\\u003calice\\u003e\"":                         User,
		"<td>alice</td>":                                  User,
		"%2Fhome%2Falice%2F":                              User,
	} {
		got := key.Leaks("report.md", []byte("first line\n"+text+"\n"))
		if len(got) == 0 || got[0].Kind != want {
			t.Errorf("%s: got %v, want %s", text, got, want)
			continue
		}
		if got[0].File != "report.md" || got[0].Line != 2 {
			t.Errorf("%s: at %s:%d", text, got[0].File, got[0].Line)
		}
	}
	if got := key.Leaks("report.md", []byte("for project phoenix9!")); len(got) > 0 {
		t.Errorf("a word that was in no text is no entry of the key: %v", got)
	}
	for _, clean := range []string{"", "tcp dport 80 drop", "user1 host1.domain1.example 192.168.0.1 hidden1 240.0.0.1", "malice alice2 192.168.7.230 1192.168.7.23 hunter", "user: name, password: ***, Authorization: Bearer ***",
		"10.20.30.0.1.2", "redis://:PASSWORD@127.0.0.1", "<a href=\"https://example.com/x@y\">", "127.0.0.1 ::1 0.0.0.0 root"} {
		if got := key.Leaks("report.md", []byte(clean)); len(got) > 0 {
			t.Errorf("%s: %v is no leak", clean, got[0])
		}
	}
}

// TestLeaksIsNotFooledByPseudonyms: an original that is the pseudonym of another one
// has to stand there.
func TestLeaksIsNotFooledByPseudonyms(t *testing.T) {
	r := around("192.168.0.1 and 192.168.7.23 and 192.168.7.1, 240.0.0.1 and 81.2.69.142 and 9.9.1.1")
	to, key := Redact(r)
	data, _ := json.Marshal(to)
	if got := key.Leaks("facts.json", data); len(got) > 0 {
		t.Errorf("%v %v: %v", got, got[0].Entry, key.Entries)
	}
}

func TestKeyIsNotWritten(t *testing.T) {
	_, key := Redact(around("/home/bob/x"))
	if b, err := json.Marshal(struct{ K *Key }{key}); err == nil {
		t.Errorf("the key was written: %s", b)
	}
	if s := key.String(); strings.Contains(s, "bob") || strings.Contains(s, "alice") {
		t.Errorf("the key tells: %s", s)
	}
	if e := key.Of(User); len(e) != 2 || e[0] != (Entry{User, "alice", "user1", 1}) || e[1].Pseudonym != "user2" {
		t.Errorf("%v", e)
	}
	if got := (*Key)(nil).Leaks("x", []byte("alice")); got != nil {
		t.Errorf("without a key: %v", got)
	}
}

// TestWordsOfReportsAreNoLeaks: users and hosts that are called like a word of the reports
// themselves, be it of their style or their script, keep nobody from sending one.
func TestWordsOfReportsAreNoLeaks(t *testing.T) {
	for _, name := range []string{"filter-drops-loopback.root.json", "server-exited-or-crash-looping.root.json", "redirect-to-dead-port.root.json"} {
		r := read(t, filepath.Join(replays, name))
		words := map[string]bool{}
		for _, data := range reports(t, r) {
			for _, w := range oneWord.FindAllString(string(data), -1) {
				words[strings.ToLower(w)] = true
			}
		}
		for _, w := range strings.Fields("document navigator clipboard const click copied folded utc") {
			words[w] = true
		}
		hosts := facts.HostsLine{Text: "192.0.2.9"}
		for w := range words {
			r.Facts[0].Host.As = append(r.Facts[0].Host.As, facts.Identity{UID: 1000, User: w})
			hosts.Text += " " + w + "9 " + w
		}
		r.Facts[0].Names = &facts.Names{Hosts: facts.HostsFile{Lines: []facts.HostsLine{hosts}}}
		to, key := Redact(r)
		if len(key.Of(User)) < 500 || len(key.Of(Host)) < 1000 {
			t.Fatalf("%s: of %d words %d are users, and %d hosts", name, len(words), len(key.Of(User)), len(key.Of(Host)))
		}
		for file, data := range reports(t, to) {
			for _, l := range key.Leaks(file, data) {
				t.Errorf("%s, %s: %s %q: …%s…", name, file, l.Kind, l.Entry.Original, data[max(l.Offset-60, 0):min(l.Offset+60, len(data))])
			}
		}
	}
}
