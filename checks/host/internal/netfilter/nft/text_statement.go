package nft

import (
	"fmt"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// statement adds what does something; false if it is not one that has words here.
func (p *printer) statement(e netfilter.Expr) bool {
	switch e := e.(type) {
	case *Counter:
		p.stmts = append(p.stmts, statement{text: fmt.Sprintf("counter packets %d bytes %d", e.Packets, e.Bytes), again: "counter"})
	case *Last:
		p.add("last")
	case *Limit:
		p.add(e.text())
	case *Quota:
		text := "quota " + over(e.Inverse) + amount(e.Bytes)
		again := text
		if e.Consumed > 0 {
			text += " used " + amount(e.Consumed)
		}
		p.stmts = append(p.stmts, statement{text: text, again: again})
	case *Connlimit:
		p.add("ct count " + over(e.Inverse) + decimal(uint64(e.Count)))
	case *Log:
		p.log(e)
	case *Reject:
		p.reject(e)
	case *Queue:
		p.queue(e)
	case *NAT, *Masquerade, *Redirect, *TProxy:
		p.translation(e)
	case *Notrack:
		p.add("notrack")
	case *Dynset:
		p.dynset(e)
	case *Objref:
		p.objref(e)
	case *Dup:
		p.dup(e)
	case *Fwd:
		if e.Addr != 0 {
			return false
		}
		p.add("fwd to " + p.right(&value{kind: interfaceIndex, size: 4, host: true}, e.Device))
	default:
		return false
	}
	return true
}

func over(inverse bool) string {
	if inverse {
		return "over "
	}
	return ""
}

// amount writes bytes in the largest unit that they fill.
func amount(n uint64) string { return fmt.Sprint(scaled(n)) }

// scaled is a number of bytes in its largest unit (nftables/src/utils.c, get_rate).
func scaled(n uint64) string {
	units, i := [...]string{"bytes", "kbytes", "mbytes"}, 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return decimal(n) + " " + units[i]
}

func (e *Limit) text() string {
	unit := map[uint64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}[e.Unit]
	if unit == "" {
		unit = decimal(e.Unit) + " seconds"
	}
	text := "limit rate " + over(e.Inverse)
	if e.Bytes {
		text += scaled(e.Rate) + "/" + unit
		if e.Burst != 0 {
			text += " burst " + scaled(uint64(e.Burst))
		}
		return text
	}
	text += decimal(e.Rate) + "/" + unit
	if e.Burst != 0 && e.Burst != 5 {
		text += " burst " + decimal(uint64(e.Burst)) + " packets"
	}
	return text
}

func (p *printer) log(e *Log) {
	text := "log"
	if e.Prefix != "" {
		text += " prefix " + p.quoted(e.Prefix)
	}
	if e.HasGroup {
		text += " group " + decimal(uint64(e.Group))
		if e.Snaplen != 0 {
			text += " snaplen " + decimal(uint64(e.Snaplen))
		}
		if e.Qthreshold != 0 {
			text += " queue-threshold " + decimal(uint64(e.Qthreshold))
		}
	} else if e.HasLevel && e.Level != 4 {
		levels := [...]string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"}
		text += " level " + levels[min(int(e.Level), len(levels)-1)]
	}
	const all = 0x2f // NF_LOG_MASK without NF_LOG_NFLOG
	switch {
	case e.Flags&all == all:
		text += " flags all"
	case e.Flags&all != 0:
		var flags []string
		switch e.Flags & 3 {
		case 1:
			flags = append(flags, "tcp sequence")
		case 2:
			flags = append(flags, "tcp options")
		case 3:
			flags = append(flags, "tcp sequence,options")
		}
		for bit, name := range map[uint32]string{4: "ip options", 8: "skuid", 32: "ether"} {
			if e.Flags&bit != 0 {
				flags = append(flags, name)
			}
		}
		p.lossy = p.lossy || len(flags) > 1 // their order is not sure
		text += " flags " + strings.Join(flags, " flags ")
	}
	p.add(text)
}

// reject leaves out what nft takes for granted.
func (p *printer) reject(e *Reject) {
	family := p.table.Family
	switch e.Type {
	case 1:
		if family == netfilter.IPv4 || family == netfilter.IPv6 {
			p.drop(&p.transportDep)
		}
		p.add("reject with tcp reset")
	case 2:
		names := [...]string{"no-route", "port-unreachable", "host-unreachable", "admin-prohibited"}
		if e.Code == 1 {
			p.add("reject")
			return
		}
		p.add("reject with icmpx " + names[min(e.Code, 3)])
	default:
		name, k, usual := "icmp", icmpCode, uint32(3)
		if family == netfilter.IPv6 || family == netfilter.Inet && p.network == "ip6" || family == netfilter.Netdev && p.network == "ip6" {
			name, k, usual = "icmpv6", icmp6Code, 4
		}
		if family == netfilter.Inet || family == netfilter.Netdev {
			p.drop(&p.networkDep)
		} else if e.Code == usual {
			p.add("reject")
			return
		}
		p.add("reject with " + name + " " + p.written(k, []byte{byte(e.Code)}, 1))
	}
}

func (p *printer) queue(e *Queue) {
	text := "queue"
	switch e.Flags & 3 {
	case 1:
		text += " flags bypass"
	case 2:
		text += " flags fanout"
	case 3:
		text += " flags bypass,fanout"
	}
	switch {
	case e.Reg != 0:
		text += " to " + p.right(&value{kind: integer, size: 2, host: true}, e.Reg)
	case e.Total > 1:
		text += fmt.Sprintf(" to %d-%d", e.Num, e.Num+e.Total-1)
	default:
		text += " to " + decimal(uint64(e.Num))
	}
	p.add(text)
}

// objref names a stateful object, or the map that does.
func (p *printer) objref(e *Objref) {
	typ := e.Type
	if e.Set != nil {
		typ = e.Set.ObjType
	}
	before := map[uint32]string{1: "counter name", 2: "quota name", 3: "ct helper set", 4: "limit name", 7: "ct timeout set",
		8: "meta secmark set", 9: "ct expectation set", 10: "synproxy name"}[typ]
	if before == "" {
		p.lossy, before = true, "[object]"
	}
	if e.Set != nil {
		list := p.parts(e.Key, int(e.Set.KeyLen))
		p.add(before + " " + p.left(list) + " map " + p.setText(e.Set, list, nil))
		return
	}
	p.name(e.Name)
	p.add(before + " " + p.quoted(e.Name))
}

func (p *printer) dup(e *Dup) {
	device := &value{kind: interfaceIndex, size: 4, host: true}
	if p.table.Family == netfilter.Netdev {
		p.add("dup to " + p.right(device, e.Device))
		return
	}
	text := "dup to " + p.right(p.address(p.network == "ip6"), e.Addr)
	if e.Device != 0 {
		text += " device " + p.right(device, e.Device)
	}
	p.add(text)
}

// address is the kind of an address in a statement.
func (p *printer) address(v6 bool) *value {
	if v6 {
		return &value{kind: address6, size: 16}
	}
	return &value{kind: address4, size: 4}
}

// translation writes the statements of NAT.
func (p *printer) translation(e netfilter.Expr) {
	both := p.table.Family == netfilter.Inet || p.table.Family == netfilter.Netdev
	switch e := e.(type) {
	case *Masquerade:
		p.add("masquerade" + p.target("", nil, 0, 0, e.ProtoMin, e.ProtoMax) + natFlags(e.Flags))
	case *Redirect:
		p.add("redirect" + p.target("", nil, 0, 0, e.ProtoMin, e.ProtoMax) + natFlags(e.Flags))
	case *TProxy:
		family := ""
		if both && e.Family != 0 {
			family = " " + netfilter.Family(e.Family).String()
		}
		v6 := e.Family == 10 || p.table.Family == netfilter.IPv6
		p.add("tproxy" + p.target(family, p.address(v6), e.Addr, e.Addr, e.Port, e.Port))
	case *NAT:
		text := "dnat"
		if e.Type == 0 {
			text = "snat"
		}
		family := ""
		if both && e.AddrMin != 0 {
			family = " " + netfilter.Family(e.Family).String()
		}
		p.lossy = p.lossy || e.Flags&64 != 0 // netmap: a prefix to a prefix
		p.add(text + p.target(family, p.address(e.Family == 10), e.AddrMin, e.AddrMax, e.ProtoMin, e.ProtoMax) + natFlags(e.Flags))
	}
}

// target is where a translation goes: " to 127.0.0.1:80", " to :1000-2000".
func (p *printer) target(family string, kind *value, addrMin, addrMax, protoMin, protoMax uint32) string {
	port := &value{kind: portNumber, size: 2}
	if addrMin == 0 && protoMin == 0 {
		return ""
	}
	text := family + " to "
	if addrMin != 0 {
		got := p.get(addrMin)
		if got.lookup != nil { // a map of addresses, or of addresses and ports
			kinds := []*value{kind}
			if int(got.lookup.Set.DataLen) > kind.size {
				kinds = append(kinds, port)
				protoMin = 0
			}
			p.lossy = p.lossy || addrMax != 0 && addrMax != addrMin
			return text + p.mapped(got, kinds...) + p.portText(port, protoMin, protoMax)
		}
		a, b := p.right(kind, addrMin), ""
		if addrMax != 0 && addrMax != addrMin {
			b = p.right(kind, addrMax)
		}
		v6 := kind.kind == address6 && protoMin != 0
		switch {
		case v6 && b != "" && b != a:
			text += "[" + a + "]-[" + b + "]"
		case v6:
			text += "[" + a + "]"
		case b != "" && b != a:
			text += a + "-" + b
		default:
			text += a
		}
	}
	return text + p.portText(port, protoMin, protoMax)
}

func (p *printer) portText(port *value, low, high uint32) string {
	if low == 0 {
		return ""
	}
	text := ":" + p.right(port, low)
	if high != 0 && high != low {
		if last := ":" + p.right(port, high); last != text {
			text += "-" + last[1:]
		}
	}
	return text
}

// natFlags are NF_NAT_RANGE_* (linux/netfilter/nf_nat.h).
func natFlags(flags uint32) string {
	var names []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{{4, "random"}, {16, "fully-random"}, {8, "persistent"}} {
		if flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " " + strings.Join(names, ",")
}
