//go:build !linux

package host

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// netProbe is one connect through package net, for systems whose server side
// loopdoctor cannot see yet.
type netProbe struct {
	conn net.Conn
	fact facts.Dial
}

// netDial connects. The user cannot be chosen here: it is always our own.
func netDial(to netip.AddrPort, as client) connection {
	p := &netProbe{fact: facts.Dial{Addr: to.Addr().WithZone(""), As: as.UID, AsPID: as.PID}}
	if own := os.Getuid(); own >= 0 && uint32(own) != as.UID {
		p.fact.Outcome, p.fact.Errno = facts.Skipped, "another user cannot be taken here"
		return p
	}
	begin := time.Now()
	conn, err := net.DialTimeout("tcp", to.String(), time.Second)
	p.fact.ElapsedMS = millis(time.Since(begin))
	var errno syscall.Errno
	var late net.Error
	switch {
	case err == nil:
		p.conn, p.fact.Outcome = conn, facts.Connected
	case errors.As(err, &errno):
		p.fact.Errno = errno.Error()
		p.fact.Outcome = facts.Failed
		for _, e := range errnos {
			if e.errno == errno {
				p.fact.Errno, p.fact.Outcome = e.name, e.outcome
			}
		}
	case errors.As(err, &late) && late.Timeout():
		p.fact.Outcome = facts.Timeout
	default:
		p.fact.Outcome, p.fact.Errno = facts.Failed, err.Error()
	}
	return p
}

func (p *netProbe) Fact() facts.Dial    { return p.fact }
func (p *netProbe) Accepted() bool      { return true } // nobody can tell here; silence is not a fault
func (p *netProbe) Forget()             {}
func (p *netProbe) Early(time.Duration) {}

func (p *netProbe) Close() {
	if p.conn != nil {
		p.conn.Close()
	}
}

// errnoRow is one row of the table of socket errors that each system has.
type errnoRow struct {
	errno   syscall.Errno
	name    string
	outcome facts.Outcome
}
