package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Diagnose runs every check on the facts and ranks what they found: by the
// declared relations between causes, not by scores.
func Diagnose(f *facts.Facts) *Diagnosis {
	d := &Diagnosis{}
	var found []Finding
	for _, c := range slices.Concat(symptoms, causes) {
		if c.Intent != "" && c.Intent != f.Target.Intent {
			continue
		}
		if g, missing := lacks(f, c); missing {
			if a := absence(f, g); a.Why != facts.DidNotNeedTo && !c.IsSymptom() {
				d.NotChecked = append(d.NotChecked, NotChecked{Name: c.Name, Reason: notSeen(g, a), Remedy: a.Remedy})
			}
			continue
		}
		fs, err := run(c, f)
		if err != nil {
			d.NotChecked = append(d.NotChecked, NotChecked{Name: c.Name, Reason: err.Error(), Remedy: "report this as a bug of loopdoctor"})
			continue
		}
		if len(fs) == 0 && !c.IsSymptom() {
			d.Passed = append(d.Passed, c.Name)
		}
		found = append(found, fs...)
	}
	rank(d, found, f.Target)
	d.Verdict = verdict(f, d)
	return d
}

// lacks returns the first needed group that was not seen.
func lacks(f *facts.Facts, c *Check) (facts.Group, bool) {
	for _, g := range c.Needs {
		if !f.Has(g) {
			return g, true
		}
	}
	return "", false
}

// absence says why a group was not seen. Recordings of older versions do not mention
// answers: who asked nothing needed none.
func absence(f *facts.Facts, g facts.Group) facts.Absence {
	if a, ok := f.Absent[g]; ok || g != facts.GroupAnswers || f.Target.Speak != "" {
		return a
	}
	return facts.Absence{Why: facts.DidNotNeedTo}
}

func notSeen(g facts.Group, a facts.Absence) string {
	if a.Reason == "" {
		return string(g) + " not seen"
	}
	return string(g) + ": " + a.Reason
}

// run calls one check on what it declared, and fills in what a finding leaves
// open. A panic is that check's reason for not having been made.
func run(c *Check, f *facts.Facts) (fs []Finding, err error) {
	defer func() {
		if r := recover(); r != nil {
			fs, err = nil, fmt.Errorf("internal error: %v", r)
		}
	}()
	for _, x := range c.Run(f.Only(slices.Concat(c.Needs, c.Uses)...)) {
		x.Check = c
		if x.Stage == StageNone {
			x.Stage = c.Stage
		}
		if x.Brings == nil {
			x.Brings = c.Explains
		}
		if len(x.Affects) == 0 {
			for _, a := range f.Target.Addresses {
				x.Affects = append(x.Affects, a.Addr)
			}
		}
		if strings.HasPrefix(x.Summary, somebody) { // a program's name keeps its own spelling
			x.Summary = "A" + x.Summary[1:]
		}
		slices.SortFunc(x.Affects, netip.Addr.Compare)
		x.Affects = slices.Compact(x.Affects)
		fs = append(fs, there(f, x))
	}
	return fs, nil
}

// rank sorts the findings into symptoms, causes and remarks.
func rank(d *Diagnosis, found []Finding, t facts.Target) {
	var felt, faults []Finding
	for _, x := range found {
		switch {
		case x.Remark && !met(x, t):
			d.Remarks = append(d.Remarks, x)
		case x.Check.IsSymptom():
			felt = append(felt, x)
		default:
			faults = append(faults, x)
		}
	}
	slices.SortStableFunc(felt, order)
	slices.SortStableFunc(faults, order)
	faults, candidates := refine(withParents(faults))
	faults = silence(faults)

	explains := closure(slices.Concat(faults, felt))
	explained := make([]bool, len(faults))
	for i := range faults {
		for j := range faults {
			explained[j] = explained[j] || i != j && explains(i, j)
		}
	}
	var active, latent []Cause
	for i, x := range faults {
		if explained[i] {
			continue
		}
		c := Cause{Finding: x, Candidates: candidates[x.Check]}
		behind := false
		for s, y := range felt {
			switch {
			case explains(i, len(faults)+s) && x.Stage <= y.Stage:
				c.State = Active
			case shareAddress(x, y) && x.Stage > y.Stage && len(x.Brings) > 0:
				behind = true
			}
		}
		for j, y := range faults {
			if i != j && explains(i, j) {
				c.Consequences = append(c.Consequences, Consequence{Name: y.Check.Name, Affects: y.Affects})
			}
		}
		switch {
		case c.State == Active:
			active = append(active, c)
		case behind:
			c.State = Latent
			latent = append(latent, c)
		default:
			d.Remarks = append(d.Remarks, x)
		}
	}
	d.Causes = append(active, latent...)
	slices.SortStableFunc(d.Remarks, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(about(b, t), about(a, t)), order(a, b))
	})
	for s, y := range felt {
		sy := Symptom{Finding: y}
		for i, x := range faults {
			if explains(i, len(faults)+s) && x.Stage <= y.Stage && !explained[i] {
				sy.ExplainedBy = append(sy.ExplainedBy, x.Check.Name)
			}
		}
		if y.Doubtful && len(sy.ExplainedBy) == 0 {
			continue
		}
		d.Symptoms = append(d.Symptoms, sy)
	}
}

// met tells whether a client met what a remark warns of: its error names the
// address and what is felt there. For that client it is a fault.
func met(x Finding, t facts.Target) bool {
	return t.Error != nil && about(x, t) > 0 && slices.Contains(x.Affects, t.Error.Addr.Addr())
}

// about is 1 for a finding that brings about what the client's error says.
func about(x Finding, t facts.Target) int {
	return cond(slices.ContainsFunc(x.Brings, func(c *Check) bool { return t.Error.Fits(c.Name) }), 1, 0)
}

// order puts the earliest stage first, then proven before inferred, then the
// finding that concerns most addresses; the rest only makes it total, so that
// the order in which findings came never matters.
func order(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(a.Stage, b.Stage),
		cmp.Compare(b.Certainty, a.Certainty),
		cmp.Compare(len(b.Affects), len(a.Affects)),
		cmp.Compare(a.Check.Name, b.Check.Name),
		slices.CompareFunc(a.Affects, b.Affects, netip.Addr.Compare),
		cmp.Compare(a.Summary, b.Summary),
	)
}

// withParents adds the common parent of several inferred findings where nothing
// found the parent itself.
func withParents(fs []Finding) []Finding {
	for i, x := range fs {
		if x.Certainty == Proven {
			continue
		}
		for _, p := range x.Check.Refines {
			if slices.ContainsFunc(fs, func(y Finding) bool { return y.Check == p && shareAddress(x, y) }) {
				continue
			}
			for _, y := range fs[i+1:] {
				if y.Check != x.Check && slices.Contains(y.Check.Refines, p) && y.Certainty == Inferred && shareAddress(x, y) {
					fs = append(slices.Clip(fs), Finding{Check: p, Stage: p.Stage, Brings: p.Explains, Affects: x.Affects, Certainty: Inferred,
						Summary: strings.ToUpper(p.Doc[:1]) + p.Doc[1:] + ", for one of several reasons."})
					break
				}
			}
		}
	}
	slices.SortStableFunc(fs, order)
	return fs
}

// refine lets the more precise finding replace the broader one at the addresses
// they share. Several inferred ones of one parent do not: they become its
// candidates.
func refine(fs []Finding) ([]Finding, map[*Check][]string) {
	candidates := map[*Check][]string{}
	gone := make([]bool, len(fs))
	for p := range fs {
		var children []int
		for c := range fs {
			if c != p && fs[c].refines(fs[p].Check) && shareAddress(fs[c], fs[p]) {
				children = append(children, c)
			}
		}
		if len(children) == 0 {
			continue
		}
		if rivals := inferredRivals(fs, children); len(rivals) > 1 {
			for _, c := range rivals {
				gone[c] = true
				candidates[fs[p].Check] = append(candidates[fs[p].Check], fs[c].Check.Name)
				fs[p].Evidence = append(slices.Clip(fs[p].Evidence), fs[c].Evidence...)
				fs[p].Settle = cmp.Or(fs[p].Settle, fs[c].Settle)
			}
			continue
		}
		rest := fs[p].Affects
		for _, c := range children {
			rest = slices.DeleteFunc(slices.Clone(rest), func(a netip.Addr) bool { return slices.Contains(fs[c].Affects, a) })
		}
		if len(rest) == 0 {
			gone[p] = true
		}
		fs[p].Affects = rest
	}
	var kept []Finding
	for i, x := range fs {
		if !gone[i] {
			kept = append(kept, x)
		}
	}
	for _, names := range candidates {
		slices.Sort(names)
	}
	return kept, candidates
}

// inferredRivals returns the children when all of them are inferred, name
// different causes and none refines another: then nothing tells them apart.
func inferredRivals(fs []Finding, children []int) []int {
	names := map[*Check]bool{}
	for _, c := range children {
		if fs[c].Certainty == Proven {
			return nil
		}
		for _, other := range children {
			if fs[c].refines(fs[other].Check) {
				return nil
			}
		}
		names[fs[c].Check] = true
	}
	if len(names) < 2 {
		return nil
	}
	return children
}

// refines tells whether c makes the broader b more precise, at any distance.
func refines(c, b *Check) bool {
	return slices.ContainsFunc(c.Refines, func(p *Check) bool { return p == b || refines(p, b) })
}

// refines tells the same of one finding.
func (x Finding) refines(b *Check) bool {
	return refines(x.Check, b) || slices.Contains(x.Refines, b)
}

// silence removes what is only inferred where something is proven at the same
// stage and address.
func silence(fs []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(fs), func(x Finding) bool {
		return x.Certainty == Inferred && slices.ContainsFunc(fs, func(y Finding) bool {
			return y.Certainty == Proven && y.Stage == x.Stage && shareAddress(x, y)
		})
	})
}

// closure tells which findings explain which: directly, when one brings the
// other's check about and they share an address, and transitively.
func closure(fs []Finding) func(i, j int) bool {
	n := len(fs)
	reach := make([]bool, n*n)
	for i := range fs {
		for j := range fs {
			reach[i*n+j] = i != j && slices.Contains(fs[i].Brings, fs[j].Check) && shareAddress(fs[i], fs[j])
		}
	}
	for k := range n {
		for i := range n {
			if !reach[i*n+k] { // nearly always: few explain any other
				continue
			}
			for j := range n {
				reach[i*n+j] = reach[i*n+j] || reach[k*n+j]
			}
		}
	}
	return func(i, j int) bool { return reach[i*n+j] }
}

// shareAddress: an empty list means every address.
func shareAddress(a, b Finding) bool {
	return len(a.Affects) == 0 || len(b.Affects) == 0 ||
		slices.ContainsFunc(a.Affects, func(x netip.Addr) bool { return slices.Contains(b.Affects, x) })
}

// verdict is the state of the target, told from the dials (or binds) and the
// symptoms alone: causes and remarks never change it.
func verdict(f *facts.Facts, d *Diagnosis) Verdict {
	for _, s := range d.Symptoms {
		if s.Check == nameNotResolved || s.Check == nameLeadsElsewhere {
			return Broken
		}
	}
	expected := f.Target.Expected()
	works, fails := 0, 0
	for _, a := range expected {
		bad, good := false, tried(f, a)
		for _, s := range d.Symptoms {
			if len(s.Affects) == 0 || slices.Contains(s.Affects, a) {
				bad, good = true, good && s.Check != answeredByAnother && (s.Stage != StageAnswer || s.Check == clientFails)
			}
		}
		switch {
		case bad && good:
			works, fails = works+1, fails+1
		case bad:
			fails++
		case good:
			works++
		}
	}
	switch {
	case fails > 0 && works > 0:
		return Partly
	case fails > 0:
		return Broken
	case works == len(expected) && works > 0:
		return Works
	}
	return Unknown
}

// tried tells whether somebody succeeded at the address: one of the clients
// connected, or could bind it.
func tried(f *facts.Facts, a netip.Addr) bool {
	if f.Target.Intent == facts.ToBind {
		return slices.ContainsFunc(f.Binds, func(b facts.Bind) bool { return b.Addr == a && b.Errno == "" })
	}
	if len(f.Answers) > 0 {
		// Who was to be asked and could not is not known to answer.
		heard := slices.ContainsFunc(f.Answers, func(x facts.Answer) bool {
			return x.Addr == a && x.End != facts.NotAsked && (f.Target.Network != "udp" || understood(&x))
		})
		if f.Target.Network == "udp" || !heard {
			return heard
		}
	}
	if f.Answers == nil && f.Absent[facts.GroupAnswers].Why == facts.CouldNot {
		return false
	}
	return slices.ContainsFunc(f.Dials, func(x facts.Dial) bool {
		// Of several listeners the stuck one may have got our connection.
		taken := (!unanswered(x) || stuckTwin(f, a) != nil) && queueStands(f, a) == nil
		return x.Addr == a && (x.Outcome.Works() && taken && x.Closed == "" && !ackLost(f, x))
	})
}
