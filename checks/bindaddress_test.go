package checks

import (
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func bindAddressSituations() []situation {
	return slices.Concat(
		of(v6OnlyServerV4Client,
			row{"::1 is served, 127.0.0.1 was named", machine("127.0.0.1", listens("::1", 50, named("vite"))), says("proven 127.0.0.1", "vite (pid 50)", "[::1]:62893", "127.0.0.1:62893")},
			row{"::1 is served, and no address was named", machine("62893", listens("::1", 50)), says("remark 127.0.0.1")},
			row{"two listeners, one in each family", machine("62893", listens("::1", 50), listens("127.0.0.1", 50)), nothing},
			row{"one listener for both families", machine("127.0.0.1", listens("::", 50)), nothing},
			row{"[::] without IPv4 has a name of its own", machine("127.0.0.1", listens("::", 50, v6only)), nothing},
			row{"::1 was named", machine("::1", listens("::1", 50)), nothing},
			row{"nothing listens", machine("127.0.0.1"), nothing},
			row{"::1 is served on another port", machine("127.0.0.1", listens("::1", 50, onPort(5173))), nothing},
			row{"the question is who can bind", machine("127.0.0.1", toBind, listens("::1", 50)), nothing},
		),
		of(v4OnlyServerV6Client,
			row{"127.0.0.1 is served, ::1 was named", machine("::1", listens("127.0.0.1", 50)), says("proven ::1", "server (pid 50)", "127.0.0.1:62893", "[::1]:62893")},
			row{"all IPv4 addresses are served, ::1 was named", machine("::1", listens("0.0.0.0", 50)), says("proven ::1", "0.0.0.0:62893")},
			row{"the mapped address is served, ::1 was named", machine("::1", listens("::ffff:127.0.0.1", 50)), says("proven ::1")},
			row{"of the name localhost the order is the matter", machine("localhost", listens("127.0.0.1", 50)), nothing},
			row{"both are served", machine("::1", listens("127.0.0.1", 50), listens("::1", 50)), nothing},
			row{"one listener for both families", machine("::1", listens("::", 50)), nothing},
			row{"127.0.0.1 was named", machine("127.0.0.1", listens("127.0.0.1", 50)), nothing},
			row{"nothing listens", machine("::1"), nothing},
		),
		of(v6FirstV4OnlyServer,
			row{"::1 comes first, 127.0.0.1 is served", machine("localhost", hosts("::1", "127.0.0.1"), listens("127.0.0.1", 50)), says("remark ::1", "localhost", "server (pid 50)", "127.0.0.1:62893")},
			row{"127.0.0.1 comes first", machine("localhost", listens("127.0.0.1", 50)), nothing},
			row{"::1 is served too", machine("localhost", hosts("::1", "127.0.0.1"), listens("::", 50)), nothing},
			row{"only ::1 is served", machine("localhost", hosts("::1", "127.0.0.1"), listens("::1", 50)), nothing},
			row{"nothing listens", machine("localhost", hosts("::1", "127.0.0.1")), nothing},
			row{"an address was named", machine("::1", hosts("::1", "127.0.0.1"), listens("127.0.0.1", 50)), nothing},
			row{"::1 is not refused, but lost", machine("localhost", hosts("::1", "127.0.0.1"), listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Timeout)), nothing},
			row{"a health check says it", machine("localhost", hosts("::1", "127.0.0.1"), listens("127.0.0.1", 50), inContainer, hasWget), nothing},
			row{"localhost is nothing here", machine("localhost", hosts(), listens("127.0.0.1", 50)), nothing},
		),
		of(v6OnlyWildcard,
			row{"[::] refuses IPv4", machine("127.0.0.1", listens("::", 50, v6only, named("nginx"))), says("proven 127.0.0.1", "nginx (pid 50)", "[::]:62893", "127.0.0.1:62893")},
			row{"[::] refuses IPv4, and no address was named", machine("62893", listens("::", 50, v6only)), says("remark 127.0.0.1")},
			row{"a twin serves IPv4", machine("62893", listens("::", 50, v6only), listens("0.0.0.0", 50)), nothing},
			row{"[::] serves both", machine("127.0.0.1", listens("::", 50)), nothing},
			row{"::1 was named", machine("::1", listens("::", 50, v6only)), nothing},
			row{"it is ::1, not [::]", machine("127.0.0.1", listens("::1", 50, v6only)), nothing},
		),
		of(lanIPOnlyBind,
			row{"it listens on the address of eth0", machine("127.0.0.1", listens("192.0.2.7", 50)), says("proven 127.0.0.1", "server (pid 50)", "192.0.2.7:62893", "127.0.0.1:62893")},
			row{"it listens on another loopback address", machine("62893", listens("127.0.0.2", 50)), says("proven 127.0.0.1 ::1", "127.0.0.2:62893")},
			row{"it listens on the mapped address of eth0", machine("127.0.0.1", listens("::ffff:192.0.2.7", 50)), says("proven 127.0.0.1")},
			row{"it listens on 127.0.0.1 as well", machine("62893", listens("192.0.2.7", 50), listens("127.0.0.1", 50)), nothing},
			row{"it listens everywhere", machine("127.0.0.1", listens("0.0.0.0", 50)), nothing},
			row{"it listens on ::1, which is a matter of family", machine("127.0.0.1", listens("::1", 50)), nothing},
			row{"it is tied to eth0, which is a matter of device", machine("127.0.0.1", listens("192.0.2.7", 50, device("eth0"))), nothing},
			row{"127.0.0.2 was named, 127.0.0.1 is served", machine("127.0.0.2", listens("127.0.0.1", 50)), says("proven 127.0.0.2", "127.0.0.1:62893", "127.0.0.2:62893")},
			row{"nothing listens", machine("127.0.0.1"), nothing},
		),
		of(listenerPinnedToDevice,
			row{"it is tied to eth0", machine("127.0.0.1", listens("0.0.0.0", 50, device("eth0"))), says("proven 127.0.0.1", "server (pid 50)", "0.0.0.0:62893", "eth0")},
			row{"it is tied to a VRF, in both families", machine("62893", listens("::", 50, device("mgmt"))), says("proven 127.0.0.1 ::1", "mgmt")},
			row{"it is tied to lo", machine("127.0.0.1", listens("127.0.0.1", 50, device("lo"))), nothing},
			row{"a twin is tied to nothing", machine("127.0.0.1", listens("0.0.0.0", 50, device("eth0")), listens("127.0.0.1", 51)), nothing},
			row{"it would not serve the address in any case", machine("127.0.0.1", listens("::1", 50, device("eth0"))), nothing},
			row{"a client is tied to eth0", machine("127.0.0.1", holds(facts.Established, "127.0.0.1", "127.0.0.1:9", 50, device("eth0"))), nothing},
		),
	)
}

func TestBindAddress(t *testing.T) { judge(t, bindAddressSituations()) }

// How a server is told to listen elsewhere only its own documentation knows:
// nothing here can be run.
func TestBindAddressIsCuredByHand(t *testing.T) {
	for _, s := range bindAddressSituations() {
		for _, x := range found(t, s.check, s.facts) {
			for _, fix := range x.Fixes {
				if got := spell(fix); !slices.Equal(got, []string{"by hand"}) || fix.Do == "" {
					t.Errorf("%s: %q with %q", s, fix.Do, got)
				}
			}
		}
	}
}

func bindV6Only(f *facts.Facts) { f.Interfaces.IPv6.BindV6Only = true }

// The setting of the system is undone where it is one, and only there.
func TestMendingAWildcard(t *testing.T) {
	prescribe(t, []cure{
		{"the program's own", v6OnlyWildcard, machine("127.0.0.1", listens("::", 50, v6only)), []string{"by hand"}},
		{"the system's", v6OnlyWildcard, machine("127.0.0.1", listens("::", 50, v6only), bindV6Only),
			[]string{"by hand", "root runs sysctl -w net.ipv6.bindv6only=0", "undo sysctl -w net.ipv6.bindv6only=1", "lasts until reboot"}},
	})
}
