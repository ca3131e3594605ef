package nft

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

// print gives a rule as nft(8) prints it.
func print(r *netfilter.Rule) (string, []string) { return "", nil }
