// Package netfilter works out what the packet filters of Linux do to one packet
// on its way over lo. It walks the base chains hook by hook in the order in which
// the kernel runs them (linux/netfilter.h, linux/netfilter_ipv4.h), with three
// truth values: what it cannot judge never decays to "matches" or "does not".
//
// It opens nothing: rules are read by the packages below it, nft (nf_tables) and
// xt (the legacy tables, and the matches and targets that both have), which also
// give the expressions their meaning.
package netfilter

import "github.com/loopdoctor/loopdoctor/checks/facts"

// Ruleset is every table that was read, of every engine.
type Ruleset struct {
	Tables []*Table
}

// Family is the protocol family of a table: the numbers of linux/netfilter.h.
type Family uint8

// The families that a packet on lo meets.
const (
	Inet   Family = 1  // NFPROTO_INET: both of the next
	IPv4   Family = 2  // NFPROTO_IPV4
	Netdev Family = 5  // NFPROTO_NETDEV
	IPv6   Family = 10 // NFPROTO_IPV6
)

func (f Family) String() string {
	switch f {
	case Inet:
		return "inet"
	case IPv4:
		return "ip"
	case IPv6:
		return "ip6"
	case Netdev:
		return "netdev"
	}
	return "other"
}

// Hook is where a base chain is called.
type Hook uint8

// The hooks, in the order in which a packet from this machine to itself meets
// them. Forward is never met on lo.
const (
	NoHook Hook = iota
	Output
	Postrouting
	Egress  // netdev, on lo
	Ingress // netdev and inet, on lo
	Prerouting
	Input
	Forward
)

var hookNames = [...]string{"", "output", "postrouting", "egress", "ingress", "prerouting", "input", "forward"}

func (h Hook) String() string { return hookNames[h] }

// Where is the part of the way that facts.FilterStop.Where names.
func (h Hook) Where() string {
	switch h {
	case Output, Postrouting:
		return "output"
	case Egress, Ingress:
		return "wire"
	}
	return "input"
}

// Table is a table of nf_tables or of a legacy engine.
type Table struct {
	Engine  string // facts.NFTables, facts.IPTables, facts.IP6Tables
	Family  Family
	Name    string
	Dormant bool   // its chains are not called (NFT_TABLE_F_DORMANT)
	Owner   uint32 // the netlink port of the program that owns it: on most systems its process number; 0: nobody
	Chains  []*Chain
}

// Chain returns the chain of that name; nil if there is none.
func (t *Table) Chain(name string) *Chain {
	for _, c := range t.Chains {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Chain is a base chain (Hook is set) or one that rules jump to.
type Chain struct {
	Table    *Table
	Name     string
	Hook     Hook
	Priority int
	Type     string   // "filter", "nat", "route"; of a legacy table its kind: "nat" for nat, "route" for mangle at output
	Drop     bool     // the policy; otherwise it is accept
	Devices  []string // at ingress and egress
	Packets  *uint64  // the counter of the policy
	Rules    []*Rule
}

// Rule is one rule. What stands behind Late is empty until Whole.
type Rule struct {
	Chain   *Chain
	Handle  uint64 // nf_tables
	Number  int    // place in the chain, from 1
	Late    Late   // nil: there is no more to decode
	Exprs   []Expr
	Opaque  string // an expression, match or target that is not known, by its name; such a rule is never "matches" and never "does not"
	Comment string
	Packets *uint64 // its counter

	// Print gives the text and, if it says all there is, the argument vector that
	// makes the rule again: see facts.FilterRule.
	Print func() (text string, words []string)
}

// Late decodes a rule when its turn comes: most of ten thousand are left behind at
// their first expressions.
type Late interface {
	Misses(*State) bool // the packet certainly fails one of the first expressions
	Decode(*Rule)
}

// Whole decodes what was left for later.
func (r *Rule) Whole() *Rule {
	if late := r.Late; late != nil {
		r.Late = nil
		late.Decode(r)
	}
	return r
}

// Expr is one expression of a rule: of nf_tables, or a match or a target of
// xtables. Eval does to the state what the kernel would do.
type Expr interface {
	Eval(*State) Effect
}

// OpaqueExpr stands in a rule for an expression that is not known, so that what
// stands before it can still be judged.
type OpaqueExpr struct{ Name string }

// Eval may do anything.
func (e *OpaqueExpr) Eval(*State) Effect {
	return Effect{Match: Unknown, Why: Cut(e.Name, 64) + " is unknown", Verdict: Verdict{Code: Any}}
}

// Truth has three values.
type Truth int8

// Unknown is the zero value on purpose: what nobody set is not known.
const (
	Unknown Truth = iota
	Yes
	No
)

// Effect is what an expression does to the rule it stands in.
type Effect struct {
	Match   Truth  // Yes: the rule goes on. No: it ends here (NFT_BREAK). Unknown: one of the two, and Why
	Why     string // in a few words: "limit rate 5/second"
	Verdict Verdict
}

// Continue is the effect of an expression that the rule simply goes on after.
var Continue = Effect{Match: Yes}

// Break ends the rule.
var Break = Effect{Match: No}

// Perhaps says why it cannot be said.
func Perhaps(why string) Effect { return Effect{Match: Unknown, Why: why} }

// Code is a verdict.
type Code uint8

// The verdicts. None: the rule goes on with its next expression.
const (
	None Code = iota
	Accept
	Drop
	Reject // Drop, and an answer is sent
	Queue
	Jump
	Goto
	Return
	// Ends the rule and goes on in the chain behind it, as a target of xtables
	// that only changes the packet does (XT_CONTINUE): the next rule.
	NextRule
	Divert // NAT has its translation: as Accept for this base chain
	Any    // of what is not known: one of the others
)

// word is the verdict as facts name it.
func (c Code) word() string {
	switch c {
	case Accept:
		return "accept"
	case Drop:
		return "drop"
	case Reject:
		return "reject"
	case Queue:
		return "queue"
	}
	return "unknown"
}

// Verdict is what a rule decides.
type Verdict struct {
	Code   Code
	Chain  string              // of Jump and Goto
	With   string              // of Reject and Queue, in the words of nft(8): "tcp reset", "icmp port-unreachable", "queue 3"; of Divert why its end cannot be foreseen
	Bypass bool                // of Queue: without a reader the packet is accepted
	Divert *facts.FilterDivert // of Divert; Rule is filled in by the walk
}
