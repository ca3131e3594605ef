package checks

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func allSteps(fs []Finding) string {
	var out []string
	for _, x := range fs {
		for _, fix := range x.Fixes {
			out = append(out, spell(fix)...)
		}
	}
	return strings.Join(out, "; ")
}

// Two findings that need two cures stay two.
func TestMergedFindingsKeepTheirFixes(t *testing.T) {
	for name, c := range map[string]struct {
		check *Check
		f     *facts.Facts
		want  []string
	}{
		"a rule in each family": {policyRuleBeforeLocal, machine("62893", routed("127.0.0.1", "", "EINVAL"), routed("::1", "", "EINVAL"), rule(0, "to 127.0.0.0/8", "blackhole", 0, "127.0.0.1"), rule(0, "to ::1", "blackhole", 0, "::1")),
			[]string{"ip -4 rule add", "ip -6 rule add"}},
		"a route in each family": {rejectRouteOnLoopback, machine("62893", routed("127.0.0.1", "", "EINVAL", "blackhole 127.0.0.0/8"), routed("::1", "", "EINVAL", "blackhole ::1/128")),
			[]string{"ip -4 route del", "ip -6 route del"}},
		"two programs hold the port": {portHeldByOtherApp, machine("62893", toBind, listens("127.0.0.1", 50, named("nginx")), listens("::1", 51, named("node")), binds("127.0.0.1", "EADDRINUSE", true), binds("::1", "EADDRINUSE", true)),
			[]string{"kill -TERM 50", "kill -TERM 51"}},
		"two stopped processes": {processStoppedOrDebugged, machine("62893", listens("127.0.0.1", 50, stopped), listens("::1", 51, stopped)),
			[]string{"kill -CONT 50", "kill -CONT 51"}},
		"two stopped twins": {processStoppedOrDebugged, machine("127.0.0.1", listens("127.0.0.1", 50, stopped), listens("127.0.0.1", 51, stopped)),
			[]string{"kill -CONT 50", "kill -CONT 51"}},
		"two bound sockets": {boundNotListening, machine("62893", holds(facts.Bound, "127.0.0.1", "", 50), holds(facts.Bound, "::1", "", 51)),
			[]string{"kill -TERM 50", "kill -TERM 51"}},
	} {
		got := allSteps(found(t, c.check, c.f))
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in: %s", name, w, got)
			}
		}
	}
	x := found(t, portHeldByOtherApp, machine("62893", toBind, listens("127.0.0.1", 50, named("nginx")), listens("::1", 51, named("node")), binds("127.0.0.1", "EADDRINUSE", true), binds("::1", "EADDRINUSE", true)))
	if len(x) == 1 && !strings.Contains(x[0].Summary, "node") {
		t.Errorf("node is not named: %s", x[0].Summary)
	}
}

// What listens for TCP says nothing about a UDP target.
func TestTCPCausesAreSilentOnAUDPTarget(t *testing.T) {
	expect(t, machine("127.0.0.1", asksUDP, holds(facts.Bound, "127.0.0.1", "", 50)), "broken", "active no-listener proven")
	expect(t, machine("127.0.0.1", asksUDP, listens("::1", 50)), "broken", "active no-listener proven")
	expect(t, machine("127.0.0.1", asksUDP, listens("::", 50, v6only)), "broken", "active no-listener proven")
	expect(t, machine("127.0.0.1", asksUDP, listens("192.0.2.7", 50)), "broken", "active no-listener proven")
	expect(t, machine("127.0.0.1", asksUDP, listens("0.0.0.0", 50, device("eth0"))), "broken", "active no-listener proven")
	expect(t, machine("127.0.0.1", asksUDP, udp(facts.Bound, "127.0.0.1", "", 50), listens("127.0.0.1", 51, stopped, queue(6, 5))), "unknown")
}

// systemd holds the sockets of its socket units: nobody should kill it.
func TestNeverSignalInit(t *testing.T) {
	f := machine("127.0.0.1", toBind, listens("127.0.0.1", 1, named("systemd"), uid(0), inUnit("init.scope"), childOf(0)), binds("127.0.0.1", "EADDRINUSE", true))
	if got := allSteps(found(t, portHeldByOtherApp, f)); strings.Contains(got, "kill -TERM 1") {
		t.Errorf("a signal to init: %s", got)
	}
}

// A process found by its cgroup is a guess.
func TestAttributionByCgroupIsNoProof(t *testing.T) {
	f := machine("127.0.0.1", listens("127.0.0.1", 50, stopped))
	for i, hs := range f.Owners.Holders {
		hs[0].Attribution = facts.ByCgroup
		f.Owners.Holders[i] = hs
	}
	for _, x := range found(t, processStoppedOrDebugged, f) {
		if x.Certainty == Proven {
			t.Errorf("proven by a guess: %s", x.Summary)
		}
	}
}

// Each address has its own command that would settle it.
func TestSettleNamesTheAddress(t *testing.T) {
	f := machine("62893", dials("127.0.0.1", facts.Timeout), dials("::1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput), counts("::1", 32, diedOnOutput))
	for _, x := range found(t, noReply, f) {
		if !strings.Contains(x.Settle, x.Affects[0].String()) {
			t.Errorf("%v is settled by %q", x.Affects, x.Settle)
		}
	}
}

// A line of the hosts file often carries the name of the host, too.
func TestOtherNamesOfTheLineStay(t *testing.T) {
	f := machine("localhost", hosts("10.0.0.9"))
	f.Names.Hosts.Lines[0].Text = "10.0.0.9 localhost shop.test db.test"
	got := allSteps(found(t, hostsLocalhostWrong, f))
	if !strings.Contains(got, "shop.test") {
		t.Errorf("shop.test and db.test are lost: %s", got)
	}
}

// app.localhost is not healed by adding localhost.
func TestTheNameThatWasAskedFor(t *testing.T) {
	f := machine("localhost", asksFor("app.localhost"), hosts())
	if got := allSteps(found(t, hostsLocalhostMissing, f)); !strings.Contains(got, "app.localhost") {
		t.Errorf("app.localhost is still missing after: %s", got)
	}
}

// With dns before files a line in the hosts file would not help.
func TestDNSBeforeFiles(t *testing.T) {
	f := machine("localhost", nsswitch("hosts: dns files", "dns", "files"), resolvesTo("name server 127.0.0.53", "10.0.0.9"))
	if got := allSteps(found(t, dnsAnswersLocalhost, f)); strings.Contains(got, "append") || !strings.Contains(got, "nsswitch.conf") {
		t.Errorf("the line is there, and dns answers first: %s", got)
	}
}

// The line as glibc also reads it.
func TestNsswitchLineWithSpaces(t *testing.T) {
	f := machine("localhost", hosts(), nsswitch("hosts : dns", "dns"))
	if got := allSteps(found(t, nsswitchWithoutFiles, f)); strings.Contains(got, "files hosts") {
		t.Errorf("nonsense: %s", got)
	}
}

// In a UTF-8 locale a dot of sed does not match an invalid byte.
func TestRewritingALatin1Line(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8")
	path := t.TempDir() + "/hosts"
	writeFile(t, path, "127.0.0.1 x\n10.0.0.9 localhost # caf\xe9 au lait\n")
	execute(t, rewriteLine(path, 2, []string{"127.0.0.1 localhost"}, "").Steps)
	if got := readLines(t, path); !slices.Equal(got, []string{"127.0.0.1 x", "127.0.0.1 localhost"}) {
		t.Errorf("got %q", got)
	}
}

// The kernel reaches its own LAN address over lo.
func TestLoDownConcernsOwnAddressesToo(t *testing.T) {
	f := machine("10.0.0.1", loIsDown, holdsOn("eth0", "10.0.0.1/24"), listens("10.0.0.1", 50), dials("10.0.0.1", facts.Timeout), counts("10.0.0.1", 32, diedOnWire))
	if len(found(t, loDown, f)) == 0 {
		t.Errorf("silent; %v", told(Diagnose(f)))
	}
}

// A file that nobody may read has no bits at all.
func TestUnreadableHostsMode0(t *testing.T) {
	f := machine("localhost", hosts(), unreadable("permission denied", 0))
	if got := allSteps(found(t, hostsLocalhostMissing, f)); !strings.Contains(got, "chmod") {
		t.Errorf("mode 0000: %s", got)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
