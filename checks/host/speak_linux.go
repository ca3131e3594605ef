package host

import (
	"context"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/speak"
)

// ask puts a question over a connection that is made the way the client's are.
func ask(ctx context.Context, to netip.AddrPort, as client, q inquiry) facts.Answer {
	a := facts.Answer{Addr: to.Addr().WithZone(""), As: as.UID, AsPID: as.PID, Question: q.Question, TLS: q.tls, End: facts.NotAsked}
	if ctx.Err() != nil {
		a.Errno = reason(ctx.Err())
		return a
	}
	p := newProbe(to, as)
	defer p.Close()
	if q.network == "udp" {
		p.kind = unix.SOCK_DGRAM
	}
	if err := asClient(as.Identity, func() { p.open(to) }); err != nil {
		a.Errno = errnoName(err)
		return a
	}
	p.wait(q.patience)
	if !p.fact.Outcome.Works() {
		a.Errno = p.fact.Errno
		return a
	}
	// The copy of the descriptor is Go's, with deadlines; the probe's own looks at
	// the server's side.
	fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		a.Errno = errnoName(err)
		return a
	}
	file := os.NewFile(uintptr(fd), "connection")
	c, err := net.FileConn(file)
	file.Close()
	if err != nil {
		a.Errno = err.Error()
		return a
	}
	defer c.Close()
	a = speak.Put(ctx, c, q.question())
	a.From = p.fact.From
	if q.network != "udp" {
		if n, err := unix.IoctlGetInt(p.fd, unix.SIOCOUTQ); err == nil { // tcp(7)
			a.Unacked = n
		}
		p.Accepted()
		a.Server = p.fact.Server
		p.room(&a)
	}
	return a
}

// room looks why something is not acknowledged: it may not have been sent for want of
// room, or the receiver may have thrown it away.
func (p *probe) room(a *facts.Answer) {
	if p.diag == nil || a.Server == nil || a.Unacked == 0 && a.Server.Unacked == 0 {
		return
	}
	server := *a.Server
	unsent, room := p.diag.Room(p.fact.From, p.to)
	a.Unsent, a.Room = min(int(unsent), a.Unacked), room
	unsent, server.Room = p.diag.Room(server.Local, p.fact.From)
	server.Unsent = min(unsent, server.Unacked)
	a.Server = &server
}
