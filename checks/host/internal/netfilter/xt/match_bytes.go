package xt

import (
	"fmt"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// stringMatch is struct xt_string_info. It searches the packet with its headers.
func stringMatch(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	size, invert, fold := int(d.u8(148)), d.u8(149)&1 != 0, d.rev == 1 && d.u8(149)&2 != 0
	if size > 128 { // XT_STRING_MAX_PATTERN_SIZE
		return nil
	}
	pattern := string(d.info[20 : 20+size])
	text := true
	for i := 0; i < len(pattern); i++ {
		text = text && pattern[i] >= 0x20 && pattern[i] < 0x7f
	}
	if invert {
		w.add("!")
	}
	if text {
		w.add("--string")
		w.print(pattern, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(pattern)+`"`)
	} else {
		w.add("--hex-string")
		w.always(fmt.Sprintf("|%x|", pattern))
	}
	w.add("--algo", d.str(4, 16))
	if from := d.u16(0); from != 0 {
		w.add("--from", fmt.Sprint(from))
	}
	if to := d.u16(2); to != 0 && to != 65535 {
		w.add("--to", fmt.Sprint(to))
	}
	if fold {
		w.add("--icase")
	}
	// A handshake carries nothing but headers. Of those no more than eight bytes
	// in a row can be letters: the ports and the sequence number, or a time stamp.
	return func(s *netfilter.State) netfilter.Effect {
		if text && len(pattern) > 8 && !s.Carries {
			return effect(invert)
		}
		return netfilter.Perhaps("string")
	}
}

// length is struct xt_length_info: of the whole packet. That of a handshake is
// known but for its options, of which there are at most 40 bytes.
func length(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	from, to, invert := int(d.u16(0)), int(d.u16(2)), d.u8(4) != 0
	w.option(invert, "--length", span(uint64(from), uint64(to)))
	return func(s *netfilter.State) netfilter.Effect {
		least := 40
		if s.Family == netfilter.IPv6 {
			least = 60
		}
		most := least + 40
		if s.Kind != facts.Ack {
			least += 4 // the maximum segment size
		}
		if s.Carries {
			least, most = least+1, 65535
		}
		switch {
		case from <= least && to >= most:
			return effect(!invert)
		case to < least || from > most:
			return effect(invert)
		}
		return netfilter.Perhaps("the length of the packet")
	}
}

// tos is struct xt_tos_match_info.
func tos(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	mask, value, invert := d.u8(0), d.u8(1), d.u8(2) != 0
	w.option(invert, "--tos", fmt.Sprintf("0x%02x/0x%02x", value, mask))
	return func(s *netfilter.State) netfilter.Effect { return unless(invert, tosIs(s, value, mask)) }
}

// dscp is struct xt_dscp_info: the upper six bits of the same byte.
func dscp(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	value, invert := d.u8(0), d.u8(1) != 0
	w.option(invert, "--dscp", fmt.Sprintf("0x%02x", value))
	return func(s *netfilter.State) netfilter.Effect { return unless(invert, tosIs(s, value<<2, 0xfc)) }
}

func tosIs(s *netfilter.State, value, mask uint8) netfilter.Effect {
	if s.TOSUnknown || s.Reply || s.Outside {
		return netfilter.Perhaps("the type of service is not known")
	}
	return effect(s.TOS&mask == value)
}

// ecn is struct xt_ecn_info.
func ecn(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	op, invert := d.u8(0), d.u8(1)
	if op&0x10 != 0 { // XT_ECN_OP_MATCH_ECE
		w.option(invert&0x10 != 0, "--ecn-tcp-ece")
	}
	if op&0x20 != 0 { // XT_ECN_OP_MATCH_CWR
		w.option(invert&0x20 != 0, "--ecn-tcp-cwr")
	}
	if op&0x01 != 0 { // XT_ECN_OP_MATCH_IP
		w.option(invert&0x01 != 0, "--ecn-ip-ect", fmt.Sprint(d.u8(2)))
	}
	return constant(netfilter.Perhaps("the flags of ECN are not known"))
}

// ttl is struct ipt_ttl_info, and ip6t_hl_info.
func ttl(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	mode, value := d.u8(0), d.u8(1)
	if mode > 3 {
		return nil
	}
	option := "--" + d.name + [...]string{"-eq", "-eq", "-lt", "-gt"}[mode]
	w.option(mode == 1, option, fmt.Sprint(value))
	// A packet that lives has at least 1, and none has more than 255.
	switch {
	case mode == 2 && value <= 1, mode == 3 && value == 255, mode == 0 && value == 0:
		return constant(netfilter.Break)
	case mode == 3 && value == 0, mode == 1 && value == 0:
		return constant(netfilter.Continue)
	}
	return constant(netfilter.Perhaps(d.name + " of the packet"))
}

// tcpmss is struct xt_tcpmss_match_info. A packet without the option matches if
// inverted. The segment size on lo follows its MTU, of 65536 as a rule.
func tcpmss(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	from, to, invert := d.u16(0), d.u16(2), d.u8(4) != 0
	w.option(invert, "--mss", span(uint64(from), uint64(to)))
	return func(s *netfilter.State) netfilter.Effect {
		switch {
		case s.Kind == facts.Ack:
			return effect(invert)
		case from <= 536 && to >= 65495: // RFC 9293, section 3.7.1
			return effect(!invert)
		}
		return netfilter.Perhaps("the segment size is not known")
	}
}

// u32Match is struct xt_u32: arithmetic on any bytes of the packet.
func u32Match(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	const oneTest, values = 180, 88 // sizes of struct xt_u32_test, and of its locations
	count := int(d.u8(1980))
	if count > 11 { // XT_U32_MAXSIZE + 1
		return nil
	}
	var b strings.Builder
	for i := range count {
		at := i * oneTest
		numbers, ranges := int(d.u8(at+176)), int(d.u8(at+177))
		if numbers > 11 || ranges > 11 {
			return nil
		}
		if i > 0 {
			b.WriteString("&&")
		}
		for n := range numbers {
			if op := d.u8(at + 8*n + 4); n > 0 {
				if op > 3 {
					return nil
				}
				b.WriteString([...]string{"&", "<<", ">>", "@"}[op])
			}
			fmt.Fprintf(&b, "%#x", d.u32(at+8*n))
		}
		b.WriteByte('=')
		for n := range ranges {
			if n > 0 {
				b.WriteByte(',')
			}
			from, to := d.u32(at+values+8*n), d.u32(at+values+8*n+4)
			fmt.Fprintf(&b, "%#x", from)
			if from != to {
				fmt.Fprintf(&b, ":%#x", to)
			}
		}
	}
	w.option(d.u8(1981) != 0, "--u32")
	w.always(b.String())
	return constant(netfilter.Perhaps("u32"))
}

// bpf is xt_bpf_info and _v1: a program, which is not run here.
func bpf(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	mode, count, at := uint16(0), int(d.u16(0)), 4
	if d.rev == 1 {
		mode, count, at = d.u16(0), int(d.u16(2)), 8
	}
	switch {
	case mode == 1: // XT_BPF_MODE_PATH_PINNED
		w.add("--object-pinned", d.str(8, 512))
	case mode != 0:
		w.partial = true // a descriptor of a program that is gone
	case count > 64: // XT_BPF_MAX_NUM_INSTR
		return nil
	default:
		var b strings.Builder
		fmt.Fprint(&b, count)
		for i := range count {
			p := at + 8*i // struct sock_filter
			fmt.Fprintf(&b, ",%d %d %d %d", d.u16(p), d.u8(p+2), d.u8(p+3), d.u32(p+4))
		}
		w.add("--bytecode")
		w.always(b.String())
	}
	return constant(netfilter.Perhaps("bpf"))
}
