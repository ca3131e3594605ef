package nft

import (
	"errors"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// errElement says that the elements of a set are not what is understood.
var errElement = errors.New("malformed element of a set")

// addSet decodes NFT_MSG_NEWSET.
func (d *decoder) addSet(b []byte) {
	var a attrs
	t := d.inTable(b, &a)
	if t == nil {
		return
	}
	s := &Set{Table: t, Name: a.text(2), ID: a.opt32(10), Flags: a.opt32(3), KeyType: a.opt32(4), KeyLen: a.opt32(5),
		DataType: a.opt32(6), DataLen: a.opt32(7), ObjType: a.opt32(15), Userdata: a.v[13]}
	if a.has(9) { // NFTA_SET_DESC
		var desc attrs
		desc.parse(a.v[9], 2)
		s.Fields = fields(desc.v[2])
	}
	s.load = func() ([]Element, error) { return d.load(s) }
	d.sets[place{t, s.Name}] = s
}

// fields decodes the lengths of the parts of a concatenation (NFTA_SET_DESC_CONCAT).
func fields(b []byte) (list []uint32) {
	for len(b) > 0 {
		_, v, rest, ok := next(b)
		if !ok {
			return list
		}
		var a attrs
		a.parse(v, 1)
		list = append(list, a.opt32(1))
		b = rest
	}
	return list
}

// set finds a set; nil if it was not listed.
func (d *decoder) set(t *netfilter.Table, name string) *Set { return d.sets[place{t, name}] }

// elements appends those of a message of NFT_MSG_NEWSETELEM.
func (d *decoder) elements(list []Element, s *Set, b []byte) ([]Element, error) {
	if len(b) < genLen {
		return nil, errElement
	}
	var a attrs
	a.parse(b[genLen:], 4)
	if a.bad {
		return nil, errElement
	}
	for b := a.v[3]; len(b) > 0; {
		_, v, rest, ok := next(b)
		if !ok {
			return nil, errElement
		}
		e, ok := d.element(s, v)
		if !ok {
			return nil, errElement
		}
		list = append(list, e)
		b = rest
	}
	return list, nil
}

func (d *decoder) element(s *Set, b []byte) (e Element, ok bool) {
	var a attrs
	a.parse(b, 11)
	flags := a.opt32(3)
	e = Element{Key: a.optValue(1), KeyEnd: a.optValue(10), End: flags&1 != 0, CatchAll: flags&2 != 0,
		Object: a.text(9), TimeoutMS: a.opt64(4), Comment: comment(a.v[6])}
	if a.has(2) {
		value, nest := data(a.v[2])
		switch {
		case nest != nil:
			if e.Verdict, ok = verdictOf(nest); !ok {
				return e, false
			}
		case value != nil:
			e.Data = value
		default:
			a.bad = true
		}
	}
	switch {
	case a.has(7): // NFTA_SET_ELEM_EXPR: one
		x, name := d.expression(s.Table, a.v[7])
		if x == nil {
			x = &netfilter.OpaqueExpr{Name: name}
		}
		e.Exprs = []netfilter.Expr{x}
	case a.has(11):
		e.Exprs, _ = d.expressions(s.Table, a.v[11])
	}
	return e, !a.bad && !a.more && (e.CatchAll || e.Key != nil)
}
