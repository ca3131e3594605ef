package xt

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// fill gives a rule its expressions. What it says is printed when it is asked for.
func (p *parser) fill(r *netfilter.Rule, e *entry) {
	h := e.header()
	r.Exprs = append(r.Exprs, h)
	var printers []Printer
	opaque := func(what string) {
		if r.Opaque == "" {
			r.Opaque = what
		}
		r.Exprs = append(r.Exprs, &netfilter.OpaqueExpr{Name: what})
		printers = append(printers, nil)
	}
	matches, ok := e.matches()
	for _, m := range matches {
		x, ok := Match(m.name, m.rev, m.info, e.family)
		if !ok {
			opaque("match " + m.name)
			continue
		}
		if x, ok := x.(*extension); ok && x.comment != "" {
			r.Comment = x.comment
		}
		r.Exprs, printers = append(r.Exprs, x), append(printers, x)
	}
	if !ok {
		opaque("a match")
	}
	ending, jump := p.target(e)
	switch {
	case ending == nil:
		opaque("target " + jump)
	default:
		r.Exprs, printers = append(r.Exprs, ending), append(printers, ending)
	}
	r.Print = func() (string, []string) { return printed(r, h, printers) }
}

// target decodes the target; nil if it is not known, and its name.
func (p *parser) target(e *entry) (x Printer, name string) {
	t, _, ok := partOf(e.raw[e.target:])
	if !ok {
		return nil, "?"
	}
	if t.name != "" {
		if x, ok = Target(t.name, t.rev, t.info, e.family); !ok {
			return nil, t.name
		}
		return x, t.name
	}
	verdict, ok := e.standard()
	if !ok {
		return nil, "?"
	}
	// A jump to the next entry is what a rule without a target becomes.
	isGoto := e.raw[e.flags]&e.toGoto != 0
	if int(verdict) == e.at+len(e.raw) && !isGoto {
		return &extension{eval: constant(next)}, ""
	}
	word, effect := "", netfilter.Verdict{}
	switch verdict {
	case isDrop:
		word, effect.Code = "DROP", netfilter.Drop
	case isAccept:
		word, effect.Code = "ACCEPT", netfilter.Accept
	case isQueue:
		word, effect.Code, effect.With = "QUEUE", netfilter.Queue, "queue 0"
	case isReturn:
		word, effect.Code = "RETURN", netfilter.Return
	default:
		to, ok := p.firsts[int(verdict)]
		if !ok {
			return nil, "?"
		}
		word, effect.Chain, effect.Code = to, to, netfilter.Jump
		if isGoto {
			effect.Code = netfilter.Goto
		}
	}
	out := &extension{eval: constant(netfilter.Effect{Match: netfilter.Yes, Verdict: effect})}
	if effect.Code == netfilter.Goto {
		out.add("-g", word)
	} else {
		out.add("-j", word)
	}
	return out, word
}

// printed gives a rule as iptables -S prints it, and its words behind -A CHAIN:
// none if a part is not known in full.
func printed(r *netfilter.Rule, h *header, parts []Printer) (text string, words []string) {
	var w phrase
	h.print(&w)
	text, words = w.Text(), w.Words()
	for _, p := range parts {
		if p == nil {
			text, w.partial = strings.TrimSpace(text+" ["+r.Opaque+"]"), true
			continue
		}
		if p.Text() == "" {
			continue
		}
		text = strings.TrimSpace(text + " " + p.Text())
		words = append(words, p.Words()...)
		w.partial = w.partial || p.Words() == nil
	}
	if w.partial {
		words = nil
	}
	return strings.TrimSpace("-A " + r.Chain.Name + " " + text), words
}
