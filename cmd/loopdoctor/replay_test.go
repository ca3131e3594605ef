package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestReplay judges the recorded facts of every scenario again: what was seen
// on one machine has to give the same diagnosis on every other.
func TestReplay(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range scenarios(t) {
		_, whom := s.firstDoctor()
		for _, as := range whom {
			file := filepath.Join(replayDir, s.name+"."+as+".json")
			known[filepath.Base(file)] = true
			t.Run(s.name+"/"+as, func(t *testing.T) {
				t.Parallel()
				want, ok := s.section(s.first(), s.records(), as)
				if !ok {
					t.Fatalf("%s: no section %q", s.file, s.first())
				}
				if _, err := os.Stat(file); err != nil {
					t.Fatalf("%v: run UPDATE=1 go test ./cmd/loopdoctor -run 'TestLab/^%s$'", err, s.name)
				}
				exit, out, stderr := do("", "--replay", file, "--format", "json")
				v, err := parseReport(out)
				if err != nil {
					t.Fatalf("%v (exit status %d)\n%s%s", err, exit, out, stderr)
				}
				doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
				if err != nil {
					t.Fatal(err)
				}
				if err := schema.Validate(doc); err != nil {
					t.Errorf("the report does not keep the contract: %v", err)
				}
				if err := v.consistent(exit); err != nil {
					t.Error(err)
				}
				if got := v.lines(); got != want {
					t.Errorf("got\n%swant\n%s", got, want)
				}
			})
		}
	}
	files, err := filepath.Glob(filepath.Join(replayDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !known[filepath.Base(file)] {
			t.Errorf("%s: no scenario has this name: remove it", file)
		}
	}
}
