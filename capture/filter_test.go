package capture

import (
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"
)

func TestFilter(t *testing.T) {
	fragment := func(frame []byte, offset byte) []byte {
		frame[offFragment], frame[offFragment+1] = 0x20, offset // more fragments follow
		return frame
	}
	options := func(frame []byte) []byte { // four bytes of IPv4 options
		with := append([]byte{}, frame[:offIP+20]...)
		with[offIP] = 0x46
		return append(append(with, 1, 1, 1, 0), frame[offIP+20:]...)
	}
	icmp4 := func(typ uint8) gopacket.SerializableLayer {
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 3)}
	}
	icmp6 := func(typ uint8) gopacket.SerializableLayer {
		return &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 4)}
	}
	const other4, other6 = "127.0.0.1:50000", "[::1]:50000"
	tests := []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"tcp to the port", wire(t, other4, server4, &layers.TCP{}, ""), true},
		{"tcp from the port", wire(t, server4, other4, &layers.TCP{}, ""), true},
		{"tcp from our port", wire(t, client4, other4, &layers.TCP{}, ""), true},
		{"tcp to our port", wire(t, other4, client4, &layers.TCP{}, ""), true},
		{"tcp of others", wire(t, other4, "127.0.0.1:50001", &layers.TCP{}, ""), false},
		{"tcp of others that quotes the port", wire(t, other4, other4, &layers.TCP{}, "\xf5\xad\xf5\xad"), false},
		{"udp to the port", wire(t, other4, server4, &layers.UDP{}, ""), true},
		{"udp of others", wire(t, other4, other4, &layers.UDP{}, ""), false},
		{"ipv4 options", options(wire(t, other4, server4, &layers.TCP{}, "")), true},
		{"first fragment", fragment(wire(t, other4, server4, &layers.UDP{}, ""), 0), true},
		{"later fragment", fragment(wire(t, other4, server4, &layers.UDP{}, ""), 8), false},
		{"icmp echo", wire(t, other4, server4, icmp4(8), ""), false},
		{"icmp unreachable", wire(t, other4, server4, icmp4(3), ""), true},
		{"icmp parameter problem", wire(t, other4, server4, icmp4(12), ""), true},
		{"tcp6 to the port", wire(t, other6, server6, &layers.TCP{}, ""), true},
		{"tcp6 from our port", wire(t, client6, other6, &layers.TCP{}, ""), true},
		{"udp6 from the port", wire(t, server6, other6, &layers.UDP{}, ""), true},
		{"udp6 of others", wire(t, other6, other6, &layers.UDP{}, ""), false},
		{"icmp6 echo", wire(t, other6, server6, icmp6(128), ""), false},
		{"icmp6 unreachable", wire(t, other6, server6, icmp6(1), ""), true},
		{"arp", []byte(strings.Repeat("\x00", 12) + "\x08\x06" + strings.Repeat("\xf5\xad", 30)), false},
		{"short", wire(t, other4, server4, &layers.TCP{}, "")[:offIP+20], false},
	}
	many := make([]uint16, MaxPorts)
	for i := range many {
		many[i] = uint16(1000 + i)
	}
	many[MaxPorts/2], many[MaxPorts-1] = 62893, 41230
	for _, ports := range [][]uint16{{62893, 41230}, many} {
		vm, err := bpf.NewVM(filter(ports))
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			n, err := vm.Run(tt.frame)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if got := n > 0; got != tt.want {
				t.Errorf("%d ports: %s: kept is %v, want %v", len(ports), tt.name, got, tt.want)
			}
		}
	}
}
