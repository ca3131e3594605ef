package host

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/nft"
)

// The kernel names the rule where nobody could foresee it, for the very client whom
// it concerns; nothing of that stays, and it is said.
func TestTraceNamesTheRule(t *testing.T) {
	if !alone(t) {
		return
	}
	rules := func(what string) string {
		return fmt.Sprintf("table inet guard {\nchain bad {\n%s\n}\nchain tcp_in {\ntcp dport 9 drop\njump bad\n}\nchain input {\ntype filter hook input priority 0; policy accept;\nct state established accept\njump tcp_in\n}\n}\n", what)
	}
	limit := fmt.Sprintf("tcp dport %d limit rate over 1/day burst 1 packets ", served)
	us := facts.Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	other := facts.Identity{UID: 65534, GID: 65534}
	for family, a := range families {
		for _, test := range []struct {
			name  string
			as    facts.Identity
			rules string
			want  facts.FilterTrace
			path  []string
		}{
			{"a limit", us, rules(limit + "drop"), facts.FilterTrace{Packet: facts.Syn, Where: "input", Verdict: "drop"}, []string{"input", "tcp_in", "bad"}},
			{"a limit that rejects", us, rules(limit + "reject with tcp reset"), facts.FilterTrace{Packet: facts.Syn, Where: "input", Verdict: "drop", With: "tcp reset"}, []string{"input", "tcp_in", "bad"}},
			{"a limit on answers", us, fmt.Sprintf("table inet guard {\nchain out {\ntype filter hook output priority 0;\ntcp sport %d limit rate over 1/day burst 1 packets drop\n}\n}\n", served),
				facts.FilterTrace{Packet: facts.SynAck, Where: "output", Verdict: "drop"}, nil},
			{"another user's", other, fmt.Sprintf("table inet guard {\nchain out {\ntype filter hook output priority 0;\nmeta skuid 65534 tcp dport %d limit rate over 1/day burst 1 packets drop\n}\n}\n", served),
				facts.FilterTrace{Packet: facts.Syn, Where: "output", Verdict: "drop"}, nil},
		} {
			t.Run(family+": "+test.name, func(t *testing.T) {
				if test.as.UID != us.UID && os.Getuid() != 0 {
					t.Skip("skipped: needs root to be another user")
				}
				serve(t, a, keep)
				filter(t, test.rules)
				for range 3 {
					asClient(test.as, func() { connects(t, a, served) }) // uses up what the limit lets pass
				}
				before := listed(t)
				f := lookAt(t, a, served, Options{As: []facts.Identity{test.as}})
				if f.Filters == nil || len(f.Filters.Traced) != 1 || f.Filters.Changed == "" || f.Filters.NotTraced != "" {
					t.Fatalf("got %+v", f.Filters)
				}
				got := f.Filters.Traced[0]
				if got.Addr != a || got.Packet != test.want.Packet || got.Where != test.want.Where || got.Verdict != test.want.Verdict || got.With != test.want.With || got.How != "nftrace" ||
					!slices.Equal(got.Rule.Path, test.path) || got.Rule.Handle == 0 || got.Rule.Text == "" {
					t.Errorf("got %+v", got)
				}
				if !within(5*time.Second, func() bool { return listed(t) == before }) {
					t.Errorf("the rules are now\n%s", listed(t))
				}
				if f := lookAt(t, a, served, Options{As: []facts.Identity{test.as}, NoSystemChanges: true}); len(f.Filters.Traced) != 0 || f.Filters.Changed != "" || f.Filters.NotTraced != "--no-system-changes" {
					t.Errorf("with --no-system-changes: %+v", f.Filters)
				}
			})
		}
	}
}

// What the rules say and the counters confirm needs no trace.
func TestNoTraceWhereTheRulesSettleIt(t *testing.T) {
	if !alone(t) {
		return
	}
	for what, rule := range map[string]string{"a drop": "tcp dport 8081 drop", "a reject": "tcp dport 8081 reject with tcp reset", "an answer": "tcp sport 8081 drop"} {
		t.Run(what, func(t *testing.T) {
			serve(t, v4, keep)
			filter(t, hook("input", rule))
			if f := lookAt(t, v4, served, Options{}); f.Filters == nil || f.Filters.Changed != "" || f.Filters.NotTraced != "" || len(f.Filters.Traced) > 0 {
				t.Errorf("got %+v", f.Filters)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		filter(t, hook("input", "tcp dport 8082 limit rate over 1/day burst 100 packets drop"))
		if f := lookAt(t, v4, closed, Options{}); f.Filters == nil || f.Filters.Changed != "" || f.Filters.NotTraced != "" {
			t.Errorf("got %+v", f.Filters)
		}
	})
}

// The kernel's word also clears: a rule might have done it, and traffic control did.
func TestTraceClears(t *testing.T) {
	if !alone(t) {
		return
	}
	serve(t, v4, keep)
	filter(t, hook("output", "tcp dport 8081 limit rate over 100/second burst 100 packets drop"))
	for _, args := range [][]string{{"qdisc", "add", "dev", "lo", "clsact"},
		{"filter", "add", "dev", "lo", "egress", "protocol", "ip", "prio", "5", "bpf", "da", "bytecode", "1,6 0 0 2"}} { // TC_ACT_SHOT
		if out, err := exec.CommandContext(t.Context(), "tc", args...).CombinedOutput(); err != nil {
			t.Skipf("skipped: tc %s: %v %s", args, err, out)
		}
	}
	f := lookAt(t, v4, served, Options{NoSystemChanges: true})
	if f.Filters == nil || len(f.Filters.Walk(f.Dials[0], facts.Syn).Unsure) != 1 || len(f.Filters.Cleared) > 0 {
		t.Fatalf("before it was asked: %+v", f.Filters)
	}
	f = lookAt(t, v4, served, Options{})
	if !slices.Equal(f.Filters.Cleared, []netip.Addr{v4}) || len(f.Filters.Traced) != 0 || f.Filters.Changed == "" {
		t.Errorf("got %+v", f.Filters)
	}
}

func listed(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nft", "-s", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}

func TestRejectsWith(t *testing.T) {
	for want, e := range map[string]netfilter.Expr{"tcp reset": &nft.Reject{Type: 1}, "icmp admin-prohibited": &nft.Reject{Type: 2, Code: 3}, "": &nft.Counter{}} {
		r := &netfilter.Rule{Exprs: []netfilter.Expr{&nft.Log{}, e}, Print: func() (string, []string) { return `log prefix "reject with icmp host-unreachable" drop`, nil }}
		if got := rejectsWith(r, netip.AddrPortFrom(v4, served)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got, want := rejectsWith(&netfilter.Rule{Exprs: []netfilter.Expr{&nft.Reject{Type: 2, Code: 3}}}, netip.AddrPortFrom(v6, served)), "icmpv6 admin-prohibited"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLogLine(t *testing.T) {
	for line, want := range map[string]string{
		"<4>[ 12.345678] nf_conntrack: table full\n": "[ 12.345678] nf_conntrack: table full",
		"<12>nf_conntrack: x":                        "nf_conntrack: x",
		"<a>b":                                       "<a>b", "<4": "<4", "": "",
	} {
		if got := logLine(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}
