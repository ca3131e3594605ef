package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// home makes a home directory with those files.
func homeWith(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProxySettings(t *testing.T) {
	dir := homeWith(t, map[string]string{
		".curlrc":            "proxy = http://ann:secret@127.0.0.1:3128\n",
		".gitconfig":         "[http]\n\tproxy = socks5://localhost:7890\n[http \"http://ann:secret@x\"]\n\tproxy = y\n",
		".bashrc":            "# proxy\nexport http_proxy=http://ann:secret@127.0.0.1:3128\nexport https_proxy=http://other\n",
		".config/dconf/x":    "",
		".config/pip/x":      "",
		".npmrc":             "//registry/:_authToken=secret\nproxy=http://proxy:8080\n",
		"chains.conf":        "[ProxyList]\nsocks5 127.0.0.1 1080 ann secret\n",
		".config/kioslaverc": "[Proxy Settings]\nProxyType=2\nProxy Config Script=file:///nowhere/proxy.pac\n",
	})
	m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Connected))
	m.environ = func(int) ([]string, error) {
		return []string{"HOME=" + dir, "http_proxy=http://ann:secret@127.0.0.1:3128", "NO_PROXY=" + strings.Repeat("x", 4000), "SECRET=secret",
			"LD_PRELOAD=/usr/lib/libfaketime.so:/usr/lib/libproxychains.so.4", "PROXYCHAINS_CONF_FILE=" + filepath.Join(dir, "chains.conf"), "JAVA_TOOL_OPTIONS=-Dhttp.proxyHost=proxy"}, nil
	}
	f := mustLook(t, m, target("127.0.0.1"), Options{As: []facts.Identity{{UID: uint32(max(os.Geteuid(), 0))}}})
	p := f.Proxies
	if p == nil {
		t.Fatal(f.Absent)
	}
	var lines []string
	for _, s := range append(append([]facts.ProxySetting{}, p.Settings...), p.SetIn...) {
		lines = append(lines, strings.TrimPrefix(s.Where(), dir)+" "+s.Program+" "+s.Name+"="+s.Value+" "+s.Missing)
	}
	got := strings.Join(lines, "\n")
	for _, want := range []string{
		"/.curlrc:1 curl proxy=http://***@127.0.0.1:3128", "/.gitconfig:2 git http.proxy=socks5://localhost:7890", "/.npmrc:2 npm proxy=http://proxy:8080",
		"/.bashrc:2 shell http_proxy=http://***@127.0.0.1:3128", "JAVA_TOOL_OPTIONS java http.proxyHost=proxy", "KDE autoconfig-url=file:///nowhere/proxy.pac no such file or directory",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "other") {
		t.Errorf("a line that sets something else:\n%s", got)
	}
	if p.Preload == nil || p.Preload.Library != "/usr/lib/libproxychains.so.4" || len(p.Preload.Settings) != 1 || p.Preload.Settings[0].Value != "socks5://127.0.0.1:1080" {
		t.Errorf("wrapper: %+v", p.Preload)
	}
	if len(p.Ends) != 3 || p.Ends[0].Addr.String() != "127.0.0.1:3128" || p.Ends[0].Listens {
		t.Errorf("ends: %+v", p.Ends)
	}
	if len(p.Variables) != 2 || len(p.Variables[0].Value) > maxValue+3 {
		t.Errorf("variables: %+v", p.Variables)
	}
	if all := got; strings.Contains(all, "secret") {
		t.Errorf("a secret is kept:\n%s", all)
	}
}

// A FIFO in the place of a file would keep the look waiting.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	dir := homeWith(t, map[string]string{"a/b": ""})
	if list, err := read(filepath.Join(dir, "a"), nil); err == nil {
		t.Errorf("a directory: %v", list)
	}
	if list, err := read("/dev/zero", nil); err == nil {
		t.Errorf("a device: %v", list)
	}
}
