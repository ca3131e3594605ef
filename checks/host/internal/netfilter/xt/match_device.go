package xt

import (
	"fmt"
	"net"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// mac is struct xt_mac_info. lo is no Ethernet (ARPHRD_LOOPBACK), and so a packet
// on it never matches, also if inverted (net/netfilter/xt_mac.c).
func mac(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	w.option(d.u32(8) != 0, "--mac-source", net.HardwareAddr(d.info[:6]).String())
	return func(s *netfilter.State) netfilter.Effect {
		if !s.Outside {
			return netfilter.Break
		}
		return netfilter.Perhaps("the sender's hardware address is not known")
	}
}

// pkttype is struct xt_pkttype_info: what lo brings is for this host, PACKET_HOST.
func pkttype(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	kind, invert := d.u32(0), d.u32(4) != 0
	names := [...]string{"unicast", "broadcast", "multicast"}
	if kind >= uint32(len(names)) {
		return nil
	}
	w.option(invert, "--pkt-type", names[kind])
	return func(s *netfilter.State) netfilter.Effect {
		if s.Outside {
			return netfilter.Perhaps("the type of the packet")
		}
		return effect((kind == 0) != invert)
	}
}

// physdev is struct xt_physdev_info: a packet on lo is never on a bridge, and
// matches where all that is asked is inverted (net/netfilter/xt_physdev.c).
func physdev(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	invert, asked := d.u8(64), d.u8(65)
	for _, o := range [...]struct {
		bit  uint8
		name string
		at   int
	}{{8, "--physdev-is-in", -1}, {1, "--physdev-in", 0}, {16, "--physdev-is-out", -1}, {2, "--physdev-out", 32}, {4, "--physdev-is-bridged", -1}} {
		if asked&o.bit == 0 {
			continue
		}
		w.option(invert&o.bit != 0, o.name)
		if o.at >= 0 {
			w.add(deviceOf(d.info[o.at:][:16], d.info[o.at+16:][:16]))
		}
	}
	return func(s *netfilter.State) netfilter.Effect {
		if s.Outside {
			return netfilter.Perhaps("physdev")
		}
		return effect(asked&^invert == 0)
	}
}

// What the match socket asks for (XT_SOCKET_*, linux/netfilter/xt_socket.h).
const (
	socketTransparent = 1 << 0
	socketNowildcard  = 1 << 1 // one that listens on every address counts as well
	socketRestoreMark = 1 << 2
)

// socket is xt_socket_mtinfo1, 2 and 3: is there a socket for the packet?
func socket(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	var flags uint8
	if d.rev > 0 {
		flags = d.u8(0)
	}
	for i, name := range [...]string{"--transparent", "--nowildcard", "--restore-skmark"} {
		if flags>>i&1 == 1 {
			w.add(name)
		}
	}
	return func(s *netfilter.State) netfilter.Effect {
		if flags&socketRestoreMark != 0 {
			s.MarkKnown = false
		}
		owner, request := s.Socket, s.Request
		if owner == nil {
			owner, request = s.Receiver, s.ReceiverRequest
		}
		switch {
		case owner == nil:
			return netfilter.Perhaps("whether there is a socket")
		case flags&socketTransparent != 0:
			return netfilter.Perhaps("whether the socket is transparent")
		case flags&socketNowildcard != 0, request, s.Reply:
			return netfilter.Continue // a connection has an address
		}
		return netfilter.Perhaps("on which address the socket listens")
	}
}

// cpu is struct xt_cpu_info.
func cpu(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	w.option(d.u32(4) != 0, "--cpu", fmt.Sprint(d.u32(0)))
	return constant(netfilter.Perhaps("the processor is not known"))
}

// rpfilter is struct xt_rpfilter_info: what comes from lo passes the test
// (rpfilter_is_loopback, net/ipv4/netfilter/ipt_rpfilter.c).
func rpfilter(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	flags := d.u8(0)
	for i, name := range [...]string{"--loose", "--validmark", "--accept-local", "--invert"} {
		if flags>>i&1 == 1 {
			w.add(name)
		}
	}
	return func(s *netfilter.State) netfilter.Effect {
		if s.In != "lo" {
			return netfilter.Perhaps("rpfilter")
		}
		return effect(flags&8 == 0)
	}
}

// policy is struct xt_policy_info: lo has no IPsec, so "none" matches, and nothing
// else does (net/netfilter/xt_policy.c).
func policy(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	flags, count := d.u16(304), d.u16(306)
	direction, kind := "out", "ipsec"
	if flags&1 != 0 { // XT_POLICY_MATCH_IN
		direction = "in"
	}
	if flags&4 != 0 { // XT_POLICY_MATCH_NONE
		kind = "none"
	}
	w.add("--dir", direction, "--pol", kind)
	if flags&8 != 0 { // XT_POLICY_MATCH_STRICT
		w.add("--strict")
	}
	w.partial = count > 0
	return func(s *netfilter.State) netfilter.Effect {
		if s.Outside {
			return netfilter.Perhaps("policy")
		}
		return effect(flags&4 != 0)
	}
}

// spi is struct xt_esp, ipt_ah and ip6t_ah: a TCP packet on lo has none of them.
func spi(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	invert := d.u8(8)
	if d.family == netfilter.IPv6 && d.name == "ah" {
		invert = d.u8(13)
		w.partial = d.u32(8) != 0 || d.u8(12) != 0
	}
	if from, to := d.u32(0), d.u32(4); from != 0 || to != 0xffffffff {
		w.option(invert&1 != 0, "--"+d.name+"spi", span(uint64(from), uint64(to)))
	}
	return constant(netfilter.Break)
}

// ipv6header is struct ip6t_ipv6header_info. A SYN has no extension headers, and
// an upper protocol (MASK_PROTO).
func ipv6header(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	match, invert, soft := d.u8(0), d.u8(1), d.u8(2) != 0
	w.option(invert != 0, "--header", bits(uint32(match), "", "prot", "none", "esp", "ah", "frag", "route", "dst", "hop"))
	w.partial = true // names and order are of an own table of iptables
	if soft {
		w.add("--soft")
		return constant(effect((1^match^invert)&match == 0))
	}
	return constant(effect((match == 1) == (invert == 0)))
}
