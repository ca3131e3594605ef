package rtnetlink

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"golang.org/x/sys/unix"
)

// TestPassedRules lets each rule stand alone ahead of table local and asks the kernel:
// the route is the local one if, and only if, the rule was passed.
func TestPassedRules(t *testing.T) {
	for _, how := range []string{
		"rule add pref 10 lookup 77",
		"rule add pref 10 lookup 77 suppress_prefixlength 0; route add default dev lan0 table 77",
		"rule add pref 10 lookup 77 suppress_prefixlength 0; route add 127.0.0.0/8 dev lan0 table 77",
		"rule add pref 10 lookup 77; route add throw 127.0.0.1 table 77; route add 127.0.0.0/8 dev lan0 table 77",
		"rule add pref 10 lookup 77; route add throw 127.0.0.0/8 table 77; route add 127.0.0.1 dev lan0 table 77",
		"rule add pref 10 lookup 77; route add blackhole default table 77",
	} {
		t.Run(how, func(t *testing.T) {
			c := enterNamespace(t)
			ip(t, "link add lan0 type veth peer name lan1")
			ip(t, "addr add 192.0.2.10/24 dev lan0")
			ip(t, "link set lan0 up")
			ip(t, "rule add pref 100 lookup local")
			ip(t, "rule del pref 0")
			for _, line := range strings.Split(how, "; ") {
				ip(t, line)
			}
			local := c.Route(v4, 0, unix.IPPROTO_TCP, port).Type == "local"
			for _, r := range rules(t, c, 0) {
				if r.Priority == 10 && slices.Contains(r.Passes, v4) != local {
					t.Errorf("passes %v, while the route is local: %v", r.Passes, local)
				}
			}
		})
	}
}

func TestTableRowsOfARoute(t *testing.T) {
	c := enterNamespace(t)
	ip(t, "link add lan0 type veth peer name lan1")
	ip(t, "addr add 192.0.2.10/24 dev lan0")
	ip(t, "link set lan0 up")
	ip(t, "route del local 127.0.0.1 dev lo table local")
	ip(t, "route add 127.0.0.1 via 192.0.2.1 dev lan0 table local proto static")
	table := c.Route(v4, 0, unix.IPPROTO_TCP, port).Table
	if !slices.ContainsFunc(table, func(row facts.TableRow) bool { return row.Type == "unicast" }) {
		t.Errorf("no unicast route in %+v", table)
	}
	for _, row := range table {
		if row.Type == "unicast" && (row.Via.String() != "192.0.2.1" || row.Device != "lan0" || row.Hops) {
			t.Errorf("got %+v", row)
		}
	}
}
