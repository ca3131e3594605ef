package docs

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
)

// TestPages holds the pages and the checks together.
func TestPages(t *testing.T) {
	known := map[string]bool{}
	for _, c := range append(slices.Clone(checks.Causes()), checks.Symptoms()...) {
		known[c.Name] = true
		if page, ok := Page(c.Name); !ok || len(strings.TrimSpace(page)) == 0 {
			t.Errorf("docs/causes/%s.md is missing: %s", c.Name, c.Doc)
		}
	}
	files, err := pages.ReadDir("causes")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(f.Name(), ".md"); !known[name] {
			t.Errorf("docs/causes/%s: no check has this name", f.Name())
		}
	}
	for _, name := range []string{"", "..", "../docs", "causes", `..\docs`, "no-listener.md"} {
		if _, ok := Page(name); ok {
			t.Errorf("%q has a page", name)
		}
	}
}
