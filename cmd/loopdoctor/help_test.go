package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHelp compares the help texts with testdata/help; UPDATE=1 rewrites them.
func TestHelp(t *testing.T) {
	known := map[string]bool{}
	for _, c := range tree() {
		args := strings.Fields(c.CommandPath())
		name := args[len(args)-1]
		if strings.HasPrefix(c.CommandPath(), "loopdoctor completion") { // cobra's own words
			continue
		}
		status, got, stderr := do("", append(args[1:], "--help")...)
		if status != 0 || stderr != "" {
			t.Errorf("%s: exit status %d, %s", name, status, stderr)
		}
		file := filepath.Join("testdata", "help", name+".txt")
		known[file] = true
		if updating() {
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
			t.Errorf("%s is stale: run UPDATE=1 go test ./cmd/loopdoctor -run TestHelp\ngot:\n%s", file, got)
		}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "help", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !known[file] {
			t.Errorf("%s: no command has this name: remove it", file)
		}
	}
}

// example is a command line of a help page.
type example struct{ of, line string }

// examples are those of all commands. What stands behind " #" is a remark.
func examples() []example {
	var all []example
	for _, c := range tree() {
		if strings.HasPrefix(c.CommandPath(), "loopdoctor completion") {
			continue
		}
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(line); line != "" {
				all = append(all, example{c.CommandPath(), line})
			}
		}
	}
	return all
}

// Every command line of the help is one that the program takes. On Linux each is run
// as well: TestExamplesRun.
func TestExamples(t *testing.T) {
	all := examples()
	if len(all) < 15 {
		t.Errorf("only %d examples found", len(all))
	}
	for _, e := range all {
		found := commands("```sh\n" + e.line + "\n```\n")
		if len(found) == 0 {
			t.Errorf("%s: %s does not call loopdoctor", e.of, e.line)
		}
		for _, words := range found {
			if err := understood(words); err != nil {
				t.Errorf("%s: %s: %v", e.of, e.line, err)
			}
		}
	}
}
