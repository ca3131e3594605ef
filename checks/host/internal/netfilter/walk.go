package netfilter

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// loIndex is the number of lo: the first device of every network namespace
// (loopback_net_init).
const loIndex = 1

// maxSteps is how many rules are judged for one walk. Chains that jump to each other
// can multiply: 16 levels of two jumps are 65,536, of three 43 million. Beyond it a
// trace tells, for which there has to be time.
const maxSteps = 100_000

// walker follows one connection. What a packet leaves behind for the next ones, the
// entry of connection tracking, is kept in it.
type walker struct {
	rules  *Ruleset
	conn   Connection
	family Family
	out    *facts.FilterWalk
	chains map[*Table]map[string]*Chain

	budget    int
	exhausted bool
	tracking  Truth // connection tracking is on; Unknown: not looked yet

	entry  entry
	ends   [2]netip.AddrPort   // of the first packet as it arrived: who answers it, answers from there
	away   string              // why the connection does not stay on lo
	asking bool                // the chains of NAT
	later  []facts.FilterDoubt // doubts of earlier packets that bear on the later ones
}

// Walk follows one packet of the handshake of a connection: facts.Syn, facts.SynAck
// or facts.Ack. Those that come before it are taken to have arrived.
//
// Stops says what stops it. As long as Unsure is empty that is certain; what is in
// Unsure comes before the first stop, or there is none. Sets are read when they are
// first asked for: one walk at a time.
func (rs *Ruleset) Walk(c Connection, kind string) facts.FilterWalk {
	for walk := range rs.Handshake(c) {
		if walk.Packet == kind {
			return walk
		}
	}
	return facts.FilterWalk{}
}

// Handshake follows the packets of a handshake one after the other.
func (rs *Ruleset) Handshake(c Connection) iter.Seq[facts.FilterWalk] {
	return rs.packets(c, facts.Syn, facts.SynAck, facts.Ack)
}

// Conversation follows those, and then data in both directions.
func (rs *Ruleset) Conversation(c Connection) iter.Seq[facts.FilterWalk] {
	return rs.packets(c, facts.Syn, facts.SynAck, facts.Ack, facts.Data, facts.DataBack)
}

func (rs *Ruleset) packets(c Connection, kinds ...string) iter.Seq[facts.FilterWalk] {
	return func(yield func(facts.FilterWalk) bool) {
		w := newWalker(rs, c)
		for _, k := range kinds {
			w.out = &facts.FilterWalk{Addr: c.To.Addr(), As: c.Client.UID, Packet: k, Unsure: slices.Clone(w.later)}
			w.packet(k)
			if w.exhausted {
				w.out.Partial = "too many rules to follow"
			}
			if !yield(*w.out) {
				return
			}
		}
	}
}

func newWalker(rs *Ruleset, c Connection) *walker {
	// An IPv4 address that is mapped into IPv6 travels as IPv4; and who connects to
	// lo comes from the same address if nobody said otherwise.
	c.To = netip.AddrPortFrom(c.To.Addr().Unmap(), c.To.Port())
	if from := c.From.Addr().Unmap(); from.Is4() != c.To.Addr().Is4() || !from.IsValid() {
		c.From = netip.AddrPortFrom(c.To.Addr(), c.From.Port())
	} else {
		c.From = netip.AddrPortFrom(from, c.From.Port())
	}
	w := &walker{rules: rs, conn: c, family: IPv4, budget: maxSteps, chains: map[*Table]map[string]*Chain{}}
	if c.To.Addr().Is6() {
		w.family = IPv6
	}
	w.ends = [2]netip.AddrPort{c.From, c.To}
	return w
}

// packet sends one packet.
func (w *walker) packet(kind string) {
	p := &Packet{Kind: kind, From: w.conn.From, To: w.conn.To, MarkKnown: true, Socket: &w.conn.Client,
		CT: CTInvalid, CTKnown: true} // a packet that was just made has no entry yet
	if w.conn.Mark != nil {
		p.Mark = *w.conn.Mark
	}
	switch kind {
	case facts.Data: // like the last packet of the handshake, but that it carries something
		p.Kind, p.Carries, p.Receiver = facts.Ack, true, known(&w.conn.Server)
	case facts.DataBack: // from a socket of its own, which has the owner of the listener as a rule
		p.Kind, p.Carries = facts.Ack, true
		p.From, p.To, p.Reply, p.Mark, p.TOSUnknown = w.ends[1], w.ends[0], true, 0, true
		p.Socket, p.Receiver = &w.conn.Server, known(&w.conn.Client)
	case facts.Syn:
		p.Receiver = known(&w.conn.Server)
	case facts.SynAck:
		// From where the first packet arrived; its socket is the listener's request.
		// The mark is the listener's (net.ipv4.tcp_fwmark_accept is off by default).
		p.From, p.To, p.Reply, p.Mark, p.TOSUnknown = w.ends[1], w.ends[0], true, 0, true
		p.Socket, p.Request = &w.conn.Server, true
		p.Receiver = known(&w.conn.Client)
	case facts.Ack:
		p.Receiver, p.ReceiverRequest = known(&w.conn.Server), true
	}
	if w.ends[1] != w.conn.To { // another program has it
		if p.Reply {
			p.Socket = &Owner{}
		} else {
			p.Receiver = nil
		}
	}
	w.out.From, w.out.To = p.From, p.To
	s := &State{Packet: p, Family: w.family}
	if w.away != "" {
		w.out.Partial = w.away
		return
	}
	s.Out, s.OutIndex = "lo", loIndex
	if p.Reply && p.To.Addr() != w.conn.From.Addr() { // a source that was translated; output translates it back
		w.route(s)
	}
	for _, hook := range []Hook{Output, Postrouting, Egress, Ingress, Prerouting, Input} {
		if hook == Ingress {
			s.In, s.InIndex, s.Out, s.OutIndex = "lo", loIndex, "", 0
			p.Socket, p.Request = nil, false // lo orphans (loopback_xmit), and the kept route forbids early demultiplexing
		}
		w.hook(hook, s)
		if w.away != "" && (hook == Postrouting || s.Out == "") || w.exhausted {
			w.out.Partial = w.away
			return
		}
		if hook == Postrouting {
			w.entry.confirm(p)
		}
	}
	w.arrived(p)
	if p.Reply && (p.From != w.conn.To || p.To != w.conn.From) {
		w.out.Partial = "it is not translated back: it is not tracked"
	}
	if p.Kind == facts.Ack && !p.Reply && [2]netip.AddrPort{p.From, p.To} != w.ends {
		w.out.Partial = "it is not translated as the first packet was: it is not tracked"
	}
}

// known gives an owner only if something is known of it.
func known(o *Owner) *Owner {
	if !o.Known {
		return nil
	}
	return o
}

// arrived keeps what later packets depend on.
func (w *walker) arrived(p *Packet) {
	w.entry.mark, w.entry.markOK = p.CTMark, p.CTMarkOK
	if p.Kind == facts.Syn {
		w.ends = [2]netip.AddrPort{p.From, p.To}
	}
}

// call is one thing that a hook calls: a base chain, connection tracking or NAT.
type call struct {
	priority int
	order    int // of two with one priority the one that was registered last comes first (nf_hook_entries_grow)
	act      func(*State)
}

// Fixed priorities: linux/netfilter_ipv4.h.
const (
	priorityConntrack = -200
	priorityDNAT      = -100
	prioritySNAT      = 100
)

// hook calls what is registered there.
func (w *walker) hook(hook Hook, s *State) {
	var calls []call
	var nat []*Chain
	natOrder, order := -1, 0
	for _, t := range w.rules.Tables {
		if t == nil || t.Dormant || !w.meets(t, hook) {
			continue
		}
		for _, c := range t.Chains {
			if c == nil || c.Hook == NoHook {
				continue
			}
			order++
			if c.Type == "nat" {
				// NAT registers at all hooks as soon as there is one chain, at priorities
				// of its own; the chains' only sort them (nf_nat_register_fn).
				if natOrder < 0 && t.Family != Netdev {
					natOrder = order
				}
				if c.Hook == hook {
					nat = append(nat, c)
				}
				continue
			}
			if c.Hook == hook && onLo(c) {
				calls = append(calls, call{c.Priority, order, func(s *State) { w.base(c, s) }})
			}
		}
	}
	if hook == Output || s.Outside && hook == Prerouting {
		calls = append(calls, call{priorityConntrack, order + 1, w.track})
	}
	if natOrder >= 0 {
		slices.Reverse(nat)
		slices.SortStableFunc(nat, func(a, b *Chain) int { return a.Priority - b.Priority })
		if at, ok := natPriority(hook); ok {
			calls = append(calls, call{at, natOrder, func(s *State) { w.nat(hook, nat, s) }})
		}
	}
	slices.SortFunc(calls, func(a, b call) int {
		if a.priority != b.priority {
			return a.priority - b.priority
		}
		return b.order - a.order
	})
	for _, c := range calls {
		c.act(s)
		if w.away != "" && hook == Output && s.Out == "" || w.exhausted {
			return
		}
	}
}

// meets tells whether the chains of a table are called for the packet.
func (w *walker) meets(t *Table, hook Hook) bool {
	switch hook {
	case Egress:
		return t.Family == Netdev
	case Ingress:
		return t.Family == Netdev || t.Family == Inet
	}
	return t.Family == w.family || t.Family == Inet
}

// onLo tells whether a chain at ingress or egress is for lo. A name may end in "*".
func onLo(c *Chain) bool {
	if c.Hook != Ingress && c.Hook != Egress {
		return true
	}
	return slices.ContainsFunc(c.Devices, func(d string) bool { return d == "lo" || d == "l*" || d == "lo*" || d == "*" })
}

func natPriority(hook Hook) (int, bool) {
	switch hook {
	case Output, Prerouting:
		return priorityDNAT, true
	case Postrouting, Input:
		return prioritySNAT, true
	}
	return 0, false
}

// base runs one base chain that is not one of NAT, and routes the packet again
// where a chain of type route changed what routes depend on (nft_chain_route.c,
// iptable_mangle.c).
func (w *walker) base(c *Chain, s *State) {
	before := *s.Packet
	if c.Priority == priorityConntrack && c.Hook == Output {
		// Before or after connection tracking: that depends on which came first.
		s.CTKnown = false
		defer func() { s.CT, s.CTKnown = before.CT, before.CTKnown }()
	}
	marks := len(w.out.Marks)
	w.runBase(c, s, place{is: sure})
	if c.Type != "route" || c.Hook != Output {
		return
	}
	if before.MarkKnown && !s.MarkKnown && w.conn.Route != nil && len(w.out.Marks) > marks {
		// A rule marks it, and another may have let it leave the chain before.
		w.doubt(facts.FilterDoubt{Rule: w.out.Marks[marks].Rule, Where: c.Hook.Where(), Verdict: "mark", Why: "whether the packet gets there"})
	}
	if s.To != before.To || s.From != before.From || s.MarkKnown && (!before.MarkKnown || s.Mark != before.Mark) {
		w.route(s)
	}
}

// leads tells whether the mark that a packet may have leads it away from lo.
func (w *walker) leads(s *State) bool {
	if w.conn.Route == nil {
		return false
	}
	if !s.MarkKnown {
		return true
	}
	_, device, local := w.conn.Route(s.From.Addr(), s.To.Addr(), s.Mark)
	return !local && device != "lo"
}

// route asks where the packet goes now, and tells it in the words of
// facts.FilterDivert.
func (w *walker) route(s *State) string {
	if s.Outside {
		return ""
	}
	to := s.To.Addr()
	if w.conn.Route == nil || !s.MarkKnown {
		w.away = ""
		if !to.IsLoopback() {
			w.away = "the route to " + to.String() + " is not known"
		}
		return ""
	}
	route, device, local := w.conn.Route(s.From.Addr(), to, s.Mark)
	switch {
	case local || device == "lo":
		w.away, s.Out, s.OutIndex = "", "lo", loIndex
	case device == "":
		w.away, s.Out, s.OutIndex = "no route to "+to.String()+": "+Cut(route, 64), "", 0
	default:
		w.away, s.Out, s.OutIndex = "it leaves lo for "+Cut(device, 64), device, 0
	}
	return route
}
