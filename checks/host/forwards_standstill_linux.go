package host

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// maxWaiting is how many connections are kept of those that wait at a far end.
const maxWaiting = 8

// standstill looks what keeps the far ends from answering: what waits at their
// listeners, and what the programs do that have these.
func (w *ways) standstill(ctx context.Context, all *facts.Forwards) {
	at := map[uint16]*facts.Sockets{}
	var pids []int
	halted := true
	for i := range all.Found {
		for j := range all.Found[i].Far {
			e := &all.Found[i].Far[j]
			port := e.Addr.Port()
			if !e.Listens || port == 0 || all.Found[i].UDP {
				continue
			}
			if at[port] == nil && len(at) < 8 {
				at[port], _ = linuxSockets(port)
			}
			if at[port] == nil {
				continue
			}
			e.Sockets = waitingAt(at[port].Sockets, e.Addr)
			for _, s := range e.Sockets {
				for _, p := range w.owners.Of(s) {
					if s.State == facts.Listen && !slices.Contains(pids, p.PID) {
						pids = append(pids, p.PID)
						halted = halted && p.Halted() != ""
					}
				}
			}
		}
	}
	if len(pids) == 0 {
		return
	}
	all.Owners = w.owners
	if halted {
		g := process.Glance(pids)
		all.Work = &g
		return
	}
	watch := process.NewWatch(pids)
	for {
		select {
		case <-time.After(apart):
		case <-ctx.Done():
		}
		work, err := watch.Since()
		if err == nil {
			all.Work = &work
		}
		if err != nil || !hardlyRan(work) || ctx.Err() != nil {
			return
		}
	}
}

// waitingAt picks the listeners that serve an address, and the connections to it that
// its program has not accepted or not read.
func waitingAt(all []facts.Socket, at netip.AddrPort) (picked []facts.Socket) {
	n := 0
	for _, s := range all {
		switch {
		case s.Network != "tcp" || s.Local.Port() != at.Port():
		case s.State == facts.Listen && s.Serves(at.Addr()):
			picked = append(picked, s)
		case s.State != facts.Listen && s.Local.Addr().Unmap() == at.Addr() && s.RecvQ > 0 && n < maxWaiting:
			picked, n = append(picked, s), n+1
		}
	}
	return picked
}

// unanswered counts the connections to far ends elsewhere, such as in a container, that are
// still without an answer.
func unanswered(all *facts.Forwards) {
	for i := range all.Found {
		x := &all.Found[i]
		to, err := netip.ParseAddrPort(x.To)
		if err != nil || x.UDP || x.Through != "" || len(x.Far) > 0 {
			continue
		}
		sockets, err := linuxSockets(to.Port())
		if err != nil {
			return
		}
		for _, s := range sockets.Sockets {
			if s.Network == "tcp" && s.State == facts.SynSent && netip.AddrPortFrom(s.Remote.Addr().Unmap(), s.Remote.Port()) == to {
				x.Dials++
			}
		}
	}
}
