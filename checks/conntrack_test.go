package checks

import (
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// tracked is the table of connections, and how much its column "drop" moved with
// our SYNs; below 0: it was not seen.
func tracked(count, max, drops int) change {
	return func(f *facts.Facts) {
		f.Conntrack = &facts.Conntrack{Count: count, Max: max}
		if drops >= 0 {
			f.Conntrack.Dropped = map[string]int{"drop": drops}
		}
	}
}

func conntrackSituations() []situation {
	here := listens("127.0.0.1", 50)
	silent := dials("127.0.0.1", facts.Timeout)
	out := counts("127.0.0.1", 32, diedOnOutput)
	return of(conntrackFull,
		row{"it is full, and the drops are ours", machine("127.0.0.1", here, silent, out, tracked(262144, 262144, 33)), says("proven 127.0.0.1", "262144 of 262144", "127.0.0.1:62893")},
		row{"within a hair", machine("127.0.0.1", here, silent, out, tracked(262100, 262144, 32)), says("proven 127.0.0.1")},
		row{"one SYN", machine("127.0.0.1", here, silent, counts("127.0.0.1", 1, "OutRequests=1 OutSegs=1"), tracked(10, 10, 1)), says("inferred 127.0.0.1")},
		row{"nobody counted the drops", machine("127.0.0.1", here, silent, out, tracked(262144, 262144, -1)), says("inferred 127.0.0.1")},

		row{"half full", machine("127.0.0.1", here, silent, out, tracked(131072, 262144, 33)), nothing},
		row{"full, and nothing was dropped for it", machine("127.0.0.1", here, silent, out, tracked(262144, 262144, 0)), nothing},
		row{"full, and others are dropped", machine("127.0.0.1", here, silent, out, tracked(262144, 262144, 3)), nothing},
		row{"full, and a rule does it", machine("127.0.0.1", here, silent, out, tracked(262144, 262144, -1), walks("127.0.0.1", facts.Syn, dropped(nftRule("output", "drop")))), nothing},
		row{"full, and it is lost at input", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, diedOnInput), tracked(262144, 262144, 33)), nothing},
		row{"full, and it connects", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), tracked(262144, 262144, 33)), nothing},
		row{"nothing is tracked", machine("127.0.0.1", here, silent, out, tracked(0, 0, 33)), nothing},
	)
}

func TestConntrack(t *testing.T) { judge(t, conntrackSituations()) }

func TestConntrackFixes(t *testing.T) {
	full := []change{listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput), tracked(262144, 262144, 32)}
	expect(t, machine("127.0.0.1", full...), "broken", "active conntrack-full proven")
	steps := func(f *facts.Facts) string {
		var all []string
		for _, fix := range found(t, conntrackFull, f)[0].Fixes {
			for _, s := range fix.Steps {
				all = append(all, strings.Join(s, " "))
			}
		}
		return strings.Join(all, "; ")
	}
	if got := steps(machine("127.0.0.1", full...)); !strings.HasPrefix(got, "nft add table inet lo_notrack") || !strings.Contains(got, "nf_conntrack_max=524288") {
		t.Error(got)
	}
	inside := machine("127.0.0.1", full...)
	inside.Conntrack.Namespaced = true
	if got := steps(inside); strings.Contains(got, "sysctl") {
		t.Errorf("a namespace cannot change the limit: %s", got)
	}
	legacy := machine("127.0.0.1", append(full, engine(facts.IPTables, 3), func(f *facts.Facts) { f.Filters.Engines = f.Filters.Engines[1:] })...)
	if got := steps(legacy); !strings.HasPrefix(got, "iptables-legacy -t raw -I OUTPUT 1 -o lo -j CT --notrack") {
		t.Error(got)
	}
}
