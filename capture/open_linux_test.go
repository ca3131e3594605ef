package capture

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace puts the rest of the test, with everything it starts, into a new
// network namespace with lo up. The thread is not unlocked, so it ends with the
// test and takes the namespace along.
func namespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	setLo(t, true)
}

func setLo(t testing.TB, up bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	if up {
		lo.SetUint16(unix.IFF_UP)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatalf("set lo: %v", err)
	}
}

// lo is always the first interface of a namespace (LOOPBACK_IFINDEX in
// include/net/flow.h).
const lo = 1

func start(t *testing.T, port uint16) *Capture {
	t.Helper()
	c, err := Open(lo, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// bound makes a TCP socket on a port that the kernel chooses.
func bound(t *testing.T, addr string) (fd int, at netip.AddrPort) {
	t.Helper()
	a := netip.MustParseAddr(addr)
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		t.Skip("the kernel has no IPv6")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(a, 0)))
	if a.Is6() && err == unix.EADDRNOTAVAIL {
		t.Skip("lo has no IPv6")
	}
	if err != nil {
		t.Fatalf("bind %s: %v", a, err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch local := local.(type) {
	case *unix.SockaddrInet4:
		at = netip.AddrPortFrom(a, uint16(local.Port))
	case *unix.SockaddrInet6:
		at = netip.AddrPortFrom(a, uint16(local.Port))
	}
	return fd, at
}

// listener is a socket that listens and never accepts: the kernel alone
// completes the handshake.
func listener(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	fd, at := bound(t, addr)
	if err := unix.Listen(fd, 64); err != nil {
		t.Fatal(err)
	}
	return at
}

// connect says how a connect from the socket ended; nil is connected,
// EINPROGRESS is no answer so far. Answers on lo are there at once.
func connect(t *testing.T, fd int, to netip.AddrPort) error {
	t.Helper()
	err := unix.Connect(fd, sockaddr(to))
	if err != unix.EINPROGRESS {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(fds, 50); err != nil || n == 0 {
		return unix.EINPROGRESS
	}
	v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		t.Fatal(err)
	}
	if v != 0 {
		return unix.Errno(v)
	}
	return nil
}

// expect takes frames until they tell what is wanted; PORT and OURS stand for
// the ports of server and client.
func expect(t *testing.T, c *Capture, server, client netip.AddrPort, want string) []Frame {
	t.Helper()
	var all []Frame
	var got string
	for deadline := time.Now().Add(3 * time.Second); ; runtime.Gosched() {
		frames, err := c.Frames()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, frames...)
		got = tell(Conversations(all, server.Port(), []uint16{client.Port()}))
		got = strings.NewReplacer(":"+strconv.Itoa(int(server.Port())), ":PORT", ":"+strconv.Itoa(int(client.Port())), ":OURS").Replace(got)
		if got == want || time.Now().After(deadline) {
			break
		}
	}
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if n, err := c.Dropped(); n != 0 || err != nil {
		t.Errorf("dropped %d frames, %v", n, err)
	}
	return all
}

// clock returns when the kernel gives packets their times, which it begins to do
// only a moment after the first socket has asked for it. That socket stays.
func clock(t *testing.T) {
	t.Helper()
	c := start(t, 9)
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		fd, _ := bound(t, "127.0.0.1")
		_ = connect(t, fd, netip.MustParseAddrPort("127.0.0.1:9"))
		sent := time.Now()
		frames, err := c.Frames()
		if err != nil {
			t.Fatal(err)
		}
		if len(frames) > 0 && frames[len(frames)-1].At.Before(sent) {
			return
		}
	}
	t.Fatal("packets get no time from the kernel")
}

// rules loads an nftables ruleset into the test's namespace.
func rules(t *testing.T, ruleset string) {
	t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("nft is not installed")
	}
	cmd := exec.Command(nft, "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s\n%s", err, out, ruleset)
	}
}

func TestOpenHealthy(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			namespace(t)
			server := listener(t, addr)
			fd, client := bound(t, addr)
			clock(t)
			c := start(t, server.Port())
			before := time.Now()
			if err := connect(t, fd, server); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(fd, make([]byte, 10_000)); err != nil {
				t.Fatal(err)
			}
			after := time.Now()
			frames := expect(t, c, server, client, "tcp "+hostPort(client, "OURS")+" "+hostPort(server, "PORT")+": >S/oi <S./oi >./oi >P./oi/xxxxxxxxx <./oi\n")

			if data := frames[6]; len(data.Data) != SnapLen || data.Length < 10_000+54 {
				t.Errorf("the data frame has %d bytes of %d", len(data.Data), data.Length)
			}
			packets := Conversations(frames, server.Port(), nil).Conversations[0].Packets
			if packets[3].Length != 10_000 {
				t.Errorf("payload of %d bytes, want 10000", packets[3].Length)
			}
			if !slices.IsSortedFunc(frames, func(a, b Frame) int { return a.At.Compare(b.At) }) {
				t.Error("times are not in order")
			}
			for _, f := range frames[:2] { // the SYN: before connect returned, not when it was read
				if f.At.Before(before) || f.At.After(after) {
					t.Errorf("SYN at %v, connect was from %v to %v", f.At, before, after)
				}
			}
		})
	}
}

func hostPort(a netip.AddrPort, port string) string {
	s := a.String()
	return s[:strings.LastIndex(s, ":")+1] + port
}

func TestOpenRefused(t *testing.T) {
	namespace(t)
	_, server := bound(t, "127.0.0.1") // holds the port, does not listen
	fd, client := bound(t, "127.0.0.1")
	c := start(t, server.Port())
	if err := connect(t, fd, server); err != unix.ECONNREFUSED {
		t.Fatal(err)
	}
	expect(t, c, server, client, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: >S/oi <R./oi\n")
}

// What a filter does to a connection, and what of it is seen on lo.
func TestOpenFiltered(t *testing.T) {
	tests := []struct {
		name, ruleset string
		connect       error
		want          string
	}{
		{"dropped on input", "table inet t { chain c { type filter hook input priority 0; tcp dport PORT drop; }; }",
			unix.EINPROGRESS, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: >S/oi\n"},
		{"dropped on netdev ingress", "table netdev t { chain c { type filter hook ingress device lo priority 0; tcp dport PORT drop; }; }",
			unix.EINPROGRESS, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: >S/oi\n"},
		{"dropped on output", "table inet t { chain c { type filter hook output priority 0; tcp dport PORT drop; }; }",
			unix.EINPROGRESS, ""},
		{"answer dropped on output", "table inet t { chain c { type filter hook output priority 0; tcp sport PORT drop; }; }",
			unix.EINPROGRESS, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: >S/oi\n"},
		{"answer dropped on input", "table inet t { chain c { type filter hook input priority 0; tcp sport PORT drop; }; }",
			unix.EINPROGRESS, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: >S/oi <S./oi\n"},
		{"rejected with icmp on input", "table inet t { chain c { type filter hook input priority 0; tcp dport PORT reject with icmpx admin-prohibited; }; }",
			unix.EHOSTUNREACH, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: >S/oi <3/13/oi\n"},
		{"rejected with icmp on output", "table inet t { chain c { type filter hook output priority 0; tcp dport PORT reject; }; }",
			unix.ECONNREFUSED, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: <3/3/oi\n"},
		{"rejected with reset on output", "table inet t { chain c { type filter hook output priority 0; tcp dport PORT reject with tcp reset; }; }",
			unix.ECONNREFUSED, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: <R./oi\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			namespace(t)
			server := listener(t, "127.0.0.1")
			fd, client := bound(t, "127.0.0.1")
			rules(t, strings.ReplaceAll(tt.ruleset, "PORT", strconv.Itoa(int(server.Port()))))
			c := start(t, server.Port())
			if err := connect(t, fd, server); err != tt.connect {
				t.Fatalf("connect: %v, want %v", err, tt.connect)
			}
			expect(t, c, server, client, tt.want)
		})
	}
}

func TestOpenRedirected(t *testing.T) {
	ruleset := "table ip t { chain c { type nat hook output priority -100; tcp dport PORT redirect to :9; }; }"
	for _, tt := range []struct {
		name string
		also bool
		want string
	}{
		{"only the port", false, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: <R./oi\n"},
		{"also our port", true, "tcp 127.0.0.1:OURS 127.0.0.1:9: >S/oi\ntcp 127.0.0.1:OURS 127.0.0.1:PORT: <R./oi\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			namespace(t)
			server := listener(t, "127.0.0.1")
			fd, client := bound(t, "127.0.0.1")
			rules(t, strings.ReplaceAll(ruleset, "PORT", strconv.Itoa(int(server.Port()))))
			c := start(t, server.Port())
			if tt.also {
				if err := c.Also(client.Port()); err != nil {
					t.Fatal(err)
				}
			}
			if err := connect(t, fd, server); err != unix.ECONNREFUSED {
				t.Fatal(err)
			}
			expect(t, c, server, client, tt.want)
		})
	}
}

// Nothing but the port and the ICMP errors reaches the capture, from its first
// moment on.
func TestOpenFiltersFromTheStart(t *testing.T) {
	namespace(t)
	server := listener(t, "127.0.0.1")
	c := start(t, 9)
	for range 20 {
		fd, _ := bound(t, "127.0.0.1")
		if err := connect(t, fd, server); err != nil {
			t.Fatal(err)
		}
	}
	if frames, err := c.Frames(); err != nil || len(frames) > 0 {
		t.Errorf("%d frames of another port, %v", len(frames), err)
	}
}

func TestOpenLoDown(t *testing.T) {
	namespace(t)
	setLo(t, false)
	c := start(t, 9)
	if frames, err := c.Frames(); err != nil || len(frames) > 0 {
		t.Errorf("lo is down: got %d frames, %v", len(frames), err)
	}
	setLo(t, true)
	fd, client := bound(t, "127.0.0.1")
	server := netip.MustParseAddrPort("127.0.0.1:9")
	if err := connect(t, fd, server); err != unix.ECONNREFUSED {
		t.Fatal(err)
	}
	expect(t, c, server, client, "tcp 127.0.0.1:OURS 127.0.0.1:PORT: >S/oi <R./oi\n")
}

// The frames that did not fit are counted, so that nobody takes a missing copy
// for a lost packet.
func TestOpenCountsOverflow(t *testing.T) {
	namespace(t)
	c := start(t, 9)
	to := sockaddr(netip.MustParseAddrPort("127.0.0.1:9"))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const sent = 20_000
	for range sent {
		_ = unix.Sendto(fd, []byte("x"), 0, to) // the ICMP error of an earlier one may come back here
	}
	frames, err := c.Frames()
	if err != nil || len(frames) == 0 || len(frames) > MaxFrames {
		t.Fatalf("got %d frames, %v", len(frames), err)
	}
	n, err := c.Dropped()
	if err != nil || n == 0 {
		t.Errorf("kept %d frames, dropped %d, %v", len(frames), n, err)
	}
}

func TestOpenErrors(t *testing.T) {
	namespace(t)
	if c, err := Open(4711, 9); !errors.Is(err, unix.ENODEV) {
		t.Errorf("no such interface: %v, %v", c, err)
	}
	// Without CAP_NET_RAW: capabilities belong to the thread, and this one ends with the test.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	if c, err := Open(lo, 9); !errors.Is(err, os.ErrPermission) {
		t.Errorf("no capabilities: %v, %v", c, err)
	}
}

// The figures in the documentation of Open and Close.
func BenchmarkOpen(b *testing.B) {
	namespace(b)
	for b.Loop() {
		c, err := Open(lo, 9)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		c.Close()
		b.StartTimer()
	}
}

func BenchmarkClose(b *testing.B) {
	namespace(b)
	for b.Loop() {
		b.StopTimer()
		c, err := Open(lo, 9)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		c.Close()
	}
}
