package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const secret = "GET /?token=hunter2"

var cookie = layers.TCPOption{OptionType: 34, OptionLength: 10, OptionData: []byte("COOKIE!!")}

// talk4 is a conversation with everything that has to stay out of a file: a
// payload, addresses that are not loopback's, a cookie.
func talk4(t testing.TB) *facts.Packets {
	const client, server = "192.168.7.9:41230", "192.168.7.9:62893"
	mss := layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0xff, 0xd7}}
	first := wire(t, client, server, &layers.TCP{SYN: true, Seq: 100, Window: 65495, Options: []layers.TCPOption{mss, cookie}}, "")
	data := wire(t, client, server, &layers.TCP{PSH: true, ACK: true, Seq: 101}, secret+strings.Repeat("x", 1000))
	query := wire(t, client, server, &layers.UDP{}, secret)
	refused := wire(t, server, client, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, string(query[offIP:]))
	frames := slices.Concat(both(time.Microsecond+1, first), both(time.Millisecond, data), both(2*time.Millisecond, query), both(3*time.Millisecond, refused))
	return Conversations(frames[:len(frames)-1], 62893, nil)
}

// written is the packets of a file with the names of their interfaces.
func written(t testing.TB, file []byte) (packets [][]byte, infos []gopacket.CaptureInfo, sides []string) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, ci, err := r.ReadPacketData()
		if err == io.EOF {
			return packets, infos, sides
		}
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		packets, infos, sides = append(packets, data), append(infos, ci), append(sides, i.Name)
	}
}

func TestWritePcapng(t *testing.T) {
	seen := talk4(t)
	hidden := netip.MustParseAddr("10.0.0.77")
	for i := range seen.Conversations { // what redaction does
		c := &seen.Conversations[i]
		c.Client, c.Server = netip.AddrPortFrom(hidden, c.Client.Port()), netip.AddrPortFrom(hidden, c.Server.Port())
	}
	var b bytes.Buffer
	n, left, err := WritePcapng(&b, "headers only", seen, nil)
	if err != nil || n != 4 || left != 0 {
		t.Fatalf("%d packets, %d left out: %v", n, left, err)
	}
	if !bytes.Contains(b.Bytes(), []byte("headers only")) {
		t.Error("the comment is missing")
	}
	packets, infos, sides := written(t, b.Bytes())
	if want := []string{"lo", "lo", "lo", "lo-lost"}; !slices.Equal(sides, want) {
		t.Errorf("seen at %v, want %v", sides, want)
	}
	for i, want := range []struct{ length, kept int }{
		{14 + 20 + 36, 14 + 20 + 36}, {14 + 20 + 20 + len(secret) + 1000, 14 + 20 + 20}, {14 + 20 + 8 + len(secret), 14 + 20 + 8}, {14 + 20 + 8 + 20 + 8 + len(secret), 14 + 20 + 8 + 20 + 4},
	} {
		if infos[i].Length != want.length || len(packets[i]) != want.kept {
			t.Errorf("packet %d: %d bytes of %d, want %d of %d", i, len(packets[i]), infos[i].Length, want.kept, want.length)
		}
		p := gopacket.NewPacket(packets[i], layers.LayerTypeEthernet, gopacket.Default)
		ip, ok := p.NetworkLayer().(*layers.IPv4)
		if !ok || ip.SrcIP.String() != hidden.String() || ip.DstIP.String() != hidden.String() {
			t.Errorf("packet %d is not between the addresses of the conversation: %v", i, p)
		}
		if !sound(packets[i][offIP:]) {
			t.Errorf("packet %d: the checksum of its IP header is wrong", i)
		}
	}
	if want := epoch.Add(time.Microsecond + 1); !infos[0].Timestamp.Equal(want) {
		t.Errorf("the first packet is of %v, want %v", infos[0].Timestamp, want)
	}
	for _, never := range []string{"hunter2", "COOKIE", "\xc0\xa8\x07\x09"} {
		if bytes.Contains(b.Bytes(), []byte(never)) {
			t.Errorf("%q is in the file", never)
		}
	}
	if got, err := ReadPcapng(&b); err != nil || !slices.Equal(got, []netip.Addr{hidden}) {
		t.Errorf("read back: %v, %v", got, err)
	}
}

// sound adds up an IPv4 header with its checksum (RFC 1071).
func sound(h []byte) bool {
	sum := uint32(0)
	for i := 0; i < 4*int(h[0]&15); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	return sum&0xffff+sum>>16 == 0xffff
}

func TestHeaders(t *testing.T) {
	for _, c := range talk4(t).Conversations {
		for i, p := range c.Packets {
			if len(p.Header) == 0 {
				t.Fatalf("packet %d has no headers", i)
			}
			for _, never := range []string{"hunter2", "COOKIE", "\xc0\xa8\x07\x09"} {
				if bytes.Contains(p.Header, []byte(never)) {
					t.Errorf("packet %d: %q is in the facts", i, never)
				}
			}
			if !bytes.Equal(headers(p.Header), p.Header) {
				t.Errorf("packet %d: the headers of headers are others", i)
			}
		}
	}
	if !bytes.Contains(talk4(t).Conversations[0].Packets[0].Header, []byte{2, 4, 0xff, 0xd7}) {
		t.Error("the segment size is gone")
	}

	unreachable := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}
	syn4 := wire(t, client4, server4, syn, "")
	if h := headers(wire(t, "127.0.0.9:0", client4, unreachable, string(syn4[offIP:]))); h != nil {
		t.Errorf("an ICMP error of a third host is kept: %x", h)
	}
	options := bytes.Clone(syn4)
	options[offIP] = 0x46 // one word of options
	options = slices.Insert(options, offIP+20, 7, 4, 10, 9)
	if h := headers(options); len(h) != offIP+24+20 || !bytes.Equal(h[offIP+20:offIP+24], []byte{1, 1, 1, 1}) {
		t.Errorf("options of IP stay: %x", h)
	}
	for _, none := range [][]byte{nil, []byte("noise"), syn4[:offIP+30], wire(t, client4, server4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, secret)} {
		if h := headers(none); h != nil {
			t.Errorf("%x has headers: %x", none, h)
		}
	}
}

// What somebody sent may call a payload a header.
func TestHeadersOnly(t *testing.T) {
	p := talk4(t)
	for i := range p.Conversations {
		for j := range p.Conversations[i].Packets {
			p.Conversations[i].Packets[j].Header = append(wire(t, client4, server4, &layers.TCP{ACK: true}, secret), secret...)
		}
	}
	p.Conversations[0].Packets[0].Header = []byte(secret)
	var b bytes.Buffer
	if n, left, err := WritePcapng(&b, "", p); err != nil || n != 3 || left != 1 || strings.Contains(b.String(), "hunter2") {
		t.Errorf("%d packets, %d left out: %v\n%q", n, left, err, b.String())
	}
	HeadersOnly(p)
	HeadersOnly(nil)
	for _, c := range p.Conversations {
		for _, p := range c.Packets {
			if bytes.Contains(p.Header, []byte("hunter2")) {
				t.Errorf("%q stays", p.Header)
			}
		}
	}
	other := talk4(t)
	for i := range other.Conversations {
		other.Conversations[i].Client = netip.MustParseAddrPort("[::1]:1")
	}
	b.Reset()
	if n, left, err := WritePcapng(&b, "", other); err != nil || n != 0 || left != 4 || b.Len() != 0 {
		t.Errorf("addresses of another family: %d packets, %d left out, %d bytes: %v", n, left, b.Len(), err)
	}
}

func TestReadPcapngFindsMore(t *testing.T) {
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	data := wire(t, client4, server4, &layers.TCP{ACK: true}, secret)
	if err := errors.Join(w.WritePacket(gopacket.CaptureInfo{Timestamp: epoch, CaptureLength: len(data), Length: len(data)}, data), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPcapng(&b); err == nil || !strings.Contains(err.Error(), "more than headers") {
		t.Errorf("a payload is not found: %v", err)
	}
	if _, err := ReadPcapng(strings.NewReader("noise")); err == nil {
		t.Error("noise is read")
	}
}

func TestPcapngIsReadByTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip(err)
	}
	six := Conversations(both(5*time.Millisecond, wire(t, client6, server6, syn, "")), 62893, nil)
	file := filepath.Join(t.TempDir(), "packets.pcapng")
	var b bytes.Buffer
	if _, _, err := WritePcapng(&b, "headers only", talk4(t), six); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tcpdump, "-n", "-v", "-r", file).CombinedOutput()
	for _, want := range []string{"192.168.7.9.41230 > 192.168.7.9.62893: Flags [S]", "options [mss 65495", "length 1019", "::1.41230 > ::1.62893", "udp port 62893 unreachable"} {
		if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "bad") || strings.Contains(string(out), "invalid") {
			t.Errorf("tcpdump does not say %q: %v\n%s", want, err, out)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left")

func TestWritePcapngSaysWhatFailed(t *testing.T) {
	if _, _, err := WritePcapng(fullDisk{}, "", talk4(t)); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}
