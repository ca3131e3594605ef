package xt

import (
	"errors"
	"fmt"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// info is struct ipt_getinfo, and ip6t_getinfo, which is the same.
type info struct {
	name      string
	hooks     uint32    // bits of NF_INET_*
	entries   [5]uint32 // where the base chain of each hook begins
	underflow [5]uint32 // where its policy stands
	size      uint32    // bytes of all entries
}

const infoSize = 32 + 4 + 2*5*4 + 4 + 4

func infoOf(b []byte) (i info, ok bool) {
	if len(b) < infoSize {
		return i, false
	}
	d := data{info: b}
	i.name, i.hooks, i.size = d.str(0, 32), d.u32(32), d.u32(80)
	for h := range i.entries {
		i.entries[h], i.underflow[h] = d.u32(36+4*h), d.u32(56+4*h)
	}
	return i, true
}

// The base chains, by the number of their hook (enum nf_inet_hooks).
var baseChains = [...]struct {
	name string
	hook netfilter.Hook
}{
	{"PREROUTING", netfilter.Prerouting}, {"INPUT", netfilter.Input}, {"FORWARD", netfilter.Forward},
	{"OUTPUT", netfilter.Output}, {"POSTROUTING", netfilter.Postrouting},
}

// priority is where the tables stand among the hooks (linux/netfilter_ipv4.h).
func priority(table string, hook netfilter.Hook) int {
	switch table {
	case "raw":
		return -300
	case "mangle":
		return -150
	case "nat":
		if hook == netfilter.Prerouting || hook == netfilter.Output {
			return -100
		}
		return 100
	case "security":
		return 50
	}
	return 0
}

// Verdicts of a standard target below 0: -NF_DROP - 1 and so on
// (linux/netfilter/x_tables.h).
const (
	isDrop   = -1
	isAccept = -2
	isQueue  = -4
	isReturn = -5
)

// parse takes a table apart (struct ipt_get_entries): one entry behind the other,
// those of a base chain from its hook entry to its policy, those of another chain
// from an ERROR entry with its name to a RETURN.
func parse(i info, blob []byte, family netfilter.Family) (*netfilter.Table, error) {
	t := &netfilter.Table{Engine: facts.IPTables, Family: family, Name: i.name}
	if family == netfilter.IPv6 {
		t.Engine = facts.IP6Tables
	}
	if uint64(len(blob)) != uint64(i.size) {
		return nil, fmt.Errorf("table %s: %d bytes of %d: %w", i.name, len(blob), i.size, errCut)
	}
	p := parser{table: t, firsts: map[int]string{}}
	for at := 0; at < len(blob); {
		e, err := entryAt(blob, at, family)
		if err != nil {
			return nil, fmt.Errorf("table %s, at byte %d: %w", i.name, at, err)
		}
		if err := p.take(i, &e, at+len(e.raw) == len(blob)); err != nil {
			return nil, fmt.Errorf("table %s, at byte %d: %w", i.name, at, err)
		}
		at += len(e.raw)
	}
	if p.bases != i.hooks&0x1f || !p.ended {
		return nil, fmt.Errorf("table %s: %w", i.name, errNoChain)
	}
	for _, r := range p.rules {
		p.fill(r)
	}
	return t, nil
}

var errNoChain = errors.New("a base chain has no beginning or no policy")

type parser struct {
	table  *netfilter.Table
	open   *netfilter.Chain
	policy int            // where that of the open base chain stands
	bases  uint32         // hooks whose chain has begun
	ended  bool           // by an ERROR entry behind the last chain
	firsts map[int]string // the chain that a jump to this place leads to
	rules  []*row
}

// take puts an entry where it belongs: it begins a chain, ends one, or is a rule.
func (p *parser) take(i info, e *entry, last bool) error {
	for h, base := range baseChains {
		if i.hooks>>h&1 == 1 && int(i.entries[h]) == e.at {
			if p.inBase() {
				return errNoChain
			}
			p.bases |= 1 << h
			p.begin(base.name, e.at)
			p.open.Hook, p.open.Priority = base.hook, priority(i.name, base.hook)
			p.open.Type = "filter"
			if i.name == "nat" {
				p.open.Type = "nat"
			} else if i.name == "mangle" && base.hook == netfilter.Output {
				p.open.Type = "route"
			}
			p.policy = int(i.underflow[h])
		}
	}
	if name, ok := e.head(); ok {
		if p.inBase() {
			return errNoChain
		}
		p.closeUser()
		if p.ended = last && name == "ERROR"; !p.ended {
			p.begin(name, e.at+len(e.raw))
		}
		return nil
	}
	if p.open == nil {
		p.begin("", e.at) // nothing leads here; the rules are kept, to be opaque rather than gone
	}
	if p.inBase() && e.at == p.policy {
		verdict, ok := e.standard()
		p.open.Drop = !ok || verdict == isDrop
		packets := e.packets()
		p.open.Packets = &packets
		p.open = nil
		return nil
	}
	r := &row{entry: *e, packets: e.packets()}
	r.Rule = netfilter.Rule{Chain: p.open, Number: len(p.open.Rules) + 1, Packets: &r.packets}
	p.open.Rules = append(p.open.Rules, &r.Rule)
	p.rules = append(p.rules, r)
	return nil
}

func (p *parser) inBase() bool { return p.open != nil && p.open.Hook != netfilter.NoHook }

func (p *parser) begin(name string, first int) {
	p.open = &netfilter.Chain{Table: p.table, Name: name}
	p.firsts[first] = name
	p.table.Chains = append(p.table.Chains, p.open)
}

// closeUser ends a chain of the user's, and takes off the RETURN that closes it.
func (p *parser) closeUser() {
	if p.open == nil {
		return
	}
	if n := len(p.open.Rules); n > 0 {
		e := &p.rules[len(p.rules)-1].entry
		if v, ok := e.standard(); ok && v == isReturn && e.target == e.size {
			p.open.Rules = p.open.Rules[:n-1]
			p.rules = p.rules[:len(p.rules)-1]
		}
	}
	p.open = nil
}
