package report

import (
	"slices"

	"github.com/loopdoctor/loopdoctor/checks"
)

// This file draws the way of a server to its port.

// bindStations is what bind() asks, in the order in which the kernel does
// (inet_bind: the address, the privilege, the port).
func bindStations() []station {
	return []station{
		{Key: "server", Name: "Server", Does: "Asks for the port."},
		{Key: "address", Name: "Address", Does: "An interface of this machine has it.", stages: []checks.Stage{checks.StageRoute}},
		{Key: "permission", Name: "Permission", Does: "This user may take the port."},
		{Key: "port", Name: "Port", Does: "Nobody else has it.", stages: []checks.Stage{checks.StageBind, checks.StageListen}},
	}
}

// bindLanes has one for each address and client. Servers set SO_REUSEADDR: that
// attempt decides, as it does for the verdict.
func (p *path) bindLanes(t *Target) {
	type who struct{ address, client string }
	var order []who
	with := map[who]Bind{}
	plain := map[who]string{}
	for _, b := range t.Binds {
		w := who{b.Address, b.Client}
		if _, ok := with[w]; !ok {
			order = append(order, w)
		}
		if _, ok := with[w]; !ok || b.ReuseAddr {
			with[w] = b
		}
		if !b.ReuseAddr {
			plain[w] = b.Errno
		}
	}
	several := slices.ContainsFunc(order, func(w who) bool { return w.client != order[0].client })
	for _, w := range order {
		b := with[w]
		l := lane{Name: endpoint(b.Address, t.Port), Outcome: "can be taken", Broken: -1}
		if several {
			l.Name += " as " + w.client
		}
		marks := slices.Repeat([]mark{markPassed}, len(p.Stations))
		if b.Errno != "" {
			l.Outcome, l.Broken = "cannot be taken ("+b.Errno+")", bindStation(b.Errno)
			marks[l.Broken] = markBroken
			if bindStations()[l.Broken].Key == "permission" && !t.beyondAddress(&b) {
				marks[l.Broken-1] = markUnknown
			}
			for i := l.Broken + 1; i < len(marks); i++ {
				marks[i] = markUnreached
			}
		} else if plain[w] != "" && t.Network != "udp" {
			l.Outcome += ", with SO_REUSEADDR only"
			marks[len(marks)-1] = markRemarked
		}
		p.add(l, marks)
	}
	if len(order) == 0 {
		p.add(lane{Name: t.Target, Outcome: "not tried", Broken: -1}, slices.Repeat([]mark{markUntried}, len(p.Stations)))
	}
}

// bindStation is the station of bindStations that gives the error (ip(7), bind(2)).
func bindStation(errno string) int {
	switch errno {
	case "EADDRNOTAVAIL", "EAFNOSUPPORT":
		return 1
	case "EACCES", "EPERM":
		return 2
	}
	return 3
}

// beyondAddress tells whether a bind that was forbidden is known to have been so for the
// port, which the kernel asks about after the address. Programs of seccomp, of a security
// module and of the control group forbid it before that, mostly with EPERM.
func (t *Target) beyondAddress(b *Bind) bool {
	return b.Errno == "EACCES" && slices.ContainsFunc(t.Causes, func(c Cause) bool {
		return c.Name == "privileged-port" && c.Certainty == checks.Proven.String() && slices.Contains(c.Affects, b.Address)
	})
}

// bindFindingAt tells whether what is said of a bind belongs to a station: to those where
// the attempts at its addresses broke, or to that of its stage where none did.
func (t *Target) bindFindingAt(all []station, key, stage string, affects []string) bool {
	broke := false
	for _, b := range t.Binds {
		if b.Errno == "" || !b.ReuseAddr && t.Network != "udp" || !slices.Contains(affects, b.Address) {
			continue
		}
		if all[bindStation(b.Errno)].Key == key {
			return true
		}
		broke = true
	}
	return !broke && all[max(1, at(all, stageOf(stage)))].Key == key
}
