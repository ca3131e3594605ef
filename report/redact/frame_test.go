package redact

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// stranger moves 192.168.7.x to 192.168.0.x and 2a01:4f8::x to 3fff::x.
func stranger(a netip.Addr) netip.Addr {
	b := a.As16()
	switch {
	case a.Is4() && b[12] == 192:
		b[14] = 0
		return netip.AddrFrom16(b).Unmap()
	case a.Is6() && b[0] == 0x2a:
		copy(b[:8], []byte{0x3f, 0xff, 0, 0, 0, 0, 0, 0})
		return netip.AddrFrom16(b)
	}
	return a
}

const macs = "020304050607 0a0b0c0d0e0f"

// frames are built by hand: the checksums are right.
var frames = []struct{ name, in string }{
	{"TCP over IPv4", macs + "0800 4500 003c 1c46 4000 4006 0000 c0a80717 c0a80701 9c40f5ad 00000001 00000000 a002faf0 0000 0000 020405b4 0402080a 00000001 00000000 01030307"},
	{"UDP over IPv4, payload", macs + "0800 4500 0024 0001 0000 4011 0000 c0a80717 7f000001 d431 270f 0010 0000 6162636465666768"},
	{"ICMP error that quotes", macs + "0800 45c0 0038 0001 0000 4001 0000 c0a80701 c0a80717 0303 0000 00000000 4500 003c 1c46 4000 4006 0000 c0a80717 c0a80701 9c40f5ad 00000001"},
	{"record route", macs + "0800 4700 0030 0001 0000 4006 0000 c0a80717 c0a80701 07070440a80709 00 9c40f5ad 00000001 00000000 5002faf0 0000 0000"},
	{"TCP over IPv6", macs + "86dd 6000 0000 0014 0640 2a0104f8000000000000000000000007 2a0104f8000000000000000000000009 9c40f5ad 00000001 00000000 5002faf0 0000 0000"},
	{"ICMPv6 error that quotes", macs + "86dd 6000 0000 0038 3a40 2a0104f8000000000000000000000007 2a0104f8000000000000000000000009 0104 0000 00000000 6000 0000 0014 0640 2a0104f8000000000000000000000009 2a0104f8000000000000000000000007 9c40f5ad 00000001"},
	{"echo", macs + "0800 4500 0020 0001 0000 4001 0000 c0a80717 c0a80701 0800 0000 0001 0002 61626364"},
}

// correct sets every checksum, by gopacket, which does it in its own way.
func correct(t *testing.T, b []byte) []byte {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var ls []gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			network = l
		case *layers.IPv6:
			network = l
		case *layers.TCP:
			_ = l.SetNetworkLayerForChecksum(network)
		case *layers.UDP:
			_ = l.SetNetworkLayerForChecksum(network)
		case *layers.ICMPv6:
			_ = l.SetNetworkLayerForChecksum(network)
		}
		s, ok := l.(gopacket.SerializableLayer)
		if !ok {
			t.Fatalf("%T", l)
		}
		ls = append(ls, s)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func TestFrames(t *testing.T) {
	for _, x := range frames {
		in := unhex(x.in)
		plain := x.name != "record route" && !strings.Contains(x.name, "quotes")
		if plain {
			in = correct(t, in)
		}
		before := bytes.Clone(in)
		out := Frame(in, stranger)
		if len(out) != len(in) || !bytes.Equal(in, before) {
			t.Errorf("%s: %d bytes became %d", x.name, len(in), len(out))
			continue
		}
		for _, gone := range []string{"c0a807", "2a0104f8", "0203040506", "61626364"} {
			if bytes.Contains(out, unhex(gone)) {
				t.Errorf("%s: %s is still there: %x", x.name, gone, out)
			}
		}
		p := gopacket.NewPacket(out, layers.LayerTypeEthernet, gopacket.Default)
		if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && sum(out[14:14+int(ip.IHL)*4])%0xffff != 0 {
			t.Errorf("%s: the checksum of the IPv4 header is wrong: %x", x.name, out)
		}
		if tcp, ok := p.TransportLayer().(*layers.TCP); ok && (tcp.SrcPort != 40000 || tcp.DstPort != 62893 || tcp.Seq != 1) {
			t.Errorf("%s: ports or number changed: %v", x.name, tcp)
		}
		if plain && !bytes.Equal(correct(t, out), out) {
			t.Errorf("%s: a right checksum became a wrong one:\n%x\n%x", x.name, out, correct(t, out))
		}
	}
}

func TestFramesThatAreNotKnown(t *testing.T) {
	for name, in := range map[string]string{
		"nothing": "", "too short": "0102", "ARP": macs + "0806 0001080006040001",
		"an IPv4 header that ends early": macs + "0800 4500 003c 1c46", "another version": macs + "0800 6500 003c 1c46 4000 4006 0000 c0a80717 c0a80701 9c40f5ad 00000001 00000000 a002faf0 0000 0000",
		"a protocol that is not known": macs + "0800 4500 003c 1c46 4000 4084 0000 c0a80717 c0a80701 9c40f5ad 00000001",
		"a routing header":             macs + "86dd 6000 0000 0008 2b40 2a0104f8000000000000000000000007 2a0104f8000000000000000000000009 0600 0000 00000000",
		"raw IP":                       "4500 003c 1c46 4000 4006 0000 c0a80717 c0a80701 9c40f5ad 00000001 00000000 a002faf0 0000 0000",
	} {
		if out := Frame(unhex(in), stranger); out != nil {
			t.Errorf("%s became %x", name, out)
		}
	}
}

// TestBytesOfFields: those of a field called Header are redacted, others left out.
func TestBytesOfFields(t *testing.T) {
	in := struct {
		Header, Body []byte
		Nothing      *struct{ Header []byte }
	}{Header: unhex(frames[0].in), Body: []byte("alice")}
	m := newMasker(nil)
	learn := &walker{masker: m, turn: learning}
	learn.value(reflect.ValueOf(in), asText, reflect.Value{})
	m.settle()
	out := (&walker{masker: m, turn: writing}).value(reflect.ValueOf(in), asText, reflect.Value{})
	header, body := out.Field(0).Bytes(), out.Field(1).Bytes()
	if body != nil || len(header) != len(in.Header) || bytes.Contains(header, unhex("c0a807")) || !bytes.Contains(header, unhex("c0a80011 c0a80001")) {
		t.Errorf("got %x, %q", header, body)
	}
	if e := m.key().Of(Address); len(e) != 2 {
		t.Errorf("%v", e)
	}
}

// TestOptionsOfTCP: MPTCP's tell addresses, those of Fast Open and MD5 are keys.
func TestOptionsOfTCP(t *testing.T) {
	in := unhex("02040578 1e083000c0a80717 2204aabb 0101 080a0000000100000002 00")
	var c change
	options(in, &c)
	if want := "02040578" + strings.Repeat("01", 14) + "080a0000000100000002" + "00"; hex.EncodeToString(in) != want {
		t.Errorf("got %x, want %s", in, want)
	}
}
