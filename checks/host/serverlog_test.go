package host

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestTellingLines(t *testing.T) {
	for name, test := range map[string]struct {
		log  string
		want []string
	}{
		"Python": {`[2026-11-29 09:00:00,123] ERROR in app: Exception on / [GET]
Traceback (most recent call last):
  File "/srv/shop.py", line 8, in index
    return os.environ["SHOP_DB"]
KeyError: 'SHOP_DB'
127.0.0.1 - - [29/Nov/2026 09:00:00] "GET / HTTP/1.1" 500 -
`, []string{"[2026-11-29 09:00:00,123] ERROR in app: Exception on / [GET]", "KeyError: 'SHOP_DB'"}},
		"an exception of one's own": {"Traceback (most recent call last):\n  File \"x\", line 1\nshop.Broken\n", []string{"shop.Broken"}},
		"Node":                      {"Error: connect ECONNREFUSED 127.0.0.1:5432\n    at TCPConnectWrap.afterConnect\n    at x (node:net:1)\n", []string{"Error: connect ECONNREFUSED 127.0.0.1:5432"}},
		"nginx":                     {`2026/11/29 09:00:00 [error] 12#12: *1 connect() failed (111: Connection refused) while connecting to upstream, request: "GET / HTTP/1.1", upstream: "http://127.0.0.1:3000/"` + "\n", []string{`2026/11/29 09:00:00 [error] 12#12: *1 connect() failed (111: Connection refused) while connecting to upstream, request: "GET / HTTP/1.1", upstream: "http://127.0.0.1:3000/"`}},
		"an access log":             {`127.0.0.1 - - [29/Nov/2026:09:00:00 +0000] "GET /error HTTP/1.1" 500 145` + "\n", nil},
		"Django":                    {"Invalid HTTP_HOST header: 'shop.test'. You may need to add 'shop.test' to ALLOWED_HOSTS.\nBad Request: /\n[29/Nov/2026 09:00:00] \"GET / HTTP/1.1\" 400 143\n", []string{"Invalid HTTP_HOST header: 'shop.test'. You may need to add 'shop.test' to ALLOWED_HOSTS."}},
		"words that say nothing":    {"one\ntwo\n", []string{"two"}},
		"many":                      {strings.Repeat("x error a\ny error b\n", 100), []string{"y error b", "x error a", "y error b"}},
		"the same":                  {strings.Repeat("error a\n", 100), []string{"error a"}},
		"nothing":                   {"", nil},
		"no letters":                {"\n\r\n\x00", []string{"\x00"}},
	} {
		if got := tellingLines([]byte(test.log)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestDeniedBy(t *testing.T) {
	for _, test := range []struct {
		allow, deny, daemon, client string
		want                        string
	}{
		{"", "ALL: ALL", "sshd", "127.0.0.1", "/etc/hosts.deny:1"},
		{"", "# one\n\nsshd, vsftpd : 127.", "sshd", "127.0.0.1", "/etc/hosts.deny:3"},
		{"", "sshd : 127.", "vsftpd", "127.0.0.1", ""},
		{"", "sshd: 10.", "sshd", "127.0.0.1", ""},
		{"sshd: localhost", "ALL: ALL", "sshd", "127.0.0.1", ""},
		{"sshd: 10.0.0.0/8", "ALL: ALL", "sshd", "127.0.0.1", "/etc/hosts.deny:1"},
		{"", "ALL: ALL EXCEPT localhost", "sshd", "127.0.0.1", ""},
		{"", "ALL: ALL EXCEPT localhost", "sshd", "192.0.2.10", "/etc/hosts.deny:1"},
		{"", "ALL EXCEPT sshd: ALL", "sshd", "127.0.0.1", ""},
		{"", "ALL: 127.0.0.0/255.0.0.0", "sshd", "127.0.0.1", "/etc/hosts.deny:1"},
		{"", "ALL: [::1] : twist /bin/echo no", "sshd", "::1", "/etc/hosts.deny:1"},
		{"", "ALL: [::]/0", "sshd", "::1", "/etc/hosts.deny:1"},
		{"", "ALL: \\\n 127.0.0.1", "sshd", "127.0.0.1", "/etc/hosts.deny:1"},
		{"", "ALL: PARANOID", "sshd", "127.0.0.1", ""},
		{"", "ALL", "sshd", "127.0.0.1", ""},
		{"", "ALL: 127.0.0.1/99", "sshd", "127.0.0.1", ""},
		{"", "# ALL: ALL", "sshd", "127.0.0.1", ""},
		{"", "", "sshd", "127.0.0.1", ""},
	} {
		got := ""
		for _, l := range deniedBy([]byte(test.allow), []byte(test.deny), test.daemon, netip.MustParseAddr(test.client)) {
			got += l.From
		}
		if got != test.want {
			t.Errorf("%q, then %q, for %s from %s: %q, want %q", test.allow, test.deny, test.daemon, test.client, got, test.want)
		}
	}
}

// A log and its access lists are foreign: what is taken of them is bounded.
func FuzzServerFiles(f *testing.F) {
	f.Add([]byte("Traceback (most recent call last):\n  File\nKeyError: 1\n"), "127.0.0.1/8")
	f.Add([]byte("ALL EXCEPT EXCEPT: [::1]/129 : x\n"), "ALL: 127.0.0.0/255.255.0.0")
	f.Fuzz(func(t *testing.T, log []byte, pattern string) {
		lines := tellingLines(log)
		if len(lines) > tellingMost {
			t.Errorf("%d lines", len(lines))
		}
		for _, l := range lines {
			if l == "" || len(l) > 4096 || strings.Contains(l, "\n") {
				t.Errorf("%q", l)
			}
		}
		for _, l := range deniedBy(log, []byte(pattern), "sshd", v4) {
			if !strings.HasPrefix(l.From, "/etc/hosts.deny:") {
				t.Errorf("%+v", l)
			}
		}
	})
}
