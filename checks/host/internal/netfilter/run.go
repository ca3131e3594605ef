package netfilter

import (
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// One base chain is run in all worlds at once. In the first world rules that cannot
// be judged do not match: that is the packet's own way, and what stops it there is a
// stop. The other worlds, in which some of them match, are followed only as far as
// they differ: a verdict that is met in one of those alone is a doubt. What rules
// wrote in one world and not in another is not known afterwards. Each rule is
// judged once wherever it stands, so that the work grows with the rules and not with
// the worlds.

// place is where the packet is: in the first world, in others only (and why), or
// nowhere any more.
type place struct {
	is  presence
	why string
}

type presence int

const (
	gone presence = iota
	perhaps
	sure
)

// base is the run of one base chain.
type base struct {
	chain   *Chain
	hook    Hook
	main    bool                // the first world is still in it
	accepts []pending           // rules by which others may have left it
	returns []pending           // and those by which they may have left a chain early
	exit    *Packet             // the packet of all worlds that left it
	divert  *facts.FilterDivert // that the first world got
}

// pending is a rule that cannot be judged, and that matters only if something would
// stop the packet behind it.
type pending struct {
	rule    *Rule
	path    *way
	verdict string
	why     string
}

// leave adds a world that ends this base chain.
func (b *base) leave(p *Packet) { b.exit = join(b.exit, p) }

// runBase runs a base chain, and leaves in the state what all worlds have in common.
func (w *walker) runBase(c *Chain, s *State, at place) *base {
	b := &base{chain: c, hook: c.Hook, main: at.is == sure}
	s.Table, s.Hook = c.Table, c.Hook
	at = w.run(b, c, nil, s, at, 0)
	switch {
	case at.is == gone:
	case c.Drop && at.is == sure:
		w.flush(b)
		w.stop(facts.FilterStop{Rule: c.PolicyFact(), Where: b.hook.Where(), Verdict: "drop"})
	case c.Drop:
		w.doubt(facts.FilterDoubt{Rule: c.PolicyFact(), Where: b.hook.Where(), Verdict: "drop", Why: at.why})
	}
	if at.is != gone {
		b.leave(s.Packet)
	}
	if b.exit != nil {
		*s.Packet = *b.exit
	}
	return b
}

// How deep chains may jump: NFT_JUMP_STACK_SIZE in nf_tables, and in the legacy
// tables as many as there are chains.
const (
	maxDepth       = 16
	maxLegacyDepth = 256
)

// run runs a chain, and tells how the packet comes back to the chain that called it.
func (w *walker) run(b *base, c *Chain, path *way, s *State, at place, depth int) place {
	f := frame{b: b, chain: c, path: path, depth: depth, returns: len(b.returns)}
	limit := maxDepth
	if c.Table != nil && c.Table.Engine != facts.NFTables {
		limit = maxLegacyDepth
	}
	for _, r := range c.Rules {
		if at.is == gone {
			break
		}
		if w.budget--; w.budget < 0 || depth > limit {
			w.exhausted = w.exhausted || w.budget < 0
			w.doubtRule(b, r, path, "unknown", "too many jumps to follow")
			at = place{}
			break
		}
		at = w.judge(&f, r, s, at)
	}
	// Who may have returned early meets the others again.
	b.returns = b.returns[:min(f.returns, len(b.returns))]
	if f.home.is == gone {
		return at
	}
	if at.is == gone {
		*s.Packet = *f.exit
		return f.home
	}
	*s.Packet = *join(f.exit, s.Packet)
	if f.home.is == sure {
		return f.home
	}
	return at
}

// way is a chain that is being run, and from where it was called; nil: the base chain.
type way struct {
	chain *Chain
	from  *way
}

// names is the chains from the base chain to this one; nil for the base chain itself.
func (w *way) names(base *Chain) []string {
	if w == nil {
		return nil
	}
	var names []string
	for ; w != nil; w = w.from {
		names = append(names, w.chain.Name)
	}
	names = append(names, base.Name)
	slices.Reverse(names)
	return names
}

// frame is one chain that is being run.
type frame struct {
	b       *base
	chain   *Chain
	path    *way
	depth   int
	returns int     // where its rules begin in base.returns
	home    place   // how those come back to the caller that left before the end
	exit    *Packet // and their packet
}

// back lets worlds return to the caller.
func (f *frame) back(p *Packet, at place) {
	f.exit = join(f.exit, p)
	if at.is > f.home.is {
		f.home = at
	}
}

// judge lets one rule act.
func (w *walker) judge(f *frame, r *Rule, s *State, at place) place {
	b := f.b
	mark, marked, ct := s.Mark, s.MarkKnown, s.CT
	from, to := s.From, s.To
	effect, off := evaluate(r, s)
	if at.is == sure && off == nil {
		if b.hook == Output && s.MarkKnown && (s.Mark != mark || !marked) {
			w.marks(b, r, f.path, s.Mark)
		}
		if s.CT == CTUntracked && ct != CTUntracked && s.CTKnown {
			w.untracks(b, r, f.path)
		}
	}
	why := effect.Why
	if at.is == perhaps {
		why = at.why
	}
	if (off != nil || at.is == perhaps) && (s.From != from || s.To != to) {
		w.doubtRule(b, r, f.path, "rewrite", why)
	}
	if (off != nil || at.is == perhaps) && (s.Mark != mark || s.MarkKnown != marked) && b.hook == Output && b.chain.Type == "route" && w.leads(s) {
		w.doubtRule(b, r, f.path, "mark", why)
	}
	if d := effect.Verdict.Divert; d != nil && effect.Verdict.Code == None && effect.Match != No {
		w.maybeDivert(b, r, f.path, *d, s, why)
	}
	switch effect.Match {
	case Yes:
		return w.decided(f, r, effect.Verdict, s, at)
	case Unknown:
		w.undecided(f, r, effect.Verdict, why, s, off, at)
	case No:
		if off != nil {
			*s.Packet = *off
		}
	}
	return at
}

// evaluate runs the expressions of a rule. off is the packet of the worlds in which
// the rule ended early although it might not have; nil: there are none.
func evaluate(r *Rule, s *State) (effect Effect, off *Packet) {
	s.Registers, s.Cause = Registers{}, ""
	if r.Late != nil {
		if r.Late.Misses(s) {
			return Break, nil
		}
		s.Registers, s.Cause = Registers{}, ""
		r.Whole()
	}
	effect = Continue
	xtables := r.Chain != nil && r.Chain.Table != nil && r.Chain.Table.Engine != facts.NFTables
	// An expression that is not known may change what others see: what stands before
	// it is judged, and nothing behind it.
	misread := r.Opaque != "" && !xtables && !slices.ContainsFunc(r.Exprs, isOpaque)
	for _, e := range r.Exprs {
		if e == nil {
			continue
		}
		x := e.Eval(s)
		if x.Match == No && !misread {
			if off != nil {
				off = join(off, s.Packet)
			}
			return Effect{Match: No, Why: effect.Why}, off
		}
		if x.Match != Yes {
			off = join(off, s.Packet)
			if effect.Match == Yes {
				effect.Match, effect.Why = Unknown, x.Why
			}
		}
		if x.Verdict.Divert == nil {
			x.Verdict.Divert = effect.Verdict.Divert
		}
		effect.Verdict = x.Verdict
		if x.Verdict.Code != None {
			break
		}
	}
	if r.Opaque == "" {
		return effect, off
	}
	if effect.Match == Yes || effect.Why == "" {
		effect.Match, effect.Why = Unknown, Cut(r.Opaque, 64)+" is unknown"
		off = join(off, s.Packet)
	}
	if misread || effect.Verdict.Code == None {
		effect.Verdict = Verdict{Code: Any}
	}
	return effect, off
}

func isOpaque(e Expr) bool { _, ok := e.(*OpaqueExpr); return ok }

// decided acts on a rule that matches in every world that is here.
func (w *walker) decided(f *frame, r *Rule, v Verdict, s *State, at place) place {
	b := f.b
	switch v.Code {
	case Drop, Reject, Queue, Any:
		if v.Code == Any || v.Code == Queue && v.Bypass {
			why := at.why
			if at.is == sure {
				why = "whether a program reads " + v.With
			}
			w.doubtRule(b, r, f.path, v.Code.word(), why)
			return w.accept(f, r, s, at)
		}
		if at.is == sure { // and on, as if it had let the packet through
			w.flush(b)
			w.stop(facts.FilterStop{Rule: w.fact(r, b, f.path), Where: b.hook.Where(), Verdict: v.Code.word(), With: v.With})
			return at
		}
		w.doubtRule(b, r, f.path, v.Code.word(), at.why)
		return place{}
	case Accept:
		return w.accept(f, r, s, at)
	case Divert:
		if v.Divert == nil {
			return w.accept(f, r, s, at)
		}
		if at.is != sure {
			w.maybeDivert(b, r, f.path, *v.Divert, s, at.why)
			return w.accept(f, r, s, at)
		}
		w.flush(b)
		b.divert = w.divert(b, r, f.path, v, s)
		return w.accept(f, r, s, at)
	case Jump, Goto:
		c := w.chain(r, v.Chain)
		if c == nil {
			w.doubtRule(b, r, f.path, "unknown", "a chain that was not read")
			return at
		}
		at = w.run(b, c, &way{c, f.path}, s, at, f.depth+1)
		if v.Code == Goto { // comes back to who called this chain
			f.back(s.Packet, at)
			return place{}
		}
		return at
	case Return:
		f.back(s.Packet, at)
		return place{}
	}
	return at
}

// undecided acts on a rule that may match. off is the packet of the worlds where it
// does not: the first world is one of them.
func (w *walker) undecided(f *frame, r *Rule, v Verdict, why string, s *State, off *Packet, at place) {
	b, matched := f.b, *s.Packet
	*s.Packet = *off
	switch v.Code {
	case None, NextRule:
		*s.Packet = *join(off, &matched)
	case Drop, Reject, Queue:
		w.doubtRule(b, r, f.path, v.Code.word(), why)
	case Any:
		w.doubtRule(b, r, f.path, v.Code.word(), why)
		b.leave(&matched)
	case Accept, Divert:
		if v.Divert != nil && v.Code == Divert {
			w.maybeDivert(b, r, f.path, *v.Divert, s, why)
		}
		b.leave(&matched)
		if b.main {
			b.accepts = append(b.accepts, pending{r, f.path, "accept", why})
		}
	case Jump, Goto:
		c := w.chain(r, v.Chain)
		if c == nil {
			w.doubtRule(b, r, f.path, "unknown", "a chain that was not read")
			return
		}
		sub := *s
		sub.Packet = &matched
		back := w.run(b, c, &way{c, f.path}, &sub, place{perhaps, why}, f.depth+1)
		switch {
		case back.is == gone:
		case v.Code == Jump:
			*s.Packet = *join(off, &matched)
		default:
			w.mayReturn(f, r, &matched, "goto", why, at)
		}
	case Return:
		w.mayReturn(f, r, &matched, "return", why, at)
	}
}

// mayReturn is a rule by which some worlds leave a chain.
func (w *walker) mayReturn(f *frame, r *Rule, p *Packet, verdict, why string, at place) {
	f.back(p, place{perhaps, why})
	if at.is == sure {
		f.b.returns = append(f.b.returns, pending{r, f.path, verdict, why})
	}
}

// accept ends the base chain.
func (w *walker) accept(f *frame, r *Rule, s *State, at place) place {
	f.b.leave(s.Packet)
	if at.is == sure {
		f.b.main = false
	} else if f.b.main {
		f.b.accepts = append(f.b.accepts, pending{r, f.path, "accept", at.why})
	}
	return place{}
}
