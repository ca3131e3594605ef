package nft

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

// extension gives a match or a target of xtables its meaning; nil if it is not known.
func extension(*Compat, netfilter.Family) netfilter.Expr { return nil }
