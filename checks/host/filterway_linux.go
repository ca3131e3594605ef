package host

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Where NAT sends a packet, and who is there.

// way asks the routing table for a packet of the client.
func (l *filterLook) way(s suspect) func(from, to netip.Addr, mark uint32) (string, string, bool) {
	if l.routes == nil {
		return nil
	}
	return func(from, to netip.Addr, mark uint32) (string, string, bool) {
		return l.routes.Way(from, to, s.As, mark)
	}
}

// completeDivert says how the packet goes on from a translation of its destination.
func (l *filterLook) completeDivert(d *facts.FilterDivert, w *facts.FilterWalk) {
	to := d.To.Addr()
	if d.Kind == "snat" || d.Kind == "masquerade" || !to.IsValid() {
		return
	}
	local := to.IsLoopback() || to.IsUnspecified()
	if l.routes != nil && !to.IsUnspecified() {
		var device string
		var text string
		text, device, local = l.routes.Way(netip.Addr{}, to, w.As, 0)
		if d.Route == "" {
			d.Route = text
		}
		if !local && to.Is4() && device != "" {
			d.RouteLocalnet = routeLocalnet(device)
		}
	}
	if local && d.To.Port() != 0 && !d.Range {
		d.Listens = l.listens(d.To)
	}
}

// routeLocalnet tells whether a source of 127.0.0.0/8 may leave by the device
// (IN_DEV_ROUTE_LOCALNET: its own setting or that for all).
func routeLocalnet(device string) *bool {
	if device == "" || device == "." || device == ".." || strings.Contains(device, "/") {
		return nil
	}
	yes := false
	for _, name := range []string{device, "all"} {
		data, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/route_localnet")
		if err != nil {
			return nil
		}
		yes = yes || strings.TrimSpace(string(data)) != "0"
	}
	return &yes
}

// listens tells whether somebody takes connections at that address of this machine.
func (l *filterLook) listens(at netip.AddrPort) *bool {
	if l.sockets == nil {
		return nil
	}
	ss, err := l.sockets.Port(at.Port())
	if err != nil {
		return nil
	}
	yes := slices.ContainsFunc(ss, func(s facts.Socket) bool {
		return s.Network == "tcp" && s.State == facts.Listen && s.Local.Port() == at.Port() && (s.Serves(at.Addr()) || at.Addr().IsUnspecified())
	})
	return &yes
}
