package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const imagesDir = "../../docs/images"

// images are the pictures of reports in the documents, of recorded facts.
var images = []struct {
	name, facts   string
	width, height int64
	scheme        string
}{
	{"report-light", shown, 1200, 1000, "light"},
	{"report-dark", "v6-first-v4-only-server.root", 1200, 900, "dark"},
	{"report-bind", "port-held-by-other-app.root", 1200, 900, "light"},
	{"report-phone", "filter-drops-loopback.root", 375, 812, "light"},
}

// TestScreenshots: each picture in the documents is of a report as it is now. UPDATE=1 takes
// them anew. Two browsers draw the same page a little differently, so it is the page that is
// compared: its hash stands beside the pictures.
func TestScreenshots(t *testing.T) {
	var sums strings.Builder
	pages := map[string]string{}
	for _, i := range images {
		page, _ := replayed(t, filepath.Join(replayDir, i.facts+".json"))
		page = strings.ReplaceAll(page, "loopdoctor "+number()+" on ", "loopdoctor on ") // of whatever build
		pages[i.name] = page
		fmt.Fprintf(&sums, "%x  %s.png of %s, %d wide, %s\n", sha256.Sum256([]byte(page)), i.name, i.facts, i.width, i.scheme)
	}
	list := filepath.Join(imagesDir, "SHA256SUMS.txt")
	if !updating() {
		if old, err := os.ReadFile(list); err != nil || string(old) != sums.String() {
			t.Errorf("docs/images is stale: run UPDATE=1 go test ./cmd/loopdoctor -run TestScreenshots")
		}
		for _, i := range images {
			if info, err := os.Stat(filepath.Join(imagesDir, i.name+".png")); err != nil || info.Size() > 250<<10 {
				t.Errorf("docs/images/%s.png is missing or large: %v", i.name, err)
			}
		}
		return
	}
	c := newChromium(t)
	if err := os.MkdirAll(imagesDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		b := c.open(t, pages[i.name])
		b.look(i.width, i.height, i.scheme, "screen")
		if err := os.WriteFile(filepath.Join(imagesDir, i.name+".png"), b.png(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(list, []byte(sums.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
