package netfilter

import (
	"maps"
	"testing"
)

// reading makes tables of one chain, each rule given as text, handle and counter.
func reading(handles bool, policy uint64, rules map[int]uint64, texts ...string) []*Table {
	c := &Chain{Name: "INPUT", Hook: Input, Packets: &policy}
	c.Table = &Table{Engine: "ip_tables", Family: IPv4, Name: "filter", Chains: []*Chain{c}}
	for i, text := range texts {
		packets := rules[i]
		r := &Rule{Chain: c, Number: i + 1, Packets: &packets, Print: func() (string, []string) { return text, nil }}
		if handles {
			r.Handle = uint64(len(text)) // as unique as the texts are
		}
		c.Rules = append(c.Rules, r)
	}
	return []*Table{c.Table}
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after []*Table
		want          map[string]uint64
	}{
		{"moved", reading(false, 1, map[int]uint64{0: 5}, "a", "bb"), reading(false, 1, map[int]uint64{0: 5, 1: 3}, "a", "bb"), map[string]uint64{"bb": 3}},
		{"replaced", reading(false, 1, nil, "a", "bb"), reading(false, 1, map[int]uint64{1: 3}, "a", "ccc"), nil},
		{"one more", reading(false, 1, nil, "a"), reading(false, 1, map[int]uint64{0: 3}, "a", "bb"), nil},
		{"reset", reading(false, 1, map[int]uint64{0: 5}, "a"), reading(false, 1, map[int]uint64{0: 1}, "a"), nil},
		{"by handle", reading(true, 1, map[int]uint64{0: 5, 1: 1}, "a", "bb"), reading(true, 1, map[int]uint64{0: 2, 1: 3}, "bb", "ccc"), map[string]uint64{"bb": 1}},
	} {
		got := map[string]uint64{}
		for r, n := range Diff(c.before, c.after) {
			got[textOf(r)] = n
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for chain, n := range DiffPolicies(reading(false, 1, nil), reading(false, 4, nil)) {
		if chain.Name != "INPUT" || n != 3 {
			t.Errorf("policy of %s: %d", chain.Name, n)
		}
	}
	if n := len(DiffPolicies(reading(false, 1, nil), reading(false, 4, nil))); n != 1 {
		t.Errorf("%d policies moved, want 1", n)
	}
	if n := len(Diff(nil, reading(false, 1, nil, "a"))); n != 0 {
		t.Errorf("a new table: %d", n)
	}
}
