package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// filesBelow makes files and symbolic links ("-> target") below a root directory.
func filesBelow(t *testing.T, contents map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range contents {
		path := root + name
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if len(content) > 3 && content[:3] == "-> " {
			err = os.Symlink(content[3:], path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestManagersByTheirFiles(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []facts.FilterManager
	}{
		{"none", nil, nil},
		{"ufw is on", map[string]string{"/etc/ufw/ufw.conf": "# x\nENABLED=yes\nLOGLEVEL=low\n"}, []facts.FilterManager{{Name: "ufw", Active: true, Detail: "ENABLED=yes in /etc/ufw/ufw.conf"}}},
		{"ufw is off", map[string]string{"/etc/ufw/ufw.conf": "ENABLED=no\n"}, []facts.FilterManager{{Name: "ufw", Detail: "ENABLED=no in /etc/ufw/ufw.conf"}}},
		{"the last line counts", map[string]string{"/etc/ufw/ufw.conf": "ENABLED=yes\nenabled=\"No\"\n"}, []facts.FilterManager{{Name: "ufw", Detail: "ENABLED=no in /etc/ufw/ufw.conf"}}},
		{"iptables of Debian", map[string]string{"/usr/sbin/iptables": "-> /etc/alternatives/iptables", "/etc/alternatives/iptables": "-> /usr/sbin/iptables-nft", "/usr/sbin/iptables-nft": "-> xtables-nft-multi", "/usr/sbin/xtables-nft-multi": ""},
			[]facts.FilterManager{{Name: "iptables-nft", Active: true, Detail: "/usr/sbin/iptables leads to /usr/sbin/xtables-nft-multi"}}},
		{"iptables of Arch, and another iptables-save", map[string]string{"/usr/bin/iptables": "-> xtables-legacy-multi", "/usr/bin/iptables-save": "-> xtables-nft-multi"},
			[]facts.FilterManager{{Name: "iptables-legacy", Active: true, Detail: "/usr/bin/iptables leads to /usr/bin/xtables-legacy-multi, but /usr/bin/iptables-save is iptables-nft"}}},
		{"links in a circle", map[string]string{"/usr/sbin/iptables": "-> iptables"}, nil},
		{"units", map[string]string{"/etc/systemd/system/sysinit.target.wants/nftables.service": "-> /lib/systemd/system/nftables.service", "/usr/lib/systemd/system/netfilter-persistent.service": "", "/etc/runlevels/default/ip6tables": "-> /etc/init.d/ip6tables"},
			[]facts.FilterManager{{Name: "nftables.service", Active: true, Detail: "nftables.service is switched on"}, {Name: "netfilter-persistent", Detail: "netfilter-persistent.service is switched off"}, {Name: "iptables-services", Active: true, Detail: "ip6tables.service is switched on"}}},
	} {
		if got := managersIn(filesBelow(t, test.files)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %+v", test.name, got)
		}
	}
}

// A line is found at a known place and where that includes others, not where a
// script leads elsewhere.
func TestBootLinesOfKnownFiles(t *testing.T) {
	table := "table inet guard {\n\tchain input {\n\t\ttcp dport 62893 drop\n\t}\n}\n"
	root := filesBelow(t, map[string]string{
		"/etc/nftables.conf":      "include \"/etc/nftables.d/*.nft\"\ninclude \"nftables/more.conf\"\ninclude \"/root/own.nft\"\n",
		"/etc/nftables.d/a.nft":   table,
		"/etc/nftables/more.conf": "include \"/etc/nftables/more.conf\"\n" + table,
		"/root/own.nft":           table,
		"/etc/iptables/rules.v4":  "*filter\n-A INPUT -p tcp -m tcp --dport 62893 -j DROP\nCOMMIT\n",
		"/etc/systemd/system/sysinit.target.wants/nftables.service": "-> /lib/systemd/system/nftables.service",
	})
	rules := []facts.FilterRule{
		{Engine: facts.NFTables, Family: "inet", Table: "guard", Chain: "input", Text: "tcp dport 62893 drop"},
		{Engine: facts.IPTables, Family: "ip", Table: "filter", Chain: "INPUT", Text: "-A INPUT -p tcp -m tcp --dport 62893 -j DROP"},
	}
	want := []facts.BootLine{
		{Path: "/etc/nftables.d/a.nft", Line: 3, Text: "tcp dport 62893 drop", By: "nftables.service", On: true},
		{Path: "/etc/nftables/more.conf", Line: 4, Text: "tcp dport 62893 drop", By: "nftables.service", On: true},
		{Path: "/etc/iptables/rules.v4", Line: 2, Text: "-A INPUT -p tcp -m tcp --dport 62893 -j DROP", By: "netfilter-persistent.service"},
	}
	l := &bootLook{ctx: t.Context(), bootUnits: bootUnits{root: root}, rules: rules, seen: map[string]bool{}}
	if got := l.all(); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	l = &bootLook{ctx: t.Context(), bootUnits: bootUnits{root: root}, seen: map[string]bool{}}
	if l.all(); len(l.seen) > 0 {
		t.Errorf("without rules %v were read", l.seen)
	}
}
