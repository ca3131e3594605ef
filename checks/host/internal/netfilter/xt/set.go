package xt

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// set is xt_set_info_match_v1, 3 and 4: the rule holds the number of the set, and
// a side for each of its dimensions.
func set(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	info := setInfo{index: d.u16(0), dim: d.u8(2), flags: d.u8(3)}
	if info.dim > 3 { // IPSET_DIM_MAX
		return nil
	}
	name := info.name()
	w.option(info.flags&4 != 0, "--match-set", name, info.sides()) // IPSET_MATCH_INV
	w.partial = w.partial || name == ""
	if d.rev >= 3 {
		printSetFlags(d, w)
	}
	return func(s *netfilter.State) netfilter.Effect { return unless(info.flags&4 != 0, info.test(s, name)) }
}

// setInfo is struct xt_set_info.
type setInfo struct {
	index      uint16
	dim, flags uint8
}

// sides prints which address or port of the packet each dimension takes.
func (i setInfo) sides() string {
	var sides []string
	for n := 1; n <= int(i.dim); n++ {
		side := "dst"
		if i.flags>>n&1 == 1 {
			side = "src"
		}
		sides = append(sides, side)
	}
	return strings.Join(sides, ",")
}

func (i setInfo) name() string { return "" }

func (i setInfo) test(s *netfilter.State, name string) netfilter.Effect {
	return netfilter.Perhaps("ipset " + name)
}

func printSetFlags(d data, w *phrase) {}

func setTarget(d data, w *phrase) func(*netfilter.State) netfilter.Effect { return nil }
