package xt

import (
	"fmt"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// tcp is linux/netfilter/xt_tcpudp.h; its meaning is that of net/netfilter/xt_tcpudp.c.
func tcp(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	sport, dport := ports(d, w, 11)
	option, mask, want, invert := d.u8(8), d.u8(9), d.u8(10), d.u8(11)
	if option != 0 || invert&8 != 0 {
		w.option(invert&8 != 0, "--tcp-option", fmt.Sprint(option))
	}
	if mask != 0 || invert&4 != 0 {
		w.option(invert&4 != 0, "--tcp-flags", tcpFlags(mask), tcpFlags(want))
	}
	return func(s *netfilter.State) netfilter.Effect {
		e := all(sport(s), dport(s), unless(invert&4 != 0, flagsAre(s, mask, want)))
		if option != 0 {
			e = all(e, unless(invert&8 != 0, tcpOption(s, option)))
		}
		return e
	}
}

// ports prints the ports that tcp and udp both have, and returns their conditions.
func ports(d data, w *phrase, invertAt int) (sport, dport func(*netfilter.State) netfilter.Effect) {
	invert := d.u8(invertAt)
	port := func(at int, option string, not bool, of func(*netfilter.State) uint16) func(*netfilter.State) netfilter.Effect {
		from, to := d.u16(at), d.u16(at+2)
		if from != 0 || to != 65535 {
			w.option(not, option, span(uint64(from), uint64(to)))
		}
		return func(s *netfilter.State) netfilter.Effect { return unless(not, portIn(of(s), from, to)) }
	}
	sport = port(0, "--sport", invert&1 != 0, func(s *netfilter.State) uint16 { return s.From.Port() })
	dport = port(4, "--dport", invert&2 != 0, func(s *netfilter.State) uint16 { return s.To.Port() })
	return sport, dport
}

// flagsAre compares the flags of the packet. The two of ECN (RFC 3168) may be in
// a SYN and in its answer, as net.ipv4.tcp_ecn has it.
func flagsAre(s *netfilter.State, mask, want uint8) netfilter.Effect {
	var flags uint8
	switch s.Kind {
	case facts.Syn:
		flags = 0x02
	case facts.SynAck:
		flags = 0x12
	case facts.Ack:
		flags = 0x10
	default:
		return netfilter.Perhaps("TCP flags")
	}
	if s.Carries && mask&0x08 != 0 { // PSH is in the last packet of what was written at once
		if flags&mask&0x37 != want&0x37 || want&^mask != 0 {
			return netfilter.Break
		}
		return netfilter.Perhaps("TCP flags")
	}
	if flags&mask&0x3f != want&0x3f || want&^mask != 0 {
		return netfilter.Break
	}
	if mask&0xc0 != 0 && s.Kind != facts.Ack {
		return netfilter.Perhaps("the flags of ECN are not known")
	}
	return effect(flags&mask == want)
}

// tcpOption says whether the packet has an option (RFC 9293, section 3.1): a SYN
// and its answer have the maximum segment size, which is number 2.
func tcpOption(s *netfilter.State, option uint8) netfilter.Effect {
	if option == 2 && s.Kind != "" {
		return effect(s.Kind != facts.Ack)
	}
	return netfilter.Perhaps("TCP options are not known")
}

// tcpFlags prints flags as iptables does.
func tcpFlags(flags uint8) string {
	return bits(uint32(flags), "NONE", "FIN", "SYN", "RST", "PSH", "ACK", "URG")
}

// bits prints the names of the bits that are set, from the lowest on.
func bits(value uint32, none string, names ...string) string {
	var set []string
	for i, name := range names {
		if value>>i&1 == 1 && name != "" {
			set = append(set, name)
		}
	}
	if set == nil {
		return none
	}
	return strings.Join(set, ",")
}

// udp and the two after it are for other protocols: a rule with them asks for the
// protocol as well, the kernel insists on that (xt_check_match).
func udp(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	ports(d, w, 8)
	return constant(netfilter.Break)
}

func icmp(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	kind, from, to := d.u8(0), d.u8(1), d.u8(2)
	text := fmt.Sprint(kind)
	if kind == 0xff {
		text = "any"
	} else if from == to {
		text = fmt.Sprintf("%d/%d", kind, from)
	}
	w.option(d.u8(3)&1 != 0, "--icmp-type", text)
	w.partial = kind != 0xff && from != to && !(from == 0 && to == 0xff)
	return constant(netfilter.Break)
}

func icmp6(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	kind, from, to := d.u8(0), d.u8(1), d.u8(2)
	text := fmt.Sprint(kind)
	if from == to {
		text = fmt.Sprintf("%d/%d", kind, from)
	}
	w.option(d.u8(3)&1 != 0, "--icmpv6-type", text)
	w.partial = from != to && !(from == 0 && to == 0xff)
	return constant(netfilter.Break)
}

// multiport is linux/netfilter/xt_multiport.h: up to 15 ports; one with a flag
// begins a range that the next one ends.
func multiport(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	which, count, invert := d.u8(0), int(d.u8(1)), d.u8(47) != 0
	if which > 2 || count > 15 {
		return nil
	}
	type ends struct{ from, to uint16 }
	var list []ends
	var printed []string
	for i := 0; i < count; i++ {
		from := d.u16(2 + 2*i)
		to := from
		if d.u8(32+i) != 0 {
			if i++; i == count {
				return nil
			}
			to = d.u16(2 + 2*i)
			printed = append(printed, fmt.Sprintf("%d:%d", from, to))
		} else {
			printed = append(printed, fmt.Sprint(from))
		}
		list = append(list, ends{from, to})
	}
	w.option(invert, [...]string{"--sports", "--dports", "--ports"}[which], strings.Join(printed, ","))
	return func(s *netfilter.State) netfilter.Effect {
		within := func(port uint16) netfilter.Effect {
			e := netfilter.Break
			for _, r := range list {
				if next := portIn(port, r.from, r.to); next.Match != netfilter.No {
					e = next
					break
				}
			}
			return e
		}
		e := netfilter.Break
		if which != 1 {
			e = within(s.From.Port())
		}
		if which != 0 && e.Match != netfilter.Yes {
			if dest := within(s.To.Port()); dest.Match != netfilter.No {
				e = dest
			}
		}
		return unless(invert, e)
	}
}
