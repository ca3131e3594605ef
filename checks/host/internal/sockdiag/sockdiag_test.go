package sockdiag

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

// message lays out a struct inet_diag_msg.
func message(state, timer uint8, local, remote string, expires, rqueue, wqueue uint32) []byte {
	l, r := netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
	b := make([]byte, messageLen)
	b[0], b[1], b[2] = familyV4, state, timer
	if l.Addr().Is6() {
		b[0] = familyV6
	}
	binary.BigEndian.PutUint16(b[4:], l.Port())
	binary.BigEndian.PutUint16(b[6:], r.Port())
	copy(b[8:24], l.Addr().AsSlice())
	copy(b[24:40], r.Addr().AsSlice())
	for at, v := range map[int]uint32{40: 3, 44: 0x11, 48: 0x22, 52: expires, 56: rqueue, 60: wqueue, 64: 1000, 68: 77} {
		binary.NativeEndian.PutUint32(b[at:], v)
	}
	b = netlink.Append(b, attrV6Only, []byte{1})
	return netlink.Append(b, attrCgroup, binary.NativeEndian.AppendUint64(nil, 1<<40))
}

func TestParse(t *testing.T) {
	e, ok := parse(message(stListen, 0, "[::1]:80", "[::]:0", 9, 2, 1), "tcp")
	if !ok || e.State != facts.Listen || !e.Queue.Full() || *e.Queue != (facts.Queue{Length: 2, Limit: 1}) || e.RecvQ != 0 ||
		e.UID != 1000 || e.Inode != 77 || e.device != 3 || e.cookie != 0x22<<32|0x11 || !e.V6Only || e.Cgroup != 1<<40 || e.TimerMS != 0 {
		t.Errorf("listener: %+v", e)
	}
	// A FIN_WAIT_2 that has become a time-wait socket has its timer too.
	if e, _ = parse(message(5, timerTimeWait, "127.0.0.1:80", "127.0.0.1:9", 4500, 0, 0), "tcp"); e.State != facts.FinWait2 || e.TimerMS != 4500 {
		t.Errorf("time-wait: %+v", e)
	}
	if e, _ = parse(message(stEstablished, 1, "[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:9", 200, 5, 0), "tcp"); e.RecvQ != 5 || e.TimerMS != 0 ||
		e.Local != netip.MustParseAddrPort("127.0.0.1:80") || e.Remote != netip.MustParseAddrPort("127.0.0.1:9") {
		t.Errorf("connection of a dual-stack listener: %+v", e)
	}
	if _, ok = parse(message(14, 0, "127.0.0.1:80", "127.0.0.1:9", 0, 0, 0), "tcp"); ok {
		t.Error("a state that nobody knows was named")
	}
	if _, ok = parse(message(stListen, 0, "127.0.0.1:80", "0.0.0.0:0", 0, 0, 0)[:messageLen-1], "tcp"); ok {
		t.Error("a message cut short was read")
	}
}

func TestDistinctKeepsTheLater(t *testing.T) {
	request, _ := parse(message(12, 0, "127.0.0.1:80", "127.0.0.1:9", 0, 0, 0), "tcp")
	child, _ := parse(message(stEstablished, 0, "127.0.0.1:80", "127.0.0.1:9", 0, 0, 0), "tcp")
	udp := child
	udp.Network = "udp"
	got := distinct([]entry{request, udp, child})
	if len(got) != 2 || got[0].State != facts.Established || got[1].Network != "udp" {
		t.Errorf("got %+v", got)
	}
}

const procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:F5AD 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 46041 1 ffff9b2a 100 0 0 10 0
   1: 0100007F:F5AD 0100007F:9C41 06 00000000:00000000 03:00001770 00000000     0        0 0 3 ffff9b2b
   2: 0100007F:F5AD 0100007F:9C42 01 00000000:0000001C 00:00000000 00000000  1000        0 46042 1 ffff9b2a 20 4 30 10 -1
`

const procTCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:F5AD 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1 ffff 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:F5AD 0000000000000000FFFF00000100007F:9C41 01 00000000:00000000 00:00000000 00000000     0        0 22 1 ffff 20 4 30 10 -1
`

func TestParseProcNet(t *testing.T) {
	list, err := ParseProcNet(strings.NewReader(procTCP), "tcp", false)
	if err != nil {
		t.Fatal(err)
	}
	at, from := netip.MustParseAddrPort("127.0.0.1:62893"), netip.MustParseAddrPort("127.0.0.1:40001")
	want := []facts.Socket{
		{Network: "tcp", State: facts.Listen, Local: at, UID: 1000, Inode: 46041},
		{Network: "tcp", State: facts.TimeWait, Local: at, Remote: from, TimerMS: 60_000},
		{Network: "tcp", State: facts.Established, Local: at, Remote: netip.AddrPortFrom(from.Addr(), 40002), UID: 1000, Inode: 46042, RecvQ: 28},
	}
	for i := range want {
		if i >= len(list) || list[i] != want[i] {
			t.Fatalf("got %+v, want %+v", list, want)
		}
	}
	list, err = ParseProcNet(strings.NewReader(procTCP6), "tcp", true)
	if err != nil || len(list) != 2 || list[0].Local != netip.MustParseAddrPort("[::1]:62893") || list[1].Local != at || list[1].Remote != from {
		t.Errorf("IPv6: %+v, %v", list, err)
	}
	for _, bad := range []string{"0: 0100007F:F5AD", strings.Replace(procTCP, "0100007F:F5AD", "0100007F", 1), strings.Replace(procTCP, "46041", "x", 1)} {
		if list, err := ParseProcNet(strings.NewReader(bad), "tcp", false); err == nil {
			t.Errorf("read %q as %+v", bad, list)
		}
	}
	if _, err := ParseProcNet(strings.NewReader(procTCP6), "tcp", false); err == nil {
		t.Error("IPv6 addresses were read as IPv4")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(stListen, 0, "[::1]:80", "[::]:0", 9, 2, 1))
	f.Add(message(stTimeWait, timerTimeWait, "127.0.0.1:80", "127.0.0.1:9", 60000, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, network := range []string{"tcp", "udp"} {
			if e, ok := parse(b, network); ok {
				check(t, e.Socket)
			}
		}
	})
}

func FuzzParseProcNet(f *testing.F) {
	f.Add(procTCP, false)
	f.Add(procTCP6, true)
	f.Fuzz(func(t *testing.T, text string, v6 bool) {
		for _, network := range []string{"tcp", "udp"} {
			list, err := ParseProcNet(strings.NewReader(text), network, v6)
			if err != nil && list != nil {
				t.Error("an error came with sockets")
			}
			for _, s := range list {
				check(t, s)
			}
		}
	})
}

// check holds for every socket, whatever the bytes were.
func check(t *testing.T, s facts.Socket) {
	waits := s.State == facts.Listen || s.State == facts.Bound
	switch {
	case !s.Local.IsValid(), s.State == "":
		t.Errorf("without address or state: %+v", s)
	case waits == s.Remote.IsValid():
		t.Errorf("remote end does not fit the state: %+v", s)
	case s.State == facts.Listen && s.RecvQ != 0:
		t.Errorf("a listener has a queue of connections, not of bytes: %+v", s)
	}
}
