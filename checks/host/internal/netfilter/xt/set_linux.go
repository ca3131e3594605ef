package xt

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

var sets ipset = kernelSets{}

// kernelSets asks the kernel, in the network namespace of the thread. It opens a
// socket for each question: one that stayed open would answer for the namespace in
// which it was made.
type kernelSets struct{}

// Commands and attributes (linux/netfilter/ipset/ip_set.h).
const (
	ipsetSubsystem = 6 // NFNL_SUBSYS_IPSET
	ipsetProtocol  = 7 // IPSET_PROTOCOL

	ipsetTest    = 11 // IPSET_CMD_TEST: it only asks
	ipsetHeader  = 12 // IPSET_CMD_HEADER
	ipsetByIndex = 15 // IPSET_CMD_GET_BYINDEX, Linux 4.19

	ipsetAttrProtocol = 1
	ipsetAttrName     = 2
	ipsetAttrType     = 3
	ipsetAttrFamily   = 5
	ipsetAttrData     = 7
	ipsetAttrIndex    = 11

	// In the data.
	ipsetAttrIP    = 1
	ipsetAttrPort  = 4
	ipsetAttrProto = 7
	ipsetAttrIP2   = 20

	nested       = 1 << 15 // NLA_F_NESTED
	netByteorder = 1 << 14 // NLA_F_NET_BYTEORDER

	ipsetNotThere = 4103 // IPSET_ERR_EXIST
)

func (kernelSets) nameOf(index uint16) string {
	answer, err := ask(ipsetByIndex, netlink.Append(nil, ipsetAttrIndex|netByteorder, binary.BigEndian.AppendUint16(nil, index)))
	if err != nil {
		return ""
	}
	return netlink.String(answer[ipsetAttrName])
}

func (kernelSets) has(name string, family netfilter.Family, element []side) netfilter.Truth {
	named := netlink.Append(nil, ipsetAttrName, append([]byte(name), 0))
	header, err := ask(ipsetHeader, named)
	if err != nil {
		return netfilter.Unknown
	}
	of := netfilter.Family(0)
	if f := header[ipsetAttrFamily]; len(f) == 1 {
		of = netfilter.Family(f[0])
	}
	body, dims := elementOf(netlink.String(header[ipsetAttrType]), element)
	if body == nil {
		return netfilter.Unknown
	}
	// A set of the other family, or of more dimensions than the rule names, has no
	// packet (ip_set_test).
	if of != 0 && of != family || dims > len(element) {
		return netfilter.No
	}
	_, err = ask(ipsetTest, netlink.Append(named, ipsetAttrData|nested, body))
	switch {
	case err == nil:
		return netfilter.Yes
	case errors.Is(err, unix.Errno(ipsetNotThere)):
		return netfilter.No
	}
	return netfilter.Unknown
}

// elementOf writes the element of a packet for a type of set; nil for a type that
// asks for something else.
func elementOf(kind string, e []side) (body []byte, dims int) {
	end := func(i int) netip.AddrPort {
		if i < len(e) {
			return e[i].end
		}
		return e[0].end
	}
	if len(e) == 0 {
		return nil, 0
	}
	switch kind {
	case "bitmap:port":
		return setPort(nil, end(0)), 1
	case "bitmap:ip", "hash:ip", "hash:net":
		return setAddr(nil, ipsetAttrIP, end(0)), 1
	case "hash:ip,port", "hash:net,port":
		return setProto(setPort(setAddr(nil, ipsetAttrIP, end(0)), end(1))), 2
	case "hash:net,net":
		return setAddr(setAddr(nil, ipsetAttrIP, end(0)), ipsetAttrIP2, end(1)), 2
	case "hash:ip,port,ip", "hash:ip,port,net", "hash:net,port,net":
		return setAddr(setProto(setPort(setAddr(nil, ipsetAttrIP, end(0)), end(1))), ipsetAttrIP2, end(2)), 3
	}
	return nil, 0
}

func setAddr(b []byte, attribute uint16, end netip.AddrPort) []byte {
	kind := uint16(1) // IPSET_ATTR_IPADDR_IPV4
	if end.Addr().Is6() {
		kind = 2
	}
	return netlink.Append(b, attribute|nested, netlink.Append(nil, kind|netByteorder, end.Addr().AsSlice()))
}

func setPort(b []byte, end netip.AddrPort) []byte {
	return netlink.Append(b, ipsetAttrPort|netByteorder, binary.BigEndian.AppendUint16(nil, end.Port()))
}

func setProto(b []byte) []byte { return netlink.Append(b, ipsetAttrProto, []byte{unix.IPPROTO_TCP}) }

// ask sends one question, and returns the attributes of the answer.
func ask(command uint16, attributes []byte) (map[uint16][]byte, error) {
	c, err := netlink.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	// struct nfgenmsg: any family, version 0, no resource.
	body := netlink.Append([]byte{unix.AF_INET, 0, 0, 0}, ipsetAttrProtocol, []byte{ipsetProtocol})
	answer, err := c.GetConfirmed(ipsetSubsystem<<8|command, append(body, attributes...))
	if err != nil {
		return nil, err
	}
	out := map[uint16][]byte{}
	if len(answer) > 4 {
		for kind, value := range netlink.Attributes(answer[4:]) {
			out[kind] = value
		}
	}
	return out, nil
}
