package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
	"golang.org/x/sys/unix"
)

const (
	messageType   = 20 // SOCK_DIAG_BY_FAMILY, linux/sock_diag.h
	loopbackIndex = 1  // LOOPBACK_IFINDEX: lo, in every network namespace
)

// Client asks about the sockets of the network namespace in which it was
// opened. Its methods may be called from several goroutines.
type Client struct {
	conn  *netlink.Conn
	conn6 *netlink.Conn // lists IPv6 meanwhile
	noUDP atomic.Bool   // a dump has shown that udp_diag is missing
}

// Open opens the netlink sockets. It fails where a sandbox forbids it; then
// ParseProcNet is what is left.
func Open() (*Client, error) {
	conn, err := netlink.Open(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	conn6, err := netlink.Open(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Client{conn: conn, conn6: conn6}, nil
}

// Close closes the netlink sockets.
func (c *Client) Close() error { return errors.Join(c.conn.Close(), c.conn6.Close()) }

// Port returns the sockets that have to do with the port: every TCP socket
// whose local or remote port it is, in any state, and every UDP socket whose
// local port it is. Before kernel 6.8 it lacks those that are bound but do not
// listen, see Partial. A kernel without udp_diag gives no UDP sockets.
func (c *Client) Port(port uint16) ([]facts.Socket, error) {
	return c.list(func(s *facts.Socket) bool {
		return s.Local.Port() == port || s.Network == "tcp" && s.Remote.Port() == port
	},
		query{protocol: protoTCP, states: anyState, code: eitherPort(port)},
		query{protocol: protoUDP, states: anyState, local: anyAddr(port)})
}

// Listeners returns every TCP socket that listens and every UDP socket that
// takes datagrams from anyone.
func (c *Client) Listeners() ([]facts.Socket, error) {
	return c.list(func(*facts.Socket) bool { return true },
		query{protocol: protoTCP, states: 1 << stListen},
		query{protocol: protoUDP, states: 1 << stClose})
}

// Range returns every TCP socket whose local port lies between the two.
func (c *Client) Range(low, high uint16) ([]facts.Socket, error) {
	return c.list(func(s *facts.Socket) bool { return s.Local.Port() >= low && s.Local.Port() <= high },
		query{protocol: protoTCP, states: anyState, code: localPorts(low, high)})
}

// Peer returns the TCP sockets whose other end is our source port and address
// (of any address if that is not valid): whoever really answered, after NAT
// has changed the destination.
func (c *Client) Peer(ourPort uint16, ourAddr netip.Addr) ([]facts.Socket, error) {
	ourAddr = ourAddr.Unmap().WithZone("")
	return c.list(func(s *facts.Socket) bool {
		return s.Remote.Port() == ourPort && (!ourAddr.IsValid() || s.Remote.Addr() == ourAddr)
	},
		query{protocol: protoTCP, states: anyState, remote: anyAddr(ourPort)})
}

// Pair returns the TCP socket with exactly these ends, seen from its side, or
// nil. The kernel finds it by hash among connections, half-open requests and
// those in TIME_WAIT.
func (c *Client) Pair(local, remote netip.AddrPort) (*facts.Socket, error) {
	e, err := c.one(local, remote, 0)
	if err != nil || e == nil || e.Local != plain(local) || e.Remote != plain(remote) {
		return nil, err // where no connection fits, the kernel answers with a listener that does
	}
	e.Device = c.conn.DeviceName(e.device)
	return &e.Socket, nil
}

// Room tells of the socket with exactly these ends how many bytes it never sent, and
// what it has for those that arrive; nil: there is no such socket.
func (c *Client) Room(local, remote netip.AddrPort) (unsent uint32, room *facts.ReceiveRoom) {
	e, err := c.one(local, remote, wantInfo|wantMemInfo)
	if err != nil || e == nil || e.Local != plain(local) || e.Remote != plain(remote) {
		return 0, nil
	}
	return e.unsent, &e.room
}

// Dropped tells how many packets the listener threw away to which a connection to the
// address comes, and which one it is. Of several on one address the kernel takes one by
// hash.
func (c *Client) Dropped(to netip.AddrPort) (packets uint32, listener uint64, ok bool) {
	e, err := c.one(to, netip.AddrPortFrom(to.Addr(), 0), wantMemInfo)
	if err != nil || e == nil || e.State != facts.Listen {
		return 0, 0, false
	}
	return e.room.Dropped, e.cookie, true
}

// one returns the socket that the kernel finds for a packet between the two; nil: none.
func (c *Client) one(local, remote netip.AddrPort, want uint8) (*entry, error) {
	local, remote = plain(local), plain(remote)
	if local.Addr().Is4() != remote.Addr().Is4() {
		return nil, fmt.Errorf("find socket %s of %s: the families differ", local, remote)
	}
	family := uint8(familyV4)
	if local.Addr().Is6() {
		family = familyV6
	}
	// By way of lo: this also finds a socket that is bound to lo, while 0
	// would only find those that are bound to no device.
	q := query{family: family, protocol: protoTCP, want: want, states: anyState, local: local, remote: remote, device: loopbackIndex}
	b, err := c.conn.Get(messageType, q.bytes())
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find socket %s of %s: %w", local, remote, err)
	}
	e, ok := parse(b, "tcp")
	if !ok {
		return nil, nil
	}
	return &e, nil
}

// Partial says what the kernel could not show in the lists so far; empty if
// nothing.
func (c *Client) Partial() string {
	var gaps []string
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) == nil {
		// What does not parse counts as old: the safe side is to admit a gap.
		_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	}
	if major < 6 || major == 6 && minor < 8 {
		gaps = append(gaps, "sockets that are bound but do not listen (kernel before 6.8)")
	}
	if c.noUDP.Load() {
		gaps = append(gaps, "UDP sockets (kernel without udp_diag)")
	}
	return strings.Join(gaps, ", ")
}

// list runs each query for both families and keeps what fits. The kernel goes
// through all its sockets for each family, so that two at a time take half as
// long on a machine with many.
func (c *Client) list(fits func(*facts.Socket) bool, queries ...query) ([]facts.Socket, error) {
	var found, found6 []entry
	var err, err6 error
	var wg sync.WaitGroup
	wg.Go(func() { found6, err6 = c.family(c.conn6, familyV6, fits, queries) })
	found, err = c.family(c.conn, familyV4, fits, queries)
	wg.Wait()
	if err := errors.Join(err, err6); err != nil {
		return nil, err
	}
	found = distinct(append(found, found6...))
	list := make([]facts.Socket, len(found))
	for i, e := range found {
		e.Device = c.conn.DeviceName(e.device)
		list[i] = e.Socket
	}
	return list, nil
}

// family runs each query for one family.
func (c *Client) family(conn *netlink.Conn, family uint8, fits func(*facts.Socket) bool, queries []query) (found []entry, err error) {
	for _, q := range queries {
		q.family = family
		network := "tcp"
		if q.protocol == protoUDP {
			network = "udp"
		}
		es, err := netlink.Dump(conn, messageType, q.bytes(), func(b []byte) (entry, bool) {
			e, ok := parse(b, network)
			return e, ok && fits(&e.Socket)
		})
		// ENOENT is a protocol or family without a diag module; without
		// TCP over IPv4 nothing can be said at all.
		if errors.Is(err, unix.ENOENT) && (q.protocol != protoTCP || family != familyV4) {
			if q.protocol == protoUDP && family == familyV4 {
				c.noUDP.Store(true)
			}
			continue
		}
		if err != nil && !errors.Is(err, netlink.ErrInterrupted) { // a list of sockets is never still
			return nil, fmt.Errorf("list %s sockets: %w", network, err)
		}
		found = append(found, es...)
	}
	return found, nil
}

// anyAddr is a port without an address.
func anyAddr(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.Addr{}, port) }

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
