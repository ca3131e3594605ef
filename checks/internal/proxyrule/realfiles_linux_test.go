package proxyrule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// TestRealFiles asks the clients that have files of their own, with such a file in
// their home. A row is variables, then lines of the file.
func TestRealFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts clients")
	}
	if os.Getenv("PROXYRULE_STAGE") == "" {
		inOwnMounts(t, "PROXYRULE_STAGE=1")
		return
	}
	w := newWorld(t)
	for _, test := range []struct{ client, vars, file, text string }{
		{"curl", "", ".curlrc", "proxy = http://BARE"},
		{"curl", "no_proxy=localhost", ".curlrc", "proxy = http://BARE"},
		{"curl", "no_proxy=localhost", ".curlrc", "proxy = http://BARE\nnoproxy = intranet"},
		{"curl", "no_proxy=localhost http_proxy=http://BARE", ".curlrc", `noproxy = ""`},
		{"curl", "http_proxy=http://BARE", ".curlrc", "noproxy = localhost"},
		{"wget", "", ".wgetrc", "http_proxy = http://BARE"},
		{"wget", "no_proxy=localhost", ".wgetrc", "http_proxy = http://BARE"},
		{"wget", "no_proxy=localhost", ".wgetrc", "http_proxy = http://BARE\nno_proxy = intranet"},
		{"wget", "http_proxy=http://BARE", ".wgetrc", "no_proxy = localhost"},
		{"wget", "http_proxy=http://BARE", ".wgetrc", "use_proxy = off"},
		{"wget", "", ".wgetrc", "https_proxy = http://BARE"},
		{"git", "", ".gitconfig", "http.proxy = http://BARE"},
		{"git", "no_proxy=localhost", ".gitconfig", "http.proxy = http://BARE"},
		{"git", "http_proxy=http://BARE", ".gitconfig", "http.proxy = "},
		{"git", "", ".gitconfig", "http.proxy = http://BARE\nhttp.http://localhost:SERVER.proxy = "},
		{"git", "", ".gitconfig", "http.http://localhost:SERVER.proxy = http://BARE"},
		{"git", "", ".gitconfig", "http.http://localhost:1.proxy = http://BARE"},
		{"git", "", ".gitconfig", "http.https://localhost:SERVER.proxy = http://BARE"},
		{"git", "", ".gitconfig", "http.http://localhost:SERVER.proxy = \nhttp.proxy = http://BARE"},
	} {
		vars, p := w.fill(strings.Fields(test.vars))
		lines, _ := w.fill(strings.Split(test.text, "\n"))
		var text strings.Builder
		for _, l := range lines {
			name, value, _ := strings.Cut(l, " = ")
			p.Settings = append(p.Settings, facts.ProxySetting{Program: test.client, Name: name, Value: strings.Trim(value, `"`), File: test.file})
			if test.client == "git" {
				name = strings.TrimSuffix(strings.TrimPrefix(name, "http."), "proxy")
				l = fmt.Sprintf("[http %q]\n\tproxy = %s", strings.TrimSuffix(name, "."), value)
				l = strings.Replace(l, ` ""]`, "]", 1)
			}
			text.WriteString(l + "\n")
		}
		file := filepath.Join(w.dir, test.file)
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		r := Request{Scheme: "http", Host: "localhost", Port: w.server.port}
		for _, c := range Clients {
			if c.Name != test.client {
				continue
			}
			u := c.Use(p, r)
			if direct := w.reaches(t, w.programs[c.Name], vars, r); direct == u.Proxied() {
				t.Errorf("%s, %v and\n%s: it goes there itself: %v, but the rule says %+v", c.Name, vars, text.String(), direct, u)
			}
		}
		os.Remove(file)
	}
}
