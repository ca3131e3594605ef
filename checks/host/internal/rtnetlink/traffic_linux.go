package rtnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
	"golang.org/x/sys/unix"
)

// most is how many filters of one interface are told.
const most = 64

// Traffic returns the queueing disciplines of an interface, and the filters at
// its root, at its ingress and at its egress.
func (c *Client) Traffic(link int) (*facts.Traffic, error) {
	all, err := netlink.Dump(c.conn, getQdisc, tcMessage(link, 0), parseQdisc)
	if err != nil && !errors.Is(err, netlink.ErrInterrupted) {
		return nil, fmt.Errorf("list queueing disciplines: %w", err)
	}
	t := &facts.Traffic{Qdiscs: []facts.Qdisc{}, Filters: []facts.Filter{}}
	for _, q := range all {
		if q.link != link || q.Kind == "noqueue" {
			continue
		}
		t.Qdiscs = append(t.Qdiscs, q.Qdisc)
		at := map[uint32]string{q.handle: "root"}
		switch {
		case q.Kind == "ingress":
			at = map[uint32]string{q.handle: "ingress"}
		case q.Kind == "clsact":
			at = map[uint32]string{parentIngress: "ingress", parentEgress: "egress"}
		case q.Parent != "root":
			continue
		}
		for parent, where := range at {
			fs, err := netlink.Dump(c.conn, getFilter, tcMessage(link, parent), parseFilter)
			if err != nil && !errors.Is(err, netlink.ErrInterrupted) && !errors.Is(err, unix.EOPNOTSUPP) {
				t.Partial = "filters at " + where + ": " + errnoName(err)
				continue
			}
			for _, f := range fs {
				if f.link != link {
					continue
				}
				if len(t.Filters) == most {
					t.Partial = fmt.Sprintf("more than %d filters", most)
					break
				}
				f.At = where
				t.Filters = append(t.Filters, f.Filter)
			}
		}
	}
	order(t.Filters)
	return t, nil
}

// tcMessage is struct tcmsg.
func tcMessage(link int, parent uint32) []byte {
	b := make([]byte, tcLen)
	binary.NativeEndian.PutUint32(b[4:], uint32(link))
	binary.NativeEndian.PutUint32(b[12:], parent)
	return b
}
