package xt

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// row is a rule and what it is made of: one piece of memory for each.
type row struct {
	netfilter.Rule
	entry   entry
	packets uint64
	parts   []late
}

// late is a match or a target that is decoded when it is first asked for: most of
// ten thousand rules are not.
type late struct {
	part
	family netfilter.Family
	target bool
	known  Printer // once decoded; nil before, and where it is not known
	asked  bool
}

func (l *late) decode() Printer {
	if !l.asked {
		l.asked = true
		decode := Match
		if l.target {
			decode = Target
		}
		if x, ok := decode(l.name, l.rev, l.info, l.family); ok {
			l.known = x
		}
	}
	return l.known
}

// what names it where it is not known.
func (l *late) what() string {
	if l.target {
		return "target " + l.name
	}
	return "match " + l.name
}

// Eval implements netfilter.Expr.
func (l *late) Eval(s *netfilter.State) netfilter.Effect {
	if x := l.decode(); x != nil {
		return x.Eval(s)
	}
	unknown := netfilter.OpaqueExpr{Name: l.what()}
	e := unknown.Eval(s)
	if !l.target {
		e.Verdict = netfilter.Verdict{} // whether it goes on is all that a match says
	}
	return e
}

// Tracks implements netfilter.Tracker.
func (l *late) Tracks(packet netfilter.Family) bool {
	if l.name == "CT" {
		x, ok := l.decode().(netfilter.Tracker)
		return ok && x.Tracks(packet)
	}
	return packet == l.family && netfilter.TracksByName(l.name)
}

// fill gives a rule its expressions. What it says is printed when it is asked for.
func (p *parser) fill(r *row) {
	r.Exprs = append(make([]netfilter.Expr, 0, 4), header{&r.entry})
	parts, ok := r.entry.matches()
	opaque := func(what string) {
		if r.Opaque == "" {
			r.Opaque = what
		}
	}
	if r.parts = parts; !ok {
		opaque("a match")
		r.Exprs = append(r.Exprs, &netfilter.OpaqueExpr{Name: "a match"})
	}
	for i := range r.parts {
		if r.parts[i].name == "comment" {
			r.Comment = data{info: r.parts[i].info}.str(0, 256)
		}
	}
	t, _, ok := partOf(r.entry.raw[r.entry.target:])
	switch {
	case !ok:
		opaque("the target")
		r.parts = append(r.parts, late{target: true, asked: true})
	case t.name == "":
		r.parts = append(r.parts, late{part: t, family: r.entry.family, target: true, known: p.standard(&r.entry), asked: true})
	default:
		r.parts = append(r.parts, late{part: t, family: r.entry.family, target: true})
	}
	for i := range r.parts {
		l := &r.parts[i]
		if l.asked && l.known == nil || !l.asked && !isKnown(l) {
			opaque(l.what())
		}
		r.Exprs = append(r.Exprs, l)
	}
	r.Print = r.print
}

// isKnown tells whether there is a decoder, without decoding.
func isKnown(l *late) bool {
	size, decode := matchDecoder(kind{l.name, l.rev}, l.family)
	if l.target {
		size, decode = targetDecoder(kind{l.name, l.rev}, l.family)
	}
	return decode != nil && fits(len(l.info), size)
}

// standard decodes a target that is a verdict or a jump; nil if it is neither.
func (p *parser) standard(e *entry) Printer {
	verdict, ok := e.standard()
	if !ok {
		return nil
	}
	// A jump to the next entry is what a rule without a target becomes.
	isGoto := e.raw[e.flags]&e.toGoto != 0
	if int(verdict) == e.at+len(e.raw) && !isGoto {
		return &noTarget
	}
	switch verdict {
	case isDrop:
		return &dropTarget
	case isAccept:
		return &acceptTarget
	case isReturn:
		return &returnTarget
	case isQueue:
		return standardTarget("-j", "QUEUE", netfilter.Verdict{Code: netfilter.Queue, With: "queue 0"})
	}
	to, ok := p.firsts[int(verdict)]
	switch {
	case !ok:
		return nil
	case isGoto:
		return standardTarget("-g", to, netfilter.Verdict{Code: netfilter.Goto, Chain: to})
	}
	return standardTarget("-j", to, netfilter.Verdict{Code: netfilter.Jump, Chain: to})
}

// ending is a target of the table itself.
type ending struct {
	option, word string
	effect       netfilter.Effect
}

var (
	noTarget     = ending{effect: next}
	dropTarget   = ending{"-j", "DROP", verdict(netfilter.Verdict{Code: netfilter.Drop})}
	acceptTarget = ending{"-j", "ACCEPT", verdict(netfilter.Verdict{Code: netfilter.Accept})}
	returnTarget = ending{"-j", "RETURN", verdict(netfilter.Verdict{Code: netfilter.Return})}
)

func standardTarget(option, word string, v netfilter.Verdict) Printer {
	return &ending{option, word, verdict(v)}
}

func (e *ending) Eval(*netfilter.State) netfilter.Effect { return e.effect }

func (e *ending) Words() []string {
	if e.option == "" {
		return []string{}
	}
	return []string{e.option, e.word}
}

func (e *ending) Text() string { return strings.Join(e.Words(), " ") }

// print gives a rule as iptables -S prints it, and its words behind -A CHAIN: none
// if a part is not known in full.
func (r *row) print() (text string, words []string) {
	var w phrase
	header{&r.entry}.print(&w)
	texts := []string{"-A", r.Chain.Name}
	if w.Text() != "" {
		texts = append(texts, w.Text())
	}
	words, full := w.Words(), true
	for i := range r.parts {
		x := r.parts[i].decode()
		if x == nil {
			texts, full = append(texts, "["+r.parts[i].what()+"]"), false
			continue
		}
		if x.Text() != "" {
			texts = append(texts, x.Text())
		}
		words, full = append(words, x.Words()...), full && x.Words() != nil
	}
	if !full || r.Opaque != "" {
		words = nil
	}
	return strings.Join(texts, " "), words
}
