package triage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

var noon = time.Date(2026, 5, 13, 12, 0, 0, 0, time.UTC)

// named is a report whose first cause has that name; "" works, "?" is unexplained.
func named(cause string, at time.Time) *report.Report {
	t := report.Target{Target: "localhost:3000", Port: 3000, Intent: facts.Connect, Verdict: checks.Broken}
	switch cause {
	case "":
		t.Verdict = checks.Works
	case "?":
		t.Symptoms = []report.Symptom{{Name: "no-reply", Summary: "It does not reply."}}
	default:
		t.Causes = []report.Cause{{Name: cause, State: "active", Certainty: "proven", Summary: "It is so."}, {Name: "lo-down", State: "latent"}}
	}
	return &report.Report{Time: at, Version: "1.0", Host: report.Host{OS: "linux", Kernel: "6.18.44", Vantage: "host"}, Targets: []report.Target{t}}
}

func rows(files map[string]*report.Report) []Row {
	var out []Row
	for file, r := range files {
		out = append(out, Rows(&Case{File: file, Report: r})...)
	}
	return out
}

func TestPatternsShow(t *testing.T) {
	got := New("2.0", 7, rows(map[string]*report.Report{
		"a.json": named("", noon), "b.json": named("no-listener", noon.Add(time.Hour)), "c.json": named("no-listener", noon),
		"d.json": named("lo-down", noon), "e.json": named("?", noon), "f.json": named("", noon.Add(-time.Hour)), "g.json": named("from-the-future", noon),
	}), []Unreadable{{"z", "no"}, {"y", "no"}}, nil)
	if want := "7 reports: 2 no-listener, 1 from-the-future, 1 lo-down, 1 unexplained no-reply, 2 works; 2 files could not be read."; got.Summary != want {
		t.Errorf("got  %s\nwant %s", got.Summary, want)
	}
	var order []string
	for _, g := range got.Groups {
		for _, r := range g.Rows {
			order = append(order, r.File)
		}
	}
	if want := strings.Fields("c.json b.json g.json d.json e.json f.json a.json"); !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
	if g := got.Groups[0]; g.Says != "no process listens on the port" || !slices.Equal(g.Rows[0].More, []string{"lo-down"}) {
		t.Errorf("%+v", g)
	}
	if got.Groups[1].Says != "It is so" || got.Unreadable[0].File != "y" {
		t.Errorf("%+v", got)
	}
	if none := New("2.0", 0, nil, nil, nil); none.Summary != "No report was found." {
		t.Error(none.Summary)
	}
}

func TestManyCauses(t *testing.T) {
	files := map[string]*report.Report{}
	for i := range 20 {
		files[fmt.Sprint(i)] = named(fmt.Sprintf("cause-%02d", i), noon)
	}
	if got := New("2.0", 20, rows(files), nil, nil).Summary; got != "20 reports: 1 cause-00, 1 cause-01, 1 cause-02, 1 cause-03, 1 cause-04, 15 more." {
		t.Error(got)
	}
}

// What the version that looked said is told where it was something else.
func TestThen(t *testing.T) {
	r := Rows(&Case{File: "x", Report: named("lo-down", noon), Stored: named("no-listener", noon), Version: "0.9", Redacted: true})
	if len(r) != 1 || r[0].Then != "no-listener" || r[0].Version != "0.9" || !strings.Contains(r[0].file(), "redacted; was judged no-listener") {
		t.Errorf("%+v", r)
	}
	if r := Rows(&Case{File: "x", Report: named("lo-down", noon), Stored: named("lo-down", noon)}); r[0].Then != "" {
		t.Errorf("%+v", r)
	}
}

func TestKindOfHost(t *testing.T) {
	for _, c := range []struct {
		inside facts.Inside
		from   string
		want   string
	}{
		{facts.Inside{}, "host", "linux, host"},
		{facts.Inside{WSL: "2 nat", VM: "wsl"}, "host", "linux, WSL 2 nat, host"},
		{facts.Inside{VM: "docker-desktop"}, "container shop-web (docker)", "linux, VM of docker-desktop, container shop-web (docker)"},
		{facts.Inside{CI: "github-actions"}, "container", "linux, job of github-actions, container"},
	} {
		r := named("", noon)
		r.Host.Vantage = c.from
		if got := kind(r, &facts.Facts{Host: facts.Host{Inside: c.inside}}); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// What works, with a remark, is not what nothing is to be said of.
func TestRemarks(t *testing.T) {
	remarked := func(cause string, remarks ...string) *report.Report {
		r := named(cause, noon)
		for _, name := range remarks {
			r.Targets[0].Remarks = append(r.Targets[0].Remarks, report.Cause{Name: name, State: "remark", Summary: "It is so."})
		}
		return r
	}
	const v6, open = "v6-first-v4-only-server", "exposed-beyond-loopback"
	table := New("2.0", 5, rows(map[string]*report.Report{
		"a.json": remarked("", v6, open, v6), "b.json": remarked("", v6), "c.json": remarked(""), "d.json": remarked("", "owner-hidden-from-you"), "e.json": remarked("no-listener", open),
	}), nil, nil)
	if want := "5 reports: 1 no-listener, 4 works (2 with remarks)."; table.Summary != want {
		t.Errorf("got  %s\nwant %s", table.Summary, want)
	}
	works := table.Groups[1]
	const note = "Remarks: 2 v6-first-v4-only-server, 1 exposed-beyond-loopback."
	if works.title() != "works: 4 cases, nothing is wrong from where it was looked" || works.note() != note {
		t.Errorf("%s\n%s", works.title(), works.note())
	}
	for i, want := range [][]string{{v6, open}, {v6}, nil, nil} {
		if r := works.Rows[i]; !slices.Equal(r.Remarks, want) || len(r.More) > 0 {
			t.Errorf("%s: remarks %v, more %v", r.File, r.Remarks, r.More)
		}
	}
	if got := works.Rows[0].file(); got != "a.json (remarks: v6-first-v4-only-server, exposed-beyond-loopback)" {
		t.Error(got)
	}
	if got := table.Groups[0].Rows[0]; got.file() != "e.json (and lo-down; remarks: exposed-beyond-loopback)" {
		t.Error(got.file())
	}
	for name, write := range formats {
		var out bytes.Buffer
		if err := write(&out, table); err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(strings.Fields(out.String()), " "); strings.Count(text, v6) < 2 || !strings.Contains(text, note) && name != "json" || !strings.Contains(text, "from where it was looked") || strings.Contains(text, "owner-hidden-from-you") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

var formats = map[string]func(io.Writer, *Table) error{
	"wide":     func(w io.Writer, t *Table) error { return Text(w, t, report.TextOptions{Width: 200}) },
	"narrow":   func(w io.Writer, t *Table) error { return Text(w, t, report.TextOptions{Width: 60}) },
	"json":     JSON,
	"markdown": Markdown,
	"html":     HTML,
}

func TestFormats(t *testing.T) {
	const evil = "\x1b[31m<script>x</script>|`@all`\n# head\u202e.json"
	files := map[string]*report.Report{evil: named(evil, noon), "tickets/a.json": named("no-listener", noon), "tickets/b.json": named("", noon)}
	for i := range 30 {
		files[fmt.Sprintf("more/%02d.json", i)] = named("no-listener", noon.Add(time.Duration(i)*time.Hour))
	}
	var missed []Unreadable
	for i := range 50 {
		missed = append(missed, Unreadable{fmt.Sprintf("package-%02d.json", i), "it is neither"})
	}
	table := New("2.0", len(files), rows(files), append(missed, Unreadable{evil, evil}), []string{evil})
	for name, write := range formats {
		var out bytes.Buffer
		if err := write(&out, table); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if strings.ContainsAny(text, "\x1b\u202e") || regexp.MustCompile(`(?m)^# head`).MatchString(text) {
			t.Errorf("%s: what controls a terminal, or a heading, got through", name)
		}
		if (name == "html" || name == "markdown") && strings.Contains(text, "<script") {
			t.Errorf("%s: markup got through", name)
		}
		for _, want := range []string{"tickets/a.json", "2026-05-13 12:00", "33 reports: 31 no-listener"} {
			if name != "json" && !strings.Contains(text, want) {
				t.Errorf("%s: no %s", name, want)
			}
		}
		for line := range strings.Lines(text) {
			if limit := map[string]int{"wide": 201, "narrow": 61}[name]; limit > 0 && report.TextWidth(line) > limit && !strings.Contains(line, "script") {
				t.Errorf("%s: %q", name, line)
			}
		}
		switch name {
		case "wide":
			if !strings.Contains(text, "WHEN") || !strings.Contains(text, "31 more files") {
				t.Errorf("no head, or all that could not be read:\n%s", text)
			}
		case "narrow":
			if strings.Contains(text, "WHEN") {
				t.Error("a table that does not fit")
			}
		case "json":
			var back Table
			if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Schema != Schema || len(back.Unreadable) != 51 || strings.Contains(text, "null") {
				t.Errorf("%v", err)
			}
		}
	}
}
