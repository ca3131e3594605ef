// Package nft reads the rules of nf_tables over netlink and gives their
// expressions the meaning that the kernel gives them (net/netfilter/nft_*.c). It
// changes nothing but, where it is asked to, for a moment a table of its own that
// traces (trace_linux.go).
package nft

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

// The expressions, named as nf_tables names them, with the attributes of
// linux/netfilter/nf_tables.h. Registers are numbered as on the wire. An
// expression that is not here makes its rule opaque.

// Meta reads or (Set) writes a property of the packet: enum nft_meta_keys.
type Meta struct {
	Key uint32
	Reg uint32
	Set bool
}

// Payload reads bytes of the packet, or (Set) writes them: base 0 link, 1
// network, 2 transport, 3 inner header.
type Payload struct {
	Base, Offset, Len uint32
	Reg               uint32
	Set               bool
}

// Cmp compares a register with bytes: op 0 eq, 1 neq, 2 lt, 3 lte, 4 gt, 5 gte.
type Cmp struct {
	Reg, Op uint32
	Data    []byte
}

// Range compares a register with two ends: op 0 eq, 1 neq.
type Range struct {
	Reg, Op  uint32
	From, To []byte
}

// Bitwise computes dreg = (sreg & mask) ^ xor, or a shift: op 0 bool, 1 left
// shift, 2 right shift; 3 and, 4 or, 5 xor of two registers or a constant (newer kernels).
type Bitwise struct {
	From, To, Len uint32
	Op            uint32
	Mask, Xor     []byte
	Shift         uint32
	Reg2          uint32 // of the newer operations; 0: Data
	Data          []byte
}

// Byteorder swaps: op 0 ntoh, 1 hton, in pieces of Size bytes.
type Byteorder struct {
	From, To, Op, Len, Size uint32
}

// Immediate loads data, or (register 0) gives a verdict.
type Immediate struct {
	Reg     uint32
	Data    []byte
	Verdict netfilter.Verdict
}

// Lookup asks a set, a map (To is set) or a verdict map (To is 0 and Map is set).
type Lookup struct {
	Set     *Set
	From    uint32
	To      uint32
	HasTo   bool
	Inverse bool
}

// Dynset adds to a set, updates or deletes: it breaks the rule when the set is
// full. Op 0 add, 1 update, 2 delete.
type Dynset struct {
	Set       *Set
	Op, Key   uint32
	Data      uint32
	Inverse   bool
	Exprs     []netfilter.Expr // stateful ones of the element: limit, counter …
	TimeoutMS uint64
}

// CT reads or (Set) writes what connection tracking holds: enum nft_ct_keys.
type CT struct {
	Key       uint32
	Direction int // -1: none was given; 0 original, 1 reply
	Reg       uint32
	Set       bool
}

// CTHelper, CTTimeout, Synproxy, Secmark and the like by reference: Objref.

// Counter counts and goes on.
type Counter struct{ Packets, Bytes uint64 }

// Last remembers when it was last met, and goes on.
type Last struct {
	Set bool
	MS  uint64
}

// Log writes and goes on.
type Log struct {
	Prefix     string
	Group      uint16
	HasGroup   bool
	Snaplen    uint32
	Qthreshold uint16
	Level      uint32
	HasLevel   bool
	Flags      uint32
}

// Limit is a token bucket: the rule goes on while there are tokens (Inverse: once
// there are none).
type Limit struct {
	Rate, Unit uint64 // Unit in seconds
	Burst      uint32
	Bytes      bool
	Inverse    bool
}

// Quota goes on until so many bytes have passed (Inverse: from then on).
type Quota struct {
	Bytes, Consumed uint64
	Inverse         bool
}

// Connlimit goes on while there are at most so many connections (Inverse: more).
type Connlimit struct {
	Count   uint32
	Inverse bool
}

// Reject drops and answers: type 0 ICMP unreachable, 1 TCP reset, 2 ICMPx.
type Reject struct{ Type, Code uint32 }

// NAT translates: type 0 source, 1 destination. A register of 0 is not given.
type NAT struct {
	Type, Family                         uint32
	AddrMin, AddrMax, ProtoMin, ProtoMax uint32 // registers
	Flags                                uint32
}

// Masquerade translates the source to that of the device.
type Masquerade struct{ Flags, ProtoMin, ProtoMax uint32 }

// Redirect translates the destination to this machine: 127.0.0.1 or ::1 at output.
type Redirect struct{ Flags, ProtoMin, ProtoMax uint32 }

// TProxy hands the packet to a local socket without translating it.
type TProxy struct{ Family, Addr, Port uint32 }

// Queue hands the packet to a program.
type Queue struct {
	Num, Total, Flags uint32 // Flags: 1 bypass, 2 CPU fanout
	Reg               uint32 // the number comes from a register; 0: from Num
}

// Fib asks the routing table: result 1 oif, 2 oifname, 3 type; flags 1 saddr, 2
// daddr, 4 mark, 8 iif, 16 oif, 32 present.
type Fib struct{ Result, Flags, Reg uint32 }

// Socket reads a property of the socket of the packet: key 0 transparent, 1 mark,
// 2 wildcard, 3 cgroupv2 (Level).
type Socket struct{ Key, Reg, Level uint32 }

// Rt reads a property of the route: key 0 classid, 1 nexthop4, 2 nexthop6, 3
// tcpmss, 4 xfrm.
type Rt struct{ Key, Reg uint32 }

// Exthdr reads an extension header or a TCP option: op 0 IPv6, 1 TCP option, 2
// IPv4 option, 3 SCTP, 4 DCCP. Flags 1: only whether it is present. Source: it is written.
type Exthdr struct {
	Reg, Type, Offset, Len, Flags, Op uint32
	Source                            uint32
	Writes                            bool
}

// Numgen makes a number: type 0 incremental, 1 random.
type Numgen struct{ Reg, Modulus, Type, Offset uint32 }

// Hash computes a hash: type 0 jhash, 1 symhash.
type Hash struct {
	From, To, Len, Modulus, Seed, Offset, Type uint32
}

// Notrack keeps the packet out of connection tracking.
type Notrack struct{}

// Objref uses a stateful object by its name, or by a map (Set).
type Objref struct {
	Type uint32 // NFT_OBJECT_*: 1 counter, 2 quota, 3 ct helper, 4 limit, 5 connlimit, 6 tunnel, 7 ct timeout, 8 secmark, 9 ct expect, 10 synproxy
	Name string
	Set  *Set
	Key  uint32
}

// Dup copies the packet elsewhere and goes on.
type Dup struct{ Addr, Device uint32 }

// Fwd sends the packet out of another device.
type Fwd struct{ Device, Addr, Family uint32 }

// FlowOffload, Tproxy and what loopback never meets are opaque on purpose.

// Compat is a match or a target of xtables in an nf_tables rule (iptables-nft).
// Expr is what package xt makes of it.
type Compat struct {
	Target bool
	Name   string
	Rev    uint32
	Info   []byte
	netfilter.Expr
}
