package xt

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// Bits of struct xt_set_info (enum ip_set_kopt, linux/netfilter/ipset/ip_set.h):
// from 1 on, those of the dimensions that look at the source.
const setInverted = 1 << 0

// Flags of the revisions 3 and 4 (enum ipset_cmd_flags).
const (
	setSkipCounter    = 1 << 3
	setSkipSubcounter = 1 << 4
	setCounters       = 1 << 5
	setNomatch        = 1 << 7
)

// ipset is what is asked of the sets of the kernel: set_linux.go. Nothing is asked
// before a rule is judged or printed.
type ipset interface {
	// nameOf returns the name of a set: "" if it cannot be told.
	nameOf(index uint16) string
	// has tells whether the set has an element: the address or port of each
	// dimension.
	has(name string, family netfilter.Family, element []side) netfilter.Truth
}

// side is one end of the packet, as one dimension of an element sees it.
type side struct {
	end    netip.AddrPort
	device string
}

// setInfo is struct xt_set_info.
type setInfo struct {
	index      uint16
	dim, flags uint8
}

// set is xt_set_info_match_v1, 3 and 4: the rule holds the number of the set, and
// a side for each of its dimensions.
func set(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	info := setInfo{index: d.u16(0), dim: d.u8(2), flags: d.u8(3)}
	if info.dim > 6 { // IPSET_DIM_MAX
		return nil
	}
	var flags uint32
	if d.rev >= 3 {
		flags = d.u32(40)
	}
	invert := info.flags&setInverted != 0
	w.late = func() {
		info.print(w, "--match-set", invert)
		if flags&setNomatch != 0 || info.flags&setNomatch != 0 {
			w.add("--return-nomatch")
		}
		w.option(true, skipped(flags)...)
		w.partial = w.partial || flags&setCounters != 0
	}
	return func(s *netfilter.State) netfilter.Effect {
		if flags&(setCounters|setNomatch) != 0 || info.flags&setNomatch != 0 || s.Outside {
			return netfilter.Perhaps("ipset " + sets.nameOf(info.index))
		}
		return unless(invert, info.judge(s, d.family))
	}
}

// skipped is the counters that are left alone, each behind a "!".
func skipped(flags uint32) (words []string) {
	if flags&setSkipCounter != 0 {
		words = append(words, "--update-counters")
	}
	if flags&setSkipSubcounter != 0 {
		if words != nil {
			words = append(words, "!")
		}
		words = append(words, "--update-subcounters")
	}
	return words
}

// print adds a set and its sides; without its name the words are not in full.
func (i setInfo) print(w *phrase, option string, invert bool) {
	name := sets.nameOf(i.index)
	if name == "" {
		w.partial, name = true, fmt.Sprintf("[%d]", i.index)
	}
	var sides []string
	for n := 1; n <= int(i.dim); n++ {
		if i.flags>>n&1 == 1 {
			sides = append(sides, "src")
		} else {
			sides = append(sides, "dst")
		}
	}
	w.option(invert, option, name, strings.Join(sides, ","))
}

// judge asks the set for the ends of the packet.
func (i setInfo) judge(s *netfilter.State, family netfilter.Family) netfilter.Effect {
	name := sets.nameOf(i.index)
	perhaps := netfilter.Perhaps("ipset " + name)
	if name == "" {
		return netfilter.Perhaps("an ipset")
	}
	var element []side
	for n := 1; n <= int(i.dim); n++ {
		if i.flags>>n&1 == 1 {
			element = append(element, side{s.From, s.In})
		} else {
			element = append(element, side{s.To, s.Out})
		}
		if element[n-1].end.Port() == 0 {
			return perhaps
		}
	}
	switch sets.has(name, family, element) {
	case netfilter.Yes:
		return netfilter.Continue
	case netfilter.No:
		return netfilter.Break
	}
	return perhaps
}

// setTarget is xt_set_info_target_v1, 2 and 3: it adds to a set, or takes out.
func setTarget(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	const none, noTimeout = 65535, 0xffffffff // IPSET_INVALID_ID
	info := func(at int) setInfo { return setInfo{index: d.u16(at), dim: d.u8(at + 2), flags: d.u8(at + 3)} }
	add, del, flags, timeout := info(0), info(4), uint32(0), uint32(noTimeout)
	mapped := setInfo{index: none}
	switch d.rev {
	case 2:
		flags, timeout = d.u32(8), d.u32(12)
	case 3:
		mapped, flags, timeout = info(8), d.u32(12), d.u32(16)
	}
	if add.dim > 6 || del.dim > 6 || mapped.dim > 6 {
		return nil
	}
	w.late = func() {
		if add.index != none {
			add.print(w, "--add-set", false)
			if flags&1 != 0 { // IPSET_FLAG_EXIST
				w.add("--exist")
			}
			if timeout != noTimeout {
				w.add("--timeout", fmt.Sprint(timeout))
			}
		}
		if del.index != none {
			del.print(w, "--del-set", false)
		}
		if mapped.index != none {
			mapped.print(w, "--map-set", false)
			for i, name := range [...]string{"--map-mark", "--map-prio", "--map-queue"} {
				if flags>>(8+i)&1 == 1 { // IPSET_FLAG_MAP_SKBMARK …
					w.add(name)
				}
			}
		}
	}
	return func(s *netfilter.State) netfilter.Effect {
		if mapped.index != none && flags&(1<<8) != 0 {
			s.MarkKnown = false
		}
		return next
	}
}
