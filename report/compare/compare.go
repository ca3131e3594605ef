// Package compare says what differs between two saved cases, what matters first:
// a good machine and a bad one, before and after. It takes facts and reports as
// they are; it refuses to judge (the diagnoses come with the reports), to look at
// anything, and to call what nobody looked at a difference.
package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// Schema is the version of the JSON form. Within it members are only added.
const Schema = 1

// The exit statuses, those of diff(1). 2 is bad usage, and a file that cannot be
// read.
const (
	ExitSame    = 0 // nothing that matters differs
	ExitDiffers = 1
)

// Side is one of the two cases.
type Side struct {
	Name     string         // what the person calls it: the name of its file
	Report   *report.Report // as judged by this version, if there are facts
	Facts    []*facts.Facts // of each of the report's targets; nil: only the report was kept
	Redacted bool           // its names are pseudonyms
}

// Comparison is what differs. docs/diff.md explains each member. Every string
// in it is safe to print.
type Comparison struct {
	Schema   int          `json:"schema"`
	Version  string       `json:"version"` // of the loopdoctor that compares
	Status   int          `json:"exit_status"`
	Summary  string       `json:"summary"`  // the answer in one sentence
	Compared string       `json:"compared"` // "facts", or "reports" where one side has no facts
	A        Case         `json:"a"`
	B        Case         `json:"b"`
	Targets  []Target     `json:"targets"` // those with what differs first
	Context  []Difference `json:"context"` // what may explain a difference and is none by itself: versions, who looked
	Notes    []string     `json:"notes"`   // what bears on the comparison as a whole, a sentence each
}

// Case describes one side.
type Case struct {
	Name     string    `json:"name"`
	About    string    `json:"about"`   // its targets
	Version  string    `json:"version"` // of the loopdoctor that looked, or wrote the report
	Time     time.Time `json:"time,omitzero"`
	Platform string    `json:"platform"` // "linux 6.18.44"
	From     string    `json:"from"`     // "a container as root"
	Redacted bool      `json:"redacted"`
}

// Target is one target of both sides, or one that only one of them has.
type Target struct {
	A           *About       `json:"a"` // null: A does not have it
	B           *About       `json:"b"`
	Summary     string       `json:"summary"`
	Differences []Difference `json:"differences"` // by importance
	NotKnown    []NotKnown   `json:"not_known"`   // what only one side looked at
}

// About is what one side says of a target.
type About struct {
	Target  string         `json:"target"`
	Intent  facts.Intent   `json:"intent"`
	Verdict checks.Verdict `json:"verdict"`
	Summary string         `json:"summary"`
	Causes  []string       `json:"causes"` // the active ones
}

// Kind says in what way something differs.
type Kind string

// The kinds. More precise is no difference: one side names a cause of which the
// other, with fewer privileges, sees the kind alone.
const (
	Changed     Kind = "changed"
	OnlyA       Kind = "only a"
	OnlyB       Kind = "only b"
	MorePrecise Kind = "more precise"
)

// Difference is one thing that differs.
type Difference struct {
	Topic string `json:"topic"` // "listeners"
	What  string `json:"what"`  // "127.0.0.1:62893"
	Kind  Kind   `json:"kind"`
	A     string `json:"a"`
	B     string `json:"b"`
}

// NotKnown is something that one side knows and the other did not look at.
type NotKnown struct {
	Side   string `json:"side"` // that does not know it: "a" or "b"
	Topic  string `json:"topic"`
	What   string `json:"what"` // empty: all of the topic
	Reason string `json:"reason"`
}

// New compares. Both sides have a report with at least one target.
func New(version string, a, b Side) *Comparison {
	c := &Comparison{Schema: Schema, Version: version, Compared: "reports", A: a.describe(), B: b.describe()}
	if a.Facts != nil && b.Facts != nil {
		c.Compared = "facts"
	} else {
		a.Facts, b.Facts = nil, nil
	}
	for _, p := range pairs(a, b) {
		c.Targets = append(c.Targets, c.target(a, b, p))
	}
	slices.SortStableFunc(c.Targets, func(s, t Target) int { return cmp.Compare(s.rank(), t.rank()) })
	c.Context, _ = between(&a, &b).differ([]topic{background(&a)}, []topic{background(&b)})
	c.Notes = c.notes()
	for i := range c.Targets {
		if c.Targets[i].Differs() {
			c.Status = ExitDiffers
		}
	}
	c.Summary = c.headline()
	report.Scrub(c)
	return c
}

func (s *Side) describe() Case {
	r := s.Report
	var about []string
	for _, t := range r.Targets {
		if t.Intent == facts.ToBind {
			about = append(about, "taking "+t.Target)
		} else {
			about = append(about, t.Target)
		}
	}
	return Case{Name: s.Name, About: report.Join(about, "and"), Version: r.Version, Time: r.Time, Platform: strings.TrimSpace(r.Host.OS + " " + r.Host.Kernel), From: r.From(), Redacted: s.Redacted}
}

// pair is the places of one target on both sides; -1: it is not there.
type pair struct{ a, b int }

// pairs finds for each target the one of the same name and intent. Where each side
// has only one, it is meant, whatever its name.
func pairs(a, b Side) []pair {
	as, bs := a.Report.Targets, b.Report.Targets
	if len(as) == 1 && len(bs) == 1 && as[0].IsLoopback() == bs[0].IsLoopback() && as[0].Intent == bs[0].Intent {
		return []pair{{0, 0}}
	}
	free := map[string][]int{} // places of B's targets that no target of A has taken
	name := func(t *report.Target) string { return string(t.Intent) + " " + t.Target }
	for k := range bs {
		free[name(&bs[k])] = append(free[name(&bs[k])], k)
	}
	taken := make([]bool, len(bs))
	var ps []pair
	for i := range as {
		n, j := name(&as[i]), -1
		if len(free[n]) > 0 {
			j, free[n] = free[n][0], free[n][1:]
			taken[j] = true
		}
		ps = append(ps, pair{i, j})
	}
	for k := range bs {
		if !taken[k] {
			ps = append(ps, pair{-1, k})
		}
	}
	return ps
}

func (c *Comparison) target(a, b Side, p pair) Target {
	t := Target{A: a.about(p.a), B: b.about(p.b)}
	if t.A != nil && t.B != nil {
		t.Differences, t.NotKnown = between(&a, &b).differ(a.topics(p.a), b.topics(p.b))
	}
	t.Summary = t.headline()
	return t
}

func (s *Side) about(i int) *About {
	if i < 0 {
		return nil
	}
	t := &s.Report.Targets[i]
	a := &About{Target: t.Target, Intent: t.Intent, Verdict: t.Verdict, Summary: t.Summary}
	for _, c := range t.Causes {
		if c.State == string(checks.Active) {
			a.Causes = append(a.Causes, c.Name)
		}
	}
	return a
}

// Differs tells whether something that matters does.
func (t *Target) Differs() bool {
	return t.A == nil || t.B == nil || t.A.Verdict != t.B.Verdict || slices.ContainsFunc(t.Differences, func(d Difference) bool { return d.Kind != MorePrecise })
}

// rank puts another verdict first, then another cause, then the rest.
func (t *Target) rank() int {
	switch {
	case t.A == nil || t.B == nil:
		return 3
	case t.A.Verdict != t.B.Verdict:
		return 0
	case slices.ContainsFunc(t.Differences, func(d Difference) bool { return d.Topic == topicCauses }):
		return 1
	case t.Differs():
		return 2
	}
	return 4
}

func (c *Comparison) notes() []string {
	var out []string
	for i := range c.Targets {
		if t := &c.Targets[i]; t.A != nil && t.B != nil && t.A.Target != t.B.Target {
			out = append(out, fmt.Sprintf("A is about %s and B about %s.", t.A.Target, t.B.Target))
		}
	}
	switch {
	case c.A.Redacted && c.B.Redacted:
		out = append(out, "Both are redacted: pseudonyms of one kind count as equal, whatever their numbers.")
	case c.A.Redacted:
		out = append(out, "A is redacted and B is not: where A has a pseudonym, anything of B counts as equal.")
	case c.B.Redacted:
		out = append(out, "B is redacted and A is not: where B has a pseudonym, anything of A counts as equal.")
	}
	if c.Compared == "reports" {
		out = append(out, "The reports were compared: facts (--record) of both sides would tell more.")
	}
	return out
}
