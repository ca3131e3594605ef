package nft

import (
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/xt"
)

// extension gives a match or a target of xtables its meaning; nil if it is not known.
func extension(c *Compat, family netfilter.Family) netfilter.Expr {
	decode := xt.Match
	if c.Target {
		decode = xt.Target
	}
	if p, ok := decode(c.Name, c.Rev, c.Info, family); ok {
		return p
	}
	return nil
}
