package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/report/compare"
)

// The same situation recorded twice, in two worlds: nothing that matters differs.
func TestDiffOfOneSituation(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs scenarios of the lab")
	}
	t.Setenv("UPDATE", "1") // then a scenario hands over what loopdoctor saw; nothing of it is written here
	wanted := []string{"filter-drops-loopback", "healthy-dual-stack", "process-stopped-or-debugged"}
	dir := t.TempDir()
	for _, s := range scenarios(t) {
		if len(wanted) == 0 || s.name != wanted[0] {
			continue
		}
		wanted = wanted[1:]
		var files []string
		for _, n := range []string{"1", "2"} {
			o := runOrAgain(t, s, "U")
			for as, data := range o.Records {
				file := filepath.Join(dir, s.name+"."+as+"."+n+".json")
				if err := os.WriteFile(file, data, 0o644); err != nil {
					t.Fatal(err)
				}
				if n == "2" {
					files = append(files, file)
				}
			}
		}
		if len(files) != 2 {
			t.Fatalf("%s: %d recordings", s.name, len(files))
		}
		for _, second := range files {
			first := strings.TrimSuffix(second, "2.json") + "1.json"
			status, out, stderr := do("", "diff", first, second)
			if status != compare.ExitSame || strings.Contains(out, "Background") {
				t.Errorf("exit status %d, %s%s", status, stderr, out)
			}
		}
	}
	if len(wanted) > 0 {
		t.Errorf("no scenario %s", wanted[0])
	}
}

// A pipe or a device in a directory keeps nobody waiting.
func TestTriagePipe(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.json")
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		status, stdout, stderr := do("", "triage", dir)
		oneLine(t, "no *.zip and no *.json", exitUsage, status, stdout, stderr)
		for _, file := range []string{pipe, "/dev/zero"} {
			status, stdout, stderr = do("", "triage", file)
			oneLine(t, "it is no regular file", exitUsage, status, stdout, stderr)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
}
