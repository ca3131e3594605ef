package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Who else can reach what listens here.

// Through lists the addresses of the other interfaces at which a socket
// listens, link-local ones last.
func Through(ifs *facts.Interfaces, s facts.Socket) []netip.Addr {
	var as []netip.Addr
	for _, i := range ifs.Others {
		if !i.Up || s.Device != "" && s.Device != i.Name {
			continue
		}
		for _, p := range i.Addresses {
			if s.Covers(p.Addr()) {
				as = append(as, p.Addr())
			}
		}
	}
	slices.SortStableFunc(as, func(a, b netip.Addr) int { return cmp.Compare(localOnly(a), localOnly(b)) })
	return slices.Compact(as)
}

func localOnly(a netip.Addr) int {
	if a.IsLinkLocalUnicast() {
		return 1
	}
	return 0
}

var exposedBeyondLoopback = &Check{
	Name:     "exposed-beyond-loopback",
	Doc:      "the server can be reached from other machines as well",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupOwners, facts.GroupInterfaces},
	Uses:     []facts.Group{facts.GroupConfigs, facts.GroupLedger},
	Explains: []*Check{refused}, // of a client elsewhere, once it is restricted: here it is a remark
	Run: func(f *facts.Facts) []Finding {
		if !loopbackMeant(f.Target) {
			return nil
		}
		var on []netip.Addr
		for _, a := range f.Target.Expected() {
			if !tried(f, a) {
				return nil // what is broken comes first
			}
			on = append(on, a)
		}
		for _, s := range listeners(f) {
			ps := f.Owners.Of(s)
			// Whoever listens on another address by name means that address.
			if len(ps) == 0 || meantForOthers(f.Target.Port, ps) || !slices.ContainsFunc(on, s.Serves) {
				continue
			}
			as := reached(f.Interfaces, s)
			if len(as) == 0 {
				continue
			}
			program := recognise(ps)
			x := Finding{Affects: on, Remark: true, Certainty: Proven,
				Summary: fmt.Sprintf("%s listens on %s, so other machines can reach it too, at %s, as far as addresses decide it; a packet filter may still say no.",
					holder(f, s), s.Local, list(few(as, 3))),
				Evidence: []Evidence{socketEvidence(f, s)},
				Fixes:    []Fix{{Do: "If only this machine is meant: " + program.restrict(loopbackFor(s), f.Target.Port)}}}
			for _, c := range program.lines(f, s) {
				x.Evidence = append(x.Evidence, configEvidence(c))
			}
			return []Finding{x}
		}
		return nil
	},
}

// loopbackMeant tells whether the person thinks of this machine alone.
func loopbackMeant(t facts.Target) bool {
	if a, err := netip.ParseAddr(t.Host); t.Literal && err == nil {
		return a.Unmap().IsLoopback()
	}
	return t.Host == "" || facts.IsLocalhost(t.Host)
}

// stores are the ports of data stores: published by accident, mostly, and then
// past the packet filter of the host.
var stores = []uint16{3306, 5432, 6379, 9200, 11211, 27017}

// meantForOthers tells whether a server is there for other machines: on a port
// below 1024 (ssh, mail, web), sshd wherever it listens, and a port that somebody
// told a container engine to publish.
func meantForOthers(port uint16, ps []facts.Process) bool {
	return port < 1024 || slices.ContainsFunc(ps, func(p facts.Process) bool {
		return p.Name == "sshd" || p.Name == "sshd-session" || publishes(p) && !slices.Contains(stores, port)
	})
}

func publishes(p facts.Process) bool {
	return slices.Contains([]string{"docker-proxy", "rootlessport", "rootlesskit", "conmon", "pasta", "pasta.avx2", "passt.avx2", "slirp4netns"}, p.Name)
}

// bridges to containers and virtual machines of this host, as their engines call
// them, a number behind each; Docker's own networks are br- and twelve digits.
var bridges = []string{"docker", "podman", "cni", "cni-podman", "cbr", "flannel.", "virbr", "lxcbr", "lxdbr", "incusbr", "vmnet", "vboxnet"}

func inside(name string) bool {
	if id, ok := strings.CutPrefix(name, "br-"); ok {
		return len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
	}
	return slices.Contains(bridges, strings.TrimRight(name, "0123456789"))
}

// reached lists the addresses at which other machines can reach the socket, with
// the interface and what lies behind it. A link whose other end is in another
// network namespace leads to a container, or from one to its host; a link-local
// address alone is not worth a word.
func reached(ifs *facts.Interfaces, s facts.Socket) []string {
	var out, more []string
	for _, i := range ifs.Others {
		if i.NoCarrier {
			continue
		}
		for _, a := range Through(&facts.Interfaces{Others: []facts.Interface{i}}, s) {
			switch {
			case a.IsLoopback() || localOnly(a) == 1 || i.Kind == "veth" && i.Elsewhere:
			case inside(i.Name):
				more = append(more, fmt.Sprintf("%s (%s: containers or virtual machines of this one)", a, i.Name))
			case strings.HasPrefix(i.Name, "tailscale"):
				out = append(out, fmt.Sprintf("%s (%s: the tailnet)", a, i.Name))
			case i.Kind == "wireguard" || i.Kind == "tun" || i.Peer:
				out = append(out, fmt.Sprintf("%s (%s: a VPN or point-to-point link)", a, i.Name))
			default:
				out = append(out, fmt.Sprintf("%s (%s)", a, i.Name))
			}
		}
	}
	if len(out) == 0 {
		return nil // what runs on this machine is no other machine
	}
	return append(out, more...)
}

// few cuts a list short.
func few(words []string, n int) []string {
	if len(words) <= n {
		return words
	}
	return append(slices.Clone(words[:n-1]), fmt.Sprintf("%d more addresses", len(words)-n+1))
}

// loopbackFor is the address to listen on instead.
func loopbackFor(s facts.Socket) netip.Addr {
	if a := s.Local.Addr(); a.Is6() && !a.Is4In6() && (s.V6Only || !a.IsUnspecified()) {
		return v6Loopback
	}
	return v4Loopback
}
