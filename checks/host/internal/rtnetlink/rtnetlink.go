// Package rtnetlink asks the kernel about links, addresses, routes and routing
// rules (NETLINK_ROUTE, rtnetlink(7)). It needs no privilege. It refuses to
// change any of them, and to listen for changes.
package rtnetlink

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

// Numbers of the kernel's interface (linux/if_link.h, if_addr.h, rtnetlink.h).
const (
	familyV4 = 2  // AF_INET
	familyV6 = 10 // AF_INET6

	getLink  = 18 // RTM_GETLINK
	getAddr  = 22 // RTM_GETADDR
	getRoute = 26 // RTM_GETROUTE
	getRule  = 34 // RTM_GETRULE

	linkLen  = 16 // struct ifinfomsg
	addrLen  = 8  // struct ifaddrmsg
	routeLen = 12 // struct rtmsg, and struct fib_rule_hdr

	iffUp           = 0x1
	iffLoopback     = 0x8
	iffPointToPoint = 0x10
	iffRunning      = 0x40

	iflaName      = 3
	iflaMTU       = 4
	iflaQdisc     = 6
	iflaLinkInfo  = 18
	iflaExtMask   = 29
	iflaLinkNetns = 37 // IFLA_LINK_NETNSID: there only if the other end is in another namespace
	iflaXDP       = 43

	infoKind    = 1 // IFLA_INFO_KIND, inside IFLA_LINKINFO
	xdpAttached = 2 // IFLA_XDP_ATTACHED, inside IFLA_XDP
	xdpProgram  = 4 // IFLA_XDP_PROG_ID

	noStatistics = 8 // RTEXT_FILTER_SKIP_STATS

	ifaAddress = 1
	ifaLocal   = 2
	ifaFlags   = 8

	flagDadFailed = 0x08 // IFA_F_DADFAILED
	flagTentative = 0x40 // IFA_F_TENTATIVE

	rtaDst       = 1
	rtaSrc       = 2
	rtaOif       = 4
	rtaGateway   = 5
	rtaPriority  = 6
	rtaPrefSrc   = 7
	rtaMultipath = 9
	rtaCacheInfo = 12
	rtaTable     = 15
	rtaMark      = 16
	rtaVia       = 18 // a gateway of the other family
	rtaUID       = 25
	rtaIPProto   = 27
	rtaDport     = 29
	rtaNexthop   = 30 // the number of an object of "ip nexthop"

	typeUnicast = 1   // RTN_UNICAST
	typeLocal   = 2   // RTN_LOCAL
	typeThrow   = 9   // RTN_THROW
	tableLocal  = 255 // RT_TABLE_LOCAL
)

var routeTypes = [...]string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast",
	"blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve"} // RTN_*

// xdpModes are XDP_ATTACHED_* in the words of ip-link(8).
var xdpModes = [...]string{"", "xdpdrv", "xdpgeneric", "xdpoffload"}

func routeType(t uint8) string {
	if int(t) < len(routeTypes) {
		return routeTypes[t]
	}
	return fmt.Sprint(t)
}

// family is that of an address; the address must be unmapped.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return familyV4
	}
	return familyV6
}

// link is one RTM_NEWLINK.
type link struct {
	facts.Interface
	loopback bool
}

func parseLink(b []byte) (l link, ok bool) {
	if len(b) < linkLen {
		return l, false
	}
	l.Index = int(netlink.Uint32(b[4:]))
	flags := netlink.Uint32(b[8:])
	l.Up, l.loopback, l.Peer = flags&iffUp != 0, flags&iffLoopback != 0, flags&iffPointToPoint != 0
	l.NoCarrier = l.Up && flags&iffRunning == 0
	for typ, v := range netlink.Attributes(b[linkLen:]) {
		switch typ {
		case iflaName:
			l.Name = netlink.String(v)
		case iflaMTU:
			l.MTU = int(netlink.Uint32(v))
		case iflaQdisc:
			l.Qdisc = netlink.String(v)
		case iflaXDP:
			for typ, v := range netlink.Attributes(v) {
				switch {
				case typ == xdpAttached && len(v) == 1:
					l.XDP = v[0] != 0
					if int(v[0]) < len(xdpModes) {
						l.XDPMode = xdpModes[v[0]]
					}
				case typ == xdpProgram:
					l.XDPID = netlink.Uint32(v)
				}
			}
		case iflaLinkInfo:
			for typ, v := range netlink.Attributes(v) {
				if typ == infoKind {
					l.Kind = netlink.String(v)
				}
			}
		case iflaLinkNetns:
			l.Elsewhere = true
		}
	}
	return l, l.Name != ""
}

// address is one RTM_NEWADDR.
type address struct {
	link   int
	prefix netip.Prefix
	why    string // not to be used (yet): "tentative", "dadfailed"
}

func parseAddress(b []byte) (a address, ok bool) {
	if len(b) < addrLen {
		return a, false
	}
	a.link = int(netlink.Uint32(b[4:]))
	// On a link with a peer IFA_ADDRESS is the peer and IFA_LOCAL is ours.
	// IPv6 has IFA_LOCAL only there.
	var own netip.Addr
	flags := uint32(b[2])
	for typ, v := range netlink.Attributes(b[addrLen:]) {
		if typ == ifaFlags {
			flags = netlink.Uint32(v)
		}
		if ip, ok := netip.AddrFromSlice(v); ok && (typ == ifaLocal || typ == ifaAddress && !own.IsValid()) {
			own = ip
		}
	}
	switch {
	case flags&flagDadFailed != 0:
		a.why = "dadfailed"
	case flags&flagTentative != 0:
		a.why = "tentative"
	}
	a.prefix = netip.PrefixFrom(own, int(b[1]))
	return a, a.prefix.IsValid()
}

// route is one RTM_NEWROUTE: a row of a table, or the answer to a look-up.
type route struct {
	typ    uint8
	dst    netip.Prefix
	table  uint32
	oif    uint32
	source netip.Addr
	via    netip.Addr
	metric uint32
	hops   bool   // the ways it leads do not fit in here
	errno  uint32 // IPv6 answers a look-up with a route that only leads to this
}

func parseRoute(b []byte) (r route, ok bool) {
	if len(b) < routeLen {
		return r, false
	}
	dst := netip.IPv4Unspecified() // a default route has no RTA_DST
	switch b[0] {
	case familyV4:
	case familyV6:
		dst = netip.IPv6Unspecified()
	default:
		return r, false
	}
	r.table, r.typ = uint32(b[4]), b[7]
	for typ, v := range netlink.Attributes(b[routeLen:]) {
		switch typ {
		case rtaDst:
			if a, ok := netip.AddrFromSlice(v); ok {
				dst = a
			}
		case rtaOif:
			r.oif = netlink.Uint32(v)
		case rtaPrefSrc:
			r.source, _ = netip.AddrFromSlice(v)
		case rtaGateway:
			r.via, _ = netip.AddrFromSlice(v)
		case rtaPriority:
			r.metric = netlink.Uint32(v)
		case rtaMultipath, rtaVia, rtaNexthop:
			r.hops = true
		case rtaTable:
			r.table = netlink.Uint32(v)
		case rtaCacheInfo: // struct rta_cacheinfo
			if len(v) >= 16 {
				r.errno = netlink.Uint32(v[12:])
			}
		}
	}
	r.dst = netip.PrefixFrom(dst, int(b[1]))
	return r, r.dst.IsValid()
}

// lookup is the RTM_GETROUTE for one flow. Without protocol and port a rule
// that selects by them would stay unseen.
func lookup(to netip.Addr, uid uint32, proto uint8, dport uint16, mark uint32) []byte {
	b := make([]byte, routeLen)
	b[0], b[1] = family(to), uint8(to.BitLen())
	b = netlink.Append(b, rtaDst, to.AsSlice())
	b = netlink.Append(b, rtaUID, binary.NativeEndian.AppendUint32(nil, uid))
	if proto != 0 {
		b = netlink.Append(b, rtaIPProto, []byte{proto})
	}
	if dport != 0 {
		b = netlink.Append(b, rtaDport, binary.BigEndian.AppendUint16(nil, dport))
	}
	if mark != 0 {
		b = netlink.Append(b, rtaMark, binary.NativeEndian.AppendUint32(nil, mark))
	}
	return b
}
