package sockdiag

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"golang.org/x/sys/unix"
)

const port = 62893

func TestPortShowsListenersAndBoundSockets(t *testing.T) {
	enterNamespace(t)
	ip(t, "link", "add", "pin0", "type", "veth", "peer", "name", "pin1")
	ip(t, "link", "set", "pin0", "up")
	c := open(t)
	tests := []struct {
		name string
		fd   int
		want facts.Socket
	}{
		{"listener", listener(t, "127.0.0.1:62893", 5),
			facts.Socket{Network: "tcp", State: facts.Listen, Queue: &facts.Queue{Limit: 5}}},
		{"other address, pinned to a device", listener(t, "127.0.0.2:62893", 0, device("pin0")),
			facts.Socket{Network: "tcp", State: facts.Listen, Queue: &facts.Queue{}, Device: "pin0"}},
		{"only IPv6", listener(t, "[::]:62893", 7, v6only(1)),
			facts.Socket{Network: "tcp", State: facts.Listen, Queue: &facts.Queue{Limit: 7}, V6Only: true}},
		{"IPv4 address in an IPv6 socket", listener(t, "[::ffff:127.0.0.3]:62893", 1),
			facts.Socket{Network: "tcp", State: facts.Listen, Queue: &facts.Queue{Limit: 1}}},
		{"bound, never listened", bound(t, unix.SOCK_STREAM, "127.0.0.4:62893"),
			facts.Socket{Network: "tcp", State: facts.Bound}},
		{"udp", bound(t, unix.SOCK_DGRAM, "127.0.0.1:62893"),
			facts.Socket{Network: "udp", State: facts.Bound}},
		{"udp over IPv6", bound(t, unix.SOCK_DGRAM, "[::]:62893", v6only(1)),
			facts.Socket{Network: "udp", State: facts.Bound, V6Only: true}},
	}
	locals := []string{"127.0.0.1", "127.0.0.2", "::", "::ffff:127.0.0.3", "127.0.0.4", "127.0.0.1", "::"}
	listener(t, "127.0.0.1:62894", 5) // the neighbours must not show
	bound(t, unix.SOCK_STREAM, "127.0.0.1:62892")
	bound(t, unix.SOCK_DGRAM, "127.0.0.1:62892")

	list := ports(t, c, port)
	for i, tt := range tests {
		if c.Partial() != "" && tt.want.State == facts.Bound && tt.want.Network == "tcp" {
			t.Logf("%s: not on this kernel", tt.name)
			continue
		}
		got := byInode(t, list, tt.fd)
		if got.Local != netip.AddrPortFrom(netip.MustParseAddr(locals[i]), port) {
			t.Errorf("%s: local is %s", tt.name, got.Local)
		}
		if got.Remote.IsValid() {
			t.Errorf("%s: remote is %s", tt.name, got.Remote)
		}
		if (got.Queue == nil) != (tt.want.Queue == nil) || got.Queue != nil && *got.Queue != *tt.want.Queue {
			t.Errorf("%s: queue is %+v", tt.name, got.Queue)
		}
		if got.Network != tt.want.Network || got.State != tt.want.State || got.V6Only != tt.want.V6Only || got.Device != tt.want.Device {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
	if len(list) != len(tests) && c.Partial() == "" {
		t.Errorf("%d sockets instead of %d: %+v", len(list), len(tests), list)
	}
}

func TestPortShowsUIDAndCgroup(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	fd := listener(t, "127.0.0.1:62893", 1)
	if err := unix.Fchown(fd, 65534, -1); err != nil { // a socket's uid is that of its inode
		t.Fatal(err)
	}
	s := byInode(t, ports(t, c, port), fd)
	if s.UID != 65534 {
		t.Errorf("uid is %d", s.UID)
	}
	// The cgroup is that in which the socket was made: its number is the
	// inode of the directory, which only shows where cgroup2 is mounted.
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	for _, line := range bytes.Split(self, []byte("\n")) {
		path, ok := bytes.CutPrefix(line, []byte("0::"))
		if !ok {
			continue
		}
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			var fs unix.Statfs_t
			var st unix.Stat_t
			if unix.Statfs(root, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC && unix.Stat(root+string(path), &st) == nil {
				if s.Cgroup != st.Ino {
					t.Errorf("cgroup is %d, its directory %d", s.Cgroup, st.Ino)
				}
				return
			}
		}
	}
	t.Skip("cgroup2 is not mounted")
}

func TestPortFollowsAConnection(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	l := listener(t, "[::]:62893", 3, v6only(0), reuse)
	cl := client(t, "127.0.0.1:40001", "127.0.0.1:62893")
	server := netip.MustParseAddrPort("127.0.0.1:62893")
	from := netip.MustParseAddrPort("127.0.0.1:40001")

	// Before accept: in the queue, held by nobody, in plain IPv4.
	s, err := c.Pair(server, from)
	if err != nil || s == nil {
		t.Fatalf("server side: %v, %v", s, err)
	}
	if s.Inode != 0 || s.State != facts.Established || s.Local != server || s.Remote != from {
		t.Errorf("not accepted yet: %+v", s)
	}
	if q := byInode(t, ports(t, c, port), l).Queue; *q != (facts.Queue{Length: 1, Limit: 3}) {
		t.Errorf("queue of the listener: %+v", q)
	}
	if s := byInode(t, ports(t, c, port), cl); s.Local != from || s.Remote != server {
		t.Errorf("client: %+v", s)
	}
	// After accept: an inode, and what was not read.
	if _, err := unix.Write(cl, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	srv := accept(t, l)
	if s, err = c.Pair(server, from); err != nil || s == nil || s.Inode != inode(t, srv) || s.RecvQ != 5 {
		t.Errorf("accepted: %+v, %v", s, err)
	}
	list, err := c.Peer(40001, netip.MustParseAddr("127.0.0.1"))
	if err != nil || len(list) != 1 || list[0].Inode != inode(t, srv) {
		t.Errorf("peer of the client: %+v, %v", list, err)
	}
	if list, _ = c.Peer(40001, netip.MustParseAddr("127.0.0.9")); len(list) != 0 {
		t.Errorf("peer of another address: %+v", list)
	}
	// No socket of that pair: the listener must not stand in for it.
	if s, err = c.Pair(server, netip.MustParseAddrPort("127.0.0.1:40002")); s != nil || err != nil {
		t.Errorf("pair that does not exist: %+v, %v", s, err)
	}
	if s, err = c.Pair(netip.MustParseAddrPort("[::1]:62893"), netip.MustParseAddrPort("[::1]:40002")); s != nil || err != nil {
		t.Errorf("IPv6 pair that does not exist: %+v, %v", s, err)
	}

	// The side that closes first is left in TIME_WAIT, without inode.
	if n, err := unix.Read(srv, make([]byte, 8)); n != 5 { // unread bytes would make it a reset
		t.Fatal(n, err)
	}
	unix.Close(srv)
	unix.Close(cl)
	list = ports(t, c, port)
	i := slices.IndexFunc(list, func(s facts.Socket) bool { return s.State == facts.TimeWait })
	if i < 0 {
		t.Fatalf("no TIME_WAIT in %+v", list)
	}
	if s := list[i]; s.Local != server || s.Inode != 0 || s.TimerMS < 50_000 || s.TimerMS > 60_000 {
		t.Errorf("TIME_WAIT: %+v", s)
	}
}

func TestPairFindsSocketsPinnedToLo(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	listener(t, "[::1]:62893", 3, device("lo"))
	client(t, "[::1]:40001", "[::1]:62893")
	s, err := c.Pair(netip.MustParseAddrPort("[::1]:62893"), netip.MustParseAddrPort("[::1]:40001"))
	if err != nil || s == nil || s.Device != "lo" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestHalfOpenRequestsShow(t *testing.T) {
	for _, at := range []string{"127.0.0.1:62893", "[::]:62893"} {
		t.Run(at, func(t *testing.T) {
			enterNamespace(t)
			c := open(t)
			// Deferred accept leaves the request half-open until a byte comes,
			// although the client has its connection.
			l := listener(t, at, 3, func(fd int) error {
				return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 5)
			})
			cl := client(t, "127.0.0.1:40001", "127.0.0.1:62893")
			server, from := netip.MustParseAddrPort("127.0.0.1:62893"), netip.MustParseAddrPort("127.0.0.1:40001")
			s, err := c.Pair(server, from)
			if err != nil || s == nil || s.State != facts.SynRecv || s.Inode != 0 {
				t.Fatalf("by pair: %+v, %v", s, err)
			}
			if s, err := c.Peer(40001, from.Addr()); err != nil || len(s) != 1 || s[0].State != facts.SynRecv {
				t.Errorf("by peer: %+v, %v", s, err)
			}
			list := ports(t, c, port)
			if len(list) != 3 {
				t.Errorf("listener, request and client are %+v", list)
			}
			byInode(t, list, l)
			byInode(t, list, cl)
			if !slices.ContainsFunc(list, func(s facts.Socket) bool {
				return s.State == facts.SynRecv && s.Local == server && s.Remote == from
			}) {
				t.Errorf("no half-open request in %+v", list)
			}
		})
	}
}

func TestSelfConnectShowsOnce(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	fd := client(t, "127.0.0.1:62893", "127.0.0.1:62893")
	list := ports(t, c, port)
	if len(list) != 1 {
		t.Fatalf("got %+v", list)
	}
	if s := byInode(t, list, fd); s.State != facts.Established || s.Local != s.Remote {
		t.Errorf("got %+v", s)
	}
}

func TestConnectedUDP(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	fd := bound(t, unix.SOCK_DGRAM, "127.0.0.1:62893")
	if err := unix.Connect(fd, sockaddr(netip.MustParseAddrPort("127.0.0.1:9"))); err != nil {
		t.Fatal(err)
	}
	if s := byInode(t, ports(t, c, port), fd); s.State != facts.Established || s.Remote != netip.MustParseAddrPort("127.0.0.1:9") {
		t.Errorf("got %+v", s)
	}
	if list, err := c.Listeners(); err != nil || len(list) != 0 {
		t.Errorf("it listens to nobody else: %+v, %v", list, err)
	}
}

func TestListeners(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	var want []uint64
	for _, at := range []string{"127.0.0.1:1001", "0.0.0.0:1002", "[::1]:1003"} {
		want = append(want, inode(t, listener(t, at, 1)))
	}
	for _, at := range []string{"127.0.0.1:1001", "[::]:1004"} {
		want = append(want, inode(t, bound(t, unix.SOCK_DGRAM, at)))
	}
	bound(t, unix.SOCK_STREAM, "127.0.0.1:1005")
	client(t, "127.0.0.1:40001", "127.0.0.1:1001")
	list, err := c.Listeners()
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for _, s := range list {
		got = append(got, s.Inode)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestProcNetAgrees compares the fallback with sock_diag where both can see.
func TestProcNetAgrees(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	l := listener(t, "[::]:62893", 3, v6only(0))
	bound(t, unix.SOCK_DGRAM, "127.0.0.1:62893")
	bound(t, unix.SOCK_DGRAM, "[::1]:62893")
	cl := client(t, "127.0.0.1:40001", "127.0.0.1:62893")
	srv := accept(t, l)
	cl2 := client(t, "[::1]:40002", "[::1]:62893")
	srv2 := accept(t, l)
	if _, err := unix.Write(cl2, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	unix.Close(srv)
	unix.Close(cl)

	var fromProc []facts.Socket
	for _, f := range []struct {
		network string
		v6      bool
		path    string
	}{{"tcp", false, "tcp"}, {"tcp", true, "tcp6"}, {"udp", false, "udp"}, {"udp", true, "udp6"}} {
		r, err := os.Open("/proc/thread-self/net/" + f.path)
		if err != nil {
			t.Fatal(err)
		}
		list, err := ParseProcNet(r, f.network, f.v6)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		fromProc = append(fromProc, list...)
	}
	diag := ports(t, c, port)
	if len(diag) != 6 || len(fromProc) != len(diag) {
		t.Fatalf("%d sockets by sock_diag, %d by /proc: %+v, %+v", len(diag), len(fromProc), diag, fromProc)
	}
	for _, d := range diag {
		if !slices.ContainsFunc(fromProc, func(p facts.Socket) bool {
			near := p.TimerMS-d.TimerMS < 1000 && d.TimerMS-p.TimerMS < 1000
			return near && p.Network == d.Network && p.State == d.State && p.Local == d.Local && p.Remote == d.Remote &&
				p.UID == d.UID && p.Inode == d.Inode && p.RecvQ == d.RecvQ
		}) {
			t.Errorf("/proc lacks %+v in %+v", d, fromProc)
		}
	}
	if s := byInode(t, fromProc, srv2); s.RecvQ != 5 {
		t.Errorf("bytes not read: %+v", s)
	}
}

func TestClientStaysInItsNamespaceAndCloses(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	fd := listener(t, "127.0.0.1:62893", 1)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	byInode(t, ports(t, c, port), fd)
	if list := ports(t, open(t), port); len(list) != 0 {
		t.Errorf("a new client in a new namespace sees %+v", list)
	}
	c.Close()
	if _, err := c.Port(port); err == nil {
		t.Error("a closed client answers")
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestUnprivilegedSeesTheSame(t *testing.T) {
	enterNamespace(t)
	fd := listener(t, "127.0.0.1:62893", 1)
	// Raw, so that only this thread changes; it ends with the test.
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
		t.Fatal(e)
	}
	if s := byInode(t, ports(t, open(t), port), fd); s.State != facts.Listen || s.Inode == 0 {
		t.Errorf("got %+v", s)
	}
}

func BenchmarkPort(b *testing.B) {
	enterNamespace(b)
	c := open(b)
	for i := range 100 {
		listener(b, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(20000+i)).String(), 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		if list, err := c.Port(20050); err != nil || len(list) != 1 {
			b.Fatal(list, err)
		}
	}
}

func BenchmarkPair(b *testing.B) {
	enterNamespace(b)
	c := open(b)
	listener(b, "127.0.0.1:62893", 1)
	client(b, "127.0.0.1:40001", "127.0.0.1:62893")
	server, from := netip.MustParseAddrPort("127.0.0.1:62893"), netip.MustParseAddrPort("127.0.0.1:40001")
	for b.Loop() {
		if s, err := c.Pair(server, from); err != nil || s == nil {
			b.Fatal(s, err)
		}
	}
}

// Range is what a client's ports are counted by: the two ends belong to it, the
// far end's port does not matter, and those in TIME_WAIT count.
func TestRange(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	l := listener(t, "127.0.0.1:40005", 5)
	low := client(t, "127.0.0.1:40000", "127.0.0.1:40005")
	high := client(t, "127.0.0.1:40003", "127.0.0.1:40005")
	client(t, "127.0.0.1:40004", "127.0.0.1:40005")
	listener(t, "[::1]:40001", 5)
	got, err := c.Range(40000, 40003)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || byInode(t, got, low).State != facts.Established || byInode(t, got, high).State != facts.Established {
		t.Errorf("got %+v", got)
	}
	_ = l
}
