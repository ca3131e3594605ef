package conntrack

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

// Client asks about the network namespace in which it was opened. Every question
// needs CAP_NET_ADMIN.
type Client struct {
	conn *netlink.Conn
}

// Open opens the netlink socket.
func Open() (*Client, error) {
	conn, err := netlink.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// Close closes the netlink socket.
func (c *Client) Close() error { return c.conn.Close() }

// Reply returns who answers a TCP connection of that client to that address: to
// itself, unless it is translated. false: the connection is not known, or not any
// more.
func (c *Client) Reply(from, to netip.AddrPort) (by netip.AddrPort, known bool, err error) {
	if from.Addr().Is4() != to.Addr().Is4() {
		return by, false, fmt.Errorf("ask for the connection of %s to %s: the families differ", from, to)
	}
	b, err := c.conn.GetConfirmed(get, request(from, to))
	switch {
	case errors.Is(err, unix.ENOENT):
		return by, false, nil
	case err != nil:
		return by, false, fmt.Errorf("ask for the connection of %s to %s: %w", from, to, err)
	}
	by, known = reply(b)
	return by, known, nil
}
