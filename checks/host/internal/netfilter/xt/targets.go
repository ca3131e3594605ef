package xt

import (
	"fmt"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// targetDecoder gives the size of the struct of a target, and what decodes it.
func targetDecoder(k kind, family netfilter.Family) (size int, decode decoder) {
	switch k {
	case kind{"REJECT", 0}:
		return 4, reject // struct ipt_reject_info, ip6t_reject_info
	case kind{"LOG", 0}:
		return 32, logTarget // struct xt_log_info
	case kind{"NFLOG", 0}:
		return 76, nflog // struct xt_nflog_info
	case kind{"MARK", 2}:
		return 8, setMark // struct xt_mark_tginfo2
	case kind{"CONNMARK", 1}:
		return 13, setConnmark // struct xt_connmark_tginfo1
	case kind{"CONNMARK", 2}:
		return 15, setConnmark // struct xt_connmark_tginfo2
	case kind{"NFQUEUE", 0}:
		return 2, nfqueue // struct xt_NFQ_info
	case kind{"NFQUEUE", 1}:
		return 4, nfqueue // struct xt_NFQ_info_v1
	case kind{"NFQUEUE", 2}, kind{"NFQUEUE", 3}:
		return 6, nfqueue // struct xt_NFQ_info_v2, 3
	case kind{"NOTRACK", 0}:
		return 0, notrack
	case kind{"CT", 0}:
		return 40, ctTarget // struct xt_ct_target_info
	case kind{"CT", 1}, kind{"CT", 2}:
		return 72, ctTarget // struct xt_ct_target_info_v1
	case kind{"TRACE", 0}:
		return 0, trace
	case kind{"REDIRECT", 0}, kind{"MASQUERADE", 0}, kind{"DNAT", 0}, kind{"SNAT", 0}:
		if family == netfilter.IPv6 {
			return 40, natTarget // struct nf_nat_range
		}
		return 20, natTarget // struct nf_nat_ipv4_multi_range_compat
	case kind{"DNAT", 1}, kind{"SNAT", 1}:
		return 40, natTarget // struct nf_nat_range
	case kind{"DNAT", 2}, kind{"SNAT", 2}:
		return 44, natTarget // struct nf_nat_range2
	case kind{"TPROXY", 0}:
		return 16, tproxy // struct xt_tproxy_target_info
	case kind{"TPROXY", 1}:
		return 28, tproxy // struct xt_tproxy_target_info_v1
	}
	return rarerTargetDecoder(k, family)
}

// next is the effect of a target that leaves the verdict to the rules behind it.
var next = netfilter.Effect{Match: netfilter.Yes, Verdict: netfilter.Verdict{Code: netfilter.NextRule}}

// reject is enum ipt_reject_with, or enum ip6t_reject_with. Each has two names:
// that of iptables, and the one of nft, which Verdict.With has.
func reject(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	names := [...]string{"icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable",
		"", "icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited"}
	if d.family == netfilter.IPv6 {
		names = [...]string{"icmp6-no-route", "icmp6-adm-prohibited", "", "icmp6-addr-unreachable", "icmp6-port-unreachable",
			"", "tcp-reset", "icmp6-policy-fail", "icmp6-reject-route"}
	}
	with := d.u32(0)
	if with >= uint32(len(names)) || names[with] == "" {
		return nil
	}
	name := names[with]
	w.add("--reject-with", name)
	inNFT := strings.NewReplacer("tcp-", "tcp ", "icmp-proto", "icmp prot", "icmp-", "icmp ",
		"icmp6-adm-", "icmpv6 admin-", "icmp6-", "icmpv6 ").Replace(name)
	return constant(verdict(netfilter.Verdict{Code: netfilter.Reject, With: inNFT}))
}

func verdict(v netfilter.Verdict) netfilter.Effect {
	return netfilter.Effect{Match: netfilter.Yes, Verdict: v}
}

// logTarget is struct xt_log_info.
func logTarget(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	level, flags := d.u8(0), d.u8(1)
	if prefix := d.str(2, 30); prefix != "" {
		w.add("--log-prefix")
		w.quote(prefix)
	}
	if level != 4 { // LOG_WARNING, the default
		w.add("--log-level", fmt.Sprint(level))
	}
	for i, name := range [...]string{"--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "", "--log-macdecode"} {
		if flags>>i&1 == 1 && name != "" {
			w.add(name)
		}
	}
	return constant(next)
}

// nflog is struct xt_nflog_info.
func nflog(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	length, group, threshold, flags := d.u32(0), d.u16(4), d.u16(6), d.u16(8)
	if prefix := d.str(12, 64); prefix != "" {
		w.add("--nflog-prefix")
		w.quote(prefix)
	}
	if group != 0 {
		w.add("--nflog-group", fmt.Sprint(group))
	}
	if flags&1 != 0 { // XT_NFLOG_F_COPY_LEN
		w.add("--nflog-size", fmt.Sprint(length))
	} else if length != 0 {
		w.add("--nflog-range", fmt.Sprint(length))
	}
	if threshold != 0 { // XT_NFLOG_DEFAULT_THRESHOLD
		w.add("--nflog-threshold", fmt.Sprint(threshold))
	}
	return constant(next)
}

// setMark is struct xt_mark_tginfo2.
func setMark(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	value, mask := d.u32(0), d.u32(4)
	w.add("--set-xmark", fmt.Sprintf("%#x/%#x", value, mask))
	return func(s *netfilter.State) netfilter.Effect {
		s.Mark = s.Mark&^mask ^ value
		s.MarkKnown = s.MarkKnown || mask == 0xffffffff
		return next
	}
}

// setConnmark is xt_connmark_tginfo1 and 2; the latter may shift what it saves.
func setConnmark(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	ctMark, ctMask, nfMask := d.u32(0), d.u32(4), d.u32(8)
	mode, left, shift := d.u8(12), false, uint8(0)
	if d.rev == 2 {
		left, shift, mode = d.u8(12) == 0, d.u8(13), d.u8(14)
	}
	if mode > 2 || shift > 31 {
		return nil
	}
	switch mode {
	case 0: // XT_CONNMARK_SET
		w.add("--set-xmark", fmt.Sprintf("%#x/%#x", ctMark, ctMask))
	case 1: // XT_CONNMARK_SAVE
		w.add("--save-mark", "--nfmask", fmt.Sprintf("%#x", nfMask), "--ctmask", fmt.Sprintf("%#x", ctMask))
	case 2: // XT_CONNMARK_RESTORE
		w.add("--restore-mark", "--nfmask", fmt.Sprintf("%#x", nfMask), "--ctmask", fmt.Sprintf("%#x", ctMask))
	}
	if shift != 0 {
		option := "--right-shift-mark"
		if left {
			option = "--left-shift-mark"
		}
		w.add(option, fmt.Sprint(shift))
	}
	shifted := func(mark uint32) uint32 {
		if left {
			return mark << shift
		}
		return mark >> shift
	}
	return func(s *netfilter.State) netfilter.Effect {
		switch {
		case !s.CTKnown:
			s.CTMarkOK = false
			s.MarkKnown = s.MarkKnown && mode != 2
		case s.CT&(netfilter.CTNew|netfilter.CTEstablished|netfilter.CTRelated) == 0:
		case mode == 0:
			s.CTMark = shifted(s.CTMark&^ctMask ^ ctMark)
			s.CTMarkOK = s.CTMarkOK || ctMask == 0xffffffff
		case mode == 1:
			s.CTMark = s.CTMark&^ctMask ^ shifted(s.Mark&nfMask)
			s.CTMarkOK = s.MarkKnown && (s.CTMarkOK || ctMask == 0xffffffff)
		case mode == 2:
			s.Mark = s.Mark&^nfMask ^ shifted(s.CTMark&ctMask)
			s.MarkKnown = s.CTMarkOK && (s.MarkKnown || nfMask == 0xffffffff)
		}
		return next
	}
}

// nfqueue is xt_NFQ_info, 1, 2 and 3.
func nfqueue(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	number, total, flags := d.u16(0), uint16(1), uint16(0)
	if d.rev >= 1 {
		total = d.u16(2)
	}
	if d.rev >= 2 {
		flags = d.u16(4)
	}
	with := fmt.Sprintf("queue %d", number)
	if total > 1 {
		last := uint32(number) + uint32(total) - 1
		with = fmt.Sprintf("queue %d-%d", number, last)
		w.add("--queue-balance", fmt.Sprintf("%d:%d", number, last))
	} else {
		w.add("--queue-num", fmt.Sprint(number))
	}
	if flags&1 != 0 { // NFQ_FLAG_BYPASS
		w.add("--queue-bypass")
	}
	if flags&2 != 0 { // NFQ_FLAG_CPU_FANOUT
		w.add("--queue-cpu-fanout")
	}
	return constant(verdict(netfilter.Verdict{Code: netfilter.Queue, With: with, Bypass: flags&1 != 0}))
}

// trace marks the packet for tracing, which changes nothing of its way.
func trace(data, *phrase) func(*netfilter.State) netfilter.Effect { return constant(next) }
