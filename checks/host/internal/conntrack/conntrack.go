// Package conntrack asks connection tracking: what its counters say, and who
// answers a connection that it knows (linux/netfilter/nfnetlink_conntrack.h). It
// lists no connections, makes none and deletes none.
package conntrack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

// ParseStat reads /proc/net/stat/nf_conntrack: a line of names, then a line for each
// CPU, in hexadecimal digits. It returns the sums over all CPUs. The first column,
// entries, is the same on each, and no counter.
//
//	entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new …
//	00000004  00000000 00000000 00000000 00000002 …
func ParseStat(data []byte) (map[string]int64, error) {
	head, rest, _ := strings.Cut(string(data), "\n")
	names := strings.Fields(head)
	if len(names) < 2 || names[0] != "entries" {
		return nil, fmt.Errorf("read nf_conntrack: no line of names")
	}
	sums := make(map[string]int64, len(names))
	for line := range strings.Lines(rest) {
		f := strings.Fields(line)
		if len(f) != len(names) {
			return nil, fmt.Errorf("read nf_conntrack: %d names, %d values", len(names), len(f))
		}
		for i, v := range f[1:] {
			n, err := strconv.ParseUint(v, 16, 32) // each is an unsigned int, and wraps
			if err != nil {
				return nil, fmt.Errorf("read nf_conntrack: %w", err)
			}
			sums[names[i+1]] += int64(n)
		}
	}
	if len(sums) == 0 {
		return nil, fmt.Errorf("read nf_conntrack: no values")
	}
	return sums, nil
}

// Numbers of linux/netfilter/nfnetlink_conntrack.h, linux/netfilter/nfnetlink.h and
// linux/in.h.
const (
	get = 1<<8 | 1 // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET

	tupleOrig, tupleReply    = 1, 2 // CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
	tupleIP, tupleProto      = 1, 2 // CTA_TUPLE_IP, CTA_TUPLE_PROTO
	ip4Src, ip4Dst           = 1, 2 // CTA_IP_V4_SRC, CTA_IP_V4_DST
	ip6Src, ip6Dst           = 3, 4 // CTA_IP_V6_SRC, CTA_IP_V6_DST
	protoNum, srcPort, dPort = 1, 2, 3

	nested    = 0x8000 // NLA_F_NESTED
	headerLen = 4      // struct nfgenmsg
	familyV4  = 2
	familyV6  = 10
	tcp       = 6
)

// request asks for the TCP connection whose first packet had these ends.
func request(from, to netip.AddrPort) []byte {
	family, src, dst := byte(familyV4), uint16(ip4Src), uint16(ip4Dst)
	if to.Addr().Is6() {
		family, src, dst = familyV6, ip6Src, ip6Dst
	}
	port := func(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
	ip := netlink.Append(nil, src, from.Addr().AsSlice())
	ip = netlink.Append(ip, dst, to.Addr().AsSlice())
	proto := netlink.Append(nil, protoNum, []byte{tcp})
	proto = netlink.Append(proto, srcPort, port(from.Port()))
	proto = netlink.Append(proto, dPort, port(to.Port()))
	tuple := netlink.Append(nil, nested|tupleIP, ip)
	tuple = netlink.Append(tuple, nested|tupleProto, proto)
	return netlink.Append([]byte{family, 0, 0, 0}, nested|tupleOrig, tuple)
}

// reply reads an answer: the source of the packets that come back.
func reply(b []byte) (by netip.AddrPort, ok bool) {
	if len(b) < headerLen {
		return by, false
	}
	for typ, v := range netlink.Attributes(b[headerLen:]) {
		if typ == tupleReply {
			return source(v)
		}
	}
	return by, false
}

// source is the source of a tuple.
func source(tuple []byte) (netip.AddrPort, bool) {
	var addr netip.Addr
	var port uint16
	for typ, v := range netlink.Attributes(tuple) {
		for inner, x := range netlink.Attributes(v) {
			switch {
			case typ == tupleIP && (inner == ip4Src && len(x) == 4 || inner == ip6Src && len(x) == 16):
				addr, _ = netip.AddrFromSlice(x)
			case typ == tupleProto && inner == srcPort && len(x) == 2:
				port = binary.BigEndian.Uint16(x)
			}
		}
	}
	return netip.AddrPortFrom(addr, port), addr.IsValid() && port != 0
}
