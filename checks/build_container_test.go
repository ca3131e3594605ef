package checks

import (
	"net/netip"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

type boxMark = func(*facts.Container)

// boxed adds a container that runs: 172.17.0.2 on docker0, of which Docker told.
func boxed(name string, changes ...boxMark) change {
	return func(f *facts.Facts) {
		c := facts.Container{Engine: "docker", ID: "0123456789ab", Name: name, Image: "shop", State: "running", Status: "Up 3 minutes", Started: morning.Add(-time.Hour), PID: 300,
			Network: "bridge", Addresses: []netip.Addr{netip.MustParseAddr("172.17.0.2")}}
		for _, m := range changes {
			m(&c)
		}
		if f.Containers == nil {
			f.Containers = &facts.Containers{From: "docker"}
		}
		f.Containers.Found = append(f.Containers.Found, c)
	}
}

// publishing is one of its ports: "127.0.0.1:62893->80"; "80" is only exposed.
func publishing(text string) boxMark {
	return func(c *facts.Container) {
		p := facts.Publication{}
		host, inner, both := strings.Cut(text, "->")
		if !both {
			host, inner = "", text
		} else {
			p.Host = netip.MustParseAddrPort(host)
		}
		p.Port = netip.MustParseAddrPort("0.0.0.0:" + inner).Port()
		c.Ports = append(c.Ports, p)
	}
}

// within lists the listeners in it, and its one process.
func within(on ...string) boxMark {
	return func(c *facts.Container) {
		open := true
		c.Inside = &facts.Indoors{NetNS: 4026532001, Bridge: "docker0", RouteLocalnet: &open, Processes: []facts.Process{{PID: 300, Name: "httpd", State: "S", Started: morning}}}
		for _, s := range on {
			c.Inside.Listeners = append(c.Inside.Listeners, facts.Socket{Network: "tcp", State: facts.Listen, Local: netip.MustParseAddrPort(s)})
		}
	}
}

// queueInside is the accept queue of the first listener in it.
func queueInside(length, limit uint32) boxMark {
	return func(c *facts.Container) {
		c.Inside.Listeners[0].Queue = &facts.Queue{Length: length, Limit: limit}
	}
}

// endsThere: no engine told of it, and connections to the target are seen to end there.
func endsThere(at string) boxMark {
	return func(c *facts.Container) {
		neverAsked(c)
		c.By, c.Reached = "it has the far end of a connection from port 40000, at "+at, netip.MustParseAddrPort(at)
	}
}
func isFrozenInside(c *facts.Container) { c.Inside.Processes[0].Frozen = true }

func localnetClosed(c *facts.Container) { open := false; c.Inside.RouteLocalnet = &open }
func isPaused(c *facts.Container)       { c.State, c.Status = "paused", "Up 3 minutes (Paused)" }
func neverAsked(c *facts.Container) {
	c.State, c.Status, c.Image, c.By = "", "", "", "arguments of docker-proxy (pid 50)"
}
func andAt(a string) boxMark {
	return func(c *facts.Container) { c.Addresses = append(c.Addresses, netip.MustParseAddr(a)) }
}
func onHost(c *facts.Container) {
	c.Network, c.Inside.Here, c.Addresses = "host", true, nil
	c.Ignored, c.Ports = c.Ports, nil
}
func couldNotStart(why string) boxMark {
	return func(c *facts.Container) {
		c.State, c.Status, c.PID, c.ID, c.Addresses, c.Error = "created", "Created", 0, "ba9876543210", nil, why
	}
}
func noServer(d *facts.Dial) { d.Server, d.NoServer = nil, true }
