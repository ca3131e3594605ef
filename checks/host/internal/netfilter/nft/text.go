package nft

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// print gives a rule as "nft -a list" prints it, and the words that "nft insert
// rule FAMILY TABLE CHAIN" makes it of again; nil where the text does not say all.
// In a chain of iptables-nft both are those of iptables, where it has words for the
// rule.
func print(r *netfilter.Rule, device func(uint32) string) (string, []string) {
	if r.Chain.IPTables() {
		if text, words, ok := printIPTables(r); ok {
			return text, words
		}
	}
	p := &printer{table: r.Chain.Table, names: device, lossy: r.Opaque != "" || nameless(r.Chain.Name)}
	switch p.table.Family {
	case netfilter.IPv4:
		p.network = "ip"
	case netfilter.IPv6:
		p.network = "ip6"
	}
	for _, e := range r.Exprs {
		p.expression(e)
	}
	if r.Comment != "" {
		p.add("comment " + p.quoted(r.Comment))
	}
	var text, again []string
	for _, s := range p.stmts {
		if s.gone {
			continue
		}
		text = append(text, s.text)
		if s.again == "" {
			s.again = s.text
		}
		again = append(again, s.again)
	}
	if p.lossy {
		return strings.Join(text, " "), nil
	}
	return strings.Join(text, " "), split(strings.Join(again, " "))
}

// split splits at spaces outside of quotes. These stay, for nft(8) joins its arguments
// and reads them again; a name that cannot be one of its keywords needs none.
func split(s string) (words []string) {
	quoted := false
	words = strings.FieldsFunc(s, func(r rune) bool {
		quoted = quoted != (r == '"')
		return r == ' ' && !quoted
	})
	for i, w := range words {
		if len(w) < 3 || w[0] != '"' || w[len(w)-1] != '"' {
			continue
		}
		if name := w[1 : len(w)-1]; name == "lo" || plainDevice(name) {
			words[i] = name
		}
	}
	return words
}

// plainDevice tells whether a name is one like "eth0".
func plainDevice(s string) bool {
	letters := strings.TrimRight(s, "0123456789")
	if letters == "" || letters == s || s == "ip6" || s == "icmpv6" {
		return false
	}
	for _, c := range letters {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// printer turns the expressions of one rule back into statements, as nft does
// (nftables/src/netlink_delinearize.c).
type printer struct {
	table *netfilter.Table
	names func(uint32) string // of devices; nil: not known
	regs  [16]*value          // by words of four bytes
	stmts []statement
	lossy bool // something is not said in full
	keys  []keyed

	// What the statements so far say of the protocols, and which of them said so: it
	// is left out if a later one implies it.
	link, network, transport          string
	linkDep, networkDep, transportDep int // 1 + index; 0: none
}

// statement is a part of the text; again is what makes it again, if that is another.
type statement struct {
	text, again string
	gone        bool
}

func (p *printer) add(text string) { p.stmts = append(p.stmts, statement{text: text}) }

// quoted is a string in quotes. nft(8) has no way to write one inside.
func (p *printer) quoted(s string) string {
	if strings.ContainsAny(s, "\"\n") {
		p.lossy = true
	}
	return `"` + s + `"`
}

// value is what a register holds: the left side of a comparison, or a constant.
type value struct {
	text string
	kind kind
	size int  // bytes
	host bool // its bytes are in the order of this machine

	payload *Payload
	fields  []*value // that were read at once
	masked  bool     // by mask and xor
	mask    []byte
	xor     []byte
	data    []byte  // a constant
	lookup  *Lookup // the answer of a map
	index   int     // of the statement that compared it from below, with from
	from    []byte
}

// words is how many words of registers so many bytes fill.
func words(n int) int { return (n + 3) / 4 }

// word is the place of a register.
func word(reg uint32) int {
	switch {
	case reg >= 1 && reg <= 4:
		return int(reg-1) * 4
	case reg >= 8 && reg < 24:
		return int(reg - 8)
	}
	return -1
}

func (p *printer) put(reg uint32, v *value) {
	if w := word(reg); w >= 0 {
		p.regs[w] = v
	}
}

// get is what a register holds; something that is not known if nothing does.
func (p *printer) get(reg uint32) *value {
	if w := word(reg); w >= 0 && p.regs[w] != nil {
		return p.regs[w]
	}
	p.lossy = true
	return &value{text: "[register " + decimal(uint64(reg)) + "]", kind: raw}
}

// parts is the values that make up a key of so many bytes.
func (p *printer) parts(reg uint32, size int) (list []*value) {
	w := word(reg)
	for n := 0; n < size; {
		if w < 0 || w >= len(p.regs) || p.regs[w] == nil || p.regs[w].size == 0 {
			p.lossy = true
			return []*value{p.get(reg)}
		}
		v := p.regs[w]
		if len(v.fields) > 0 { // whole words, or they were no parts of a key
			list = append(list, v.fields...)
		} else {
			list = append(list, v)
		}
		w += words(v.size)
		n += words(v.size) * 4
	}
	return list
}

// left is values as the left side of a comparison or a lookup.
func (p *printer) left(list []*value) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = p.refer(v)
	}
	return strings.Join(texts, " . ")
}

// refer is a value as it is named, with what was done to it.
func (p *printer) refer(v *value) string {
	if v.payload != nil {
		p.imply(v)
	}
	if !v.masked {
		return v.text
	}
	return p.binary(v)
}

// expression adds what one expression says.
func (p *printer) expression(e netfilter.Expr) {
	switch e := e.(type) {
	case *Meta:
		p.meta(e)
	case *Payload:
		p.loadPayload(e)
	case *CT:
		p.ct(e)
	case *Cmp:
		p.compare(e)
	case *Range:
		v := p.get(e.Reg)
		left := p.refer(v)
		p.add(left + " " + sign(e.Op) + p.span(v, e.From, e.To))
	case *Bitwise:
		p.bitwise(e)
	case *Byteorder:
		v := *p.get(e.From)
		v.host = !v.host
		v.mask, v.xor = turned(v.mask, v.masked), turned(v.xor, v.masked)
		p.put(e.To, &v)
	case *Immediate:
		if e.Reg == 0 {
			p.verdict(e.Verdict)
			return
		}
		p.put(e.Reg, &value{data: e.Data, size: len(e.Data)})
	case *Lookup:
		p.lookup(e)
	default:
		if p.load(e) {
			return
		}
		if !p.statement(e) {
			p.lossy = true
			p.add(unknownText(e))
		}
		// What comes before a statement is no longer implied by what comes behind.
		p.linkDep, p.networkDep, p.transportDep = 0, 0, 0
	}
}

// unknownText names what has no words here.
func unknownText(e netfilter.Expr) string {
	switch e := e.(type) {
	case *netfilter.OpaqueExpr:
		return "[" + e.Name + "]"
	case *Compat:
		if e.Target {
			return "xt target \"" + e.Name + "\""
		}
		return "xt match \"" + e.Name + "\""
	}
	return "[expression]"
}

// sign is the comparison; equality needs none.
func sign(op uint32) string {
	return [...]string{"", "!= ", "< ", "<= ", "> ", ">= "}[min(op, 5)]
}

// verdict adds a verdict. A chain without a name of its own stands in the rule.
func (p *printer) verdict(v netfilter.Verdict) {
	text := verdictText(v)
	if nameless(v.Chain) {
		p.lossy = true
		text = strings.TrimSuffix(text, v.Chain) + "{ … }"
	} else if v.Chain != "" {
		p.name(v.Chain)
	}
	p.add(text)
}

// nameless tells whether a chain is the block of one rule: "jump { … }". The kernel
// numbers those (NFT_CHAIN_BINDING), and nobody can add to them.
func nameless(chain string) bool { return strings.HasPrefix(chain, "__chain") }

// verdictText is a verdict as nft prints it.
func verdictText(v netfilter.Verdict) string {
	switch v.Code {
	case netfilter.Accept:
		return "accept"
	case netfilter.Drop:
		return "drop"
	case netfilter.Jump:
		return "jump " + v.Chain
	case netfilter.Goto:
		return "goto " + v.Chain
	case netfilter.Return:
		return "return"
	case netfilter.Queue:
		return v.With
	}
	return "continue"
}
