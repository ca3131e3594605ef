package nft

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"golang.org/x/sys/unix"
)

const sample = `
table inet guard {
	set bad { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 127.0.0.9 comment "x" } }
	map ports { type inet_service : verdict; elements = { 62893 : drop, 80 : jump other } }
	set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90 } }
	chain other {
		return
	}
	chain input {
		type filter hook input priority filter; policy drop;
		tcp dport 62893 counter drop comment "no loopback"
		ip saddr @bad drop
		tcp dport vmap @ports
		ip saddr . tcp dport @pairs accept
		tcp dport { 1, 2-5 } ct state established,related jump other
		osf name "Linux" accept
	}
}
table ip asleep {
	flags dormant
	chain c {
		type nat hook output priority -100
		meta l4proto tcp redirect to :80
	}
}
table netdev wire {
	chain c {
		type filter hook ingress device lo priority 3
		ip protocol tcp drop
	}
}
table arp none {
	chain c {
		type filter hook input priority 0
	}
}
`

func TestRead(t *testing.T) {
	enterNamespace(t)
	if r := read(t); len(r.Tables) != 0 {
		t.Errorf("tables in an empty namespace: %+v", r.Tables)
	}
	load(t, sample)
	r := read(t)
	if len(r.Tables) != 3 || r.Opaque() != 0 {
		t.Fatalf("%d tables, %d opaque rules before they are looked at", len(r.Tables), r.Opaque())
	}
	guard := r.Tables[0]
	input := guard.Chain("input")
	if guard.Family != netfilter.Inet || input.Hook != netfilter.Input || !input.Drop || input.Type != "filter" || len(input.Rules) != 6 {
		t.Fatalf("chain: %+v", input)
	}
	for _, rule := range input.Rules {
		rule.Whole()
	}
	if r.Opaque() != 1 {
		t.Errorf("%d opaque rules", r.Opaque())
	}
	first := input.Rules[0]
	if first.Comment != "no loopback" || first.Packets == nil || first.Handle == 0 || first.Number != 1 {
		t.Errorf("rule: %+v", first)
	}
	if last := input.Rules[5]; last.Opaque != "osf" || len(last.Exprs) < 2 {
		t.Errorf("rule: %+v", last)
	}
	for i, want := range map[int]int{1: 5, 2: 2, 3: 1, 4: 3} {
		set := (*Set)(nil)
		for _, e := range input.Rules[i].Exprs {
			if l, ok := e.(*Lookup); ok {
				set = l.Set
			}
		}
		if set == nil {
			t.Errorf("rule %d asks no set", i)
			continue
		}
		list, err := set.Elements()
		if err != nil || len(list) != want {
			t.Errorf("set %s: %d elements %+v, %v", set.Name, len(list), list, err)
		}
	}
	asleep := r.Tables[1]
	if !asleep.Dormant || asleep.Chains[0].Type != "nat" || asleep.Chains[0].Priority != -100 || asleep.Chains[0].Hook != netfilter.Output {
		t.Errorf("table %+v: %+v", asleep, asleep.Chains[0])
	}
	wire := r.Tables[2].Chains[0]
	if wire.Hook != netfilter.Ingress || fmt.Sprint(wire.Devices) != "[lo]" || wire.Priority != 3 {
		t.Errorf("chain: %+v", wire)
	}
}

func TestReadIsForbidden(t *testing.T) {
	enterNamespace(t)
	if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); err != 0 { // of this thread alone, which ends with the test
		t.Fatal(err)
	}
	if _, err := Read(); !errors.Is(err, unix.EPERM) {
		t.Errorf("read by nobody: %v", err)
	}
}

// many is a table of so many chains of 100 rules.
func many(chains int) string {
	var rules strings.Builder
	rules.WriteString("table inet many {\n set s { type ipv4_addr\n }\n")
	for c := range chains {
		fmt.Fprintf(&rules, "chain c%d {\n", c)
		for i := range 100 {
			fmt.Fprintf(&rules, "ip saddr 10.%d.%d.0/24 tcp dport %d counter drop\n", c, i, 1000+i)
		}
		rules.WriteString("ip saddr @s drop\n}\n")
	}
	return rules.String() + "}\n"
}

// TestReadManyRules reads so many that several threads share the work.
func TestReadManyRules(t *testing.T) {
	enterNamespace(t)
	load(t, many(30))
	r := read(t)
	if len(r.Tables) != 1 || len(r.Tables[0].Chains) != 30 {
		t.Fatalf("%+v", r.Tables)
	}
	for i, c := range r.Tables[0].Chains {
		if c.Name != fmt.Sprint("c", i) || len(c.Rules) != 101 {
			t.Fatalf("chain %d: %s has %d rules", i, c.Name, len(c.Rules))
		}
		for n, rule := range c.Rules[:100] {
			want := fmt.Sprintf("ip saddr 10.%d.%d.0/24 tcp dport %d counter packets 0 bytes 0 drop", i, n, 1000+n)
			if text, _ := rule.Whole().Print(); text != want || rule.Number != n+1 || rule.Chain != c {
				t.Fatalf("rule %d of %s: %s", rule.Number, rule.Chain.Name, text)
			}
		}
	}
	if r.Opaque() != 0 {
		t.Errorf("%d opaque", r.Opaque())
	}
}

// BenchmarkRead reads 10,000 rules of ten expressions each.
func BenchmarkRead(b *testing.B) {
	enterNamespace(b)
	load(b, many(100))
	for b.Loop() {
		r, err := Read()
		if err != nil {
			b.Fatal(err)
		}
		runtime.KeepAlive(r)
		r.Close()
	}
}
