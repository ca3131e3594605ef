package checks

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// silentServer is a name server that is asked first and says nothing; from is
// where the address comes from once that has been waited for.
func silentServer(from string, sources ...string) change {
	return func(f *facts.Facts) {
		n := f.Names
		n.Addresses, n.Error, n.WaitMS = nil, facts.UnknownHere, 10_000
		n.Later = []facts.NamedAddr{{Addr: v4Loopback, Source: from}}
		n.Servers = []facts.NameServer{{Addr: netip.MustParseAddrPort("127.0.0.1:53"), Asked: true, Error: "no answer"}}
		nsswitch("hosts: dns files", sources...)(f)
	}
}

func took(ms float64) func(*facts.Dial) { return func(d *facts.Dial) { d.ElapsedMS = ms } }

func inContainer(f *facts.Facts) { f.Host.Vantage = "container docker 0123456789ab" }

func hasWget(f *facts.Facts) { f.Names.BusyBoxWget = "/usr/bin/wget" }

func nameToolSituations() []situation {
	v6first := hosts("::1", "127.0.0.1")
	v4, ok, lost := listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Timeout)
	return slices.Concat(
		of(localhostSubdomain,
			row{"no line for it", machine("app.localhost", hosts(), asksFor("app.localhost")), says("proven 127.0.0.1 ::1", "app.localhost", "/etc/hosts")},
			row{"a name server elsewhere could know it", machine("app.localhost", hosts(), asksFor("app.localhost"), func(f *facts.Facts) { f.Names.Error = facts.UnknownHere }), says("inferred 127.0.0.1 ::1")},
			row{"the file is not read in any case", machine("app.localhost", hosts(), asksFor("app.localhost"), nsswitch("hosts: dns", "dns")), says("proven 127.0.0.1 ::1")},
			row{"myhostname knows it", machine("app.localhost", hosts(), asksFor("app.localhost"), resolvesTo("myhostname", "127.0.0.1")), nothing},
			row{"localhost itself", machine("localhost", hosts()), nothing},
			row{"another name", machine("shop", hosts(), asksFor("shop")), nothing},
		),
		of(localhostSlowFallback,
			row{"the name server comes first, and is silent", machine("localhost", silentServer("hosts file line 1", "dns", "files")), says("proven 127.0.0.1 ::1", "10 s", "hosts file line 1")},
			row{"myhostname comes behind it", machine("localhost", silentServer("myhostname", "files", "dns", "myhostname")), says("proven 127.0.0.1 ::1", "myhostname")},
			row{"the first address is lost", machine("localhost", v6first, v4, ok, lost), says("proven ::1", "[::1]:62893 gets no answer", "127.0.0.1:62893 works")},
			row{"the second one is lost", machine("localhost", v4, ok, lost), nothing},
			row{"the first address is refused", machine("localhost", v6first, v4, ok, dials("::1", facts.Refused)), nothing},
			row{"both are lost", machine("localhost", v6first, v4, dials("127.0.0.1", facts.Timeout), lost), nothing},
			row{"one client gets there", machine("localhost", v6first, v4, ok, lost, dials("::1", facts.Connected)), nothing},
			row{"an address was named", machine("127.0.0.1", v6first, v4, ok, lost), nothing},
		),
		of(toolsDisagreeOnLocalhost,
			row{"no line, and the server is fine", machine("localhost", hosts(), v4, ok), says("remark 127.0.0.1 ::1", "curl and browsers", "server (pid 50)")},
			row{"a wrong line", machine("localhost", hosts("10.0.0.9"), v4), says("remark 127.0.0.1 ::1", "127.0.0.1:62893")},
			row{"a name below localhost", machine("app.localhost", hosts(), asksFor("app.localhost"), v4, ok), says("remark 127.0.0.1 ::1", "app.localhost")},
			row{"the server is there as well", machine("localhost", hosts("127.0.1.1"), listens("0.0.0.0", 50)), nothing},
			row{"nobody tried the one with a listener, and the other is lost", machine("localhost", hosts("127.0.0.1"), listens("::1", 50), dials("127.0.0.1", facts.Timeout)), nothing},
			row{"curl does not get there either", machine("localhost", hosts(), v4, dials("127.0.0.1", facts.Timeout)), nothing},
			row{"nothing listens", machine("localhost", hosts()), nothing},
			row{"another name", machine("shop", hosts("10.0.0.9"), asksFor("shop"), v4), nothing},
			row{"the port alone was asked for", machine("62893", hosts(), v4, ok), says("remark 127.0.0.1 ::1")},
			row{"an address was named", machine("127.0.0.1", hosts(), v4, ok), nothing},
			row{"the lookup waits", machine("localhost", silentServer("hosts file line 1", "dns", "files"), v4, ok), nothing},
		),
		of(happyEyeballsTooShort,
			row{"the first address is slow, and the last is closed", machine("localhost", v6first, listens("::1", 50), dials("::1", facts.Connected, took(612)), dials("127.0.0.1", facts.Refused)), says("remark ::1", "612 ms", "127.0.0.1:62893")},
			row{"its first SYN was lost", machine("localhost", v6first, listens("::1", 50), dials("::1", facts.Connected, late, took(1020)), dials("127.0.0.1", facts.Refused)), says("remark ::1")},
			row{"the last address is slow", machine("localhost", v6first, v4, dials("127.0.0.1", facts.Connected, took(612)), dials("::1", facts.Refused)), nothing},
			row{"both are slow: the last has no limit", machine("localhost", v6first, listens("::", 50), dials("127.0.0.1", facts.Connected, took(612)), dials("::1", facts.Connected, took(612))), nothing},
			row{"it is quick", machine("localhost", v6first, listens("::1", 50), dials("::1", facts.Connected, took(12)), dials("127.0.0.1", facts.Refused)), nothing},
			row{"there is one address", machine("localhost", hosts("::1"), listens("::1", 50), dials("::1", facts.Connected, took(612))), nothing},
			row{"an address was named", machine("::1", v6first, listens("::1", 50), dials("::1", facts.Connected, took(612))), nothing},
		),
		of(healthcheckClientNoFallback,
			row{"a container that has BusyBox wget", machine("localhost", v6first, v4, ok, inContainer, hasWget), says("remark ::1", "/usr/bin/wget", "server (pid 50)")},
			row{"wget said so", machine("localhost", v6first, v4, ok, clientPrinted(facts.ClientError{Client: "BusyBox wget"})), says("remark ::1", "BusyBox wget")},
			row{"a container without it", machine("localhost", v6first, v4, ok, inContainer), nothing},
			row{"a host that has it", machine("localhost", v6first, v4, ok, hasWget), nothing},
			row{"127.0.0.1 comes first", machine("localhost", v4, ok, inContainer, hasWget), nothing},
			row{"::1 is served too", machine("localhost", v6first, listens("::", 50), ok, inContainer, hasWget), nothing},
			row{"another client failed", machine("localhost", v6first, v4, ok, clientPrinted(facts.ClientError{Client: "Node"})), nothing},
		),
	)
}

func TestNameTools(t *testing.T) { judge(t, nameToolSituations()) }

// The packet filter is the cause; that every use of the name waits follows.
func TestSlowFallbackIsAConsequence(t *testing.T) {
	f := machine("localhost", hosts("::1", "127.0.0.1"), listens("::", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Timeout), counts("::1", 32, diedOnInput))
	expect(t, f, "partly", "active lost-on-input proven")
	d := Diagnose(f)
	if !slices.ContainsFunc(d.Causes[0].Consequences, func(c Consequence) bool { return c.Name == "localhost-slow-fallback" }) {
		t.Errorf("its consequences are %v", d.Causes[0].Consequences)
	}
	expect(t, machine("localhost", silentServer("hosts file line 1", "dns", "files"), listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected)),
		"broken", "active localhost-slow-fallback proven")
}
