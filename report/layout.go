package report

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
)

// This file lends the layout of a report to the packages below this one, which
// tell of several: one manner for all that a person reads.

// Scrub cleans every string below the value that v points to, as New does, and
// makes nil lists empty.
func Scrub(v any) { scrub(reflect.ValueOf(v).Elem(), false) }

// Layout is a page for a terminal, laid out as Text lays out a report. Strings
// have to be clean.
type Layout struct{ p *page }

// NewLayout begins an empty page.
func NewLayout(o TextOptions) *Layout { return &Layout{newPage(o, nil)} }

// Width is how many columns there are.
func (l *Layout) Width() int { return l.p.Width }

// Answer is the first line, in the colour of a verdict.
func (l *Layout) Answer(text string, v checks.Verdict) { l.p.headline(text, v) }

// Section begins a part under its name.
func (l *Layout) Section(name string) { l.p.section(name) }

// Prose is a paragraph.
func (l *Layout) Prose(text string) { l.p.prose(text) }

// Gap leaves one empty line, never two.
func (l *Layout) Gap() { l.p.gap() }

// Rows is two columns; a row without a name goes on with the one above it.
func (l *Layout) Rows(rows []Evidence) { l.p.rows(rows) }

// Table aligns columns under a bold head. The last one is wrapped.
func (l *Layout) Table(cells [][]string) { l.p.grid(cells) }

// WriteTo writes the page.
func (l *Layout) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, l.p.text())
	return int64(n), err
}

// WidestName is the widest name that has a column of its own in Rows; the text of
// a wider one stands below it.
const WidestName = source

// TextWidth is how many columns a string takes.
func TextWidth(s string) int { return width(s) }

// MarkdownPage is a page for an issue tracker, as Markdown writes it: nothing in
// it becomes markup but what its methods make.
type MarkdownPage struct{ m markdown }

// Heading is a line of that level.
func (p *MarkdownPage) Heading(level int, text string) {
	p.m.para(strings.Repeat("#", level)+" ", text)
}

// Para is a paragraph.
func (p *MarkdownPage) Para(text string) { p.m.para(text) }

// Table has its head in the first row.
func (p *MarkdownPage) Table(rows [][]string) { p.m.table(rows) }

// WriteTo writes the page.
func (p *MarkdownPage) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, strings.TrimSuffix(p.m.String(), "\n"))
	return int64(n), err
}

// Asked is what was asked, in words.
func (a *Answer) Asked() string { return a.question() }

// Reply is what came of it, and what is the matter with the certificate.
func (a *Answer) Reply() string { return strings.TrimPrefix(a.detail(), a.question()+": ") }

// Join reads "a", "a and b", "a, b and c".
func Join(words []string, word string) string { return join(words, word) }

// AboutLooker tells whether a remark is about who looks: on the same machine another
// one has it, or has it not.
func (c *Cause) AboutLooker() bool { return c.Name == "owner-hidden-from-you" }

// Plural is one of the two.
func Plural(n int, one, many string) string { return plural(n, one, many) }

// Count is the number and its noun: "1 file", "2 files".
func Count(n int, one, many string) string { return fmt.Sprintf("%d %s", n, plural(n, one, many)) }

// Endpoint is "127.0.0.1:80", "[::1]:80".
func Endpoint(address string, port uint16) string { return endpoint(address, port) }

// Minute shows a time to the minute, on its own clock; nothing for none.
func Minute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02 15:04")
}

// From is "a container as root": where and as whom was looked.
func (r *Report) From() string {
	return strings.TrimSuffix(strings.TrimPrefix(r.vantage(), "Looked from "), ".")
}
