package nft

import (
	"bytes"
	"math/bits"
	"slices"
	"strings"
)

// setAnonymous is NFT_SET_ANONYMOUS: the set belongs to one rule.
const setAnonymous = 1

// How many elements of an anonymous set are written.
const maxElements = 1024

// elements writes the elements of a set in the order of their keys.
func (p *printer) elements(s *Set, list []Element, key, data []*value) (texts []string) {
	type entry struct {
		from, to []byte // of an interval both ends, inclusive
		text     string
		e        Element
	}
	var entries []entry
	single := s.kind() == intervalSet
	if single {
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b Element) int {
			if c := bytes.Compare(a.Key, b.Key); c != 0 || a.End == b.End {
				return c
			}
			if a.End {
				return -1
			}
			return 1
		})
	}
	for i, e := range list {
		switch {
		case e.End:
			continue
		case e.CatchAll:
			entries = append(entries, entry{bytes.Repeat([]byte{0xff}, 65), nil, "*", e})
			continue
		case !single:
			entries = append(entries, entry{p.ordered(key, e.Key), nil, p.keyText(key, e), e})
			continue
		}
		to := bytes.Repeat([]byte{0xff}, len(e.Key))
		if i+1 < len(list) && list[i+1].Key != nil {
			to = before(list[i+1].Key)
		}
		v := value{kind: raw}
		if len(key) > 0 {
			v = *key[0]
		}
		entries = append(entries, entry{e.Key, to, p.interval(v.kind, e.Key, to, v.size), e})
	}
	if s.kind() != concatSet { // those nft leaves as they are
		slices.SortStableFunc(entries, func(a, b entry) int { return bytes.Compare(a.from, b.from) })
	}
	for i, x := range entries {
		if i == maxElements {
			p.lossy = true
			return append(texts, "…")
		}
		text := x.text
		if x.e.Comment != "" {
			text += " comment " + p.quoted(x.e.Comment)
		}
		p.lossy = p.lossy || len(x.e.Exprs) > 0 || x.e.TimeoutMS > 0
		switch {
		case s.DataType == 0xffffff00:
			text += " : " + verdictText(x.e.Verdict)
		case x.e.Object != "":
			text += " : \"" + p.name(x.e.Object) + "\""
		case x.e.Data != nil:
			text += " : " + p.dataText(data, x.e.Data)
		}
		texts = append(texts, text)
	}
	return texts
}

// before is the number before a key: the last of an interval that ends there.
func before(key []byte) []byte {
	b := slices.Clone(key)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			break
		}
	}
	return b
}

// ordered is a key by which elements are sorted, as nft does: as a number, names and
// concatenations in the order of the machine (nftables/src/mergesort.c).
func (p *printer) ordered(key []*value, b []byte) (sorted []byte) {
	if len(key) == 1 {
		if key[0].kind.flags() {
			n := bigEndian(b[:min(len(b), 8)], key[0].host)
			return []byte{byte(bits.TrailingZeros64(n))}
		}
		host := key[0].host || key[0].kind == interfaceName || key[0].kind == text16
		return turned(b, host && littleEndian)
	}
	for _, part := range cutKey(key, b) {
		sorted = append(sorted, part.bytes...)
	}
	return turned(sorted, littleEndian)
}

type keyPart struct {
	v     *value
	bytes []byte
}

// cutKey splits a key into the parts of a concatenation, each padded to four bytes.
func cutKey(key []*value, b []byte) (parts []keyPart) {
	if len(key) == 1 {
		return []keyPart{{key[0], b}}
	}
	for _, v := range key {
		n := min(v.size, len(b))
		parts = append(parts, keyPart{v, b[:n]})
		b = b[min((n+3)&^3, len(b)):]
	}
	return parts
}

func (p *printer) keyText(key []*value, e Element) string {
	var texts []string
	from, to := cutKey(key, e.Key), cutKey(key, e.KeyEnd)
	for i, f := range from {
		if e.KeyEnd != nil && i < len(to) && len(to[i].bytes) == len(f.bytes) {
			texts = append(texts, p.span(f.v, f.bytes, to[i].bytes))
			continue
		}
		texts = append(texts, p.constant(f.v, f.bytes))
	}
	return strings.Join(texts, " . ")
}

// dataText is what a map answers, in the kinds of what it is used for.
func (p *printer) dataText(kinds []*value, b []byte) string {
	if len(kinds) == 0 {
		p.lossy = true
		return p.written(raw, b, len(b))
	}
	var texts []string
	for _, part := range cutKey(kinds, b) {
		if part.v.size < len(part.bytes) {
			part.bytes = part.bytes[:part.v.size]
		}
		texts = append(texts, p.constant(part.v, part.bytes))
	}
	return strings.Join(texts, " . ")
}

// dynset adds to a set, updates or deletes.
func (p *printer) dynset(e *Dynset) {
	if e.Set == nil || e.Op > 2 || e.Inverse {
		p.lossy = true
		p.add("[dynset]")
		return
	}
	text := [...]string{"add", "update", "delete"}[e.Op] + " @" + p.name(e.Set.Name) + " { " + p.left(p.parts(e.Key, int(e.Set.KeyLen)))
	if e.TimeoutMS != 0 {
		text += " timeout " + duration(e.TimeoutMS)
	}
	sub := &printer{table: p.table, names: p.names}
	for _, x := range e.Exprs {
		if !sub.statement(x) {
			sub.lossy = true
		}
	}
	for _, s := range sub.stmts {
		if s.again == "" {
			s.again = s.text
		}
		text += " " + s.again
	}
	end := " }"
	if e.Data != 0 {
		end = " : " + p.refer(p.get(e.Data)) + end
		p.lossy = p.lossy || p.get(e.Data).data != nil
	}
	p.lossy = p.lossy || sub.lossy
	p.add(text + end)
}

// duration writes milliseconds as nft does: "1h2m3s".
func duration(ms uint64) string {
	var b strings.Builder
	for _, u := range []struct {
		ms   uint64
		name string
	}{{24 * 3600 * 1000, "d"}, {3600 * 1000, "h"}, {60 * 1000, "m"}, {1000, "s"}, {1, "ms"}} {
		if n := ms / u.ms; n > 0 {
			b.WriteString(decimal(n) + u.name)
			ms -= n * u.ms
		}
	}
	return b.String()
}
