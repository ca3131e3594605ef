package xt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// data is the info of a match or a target. Its size was compared with that of the
// struct before anything is read of it.
type data struct {
	name   string
	rev    uint32
	family netfilter.Family // of the table
	info   []byte
}

func (d data) u8(at int) uint8    { return d.info[at] }
func (d data) u16(at int) uint16  { return binary.NativeEndian.Uint16(d.info[at:]) }
func (d data) u32(at int) uint32  { return binary.NativeEndian.Uint32(d.info[at:]) }
func (d data) u64(at int) uint64  { return binary.NativeEndian.Uint64(d.info[at:]) }
func (d data) be16(at int) uint16 { return binary.BigEndian.Uint16(d.info[at:]) }

// str reads a string of at most n bytes that may end before.
func (d data) str(at, n int) string {
	b := d.info[at:min(at+n, len(d.info))]
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}

// addr reads a union nf_inet_addr.
func (d data) addr(at int) netip.Addr {
	if d.family == netfilter.IPv4 {
		return netip.AddrFrom4([4]byte(d.info[at : at+4]))
	}
	return netip.AddrFrom16([16]byte(d.info[at : at+16]))
}

// mask is the mask of an address; compared bit by bit, since it may have holes.
func (d data) mask(at int) []byte { return d.addr(at).AsSlice() }

// masked tells whether two addresses are the same below a mask.
func masked(a, b netip.Addr, mask []byte) bool {
	x, y := a.AsSlice(), b.AsSlice()
	if len(x) != len(y) || len(x) != len(mask) {
		return false
	}
	for i := range x {
		if (x[i]^y[i])&mask[i] != 0 {
			return false
		}
	}
	return true
}

// printMask prints a mask as its length, or in full if it has holes.
func printMask(mask []byte) string {
	bits, open := 0, false
	for _, b := range mask {
		for i := 7; i >= 0; i-- {
			switch one := b>>i&1 == 1; {
			case one && open:
				a, _ := netip.AddrFromSlice(mask)
				return a.String()
			case one:
				bits++
			default:
				open = true
			}
		}
	}
	return strconv.Itoa(bits)
}

// span prints a range of numbers with a colon.
func span(from, to uint64) string {
	if from == to {
		return strconv.FormatUint(from, 10)
	}
	return fmt.Sprintf("%d:%d", from, to)
}

// hexMask prints a value, and a mask if it is not all ones.
func hexMask(value, mask uint32) string {
	if mask == 0xffffffff {
		return fmt.Sprintf("%#x", value)
	}
	return fmt.Sprintf("%#x/%#x", value, mask)
}

// effect is what a comparison that can be made does.
func effect(matches bool) netfilter.Effect {
	if matches {
		return netfilter.Continue
	}
	return netfilter.Break
}

// unless inverts what is known.
func unless(invert bool, e netfilter.Effect) netfilter.Effect {
	switch {
	case !invert || e.Match == netfilter.Unknown:
		return e
	case e.Match == netfilter.Yes:
		return netfilter.Break
	}
	return netfilter.Continue
}

// all is the effect of conditions that must all hold: one that does not decides,
// whatever is not known of the others.
func all(effects ...netfilter.Effect) netfilter.Effect {
	e := netfilter.Continue
	for _, next := range effects {
		switch {
		case next.Match == netfilter.No:
			return next
		case next.Match == netfilter.Unknown && e.Match == netfilter.Yes:
			e = next
		}
	}
	return e
}

// portIn compares a port of the packet; port 0 is one that is not known yet.
func portIn(port, from, to uint16) netfilter.Effect {
	if port == 0 && !(from == 0 && to == 65535) && from <= to {
		return netfilter.Perhaps("the port is not known")
	}
	return effect(port >= from && port <= to)
}

// constant is an extension whose effect does not depend on the packet.
func constant(e netfilter.Effect) func(*netfilter.State) netfilter.Effect {
	return func(*netfilter.State) netfilter.Effect { return e }
}
