package capture

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// wire makes a frame as lo carries it: Ethernet with zero addresses. payload
// follows the header of TCP or UDP, whose ports are those of from and to.
func wire(t testing.TB, from, to string, header gopacket.SerializableLayer, payload string) []byte {
	t.Helper()
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	protocol := layers.IPProtocolTCP
	switch h := header.(type) {
	case *layers.TCP:
		h.SrcPort, h.DstPort = layers.TCPPort(src.Port()), layers.TCPPort(dst.Port())
	case *layers.UDP:
		h.SrcPort, h.DstPort = layers.UDPPort(src.Port()), layers.UDPPort(dst.Port())
		protocol = layers.IPProtocolUDP
	case *layers.ICMPv4:
		protocol = layers.IPProtocolICMPv4
	case *layers.ICMPv6:
		protocol = layers.IPProtocolICMPv6
	}
	eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.NetworkLayer
	if src.Addr().Is4() {
		ip = &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: protocol, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	}
	if h, ok := header.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		if err := h.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		eth, ip.(gopacket.SerializableLayer), header, gopacket.Payload(payload))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)

// seen makes a frame of wire bytes, cut as the kernel cuts it.
func seen(after time.Duration, out bool, data []byte) Frame {
	return Frame{At: epoch.Add(after), Out: out, Length: len(data), Data: data[:min(len(data), SnapLen)]}
}

// both makes the two copies of a packet.
func both(after time.Duration, data []byte) []Frame {
	return []Frame{seen(after, true, data), seen(after+10*time.Microsecond, false, data)}
}

const (
	client4, server4 = "127.0.0.1:41230", "127.0.0.1:62893"
	client6, server6 = "[::1]:41230", "[::1]:62893"
)
