package nft

import (
	"bytes"
	"slices"
	"sort"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// Flags of a set (NFT_SET_*).
const (
	setInterval = 4
	setEval     = 32
)

// setIndex finds elements by a key: made when a set is first asked, for many rules
// may ask the same large set.
type setIndex struct {
	exact    map[string]int // elements of a set without intervals
	ordered  []int          // elements of an interval set by their keys; at one key the end comes before the start
	linear   []int          // elements of a set of concatenated ranges
	catchAll int            // -1: none
}

func (s *Set) indexed(elements []Element) *setIndex {
	if s.index != nil {
		return s.index
	}
	x := &setIndex{catchAll: -1}
	kind := s.kind()
	if kind == exactSet {
		x.exact = make(map[string]int, len(elements))
	}
	for i, e := range elements {
		switch {
		case e.CatchAll:
			x.catchAll = i
		case kind == exactSet:
			x.exact[string(e.Key)] = i
		case kind == intervalSet:
			x.ordered = append(x.ordered, i)
		default:
			x.linear = append(x.linear, i)
		}
	}
	sort.SliceStable(x.ordered, func(i, j int) bool {
		a, b := elements[x.ordered[i]], elements[x.ordered[j]]
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c < 0
		}
		return a.End && !b.End
	})
	s.index = x
	return x
}

type setKind int

const (
	exactSet setKind = iota
	intervalSet
	concatSet
)

func (s *Set) kind() setKind {
	switch {
	case s.Flags&setInterval == 0:
		return exactSet
	case len(s.Fields) > 1:
		return concatSet
	}
	return intervalSet
}

// find looks for a key of which some bits may not be known. It returns the element
// (-1: none) where that is certain: a key that may hit one of several answers
// Unknown, as does one that may miss.
func (s *Set) find(elements []Element, value, mask []byte) (int, netfilter.Truth) {
	x := s.indexed(elements)
	whole := allKnown(mask)
	switch s.kind() {
	case exactSet:
		if whole {
			if i, ok := x.exact[string(value)]; ok {
				return i, netfilter.Yes
			}
			return -1, netfilter.No
		}
		for _, i := range x.exact {
			if len(elements[i].Key) == len(value) && equal(value, mask, elements[i].Key) != netfilter.No {
				return -1, netfilter.Unknown
			}
		}
		return -1, netfilter.No
	case intervalSet:
		return x.interval(elements, value, mask)
	}
	return s.concat(x, elements, value, mask)
}

// interval: the element that the greatest key not above the value belongs to decides
// (nft_rbtree_lookup). Between two neighbouring keys the answer is one.
func (x *setIndex) interval(elements []Element, value, mask []byte) (int, netfilter.Truth) {
	low, high := ends(value, mask)
	at := func(key []byte) int {
		return sort.Search(len(x.ordered), func(i int) bool { return bytes.Compare(elements[x.ordered[i]].Key, key) > 0 }) - 1
	}
	first, last := at(low), at(high)
	if first != last {
		for i := max(first, 0); i <= last; i++ {
			if !elements[x.ordered[i]].End {
				return -1, netfilter.Unknown
			}
		}
		return -1, netfilter.No
	}
	if first < 0 || elements[x.ordered[first]].End {
		return -1, netfilter.No
	}
	return x.ordered[first], netfilter.Yes
}

// concat: each part lies in its range (nft_pipapo). Parts are padded to four bytes.
func (s *Set) concat(x *setIndex, elements []Element, value, mask []byte) (int, netfilter.Truth) {
	low, high := ends(value, mask)
	for _, i := range x.linear {
		e := elements[i]
		to := e.KeyEnd
		if to == nil {
			to = e.Key
		}
		if len(e.Key) < len(value) || len(to) < len(value) {
			return -1, netfilter.Unknown
		}
		hit, at := netfilter.Yes, 0
		for _, n := range s.Fields {
			end := at + int(n)
			if end > len(value) || end < at {
				return -1, netfilter.Unknown
			}
			switch within(low[at:end], high[at:end], e.Key[at:end], to[at:end]) {
			case netfilter.No:
				hit = netfilter.No
			case netfilter.Unknown:
				if hit == netfilter.Yes {
					hit = netfilter.Unknown
				}
			}
			at += (int(n) + 3) &^ 3
		}
		switch hit {
		case netfilter.Yes:
			return i, netfilter.Yes
		case netfilter.Unknown:
			return -1, netfilter.Unknown
		}
	}
	return -1, netfilter.No
}

// lookup finds what the kernel's set answers, with its catch-all element.
func (s *Set) lookup(st *netfilter.State, reg uint32, invert bool) (*Element, netfilter.Truth, string) {
	elements, err := s.Elements()
	if err != nil {
		return nil, netfilter.Unknown, "set " + name(s) + " could not be read"
	}
	if s.KeyLen == 0 || s.KeyLen > maxValue {
		return nil, netfilter.Unknown, "a set that makes no sense"
	}
	value, mask := st.Registers.View(reg, int(s.KeyLen))
	if value == nil {
		return nil, netfilter.Unknown, "a set that makes no sense"
	}
	i, t := s.find(elements, value, mask)
	if t == netfilter.Unknown {
		return nil, t, "set " + name(s) + ": " + unforeseen(st)
	}
	if t == netfilter.No && s.Flags&setEval != 0 {
		return nil, netfilter.Unknown, "set " + name(s) + " is filled by packets"
	}
	if invert && s.indexed(elements).catchAll >= 0 {
		// Kernels before 6.17 look for "*" behind the inversion, the others before it.
		return nil, netfilter.Unknown, "set " + name(s) + " has everything"
	}
	found := (t == netfilter.Yes) != invert
	var e *Element
	if t == netfilter.Yes {
		e = &elements[i]
	}
	if !found {
		x := s.indexed(elements)
		if x.catchAll < 0 {
			return nil, netfilter.No, ""
		}
		e = &elements[x.catchAll]
	}
	if e != nil && slices.ContainsFunc(e.Exprs, stateful) {
		return e, netfilter.Unknown, "an element of set " + name(s) + " with a state"
	}
	return e, netfilter.Yes, ""
}

// stateful tells whether an expression of an element can end the rule.
func stateful(e netfilter.Expr) bool {
	switch e.(type) {
	case *Counter, *Last:
		return false
	}
	return true
}

// name is the name of a set for a reason: bounded, for it comes from the machine.
func name(s *Set) string {
	if len(s.Name) > 64 {
		return s.Name[:64] + "…"
	}
	return s.Name
}

// Eval is nft_lookup_eval.
func (e *Lookup) Eval(s *netfilter.State) netfilter.Effect {
	if e.Set == nil {
		return netfilter.Perhaps("a set that was not read")
	}
	verdicts := e.HasTo && e.To == 0
	element, t, why := e.Set.lookup(s, e.From, e.Inverse)
	if t == netfilter.No {
		return netfilter.Break
	}
	if t == netfilter.Unknown && element == nil {
		if e.HasTo && !verdicts {
			unknown(s, e.To, int(min(e.Set.DataLen, maxValue)), why)
		}
		effect := netfilter.Perhaps(why)
		if verdicts {
			effect.Verdict = e.Set.possible()
		}
		return effect
	}
	effect := netfilter.Effect{Match: t, Why: why}
	switch {
	case element == nil: // inverted: not found
	case verdicts:
		effect.Verdict = element.Verdict
	case e.HasTo:
		s.Registers.SetMasked(e.To, element.Data, nil)
	}
	return effect
}

// possible is what a verdict map may say: the verdict of all its elements, or Any.
func (s *Set) possible() netfilter.Verdict {
	elements, err := s.Elements()
	var one netfilter.Verdict
	seen := false
	for _, e := range elements {
		if e.End {
			continue
		}
		if seen && (e.Verdict.Code != one.Code || e.Verdict.Chain != one.Chain) {
			return netfilter.Verdict{Code: netfilter.Any}
		}
		one, seen = e.Verdict, true
	}
	if err != nil || !seen {
		return netfilter.Verdict{Code: netfilter.Any}
	}
	return one
}

// Eval is nft_dynset_eval: the rule ends where the set is full, or where a state of
// the element says so.
func (e *Dynset) Eval(s *netfilter.State) netfilter.Effect {
	for _, x := range e.Exprs {
		if stateful(x) {
			if why := x.Eval(s).Why; why != "" {
				return netfilter.Perhaps(why)
			}
			return netfilter.Perhaps("a state of a set")
		}
	}
	if e.Op == 2 { // of an element that need not be there
		return netfilter.Perhaps("deletes from a set")
	}
	return netfilter.Perhaps("adds to a set, which may be full")
}

// Eval is nft_objref_eval and nft_objref_map_eval.
func (e *Objref) Eval(s *netfilter.State) netfilter.Effect {
	if e.Set != nil {
		if _, t, why := e.Set.lookup(s, e.Key, false); t != netfilter.Yes {
			return matches(t, why)
		}
	}
	switch e.Type {
	case 1, 3, 6, 7, 8, 9: // counter, ct helper, tunnel, ct timeout, secmark, ct expectation
		return netfilter.Continue
	case 2:
		return netfilter.Perhaps("a quota")
	case 4:
		return netfilter.Perhaps("a rate limit")
	case 5:
		return netfilter.Perhaps("a limit of connections")
	case 10:
		return synproxy
	}
	return netfilter.Effect{Match: netfilter.Unknown, Why: "an object of an unknown type", Verdict: netfilter.Verdict{Code: netfilter.Any}}
}

// synproxy answers itself, and lets the packet end here.
var synproxy = netfilter.Effect{Match: netfilter.Unknown, Why: "synproxy answers instead",
	Verdict: netfilter.Verdict{Code: netfilter.Drop, With: "synproxy"}}
