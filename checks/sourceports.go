package checks

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The ports from which clients connect.

var sourcePortsExhausted = &Check{
	Name:     "source-ports-exhausted",
	Doc:      "all temporary ports towards the address are in use",
	Stage:    StageRoute,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupLimits},
	Uses:     []facts.Group{facts.GroupInterfaces},
	Explains: []*Check{unreachable},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if d.Errno != "EADDRNOTAVAIL" || f.Interfaces != nil && d.Addr == v6Loopback && (f.Interfaces.Loopback == nil || !f.Interfaces.Loopback.Holds(d.Addr)) {
				continue // there is no such address to connect from
			}
			low, high := f.Limits.EphemeralLow, f.Limits.EphemeralHigh
			size, used := high-low+1-reservedIn(f.Limits), map[uint16]bool{}
			states := map[facts.State]int{}
			for _, s := range f.Sockets.Sockets {
				if s.Network == "tcp" && s.Remote.Port() == f.Target.Port && s.Remote.Addr().Unmap() == d.Addr && f.Limits.Ephemeral(s.Local.Port()) && !used[s.Local.Port()] {
					used[s.Local.Port()] = true
					states[s.State]++
				}
			}
			// A port that a socket was bound to before it connected is taken for
			// every far end (bind(2) with port 0).
			use := f.Sockets.Temporary
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven}
			switch {
			case len(used)*10 >= size*9:
				x.Summary = fmt.Sprintf("%d of the %d temporary ports are in use towards %s, most of them in state %s%s: the kernel has none left for a new client.",
					len(used), size, at(f, d.Addr), most(states), mostBy(use))
			case use != nil && use.Ports*10 >= size*9:
				x.Summary = fmt.Sprintf("%d of the %d temporary ports of this machine are in use%s: the kernel has none left for a new client.", use.Ports, size, mostBy(use))
			default:
				continue
			}
			const key = "net.ipv4.ip_local_port_range"
			x.Evidence = append([]Evidence{{key, fmt.Sprintf("%d %d", low, high)}, {"connect", at(f, d.Addr) + ": EADDRNOTAVAIL"}}, portUsers(use)...)
			if wide := fmt.Sprintf("%d %d", min(low, 10240), max(high, 60999)); low > 10240 || high < 60999 {
				x.Fixes = append(x.Fixes, Fix{Do: "Widen the range of temporary ports.", Elevated: true, Lasts: UntilReboot,
					Steps: [][]string{{"sysctl", "-w", key + "=" + wide}}, Undo: [][]string{{"sysctl", "-w", fmt.Sprintf("%s=%d %d", key, f.Limits.EphemeralLow, f.Limits.EphemeralHigh)}},
					Risk: "a service that wants a port of the wider range may find it given to a client"})
			}
			whose := "the clients"
			if use != nil && len(use.Users) > 0 && use.Users[0].Process != nil {
				whose = who(*use.Users[0].Process)
			}
			x.Fixes = append(x.Fixes, Fix{Do: "Let " + whose + " keep its connections and use them again (keep-alive, a pool) instead of opening one for each request."})
			if whose == "the clients" {
				x.Fixes[len(x.Fixes)-1].Do = strings.Replace(x.Fixes[len(x.Fixes)-1].Do, "its", "their", 1)
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// mostBy names who holds most of the ports; empty if nobody stands out.
func mostBy(u *facts.PortUse) string {
	if u == nil || len(u.Users) == 0 || u.Users[0].Sockets*2 < u.Sockets {
		return ""
	}
	return ", held by " + portUser(u.Users[0])
}

func portUser(u facts.PortUser) string {
	if u.Process == nil {
		return somebody + user(u.UID, "")
	}
	return who(*u.Process)
}

// portUsers lists who uses the temporary ports.
func portUsers(use *facts.PortUse) []Evidence {
	if use == nil {
		return nil
	}
	all := Evidence{"sockets", fmt.Sprintf("%d on %d temporary ports", use.Sockets, use.Ports)}
	if use.TimeWait > 0 {
		all.Text += fmt.Sprintf(", %d of them in time-wait, which no process holds any more", use.TimeWait)
	}
	es := []Evidence{all}
	for _, u := range use.Users {
		e := Evidence{"held by", fmt.Sprintf("%s: %d", portUser(u), u.Sockets)}
		if p := u.Process; p != nil && p.Cwd != "" {
			e.Text += ", in " + p.Cwd
		}
		es = append(es, e)
	}
	return es
}

// reservedIn counts the ports of the range that no client is given: the list of
// net.ipv4.ip_local_reserved_ports is like 8080,9148-9150.
func reservedIn(l *facts.Limits) int {
	n := 0
	for _, part := range strings.Split(l.Reserved, ",") {
		first, last, ok := strings.Cut(part, "-")
		a, errA := strconv.Atoi(first)
		b, errB := a, error(nil)
		if ok {
			b, errB = strconv.Atoi(last)
		}
		if errA == nil && errB == nil {
			n += max(0, min(b, l.EphemeralHigh)-max(a, l.EphemeralLow)+1)
		}
	}
	return n
}

// most is the state that is counted most often.
func most(states map[facts.State]int) facts.State {
	var best facts.State
	for s, n := range states {
		if n > states[best] || n == states[best] && s < best {
			best = s
		}
	}
	return best
}
