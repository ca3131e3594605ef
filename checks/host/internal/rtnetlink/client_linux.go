package rtnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
	"golang.org/x/sys/unix"
)

// Client asks about the network namespace in which it was opened. Its methods
// may be called from several goroutines.
type Client struct {
	conn *netlink.Conn
}

// Open opens the netlink socket.
func Open() (*Client, error) {
	conn, err := netlink.Open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// Close closes the netlink socket.
func (c *Client) Close() error { return c.conn.Close() }

// Interfaces returns every link with its addresses. The state of IPv6 is left
// to the caller, as netlink does not tell it.
func (c *Client) Interfaces() (*facts.Interfaces, error) {
	ask := netlink.Append(make([]byte, linkLen), iflaExtMask, binary.NativeEndian.AppendUint32(nil, noStatistics))
	links, err := netlink.Dump(c.conn, getLink, ask, parseLink)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	addrs, err := netlink.Dump(c.conn, getAddr, make([]byte, addrLen), parseAddress)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var found facts.Interfaces
	for _, l := range links {
		l.Addresses = []netip.Prefix{}
		for _, a := range addrs {
			if a.link == l.Index {
				l.Addresses = append(l.Addresses, a.prefix)
				if a.why != "" {
					l.NotReady = append(l.NotReady, facts.NotReady{Addr: a.prefix.Addr(), Why: a.why})
				}
			}
		}
		if l.loopback && found.Loopback == nil {
			found.Loopback = &l.Interface
		} else {
			found.Others = append(found.Others, l.Interface)
		}
	}
	return &found, nil
}

// Route asks how the kernel would send to the address for that user, with that
// IP protocol and destination port (0 leaves either out). When this is not a
// local delivery, the answer also has the rows of table local that cover the
// address.
func (c *Client) Route(to netip.Addr, uid uint32, proto uint8, dport uint16) facts.Route {
	answer := facts.Route{To: to}
	to = to.Unmap().WithZone("")
	if !to.IsValid() {
		answer.Errno = unix.ErrnoName(unix.EINVAL)
		return answer
	}
	b, err := c.conn.Get(getRoute, lookup(to, uid, proto, dport, 0))
	r, ok := parseRoute(b)
	switch {
	case err != nil:
		answer.Errno = errnoName(err)
	case !ok:
		answer.Errno = unix.ErrnoName(unix.EBADMSG)
	default:
		answer.Type, answer.Source = routeType(r.typ), r.source
		answer.Device = c.conn.DeviceName(r.oif)
		if r.errno != 0 {
			answer.Errno = unix.ErrnoName(unix.Errno(r.errno))
		}
	}
	if r.typ != typeLocal || answer.Errno != "" {
		answer.Table = c.localRows(to)
	}
	return answer
}

// localRows returns the rows of table local that cover the address; nil if they
// cannot be had, which is not the same as none.
func (c *Client) localRows(to netip.Addr) []facts.TableRow {
	rows, err := c.covering(to)
	if err != nil {
		return nil
	}
	found := []facts.TableRow{}
	for _, r := range rows {
		if r.table == tableLocal {
			found = append(found, facts.TableRow{Prefix: r.dst, Type: routeType(r.typ), Device: c.conn.DeviceName(r.oif), Via: r.via, Metric: r.metric, Hops: r.hops})
		}
	}
	return found
}

// covering returns the rows of all tables that cover the address.
func (c *Client) covering(to netip.Addr) ([]route, error) {
	ask := make([]byte, routeLen)
	ask[0] = family(to)
	return netlink.Dump(c.conn, getRoute, ask, func(b []byte) (route, bool) {
		r, ok := parseRoute(b)
		return r, ok && r.dst.Contains(to)
	})
}

// Rules returns the routing rules of IPv4, then those of IPv6, in the order in
// which the kernel tries them. Matches of each are those addrs for which it
// applies to a client on this machine that talks to its own address with that
// IP protocol and port, unbound and unmarked. A rule for certain users applies
// if it names one of uids; without uids it is taken to apply.
func (c *Client) Rules(addrs []netip.Addr, proto uint8, dport uint16, uids ...uint32) ([]facts.Rule, error) {
	var list []facts.Rule
	rows := map[netip.Addr]func() ([]route, error){} // a table may be long: read once, and only if asked
	for _, fam := range []uint8{familyV4, familyV6} {
		ask := make([]byte, routeLen)
		ask[0] = fam
		rules, err := netlink.Dump(c.conn, getRule, ask, parseRule)
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // a kernel without this family, or without rules for it
		}
		if err != nil {
			return nil, fmt.Errorf("list routing rules: %w", err)
		}
		for _, r := range rules {
			f := r.fact(addrs, proto, dport, uids)
			if len(f.Marked) > 0 {
				f.WithMark = c.withMark(f.Marked[0], first(uids), proto, dport, value(r.mark))
			}
			for _, a := range slices.Concat(f.Matches, f.Marked) {
				if r.action != actLookup {
					break
				}
				to := a.Unmap().WithZone("")
				if rows[to] == nil {
					rows[to] = sync.OnceValues(func() ([]route, error) { return c.covering(to) })
				}
				if found, err := rows[to](); err == nil && r.passes(found) {
					f.Passes = append(f.Passes, a)
				}
			}
			list = append(list, f)
		}
	}
	return list, nil
}

// withMark says how the kernel would send a packet that carries the mark.
func (c *Client) withMark(to netip.Addr, uid uint32, proto uint8, dport uint16, mark uint32) string {
	b, err := c.conn.Get(getRoute, lookup(to.Unmap().WithZone(""), uid, proto, dport, mark))
	r, ok := parseRoute(b)
	switch {
	case err != nil:
		return errnoName(err)
	case !ok:
		return unix.ErrnoName(unix.EBADMSG)
	case r.errno != 0:
		return unix.ErrnoName(unix.Errno(r.errno))
	case r.typ == typeLocal || r.oif == 0:
		return routeType(r.typ)
	}
	return routeType(r.typ) + " dev " + c.conn.DeviceName(r.oif)
}

// Way asks how the kernel would send a TCP packet of that user that a packet filter
// has changed (ip_route_me_harder): from that address, with that mark. It says so in
// the words of Rule.WithMark; device is empty where it cannot be sent.
//
// An address of 127.0.0.0/8 may not leave by another device than lo, unless that one
// has route_localnet: then the answer is by which it would. A source that is not
// valid is left out.
func (c *Client) Way(from, to netip.Addr, uid, mark uint32) (text, device string, local bool) {
	from, to = from.Unmap().WithZone(""), to.Unmap().WithZone("")
	if !to.IsValid() {
		return unix.ErrnoName(unix.EINVAL), "", false
	}
	ask := func(from netip.Addr) (r route, err error) {
		body := lookup(to, uid, unix.IPPROTO_TCP, 0, mark)
		if from.IsValid() && from.Is4() == to.Is4() {
			body = netlink.Append(body, rtaSrc, from.AsSlice())
			body[2] = uint8(from.BitLen()) // rtm_src_len
		}
		b, err := c.conn.Get(getRoute, body)
		if err != nil {
			return r, err
		}
		r, ok := parseRoute(b)
		switch {
		case !ok:
			return r, unix.EBADMSG
		case r.errno != 0:
			return r, unix.Errno(r.errno)
		}
		return r, nil
	}
	r, err := ask(from)
	if errors.Is(err, unix.EINVAL) && from.Is4() && from.IsLoopback() {
		if without, bad := ask(netip.Addr{}); bad == nil && without.typ == typeUnicast {
			r, err = without, nil
		}
	}
	switch {
	case err != nil:
		return errnoName(err), "", false
	case r.typ == typeLocal:
		return routeType(r.typ), c.conn.DeviceName(r.oif), true
	case r.oif == 0:
		return routeType(r.typ), "", false
	}
	device = c.conn.DeviceName(r.oif)
	return routeType(r.typ) + " dev " + device, device, false
}

// errnoName names the kernel's answer; what is none of its errors is EIO.
func errnoName(err error) string {
	var e unix.Errno
	if errors.As(err, &e) {
		if name := unix.ErrnoName(e); name != "" {
			return name
		}
		return fmt.Sprint(uint(e))
	}
	return unix.ErrnoName(unix.EIO)
}
