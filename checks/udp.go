package checks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// udpMismatch is a UDP server that has the port in one family, and a client of the other:
// the kernel answers it that nobody has the port.
func udpMismatch(f *facts.Facts, mine func(netip.Addr) bool, there func(facts.Socket) bool, has, wants, do string) []Finding {
	missed := slices.DeleteFunc(unbound(f), func(a netip.Addr) bool { return !mine(a) || !a.IsLoopback() })
	if len(missed) == 0 {
		return nil
	}
	var x []Finding
	for _, s := range f.Sockets.Sockets {
		switch {
		case !takesDatagrams(f, s):
		case mine(s.Local.Addr().Unmap()):
			return nil // the family is served, at another address
		case there(s) && x == nil:
			x = []Finding{{Affects: missed, Certainty: Proven, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)}, Fixes: []Fix{{Do: do}},
				Summary: fmt.Sprintf("%s has the UDP port for %s only (%s): datagrams of a client that uses %s (%s) reach nobody.", holder(f, s), has, s.Local, wants, ats(f, missed))}}
		}
	}
	return x
}
