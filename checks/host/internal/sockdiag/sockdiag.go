// Package sockdiag asks the kernel for its TCP and UDP sockets
// (NETLINK_SOCK_DIAG, linux/inet_diag.h) and lets the kernel pick them, so that
// a look at one port stays cheap on a busy machine. It needs no privilege. It
// refuses to close sockets (SOCK_DESTROY), to open connections, and to say
// which process holds a socket: that is read elsewhere, by inode.
package sockdiag

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

// Numbers of the kernel's interface.
const (
	familyV4 = 2  // AF_INET
	familyV6 = 10 // AF_INET6
	protoTCP = 6
	protoUDP = 17

	messageLen = 72 // struct inet_diag_msg

	// Request attribute and the operations of its bytecode (linux/inet_diag.h).
	reqBytecode = 1
	opJump      = 1
	opSportGE   = 2
	opSportLE   = 3
	opDportGE   = 4
	opDportLE   = 5

	attrInfo    = 2
	attrMemInfo = 7
	attrV6Only  = 11
	attrCgroup  = 21

	// Bits of inet_diag_req_v2.idiag_ext that ask for an attribute.
	wantInfo    = 1 << (attrInfo - 1)
	wantMemInfo = 1 << (attrMemInfo - 1)

	// In struct tcp_info (linux/tcp.h): tcpi_notsent_bytes of kernel 4.6, tcpi_rwnd_limited of
	// 4.10, tcpi_snd_wnd of 5.4.
	notSentAt     = 144
	rwndLimitedAt = 176
	sndWndAt      = 228

	rcvbufAt = 4  // SK_MEMINFO_RCVBUF and SK_MEMINFO_DROPS (linux/sock_diag.h), of 4 bytes each
	dropsAt  = 32 // since kernel 4.7

	timerTimeWait = 3 // idiag_timer of a TIME_WAIT socket
)

// TCP states (net/tcp_states.h).
const (
	stEstablished = 1
	stTimeWait    = 6
	stClose       = 7
	stListen      = 10
	stBound       = 13 // TCP_BOUND_INACTIVE, kernel 6.8; an older one ignores the bit

	anyState = 1<<(stBound+1) - 2
)

var states = [...]facts.State{
	1: facts.Established, 2: facts.SynSent, 3: facts.SynRecv, 4: facts.FinWait1, 5: facts.FinWait2,
	6: facts.TimeWait, 7: facts.Close, 8: facts.CloseWait, 9: facts.LastAck, 10: facts.Listen,
	11: facts.Closing, 12: facts.SynRecv, stBound: facts.Bound,
}

// entry is a socket as a message describes it.
type entry struct {
	facts.Socket
	device uint32 // index of the interface it is bound to
	cookie uint64 // names the socket; a connection keeps that of its request
	unsent uint32 // bytes that the window of the other end does not let it send; only if asked for
	room   facts.ReceiveRoom
}

// parse reads one struct inet_diag_msg with its attributes.
func parse(b []byte, network string) (e entry, ok bool) {
	if len(b) < messageLen {
		return e, false
	}
	family, state, timer := b[0], b[1], b[2]
	var local, remote netip.Addr
	switch family {
	case familyV4:
		local, remote = netip.AddrFrom4([4]byte(b[8:])), netip.AddrFrom4([4]byte(b[24:]))
	case familyV6:
		local, remote = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	default:
		return e, false
	}
	e.Socket, ok = socket(network, state,
		netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:])),
		netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[6:])))
	if !ok {
		return e, false
	}
	e.device = netlink.Uint32(b[40:])
	e.cookie = uint64(netlink.Uint32(b[44:])) | uint64(netlink.Uint32(b[48:]))<<32
	rqueue := netlink.Uint32(b[56:])
	switch {
	case e.State == facts.Listen:
		e.Queue = &facts.Queue{Length: rqueue, Limit: netlink.Uint32(b[60:])}
	case network == "tcp" && timer == timerTimeWait:
		e.TimerMS = int64(netlink.Uint32(b[52:]))
	default:
		e.RecvQ = rqueue
		if network == "tcp" {
			e.SendQ = netlink.Uint32(b[60:])
		}
	}
	e.UID = netlink.Uint32(b[64:])
	e.Inode = uint64(netlink.Uint32(b[68:]))
	for typ, v := range netlink.Attributes(b[messageLen:]) {
		switch {
		case typ == attrV6Only && len(v) == 1:
			e.V6Only = v[0] != 0
		case typ == attrCgroup && len(v) == 8:
			e.Cgroup = binary.NativeEndian.Uint64(v)
		case typ == attrInfo && len(v) >= notSentAt+4:
			e.unsent = heldBack(v)
		case typ == attrMemInfo && len(v) >= dropsAt+4:
			e.room = facts.ReceiveRoom{Buffer: netlink.Uint32(v[rcvbufAt:]), Dropped: netlink.Uint32(v[dropsAt:])}
		}
	}
	return e, true
}

// heldBack is how many bytes wait for the window of the other end. What a packet filter
// drops at output counts as not sent, too, since TCP is told so, but no window holds it back.
func heldBack(info []byte) uint32 {
	unsent := netlink.Uint32(info[notSentAt:])
	switch {
	case len(info) >= sndWndAt+4:
		if netlink.Uint32(info[sndWndAt:]) >= unsent {
			return 0
		}
	case len(info) < rwndLimitedAt+8 || binary.NativeEndian.Uint64(info[rwndLimitedAt:]) == 0:
		return 0
	}
	return unsent
}

// socket puts state and addresses into the words of facts. A socket that waits
// for peers keeps ::ffff:127.0.0.1, because that is what it was bound to; that
// of a connection is unmapped, because the peer speaks plain IPv4.
func socket(network string, state uint8, local, remote netip.AddrPort) (facts.Socket, bool) {
	s := facts.Socket{Network: network, Local: local}
	switch {
	case int(state) >= len(states) || states[state] == "":
		return s, false
	case network == "udp" && state != stEstablished, state == stClose && local.Port() != 0:
		s.State = facts.Bound
	default:
		s.State = states[state]
	}
	if s.State != facts.Listen && s.State != facts.Bound {
		s.Local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
		s.Remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	}
	return s, true
}

// query is what a request asks for.
type query struct {
	family, protocol uint8
	want             uint8          // attributes beyond those that every message has
	states           uint32         // a bit for each state
	local, remote    netip.AddrPort // a port that is 0 and an address that is not valid are any
	device           uint32         // index of an interface
	code             []byte         // bytecode
}

// bytes lays the query out as struct inet_diag_req_v2.
func (q query) bytes() []byte {
	b := make([]byte, 56, 56+4+len(q.code))
	b[0], b[1], b[2] = q.family, q.protocol, q.want
	binary.NativeEndian.PutUint32(b[4:], q.states)
	binary.BigEndian.PutUint16(b[8:], q.local.Port())
	binary.BigEndian.PutUint16(b[10:], q.remote.Port())
	copy(b[12:28], q.local.Addr().AsSlice())
	copy(b[28:44], q.remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[44:], q.device)
	binary.NativeEndian.PutUint64(b[48:], 1<<64-1) // INET_DIAG_NOCOOKIE, twice
	if q.code != nil {
		b = netlink.Append(b, reqBytecode, q.code)
	}
	return b
}

// eitherPort is the bytecode for "the local or the remote port is this one".
// An operation names the offsets to go on at for yes and for no, and the port
// stands in the "no" of a second one. At the end is accepted, beyond it
// refused. It asks for >= and <= since == came only with kernel 4.16.
func eitherPort(port uint16) []byte {
	var b []byte
	op := func(code, yes uint8, no uint16) {
		b = append(b, code, yes)
		b = binary.NativeEndian.AppendUint16(b, no)
	}
	op(opSportGE, 8, 20) // at 0
	op(0, 0, port)
	op(opSportLE, 8, 12) // at 8
	op(0, 0, port)
	op(opJump, 4, 20)    // at 16: the local port fits, go to the end. The kernel's verifier follows "yes", execution "no"
	op(opDportGE, 8, 20) // at 20
	op(0, 0, port)
	op(opDportLE, 8, 12) // at 28
	op(0, 0, port)
	return b
}

// localPorts is the bytecode for "the local port lies between the two".
func localPorts(low, high uint16) []byte {
	var b []byte
	for i, op := range []struct {
		code uint8
		port uint16
	}{{opSportGE, low}, {opSportLE, high}} {
		b = append(b, op.code, 8)
		b = binary.NativeEndian.AppendUint16(b, uint16(20-8*i)) // from here to beyond the end
		b = append(b, 0, 0)
		b = binary.NativeEndian.AppendUint16(b, op.port)
	}
	return b
}

// distinct removes what a dump told twice because the socket changed its
// table meanwhile (a request that became a connection) and keeps the later
// one, in a fixed order.
func distinct(es []entry) []entry {
	type key struct {
		network string
		cookie  uint64
	}
	seen := map[key]int{}
	kept := es[:0]
	for _, e := range es {
		k := key{e.Network, e.cookie}
		if i, ok := seen[k]; ok && e.cookie != 0 {
			kept[i] = e
			continue
		}
		seen[k] = len(kept)
		kept = append(kept, e)
	}
	slices.SortStableFunc(kept, func(a, b entry) int {
		return cmp.Or(
			cmp.Compare(a.Network, b.Network),
			cmp.Compare(rank(a.State), rank(b.State)),
			a.Local.Compare(b.Local),
			a.Remote.Compare(b.Remote),
			cmp.Compare(a.Inode, b.Inode))
	})
	return kept
}

// rank puts those that hold a port before those that use it.
func rank(s facts.State) int {
	switch s {
	case facts.Listen:
		return 0
	case facts.Bound:
		return 1
	}
	return 2
}
