package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
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
	noUDP atomic.Bool // a dump has shown that udp_diag is missing
}

// Open opens the netlink socket. It fails where a sandbox forbids it; then
// ParseProcNet is what is left.
func Open() (*Client, error) {
	conn, err := netlink.Open(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn}, nil
}

// Close closes the netlink socket.
func (c *Client) Close() error { return c.conn.Close() }

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
	q := query{family: family, protocol: protoTCP, states: anyState, local: local, remote: remote, device: loopbackIndex}
	b, err := c.conn.Get(messageType, q.bytes())
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find socket %s of %s: %w", local, remote, err)
	}
	e, ok := parse(b, "tcp")
	if !ok || e.Local != local || e.Remote != remote {
		return nil, nil // where no connection fits, the kernel answers with a listener that does
	}
	e.Device = c.conn.DeviceName(e.device)
	return &e.Socket, nil
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

// list runs each query for both families and keeps what fits.
func (c *Client) list(fits func(*facts.Socket) bool, queries ...query) ([]facts.Socket, error) {
	var found []entry
	for _, q := range queries {
		network := "tcp"
		if q.protocol == protoUDP {
			network = "udp"
		}
		for _, q.family = range []uint8{familyV4, familyV6} {
			es, err := netlink.Dump(c.conn, messageType, q.bytes(), func(b []byte) (entry, bool) {
				e, ok := parse(b, network)
				return e, ok && fits(&e.Socket)
			})
			// ENOENT is a protocol or family without a diag module; without
			// TCP over IPv4 nothing can be said at all.
			if errors.Is(err, unix.ENOENT) && (q.protocol != protoTCP || q.family != familyV4) {
				if q.protocol == protoUDP && q.family == familyV4 {
					c.noUDP.Store(true)
				}
				continue
			}
			if err != nil && !errors.Is(err, netlink.ErrInterrupted) { // a list of sockets is never still
				return nil, fmt.Errorf("list %s sockets: %w", network, err)
			}
			found = append(found, es...)
		}
	}
	found = distinct(found)
	list := make([]facts.Socket, len(found))
	for i, e := range found {
		e.Device = c.conn.DeviceName(e.device)
		list[i] = e.Socket
	}
	return list, nil
}

// anyAddr is a port without an address.
func anyAddr(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.Addr{}, port) }

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
