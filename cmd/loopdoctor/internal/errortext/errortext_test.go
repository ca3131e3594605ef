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

// Some words belong to one cause alone, and that has to exist.
func TestNames(t *testing.T) {
	for text, want := range map[string]string{
		"Access to fetch at 'http://localhost:8080/api/v1/status' from origin 'https://admin.example' has been blocked by CORS policy: Permission was denied for this request to access the `loopback` address space.":                                                                                                                                        "browser-local-network-access Chrome 8080",
		"Access to fetch at 'http://127.0.0.1:1920/api/health' from origin 'https://studio.example' has been blocked by CORS policy: Request had a target IP address space of `local` yet the resource is in address space `loopback`.":                                                                                                                       "browser-local-network-access Chrome 1920",
		"Access to XMLHttpRequest at 'http://localhost:3000/' from origin 'https://a.example' has been blocked by CORS policy: Response to preflight request doesn't pass access control check: No 'Access-Control-Allow-Private-Network' header was present in the preflight response for this private network request targeting the `local` address space.": "browser-local-network-access Chrome 3000",
		"Access to fetch at 'http://localhost:3000/' from origin 'http://localhost:5173' has been blocked by CORS policy: No 'Access-Control-Allow-Origin' header is present on the requested resource.":                                                                                                                                                      " Chrome 3000",
		"This webpage is not available\nThe webpage at http://localhost:6000/ might be temporarily down\nERR_UNSAFE_PORT":                                                                                                                                                                                                                                     "browser-unsafe-port Chrome 6000",
		"TypeError: fetch failed\n    at node:internal/deps/undici/undici:13510:13 {\n  [cause]: Error: bad port\n}":                                                                                                                                                                                                                                          "browser-unsafe-port Node 0",
		"Invalid Host header": "host-header-check  0",
		"Blocked request. This host (\"shop.test\") is not allowed.\nTo allow this host, add \"shop.test\" to `server.allowedHosts` in vite.config.js.": "host-header-check Vite 0",
		"Invalid HTTP_HOST header: 'shop.test:8000'. You may need to add 'shop.test' to ALLOWED_HOSTS.":                                                 "host-header-check  0",
		"GET http://localhost:5173/ 431 (Request Header Fields Too Large)":                                                                              "headers-too-large  5173",
		"HTTP ERROR 431": "headers-too-large  0",
		"curl: (35) OpenSSL/3.0.19: error:0A00010B:SSL routines::wrong version number":                             "https-to-plain-http curl 0",
		"This site can't provide a secure connection\nlocalhost sent an invalid response.\nERR_SSL_PROTOCOL_ERROR": "https-to-plain-http Chrome 0",
		"net::ERR_CERT_AUTHORITY_INVALID https://localhost:8443/":                                                  "untrusted-localhost-cert Chrome 8443",
		"curl: (60) SSL certificate problem: self-signed certificate":                                              "untrusted-localhost-cert curl 0",
		"Client sent an HTTP request to an HTTPS server.":                                                          "http-to-https-port  0",
		"psql: error: connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  pg_hba.conf rejects connection for host \"127.0.0.1\", user \"ann\", database \"shop\", no encryption": "server-acl-or-auth psql 5432",
		"DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user.":                                                            "server-acl-or-auth  0",
		"connect ECONNREFUSED 127.0.0.1:431": " Node 431",
	} {
		r, ok := Read(text)
		if got := fmt.Sprint(r.Names, " ", r.Client, " ", r.Port); !ok || got != want {
			t.Errorf("%s\n got %q\nwant %q", text, got, want)
		}
	}
	for i := range sayings {
		if c := sayings[i].cause; c != "" && (checks.ByName(c) == nil || checks.ByName(c).IsSymptom()) {
			t.Errorf("no cause is called %s", c)
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
