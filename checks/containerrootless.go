package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// An engine that runs without root publishes by a program of the user, which listens on
// this machine and hands on. Where that is missing, the container knows nothing of it.

var rootlessPortForwarder = &Check{
	Name:     "rootless-port-forwarder",
	Doc:      "the program that publishes the port of a rootless container has ended, or may not take the port",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupLimits, facts.GroupSpare},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener, serverExitedOrCrashLooping, otherNetworkNamespace},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range abandoned(f) {
			if c, p := rootlessFor(f, a); c != nil {
				x := Finding{}
				switch {
				case lives(c):
					x = forwarderGone(f, c, p)
				case notAllowed(f, c):
					x = lowPort(f, c, p)
				default:
					continue
				}
				x.Affects = []netip.Addr{a}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

// rootlessFor finds the container that a rootless engine says it publishes there. Two of
// them tell nothing.
func rootlessFor(f *facts.Facts, a netip.Addr) (found *facts.Container, port facts.Publication) {
	for i := range f.Containers.Found {
		c := &f.Containers.Found[i]
		for _, p := range c.Ports {
			if !c.Rootless || c.State == "" || !publishesAt(f, p, a) {
				continue
			}
			if found != nil && found.ID != c.ID {
				return nil, port
			}
			found, port = c, p
		}
	}
	return found, port
}

// publishesAt tells whether a publication takes what is sent to the target at the address.
func publishesAt(f *facts.Facts, p facts.Publication, a netip.Addr) bool {
	h := p.Host.Addr().Unmap()
	return !p.UDP && f.Target.Network == "tcp" && p.Host.Port() == f.Target.Port && f.Target.Port != 0 && (h == a || h.IsUnspecified() && (h.Is4() == a.Is4() || h.Is6()))
}

// notAllowed tells whether the container never ran, and the port is one that the programs
// of users may not take.
func notAllowed(f *facts.Facts, c *facts.Container) bool {
	return f.Limits != nil && int(f.Target.Port) < f.Limits.UnprivilegedPortStart && c.Started.IsZero() && slices.Contains([]string{"created", "configured", "initialized"}, c.State)
}

func publishedEvidence(c *facts.Container, p facts.Publication) Evidence {
	return Evidence{c.Engine, fmt.Sprintf("%s: %s, publishes port %d as %s", theContainer(c), tame(cond(c.Status != "", c.Status, c.State), 100), p.Port, p.Host)}
}

// restartFix starts the container anew, and its forwarder with it.
func restartFix(c *facts.Container, do string) Fix {
	x := Fix{Do: do, Elevated: !c.Rootless, Lasts: UntilReboot, Interrupts: "what the container does, for a moment"}
	if restart := onContainer(c, "restart"); restart != nil {
		x.Steps = [][]string{restart}
	}
	return x
}

func forwarderGone(f *facts.Facts, c *facts.Container, p facts.Publication) Finding {
	x := Finding{Certainty: Proven, Since: c.Started,
		Summary: fmt.Sprintf("%s runs and publishes %s, but nothing listens there: the program of the rootless %s that hands the port on (%s) has ended, or has lost it.",
			"The "+strings.TrimPrefix(theContainer(c), "the "), p.Host, c.Engine, cond(c.Engine == "docker", "rootlesskit", "rootlessport, slirp4netns or pasta")),
		Evidence: []Evidence{publishedEvidence(c, p), {"sock_diag", fmt.Sprintf("no TCP socket in state listen has port %d", f.Target.Port)}}}
	x.Evidence = append(x.Evidence, insideEvidence(c)...)
	if c.PID == 0 { // its processes are not seen: the engine's word alone
		x.Certainty = Inferred
		x.Settle = fmt.Sprintf("%s ps --filter publish=%d", c.Engine, f.Target.Port)
	}
	x.Fixes = []Fix{restartFix(c, fmt.Sprintf("Restart %s, as the user whose container it is: only a start makes a new forwarder.", containerCalled(c))),
		{Do: "If it ends each time that you log out, let your programs stay: loginctl enable-linger."}}
	return x
}

func lowPort(f *facts.Facts, c *facts.Container, p facts.Publication) Finding {
	start := f.Limits.UnprivilegedPortStart
	x := Finding{Certainty: cond(c.Engine == "podman", Proven, Inferred),
		Summary: fmt.Sprintf("%s cannot start: it is to publish %s, and the rootless %s, as every program of a user, may take ports from %d on only.",
			"The "+strings.TrimPrefix(theContainer(c), "the "), p.Host, c.Engine, start),
		Evidence: []Evidence{publishedEvidence(c, p), {"net.ipv4.ip_unprivileged_port_start", fmt.Sprint(start)}}}
	if x.Certainty == Inferred { // its rootlesskit may have the capability
		x.Settle = "docker start " + tame(c.ID, 12)
	}
	x.Fixes = []Fix{
		{Do: fmt.Sprintf("Publish it on a port from %d on%s: the container has to be made again.", start, cond(spare(f) != 0, fmt.Sprintf(", such as %d", spare(f)), ""))},
		{Do: fmt.Sprintf("Let every user take ports from %d on, and start %s then.", f.Target.Port, containerCalled(c)), Elevated: true, Lasts: UntilReboot,
			Steps: [][]string{{"sysctl", "-w", fmt.Sprintf("net.ipv4.ip_unprivileged_port_start=%d", f.Target.Port)}},
			Undo:  [][]string{{"sysctl", "-w", fmt.Sprintf("net.ipv4.ip_unprivileged_port_start=%d", start)}},
			Risk:  fmt.Sprintf("any program of any user can then take ports %d to %d before the service that should have them", f.Target.Port, start-1)},
	}
	return x
}
