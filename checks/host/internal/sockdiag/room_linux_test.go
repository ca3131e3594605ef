package sockdiag

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A listener that takes nothing counts what it throws away; and where the reader has no
// room left, the writer keeps the rest back.
func TestRoom(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	server, from := netip.MustParseAddrPort("127.0.0.1:62893"), netip.MustParseAddrPort("127.0.0.1:40001")
	if _, _, ok := c.Dropped(server); ok {
		t.Error("there is no listener yet")
	}
	small := func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }
	l := listener(t, server.String(), 3, small)
	cl := client(t, from.String(), server.String())
	accept(t, l)
	if unsent, room := c.Room(from, server); unsent != 0 || room == nil || room.Buffer < 2304 {
		t.Errorf("before anything is sent: %d, %+v", unsent, room)
	}
	if err := unix.SetNonblock(cl, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := unix.Write(cl, make([]byte, 64<<10)); err != nil {
			break // the send buffer is full
		}
	}
	unsent, _ := c.Room(from, server)
	if _, room := c.Room(server, from); unsent == 0 || room == nil || room.Buffer < 2048 || room.Buffer > 8192 {
		t.Errorf("nobody reads: %d were not sent, the reader has %+v", unsent, room)
	}
	if _, room := c.Room(server, netip.MustParseAddrPort("127.0.0.1:40002")); room != nil {
		t.Errorf("no such connection: %+v", room)
	}

	before, listener, ok := c.Dropped(server)
	if !ok || listener == 0 {
		t.Fatal("the listener was not found")
	}
	nothing := []unix.SockFilter{{Code: 6}} // BPF_RET: 0 bytes
	if err := unix.SetsockoptSockFprog(l, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: (*unix.SockFilter)(unsafe.SliceData(nothing))}); err != nil {
		t.Skipf("attach a filter: %v", err)
	}
	fd := bound(t, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, "127.0.0.1:40003")
	if err := unix.Connect(fd, sockaddr(server)); err != unix.EINPROGRESS {
		t.Fatalf("connect: %v", err)
	}
	if after, same, ok := c.Dropped(server); !ok || same != listener || after != before+1 {
		t.Errorf("one SYN was thrown away: %d, before %d", after, before)
	}
}

func TestHeldBack(t *testing.T) {
	info := func(size int, unsent, limited, window byte) []byte {
		b := make([]byte, 240)
		binary.NativeEndian.PutUint32(b[notSentAt:], uint32(unsent))
		binary.NativeEndian.PutUint64(b[rwndLimitedAt:], uint64(limited))
		binary.NativeEndian.PutUint32(b[sndWndAt:], uint32(window))
		return b[:size]
	}
	for _, x := range []struct {
		name string
		info []byte
		want uint32
	}{
		{"no window", info(240, 78, 9, 0), 78},
		{"a filter dropped it at output", info(240, 78, 0, 200), 0},
		{"a window for a part of it", info(240, 78, 9, 40), 78},
		{"kernel 4.10", info(184, 78, 9, 0), 78},
		{"kernel 4.10, dropped at output", info(184, 78, 0, 0), 0},
		{"kernel 4.6", info(160, 78, 0, 0), 0},
	} {
		if got := heldBack(x.info); got != x.want {
			t.Errorf("%s: got %d, want %d", x.name, got, x.want)
		}
	}
}
