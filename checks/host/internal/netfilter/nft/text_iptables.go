package nft

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

// printIPTables gives a rule in the words of iptables; false where it has none.
func printIPTables(r *netfilter.Rule, device func(uint32) string) (text string, words []string, ok bool) {
	return "", nil, false
}
