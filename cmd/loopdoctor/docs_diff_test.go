package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/report/compare"
	"github.com/loopdoctor/loopdoctor/report/triage"
)

const supportPage = root + "/docs/support.md"

// The comparison on the page for support engineers is what the program says of two
// recorded situations.
func TestSupportPageDiff(t *testing.T) {
	const a, b = "healthy-default-drop.root", "filter-drops-loopback.root"
	const begin, end = "<!-- diff of " + a + " and " + b + " -->", "<!-- end of diff -->"
	file, err := filepath.Abs(supportPage)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, from := range map[string]string{"good.json": a, "bad.json": b} {
		data, err := os.ReadFile(seenAs(from))
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	status, out, stderr := do("", "diff", "good.json", "bad.json")
	if status != compare.ExitDiffers {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	want := "```text\n$ loopdoctor diff good.json bad.json\n" + out + "```\n"
	page := readText(t, file)
	got := between(t, page, begin, end)
	if updating() && got != want {
		page = strings.Replace(page, begin+"\n"+got+end, begin+"\n"+want+end, 1)
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		got = want
	}
	if shape(got) != shape(want) {
		t.Errorf("stale: run UPDATE=1 go test ./cmd/loopdoctor -run TestSupportPage\ngot\n%swant\n%s", got, want)
	}
}

// docs/diff.md names every member of the JSON.
func TestDiffPage(t *testing.T) {
	page := readText(t, filepath.Join(root, "docs", "diff.md"))
	seen := map[reflect.Type]bool{}
	var members func(reflect.Type)
	members = func(v reflect.Type) {
		for v.Kind() == reflect.Slice || v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || seen[v] || !strings.Contains(v.PkgPath(), "loopdoctor") {
			return
		}
		seen[v] = true
		for i := range v.NumField() {
			f := v.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() {
				continue
			}
			if name == "" || !strings.Contains(page, "`"+name+"`") {
				t.Errorf("docs/diff.md does not name `%s` of %s", name, v)
			}
			members(f.Type)
		}
	}
	members(reflect.TypeFor[compare.Comparison]())
	members(reflect.TypeFor[triage.Table]())
	if len(seen) < 8 {
		t.Errorf("only %d types", len(seen))
	}
}
