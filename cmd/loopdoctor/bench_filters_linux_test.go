package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	stages["bench-filters"] = func() { must(filterStage()) }
	stages["bench-flood"] = func() { must(floodStage()) }
}

// rulesSettle is how long a healthy run waits after rules were changed.
const rulesSettle = 500 * time.Millisecond

// filterTrial is what one world with packet filters measures.
type filterTrial struct {
	Engine string // "nft", "iptables-nft", "iptables-legacy"
	Rules  int
	Rounds int
	Pair   bool // a healthy run with the rules and one without, in turn; otherwise the last rule drops
	Flood  bool // other traffic on lo, and a fault of another place in each run
}

// filterAnswer is what it tells.
type filterAnswer struct {
	MS      []float64 // of each run
	Without []float64 // of each run without rules, where that is compared
	Wrong   []string  // what was said and is wrong
	PPS     float64   // packets of other traffic each second
}

// BenchmarkFilters measures the program where packet filters have many rules: as a
// whole process, from start to end. It needs root, and it only measures: a busy
// machine fails nothing. What the naming of a rule takes by itself is measured by
// the benchmark of the same name in checks/host.
//
//	go test ./cmd/loopdoctor -run '^$' -bench 'Filters$' -benchtime 1x
//
// With LOOPDOCTOR_BENCH_FLOOD=1 it also asks 1,000 times, as an ordinary user, where
// a connection is lost, while about 50,000 other packets each second cross lo. That
// takes minutes, and a wrong answer fails.
func BenchmarkFilters(b *testing.B) {
	if testing.Short() || os.Geteuid() != 0 {
		b.Skip("NOT RUN: it needs root, and a minute")
	}
	program := released(b)
	var table strings.Builder
	table.WriteString("| rules | run | median ms | 95th percentile | target |\n|---|---|--:|--:|---|\n")
	for _, engine := range []string{"nft", "iptables-nft", "iptables-legacy"} {
		for _, rules := range []int{1, 100, 10_000} {
			t := filterTrial{Engine: engine, Rules: rules, Rounds: 21}
			b.Run(fmt.Sprintf("%s/%d", engine, rules), func(b *testing.B) {
				for b.Loop() {
					a := t.measure(b, program)
					fmt.Fprintf(&table, "| %d of %s | dropped; root: %d of %d name the rule | %.1f | %.1f | |\n", rules, engine, len(a.MS)-len(a.Wrong), len(a.MS), part(a.MS, 50), part(a.MS, 95))
					b.ReportMetric(part(a.MS, 95), "p95-ms")
				}
			})
		}
		t := filterTrial{Engine: engine, Rules: 10_000, Rounds: 21, Pair: true}
		b.Run(engine+"/healthy", func(b *testing.B) {
			for b.Loop() {
				a := t.measure(b, program)
				ratio := part(a.MS, 50) / part(a.Without, 50)
				b.ReportMetric(ratio, "ratio")
				fmt.Fprintf(&table, "| none | healthy | %.1f | %.1f | |\n", part(a.Without, 50), part(a.Without, 95))
				fmt.Fprintf(&table, "| %d of %s | healthy | %.1f | %.1f | ratio %.2f, < 1.1: %s |\n", t.Rules, engine, part(a.MS, 50), part(a.MS, 95), ratio,
					map[bool]string{true: "met", false: "**missed**"}[ratio < 1.1])
			}
		})
	}
	if os.Getenv("LOOPDOCTOR_BENCH_FLOOD") != "" {
		b.Run("flood", func(b *testing.B) {
			for b.Loop() {
				a := filterTrial{Rounds: 1000, Flood: true}.measure(b, program)
				fmt.Fprintf(&table, "| one | lost; an ordinary user, %.0f other packets each second | %.1f | %.1f | %d of %d wrong, none: %s |\n", a.PPS, part(a.MS, 50), part(a.MS, 95),
					len(a.Wrong), len(a.MS), map[bool]string{true: "met", false: "**missed**"}[len(a.Wrong) == 0])
				for _, w := range a.Wrong[:min(len(a.Wrong), 5)] {
					b.Error(w)
				}
			}
		})
	}
	var u unix.Utsname
	_ = unix.Uname(&u)
	fmt.Printf("\n%d CPUs, kernel %s, load %s, %s\n\n%s\n", runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), load(), runtime.Version(), table.String())
}

func (t filterTrial) measure(b *testing.B, program string) (a filterAnswer) {
	b.Helper()
	for _, name := range []string{"nft", t.Engine} {
		if _, err := exec.LookPath(name); name != "" && err != nil {
			b.Skip("NOT RUN: ", err)
		}
	}
	limit := worldTime
	if t.Flood {
		limit = 30 * time.Minute
	}
	inWorld(b, program, "bench-filters", limit, t, &a)
	return a
}

// part is a percentile.
func part(ms []float64, percent int) float64 {
	if len(ms) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(ms))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// filterStage is process 1 of a world with packet filters.
func filterStage() error {
	var t filterTrial
	if err := json.Unmarshal([]byte(os.Getenv("LOOPDOCTOR_BENCH")), &t); err != nil {
		return err
	}
	if err := errors.Join(furnish(), installProgram(os.NewFile(4, "program"))); err != nil {
		return err
	}
	if err := unix.CloseRange(5, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	if err := stage("bench-serve"); err != nil {
		return err
	}
	measure := t.named
	switch {
	case t.Pair:
		measure = t.paired
	case t.Flood:
		measure = t.flooded
	}
	a, err := measure()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.NewFile(3, "answer")).Encode(a)
}

// named asks as root for the rule that drops, which is the last one.
func (t filterTrial) named() (a filterAnswer, err error) {
	if err := t.load(); err != nil {
		return a, err
	}
	for round := range t.Rounds + 1 {
		ms, out, err := ask(0)
		if err != nil || !strings.Contains(out, "lost-on-input") && !strings.Contains(out, "filter-drops-loopback, proven") {
			return a, fmt.Errorf("%w: not the expected answer:\n%s", err, out)
		}
		if round == 0 {
			continue
		}
		a.MS = append(a.MS, ms)
		if !strings.Contains(out, "filter-drops-loopback, proven") {
			a.Wrong = append(a.Wrong, out) // a busy machine: time was over
		}
	}
	return a, nil
}

// paired asks with the rules and without them, in turn.
func (t filterTrial) paired() (a filterAnswer, err error) {
	for round := range 2 * (t.Rounds + 1) {
		with := round%2 == 1
		if with {
			err = t.load()
		} else {
			err = flush()
		}
		if err != nil {
			return a, err
		}
		time.Sleep(rulesSettle) // the kernel takes rules apart behind our back
		ms, out, err := ask(0)
		if err != nil || !strings.Contains(out, "works") {
			return a, fmt.Errorf("%w: not the expected answer:\n%s", err, out)
		}
		switch {
		case round < 2: // the first does not count
		case with:
			a.MS = append(a.MS, ms)
		default:
			a.Without = append(a.Without, ms)
		}
	}
	return a, nil
}

// Where a connection is lost, and what an ordinary user is told of it.
var lostAt = []struct{ rules, expect string }{
	{"", "works"},
	{"table inet bench { chain c { type filter hook input priority 0; tcp dport " + benchPort + " drop; }; }", "lost-on-input"},
	{"table inet bench { chain c { type filter hook output priority 0; tcp dport " + benchPort + " drop; }; }", "lost-on-output"},
	{"table netdev bench { chain c { type filter hook egress device lo priority 0; tcp dport " + benchPort + " drop; }; }", "lost-on-wire"},
	{"table inet bench { chain c { type filter hook output priority 0; tcp sport " + benchPort + " drop; }; }", "reply-lost"},
}

// flooded asks as an ordinary user, while other traffic crosses lo.
func (t filterTrial) flooded() (a filterAnswer, err error) {
	if err := stage("bench-flood"); err != nil {
		return a, err
	}
	begin, before := time.Now(), crossed()
	for round := range t.Rounds {
		fault := lostAt[round%len(lostAt)]
		if err := flush(); err != nil {
			return a, err
		}
		if fault.rules != "" {
			if out, err := exec.Command("nft", fault.rules).CombinedOutput(); err != nil {
				return a, fmt.Errorf("nft: %w: %s", err, out)
			}
		}
		ms, out, err := ask(ordinary)
		if err != nil {
			return a, err
		}
		a.MS = append(a.MS, ms)
		for _, other := range lostAt {
			if strings.Contains(out, other.expect) != (other.expect == fault.expect) {
				a.Wrong = append(a.Wrong, fmt.Sprintf("run %d, %s: about %s:\n%s", round, fault.expect, other.expect, out))
				break
			}
		}
	}
	a.PPS = (crossed() - before) / time.Since(begin).Seconds()
	return a, nil
}

// ask runs the program once. That it found a fault is no error.
func ask(uid uint32) (ms float64, out string, err error) {
	cmd := exec.Command("/tmp/bin/loopdoctor", "127.0.0.1:"+benchPort)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	begin := time.Now()
	said, err := cmd.CombinedOutput()
	ms = float64(time.Since(begin).Microseconds()) / 1000
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil
	}
	return ms, string(said), err
}

// load installs the rules: about other ports, and at the end one about the port. In
// a healthy world loopback is accepted before any of them, as it is on most
// machines: what the kernel takes for ten thousand rules is not ours.
func (t filterTrial) load() error {
	var w strings.Builder
	program := []string{"nft", "-f", "-"}
	last := "tcp dport " + benchPort + " drop"
	if t.Engine == "nft" {
		w.WriteString("table inet bench {\nchain input {\ntype filter hook input priority 0; policy accept;\n")
		if t.Pair {
			w.WriteString("iif lo accept\n")
		}
		for i := range t.Rules - 1 {
			fmt.Fprintf(&w, "ip saddr 10.%d.%d.0/24 tcp dport %d counter drop\n", i/256, i%256, 20000+i)
		}
		w.WriteString(last + "\n}\n}\n")
	} else {
		program = []string{t.Engine + "-restore"}
		w.WriteString("*filter\n")
		if t.Pair {
			w.WriteString("-A INPUT -i lo -j ACCEPT\n")
		}
		for i := range t.Rules - 1 {
			fmt.Fprintf(&w, "-A INPUT -s 10.%d.%d.0/24 -p tcp -m multiport --dports %d,9 -m comment --comment \"rule %d\" -j DROP\n", i/256, i%256, 20000+i, i)
		}
		w.WriteString("-A INPUT -p tcp --dport " + benchPort + " -j DROP\nCOMMIT\n")
	}
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdin = strings.NewReader(w.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program[0], err, out)
	}
	return nil
}

// flush takes the rules of every engine away.
func flush() error {
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	if names, _ := os.ReadFile("/proc/net/ip_tables_names"); len(names) == 0 {
		return nil
	}
	if out, err := exec.Command("iptables-legacy", "-F").CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-legacy: %w: %s", err, out)
	}
	return nil
}

// crossed counts the packets that lo has received.
func crossed() float64 {
	data, _ := os.ReadFile("/proc/net/dev")
	for line := range strings.Lines(string(data)) {
		if w := strings.Fields(line); len(w) > 2 && w[0] == "lo:" {
			n, _ := strconv.ParseFloat(w[2], 64)
			return n
		}
	}
	return math.NaN()
}

// floodStage sends datagrams over lo to a socket that takes what it can, about
// 50,000 each second.
func floodStage() error {
	sink, err := net.ListenPacket("udp4", "127.0.0.1:9")
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 64)
		for {
			if _, _, err := sink.ReadFrom(buffer); err != nil {
				return
			}
		}
	}()
	c, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		return err
	}
	ready()
	const each = 100 // of the datagrams of two milliseconds
	for due := time.Now(); ; due = due.Add(2 * time.Millisecond) {
		time.Sleep(time.Until(due))
		for range each {
			_, _ = c.Write([]byte("x")) // a full buffer loses it, and nothing else
		}
		if behind := time.Since(due); behind > 100*time.Millisecond {
			due = time.Now() // what was missed is not made up for
		}
	}
}
