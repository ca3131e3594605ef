package checks

import (
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func discardSituations() []situation {
	const arrived = "OutRequests=32 OutTransmits=32 OutSegs=32 lo.tx=32 InReceives=32 InDelivers=32 InSegs=32 "
	here, silent := listens("127.0.0.1", 50, named("bird")), dials("127.0.0.1", facts.Timeout)
	m := func(changes ...change) *facts.Facts { return machine("127.0.0.1", changes...) }
	counted := func(deltas string) change { return counts("127.0.0.1", 32, arrived+deltas) }
	return slices.Concat(of(ipsecPolicyBlocks,
		row{"on its way in", m(here, silent, counted("XfrmInPolBlock=32 listener.drops=32")), says("proven 127.0.0.1", "XfrmInPolBlock")},
		row{"no state for it", m(here, silent, counts("127.0.0.1", 32, "OutRequests=32 XfrmOutNoStates=32")), says("proven 127.0.0.1 at output", "on its way out")},
		row{"of one SYN", m(here, silent, counts("127.0.0.1", 1, "XfrmInPolBlock=1")), says("inferred 127.0.0.1")},
		row{"of others: too few", m(here, silent, counted("XfrmInPolBlock=3")), nothing},
		row{"of others: far more", m(here, silent, counted("XfrmInPolBlock=900")), nothing},
		row{"it works", m(here, dials("127.0.0.1", facts.Connected), counted("XfrmInPolBlock=32")), nothing},
	), of(listenerDiscards,
		row{"it wants a signature", m(here, silent, counted("TCPMD5NotFound=32 listener.drops=32")), says("proven 127.0.0.1", "bird (pid 50)", "TCP MD5")},
		row{"it wants a TTL", m(here, silent, counted("TCPMinTTLDrop=32 listener.drops=32")), says("proven 127.0.0.1", "time to live")},
		row{"a filter, of which nothing tells", m(here, silent, counted("listener.drops=32")), says("proven 127.0.0.1", "IPAddressDeny", "SO_ATTACH_FILTER")},
		row{"its socket is not seen, the counters are", m(here, silent, counted("TCPMD5NotFound=32")), says("inferred 127.0.0.1", "TCP MD5")},
		row{"others want one on a busy machine", m(here, silent, counted("TCPMD5NotFound=400")), nothing},
		row{"the queue is full", m(here, silent, counted("listener.drops=32 ListenDrops=32 ListenOverflows=32")), nothing},
		row{"a policy of IPsec", m(here, silent, counted("XfrmInPolBlock=32 listener.drops=32")), nothing},
		row{"it never arrived", m(here, silent, counts("127.0.0.1", 32, diedOnInput+" listener.drops=32")), nothing},
		row{"a few, of others", m(here, silent, counted("listener.drops=3")), nothing},
		row{"it works", m(here, dials("127.0.0.1", facts.Connected), counted("listener.drops=32")), nothing},
	))
}

func TestDiscards(t *testing.T) {
	judge(t, discardSituations())
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50, named("bird")), dials("127.0.0.1", facts.Timeout),
		counts("127.0.0.1", 32, "OutRequests=32 OutTransmits=32 InReceives=32 InDelivers=32 InSegs=32 XfrmInPolBlock=32 listener.drops=32")), "broken", "active ipsec-policy-blocks proven")
}
