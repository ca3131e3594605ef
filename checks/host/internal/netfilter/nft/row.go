package nft

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

// row is a rule, and the part of its message that is decoded when its turn comes.
type row struct {
	netfilter.Rule
	d               *decoder
	exprs, userdata []byte
	bad             bool // something in the message around them
}

// Decode implements netfilter.Late.
func (w *row) Decode(r *netfilter.Rule) {
	r.Exprs, r.Opaque = w.d.expressions(r.Chain.Table, w.exprs)
	if w.bad && r.Opaque == "" {
		r.Opaque = malformed
	}
	if r.Opaque != "" {
		w.d.opaque++
	}
	r.Comment = comment(w.userdata)
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *Counter:
			r.Packets = &e.Packets
		case *Compat:
			if e.Name == "comment" && !e.Target {
				r.Comment = text(e.Info)
			}
		}
	}
	device := w.d.device
	r.Print = func() (string, []string) { return print(r, device) }
}

// Misses implements netfilter.Late: it runs the expressions that most rules begin
// with, and keeps nothing of them. What it does not understand may match.
func (w *row) Misses(s *netfilter.State) bool {
	for b := w.exprs; len(b) > 0 && !w.bad; {
		typ, v, rest, ok := next(b)
		if !ok || typ != 1 {
			return false
		}
		name, body, ok := nameAndData(v)
		if !ok {
			return false
		}
		var a attrs
		var e netfilter.Effect
		switch string(name) {
		case "meta":
			a.parse(body, 3)
			m := a.meta()
			if a.bad || a.more || m.Set {
				return false
			}
			e = m.Eval(s)
		case "payload":
			a.parse(body, 8)
			p := a.payload()
			if a.bad || a.more || p.Set {
				return false
			}
			e = p.Eval(s)
		case "bitwise":
			a.parse(body, 8)
			x := a.bitwise()
			if a.bad || a.more {
				return false
			}
			e = x.Eval(s)
		case "cmp":
			a.parse(body, 3)
			c := Cmp{Reg: a.u32(1), Op: a.u32(2), Data: a.value(3)}
			if a.bad || a.more {
				return false
			}
			e = c.Eval(s)
		case "counter":
			e = netfilter.Continue
		default:
			return false
		}
		if e.Match != netfilter.Yes {
			return e.Match == netfilter.No
		}
		b = rest
	}
	return false
}
