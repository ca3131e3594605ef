package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/xt"
)

// printIPTables gives a rule as "iptables-nft -S" prints it, and the words behind
// "-A CHAIN", nil where they do not say all; false where iptables has no words for an expression. It writes a part of
// its options as expressions of nf_tables (iptables/nft.c, nft-ruleparse.c), the others as
// matches and targets of xtables.
func printIPTables(r *netfilter.Rule) (text string, words []string, ok bool) {
	p := &iptables{v6: r.Chain.Table.Family == netfilter.IPv6, complete: true}
	for _, e := range r.Exprs {
		if !p.expression(e) {
			return "", nil, false
		}
	}
	all := []option{p.source, p.destination, p.in, p.out, p.protocol, p.fragment}
	for _, m := range p.matches {
		all = append(all, *m)
		all = append(all, m.ports...)
	}
	texts := []string{"-A", r.Chain.Name}
	for _, o := range append(all, p.target) {
		words = append(words, o.words...)
		if o.text != "" {
			texts = append(texts, o.text)
		}
	}
	if !p.complete || len(words) == 0 {
		words = nil
	}
	return strings.Join(texts, " "), words, true
}

// option is some words of a rule. Of a match for TCP or UDP ports holds what it
// says, in the order in which iptables prints it.
type option struct {
	words []string
	text  string
	name  string
	ports []option
}

// said is an option that is printed as it is.
func said(invert bool, words ...string) option {
	if invert {
		words = append([]string{"!"}, words...)
	}
	return option{words: words, text: strings.Join(words, " ")}
}

// iptables collects the options of one rule.
type iptables struct {
	v6       bool
	complete bool // the words say all there is
	regs     [16]loaded

	source, destination, in, out, protocol, fragment, target option
	proto                                                    byte
	matches                                                  []*option
}

// loaded is what an expression read into a register.
type loaded struct {
	from netfilter.Expr
	mask []byte
	low  []byte // of a range that another comparison ends
}

func (p *iptables) at(reg uint32) *loaded {
	if w := word(reg); w >= 0 {
		return &p.regs[w]
	}
	return &loaded{}
}

// expression adds one expression; false if iptables has no words for it.
func (p *iptables) expression(e netfilter.Expr) bool {
	if p.target.words != nil { // nothing comes behind the target
		return false
	}
	switch e := e.(type) {
	case *Meta:
		*p.at(e.Reg) = loaded{from: e}
		return !e.Set
	case *Payload:
		*p.at(e.Reg) = loaded{from: e}
		return !e.Set
	case *Bitwise:
		from := p.at(e.From)
		if e.Op != 0 || !zero(e.Xor) || from.mask != nil || e.From != e.To {
			return false
		}
		from.mask = e.Mask
	case *Cmp:
		return p.compare(p.at(e.Reg), e)
	case *Range:
		got, ok := p.at(e.Reg).from.(*Payload)
		return ok && e.Op <= 1 && p.port(got, e.Op == 1, e.From, e.To)
	case *Counter:
	case *Limit:
		return p.limit(e)
	case *Log:
		return p.log(e)
	case *Immediate:
		if e.Reg != 0 {
			return false
		}
		p.target = said(false, "-j", strings.ToUpper(verdictText(e.Verdict)))
		switch e.Verdict.Code {
		case netfilter.Jump:
			p.target = said(false, "-j", e.Verdict.Chain)
		case netfilter.Goto:
			p.target = said(false, "-g", e.Verdict.Chain)
		case netfilter.Accept, netfilter.Drop, netfilter.Return:
		default:
			return false
		}
	case *Compat:
		printer, ok := e.Expr.(xt.Printer)
		if !ok {
			return false
		}
		o := option{words: printer.Words(), text: printer.Text()}
		p.complete = p.complete && len(o.words) > 0
		if e.Target {
			if o.words == nil {
				o.words = []string{"-j", e.Name}
			}
			p.target = o
			return true
		}
		p.matches = append(p.matches, &o)
	case *netfilter.OpaqueExpr:
		what, name, _ := strings.Cut(e.Name, " ")
		p.complete = false
		switch {
		case what == "match" && name != "":
			p.matches = append(p.matches, &option{text: "-m " + name + " […]"})
		case what == "target" && name != "":
			p.target = option{text: "-j " + name + " […]", words: []string{name}}
		default:
			return false
		}
	default:
		return false
	}
	return true
}

// compare adds a comparison with what was read.
func (p *iptables) compare(got *loaded, e *Cmp) bool {
	not := e.Op == 1
	switch from := got.from.(type) {
	case *Meta:
		if e.Op > 1 || len(e.Data) == 0 {
			return false
		}
		switch {
		case from.Key == metaMark && len(e.Data) == 4:
			mark := fmt.Sprintf("0x%x", nativeUint32(e.Data))
			if got.mask != nil {
				if len(got.mask) != 4 {
					return false
				}
				mark += fmt.Sprintf("/0x%x", nativeUint32(got.mask))
			}
			m := said(false, "-m", "mark")
			value := said(not, "--mark", mark)
			m.words, m.text = append(m.words, value.words...), m.text+" "+value.text
			p.matches = append(p.matches, &m)
		case got.mask != nil:
			return false
		case from.Key == metaL4Proto && len(e.Data) == 1:
			return p.ofProtocol(not, e.Data[0])
		case from.Key == metaIIFName:
			return interfaceOption(&p.in, not, "-i", e.Data)
		case from.Key == metaOIFName:
			return interfaceOption(&p.out, not, "-o", e.Data)
		default:
			return false
		}
		return true
	case *Payload:
		return p.payload(from, got, e)
	}
	return false
}

// interfaceOption adds the name of a device: without its final zero only the beginning is compared.
func interfaceOption(o *option, not bool, flag string, data []byte) bool {
	if o.words != nil {
		return false
	}
	name := text(data)
	if len(name) == len(data) && len(data) < interfaceLen {
		name += "+"
	}
	*o = said(not, flag, name)
	return true
}

func (p *iptables) ofProtocol(not bool, number byte) bool {
	if p.protocol.words != nil {
		return false
	}
	if !not {
		p.proto = number
	}
	p.protocol = said(not, "-p", new(printer).written(protocol, []byte{number}, 1))
	return true
}

// payload adds a comparison with a part of the packet.
func (p *iptables) payload(from *Payload, got *loaded, e *Cmp) bool {
	not := e.Op == 1
	switch {
	case from.Base == 1 && e.Op <= 1:
		size, src, dst := uint32(4), uint32(12), uint32(16)
		if p.v6 {
			size, src, dst = 16, 8, 24
		}
		switch {
		case from.Offset == src && from.Len <= size:
			return networkOption(&p.source, not, "-s", e.Data, got.mask, int(size))
		case from.Offset == dst && from.Len <= size:
			return networkOption(&p.destination, not, "-d", e.Data, got.mask, int(size))
		case !p.v6 && from.Offset == 9 && from.Len == 1 && got.mask == nil && len(e.Data) == 1:
			return p.ofProtocol(not, e.Data[0])
		case !p.v6 && from.Offset == 6 && from.Len == 2 && len(got.mask) == 2 && got.mask[0] == 0x1f && zero(e.Data):
			p.fragment = said(!not, "-f")
			return true
		}
	case from.Base == 2 && from.Offset == 13 && from.Len == 1 && p.proto == tcp && e.Op <= 1 && len(e.Data) == 1:
		mask := byte(0xff)
		if len(got.mask) == 1 {
			mask = got.mask[0]
		}
		return p.part(2, said(not, "--tcp-flags", tcpFlagList(mask), tcpFlagList(e.Data[0])))
	case from.Base == 2 && got.mask == nil && len(e.Data) == 2:
		switch e.Op {
		case 0, 1:
			return p.port(from, not, e.Data, e.Data)
		case 3:
			if got.low != nil {
				return p.port(from, false, got.low, e.Data)
			}
			return p.port(from, false, []byte{0, 0}, e.Data)
		case 5:
			got.low = e.Data
			return true
		}
	}
	return false
}

// port adds a port or a range of them.
func (p *iptables) port(from *Payload, not bool, low, high []byte) bool {
	if from.Base != 2 || from.Len != 2 || from.Offset != 0 && from.Offset != 2 || len(low) != 2 || len(high) != 2 {
		return false
	}
	value := strconv.Itoa(int(binary.BigEndian.Uint16(low)))
	if high := strconv.Itoa(int(binary.BigEndian.Uint16(high))); high != value {
		value += ":" + high
	}
	if from.Offset == 0 {
		return p.part(0, said(not, "--sport", value))
	}
	return p.part(1, said(not, "--dport", value))
}

// part adds an option of the match for TCP or UDP, which stands where its first did.
func (p *iptables) part(place int, o option) bool {
	names := map[byte]string{tcp: "tcp", 17: "udp"}
	name := names[p.proto]
	if name == "" || name == "udp" && place > 1 {
		return false
	}
	var match *option
	for _, m := range p.matches {
		if m.name == name {
			match = m
		}
	}
	if match == nil {
		m := said(false, "-m", name)
		m.name, m.ports = name, make([]option, 3)
		p.matches = append(p.matches, &m)
		match = &m
	}
	if match.ports[place].words != nil {
		return false
	}
	match.ports[place] = o
	return true
}

// tcpFlagList is the names of flags as iptables lists them.
func tcpFlagList(n byte) string {
	var names []string
	for _, s := range tcpFlags.symbols()[:6] {
		if uint64(n)&s.value != 0 {
			names = append(names, strings.ToUpper(s.name))
		}
	}
	switch {
	case n&0x3f == 0x3f:
		return "ALL"
	case len(names) == 0:
		return "NONE"
	}
	// FIN, SYN, RST, PSH, ACK, URG: the order of the bits.
	return strings.Join(names, ",")
}

// networkOption adds a network: whole bytes are compared without a mask.
func networkOption(o *option, not bool, flag string, data, mask []byte, size int) bool {
	if o.words != nil || len(data) > size || mask != nil && (len(mask) != size || len(data) != size) {
		return false
	}
	length := 8 * len(data)
	full := append(append([]byte(nil), data...), make([]byte, size-len(data))...)
	a, _ := netip.AddrFromSlice(full)
	suffix := ""
	if mask != nil {
		n, ok := prefixLen(make([]byte, size), inverted(mask))
		if length = n; !ok {
			m, _ := netip.AddrFromSlice(mask)
			suffix = m.String()
		}
	}
	if suffix == "" {
		suffix = strconv.Itoa(length)
	}
	*o = said(not, flag, a.String()+"/"+suffix)
	return true
}
