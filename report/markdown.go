package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Markdown writes the report ready for an issue tracker: commands in fenced
// blocks, evidence in tables, and nothing from the machine that could become
// markup, a link or a mention.
func Markdown(w io.Writer, r *Report) error {
	var m markdown
	for i := range r.Targets {
		m.target(r, &r.Targets[i])
	}
	m.para(strings.TrimSpace(r.vantage() + " loopdoctor " + r.Version + " on " + r.Host.OS + "/" + r.Host.Arch + ", kernel " + r.Host.Kernel + ", " +
		r.Time.Format("2006-01-02 15:04:05 -0700")))
	_, err := io.WriteString(w, strings.TrimSuffix(m.String(), "\n"))
	return err
}

type markdown struct{ strings.Builder }

func (m *markdown) target(r *Report, t *Target) {
	m.para("## ", t.Summary)
	if t.IsLoopback() {
		rows := [][]string{{"address", "port", "program", "user", "who can reach it"}}
		for i := range r.Loopback.Sockets {
			s := &r.Loopback.Sockets[i]
			rows = append(rows, []string{s.Address, s.port(), s.program(), s.user(), s.reachWords()})
		}
		m.table(rows)
	}
	for i := range t.Causes {
		c := &t.Causes[i]
		title := "### Cause: "
		if c.State == string(checks.Latent) {
			title = "### And behind it: "
		}
		m.cause(r, c, title)
	}
	for _, s := range t.open() {
		m.para("### Unexplained: ", s.Summary)
		m.para(s.Name)
		m.rows("seen", s.Evidence)
		m.settle(s.WouldSettle)
	}
	if fail := t.failing(); len(t.Remarks) > 0 || len(fail) > 0 {
		m.para("### ", strings.TrimSuffix(cmp.Or(t.remarksTitle(), "Remarks"), ":"))
		for i := range t.Remarks {
			c := &t.Remarks[i]
			m.WriteString("- " + escape(c.Summary) + " (" + escape(c.Name) + ")")
			if len(c.Fixes) > 0 {
				m.WriteString(" **Fix.** " + prose(c.Fixes[0].Do))
			}
			m.WriteByte('\n')
		}
		for _, s := range fail {
			m.WriteString("- " + escape(s) + "\n")
		}
		m.WriteByte('\n')
	}
	m.seen(t)
	for _, n := range append(r.closing(t, false), t.Notes...) {
		m.para(n)
	}
}

// seen is what the verdict rests on. What is long is folded: of an issue people read the
// top.
func (m *markdown) seen(t *Target) {
	if len(t.Addresses)+len(t.Sockets)+len(t.Answers) > 0 {
		m.para("### ", "What was seen")
	}
	if t.Intent == facts.ToBind && len(t.Binds) > 0 { // nobody connects then
		rows := [][]string{{"address", "a server"}}
		for i := range t.Binds {
			rows = append(rows, []string{endpoint(t.Binds[i].Address, t.Port), t.Binds[i].words(t.Network)})
		}
		m.table(rows)
	} else if len(t.Addresses) > 0 {
		rows := [][]string{{"address", "outcome", "source"}}
		for i := range t.Addresses {
			rows = append(rows, []string{t.Addresses[i].Address, t.Addresses[i].outcome(), t.Addresses[i].Source})
		}
		m.table(rows)
	}
	if len(t.Sockets) > 0 {
		rows := [][]string{{"socket", "state", "owner"}}
		for i := range t.Sockets {
			s := &t.Sockets[i]
			rows = append(rows, []string{endpoint(s.Address, s.Port), s.detail(), s.owner()})
		}
		m.table(rows)
	}
	if len(t.Answers) > 0 {
		rows := [][]string{{"address", "question", "answer"}}
		for i := range t.Answers {
			a := &t.Answers[i]
			rows = append(rows, []string{a.Address, a.question(), a.reply()})
		}
		m.table(rows)
	}
	if len(t.Clients) > 0 {
		rows := [][]string{{"client", cmp.Or(t.Host, "localhost"), "rule", ""}}
		for i := range t.Clients {
			c := &t.Clients[i]
			rows = append(rows, []string{c.Name, c.tries(), c.Rule, c.fares()})
		}
		m.fold("What the name is for each kind of client", func() { m.table(rows) })
	}
	if es, more := t.exchanges(); len(es) > 0 {
		m.fold("Packets on loopback", func() {
			for i := range es {
				m.fence("text", append([]string{es[i].title()}, es[i].lines()...))
			}
			if more > 0 {
				m.para(fmt.Sprintf("%d more %s.", more, plural(more, "conversation", "conversations")))
			}
		})
	}
}

// fold hides what is long behind a line (GitHub, GitLab and Gitea unfold it; elsewhere it
// stands open). Markdown begins again after an empty line. The title is ours: within HTML
// nothing escapes as it does outside.
func (m *markdown) fold(title string, inside func()) {
	m.WriteString("<details><summary>" + title + "</summary>\n\n")
	inside()
	m.WriteString("</details>\n\n")
}

func (m *markdown) cause(r *Report, c *Cause, title string) {
	m.para(title, c.Summary)
	m.para(c.tag())
	m.rows("seen", r.rows(c))
	m.settle(c.WouldSettle)
	for i := range c.Fixes {
		f := &c.Fixes[i]
		label := "**Fix.** "
		if i > 0 {
			label = "**Or.** "
		}
		m.WriteString(label + prose(r.heading(f)) + "\n\n")
		m.terms(r.terms(f))
		m.fence("sh", r.steps(f))
		if undo := r.undo(f); len(undo) > 0 {
			m.para("Undo:")
			m.fence("sh", undo)
			m.para(r.undoNote(f))
		}
	}
}

func (m *markdown) settle(command string) {
	if command != "" {
		m.para("This would tell:")
		m.fence("sh", some(command))
	}
}

func (m *markdown) rows(title string, es []Evidence) {
	if len(es) == 0 {
		return
	}
	rows := [][]string{{title, ""}}
	for _, e := range es {
		rows = append(rows, []string{e.Source, e.Text})
	}
	m.table(rows)
}

// terms is rows of sentences of ours.
func (m *markdown) terms(es []Evidence) {
	if len(es) == 0 {
		return
	}
	m.WriteString("| before you run it |  |\n| --- | --- |\n")
	for _, e := range es {
		m.WriteString("| " + escape(e.Source) + " | " + prose(e.Text) + " |\n")
	}
	m.WriteByte('\n')
}

// para writes a paragraph: markup of ours, then text that has none. A single
// argument is text.
func (m *markdown) para(parts ...string) {
	last := len(parts) - 1
	if parts[last] == "" {
		return
	}
	m.WriteString(strings.Join(parts[:last], "") + escape(parts[last]) + "\n\n")
}

func (m *markdown) table(rows [][]string) {
	for i, row := range rows {
		for _, c := range row {
			m.WriteString("| " + escape(c) + " ")
		}
		m.WriteString("|\n")
		if i == 0 {
			m.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
	m.WriteByte('\n')
}

// fence writes lines as they are. The fence is longer than any run of backticks
// inside, so that nothing closes it early (CommonMark, fenced code blocks).
func (m *markdown) fence(language string, lines []string) {
	if len(lines) == 0 {
		return
	}
	text := strings.Join(lines, "\n")
	run := "```"
	for strings.Contains(text, run) {
		run += "`"
	}
	m.WriteString(run + language + "\n" + text + "\n" + run + "\n\n")
}

// escape makes text stay text. Character references cannot start markup, end a
// table cell or become a link (CommonMark 0.31, section 2.5); @ and # go into a
// code span, because trackers look for mentions in what is left after that.
var escape = strings.NewReplacer(
	`&`, `&amp;`, `<`, `&lt;`, `>`, `&gt;`, "`", `&#96;`, `|`, `&#124;`, `\`, `&#92;`,
	`*`, `&#42;`, `_`, `\_`, `~`, `&#126;`, `[`, `&#91;`, `]`, `&#93;`, `!`, `&#33;`,
	`://`, `&#58;//`, `www.`, `www&#46;`, `WWW.`, `WWW&#46;`, `@`, "`@`", `#`, "`#`",
).Replace

// prose is escape for a sentence of ours: its commands become code spans. A span takes no
// escape, so one that a table could cut in two (GFM, section 4.10), or that some tracker
// could take for a tag, stays text.
func prose(s string) string {
	var b strings.Builder
	for _, p := range spans(s) {
		switch {
		case !p.Code:
			b.WriteString(escape(p.Text))
		case strings.ContainsAny(p.Text, `|<\`):
			b.WriteString(escape("`" + p.Text + "`"))
		default:
			b.WriteString("`" + p.Text + "`")
		}
	}
	return b.String()
}
