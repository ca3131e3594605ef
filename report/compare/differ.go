package compare

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks"
)

// topic is one kind of thing that may differ, and what one side knows of it.
type topic struct {
	name    string
	items   []item
	unknown string // why nothing is known of it; empty: items is all there is
	asked   bool   // items is what was asked for: that one is not there says nothing

	at map[string]int // places of the items by their names
}

// item is one thing, told in parts.
type item struct {
	what  string // by which it is found on the other side
	show  string // what is said of it; empty: its parts
	parts []part
}

// unknown is why nothing is known of the thing; empty if something is.
func (i *item) unknown() string {
	if len(i.parts) == 1 && i.parts[0].name == "" {
		return i.parts[0].unknown
	}
	return ""
}

// part is one property.
type part struct {
	name    string // for what is not known; empty: the thing itself
	text    string
	same    string // what is compared instead of the text; empty: the text, without its noise
	unknown string // why it is not known
	detail  bool   // with fewer privileges less of it is seen
}

// add puts a thing of one property into the topic. What is found again under the
// same name is one thing.
func (t *topic) add(what, text string) { t.put(what, part{text: text}) }

func (t *topic) put(what string, parts ...part) {
	i, ok := t.at[what]
	if !ok {
		if t.at == nil {
			t.at = map[string]int{}
		}
		i = len(t.items)
		t.at[what] = i
		t.items = append(t.items, item{what: what})
	}
	if it := &t.items[i]; len(it.parts) < maxParts {
		it.parts = append(it.parts, parts...)
	}
}

// maxParts bounds what is kept under one name: somebody may send anything.
const maxParts = 256

// byKey finds the items by what both sides know them by.
func (t *topic) byKey(m terms) map[string]*item {
	out := map[string]*item{}
	for i := range t.items {
		if key := m.key(t.items[i].what); out[key] == nil {
			out[key] = &t.items[i]
		}
	}
	return out
}

// pair gives an item of the redacted side, whose name is a pseudonym, the key of the one
// of the other side that it may be, where no other one has it.
func (m terms) pair(as, bs map[string]*item) {
	if m.a == m.b {
		return
	}
	if m.b {
		as, bs = bs, as
	}
	for _, key := range slices.Sorted(maps.Keys(as)) {
		if bs[key] != nil || !pseudonym().MatchString(as[key].what) {
			continue
		}
		for _, other := range slices.Sorted(maps.Keys(bs)) {
			if as[other] == nil && fits(as[key].what, bs[other].what) {
				as[other] = as[key]
				delete(as, key)
				break
			}
		}
	}
}

// named finds the item of that very name; nil if there is none.
func (t *topic) named(what string) *item {
	if i, ok := t.at[what]; ok {
		return &t.items[i]
	}
	return nil
}

// differ compares two lists of the same topics, in their order. The result for
// (b, a) is that for (a, b) with the sides changed.
func (m terms) differ(as, bs []topic) (ds []Difference, ns []NotKnown) {
	for i := range as {
		d, n := as[i].differ(m, &bs[i])
		ds, ns = append(ds, d...), append(ns, n...)
	}
	slices.SortStableFunc(ns, func(x, y NotKnown) int { return cmp.Compare(x.Side, y.Side) })
	return ds, ns
}

func (t *topic) differ(m terms, o *topic) ([]Difference, []NotKnown) {
	switch {
	case t.unknown != "" && o.unknown != "":
		return nil, nil
	case t.unknown != "" && len(o.items) > 0:
		return nil, []NotKnown{{"a", t.name, "", t.unknown}}
	case o.unknown != "" && len(t.items) > 0:
		return nil, []NotKnown{{"b", t.name, "", o.unknown}}
	}
	ds, told := precise(t, o)
	var ns []NotKnown
	as, bs := t.byKey(m), o.byKey(m)
	m.pair(as, bs)
	keys := slices.AppendSeq(slices.Collect(maps.Keys(as)), maps.Keys(bs))
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		a, b := as[key], bs[key]
		what := called(key, a, b)
		aText, bText := a.text(), b.text()
		if slices.Contains(told, what) {
			continue
		}
		switch {
		case a == nil && bText == "", b == nil && aText == "": // the one does not know what the other does not have
		case a == nil && t.asked:
			ns = append(ns, NotKnown{"a", t.name, what, "not asked for"})
		case b == nil && t.asked:
			ns = append(ns, NotKnown{"b", t.name, what, "not asked for"})
		case a == nil:
			ds = append(ds, Difference{t.name, what, OnlyB, "", short(bText)})
		case b == nil:
			ds = append(ds, Difference{t.name, what, OnlyA, short(aText), ""})
		default:
			differs, unknown := a.differ(m, b)
			if differs {
				ds = append(ds, Difference{t.name, what, Changed, short(aText), short(bText)})
			}
			for _, n := range unknown {
				ns = append(ns, NotKnown{n.Side, t.name, strings.TrimSuffix(what+", "+n.What, ", "), n.Reason})
			}
		}
	}
	return ds, ns
}

// called is what a person knows the thing by: the name that both sides have, or else
// the one without noise.
func called(key string, a, b *item) string {
	switch {
	case a == nil:
		return b.what
	case b == nil || a.what == b.what:
		return a.what
	}
	return key
}

// text is all that is known of the thing; empty if nothing is.
func (i *item) text() string {
	if i == nil {
		return ""
	}
	if i.show != "" {
		return i.show
	}
	var words []string
	for _, p := range i.parts {
		if p.unknown == "" && p.text != "" && !slices.Contains(words, p.text) {
			words = append(words, p.text)
		}
	}
	return strings.Join(words, ", ")
}

// differ compares the parts of the same name that both sides know.
func (i *item) differ(m terms, o *item) (differs bool, unknown []NotKnown) {
	a, b := i.unknown(), o.unknown()
	switch {
	case a != "" && b != "":
		return false, nil
	case a != "":
		return false, []NotKnown{{Side: "a", Reason: a}}
	case b != "":
		return false, []NotKnown{{Side: "b", Reason: b}}
	}
	var names []string
	for _, p := range slices.Concat(i.parts, o.parts) {
		if !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		a, aWhy := i.values(name)
		b, bWhy := o.values(name)
		if m.unequal && (i.detail(name) || o.detail(name)) {
			continue
		}
		switch {
		case aWhy != "" && len(b) == 0, bWhy != "" && len(a) == 0: // nobody knows anything of it
		case aWhy != "":
			unknown = append(unknown, NotKnown{Side: "a", What: name, Reason: aWhy})
		case bWhy != "":
			unknown = append(unknown, NotKnown{Side: "b", What: name, Reason: bWhy})
		default:
			differs = differs || !slices.EqualFunc(a, b, m.alike)
		}
	}
	return differs, unknown
}

func (i *item) detail(name string) bool {
	return slices.ContainsFunc(i.parts, func(p part) bool { return p.name == name && p.detail })
}

// values are what is compared of the parts of that name, sorted.
func (i *item) values(name string) (vs []string, unknown string) {
	for _, p := range i.parts {
		switch {
		case p.name != name:
		case p.unknown != "":
			unknown = p.unknown
		default:
			vs = append(vs, normal(cmp.Or(p.same, p.text)))
		}
	}
	slices.Sort(vs)
	return slices.Compact(vs), unknown
}

// lazy compiles an expression when it is first used: most runs compare nothing.
func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// noise is what differs between two looks at the same thing.
var noise = []struct {
	is   func() *regexp.Regexp
	then string
}{
	{lazy(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|[+-]\d\d:?\d\d))?`), "TIME"},
	{lazy(`\b(pid|tid|handle|fd|line|process|inode|namespace|rule) \d+`), "$1 N"},
	{counted, "counter"},
	{lazy(`\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b`), "MAC"},
	{lazy(`\b(enx)?[0-9a-f]{12,64}\b`), "ID"},
	{lazy(`/proc/\d+/`), "/proc/N/"},
}

// counted is what a rule has counted.
var counted = lazy(`counter packets \d+ bytes \d+`)

// uncounted is a rule without it.
func uncounted(rule string) string { return counted().ReplaceAllString(rule, "counter") }

// normal takes the noise out of a text.
func normal(s string) string {
	for _, n := range noise {
		s = n.is().ReplaceAllString(s, n.then)
	}
	return s
}

// precise finds what is no difference between two causes: one side names what the
// other could not judge, and there sees the kind alone. It returns the names of
// both as well.
func precise(as, bs *topic) (ds []Difference, told []string) {
	if as.name != topicCauses {
		return nil, nil
	}
	find := func(narrows, broads *topic, found func(narrow, broad *item)) {
		for i := range narrows.items {
			narrow := &narrows.items[i]
			other := broads.named(narrow.what)
			if narrow.unknown() != "" || other == nil || other.unknown() == "" || checks.ByName(narrow.what) == nil {
				continue
			}
			for j := range broads.items {
				if broad := &broads.items[j]; broad.unknown() == "" && refines(narrow.what, broad.what) {
					found(narrow, broad)
					told = append(told, narrow.what, broad.what)
					break
				}
			}
		}
	}
	find(as, bs, func(narrow, broad *item) {
		ds = append(ds, Difference{as.name, narrow.what, MorePrecise, short(narrow.text()), short(broad.what + ": " + broad.text())})
	})
	find(bs, as, func(narrow, broad *item) {
		ds = append(ds, Difference{as.name, narrow.what, MorePrecise, short(broad.what + ": " + broad.text()), short(narrow.text())})
	})
	return ds, told
}

// refines tells whether a cause makes another one more precise, over any number
// of steps. Causes that this version does not know do not.
func refines(narrow, broad string) bool {
	c := checks.ByName(narrow)
	return c != nil && slices.ContainsFunc(c.Refines, func(r *checks.Check) bool { return r.Name == broad || refines(r.Name, broad) })
}

// longest is how much of a text is kept: enough to tell two apart.
const longest = 400

func short(s string) string {
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest-1]) + "…"
}
