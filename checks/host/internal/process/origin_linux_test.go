package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestOrigins(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "cmd", "api")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.Dir = sub
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	p, err := Describe(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	got := Origins([]facts.Process{p})[0]
	if len(got.Parents) == 0 || got.Parents[0].PID != os.Getpid() || got.Parents[0].Name == "" || len(got.Parents) > maxParents {
		t.Errorf("parents %v, want this process first, %d", got.Parents, os.Getpid())
	}
	if got.Project != dir {
		t.Errorf("project %q, want %q", got.Project, dir)
	}
	// A number that another process has by now tells nothing about the first.
	p.Started = p.Started.Add(-1)
	if got := Origins([]facts.Process{p})[0]; got.Parents != nil || got.Project != "" {
		t.Errorf("of another process: %+v", got)
	}
	self, err := Describe(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got := Origins([]facts.Process{self})[0]; got.Children == 0 {
		t.Error("the child was not counted")
	}
}
