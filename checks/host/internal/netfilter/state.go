package netfilter

import "net/netip"

// Owner is what is known of the program at one end: the owner of its socket.
type Owner struct {
	Known  bool // otherwise nothing below is
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary
	Cgroup string   // its path in the hierarchy of version 2, from the root of the machine; "" not known
	// The number of each cgroup from the root (level 0) down to its own, as
	// "socket cgroupv2" compares them; nil: not known.
	CgroupIDs []uint64
	ClassID   *uint32 // net_cls; nil: not known
	PID       int
}

// Connection is one TCP connection over lo, from a client to a server.
type Connection struct {
	From, To       netip.AddrPort // To is what was dialled. Port 0 of From: not known
	Client, Server Owner
	Mark           *uint32 // of the client's socket; nil: 0
	// What the machine says of a place where NAT sends the packet; nil: cannot say.
	Route func(from, to netip.Addr, mark uint32) (route string, device string, local bool)
}

// CTState is the bits of "ct state" (NF_CT_STATE_BIT): linux/netfilter/nf_conntrack_common.h.
type CTState uint32

// The states.
const (
	CTInvalid     CTState = 1
	CTEstablished CTState = 2
	CTRelated     CTState = 4
	CTNew         CTState = 8
	CTUntracked   CTState = 64
)

// Packet is one packet on its way. Rules change it: what they wrote and cannot be
// foreseen becomes unknown.
type Packet struct {
	Kind     string         // facts.Syn, facts.SynAck or facts.Ack
	From, To netip.AddrPort // as they stand now; NAT changes them
	Reply    bool           // it goes from the server to the client
	Carries  bool           // and it has data; of its length no more is known

	Mark      uint32
	MarkKnown bool
	Priority  uint32
	// The type of service, or traffic class: 0, unless a rule writes it. Who
	// answers may have one that is not known.
	TOS        uint8
	TOSUnknown bool
	// Written by a rule that may have matched, or not.
	PriorityUnknown bool

	// Connection tracking, as the hook sees it.
	CT       CTState
	CTKnown  bool
	CTMark   uint32
	CTMarkOK bool
	CTStatus uint32            // bits of IPS_*: linux/netfilter/nf_conntrack_common.h; those of StatusKnown
	Original [2]netip.AddrPort // the tuple of the first packet: source, destination; before any NAT
	Answer   [2]netip.AddrPort // the tuple of what answers it: with NAT not the mirror of Original

	// The socket that the hook can see (skb->sk); nil: none. At input it is the
	// receiver's, for early demultiplexing finds established sockets, and not
	// those that listen.
	Socket *Owner
	// The socket is a connection that is just being opened (TCP_NEW_SYN_RECV): some
	// expressions only take whole sockets. Its owner is the listener's.
	Request bool
	// Who a lookup of the packet's addresses finds (nft "socket", xt_socket) where
	// the hook has no socket: at prerouting and input. nil: nobody.
	Receiver        *Owner
	ReceiverRequest bool

	// It comes from another machine: the device and the addresses are not known, but
	// that To is one of this machine.
	Outside bool
}

// StatusKnown is the bits of CTStatus that the walk knows: expected, seen-reply,
// confirmed, snat and dnat (IPS_* in linux/netfilter/nf_conntrack_common.h).
const StatusKnown = 1 | 2 | 8 | 16 | 32

// Tracked tells whether connection tracking has an entry for the packet. Without
// one, "ct" can only say its state.
func (p *Packet) Tracked() Truth {
	switch {
	case !p.CTKnown:
		return Unknown
	case p.CT&(CTEstablished|CTRelated|CTNew) != 0:
		return Yes
	}
	return No
}

// State is what the expressions of a rule see and change. The walk gives each
// rule fresh registers.
type State struct {
	*Packet
	Family            Family // of the packet: IPv4 or IPv6
	Table             *Table
	Hook              Hook
	In, Out           string // the devices of this hook; "" where the hook has none
	InIndex, OutIndex uint32
	Registers         Registers
	Cause             string // what the last value that cannot be foreseen was: "meta cpu", "numgen random"
}

// IPv6 tells the version of the packet.
func (p *Packet) IPv6() bool { return p.To.Addr().Is6() }
