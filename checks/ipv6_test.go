package checks

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func ipv6Situations() []situation {
	tried := dials("::1", facts.Skipped, errno(noFamily))
	return slices.Concat(
		of(ipv6Off,
			row{"a sandbox", machine("::1", ipv6(true, false), noIPv6(true), tried), says("proven ::1", "sandbox")},
			row{"a sandbox that forbids netlink too", machine("::1", unseen(facts.GroupInterfaces), noIPv6(true), tried), says("proven ::1", "seccomp")},
			row{"the kernel was told not to", machine("::1", holdsOn("lo", "127.0.0.1/8"), ipv6(false, false), module, noIPv6(false), tried), says("proven ::1", "ipv6.disable=1")},
			row{"the kernel has none", machine("::1", holdsOn("lo", "127.0.0.1/8"), ipv6(false, false), noIPv6(false), tried), says("proven ::1", "does not speak IPv6")},
			row{"nobody can tell why", machine("::1", unseen(facts.GroupInterfaces), noIPv6(false), tried), says("inferred ::1")},
			row{"a server wants it", machine("::1", toBind, ipv6(true, false), noIPv6(true), binds("::1", noFamily, true)), says("proven ::1")},
			row{"127.0.0.1 was meant", machine("127.0.0.1", noIPv6(true)), nothing},
			row{"IPv6 is off on lo alone", machine("::1", holdsOn("lo", "127.0.0.1/8"), ipv6(true, true)), nothing},
		),
		of(addressNotReady,
			row{"another machine has it", machine("2001:db8::1", toBind, notReady("2001:db8::1", "dadfailed"), binds("2001:db8::1", "EADDRNOTAVAIL", true)), says("proven 2001:db8::1", "Another machine", "eth0")},
			row{"a moment after the network came up", machine("2001:db8::1", notReady("2001:db8::1", "tentative"), dials("2001:db8::1", facts.Unreachable)), says("proven 2001:db8::1", "still asking")},
			row{"it works meanwhile", machine("2001:db8::1", notReady("2001:db8::1", "tentative"), listens("2001:db8::1", 5), dials("2001:db8::1", facts.Connected)), nothing},
			row{"nothing listens there", machine("2001:db8::1", notReady("2001:db8::1", "tentative"), dials("2001:db8::1", facts.Refused)), nothing},
			row{"another address is not ready", machine("127.0.0.1", notReady("2001:db8::1", "dadfailed"), dials("127.0.0.1", facts.Unreachable)), nothing},
		),
	)
}

func TestIPv6(t *testing.T) { judge(t, ipv6Situations()) }

// Without sight of the kernel's settings the family is all that is known; with
// it, a kernel that speaks no IPv6 is named once.
func TestNoIPv6IsNamedOnce(t *testing.T) {
	tried := dials("::1", facts.Skipped, errno(noFamily))
	expect(t, machine("::1", holdsOn("lo", "127.0.0.1/8"), ipv6(false, false), noIPv6(false), tried), "broken", "active ipv6-off-eafnosupport proven", "latent no-listener proven")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 5), noIPv6(true), dials("127.0.0.1", facts.Connected)), "works")
}

// The line that asks for IPv6 is quoted, since it is what has to go.
func TestTheLineThatAsksForIPv6(t *testing.T) {
	f := machine("::", toBind, ipv6(true, false), noIPv6(true), binds("::", noFamily, true))
	f.Configs = &facts.Configs{Lines: []facts.ConfigLine{
		{Program: "nginx", File: "/etc/nginx/sites-enabled/default", Line: 3, Text: "listen [::]:62893;", Addr: netip.IPv6Unspecified(), Port: port},
		{Program: "nginx", File: "/etc/nginx/sites-enabled/default", Line: 2, Text: "listen 62893;", Addr: netip.IPv4Unspecified(), Port: port}}}
	x := found(t, ipv6Off, f)
	if len(x) != 1 || len(x[0].Evidence) != 3 || x[0].Evidence[2] != (Evidence{"/etc/nginx/sites-enabled/default:3", "listen [::]:62893;"}) {
		t.Errorf("got %+v", x)
	}
}

func TestMendingIPv6(t *testing.T) {
	all := func(f *facts.Facts) { f.Interfaces.IPv6.All = true }
	off := []string{"root runs sysctl -w net.ipv6.conf.lo.disable_ipv6=0", "undo sysctl -w net.ipv6.conf.lo.disable_ipv6=1", "lasts until reboot", "by hand"}
	prescribe(t, []cure{
		{"off on lo", localhostBindV6Missing, machine("::1", holdsOn("lo", "127.0.0.1/8"), ipv6(true, true)), off},
		{"off on all", localhostBindV6Missing, machine("::1", holdsOn("lo", "127.0.0.1/8"), ipv6(true, true), all), off},
		{"a small MTU as well", loMTUTooSmall, machine("::1", holdsOn("lo", "127.0.0.1/8"), mtu(1000), ipv6(true, true)),
			[]string{"root runs ip link set lo mtu 65536", off[0], off[1], "undo ip link set lo mtu 1000", "lasts until reboot"}},
	})
}

func noIPv6(filtered bool) change {
	return func(f *facts.Facts) { f.Limits.NoIPv6, f.Limits.Seccomp = true, filtered }
}

func module(f *facts.Facts) { f.Interfaces.IPv6.Module = true }

// notReady gives eth0 an address that is not to be used.
func notReady(a, why string) change {
	return func(f *facts.Facts) {
		holdsOn("eth0", a+"/64")(f)
		i := &f.Interfaces.Others[len(f.Interfaces.Others)-1]
		i.NotReady = []facts.NotReady{{Addr: netip.MustParseAddr(a), Why: why}}
	}
}
