package redact

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts/secret"
)

// Leak is an original, or something with the shape of a secret, that stands in a file.
type Leak struct {
	File   string // as it was named to Leaks
	Line   int    // 1 is the first
	Kind   Kind
	Entry  *Entry // nil: a secret that nobody learned of
	Offset int    // in bytes
}

// maxLeaks bounds what is told of one file: one is enough to refuse it.
const maxLeaks = 100

// Leaks lists every original of the key that still stands in a file, and what has the
// shape of a secret although nobody learned of it; none of it means that the file is
// clean. It reads as Redact does: an original is found where Redact would have replaced
// it, in any case of letters, escaped for JSON, HTML or a URL, and secrets in Base64,
// too. Words are then looked for once more, in another way (remaining). What is a
// pseudonym as well is no leak, and neither is what loopdoctor itself says in every such
// file (unsaid). Bytes, as a capture has them, are not read.
func (k *Key) Leaks(name string, data []byte) []Leak {
	if k == nil {
		return nil
	}
	var leaks []Leak
	text := unsaid(name, string(data))
	at := 0 // where the scan is
	add := func(kind Kind, e *Entry, found string) {
		if len(leaks) >= maxLeaks {
			return
		}
		l := Leak{File: name, Kind: kind, Entry: e, Offset: at + max(strings.Index(text[at:], found), 0)}
		l.Line = 1 + strings.Count(text[:l.Offset], "\n")
		leaks = append(leaks, l)
	}
	pseudonyms, stands := map[string]bool{}, map[netip.Addr]bool{}
	for _, e := range k.Entries {
		pseudonyms[strings.ToLower(e.Pseudonym)] = true
		if a, ok := addressOf(e.Pseudonym); ok {
			stands[a] = true
		}
	}
	addresses, macs := map[netip.Addr]*Entry{}, map[string]*Entry{}
	for i := range k.Entries {
		e := &k.Entries[i]
		switch {
		case pseudonyms[strings.ToLower(e.Original)]:
		case e.Kind == Address:
			if a, ok := addressOf(e.Original); ok && !stands[a] {
				addresses[a] = e
			}
		case e.Kind == Hardware:
			macs[plainMAC(e.Original)] = e
		}
	}
	sc := scan{words: k.find(),
		addr: func(a netip.Addr, _ int, text string) string {
			e := addresses[a.WithZone("")]
			if in, ok := embedded(a); ok && e == nil {
				e = addresses[in]
			}
			if e != nil {
				add(Address, e, text)
			}
			return text
		},
		mac: func(text string) string {
			if e := macs[plainMAC(text)]; e != nil {
				add(Hardware, e, text)
			}
			return text
		},
		word: func(n *needle, found string) string {
			e, end := &k.Entries[n.entry], at+len(found)
			// Four letters in the middle of Base64 or of a digest are chance.
			chance := e.Kind == Word && len(found) < 6 && !begins(text, at) && wordAt(text, end) > 0
			if !chance && !n.common && !pseudonyms[strings.ToLower(found)] && !pseudonyms[strings.ToLower(wordAround(text, at, end))] {
				add(e.Kind, e, found)
			}
			return found
		}}
	sc.at = &at
	sc.run(text)
	for _, x := range k.remaining(text) {
		if at = x.at; !pseudonyms[strings.ToLower(x.entry.Original)] && !slices.ContainsFunc(leaks, func(l Leak) bool { return l.Offset == at }) {
			add(x.entry.Kind, x.entry, "")
		}
	}
	at = 0
	for _, s := range secret.Shaped(text) {
		if _, value, _ := inner(s); !hides(value) {
			add(Secret, nil, s)
		}
	}
	return leaks
}

// wordAround is the word of which s[from:end] is a part: "den1" of hidden1 is chance, too.
func wordAround(s string, from, end int) string {
	for from > 0 && wordByte(s[from-1]) {
		from--
	}
	for end < len(s) && wordByte(s[end]) {
		end++
	}
	return s[from:end]
}

// addressOf reads an address, or that of a prefix.
func addressOf(s string) (netip.Addr, bool) {
	s, _, _ = strings.Cut(s, "/")
	a, err := netip.ParseAddr(s)
	return a, err == nil
}
