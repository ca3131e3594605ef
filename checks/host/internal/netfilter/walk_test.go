package netfilter

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// do is an expression made of a function.
type do func(*State) Effect

func (d do) Eval(s *State) Effect { return d(s) }

func says(v Verdict) Expr    { return do(func(*State) Effect { return Effect{Match: Yes, Verdict: v} }) }
func code(c Code) Expr       { return says(Verdict{Code: c}) }
func jump(chain string) Expr { return says(Verdict{Code: Jump, Chain: chain}) }
func goTo(chain string) Expr { return says(Verdict{Code: Goto, Chain: chain}) }
func when(f func(*State) bool) Expr {
	return do(func(s *State) Effect { return map[bool]Effect{true: Continue, false: Break}[f(s)] })
}

var (
	drop   = code(Drop)
	accept = code(Accept)
	back   = code(Return)
	limit  = do(func(*State) Effect { return Perhaps("limit") })
	logs   = do(func(*State) Effect { return Continue })
	never  = when(func(*State) bool { return false })
)

func dport(p uint16) Expr { return when(func(s *State) bool { return s.To.Port() == p }) }
func sport(p uint16) Expr { return when(func(s *State) bool { return s.From.Port() == p }) }
func setMark(m uint32) Expr {
	return do(func(s *State) Effect { s.Mark, s.MarkKnown = m, true; return Continue })
}

func hasMark(m uint32) Expr {
	return do(func(s *State) Effect {
		if !s.MarkKnown {
			return Perhaps("mark")
		}
		return map[bool]Effect{true: Continue, false: Break}[s.Mark == m]
	})
}

// translates is a verdict of NAT: an expression that switches connection tracking on.
type translates struct{ do }

func (translates) Tracks(Family) bool { return true }

func redirect(p uint16) Expr {
	return translates{do(func(*State) Effect {
		return Effect{Match: Yes, Verdict: Verdict{Code: Divert, Divert: &facts.FilterDivert{Kind: "redirect", To: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p)}}}
	})}
}

var notrack = do(func(s *State) Effect {
	if s.Tracked() == No {
		s.CT = CTUntracked
	}
	return Continue
})

func state(c CTState) Expr {
	return do(func(s *State) Effect {
		if !s.CTKnown {
			return Perhaps("ct state")
		}
		return map[bool]Effect{true: Continue, false: Break}[s.CT&c != 0]
	})
}

type rules [][]Expr

// chainOf makes a chain; the rules have handles from 1.
func chainOf(name string, r rules) *Chain {
	c := &Chain{Name: name}
	for i, exprs := range r {
		c.Rules = append(c.Rules, &Rule{Chain: c, Handle: uint64(i + 1), Number: i + 1, Exprs: exprs})
	}
	return c
}

func hooked(name string, h Hook, priority int, r rules) *Chain {
	c := chainOf(name, r)
	c.Hook, c.Priority, c.Type = h, priority, "filter"
	if h == Ingress || h == Egress {
		c.Devices = []string{"lo"}
	}
	return c
}

func natAt(name string, h Hook, priority int, r rules) *Chain {
	c := hooked(name, h, priority, r)
	c.Type = "nat"
	return c
}

func tableOf(family Family, chains ...*Chain) *Table {
	t := &Table{Engine: facts.NFTables, Family: family, Name: "t", Chains: chains}
	for _, c := range chains {
		c.Table = t
	}
	return t
}

var conn = Connection{From: netip.MustParseAddrPort("127.0.0.1:40000"), To: netip.MustParseAddrPort("127.0.0.1:80"),
	Client: Owner{Known: true}, Server: Owner{Known: true}}

// told is a walk in one line: the stops as chain and handle, then the doubts.
func told(w facts.FilterWalk) string {
	var out []string
	at := func(r facts.FilterRule) string {
		if r.Policy {
			return r.Chain + "/policy"
		}
		return fmt.Sprintf("%s/%d", strings.Join(append(slices.Clone(r.Path), map[bool][]string{true: {r.Chain}}[len(r.Path) == 0]...), ">"), r.Handle)
	}
	for _, s := range w.Stops {
		out = append(out, s.Verdict+" "+at(s.Rule)+" "+s.Where)
	}
	for _, d := range w.Unsure {
		out = append(out, "? "+d.Verdict+" "+at(d.Rule)+" "+d.Why)
	}
	for _, d := range w.Diverts {
		out = append(out, d.Kind+" "+d.To.String())
	}
	if w.Partial != "" {
		out = append(out, w.Partial)
	}
	return strings.Join(out, "; ")
}

func TestWalk(t *testing.T) {
	policy := hooked("in", Input, 0, rules{{dport(80), accept}})
	policy.Drop = true
	dropping := func(r rules) *Chain { c := hooked("in", Input, 0, r); c.Drop = true; return c }
	dormant := tableOf(Inet, hooked("in", Input, 0, rules{{drop}}))
	dormant.Dormant = true
	other := hooked("eth", Ingress, 0, rules{{drop}})
	other.Devices = []string{"eth0"}

	for _, c := range []struct {
		name   string
		tables []*Table
		want   string
		kind   string
	}{
		{"nothing", nil, "", facts.Ack},
		{"a drop at input", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{dport(22), drop}, {dport(80), drop}}))}, "drop in/2 input", facts.Syn},
		{"a table of the other family", []*Table{tableOf(IPv6, hooked("in", Input, 0, rules{{drop}}))}, "", facts.Syn},
		{"accept ends only its own base chain", []*Table{tableOf(Inet, hooked("a", Input, -1, rules{{accept}, {drop}}), hooked("b", Input, 0, rules{{drop}}))}, "drop b/1 input", facts.Syn},
		{"in the order of the priorities", []*Table{tableOf(Inet, hooked("b", Input, 5, rules{{drop}})), tableOf(IPv4, hooked("a", Input, -5, rules{{drop}}))}, "drop a/1 input; drop b/1 input", facts.Syn},
		{"of one priority the last one first", []*Table{tableOf(Inet, hooked("b", Input, 0, rules{{drop}})), tableOf(IPv4, hooked("a", Input, 0, rules{{drop}}))}, "drop a/1 input; drop b/1 input", facts.Syn},
		{"hooks in their order", []*Table{tableOf(Inet, hooked("in", Input, -300, rules{{drop}}), hooked("pre", Prerouting, 0, rules{{drop}}), hooked("post", Postrouting, 0, rules{{drop}}), hooked("out", Output, 0, rules{{drop}})),
			tableOf(Netdev, hooked("ing", Ingress, 0, rules{{drop}}), hooked("eg", Egress, 0, rules{{drop}}), other)},
			"drop out/1 output; drop post/1 output; drop eg/1 wire; drop ing/1 wire; drop pre/1 input; drop in/1 input", facts.Syn},
		{"a dormant table", []*Table{dormant}, "", facts.Syn},
		{"a policy", []*Table{tableOf(Inet, policy)}, "drop in/policy input", facts.SynAck},
		{"a policy that a rule comes before", []*Table{tableOf(Inet, policy)}, "", facts.Syn},

		{"jump and back", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{jump("c")}, {drop}}), chainOf("c", rules{{dport(22), drop}}))}, "drop in/2 input", facts.Syn},
		{"jump and accept", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{jump("c")}, {drop}}), chainOf("c", rules{{accept}}))}, "", facts.Syn},
		{"jump and return", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{jump("c")}, {drop}}), chainOf("c", rules{{back}, {accept}}))}, "drop in/2 input", facts.Syn},
		{"goto comes back to the policy", []*Table{tableOf(Inet, dropping(rules{{goTo("c")}, {accept}}), chainOf("c", rules{{back}}))}, "drop in/policy input", facts.Syn},
		{"goto from a called chain comes back to its caller", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{jump("a")}, {drop}}), chainOf("a", rules{{goTo("b")}, {accept}}), chainOf("b", nil))}, "drop in/2 input", facts.Syn},
		{"return from a base chain", []*Table{tableOf(Inet, dropping(rules{{back}, {accept}}))}, "drop in/policy input", facts.Syn},
		{"the way to a rule", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{jump("a")}}), chainOf("a", rules{{never}, {jump("b")}}), chainOf("b", rules{{drop}}))}, "drop in>a>b/1 input", facts.Syn},
		{"a chain that is not there", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{jump("a")}}))}, "? unknown in/1 a chain that was not read", facts.Syn},

		{"a perhaps that drops", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, drop}}))}, "? drop in/1 limit", facts.Syn},
		{"that cannot match anyway", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, never, drop}}))}, "", facts.Syn},
		{"that only writes a log", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, logs}, {drop}}))}, "drop in/2 input", facts.Syn},
		{"that accepts what is accepted anyway", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, accept}, {dport(22), drop}}))}, "", facts.Syn},
		{"that accepts in front of a drop", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, accept}, {drop}}))}, "drop in/2 input; ? accept in/1 limit", facts.Syn},
		{"that accepts in front of a policy", []*Table{tableOf(Inet, dropping(rules{{limit, accept}}))}, "drop in/policy input; ? accept in/1 limit", facts.Syn},
		{"behind a stop nothing is in doubt", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{drop}, {limit, drop}, {limit, accept}, {drop}}))}, "drop in/1 input; drop in/4 input", facts.Syn},
		{"a perhaps that jumps to a drop", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, jump("c")}}), chainOf("c", rules{{dport(80), drop}}))}, "? drop in>c/1 limit", facts.Syn},
		{"that jumps to nothing", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, jump("c")}, {drop}}), chainOf("c", rules{{dport(22), drop}}))}, "drop in/2 input", facts.Syn},
		{"that jumps to an accept in front of a drop", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, jump("c")}, {drop}}), chainOf("c", rules{{accept}}))}, "drop in/2 input; ? accept in>c/1 limit", facts.Syn},
		{"that goes to nothing, with a drop behind", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, goTo("c")}, {drop}}), chainOf("c", nil))}, "drop in/2 input; ? goto in/1 limit", facts.Syn},
		{"that returns in front of a drop", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{jump("c")}}), chainOf("c", rules{{limit, back}, {drop}}))}, "drop in>c/2 input; ? return in>c/1 limit", facts.Syn},
		{"that returns past an accept into a drop", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{jump("c")}, {drop}}), chainOf("c", rules{{limit, back}, {accept}}))}, "? drop in/2 limit", facts.Syn},
		{"that returns past an accept into another", []*Table{tableOf(Inet, dropping(rules{{jump("c")}, {accept}}), chainOf("c", rules{{limit, back}, {accept}}))}, "", facts.Syn},
		{"that returns past an accept into the policy", []*Table{tableOf(Inet, dropping(rules{{jump("c")}}), chainOf("c", rules{{limit, back}, {accept}}))}, "? drop in/policy limit", facts.Syn},
		{"that marks", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, setMark(1)}, {hasMark(1), drop}}))}, "? drop in/2 mark", facts.Syn},
		{"that marks before it cannot match", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, setMark(1), never}, {hasMark(1), drop}}))}, "? drop in/2 mark", facts.Syn},
		{"that marks as it was", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{limit, setMark(0)}, {hasMark(1), drop}}))}, "", facts.Syn},
		{"that marks in one of the worlds that accept", []*Table{tableOf(Inet, hooked("a", Input, 0, rules{{limit, setMark(1), accept}}), hooked("b", Input, 1, rules{{hasMark(1), drop}}))}, "? drop b/1 mark", facts.Syn},
		{"a mark that is set although the rule ends", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{setMark(1), never}, {hasMark(1), drop}}))}, "drop in/2 input", facts.Syn},

		{"queue", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{says(Verdict{Code: Queue, With: "queue 3"})}}))}, "queue in/1 input", facts.Syn},
		{"queue with bypass", []*Table{tableOf(Inet, hooked("in", Input, 0, rules{{says(Verdict{Code: Queue, With: "queue 3", Bypass: true})}, {drop}}))}, "? queue in/1 whether a program reads queue 3", facts.Syn},

		{"redirect: later hooks see the new port", []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{dport(80), redirect(81)}}), hooked("o", Output, 0, rules{{dport(81), drop}, {dport(80), drop}}), hooked("raw", Output, -300, rules{{dport(81), drop}}))},
			"drop o/1 output; redirect 127.0.0.1:81", facts.Syn},
		{"and the answer comes from there", []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{dport(80), redirect(81)}}), hooked("o", Output, 0, rules{{sport(81), drop}}), hooked("i", Input, 0, rules{{sport(80), drop}}))},
			"drop o/1 output; drop i/1 input", facts.SynAck},
		{"as do all that follow", []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{dport(80), redirect(81)}}), hooked("i", Input, 0, rules{{dport(81), drop}}))}, "drop i/1 input", facts.Ack},
		{"the first translation is the last", []*Table{tableOf(IPv4, natAt("a", Output, -50, rules{{redirect(82)}}), natAt("b", Output, -100, rules{{redirect(81)}}))}, "redirect 127.0.0.1:81", facts.Syn},
		{"nat at prerouting is not asked on lo", []*Table{tableOf(IPv4, natAt("n", Prerouting, -100, rules{{redirect(81)}, {drop}}))}, "", facts.Syn},
		{"nat is asked for the first packet only", []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{dport(81), drop}, {sport(80), drop}}))}, "", facts.SynAck},
		{"chains of nat run at -100 whatever they say", []*Table{tableOf(IPv4, natAt("n", Output, 200, rules{{redirect(81)}}), hooked("o", Output, 0, rules{{dport(80), drop}}))}, "redirect 127.0.0.1:81", facts.Syn},
		{"without a rule that needs it connection tracking is off, and nat asks nobody", []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{drop}}))}, "? drop n/1 whether connection tracking is on", facts.Syn},
		{"with one it is on", []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{drop}}), chainOf("c", rules{{redirect(1)}}))}, "drop n/1 output", facts.Syn},
		{"a perhaps that redirects", []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{limit, redirect(81)}}))}, "? redirect n/1 limit", facts.Syn},
		{"makes the answer unsure as well", []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{limit, redirect(81)}}))}, "? redirect n/1 limit", facts.SynAck},

		{"and so it does behind a stop", []*Table{tableOf(IPv4, hooked("r", Output, -300, rules{{dport(80), drop}}), natAt("n", Output, -100, rules{{limit, redirect(81)}}))}, "? redirect n/1 limit", facts.SynAck},

		{"nothing is tracked in front of conntrack", []*Table{tableOf(IPv4, hooked("a", Output, -201, rules{{state(CTNew), drop}, {state(CTInvalid), drop}}), hooked("b", Output, -199, rules{{state(CTInvalid), drop}, {state(CTNew), drop}}))}, "drop a/2 output; drop b/2 output", facts.Syn},
		{"at its own priority it hangs on who came first", []*Table{tableOf(IPv4, hooked("a", Output, -200, rules{{state(CTNew), drop}}))}, "? drop a/1 ct state", facts.Syn},
		{"an answer is established", []*Table{tableOf(IPv4, hooked("a", Input, 0, rules{{state(CTNew), drop}, {state(CTEstablished), drop}}))}, "drop a/2 input", facts.SynAck},
		{"notrack", []*Table{tableOf(IPv4, hooked("r", Output, -300, rules{{dport(80), notrack}}), hooked("i", Input, 0, rules{{state(CTUntracked), drop}}))}, "drop i/1 input", facts.Syn},
		{"makes the answer invalid", []*Table{tableOf(IPv4, hooked("r", Output, -300, rules{{dport(80), notrack}}), hooked("i", Input, 0, rules{{state(CTInvalid), drop}}))}, "drop i/1 input", facts.SynAck},
		{"notrack is too late at prerouting", []*Table{tableOf(IPv4, hooked("r", Prerouting, -300, rules{{notrack}}), hooked("i", Input, 0, rules{{state(CTNew), drop}}))}, "drop i/1 input", facts.Syn},
		{"what is not tracked is not translated", []*Table{tableOf(IPv4, hooked("r", Output, -300, rules{{notrack}}), natAt("n", Output, -100, rules{{redirect(81)}}))}, "", facts.Syn},
		{"perhaps not tracked", []*Table{tableOf(IPv4, hooked("r", Output, -300, rules{{limit, notrack}}), natAt("n", Output, -100, rules{{redirect(81)}}))}, "? redirect n/1 whether connection tracking has it", facts.Syn},

		{"the socket at output", []*Table{tableOf(IPv4, hooked("o", Output, 0, rules{{when(func(s *State) bool { return s.Socket != nil }), drop}}), hooked("i", Input, 0, rules{{when(func(s *State) bool { return s.Socket != nil }), drop}}))}, "drop o/1 output", facts.Syn},
	} {
		t.Run(c.name, func(t *testing.T) {
			rs := &Ruleset{Tables: c.tables}
			if got := told(rs.Walk(conn, c.kind)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWalkOpaque(t *testing.T) {
	for _, c := range []struct {
		name, want string
		rule       *Rule
		engine     string
	}{
		{"alone", "? unknown in/0 osf is unknown", &Rule{Opaque: "osf"}, facts.NFTables},
		{"it may change what others see", "? unknown in/0 osf is unknown", &Rule{Opaque: "osf", Exprs: []Expr{never, drop}}, facts.NFTables},
		{"what stands before it is judged", "", &Rule{Opaque: "osf", Exprs: []Expr{never, &OpaqueExpr{"osf"}, drop}}, facts.NFTables},
		{"and nothing behind it", "? unknown in/0 osf is unknown", &Rule{Opaque: "osf", Exprs: []Expr{&OpaqueExpr{"osf"}, never, drop}}, facts.NFTables},
		{"matches of xtables stand for themselves", "", &Rule{Opaque: "match bpf", Exprs: []Expr{never, drop}}, facts.IPTables},
		{"and their target is theirs", "? drop in/0 match bpf is unknown", &Rule{Opaque: "match bpf", Exprs: []Expr{drop}}, facts.IPTables},
		{"unless it is the one", "? unknown in/0 target X is unknown", &Rule{Opaque: "target X"}, facts.IPTables},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := hooked("in", Input, 0, nil)
			c.rule.Chain, ch.Rules = ch, []*Rule{c.rule}
			table := tableOf(IPv4, ch)
			table.Engine = c.engine
			if got := told((&Ruleset{Tables: []*Table{table}}).Walk(conn, facts.Syn)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestWalkRoute: a mark or a destination that leads away from lo.
func TestWalkRoute(t *testing.T) {
	out := hooked("o", Output, -150, rules{{dport(80), setMark(7)}})
	out.Type = "route"
	c := conn
	c.Route = func(_, to netip.Addr, mark uint32) (string, string, bool) {
		switch {
		case mark == 7:
			return "unicast dev tun0", "tun0", false
		case to == netip.MustParseAddr("10.0.0.1"):
			return "ENETUNREACH", "", false
		}
		return "local", "lo", true
	}
	w := (&Ruleset{Tables: []*Table{tableOf(IPv4, out, hooked("p", Postrouting, 0, rules{{when(func(s *State) bool { return s.Out == "tun0" }), drop}}), hooked("i", Input, 0, rules{{drop}}))}}).Walk(c, facts.Syn)
	if got, want := told(w), "drop p/1 output; it leaves lo for tun0"; got != want || len(w.Marks) != 1 || w.Marks[0].Mark != 7 {
		t.Errorf("got %s, %v; want %s", got, w.Marks, want)
	}
	dnat := translates{do(func(*State) Effect {
		return Effect{Match: Yes, Verdict: Verdict{Code: Divert, Divert: &facts.FilterDivert{Kind: "dnat", To: netip.MustParseAddrPort("10.0.0.1:0")}}}
	})}
	w = (&Ruleset{Tables: []*Table{tableOf(IPv4, natAt("n", Output, -100, rules{{dnat}}))}}).Walk(c, facts.Syn)
	if got, want := told(w), "dnat 10.0.0.1:80; no route to 10.0.0.1: ENETUNREACH"; got != want || w.Diverts[0].Route != "ENETUNREACH" {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestWalkMasquerade: what leaves by another device gets that one's address, which is not
// known; on lo it keeps its own.
func TestWalkMasquerade(t *testing.T) {
	effect := func(d facts.FilterDivert) translates {
		return translates{do(func(*State) Effect { return Effect{Match: Yes, Verdict: Verdict{Code: Divert, Divert: &d}} })}
	}
	dnat, masquerade := effect(facts.FilterDivert{Kind: "dnat", To: netip.MustParseAddrPort("10.88.0.2:80")}), effect(facts.FilterDivert{Kind: "masquerade"})
	c := conn
	c.Route = func(_, to netip.Addr, _ uint32) (string, string, bool) {
		if to.IsLoopback() {
			return "local", "lo", true
		}
		return "unicast dev podman0", "podman0", false
	}
	for led, want := range map[bool][]string{true: {"dnat", "masquerade"}, false: nil} {
		out := natAt("n", Output, -100, nil)
		if led {
			out = natAt("n", Output, -100, rules{{dnat}})
		}
		w := (&Ruleset{Tables: []*Table{tableOf(IPv4, out, natAt("p", Postrouting, 100, rules{{masquerade}}))}}).Walk(c, facts.Syn)
		var got []string
		for _, d := range w.Diverts {
			got = append(got, d.Kind)
		}
		if !slices.Equal(got, want) {
			t.Errorf("led away %v: got %v, want %v", led, got, want)
		}
	}
}

// TestWalkPerhapsRoute: a mark that it may get matters where it leads away.
func TestWalkPerhapsRoute(t *testing.T) {
	c := conn
	c.Route = func(_, _ netip.Addr, mark uint32) (string, string, bool) {
		if mark == 7 {
			return "unicast dev tun0", "tun0", false
		}
		return "local", "lo", true
	}
	out := hooked("o", Output, -150, rules{{limit, accept}, {setMark(7)}})
	out.Type = "route"
	if got, want := told((&Ruleset{Tables: []*Table{tableOf(IPv4, out)}}).Walk(c, facts.Syn)), "? mark o/2 whether the packet gets there"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for mark, want := range map[uint32]string{7: "? mark o/1 limit", 8: ""} {
		out := hooked("o", Output, -150, rules{{limit, setMark(mark), never}})
		out.Type = "route"
		if got := told((&Ruleset{Tables: []*Table{tableOf(IPv4, out)}}).Walk(c, facts.Syn)); got != want {
			t.Errorf("mark %d: got %s, want %s", mark, got, want)
		}
	}
}

func TestPublished(t *testing.T) {
	rs := &Ruleset{Tables: []*Table{tableOf(IPv4,
		natAt("n", Prerouting, -100, rules{{dport(80), jump("docker")}}), chainOf("docker", rules{{limit, redirect(8080)}}),
		natAt("o", Output, -100, rules{{redirect(1)}}))}}
	w := rs.Published(conn.To)
	if got, want := told(w), "? redirect n>docker/1 limit; redirect 127.0.0.1:8080"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestWalkEnds: chains that call each other cannot keep the walk, however they do it.
func TestWalkEnds(t *testing.T) {
	var calls rules
	for range 10 {
		calls = append(calls, []Expr{limit, jump("a")}, []Expr{jump("b")}, []Expr{goTo("a")})
	}
	for _, engine := range []string{facts.NFTables, facts.IPTables} {
		table := tableOf(IPv4, hooked("in", Input, 0, calls), chainOf("a", calls), chainOf("b", calls))
		table.Engine = engine
		start := time.Now()
		if w := (&Ruleset{Tables: []*Table{table}}).Walk(conn, facts.Ack); w.Partial == "" && len(w.Unsure) == 0 {
			t.Errorf("%s: %s", engine, told(w))
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%s: it took %v", engine, d)
		}
	}
}

// FuzzWalk: rules of any kind, in any order, with chains that call any other.
func FuzzWalk(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		rs := randomRules(rand.New(rand.NewPCG(seed, 0)))
		for _, kind := range []string{facts.Syn, facts.SynAck, facts.Ack} {
			w := rs.Walk(conn, kind)
			if len(w.Stops) > maxReported || len(w.Unsure) > maxReported+1 {
				t.Errorf("%d stops, %d doubts", len(w.Stops), len(w.Unsure))
			}
		}
		rs.Published(conn.To)
	})
}

func randomRules(g *rand.Rand) *Ruleset {
	exprs := []Expr{limit, never, logs, setMark(1), hasMark(1), notrack, state(CTNew), dport(80), sport(80), nil, &OpaqueExpr{"x"}}
	verdicts := []Expr{drop, accept, back, redirect(81), jump("c0"), jump("c1"), goTo("c2"), jump("none"), code(NextRule), code(Any), code(Divert),
		says(Verdict{Code: Queue, Bypass: true}), code(Reject), code(200)}
	list := func() (r rules) {
		for range g.IntN(5) {
			var one []Expr
			for range g.IntN(3) {
				one = append(one, exprs[g.IntN(len(exprs))])
			}
			r = append(r, append(one, verdicts[g.IntN(len(verdicts))]))
		}
		return r
	}
	rs := &Ruleset{}
	for range 1 + g.IntN(3) {
		var chains []*Chain
		for range g.IntN(5) {
			c := hooked("b", Hook(g.IntN(8)), g.IntN(700)-350, list())
			c.Type, c.Drop = []string{"filter", "nat", "route", ""}[g.IntN(4)], g.IntN(5) == 0
			chains = append(chains, c)
		}
		for i := range 3 {
			chains = append(chains, chainOf(fmt.Sprintf("c%d", i), list()))
		}
		t := tableOf([]Family{Inet, IPv4, IPv6, Netdev, 99}[g.IntN(5)], chains...)
		t.Engine = []string{facts.NFTables, facts.IPTables, ""}[g.IntN(3)]
		rs.Tables = append(rs.Tables, t)
	}
	return rs
}

func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var r rules
			for i := range n {
				r = append(r, []Expr{dport(uint16(1000 + i)), drop})
			}
			rs := &Ruleset{Tables: []*Table{tableOf(Inet, hooked("in", Input, 0, append(r, []Expr{drop})))}}
			for b.Loop() {
				rs.Walk(conn, facts.Syn)
			}
		})
	}
}

// Data takes the way of the last packet of the handshake, and its answer the way back; they
// alone carry something.
func TestConversation(t *testing.T) {
	carries := rules{{when(func(s *State) bool { return s.Carries && !s.Reply }), drop}}
	back := rules{{when(func(s *State) bool { return s.Carries && s.Reply && s.From.Port() == 62893 }), drop}}
	rs := &Ruleset{Tables: []*Table{tableOf(IPv4, hooked("i", Input, 0, carries), hooked("o", Output, 0, back))}}
	c := Connection{From: netip.MustParseAddrPort("127.0.0.1:40000"), To: netip.MustParseAddrPort("127.0.0.1:62893")}
	var got []string
	for w := range rs.Conversation(c) {
		for _, s := range w.Stops {
			got = append(got, w.Packet+" "+s.Where)
		}
	}
	if want := []string{"DATA input", "DATA-ANSWER output"}; !slices.Equal(got, want) {
		t.Errorf("stopped: %q, want %q", got, want)
	}
}
