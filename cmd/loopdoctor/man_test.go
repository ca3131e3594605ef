package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/loopdoctor/loopdoctor/docs"
)

const manDir = root + "/docs/man"

// tree is every command that a person can call, the first one before those below
// it.
func tree() []*cobra.Command {
	top := (&program{env: noEnv}).root()
	top.InitDefaultHelpFlag()
	top.InitDefaultVersionFlag()
	top.InitDefaultCompletionCmd("completion")
	var all []*cobra.Command
	var add func(*cobra.Command)
	add = func(c *cobra.Command) {
		all = append(all, c)
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
				add(sub)
			}
		}
	}
	add(top)
	return all
}

// plain keeps a help text from being read as Markdown.
var plain = strings.NewReplacer(`*`, `\*`, `_`, `\_`, `<`, `\<`, `>`, `\>`).Replace

// made is the page of a command as cobra makes it.
func made(t *testing.T, c *cobra.Command) string {
	t.Helper()
	c.InitDefaultHelpFlag()
	c.DisableAutoGenTag = true // a note of today's date
	c.Long = plain(c.Long)
	var page bytes.Buffer
	header := doc.GenManHeader{Section: "1", Date: &time.Time{}, Source: "loopdoctor " + manVersion, Manual: "User Commands"}
	if err := doc.GenMan(c, &header, &page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// TestManPages compares docs/man with what cobra makes of the commands; UPDATE=1
// rewrites it.
func TestManPages(t *testing.T) {
	want := map[string]string{}
	for _, c := range tree() {
		want[strings.ReplaceAll(c.CommandPath(), " ", "-")] = made(t, c)
	}
	if updating() {
		if err := os.RemoveAll(manDir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(manDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, page := range want {
			if err := os.WriteFile(filepath.Join(manDir, name+manSection), []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(manDir, "*"))
	if err != nil || len(files) != len(want) {
		t.Errorf("%d pages of %d commands, %v: run UPDATE=1 go test ./cmd/loopdoctor -run TestManPages", len(files), len(want), err)
	}
	for name, page := range want {
		data, err := os.ReadFile(filepath.Join(manDir, name+manSection))
		if err != nil {
			t.Errorf("%s: %v: run UPDATE=1 go test ./cmd/loopdoctor -run TestManPages", name, err)
		} else if strings.ReplaceAll(string(data), "\r\n", "\n") != page {
			t.Errorf("docs/man/%s%s is stale: run UPDATE=1 go test ./cmd/loopdoctor -run TestManPages", name, manSection)
		}
	}
}

// The pages as they are written, read by man where there is one.
func TestMan(t *testing.T) {
	status, page, stderr := do("", "man")
	if status != 0 || stderr != "" || !strings.Contains(page, `.TH "LOOPDOCTOR" "1"`) || !strings.Contains(page, "loopdoctor "+number()) {
		t.Errorf("exit status %d, %s, %.200q", status, stderr, page)
	}
	dir := filepath.Join(t.TempDir(), "new", "man1")
	for range 2 { // over its own files as well
		if status, stdout, stderr := do("", "man", dir); status != 0 || stdout+stderr != "" {
			t.Fatalf("exit status %d, %s%s", status, stdout, stderr)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != len(docs.Manual()) || len(files) < 8 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		text := readText(t, file)
		if strings.Contains(text, manDate) || strings.Contains(text, manVersion) {
			t.Errorf("%s: not all was filled in", file)
		}
		// Every line is text, or a request that man(7) has.
		for line := range strings.Lines(text) {
			request, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(request, ".") && !slices.Contains(strings.Fields(".nh .TH .SH .PP .EX .EE .RS .RE .IP .TP .br .sp .SS"), request) {
				t.Errorf("%s: %q is no request of man(7)", file, line)
			}
		}
		for _, heading := range []string{"NAME", "SYNOPSIS", "DESCRIPTION"} {
			if !strings.Contains(text, "\n.SH "+heading+"\n") {
				t.Errorf("%s has no %s", file, heading)
			}
		}
		if man, err := exec.LookPath("man"); err == nil {
			cmd := exec.Command(man, "--warnings", "-E", "UTF-8", "-l", file)
			cmd.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8")
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil || errs.Len() > 0 || !strings.Contains(string(out), "loopdoctor") {
				t.Errorf("man -l %s: %v, %s, %.80q", file, err, errs.String(), out)
			}
		}
	}
	status, stdout, stderr := do("", "man", files[0])
	oneLine(t, "man: ", exitUsage, status, stdout, stderr)
	status, stdout, stderr = do("", "man", "a", "b")
	oneLine(t, "man takes one directory", exitUsage, status, stdout, stderr)
}
