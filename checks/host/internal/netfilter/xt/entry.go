package xt

import (
	"encoding/binary"
	"errors"

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
	layout4 = &layout{address: 4, proto: 80, flags: 82, invflags: 83, offsets: 88, counters: 96, size: 112, fragment: 1, toGoto: 2}
	layout6 = &layout{address: 16, proto: 128, flags: 131, invflags: 132, offsets: 140, counters: 152, size: 168, toGoto: 4}
)

const headerSize = 32 // struct xt_entry_match, struct xt_entry_target

// entry is one rule of a blob, its parts not decoded yet.
type entry struct {
	*layout
	family netfilter.Family
	at     int // in the blob
	raw    []byte
	target int // where it begins in raw
}

var errCut = errors.New("a rule reaches past the end of its table")

// entryAt takes the entry that begins at an offset.
func entryAt(blob []byte, at int, family netfilter.Family) (e entry, err error) {
	e = entry{layout: layout4, family: family, at: at}
	if family == netfilter.IPv6 {
		e.layout = layout6
	}
	if len(blob)-at < e.size+headerSize {
		return e, errCut
	}
	e.target = int(binary.NativeEndian.Uint16(blob[at+e.offsets:]))
	end := int(binary.NativeEndian.Uint16(blob[at+e.offsets+2:]))
	if e.target < e.size || end < e.target+headerSize || end > len(blob)-at {
		return e, errCut
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

// matches returns the matches, and room for a target; ok is false where they do not
// fill their place.
func (e *entry) matches() (list []late, ok bool) {
	list = make([]late, 0, 3)
	for rest := e.raw[e.size:e.target]; len(rest) > 0; {
		p, size, ok := partOf(rest)
		if !ok {
			return list, false
		}
		list, rest = append(list, late{part: p, family: e.family}), rest[size:]
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
