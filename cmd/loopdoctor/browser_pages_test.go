package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The pages about several reports, in a browser, and the report under a keyboard.

// pageOf is what a command writes as HTML.
func pageOf(t *testing.T, args ...string) string {
	t.Helper()
	_, page, stderr := do("", append(args, "--format", "html")...)
	if stderr != "" || !strings.HasPrefix(page, "<!doctype html>") {
		t.Fatalf("%v: %s%.200s", args, stderr, page)
	}
	return page
}

// spoilt is a recording in which the names of programs are markup.
func spoilt(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(seenAs(name))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), `"name":"python3"`, "\"name\":\"`</code><img src=x onerror=alert(1)>`\"")
	if text == string(data) {
		text = strings.ReplaceAll(text, `"name": "python3"`, "\"name\": \"`</code><img src=x onerror=alert(1)>`\"")
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil || text == string(data) {
		t.Fatalf("nothing is spoilt: %v", err)
	}
	return saved(t, v)
}

func TestPagesInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	c := newChromium(t)
	broken := filepath.Join(t.TempDir(), strings.Repeat("a-long-name", 20)+".json")
	if err := os.WriteFile(broken, []byte("no report"), 0o600); err != nil {
		t.Fatal(err)
	}
	evil := spoilt(t, "v6-first-v4-only-server.root")
	for name, args := range map[string][]string{
		"diff":         {"diff", seenAs("healthy-default-drop.root"), seenAs("filter-drops-loopback.root")},
		"diff, same":   {"diff", seenAs("healthy-dual-stack.root"), seenAs("healthy-dual-stack.root")},
		"diff, evil":   {"diff", seenAs("no-listener.udp.root"), evil},
		"diff, partly": {"diff", seenAs("healthy-dual-stack.root"), seenAs("port-held-by-other-app.root")},
		"triage": {"triage", seenAs("filter-drops-loopback.root"), seenAs("filter-drops-loopback.user"), seenAs("healthy-dual-stack.root"),
			seenAs("container-binds-loopback.root"), seenAs("port-held-by-other-app.root"), evil, broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := c.open(t, pageOf(t, args...))
			got := b.read()
			for what, bad := range map[string][]string{"the page did": b.misdeeds(), "an element that is none of ours": got.Foreign, "the same id twice": got.SameIDs} {
				if len(bad) > 0 {
					t.Errorf("%s: %q", what, bad)
				}
			}
			if got.Lang != "en" || got.Scripts != 0 || got.Title == "" || len(got.Headings) == 0 || got.Headings[0] != 1 {
				t.Errorf("lang %q, %d scripts, title %q, headings %v", got.Lang, got.Scripts, got.Title, got.Headings)
			}
			b.fits()
			if name == "diff, evil" && !eval[bool](b, "see.says('`</code><img src=x onerror=alert(1)>`')") {
				t.Error("the name of the program is not to be read")
			}
		})
	}
}

// A keyboard comes to all that can be pressed, in the order of the page, and shows where it is.
func TestReportByKeyboard(t *testing.T) {
	c := newChromium(t)
	page, _ := replayed(t, seenAs("filter-drops-loopback.root"))
	b := c.open(t, page)
	b.install()
	for _, scheme := range []string{"light", "dark"} {
		b.look(375, 900, scheme, "screen")
		eval[any](b, "see.unfold(), document.activeElement.blur(), scrollTo(0, 0)")
		buttons := eval[int](b, "see.shown('button.copy')")
		stops := eval[int](b, "see.stops()")
		if buttons < 2 || stops < 20 {
			t.Fatalf("%d buttons, %d stops", buttons, stops)
		}
		for i := range stops {
			b.tabKey()
			at := eval[struct {
				Which int
				Seen  bool
				HTML  string
			}](b, "see.focused()")
			if at.Which != i || !at.Seen {
				t.Fatalf("%s: after %d times Tab it is at %d (seen: %v): %s", scheme, i+1, at.Which, at.Seen, at.HTML)
			}
		}
		b.tabKey() // out of the page, so that the next scheme begins at its top
	}
	if bad := b.misdeeds(); len(bad) > 0 {
		t.Errorf("the page did %q", bad)
	}
}
