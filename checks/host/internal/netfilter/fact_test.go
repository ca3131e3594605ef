package netfilter

import (
	"reflect"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestFact(t *testing.T) {
	packets := uint64(7)
	table := &Table{Engine: facts.NFTables, Family: Inet, Name: "guard", Owner: 12}
	base := &Chain{Table: table, Name: "input", Hook: Input, Priority: 5, Type: "filter", Drop: true, Devices: []string{"eth0", "lo"}}
	other := &Chain{Table: table, Name: "bad"}
	table.Chains = []*Chain{base, other}
	base.Rules = []*Rule{{Chain: base, Handle: 3, Number: 1}}
	text, words := "tcp dport 62893 drop", []string{"tcp", "dport", "62893", "drop"}
	for i := range uint64(2) {
		other.Rules = append(other.Rules, &Rule{Chain: other, Handle: 8 + i, Number: int(i) + 1, Comment: "c", Packets: &packets,
			Print: func() (string, []string) { return text, words }})
	}
	want := facts.FilterRule{Engine: facts.NFTables, Family: "inet", Table: "guard", Chain: "bad", Hook: "input", Priority: 5, Device: "lo",
		Path: []string{"input", "bad"}, Handle: 8, Number: 1, Text: text, Words: words, Comment: "c", Packets: &packets, Owner: "pid 12", Next: 9, First: 3}
	if got := other.Rules[0].Fact(base, []string{"input", "bad"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	text, words = strings.Repeat("é", maxText), []string{strings.Repeat("x", maxWords)}
	if got := other.Rules[1].Fact(base, nil); len(got.Text) > maxText+len("…") || !strings.HasSuffix(got.Text, "é…") || got.Words != nil || got.Next != 0 {
		t.Errorf("a rule that is long: %d bytes, %d words, next %d", len(got.Text), len(got.Words), got.Next)
	}
	policy := facts.FilterRule{Engine: facts.NFTables, Family: "inet", Table: "guard", Chain: "input", Hook: "input", Priority: 5, Device: "lo",
		Policy: true, Text: "policy drop", Owner: "pid 12", First: 3}
	if got := base.PolicyFact(); !reflect.DeepEqual(got, policy) {
		t.Errorf("got  %+v\nwant %+v", got, policy)
	}
}

func TestChainsOfIPTables(t *testing.T) {
	chain := func(table, name string, hook Hook, priority int, typ string) *Chain {
		tb := &Table{Engine: facts.NFTables, Family: IPv4, Name: table}
		c := &Chain{Table: tb, Name: name, Hook: hook, Priority: priority, Type: typ}
		tb.Chains = []*Chain{c, {Table: tb, Name: "user"}}
		return c
	}
	for _, test := range []struct {
		c    *Chain
		want bool
	}{
		{chain("filter", "INPUT", Input, 0, "filter"), true},
		{chain("nat", "OUTPUT", Output, -100, "nat"), true},
		{chain("nat", "POSTROUTING", Postrouting, 100, "nat"), true},
		{chain("mangle", "OUTPUT", Output, -150, "route"), true},
		{chain("raw", "PREROUTING", Prerouting, -300, "filter"), true},
		{chain("security", "INPUT", Input, 150, "filter"), true},
		{chain("security", "INPUT", Input, 50, "filter"), false}, // iptables-nft has 150 there
		{chain("filter", "input", Input, 0, "filter"), false},
		{chain("filter", "INPUT", Input, 1, "filter"), false},
		{chain("filter", "INPUT", Output, 0, "filter"), false},
		{chain("mangle", "OUTPUT", Output, -150, "filter"), false},
		{chain("mine", "INPUT", Input, 0, "filter"), false},
	} {
		if got := test.c.IPTables(); got != test.want || test.c.Table.Chains[1].IPTables() != test.want {
			t.Errorf("%s %s: %v", test.c.Table.Name, test.c.Name, got)
		}
		if got := test.c.PolicyFact(); got.IPTables != test.want || got.Text != map[bool]string{true: "policy ACCEPT", false: "policy accept"}[test.want] {
			t.Errorf("policy of %s %s: %+v", test.c.Table.Name, test.c.Name, got)
		}
	}
	inet := chain("filter", "INPUT", Input, 0, "filter")
	inet.Table.Family = Inet
	legacy := chain("filter", "INPUT", Input, 0, "filter")
	legacy.Table.Engine = facts.IPTables
	if inet.IPTables() || legacy.IPTables() || legacy.PolicyFact().Text != "policy ACCEPT" {
		t.Error("a chain of another family or engine")
	}
}
