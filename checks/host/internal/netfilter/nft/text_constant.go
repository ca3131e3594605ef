package nft

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// kind is how a constant is written: a data type of nft(8).
type kind int

const (
	raw kind = iota // bytes as a hexadecimal number
	integer
	hexMark
	address4
	address6
	linkAddress
	portNumber
	protocol
	interfaceName
	interfaceIndex
	ethernet
	families
	packetType
	addressType
	stateFlags
	statusFlags
	directionName
	tcpFlags
	icmpType
	icmp6Type
	icmpCode
	icmp6Code
	dscp
	presence
	congestion
	lapse  // of time, in milliseconds
	device // ARPHRD_*
	classID
	text16 // a string
	weekday
	moment // of the clock: in the words of the machine's time zone
)

// symbol is one number and its name; of a bitmask, in the order of its bits.
type symbol struct {
	value uint64
	name  string
}

// symbols are the names of the values of a kind (nftables/src/datatype.c, ct.c, proto.c).
func (k kind) symbols() []symbol {
	switch k {
	case protocol:
		return []symbol{{1, "icmp"}, {2, "igmp"}, {6, "tcp"}, {17, "udp"}, {33, "dccp"}, {47, "gre"}, {50, "esp"}, {51, "ah"},
			{58, "ipv6-icmp"}, {108, "comp"}, {132, "sctp"}, {136, "udplite"}}
	case ethernet:
		return []symbol{{0x0800, "ip"}, {0x0806, "arp"}, {0x86dd, "ip6"}, {0x8100, "8021q"}, {0x88a8, "8021ad"}, {0x8100, "vlan"}}
	case families:
		return []symbol{{2, "ipv4"}, {10, "ipv6"}}
	case packetType:
		return []symbol{{0, "host"}, {1, "broadcast"}, {2, "multicast"}, {3, "other"}}
	case addressType:
		return []symbol{{0, "unspec"}, {1, "unicast"}, {2, "local"}, {3, "broadcast"}, {4, "anycast"}, {5, "multicast"},
			{6, "blackhole"}, {7, "unreachable"}, {8, "prohibit"}}
	case stateFlags:
		return []symbol{{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}}
	case statusFlags:
		return []symbol{{1, "expected"}, {2, "seen-reply"}, {4, "assured"}, {8, "confirmed"}, {16, "snat"}, {32, "dnat"}, {512, "dying"}}
	case directionName:
		return []symbol{{0, "original"}, {1, "reply"}}
	case tcpFlags:
		return []symbol{{1, "fin"}, {2, "syn"}, {4, "rst"}, {8, "psh"}, {16, "ack"}, {32, "urg"}, {64, "ecn"}, {128, "cwr"}}
	case icmpType:
		return []symbol{{0, "echo-reply"}, {3, "destination-unreachable"}, {4, "source-quench"}, {5, "redirect"}, {8, "echo-request"},
			{9, "router-advertisement"}, {10, "router-solicitation"}, {11, "time-exceeded"}, {12, "parameter-problem"},
			{13, "timestamp-request"}, {14, "timestamp-reply"}, {15, "info-request"}, {16, "info-reply"},
			{17, "address-mask-request"}, {18, "address-mask-reply"}}
	case icmp6Type:
		return []symbol{{1, "destination-unreachable"}, {2, "packet-too-big"}, {3, "time-exceeded"}, {4, "parameter-problem"},
			{128, "echo-request"}, {129, "echo-reply"}, {130, "mld-listener-query"}, {131, "mld-listener-report"},
			{132, "mld-listener-done"}, {133, "nd-router-solicit"}, {134, "nd-router-advert"}, {135, "nd-neighbor-solicit"},
			{136, "nd-neighbor-advert"}, {137, "nd-redirect"}, {138, "router-renumbering"}, {141, "ind-neighbor-solicit"},
			{142, "ind-neighbor-advert"}, {143, "mld2-listener-report"}}
	case icmpCode:
		return []symbol{{0, "net-unreachable"}, {1, "host-unreachable"}, {2, "prot-unreachable"}, {3, "port-unreachable"},
			{4, "frag-needed"}, {9, "net-prohibited"}, {10, "host-prohibited"}, {13, "admin-prohibited"}}
	case icmp6Code:
		return []symbol{{0, "no-route"}, {1, "admin-prohibited"}, {3, "addr-unreachable"}, {4, "port-unreachable"},
			{5, "policy-fail"}, {6, "reject-route"}}
	case dscp:
		return []symbol{{0x00, "cs0"}, {0x08, "cs1"}, {0x10, "cs2"}, {0x18, "cs3"}, {0x20, "cs4"}, {0x28, "cs5"}, {0x30, "cs6"},
			{0x38, "cs7"}, {0x01, "lephb"}, {0x0a, "af11"}, {0x0c, "af12"}, {0x0e, "af13"}, {0x12, "af21"}, {0x14, "af22"},
			{0x16, "af23"}, {0x1a, "af31"}, {0x1c, "af32"}, {0x1e, "af33"}, {0x22, "af41"}, {0x24, "af42"}, {0x26, "af43"},
			{0x2c, "va"}, {0x2e, "ef"}}
	case weekday:
		return []symbol{{0, `"Sunday"`}, {1, `"Monday"`}, {2, `"Tuesday"`}, {3, `"Wednesday"`}, {4, `"Thursday"`}, {5, `"Friday"`}, {6, `"Saturday"`}}
	case congestion:
		return []symbol{{0, "not-ect"}, {1, "ect1"}, {2, "ect0"}, {3, "ce"}}
	case device:
		return []symbol{{1, "ether"}, {772, "loopback"}}
	}
	return nil
}

// flags tells whether the values of a kind are sets of bits.
func (k kind) flags() bool { return k == stateFlags || k == statusFlags || k == tcpFlags }

// turned is bytes in the other order; nil stays nil.
func turned(b []byte, really bool) []byte {
	if !really {
		return b
	}
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}

// constant writes a constant that a value is compared with or set to.
func (p *printer) constant(v *value, b []byte) string {
	if v.host && littleEndian {
		b = turned(b, true)
	}
	return p.written(v.kind, b, v.size)
}

// written writes bytes in network order. size is that of the whole field.
func (p *printer) written(k kind, b []byte, size int) string {
	switch k {
	case address4, address6:
		if a, ok := netip.AddrFromSlice(b); ok && (k == address4) == a.Is4() {
			return a.String()
		}
	case linkAddress:
		if len(b) == 6 {
			return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
		}
	case presence:
		if zero(b) {
			return "missing"
		}
		return "exists"
	case interfaceName, text16:
		s := text(b)
		if len(s) == len(b) && k == interfaceName && len(b) < interfaceLen {
			s += "*" // only the beginning is compared
		}
		return p.quoted(s)
	}
	if len(b) > 8 || len(b) == 0 {
		if k == integer && len(b) > 0 {
			return new(big.Int).SetBytes(b).String()
		}
		return "0x" + hex.EncodeToString(b)
	}
	n := binary.BigEndian.Uint64(append(make([]byte, 8-len(b), 8), b...))
	if k.flags() {
		return joined(k, n, " | ")
	}
	for _, s := range k.symbols() {
		if s.value == n {
			return s.name
		}
	}
	switch k {
	case hexMark:
		return fmt.Sprintf("0x%0*x", 2*size, n)
	case interfaceIndex:
		if n == 0 {
			return "0"
		}
		return p.quoted(p.device(uint32(n)))
	case classID:
		switch n {
		case 0:
			return "none"
		case 0xffffffff:
			return "root"
		}
		return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
	case lapse:
		return duration(n)
	case raw:
		return fmt.Sprintf("0x%0*x", 2*len(b), n)
	case moment:
		p.lossy = true
	}
	return strconv.FormatUint(n, 10)
}

// joined is the names of bits; what has none is a number.
func joined(k kind, n uint64, by string) string {
	var names []string
	rest := n
	for _, s := range k.symbols() {
		if rest&s.value != 0 {
			names = append(names, s.name)
			rest &^= s.value
		}
	}
	if rest != 0 || len(names) == 0 {
		return fmt.Sprintf("0x%x", n)
	}
	return strings.Join(names, by)
}

// device is the name of an interface; lo is the first of every network namespace.
func (p *printer) device(index uint32) string {
	if index == loIndex {
		return "lo"
	}
	number := "if" + decimal(uint64(index))
	name := number
	if p.names != nil {
		name = p.names(index)
	}
	p.lossy = p.lossy || name == number // it is gone
	return name
}

// span writes a range, as a prefix where it is one and the kind has them.
func (p *printer) span(v *value, from, to []byte) string {
	if v.host && littleEndian {
		from, to = turned(from, true), turned(to, true)
	}
	return p.interval(v.kind, from, to, v.size)
}

// interval writes a range of constants in network order, both ends inclusive.
func (p *printer) interval(k kind, from, to []byte, size int) string {
	if string(from) == string(to) {
		return p.written(k, from, size)
	}
	if n, ok := prefixLen(from, to); ok && (k == address4 || k == address6) {
		return p.written(k, from, size) + "/" + strconv.Itoa(n)
	}
	if k == interfaceName {
		return p.wildcard(from, to)
	}
	return p.written(k, from, size) + "-" + p.written(k, to, size)
}

// wildcard is a range of names with one beginning: "eth*".
func (p *printer) wildcard(from, to []byte) string {
	n, ok := prefixLen(from, to)
	if !ok || n%8 != 0 {
		p.lossy = true
	}
	return p.quoted(string(from[:n/8]) + "*")
}

// prefixLen tells whether a range is all values with the same first bits, and how
// many those are.
func prefixLen(from, to []byte) (int, bool) {
	if len(from) != len(to) {
		return 0, false
	}
	n, ended := 0, false
	for i := range from {
		for bit := 7; bit >= 0; bit-- {
			a, b := from[i]>>bit&1, to[i]>>bit&1
			switch {
			case a == b && !ended:
				n++
			case a == 0 && b == 1:
				ended = true
			default:
				return n, false
			}
		}
	}
	return n, true
}
