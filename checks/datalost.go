package checks

import (
	"fmt"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// retransmitMS is how long TCP waits at the most for an acknowledgement over loopback,
// in milliseconds, before it sends again (TCP_RTO_MIN of include/net/tcp.h).
const retransmitMS = 200

var dataLostAfterHandshake = &Check{
	Name:     "data-lost-after-handshake",
	Doc:      "the connection is made, and what is sent over it is lost on the way",
	Stage:    StageInput,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Explains: []*Check{noAnswer},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if a.Bytes > 0 || a.End != facts.Silence || a.Server == nil {
				continue
			}
			// The kernel acknowledges for a program that is stopped or does not read, too.
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: cond(a.ElapsedMS > retransmitMS, Proven, Inferred), Settle: findRule + "; " + findOnWire,
				Fixes: []Fix{{Do: "Accept loopback ahead of the rule that does it, in its chain: nft insert rule FAMILY TABLE CHAIN iif lo accept (oif lo on the way out), or iptables (for IPv6 ip6tables) -I INPUT 1 -i lo -j ACCEPT, -I OUTPUT 1 -o lo -j ACCEPT."}, acceptAhead(StageWire)}}
			const perhaps = "a packet filter that lets the handshake pass (it looks at lengths, contents or marks), or a traffic control, netdev or XDP program on lo"
			switch {
			case a.Unacked > 0:
				x.Summary = fmt.Sprintf("%s takes the connection, and what the client sends over it is lost on the way: %s.", at(f, a.Addr), perhaps)
				x.Evidence = []Evidence{{"connection", fmt.Sprintf("of %d bytes sent, %d are not acknowledged after %.0f ms", a.Sent, a.Unacked, a.ElapsedMS)}}
			case a.Server.Unacked > 0:
				x.Stage = StageReply
				x.Summary = fmt.Sprintf("%s takes the connection and answers, and the answer is lost on the way: %s.", at(f, a.Addr), perhaps)
				x.Evidence = []Evidence{{"connection", fmt.Sprintf("%d bytes of the server's are not acknowledged after %.0f ms", a.Server.Unacked, a.ElapsedMS)}}
			default:
				continue
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}
