package rtnetlink

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

// Numbers of traffic control (linux/rtnetlink.h, linux/pkt_sched.h,
// linux/pkt_cls.h, linux/gen_stats.h).
const (
	getQdisc  = 38 // RTM_GETQDISC
	getFilter = 46 // RTM_GETTFILTER

	tcLen = 20 // struct tcmsg

	parentRoot    = 0xffffffff // TC_H_ROOT
	parentClsact  = 0xfffffff1 // TC_H_CLSACT, TC_H_INGRESS
	parentIngress = 0xfffffff2 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
	parentEgress  = 0xfffffff3 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)

	tcaKind    = 1
	tcaOptions = 2
	tcaStats2  = 7
	tcaChain   = 11

	statsQueue = 3 // TCA_STATS_QUEUE: struct gnet_stats_queue

	tbfParms  = 1
	tbfRate64 = 4
	tbfPRate  = 5

	bpfAction   = 1
	bpfPolice   = 2
	bpfClassID  = 3
	bpfLen      = 4
	bpfCode     = 5
	bpfName     = 7
	bpfFlags    = 8
	bpfFlagsGen = 9

	bpfDirect = 1 // TCA_BPF_FLAG_ACT_DIRECT

	actStats = 4 // TCA_ACT_STATS, inside an action
)

// tickNS is how many nanoseconds a tick of the packet scheduler has: 1 <<
// PSCHED_SHIFT (net/pkt_sched.h), as /proc/net/psched says.
const tickNS = 64

// actions is the attribute of each kind of filter that holds its actions.
var actions = map[string]uint16{"bpf": bpfAction, "matchall": 2, "basic": 3, "flower": 3, "cgroup": 1, "fw": 4, "flow": 9, "route": 6, "u32": 7}

// qdisc is one RTM_NEWQDISC.
type qdisc struct {
	facts.Qdisc
	link   int
	handle uint32
}

func parseQdisc(b []byte) (q qdisc, ok bool) {
	if len(b) < tcLen {
		return q, false
	}
	q.link, q.handle, q.Parent = int(netlink.Uint32(b[4:])), netlink.Uint32(b[8:]), classID(netlink.Uint32(b[12:]))
	var options []byte
	for typ, v := range netlink.Attributes(b[tcLen:]) {
		switch typ {
		case tcaKind:
			q.Kind = netlink.String(v)
		case tcaOptions:
			options = v
		case tcaStats2:
			for typ, v := range netlink.Attributes(v) {
				if typ == statsQueue && len(v) >= 12 {
					q.Backlog, q.Drops = netlink.Uint32(v[4:]), netlink.Uint32(v[8:])
				}
			}
		}
	}
	switch q.Kind {
	case "ingress", "clsact":
		q.Parent = q.Kind
	case "tbf":
		q.Options, q.Full = tbf(options)
	case "netem":
		q.Options, q.Full = netem(options)
	case "pfifo", "bfifo":
		if len(options) >= 4 {
			q.Options, q.Full = []string{"limit", fmt.Sprint(netlink.Uint32(options))}, true
		}
	}
	return q, q.Kind != ""
}

// classID is a handle in the words of tc(8).
func classID(id uint32) string {
	switch id {
	case parentRoot:
		return "root"
	case parentClsact:
		return "clsact"
	}
	return fmt.Sprintf("%x:%x", id>>16, id&0xffff)
}

// tbf reads struct tc_tbf_qopt: two struct tc_ratespec of 12 bytes with the rate
// in the last four, then limit, buffer and mtu. full tells whether the words
// make it again as it is.
//
//	rate 1000bit burst 100b limit 100b
func tbf(b []byte) (words []string, full bool) {
	var parms []byte
	full = true
	var rate uint64
	for typ, v := range netlink.Attributes(b) {
		switch typ {
		case tbfParms:
			parms = v
		case tbfRate64:
			if len(v) == 8 {
				rate = binary.NativeEndian.Uint64(v)
			}
		case tbfPRate:
			full = false
		}
	}
	if len(parms) < 36 {
		return nil, false
	}
	if rate == 0 {
		rate = uint64(netlink.Uint32(parms[8:]))
	}
	overhead, mpu, peak := binary.NativeEndian.Uint16(parms[2:]), binary.NativeEndian.Uint16(parms[6:]), netlink.Uint32(parms[20:])
	linkLayer := parms[1] & 0xf // TC_LINKLAYER_MASK; 2 is ATM
	full = full && overhead == 0 && mpu == 0 && peak == 0 && linkLayer < 2
	limit, buffer := netlink.Uint32(parms[24:]), netlink.Uint32(parms[28:])
	burst := math.Ceil(float64(rate) * float64(buffer) * tickNS / 1e9)
	return []string{"rate", fmt.Sprintf("%dbit", rate*8), "burst", fmt.Sprintf("%.0fb", burst), "limit", fmt.Sprintf("%db", limit)}, full
}

// netem reads struct tc_netem_qopt (latency, limit, loss, gap, duplicate,
// jitter) and whether attributes follow that say more than these.
//
//	limit 1000 delay 100000us 10000us loss 10%
func netem(b []byte) (words []string, full bool) {
	if len(b) < 24 {
		return nil, false
	}
	n := func(i int) uint32 { return netlink.Uint32(b[4*i:]) }
	delay, jitter := uint64(n(0))*tickNS, uint64(n(5))*tickNS
	full = n(3) == 0 // gap
	for typ, v := range netlink.Attributes(b[24:]) {
		switch {
		case typ == 10 && len(v) == 8: // TCA_NETEM_LATENCY64
			delay = binary.NativeEndian.Uint64(v)
		case typ == 11 && len(v) == 8: // TCA_NETEM_JITTER64
			jitter = binary.NativeEndian.Uint64(v)
		case typ == 14: // TCA_NETEM_PRNG_SEED: another order of the same accidents
		default:
			full = full && !slices.ContainsFunc(v, func(x byte) bool { return x != 0 })
		}
	}
	percent := func(p uint32) string { return fmt.Sprintf("%.4g%%", float64(p)/math.MaxUint32*100) }
	words = []string{"limit", fmt.Sprint(n(1))}
	if delay > 0 || jitter > 0 {
		words = append(words, "delay", fmt.Sprintf("%dus", delay/1000))
		if jitter > 0 {
			words = append(words, fmt.Sprintf("%dus", jitter/1000))
		}
	}
	if n(2) > 0 {
		words = append(words, "loss", percent(n(2)))
	}
	if n(4) > 0 {
		words = append(words, "duplicate", percent(n(4)))
	}
	return words, full
}

// filter is one RTM_NEWTFILTER; the one that only announces a priority has no
// handle.
type filter struct {
	facts.Filter
	link   int
	handle uint32
}

func parseFilter(b []byte) (f filter, ok bool) {
	if len(b) < tcLen {
		return f, false
	}
	f.link, f.handle = int(netlink.Uint32(b[4:])), netlink.Uint32(b[8:])
	info := netlink.Uint32(b[16:])
	f.Priority, f.Protocol = info>>16, etherType(info)
	var options []byte
	chain := uint32(0)
	for typ, v := range netlink.Attributes(b[tcLen:]) {
		switch typ {
		case tcaKind:
			f.Kind = netlink.String(v)
		case tcaOptions:
			options = v
		case tcaChain:
			chain = netlink.Uint32(v)
		}
	}
	for typ, v := range netlink.Attributes(options) {
		if want, known := actions[f.Kind]; known && typ == want {
			f.Drops = dropsOf(v)
		}
	}
	if f.Kind == "bpf" {
		f.Options, f.Name, f.Full = bpf(options)
		f.Full = f.Full && chain == 0
	}
	return f, f.Kind != "" && f.handle != 0
}

// etherType is the protocol in the lower half of tcm_info, in network order.
func etherType(info uint32) string {
	b := binary.NativeEndian.AppendUint16(nil, uint16(info))
	switch p := binary.BigEndian.Uint16(b); p {
	case 0x0003: // ETH_P_ALL
		return "all"
	case 0x0800:
		return "ip"
	case 0x86dd:
		return "ipv6"
	default:
		return fmt.Sprintf("%#x", p)
	}
}

// dropsOf adds up what the actions of a filter have dropped; nil if none counts.
func dropsOf(b []byte) *uint64 {
	var sum uint64
	counted := false
	for _, action := range netlink.Attributes(b) {
		for typ, v := range netlink.Attributes(action) {
			if typ != actStats {
				continue
			}
			for typ, v := range netlink.Attributes(v) {
				if typ == statsQueue && len(v) >= 12 {
					sum, counted = sum+uint64(netlink.Uint32(v[8:])), true
				}
			}
		}
	}
	if !counted {
		return nil
	}
	return &sum
}

// bpf tells a filter of classic BPF in full, and of another one its name alone:
// nobody could load that again from here.
//
//	da bytecode 1,6 0 0 2
func bpf(b []byte) (words []string, name string, full bool) {
	var code []byte
	count := 0
	full = true
	for typ, v := range netlink.Attributes(b) {
		switch typ {
		case bpfLen:
			count = int(uint16Of(v))
		case bpfCode:
			code = v
		case bpfName:
			name = netlink.String(v)
		case bpfFlags:
			if netlink.Uint32(v)&bpfDirect != 0 {
				words = append(words, "da")
			}
		case bpfFlagsGen:
			full = full && netlink.Uint32(v)&3 == 0 // TCA_CLS_FLAGS_SKIP_HW, SKIP_SW
		case bpfAction, bpfPolice, bpfClassID:
			full = false
		}
	}
	if count == 0 || len(code) != count*8 { // struct sock_filter
		return nil, name, false
	}
	text := []string{fmt.Sprint(count)}
	for ; len(code) >= 8; code = code[8:] {
		text = append(text, fmt.Sprintf("%d %d %d %d", uint16Of(code), code[2], code[3], netlink.Uint32(code[4:])))
	}
	return append(words, "bytecode", strings.Join(text, ",")), name, full
}

// order puts them as packets meet them: egress before ingress, then by priority.
// Of two with one priority neither can be taken off by that alone.
func order(fs []facts.Filter) {
	slices.SortStableFunc(fs, func(a, b facts.Filter) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Priority, b.Priority))
	})
	same := func(a, b facts.Filter) bool {
		return a.At == b.At && a.Priority == b.Priority && a.Protocol == b.Protocol
	}
	for i := range fs {
		for j := range fs {
			if i != j && same(fs[i], fs[j]) {
				fs[i].Full = false
			}
		}
	}
}
