package watch

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// Where a client cannot be traced, the kernel still tells of each TCP socket that
// ends, whoever asks: where it was connected to, and how many bytes it carried. It
// does not tell whose it was (the uid is that of its file, which is gone by then), nor the
// error; and of a socket that was refused while its program waited it has forgotten
// the port (tcp_disconnect).

// The groups SKNLGRP_INET_TCP_DESTROY and SKNLGRP_INET6_TCP_DESTROY of
// linux/sock_diag.h, and INET_DIAG_INFO of linux/inet_diag.h.
var destroyGroups = []int{1, 3}

const diagInfo = 2

// room is for a few hundred sockets that end at once.
const room = 1 << 20

// listen begins to hear of sockets that end. The function it returns tells of
// them.
func (p *Program) listen() (end func(), err error) {
	var conns []*netlink.Conn
	for _, group := range destroyGroups {
		c, err := netlink.Open(unix.NETLINK_SOCK_DIAG)
		if err == nil {
			if err = c.Join(group, room); err != nil {
				c.Close()
			}
		}
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, err
		}
		conns = append(conns, c)
	}
	p.record.note("What it met is told from the TCP sockets that ended here meanwhile: another program may have had some of them, and one that blocked until it was refused is not among them.")
	served := listening()
	stop, stopped := make(chan struct{}), make(chan struct{})
	heard := func(wait time.Duration) {
		for _, c := range conns {
			_, err := c.Heard(wait, func(m netlink.Message) { p.ended(m.Body, served) })
			if errors.Is(err, netlink.ErrOverrun) {
				p.record.note("Some of its connects could not be seen: there were too many.")
			}
		}
	}
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				heard(20 * time.Millisecond)
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		heard(20 * time.Millisecond) // the kernel tells from a work queue: a moment later
		for _, c := range conns {
			c.Close()
		}
	}, nil
}

// listening are the ports on which servers listen: a socket of theirs is not the
// client's.
func listening() map[uint16]bool {
	ports := map[uint16]bool{}
	c, err := sockdiag.Open()
	if err != nil {
		return ports
	}
	defer c.Close()
	all, _ := c.Listeners()
	for _, s := range all {
		ports[s.Local.Port()] = true
	}
	return ports
}

// ended takes one for the client's, unless it is a server's.
func (p *Program) ended(msg []byte, served map[uint16]bool) {
	d, ok := parseDestroyed(msg)
	if !ok || served[d.local.Port()] {
		return
	}
	c := facts.Attempt{To: d.remote, From: d.local, Network: "tcp", PID: p.PID, Program: p.name, Outcome: facts.Failed, AfterMS: millis(time.Since(p.record.start))}
	for typ, value := range netlink.Attributes(msg[diagLen:]) {
		if typ != diagInfo {
			continue
		}
		var i unix.TCPInfo
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&i)), unsafe.Sizeof(i)), value)
		c.Sent, c.Received = i.Bytes_sent, i.Bytes_received
		if i.Bytes_acked > 0 || i.Bytes_received > 0 { // of a refused one not even the SYN was
			c.Outcome = facts.Connected
		}
	}
	p.record.add(c)
}
