package netfilter

import (
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How much of each kind a walk reports: who has more of them has read enough.
const maxReported = 64

// stop adds a rule that ends the way of the packet.
func (w *walker) stop(s facts.FilterStop) {
	if len(w.out.Stops) < maxReported {
		w.out.Stops = append(w.out.Stops, s)
	}
}

// doubt adds a rule that may decide otherwise. Behind the first stop nothing does.
func (w *walker) doubt(d facts.FilterDoubt) {
	if len(w.out.Stops) == 0 && len(w.out.Unsure) < maxReported {
		w.out.Unsure = append(w.out.Unsure, d)
	}
}

func (w *walker) doubtRule(b *base, r *Rule, path *way, verdict, why string) {
	if w.asking && verdict != "drop" && verdict != "reject" && len(w.later) < maxReported {
		// Where the answer comes from hangs on it, also if the packet is stopped before.
		w.later = append(w.later, facts.FilterDoubt{Rule: w.fact(r, b, path), Where: b.hook.Where(), Verdict: verdict, Why: why})
	}
	if len(w.out.Stops) == 0 && len(w.out.Unsure) < maxReported {
		w.doubt(facts.FilterDoubt{Rule: w.fact(r, b, path), Where: b.hook.Where(), Verdict: verdict, Why: why})
	}
}

// flush reports the rules by which the packet may have left before it came to what
// now stops it.
func (w *walker) flush(b *base) {
	for _, list := range [][]pending{b.accepts, b.returns} {
		for _, p := range list {
			w.doubtRule(b, p.rule, p.path, p.verdict, p.why)
		}
	}
	b.accepts, b.returns = nil, nil
}

func (w *walker) marks(b *base, r *Rule, path *way, mark uint32) {
	if len(w.out.Marks) < maxReported {
		w.out.Marks = append(w.out.Marks, facts.FilterMark{Rule: w.fact(r, b, path), Mark: mark})
	}
}

func (w *walker) untracks(b *base, r *Rule, path *way) {
	if len(w.out.Untracks) < maxReported {
		w.out.Untracks = append(w.out.Untracks, w.fact(r, b, path))
	}
}

// divert adds a translation that is certain; where to may not be.
func (w *walker) divert(b *base, r *Rule, path *way, v Verdict, s *State) *facts.FilterDivert {
	d := completed(*v.Divert, s)
	d.Rule = w.fact(r, b, path)
	if v.With != "" {
		w.doubtRule(b, r, path, d.Kind, v.With)
		if !v.Divert.To.Addr().IsValid() {
			d.To = netip.AddrPortFrom(netip.Addr{}, v.Divert.To.Port())
		}
	}
	// What masquerade gives is the address of the device, which of lo alone is known.
	elsewhere := d.Kind == "masquerade" && s.Out != "lo"
	if v.With == "" && !elsewhere && (d.To == s.To && !source(d.Kind) || d.To == s.From && source(d.Kind)) {
		return &d // to where it goes anyway
	}
	if len(w.out.Diverts) < maxReported {
		w.out.Diverts = append(w.out.Diverts, d)
	}
	return &d
}

// maybeDivert adds one that is not.
func (w *walker) maybeDivert(b *base, r *Rule, path *way, d facts.FilterDivert, s *State, why string) {
	w.doubtRule(b, r, path, d.Kind, why)
	if s.Outside && len(w.out.Diverts) < maxReported {
		d = completed(d, s)
		d.Rule = w.fact(r, b, path)
		w.out.Diverts = append(w.out.Diverts, d)
	}
}

// completed fills in what a translation leaves as it was.
func completed(d facts.FilterDivert, s *State) facts.FilterDivert {
	was := s.To
	if source(d.Kind) {
		was = s.From
	}
	addr, port := d.To.Addr(), d.To.Port()
	if !addr.IsValid() {
		addr = was.Addr()
	}
	if port == 0 {
		port = was.Port()
	}
	d.To = netip.AddrPortFrom(addr, port)
	return d
}

// source tells whether a translation is one of the source.
func source(kind string) bool { return kind == "snat" || kind == "masquerade" }

// chain finds the chain that a rule names.
func (w *walker) chain(r *Rule, name string) *Chain {
	if r.Chain == nil || r.Chain.Table == nil {
		return nil
	}
	t := r.Chain.Table
	byName := w.chains[t]
	if byName == nil {
		byName = make(map[string]*Chain, len(t.Chains))
		for _, c := range t.Chains {
			byName[c.Name] = c
		}
		w.chains[t] = byName
	}
	return byName[name]
}

func (w *walker) fact(r *Rule, b *base, path *way) facts.FilterRule {
	return r.Fact(b.chain, path.names(b.chain))
}
