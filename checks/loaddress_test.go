package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func loAddressSituations() []situation {
	unreached := func(to string) change { return dials(to, facts.Unreachable) }
	return slices.Concat(
		of(localTableRouteMissing,
			row{"127.0.0.1 is on lo, and table local is empty", machine("127.0.0.1", routed("127.0.0.1", "", "ENETUNREACH"), unreached("127.0.0.1")), says("proven 127.0.0.1", "table local", "127.0.0.1")},
			row{"another address of 127.0.0.0/8", machine("127.0.0.2", routed("127.0.0.2", "unicast", "")), says("proven 127.0.0.2")},
			row{"in IPv6", machine("::1", routed("::1", "", "ENETUNREACH")), says("proven ::1")},
			row{"nobody has the address", machine("127.0.0.1", holdsOn("lo"), routed("127.0.0.1", "", "ENETUNREACH")), nothing},
			row{"a rule gets there first", machine("127.0.0.1", routed("127.0.0.1", "", "EACCES"), rule(0, "to 127.0.0.0/8", "prohibit", 0, "127.0.0.1")), nothing},
			row{"a blackhole stands there", machine("127.0.0.1", routed("127.0.0.1", "", "EINVAL", "blackhole 127.0.0.0/8")), nothing},
			row{"a default route in that table is no local route", machine("127.0.0.1", routed("127.0.0.1", "", "EHOSTUNREACH", "unreachable 0.0.0.0/0")), says("proven 127.0.0.1", "table local")},
			row{"a throw stands there", machine("127.0.0.1", routed("127.0.0.1", "", "ENETUNREACH", "throw 127.0.0.1/32")), nothing},
			row{"the route is local", machine("127.0.0.1"), nothing},
		),
		of(addressNotOnThisMachine,
			row{"no interface has it", machine("192.0.2.77", toBind, holdsOn("lan0", "192.0.2.10/24"), binds("192.0.2.77", "EADDRNOTAVAIL", true)), says("proven 192.0.2.77", "192.0.2.77", "192.0.2.10 (lan0)")},
			row{"the machine has loopback alone", machine("192.0.2.77", toBind, binds("192.0.2.77", "EADDRNOTAVAIL", true)), says("proven 192.0.2.77", "none but loopback")},
			row{"an interface has it", machine("192.0.2.10", toBind, holdsOn("lan0", "192.0.2.10/24"), binds("192.0.2.10", "EADDRNOTAVAIL", true)), nothing},
			row{"it can be bound all the same", machine("192.0.2.77", toBind, binds("192.0.2.77", "", true)), nothing},
			row{"it is held", machine("192.0.2.77", toBind, binds("192.0.2.77", "EADDRINUSE", true)), nothing},
			row{"127.0.0.2 is another matter", machine("127.0.0.2", toBind, holdsOn("lo", "127.0.0.1/32"), binds("127.0.0.2", "EADDRNOTAVAIL", true)), nothing},
		),
		of(loopbackAliasMissing,
			row{"lo has one address alone", machine("127.0.0.2", holdsOn("lo", "127.0.0.1/32"), unreached("127.0.0.2")), says("proven 127.0.0.2", "127.0.0.2", "127.0.0.1/32")},
			row{"lo has none", machine("127.0.0.2", holdsOn("lo")), says("proven 127.0.0.2", "none")},
			row{"lo has the whole of it", machine("127.0.0.2"), nothing},
			row{"another device has it", machine("127.0.0.2", holdsOn("lo", "127.0.0.1/32"), holdsOn("dummy0", "127.0.0.2/32")), nothing},
			row{"127.0.0.1 is another matter", machine("127.0.0.1", holdsOn("lo")), nothing},
		),
		of(localhostBindV6Missing,
			row{"IPv6 is off on lo", machine("::1", holdsOn("lo", "127.0.0.1/8"), ipv6(true, true), unreached("::1")), says("proven ::1", "disable_ipv6")},
			row{"the address was removed", machine("::1", holdsOn("lo", "127.0.0.1/8"), ipv6(true, false)), says("proven ::1", "::1 is missing from lo")},
			row{"the kernel has no IPv6", machine("::1", holdsOn("lo", "127.0.0.1/8")), says("proven ::1", "does not speak IPv6")},
			row{"a server wants it", machine("::1", toBind, holdsOn("lo", "127.0.0.1/8"), ipv6(true, true), binds("::1", "EADDRNOTAVAIL", true)), says("proven ::1")},
			row{"127.0.0.1 was meant", machine("127.0.0.1", holdsOn("lo", "127.0.0.1/8")), nothing},
			row{"it is there", machine("::1"), nothing},
		),
		of(loMTUTooSmall,
			row{"below what IPv6 needs", machine("::1", holdsOn("lo", "127.0.0.1/8"), mtu(1000), unreached("::1")), says("proven ::1", "1000", "1280")},
			row{"just enough", machine("::1", holdsOn("lo", "127.0.0.1/8"), mtu(1280)), nothing},
			row{"small, and ::1 was given back", machine("::1", mtu(1000)), nothing},
			row{"127.0.0.1 was meant", machine("127.0.0.1", mtu(1000)), nothing},
		),
		of(sourcePortsExhausted,
			row{"every port is in use towards it", machine("127.0.0.1", listens("127.0.0.1", 50), ports(40000, 40009), clientsTo(10, "127.0.0.1"), noPort("127.0.0.1")), says("proven 127.0.0.1", "10 of the 10", "time-wait")},
			row{"one process has them", machine("127.0.0.1", listens("127.0.0.1", 50), ports(40000, 40009), clientsTo(10, "127.0.0.1"), noPort("127.0.0.1"), portUse(10, 10)), says("proven 127.0.0.1", "10 of the 10", "held by crawler (pid 77)")},
			row{"each port is bound for every far end", machine("127.0.0.1", listens("127.0.0.1", 50), ports(40000, 40009), noPort("127.0.0.1"), portUse(10, 10)), says("proven 127.0.0.1", "10 of the 10 temporary ports of this machine", "crawler")},
			row{"some are bound", machine("127.0.0.1", listens("127.0.0.1", 50), ports(40000, 40009), noPort("127.0.0.1"), portUse(4, 4)), nothing},
			row{"towards another address", machine("127.0.0.1", listens("127.0.0.1", 50), ports(40000, 40009), clientsTo(10, "127.0.0.2"), noPort("127.0.0.1")), nothing},
			row{"a few are in use", machine("127.0.0.1", listens("127.0.0.1", 50), ports(40000, 40009), clientsTo(3, "127.0.0.1"), noPort("127.0.0.1")), nothing},
			row{"it connects all the same", machine("127.0.0.1", listens("127.0.0.1", 50), ports(40000, 40009), clientsTo(10, "127.0.0.1"), dials("127.0.0.1", facts.Connected)), nothing},
			row{"there is no ::1 to connect from", machine("::1", holdsOn("lo", "127.0.0.1/8"), ports(40000, 40009), clientsTo(10, "::1"), noPort("::1")), nothing},
		),
	)
}

func TestAddressesOfLo(t *testing.T) { judge(t, loAddressSituations()) }

func TestMendingAddressesOfLo(t *testing.T) {
	const whole = "ip -4 route add local 127.0.0.0/8 dev lo table local proto kernel scope host"
	prescribe(t, []cure{
		{"the whole prefix", localTableRouteMissing, machine("127.0.0.2", routed("127.0.0.2", "", "ENETUNREACH")),
			[]string{"root runs " + whole, "undo " + deleted(whole), "lasts until reboot"}},
		{"MTU, then the address", loMTUTooSmall, machine("::1", holdsOn("lo", "127.0.0.1/8"), mtu(1000)),
			[]string{"root runs ip link set lo mtu 65536", "root runs ip -6 addr add ::1/128 dev lo", "undo ip link set lo mtu 1000", "lasts until reboot"}},
	})
}

func ipv6(present, disabled bool) change {
	return func(f *facts.Facts) { f.Interfaces.IPv6 = facts.IPv6State{Present: present, Disabled: disabled} }
}

func mtu(n int) change { return func(f *facts.Facts) { f.Interfaces.Loopback.MTU = n } }

func ports(low, high int) change {
	return func(f *facts.Facts) { f.Limits.EphemeralLow, f.Limits.EphemeralHigh = low, high }
}

// clientsTo is n connections in TIME_WAIT on the clients' side, from port 40000 on.
func clientsTo(n int, to string) change {
	return func(f *facts.Facts) {
		for i := range n {
			f.Sockets.Sockets = append(f.Sockets.Sockets, facts.Socket{Network: "tcp", State: facts.TimeWait,
				Local: netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", 40000+i)), Remote: addr(to)})
		}
	}
}

// portUse is who has temporary ports: a crawler, and somebody who is not seen.
func portUse(n, held int) change {
	return func(f *facts.Facts) {
		f.Sockets.Temporary = &facts.PortUse{Ports: n, Sockets: n, Users: []facts.PortUser{
			{UID: 1000, Process: &facts.Process{PID: 77, Name: "crawler", UID: 1000, User: "ann"}, Sockets: held - 1}, {UID: 33, Sockets: 1}}}
	}
}

func noPort(to string) change {
	return dials(to, facts.Unreachable, func(d *facts.Dial) { d.Errno = "EADDRNOTAVAIL" })
}
