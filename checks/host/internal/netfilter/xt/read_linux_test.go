package xt

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// enterNamespace moves the test into a network namespace of its own. The thread
// is never unlocked, so that it and the namespace end with the test.
func enterNamespace(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: the list of legacy tables is root's")
	}
	if _, err := exec.LookPath("iptables-legacy"); err != nil {
		t.Skip("needs iptables-legacy")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	must(t, "ip", "link", "set", "lo", "up")
}

func must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

type corpusRule struct {
	families, table string
	words           []string // chain first
}

func corpus(t testing.TB) (rules []corpusRule) {
	t.Helper()
	b, err := os.ReadFile("testdata/rules")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		w := RuleOf(line)
		rules = append(rules, corpusRule{w[0], w[1], w[2:]})
	}
	return rules
}

var families = []struct {
	family  netfilter.Family
	sign    string
	command string
}{{netfilter.IPv4, "4", "iptables-legacy"}, {netfilter.IPv6, "6", "ip6tables-legacy"}}

// What iptables-legacy -S prints is what we print, and our words make the same
// rule again.
func TestReadPrintsAsIptables(t *testing.T) {
	enterNamespace(t)
	if tables, err := Read(netfilter.IPv4); err != nil || len(tables) != 0 {
		t.Fatalf("an empty namespace: %v, %v", tables, err)
	}
	if _, err := exec.LookPath("ipset"); err != nil {
		t.Skip("needs ipset")
	}
	for _, f := range families {
		// Destroyed with their namespace; the names may be the same for no two sets.
		suffix := map[string]string{"4": "inet", "6": "inet6"}[f.sign]
		exec.Command("ipset", "create", "ports", "bitmap:port", "range", "0-65535").Run()
		must(t, "ipset", "create", "pairs"+f.sign, "hash:ip,port", "family", suffix)
		must(t, "ipset", "create", "nets"+f.sign, "hash:net", "family", suffix, "timeout", "0", "counters", "skbinfo")
		must(t, f.command, "-N", "chain-of_mine")
		must(t, f.command, "-A", "chain-of_mine", "-j", "DROP")
		must(t, f.command, "-N", "empty")
		must(t, f.command, "-P", "FORWARD", "DROP")
		for _, r := range corpus(t) {
			if !strings.Contains(r.families, f.sign) {
				continue
			}
			args := append([]string{f.command, "-t", r.table, "-A"}, r.words...)
			for i, w := range args {
				if w == "pairs" || w == "nets" {
					args[i] += f.sign
				}
			}
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%q: %v: %s", args, err, out)
			}
		}
		tables, err := Read(f.family)
		if err != nil {
			t.Fatal(err)
		}
		if len(tables) != 5 {
			t.Fatalf("%d tables, want 5", len(tables))
		}
		for _, table := range tables {
			got, byText := saved(t, table)
			want := must(t, f.command, "-t", table.Name, "-S")
			compare(t, f.command+" "+table.Name, got, want)
			again(t, f.command, table, byText)
		}
	}
}

// saved prints a table as -S does: policies and names of chains, then rules.
func saved(t *testing.T, table *netfilter.Table) (text string, rules []*netfilter.Rule) {
	t.Helper()
	var heads, body strings.Builder
	for _, c := range table.Chains {
		switch {
		case c.Hook == netfilter.NoHook:
			heads.WriteString("-N " + c.Name + "\n")
		case c.Drop:
			heads.WriteString("-P " + c.Name + " DROP\n")
		default:
			heads.WriteString("-P " + c.Name + " ACCEPT\n")
		}
		for i, r := range c.Rules {
			text, words := r.Print()
			body.WriteString(text + "\n")
			if r.Opaque != "" {
				t.Errorf("%s: opaque: %s", text, r.Opaque)
			}
			if r.Number != i+1 || r.Packets == nil {
				t.Errorf("%s: number %d, counter %v", text, r.Number, r.Packets)
			}
			if len(words) == 0 && text != "-A "+c.Name {
				t.Errorf("%s: no words", text)
			}
			rules = append(rules, r)
		}
	}
	return heads.String() + body.String(), rules
}

func compare(t *testing.T, what, got, want string) {
	t.Helper()
	g, w := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	if len(g) != len(w) {
		t.Errorf("%s: %d lines, want %d", what, len(g), len(w))
	}
	for i := range min(len(g), len(w)) {
		if strings.TrimSpace(g[i]) != strings.TrimSpace(w[i]) {
			t.Errorf("%s:\n got %s\nwant %s", what, g[i], w[i])
		}
	}
}

// again empties a table, fills it with the words, and compares once more.
func again(t *testing.T, command string, table *netfilter.Table, rules []*netfilter.Rule) {
	t.Helper()
	want := must(t, command, "-t", table.Name, "-S")
	must(t, command, "-t", table.Name, "-F")
	for _, r := range rules {
		_, words := r.Print()
		args := append([]string{command, "-t", table.Name, "-A", r.Chain.Name}, words...)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
	compare(t, "again "+command+" "+table.Name, must(t, command, "-t", table.Name, "-S"), want)
}

// TestBlobs writes what the kernel gives for a part of the corpus, to be the seeds
// of the fuzz tests.
func TestBlobs(t *testing.T) {
	if os.Getenv("UPDATE") == "" {
		t.Skip("UPDATE is not set")
	}
	enterNamespace(t)
	for _, f := range families {
		must(t, f.command, "-N", "chain-of_mine")
		must(t, f.command, "-A", "chain-of_mine", "-j", "DROP")
		rules := corpus(t)
		for _, r := range rules {
			// Programs and arithmetic fill kilobytes with zeroes.
			if strings.Contains(r.families, f.sign) && !strings.Contains(strings.Join(r.words, " "), "u32") && !strings.Contains(strings.Join(r.words, " "), "set ") {
				must(t, append([]string{f.command, "-t", r.table, "-A"}, r.words...)...)
			}
		}
		level, domain := unix.IPPROTO_IP, unix.AF_INET
		if f.sign == "6" {
			level, domain = unix.IPPROTO_IPV6, unix.AF_INET6
		}
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		for _, name := range []string{"filter", "nat", "mangle", "raw"} {
			head := make([]byte, infoSize)
			copy(head, name)
			if _, err := getsockopt(fd, level, getInfo, head); err != nil {
				t.Fatal(err)
			}
			_, blob, err := fetch(fd, level, name)
			if err != nil {
				t.Fatal(err)
			}
			out := append(append([]byte{f.sign[0] - '0'}, head...), blob...)
			if err := os.WriteFile("testdata/"+name+f.sign+".blob", out, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
