package host

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// lookAt gathers the facts of one address, as ourselves.
func lookAt(t *testing.T, a netip.Addr, port uint16, o Options) *facts.Facts {
	t.Helper()
	o.NoCapture = true
	all, err := Gather(t.Context(), []facts.Target{{Raw: a.String(), Host: a.String(), Port: port, Literal: true, Named: true, Network: "tcp", Intent: facts.Connect}}, o)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// legacy runs iptables-legacy or ip6tables-legacy, and takes its table away with the
// test. Where the kernel has no such tables the test cannot be.
func legacy(t *testing.T, a netip.Addr, args string) {
	t.Helper()
	command := map[bool]string{true: "iptables-legacy", false: "ip6tables-legacy"}[a.Is4()]
	if _, err := exec.LookPath(command); err != nil {
		t.Skipf("skipped: %s is not installed", command)
	}
	table := "filter"
	if w := strings.Fields(args); w[0] == "-t" {
		table = w[1]
	}
	t.Cleanup(func() { exec.Command(command, "-t", table, "-F").Run() })
	if out, err := exec.CommandContext(t.Context(), command, strings.Fields(args)...).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "can't initialize") {
			t.Skipf("skipped: %s", out)
		}
		t.Fatalf("%s %s: %v\n%s", command, args, err, out)
	}
}

// Each engine's rule is named for what it does to our packets, and those that have
// nothing to do with them are not.
func TestFiltersNameTheRule(t *testing.T) {
	if !alone(t) {
		return
	}
	compat := map[bool]string{true: "iptables-nft", false: "ip6tables-nft"}
	for family, a := range families {
		ipFamily := map[bool]string{true: "ip", false: "ip6"}[a.Is4()]
		engine := map[bool]string{true: facts.IPTables, false: facts.IP6Tables}[a.Is4()]
		for _, test := range []struct {
			name   string
			set    func(*testing.T)
			packet string
			want   facts.FilterRule
			says   string
		}{
			{"nft", func(t *testing.T) {
				filter(t, fmt.Sprintf("table inet guard {\nchain tcp_in {\ntcp dport 9 drop\ntcp dport %d drop\n}\nchain input {\ntype filter hook input priority 5; policy accept;\nct state established accept\njump tcp_in\n}\n}\n", served))
			}, facts.Syn, facts.FilterRule{Engine: facts.NFTables, Family: "inet", Table: "guard", Chain: "tcp_in", Hook: "input", Priority: 5, Number: 2, Path: []string{"input", "tcp_in"}}, "input drop"},
			{"a policy", func(t *testing.T) {
				filter(t, "table inet guard {\nchain out {\ntype filter hook output priority 0; policy drop;\ntcp dport 9 accept\n}\n}\n")
			}, facts.Syn, facts.FilterRule{Engine: facts.NFTables, Family: "inet", Table: "guard", Chain: "out", Hook: "output", Policy: true}, "output drop"},
			{"an answer", func(t *testing.T) {
				filter(t, fmt.Sprintf("table inet guard {\nchain out {\ntype filter hook output priority 0; policy accept;\ntcp sport %d drop\n}\n}\n", served))
			}, facts.SynAck, facts.FilterRule{Engine: facts.NFTables, Family: "inet", Table: "guard", Chain: "out", Hook: "output", Number: 1}, "output drop"},
			{"netdev", func(t *testing.T) {
				filter(t, fmt.Sprintf("table netdev wall {\nchain in {\ntype filter hook ingress device lo priority 0; policy accept;\ntcp dport %d drop\n}\n}\n", served))
			}, facts.Syn, facts.FilterRule{Engine: facts.NFTables, Family: "netdev", Table: "wall", Chain: "in", Hook: "ingress", Number: 1, Device: "lo"}, "wire drop"},
			{"iptables-nft", func(t *testing.T) {
				t.Cleanup(func() { exec.Command("nft", "flush", "ruleset").Run() })
				run(t, compat[a.Is4()], "-A", "INPUT", "-p", "tcp", "--dport", "9", "-j", "DROP")
				run(t, compat[a.Is4()], "-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", fmt.Sprintf("7,%d", served), "-j", "REJECT", "--reject-with", "tcp-reset")
			}, facts.Syn, facts.FilterRule{Engine: facts.NFTables, Family: ipFamily, Table: "filter", Chain: "INPUT", Hook: "input", Number: 2}, "input reject"},
			{"iptables-legacy", func(t *testing.T) {
				legacy(t, a, "-A OUTPUT -p tcp --dport 9 -j DROP")
				legacy(t, a, fmt.Sprintf("-A OUTPUT -p tcp --dport %d -j DROP", served))
			}, facts.Syn, facts.FilterRule{Engine: engine, Family: ipFamily, Table: "filter", Chain: "OUTPUT", Hook: "output", Number: 2}, "output drop"},
			{"for this user only", func(t *testing.T) {
				filter(t, fmt.Sprintf("table inet guard {\nchain out {\ntype filter hook output priority 0; policy accept;\nmeta skuid 4242 drop\nmeta skuid %d meta skgid %d drop\n}\n}\n", os.Geteuid(), os.Getegid()))
			}, facts.Syn, facts.FilterRule{Engine: facts.NFTables, Family: "inet", Table: "guard", Chain: "out", Hook: "output", Number: 2}, "output drop"},
		} {
			t.Run(family+": "+test.name, func(t *testing.T) {
				serve(t, a, keep)
				test.set(t)
				f := lookAt(t, a, served, Options{NoSystemChanges: true})
				if f.Filters == nil || f.Conntrack == nil {
					t.Fatalf("absent: %+v, %+v", f.Absent[facts.GroupFilters], f.Absent[facts.GroupConntrack])
				}
				w := f.Filters.Walk(f.Dials[0], test.packet)
				if w == nil || len(w.Stops) == 0 || len(w.Unsure) > 0 {
					t.Fatalf("got %+v", w)
				}
				s := w.Stops[0]
				got := s.Rule
				if (got.Handle == 0) != (got.Policy || got.Engine != facts.NFTables) {
					t.Errorf("its handle is %d", got.Handle)
				}
				if got.Engine == test.want.Engine && got.Family == test.want.Family && got.Table == test.want.Table && got.Chain == test.want.Chain && got.Hook == test.want.Hook && got.Priority == test.want.Priority &&
					got.Number == test.want.Number && got.Policy == test.want.Policy && slices.Equal(got.Path, test.want.Path) && got.Device == test.want.Device && s.Where+" "+s.Verdict == test.says {
					return
				}
				t.Errorf("got %s %s by %+v", s.Where, s.Verdict, got)
			})
		}
	}
}

// The counters of connection tracking and who answers are seen, and the rule that
// leads elsewhere.
func TestFiltersNameWhoAnswers(t *testing.T) {
	if !alone(t) {
		return
	}
	for family, a := range families {
		t.Run(family, func(t *testing.T) {
			serve(t, a, keep)
			filter(t, fmt.Sprintf("table inet t {\nchain c {\ntype nat hook output priority -100; tcp dport %d redirect to :%d\n}\n}\n", closed, served))
			f := lookAt(t, a, closed, Options{})
			if f.Filters == nil || f.Conntrack == nil || len(f.Conntrack.Replies) != 1 {
				t.Fatalf("filters %+v, conntrack %+v; %+v", f.Filters, f.Conntrack, f.Absent)
			}
			if r := f.Conntrack.Replies[0]; r.By != netip.AddrPortFrom(a, served) || r.From != f.Dials[0].From {
				t.Errorf("answered by %+v", r)
			}
			w := f.Filters.Walk(f.Dials[0], facts.Syn)
			if w == nil || len(w.Diverts) != 1 || w.Diverts[0].To.Port() != served || w.Diverts[0].Listens == nil || !*w.Diverts[0].Listens {
				t.Errorf("got %+v", w)
			}
			if c := f.Conntrack; !c.Namespaced || c.Max == 0 || c.Count == 0 {
				t.Errorf("got %+v", c)
			}
		})
	}
}

func TestFiltersSeeAQueueWithoutAReader(t *testing.T) {
	if !alone(t) {
		return
	}
	serve(t, v4, keep)
	t.Cleanup(func() { exec.Command("nft", "flush", "ruleset").Run() })
	run(t, "iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", fmt.Sprint(served), "-j", "NFQUEUE", "--queue-num", "3")
	f := lookAt(t, v4, served, Options{})
	if f.Filters == nil {
		t.Fatalf("absent: %+v", f.Absent[facts.GroupFilters])
	}
	w := f.Filters.Walk(f.Dials[0], facts.Syn)
	if w == nil || len(w.Stops) != 1 || w.Stops[0].Verdict != "queue" || f.Filters.Queues == nil || f.Filters.Queues.Reader(3) != nil {
		t.Errorf("got %+v, queues %+v", w, f.Filters.Queues)
	}
}

// A rule that may match or not is told by its counter, which changes nothing.
func TestFiltersAskTheCounter(t *testing.T) {
	if !alone(t) {
		return
	}
	serve(t, v4, keep)
	filter(t, hook("output", "tcp dport 8081 limit rate over 1/hour burst 1 packets counter drop"))
	for range 2 {
		connects(t, v4, served) // uses up what the limit lets through
	}
	f := lookAt(t, v4, served, Options{NoSystemChanges: true})
	if f.Filters == nil || len(f.Filters.Traced) != 1 || f.Filters.NotTraced != "" {
		t.Fatalf("got %+v", f.Filters)
	}
	if x := f.Filters.Traced[0]; x.How != "counter" || x.Verdict != "drop" || x.Where != "output" || x.Packet != facts.Syn || x.Rule.Chain != "c" {
		t.Errorf("got %+v", x)
	}
}

// Without the right to read rules the group is absent, with what would help; what
// everybody may read is there.
func TestFiltersNeedPrivilege(t *testing.T) {
	if !alone(t) || os.Getuid() != 0 {
		return
	}
	about := []suspect{{facts.Dial{Addr: v4, Outcome: facts.Timeout, From: netip.MustParseAddrPort("127.0.0.1:40000")}, netip.AddrPortFrom(v4, served), client{}, false}}
	var filters, tracking error
	var c *facts.Conntrack
	err := asClient(facts.Identity{UID: 65534, GID: 65534}, func() {
		_, filters = linuxFilters(t.Context(), &facts.Facts{}, about, true)
		c, tracking = linuxConntrack(&facts.Facts{}, about)
	})
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	if !errorsIsPermission(filters) {
		t.Errorf("got %v", filters)
	}
	if tracking != nil || c.Max == 0 || !strings.Contains(c.NotRead, "needs root") {
		t.Errorf("got %+v, %v", c, tracking)
	}
}

func errorsIsPermission(err error) bool {
	l := &look{f: &facts.Facts{Absent: map[facts.Group]facts.Absence{}}}
	if err == nil {
		return false
	}
	l.missing(facts.GroupFilters, err)
	return l.f.Absent[facts.GroupFilters].Remedy != ""
}

// The number of a socket's cgroup is that of the directory, and those above it
// follow up to the root.
func TestClientOwnerKnowsItsCgroups(t *testing.T) {
	o := clientOwner(us())
	if !o.Known || int(o.UID) != os.Geteuid() || int(o.GID) != os.Getegid() {
		t.Errorf("got %+v", o)
	}
	if o.CgroupIDs == nil {
		t.Skip("skipped: no hierarchy of cgroups of version 2 is mounted here")
	}
	if want := strings.Count(strings.TrimSuffix(o.Cgroup, "/"), "/") + 1; len(o.CgroupIDs) != want {
		t.Errorf("%d numbers for %q", len(o.CgroupIDs), o.Cgroup)
	}
	var st unix.Stat_t
	if unix.Stat("/sys/fs/cgroup", &st) == nil && o.CgroupIDs[0] != st.Ino {
		t.Errorf("the root is %d, want %d", o.CgroupIDs[0], st.Ino)
	}
}
