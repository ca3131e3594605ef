package netfilter

import (
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Bits of CTStatus: IPS_* in linux/netfilter/nf_conntrack_common.h.
const (
	seenReply = 2
	confirmed = 8
	natSource = 16
	natDest   = 32
)

// entry is what connection tracking has of the connection.
type entry struct {
	tracked  Truth // of the first packet
	original [2]netip.AddrPort
	answer   [2]netip.AddrPort
	status   uint32
	mark     uint32
	markOK   bool
	replied  Truth // the answer was tracked
}

// give attaches the entry to a packet.
func (e *entry) give(p *Packet, state CTState) {
	p.CT, p.CTKnown = state, true
	p.CTStatus, p.Original, p.Answer = e.status, e.original, e.answer
	p.CTMark, p.CTMarkOK = e.mark, e.markOK
}

// confirm is what happens behind the last chain of postrouting.
func (e *entry) confirm(p *Packet) {
	if p.Tracked() == Yes {
		e.status |= confirmed
		p.CTStatus = e.status
	}
}

// track is nf_conntrack_in for a packet that comes from a socket. A packet that a rule
// took out is left alone.
func (w *walker) track(s *State) {
	p, e := s.Packet, &w.entry
	none := p.CTKnown && p.CT == CTUntracked
	switch p.Kind {
	case facts.Syn:
		switch {
		case none:
			e.tracked = No
		case !p.CTKnown: // notrack perhaps, or a zone
			e.tracked = Unknown
		default:
			*e = entry{tracked: Yes, original: [2]netip.AddrPort{p.From, p.To}, answer: [2]netip.AddrPort{p.To, p.From}, markOK: true}
			e.give(p, CTNew)
		}
	case facts.SynAck:
		switch {
		case none:
			e.replied = No
		case !p.CTKnown || e.tracked == Unknown:
			e.replied, p.CTKnown = Unknown, false
		case e.tracked == No:
			// A reply to nothing is invalid: sIV in tcp_conntracks, nf_conntrack_proto_tcp.c.
			e.replied, p.CT = No, CTInvalid
		default:
			e.replied = Yes
			e.status |= seenReply
			e.give(p, CTEstablished)
		}
	case facts.Ack:
		switch {
		case none:
		case !p.CTKnown || e.tracked == Unknown || e.tracked == Yes && e.replied == Unknown:
			p.CTKnown = false
		case e.tracked == No:
			// The first that is seen of it: taken up or not by net.netfilter.nf_conntrack_tcp_loose.
			p.CTKnown = false
		case e.replied == No:
			p.CT = CTInvalid // no acknowledgement before the reply
		default:
			e.give(p, CTEstablished)
		}
	}
}

// Tracker is an expression that switches connection tracking on for packets of a
// family (nf_ct_netns_get), just by being there.
type Tracker interface{ Tracks(packet Family) bool }

// TracksByName tells it of a match or a target of xtables.
func TracksByName(name string) bool {
	switch name {
	case "conntrack", "state", "connmark", "connbytes", "connlimit", "connlabel", "helper", "cluster", "DNAT", "SNAT", "MASQUERADE",
		"REDIRECT", "NETMAP", "CONNMARK", "CONNSECMARK", "SYNPROXY":
		return true
	}
	return false
}

func (w *walker) tracks(e Expr) bool {
	switch e := e.(type) {
	case Tracker:
		return e.Tracks(w.family)
	case interface{ Words() []string }:
		w := e.Words()
		return len(w) > 1 && TracksByName(w[1])
	}
	return false
}

// tracked tells whether a rule of this family needs connection tracking. Without one
// it is off, and NAT asks no chain: unless something else needs it.
func (w *walker) tracked(first []*Chain) bool {
	if w.tracking == Unknown {
		w.tracking = No
		for _, c := range first { // where it mostly is
			w.look(c)
		}
		for _, t := range w.rules.Tables {
			for i := 0; t != nil && w.meets(t, Output) && i < len(t.Chains) && w.tracking == No; i++ {
				w.look(t.Chains[i])
			}
		}
	}
	return w.tracking == Yes
}

func (w *walker) look(c *Chain) {
	if c == nil || w.tracking == Yes {
		return
	}
	for _, r := range c.Rules {
		if slices.ContainsFunc(r.Whole().Exprs, w.tracks) {
			w.tracking = Yes
			return
		}
	}
}

// nat is nf_nat_inet_fn: it asks the chains for the first packet of a connection,
// until one of them translates, and does to the others what was decided then. What
// came through output is not asked at prerouting and input again.
func (w *walker) nat(hook Hook, chains []*Chain, s *State) {
	before := s.Packet.To.Addr()
	switch tracked := s.Tracked(); {
	case tracked == No:
	case s.CTKnown && s.CT != CTNew:
		w.translated(hook, s)
	case hook == Output || hook == Postrouting || s.Outside:
		at := place{is: sure}
		if tracked == Unknown {
			at = place{perhaps, "whether connection tracking has it"}
		} else if len(chains) > 0 && !w.tracked(chains) {
			at = place{perhaps, "whether connection tracking is on"}
		}
		w.ask(chains, s, at)
	}
	if hook == Output && s.To.Addr() != before {
		route := w.route(s)
		if n := len(w.out.Diverts); n > 0 {
			w.out.Diverts[n-1].Route = route
		}
	}
}

// ask asks chains of NAT.
func (w *walker) ask(chains []*Chain, s *State, at place) {
	for _, c := range chains {
		w.asking = true
		d := w.runBase(c, s, at).divert
		w.asking = false
		if d == nil {
			continue
		}
		e := &w.entry
		end, status, answer := &s.To, uint32(natDest), 0
		if source(d.Kind) {
			end, status, answer = &s.From, natSource, 1
		}
		if d.To.Addr().IsValid() && *end != d.To { // to itself is no translation (nf_nat_setup_info)
			*end = d.To
			e.status |= status
			e.answer[answer] = d.To
		}
		s.CTStatus, s.Answer = e.status, e.answer
		return
	}
}

// translated is nf_nat_packet for a connection that has its translation: at output
// and prerouting the destination, at the others the source.
func (w *walker) translated(hook Hook, s *State) {
	e := &w.entry
	dest := hook == Output || hook == Prerouting
	switch {
	case s.Reply && dest && e.status&natSource != 0:
		s.To = e.original[0]
	case s.Reply && !dest && e.status&natDest != 0:
		s.From = e.original[1]
	case !s.Reply && dest && e.status&natDest != 0:
		s.To = e.answer[0]
	case !s.Reply && !dest && e.status&natSource != 0:
		s.From = e.answer[1]
	}
}

// Published tells what NAT would do with the same SYN if it came from another
// machine: how a container's port is reached from outside, and not from here. The
// device and the addresses are not known, but that the destination is this machine.
func (rs *Ruleset) Published(to netip.AddrPort) facts.FilterWalk {
	// Addresses for documentation (RFC 5737, RFC 3849): no rule is about them, and no
	// expression that knows of Packet.Outside looks.
	from := netip.AddrFrom4([4]byte{192, 0, 2, 1})
	if to.Addr().Is6() {
		from = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
	}
	w := newWalker(rs, Connection{From: netip.AddrPortFrom(from, 0), To: to})
	w.out = &facts.FilterWalk{Addr: to.Addr(), Packet: facts.Syn, From: w.conn.From, To: to}
	p := &Packet{Kind: facts.Syn, From: w.conn.From, To: to, MarkKnown: true, CT: CTInvalid, CTKnown: true, TOSUnknown: true, Outside: true}
	w.hook(Prerouting, &State{Packet: p, Family: w.family})
	if w.exhausted {
		w.out.Partial = "too many rules to follow"
	}
	return *w.out
}
