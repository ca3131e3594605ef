package netfilter

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How much of a rule is told. A set may have a hundred thousand elements.
const (
	maxText  = 2048
	maxWords = 8192
	maxName  = 256 // NFT_NAME_MAXLEN; a legacy name is shorter
)

// Fact tells a rule so that a person finds it again. base is the base chain from
// which it was reached, path the chains from there to the rule's own (nil where it
// is the base chain itself).
func (r *Rule) Fact(base *Chain, path []string) facts.FilterRule {
	r.Whole()
	f := base.fact()
	f.Path, f.Handle, f.Number, f.Comment, f.Packets = path, r.Handle, r.Number, Cut(r.Comment, maxName), r.Packets
	if c := r.Chain; c != nil {
		f.Chain = Cut(c.Name, maxName)
		if r.Number > 0 && r.Number < len(c.Rules) {
			f.Next = c.Rules[r.Number].Handle
		}
	}
	if r.Print == nil {
		return f
	}
	text, words := r.Print()
	// What iptables cannot say is told in the words of nft(8), also in its chains.
	f.IPTables = f.Engine == facts.NFTables && strings.HasPrefix(text, "-A ")
	f.Text = Cut(text, maxText)
	size := 0
	for _, w := range words {
		size += len(w) + 1
	}
	if size <= maxWords {
		f.Words = words
	}
	return f
}

// PolicyFact tells the policy of a base chain.
func (c *Chain) PolicyFact() facts.FilterRule {
	f := c.fact()
	f.Policy, f.Packets, f.IPTables = true, c.Packets, c.IPTables()
	f.Text = "policy accept"
	if c.Drop {
		f.Text = "policy drop"
	}
	if f.IPTables || f.Engine != facts.NFTables {
		f.Text = "policy " + strings.ToUpper(f.Text[len("policy "):])
	}
	return f
}

// fact tells what a base chain, its policy and its rules have in common.
func (c *Chain) fact() facts.FilterRule {
	f := facts.FilterRule{Chain: Cut(c.Name, maxName), Hook: c.Hook.String(), Priority: c.Priority}
	switch {
	case slices.Contains(c.Devices, "lo"):
		f.Device = "lo"
	case len(c.Devices) > 0:
		f.Device = c.Devices[0]
	}
	if len(c.Rules) > 0 {
		f.First = c.Rules[0].Handle
	}
	if t := c.Table; t != nil {
		f.Engine, f.Family, f.Table = t.Engine, t.Family.String(), Cut(t.Name, maxName)
		if t.Owner != 0 {
			// The port of a program's first netlink socket is its process number.
			f.Owner = "pid " + strconv.FormatUint(uint64(t.Owner), 10)
		}
	}
	return f
}

// IPTables tells whether the chain of nf_tables is one of iptables-nft: its base
// chains have fixed names, hooks and priorities (iptables/nft.c, xtables_ipv4), and
// other chains belong to it where all base chains of their table do.
func (c *Chain) IPTables() bool {
	t := c.Table
	if t == nil || t.Engine != facts.NFTables || t.Family != IPv4 && t.Family != IPv6 {
		return false
	}
	if c.Hook != NoHook {
		return c.standard()
	}
	found := false
	for _, o := range t.Chains {
		if o.Hook != NoHook {
			if found = o.standard(); !found {
				return false
			}
		}
	}
	return found
}

// standard tells whether a base chain is one that iptables-nft makes.
func (c *Chain) standard() bool {
	if c.Name != strings.ToUpper(c.Hook.String()) {
		return false
	}
	priority, typ := 0, "filter"
	switch c.Table.Name {
	case "filter":
	case "security":
		priority = 150 // iptables/nft.c, although NF_IP_PRI_SECURITY is 50
	case "raw":
		priority = -300
	case "mangle":
		priority = -150
		if c.Hook == Output {
			typ = "route"
		}
	case "nat":
		priority, typ = -100, "nat"
		if c.Hook == Input || c.Hook == Postrouting {
			priority = 100
		}
	default:
		return false
	}
	return c.Priority == priority && c.Type == typ
}

// Cut shortens a string from the machine, on a whole character.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
