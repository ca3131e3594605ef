package docs

import (
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
)

// TestPages holds the pages and the causes together.
func TestPages(t *testing.T) {
	known := map[string]bool{}
	for _, c := range checks.Causes() {
		known[c.Name] = true
		if page, ok := Cause(c.Name); !ok || len(strings.TrimSpace(page)) == 0 {
			t.Errorf("docs/causes/%s.md is missing: %s", c.Name, c.Doc)
		}
	}
	files, err := causes.ReadDir("causes")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(f.Name(), ".md"); !known[name] {
			t.Errorf("docs/causes/%s: no cause has this name", f.Name())
		}
	}
	for _, name := range []string{"", "..", "../docs", "causes", `..\docs`, "no-listener.md"} {
		if _, ok := Cause(name); ok {
			t.Errorf("%q has a page", name)
		}
	}
}
