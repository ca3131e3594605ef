package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// This file says what was seen at each station of the path.

// rowsShown bounds what one station lists; the rest is in the facts.
const rowsShown = 40

// seenAt is the evidence of a station.
func (r *Report) seenAt(t *Target, key string) []Evidence {
	var rows []Evidence
	add := func(source, text string) {
		if text != "" {
			rows = append(rows, Evidence{source, text})
		}
	}
	switch key {
	case "client", "server":
		add("vantage", r.vantage())
		if e := t.Error; e != nil {
			add("it said", e.Text)
			add("which means", e.Means)
		}
		if x := t.Ran; x != nil {
			add("command", Command(x.Args))
			for _, c := range x.Connects {
				add("connect to "+c.To, c.words())
			}
		}
	case "resolver":
		for _, a := range t.Addresses {
			if t.resolved(&a) {
				add(a.Address, "from "+a.Source)
			}
		}
		if n := r.Loopback.Localhost; n != nil && facts.IsLocalhost(t.Host) {
			for _, a := range n.Addresses {
				if !slices.ContainsFunc(t.Addresses, func(x Address) bool { return x.Address == a.Address }) {
					add(a.Address, "from "+a.Source)
				}
			}
			add("localhost", n.Error)
		}
	case "route":
		for _, x := range r.Loopback.Routes {
			if slices.ContainsFunc(t.Addresses, func(a Address) bool { return a.Address == x.To }) {
				add("to "+x.To, x.words())
			}
		}
	case "output":
		rows = append(rows, t.captured(key)...)
	case "lo":
		if i := r.Loopback.Interface; i != nil {
			add("interface", i.words())
			add("addresses", strings.Join(r.Loopback.Addresses, ", "))
		}
		if v := r.Loopback.IPv6; v != nil && (!v.Present || v.Disabled) {
			add("IPv6", map[bool]string{true: "disabled", false: "not in this kernel"}[v.Present])
		}
		rows = append(rows, t.captured(key)...)
	case "listener":
		for _, s := range t.listeners() {
			add(endpoint(s.Address, s.Port), s.detail()+"; "+s.owner())
			if s.Reach != nil {
				add("who can reach it", s.reachWords())
			}
		}
		if len(t.listeners()) == 0 && len(t.Sockets) > 0 {
			add("sockets", "none listens")
		}
		for _, s := range t.Sockets {
			if !slices.ContainsFunc(t.listeners(), func(l Socket) bool { return l.Address == s.Address && l.State == s.State && l.Remote == s.Remote }) {
				add(endpoint(s.Address, s.Port), s.detail()+"; "+s.owner())
			}
		}
	case "back":
		rows = append(rows, t.captured(key)...)
		for _, a := range t.Addresses {
			if a.Outcome != facts.Skipped {
				add("connect to "+a.Address, a.outcome())
			}
		}
	case "process":
		for _, s := range t.listeners() {
			for _, p := range s.Processes {
				rows = append(rows, r.about(&p)...)
			}
		}
		for _, a := range t.Addresses {
			if a.Accepted != nil {
				add("connect to "+a.Address, map[bool]string{true: "accepted", false: "not accepted"}[*a.Accepted])
			}
		}
	case "answer":
		for i := range t.Answers {
			add(t.Answers[i].Address, t.Answers[i].detail())
		}
	case "address", "permission", "port":
		for _, b := range t.Binds {
			if b.Errno == "" || bindStations()[bindStation(b.Errno)].Key == key {
				add(endpoint(b.Address, t.Port), b.words(t.Network))
			}
		}
		if key == "port" {
			for i := range t.Sockets {
				s := &t.Sockets[i]
				add(endpoint(s.Address, s.Port), s.detail()+"; "+s.owner())
			}
		}
		if key == "address" {
			add("loopback", strings.Join(r.Loopback.Addresses, ", "))
		}
	}
	return bounded(unique(rows))
}

func unique(rows []Evidence) []Evidence {
	var out []Evidence
	for _, e := range rows {
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func bounded(rows []Evidence) []Evidence {
	if n := len(rows) - rowsShown; n > 0 {
		rows = append(rows[:rowsShown:rowsShown], Evidence{"more", fmt.Sprintf("%d more, in the JSON report", n)})
	}
	return rows
}

// words is "local dev lo, source 127.0.0.1".
func (x *Route) words() string {
	if x.Errno != "" {
		return "no way: " + x.Errno
	}
	s := x.Type
	if x.Device != "" {
		s += " dev " + x.Device
	}
	if x.Source != "" {
		s += ", source " + x.Source
	}
	return s
}

// words is "timeout after 0.3 s, by curl (pid 24), 3 times".
func (c *Connect) words() string {
	s := cmp.Or(c.Errno, string(c.Outcome)) + " after " + duration(c.ElapsedMS)
	if c.Program != "" {
		s += fmt.Sprintf(", by %s (pid %d)", c.Program, c.PID)
	}
	if c.Count > 1 {
		s += fmt.Sprintf(", %d times", c.Count)
	}
	if c.Proxy != "" {
		s += ", as the proxy of " + c.Proxy
	}
	return s
}

func (i *Interface) words() string {
	s := i.Name + " is down"
	if i.Up {
		s = i.Name + " is up"
	}
	s += fmt.Sprintf(", MTU %d", i.MTU)
	if i.Qdisc != "" {
		s += ", queue " + i.Qdisc
	}
	if i.XDP {
		s += ", with an XDP program"
	}
	return s
}

func (b *Bind) words(network string) string {
	s := "can be taken"
	if b.Errno != "" {
		s = "cannot be taken (" + b.Errno + ")"
	}
	switch {
	case network == "udp":
	case b.ReuseAddr:
		s += " with SO_REUSEADDR"
	default:
		s += " without SO_REUSEADDR"
	}
	return s + ", as " + b.Client
}

// about tells of a process what a person would ask first.
func (r *Report) about(p *Process) []Evidence {
	name := fmt.Sprintf("%s (pid %d)", p.Name, p.PID)
	var words []string
	for _, w := range []struct{ label, text string }{{"", p.Exe}, {"user ", p.User}, {"unit ", p.Unit}, {"container ", p.Container}, {"project ", p.Project},
		{"started from ", p.From}, {"terminal ", p.Terminal}} {
		if w.text != "" {
			words = append(words, w.label+w.text)
		}
	}
	if !p.Since.IsZero() {
		words = append(words, "since "+r.when(p.Since))
	}
	var above []string
	for _, a := range p.Parents {
		above = append(above, fmt.Sprintf("%s (%d)", a.Name, a.PID))
	}
	if len(above) > 0 {
		words = append(words, "below "+strings.Join(above, ", "))
	}
	return []Evidence{{name, strings.Join(words, "; ")}}
}

// Else is said of a station of which nothing else is known.
func (s *station) Else() string {
	for _, m := range s.Marks {
		if m == markPassed || m == markRemarked {
			return s.passer + " passed it; nothing more was looked at here."
		}
	}
	return "Nothing was seen of it."
}

// captured counts the packets that a station let through.
func (t *Target) captured(key string) []Evidence {
	n, lost := 0, 0
	for _, c := range t.Packets {
		for _, p := range c.Packets {
			switch {
			case key == "output" && p.FromClient && p.Out, key == "lo" && p.FromClient && p.In, key == "back" && !p.FromClient && p.In:
				n++
			case key == "lo" && p.FromClient && p.lost():
				lost++
			}
		}
	}
	var rows []Evidence
	add := func(n int, what string) {
		if n > 0 {
			rows = append(rows, Evidence{"packets", fmt.Sprintf("%d of %s", n, what)})
		}
	}
	switch key {
	case "output":
		add(n, "the client went out")
	case "lo":
		add(n, "the client came in")
		add(lost, "the client went out and never came in")
	case "back":
		add(n, "the server's side came in")
	}
	return rows
}

// findingsAt lists what is wrong at a station, and worth saying. What has a card of its
// own has its evidence there.
func (t *Target) findingsAt(s *station, id string, all []station) {
	here := func(stage string, affects []string) bool {
		if t.Intent == facts.ToBind {
			return t.bindFindingAt(all, s.Key, stage, affects)
		}
		return all[at(all, stageOf(stage))].Key == s.Key
	}
	open := 0
	for _, x := range t.Symptoms {
		if len(x.ExplainedBy) == 0 {
			open++ // as the page counts its cards
		}
		if here(x.Stage, x.Affects) {
			f := finding{Label: "Felt", Summary: cmp.Or(x.Summary, x.Name), Rows: x.Evidence}
			if len(x.ExplainedBy) == 0 {
				f = finding{Label: "Unexplained", Summary: f.Summary, Anchor: fmt.Sprintf("%s-open-%d", id, open)}
			}
			s.Findings = append(s.Findings, f)
		}
	}
	for i := range t.Causes {
		c := &t.Causes[i]
		if t.causeAt(all, s.Key, c) {
			f := finding{Label: "Cause", Summary: c.Summary, Anchor: fmt.Sprintf("%s-cause-%d", id, i+1)}
			if c.State == string(checks.Latent) {
				f.Label = "Behind it"
			}
			s.Findings = append(s.Findings, f)
		}
	}
	for i := range t.Remarks {
		c := &t.Remarks[i]
		if here(c.Stage, c.Affects) {
			s.Findings = append(s.Findings, finding{Label: "Remark", Summary: c.Summary, Anchor: fmt.Sprintf("%s-remark-%d", id, i+1)})
		}
	}
}

// checkedAt lists the checks of a station that found nothing, and those that could not
// be made.
func (t *Target) checkedAt(s *station) {
	here := func(name string) bool {
		c := checks.ByName(name)
		return c != nil && slices.Contains(s.stages, c.Stage)
	}
	for _, n := range t.Passed {
		if here(n) {
			s.Fine = append(s.Fine, n)
		}
	}
	var not []NotChecked
	for _, n := range t.NotChecked {
		if here(n.Name) {
			not = append(not, n)
		}
	}
	s.Not = notChecked(not, true)
}
