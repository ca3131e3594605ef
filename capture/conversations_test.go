package capture

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// tell writes conversations on lines that read like a capture: ">" is from the
// client, "oi" the copies.
func tell(p *facts.Packets) string {
	var b strings.Builder
	for _, c := range p.Conversations {
		b.WriteString(c.Network + " " + c.Client.String() + " " + c.Server.String() + ":")
		for _, p := range c.Packets {
			b.WriteString(" " + tellPacket(p))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func tellPacket(p facts.Packet) string {
	s := "<"
	if p.FromClient {
		s = ">"
	}
	switch {
	case p.ICMP != "":
		s += p.ICMP
	case p.Flags != "":
		s += p.Flags
	default:
		s += "udp"
	}
	s += "/"
	if p.Out {
		s += "o"
	}
	if p.In {
		s += "i"
	}
	if p.Length > 0 {
		s += "/" + strings.Repeat("x", min(p.Length, 9))
	}
	return s
}

var (
	syn    = &layers.TCP{SYN: true, Seq: 100}
	synAck = &layers.TCP{SYN: true, ACK: true, Seq: 900, Ack: 101}
	ack    = &layers.TCP{ACK: true, Seq: 101, Ack: 901}
	rst    = &layers.TCP{RST: true, ACK: true, Ack: 101}
)

func TestConversations(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	to4 := func(h *layers.TCP, payload string) []byte { return wire(t, client4, server4, h, payload) }
	from4 := func(h *layers.TCP, payload string) []byte { return wire(t, server4, client4, h, payload) }
	icmp := func(from, to string, h *layers.ICMPv4, quoted []byte) []byte {
		return wire(t, from, to, h, string(quoted[offIP:]))
	}
	unreachable := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}
	const moved = "127.0.0.1:1999"

	tests := []struct {
		name   string
		frames [][]Frame
		want   string
	}{
		{"nothing", nil, ""},
		{"handshake, data, end", [][]Frame{
			both(0, to4(syn, "")), both(100*us, from4(synAck, "")), both(200*us, to4(ack, "")),
			both(300*us, to4(&layers.TCP{PSH: true, ACK: true}, "ab")),
			both(400*us, from4(&layers.TCP{FIN: true, ACK: true}, "")),
			both(500*us, to4(&layers.TCP{RST: true}, "")),
		}, "tcp 127.0.0.1:41230 127.0.0.1:62893: >S/oi <S./oi >./oi >P./oi/xx <F./oi >R/oi\n"},
		{"refused over ipv6", [][]Frame{
			both(0, wire(t, client6, server6, syn, "")), both(50*us, wire(t, server6, client6, rst, "")),
		}, "tcp [::1]:41230 [::1]:62893: >S/oi <R./oi\n"},
		{"equal retransmission", [][]Frame{both(0, to4(syn, "")), both(200*ms, to4(syn, ""))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: >S/oi >S/oi\n"},
		{"lost on the wire, then not", [][]Frame{{seen(0, true, to4(syn, ""))}, both(200*ms, to4(syn, ""))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: >S/o >S/oi\n"},
		{"copies interleaved", [][]Frame{
			{seen(0, true, to4(syn, "")), seen(1*us, true, to4(syn, "")), seen(2*us, false, to4(syn, "")), seen(3*us, false, to4(syn, ""))},
		}, "tcp 127.0.0.1:41230 127.0.0.1:62893: >S/oi >S/oi\n"},
		{"too late to be a copy", [][]Frame{{seen(0, true, to4(syn, "")), seen(together+ms, false, to4(syn, ""))}},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: >S/o >S/i\n"},
		{"answer without a question", [][]Frame{both(0, from4(synAck, "")), both(100*us, to4(ack, ""))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: <S./oi >./oi\n"},
		{"reset alone", [][]Frame{both(0, from4(rst, ""))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: <R./oi\n"},
		{"redirected", [][]Frame{both(0, wire(t, client4, moved, syn, "")), both(50*us, from4(rst, ""))},
			"tcp 127.0.0.1:41230 127.0.0.1:1999: >S/oi\ntcp 127.0.0.1:41230 127.0.0.1:62893: <R./oi\n"},
		{"redirected, no syn seen", [][]Frame{both(0, wire(t, moved, client4, ack, ""))},
			"tcp 127.0.0.1:41230 127.0.0.1:1999: <./oi\n"},
		{"client on the same port of another address", [][]Frame{
			both(0, wire(t, "127.0.0.2:62893", server4, syn, "")), both(50*us, wire(t, server4, "127.0.0.2:62893", synAck, "")),
		}, "tcp 127.0.0.2:62893 127.0.0.1:62893: >S/oi <S./oi\n"},
		{"simultaneous open", [][]Frame{both(0, to4(syn, "")), both(9*us, from4(&layers.TCP{SYN: true, Seq: 7}, "")), both(50*us, from4(synAck, ""))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: >S/oi <S/oi <S./oi\n"},
		{"connected to itself", [][]Frame{both(0, wire(t, server4, server4, syn, "")), both(50*us, wire(t, server4, server4, synAck, ""))},
			"tcp 127.0.0.1:62893 127.0.0.1:62893: >S/oi >S./oi\n"},
		{"two clients", [][]Frame{both(0, to4(syn, "")), both(50*us, wire(t, "127.0.0.1:40000", server4, syn, ""))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: >S/oi\ntcp 127.0.0.1:40000 127.0.0.1:62893: >S/oi\n"},
		{"others", [][]Frame{both(0, wire(t, "127.0.0.1:1", "127.0.0.1:2", syn, "")), both(0, []byte("noise"))}, ""},
		{"icmp rejects the syn", [][]Frame{both(0, to4(syn, "")), both(50*us, icmp(server4, client4, unreachable, to4(syn, "")))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: >S/oi <3/3/oi\n"},
		{"icmp alone", [][]Frame{both(0, icmp(server4, client4, unreachable, to4(syn, "")))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: <3/3/oi\n"},
		{"icmp with the shortest quote", [][]Frame{both(0, icmp(server4, client4, unreachable, to4(syn, "")[:offIP+28]))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: <3/3/oi\n"},
		{"icmp about the answer", [][]Frame{both(0, from4(synAck, "")), both(50*us, icmp(client4, server4, unreachable, from4(synAck, "")))},
			"tcp 127.0.0.1:41230 127.0.0.1:62893: <S./oi >3/3/oi\n"},
		{"icmp about others", [][]Frame{both(0, icmp(server4, client4, unreachable, wire(t, "127.0.0.1:1", "127.0.0.1:2", syn, "")))}, ""},
		{"icmp6", [][]Frame{both(0, wire(t, server6, client6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)},
			"\x00\x00\x00\x00"+string(wire(t, client6, server6, syn, "")[offIP:])))},
			"tcp [::1]:41230 [::1]:62893: <1/4/oi\n"},
		{"udp", [][]Frame{both(0, wire(t, "127.0.0.1:5", server4, &layers.UDP{}, "abc")), both(50*us, wire(t, server4, "127.0.0.1:5", &layers.UDP{}, ""))},
			"udp 127.0.0.1:5 127.0.0.1:62893: >udp/oi/xxx <udp/oi\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frames := slices.Concat(tt.frames...)
			got := tell(Conversations(frames, 62893, []uint16{41230}))
			if got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
			// Frames of several calls may come in any order.
			if tt.name != "copies interleaved" {
				slices.Reverse(frames)
				if got := tell(Conversations(frames, 62893, []uint16{41230})); got != tt.want {
					t.Errorf("reversed: got\n%swant\n%s", got, tt.want)
				}
			}
		})
	}
}

func TestConversationsLengthAndTime(t *testing.T) {
	const payload = 40_000
	data := wire(t, client4, server4, &layers.TCP{PSH: true, ACK: true}, strings.Repeat("x", payload))
	frames := slices.Concat(both(0, wire(t, client4, server4, syn, "")), both(3*time.Millisecond, data))
	if n := len(frames[2].Data); n != SnapLen {
		t.Fatalf("the frame has %d bytes, want a cut one", n)
	}
	packets := Conversations(frames, 62893, nil).Conversations[0].Packets
	if Conversations(frames, 62893, nil).Conversations[0].Ours || !Conversations(frames, 62893, []uint16{41230}).Conversations[0].Ours {
		t.Error("whose conversation it is")
	}
	if got := packets[1]; got.Length != payload || got.At != 3*time.Millisecond || !got.In {
		t.Errorf("got %+v, want %d bytes after 3ms with both copies", got, payload)
	}

	// BIG TCP: the total length in the header is 0.
	data[offIP+2], data[offIP+3] = 0, 0
	f := seen(0, true, data)
	if got := Conversations([]Frame{f}, 62893, nil).Conversations[0].Packets[0].Length; got != payload {
		t.Errorf("total length 0: got %d bytes, want %d", got, payload)
	}
}

func TestConversationsJSON(t *testing.T) {
	b, err := json.Marshal(Conversations(nil, 1, nil))
	if err != nil || string(b) != `{"conversations":[]}` {
		t.Errorf("got %s, %v", b, err)
	}
}

func TestFlags(t *testing.T) {
	all := &layers.TCP{FIN: true, SYN: true, RST: true, PSH: true, ACK: true, URG: true, ECE: true, CWR: true, NS: true}
	for want, h := range map[string]*layers.TCP{"FSRP.UEWe": all, "none": {}, "SEW": {SYN: true, ECE: true, CWR: true}, "FP.": {FIN: true, PSH: true, ACK: true}} {
		data := wire(t, client4, server4, h, "")
		if s, ok := decode(data, len(data)); !ok || s.flags != want {
			t.Errorf("got %q, want %q", s.flags, want)
		}
	}
}

// FuzzConversations gives bytes as both copies of a packet, cut anywhere.
func FuzzConversations(f *testing.F) {
	header4 := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}
	header6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}
	seeds := [][]byte{
		wire(f, client4, server4, syn, ""),
		wire(f, server6, client6, synAck, "hello"),
		wire(f, client4, server4, &layers.UDP{}, "hello"),
		wire(f, server4, client4, header4, string(wire(f, client4, server4, syn, "")[offIP:])),
		wire(f, server6, client6, header6, "\x00\x00\x00\x00"+string(wire(f, client6, server6, syn, "")[offIP:])),
		{},
	}
	for _, s := range seeds {
		for _, cut := range []int{0, 4, 8, 20, 40} {
			f.Add(s[:max(0, len(s)-cut)], len(s))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, length int) {
		s, ok := decode(data, length)
		if ok && (s.length < 0 && length >= len(data) || !s.src.IsValid() || !s.dst.IsValid() || s.network == "") {
			t.Errorf("decoded to %+v", s)
		}
		frames := []Frame{{At: epoch, Out: true, Length: length, Data: data}, {At: epoch, Length: length, Data: data}}
		got := Conversations(frames, s.dst.Port(), nil)
		if !ok {
			if len(got.Conversations) > 0 {
				t.Errorf("told of an undecodable frame: %+v", got)
			}
			return
		}
		if len(got.Conversations) != 1 || len(got.Conversations[0].Packets) != 1 {
			t.Fatalf("two copies of one packet became %+v", got)
		}
		c := got.Conversations[0]
		ends := []netip.AddrPort{c.Client, c.Server}
		if !slices.Contains(ends, s.src) || !slices.Contains(ends, s.dst) || !c.Packets[0].Out || !c.Packets[0].In {
			t.Errorf("%+v was told as %+v", s, c)
		}
		h := c.Packets[0].Header
		var b bytes.Buffer
		n, _, err := WritePcapng(&b, "", got)
		if err != nil || n > 0 && len(h) == 0 || !bytes.Equal(headers(h), h) {
			t.Fatalf("%x became %d packets with the headers %x, %x: %v", data, n, h, headers(h), err)
		}
		if n > 0 {
			if there, err := ReadPcapng(&b); err != nil || !slices.Contains(there, s.src.Addr()) {
				t.Errorf("%x is read back with %v: %v", data, there, err)
			}
		}
	})
}

// BenchmarkConversations tells what a burst of the ledger leaves: 32 SYNs, twice.
func BenchmarkConversations(b *testing.B) {
	var frames []Frame
	for i := range 32 {
		from := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(40000+i)).String()
		frames = append(frames, both(time.Duration(i)*20*time.Microsecond, wire(b, from, server4, syn, ""))...)
	}
	b.ReportAllocs()
	for b.Loop() {
		Conversations(frames, 62893, nil)
	}
}
