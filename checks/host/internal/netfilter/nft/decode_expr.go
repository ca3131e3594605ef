package nft

import (
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// expressions decodes a list of them (NFTA_LIST_ELEM). What is not known, or says
// more than is understood, stays in its place as a netfilter.OpaqueExpr, and its name
// is returned.
func (d *decoder) expressions(t *netfilter.Table, b []byte) (list []netfilter.Expr, opaque string) {
	n := 0
	for rest := b; len(rest) > 0; n++ {
		_, _, r, ok := next(rest)
		if !ok {
			break
		}
		rest = r
	}
	list = make([]netfilter.Expr, 0, n)
	for len(b) > 0 {
		typ, v, rest, ok := next(b)
		if !ok || typ != 1 {
			return append(list, &netfilter.OpaqueExpr{Name: malformed}), malformed
		}
		e, name := d.expression(t, v)
		if e == nil {
			e = &netfilter.OpaqueExpr{Name: name}
			if opaque == "" {
				opaque = name
			}
		}
		list = append(list, e)
		b = rest
	}
	return list, opaque
}

// malformed names an expression that is none.
const malformed = "malformed expression"

// expression decodes one; nil and its name if it is not understood.
func (d *decoder) expression(t *netfilter.Table, b []byte) (netfilter.Expr, string) {
	name, body, ok := nameAndData(b)
	if !ok {
		return nil, malformed
	}
	var a attrs
	var e netfilter.Expr
	// The switch does not copy the name.
	switch string(name) {
	case "meta":
		a.parse(body, 3)
		e = a.meta()
	case "payload":
		a.parse(body, 8)
		e = a.payload()
	case "cmp":
		a.parse(body, 3)
		e = &Cmp{Reg: a.u32(1), Op: a.u32(2), Data: a.value(3)}
	case "immediate":
		a.parse(body, 2)
		e = a.immediate()
	case "lookup":
		a.parse(body, 5)
		flags := a.opt32(5)
		a.bad = a.bad || flags > 1
		e = &Lookup{Set: d.set(t, a.text(1)), From: a.u32(2), To: a.opt32(3), HasTo: a.has(3), Inverse: flags&1 != 0}
	case "bitwise":
		a.parse(body, 8)
		e = a.bitwise()
	case "range":
		a.parse(body, 4)
		e = &Range{Reg: a.u32(1), Op: a.u32(2), From: a.value(3), To: a.value(4)}
	case "byteorder":
		a.parse(body, 5)
		e = &Byteorder{From: a.u32(1), To: a.u32(2), Op: a.u32(3), Len: a.u32(4), Size: a.u32(5)}
	case "counter":
		a.parse(body, 3)
		e = &Counter{Bytes: a.opt64(1), Packets: a.opt64(2)}
	case "ct":
		a.parse(body, 4)
		e = a.ct()
	case "log":
		a.parse(body, 6)
		e = &Log{Group: a.opt16(1), HasGroup: a.has(1), Prefix: a.text(2), Snaplen: a.opt32(3),
			Qthreshold: a.opt16(4), Level: a.opt32(5), HasLevel: a.has(5), Flags: a.opt32(6)}
	case "reject":
		a.parse(body, 2)
		e = &Reject{Type: a.u32(1), Code: a.opt8(2)}
	case "match", "target":
		a.parse(body, 3)
		if e = d.compat(t, &a, string(name) == "target"); a.bad {
			return nil, text(name) + " " + a.text(1) // "match sctp"
		}
	default:
		e = d.rarer(t, &a, string(name), body)
	}
	if a.bad || a.more || e == nil {
		return nil, text(name)
	}
	return e, ""
}

// nameAndData splits an expression.
func nameAndData(b []byte) (name, body []byte, ok bool) {
	for len(b) > 0 {
		typ, v, rest, ok := next(b)
		if !ok {
			return nil, nil, false
		}
		switch typ {
		case 1: // NFTA_EXPR_NAME
			name = v
		case 2: // NFTA_EXPR_DATA
			body = v
		}
		b = rest
	}
	if n := len(name); n > 0 && name[n-1] == 0 {
		name = name[:n-1]
	}
	return name, body, true
}

// rarer decodes the expressions that few rules have.
func (d *decoder) rarer(t *netfilter.Table, a *attrs, name string, body []byte) netfilter.Expr {
	switch name {
	case "limit":
		a.parse(body, 6)
		flags := a.opt32(5)
		a.bad = a.bad || flags > 1 || a.opt32(4) > 1
		return &Limit{Rate: a.opt64(1), Unit: a.opt64(2), Burst: a.opt32(3), Bytes: a.opt32(4) == 1, Inverse: flags&1 != 0}
	case "quota":
		a.parse(body, 4)
		return &Quota{Bytes: a.opt64(1), Inverse: a.opt32(2)&1 != 0, Consumed: a.opt64(4)}
	case "connlimit":
		a.parse(body, 2)
		return &Connlimit{Count: a.u32(1), Inverse: a.opt32(2)&1 != 0}
	case "last":
		a.parse(body, 3)
		return &Last{Set: a.opt32(1) != 0, MS: a.opt64(2)}
	case "nat":
		a.parse(body, 7)
		return &NAT{Type: a.u32(1), Family: a.u32(2), AddrMin: a.opt32(3), AddrMax: a.opt32(4),
			ProtoMin: a.opt32(5), ProtoMax: a.opt32(6), Flags: a.opt32(7)}
	case "masq":
		a.parse(body, 3)
		return &Masquerade{Flags: a.opt32(1), ProtoMin: a.opt32(2), ProtoMax: a.opt32(3)}
	case "redir":
		a.parse(body, 3)
		return &Redirect{ProtoMin: a.opt32(1), ProtoMax: a.opt32(2), Flags: a.opt32(3)}
	case "tproxy":
		a.parse(body, 3)
		return &TProxy{Family: a.u32(1), Addr: a.opt32(2), Port: a.opt32(3)}
	case "queue":
		a.parse(body, 4)
		return &Queue{Num: uint32(a.opt16(1)), Total: uint32(a.opt16(2)), Flags: uint32(a.opt16(3)), Reg: a.opt32(4)}
	case "fib":
		a.parse(body, 3)
		return &Fib{Reg: a.u32(1), Result: a.u32(2), Flags: a.u32(3)}
	case "socket":
		a.parse(body, 3)
		return &Socket{Key: a.u32(1), Reg: a.u32(2), Level: a.opt32(3)}
	case "rt":
		a.parse(body, 2)
		return &Rt{Reg: a.u32(1), Key: a.u32(2)}
	case "exthdr":
		a.parse(body, 7)
		return &Exthdr{Reg: a.opt32(1), Type: a.opt8(2), Offset: a.opt32(3), Len: a.opt32(4), Flags: a.opt32(5),
			Op: a.opt32(6), Source: a.opt32(7), Writes: !a.has(1)}
	case "numgen":
		a.parse(body, 4)
		return &Numgen{Reg: a.u32(1), Modulus: a.u32(2), Type: a.u32(3), Offset: a.opt32(4)}
	case "hash":
		a.parse(body, 7)
		return &Hash{From: a.opt32(1), To: a.u32(2), Len: a.opt32(3), Modulus: a.u32(4), Seed: a.opt32(5), Offset: a.opt32(6), Type: a.opt32(7)}
	case "notrack":
		a.parse(body, 0)
		return &Notrack{}
	case "dynset":
		a.parse(body, 10)
		return d.dynset(t, a)
	case "objref":
		a.parse(body, 5)
		o := &Objref{Type: a.opt32(1), Name: a.text(2), Key: a.opt32(3)}
		if a.has(4) {
			o.Set = d.set(t, a.text(4))
		} else if !a.has(1) {
			a.bad = true
		}
		return o
	case "dup":
		a.parse(body, 2)
		return &Dup{Addr: a.opt32(1), Device: a.opt32(2)}
	case "fwd":
		a.parse(body, 3)
		return &Fwd{Device: a.u32(1), Addr: a.opt32(2), Family: a.opt32(3)}
	}
	return nil
}

func (a *attrs) meta() *Meta {
	m := &Meta{Key: a.u32(2), Reg: a.opt32(1)}
	if m.Set = a.has(3); m.Set {
		m.Reg = a.u32(3)
	}
	a.bad = a.bad || a.has(1) == a.has(3)
	return m
}

func (a *attrs) payload() *Payload {
	p := &Payload{Base: a.u32(2), Offset: a.u32(3), Len: a.u32(4), Reg: a.opt32(1)}
	if p.Set = a.has(5); p.Set {
		p.Reg = a.u32(5)
	}
	a.bad = a.bad || a.has(1) == a.has(5)
	return p
}

func (a *attrs) ct() netfilter.Expr {
	c := &CT{Key: a.u32(2), Reg: a.opt32(1), Direction: -1}
	if a.has(3) {
		c.Direction = int(a.opt8(3))
	}
	if c.Set = a.has(4); c.Set {
		c.Reg = a.u32(4)
	}
	a.bad = a.bad || a.has(1) == a.has(4)
	return c
}

func (a *attrs) bitwise() *Bitwise {
	b := &Bitwise{From: a.u32(1), To: a.u32(2), Len: a.u32(3), Op: a.opt32(6), Reg2: a.opt32(8)}
	switch {
	case b.Op == 0:
		b.Mask, b.Xor = a.value(4), a.value(5)
	case b.Op <= 2:
		shift := a.value(7)
		if len(shift) == 4 {
			// A number in the order of this machine, unlike all others (nft_bitwise_init_shift).
			b.Shift = nativeUint32(shift)
		} else {
			a.bad = true
		}
	default:
		b.Data = a.optValue(7)
		a.bad = a.bad || b.Op > 5 || a.has(7) == a.has(8)
	}
	return b
}

func (a *attrs) immediate() netfilter.Expr {
	i := &Immediate{Reg: a.u32(1)}
	value, nest := data(a.v[2])
	switch {
	case i.Reg != 0 && value != nil && nest == nil:
		i.Data = value
	case i.Reg == 0 && nest != nil && value == nil:
		var ok bool
		if i.Verdict, ok = verdictOf(nest); !ok {
			a.bad = true
		}
	default:
		a.bad = true
	}
	return i
}

// verdictOf decodes a verdict (NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN).
func verdictOf(b []byte) (v netfilter.Verdict, ok bool) {
	var a attrs
	a.parse(b, 3)
	v.Chain = a.text(2)
	code := int32(a.u32(1))
	switch {
	case code == 0:
		v.Code = netfilter.Drop
	case code == 1:
		v.Code = netfilter.Accept
	case code >= 0 && code&0xff == 3: // NF_QUEUE, and the number of the queue
		v.Code, v.With, v.Bypass = netfilter.Queue, "queue "+decimal(uint64(code>>16)), code&0x8000 != 0
	case code == -1: // NFT_CONTINUE
	case code == -3 || code == -4:
		v.Code = netfilter.Jump
		if code == -4 {
			v.Code = netfilter.Goto
		}
		a.bad = a.bad || v.Chain == ""
	case code == -5:
		v.Code = netfilter.Return
	default:
		return v, false
	}
	return v, !a.bad && !a.more
}

func (d *decoder) dynset(t *netfilter.Table, a *attrs) netfilter.Expr {
	s := &Dynset{Set: d.set(t, a.text(1)), Op: a.u32(3), Key: a.u32(4), Data: a.opt32(5), TimeoutMS: a.opt64(6)}
	flags := a.opt32(9)
	s.Inverse = flags&1 != 0
	a.bad = a.bad || s.Op > 2
	if a.has(7) { // NFTA_DYNSET_EXPR: one
		e, name := d.expression(t, a.v[7])
		if name != "" {
			a.bad = true
		}
		s.Exprs = append(s.Exprs, e)
	} else if a.has(10) {
		var opaque string
		if s.Exprs, opaque = d.expressions(t, a.v[10]); opaque != "" {
			a.bad = true
		}
	}
	return s
}

// compat decodes a match or a target of xtables (linux/netfilter/nf_tables_compat.h).
func (d *decoder) compat(t *netfilter.Table, a *attrs, target bool) netfilter.Expr {
	c := &Compat{Target: target, Name: a.text(1), Rev: a.u32(2), Info: a.v[3]}
	c.Expr = extension(c, t.Family)
	if c.Expr == nil {
		a.bad = true
		return nil
	}
	return c
}
