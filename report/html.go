package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

//go:embed report.html.tmpl
var htmlSource string

//go:embed report.css
var htmlStyle string

// The script copies commands and unfolds what is printed. The page says all it has to
// say without it.
//
//go:embed report.js
var htmlScript string

// HTML writes the report as one page that needs nothing else: no font, no request, no
// script to read it. html/template escapes each string for its place, and the page's own
// policy (CSP) lets no other style and no other script act than ours.
func HTML(w io.Writer, r *Report) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"style":        func() template.CSS { return template.CSS(htmlStyle) },
		"script":       func() template.JS { return template.JS(htmlScript) },
		"policy":       policy,
		"sheets":       r.sheets,
		"rows":         func(c Cause) []Evidence { return r.rows(&c) },
		"certainty":    func(c Cause) string { return c.certainty() },
		"more":         func(c Cause) string { return c.more() },
		"heading":      func(f Fix) string { return r.heading(&f) },
		"terms":        func(f Fix) []Evidence { return r.terms(&f) },
		"steps":        func(f Fix) []string { return r.steps(&f) },
		"undo":         func(f Fix) []string { return r.undo(&f) },
		"undoNote":     func(f Fix) string { return r.undoNote(&f) },
		"some":         some,
		"spans":        spans,
		"inc":          func(i int) int { return i + 1 }, // people count from one
		"size":         func(s string) string { return fmt.Sprintf("%d\u00a0kB", (len(s)+999)/1000) },
		"loopback":     func(t Target) bool { return t.IsLoopback() },
		"open":         func(t Target) []Symptom { return t.open() },
		"remarksTitle": func(t Target) string { return t.remarksTitle() },
		"failing":      func(t Target) []string { return t.failing() },
		"unchecked":    func(t Target) []unchecked { return group(t.NotChecked) },
		"port":         func(s Socket) string { return s.port() },
		"program":      func(s Socket) string { return s.program() },
		"user":         func(s Socket) string { return s.user() },
		"reach":        func(s Socket) string { return s.reachWords() },
		"tries":        func(c Client) string { return c.tries() },
		"fares":        func(c Client) string { return c.fares() },
		"join":         join,
		"plural":       plural,
		"vantage":      r.vantage,
		"facts":        r.factsText,
		"took":         func() string { return duration(r.ElapsedMS) },
		"time":         func() string { return r.Time.Format("2006-01-02 15:04:05 -0700") },
	}).Parse(htmlSource)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}

// policy allows the style and the script of this page by what they hash to (CSP level 3,
// section 2.3.1), and nothing else at all.
func policy() string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; style-src " + hash(htmlStyle) + "; script-src " + hash(htmlScript) + "; base-uri 'none'; form-action 'none'"
}

// sheet is one target on the page.
type sheet struct {
	ID        string
	Target    Target
	Badge     string
	Lede      *lede
	Path      path
	Exchanges []drawnExchange
	More      int // exchanges that are not drawn
}

// drawnExchange is an exchange as a picture and as text.
type drawnExchange struct {
	Title   string
	Drawing drawing
	Lines   []string
}

func (r *Report) sheets() []sheet {
	var out []sheet
	for i := range r.Targets {
		t := &r.Targets[i]
		s := sheet{ID: fmt.Sprintf("t%d", i+1), Target: *t, Badge: t.badge()}
		s.Lede = r.lede(t, s.ID)
		s.Path = r.path(t, s.ID)
		es, more := t.exchanges()
		for j := range es {
			s.Exchanges = append(s.Exchanges, drawnExchange{es[j].title(), es[j].draw(fmt.Sprintf("%s-packets-%d", s.ID, j+1)), es[j].lines()})
		}
		s.More = more
		out = append(out, s)
	}
	return out
}

// lede is what is wrong and what to do, for who reads no further.
type lede struct{ Summary, Anchor, Do string }

func (r *Report) lede(t *Target, id string) *lede {
	for i := range t.Causes {
		c := &t.Causes[i]
		if c.State != string(checks.Active) {
			continue
		}
		l := &lede{Summary: c.Summary, Anchor: fmt.Sprintf("%s-cause-%d", id, i+1)}
		if len(c.Fixes) > 0 {
			l.Do = r.heading(&c.Fixes[0])
		}
		return l
	}
	if open := t.open(); len(open) > 0 {
		return &lede{Summary: open[0].Summary, Anchor: id + "-open-1"}
	}
	return nil
}

// badge is the verdict in a word or two.
func (t *Target) badge() string {
	switch t.Verdict {
	case checks.Works:
		if t.Intent == facts.ToBind {
			return "Free"
		}
		return "Works"
	case checks.Partly:
		return "Works in part"
	case checks.Broken:
		return "Broken"
	}
	return "Not known"
}

// certainty says how a cause is known, to somebody who does not know our words.
func (c *Cause) certainty() string {
	if c.Certainty == checks.Proven.String() {
		return "Proven: nothing else explains what was seen."
	}
	return "Inferred: this is left after everything else that could be looked at was ruled out."
}

// factsShown bounds the facts on the page, in bytes.
const factsShown = 2 << 20

// factsText is everything that was seen. A report that was read from a file has no facts.
func (r *Report) factsText() (string, error) {
	if len(r.facts) == 0 {
		return "", nil
	}
	data, err := json.MarshalIndent(r.facts, "", "  ")
	if err != nil {
		return "", err
	}
	text := cleanLines(string(data))
	if len(text) > factsShown {
		text = fmt.Sprintf("%s\n... and %d more bytes: loopdoctor --record writes all of them.", cleanLines(text[:factsShown]), len(text)-factsShown)
	}
	return text, nil
}
