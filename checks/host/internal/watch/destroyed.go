package watch

import (
	"encoding/binary"
	"net/netip"
)

// destroyed is a TCP socket that is no more, as the kernel tells those who listen
// to the group of sock_diag(7) for that.
type destroyed struct {
	local, remote netip.AddrPort
}

const diagLen = 72 // struct inet_diag_msg of linux/inet_diag.h

// parseDestroyed reads a struct inet_diag_msg: family, state, timer and retransmits in a
// byte each; ports and addresses in network order; interface, cookie, times and
// queues; uid and inode.
func parseDestroyed(b []byte) (d destroyed, ok bool) {
	if len(b) < diagLen {
		return d, false
	}
	addr := func(at []byte) netip.Addr {
		if b[0] == 2 { // AF_INET
			return netip.AddrFrom4([4]byte(at[:4]))
		}
		return netip.AddrFrom16([16]byte(at[:16])).Unmap()
	}
	d.local = netip.AddrPortFrom(addr(b[8:]), binary.BigEndian.Uint16(b[4:]))
	d.remote = netip.AddrPortFrom(addr(b[24:]), binary.BigEndian.Uint16(b[6:]))
	return d, (b[0] == 2 || b[0] == 10) && d.remote.Port() != 0
}
