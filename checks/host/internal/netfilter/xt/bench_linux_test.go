package xt

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// BenchmarkRead reads a table of 10,000 rules: what a run that failed pays for it.
func BenchmarkRead(b *testing.B) {
	enterNamespace(b)
	var rules strings.Builder
	rules.WriteString("*filter\n")
	for i := range 10_000 {
		fmt.Fprintf(&rules, "-A INPUT -s 10.%d.%d.0/24 -p tcp -m tcp --dport %d -m conntrack --ctstate NEW -m comment --comment \"rule %d\" -j DROP\n", i/256%256, i%256, 1+i, i)
	}
	rules.WriteString("COMMIT\n")
	cmd := exec.Command("iptables-legacy-restore")
	cmd.Stdin = strings.NewReader(rules.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	b.ReportAllocs()
	for b.Loop() {
		tables, err := Read(netfilter.IPv4)
		if err != nil || len(tables[0].Chain("INPUT").Rules) != 10_000 {
			b.Fatal(err)
		}
	}
}
