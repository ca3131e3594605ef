package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/report"
	"github.com/loopdoctor/loopdoctor/report/compare"
)

// seenAs is the recorded facts of a scenario.
func seenAs(name string) string { return filepath.Join(replayDir, name+".json") }

func TestDiff(t *testing.T) {
	good, bad := seenAs("healthy-default-drop.root"), seenAs("filter-drops-loopback.root")
	const answer = "A works and B does not: a rule of a packet filter drops the connection (filter-drops-loopback)."
	status, out, stderr := do("", "diff", "-q", good, bad)
	if status != compare.ExitDiffers || out != answer+"\n" || stderr != "" {
		t.Errorf("exit status %d, %q, %s", status, out, stderr)
	}
	if status, out, _ := do("", "diff", good, good); status != compare.ExitSame || !strings.HasPrefix(out, "Nothing that matters differs; both work.\n") {
		t.Errorf("exit status %d, %q", status, out)
	}
	for format, begins := range map[string]string{"text": "A works and B does not", "markdown": "## A works and B does not", "html": "<!doctype html>", "json": "{"} {
		file := filepath.Join(t.TempDir(), "out")
		status, out, stderr := do("", "diff", "--format", format, "-o", file, good, bad)
		if text := readText(t, file); status != compare.ExitDiffers || out+stderr != "" || !strings.HasPrefix(text, begins) {
			t.Errorf("%s: exit status %d, %s%s, %.80q", format, status, out, stderr, text)
		}
	}

	// A report alone, on one side or both.
	saved := filepath.Join(t.TempDir(), "report.json")
	do("", "--replay", bad, "--format", "json", "-o", saved)
	for _, a := range []string{good, saved} {
		status, out, stderr := do("", "diff", "--format", "json", a, saved)
		var c compare.Comparison
		if err := json.Unmarshal([]byte(out), &c); err != nil || c.Compared != "reports" || status != c.Status || (status == compare.ExitSame) != (a == saved) {
			t.Errorf("%s: exit status %d, %v, %s, %+v", a, status, err, stderr, c)
		}
	}
}

func TestDiffBadUsage(t *testing.T) {
	dir := t.TempDir()
	no, good := filepath.Join(dir, "no.json"), seenAs("healthy-dual-stack.root")
	if err := os.WriteFile(no, []byte(`{"name":"web","version":"1"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for hint, args := range map[string][]string{
		"diff takes two files":    {"diff", good},
		"diff takes two files: a": {"diff", good, good, good},
		"open /nonexistent":       {"diff", good, "/nonexistent"},
		"no.json: ":               {"diff", no, good},
		"it is one of text":       {"diff", "--format", "yaml", good, good},
		"leave them out with":     {"diff", "--format", "json", "-q", good, good},
		"unknown flag: --bind":    {"diff", "--bind", good, good},
		"the name of a file":      {"diff", "--output=", good, good},
		"--output: create /none":  {"diff", "-o", "/nonexistent/x", good, good},
	} {
		status, stdout, stderr := do("", args...)
		oneLine(t, hint, exitUsage, status, stdout, stderr)
	}
}

func TestTriage(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	put := func(from string, to ...string) {
		t.Helper()
		data, err := os.ReadFile(seenAs(from))
		file := filepath.Join(append([]string{dir}, to...)...)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	put("no-listener.root", "monday.json")
	put("no-listener.user", "below", "deep", "tuesday.JSON")
	put("healthy-dual-stack.root", "fine.json")
	put("filter-drops-loopback.root", "notes.txt") // not looked for, but it may be named
	huge, other := filepath.Join(dir, "huge.json"), filepath.Join(dir, "package.json")
	if err := errors.Join(os.WriteFile(other, []byte("{}"), 0o644), os.WriteFile(huge, nil, 0o644), os.Truncate(huge, maxRecording+1),
		os.WriteFile(filepath.Join(outside, "secret.json"), []byte("{}"), 0o644)); err != nil {
		t.Fatal(err)
	}
	links := errors.Join(os.Symlink(outside, filepath.Join(dir, "out")), os.Symlink(filepath.Join(outside, "secret.json"), filepath.Join(dir, "secret.json"))) == nil

	var table struct {
		Summary    string
		Reports    int
		Groups     []struct{ Name string }
		Unreadable []struct{ File, Reason string }
	}
	status, out, stderr := do("", "triage", "--format", "json", dir, filepath.Join(dir, "monday.json"), filepath.Join(dir, "notes.txt"))
	if err := json.Unmarshal([]byte(out), &table); err != nil || status != 0 || stderr != "" {
		t.Fatalf("exit status %d, %v, %s", status, err, stderr)
	}
	if want := "4 reports: 2 no-listener, 1 filter-drops-loopback, 1 works; 2 files could not be read."; table.Summary != want {
		t.Errorf("got  %s\nwant %s", table.Summary, want)
	}
	if len(table.Unreadable) != 2 || table.Unreadable[0].File != huge || table.Unreadable[0].Reason != "more than 64 MiB: this is no case" || table.Unreadable[1].File != other {
		t.Errorf("not read: %+v", table.Unreadable)
	}

	// What is named itself may be a link.
	if links {
		put("no-listener.root", "named.json")
		link := filepath.Join(outside, "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		if status, out, stderr := do("", "triage", "-q", link); status != 0 || !strings.HasPrefix(out, "4 reports: 3 no-listener") {
			t.Errorf("exit status %d, %s%s", status, out, stderr)
		}
	}

	for hint, args := range map[string][]string{
		"triage takes the files":              {"triage"},
		"no *.zip and no *.json in ":          {"triage", t.TempDir()},
		"none of 1 file could be read; ":      {"triage", other},
		"none of 2 files could be read; nope": {"triage", "nope", other},
		"it is one of text":                   {"triage", "--format", "yaml", dir},
	} {
		status, stdout, stderr := do("", args...)
		oneLine(t, hint, exitUsage, status, stdout, stderr)
	}
}

// Every recording of the lab in one table, and twice the same, whichever was read
// first.
func TestTriageMany(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(replayDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"triage", replayDir}
	if testing.Short() {
		for i := range files[:len(files)/10] {
			files[i] = files[10*i]
		}
		files = files[:len(files)/10]
		args = append(args[:1], files...)
	}
	status, out, stderr := do("", args...)
	if _, again, _ := do("", args...); status != 0 || stderr != "" || out != again {
		t.Errorf("exit status %d, %s, the same again: %v", status, stderr, out == again)
	}
	for _, file := range files {
		if name := filepath.Base(file); !strings.Contains(out, name) {
			t.Errorf("%s is missing", name)
		}
	}
}

// Whatever somebody sends, on either side: a comparison, or one line.
func FuzzDiff(f *testing.F) {
	good, err := os.ReadFile(seenAs("healthy-dual-stack.root"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"facts_schema":1,"facts":[{}]}`), good)
	f.Add([]byte(`{"schema":1,"targets":[{"addresses":[{}],"sockets":[{"processes":[{}]}],"causes":[{"state":"active"}],"not_checked":[{}]}]}`), good)
	f.Add([]byte(`{"facts_schema":1,"facts":[{"names":{},"interfaces":{},"routes":{"lookups":[{}],"rules":[{}]},"filters":{"walks":[{"stops":[{}],"diverts":[{}]}],"managers":[{}]},
		"containers":{"engines":[{}],"found":[{"inside":{}}]},"units":{"units":[{}]},"namespaces":{"found":[{}]},"forwards":{"found":[{"to":"x","far":[{}]}]},"proxies":{"preload":{},"ends":[{}]},"limits":{},"conntrack":{}}]}`), good)
	for _, name := range []string{"filter-drops-loopback.root", "no-listener.user", "docker-no-userland-proxy.root"} {
		if data, err := os.ReadFile(seenAs(name)); err == nil {
			f.Add(data, good)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, a, b []byte) {
		one, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		if err := errors.Join(os.WriteFile(one, a, 0o600), os.WriteFile(other, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"diff", one, other}, {"diff", "--format", "html", other, one}, {"triage", one, other}} {
			status, stdout, stderr := do("", args...)
			if status > exitUsage || (status == exitUsage) != (stdout == "") {
				t.Fatalf("%v: exit status %d: %s", args, status, stderr)
			}
		}
	})
}

// A bundle says whether it is masked, also if there was nothing to mask.
func TestBundleSaysThatItIsRedacted(t *testing.T) {
	for name, flags := range map[string][]string{"a.zip": nil, "a-UNREDACTED.zip": {"--no-redact"}} {
		file := filepath.Join(t.TempDir(), name)
		if status, _, stderr := do("", append([]string{"bundle", "--replay", dropped, "-o", file}, flags...)...); status != report.ExitFault {
			t.Fatalf("exit status %d: %s", status, stderr)
		}
		c, err := readCase(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c.redacted(), flags == nil; got != want {
			t.Errorf("%s is redacted: %v", name, got)
		}
	}
}
