package triage

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"io"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
	"github.com/loopdoctor/loopdoctor/report/internal/style"
)

// JSON writes the table as docs/diff.md describes it.
func JSON(w io.Writer, t *Table) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(t)
}

// head names the columns.
var head = []string{"WHEN", "TARGET", "VERDICT", "CERTAINTY", "HOST", "KERNEL", "VERSION", "FILE"}

// cells is the row under that head.
func (r *Row) cells() []string {
	return []string{report.Minute(r.Time), r.target(), string(r.Verdict), r.Certainty, r.Host, r.Kernel, r.Version, r.file()}
}

func (r *Row) target() string {
	if r.Intent == facts.ToBind {
		return "taking " + r.Target
	}
	return r.Target
}

// line is the row without its file and time, for a narrow terminal.
func (r *Row) line() string {
	var words []string
	for _, w := range []struct{ word, text string }{{"", r.target()}, {"", string(r.Verdict)}, {"", r.Certainty}, {"", r.Host}, {"kernel ", r.Kernel}, {"loopdoctor ", r.Version}} {
		if w.text != "" {
			words = append(words, w.word+w.text)
		}
	}
	return strings.Join(words, ", ")
}

// file is its name, and what is to be known of it.
func (r *Row) file() string {
	var words []string
	if r.Redacted {
		words = append(words, "redacted")
	}
	if r.Then != "" {
		words = append(words, "was judged "+r.Then)
	}
	if len(r.More) > 0 {
		words = append(words, "and "+strings.Join(r.More, ", "))
	}
	if len(r.Remarks) > 0 {
		words = append(words, "remarks: "+strings.Join(r.Remarks, ", "))
	}
	if len(words) == 0 {
		return r.File
	}
	return r.File + " (" + strings.Join(words, "; ") + ")"
}

// unlisted is how many files that could not be read a terminal is told of: in a
// directory of a project there may be thousands.
const unlisted = 20

// Text writes the table for a terminal. Where it is too narrow for the columns, a
// case takes two lines.
func Text(w io.Writer, t *Table, o report.TextOptions) error {
	if o.Quiet { // for scripts: one line, however long
		_, err := io.WriteString(w, t.Summary+"\n")
		return err
	}
	l := report.NewLayout(o)
	l.Answer(t.Summary, t.verdict())
	wide := t.wide(l.Width())
	for i := range t.Groups {
		g := &t.Groups[i]
		l.Section(g.title())
		if note := g.note(); note != "" {
			l.Prose(note)
			l.Gap()
		}
		if wide {
			rows := [][]string{head}
			for j := range g.Rows {
				rows = append(rows, g.Rows[j].cells())
			}
			l.Table(rows)
			continue
		}
		for j := range g.Rows {
			r := &g.Rows[j]
			l.Prose(r.file())
			l.Rows([]report.Evidence{{Source: report.Minute(r.Time), Text: r.line()}})
		}
	}
	if len(t.Unreadable) > 0 {
		l.Section("Could not be read")
		var rows []report.Evidence
		for i, u := range t.Unreadable {
			if n := len(t.Unreadable) - i; i == unlisted && n > 1 {
				rows = append(rows, report.Evidence{Source: "…", Text: report.Count(n, "more file", "more files") + " (--format json lists them all)"})
				break
			}
			rows = append(rows, report.Evidence{Source: u.File, Text: u.Reason})
		}
		l.Rows(rows)
	}
	l.Gap()
	for _, n := range t.Notes {
		l.Prose(n)
	}
	_, err := l.WriteTo(w)
	return err
}

// wide tells whether each row fits, with at least half of the names of files.
func (t *Table) wide(width int) bool {
	for _, g := range t.Groups {
		sum, file := 0, 0
		for i := range head {
			col := report.TextWidth(head[i])
			for j := range g.Rows {
				n := report.TextWidth(g.Rows[j].cells()[i])
				if i == len(head)-1 {
					n = report.TextWidth(g.Rows[j].File)
				}
				col = max(col, n)
			}
			if i == len(head)-1 {
				file = col
			} else {
				sum += col + 2
			}
		}
		if sum+file > width {
			return false
		}
	}
	return true
}

// title is the name of the group, how many they are and what is wrong.
func (g *Group) title() string {
	return g.Name + ": " + report.Count(len(g.Rows), "case", "cases") + ", " + g.Says
}

// Markdown writes the table for an issue tracker.
func Markdown(w io.Writer, t *Table) error {
	var p report.MarkdownPage
	p.Heading(2, t.Summary)
	for i := range t.Groups {
		g := &t.Groups[i]
		p.Heading(3, g.title())
		if note := g.note(); note != "" {
			p.Para(note)
		}
		rows := [][]string{{"when", "target", "verdict", "certainty", "host", "kernel", "version", "file"}}
		for j := range g.Rows {
			rows = append(rows, g.Rows[j].cells())
		}
		p.Table(rows)
	}
	if len(t.Unreadable) > 0 {
		rows := [][]string{{"could not be read", "why"}}
		for _, u := range t.Unreadable {
			rows = append(rows, []string{u.File, u.Reason})
		}
		p.Table(rows)
	}
	for _, n := range t.Notes {
		p.Para(n)
	}
	_, err := p.WriteTo(w)
	return err
}

//go:embed triage.html.tmpl
var htmlSource string

// HTML writes the table as one page that needs nothing else.
func HTML(w io.Writer, t *Table) error {
	tmpl, err := template.New("triage").Funcs(template.FuncMap{
		"head":    style.Head,
		"verdict": func() checks.Verdict { return t.verdict() },
		"title":   func(g Group) string { return g.title() },
		"note":    func(g Group) string { return g.note() },
		"target":  func(r Row) string { return r.target() },
		"file":    func(r Row) string { return r.file() },
		"minute":  report.Minute,
	}).Parse(htmlSource)
	if err != nil {
		return err
	}
	return tmpl.Execute(w, t)
}

// verdict colours the answer.
func (t *Table) verdict() checks.Verdict {
	for _, g := range t.Groups {
		if g.Name != works {
			return checks.Partly
		}
	}
	return checks.Works
}
