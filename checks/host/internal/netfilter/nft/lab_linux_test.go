package nft

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// enterNamespace moves the test into a network namespace of its own with lo
// up. The thread is never unlocked, so that it and the namespace end with the test.
func enterNamespace(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs the program %s", program)
		}
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	execute(t, "", "ip", "link", "set", "lo", "up")
}

// execute runs a program with an input, and returns what it printed.
func execute(t testing.TB, input, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// load loads a ruleset in the language of nft.
func load(t testing.TB, rules string) {
	t.Helper()
	execute(t, rules, "nft", "-f", "-")
}

// read reads the rules.
func read(t testing.TB) *Reading {
	t.Helper()
	r, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
