package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// TraceEvent is one thing that the kernel says of a packet of ours
// (NFT_MSG_TRACE): what a rule or a policy decided.
type TraceEvent struct {
	Family netfilter.Family // of the table
	Table  string
	Chain  string
	Handle uint64 // of the rule; 0: the policy, or the end of a chain
	Policy bool   // the policy of the base chain decided
	// What was decided. A rule that rejects, drops here; one that only goes on is None.
	Verdict netfilter.Verdict

	From, To netip.AddrPort // as the packet's headers have them there
	Reply    bool           // it goes to the client
	Packet   string         // facts.Syn, facts.SynAck, facts.Ack, "RST"; "" another
	Mark     uint32
}

// Final tells whether the packet ends here, or leaves the way it was on.
func (e *TraceEvent) Final() bool {
	return e.Verdict.Code == netfilter.Drop || e.Verdict.Code == netfilter.Queue
}

// journey is what the first message about a packet at a hook tells of it, and the
// later ones do not repeat.
type journey struct {
	from, to netip.AddrPort
	packet   string
}

// traces decodes the messages of one client's packets.
type traces struct {
	ours    string // the table that makes them be told; it is not told itself
	clients map[netip.AddrPort]bool
	known   map[uint32]journey // by the kernel's number of a packet at a hook
	marked  map[string]bool    // the kinds of packets that our table itself was told of
}

// How many packets are remembered: others may be traced as well, by their own rules.
const maxJourneys = 4096

// event decodes the body of a message. It is false for what is none of ours.
func (t *traces) event(b []byte) (e TraceEvent, ok bool) {
	if len(b) < genLen {
		return e, false
	}
	var a attrs
	a.parse(b[genLen:], maxAttr-1)
	id := a.opt32(6)
	j, seen := t.known[id]
	if a.has(8) { // NFTA_TRACE_NETWORK_HEADER
		j, seen = headers(a.v[8], a.v[9]), true
		if len(t.known) >= maxJourneys {
			clear(t.known)
		}
		t.known[id] = j
	}
	e = TraceEvent{Family: netfilter.Family(b[0]), Table: a.text(1), Chain: a.text(2), Handle: a.opt64(3),
		From: j.from, To: j.to, Packet: j.packet, Mark: a.opt32(14)}
	e.Reply = t.clients[e.To] && !t.clients[e.From]
	if seen && e.Table == t.ours && t.marked != nil {
		t.marked[e.Packet] = true
	}
	if !seen || e.Table == t.ours || !t.clients[e.From] && !t.clients[e.To] {
		return e, false
	}
	switch a.opt32(4) { // enum nft_trace_types
	case 1:
		e.Policy, e.Verdict.Code = true, netfilter.Accept
		if a.opt32(16) == 0 {
			e.Verdict.Code = netfilter.Drop
		}
	case 2, 3:
		if e.Verdict, ok = verdictOf(a.v[5]); !ok {
			return e, false
		}
	default:
		return e, false
	}
	return e, !a.bad
}

// headers reads the ends of a packet. The kernel gives at least the first 20 bytes of
// each header, of IPv6 40 (NFT_TRACETYPE_NETWORK_HSIZE).
func headers(network, transport []byte) (j journey) {
	var from, to netip.Addr
	switch {
	case len(network) >= 20 && network[0]>>4 == 4 && network[9] == tcp:
		from, to = netip.AddrFrom4([4]byte(network[12:])), netip.AddrFrom4([4]byte(network[16:]))
	case len(network) >= 40 && network[0]>>4 == 6:
		from, to = netip.AddrFrom16([16]byte(network[8:])), netip.AddrFrom16([16]byte(network[24:]))
	default:
		return j
	}
	if len(transport) < 14 {
		return j
	}
	j.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(transport))
	j.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(transport[2:]))
	const fin, syn, rst, ack = 1, 2, 4, 16
	switch transport[13] & (fin | syn | rst | ack) {
	case syn:
		j.packet = facts.Syn
	case syn | ack:
		j.packet = facts.SynAck
	case ack:
		j.packet = facts.Ack
	case rst, rst | ack:
		j.packet = "RST"
	}
	return j
}
