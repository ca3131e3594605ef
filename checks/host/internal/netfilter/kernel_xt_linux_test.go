package netfilter_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/xt"
)

var badRestoreLine = regexp.MustCompile(`line:? (\d+)`)

// restore loads what iptables-restore reads. Rules that it does not take are left out.
func (w *world) restore(program, text string) (string, bool) {
	lines := strings.Split(text, "\n")
	for range 12 {
		out, err := command(strings.Join(lines, "\n"), program)
		if err == nil {
			return strings.Join(lines, "\n"), true
		}
		bad := badRestoreLine.FindAllStringSubmatch(out, -1)
		if bad == nil {
			w.t.Fatalf("%s: %v: %s\n%s", program, err, out, text)
		}
		for _, m := range bad {
			n, _ := strconv.Atoi(m[1])
			if n < 1 || n > len(lines) || !strings.HasPrefix(lines[n-1], "-A ") {
				return fmt.Sprintf("%s: %s", program, out), false
			}
			lines[n-1] = "#"
		}
	}
	return program + ": too many rules that it does not take", false
}

// readAll reads the rules of every engine. The legacy tables were registered first:
// the test does that when it begins.
func (w *world) readAll() *netfilter.Ruleset {
	rs := &netfilter.Ruleset{}
	for _, family := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		tables, err := xt.Read(family)
		if err != nil {
			w.t.Fatal(err)
		}
		rs.Tables = append(rs.Tables, tables...)
	}
	rs.Tables = append(rs.Tables, w.read().Tables...)
	return rs
}

func iptables(v6 bool) string { return map[bool]string{false: "iptables", true: "ip6tables"}[v6] }

// TestKernelIPTables compares with rulesets of iptables, of both engines, alone and
// together.
func TestKernelIPTables(t *testing.T) {
	if !inside(t, "iptables-nft-restore", "iptables-legacy-restore", "ip6tables-nft-restore", "ip6tables-legacy-restore", "ipset", "ip", "nft") {
		return
	}
	w := newWorld(t)
	if out, err := command(ipsets, "ipset", "restore"); err != nil {
		t.Fatal(out)
	}
	n, seed := number(t, rulesetsVariable, 80), uint64(number(t, seedVariable, 1))
	var score score
	for _, v6 := range []bool{false, true} { // registers the legacy tables before any other
		w.restore(iptables(v6)+"-legacy-restore", xtRuleset(0, v6, true))
	}
	used := false
	for i := range uint64(n) {
		g := rand.New(rand.NewPCG(seed+i, 3))
		engines, v6 := g.IntN(3), g.IntN(2) == 0 // 0: nft, 1: legacy, 2: both
		w.only = map[bool]int{false: 4, true: 6}[v6]
		text, ok := "", true
		if out, err := command("flush ruleset", "nft", "-f", "-"); err != nil {
			t.Fatal(out)
		}
		for _, other := range []bool{false, true} {
			if used && (engines == 0 || other != v6) {
				w.restore(iptables(other)+"-legacy-restore", xtRuleset(0, other, true))
			}
		}
		if used = engines != 0; used {
			legacy, taken := w.restore(iptables(v6)+"-legacy-restore", xtRuleset(seed+i+1<<32, v6, false))
			ok = ok && taken
			text += "\n" + iptables(v6) + "-legacy\n" + legacy
		}
		if engines != 1 {
			modern, taken := w.restore(iptables(v6)+"-nft-restore", xtRuleset(seed+i, v6, false))
			ok = ok && taken
			text += "\n" + iptables(v6) + "-nft\n" + modern
		}
		if !ok {
			score.refused++
			t.Logf("seed %d: %s", seed+i, text)
			continue
		}
		w.judge(&score, w.readAll, rand.New(rand.NewPCG(seed+i, 2)), fmt.Sprintf("seed %d%s", seed+i, text))
		if score.wrong > 5 {
			break
		}
	}
	score.report(t, n)
}
