// Package triage puts many saved cases into one table in which patterns show:
// grouped by cause, the most frequent first. It takes reports as they are; it
// refuses to read files, to judge, and to merge what different machines said.
package triage

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// Schema is the version of the JSON form. Within it members are only added.
const Schema = 1

// Table is everything there is to say. docs/diff.md explains each member. Every
// string in it is safe to print.
type Table struct {
	Schema     int          `json:"schema"`
	Version    string       `json:"version"` // of the loopdoctor that judged
	Summary    string       `json:"summary"` // "31 reports: 14 filter-drops-loopback, …"
	Reports    int          `json:"reports"` // files that could be read
	Groups     []Group      `json:"groups"`
	Unreadable []Unreadable `json:"unreadable"`
	Notes      []string     `json:"notes"` // what was left out, a sentence each
}

// Group is the targets with one first cause.
type Group struct {
	Name    string         `json:"name"`    // a cause; "works", "not known"; "unexplained", a space, and the symptom
	Says    string         `json:"says"`    // what is wrong, in a few words
	Verdict checks.Verdict `json:"verdict"` // the worst of them
	Rows    []Row          `json:"rows"`    // the oldest first
}

// Row is one target of one file.
type Row struct {
	File      string         `json:"file"`
	Time      time.Time      `json:"time,omitzero"`
	Target    string         `json:"target"`
	Intent    facts.Intent   `json:"intent"`
	Verdict   checks.Verdict `json:"verdict"`
	Cause     string         `json:"cause"` // the first active one; empty: none
	Certainty string         `json:"certainty"`
	More      []string       `json:"more"`    // further causes, those behind the first too
	Remarks   []string       `json:"remarks"` // what may be wrong for another client, or elsewhere
	Then      string         `json:"then"`    // what the version that looked said first, where this one says something else
	Host      string         `json:"host"`    // "linux, WSL 2 nat, container shop-web"
	Kernel    string         `json:"kernel"`
	Version   string         `json:"version"` // of the loopdoctor that looked
	Redacted  bool           `json:"redacted"`

	name, says string // of its group
}

// Unreadable is a file that was no case, and why.
type Unreadable struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// Case is one file.
type Case struct {
	File     string
	Report   *report.Report // as judged by this version, if there were facts
	Stored   *report.Report // as the version that looked said it; nil: not kept
	Facts    []*facts.Facts // nil: only the report was kept
	Version  string         // of the loopdoctor that looked
	Redacted bool
}

// Rows tells of one file. What it returns is small, and keeps nothing of the case.
func Rows(c *Case) []Row {
	var out []Row
	for i := range c.Report.Targets {
		t := &c.Report.Targets[i]
		r := Row{File: c.File, Time: c.Report.Time, Target: t.Target, Intent: t.Intent, Verdict: t.Verdict,
			Kernel: c.Report.Host.Kernel, Version: cmp.Or(c.Version, c.Report.Version), Redacted: c.Redacted}
		var f *facts.Facts
		if i < len(c.Facts) {
			f = c.Facts[i]
		}
		r.Host = kind(c.Report, f)
		r.name, r.says = first(t)
		for _, x := range t.Causes {
			if r.Cause == "" && x.State == string(checks.Active) {
				r.Cause, r.Certainty = x.Name, x.Certainty
			} else if x.Name != r.Cause {
				r.More = append(r.More, x.Name)
			}
		}
		for j := range t.Remarks {
			if x := &t.Remarks[j]; !x.AboutLooker() && !slices.Contains(r.Remarks, x.Name) {
				r.Remarks = append(r.Remarks, x.Name)
			}
		}
		if c.Stored != nil && c.Stored != c.Report {
			if j := slices.IndexFunc(c.Stored.Targets, func(s report.Target) bool { return s.Target == t.Target && s.Intent == t.Intent }); j >= 0 {
				if then, _ := first(&c.Stored.Targets[j]); then != r.name {
					r.Then = then
				}
			}
		}
		report.Scrub(&r)
		out = append(out, r)
	}
	return out
}

// first is what heads the report of a target, and what it means.
func first(t *report.Target) (name, says string) {
	for _, c := range t.Causes {
		if c.State == string(checks.Active) {
			return c.Name, doc(c.Name, c.Summary)
		}
	}
	if t.Verdict == checks.Works {
		return works, "nothing is wrong from where it was looked"
	}
	for _, s := range t.Symptoms {
		if len(s.ExplainedBy) == 0 {
			return "unexplained " + s.Name, doc(s.Name, s.Summary)
		}
	}
	return notKnown, "it could not be told"
}

// Groups that are no cause.
const (
	works    = "works"
	notKnown = "not known"
)

// doc is the check's own sentence; a cause that this version does not know has that
// of the report.
func doc(name, summary string) string {
	if c := checks.ByName(name); c != nil {
		return c.Doc
	}
	return strings.TrimSuffix(summary, ".")
}

// kind is what sort of machine was looked at.
func kind(r *report.Report, f *facts.Facts) string {
	words := []string{r.Host.OS}
	vantage := r.Host.Vantage
	if f != nil {
		in := f.Host.Inside
		for _, w := range []struct{ word, text string }{{"WSL ", in.WSL}, {"VM of ", in.VM}, {"job of ", in.CI}, {"", in.Remote}} {
			if w.text != "" && !(w.word == "VM of " && in.VM == "wsl") {
				words = append(words, w.word+w.text)
			}
		}
	}
	if vantage != "" {
		words = append(words, vantage)
	}
	return strings.TrimPrefix(strings.Join(words, ", "), ", ")
}

// New sorts and counts.
func New(version string, reports int, rows []Row, unreadable []Unreadable, notes []string) *Table {
	t := &Table{Schema: Schema, Version: version, Reports: reports, Unreadable: slices.Clone(unreadable), Notes: notes}
	at := map[string]int{}
	for _, r := range rows {
		i, ok := at[r.name]
		if !ok {
			i = len(t.Groups)
			at[r.name] = i
			t.Groups = append(t.Groups, Group{Name: r.name, Says: r.says, Verdict: r.Verdict})
		}
		g := &t.Groups[i]
		g.Rows = append(g.Rows, r)
		if slices.Index(order, r.Verdict) > slices.Index(order, g.Verdict) {
			g.Verdict = r.Verdict
		}
	}
	for _, g := range t.Groups {
		slices.SortStableFunc(g.Rows, func(a, b Row) int {
			return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.File, b.File), cmp.Compare(a.Target, b.Target))
		})
	}
	slices.SortFunc(t.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), -cmp.Compare(len(a.Rows), len(b.Rows)), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(t.Unreadable, func(a, b Unreadable) int { return cmp.Compare(a.File, b.File) })
	t.Summary = t.summary(len(rows))
	report.Scrub(t)
	return t
}

// The verdicts by how bad they are.
var order = []checks.Verdict{checks.Works, checks.Unknown, checks.Partly, checks.Broken}

// rank puts what is wrong first, and what works last.
func (g *Group) rank() int {
	switch {
	case g.Name == works:
		return 3
	case g.Name == notKnown:
		return 2
	case strings.HasPrefix(g.Name, "unexplained "):
		return 1
	}
	return 0
}

// remarked is how many of them have a remark.
func (g *Group) remarked() int {
	n := 0
	for i := range g.Rows {
		if len(g.Rows[i].Remarks) > 0 {
			n++
		}
	}
	return n
}

// note is what those that work have in common, the most frequent remark first:
// "Remarks: 2 v6-first-v4-only-server, 1 exposed-beyond-loopback."
func (g *Group) note() string {
	if g.Name != works {
		return ""
	}
	count := map[string]int{}
	for i := range g.Rows {
		for _, name := range g.Rows[i].Remarks {
			count[name]++
		}
	}
	var words []string
	for _, name := range slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(-cmp.Compare(count[a], count[b]), cmp.Compare(a, b))
	}) {
		words = append(words, fmt.Sprintf("%d %s", count[name], name))
	}
	if len(words) == 0 {
		return ""
	}
	return "Remarks: " + few(words) + "."
}

// few lists the first ones, and how many more there are.
func few(words []string) string {
	if n := len(words) - listed; n > 1 {
		words = append(slices.Clone(words[:listed]), fmt.Sprintf("%d more", n))
	}
	return strings.Join(words, ", ")
}

// listed is how many groups the summary names, and how many remarks a group.
const listed = 5

func (t *Table) summary(targets int) string {
	if targets == 0 {
		return "No report was found."
	}
	text := report.Count(t.Reports, "report", "reports")
	if targets != t.Reports {
		text += " of " + report.Count(targets, "target", "targets")
	}
	var words []string
	for _, g := range t.Groups {
		word := fmt.Sprintf("%d %s", len(g.Rows), g.Name)
		if n := g.remarked(); n > 0 && g.Name == works {
			word += fmt.Sprintf(" (%d with remarks)", n)
		}
		words = append(words, word)
	}
	text += ": " + few(words)
	if n := len(t.Unreadable); n > 0 {
		text += "; " + report.Count(n, "file", "files") + " could not be read"
	}
	return text + "."
}
