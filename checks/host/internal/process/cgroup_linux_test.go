package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Who is in a container makes cgroups below its own as he likes.
func TestMembers(t *testing.T) {
	top := t.TempDir()
	add := func(name, procs string) {
		dir := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(procs), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	add("", "1\n")
	add("a", "2\n3\n")
	add("a/b", "4\n")
	if pids, ok := members(t.Context(), top); !ok || !slices.Equal(pids, []int{1, 2, 3, 4}) {
		t.Errorf("got %v, %v", pids, ok)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if pids, ok := members(over, top); ok || len(pids) != 0 {
		t.Errorf("after the end of its time: %v, %v", pids, ok)
	}
	add("a/c", "0\n") // of another PID namespace
	if pids, ok := members(t.Context(), top); ok {
		t.Errorf("with one from outside: %v", pids)
	}
	add("a/c", "")
	add(strings.Repeat("d/", maxCgroups), "")
	for i := range maxCgroups {
		add(strings.Repeat("d/", i+1), "")
	}
	if pids, ok := members(t.Context(), top); ok {
		t.Errorf("in too many cgroups: %v", pids)
	}
}
