package checks

import (
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Rules that were not read may be what stops it: that none does is for who saw all.
func TestRulesNotReadAreNotNone(t *testing.T) {
	f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput), walks("127.0.0.1", facts.Syn))
	said := func() string {
		x := found(t, lostOnInput, f)[0]
		out := x.Settle
		for _, e := range x.Evidence {
			out += "\n" + e.Text
		}
		return out
	}
	if got := said(); !strings.Contains(got, "of the 41 rules read here stops it") || !strings.Contains(got, "bpftool") {
		t.Errorf("all were read, and it says\n%s", got)
	}
	f.Filters.Engines = append(f.Filters.Engines, facts.FilterEngine{Name: facts.IPTables, NotRead: "not permitted"})
	if got := said(); strings.Contains(got, "of the 41 rules read here stops it") || strings.Contains(got, "bpftool") || !strings.Contains(got, "the rules of ip_tables: not permitted") {
		t.Errorf("some were not read, and it says\n%s", got)
	}
	for with, want := range map[string]string{"net_admin": "sudo loopdoctor 127.0.0.1:62893\n", "net_admin dac_read_search": findRule + "\n"} {
		if f.Host.LookedWith = strings.Fields(with); !strings.HasPrefix(said(), want) {
			t.Errorf("who looked with %s hears\n%s\nnot %s", with, said(), want)
		}
	}
}
