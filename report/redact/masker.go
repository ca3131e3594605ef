package redact

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// masker learns from a recording what has to be replaced, and then replaces it.
type masker struct {
	plan     *plan
	entries  []Entry
	index    map[string]int  // by kind and original: place in entries
	domains  map[int]bool    // entries that are registered domains, "acme.co.uk"
	used     map[string]int  // by prefix: the last number given
	taken    map[string]bool // words that look like pseudonyms and were there before
	kept     map[string]bool // names of programs, containers and the like: no host is called so
	enums    map[string]bool // words of fields that are not rewritten
	seen     map[string]bool // texts that were learned from; later, those in which nothing is to be replaced
	logged   []string        // texts that may hold a login to a host that another one tells of
	bare     bool            // one of them does
	words    []needle
	variants map[int][]string // of entries that are words of the user: other ways to write them
	found    *needles
}

func newMasker(words []string) *masker {
	m := &masker{plan: newPlan(), index: map[string]int{}, domains: map[int]bool{}, used: map[string]int{}, taken: map[string]bool{},
		kept: map[string]bool{}, enums: map[string]bool{}, seen: map[string]bool{}, variants: map[int][]string{}}
	for _, w := range words {
		if w = strings.TrimSpace(w); strings.ContainsFunc(w, letter) && !pseudonymous(strings.Trim(strings.ToLower(w), "\"'.,:;()")) {
			m.entry(Word, w)
			m.variants[m.entry(Word, w)] = variants(w)
		}
	}
	return m
}

func indexOf(kind Kind, original string) string {
	if kind != Secret { // of these alone case matters
		original = norm.NFC.String(strings.ToLower(original))
	}
	return string(kind) + " " + original
}

// entry returns the place of an original, and notes it if it is new. Its pseudonym
// comes from settle.
func (m *masker) entry(kind Kind, original string) int {
	at := indexOf(kind, original)
	i, ok := m.index[at]
	if !ok {
		i = len(m.entries)
		m.index[at] = i
		m.entries = append(m.entries, Entry{Kind: kind, Original: original})
	}
	return i
}

// pseudonym is what stands for an original that was learned; another stays.
func (m *masker) pseudonym(kind Kind, original string) string {
	i, ok := m.index[indexOf(kind, original)]
	if !ok || m.entries[i].Original == m.entries[i].Pseudonym {
		return original
	}
	m.entries[i].Count++
	return m.entries[i].Pseudonym
}

// next is the next pseudonym of a prefix that the recording does not have.
func (m *masker) next(prefix string) string {
	for {
		m.used[prefix]++
		if s := fmt.Sprint(prefix, m.used[prefix]); !m.taken[s] {
			return s
		}
	}
}

// settle gives pseudonyms, once everything has been seen.
func (m *masker) settle() {
	for _, s := range m.logged {
		m.bareLogins(s, func(user string) { m.user(user); m.bare = true }, m.learnSecret)
	}
	m.plan.make()
	for i := range m.entries {
		e := &m.entries[i]
		switch e.Kind {
		case User:
			e.Pseudonym = m.next("user")
		case Word:
			e.Pseudonym = m.next("masked")
		case Organization:
			e.Pseudonym = m.next("organization")
		case Certificate:
			m.used["0"]++
			e.Pseudonym = fmt.Sprintf("%0*d", len(e.Original), m.used["0"])
		case Hardware:
			for e.Pseudonym == "" || m.taken[e.Pseudonym] {
				m.used["02"]++
				n := m.used["02"]
				e.Pseudonym = fmt.Sprintf("02:00:00:%02x:%02x:%02x", n>>16&0xff, n>>8&0xff, n&0xff)
				if strings.HasPrefix(e.Original, "enx") {
					e.Pseudonym = fmt.Sprintf("enx020000%06x", n&0xffffff)
				}
			}
		}
	}
	for i := range m.entries {
		e := &m.entries[i]
		if e.Kind != Host {
			continue
		}
		user, isUser := m.index[indexOf(User, e.Original)]
		switch {
		case m.domains[i]:
			e.Pseudonym = m.next("domain") + ".example"
		case isUser:
			e.Pseudonym = m.entries[user].Pseudonym
		case m.keptLabel(e.Original):
			e.Pseudonym = e.Original
		default:
			e.Pseudonym = m.next("host")
		}
	}
	m.search()
	m.found = newNeedles(m.words)
	m.seen = map[string]bool{}
}

// keptLabel tells whether a label of a host's name stays.
func (m *masker) keptLabel(l string) bool {
	low := strings.ToLower(l)
	return len(l) <= 2 || l[0] == '_' || commonHosts()[low] || commonUsers()[low] || m.kept[low] || pseudonymous(low) || digit(low[0]) && len(low) < 4
}

// search says how each original is found in a text.
func (m *masker) search() {
	for i, e := range m.entries {
		low := strings.ToLower(e.Original)
		n := needle{text: low, fold: true, bounded: true, entry: i}
		common := ordinary()(low) || commonUsers()[low] || commonHosts()[low] || m.kept[low]
		switch {
		case e.Original == e.Pseudonym:
			continue
		case e.Kind == User:
			// "00z" is part of a time, and what is called like a program or a unit stays.
			if len(e.Original) < 3 || digit(low[0]) && letters(low) < 4 || ordinary()(low) || m.enums[low] || m.kept[low] {
				n.placed = userPlace
			}
		case e.Kind == Host:
			if m.domains[i] {
				if label, _, _ := strings.Cut(low, "."); len(label) >= 4 && !m.keptLabel(label) && !ordinary()(label) {
					m.words = append(m.words, needle{text: label, fold: true, bounded: true, entry: i, short: true})
				}
				break
			}
			if n.host = true; ordinary()(low) {
				n.placed = hostPlace
			}
		case e.Kind == Organization && vague(e.Original): // only in the name that it stands in
			continue
		case e.Kind == Word:
			number := strings.Trim(low, "0123456789tz .:-") == ""                 // ports, times and ids stay
			n.bounded = len(low) < 4 || number || strings.Contains(wordList, low) // "repo" is not to change "report"
			n.common = ordinary()(low) || number
		case e.Kind == Secret:
			for _, s := range forms(e.Original) {
				blanks := s != e.Original && !strings.ContainsFunc(s, letter) // of "%20%20%20%20"
				if !common && !blanks && len(e.Original) >= 4 && len(s) >= 4 {
					m.words = append(m.words, needle{text: s, bounded: !telling(s) || !telling(e.Original), entry: i})
				}
			}
			if !common {
				n.bounded = true
				for _, s := range worded(e.Original) {
					n.text = s
					m.words = append(m.words, n)
				}
			}
			continue
		case e.Kind == Address, e.Kind == Hardware && !strings.HasPrefix(low, "enx"): // read, not searched for
			continue
		}
		spellings := append(folded(e.Original), worded(e.Original)...)
		for _, v := range m.variants[i] {
			spellings = append(spellings, folded(v)...)
		}
		for _, s := range spellings {
			n.text = s
			m.words = append(m.words, n)
			for _, s := range escapes(s) {
				n.text = strings.ToLower(s)
				m.words = append(m.words, n)
			}
		}
	}
}

// worded are the spellings of an original without the signs at its end, in any case of
// letters: as Leaks looks for it (remaining).
func worded(original string) []string {
	ends := wordEnds(original, longestSearch)
	if len(ends) == 0 || letters(original) < 4 || vague(original) {
		return nil
	}
	return folded(original[:ends[len(ends)-1]])
}

// text replaces in a text what is known.
func (m *masker) text(s string) string {
	if m.seen[s] {
		return s
	}
	sc := scan{addr: m.addrText, mac: m.macText, name: m.hostText, words: m.found, word: m.wordText}
	out := sc.run(m.secrets(s))
	if out == s {
		m.seen[s] = true
	}
	return out
}

func (m *masker) wordText(n *needle, _ string) string {
	e := &m.entries[n.entry]
	e.Count++
	if n.short {
		return strings.TrimSuffix(e.Pseudonym, ".example")
	}
	return e.Pseudonym
}

// addr is the pseudonym of an address, and counts it.
func (m *masker) addr(a netip.Addr) netip.Addr {
	to := m.plan.addr(a)
	if to != a {
		e := &m.entries[m.entry(Address, a.WithZone("").String())]
		e.Pseudonym = to.WithZone("").String()
		e.Count++
	}
	return to
}

func (m *masker) prefix(p netip.Prefix) netip.Prefix {
	to := m.plan.prefix(p)
	if to == p {
		return p
	}
	if p.Addr() != p.Masked().Addr() || p.IsSingleIP() {
		m.addr(p.Addr())
	} else {
		e := &m.entries[m.entry(Address, p.String())]
		e.Pseudonym = to.String()
		e.Count++
	}
	return to
}

func (m *masker) addrText(a netip.Addr, bits int, text string) string {
	to := a
	if bits < 0 {
		to = m.addr(a)
	} else if p := netip.PrefixFrom(a.WithZone(""), bits); p.IsValid() {
		to = m.prefix(p).Addr().WithZone(a.Zone())
	}
	if to == a {
		return text
	}
	return to.String()
}

func (m *masker) macText(text string) string {
	if to := m.pseudonym(Hardware, plainMAC(text)); to != plainMAC(text) {
		return to
	}
	return text
}

// hostText is the pseudonym of a dotted name.
func (m *masker) hostText(name string, sure bool) string {
	labels, ending, public, ok := domain(name, sure)
	if !ok || localName(name) {
		return name
	}
	dot := strings.HasSuffix(name, ".")
	var out []string
	if public {
		last := len(labels) - 1
		ending = m.pseudonym(Host, labels[last]+"."+ending)
		labels = labels[:last]
	}
	var tail []string
	if p, n := numeric(labels, ending); n > 0 {
		tail = labelsOf(m.prefix(p), n, ending)
		labels = labels[:len(labels)-n]
	}
	for _, l := range labels {
		out = append(out, m.pseudonym(Host, l))
	}
	out = append(out, tail...)
	to := strings.Join(append(out, some(ending)...), ".")
	if dot {
		to += "."
	}
	if strings.EqualFold(to, name) {
		return name
	}
	return to
}

// hostName is what becomes of a text that stands where only a host can: a word of
// loopdoctor's own is one, too. Addresses, and names that text finds anywhere, are left
// to it: nothing is to be replaced twice.
func (m *masker) hostName(s string) string {
	if p, n, ok := beginning(s); ok {
		return strings.Join(strings.Split(m.prefix(p).Addr().String(), ".")[:n], ".") + "."
	}
	name := bare(s)
	i := strings.Index(strings.ToLower(s), name)
	if _, _, _, plain := domain(name, false); plain || name == "" || i < 0 || i+len(name) > len(s) || !strings.EqualFold(s[i:i+len(name)], name) {
		return s
	}
	to := name
	if strings.Contains(name, ".") {
		to = m.hostText(name, true)
	} else {
		to = m.pseudonym(Host, name)
	}
	if to == name {
		return s
	}
	return s[:i] + to + s[i+len(name):]
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// stays tells whether a word may be left in texts although it is somebody's name.
func (m *masker) stays(low string) bool {
	return m.kept[low] || m.enums[low] || commonUsers()[low] || commonHosts()[low]
}

// key is what is told of it all.
func (m *masker) key() *Key {
	k := &Key{stays: m.stays}
	at := map[int]int{}
	for i, e := range m.entries {
		if e.Original != e.Pseudonym && e.Count > 0 {
			at[i] = len(k.Entries)
			k.Entries = append(k.Entries, e)
		}
	}
	for _, n := range m.words {
		if to, ok := at[n.entry]; ok {
			n.entry = to
			k.words = append(k.words, n)
		}
	}
	return k
}
