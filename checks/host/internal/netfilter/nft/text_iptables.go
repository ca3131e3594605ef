package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/xt"
)

// printIPTables gives a rule in the words of iptables; false where it has none.
// iptables-nft writes addresses, devices, protocols, ports, marks and limits as
// expressions of nf_tables, and everything else as matches and targets of xtables
// (iptables/nft.c, nft-shared.c); this is the way back (nft-ruleparse.c).
func printIPTables(r *netfilter.Rule, _ func(uint32) string) (text string, words []string, ok bool) {
	p := &iptablesPrinter{loads: map[uint32]*loaded{}, v6: r.Chain.Table.Family == netfilter.IPv6}
	for _, e := range r.Exprs {
		if !p.expression(e) {
			return "", nil, false
		}
	}
	text = "-A " + r.Chain.Name
	for _, o := range []*options{&p.source, &p.dest, &p.in, &p.out, &p.proto, &p.fragment} {
		text, words = o.appendTo(text, words)
	}
	for _, m := range p.matches {
		text, words = m.appendTo(text, words)
	}
	text, words = p.target.appendTo(text, words)
	if p.partial {
		words = nil
	}
	return text, words, true
}

// options are words of a command, and how iptables -S prints them.
type options struct {
	words []string
	text  string
}

// add adds an option; not puts "!" before it.
func (o *options) add(not bool, words ...string) {
	if not {
		words = append([]string{"!"}, words...)
	}
	o.words = append(o.words, words...)
	o.text = strings.TrimPrefix(o.text+" "+strings.Join(words, " "), " ")
}

func (o *options) appendTo(text string, words []string) (string, []string) {
	if o.text == "" {
		return text, words
	}
	return text + " " + o.text, append(words, o.words...)
}

type iptablesPrinter struct {
	loads                        map[uint32]*loaded
	v6                           bool
	protocol                     string
	source, dest, in, out, proto options
	fragment                     options
	matches                      []*options
	transport                    *options // the one of ports and flags
	target                       options
	partial                      bool
	from                         *loaded // of a range: its first half has been compared
	first                        []byte
}

// loaded is what a register holds.
type loaded struct {
	meta    *Meta
	payload *Payload
	mask    []byte
}

func (p *iptablesPrinter) expression(e netfilter.Expr) bool {
	if _, second := e.(*Cmp); p.from != nil && !second {
		return false // "at least" without "at most"
	}
	switch e := e.(type) {
	case *Meta:
		p.loads[e.Reg] = &loaded{meta: e}
		return !e.Set
	case *Payload:
		p.loads[e.Reg] = &loaded{payload: e}
		return !e.Set
	case *Bitwise:
		l := p.loads[e.From]
		if l == nil || l.mask != nil || e.Op != 0 || !zero(e.Xor) {
			return false
		}
		p.loads[e.To] = &loaded{l.meta, l.payload, e.Mask}
	case *Cmp:
		return p.compare(p.loads[e.Reg], e)
	case *Range:
		l := p.loads[e.Reg]
		return l != nil && l.mask == nil && p.port(l, e.Op == 1, e.From, e.To)
	case *Counter:
	case *Limit:
		return p.limit(e)
	case *Log:
		return p.log(e)
	case *Immediate:
		return e.Reg == 0 && p.verdict(e.Verdict)
	case *Compat:
		return p.compat(e)
	case *netfilter.OpaqueExpr:
		return p.compat(&Compat{Target: strings.HasPrefix(e.Name, "target"), Name: e.Name})
	default:
		return false
	}
	return true
}

// compat is a match or a target of xtables, which prints itself.
func (p *iptablesPrinter) compat(e *Compat) bool {
	o := &options{text: "[" + e.Name + "]"} // one that nobody here knows
	if x, ok := e.Expr.(xt.Printer); ok {
		o.text, o.words = x.Text(), x.Words()
		p.partial = p.partial || o.words == nil && o.text != ""
	} else {
		p.partial = true
	}
	if e.Target {
		if p.target.text != "" {
			return false
		}
		p.target = *o
		return true
	}
	p.matches = append(p.matches, o)
	return true
}

func (p *iptablesPrinter) verdict(v netfilter.Verdict) bool {
	if p.target.text != "" {
		return false
	}
	switch v.Code {
	case netfilter.Drop:
		p.target.add(false, "-j", "DROP")
	case netfilter.Accept:
		p.target.add(false, "-j", "ACCEPT")
	case netfilter.Return:
		p.target.add(false, "-j", "RETURN")
	case netfilter.Jump:
		p.target.add(false, "-j", v.Chain)
	case netfilter.Goto:
		p.target.add(false, "-g", v.Chain)
	default:
		return false
	}
	return true
}

// compare is what most options become.
func (p *iptablesPrinter) compare(l *loaded, e *Cmp) bool {
	switch {
	case l == nil:
		return false
	case p.from != nil:
		from, first := p.from, p.first
		p.from = nil
		return e.Op == 3 && from == l && p.port(l, false, first, e.Data)
	case e.Op == 5 && l.mask == nil && l.payload != nil:
		p.from, p.first = l, e.Data
		return true
	case e.Op > 1:
		return false
	}
	not := e.Op == 1
	if l.meta != nil {
		return p.compareMeta(l, not, e.Data)
	}
	address := map[bool][3]uint32{false: {12, 16, 4}, true: {8, 24, 16}}[p.v6] // in the header: source, destination, their size
	switch b := l.payload; {
	case b.Base == 1 && (b.Offset == address[0] || b.Offset == address[1]) && b.Len <= address[2]:
		o, name := &p.source, "-s"
		if b.Offset == address[1] {
			o, name = &p.dest, "-d"
		}
		text := addressText(e.Data, l.mask, int(address[2]))
		if text == "" || o.text != "" || len(e.Data) != int(b.Len) {
			return false
		}
		o.add(not, name, text)
		return true
	case b.Base == 1 && !p.v6 && b.Offset == 6 && b.Len == 2 && l.mask != nil && zero(e.Data): // iph->frag_off
		p.fragment.add(!not, "-f")
		return true
	case b.Base == 1 && b.Len == 1 && l.mask == nil && (b.Offset == 9 && !p.v6 || b.Offset == 6 && p.v6):
		return p.protocolIs(not, e.Data)
	case b.Base == 2 && b.Offset == 13 && b.Len == 1 && p.protocol == "tcp":
		mask := []byte{0xff}
		if l.mask != nil {
			mask = l.mask
		}
		if len(e.Data) != 1 || len(mask) != 1 {
			return false
		}
		p.transportOptions().add(not, "--tcp-flags", flagNames(mask[0]), flagNames(e.Data[0]))
		return true
	}
	return l.mask == nil && p.port(l, not, e.Data, e.Data)
}

func (p *iptablesPrinter) compareMeta(l *loaded, not bool, data []byte) bool {
	switch l.meta.Key {
	case metaIIFName, metaOIFName:
		o, name := &p.in, "-i"
		if l.meta.Key == metaOIFName {
			o, name = &p.out, "-o"
		}
		device, _, whole := bytes.Cut(data, []byte{0})
		text := string(device)
		if !whole && len(data) < 16 { // IFNAMSIZ: without its closing NUL it is a prefix
			text += "+"
		}
		if l.mask != nil || o.text != "" {
			return false
		}
		o.add(not, name, text)
	case metaL4Proto:
		return l.mask == nil && p.protocolIs(not, data)
	case metaMark:
		if len(data) != 4 {
			return false
		}
		text := fmt.Sprintf("0x%x", binary.NativeEndian.Uint32(data))
		if len(l.mask) == 4 {
			text += fmt.Sprintf("/0x%x", binary.NativeEndian.Uint32(l.mask))
		}
		o := &options{}
		o.add(false, "-m", "mark")
		o.add(not, "--mark", text)
		p.matches = append(p.matches, o)
	default:
		return false
	}
	return true
}

func (p *iptablesPrinter) protocolIs(not bool, data []byte) bool {
	if len(data) != 1 || p.proto.text != "" {
		return false
	}
	p.protocol = xt.ProtocolName(uint16(data[0]))
	p.proto.add(not, "-p", p.protocol)
	return true
}

// transportOptions are those of the match that is named like the protocol.
func (p *iptablesPrinter) transportOptions() *options {
	if p.transport == nil {
		p.transport = &options{}
		p.transport.add(false, "-m", p.protocol)
		p.matches = append(p.matches, p.transport)
	}
	return p.transport
}

// port is one port or a range.
func (p *iptablesPrinter) port(l *loaded, not bool, from, to []byte) bool {
	b := l.payload
	if b == nil || b.Base != 2 || b.Len != 2 || b.Offset != 0 && b.Offset != 2 || len(from) != 2 || len(to) != 2 {
		return false
	}
	switch p.protocol {
	case "tcp", "udp", "udplite", "sctp":
	default:
		return false
	}
	text := decimal(uint64(binary.BigEndian.Uint16(from)))
	if !bytes.Equal(from, to) {
		text += ":" + decimal(uint64(binary.BigEndian.Uint16(to)))
	}
	name := "--sport"
	if b.Offset == 2 {
		name = "--dport"
	}
	p.transportOptions().add(not, name, text)
	return true
}

// limit prints as print_rate of extensions/libxt_limit.c does, where the rate is
// not one that a larger or smaller unit says in a whole number.
func (p *iptablesPrinter) limit(e *Limit) bool {
	unit := map[uint64]string{1: "sec", 60: "min", 3600: "hour", 86400: "day"}[e.Unit]
	if unit == "" || e.Bytes || e.Inverse || e.Rate == 0 {
		return false
	}
	o := &options{}
	o.add(false, "-m", "limit", "--limit", decimal(e.Rate)+"/"+unit)
	if e.Burst != 5 && e.Burst != 0 { // XT_LIMIT_BURST
		o.add(false, "--limit-burst", decimal(uint64(e.Burst)))
	}
	p.matches = append(p.matches, o)
	return true
}

// log is the target NFLOG.
func (p *iptablesPrinter) log(e *Log) bool {
	if !e.HasGroup || p.target.text != "" {
		return false
	}
	p.target.add(false, "-j", "NFLOG")
	if e.Prefix != "" {
		if strings.ContainsAny(e.Prefix, " \"'\\") {
			p.target.words = append(p.target.words, "--nflog-prefix", e.Prefix)
			p.target.text += fmt.Sprintf(" --nflog-prefix %q", e.Prefix)
		} else {
			p.target.add(false, "--nflog-prefix", e.Prefix)
		}
	}
	if e.Group != 0 {
		p.target.add(false, "--nflog-group", decimal(uint64(e.Group)))
	}
	if e.Snaplen != 0 {
		p.target.add(false, "--nflog-size", decimal(uint64(e.Snaplen)))
	}
	if e.Qthreshold > 1 {
		p.target.add(false, "--nflog-threshold", decimal(uint64(e.Qthreshold)))
	}
	return true
}

// addressText is an address with its prefix: the bytes that are compared, or a mask.
func addressText(data, mask []byte, size int) string {
	length := 8 * len(data)
	if mask != nil {
		if len(mask) != len(data) {
			return ""
		}
		length = 0
		for _, b := range mask {
			length += bits.LeadingZeros8(^b)
			if b != 0xff {
				break
			}
		}
		for i := range mask {
			if n := length - 8*i; mask[i] != ^byte(0)<<max(0, 8-max(0, min(8, n))) {
				return "" // holes in the mask
			}
		}
	}
	full := make([]byte, size)
	copy(full, data)
	a, ok := netip.AddrFromSlice(full)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s/%d", a, length)
}

// flagNames are the flags of TCP as libxt_tcp.c prints them.
func flagNames(b byte) string {
	var names []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if b>>i&1 == 1 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "NONE"
	}
	return strings.Join(names, ",")
}
