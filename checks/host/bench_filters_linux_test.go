package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// aloneForBench runs a benchmark again where the network is its own, prints what
// that run says, and tells whether this is that run.
func aloneForBench(b *testing.B) bool {
	b.Helper()
	const env = "LOOPDOCTOR_BENCH_ALONE"
	if os.Getenv(env) == b.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		b.Skip("NOT RUN: it needs root")
	}
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$", "-test.bench=^"+b.Name()+"$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), env+"="+b.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		b.Skipf("NOT RUN: no network namespace: %v", err)
	}
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	fmt.Printf("%s\n", out)
	return false
}

// fillers writes rules about other ports, as one text for the program that loads
// them, and behind them one about the port.
func fillers(engine string, n int) (program, text string) {
	var w strings.Builder
	if engine == "nft" {
		w.WriteString("table inet guard {\nchain input {\ntype filter hook input priority 0; policy accept;\n")
		for i := range n - 1 {
			fmt.Fprintf(&w, "ip saddr 10.%d.%d.0/24 tcp dport %d counter drop\n", i/256, i%256, 20000+i)
		}
		fmt.Fprintf(&w, "tcp dport %d drop\n}\n}\n", served)
		return "nft -f -", w.String()
	}
	w.WriteString("*filter\n")
	for i := range n - 1 {
		fmt.Fprintf(&w, "-A INPUT -s 10.%d.%d.0/24 -p tcp -m multiport --dports %d,9 -m comment --comment \"rule %d\" -j DROP\n", i/256, i%256, 20000+i, i)
	}
	fmt.Fprintf(&w, "-A INPUT -p tcp --dport %d -j DROP\nCOMMIT\n", served)
	return engine + "-restore", w.String()
}

// BenchmarkFilters measures how long it takes to name the rule that drops a
// connection, as root: the rules are read, the packets followed, and what the
// rules are restored from is looked for. And, without any privilege, how long it
// takes to say where a connection is lost: one SYN and a burst between counters.
//
//	go test ./checks/host -run '^$' -bench 'Filters$'
func BenchmarkFilters(b *testing.B) {
	if !aloneForBench(b) {
		return
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		b.Skipf("NOT RUN: %v: %s", err, out)
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(v4, served).String())
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for _, engine := range []string{"nft", "iptables-nft", "iptables-legacy"} {
		for _, rules := range []int{100, 10_000} {
			name := fmt.Sprintf("%s, %d rules", engine, rules)
			program, text := fillers(engine, rules)
			argv := strings.Fields(program)
			if _, err := exec.LookPath(argv[0]); err != nil {
				fmt.Printf("%s: NOT RUN: %v\n", name, err)
				continue
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%s: %v: %s", name, err, out)
			}
			measureFilters(b, name, engine == "nft" && rules == 100)
			exec.Command("nft", "flush", "ruleset").Run()
			exec.Command("iptables-legacy", "-F").Run()
		}
	}
}

func measureFilters(b *testing.B, name string, class bool) {
	b.Helper()
	all, err := Gather(b.Context(), []facts.Target{{Raw: v4.String(), Host: v4.String(), Port: served, Literal: true, Named: true, Network: "tcp", Intent: facts.Connect}}, Options{NoCapture: true})
	if err != nil {
		b.Fatal(err)
	}
	f := all[0]
	if f.Filters == nil || len(f.Ledger) == 0 {
		b.Fatalf("%s: %+v", name, f.Absent)
	}
	about := []suspect{{f.Dials[0], netip.AddrPortFrom(v4, served), us(), false}}
	print := func(what string, took []time.Duration) {
		slices.Sort(took)
		at := func(part int) float64 { return float64(took[len(took)*part/100].Microseconds()) / 1000 }
		fmt.Printf("%s: %s in %.2f ms (median), %.2f ms (95th percentile)\n", name, what, at(50), at(95))
	}
	spent := cpuTime()
	rounds, took := 200, []time.Duration(nil)
	if f.Filters.Engines[0].Rules > 1000 || len(f.Filters.Engines) > 1 && f.Filters.Engines[1].Rules > 1000 {
		rounds = 10
	}
	for range rounds {
		begin := time.Now()
		out, err := linuxFilters(b.Context(), f, about, true)
		took = append(took, time.Since(begin))
		if err != nil {
			b.Fatal(err)
		}
		if w := out.Walk(f.Dials[0], facts.Syn); w == nil || len(w.Stops) != 1 || len(out.Traced) > 0 {
			b.Fatalf("%s: %+v, %+v", name, w, out.Traced)
		}
	}
	print(fmt.Sprintf("rule named, with %.2f ms of a processor each,", float64((cpuTime()-spent).Microseconds())/1000/float64(rounds)), took)
	if !class {
		return
	}
	took = nil
	for range rounds {
		begin := time.Now()
		_, err1 := ledger(about[0].to, us(), 1, nil)
		many, err2 := ledger(about[0].to, us(), burst, nil)
		took = append(took, time.Since(begin))
		if err := errors.Join(err1, err2); err != nil {
			b.Fatal(err)
		}
		if d := many.Delta; d["InReceives"]-d["InDelivers"] < burst*3/4 {
			b.Fatalf("%s: not lost on the way in: %v", name, d)
		}
	}
	print("place told", took)
}

// cpuTime is what this process has had of the processors. Unlike the time on the
// clock it does not tell of others that want them.
func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
