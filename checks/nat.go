package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Connections that a rule leads elsewhere: which rule, where to, and who is there.
// The rules' walk is believed where what came of the connection says the same.

var natHijacksLoopback = &Check{
	Name:     "nat-hijacks-loopback",
	Doc:      "a NAT rule leads the connection away from the port that it was made to",
	Stage:    StageOutput, // or where nothing listens
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupFilters, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupLedger, facts.GroupPackets, facts.GroupSockets, facts.GroupOwners, facts.GroupConntrack, facts.GroupInterfaces},
	Explains: []*Check{refused, noReply, answeredByAnother, notAccepted, localhostSlowFallback},
	Refines:  []*Check{answeredElsewhere, lostOnOutput, lostOnWire, lostOnInput, noListener},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			// A container engine holds the port only so that nobody else takes it.
			if t := detourOf(f, d); t != nil && !(d.NoServer && forOthers(f, d.Addr)) {
				fs = append(fs, t.finding(f, d))
			}
		}
		return mergeAddresses(f, fs)
	},
}

// forOthers tells whether who listens there does so for somebody else.
func forOthers(f *facts.Facts, a netip.Addr) bool {
	return slices.ContainsFunc(serving(f, a), func(s facts.Socket) bool {
		return slices.ContainsFunc(f.Owners.Of(s), facts.Process.Forwards)
	})
}

// detour is a rule that leads the connection of a dial away.
type detour struct {
	facts.FilterDivert
	sure  Certainty
	end   string // what is there, in a sentence: "where squid (pid 3) answers"
	stage Stage  // where the packet was lost; StageNone: it was answered, or refused
	proof []Evidence
	from  netip.Addr // who sends
	doubt string     // it may match or not, and why
}

// leads tells whether a translation is one of the destination.
func leads(kind string) bool { return kind == "redirect" || kind == "dnat" || kind == "tproxy" }

// detourOf finds the rule that leads the connection elsewhere. Nil: none does, or
// what came of the connection says otherwise.
func detourOf(f *facts.Facts, d facts.Dial) *detour {
	if f.Filters == nil {
		return nil
	}
	w := f.Filters.Walk(d, facts.Syn)
	if w == nil {
		return nil
	}
	for _, v := range w.Diverts {
		if !leads(v.Kind) || v.Kind != "tproxy" && v.To == netip.AddrPortFrom(d.Addr, f.Target.Port) {
			continue
		}
		t := &detour{FilterDivert: v, from: cond(d.From.Addr().IsValid() && !d.From.Addr().IsUnspecified(), d.From.Addr(), w.From.Addr())}
		if t.met(f, d, w) {
			return t
		}
	}
	for _, x := range w.Unsure {
		t := &detour{FilterDivert: facts.FilterDivert{Rule: x.Rule, Kind: x.Verdict, Range: true}, from: w.From.Addr()}
		switch {
		case x.Verdict == "tproxy": // it depends on a socket that the walk does not see
			if t.met(f, d, w) {
				return t
			}
		case leads(x.Verdict) && (redirected(f, d) || d.Outcome == facts.Refused && len(serving(f, d.Addr)) > 0) && t.met(f, d, w):
			t.doubt, t.sure = cut(x.Why, 120), Inferred
			return t
		}
	}
	return nil
}

// met tells whether what came of the connection is what the rule makes of it, and
// writes down how that is known.
func (t *detour) met(f *facts.Facts, d facts.Dial, w *facts.FilterWalk) bool {
	if by := answerer(f, d); by.IsValid() {
		if t.To.IsValid() && by == t.To {
			t.prove("conntrack", fmt.Sprintf("%s answers what is sent from %s to %s", by, d.From, at(f, d.Addr)))
		} else if !t.Range && t.Kind != "tproxy" && t.To.Port() != 0 && by.Port() != t.To.Port() {
			return false
		}
	}
	switch {
	case t.Kind == "tproxy":
		return t.metProxy(f, d)
	case d.Outcome.Works() && d.Server != nil && d.Server.Local.IsValid():
		local := netip.AddrPortFrom(d.Server.Local.Addr().Unmap(), d.Server.Local.Port())
		same := local.Port() == t.To.Port() && (local.Addr() == t.To.Addr() || !t.To.Addr().IsValid())
		if !same && !(t.Range && redirected(f, d)) {
			return false
		}
		t.prove("connection", fmt.Sprintf("the far end of %s is the socket %s", d.From, d.Server.Local))
		t.end = farEnd(f, d)
		return true
	case d.NoServer:
		t.end = "which is not in this network namespace"
		return t.sure == Proven || t.away()
	case d.Outcome == facts.Refused:
		return t.metRefusal(f, d)
	case d.Outcome == facts.Timeout:
		return t.metSilence(f, d, w)
	}
	return false
}

func (t *detour) prove(source, text string) {
	t.sure = Proven
	t.proof = append(t.proof, Evidence{source, text})
}

// metRefusal: who is led to a port where nothing listens is refused by TCP itself.
func (t *detour) metRefusal(f *facts.Facts, d facts.Dial) bool {
	l := ledgerOf(f, d.Addr)
	if l != nil && forged(l, d) || deref(t.Listens) {
		return false
	}
	if l != nil && silent(l) {
		l = nil
	}
	t.end = "where nothing listens"
	for _, c := range conversations(f, d) {
		if t.To.Port() != f.Target.Port && c.Server.Port() == t.To.Port() {
			t.prove("packets", ladder(c))
			break
		}
	}
	switch {
	case t.away():
		t.end = "from where it is refused"
		if l != nil && l.Delta["lo.tx"] == 0 {
			t.prove("counters", "the connection was refused, and no packet crossed lo")
		}
	case t.Listens != nil && l != nil:
		t.prove("counters", fmt.Sprintf("of %d SYN none was lost on the way, and TCP sent a reset (TcpOutRsts +%d)", l.SYNs, l.Delta["OutRsts"]))
	}
	return true
}

// metSilence: a packet that is led off this machine leaves by no way, or by one
// that is not lo.
func (t *detour) metSilence(f *facts.Facts, d facts.Dial, w *facts.FilterWalk) bool {
	l := ledgerOf(f, d.Addr)
	st, lost := lostAt(f, d)
	switch {
	case l == nil && f.Ledger == nil && (t.noWay() || t.away()):
		t.end = cond(t.away(), "by "+t.device(), "to which there is no way")
		return true
	case lost && st == StageOutput && t.noWay():
		t.end = fmt.Sprintf("to which there is no way (%s)", short(t.Route))
	case lost && st == StageOutput && t.martian():
		t.end = fmt.Sprintf("by %s, and the kernel lets no packet from %s leave by it", t.device(), cond(t.from.IsLoopback() && t.from.Is4(), "127.0.0.0/8", t.from.String()))
	case lost && st == StageWire && t.away():
		t.end = fmt.Sprintf("by %s, and no answer comes back", t.device())
	case lost && st == StageOutput && t.Route == "" && len(w.Stops)+len(before(w)) == 0 && t.To.Addr() != d.Addr:
		t.end, t.stage = "and it never leaves", st
		return true
	default:
		return false
	}
	t.stage = st
	t.prove("counters", countedAt(l, d, st))
	if t.Route != "" {
		t.proof = append(t.proof, Evidence{"route lookup", fmt.Sprintf("%s: %s", t.To.Addr(), short(t.Route))})
	}
	if t.martian() {
		t.proof = append(t.proof, Evidence{"sysctl", fmt.Sprintf("net.ipv4.conf.%s.route_localnet = 0", t.device())})
	}
	return true
}

// metProxy: the far end of a TPROXY has the very address that was dialled, and
// another owner than the listener. Without a socket to take it, the rule of
// xtables drops the packet (xt_TPROXY.c), and that of nf_tables has no effect.
func (t *detour) metProxy(f *facts.Facts, d facts.Dial) bool {
	if d.Outcome == facts.Timeout {
		// That of nf_tables is never certain.
		if st, lost := lostAt(f, d); !lost || st != StageInput || t.Range || deref(t.Listens) {
			return false
		}
		t.end, t.stage = "where no program takes it", StageInput
		t.prove("counters", countedAt(ledgerOf(f, d.Addr), d, StageInput))
		return true
	}
	if !d.Outcome.Works() || d.Server == nil || f.Owners == nil {
		return false
	}
	far := f.Owners.Of(facts.Socket{Inode: d.Server.Inode})
	if len(far) == 0 {
		return false
	}
	for _, l := range serving(f, d.Addr) {
		ps := f.Owners.Of(l)
		// A server may hand its connections to children, and a manager to its services.
		if len(ps) == 0 || slices.ContainsFunc(ps, func(p facts.Process) bool {
			return p.PID == far[0].PID || p.PID == far[0].PPID || p.Name == far[0].Name || p.IsServiceManager()
		}) {
			return false
		}
	}
	t.end = farEnd(f, d)
	t.prove("connection", fmt.Sprintf("%s has the far end of %s, and does not listen on %s", who(far[0]), d.From, at(f, d.Addr)))
	return true
}

// farEnd names who has the server's side of the connection.
func farEnd(f *facts.Facts, d facts.Dial) string {
	ps := f.Owners.Of(facts.Socket{Inode: deref(d.Server).Inode})
	switch {
	case len(ps) > 0:
		return "where " + who(ps[0]) + " answers"
	case unanswered(d):
		return "where no program accepts it"
	}
	return "where another socket answers"
}

// away tells whether the packet leaves this network namespace.
func (t *detour) away() bool { return strings.HasPrefix(t.Route, "unicast") }

// noWay tells whether the kernel has no route there.
func (t *detour) noWay() bool {
	return t.Route != "" && !t.away() && !strings.HasPrefix(t.Route, "local")
}

// martian tells whether the packet would leave with an address of 127.0.0.0/8 by a
// device where the kernel forbids that (net.ipv4.conf.DEV.route_localnet).
func (t *detour) martian() bool {
	return t.away() && t.RouteLocalnet != nil && !*t.RouteLocalnet && t.from.Is4() && t.from.IsLoopback()
}

// device is the one that it leaves by: "unicast dev eth0" ends with its name.
func (t *detour) device() string {
	w := strings.Fields(t.Route)
	for i := 0; i+1 < len(w); i++ {
		if w[i] == "dev" {
			return short(w[i+1])
		}
	}
	return "another interface"
}

// answerer is who answers the dial, as connection tracking has it.
func answerer(f *facts.Facts, d facts.Dial) netip.AddrPort {
	if f.Conntrack != nil {
		for _, r := range f.Conntrack.Replies {
			if r.Addr == d.Addr && r.From == d.From {
				return netip.AddrPortFrom(r.By.Addr().Unmap(), r.By.Port())
			}
		}
	}
	return netip.AddrPort{}
}

// to is where the rule leads, in a sentence.
func (t *detour) to(f *facts.Facts, d facts.Dial) string {
	a, p := t.To.Addr(), t.To.Port()
	if local := deref(d.Server).Local; p == 0 || t.Range {
		a, p = cmp.Or(local.Addr().Unmap(), a), cmp.Or(local.Port(), p)
	}
	switch {
	case p == 0 && !a.IsValid():
		return "another port"
	case !a.IsValid() || a == d.Addr || a.IsUnspecified():
		return fmt.Sprintf("port %d", p)
	case p == 0:
		return a.String()
	}
	return netip.AddrPortFrom(a, p).String()
}

// what is the kind of rule, in a sentence.
func (t *detour) what() string { return cond(t.Kind == "tproxy", "A TPROXY rule", "A NAT rule") }

func (t *detour) finding(f *facts.Facts, d facts.Dial) Finding {
	x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: t.sure, Stage: t.at(f, d),
		Summary: fmt.Sprintf("%s %s connections to %s on to %s, %s%s: %s.", t.what(), cond(t.sure == Proven, "leads", "probably leads"), at(f, d.Addr), t.to(f, d), t.end, forOnly(f, d), placeOf(f, t.Rule))}
	x.Evidence = t.evidence(f, d)
	if t.sure == Inferred {
		x.Settle = lookAt(f, t.Rule)
	}
	if len(serving(f, d.Addr)) == 0 && !d.Outcome.Works() {
		// It is a port forward: what it leads to is what is meant.
		x.Fixes = append([]Fix{{Do: fmt.Sprintf("Start the server at %s: the rule leads there, and nothing listens on %s itself.", t.to(f, d), at(f, d.Addr))}}, instead(f, []hurdle{t.hurdle(f)})...)
		return x
	}
	if len(serving(f, d.Addr)) > 0 { // else it is a port forward that works
		x.Fixes = leaveOutFixes(f, t.hurdles(f, d)...)
	}
	return x
}

// at is where it acts: where nothing listens on the port itself, instead of that.
func (t *detour) at(f *facts.Facts, d facts.Dial) Stage {
	switch {
	case t.stage != StageNone:
		return t.stage
	case len(serving(f, d.Addr)) == 0:
		return StageListen
	case t.Rule.Hook == "prerouting" || t.Rule.Hook == "input":
		return StageInput
	}
	return StageOutput
}

func (t *detour) evidence(f *facts.Facts, d facts.Dial) []Evidence {
	es := []Evidence{{"rule", ruleText(f, t.Rule)}}
	if t.Rule.Comment != "" {
		es = append(es, Evidence{"comment", cut(t.Rule.Comment, 200)})
	}
	if t.doubt != "" {
		es = append(es, Evidence{"not sure", "whether it matches: " + t.doubt})
	}
	es = append(es, t.proof...)
	for _, e := range seen(f, d) {
		if !slices.ContainsFunc(es, func(o Evidence) bool { return o.Source == e.Source }) {
			es = append(es, e)
		}
	}
	return es
}

func (t *detour) hurdle(f *facts.Facts) hurdle {
	return hurdle{rule: t.Rule, port: f.Target.Port, from: t.from}
}

// hurdles are the rule, and the TPROXY rules that catch the answer as well: it is let
// past them by the same fix.
func (t *detour) hurdles(f *facts.Facts, d facts.Dial) []hurdle {
	hs := []hurdle{t.hurdle(f)}
	w := f.Filters.Walk(d, facts.SynAck)
	if t.Kind != "tproxy" || w == nil {
		return hs
	}
	for _, v := range w.Diverts {
		if v.Kind == "tproxy" {
			hs = append(hs, hurdle{rule: v.Rule, reply: true, port: f.Target.Port, from: w.From.Addr()})
		}
	}
	return hs
}
