package facts

import (
	"net/netip"
	"slices"
)

// Gaps are the differences between neighbouring counters of the path: what went in
// at one end and did not come out at the other. They survive foreign traffic, which
// counts at both ends.
type Gaps struct{ Output, Wire, Input int64 }

// Gaps reads them off the counters.
func (l *Ledger) Gaps() Gaps {
	sent := l.Delta["OutTransmits"]
	if slices.Contains(l.Missing, "OutTransmits") {
		sent = l.Delta["lo.tx"] // kernels before 6.7
	}
	return Gaps{
		Output: l.Delta["OutRequests"] - sent,
		Wire:   sent - l.Delta["InReceives"],
		Input:  l.Delta["InReceives"] - l.Delta["InDelivers"] - l.Delta["ForwDatagrams"],
	}
}

// Enough tells whether a gap is that of so many SYNs of ours: three quarters of a
// burst, since a rate limit lets some pass and foreign traffic moves a gap by one.
func Enough(gap int64, syns int) bool { return gap > 0 && gap*4 >= int64(syns)*3 }

// SentCookies tells whether the SYNs were answered with cookies. A server that lacks the
// last packet of a handshake has a half-open socket, or has sent one: a connection with
// neither has its other end in another network namespace, as those to containers have.
func (l *Ledger) SentCookies() bool {
	return max(l.Delta["SyncookiesSent"], l.Delta["TCPReqQFullDoCookies"])*2 >= int64(l.SYNs)
}

// LedgerOf returns the ledger of the address with the most SYNs: gaps of a burst
// survive noise that a single SYN does not. Nil: there is none.
func LedgerOf(ls []Ledger, a netip.Addr) *Ledger {
	var best *Ledger
	for i := range ls {
		if l := &ls[i]; l.Addr == a && (best == nil || l.SYNs > best.SYNs) {
			best = l
		}
	}
	return best
}
