package xt

import (
	"fmt"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// comment is struct xt_comment_info: it matches always.
func comment(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	w.add("--comment")
	w.quote(d.str(0, 256))
	return constant(netfilter.Continue)
}

// limit is struct xt_rateinfo: tokens are left or not, which nobody can foresee.
func limit(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	rate := perTime(uint64(d.u32(0)), 10000) // XT_LIMIT_SCALE
	w.add("--limit", rate)
	if burst := d.u32(4); burst != 5 { // XT_LIMIT_BURST
		w.add("--limit-burst", fmt.Sprint(burst))
	}
	return constant(netfilter.Perhaps("limit " + rate))
}

// perTime prints a period as a rate, as print_rate of iptables does: in the
// largest unit that loses little.
func perTime(period, scale uint64) string {
	units := [...]struct {
		name string
		mult uint64
	}{{"day", scale * 24 * 60 * 60}, {"hour", scale * 60 * 60}, {"min", scale * 60}, {"sec", scale}}
	if period == 0 {
		return "inf"
	}
	i := 1
	for ; i < len(units); i++ {
		if period > units[i].mult || units[i].mult/period < units[i].mult%period {
			break
		}
	}
	return fmt.Sprintf("%d/%s", units[i-1].mult/period, units[i-1].name)
}
