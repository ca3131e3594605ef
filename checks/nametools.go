package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The name means different things to different tools, or takes its time.

var localhostSubdomain = &Check{
	Name:     "localhost-subdomain",
	Doc:      "the C library does not know that names below localhost mean this machine",
	Stage:    StageResolve,
	Needs:    []facts.Group{facts.GroupNames},
	Explains: []*Check{nameNotResolved},
	Refines:  []*Check{hostsLocalhostMissing},
	Run: func(f *facts.Facts) []Finding {
		n := f.Names
		if !belowLocalhost(n) || len(n.Hosts.Lines) > 0 || len(n.Addresses) > 0 || len(n.Later) > 0 || n.Hosts.Error != "" {
			return nil
		}
		files := addHostsLines(f)
		if n.Switch.Line > 0 && !slices.Contains(n.Switch.Sources, "files") {
			first := addFiles(n)
			files.Steps, files.Undo = append(first.Steps, files.Steps...), append(files.Undo, first.Undo...)
		}
		return []Finding{{Certainty: cond(n.Unknown(), Inferred, Proven), Settle: cond(n.Unknown(), "getent ahosts "+n.Name, ""), Since: n.Hosts.Changed,
			Summary:  fmt.Sprintf("Nothing tells the C library what %s is: names below localhost mean this machine to curl and browsers only, and %s has no line for this one.", n.Name, n.Hosts.Path),
			Evidence: []Evidence{{n.Hosts.Path, "no line with " + n.Name}, {n.Switch.Path, "hosts: " + strings.Join(n.Switch.Sources, " ")}},
			Fixes: []Fix{files,
				{Do: "Let nss-myhostname answer for every such name: install it (Debian: libnss-myhostname) and add myhostname to the hosts line of " + n.Switch.Path + ". systemd-resolved does the same (libnss-resolve)."},
				{Do: fmt.Sprintf("Let the client use localhost:%d, and send the name in the Host header.", f.Target.Port)}}}}
	},
}

// belowLocalhost tells whether the name is one of *.localhost.
func belowLocalhost(n *facts.Names) bool {
	return knownToCurl(n.Name) && !strings.EqualFold(n.Name, "localhost")
}

// toolsDisagreeOnLocalhost stands beside the cause: that a test with curl
// succeeds keeps people from looking at the name.
var toolsDisagreeOnLocalhost = &Check{
	Name:     "tools-disagree-on-localhost",
	Doc:      "curl and browsers answer localhost themselves, and other programs ask the system, which says something else",
	Stage:    StageResolve,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupNames, facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupOwners, facts.GroupLedger},
	Explains: []*Check{nameNotResolved, nameLeadsElsewhere},
	Run: func(f *facts.Facts) []Finding {
		n := f.Names
		is := glibc(f)
		if f.Target.Literal || f.Target.Network != "tcp" || !knownToCurl(n.Name) || is.unknown != "" {
			return nil
		}
		// Where one of the addresses leads to the service, the tools agree.
		if slices.ContainsFunc(is.addrs, func(a netip.Addr) bool { return a.IsLoopback() && len(serving(f, a)) > 0 }) {
			return nil
		}
		for _, a := range []netip.Addr{v4Loopback, v6Loopback} {
			ls := serving(f, a)
			dialled := slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a })
			if len(ls) == 0 || dialled && !tried(f, a) {
				continue
			}
			// To an address that nobody tried the way is not known, and where the one
			// that the name has is lost on the way, it may be lost for both.
			if !dialled && slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Outcome != facts.Refused && !d.Outcome.Works() }) {
				continue
			}
			return []Finding{{Certainty: Proven, Remark: true, Evidence: []Evidence{socketEvidence(f, ls[0])},
				Summary: fmt.Sprintf("curl and browsers reach %s all the same: they do not ask the system what %s is, but go to %s, where %s listens.", nameOf(f), n.Name, at(f, a), holder(f, ls[0])),
				Fixes:   []Fix{{Do: fmt.Sprintf("Do not test the name with curl or a browser; getent ahosts %s shows what other programs get.", n.Name)}}}}
		}
		return nil
	},
}

// localhostSlowFallback: where a packet filter loses the connection to the first
// address, that is the cause, and this a consequence.
var localhostSlowFallback = &Check{
	Name:     "localhost-slow-fallback",
	Doc:      "every use of the name waits: for a name server, or for an address that does not answer",
	Stage:    StageResolve,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupNames},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupLedger, facts.GroupOwners},
	Explains: []*Check{nameNotResolved},
	Run: func(f *facts.Facts) []Finding {
		if f.Target.Literal {
			return nil
		}
		if len(f.Names.Later) > 0 {
			return []Finding{waitsForServer(f)}
		}
		return waitsForAddress(f)
	},
}

// waitsForServer: "dns" stands before "files", and the server is silent.
func waitsForServer(f *facts.Facts) Finding {
	n := f.Names
	x := Finding{Certainty: Proven, Since: n.Switch.Changed, Evidence: nameEvidence(f),
		Summary: fmt.Sprintf("A name server that does not answer is asked for %s first: every lookup of the name waits for it, about %.0f s, before it gets to %s (%s).", n.Name, n.WaitMS/1000, n.Later[0].Addr, n.Later[0].Source)}
	if strings.HasPrefix(n.Later[0].Source, "hosts file") && n.Switch.Line > 0 {
		x.Fixes = []Fix{addFiles(n)}
	} else {
		x.Fixes = []Fix{addHostsLines(f)}
	}
	return x
}

// waitsForAddress: the first address of the name is silently lost, and another
// one works.
func waitsForAddress(f *facts.Facts) []Finding {
	ns := f.Names.Addresses
	if len(ns) < 2 || !ns[0].Addr.IsLoopback() {
		return nil
	}
	first := ns[0].Addr.Unmap()
	lost := slices.IndexFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == first && d.Outcome == facts.Timeout })
	good := slices.IndexFunc(ns, func(a facts.NamedAddr) bool { return tried(f, a.Addr.Unmap()) })
	if lost < 0 || good < 0 || works(f, first) {
		return nil
	}
	other := ns[good].Addr.Unmap()
	return []Finding{{Affects: []netip.Addr{first}, Certainty: Proven, Brings: []*Check{},
		Summary: fmt.Sprintf("%s is %s first, and a connection to %s gets no answer, while %s works: every client of the name waits before it tries the second address (curl 200 ms, Node 20 and browsers 250 to 300 ms, Python and most others until they give up).",
			f.Names.Name, first, at(f, first), at(f, other)),
		Evidence: []Evidence{{ns[0].Source, f.Names.Name + " is " + first.String()}, {"connect", fmt.Sprintf("%s: no answer in %.0f ms", at(f, first), f.Dials[lost].ElapsedMS)}},
		Fixes: []Fix{{Do: fmt.Sprintf("Let the client use %s.", at(f, other))},
			{Do: fmt.Sprintf("Let the packet filter accept loopback for %s as well (%s -I INPUT -i lo -j ACCEPT).", cond(first.Is6(), "IPv6", "IPv4"), cond(first.Is6(), "ip6tables", "iptables"))}}}}
}

// happyEyeballsTooShort: of the clients that try each address Node alone cuts an
// attempt short instead of going on beside it.
var happyEyeballsTooShort = &Check{
	Name:     "happy-eyeballs-too-short",
	Doc:      "a connection takes longer than the 250 ms that Node gives each address of a name",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupNames, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupInterfaces, facts.GroupSockets, facts.GroupOwners, facts.GroupRoutes, facts.GroupLedger},
	Explains: []*Check{noReply},
	Run: func(f *facts.Facts) []Finding {
		if f.Target.Literal || f.Target.Port == 0 {
			return nil
		}
		is := addrConfig(f)
		node := clientRule{resolve: addrConfig, next: true, patience: nodePatience, cuts: true}
		patient := clientRule{resolve: addrConfig, next: true}
		reached, _ := patient.reach(f, is.addrs)
		if _, ok := node.reach(f, is.addrs); len(reached) == 0 || ok == nil || *ok {
			return nil
		}
		a := reached[0]
		took := 0.0
		for _, d := range f.Dials {
			if d.Addr == a {
				took = max(took, d.ElapsedMS)
			}
		}
		return []Finding{{Affects: []netip.Addr{a}, Certainty: Proven, Remark: true,
			Summary: fmt.Sprintf("A connection to %s takes %.0f ms: Node 20 and newer gives each address of %s 250 ms, goes on to %s, where nothing answers, and fails (AggregateError, ETIMEDOUT).",
				at(f, a), took, f.Names.Name, at(f, is.addrs[len(is.addrs)-1])),
			Evidence: []Evidence{{"connect", fmt.Sprintf("%s: connected after %.0f ms", at(f, a), took)}},
			Fixes: []Fix{{Do: "Start Node with --network-family-autoselection-attempt-timeout=2000 (or put that into NODE_OPTIONS)."},
				{Do: fmt.Sprintf("Let the client use %s: a literal address has no such limit.", at(f, a))}}}}
	},
}

var healthcheckClientNoFallback = &Check{
	Name:   "healthcheck-client-no-fallback",
	Doc:    "a health check with BusyBox wget takes the first address of localhost alone, where nothing listens",
	Stage:  StageListen,
	Intent: facts.Connect,
	Needs:  []facts.Group{facts.GroupSockets, facts.GroupNames},
	Uses:   []facts.Group{facts.GroupOwners, facts.GroupDials},
	// It brings a refusal about only for such a client.
	Explains: []*Check{refused},
	Refines:  []*Check{v6FirstV4OnlyServer},
	Run: func(f *facts.Facts) []Finding {
		x, ok := firstIsV6(f)
		if !ok || !hasBusyBox(f) {
			return nil
		}
		wget := cond(f.Names.BusyBoxWget != "", f.Names.BusyBoxWget+" is BusyBox's: it", "BusyBox wget")
		// Seen from inside of that client it is no remark: it takes no other address.
		if isBusyBoxWget(f) && refusedAt(f, v6Loopback) {
			x.Remark = false
			if in := f.Host.Inside; in.Pings(f.Target.Port) {
				x.Evidence = append(x.Evidence, Evidence{"health check", short(strings.Join(in.Check, " ")) + cond(in.Health != "", " ("+in.Health+")", "")})
			}
		}
		x.Summary = fmt.Sprintf("%s takes the first address of %s alone, ::1, and %s: a health check with it fails, and so does every client that does not fall back.", wget, f.Names.Name, v4Listener(f))
		x.Fixes = []Fix{{Do: fmt.Sprintf("Write the address into the health check (wget -q -O /dev/null http://127.0.0.1:%d/), or make the server listen on ::1 too.", f.Target.Port)}}
		return []Finding{x}
	},
}

// hasBusyBox tells whether a client that is BusyBox wget matters here: this is a
// container that has it, where health checks use it, or it was what failed.
func hasBusyBox(f *facts.Facts) bool {
	failed := f.Target.Error != nil && strings.Contains(f.Target.Error.Client, "BusyBox")
	inside := f.Host.Inside.Room.Kind == "pod" || strings.HasPrefix(f.Host.Vantage, "container")
	return failed || isBusyBoxWget(f) || inside && f.Names.BusyBoxWget != ""
}

// isBusyBoxWget tells whether the client is known to be it: the process that was named,
// or the health check of the container that is looked from.
func isBusyBoxWget(f *facts.Facts) bool {
	return f.Names.BusyBoxWget != "" && (f.Host.Inside.Pings(f.Target.Port) || len(f.Host.As) > 0 && f.Host.As[0].Program == "wget")
}

// refusedAt tells whether the address was dialled and refused.
func refusedAt(f *facts.Facts, a netip.Addr) bool {
	return slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Outcome == facts.Refused })
}
