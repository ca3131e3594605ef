package checks

import (
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The cures of a rule: loopback is let through ahead of it, by the command of
// whoever keeps the rules of this machine. Never more than that.

// PrintedHandle stands in an undo for the number that the step printed: nobody
// knows the handle of a rule before it is there.
const PrintedHandle = "HANDLE"

// hurdle is a rule that a packet of the connection has to get past.
type hurdle struct {
	rule  facts.FilterRule
	reply bool       // the packet goes from the server to the client
	port  uint16     // of the server, as the packet carries it there
	from  netip.Addr // who sent it
}

// filterFixes are the ways past rules, the least invasive first; a connection
// has to get past all of them, so each fix is about all.
func filterFixes(f *facts.Facts, hs ...hurdle) []Fix {
	return nil
}
