package netfilter_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/nft"
	"golang.org/x/sys/unix"
)

// The kernel is the judge: random rulesets are loaded in a network namespace of our
// own, connections are made for real, and what became of them is compared with what
// the walk says. Variables choose how many and from where:
//
//	LOOPDOCTOR_RULESETS=5000 LOOPDOCTOR_SEED=1 go test -run TestKernel ./checks/host/internal/netfilter
const (
	rulesetsVariable = "LOOPDOCTOR_RULESETS"
	seedVariable     = "LOOPDOCTOR_SEED"
	insideVariable   = "LOOPDOCTOR_TEST_INSIDE"
)

// number reads one of them.
func number(t testing.TB, variable string, otherwise int) int {
	v := os.Getenv(variable)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// inside runs the test again in a network namespace of its own, and tells whether
// this is that run.
func inside(t *testing.T, programs ...string) bool {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("LOOPDOCTOR_LAB") == "required" {
				t.Fatalf("needs the program %s", p)
			}
			t.Skipf("needs the program %s", p)
		}
	}
	if os.Getenv(insideVariable) == t.Name() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace and two users")
	}
	t.Parallel() // mostly they wait for the kernel to forget old rules
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=3h")
	cmd.Env = append(os.Environ(), insideVariable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no network namespace of our own here: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
		return false
	}
	t.Logf("%s", out)
	return false
}

func command(stdin, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	return string(out), err
}

// compare tells where the walk and the kernel disagree; "" where they do not.
// decided is false where the walk could not tell.
func compare(rs *netfilter.Ruleset, c netfilter.Connection, o outcome) (wrong string, decided bool, stop *facts.FilterStop) {
	port := c.To.Port()
	for _, kind := range []string{facts.Syn, facts.SynAck, facts.Ack} {
		walk := rs.Walk(c, kind)
		lost := strings.HasPrefix(walk.Partial, "no route")
		if len(walk.Unsure) > 0 || walk.Partial != "" && !lost {
			return "", false, nil
		}
		if lost && len(walk.Stops) == 0 {
			if o.refused != nil || map[string]bool{facts.Syn: o.reached, facts.SynAck: !o.reached || o.answered, facts.Ack: !o.answered || o.port != 0}[kind] {
				return "the " + kind + " finds no route", true, nil
			}
			return "", true, nil
		}
		stopped := len(walk.Stops) > 0
		if stopped {
			stop = &walk.Stops[0]
		}
		for _, d := range walk.Diverts {
			if d.Kind == "redirect" || d.Kind == "dnat" {
				port = d.To.Port()
			}
		}
		switch {
		case kind == facts.Syn && stopped:
			if stop.Verdict == "reject" {
				// Its answer may be lost itself, or come from a port that a rule wrote.
				if o.answered || o.port != 0 {
					return "the SYN is rejected", true, stop
				}
			} else if o.reached || o.refused != nil {
				return "the SYN is dropped", true, stop
			}
		case kind == facts.SynAck && stopped:
			if !o.reached || o.answered || o.refused != nil {
				return "the SYN-ACK is stopped", true, stop
			}
		case kind == facts.Ack && stopped: // a reject of it may reach the client, which then forgets that it was answered
			if o.port != 0 || !o.answered && !(stop.Verdict == "reject" && o.refused != nil) {
				return "the ACK is stopped", true, stop
			}
		case kind == facts.Syn && !o.reached:
			return "the SYN passes", true, nil
		case kind == facts.SynAck && !o.answered && o.refused == nil:
			return "the SYN-ACK passes", true, nil
		case kind == facts.Ack && o.port != port:
			return fmt.Sprintf("the ACK passes, and %d answers", port), true, nil
		}
		if stopped {
			return "", true, stop
		}
	}
	return "", true, nil
}

var badLine = regexp.MustCompile(`(?m)^/dev/stdin:(\d+):`)

// load loads a ruleset. Rules that nft or the kernel do not take are left out.
func (w *world) load(text string) (string, bool) {
	lines := strings.Split("flush ruleset\n"+text, "\n")
	for range 6 {
		out, err := command(strings.Join(lines, "\n"), "nft", "-f", "/dev/stdin")
		if err == nil {
			return strings.Join(lines, "\n"), true
		}
		bad := badLine.FindAllStringSubmatch(out, -1)
		if bad == nil {
			w.t.Fatalf("nft: %v: %s\n%s", err, out, text)
		}
		for _, m := range bad {
			n, _ := strconv.Atoi(m[1])
			if strings.HasPrefix(lines[n-1], "\t\t") && !strings.HasPrefix(lines[n-1], "\t\ttype") {
				lines[n-1] = ""
			} else if n-1 < len(lines) {
				return out, false
			}
		}
	}
	return "", false
}

// TestKernelNFT compares with rulesets of nft.
func TestKernelNFT(t *testing.T) {
	if !inside(t, "nft", "ip") {
		return
	}
	w := newWorld(t)
	n, seed := number(t, rulesetsVariable, 300), uint64(number(t, seedVariable, 1))
	var score score
	for i := range uint64(n) {
		text, ok := w.load(nftRuleset(seed + i))
		if !ok {
			score.refused++
			t.Logf("seed %d: %s", seed+i, text)
			continue
		}
		w.judge(&score, w.read, rand.New(rand.NewPCG(seed+i, 2)), fmt.Sprintf("seed %d\n%s", seed+i, text))
		if score.wrong > 5 {
			break
		}
	}
	score.report(t, n)
}

// score counts.
type score struct {
	rulesets, refused, compared, undecided, stopped, wrong int
	why                                                    map[string]int // undecided
}

func (s *score) report(t *testing.T, n int) {
	t.Logf("%d rulesets (%d not loaded), %d connections compared, %d of them stopped, %d undecided, %d wrong",
		s.rulesets, s.refused, s.compared, s.stopped, s.undecided, s.wrong)
	t.Logf("undecided: %v", s.why)
	if s.refused*20 > n {
		t.Errorf("%d of %d rulesets could not be loaded", s.refused, n)
	}
	if s.undecided*8 > s.compared {
		t.Errorf("%d of %d connections are undecided: more than one of eight", s.undecided, s.compared)
	}
}

// read reads the rules as they are now.
func (w *world) read() *netfilter.Ruleset {
	r, err := nft.Read()
	if err != nil {
		w.t.Fatal(err)
	}
	w.readings = append(w.readings, r)
	return &netfilter.Ruleset{Tables: r.Tables}
}

// judge makes a few connections through the rules that are loaded.
func (w *world) judge(s *score, read func() *netfilter.Ruleset, g *rand.Rand, what string) {
	s.rulesets++
	for _, r := range w.readings {
		r.Close()
	}
	w.readings = nil
	rs := read()
	for range 5 {
		c := w.draw(g)
		wrong, decided, stop := compare(rs, c, w.connect(c, 0))
		if wrong != "" { // not for want of time?
			c.From = netip.AddrPortFrom(c.From.Addr(), w.draw(g).From.Port())
			o := w.connect(c, 50*time.Millisecond)
			if wrong, decided, stop = compare(rs, c, o); wrong != "" {
				s.wrong++
				w.t.Errorf("%v to %v as %d: %s, says the walk, and the kernel: %v\n%s\n%s", c.From, c.To, c.Client.UID, wrong, o, describe(rs, c), what)
			}
		}
		s.compared++
		if !decided {
			s.undecided++
			if s.why == nil {
				s.why = map[string]int{}
			}
			s.why[reason(rs, c)]++
		}
		if stop != nil {
			s.stopped++
			w.counted(s, read(), stop, c, what)
		}
	}
}

// reason is why a walk could not tell.
func reason(rs *netfilter.Ruleset, c netfilter.Connection) string {
	for _, kind := range []string{facts.Syn, facts.SynAck, facts.Ack} {
		if walk := rs.Walk(c, kind); walk.Partial != "" {
			return walk.Partial
		} else if len(walk.Unsure) > 0 {
			return walk.Unsure[0].Why
		}
	}
	return ""
}

// counted checks that the rule which the walk names is one that was met: its counter
// has moved.
func (w *world) counted(s *score, now *netfilter.Ruleset, stop *facts.FilterStop, c netfilter.Connection, what string) {
	if stop.Rule.Packets == nil || stop.Rule.Policy {
		return
	}
	for _, t := range now.Tables {
		for _, ch := range t.Chains {
			for _, r := range ch.Rules {
				if same(stop.Rule, t, r) && (r.Whole().Packets == nil || *r.Packets == 0) {
					s.wrong++
					w.t.Errorf("%v to %v as %d: %s %s rule %d (%s) is blamed, and met no packet\n%s", c.From, c.To, c.Client.UID,
						t.Name, ch.Name, r.Number, stop.Rule.Text, what)
				}
			}
		}
	}
}

// same tells whether two facts name one rule.
func same(f facts.FilterRule, t *netfilter.Table, r *netfilter.Rule) bool {
	return f.Handle == r.Handle && f.Number == r.Number && f.Chain == r.Chain.Name && f.Table == t.Name && f.Engine == t.Engine && f.Family == t.Family.String()
}

// describe prints the three walks, for a failure.
func describe(rs *netfilter.Ruleset, c netfilter.Connection) string {
	var b strings.Builder
	for _, kind := range []string{facts.Syn, facts.SynAck, facts.Ack} {
		walk := rs.Walk(c, kind)
		fmt.Fprintf(&b, "%s %v -> %v %s\n", kind, walk.From, walk.To, walk.Partial)
		for _, s := range walk.Stops {
			fmt.Fprintf(&b, "  stop %s %s: %s %s %s handle %d: %s\n", s.Where, s.Verdict, s.Rule.Family, s.Rule.Table, s.Rule.Chain, s.Rule.Handle, s.Rule.Text)
		}
		for _, d := range walk.Diverts {
			fmt.Fprintf(&b, "  %s to %v: %s handle %d\n", d.Kind, d.To, d.Rule.Table, d.Rule.Handle)
		}
		for _, d := range walk.Unsure {
			fmt.Fprintf(&b, "  unsure %s: %s %s handle %d %s\n", d.Verdict, d.Rule.Table, d.Rule.Chain, d.Rule.Handle, d.Why)
		}
	}
	return b.String()
}
