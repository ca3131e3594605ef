package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// field is a named part of a header.
type field struct {
	offset, size uint32
	name         string
	kind         kind
}

// headers are the fields of each protocol, in their order (nftables/src/proto.c).
func fieldsOfProtocol(proto string) []field {
	ports := []field{{0, 2, "sport", portNumber}, {2, 2, "dport", portNumber}}
	switch proto {
	case "ether":
		return []field{{0, 6, "daddr", linkAddress}, {6, 6, "saddr", linkAddress}, {12, 2, "type", ethernet}}
	case "ip":
		return []field{{2, 2, "length", integer}, {4, 2, "id", integer}, {6, 2, "frag-off", integer}, {8, 1, "ttl", integer},
			{9, 1, "protocol", protocol}, {10, 2, "checksum", integer}, {12, 4, "saddr", address4}, {16, 4, "daddr", address4}}
	case "ip6":
		return []field{{4, 2, "length", integer}, {6, 1, "nexthdr", protocol}, {7, 1, "hoplimit", integer},
			{8, 16, "saddr", address6}, {24, 16, "daddr", address6}}
	case "tcp":
		return append(ports, field{4, 4, "sequence", integer}, field{8, 4, "ackseq", integer}, field{13, 1, "flags", tcpFlags},
			field{14, 2, "window", integer}, field{16, 2, "checksum", integer}, field{18, 2, "urgptr", integer})
	case "udp":
		return append(ports, field{4, 2, "length", integer}, field{6, 2, "checksum", integer})
	case "icmp":
		return []field{{0, 1, "type", icmpType}, {1, 1, "code", icmpCode}, {2, 2, "checksum", integer}, {4, 2, "id", integer}, {6, 2, "sequence", integer}}
	case "icmpv6":
		return []field{{0, 1, "type", icmp6Type}, {1, 1, "code", icmp6Code}, {2, 2, "checksum", integer}, {4, 2, "id", integer}, {6, 2, "sequence", integer}}
	case "esp":
		return []field{{0, 4, "spi", integer}, {4, 4, "sequence", integer}}
	case "ah":
		return []field{{0, 1, "nexthdr", protocol}, {1, 1, "hdrlength", integer}, {2, 2, "reserved", integer}, {4, 4, "spi", integer}, {8, 4, "sequence", integer}}
	case "sctp", "dccp", "udplite", "th":
		return ports
	}
	return nil
}

// bitfield is a field of less than a byte, or across them: the value is shifted.
type bitfield struct {
	offset, size, mask uint32
	shift              uint
	text               string
	kind               kind
}

func bitField(proto string, b *Payload, mask []byte) (bitfield, bool) {
	var m uint32
	for _, c := range mask {
		m = m<<8 | uint32(c)
	}
	var list []bitfield
	switch proto {
	case "ip":
		list = []bitfield{{0, 1, 0xf0, 4, "ip version", integer}, {0, 1, 0x0f, 0, "ip hdrlength", integer},
			{1, 1, 0xfc, 2, "ip dscp", dscp}, {1, 1, 0x03, 0, "ip ecn", congestion}}
	case "ip6":
		list = []bitfield{{0, 1, 0xf0, 4, "ip6 version", integer}, {0, 2, 0x0fc0, 6, "ip6 dscp", dscp},
			{1, 3, 0x0fffff, 0, "ip6 flowlabel", integer}}
	case "tcp":
		list = []bitfield{{12, 1, 0xf0, 4, "tcp doff", integer}, {12, 1, 0x0f, 0, "tcp reserved", integer}}
	}
	for _, f := range list {
		if b.Offset == f.offset && b.Len == f.size && m == f.mask && len(mask) == int(f.size) {
			return f, true
		}
	}
	return bitfield{}, false
}

// protocolOf is the protocol whose header a payload is of, as far as the rule says
// it; "" if it does not.
func (p *printer) protocolOf(e *Payload) string {
	switch e.Base {
	case 0:
		return p.link
	case 1:
		return p.network
	case 2:
		if p.transport != "" {
			return p.transport
		}
		if e.Offset < 4 {
			return "th"
		}
	}
	return ""
}

// loadPayload reads a part of the packet, or writes it.
func (p *printer) loadPayload(e *Payload) {
	list := p.fieldsOf(e)
	v := list[0]
	if len(list) > 1 {
		v = &value{payload: e, size: int(e.Len), kind: raw, text: rawText(e), fields: list}
	}
	if e.Set {
		p.set(v, e.Reg)
		return
	}
	p.put(e.Reg, v)
}

func rawText(e *Payload) string {
	bases := [...]string{"ll", "nh", "th", "ih"}
	return fmt.Sprintf("@%s,%d,%d", bases[min(e.Base, 3)], uint64(e.Offset)*8, uint64(e.Len)*8)
}

// fieldsOf is the fields that so many bytes cover: exactly, or the beginning of one
// address; as raw bytes otherwise.
func (p *printer) fieldsOf(e *Payload) (list []*value) {
	proto := p.protocolOf(e)
	at, end := e.Offset, e.Offset+e.Len
	for _, f := range fieldsOfProtocol(proto) {
		if f.offset != at || at >= end {
			continue
		}
		part := *e
		part.Offset, part.Len = f.offset, min(f.size, end-at)
		if part.Len < f.size && (len(list) > 0 || f.kind != address4 && f.kind != address6) {
			break
		}
		list = append(list, &value{text: proto + " " + f.name, kind: f.kind, size: int(f.size), payload: &part})
		at += part.Len
	}
	if at == end && len(list) > 0 {
		return list
	}
	v := &value{text: rawText(e), kind: raw, size: int(min(e.Len, maxValue)), payload: e}
	return []*value{v}
}

// imply leaves out a comparison of the protocol that this part of the packet implies:
// nftables/src/payload.c (payload_dependency_kill).
func (p *printer) imply(v *value) {
	if len(v.text) > 0 && v.text[0] == '@' {
		if _, ok := bitField(p.protocolOf(v.payload), v.payload, v.mask); !ok {
			return
		}
	}
	switch v.payload.Base {
	case 0:
		p.drop(&p.linkDep)
	case 1:
		p.drop(&p.networkDep)
	case 2:
		if p.transport != "" {
			p.dropTransport()
			if p.transport == "icmp" && p.network == "ip" || p.transport == "icmpv6" && p.network == "ip6" {
				p.drop(&p.networkDep)
			}
		}
	}
}

func (p *printer) drop(dep *int) {
	if *dep > 0 {
		p.stmts[*dep-1].gone = true
	}
	*dep = 0
}

// dropTransport keeps "ip protocol tcp" where it says the family as well.
func (p *printer) dropTransport() {
	if p.transportDep == 0 {
		return
	}
	text := p.stmts[p.transportDep-1].text
	if len(text) > 2 && text[:2] == "ip" && (p.table.Family == netfilter.Inet || p.table.Family == netfilter.Netdev) {
		return
	}
	p.drop(&p.transportDep)
}

// learn notes what an equality says of the protocols.
func (p *printer) learn(v *value, data []byte, index int) {
	if len(data) == 0 {
		return
	}
	switch v.text {
	case "meta nfproto":
		switch data[0] {
		case 2:
			p.network = "ip"
		case 10:
			p.network = "ip6"
		default:
			return
		}
		p.networkDep = index + 1
	case "meta protocol", "ether type":
		switch {
		case len(data) == 2 && data[0] == 8 && data[1] == 0:
			p.network = "ip"
		case len(data) == 2 && data[0] == 0x86 && data[1] == 0xdd:
			p.network = "ip6"
		default:
			return
		}
		p.networkDep = index + 1
	case "meta l4proto", "ip protocol", "ip6 nexthdr":
		names := map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 50: "esp", 51: "ah", 58: "icmpv6", 132: "sctp", 136: "udplite"}
		if p.transport = names[data[0]]; p.transport == "" {
			p.transport = "other"
			return
		}
		p.transportDep = index + 1
	case "meta iiftype":
		if len(data) == 2 && native16(data) == 1 { // ARPHRD_ETHER
			p.link, p.linkDep = "ether", index+1
		}
	}
}

func native16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
