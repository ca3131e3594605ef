package xt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// layout is where struct ipt_entry and struct ip6t_entry have their parts
// (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h), on every
// machine that aligns numbers of 8 bytes to 8.
type layout struct {
	address                int // bytes of an address: source, destination, and their masks begin the entry
	proto, flags, invflags int
	offsets                int // target_offset, then next_offset
	counters               int
	size                   int
	fragment, toGoto       uint8 // bits of the flags
}

var (
	layout4 = layout{address: 4, proto: 80, flags: 82, invflags: 83, offsets: 88, counters: 96, size: 112, fragment: 1, toGoto: 2}
	layout6 = layout{address: 16, proto: 128, flags: 131, invflags: 132, offsets: 140, counters: 152, size: 168, toGoto: 4}
)

// The inverted parts (IPT_INV_*, IP6T_INV_*).
const (
	invIn       = 0x01
	invOut      = 0x02
	invSource   = 0x08
	invDest     = 0x10
	invFragment = 0x20
	invProto    = 0x40
)

const headerSize = 32 // struct xt_entry_match, struct xt_entry_target

// entry is one rule of a blob, its parts not decoded yet.
type entry struct {
	layout
	family netfilter.Family
	at     int // in the blob
	raw    []byte
	target int // where it begins in raw
}

var errCut = errors.New("a rule reaches past the end of its table")

// entryAt takes the entry that begins at an offset.
func entryAt(blob []byte, at int, family netfilter.Family) (*entry, error) {
	e := &entry{layout: layout4, family: family, at: at}
	if family == netfilter.IPv6 {
		e.layout = layout6
	}
	if len(blob)-at < e.size+headerSize {
		return nil, errCut
	}
	e.target = int(binary.NativeEndian.Uint16(blob[at+e.offsets:]))
	end := int(binary.NativeEndian.Uint16(blob[at+e.offsets+2:]))
	if e.target < e.size || end < e.target+headerSize || end > len(blob)-at {
		return nil, errCut
	}
	e.raw = blob[at : at+end]
	return e, nil
}

func (e *entry) packets() uint64 { return binary.NativeEndian.Uint64(e.raw[e.counters:]) }

// part is a match or a target: its header and its info.
type part struct {
	name string
	rev  uint32
	info []byte
}

// partOf reads struct xt_entry_match, and that of a target, which is the same.
func partOf(b []byte) (p part, size int, ok bool) {
	if len(b) < headerSize {
		return p, 0, false
	}
	size = int(binary.NativeEndian.Uint16(b))
	if size < headerSize || size > len(b) {
		return p, 0, false
	}
	p.name = data{info: b}.str(2, 29)
	p.rev, p.info = uint32(b[31]), b[headerSize:size]
	return p, size, true
}

// matches returns the matches; ok is false where they do not fill their place.
func (e *entry) matches() (list []part, ok bool) {
	for rest := e.raw[e.size:e.target]; len(rest) > 0; {
		p, size, ok := partOf(rest)
		if !ok {
			return list, false
		}
		list, rest = append(list, p), rest[size:]
	}
	return list, true
}

// standard returns the verdict of a standard target: an offset in the table, or a
// verdict below 0.
func (e *entry) standard() (verdict int32, ok bool) {
	p, _, ok := partOf(e.raw[e.target:])
	if !ok || p.name != "" || len(p.info) < 4 {
		return 0, false
	}
	return int32(binary.NativeEndian.Uint32(p.info)), true
}

// head returns the name of the chain that an ERROR entry begins.
func (e *entry) head() (name string, ok bool) {
	p, _, ok := partOf(e.raw[e.target:])
	if !ok || p.name != "ERROR" || len(p.info) < 30 {
		return "", false
	}
	return data{info: p.info}.str(0, 30), true
}

// header is the part of a rule that needs no match: addresses, devices, protocol.
type header struct {
	family       netfilter.Family
	source, dest netip.Addr
	masks        [2][]byte
	devices      [2]device // in, out
	proto        uint16
	anyProto     bool
	fragment     bool
	invert       uint8
}

// device is a name with a mask: one that ends in + is a prefix.
type device struct {
	name   string
	prefix bool
	none   bool // any device
}

func (e *entry) header() *header {
	d := data{family: e.family, info: e.raw}
	n := e.address
	h := &header{family: e.family, source: d.addr(0), dest: d.addr(n), masks: [2][]byte{d.mask(2 * n), d.mask(3 * n)},
		proto: d.u16(e.proto), fragment: e.fragment != 0 && d.u8(e.flags)&e.fragment != 0, invert: d.u8(e.invflags)}
	h.anyProto = h.proto == 0
	if e.family == netfilter.IPv6 {
		h.anyProto = d.u8(e.flags)&1 == 0 // IP6T_F_PROTO
	}
	for i := range h.devices {
		name, mask := e.raw[4*n+16*i:][:16], e.raw[4*n+32+16*i:][:16]
		h.devices[i] = deviceOf(name, mask)
	}
	return h
}

// deviceOf reads a name and its mask: 0xff for every byte that counts, and the
// closing NUL counts unless the name is a prefix.
func deviceOf(name, mask []byte) device {
	n := 0
	for n < len(mask) && mask[n] != 0 {
		n++
	}
	d := device{name: data{info: name}.str(0, n), none: n == 0}
	d.prefix = len(d.name) == n && n < len(mask)
	return d
}

func (d device) matches(name string) bool {
	if d.prefix {
		return strings.HasPrefix(name, d.name)
	}
	return d.none || d.name == name
}

func (d device) String() string {
	if d.prefix {
		return d.name + "+"
	}
	return d.name
}

// Eval follows ip_packet_match and ip6_packet_match. A SYN is never a fragment.
func (h *header) Eval(s *netfilter.State) netfilter.Effect {
	not := func(flag uint8) bool { return h.invert&flag != 0 }
	if !h.anyProto && (h.proto == 6) == not(invProto) || h.fragment && !not(invFragment) {
		return netfilter.Break
	}
	if s.Outside {
		return h.fromOutside(s)
	}
	switch {
	case masked(s.From.Addr(), h.source, h.masks[0]) == not(invSource),
		masked(s.To.Addr(), h.dest, h.masks[1]) == not(invDest),
		h.devices[0].matches(s.In) == not(invIn),
		h.devices[1].matches(s.Out) == not(invOut):
		return netfilter.Break
	}
	return netfilter.Continue
}

// fromOutside judges a packet of which neither the device nor an address is known,
// but that it does not come from lo.
func (h *header) fromOutside(s *netfilter.State) netfilter.Effect {
	e := netfilter.Continue
	for i, mask := range h.masks {
		if printMask(mask) != "0" || h.invert&[...]uint8{invSource, invDest}[i] != 0 {
			e = all(e, outside)
		}
	}
	if in := h.devices[0]; !in.none || h.invert&invIn != 0 {
		if !in.prefix && in.name == "lo" {
			e = all(e, unless(h.invert&invIn != 0, netfilter.Break))
		} else {
			e = all(e, outside)
		}
	}
	return all(e, effect(h.devices[1].matches(s.Out) != (h.invert&invOut != 0)))
}

// print adds the options, in the order of iptables -S.
func (h *header) print(w *phrase) {
	for i, a := range [...]netip.Addr{h.source, h.dest} {
		bits := printMask(h.masks[i])
		not := h.invert&[...]uint8{invSource, invDest}[i] != 0
		if bits != "0" || !a.IsUnspecified() || not {
			w.option(not, [...]string{"-s", "-d"}[i], a.String()+"/"+bits)
		}
	}
	for i, d := range h.devices {
		if not := h.invert&[...]uint8{invIn, invOut}[i] != 0; !d.none || not {
			w.option(not, [...]string{"-i", "-o"}[i], d.String())
		}
	}
	if !h.anyProto {
		w.option(h.invert&invProto != 0, "-p", ProtocolName(h.proto))
	}
	if h.fragment {
		w.option(h.invert&invFragment != 0, "-f")
	}
}

// ProtocolName is the name that iptables prints without a file: xtables_chain_protos.
func ProtocolName(proto uint16) string {
	switch proto {
	case 0:
		return "all"
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 50:
		return "esp"
	case 51:
		return "ah"
	case 58:
		return "ipv6-icmp"
	case 132:
		return "sctp"
	case 135:
		return "ipv6-mh"
	case 136:
		return "udplite"
	}
	return fmt.Sprint(proto)
}
