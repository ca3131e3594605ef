package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// What somebody sent is not written over, whatever it is called.
func TestInputStays(t *testing.T) {
	dir := t.TempDir()
	in, err := os.ReadFile(dropped)
	if err != nil {
		t.Fatal(err)
	}
	file, link, other := filepath.Join(dir, "in.json"), filepath.Join(t.TempDir(), "link"), filepath.Join(dir, "..", filepath.Base(dir), "in.json")
	if err := os.WriteFile(file, in, 0o600); err != nil {
		t.Fatal(err)
	}
	outputs := []string{file, other}
	if os.Symlink(file, link) == nil {
		outputs = append(outputs, link)
	}
	for _, output := range outputs {
		for _, args := range [][]string{{"--replay", file}, {"bundle", "--replay", file}, {"open", file}, {"diff", dropped, file}, {"diff", file, dropped}, {"triage", file}, {"triage", dir}} {
			status, stdout, stderr := do("", append(args, "-o", output)...)
			oneLine(t, "--output writes to "+output+", and it is what is read", exitUsage, status, stdout, stderr)
		}
		stdin, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		var out, errs strings.Builder
		status := run([]string{"open", "-", "-o", output}, stdin, &out, &errs, noEnv)
		stdin.Close()
		oneLine(t, "and it is what is read", exitUsage, status, out.String(), errs.String())
	}
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, in) || len(folder(t, dir)) != 1 {
		t.Errorf("it changed, or beside it is %v: %v", folder(t, dir), err)
	}
	// A table of an earlier time is no case, and gives way to the new one.
	table := filepath.Join(dir, "table.json")
	for range 2 {
		if status, _, stderr := do("", "triage", "--format", "json", "-o", table, dir); status != 0 {
			t.Errorf("exit status %d: %s", status, stderr)
		}
	}
}

// Facts that somebody made up take neither long nor much.
func TestAbsurdFacts(t *testing.T) {
	data, err := os.ReadFile(seenAs("server-exited-or-crash-looping.root"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*facts.Facts)) string {
		var r facts.Recording
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		change(r.Facts[0])
		b, err := json.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const mark = "in the place of this line stand many"
	marked := with(func(f *facts.Facts) { f.Units.Units[0].Log = []string{mark} })
	log := func(n int, line string) string {
		return strings.Replace(marked, `"`+mark+`"`, strings.TrimSuffix(strings.Repeat(`"`+line+`",`, n), ","), 1)
	}
	for hint, in := range map[string]string{
		"a text of more than 256 KiB": log(1, strings.Repeat("pass key ", 30_000)),
		"more than 16 MiB of text":    log(100, strings.Repeat("x", 200_000)),
		"more than 524288 values":     log(600_000, "x"),
		"8193 listeners on port 62893: no more than 8192 are jud": with(func(f *facts.Facts) {
			f.Sockets = &facts.Sockets{Sockets: slices.Repeat([]facts.Socket{{State: facts.Listen, Local: netip.MustParseAddrPort("127.0.0.1:62893")}}, maxListeners+1)}
		}),
	} {
		for _, args := range [][]string{{"open", "-"}, {"--replay", "-"}, {"bundle", "--preview", "--replay", "-"}} {
			status, stdout, stderr := do(in, args...)
			oneLine(t, hint, exitUsage, status, stdout, stderr)
		}
	}
	for _, in := range []string{log(3, strings.Repeat(`\\\"`, 60_000)), log(500, strings.Repeat("pass key deadbeef ", 220))} {
		if status, _, stderr := do(in, "open", "-"); status != report.ExitFault || stderr != "" {
			t.Errorf("exit status %d: %s", status, stderr)
		}
	}
	status, stdout, stderr := do(log(50_000, "the same"), "bundle", "--preview", "--replay", "-")
	oneLine(t, "nothing is written that nobody could open: report.", report.ExitFailed, status, stdout, stderr)
}
