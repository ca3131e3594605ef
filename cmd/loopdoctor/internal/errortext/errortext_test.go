package errortext

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks"
)

func summary(r Reading) string {
	dash := func(v any) string {
		s := fmt.Sprint(v)
		if s == "" || s == "0" || s == "invalid IP" {
			return "-"
		}
		return s
	}
	symptom := r.Symptom
	if r.Failed {
		symptom = cmp.Or(symptom, "failed")
	}
	return strings.Join([]string{dash(r.Client), dash(r.Errno), dash(symptom), dash(string(r.Intent)), dash(r.Host), dash(r.Addr.Addr()), dash(r.Port)}, " ")
}

func TestTexts(t *testing.T) {
	if len(texts) < 110 {
		t.Errorf("only %d texts", len(texts))
	}
	seen := map[string]bool{}
	for _, x := range texts {
		if seen[x.text] {
			t.Errorf("twice: %s", x.text)
		}
		seen[x.text] = true
		r, ok := Read(x.text)
		if got := summary(r); !ok || got != x.want {
			t.Errorf("%s\n got %s\nwant %s", x.text, got, x.want)
		}
		sane(t, x.text, r)
	}
}

// sane is what holds of every reading.
func sane(t *testing.T, text string, r Reading) {
	t.Helper()
	switch {
	case r.Symptom != "" && (checks.ByName(r.Symptom) == nil || !checks.ByName(r.Symptom).IsSymptom()):
		t.Errorf("%q: no symptom is called %s", text, r.Symptom)
	case r.Means == "" || strings.HasSuffix(r.Means, "."):
		t.Errorf("%q means %q", text, r.Means)
	case r.Text == "" || len(r.Text) > maxShow+3 || !utf8.ValidString(r.Text) || strings.ContainsFunc(r.Text, unicode.IsControl):
		t.Errorf("%q is shown as %q", text, r.Text)
	case r.Failed && r.Symptom != "":
		t.Errorf("%q: %s and failed", text, r.Symptom)
	case len(r.Host) > maxLine:
		t.Errorf("%q: a host of %d bytes", text, len(r.Host))
	}
}

func TestNotUnderstood(t *testing.T) {
	for _, text := range []string{"", " \n\t\n", "hello", "62893", "localhost:3000", "Segmentation fault (core dumped)", "TypeError: undefined is not a function",
		"Server listening on http://localhost:3000", "\x1b[2J\x00\xff", "    at Server.listen (node:net:2059:5)"} {
		if r, ok := Read(text); ok {
			t.Errorf("%q is read as %s", text, summary(r))
		}
	}
}

// What is pasted has colours, escapes, a log around it, or no end.
func TestPasted(t *testing.T) {
	const refused = "Node ECONNREFUSED refused connect ::1 ::1 3000"
	for name, x := range map[string]struct{ text, want string }{
		"colours":      {"\x1b[31mError\x1b[0m: connect \x1b[1mECONNREFUSED ::1:3000\x1b[0m", refused},
		"spelled ends": {`Error: connect ECONNREFUSED ::1:3000\n    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1611:16)`, refused},
		"a log": {"Server listening on http://localhost:8080\n(node:1) Warning: x\nError: connect ECONNREFUSED ::1:3000\n    at x (/app/server.js:12:9)\nnpm ERR! port 1",
			refused},
		"the cause last": {"Error: Request failed with status code 503 at http://localhost:8080/\nCaused by: java.net.ConnectException: Connection refused: localhost/127.0.0.1:5432",
			"Java ECONNREFUSED refused connect localhost 127.0.0.1 5432"},
		"an answer around it": {"HTTP/1.1 502 Bad Gateway\nError: connect ECONNREFUSED ::1:3000", refused},
		"hidden characters":   {"connect ECONN\u200bREFUSED ::1:3000\u202e", refused},
		"a foreign address":   {"connect ECONNREFUSED 192.0.2.1:3000", "Node ECONNREFUSED refused connect 192.0.2.1 192.0.2.1 3000"},
		"a foreign name":      {"curl: (7) Failed to connect to example.com port 443 after 3 ms: Couldn't connect to server", "curl - failed connect example.com - 443"},
		"no port":             {"connect ECONNREFUSED 127.0.0.1:99999", "Node ECONNREFUSED refused connect - - -"},
		"a proxy's port":      {"curl: (97) cannot complete SOCKS5 connection to localhost. (1)", "curl - sent-to-proxy connect - - -"},
		"a mapped address":    {"connect ECONNREFUSED ::ffff:127.0.0.1:3000", "Node ECONNREFUSED refused connect 127.0.0.1 127.0.0.1 3000"},
		"two answers":         {"dial tcp [::1]:80: connect: connection refused\ndial tcp 127.0.0.1:80: connect: connection refused", "Go ECONNREFUSED refused connect - - 80"},
		"longer than read":    {"Error: connect ECONNREFUSED ::1:3000 " + strings.Repeat("x", 2*MaxText), refused},
	} {
		r, ok := Read(x.text)
		if got := summary(r); !ok || got != x.want {
			t.Errorf("%s\n got %s\nwant %s", name, got, x.want)
		}
		sane(t, x.text, r)
	}
}

// The port of another line is a guess, and so is the usual one.
func TestGuessed(t *testing.T) {
	for text, want := range map[string]bool{
		"connect ECONNREFUSED ::1:3000":                                                        false,
		"SQLSTATE[HY000] [2002] Connection refused":                                            true,
		"ConnectionRefusedError: [Errno 111] Connection refused\n  url: http://localhost:3000": true,
	} {
		if r, _ := Read(text); (r.Guessed || r.Usual) != want || r.Guessed && r.Usual || r.Port == 0 {
			t.Errorf("%q: port %d, guessed %v, usual %v", text, r.Port, r.Guessed, r.Usual)
		}
	}
}

func BenchmarkHostile(b *testing.B) {
	text := strings.Repeat("a:\n", MaxText/3)
	for b.Loop() {
		Read(text)
	}
}

func FuzzRead(f *testing.F) {
	for _, x := range texts {
		f.Add(x.text)
	}
	f.Add("connect ECONNREFUSED ::::::1:99999999")
	f.Add("http://[::1:80 Connection refused [::1%lo]:80")
	f.Add(strings.Repeat("(", 1000) + "Connection refused")
	f.Fuzz(func(t *testing.T, text string) {
		if r, ok := Read(text); ok {
			sane(t, text, r)
		} else if r.Text != "" || r.Port != 0 {
			t.Errorf("%q is not understood, and read as %+v", text, r)
		}
	})
}
