package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// This file words what every format says alike. It gets strings that are clean
// already.

// sentence ends a sentence with an afterthought and a full stop; no two
// brackets follow each other.
func sentence(s, aside string) string {
	s = strings.TrimRight(s, ". ")
	switch {
	case aside == "":
	case strings.HasSuffix(s, ")"):
		s += ", " + aside
	default:
		s += " (" + aside + ")"
	}
	return s + "."
}

// tag is what stands beside a cause: "filter-drops-loopback, proven".
func (c *Cause) tag() string { return c.Name + ", " + c.Certainty }

// more is the command that opens the page of a cause.
func (c *Cause) more() string { return "loopdoctor explain " + quote(c.Name) }

// rows is the evidence and what is known about it, two columns.
func (r *Report) rows(c *Cause) []Evidence {
	rows := slices.Clone(c.Evidence)
	if !c.Since.IsZero() {
		rows = append(rows, Evidence{"since", r.when(c.Since)})
	}
	if len(c.Candidates) > 0 {
		rows = append(rows, Evidence{"could be", join(c.Candidates, "or")})
	}
	return rows
}

// heading is the imperative with how long it lasts.
func (r *Report) heading(f *Fix) string {
	aside := f.Lasts
	if f.Elevated && r.Host.OS == "windows" {
		aside = strings.TrimPrefix(aside+", as administrator", ", ")
	}
	return sentence(f.Do, aside)
}

// terms is what to know before running the steps.
func (r *Report) terms(f *Fix) []Evidence {
	var rows []Evidence
	if f.Interrupts != "" {
		rows = append(rows, Evidence{"interrupts", f.Interrupts})
	}
	if f.Risk != "" {
		rows = append(rows, Evidence{"risk", f.Risk})
	}
	if g := f.Guard; g != nil {
		text := fmt.Sprintf("pid %d is still the process that loopdoctor saw", g.PID)
		if !g.Started.IsZero() {
			text = fmt.Sprintf("pid %d is still the one started at %s", g.PID, r.local(g.Started).Format(time.DateTime))
		}
		rows = append(rows, Evidence{"only if", text})
	}
	return rows
}

// endpoint is "127.0.0.1:80", "[::1]:80".
func endpoint(address string, port uint16) string {
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return address + ":" + strconv.Itoa(int(port))
}

// owner is "python3 (pid 4121, alice) and 2 more".
func (s *Socket) owner() string {
	if len(s.Processes) == 0 {
		if s.State == facts.TimeWait {
			return "no process: it waits for late packets"
		}
		return "owner hidden (" + s.user() + ")"
	}
	p := s.Processes[0]
	user := p.User
	if user == "" {
		user = s.user()
	}
	text := fmt.Sprintf("%s (pid %d, %s)", p.Name, p.PID, user)
	if p.Attribution != facts.ByDescriptor {
		text = "probably " + text
	}
	if n := len(s.Processes) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// program is the same without the user, for a table.
func (s *Socket) program() string {
	if len(s.Processes) == 0 {
		return "?"
	}
	p := s.Processes[0]
	text := fmt.Sprintf("%s (%d)", p.Name, p.PID)
	if p.Attribution != facts.ByDescriptor {
		text += "?"
	}
	if n := len(s.Processes) - 1; n > 0 {
		text += fmt.Sprintf(" +%d", n)
	}
	return text
}

func (s *Socket) user() string {
	if s.User != "" {
		return s.User
	}
	return client(s.UID)
}

func (s *Socket) port() string {
	if s.Network == "udp" {
		return strconv.Itoa(int(s.Port)) + "/udp"
	}
	return strconv.Itoa(int(s.Port))
}

// detail is the state and what is unusual about it.
func (s *Socket) detail() string {
	words := []string{string(s.State)}
	if s.Remote != "" {
		words = append(words, "to "+s.Remote)
	}
	if q := s.AcceptQueue; q != nil {
		words = append(words, fmt.Sprintf("accept queue %d of %d", q.Length, q.Limit))
	}
	if s.V6Only {
		words = append(words, "IPv6 only")
	}
	if s.Device != "" {
		words = append(words, "on "+s.Device+" only")
	}
	return strings.Join(words, ", ")
}

// reachWords says who can reach a listener.
func (s *Socket) reachWords() string {
	if s.Reach == nil {
		return "not known"
	}
	as := s.Reach.Addresses
	if n := len(as) - 3; n > 0 {
		as = append(slices.Clone(as[:3]), fmt.Sprintf("%d more", n))
	}
	via := strings.Join(as, ", ")
	switch s.Reach.Scope {
	case ScopeMachine:
		return "this machine only"
	case ScopeEvery:
		return "every address: " + via
	case ScopeDevice:
		return "through " + strings.TrimSuffix(s.Device+": "+via, ": ")
	}
	return "through " + via
}

// outcome is what one client met at an address.
func (a *Address) outcome() string {
	var text string
	switch a.Outcome {
	case facts.Connected:
		text = "connected in " + duration(a.ElapsedMS)
		if a.accepted() {
			text += ", accepted"
		} else if a.Accepted != nil {
			text += ", not accepted"
		}
	case facts.Deferred:
		text = "connected, the server waits for the first byte"
	case facts.Timeout:
		text = "no reply in " + duration(a.ElapsedMS)
	case facts.Skipped:
		text = "not tried"
	default:
		text = string(a.Outcome)
		if a.Errno != "" {
			text += " (" + a.Errno + ")"
		}
	}
	if a.As != nil {
		text += ", as " + a.Client
	}
	if !a.Expected {
		text += "; it need not work"
	}
	return text
}

// closing is what was found fine, what was not judged, and as whom.
func (r *Report) closing(t *Target, verbose bool) []string {
	var out []string
	if n := len(t.Passed); n > 0 {
		text := fmt.Sprintf("%d %s found nothing", n, plural(n, "check", "checks"))
		if verbose {
			text += ": " + strings.Join(t.Passed, ", ")
		}
		out = append(out, text+".")
	}
	if len(t.NotChecked) > 0 {
		out = append(out, "Not checked: "+strings.Join(notChecked(t.NotChecked, verbose), "; ")+".")
	}
	return out
}

// unchecked is what could not be judged for one reason.
type unchecked struct {
	Reason, Remedy string
	Names          []string
}

// group puts what could not be judged for the same reason together.
func group(ns []NotChecked) []unchecked {
	var out []unchecked
next:
	for _, n := range ns {
		for i := range out {
			if out[i].Reason == n.Reason && out[i].Remedy == n.Remedy {
				out[i].Names = append(out[i].Names, n.Name)
				continue next
			}
		}
		out = append(out, unchecked{n.Reason, n.Remedy, []string{n.Name}})
	}
	return out
}

// notChecked is a line for each reason: "a, b and 4 more (needs root)".
func notChecked(ns []NotChecked, verbose bool) []string {
	var out []string
	for _, w := range group(ns) {
		list := w.Names
		if n := len(list) - 3; n > 1 && !verbose {
			list = append(slices.Clone(list[:3]), fmt.Sprintf("%d more", n))
		}
		reason := w.Reason
		if w.Remedy != "" {
			reason = strings.TrimPrefix(reason+": "+w.Remedy, ": ")
		}
		out = append(out, strings.Join(list, ", ")+" ("+reason+")")
	}
	return out
}

// vantage is "Looked from the host as root and alice (uid 1000)."
func (r *Report) vantage() string {
	var who []string
	for _, id := range r.Host.As {
		w := client(id.UID)
		if id.User != "" && id.UID != 0 {
			w = id.User + " (" + w + ")"
		}
		if id.PID != 0 {
			w = fmt.Sprintf("%s (pid %d, %s)", id.Program, id.PID, cmp.Or(id.User, client(id.UID)))
		}
		who = append(who, w)
	}
	if len(who) == 0 || r.Host.Vantage == "" {
		return ""
	}
	from := r.Host.Vantage
	name, netns := strings.CutPrefix(from, "ip netns ")
	switch {
	case from == "host":
		from = "the host"
	case from == "container":
		from = "a container"
	case netns:
		from = "inside network namespace " + name
	case strings.HasPrefix(from, "container "), strings.HasPrefix(from, "pod "):
		from = "inside " + from
	}
	return "Looked from " + from + " as " + join(who, "and") + "."
}

// local shows a time on the clock of the machine that was looked at.
func (r *Report) local(t time.Time) time.Time { return t.In(r.Time.Location()) }

// when is short: "14:02" on the same day, with the date otherwise.
func (r *Report) when(t time.Time) string {
	t = r.local(t)
	if t.Format(time.DateOnly) == r.Time.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// duration shows milliseconds: "0.2 ms", "15 ms", "1.5 s".
func duration(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

// ladder draws one packet: "0.031 ms  <--  SYN ACK".
func (p *Packet) ladder() string {
	arrow := "<--"
	if p.FromClient {
		arrow = "-->"
	}
	text := p.words()
	if p.lost() {
		text = strings.TrimSpace(text + " (left, never arrived)")
	}
	return fmt.Sprintf("%9.3f ms  %s  %s", p.AtMS, arrow, text)
}

// words is "SYN ACK", "PSH ACK 52 bytes", "ICMP error port unreachable".
func (p *Packet) words() string {
	var words []string
	for _, c := range p.Flags {
		if w, ok := flagNames[c]; ok {
			words = append(words, w)
		} else {
			words = append(words, string(c))
		}
	}
	if p.ICMP != "" {
		words = append(words, "ICMP error "+p.ICMP)
	}
	if p.Length > 0 {
		words = append(words, fmt.Sprintf("%d %s", p.Length, plural(p.Length, "byte", "bytes")))
	}
	return strings.Join(words, " ")
}

// lost tells whether the packet was seen to leave, and not to arrive.
func (p *Packet) lost() bool { return p.Out && !p.In }

// flagNames reads tcpdump's letters.
var flagNames = map[rune]string{'S': "SYN", 'F': "FIN", 'R': "RST", 'P': "PSH", 'U': "URG", 'E': "ECE", 'W': "CWR", '.': "ACK"}

// some is a list of the string, unless it is empty.
func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// open lists the symptoms that nothing explains.
func (t *Target) open() []Symptom {
	var out []Symptom
	for _, s := range t.Symptoms {
		if len(s.ExplainedBy) == 0 {
			out = append(out, s)
		}
	}
	return out
}

// listeners is what serves the port.
func (t *Target) listeners() []Socket {
	var out []Socket
	for _, s := range t.Sockets {
		if s.State == facts.Listen || s.Network == "udp" && s.State == facts.Bound {
			out = append(out, s)
		}
	}
	return out
}

// worksHere stands above remarks about clients that may fare worse.
const worksHere = "Works from here. If your client fails:"

// works tells whether clients reach the target as far as loopdoctor met it.
func (t *Target) works() bool {
	return t.Verdict == checks.Works && t.Intent == facts.Connect && !t.IsLoopback()
}

// remarksTitle is the line above all remarks, where all are about clients.
func (t *Target) remarksTitle() string {
	if t.works() && !slices.ContainsFunc(t.Remarks, Cause.aboutOthers) {
		return worksHere
	}
	return ""
}

// aboutOthers tells whether a remark is about other machines, not about a client
// that fails.
func (c Cause) aboutOthers() bool { return c.Name == "exposed-beyond-loopback" }

// brief is the answer in one line, with the name of the cause.
func (t *Target) brief() string {
	for _, c := range t.Causes {
		if c.State == string(checks.Active) {
			return strings.TrimSuffix(t.Summary, ".") + " (" + c.Name + ")."
		}
	}
	return t.Summary
}
