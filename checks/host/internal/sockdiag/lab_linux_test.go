package sockdiag

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"golang.org/x/sys/unix"
)

// enterNamespace moves the test into a network namespace of its own with lo
// up. The thread is never unlocked, so that it and the namespace end with the test.
func enterNamespace(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	ip(t, "link", "set", "lo", "up")
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs the ip program")
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

func open(t testing.TB) *Client {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// option is a socket option to set before bind.
type option func(fd int) error

func v6only(on int) option {
	return func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, on) }
}

func device(name string) option {
	return func(fd int) error { return unix.BindToDevice(fd, name) }
}

func reuse(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func bound(t testing.TB, typ int, at string, opts ...option) int {
	t.Helper()
	a := netip.MustParseAddrPort(at)
	family := unix.AF_INET
	if !a.Addr().Is4() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	for _, o := range opts {
		if err := o(fd); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Bind(fd, sockaddr(a)); err != nil {
		t.Fatalf("bind %s: %v", a, err)
	}
	return fd
}

func listener(t testing.TB, at string, backlog int, opts ...option) int {
	t.Helper()
	fd := bound(t, unix.SOCK_STREAM, at, opts...)
	if err := unix.Listen(fd, backlog); err != nil {
		t.Fatal(err)
	}
	return fd
}

// client connects from one address to another.
func client(t testing.TB, from, to string) int {
	t.Helper()
	fd := bound(t, unix.SOCK_STREAM, from, reuse)
	if err := unix.Connect(fd, sockaddr(netip.MustParseAddrPort(to))); err != nil {
		t.Fatalf("connect %s: %v", to, err)
	}
	return fd
}

func accept(t testing.TB, fd int) int {
	t.Helper()
	s, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s) })
	return s
}

func inode(t testing.TB, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func ports(t testing.TB, c *Client, port uint16) []facts.Socket {
	t.Helper()
	list, err := c.Port(port)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// byInode finds the one entry of the descriptor.
func byInode(t testing.TB, list []facts.Socket, fd int) facts.Socket {
	t.Helper()
	ino := inode(t, fd)
	var found []facts.Socket
	for _, s := range list {
		if s.Inode == ino {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("socket %d is there %d times in %+v", ino, len(found), list)
	}
	return found[0]
}
