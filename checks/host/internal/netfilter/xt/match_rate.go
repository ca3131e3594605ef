package xt

import (
	"fmt"
	"strings"

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

// hashlimit is xt_hashlimit_mtinfo1, 2 and 3: a limit for each address or port.
func hashlimit(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	var avg, burst, scale uint64
	var mode, size, most, gc, expire, interval uint32
	var masks int // where the two masks are
	if d.rev == 1 {
		mode, avg, burst, scale, masks = d.u32(16), uint64(d.u32(20)), uint64(d.u32(24)), 10000, 44
		size, most, gc, expire = d.u32(28), d.u32(32), d.u32(36), d.u32(40)
	} else {
		avg, burst, mode, scale, masks = d.u64(256), d.u64(264), d.u32(272), 1000000, 292
		size, most, gc, expire = d.u32(276), d.u32(280), d.u32(284), d.u32(288)
		if d.rev == 3 {
			interval, masks = d.u32(292), 296
		}
	}
	const invert, bytes, rateMatch = 1 << 4, 1 << 5, 1 << 6
	option := "--hashlimit-upto"
	if mode&invert != 0 {
		option = "--hashlimit-above"
	}
	rate, quantum := perTime(avg, scale), uint32(1000)
	switch {
	case mode&bytes != 0:
		w.partial = true // its rate and burst are told by rounding
		w.add(option, "bytes")
	default:
		w.add(option, rate, "--hashlimit-burst", fmt.Sprint(burst))
		quantum = 1000 * secondsOf(rate)
	}
	// The order of names is another one than that of the bits.
	if hash := mode&4>>2 | mode&8>>2 | mode&1<<2 | mode&2<<2; hash != 0 {
		w.add("--hashlimit-mode", bits(hash, "", "srcip", "srcport", "dstip", "dstport"))
	}
	n := 16
	if d.rev > 1 {
		n = 255 // NAME_MAX
	}
	w.add("--hashlimit-name", d.str(0, n))
	for _, o := range [...]struct {
		name         string
		value, usual uint32
	}{{"--hashlimit-htable-size", size, 0}, {"--hashlimit-htable-max", most, 0},
		{"--hashlimit-htable-gcinterval", gc, 1000}, {"--hashlimit-htable-expire", expire, quantum},
		{"--hashlimit-srcmask", uint32(d.u8(masks)), d.bits()}, {"--hashlimit-dstmask", uint32(d.u8(masks + 1)), d.bits()}} {
		if o.value != o.usual {
			w.add(o.name, fmt.Sprint(o.value))
		}
	}
	if d.rev == 3 && mode&rateMatch != 0 {
		w.add("--hashlimit-rate-match")
		if interval != 1 {
			w.add("--hashlimit-rate-interval", fmt.Sprint(interval))
		}
	}
	return constant(netfilter.Perhaps("hashlimit " + rate))
}

// bits is the length of an address.
func (d data) bits() uint32 {
	if d.family == netfilter.IPv6 {
		return 128
	}
	return 32
}

// secondsOf is the unit of a rate that perTime printed.
func secondsOf(rate string) uint32 {
	switch _, unit, _ := strings.Cut(rate, "/"); unit {
	case "day":
		return 86400
	case "hour":
		return 3600
	case "min":
		return 60
	}
	return 1
}

// recent is xt_recent_mtinfo and _v1: a list of addresses that rules keep. To set
// one matches always.
func recent(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	flags, invert, name := d.u8(8), d.u8(9) != 0, d.str(10, 200)
	if invert {
		w.add("!")
	}
	for i, option := range [...]string{"--rcheck", "--set", "--update", "--remove"} {
		if flags>>i&1 == 1 {
			w.add(option)
		}
	}
	if seconds := d.u32(0); seconds != 0 {
		w.add("--seconds", fmt.Sprint(seconds))
	}
	if flags&(1<<5) != 0 {
		w.add("--reap")
	}
	if hits := d.u32(4); hits != 0 {
		w.add("--hitcount", fmt.Sprint(hits))
	}
	if flags&(1<<4) != 0 {
		w.add("--rttl")
	}
	w.add("--name", name)
	if d.rev == 1 {
		w.add("--mask", d.addr(212).String())
	}
	w.add([...]string{"--rsource", "--rdest"}[d.u8(210)&1])
	if flags&2 != 0 {
		return constant(effect(!invert))
	}
	return constant(netfilter.Perhaps("recent " + name))
}

// connlimit is struct xt_connlimit_info of revision 1.
func connlimit(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	limit, flags := d.u32(16), d.u32(20)
	option := "--connlimit-above"
	if flags&1 != 0 { // XT_CONNLIMIT_INVERT
		option = "--connlimit-upto"
	}
	w.add(option, fmt.Sprint(limit), "--connlimit-mask", printMask(d.mask(0)), [...]string{"--connlimit-saddr", "--connlimit-daddr"}[flags>>1&1])
	return constant(netfilter.Perhaps(fmt.Sprintf("connlimit %s %d", strings.TrimPrefix(option, "--connlimit-"), limit)))
}

// quota is struct xt_quota_info. What is left of it the kernel does not tell.
func quota(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	w.option(d.u32(0)&1 != 0, "--quota", fmt.Sprint(d.u64(8)))
	return constant(netfilter.Perhaps(fmt.Sprintf("quota %d", d.u64(8))))
}

// statistic is struct xt_statistic_info.
func statistic(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	invert := d.u16(2)&1 != 0
	switch d.u16(0) {
	case 0: // XT_STATISTIC_MODE_RANDOM
		w.add("--mode", "random")
		chance := d.u32(4)
		w.option(invert, "--probability", fmt.Sprintf("%.11f", float64(chance)/0x80000000))
		if chance == 0 || chance >= 0x80000000 {
			return constant(unless(invert, effect(chance != 0)))
		}
		return constant(netfilter.Perhaps("random"))
	case 1: // XT_STATISTIC_MODE_NTH
		w.add("--mode", "nth")
		w.option(invert, "--every", fmt.Sprint(uint64(d.u32(4))+1))
		w.add("--packet", fmt.Sprint(d.u32(8)))
		return constant(netfilter.Perhaps(fmt.Sprintf("one packet in %d", uint64(d.u32(4))+1)))
	}
	return nil
}
