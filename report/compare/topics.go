package compare

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// Topics that are asked for by name.
const (
	topicCauses  = "causes"
	topicRemarks = "remarks"
)

// topics is what one side says of one target, by importance. Both sides have the
// same list: that of facts is the longer one.
func (s *Side) topics(i int) []topic {
	t := &s.Report.Targets[i]
	var f *facts.Facts
	if i < len(s.Facts) {
		f = s.Facts[i]
	}
	ts := []topic{causes(t), latent(t), unexplained(t), addresses(t, f), binds(t, f), answers(t, f), listeners(t, f)}
	if f == nil {
		return append(ts, reportedNames(s.Report), reportedLoopback(s.Report), reportedRoutes(s.Report), remarks(t))
	}
	return append(ts, filters(f), containers(f), units(f), elsewhere(f), forwards(f), names(f), loopback(f), routes(f), rules(f), configs(f),
		proxies(f), environment(f), limits(f), remarks(t))
}

// absent is why a group of facts is not there; empty if it is.
func absent(f *facts.Facts, g facts.Group) string {
	if f == nil || f.Has(g) {
		return ""
	}
	a := f.Absent[g]
	return cmp.Or(a.Reason, string(a.Why), "not looked at")
}

// configured are sources of evidence that quote a setting: what differs between
// two causes of one name.
var configured = lazy(`^(rule|ip rule|sysctl|policy|tc filter .*|net\.\S+|/.*:\d+)$`)

// cause is one without what differs each time that it is met.
func cause(c *report.Cause, t *report.Target) item {
	i := item{what: c.Name, show: said(c.Summary) + " (" + c.Certainty + ")", parts: []part{
		{name: "certainty", text: c.Certainty, detail: true}, {name: "affects", text: sorted(c.Affects)}, {name: "candidates", text: sorted(c.Candidates), detail: true},
		{name: "summary", text: c.Summary, same: shape(c.Summary, t), detail: true}}}
	for _, e := range c.Evidence {
		if configured().MatchString(e.Source) {
			i.parts = append(i.parts, part{name: "setting", text: strings.ReplaceAll(e.Text, strconv.Itoa(int(t.Port)), "PORT"), detail: true})
			i.show += "; " + e.Source + ": " + uncounted(e.Text)
		}
	}
	return i
}

// said is a sentence without its full stop.
func said(s string) string { return strings.TrimSuffix(s, ".") }

func sorted(words []string) string {
	words = slices.Clone(words)
	slices.Sort(words)
	return strings.Join(words, " ")
}

func causes(t *report.Target) topic { return ofState(t, topicCauses, checks.Active) }
func latent(t *report.Target) topic { return ofState(t, "causes behind the first", checks.Latent) }

func ofState(t *report.Target, name string, state checks.State) topic {
	out := topic{name: name}
	for i := range t.Causes {
		if c := &t.Causes[i]; c.State == string(state) {
			i := cause(c, t)
			if old := out.named(i.what); old != nil { // of other addresses
				i.show = old.show + "; " + i.show
			}
			out.put(i.what, i.parts...)
			out.named(i.what).show = i.show
		}
	}
	notChecked(&out, t)
	return out
}

// notChecked adds what could not be judged: that it is not found there says
// nothing.
func notChecked(out *topic, t *report.Target) {
	for _, n := range t.NotChecked {
		if out.named(n.Name) == nil {
			out.put(n.Name, part{unknown: n.Reason})
		}
	}
}

func unexplained(t *report.Target) topic {
	out := topic{name: "unexplained"}
	for _, s := range t.Symptoms {
		if len(s.ExplainedBy) == 0 {
			out.put(s.Name, part{text: said(s.Summary), same: shape(s.Summary, t)})
		}
	}
	return out
}

func remarks(t *report.Target) topic {
	out := topic{name: topicRemarks}
	for _, c := range t.Remarks {
		if c.AboutLooker() {
			continue
		}
		out.put(c.Name, part{text: said(c.Summary), same: shape(c.Summary, t), detail: true})
	}
	notChecked(&out, t)
	return out
}

// place is an address without the port of the target: two targets may have
// different ones.
func place(t *report.Target, address string, port uint16) string {
	if port == t.Port || port == 0 {
		return address
	}
	return report.Endpoint(address, port)
}

// byClient says what all clients met in a word, and what each met if they differ.
func byClient(out *topic, what, name string, met map[string]string, unknown string) {
	var clients, words []string
	for c := range met {
		clients = append(clients, c)
	}
	slices.Sort(clients)
	for _, c := range clients {
		words = append(words, met[c])
	}
	switch {
	case len(words) == 0:
		out.put(what, part{name: name, unknown: cmp.Or(unknown, "not tried")})
	case len(slices.Compact(slices.Clone(words))) == 1:
		out.put(what, part{name: name, text: words[0]})
	default:
		for i := range words {
			words[i] += " (" + clients[i] + ")"
		}
		out.put(what, part{name: name, text: strings.Join(words, ", ")})
	}
}

func addresses(t *report.Target, f *facts.Facts) topic {
	out := topic{name: "connections", asked: true}
	met := map[string]map[string]string{}
	for _, a := range t.Addresses {
		if met[a.Address] == nil {
			met[a.Address] = map[string]string{}
		}
		if a.Outcome != facts.Skipped {
			met[a.Address][a.Client] = outcome(&a)
		}
	}
	for address, clients := range met {
		byClient(&out, address, "", clients, absent(f, facts.GroupDials))
	}
	return out
}

// outcome is what one client met, without how long it took.
func outcome(a *report.Address) string {
	switch {
	case a.Outcome == facts.Timeout:
		return "no reply"
	case a.Outcome.Works() && a.Stage == checks.StageAccept.String(): // else it only was not accepted yet
		return "connected, not accepted"
	case a.Outcome.Works():
		return "connected"
	case a.Errno != "":
		return fmt.Sprintf("%s (%s)", a.Outcome, a.Errno)
	}
	return string(a.Outcome)
}

func binds(t *report.Target, f *facts.Facts) topic {
	out := topic{name: "taking the port", unknown: absent(f, facts.GroupBinds)}
	if len(t.Binds) == 0 {
		out.unknown = cmp.Or(out.unknown, "not tried")
	}
	met := map[[2]string]map[string]string{}
	for _, b := range t.Binds {
		k := [2]string{b.Address, "without SO_REUSEADDR"}
		if b.ReuseAddr || t.Network == "udp" {
			k[1] = ""
		}
		if met[k] == nil {
			met[k] = map[string]string{}
		}
		met[k][b.Client] = "free"
		if b.Errno != "" {
			met[k][b.Client] = b.Errno
		}
	}
	for k, clients := range met {
		byClient(&out, strings.TrimSuffix(k[0]+" "+k[1], " "), "", clients, "")
	}
	return out
}

func answers(t *report.Target, f *facts.Facts) topic {
	out := topic{name: "answers", unknown: absent(f, facts.GroupAnswers)}
	if len(t.Answers) == 0 {
		out.unknown = cmp.Or(out.unknown, "nothing was asked")
	}
	for i := range t.Answers {
		a := &t.Answers[i]
		if a.End == facts.NotAsked || a.With != "" { // further questions follow from the answer to the first
			continue
		}
		out.put(a.Address+", "+a.Asked(), part{text: a.Reply(), same: measured(ends().ReplaceAllString(a.Reply(), ""))})
	}
	return out
}

// ends are those of our own connection, which an error of Go names.
var ends = lazy(`\S+:\d+->\S+:\d+`)

func listeners(t *report.Target, f *facts.Facts) topic {
	out := topic{name: "listeners", unknown: absent(f, facts.GroupSockets)}
	for i := range t.Sockets {
		s := &t.Sockets[i]
		if s.State != facts.Listen && s.State != facts.Bound {
			continue
		}
		where := place(t, s.Address, s.Port)
		if s.Network == "udp" {
			where += "/udp"
		}
		out.put(where, socket(s, f)...)
	}
	return out
}

// socket is who listens, and how, without numbers of processes.
func socket(s *report.Socket, f *facts.Facts) []part {
	user := "uid " + strconv.FormatUint(uint64(s.UID), 10)
	var ps []part
	if len(s.Processes) == 0 {
		ps = append(ps, part{name: "owner", unknown: "its process is hidden"})
	}
	for _, p := range s.Processes {
		words := []string{p.Name}
		if p.Unit != "" {
			words = append(words, "unit "+p.Unit)
		}
		if p.Container != "" {
			words = append(words, "container "+p.Container)
		}
		if f != nil {
			if q := f.Owners.Process(p.PID); q != nil && q.Halted() != "" {
				words = append(words, q.Halted())
			}
		}
		ps = append(ps, part{name: "owner", text: strings.Join(words, ", ")})
	}
	ps = append(ps, part{name: "user", text: cmp.Or(s.User, user), same: user})
	if s.State == facts.Bound && s.Network != "udp" {
		ps = append(ps, part{name: "state", text: "bound, and does not listen"})
	}
	if q := s.AcceptQueue; q != nil {
		ps = append(ps, part{name: "queue", text: fmt.Sprintf("accept queue of %d", q.Limit)})
		if q.Length > q.Limit {
			ps = append(ps, part{name: "full", text: "which is full"})
		}
	}
	if s.V6Only {
		ps = append(ps, part{name: "family", text: "IPv6 only"})
	}
	if s.Device != "" {
		ps = append(ps, part{name: "device", text: "on " + s.Device + " only"})
	}
	return ps
}

// reportedNames is what a report alone says of the name.
func reportedNames(r *report.Report) topic {
	out := topic{name: "names"}
	l := r.Loopback.Localhost
	if l == nil {
		out.unknown = "nobody asked for it"
		return out
	}
	var as []string
	for _, a := range l.Addresses {
		as = append(as, a.Address)
	}
	out.add("localhost", cmp.Or(strings.Join(as, ", "), l.Error, "nothing"))
	return out
}

// reportedLoopback is what a report alone says of loopback itself.
func reportedLoopback(r *report.Report) topic {
	out := topic{name: "loopback"}
	if i := r.Loopback.Interface; i != nil {
		out.add(i.Name, link(i.Up, i.MTU, i.Qdisc, i.XDP))
	}
	for _, a := range r.Loopback.Addresses {
		out.add(a, "assigned")
	}
	if v := r.Loopback.IPv6; v != nil {
		out.add("IPv6", ipv6(v.Present, v.Disabled))
	} else {
		out.unknown = "not looked at"
	}
	return out
}

func reportedRoutes(r *report.Report) topic {
	out := topic{name: "routes", asked: true}
	for _, x := range r.Loopback.Routes {
		out.add("route to "+x.To, route(x.Type, x.Device, x.Errno))
	}
	return out
}

func link(up bool, mtu int, qdisc string, xdp bool) string {
	words := []string{"down"}
	if up {
		words[0] = "up"
	}
	words = append(words, fmt.Sprintf("mtu %d", mtu))
	if qdisc != "" {
		words = append(words, "qdisc "+qdisc)
	}
	if xdp {
		words = append(words, "an XDP program")
	}
	return strings.Join(words, ", ")
}

func ipv6(present, disabled bool) string {
	switch {
	case !present:
		return "not there"
	case disabled:
		return "switched off"
	}
	return "on"
}

func route(kind, device, errno string) string {
	if errno != "" {
		return errno
	}
	return strings.TrimSpace(kind + " dev " + device)
}

// base is the file alone: the directories are another on every machine.
func base(file string) string { return path.Base(strings.ReplaceAll(file, `\`, "/")) }
