package report

import (
	"fmt"
	"slices"
	"strings"
)

// exchange is a conversation, and how many others went exactly like it: a burst
// of SYNs is one picture, not thirty-two.
type exchange struct {
	Conversation
	Same int
}

// The bounds of what is drawn. The JSON report holds everything.
const (
	exchangesDrawn = 6
	packetsDrawn   = 24
)

// exchanges groups the conversations of a target. more is how many are left out.
func (t *Target) exchanges() (es []exchange, more int) {
next:
	for _, c := range t.Packets {
		for i := range es {
			if es[i].alike(&c) {
				es[i].Same++
				continue next
			}
		}
		if len(es) == exchangesDrawn {
			more++
			continue
		}
		es = append(es, exchange{Conversation: c})
	}
	return es, more
}

// alike tells whether another conversation differs in the client's port and in
// time only.
func (e *exchange) alike(c *Conversation) bool {
	return e.Network == c.Network && e.Server == c.Server && withoutPort(e.Client) == withoutPort(c.Client) &&
		slices.EqualFunc(e.Packets, c.Packets, func(a, b Packet) bool {
			a.AtMS, b.AtMS = 0, 0
			return a == b
		})
}

func withoutPort(endpoint string) string {
	return endpoint[:max(0, strings.LastIndexByte(endpoint, ':'))]
}

// title names an exchange: "127.0.0.1:57093 to 127.0.0.1:62893 (tcp), and 31 more like it".
func (e *exchange) title() string {
	s := fmt.Sprintf("%s to %s (%s)", e.Client, e.Server, e.Network)
	if e.Same > 0 {
		s += fmt.Sprintf(", and %d more like it", e.Same)
	}
	return s
}

// lines is the ladder as text.
func (e *exchange) lines() []string {
	var out []string
	for i := range e.Packets {
		if i == packetsDrawn {
			n := len(e.Packets) - i
			out = append(out, fmt.Sprintf("... and %d more %s", n, plural(n, "packet", "packets")))
			break
		}
		out = append(out, e.Packets[i].ladder())
	}
	if note := e.silence(); note != "" {
		out = append(out, note)
	}
	return out
}

// silence says that one side was not heard.
func (e *exchange) silence() string {
	for _, p := range e.Packets {
		if !p.FromClient {
			return ""
		}
	}
	return "no packet came back"
}

// drawing is an exchange on two lifelines. The numbers are units of the picture, which
// is as wide as a phone at the size in which it is drawn.
type drawing struct {
	ID, Title, Desc, Client, Server, Note string
	Height, NoteY                         int
	Arrows                                []arrow
}

// arrow is one packet. What never arrived ends midway, at a cross.
type arrow struct {
	Time, Label         string
	Y, TextY, From, To  int
	Head, Cross         string // path data
	Lost, ICMP, FromFar bool
}

// The measures of a drawing; the template draws the lifelines.
const (
	clientX, serverX = 92, 344
	top, rung        = 44, 34
)

// draw lays an exchange out.
func (e *exchange) draw(id string) drawing {
	d := drawing{ID: id, Title: "Packets from " + e.title(), Desc: strings.Join(e.lines(), "; "), Client: shorten(e.Client, 46), Server: shorten(e.Server, 46), Note: e.silence()}
	y := top
	for i := range e.Packets {
		if i == packetsDrawn {
			n := len(e.Packets) - i
			d.Note = fmt.Sprintf("and %d more %s", n, plural(n, "packet", "packets"))
			break
		}
		p := &e.Packets[i]
		y += rung
		a := arrow{Time: duration(p.AtMS), Label: shorten(p.words(), 26), Y: y, TextY: y - 6, From: clientX, To: serverX - 2, Lost: p.lost(), ICMP: p.ICMP != "", FromFar: !p.FromClient}
		tip := -7 // the head points to the right
		if a.FromFar {
			a.From, a.To, tip = serverX, clientX+2, 7
		}
		if a.Lost {
			a.To = (clientX + serverX) / 2
			a.Label = shorten(strings.TrimSpace(p.words()+" lost"), 26)
			x := a.To - tip
			a.Cross = fmt.Sprintf("M%d %dl10 10m0 -10l-10 10", x-5, y-5)
		}
		a.Head = fmt.Sprintf("M%d %dl%d -5v10z", a.To, y, tip)
		d.Arrows = append(d.Arrows, a)
	}
	d.Height, d.NoteY = y+rung/2, y+rung-10
	if d.Note != "" {
		d.Height = y + rung
	}
	return d
}

// shorten keeps a label inside its picture.
func shorten(s string, n int) string {
	if rs := []rune(s); len(rs) > n {
		return string(rs[:n-1]) + "…"
	}
	return s
}
