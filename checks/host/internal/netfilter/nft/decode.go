package nft

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// decoder collects what the dumps of nf_tables say. The order is that of the dumps:
// tables, then sets and chains, then rules. It keeps the messages.
type decoder struct {
	tables []*netfilter.Table
	chains map[place]*netfilter.Chain
	sets   map[place]*Set
	load   func(*Set) ([]Element, error)
	device func(index uint32) string // its name; nil: not known
	opaque int
	last   *netfilter.Chain // of the rule before
	whole  *decoder         // of which this one reads a part; nil: it reads all

	uses      uint64 // of chains, by rules that stand in them or jump to them
	malformed bool   // something could not be put in its place
}

// place is a name in a table.
type place struct {
	table *netfilter.Table
	name  string
}

func newDecoder() *decoder {
	return &decoder{chains: map[place]*netfilter.Chain{}, sets: map[place]*Set{}}
}

// genLen is the length of struct nfgenmsg: family, version, resource.
const genLen = 4

// open splits a message: false for a family that no packet on lo meets, and for what
// is no message.
func open(b []byte) (netfilter.Family, []byte, bool) {
	if len(b) < genLen {
		return 0, nil, false
	}
	switch f := netfilter.Family(b[0]); f {
	case netfilter.Inet, netfilter.IPv4, netfilter.IPv6, netfilter.Netdev:
		return f, b[genLen:], true
	}
	return 0, nil, false
}

// table finds a table that was decoded before.
func (d *decoder) table(f netfilter.Family, name []byte) *netfilter.Table {
	name = bytes.TrimSuffix(name, []byte{0})
	for _, t := range d.tables {
		if t.Family == f && t.Name == string(name) {
			return t
		}
	}
	return nil
}

// inTable reads the attributes of what belongs to a table, the first of which names
// it; nil for a family that matters to nobody here, or a table that is not known.
func (d *decoder) inTable(b []byte, a *attrs) *netfilter.Table {
	f, b, ok := open(b)
	if !ok {
		return nil
	}
	a.parse(b, maxAttr-1)
	t := d.table(f, a.v[1])
	d.malformed = d.malformed || t == nil
	return t
}

// addTable decodes NFT_MSG_NEWTABLE.
func (d *decoder) addTable(b []byte) {
	f, b, ok := open(b)
	if !ok {
		return
	}
	var a attrs
	a.parse(b, maxAttr-1)
	t := &netfilter.Table{Engine: facts.NFTables, Family: f, Name: a.text(1), Dormant: a.opt32(2)&1 != 0, Owner: a.opt32(7)}
	d.tables = append(d.tables, t)
}

// The hooks by their numbers (NF_INET_PRE_ROUTING, NF_NETDEV_INGRESS of linux/netfilter.h).
var (
	inetHooks   = [...]netfilter.Hook{netfilter.Prerouting, netfilter.Input, netfilter.Forward, netfilter.Output, netfilter.Postrouting, netfilter.Ingress}
	netdevHooks = [...]netfilter.Hook{netfilter.Ingress, netfilter.Egress}
)

// addChain decodes NFT_MSG_NEWCHAIN.
func (d *decoder) addChain(b []byte) {
	var a attrs
	t := d.inTable(b, &a)
	if t == nil {
		return
	}
	c := &netfilter.Chain{Table: t, Name: a.text(3)}
	if a.has(4) {
		hooked(c, a.v[4])
		c.Type, c.Drop = a.text(7), a.has(5) && a.opt32(5) == 0
	}
	if a.has(8) {
		var n attrs
		n.parse(a.v[8], 3)
		if packets := n.opt64(2); !n.bad {
			c.Packets = &packets
		}
	}
	d.uses += uint64(a.opt32(6))
	t.Chains = append(t.Chains, c)
	d.chains[place{t, c.Name}] = c
}

// hooked decodes where a base chain is called (NFTA_CHAIN_HOOK).
func hooked(c *netfilter.Chain, b []byte) {
	var a attrs
	a.parse(b, maxAttr-1)
	hooks := inetHooks[:]
	if c.Table.Family == netfilter.Netdev {
		hooks = netdevHooks[:]
	}
	if n := a.opt32(1); int(n) < len(hooks) {
		c.Hook = hooks[n]
	}
	c.Priority = int(int32(a.opt32(2)))
	if a.has(3) {
		c.Devices = append(c.Devices, a.text(3))
	}
	for list := a.v[4]; len(list) > 0; { // NFTA_HOOK_DEVS
		typ, v, rest, ok := next(list)
		if !ok {
			return
		}
		name := text(v)
		switch {
		case typ == 2: // NFTA_DEVICE_PREFIX, newer than 6.15: all devices of that prefix
			c.Devices = append(c.Devices, name+"*")
		case typ == 1 && !slices.Contains(c.Devices, name): // one alone is told twice
			c.Devices = append(c.Devices, name)
		}
		list = rest
	}
}

// addRule decodes NFT_MSG_NEWRULE.
func (d *decoder) addRule(b []byte) {
	f, b, ok := open(b)
	if !ok {
		return
	}
	var a attrs
	a.parse(b, 11)
	c := d.ruleChain(f, a.v[1], a.v[2])
	if c == nil {
		d.malformed = true
		return
	}
	r := &row{d: d, exprs: a.v[4], userdata: a.v[7]}
	r.Chain, r.Handle, r.Number, r.Late = c, a.opt64(3), len(c.Rules)+1, r
	r.bad = a.bad
	if d.whole != nil {
		r.d = d.whole
	}
	c.Rules = append(c.Rules, &r.Rule)
}

// ruleChain finds the chain of a rule: mostly that of the rule before.
func (d *decoder) ruleChain(f netfilter.Family, table, chain []byte) *netfilter.Chain {
	chain = bytes.TrimSuffix(chain, []byte{0})
	if c := d.last; c != nil && c.Table.Family == f && c.Name == string(chain) && c.Table.Name == string(bytes.TrimSuffix(table, []byte{0})) {
		return c
	}
	t := d.table(f, table)
	if t == nil {
		return nil
	}
	d.last = d.chains[place{t, string(chain)}]
	return d.last
}

// comment finds the comment in the userdata of a rule or an element: a list of type,
// length, value (NFTNL_UDATA_RULE_COMMENT, libnftnl/udata.h).
func comment(b []byte) string {
	for len(b) >= 2 && 2+int(b[1]) <= len(b) {
		n := 2 + int(b[1])
		if b[0] == 0 {
			return text(b[2:n])
		}
		b = b[n:]
	}
	return ""
}

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
