package nft

import (
	"fmt"
	"strings"
)

// compare adds a comparison.
func (p *printer) compare(e *Cmp) {
	v := p.get(e.Reg)
	if v.payload != nil && !v.masked && e.Op <= 1 && p.expand(v, e) {
		return
	}
	// Two comparisons of one register are a range.
	if e.Op == 3 && v.index > 0 && v.from != nil && v.index == len(p.stmts) {
		p.stmts[v.index-1].text = p.refer(v) + " " + p.span(v, v.from, e.Data)
		v.from = nil
		return
	}
	right := ""
	switch {
	case v.masked:
		text, done := p.masked(v, e)
		if done {
			p.add(text)
			return
		}
		left := p.refer(v)
		right = p.constant(v, e.Data)
		if f, ok := p.bitField(v); ok {
			right = p.shifted(f, e.Data)
			p.add(left + " " + sign(e.Op) + right)
			return
		}
		op := sign(e.Op)
		if op == "" {
			op = "== "
		}
		p.add(left + " " + op + right)
		if e.Op == 5 {
			v.index, v.from = len(p.stmts), e.Data
		}
		return
	case v.payload != nil && len(e.Data) < v.size && (v.kind == address4 || v.kind == address6):
		full := append(append([]byte(nil), e.Data...), make([]byte, v.size-len(e.Data))...)
		right = fmt.Sprintf("%s/%d", p.written(v.kind, full, v.size), 8*len(e.Data))
	default:
		right = p.constant(v, e.Data)
	}
	left := p.refer(v)
	op := sign(e.Op)
	if v.kind.flags() {
		switch single := one(v, e.Data); {
		case e.Op == 0 && single:
			op = "== "
		case e.Op == 0: // nft(8) writes the number, as a list means any of them
			op, right = "== ", fmt.Sprintf("0x%x", bigEndian(e.Data[:min(len(e.Data), 8)], v.host))
		case !single:
			right = joined(v.kind, bigEndian(e.Data[:min(len(e.Data), 8)], v.host), " | ")
		}
	}
	p.add(left + " " + op + right)
	if e.Op == 5 {
		v.index, v.from = len(p.stmts), e.Data
	}
	if e.Op == 0 {
		p.learn(v, e.Data, len(p.stmts)-1)
	}
}

// one tells whether exactly one bit is set: several read as a list, which equals.
func one(v *value, data []byte) bool {
	n := bigEndian(data[:min(len(data), 8)], v.host)
	return n&(n-1) == 0
}

func (p *printer) bitField(v *value) (bitfield, bool) {
	if v.payload == nil || !zero(v.xor) {
		return bitfield{}, false
	}
	return bitField(p.protocolOf(v.payload), v.payload, v.mask)
}

func (p *printer) shifted(f bitfield, data []byte) string {
	n := bigEndian(data[:min(len(data), 8)], false) >> f.shift
	return p.written(f.kind, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, 4)
}

// masked writes a comparison of a masked value that has a form of its own.
func (p *printer) masked(v *value, e *Cmp) (string, bool) {
	if !zero(v.xor) || e.Op > 1 || len(v.mask) != len(e.Data) {
		return "", false
	}
	if v.kind.flags() {
		left := p.lone(v)
		mask, data := bigEndian(v.mask, v.host), bigEndian(e.Data, v.host)
		list := func(n uint64) string { return joined(v.kind, n, ",") }
		switch {
		case data == 0 && e.Op == 1:
			return left + " " + list(mask), true
		case data == 0:
			return left + " ! " + list(mask), true
		case v.kind == tcpFlags:
			return left + " " + sign(e.Op) + list(data) + " / " + list(mask), true
		}
		return "", false
	}
	if v.kind != address4 && v.kind != address6 {
		return "", false
	}
	to := make([]byte, len(v.mask))
	for i := range to {
		to[i] = e.Data[i] | ^v.mask[i]
	}
	if _, ok := prefixLen(make([]byte, len(v.mask)), inverted(v.mask)); !ok {
		return "", false
	}
	return p.lone(v) + " " + sign(e.Op) + p.interval(v.kind, e.Data, to, v.size), true
}

func inverted(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = ^b[i]
	}
	return out
}

// lone is a value without its mask.
func (p *printer) lone(v *value) string {
	w := *v
	w.masked = false
	return p.refer(&w)
}

// expand writes one comparison of several fields as one for each, as nft does.
func (p *printer) expand(v *value, e *Cmp) bool {
	list := p.fieldsOf(v.payload)
	if len(list) < 2 || len(e.Data) != int(v.payload.Len) {
		return false
	}
	at := 0
	for _, f := range list {
		n := int(f.payload.Len)
		data := e.Data[at : at+n]
		at += n
		right := p.constant(f, data)
		if n < f.size {
			right = fmt.Sprintf("%s/%d", p.written(f.kind, append(append([]byte(nil), data...), make([]byte, f.size-n)...), f.size), 8*n)
		}
		p.add(p.refer(f) + " " + sign(e.Op) + right)
		if e.Op == 0 {
			p.learn(f, data, len(p.stmts)-1)
		}
	}
	return true
}

// lookup asks a set or a map.
func (p *printer) lookup(e *Lookup) {
	if e.Set == nil {
		p.lossy = true
		p.add("[lookup]")
		return
	}
	list := p.parts(e.From, int(e.Set.KeyLen))
	verdicts := e.HasTo && e.To == 0
	if e.HasTo && !verdicts {
		key := &value{lookup: e, text: p.left(list), size: int(min(e.Set.DataLen, maxValue)), data: nil}
		p.put(e.To, key)
		p.keys = append(p.keys, keyed{key, list})
		p.spread(e, key)
		return
	}
	text := p.left(list)
	not := ""
	if e.Inverse {
		not = "!= "
	}
	switch {
	case verdicts:
		p.add(text + " vmap " + p.setText(e.Set, list, nil))
	default:
		p.add(text + " " + not + p.setText(e.Set, list, nil))
	}
}

// spread lets the words behind the first of an answer belong to it.
func (p *printer) spread(e *Lookup, v *value) {
	w := word(e.To)
	for i := 1; i < words(v.size); i++ {
		if w >= 0 && w+i < len(p.regs) {
			p.regs[w+i] = v
		}
	}
}

// keyed is the answer of a map and what it was asked with.
type keyed struct {
	answer *value
	list   []*value
}

// mapped is the answer of a map as the right side of a statement that has the kind of v.
func (p *printer) mapped(got *value, v ...*value) string {
	for _, k := range p.keys {
		if k.answer == got {
			return got.text + " map " + p.setText(got.lookup.Set, k.list, v)
		}
	}
	p.lossy = true
	return got.text + " map"
}

// setText is a set by its name, or its elements if it has none.
func (p *printer) setText(s *Set, key, data []*value) string {
	if s.Flags&setAnonymous == 0 {
		return "@" + p.name(s.Name)
	}
	elements, err := s.Elements()
	if err != nil {
		p.lossy = true
		return "{ … }"
	}
	texts := p.elements(s, elements, key, data)
	if len(texts) == 0 {
		p.lossy = true
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// name is an identifier; one that nft(8) does not read as such cannot be said again.
func (p *printer) name(s string) string {
	for i, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.' || c == '/' || c == '\\')) {
			p.lossy = true
		}
	}
	p.lossy = p.lossy || s == ""
	return s
}
