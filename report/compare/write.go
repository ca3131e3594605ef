package compare

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/report"
	"github.com/loopdoctor/loopdoctor/report/internal/style"
)

// JSON writes the comparison as docs/diff.md describes it.
func JSON(w io.Writer, c *Comparison) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(c)
}

// Text writes the comparison for a person at a terminal. The first line is the
// answer.
func Text(w io.Writer, c *Comparison, o report.TextOptions) error {
	if o.Quiet { // for scripts: one line, however long
		_, err := io.WriteString(w, c.Summary+"\n")
		return err
	}
	l := report.NewLayout(o)
	l.Answer(c.Summary, c.verdict())
	l.Gap()
	l.Rows([]report.Evidence{{Source: "A", Text: c.A.line()}, {Source: "B", Text: c.B.line()}})
	for i := range c.Targets {
		t := &c.Targets[i]
		if len(c.Targets) > 1 {
			l.Section(t.Name())
			l.Prose(t.Summary)
		}
		for _, g := range groups(t.Differences) {
			l.Section(title(g[0].Topic))
			l.Rows(rows(g))
		}
		l.Gap()
		for _, s := range t.unknown() {
			l.Prose(s)
		}
	}
	l.Gap()
	if len(c.Context) > 0 {
		l.Section("Background, no difference by itself")
		l.Rows(rows(c.Context))
	}
	l.Gap()
	for _, n := range c.Notes {
		l.Prose(n)
	}
	_, err := l.WriteTo(w)
	return err
}

// Markdown writes the comparison for an issue tracker.
func Markdown(w io.Writer, c *Comparison) error {
	var p report.MarkdownPage
	p.Heading(2, c.Summary)
	p.Table([][]string{{"", ""}, {"A", c.A.line()}, {"B", c.B.line()}})
	for i := range c.Targets {
		t := &c.Targets[i]
		if len(c.Targets) > 1 {
			p.Heading(3, t.Name())
			p.Para(t.Summary)
		}
		if len(t.Differences) > 0 {
			p.Table(table(t.Differences))
		}
		for _, s := range t.unknown() {
			p.Para(s)
		}
	}
	if len(c.Context) > 0 {
		p.Heading(3, "Background, no difference by itself")
		p.Table(table(c.Context))
	}
	for _, n := range c.Notes {
		p.Para(n)
	}
	_, err := p.WriteTo(w)
	return err
}

//go:embed compare.html.tmpl
var htmlSource string

// HTML writes the comparison as one page that needs nothing else.
func HTML(w io.Writer, c *Comparison) error {
	t, err := template.New("compare").Funcs(template.FuncMap{
		"head": style.Head, "groups": groups, "title": title, "cell": cell,
		"verdict": func() checks.Verdict { return c.verdict() },
		"name":    func(t Target) string { return t.Name() },
		"unknown": func(t Target) []string { return t.unknown() },
		"line":    func(x Case) string { return x.line() },
	}).Parse(htmlSource)
	if err != nil {
		return err
	}
	return t.Execute(w, c)
}

// verdict colours the answer: that of the worse side, if anything differs.
func (c *Comparison) verdict() checks.Verdict {
	if c.Status == ExitSame {
		return checks.Works
	}
	worst := 0
	for _, t := range c.Targets {
		for _, a := range []*About{t.A, t.B} {
			if a != nil {
				worst = max(worst, slices.Index(order, a.Verdict))
			}
		}
	}
	if worst == 0 {
		return checks.Partly
	}
	return order[worst]
}

// line describes a side: its file, about what, when, on what and from where.
func (c *Case) line() string {
	words := []string{c.Name}
	for _, w := range []string{c.About, report.Minute(c.Time), c.Platform, "from " + c.From} {
		if w != "" && w != "from " {
			words = append(words, w)
		}
	}
	if c.Redacted {
		words = append(words, "redacted")
	}
	return strings.Join(words, ", ")
}

// groups are the differences by topic.
func groups(ds []Difference) [][]Difference {
	var out [][]Difference
	for _, d := range ds {
		if n := len(out); n > 0 && out[n-1][0].Topic == d.Topic {
			out[n-1] = append(out[n-1], d)
			continue
		}
		out = append(out, []Difference{d})
	}
	return out
}

func title(topic string) string { return strings.ToUpper(topic[:1]) + topic[1:] }

// cell is what one side has; words stand where it has nothing.
func cell(d Difference, side string) string {
	text := d.A
	if side == "b" {
		text = d.B
	}
	if text == "" {
		return "—"
	}
	return text
}

func rows(ds []Difference) []report.Evidence {
	var out []report.Evidence
	for _, d := range ds {
		switch d.Kind {
		case OnlyA:
			out = append(out, report.Evidence{Source: d.What, Text: "only A: " + d.A})
		case OnlyB:
			out = append(out, report.Evidence{Source: d.What, Text: "only B: " + d.B})
		default:
			again := ""
			if report.TextWidth(d.What) > report.WidestName {
				again = d.What
			}
			out = append(out, report.Evidence{Source: d.What, Text: "A: " + d.A}, report.Evidence{Source: again, Text: "B: " + d.B})
		}
	}
	return out
}

func table(ds []Difference) [][]string {
	out := [][]string{{"", "", "A", "B"}}
	last := ""
	for _, d := range ds {
		topic := d.Topic
		if topic == last {
			topic = ""
		}
		last = d.Topic
		out = append(out, []string{topic, d.What, cell(d, "a"), cell(d, "b")})
	}
	return out
}

// unknown is what only one side looked at, a sentence for each side.
func (t *Target) unknown() []string {
	var out []string
	for _, side := range []string{"a", "b"} {
		var reasons []string
		of := map[string][]string{}
		for _, n := range t.NotKnown {
			if n.Side != side {
				continue
			}
			what := n.Topic
			if n.What != "" {
				what = n.What
			}
			if of[n.Reason] == nil {
				reasons = append(reasons, n.Reason)
			}
			if !slices.Contains(of[n.Reason], what) {
				of[n.Reason] = append(of[n.Reason], what)
			}
		}
		var words []string
		for _, r := range reasons {
			words = append(words, strings.Join(of[r], ", ")+" ("+r+")")
		}
		if len(words) > 0 {
			out = append(out, fmt.Sprintf("Not known on %s: %s.", strings.ToUpper(side), strings.Join(words, "; ")))
		}
	}
	return out
}
