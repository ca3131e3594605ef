package host

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// handshake is how long a connection over lo may take: the kernel completes it
// within the system call, unless lo is shaped or steers packets to another CPU.
// What comes later still is noticed: the connection stays open.
const handshake = 10 * time.Millisecond

// probe is one non-blocking connect. It sends no byte.
type probe struct {
	fd    int
	as    client
	begin time.Time
	fact  facts.Dial
	bound func(port uint16) // called with the source port before the SYN leaves
	to    netip.AddrPort
	kind  int              // of socket; 0: SOCK_STREAM
	over  bool             // how the connect ended is known: SO_ERROR says it once
	diag  *sockdiag.Client // opened at the first look at the server's side
}

// dial connects and waits for the handshake, no longer.
func dial(to netip.AddrPort, as client) connection {
	p := newProbe(to, as)
	if err := asClient(as.Identity, func() { p.open(to) }); err != nil {
		p.fact.Outcome, p.fact.Errno = facts.Skipped, errnoName(err)
		return p
	}
	if p.fd >= 0 && p.fact.Outcome == facts.Timeout {
		p.wait(handshake)
	}
	return p
}

func newProbe(to netip.AddrPort, as client) *probe {
	return &probe{fd: -1, as: as, fact: facts.Dial{Addr: to.Addr().WithZone(""), As: as.UID, AsPID: as.PID}}
}

// open sends the SYN. The socket is bound to a port first, so that a capture can
// know it; on the wildcard address, so that the kernel still chooses the source
// as it does for every client.
func (p *probe) open(to netip.AddrPort) {
	family := unix.AF_INET
	var any unix.Sockaddr = &unix.SockaddrInet4{}
	if to.Addr().Is6() {
		family, any = unix.AF_INET6, &unix.SockaddrInet6{}
	}
	p.begin, p.to = time.Now(), to
	for range 4 {
		fd, err := socketOf(p.as, family, cmp.Or(p.kind, unix.SOCK_STREAM)|unix.SOCK_NONBLOCK)
		if err != nil {
			p.done(err)
			return
		}
		p.fd = fd
		// An ICMP error names the filter that sent it.
		if family == unix.AF_INET {
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		} else {
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		}
		if unix.Bind(fd, any) != nil {
			break // no port is left; connect will say so
		}
		// The target's own port as source would connect the socket to itself.
		if from := p.local(); from.Port() != to.Port() {
			break
		}
		unix.Close(fd)
		p.fd = -1
	}
	if p.fd < 0 {
		p.fact.Outcome, p.fact.Errno = facts.Skipped, "no source port but the target's own"
		return
	}
	if p.bound != nil {
		p.bound(p.local().Port())
	}
	err := unix.Connect(p.fd, sockaddr(to))
	p.fact.From = p.local()
	if errors.Is(err, unix.EINPROGRESS) {
		p.fact.Outcome = facts.Timeout
		p.poll(0)
		return
	}
	p.done(err)
}

// wait lets the handshake finish.
func (p *probe) wait(limit time.Duration) {
	if p.fact.Outcome == facts.Timeout {
		p.poll(limit)
	}
}

func (p *probe) poll(limit time.Duration) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
	end := time.Now().Add(limit)
	for {
		n, err := unix.Poll(fds, int(max(0, time.Until(end)).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 || err != nil {
			return
		}
		break
	}
	e, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && e != 0 {
		err = unix.Errno(e)
	}
	p.done(err)
}

// done writes down how the connect ended.
func (p *probe) done(err error) {
	d := &p.fact
	p.over = true
	d.ElapsedMS = millis(time.Since(p.begin))
	d.Errno = errnoName(err)
	if p.fd >= 0 {
		d.ICMP = icmpError(p.fd)
	}
	switch {
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		// The handshake came to pass: a reset before that is ECONNREFUSED.
		d.Outcome, d.Errno, d.Closed = facts.Connected, "", "reset"
	case err == nil && p.local() == p.remote():
		// No port was free but the target's own: the socket has connected to
		// itself (RFC 9293 section 3.5).
		d.Outcome, d.Errno = facts.Unreachable, "EADDRNOTAVAIL"
	case err == nil:
		d.Outcome = facts.Connected
		d.From = p.local()
	case errors.Is(err, unix.ECONNREFUSED), d.ICMP != "":
		d.Outcome = facts.Refused
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		d.Outcome = facts.Denied
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EINVAL):
		d.Outcome = facts.Unreachable
	case errors.Is(err, unix.ETIMEDOUT):
		d.Outcome = facts.Timeout
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, errNoAnswer):
		d.Outcome = facts.Skipped // loopdoctor could not even try
	default:
		d.Outcome = facts.Failed
	}
}

// Fact is the dial as it stands: a connection that came up after the wait
// withdraws what was thought of its silence.
func (p *probe) Fact() facts.Dial {
	if p.fact.Outcome == facts.Timeout && p.fd >= 0 && !p.over {
		p.poll(0)
		p.fact.Late = p.fact.Outcome.Works()
		if p.fact.Outcome == facts.Timeout {
			p.fact.ElapsedMS = millis(time.Since(p.begin))
		}
	}
	return p.fact
}

// Accepted looks at the server's socket of this connection: its inode is 0 as
// long as the application has not taken it from the queue.
func (p *probe) Accepted() bool {
	d := &p.fact
	if p.diag == nil {
		c, err := sockdiag.Open()
		if err != nil {
			return true // without sock_diag nobody can tell; silence is not a fault
		}
		p.diag = c
	}
	c := p.diag
	s, err := c.Pair(p.to, d.From)
	if err == nil && s == nil {
		// Something rewrote the connection: only its source port is still ours.
		var peers []facts.Socket
		if peers, err = c.Peer(d.From.Port(), d.From.Addr()); err == nil && len(peers) == 1 {
			s = &peers[0]
		}
	}
	if err != nil || s == nil {
		p.Early(0) // a reset takes the server's side away, too
		d.Server, d.NoServer = nil, err == nil && d.Closed == ""
		return true // it may be in another network namespace
	}
	d.Server = &facts.ServerSide{Local: s.Local, State: string(s.State), Inode: s.Inode, Accepted: s.Inode != 0, Unread: s.RecvQ, Unacked: s.SendQ, WaitedMS: millis(time.Since(p.begin))}
	d.NoServer = false
	if d.Outcome == facts.Deferred && s.State != facts.SynRecv { // the handshake's last packet was only late
		d.Outcome = facts.Connected
	}
	if s.State == facts.SynRecv {
		// TCP_DEFER_ACCEPT (tcp(7)): the server's side stays half-open until the
		// first byte. A full accept queue looks the same from here: the
		// listener tells.
		if l := p.listener(c, s.Local); l == nil || !l.Queue.Full() {
			d.Outcome = facts.Deferred
			return true
		}
	}
	// An application that has closed its socket again has accepted it before.
	closed := s.State != facts.Established && s.State != facts.SynRecv
	d.Server.Accepted = d.Server.Accepted || closed
	return d.Server.Accepted
}

// Forget drops the server's side.
func (p *probe) Forget() { p.fact.Server = nil }

func (p *probe) listener(c *sockdiag.Client, at netip.AddrPort) *facts.Socket {
	ss, err := c.Port(at.Port())
	if err != nil {
		return nil
	}
	for i := range ss {
		if ss[i].State == facts.Listen && ss[i].Serves(at.Addr()) {
			return &ss[i]
		}
	}
	return nil
}

// Early waits for an end of file, or a reset, that comes before any byte.
func (p *probe) Early(wait time.Duration) {
	if p.fact.Closed != "" {
		return
	}
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	if n, err := unix.Poll(fds, int(wait.Milliseconds())); n == 0 || err != nil {
		return
	}
	b := make([]byte, 1)
	n, _, err := unix.Recvfrom(p.fd, b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.ECONNRESET):
		p.fact.Closed = "reset"
	case err == nil && n == 0:
		p.fact.Closed = "end of file"
	}
}

// Close ends an accepted connection as any client would, since a reset makes
// servers log an error; the TIME_WAIT is then on our own temporary port. So it is where
// the server is in another network namespace, and may have accepted it. What
// nobody accepted is reset, so that nothing of it stays.
func (p *probe) Close() {
	if p.diag != nil {
		p.diag.Close()
		p.diag = nil
	}
	if p.fd < 0 {
		return
	}
	// A server that has closed first is left with the TIME_WAIT, on the port
	// that it will want again: a reset takes it away.
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLRDHUP}}
	ended, _ := unix.Poll(fds, 0)
	if s := p.fact.Server; s == nil && !p.fact.NoServer || s != nil && !s.Accepted || ended > 0 {
		unix.SetsockoptLinger(p.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(p.fd)
	p.fd = -1
}

func (p *probe) local() netip.AddrPort {
	sa, err := unix.Getsockname(p.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

func (p *probe) remote() netip.AddrPort {
	sa, err := unix.Getpeername(p.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

// icmpError reads type and code of the ICMP error that ended a connect from
// the socket's error queue (ip(7), IP_RECVERR; struct sock_extended_err of
// linux/errqueue.h); empty if there was none.
func icmpError(fd int) string {
	oob := make([]byte, 256)
	_, n, _, _, err := unix.Recvmsg(fd, nil, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return ""
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return ""
	}
	for _, m := range msgs {
		if len(m.Data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			continue
		}
		e := (*unix.SockExtendedErr)(unsafe.Pointer(&m.Data[0]))
		if e.Origin == unix.SO_EE_ORIGIN_ICMP || e.Origin == unix.SO_EE_ORIGIN_ICMP6 {
			return icmpText(e.Type, e.Code)
		}
	}
	return ""
}

// bind tries to take the port and gives it back. It never listens, so no client
// can notice.
func bind(network string, to netip.AddrPort, as client, reuse bool) (facts.Bind, error) {
	b := facts.Bind{Addr: to.Addr().WithZone(""), As: as.UID, AsPID: as.PID, ReuseAddr: reuse}
	var failed error
	err := asClient(as.Identity, func() {
		var options []int
		if reuse {
			options = []int{unix.SO_REUSEADDR}
		}
		var err error
		if b.Errno, err = try(as, network, to, options...); err != nil {
			failed = fmt.Errorf("open a socket: %w", err)
		}
	})
	if err != nil {
		failed = fmt.Errorf("act as %s: %w", as.Name(), err)
	}
	return b, failed
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	if zone := ap.Addr().Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(i.Index)
		} else if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			sa.ZoneId = uint32(n)
		}
	}
	return sa
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch s := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), uint16(s.Port))
	}
	return netip.AddrPort{}
}

// errnoName is "ECONNREFUSED" for that errno, empty for none.
func errnoName(err error) string {
	var e unix.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		if n := unix.ErrnoName(e); n != "" {
			return n
		}
	}
	return err.Error()
}
