package capture

import (
	"net/netip"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// together is how long after the copy on the way out the copy on the way in may
// come. On lo it takes some 10 µs, longer only on a machine that is out of CPU
// time. A retransmission within this time is told apart all the same, for it
// has a copy on the way out of its own.
const together = 500 * time.Millisecond

// Conversations tells the frames of one or more calls of Frames as
// conversations, in the order of their first packets. It keeps those in which
// server, the port that was asked for, or one of ours, the source ports of the
// caller, takes part.
//
// The client is who sent the first SYN. Where none was seen it is who received
// a SYN-ACK, else the side with one of our ports, else the side that does not
// have the server's port, else who spoke first. A socket connected to itself is
// client and server at once; all its packets are from the client.
//
// After a redirect the packets to the server carry the new port and the answers
// the old one, for the kernel translates these back before lo sees them. That
// makes two conversations: SYNs without an answer, and a SYN-ACK or a reset
// without a SYN. A packet that a program changes between its two copies is two
// packets as well.
//
// Dropped is not filled in: Capture.Dropped knows it.
func Conversations(frames []Frame, server uint16, ours []uint16) *facts.Packets {
	frames = slices.Clone(frames)
	slices.SortStableFunc(frames, func(a, b Frame) int { return a.At.Compare(b.At) })

	t := teller{ours: ours, server: server, index: map[flow]int{}, leaving: map[content][]copyOut{}}
	for _, f := range frames {
		if s, ok := decode(f.Data, f.Length); ok && (t.mine(s.src) || t.mine(s.dst)) {
			t.add(f, s)
		}
	}
	packets := &facts.Packets{Start: t.start, Conversations: make([]facts.Conversation, len(t.talks))}
	for i := range t.talks {
		packets.Conversations[i] = t.talks[i].tell(&t)
	}
	return packets
}

type teller struct {
	server  uint16
	ours    []uint16
	start   time.Time
	talks   []talk
	index   map[flow]int          // into talks
	leaving map[content][]copyOut // packets that were not yet seen arriving
}

// flow is two endpoints, the lesser first.
type flow struct {
	network string
	a, b    netip.AddrPort
}

// content is what both copies of a packet have in common: all of it. On lo they
// are one buffer in the kernel.
type content struct {
	bytes  string
	length int
}

// copyOut is where to find a packet that was seen leaving.
type copyOut struct {
	at           time.Time
	talk, packet int
}

type talk struct {
	flow    flow
	packets []heard
}

type heard struct {
	segment
	at     time.Duration
	out    bool
	in     bool
	header []byte
}

func (t *teller) mine(a netip.AddrPort) bool {
	return a.Port() == t.server || slices.Contains(t.ours, a.Port())
}

func (t *teller) add(f Frame, s segment) {
	same := content{string(f.Data), f.Length}
	if waiting := t.leaving[same]; !f.Out && len(waiting) > 0 {
		// The latest: when an equal packet went out twice and came in once, the
		// earlier one is the one that was lost.
		last := waiting[len(waiting)-1]
		t.leaving[same] = waiting[:len(waiting)-1]
		if f.At.Sub(last.at) <= together {
			t.talks[last.talk].packets[last.packet].in = true
			return
		}
	}
	if t.start.IsZero() {
		t.start = f.At
	}
	key := flow{s.network, s.src, s.dst}
	if s.dst.Compare(s.src) < 0 {
		key.a, key.b = s.dst, s.src
	}
	i, ok := t.index[key]
	if !ok {
		i = len(t.talks)
		t.index[key] = i
		t.talks = append(t.talks, talk{flow: key})
	}
	if f.Out {
		t.leaving[same] = append(t.leaving[same], copyOut{f.At, i, len(t.talks[i].packets)})
	}
	t.talks[i].packets = append(t.talks[i].packets, heard{segment: s, at: f.At.Sub(t.start), out: f.Out, in: !f.Out, header: headers(f.Data)})
}

// client decides who the client is; a packet that an ICMP error quotes counts
// as heard from its sender.
func (k *talk) client(t *teller) netip.AddrPort {
	for _, p := range k.packets {
		if p.syn && !p.ack {
			return p.src
		}
	}
	for _, p := range k.packets {
		if p.syn {
			return p.dst
		}
	}
	a, b := k.flow.a, k.flow.b
	oursA, oursB := slices.Contains(t.ours, a.Port()), slices.Contains(t.ours, b.Port())
	switch {
	case oursA && !oursB:
		return a
	case oursB && !oursA:
		return b
	case b.Port() == t.server && a.Port() != t.server:
		return a
	case a.Port() == t.server && b.Port() != t.server:
		return b
	}
	return k.packets[0].src
}

func (k *talk) tell(t *teller) facts.Conversation {
	c := facts.Conversation{Network: k.flow.network, Client: k.client(t), Server: k.flow.a}
	c.Ours = slices.Contains(t.ours, c.Client.Port())
	if c.Server == c.Client {
		c.Server = k.flow.b
	}
	for _, p := range k.packets {
		told := facts.Packet{At: p.at, FromClient: p.src == c.Client, Out: p.out, In: p.in, Header: p.header}
		if p.icmp == "" {
			told.Flags, told.Length = p.flags, p.length
		} else {
			told.ICMP = p.icmp
			told.FromClient = p.dst == c.Client // an error goes back to the sender of what it quotes
		}
		c.Packets = append(c.Packets, told)
	}
	return c
}
