package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func kernelPathSituations() []situation {
	return slices.Concat(
		of(loDown,
			row{"it was taken down", machine("127.0.0.1", loIsDown), says("proven 127.0.0.1 at wire", "lo is down")},
			row{"it was never up", machine("62893", loIsDown, holdsOn("lo")), says("proven 127.0.0.1 ::1", "lo is down")},
			row{"it is up", machine("127.0.0.1"), nothing},
			row{"there is none", machine("127.0.0.1", noLoopbackDevice), nothing},
			row{"another device is down", machine("127.0.0.1", holdsOn("eth0"), othersDown), nothing},
			row{"the interfaces were not seen", machine("127.0.0.1", loIsDown, unseen(facts.GroupInterfaces)), nothing},
		),
		of(loV4AddressMissing,
			row{"lo has nothing", machine("127.0.0.1", holdsOn("lo")), says("proven 127.0.0.1", "127.0.0.1", "lo")},
			row{"lo has IPv6 alone", machine("62893", holdsOn("lo", "::1/128")), says("proven 127.0.0.1")},
			row{"another device has it", machine("127.0.0.1", holdsOn("lo"), holdsOn("dummy0", "127.0.0.1/32")), nothing},
			row{"::1 was named", machine("::1", holdsOn("lo", "::1/128")), nothing},
			row{"127.0.0.2 was named", machine("127.0.0.2", holdsOn("lo", "127.0.0.2/8")), nothing},
			row{"it is there", machine("127.0.0.1"), nothing},
		),
		of(policyRuleBeforeLocal,
			row{"a VPN's table", machine("127.0.0.1", routed("127.0.0.1", "unicast", ""), rule(0, "to 127.0.0.0/8", "lookup", 51820, "127.0.0.1"), rule(0, "", "lookup", 255, "127.0.0.1")), says("proven 127.0.0.1", "0: from all to 127.0.0.0/8 lookup", "127.0.0.1:62893")},
			row{"the rule for table local is missing", machine("127.0.0.1", routed("127.0.0.1", "unicast", ""), rule(32766, "from all", "lookup", 254, "127.0.0.1")), says("proven 127.0.0.1", "for the local table is missing", "127.0.0.1:62893")},
			row{"it is missing, and no other table has a way", machine("127.0.0.1", routed("127.0.0.1", "", "ENETUNREACH"), rule(32766, "from all", "lookup", 254, "127.0.0.1"), passes), says("proven 127.0.0.1", "for the local table is missing")},
			row{"it is missing in IPv6", machine("::1", routed("::1", "", "ENETUNREACH"), rule(32766, "from all", "lookup", 254, "::1"), passes), says("proven ::1", "for the local table is missing")},
			row{"::1 works by a route in table main", machine("::1", dials("::1", facts.Connected), routed("::1", "unicast", ""), rule(32766, "from all", "lookup", 254, "::1")), nothing},
			row{"all rules of IPv6 are gone, or the kernel has none", machine("::1", routed("::1", "", "ENETUNREACH", "local ::1/128"), rule(0, "", "lookup", 255, "127.0.0.1")), says("inferred ::1", "for the local table is missing")},
			row{"it comes after that of table main", machine("127.0.0.1", routed("127.0.0.1", "unicast", ""), rule(32766, "from all", "lookup", 254, "127.0.0.1"), rule(40000, "from all", "lookup", 255, "127.0.0.1")), says("proven 127.0.0.1", "40000", "comes too late", "32766")},
			row{"an empty table stands before what takes it", machine("127.0.0.1", routed("127.0.0.1", "", "EACCES"), rule(1, "", "lookup", 100, "127.0.0.1"), passes, rule(2, "to 127.0.0.0/8", "prohibit", 0, "127.0.0.1"), rule(3, "", "lookup", 255, "127.0.0.1")), says("proven 127.0.0.1", "2: from all")},
			row{"a blackhole", machine("127.0.0.1", routed("127.0.0.1", "", "EINVAL"), rule(0, "to 127.0.0.0/8", "blackhole", 0, "127.0.0.1")), says("proven 127.0.0.1", "blackhole")},
			row{"in IPv6", machine("::1", routed("::1", "", "EACCES"), rule(0, "to ::1", "prohibit", 0, "::1")), says("proven ::1", "prohibit")},
			row{"an empty rule stands before it, and says nothing", machine("127.0.0.1", routed("127.0.0.1", "", "EINVAL"), rule(0, "", "nop", 0, "127.0.0.1"), rule(1, "to 127.0.0.0/8", "unreachable", 0, "127.0.0.1")), says("proven 127.0.0.1", "1: from all")},
			row{"the rule comes after table local", machine("127.0.0.1", routed("127.0.0.1", "blackhole", "EINVAL"), rule(0, "", "lookup", 255, "127.0.0.1"), rule(1, "to 127.0.0.0/8", "blackhole", 0, "127.0.0.1")), nothing},
			row{"the rule is for another flow", machine("127.0.0.1", routed("127.0.0.1", "", "EINVAL"), rule(0, "to 127.0.0.0/8 dport 80", "blackhole", 0), rule(0, "", "lookup", 255, "127.0.0.1")), nothing},
			row{"the rule is of the other family", machine("127.0.0.1", routed("127.0.0.1", "", "EINVAL"), rule(0, "to ::1", "blackhole", 0, "::1")), nothing},
			row{"a rule for marked packets, and the connection is lost", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput), markRule(1, "prohibit", "EACCES", "127.0.0.1"), rule(2, "", "lookup", 255, "127.0.0.1")), says("inferred 127.0.0.1", "fwmark 0x7", "on its way out")},
			row{"it comes after table local", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput), rule(0, "", "lookup", 255, "127.0.0.1"), markRule(1, "prohibit", "EACCES", "127.0.0.1")), nothing},
			row{"it leads to table local as well", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput), markRule(1, "lookup", "local", "127.0.0.1"), rule(2, "", "lookup", 255, "127.0.0.1")), nothing},
			row{"the connection is lost on its way in", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput), markRule(1, "prohibit", "EACCES", "127.0.0.1"), rule(2, "", "lookup", 255, "127.0.0.1")), nothing},
			row{"it connects", machine("127.0.0.1", dials("127.0.0.1", facts.Connected), markRule(1, "prohibit", "EACCES", "127.0.0.1"), rule(2, "", "lookup", 255, "127.0.0.1")), nothing},
			row{"the route is local all the same", machine("127.0.0.1", rule(0, "to 127.0.0.0/8", "lookup", 100, "127.0.0.1")), nothing},
		),
		of(rejectRouteOnLoopback,
			row{"a blackhole", machine("127.0.0.1", routed("127.0.0.1", "blackhole", "EINVAL", "blackhole 127.0.0.0/8")), says("proven 127.0.0.1", "blackhole", "127.0.0.0/8", "127.0.0.1:62893")},
			row{"the narrowest counts", machine("127.0.0.1", routed("127.0.0.1", "", "EACCES", "unreachable 127.0.0.0/8", "prohibit 127.0.0.1/32")), says("proven 127.0.0.1", "prohibit", "127.0.0.1/32")},
			row{"a throw, and no other table has a way", machine("127.0.0.1", routed("127.0.0.1", "", "ENETUNREACH", "throw 127.0.0.1/32", "local 127.0.0.0/8")), says("proven 127.0.0.1", "throw", "127.0.0.1/32")},
			row{"it leads to another machine", machine("127.0.0.1", routed("127.0.0.1", "unicast", "", "unicast 127.0.0.0/8")), says("proven 127.0.0.1", "unicast", "127.0.0.0/8")},
			row{"the local route is narrower", machine("127.0.0.1", routed("127.0.0.1", "unicast", "", "throw 127.0.0.0/8", "local 127.0.0.1/32")), nothing},
			row{"a default route in that table", machine("127.0.0.1", routed("127.0.0.1", "", "EHOSTUNREACH", "unreachable 0.0.0.0/0")), nothing},
			row{"in IPv6", machine("::1", routed("::1", "", "EHOSTUNREACH", "unreachable ::1/128")), says("proven ::1", "unreachable", "::1/128")},
			row{"a rule gets there first", machine("127.0.0.1", routed("127.0.0.1", "", "EINVAL", "blackhole 127.0.0.0/8"), rule(0, "to 127.0.0.0/8", "blackhole", 0, "127.0.0.1")), nothing},
			row{"the route is local", machine("127.0.0.1", routed("127.0.0.1", "local", "", "local 127.0.0.1/32", "blackhole 127.0.0.0/8")), nothing},
			row{"there is no route at all", machine("127.0.0.1", routed("127.0.0.1", "", "ENETUNREACH")), nothing},
		),
	)
}

// markRule takes packets with the mark 7, and would send one of them so.
func markRule(priority uint32, action, leads, covers string) change {
	return func(f *facts.Facts) {
		rule(priority, "fwmark 0x7", action, 100)(f)
		r := &f.Routes.Rules[len(f.Routes.Rules)-1]
		r.Marked, r.WithMark = []netip.Addr{netip.MustParseAddr(covers)}, leads
	}
}

// passes: the table of the last rule has no way for what the rule covers.
func passes(f *facts.Facts) {
	r := &f.Routes.Rules[len(f.Routes.Rules)-1]
	r.Passes = slices.Clone(r.Matches)
}

func othersDown(f *facts.Facts) {
	for i := range f.Interfaces.Others {
		f.Interfaces.Others[i].Up = false
	}
}

func TestKernelPath(t *testing.T) { judge(t, kernelPathSituations()) }

func deleted(add string) string { return strings.Replace(add, " add ", " del ", 1) }

func TestMendingThePath(t *testing.T) {
	const (
		v4Again = "ip -4 route add local 127.0.0.0/8 dev lo table local proto kernel scope host"
		v6Again = "ip -6 route add local ::1/128 dev lo table local proto kernel"
		again   = "ip -4 rule add pref 0 lookup local"
		v4First = "ip -4 rule add pref 0 to 127.0.0.0/8 lookup local"
		tunnel  = "to 127.0.0.0/8 ipproto tcp dport 62893"
	)
	local := func(priority uint32, a string) change { return rule(priority, "from all", "lookup", 255, a) }
	prescribe(t, []cure{
		{"down", loDown, machine("127.0.0.1", loIsDown), []string{"root runs ip link set lo up", "undo ip link set lo down", "lasts until reboot"}},
		{"no address", loV4AddressMissing, machine("127.0.0.1", holdsOn("lo")), []string{"root runs ip addr add 127.0.0.1/8 dev lo", "undo ip addr del 127.0.0.1/8 dev lo", "lasts until reboot"}},
		{"the rule for table local is missing", policyRuleBeforeLocal, machine("127.0.0.1", routed("127.0.0.1", "", "ENETUNREACH"), rule(32766, "from all", "lookup", 254, "127.0.0.1")),
			[]string{"root runs " + again, "undo " + deleted(again), "lasts until reboot"}},
		{"it comes after that of table main", policyRuleBeforeLocal, machine("127.0.0.1", routed("127.0.0.1", "unicast", ""), rule(32766, "from all", "lookup", 254, "127.0.0.1"), local(40000, "127.0.0.1")),
			[]string{"root runs " + again, "undo " + deleted(again), "lasts until reboot"}},
		{"a table", policyRuleBeforeLocal, machine("127.0.0.1", routed("127.0.0.1", "unicast", ""), rule(5, tunnel, "lookup", 51820, "127.0.0.1"), local(7, "127.0.0.1")),
			[]string{"root runs " + v4First, "undo " + deleted(v4First), "lasts until reboot"}},
		{"a prohibition in IPv6", policyRuleBeforeLocal, machine("::1", routed("::1", "", "EACCES"), rule(7, "to ::1", "prohibit", 0, "::1"), local(8, "::1")),
			[]string{"root runs ip -6 rule add pref 0 to ::1 lookup local", "undo ip -6 rule del pref 0 to ::1 lookup local", "lasts until reboot"}},
		{"at preference 0", policyRuleBeforeLocal, machine("127.0.0.1", routed("127.0.0.1", "unicast", ""), rule(0, tunnel, "lookup", 51820, "127.0.0.1"), local(7, "127.0.0.1")),
			[]string{"root runs " + v4First, "root runs ip -4 rule add " + tunnel + " pref 1 lookup 51820", "root runs ip -4 rule del " + tunnel + " pref 0 lookup 51820",
				"undo " + deleted(v4First), "undo ip -4 rule add " + tunnel + " pref 0 lookup 51820", "undo ip -4 rule del " + tunnel + " pref 1 lookup 51820", "lasts until reboot"}},
		{"both at preference 0", policyRuleBeforeLocal, machine("127.0.0.1", routed("127.0.0.1", "unicast", ""), rule(0, tunnel, "lookup", 51820, "127.0.0.1"), local(0, "127.0.0.1")),
			[]string{"root runs ip -4 rule add " + tunnel + " pref 1 lookup 51820", "root runs ip -4 rule del " + tunnel + " pref 0 lookup 51820",
				"undo ip -4 rule add " + tunnel + " pref 0 lookup 51820", "undo ip -4 rule del " + tunnel + " pref 1 lookup 51820",
				"undo ip -4 rule add from all pref 1 lookup 255", "undo ip -4 rule del from all pref 0 lookup 255", "undo ip -4 rule add from all pref 0 lookup 255", "undo ip -4 rule del from all pref 1 lookup 255", "lasts until reboot"}},
		{"a throw in place of the local route", rejectRouteOnLoopback, machine("127.0.0.1", routed("127.0.0.1", "", "ENETUNREACH", "throw 127.0.0.1/32")),
			[]string{"root runs ip -4 route del throw 127.0.0.1/32 table local", "root runs " + v4Again, "undo " + deleted(v4Again), "undo ip -4 route add throw 127.0.0.1/32 table local", "lasts until reboot"}},
		{"two in a row", rejectRouteOnLoopback, machine("127.0.0.1", routed("127.0.0.1", "", "ENETUNREACH", "throw 127.0.0.0/8", "unreachable 127.0.0.1/32", "local 127.0.0.0/8")),
			[]string{"root runs ip -4 route del unreachable 127.0.0.1/32 table local", "root runs ip -4 route del throw 127.0.0.0/8 table local",
				"undo ip -4 route prepend throw 127.0.0.0/8 table local", "undo ip -4 route add unreachable 127.0.0.1/32 table local", "lasts until reboot"}},
		{"ahead of a local route", rejectRouteOnLoopback, machine("127.0.0.1", routed("127.0.0.1", "", "EINVAL", "blackhole 127.0.0.1/32", "local 127.0.0.0/8")),
			[]string{"root runs ip -4 route del blackhole 127.0.0.1/32 table local", "undo ip -4 route add blackhole 127.0.0.1/32 table local", "lasts until reboot"}},
		{"in place of the local route", rejectRouteOnLoopback, machine("127.0.0.1", routed("127.0.0.1", "", "EINVAL", "blackhole 127.0.0.0/8")),
			[]string{"root runs ip -4 route del blackhole 127.0.0.0/8 table local", "root runs " + v4Again, "undo " + deleted(v4Again), "undo ip -4 route add blackhole 127.0.0.0/8 table local", "lasts until reboot"}},
		{"in place of the local route, in IPv6", rejectRouteOnLoopback, machine("::1", routed("::1", "", "EINVAL", "blackhole ::1/128")),
			[]string{"root runs ip -6 route del blackhole ::1/128 table local", "root runs " + v6Again, "undo " + deleted(v6Again), "undo ip -6 route add blackhole ::1/128 table local", "lasts until reboot"}},
	})
}
