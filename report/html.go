package report

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed report.html.tmpl
var htmlSource string

// HTML writes the report as one page that needs nothing else: no script, no
// font, no request. html/template escapes each string for its place.
func HTML(w io.Writer, r *Report) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"tag":          func(c Cause) string { return c.tag() },
		"rows":         func(c Cause) []Evidence { return r.rows(&c) },
		"heading":      func(f Fix) string { return r.heading(&f) },
		"terms":        func(f Fix) []Evidence { return r.terms(&f) },
		"steps":        func(f Fix) []string { return r.steps(&f) },
		"undo":         func(f Fix) []string { return r.undo(&f) },
		"undoNote":     func(f Fix) string { return r.undoNote(&f) },
		"loopback":     func(t Target) bool { return t.IsLoopback() },
		"open":         func(t Target) []Symptom { return t.open() },
		"remarksTitle": func(t Target) string { return t.remarksTitle() },
		"closing":      func(t Target) []string { return append(r.closing(&t, true), t.Notes...) },
		"outcome":      func(a Address) string { return a.outcome() },
		"port":         func(s Socket) string { return s.port() },
		"program":      func(s Socket) string { return s.program() },
		"user":         func(s Socket) string { return s.user() },
		"reach":        func(s Socket) string { return s.reachWords() },
		"detail":       func(s Socket) string { return s.detail() },
		"owner":        func(s Socket) string { return s.owner() },
		"ladder":       func(p Packet) string { return p.ladder() },
		"endpoint":     endpoint,
		"failing":      func(t Target) []string { return t.failing() },
		"answer":       func(a Answer) string { return a.detail() },
		"tries":        func(c Client) string { return c.tries() },
		"fares":        func(c Client) string { return c.fares() },
		"vantage":      r.vantage,
		"time":         func() string { return r.Time.Format("2006-01-02 15:04:05 -0700") },
	}).Parse(htmlSource)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}
