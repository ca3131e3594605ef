package host

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// unserved listens on a port of 127.0.0.1 and accepts nothing; full: until its queue
// takes no more.
func unserved(t testing.TB, full bool) netip.AddrPort {
	t.Helper()
	open := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	fd := open()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 3); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	to := addrPort(sa)
	for range 4 {
		if full {
			if err := unix.Connect(open(), sockaddr(to)); err != nil && err != unix.EINPROGRESS {
				t.Fatal(err)
			}
		}
	}
	return to
}

func lookTo(to netip.AddrPort) *look {
	return &look{sources: here, f: &facts.Facts{Time: time.Now(), Absent: map[facts.Group]facts.Absence{}, Host: facts.Host{As: []facts.Identity{UID(uint32(os.Geteuid()))}},
		Target: facts.Target{Network: "tcp", Host: to.Addr().String(), Literal: true, Port: to.Port(), Intent: facts.Connect, Addresses: []facts.Address{{Addr: to.Addr(), Expected: true}}}}}
}

// The two looks find a program that does nothing, who waits for it, and that nobody left.
func TestTwoLooksAtAnIdleListener(t *testing.T) {
	to := unserved(t, true)
	l := lookTo(to)
	l.f.Sockets, _ = linuxSockets(to.Port())
	l.owners(t.Context())
	w, err := lookWork(t.Context(), l.f)
	if err != nil {
		t.Fatal(err)
	}
	if w.Of(os.Getpid()) == nil || w.ApartMS < 100 || w.Left != 0 || len(w.Queues) != 1 || w.Queues[0].Queue.Length != 4 {
		t.Errorf("%+v", w)
	}
	if s := l.listening(to.Addr()); len(s) != 1 || !w.Stays(s[0]) {
		t.Errorf("%+v does not stay", w.Queues)
	}
}

// A listener from which somebody accepts meanwhile is another matter.
func TestTwoLooksSeeAnAccept(t *testing.T) {
	to := unserved(t, false)
	l := lookTo(to)
	l.f.Sockets, _ = linuxSockets(to.Port())
	q := &queueWatch{port: to.Port(), f: l.f}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		t.Fatal(err)
	}
	q.look()
	if q.look() {
		t.Error("it moves, and nobody has accepted")
	}
	server := listenerOf(t, to)
	got, _, err := unix.Accept(server)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(got)
	if !q.look() || q.left != 1 {
		t.Errorf("it does not move: %+v", q)
	}
}

// listenerOf finds the descriptor of this process that listens there.
func listenerOf(t *testing.T, on netip.AddrPort) int {
	t.Helper()
	for fd := 3; fd < 1000; fd++ {
		sa, err := unix.Getsockname(fd)
		if err != nil || addrPort(sa) != on {
			continue
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens == 1 {
			return fd
		}
	}
	t.Fatal("nothing listens")
	return -1
}

// BenchmarkAcceptQueue measures how long the proof of a full accept queue takes: the
// sockets of the port, one connect, and one SYN between two looks at the counters.
// Aimed at are 50 ms.
func BenchmarkAcceptQueue(b *testing.B) {
	to := unserved(b, true)
	var took []float64
	for b.Loop() {
		begin := time.Now()
		l := lookTo(to)
		var err error
		if l.f.Sockets, err = linuxSockets(to.Port()); err != nil {
			b.Fatal(err)
		}
		open := l.dials(context.Background())
		l.repeat(open[0].Fact(), nil)
		took = append(took, millis(time.Since(begin)))
		s := l.listening(to.Addr())
		if len(s) != 1 || !s[0].Queue.Full() || len(l.f.Ledger) != 1 || l.f.Ledger[0].Delta["ListenOverflows"] == 0 {
			b.Fatalf("no proof: %+v, %+v", s, l.f.Ledger)
		}
		for _, c := range open {
			c.Close()
		}
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "ms-median")
	b.ReportMetric(took[len(took)*95/100], "ms-p95")
}
