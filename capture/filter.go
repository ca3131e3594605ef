package capture

import (
	"slices"

	"golang.org/x/net/bpf"
)

// Where things are in a frame: 14 bytes of Ethernet, then RFC 791 or RFC 8200.
const (
	offEtherType  = 12
	offIP         = 14
	offFragment   = offIP + 6
	offProtocol   = offIP + 9
	offNextHeader = offIP + 6
)

// filter is a classic BPF program that keeps SnapLen bytes of
//   - TCP and UDP from or to one of the ports: over IPv4 if it is the first
//     fragment, for later ones carry no ports, and over IPv6 without extension
//     headers,
//   - ICMP and ICMPv6 errors, whatever they quote. The quote has no fixed place;
//     Conversations leaves out those of other flows.
func filter(ports []uint16) []bpf.Instruction {
	drop := bpf.RetConstant{Val: 0}
	keep := bpf.RetConstant{Val: SnapLen}

	// X becomes the length of the IP header, so what follows it is read alike
	// for both families.
	icmp := func(pick ...bpf.Instruction) []bpf.Instruction {
		return slices.Concat(
			[]bpf.Instruction{bpf.LoadIndirect{Off: offIP, Size: 1}}, // type
			pick,
			[]bpf.Instruction{drop},
		)
	}
	icmp4 := icmp(only(keep, 3, 4, 5, 11, 12)...) // the errors of RFC 1122 section 3.2.2
	icmp6 := icmp(                                // RFC 4443 section 2.1: errors are below 128
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: 128, SkipTrue: 1},
		keep,
	)
	head4 := slices.Concat(
		[]bpf.Instruction{
			bpf.LoadAbsolute{Off: offFragment, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x1fff, SkipTrue: 1}, // fragment offset
			drop,
			bpf.LoadMemShift{Off: offIP}, // X = 4 × IHL
			bpf.LoadAbsolute{Off: offProtocol, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMP, SkipTrue: uint8(len(icmp4))},
		},
		icmp4,
	)
	head6 := slices.Concat(
		[]bpf.Instruction{
			bpf.LoadConstant{Dst: bpf.RegX, Val: 40},
			bpf.LoadAbsolute{Off: offNextHeader, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMPv6, SkipTrue: uint8(len(icmp6))},
		},
		icmp6,
	)
	head4 = append(head4, bpf.Jump{Skip: uint32(len(head6))})

	var either []uint32
	for _, p := range ports {
		either = append(either, uint32(p))
	}
	return slices.Concat(
		[]bpf.Instruction{
			bpf.LoadAbsolute{Off: offEtherType, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv4, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv6, SkipTrue: 1 + uint8(len(head4))},
			drop,
		},
		head4, // A = protocol
		head6, // A = protocol
		[]bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoTCP, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoUDP, SkipTrue: 1},
			drop,
			bpf.LoadIndirect{Off: offIP, Size: 2}, // source port
		},
		only(keep, either...),
		[]bpf.Instruction{bpf.LoadIndirect{Off: offIP + 2, Size: 2}}, // destination port
		only(keep, either...),
		[]bpf.Instruction{drop},
	)
}

// only returns from the program when A is one of the values, and goes on
// otherwise. Each has a return of its own because a conditional jump reaches no
// further than 255 instructions.
func only(ret bpf.RetConstant, values ...uint32) []bpf.Instruction {
	var is []bpf.Instruction
	for _, v := range values {
		is = append(is, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: 1}, ret)
	}
	return is
}

// EtherTypes (RFC 9542 appendix B) and protocol numbers (IANA).
const (
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)
