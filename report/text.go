package report

import (
	"cmp"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// TextOptions is how Text lays out.
type TextOptions struct {
	Color   bool // ANSI colours
	Width   int  // columns; 0 means 80, and lines to paste are never wrapped
	Verbose bool // addresses, sockets, packets, and the evidence of everything
	Quiet   bool // the answer alone, a line for each target
}

// Text writes the report for a person at a terminal. The first line of each
// target is the answer.
func Text(w io.Writer, r *Report, o TextOptions) error {
	p := newPage(o, r)
	for i := range r.Targets {
		t := &r.Targets[i]
		if i > 0 && !o.Quiet {
			p.gap()
		}
		if o.Quiet { // for scripts: one line, however long
			p.line(t.brief())
			continue
		}
		p.answer(t)
		p.target(t)
	}
	if !o.Quiet {
		if len(r.Targets) > 1 { // it belongs to all of them
			p.gap()
		}
		p.prose(r.vantage())
	}
	_, err := io.WriteString(w, p.text())
	return err
}

func newPage(o TextOptions, r *Report) *page {
	p := &page{TextOptions: o, r: r}
	if p.Width == 0 {
		p.Width = 80
	}
	p.Width = max(p.Width, 40)
	return p
}

// text is the page as it is written.
func (p *page) text() string { return strings.TrimRight(p.b.String(), "\n") + "\n" }

// The layout: labels stand in the first column, text beside them, and lines to
// paste a little further in.
const (
	body   = 7
	paste  = 9
	source = 18 // the widest name of a source that still gets a column
)

type page struct {
	TextOptions
	r *Report
	b strings.Builder
}

func (p *page) target(t *Target) {
	latent := false
	for i := range t.Causes {
		c := &t.Causes[i]
		p.gap()
		if c.State == string(checks.Latent) && !latent {
			latent = true
			p.unexplained(t)
			p.prose("And behind it, felt as soon as that is cured:")
			p.gap()
		}
		p.cause(c, "CAUSE")
	}
	if !latent {
		p.gap()
		p.unexplained(t)
	}
	if t.IsLoopback() { // below the cause: it may be long
		p.gap()
		p.table(p.r.Loopback.Sockets)
	}
	if ls := t.listeners(); (t.Verdict == checks.Works || t.Verdict == checks.Unknown) && t.Intent == "connect" && len(ls) > 0 {
		p.gap()
		for i := range ls {
			p.columns("", endpoint(ls[i].Address, ls[i].Port), ls[i].owner(), 0)
		}
	}
	p.remarks(t)
	if p.Verbose {
		p.details(t)
	}
	p.gap()
	p.prose(strings.Join(p.r.closing(t, p.Verbose), " "))
	for _, n := range t.Notes {
		p.prose(n)
	}
}

// unexplained lists the symptoms that no cause explains.
func (p *page) unexplained(t *Target) {
	for _, s := range t.open() {
		p.labelled("OPEN", red, s.Summary, s.Name+", unexplained")
		p.rows(s.Evidence)
		p.command("TRY", body, some(s.WouldSettle))
		p.gap()
	}
}

func (p *page) answer(t *Target) { p.headline(t.Summary, t.Verdict) }

func (p *page) headline(text string, v checks.Verdict) {
	color := map[checks.Verdict]string{checks.Works: green, checks.Partly: yellow, checks.Broken: red}[v]
	for _, l := range p.hang(text) {
		p.line(p.paint(cmp.Or(color, yellow)+bold, l))
	}
}

func (p *page) cause(c *Cause, label string) {
	p.labelled(label, red, c.Summary, c.tag())
	p.rows(p.r.rows(c))
	p.command("PROVE", body, some(c.WouldSettle))
	for i := range c.Fixes {
		label := "FIX"
		if i > 0 {
			label = "OR"
		}
		p.fix(&c.Fixes[i], label)
	}
	p.command("MORE", body, []string{c.more()})
}

func (p *page) fix(f *Fix, label string) {
	p.labelled(label, green, p.r.heading(f), "")
	p.rows(p.r.terms(f))
	p.command("", paste, p.r.steps(f))
	p.command("UNDO", paste, p.r.undo(f))
	if note := p.r.undoNote(f); note != "" {
		for _, l := range p.wrap(note, paste) {
			p.line(strings.Repeat(" ", paste) + l)
		}
	}
}

// remarks are short, unless everything was asked for or one of them may be what
// the person is looking for. What is about other machines comes before those
// about clients that may fare worse than loopdoctor does.
func (p *page) remarks(t *Target) {
	var clients []*Cause
	for i := range t.Remarks {
		c := &t.Remarks[i]
		if !c.aboutOthers() {
			clients = append(clients, c)
			continue
		}
		p.gap()
		p.remark(c, true)
	}
	fail := t.failing()
	if len(clients) == 0 && len(fail) == 0 {
		return
	}
	p.gap()
	if t.works() {
		p.prose(worksHere)
		p.gap()
	}
	for _, c := range clients {
		p.remark(c, t.works())
	}
	for _, s := range fail {
		p.labelled("NOTE", yellow, s, "")
	}
}

func (p *page) remark(c *Cause, withFix bool) {
	if p.Verbose {
		p.cause(c, "NOTE")
		return
	}
	p.labelled("NOTE", yellow, c.Summary, c.Name)
	if withFix && len(c.Fixes) > 0 {
		p.columns("", "fix", c.Fixes[0].Do, 0)
		if line := c.Fixes[0].Paste; line != "" {
			p.command("", paste, []string{line})
		}
	}
}

// details is what -v adds.
func (p *page) details(t *Target) {
	p.section("Addresses")
	for i := range t.Addresses {
		a := &t.Addresses[i]
		text := a.outcome()
		if t.Intent == facts.ToBind && len(t.Binds) > 0 { // nobody connects then
			text = "wanted"
		}
		if a.Source != "" {
			text += "; from " + a.Source
		}
		p.columns("", a.Address, text, source)
	}
	for _, b := range t.Binds {
		text := "can be taken"
		if b.Errno != "" {
			text = "cannot be taken (" + b.Errno + ")"
		}
		switch {
		case t.Network == "udp":
		case b.ReuseAddr:
			text += " with SO_REUSEADDR"
		default:
			text += " without it"
		}
		p.columns("", b.Address, text+", as "+b.Client, source)
	}
	if len(t.Sockets) > 0 {
		p.section("Sockets")
	}
	for i := range t.Sockets {
		s := &t.Sockets[i]
		p.columns("", endpoint(s.Address, s.Port), s.detail()+"; "+s.owner(), source)
	}
	if len(t.Answers) > 0 {
		p.section("Answers")
	}
	for i := range t.Answers {
		p.columns("", t.Answers[i].Address, t.Answers[i].detail(), source)
	}
	if len(t.Clients) > 0 {
		p.section("What " + cmp.Or(t.Host, "localhost") + " is for each kind of client")
	}
	for i := range t.Clients {
		p.columns("", t.Clients[i].Name, t.Clients[i].detail(), source)
	}
	if len(t.Symptoms) > 0 {
		p.section("Symptoms")
	}
	for _, s := range t.Symptoms {
		text := s.Summary
		if len(s.ExplainedBy) > 0 {
			text = sentence(text, "explained by "+join(s.ExplainedBy, "and"))
		}
		p.columns("", s.Name, text, source)
		p.rows(s.Evidence)
	}
	if len(t.Packets) > 0 {
		p.section("Packets")
	}
	for _, c := range t.Packets {
		p.line(strings.Repeat(" ", body) + c.Client + " --> " + c.Server + " " + c.Network)
		for i := range c.Packets {
			p.line(strings.Repeat(" ", body) + c.Packets[i].ladder())
		}
	}
}

func (p *page) section(name string) {
	p.gap()
	p.line(p.paint(bold, name))
}

// labelled writes a label, a text beside it, and a tag at the right edge where
// there is room, below otherwise.
func (p *page) labelled(label, color, text, tag string) {
	lines := p.wrap(text, body)
	for i, l := range lines {
		head := strings.Repeat(" ", body)
		if i == 0 {
			head = p.paint(color+bold, pad(label, body))
		}
		gap := p.Width - body - width(l) - width(tag)
		if len(lines) == 1 && tag != "" && gap >= 2 {
			l += strings.Repeat(" ", gap) + p.paint(dim, tag)
			tag = ""
		}
		p.line(head + l)
	}
	if tag != "" {
		p.line(strings.Repeat(" ", body) + p.paint(dim, tag))
	}
}

func (p *page) rows(es []Evidence) {
	col := 0
	for _, e := range es {
		if n := width(e.Source); n <= source {
			col = max(col, n)
		}
	}
	for i, e := range es {
		if i > 0 && e.Source == es[i-1].Source && width(e.Source) > source { // the lines of one file
			for _, l := range p.wrap(e.Text, paste) {
				p.line(strings.Repeat(" ", paste) + l)
			}
			continue
		}
		p.columns("", e.Source, e.Text, col)
	}
}

// columns writes a name and the text beside it, wrapped with a hanging indent.
func (p *page) columns(label, name, text string, col int) {
	head := pad(label, body) + pad(name, max(col, min(width(name), source))) + "  "
	indent := width(head)
	if width(name) > source { // too wide for a column: the text goes below
		p.line(strings.TrimRight(head, " "))
		head, indent = strings.Repeat(" ", paste), paste
	}
	for i, l := range p.wrap(text, indent) {
		if i > 0 {
			head = strings.Repeat(" ", indent)
		}
		p.line(head + l)
	}
}

// command writes lines to paste, each one whole.
func (p *page) command(label string, indent int, lines []string) {
	for i, l := range lines {
		head := strings.Repeat(" ", indent)
		if i == 0 && label != "" {
			head = p.paint(bold, pad(label, indent))
		}
		p.line(head + p.paint(cyan, l))
	}
}

func (p *page) prose(text string) {
	if text == "" {
		return
	}
	for _, l := range p.hang(text) {
		p.line(l)
	}
}

// hang wraps a text of its own. What follows the first line is indented: no
// word from the machine gets to where the labels stand.
func (p *page) hang(text string) []string {
	lines := p.wrap(text, 2)
	for i := range lines[1:] {
		lines[i+1] = "  " + lines[i+1]
	}
	return lines
}

// gap leaves one empty line, never two.
func (p *page) gap() {
	if !strings.HasSuffix(p.b.String(), "\n\n") {
		p.b.WriteByte('\n')
	}
}

func (p *page) line(s string) {
	p.b.WriteString(strings.TrimRight(s, " "))
	p.b.WriteByte('\n')
}

// wrap breaks a text at spaces so that it fits beside an indent. A longer word
// stays whole, and so does "(pid 4121".
func (p *page) wrap(text string, indent int) []string {
	room := max(p.Width-indent, 20)
	var lines []string
	line := ""
	words := strings.Fields(text)
	for i, word := range words {
		if i > 0 && words[i-1] == "(pid" {
			continue
		}
		if word == "(pid" && i+1 < len(words) {
			word += " " + words[i+1]
		}
		switch {
		case line == "":
			line = word
		case width(line)+1+width(word) <= room:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// width counts columns as characters; wide ones are not told apart.
func width(s string) int { return utf8.RuneCountInString(s) }

func pad(s string, n int) string { return s + strings.Repeat(" ", max(n-width(s), 0)) }

// The colours, ECMA-48 SGR parameters.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	reset  = "\x1b[0m"
)

func (p *page) paint(color, s string) string {
	if !p.Color || s == "" {
		return s
	}
	return color + s + reset
}
