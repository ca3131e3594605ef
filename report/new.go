package report

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// New words a run. It never fails: a target without facts or diagnosis is
// reported as unknown, with the exit status of a failure.
func New(run Run) *Report {
	r := &Report{Schema: Schema, Version: run.Version}
	n := max(len(run.Facts), len(run.Diagnoses))
	var end time.Time
	for i := range n {
		f, d := &facts.Facts{}, (*checks.Diagnosis)(nil)
		if i < len(run.Facts) && run.Facts[i] != nil {
			f = run.Facts[i]
			if r.Host.OS == "" {
				r.Host = host(f.Host)
			}
			if r.Time.IsZero() || f.Time.Before(r.Time) {
				r.Time = f.Time
			}
			if e := f.Time.Add(time.Duration(f.ElapsedMS * float64(time.Millisecond))); e.After(end) {
				end = e
			}
			r.Loopback.add(f)
			r.facts = append(r.facts, f)
			if i < len(run.Diagnoses) {
				d = run.Diagnoses[i]
			}
		}
		r.Targets = append(r.Targets, target(f, d))
	}
	if n > 0 {
		r.ElapsedMS = float64(end.Sub(r.Time)) / float64(time.Millisecond)
	}
	r.Status = worst(r.Targets)
	scrub(reflect.ValueOf(r).Elem(), false)
	return r
}

func host(h facts.Host) Host {
	out := Host{OS: h.OS, Kernel: h.Kernel, Arch: h.Arch, Vantage: h.Vantage, LookedWith: slices.Clone(h.LookedWith)}
	for _, id := range h.As {
		out.As = append(out.As, Identity{UID: id.UID, User: id.User, PID: id.PID, Program: id.Program, Name: id.Name()})
	}
	return out
}

// add takes from the facts of one target what they say about loopback itself.
func (l *Loopback) add(f *facts.Facts) {
	if i := f.Interfaces; i != nil && l.IPv6 == nil {
		l.IPv6 = &IPv6{Present: i.IPv6.Present, Disabled: i.IPv6.Disabled}
		if lo := i.Loopback; lo != nil {
			l.Interface = &Interface{Name: lo.Name, Up: lo.Up, MTU: lo.MTU, Qdisc: lo.Qdisc, XDP: lo.XDP}
			l.Addresses = texts(lo.Addresses)
		}
	}
	if f.Routes != nil {
		for _, ro := range f.Routes.Lookups {
			to := ro.To.String()
			if slices.ContainsFunc(l.Routes, func(o Route) bool { return o.To == to }) {
				continue
			}
			l.Routes = append(l.Routes, Route{To: to, Type: ro.Type, Device: ro.Device, Source: addr(ro.Source), Errno: ro.Errno})
		}
	}
	if f.Names != nil && f.Names.Name == "localhost" && l.Localhost == nil {
		l.Localhost = &Resolution{Error: f.Names.Error}
		for _, a := range f.Names.Addresses {
			l.Localhost.Addresses = append(l.Localhost.Addresses, NamedAddress{Address: addr(a.Addr), Source: a.Source})
		}
	}
	if f.Target.Port == 0 && f.Listeners != nil {
		l.Sockets = append([]Socket{}, sockets(f, f.Listeners)...)
	}
}

func target(f *facts.Facts, d *checks.Diagnosis) Target {
	t := Target{
		Target: label(f.Target), Network: cmp.Or(f.Target.Network, "tcp"), Host: f.Target.Host, Port: f.Target.Port,
		Intent: cmp.Or(f.Target.Intent, facts.Connect), Verdict: checks.Unknown,
		Sockets: sockets(f, f.Sockets), Error: said(f, d), Answers: answers(f), Ran: ran(f.Target.Met),
		Notes: slices.Concat(some(saidNote(f, d)), ranNotes(f, d), notes(f)),
	}
	for _, b := range f.Binds {
		t.Binds = append(t.Binds, Bind{Address: addr(b.Addr), As: b.As, Client: f.Host.Client(b.As, b.AsPID).Name(), ReuseAddr: b.ReuseAddr, Errno: b.Errno})
	}
	if f.Packets != nil {
		for _, c := range f.Packets.Conversations {
			t.Packets = append(t.Packets, conversation(c))
		}
	}
	if d == nil {
		t.Addresses = addresses(f)
		t.Summary = "loopdoctor could not judge " + t.Target + "."
		t.status = ExitFailed
		return t
	}
	t.Verdict = d.Verdict
	t.Summary = summary(f, d)
	t.Addresses = addresses(f)
	all := f.Target.Expected()
	for _, s := range d.Symptoms {
		t.Symptoms = append(t.Symptoms, Symptom{
			Name: name(s.Finding), Affects: affects(s.Affects, all), Stage: stage(s.Finding).String(), Summary: s.Summary,
			Evidence: evidence(s.Evidence), ExplainedBy: slices.Clone(s.ExplainedBy), WouldSettle: whole(s.Settle),
		})
	}
	t.breakAddresses()
	for _, c := range d.Causes {
		out := cause(c.Finding, all)
		out.State, out.Candidates = string(c.State), slices.Clone(c.Candidates)
		for _, q := range c.Consequences {
			out.Consequences = append(out.Consequences, Consequence{Name: q.Name, Affects: affects(q.Affects, all)})
		}
		t.Causes = append(t.Causes, out)
	}
	for _, m := range d.Remarks {
		t.Remarks = append(t.Remarks, cause(m, all))
	}
	for _, n := range d.NotChecked {
		t.NotChecked = append(t.NotChecked, NotChecked(n))
	}
	t.Passed = slices.Clone(d.Passed)
	t.Clients = clients(checks.Clients(f))
	t.status = status(d)
	return t
}

func cause(f checks.Finding, all []netip.Addr) Cause {
	c := Cause{
		Name: name(f), State: "remark", Certainty: f.Certainty.String(), Affects: affects(f.Affects, all), Stage: stage(f).String(),
		Summary: f.Summary, Since: f.Since, Evidence: evidence(f.Evidence), WouldSettle: whole(f.Settle),
		Docs: "docs/causes/" + name(f) + ".md",
	}
	for _, x := range f.Fixes {
		c.Fixes = append(c.Fixes, fix(x))
	}
	return c
}

// fix withholds a command that cleaning would change: what was left of it would
// act on something else than what was meant.
func fix(x checks.Fix) Fix {
	out := Fix{Do: x.Do, Elevated: x.Elevated, Lasts: string(x.Lasts), Risk: x.Risk, Interrupts: x.Interrupts}
	if x.Guard != nil {
		out.Guard = &Guard{PID: x.Guard.PID, Started: x.Guard.Started}
	}
	if !printable(x) {
		out.Do = sentence(out.Do, "its command holds characters that cannot be shown safely")
		return out
	}
	out.Paste = x.Paste
	for _, s := range x.Steps {
		out.Steps = append(out.Steps, slices.Clone(s))
	}
	for _, u := range x.Undo {
		out.Undo = append(out.Undo, slices.Clone(u))
	}
	for _, f := range x.Files {
		out.Files = append(out.Files, File(f))
	}
	return out
}

// whole is the command, or nothing when cleaning would change it.
func whole(command string) string {
	if Clean(command) != command {
		return ""
	}
	return command
}

func printable(x checks.Fix) bool {
	if whole(x.Paste) != x.Paste {
		return false
	}
	for _, s := range slices.Concat(x.Steps, x.Undo) {
		for _, a := range s {
			if whole(a) != a {
				return false
			}
		}
	}
	for _, f := range x.Files {
		if whole(f.Path) != f.Path || cleanLines(f.Append) != f.Append {
			return false
		}
	}
	return true
}

// addresses lists each address once for every client that dialled it.
func addresses(f *facts.Facts) []Address {
	var out []Address
	for _, a := range f.Target.Addresses {
		base := Address{Address: addr(a.Addr), Expected: a.Expected, Source: a.Source, Outcome: facts.Skipped}
		dialled := false
		for _, d := range f.Dials {
			if d.Addr != a.Addr {
				continue
			}
			dialled = true
			x := base
			x.Outcome, x.Errno, x.ElapsedMS, x.As = d.Outcome, d.Errno, d.ElapsedMS, &d.As
			x.Client = f.Host.Client(d.As, d.AsPID).Name()
			x.led, x.unmet = checks.LedAway(f, d), d.NoServer && d.Outcome == facts.Connected
			if d.Server != nil {
				accepted := d.Server.Accepted
				x.Accepted = &accepted
			}
			out = append(out, x)
		}
		if !dialled {
			out = append(out, base)
		}
	}
	return out
}

// breakAddresses writes down where the connection of each client broke: at the first
// symptom that is this client's. One that came up breaks where the kernel hands it over,
// or later.
func (t *Target) breakAddresses() {
	for i := range t.Addresses {
		a := &t.Addresses[i]
		if s := t.symptomOf(a); a.Expected && s != nil && (!a.Outcome.Works() || stageOf(s.Stage) >= checks.StageAccept) {
			a.Stage = s.Stage
		}
	}
}

// brokenAt is the stage of the first symptom at the address. What keeps a
// server from the port is no part of a connection.
func brokenAt(a netip.Addr, intent facts.Intent, symptoms []checks.Symptom) checks.Stage {
	for _, s := range symptoms {
		st := stage(s.Finding)
		if (len(s.Affects) == 0 || slices.Contains(s.Affects, a)) && (st != checks.StageBind || intent == facts.ToBind) {
			return st
		}
	}
	return checks.StageNone
}

func conversation(c facts.Conversation) Conversation {
	out := Conversation{Network: c.Network, Client: c.Client.String(), Server: c.Server.String()}
	for _, p := range c.Packets {
		out.Packets = append(out.Packets, Packet{
			AtMS: float64(p.At) / float64(time.Millisecond), FromClient: p.FromClient, Flags: p.Flags, Length: p.Length,
			ICMP: p.ICMP, Out: p.Out, In: p.In,
		})
	}
	return out
}

func evidence(es []checks.Evidence) []Evidence {
	var out []Evidence
	for _, e := range es {
		out = append(out, Evidence(e))
	}
	return out
}

// affects spells out that a finding without addresses concerns all of them.
func affects(as, all []netip.Addr) []string {
	if len(as) == 0 {
		as = all
	}
	return texts(as)
}

func name(f checks.Finding) string {
	if f.Check == nil {
		return "unnamed"
	}
	return f.Check.Name
}

func stage(f checks.Finding) checks.Stage {
	if f.Stage == checks.StageNone && f.Check != nil {
		return f.Check.Stage
	}
	return f.Stage
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func texts[T interface{ String() string }](vs []T) []string {
	var out []string
	for _, v := range vs {
		out = append(out, v.String())
	}
	return out
}
