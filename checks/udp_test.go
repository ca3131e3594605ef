package checks

import (
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func udpSituations() []situation {
	const v4, v6 = "127.0.0.1", "::1"
	has := func(on string, changes ...mark) change { return udp(facts.Bound, on, "", 50, changes...) }
	return slices.Concat(
		of(v6OnlyServerV4Client,
			row{"it has ::1", machine(v4, asksUDP, has(v6)), says("proven 127.0.0.1", "server (pid 50)", "IPv6 only")},
			row{"it has both", machine(v4, asksUDP, has(v6), has(v4)), nothing},
			row{"it has another address of IPv4, too", machine(v4, asksUDP, has(v6), has("192.0.2.7")), nothing},
			row{"it is a client's", machine(v4, asksUDP, udp(facts.Established, v6, "[::1]:53", 50)), nothing},
			row{"nobody has it", machine(v4, asksUDP), nothing},
		),
		of(v6OnlyWildcard,
			row{"it has [::] alone", machine(v4, asksUDP, has("::", v6only)), says("proven 127.0.0.1", "IPV6_V6ONLY")},
			row{"it has [::] with IPv4", machine(v4, asksUDP, has("::")), nothing},
			row{"another has IPv4", machine(v4, asksUDP, has("::", v6only), has("0.0.0.0")), nothing},
			row{"the client uses IPv6", machine(v6, asksUDP, has("::", v6only)), nothing},
		),
		of(v4OnlyServerV6Client,
			row{"it has 127.0.0.1", machine(v6, asksUDP, has(v4)), says("proven ::1", "IPv4 only")},
			row{"it has all of IPv4", machine(v6, asksUDP, has("0.0.0.0")), says("proven ::1", "IPv4 only")},
			row{"it has both", machine(v6, asksUDP, has("0.0.0.0"), has(v6)), nothing},
		),
		of(noListener,
			row{"its socket is connected", machine(v4, asksUDP, udp(facts.Established, v4, "127.0.0.1:9999", 50)), says("proven 127.0.0.1", "server (pid 50)", "connected it to 127.0.0.1:9999")},
			row{"and another is not", machine(v4, asksUDP, udp(facts.Established, v4, "127.0.0.1:9999", 50), has("0.0.0.0")), nothing},
			row{"it has another address", machine(v4, asksUDP, has("192.0.2.7")), says("proven 127.0.0.1", "No program has")},
		),
	)
}

func TestUDPServers(t *testing.T) { judge(t, udpSituations()) }
