package nft

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// metaKinds is how the constants of each key are written, in the order of the keys.
var metaKinds = [...]kind{integer, ethernet, classID, hexMark, interfaceIndex, interfaceIndex, interfaceName, interfaceName,
	device, device, integer, integer, integer, integer, raw, families, protocol, interfaceName, interfaceName, packetType,
	integer, integer, integer, integer, integer, presence, text16, text16, integer, ethernet, moment, weekday, moment, interfaceIndex, interfaceName}

// meta is a property of the packet, read or written.
func (p *printer) meta(e *Meta) {
	if int(e.Key) >= len(metaNames) {
		p.lossy = true
		p.put(e.Reg, &value{text: "[meta " + decimal(uint64(e.Key)) + "]", kind: raw, size: 4})
		return
	}
	text := metaNames[e.Key]
	switch e.Key {
	case metaIIF, metaOIF, metaIIFName, metaOIFName, metaIIFGroup, metaOIFGroup:
	default:
		text = "meta " + text
	}
	k, n := metaKinds[e.Key], metaSize[e.Key]
	host := true
	switch k {
	case ethernet, interfaceName, text16:
		host = false
	case moment:
		p.lossy = true
	}
	if e.Key == metaSecpath {
		p.lossy = true
	}
	v := &value{text: text, kind: k, size: n, host: host && n > 1}
	if e.Set {
		p.set(v, e.Reg)
		return
	}
	p.put(e.Reg, v)
}

// set is the statement that writes a register to where v is read from.
func (p *printer) set(v *value, reg uint32) {
	if v.payload != nil {
		p.lossy = p.lossy || v.kind == raw // written through a mask
		p.imply(v)
	}
	p.add(v.text + " set " + p.right(v, reg))
}

// right is what a register holds as the right side of a statement that has the kind
// of v.
func (p *printer) right(v *value, reg uint32) string {
	got := p.get(reg)
	switch {
	case got.data != nil && len(got.data) > v.size:
		return p.constant(v, got.data[:v.size])
	case got.data != nil:
		return p.constant(v, got.data)
	case got.lookup != nil:
		return p.mapped(got, v)
	}
	return p.refer(got)
}

var ctWords = [...]string{"state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3proto", "saddr", "daddr",
	"protocol", "proto-src", "proto-dst", "label", "packets", "bytes", "avgpkt", "zone", "event", "ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr", "id"}

// ct is what connection tracking holds, read or written.
func (p *printer) ct(e *CT) {
	if int(e.Key) >= len(ctWords) {
		p.lossy = true
		p.put(e.Reg, &value{text: "[ct " + decimal(uint64(e.Key)) + "]", kind: raw, size: 4})
		return
	}
	v := &value{text: "ct " + ctWords[e.Key], size: 4, host: true, kind: integer}
	if e.Direction >= 0 {
		v.text = "ct " + p.written(directionName, []byte{byte(e.Direction)}, 1) + " " + ctWords[e.Key]
	}
	switch e.Key {
	case 0:
		v.kind = stateFlags
	case 1:
		v.kind, v.size, v.host = directionName, 1, false
	case 2:
		v.kind = statusFlags
	case 3:
		v.kind = hexMark
	case 5:
		v.kind = lapse
	case 6:
		v.kind, v.size, v.host = text16, 16, false
	case 7:
		v.kind, v.size, v.host = families, 1, false
	case 8, 9:
		v.kind, v.size, v.host = address4, 4, false
		if p.network != "ip" {
			v.kind, v.size = address6, 16
		}
		// nft names the family since there are keys for each.
		v.text = strings.TrimSuffix(v.text, ctWords[e.Key]) + map[kind]string{address4: "ip ", address6: "ip6 "}[v.kind] + ctWords[e.Key]
	case 10:
		v.kind, v.size, v.host = protocol, 1, false
	case 11, 12:
		v.kind, v.size, v.host = portNumber, 2, false
	case 14, 15, 16:
		v.size = 8
	case 17:
		v.size = 2
	case 19, 20:
		v.kind, v.host = address4, false
	case 21, 22:
		v.kind, v.size, v.host = address6, 16, false
	case 23:
		v.kind, v.host = raw, false
	default: // secmark, labels, events: words that only the machine's files have
		p.lossy = true
	}
	if e.Set {
		p.set(v, e.Reg)
		return
	}
	p.put(e.Reg, v)
}

// load puts the other things that can be read into a register; false if it is none.
func (p *printer) load(e netfilter.Expr) bool {
	switch e := e.(type) {
	case *Fib:
		p.fib(e)
	case *Socket:
		v := &value{text: "socket transparent", kind: integer, size: 1}
		switch e.Key {
		case 1:
			v.text, v.kind, v.size, v.host = "socket mark", hexMark, 4, true
		case 2:
			v.text = "socket wildcard"
		case 3: // written as a path, which only the file system has
			p.lossy = true
			v.text, v.size, v.host = "socket cgroupv2 level "+decimal(uint64(e.Level)), 8, true
		}
		p.put(e.Reg, v)
	case *Rt:
		v := &value{text: "rt classid", kind: integer, size: 4, host: true}
		switch e.Key {
		case 1:
			v.text, v.kind, v.host = "rt ip nexthop", address4, false
		case 2:
			v.text, v.kind, v.size, v.host = "rt ip6 nexthop", address6, 16, false
		case 3:
			v.text, v.size = "rt mtu", 2
		case 4:
			v.text, v.kind, v.size = "rt ipsec", presence, 1
		}
		p.put(e.Reg, v)
	case *Numgen:
		text := "numgen inc"
		if e.Type == 1 {
			text = "numgen random"
		}
		p.put(e.Reg, &value{text: text + " mod " + decimal(uint64(e.Modulus)) + offsetText(e.Offset), kind: integer, size: 4, host: true})
	case *Hash:
		text := "symhash"
		if e.Type == 0 {
			text = "jhash " + p.left(p.parts(e.From, int(e.Len)))
		}
		text += " mod " + decimal(uint64(e.Modulus))
		if e.Seed != 0 {
			text += fmt.Sprintf(" seed 0x%x", e.Seed)
		}
		p.put(e.To, &value{text: text + offsetText(e.Offset), kind: integer, size: 4, host: true})
	case *Exthdr:
		return p.exthdr(e)
	default:
		return false
	}
	return true
}

func offsetText(n uint32) string {
	if n == 0 {
		return ""
	}
	return " offset " + decimal(uint64(n))
}

func (p *printer) fib(e *Fib) {
	var keys []string
	for i, name := range []string{"saddr", "daddr", "mark", "iif", "oif"} {
		if e.Flags&(1<<i) != 0 {
			keys = append(keys, name)
		}
	}
	v := &value{text: "fib " + strings.Join(keys, " . "), size: 4, host: true}
	switch e.Result {
	case 1:
		v.text, v.kind = v.text+" oif", interfaceIndex
	case 2:
		v.text, v.kind, v.size, v.host = v.text+" oifname", interfaceName, 16, false
	default:
		v.text, v.kind = v.text+" type", addressType
	}
	if e.Flags&32 != 0 { // NFTA_FIB_F_PRESENT
		v.kind, v.size, v.host = presence, 1, false
	}
	p.put(e.Reg, v)
}

// exthdr is a TCP option or an extension header of IPv6.
func (p *printer) exthdr(e *Exthdr) bool {
	var header, field string
	switch {
	case e.Op == 1:
		options := map[uint32]string{2: "maxseg", 3: "window", 4: "sack-perm", 5: "sack", 8: "timestamp"}
		fields := map[[3]uint32]string{{2, 2, 2}: "size", {3, 2, 1}: "count", {8, 2, 4}: "tsval", {8, 6, 4}: "tsecr"}
		if header = options[e.Type]; header != "" {
			header, field = "tcp option "+header, fields[[3]uint32{e.Type, e.Offset, e.Len}]
		}
	case e.Op == 0:
		headers := map[uint32]string{0: "hbh", 43: "rt", 44: "frag", 51: "ah", 60: "dst", 135: "mh"}
		if header = headers[e.Type]; header != "" && e.Flags&1 != 0 {
			header = "exthdr " + header
			p.drop(&p.networkDep)
		}
	}
	v := &value{text: header, kind: integer, size: int(min(e.Len, maxValue))}
	switch {
	case header == "":
		return false
	case e.Flags&1 != 0:
		v.kind, v.size = presence, 1
	case field == "" || v.size == 0:
		return false
	default:
		v.text += " " + field
	}
	if e.Writes {
		if e.Source == 0 {
			return false
		}
		p.set(v, e.Source)
		return true
	}
	p.put(e.Reg, v)
	return true
}

// masks tells how a value was masked: nft writes "(v & mask ^ xor) | or".
func (p *printer) binary(v *value) string {
	if b := v.payload; b != nil {
		if f, ok := bitField(p.protocolOf(b), b, v.mask); ok && zero(v.xor) {
			return f.text
		}
	}
	if len(v.mask) > 8 || len(v.mask) != len(v.xor) || v.kind == raw {
		p.lossy = true
		return v.text
	}
	mask, xor := bigEndian(v.mask, v.host), bigEndian(v.xor, v.host)
	full := ^uint64(0) >> (64 - 8*len(v.mask))
	or := xor &^ mask
	xor &= mask
	mask |= or
	w := func(n uint64) string {
		if v.kind == hexMark {
			return fmt.Sprintf("0x%0*x", 2*v.size, n)
		}
		if v.kind.flags() {
			return joined(v.kind, n, " | ")
		}
		if v.kind == address4 {
			return p.written(v.kind, binary.BigEndian.AppendUint32(nil, uint32(n)), v.size)
		}
		return strconv.FormatUint(n, 10)
	}
	text := v.text
	if mask != full {
		text += " & " + w(mask)
	}
	if xor != 0 {
		text += " ^ " + w(xor)
	}
	if or != 0 {
		text += " | " + w(or)
	}
	return text
}

// bigEndian is a number of at most eight bytes.
func bigEndian(b []byte, host bool) (n uint64) {
	for _, c := range turned(b, host && littleEndian) {
		n = n<<8 | uint64(c)
	}
	return n
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// bitwise masks a value, which is told where it is used.
func (p *printer) bitwise(e *Bitwise) {
	v := *p.get(e.From)
	switch {
	case e.Op != 0 || v.masked || v.data != nil || v.lookup != nil:
		p.lossy = true
		v.text = "[bitwise " + v.text + "]"
	default:
		v.masked, v.mask, v.xor = true, e.Mask, e.Xor
	}
	p.put(e.To, &v)
}
