package host

import (
	"cmp"
	"context"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// How much of the users of temporary ports is told: the first few of them, by
// the sockets whose owners are looked for.
const (
	portUsers   = 5
	portSockets = 4096
)

// linuxPortUse counts the sockets on temporary ports, and by whom they are held.
func linuxPortUse(ctx context.Context, l *facts.Limits) (*facts.PortUse, error) {
	c, err := sockdiag.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ss, err := c.Range(uint16(l.EphemeralLow), uint16(l.EphemeralHigh))
	if err != nil {
		return nil, err
	}
	use := &facts.PortUse{Sockets: len(ss)}
	ports := map[uint16]bool{}
	var held []facts.Socket
	for _, s := range ss {
		ports[s.Local.Port()] = true
		switch {
		case s.State == facts.TimeWait:
			use.TimeWait++
		case s.Inode != 0:
			held = append(held, s)
		}
	}
	use.Ports = len(ports)
	// Every so many of a crowd: whoever has most of them has most of these.
	step := (len(held) + portSockets - 1) / portSockets
	var some []facts.Socket
	for i := 0; i < len(held); i += max(step, 1) {
		some = append(some, held[i])
	}
	owners, err := process.Owners(ctx, some)
	if err != nil {
		owners = nil // the uids are known all the same
	}
	users := map[facts.PortUser]int{}
	known := map[int]*facts.Process{}
	for _, s := range some {
		u := facts.PortUser{UID: s.UID}
		if ps := owners.Of(s); len(ps) > 0 {
			if known[ps[0].PID] == nil {
				known[ps[0].PID] = &ps[0]
			}
			u.Process = known[ps[0].PID]
		}
		users[u] += max(step, 1)
	}
	for u, n := range users {
		u.Sockets = min(n, len(held))
		use.Users = append(use.Users, u)
	}
	pid := func(u facts.PortUser) int {
		if u.Process == nil {
			return 0
		}
		return u.Process.PID
	}
	slices.SortFunc(use.Users, func(a, b facts.PortUser) int {
		return cmp.Or(cmp.Compare(b.Sockets, a.Sockets), cmp.Compare(a.UID, b.UID), cmp.Compare(pid(a), pid(b)))
	})
	use.Users = use.Users[:min(len(use.Users), portUsers)]
	return use, nil
}
