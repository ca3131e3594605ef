package compare

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// recorded are the facts of the lab's situations.
func recorded(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../cmd/loopdoctor/testdata/replay/*.json")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d recordings: %v", len(files), err)
	}
	return files
}

func load(t testing.TB, file string) Side {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r facts.Recording
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return judged(filepath.Base(file), r.Facts)
}

func judged(name string, fs []*facts.Facts) Side {
	run := report.Run{Version: "1.2.3", Facts: fs}
	for _, f := range fs {
		run.Diagnoses = append(run.Diagnoses, checks.Diagnose(f))
	}
	return Side{Name: name, Report: report.New(run), Facts: fs}
}

// mirrored is the comparison with its sides changed, but for the sentences.
func mirrored(c *Comparison) *Comparison {
	m := *c
	m.A, m.B = c.B, c.A
	m.Summary, m.Notes = "", nil
	turn := func(ds []Difference) []Difference {
		out := []Difference{}
		for _, d := range ds {
			d.A, d.B = d.B, d.A
			d.Kind = map[Kind]Kind{OnlyA: OnlyB, OnlyB: OnlyA}[d.Kind] + map[Kind]Kind{Changed: Changed, MorePrecise: MorePrecise}[d.Kind]
			out = append(out, d)
		}
		return out
	}
	m.Context = turn(c.Context)
	m.Targets = nil
	for _, t := range c.Targets {
		t.A, t.B = t.B, t.A
		t.Summary = ""
		t.Differences = turn(t.Differences)
		slices.SortFunc(t.Differences, func(a, b Difference) int { return strings.Compare(show(a), show(b)) })
		ns := []NotKnown{}
		for _, n := range t.NotKnown {
			n.Side = map[string]string{"a": "b", "b": "a"}[n.Side]
			ns = append(ns, n)
		}
		slices.SortFunc(ns, func(a, b NotKnown) int { return strings.Compare(show(a), show(b)) })
		t.NotKnown = ns
		m.Targets = append(m.Targets, t)
	}
	slices.SortFunc(m.Targets, func(a, b Target) int { return strings.Compare(show(a), show(b)) })
	return &m
}

func show(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// Nothing differs from itself; each comparison is the mirror of the one the other
// way round; and what has the verdict or a cause of its own is said to differ.
func TestEveryRecording(t *testing.T) {
	files := recorded(t)
	var before *Side
	for i, file := range files {
		if testing.Short() && i%10 > 0 {
			continue
		}
		a := load(t, file)
		c := New("1", a, a)
		if c.Status != ExitSame || len(c.Context) > 0 || !strings.HasPrefix(c.Summary, "Nothing that matters differs") {
			t.Errorf("%s differs from itself: %s", a.Name, show(c))
		}
		for _, tg := range c.Targets {
			if len(tg.Differences)+len(tg.NotKnown) > 0 {
				t.Errorf("%s differs from itself: %s", a.Name, show(tg))
			}
		}
		r := Side{Name: a.Name, Report: a.Report}
		if c := New("1", r, r); c.Status != ExitSame || c.Compared != "reports" {
			t.Errorf("the report of %s differs from itself: %s", a.Name, show(c))
		}
		for _, b := range []*Side{before, {Name: a.Name, Report: a.Report}} {
			if b == nil || i%5 > 0 {
				continue
			}
			ab, ba := New("1", a, *b), New("1", *b, a)
			if got, want := show(mirrored(mirrored(ba))), show(mirrored(ab)); got != want {
				t.Errorf("%s and %s, one way and the other:\n%.600s\n%.600s", a.Name, b.Name, want, got)
			}
			if x, y := a.Report.Targets[0], b.Report.Targets[0]; x.Verdict != y.Verdict && x.Intent == y.Intent && ab.Status != ExitDiffers {
				t.Errorf("%s is %s and %s is %s, and nothing differs", a.Name, x.Verdict, b.Name, y.Verdict)
			}
		}
		before = &a
	}
}
