package report

import "strings"

// table lists listeners, and who can reach each of them.
func (p *page) table(ss []Socket) {
	if len(ss) == 0 {
		p.prose("No listener was seen on this machine.")
		return
	}
	cells := [][]string{{"ADDRESS", "PORT", "PROGRAM", "USER", "WHO CAN REACH IT"}}
	for i := range ss {
		s := &ss[i]
		cells = append(cells, []string{s.Address, s.port(), s.program(), s.user(), s.reachWords()})
	}
	p.grid(cells)
}

// grid aligns columns under a bold head. The last one is wrapped.
func (p *page) grid(cells [][]string) {
	last := len(cells[0]) - 1
	widths := make([]int, last)
	for _, row := range cells {
		for i := range widths {
			widths[i] = max(widths[i], width(row[i]))
		}
	}
	for i, row := range cells {
		var b strings.Builder
		for j := range widths {
			b.WriteString(pad(row[j], widths[j]+2))
		}
		indent := b.Len() - (len(b.String()) - width(b.String()))
		for k, l := range p.wrap(row[last], indent) {
			switch {
			case k > 0:
				p.line(strings.Repeat(" ", indent) + l)
			case i == 0:
				p.line(p.paint(bold, b.String()+l))
			default:
				p.line(b.String() + l)
			}
		}
	}
}
