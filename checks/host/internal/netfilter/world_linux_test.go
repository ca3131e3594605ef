package netfilter_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/nft"
	"golang.org/x/sys/unix"
)

// world is the network namespace with its servers.
type world struct {
	t         *testing.T
	listeners map[netip.AddrPort]int // by family and port
	source    uint16
	only      int            // the version of IP of all connections; 0: both
	readings  []*nft.Reading // open, for their sets are read when they are asked
}

const serverUID = 1000

func newWorld(t *testing.T) *world {
	runtime.LockOSThread() // for the user of the file system, which is a thread's
	if out, err := command("", "ip", "link", "set", "lo", "up"); err != nil {
		t.Fatal(out)
	}
	w := &world{t: t, listeners: map[netip.AddrPort]int{}, source: 21000}
	// A request that is never completed is not answered again.
	for file, value := range map[string]string{
		"/proc/sys/net/ipv4/tcp_synack_retries": "0", "/proc/sys/net/core/somaxconn": "4096", "/proc/sys/net/ipv4/tcp_syncookies": "0",
		"/proc/sys/net/ipv4/tcp_max_syn_backlog": "65536",
	} {
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			t.Log(err)
		}
	}
	// Mark 3 leads nowhere. The rule for local addresses has to stand behind it.
	for _, version := range []string{"-4", "-6"} {
		for _, args := range []string{"rule add pref 10 lookup local", "rule del pref 0", "rule add pref 5 fwmark 3 unreachable"} {
			if out, err := command("", "ip", append([]string{version}, strings.Fields(args)...)...); err != nil {
				t.Fatalf("%s: %s", args, out)
			}
		}
	}
	for i, port := range served {
		for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			at := netip.AddrPortFrom(any, uint16(port))
			asUser(serverOf(i), func() { w.listeners[at] = listen(t, at) })
		}
	}
	return w
}

// serverOf is the user of a server: they differ.
func serverOf(i int) int { return i % 2 * serverUID }

func asUser(uid int, do func()) {
	unix.Setfsgid(uid)
	unix.Setfsuid(uid)
	defer func() { unix.Setfsuid(0); unix.Setfsgid(0) }()
	do()
}

func socket(t testing.TB, at netip.AddrPort) (int, unix.Sockaddr) {
	family := unix.AF_INET
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(at.Port()), Addr: [4]byte{}}
	if at.Addr().Is4() {
		sa.(*unix.SockaddrInet4).Addr = at.Addr().As4()
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if family == unix.AF_INET6 {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return fd, sa
}

func listen(t testing.TB, at netip.AddrPort) int {
	fd, sa := socket(t, at)
	if err := unix.Bind(fd, sa); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		t.Fatal(err)
	}
	return fd
}

// outcome is what became of one connection.
type outcome struct {
	reached  bool // a segment came to TCP
	answered bool // the client has the SYN-ACK
	refused  error
	port     uint16 // of the server that has it; 0: none
}

func (o outcome) String() string {
	return fmt.Sprintf("reached %v, answered %v, error %v, accepted by %d", o.reached, o.answered, o.refused, o.port)
}

// segments reads how many segments came to TCP: both families.
func segments(t testing.TB) int {
	b, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if f[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		n, err := strconv.Atoi(f[slices.Index(names, "InSegs")])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatal("no Tcp line")
	return 0
}

// connect makes one connection. What loopback does is done when connect returns;
// where something is missing, wait is for a machine that is busy.
func (w *world) connect(c netfilter.Connection, wait time.Duration) outcome {
	var o outcome
	before := segments(w.t)
	var fd int
	var to unix.Sockaddr
	asUser(int(c.Client.UID), func() { fd, to = socket(w.t, c.To) })
	defer closeHard(fd)
	_, from := c.From, unix.Sockaddr(&unix.SockaddrInet4{Port: int(c.From.Port()), Addr: [4]byte{127, 0, 0, 1}})
	if c.To.Addr().Is6() {
		from = &unix.SockaddrInet6{Port: int(c.From.Port()), Addr: c.From.Addr().As16()}
	}
	if err := unix.Bind(fd, from); err != nil {
		w.t.Fatalf("bind %v: %v", c.From, err)
	}
	err := unix.Connect(fd, to)
	for end := time.Now().Add(wait); ; {
		if err == nil || err == unix.EINPROGRESS {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			if n, _ := unix.Poll(p, 0); n > 0 {
				if e, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); e != 0 {
					o.refused = unix.Errno(e)
				} else if o.refused == nil {
					o.answered = true
				}
			}
		} else {
			o.refused = err
		}
		for at, l := range w.listeners {
			if at.Addr().Is6() != c.To.Addr().Is6() || o.port != 0 {
				continue
			}
			if s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC); err == nil {
				o.port = at.Port()
				defer closeHard(s)
			}
		}
		o.reached = segments(w.t) > before
		if !time.Now().Before(end) {
			return o
		}
		time.Sleep(time.Millisecond)
	}
}

// closeHard leaves no state behind: a reset, and no waiting.
func closeHard(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

// draw makes a connection out of random choices.
func (w *world) draw(g *rand.Rand) netfilter.Connection {
	w.source++
	if w.source > 65000 {
		w.source = 21000
	}
	i := g.IntN(len(served))
	from, to := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + g.IntN(4)/3)})
	if g.IntN(2) == 0 && w.only != 4 || w.only == 6 {
		from, to = netip.IPv6Loopback(), netip.IPv6Loopback()
	}
	uid, server := uint32(g.IntN(2)*serverUID), uint32(serverOf(i))
	return netfilter.Connection{
		From: netip.AddrPortFrom(from, w.source), To: netip.AddrPortFrom(to, uint16(served[i])),
		Route: func(_, _ netip.Addr, mark uint32) (string, string, bool) {
			if mark == 3 {
				return "ENETUNREACH", "", false
			}
			return "local", "lo", true
		},
		Client: netfilter.Owner{Known: true, UID: uid, GID: uid}, Server: netfilter.Owner{Known: true, UID: server, GID: server},
	}
}
