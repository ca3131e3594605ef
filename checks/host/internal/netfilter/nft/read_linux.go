package nft

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
	"golang.org/x/sys/unix"
)

// Messages of nf_tables (NFNL_SUBSYS_NFTABLES in the upper byte; nf_tables_msg_types).
const (
	getTable   = 10<<8 | 1
	getChain   = 10<<8 | 4
	getRule    = 10<<8 | 7
	getSet     = 10<<8 | 10
	getElement = 10<<8 | 13
	getGen     = 10<<8 | 16
)

// How often the rules are read again if they change meanwhile.
const tries = 4

// Reading is the rules of one network namespace. Its sets are read when they are
// asked for, until Close.
type Reading struct {
	Tables []*netfilter.Table

	conn *netlink.Conn
	d    *decoder
}

// Opaque is how many rules have an expression that is not known, of those that were
// decoded: that a walk came to.
func (r *Reading) Opaque() int {
	if r.d == nil {
		return 0
	}
	return r.d.opaque
}

// Close closes the socket. Sets that were not asked for can no longer be read.
func (r *Reading) Close() error {
	if r.conn == nil { // a kernel without netfilter
		return nil
	}
	return r.conn.Close()
}

// Read reads all rules of the network namespace of this thread: of the families ip,
// ip6, inet and netdev. A kernel without nf_tables has none. The error wraps
// unix.EPERM for who may not read them (CAP_NET_ADMIN), and is
// netlink.ErrInterrupted where they do not stop to change.
func Read() (*Reading, error) {
	conn, err := netlink.Open(unix.NETLINK_NETFILTER)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return &Reading{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Reading{conn: conn}
	if err := r.read(); err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reading) read() error {
	before, err := r.generation()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // nfnetlink without nf_tables (nfnetlink_rcv_msg)
	}
	for range tries {
		if err != nil {
			return fmt.Errorf("ask for the generation of nf_tables: %w", err)
		}
		d := newDecoder()
		d.device = r.conn.DeviceName
		d.load = func(s *Set) ([]Element, error) { return r.elements(d, s) }
		if err := r.dump(d); err != nil && !errors.Is(err, netlink.ErrInterrupted) {
			return err
		}
		var after uint32
		if after, err = r.generation(); err == nil && after == before {
			if d.malformed {
				return fmt.Errorf("list rules of nf_tables: %w", netlink.ErrMalformed)
			}
			r.Tables, r.d = d.tables, d
			return nil
		}
		before = after
	}
	return fmt.Errorf("list rules of nf_tables: %w", netlink.ErrInterrupted)
}

// dump asks for everything but elements, in the order in which they need each other.
func (r *Reading) dump(d *decoder) error {
	for _, ask := range []struct {
		typ  uint16
		what string
		add  func([]byte)
	}{
		{getTable, "tables", d.addTable},
		{getSet, "sets", d.addSet},
		{getChain, "chains", d.addChain},
	} {
		// It is decoded when it is whole, for the kernel may begin it again.
		list, err := netlink.Dump(r.conn, ask.typ, make([]byte, genLen), keeper())
		if err != nil {
			return fmt.Errorf("list %s of nf_tables: %w", ask.what, err)
		}
		for _, b := range list {
			ask.add(b)
		}
	}
	if d.uses < manyRules {
		return d.rules(r.conn, make([]byte, genLen))
	}
	return r.dumpChains(d)
}

// From how many rules on they are read by several threads: the kernel needs 7 µs to
// tell a rule of ten expressions, and this program 2 to understand it.
const manyRules = 2000

// rules asks for rules: of all tables, or of one chain.
func (d *decoder) rules(conn *netlink.Conn, ask []byte) error {
	list, err := netlink.Dump(conn, getRule, ask, keeper())
	if errors.Is(err, unix.ENOENT) { // the chain was deleted meanwhile
		err = netlink.ErrInterrupted
	}
	if err != nil {
		return fmt.Errorf("list rules of nf_tables: %w", err)
	}
	for _, b := range list {
		d.addRule(b)
	}
	return nil
}

// dumpChains asks for the rules of each chain, several at once.
func (r *Reading) dumpChains(d *decoder) error {
	var next atomic.Int64
	var chains []*netfilter.Chain
	for _, t := range d.tables {
		chains = append(chains, t.Chains...)
	}
	readers := make([]decoder, min(runtime.GOMAXPROCS(0), 4))
	failed := make([]error, len(readers))
	var wait sync.WaitGroup
	for i := range readers {
		conn := r.conn
		if i > 0 {
			// Opened here: the other threads may be in another network namespace.
			var err error
			if conn, err = netlink.Open(unix.NETLINK_NETFILTER); err != nil {
				break
			}
			defer conn.Close()
		}
		readers[i] = *d // whose tables, chains and sets are only read from here on
		readers[i].whole = d
		wait.Go(func() {
			for n := next.Add(1) - 1; int(n) < len(chains) && failed[i] == nil; n = next.Add(1) - 1 {
				failed[i] = readers[i].rules(conn, chainAsk(chains[n]))
			}
		})
	}
	wait.Wait()
	for i := range readers {
		d.malformed = d.malformed || readers[i].malformed
	}
	return errors.Join(failed...)
}

// chainAsk asks for the rules of one chain.
func chainAsk(c *netfilter.Chain) []byte {
	ask := []byte{byte(c.Table.Family), 0, 0, 0}
	ask = netlink.Append(ask, 1, append([]byte(c.Table.Name), 0))
	return netlink.Append(ask, 2, append([]byte(c.Name), 0))
}

// keeper keeps the messages of the families that matter, many in one piece of memory.
func keeper() func(b []byte) ([]byte, bool) {
	var room []byte
	return func(b []byte) ([]byte, bool) {
		if _, _, ok := open(b); !ok {
			return nil, false
		}
		if len(room)+len(b) > cap(room) {
			room = make([]byte, 0, max(len(b), min(64<<10, 4<<10+2*cap(room))))
		}
		begin := len(room)
		room = append(room, b...)
		return room[begin:len(room):len(room)], true
	}
}

// generation is a number that moves with every change.
func (r *Reading) generation() (uint32, error) {
	b, err := r.conn.Get(getGen, make([]byte, genLen))
	if err != nil {
		return 0, err
	}
	var a attrs
	if len(b) >= genLen {
		a.parse(b[genLen:], 3)
	}
	n := a.u32(1)
	if a.bad {
		return 0, netlink.ErrMalformed
	}
	return n, nil
}

// elements reads the elements of one set.
func (r *Reading) elements(d *decoder, s *Set) ([]Element, error) {
	ask := append(make([]byte, 0, 64), byte(s.Table.Family), 0, 0, 0)
	ask = netlink.Append(ask, 1, append([]byte(s.Table.Name), 0))
	ask = netlink.Append(ask, 2, append([]byte(s.Name), 0))
	messages, err := netlink.Dump(r.conn, getElement, ask, keeper())
	var list []Element
	for _, b := range messages {
		if err == nil {
			list, err = d.elements(list, s, b)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list the elements of a set: %w", err)
	}
	return list, nil
}
