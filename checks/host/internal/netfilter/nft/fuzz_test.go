package nft

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// dump is what a kernel said, in the order in which it is decoded: see TestDump.
func dump(t testing.TB) map[byte][][]byte {
	t.Helper()
	if !littleEndian {
		t.Skip("the dump is that of a machine with the other byte order")
	}
	b, err := os.ReadFile("testdata/dump.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	all := map[byte][][]byte{}
	for len(b) > 3 {
		n := 3 + int(binary.BigEndian.Uint16(b[1:]))
		all[b[0]] = append(all[b[0]], b[3:n:n])
		b = b[n:]
	}
	for _, kind := range "tscrem" {
		if len(all[byte(kind)]) == 0 {
			t.Fatalf("the dump has no %c", kind)
		}
	}
	return all
}

// decoded is a decoder that knows the tables, sets and chains of the dump.
func decoded(all map[byte][][]byte) *decoder {
	d := newDecoder()
	d.load = func(s *Set) (list []Element, err error) {
		for _, b := range all['e'] {
			var a attrs
			a.parse(b[genLen:], 4)
			if a.text(1) == s.Table.Name && a.text(2) == s.Name && netfilter.Family(b[0]) == s.Table.Family {
				list, err = d.elements(list, s, b)
			}
		}
		return list, err
	}
	for _, b := range all['t'] {
		d.addTable(b)
	}
	for _, b := range all['s'] {
		d.addSet(b)
	}
	for _, b := range all['c'] {
		d.addChain(b)
	}
	return d
}

// all is all rules, decoded.
func (d *decoder) all() (list []*netfilter.Rule) {
	for _, t := range d.tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				list = append(list, r.Whole())
			}
		}
	}
	return list
}

func TestDecodeDump(t *testing.T) {
	all := dump(t)
	d := decoded(all)
	for _, b := range all['r'] {
		d.addRule(b)
	}
	if list := d.all(); d.malformed || d.opaque != 0 || len(list) != len(all['r']) {
		t.Errorf("%d of %d rules, %d opaque", len(list), len(all['r']), d.opaque)
	}
	for _, r := range d.all() {
		if text, _ := r.Print(); text == "" {
			t.Errorf("no text for rule %d", r.Handle)
		}
	}
}

// TestCutRulesAreOpaque ends the expressions of every rule at every byte: what is no
// longer whole is never taken for a shorter rule, unless it is one.
func TestCutRulesAreOpaque(t *testing.T) {
	all := dump(t)
	d := decoded(all)
	table := d.tables[0]
	for _, b := range all['r'] {
		var a attrs
		a.parse(b[genLen:], 11)
		whole := map[int]bool{0: true}
		for at, rest := 0, a.v[4]; len(rest) > 0; {
			_, v, next, _ := next(rest)
			at += len(rest) - len(next)
			whole[at], whole[at-len(rest)+len(next)+4+len(v)] = true, true // with its padding, and without
			rest = next
		}
		for n := range a.v[4] {
			if _, opaque := d.expressions(table, a.v[4][:n]); opaque == "" && !whole[n] {
				t.Fatalf("%d of %d bytes are a rule that is whole", n, len(a.v[4]))
			}
		}
	}
}

// TestUnknownIsOpaque adds an attribute that no expression has, and renames each.
func TestUnknownIsOpaque(t *testing.T) {
	d := newDecoder()
	table := &netfilter.Table{Family: netfilter.IPv4}
	attr := func(typ uint16, v []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(v)))
		b = append(binary.NativeEndian.AppendUint16(b, typ), v...)
		return append(b, make([]byte, (4-len(v)%4)%4)...)
	}
	one := func(name string, data []byte) []byte {
		return attr(1, append(attr(1, append([]byte(name), 0)), attr(2, data)...))
	}
	notrack := one("notrack", nil)
	if list, opaque := d.expressions(table, notrack); opaque != "" || len(list) != 1 {
		t.Errorf("notrack: %v, %q", list, opaque)
	}
	for name, b := range map[string][]byte{
		"notrack": one("notrack", attr(1, []byte{1})), "osf": one("osf", nil), "meta": one("meta", nil),
		"malformed expression": attr(2, nil), "match recent": one("match", append(attr(1, []byte("recent\x00")), append(attr(2, []byte{0, 0, 0, 9}), attr(3, []byte{1})...)...)),
	} {
		list, opaque := d.expressions(table, append(b, notrack...))
		if opaque != name || len(list) == 0 {
			t.Errorf("%s: %v, %q", name, list, opaque)
		} else if e, ok := list[0].(*netfilter.OpaqueExpr); !ok || e.Name != name {
			t.Errorf("%s: %+v", name, list[0])
		}
	}
}

// FuzzRule lets no message about a known chain vanish, whatever it says.
func FuzzRule(f *testing.F) {
	all := dump(f)
	for _, b := range all['r'] {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := decoded(all)
		d.addRule(b)
		list := d.all()
		if _, _, ok := open(b); ok && len(list) == 0 && !d.malformed {
			t.Fatal("a rule vanished")
		}
		for _, r := range list {
			text, words := r.Print()
			if r.Opaque != "" && words != nil {
				t.Fatalf("%s is opaque, and has words for all of %s", r.Opaque, text)
			}
			r.Fact(r.Chain, nil)
			state(r)
		}
	})
}

// state runs the expressions of a rule on some packet.
func state(r *netfilter.Rule) {
	a := netip.MustParseAddrPort("127.0.0.1:62893")
	s := &netfilter.State{Packet: &netfilter.Packet{Kind: facts.Syn, From: a, To: a}, Family: netfilter.IPv4, Table: r.Chain.Table, Hook: netfilter.Output, Out: "lo", OutIndex: 1}
	for _, e := range r.Exprs {
		e.Eval(s)
	}
}

func FuzzSet(f *testing.F) {
	all := dump(f)
	for i := range all['s'] {
		for _, b := range all['e'][:min(i+1, len(all['e']))] {
			f.Add(all['s'][i], b)
		}
	}
	f.Fuzz(func(t *testing.T, set, elements []byte) {
		d := decoded(map[byte][][]byte{'t': all['t'], 's': {set}, 'e': {elements}})
		for _, s := range d.sets {
			if _, err := d.elements(nil, s, elements); err != nil {
				return
			}
			s.load = func() ([]Element, error) { return d.elements(nil, s, elements) }
			c := &netfilter.Chain{Table: s.Table, Name: "c"}
			r := &netfilter.Rule{Chain: c, Exprs: []netfilter.Expr{&Meta{Key: metaMark, Reg: 1}, &Meta{Key: metaL4Proto, Reg: 9}, &Lookup{Set: s, From: 1, HasTo: s.DataLen > 0, To: 0}}}
			print(r, nil)
			state(r)
		}
	})
}

func FuzzChain(f *testing.F) {
	all := dump(f)
	for i, b := range all['c'] {
		f.Add(b, all['t'][i%len(all['t'])])
	}
	f.Fuzz(func(t *testing.T, chain, table []byte) {
		d := newDecoder()
		d.addTable(table)
		d.addChain(chain)
		for _, t := range d.tables {
			for _, c := range t.Chains {
				c.PolicyFact()
			}
		}
	})
}

func FuzzTrace(f *testing.F) {
	all := dump(f)
	for _, b := range all['m'] {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		client := netip.MustParseAddrPort("127.0.0.1:0")
		tr := &traces{clients: map[netip.AddrPort]bool{client: true}, known: map[uint32]journey{}}
		tr.event(b)
		for j := range tr.known {
			tr.clients[tr.known[j].from] = true
		}
		if e, ok := tr.event(b); ok {
			e.Final()
		}
	})
}

// TestFlippedRules changes single bytes of rules that are real: mostly they are still
// rules, of registers, lengths and numbers that make no sense.
func TestFlippedRules(t *testing.T) {
	all := dump(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, b := range all['r'] {
		d := decoded(all)
		for range 40 {
			flipped := bytes.Clone(b)
			for range 1 + random.IntN(3) {
				flipped[random.IntN(len(flipped))] = byte(random.Uint32()) >> random.IntN(8)
			}
			before := len(d.all())
			d.malformed = false
			d.addRule(flipped)
			list := d.all()
			if _, _, ok := open(flipped); ok && len(list) == before && !d.malformed {
				t.Fatal("a rule vanished")
			}
			for _, r := range list {
				if r.Handle != 0 && r.Number == len(r.Chain.Rules) {
					r.Print()
					state(r)
				}
			}
		}
	}
}
