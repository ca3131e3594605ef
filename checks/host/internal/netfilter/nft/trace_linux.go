package nft

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
	"golang.org/x/sys/unix"
)

// Messages and flags of a change (linux/netfilter/nfnetlink.h, nf_tables.h).
const (
	batchBegin = 16 // NFNL_MSG_BATCH_BEGIN
	batchEnd   = 17
	newTable   = 10 << 8
	newChain   = 10<<8 | 3
	newRule    = 10<<8 | 6
	traceSaid  = 10<<8 | 17 // NFT_MSG_TRACE

	flagExclusive = 0x200 // NLM_F_EXCL
	flagCreate    = 0x400 // NLM_F_CREATE
	flagAppend    = 0x800 // NLM_F_APPEND

	traceGroup = 9       // NFNLGRP_NFTRACE
	traceRoom  = 1 << 20 // bytes of messages that are not read yet
	nested     = 0x8000  // NLA_F_NESTED
)

// Trace lets the kernel say which rules decide on the packets of certain
// connections. For that it makes a table of its own, for as long as it is open: the
// kernel removes that with the socket, whatever ends the program (table flag
// "owner", Linux 5.12; an older kernel refuses it, and nothing is changed).
// Nobody else can change the table, and "nft flush ruleset" leaves it alone.
type Trace struct {
	Table string // its name: "loopdoctor_…"
	Lost  bool   // messages were lost

	owner, ears *netlink.Conn
	made        bool
	traces      traces
}

// OpenTrace opens the two sockets, in the network namespace of this thread. It
// changes nothing yet. The error wraps unix.EPERM without CAP_NET_ADMIN.
func OpenTrace() (*Trace, error) {
	var random [4]byte
	if _, err := unix.Getrandom(random[:], 0); err != nil {
		return nil, fmt.Errorf("name the table: %w", err)
	}
	t := &Trace{Table: fmt.Sprintf("loopdoctor_%d_%s", os.Getpid(), hex.EncodeToString(random[:]))}
	t.traces = traces{ours: t.Table, clients: map[netip.AddrPort]bool{}, known: map[uint32]journey{}}
	var err error
	if t.owner, err = netlink.Open(unix.NETLINK_NETFILTER); err != nil {
		return nil, err
	}
	if t.ears, err = netlink.Open(unix.NETLINK_NETFILTER); err == nil {
		err = t.ears.Join(traceGroup, traceRoom)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close removes the table. It takes some milliseconds (RCU): it comes after what a
// person waits for.
func (t *Trace) Close() error {
	var err error
	for _, c := range []*netlink.Conn{t.owner, t.ears} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// Watch traces the packets of one more connection. The client has to be bound before
// it connects; from where the answers come does not matter, for NAT may change that.
func (t *Trace) Watch(from, to netip.AddrPort) error {
	from, to = plain(from), plain(to)
	batch := []netlink.Message{batchMark(batchBegin)}
	if !t.made {
		batch = append(batch, t.change(newTable, flagCreate|flagExclusive, str(1, t.Table), num(2, 2))) // NFT_TABLE_F_OWNER
		for _, c := range traceChains {
			hook := nest(4, num(1, c.hook), num(2, uint32(c.priority)))
			batch = append(batch, t.change(newChain, flagCreate|flagExclusive, str(1, t.Table), str(3, c.name), hook, num(5, 1), str(7, "filter")))
		}
	}
	for _, c := range traceChains {
		for _, rule := range [][]byte{traceRule(from, to), traceRule(netip.AddrPort{}, from)} {
			batch = append(batch, t.change(newRule, flagCreate|flagAppend, str(1, t.Table), str(2, c.name), rule))
		}
	}
	if err := t.owner.Batch(append(batch, batchMark(batchEnd))); err != nil {
		return fmt.Errorf("trace packets: %w", err)
	}
	t.made = true
	t.traces.clients[from] = true
	t.traces.marked = map[string]bool{}
	return nil
}

// plain is an end as packets have it.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// traceChains come before everything else of their hooks. The mark stays on the
// packet over lo; who traces at prerouting as well loses none that lost it.
var traceChains = [...]struct {
	name     string
	hook     uint32 // NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING
	priority int32
}{{"output", 3, math.MinInt32 + 1}, {"prerouting", 0, math.MinInt32 + 1}}

// Marked tells whether a packet of that kind was seen on its way and marked since the
// last Watch: if nothing is told of it then, it met no rule that decided.
func (t *Trace) Marked(packet string) bool { return t.traces.marked[packet] }

// Drain returns what the kernel said so far of the watched connections. If it said
// nothing yet it waits, for at most so long. The packets of a connection over lo are
// delivered within connect(), and are then told already.
func (t *Trace) Drain(wait time.Duration) []TraceEvent {
	var list []TraceEvent
	end := time.Now().Add(wait)
	for {
		any, err := t.ears.Heard(time.Until(end), func(m netlink.Message) {
			if m.Type != traceSaid {
				return
			}
			if e, ok := t.traces.event(m.Body); ok {
				list = append(list, e)
			}
		})
		switch {
		case errors.Is(err, netlink.ErrOverrun):
			t.Lost = true // and on: what is left is read
		case err != nil || !any || len(list) > 0:
			return list
		}
	}
}

// change is a message about the family inet.
func (t *Trace) change(typ, flags uint16, attributes ...[]byte) netlink.Message {
	body := []byte{1, 0, 0, 0} // NFPROTO_INET
	for _, a := range attributes {
		body = append(body, a...)
	}
	return netlink.Message{Type: typ, Flags: flags, Body: body}
}

// batchMark begins or ends a batch of nf_tables (res_id NFNL_SUBSYS_NFTABLES).
func batchMark(typ uint16) netlink.Message {
	return netlink.Message{Type: typ, Body: []byte{0, 0, 0, 10}}
}

// traceRule is the expressions that match packets from one end (if it is one) to
// another, and mark them: meta nfproto, meta l4proto, addresses, ports, meta nftrace set 1.
func traceRule(from, to netip.AddrPort) []byte {
	family, at, size := byte(10), uint32(8), uint32(16)
	if to.Addr().Is4() {
		family, at, size = 2, 12, 4
	}
	list := [][]byte{
		expr("meta", num(2, metaNFProto), num(1, 1)), equals([]byte{family}),
		expr("meta", num(2, metaL4Proto), num(1, 1)), equals([]byte{tcp}),
	}
	for i, end := range []netip.AddrPort{from, to} {
		if end.IsValid() {
			list = append(list,
				expr("payload", num(1, 1), num(2, 1), num(3, at+uint32(i)*size), num(4, size)), equals(end.Addr().AsSlice()),
				expr("payload", num(1, 1), num(2, 2), num(3, uint32(i)*2), num(4, 2)), equals(binary.BigEndian.AppendUint16(nil, end.Port())))
		}
	}
	return nest(4, append(list,
		expr("immediate", num(1, 1), nest(2, netlink.Append(nil, 1, []byte{1}))),
		expr("meta", num(2, metaNFTrace), num(3, 1)))...)
}

func equals(data []byte) []byte {
	return expr("cmp", num(1, 1), num(2, 0), nest(3, netlink.Append(nil, 1, data)))
}

// expr is a list element with an expression (NFTA_LIST_ELEM).
func expr(name string, attributes ...[]byte) []byte {
	return nest(1, str(1, name), nest(2, attributes...))
}

func nest(typ uint16, attributes ...[]byte) []byte {
	var b []byte
	for _, a := range attributes {
		b = append(b, a...)
	}
	return netlink.Append(nil, typ|nested, b)
}

func str(typ uint16, s string) []byte { return netlink.Append(nil, typ, append([]byte(s), 0)) }

func num(typ uint16, n uint32) []byte {
	return netlink.Append(nil, typ, binary.BigEndian.AppendUint32(nil, n))
}
