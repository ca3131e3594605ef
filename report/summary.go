package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// status is the exit status for one target. A latent cause names nothing that
// is felt now.
func status(d *checks.Diagnosis) int {
	switch d.Verdict {
	case checks.Works:
		return ExitWorks
	case checks.Partly, checks.Broken:
		if slices.ContainsFunc(d.Causes, func(c checks.Cause) bool { return c.State != checks.Latent }) {
			return ExitFault
		}
	}
	return ExitUnknown
}

// worst joins the statuses of several targets: 4 over 1 over 3 over 0. A run
// that judged nothing has failed.
func worst(ts []Target) int {
	for _, s := range []int{ExitFailed, ExitFault, ExitUnknown, ExitWorks} {
		if slices.ContainsFunc(ts, func(t Target) bool { return t.status == s }) {
			return s
		}
	}
	return ExitFailed
}

// label is how the target is called: "localhost:62893", "[::1]:80",
// "localhost:53/udp", "loopback" for the run without one.
func label(t facts.Target) string {
	if t.Port == 0 {
		return "loopback"
	}
	h := cmp.Or(strings.Trim(t.Host, "[]"), "localhost")
	if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	l := h + ":" + strconv.Itoa(int(t.Port))
	if t.Network == "udp" {
		l += "/udp"
	}
	return l
}

// felt words what the first symptom means for the person, after "localhost:80".
var felt = map[string]string{
	"name-not-resolved":    "does not answer: the name does not resolve",
	"name-leads-elsewhere": "does not answer: the name leads elsewhere",
	"not-accepted":         "connects, but nobody accepts the connection",
	"closed-at-once":       "connects and is closed at once",
	"no-answer":            "takes the connection, and does not answer",
	"not-understood":       "answers, but does not speak what the client speaks",
	"certificate-refused":  "answers, with a certificate that clients refuse",
	"turned-away":          "answers, and turns the client away",
	"server-error":         "answers with an error of its own",
	"answered-by-another":  "is answered by another program than the one that listens there",
	"redirect-fails":       "answers, and sends the client where nothing answers",
}

// summary is the answer in one sentence.
func summary(f *facts.Facts, d *checks.Diagnosis) string {
	switch {
	case f.Target.Port == 0:
		return loopbackSummary(f, d)
	case f.Target.Intent == facts.ToBind:
		return bindSummary(f, d)
	}
	l := label(f.Target)
	if s := byClient(f); s != "" && d.Verdict != checks.Unknown {
		return l + ": " + s + "."
	}
	switch d.Verdict {
	case checks.Works:
		if h := heard(f); h != "" {
			return cmp.Or(f.Target.URL, l) + " works: " + h + "."
		}
		return l + " works."
	case checks.Partly:
		if len(d.Symptoms) > 0 && name(d.Symptoms[0].Finding) == "sent-to-proxy" {
			return l + " works from here, but your client asks a proxy."
		}
		if good, bad := divide(f, d); len(good) > 0 && len(bad) > 0 {
			return fmt.Sprintf("%s answers on %s, not on %s.", l, list(good, "and"), list(bad, "or"))
		}
		if len(d.Symptoms) > 0 && name(d.Symptoms[0].Finding) == "client-fails" {
			return l + " answers, but not to your client."
		}
		return l + " works in part."
	case checks.Broken:
		if f.Names != nil && len(f.Names.Later) > 0 && len(d.Symptoms) > 0 && name(d.Symptoms[0].Finding) == "name-not-resolved" {
			return fmt.Sprintf("%s does not answer in time: the lookup of the name waits about %.0f s.", l, f.Names.WaitMS/1000)
		}
		if len(d.Symptoms) > 0 && felt[name(d.Symptoms[0].Finding)] != "" {
			return l + " " + felt[name(d.Symptoms[0].Finding)] + "."
		}
		if e := f.Target.Error; e != nil && e.Addr.IsValid() && !f.Target.Literal {
			return l + " does not answer on " + e.Addr.Addr().String() + ", which your client tried."
		}
		return l + " does not answer."
	}
	return "It could not be told whether " + l + " answers."
}

func loopbackSummary(f *facts.Facts, d *checks.Diagnosis) string {
	switch d.Verdict {
	case checks.Works:
		return "Loopback is healthy."
	case checks.Partly:
		if good, bad := divide(f, d); len(good) > 0 && len(bad) > 0 {
			return fmt.Sprintf("Loopback works on %s, not on %s.", list(good, "and"), list(bad, "or"))
		}
		return "Loopback works in part."
	case checks.Broken:
		return "Loopback is broken."
	}
	return "It could not be told whether loopback is healthy."
}

func bindSummary(f *facts.Facts, d *checks.Diagnosis) string {
	l := label(f.Target)
	if good, bad := canTake(f); len(good) > 0 && len(bad) > 0 && d.Verdict != checks.Unknown {
		return fmt.Sprintf("%s: a server of %s can take it, one of %s cannot.", l, join(good, "or"), join(bad, "or"))
	}
	switch d.Verdict {
	case checks.Works:
		if onlyReusing(f) {
			return l + " is free for a server that sets SO_REUSEADDR."
		}
		return l + " is free."
	case checks.Partly:
		if good, bad := divide(f, d); len(good) > 0 && len(bad) > 0 {
			return fmt.Sprintf("Your server can take %s on %s, not on %s.", l, list(good, "and"), list(bad, "or"))
		}
		return "Your server can take " + l + " in part."
	case checks.Broken:
		return "Your server cannot take " + l + "."
	}
	return "It could not be told whether your server can take " + l + "."
}

// onlyReusing tells whether a server that does not set SO_REUSEADDR would fail
// where one that does would not.
func onlyReusing(f *facts.Facts) bool {
	return f.Target.Network != "udp" && slices.ContainsFunc(f.Binds, func(b facts.Bind) bool {
		return !b.ReuseAddr && b.Errno != "" && slices.Contains(f.Target.Expected(), b.Addr)
	})
}

// divide parts the expected addresses into those without and with a symptom.
func divide(f *facts.Facts, d *checks.Diagnosis) (good, bad []netip.Addr) {
	for _, a := range f.Target.Expected() {
		if brokenAt(a, f.Target.Intent, d.Symptoms) == checks.StageNone {
			good = append(good, a)
		} else {
			bad = append(bad, a)
		}
	}
	return good, bad
}

// byClient compares the clients that dialled: "root connects, uid 1000 does
// not". It is empty when one address or another treated them all alike.
func byClient(f *facts.Facts) string {
	good, bad := part(f.Host.As, func(id facts.Identity) (n, works int) {
		for _, d := range f.Dials {
			if id.Is(d.As, d.AsPID) && slices.Contains(f.Target.Expected(), d.Addr) && d.Outcome != facts.Skipped {
				n++
				if d.Outcome.Works() && (d.Outcome == facts.Deferred || d.Server == nil || d.Server.Accepted) {
					works++
				}
			}
		}
		return n, works
	})
	if len(good) == 0 || len(bad) == 0 {
		return ""
	}
	return join(good, "and") + " " + plural(len(good), "connects", "connect") + ", " +
		join(bad, "and") + " " + plural(len(bad), "does", "do") + " not"
}

// canTake parts the clients into those whose server can take the port and those
// whose server cannot.
func canTake(f *facts.Facts) (good, bad []string) {
	return part(f.Host.As, func(id facts.Identity) (n, works int) {
		for _, b := range f.Binds {
			if id.Is(b.As, b.AsPID) && slices.Contains(f.Target.Expected(), b.Addr) && (b.ReuseAddr || f.Target.Network == "udp") {
				n++
				if b.Errno == "" {
					works++
				}
			}
		}
		return n, works
	})
}

// part names the clients for which all tries worked, and those for which none
// did. It is empty where the addresses differ, too: say that instead.
func part(clients []facts.Identity, count func(facts.Identity) (n, works int)) (good, bad []string) {
	for _, id := range clients {
		switch n, works := count(id); {
		case n == 0:
		case works == n:
			good = append(good, id.Name())
		case works == 0:
			bad = append(bad, id.Name())
		default:
			return nil, nil
		}
	}
	return good, bad
}

func client(uid uint32) string {
	if uid == 0 {
		return "root"
	}
	return "uid " + strconv.FormatUint(uint64(uid), 10)
}

// notes says what loopdoctor did beyond one connect for each address, and what
// it missed.
func notes(f *facts.Facts) []string {
	var out []string
	if f.Target.Intent != facts.ToBind && f.Target.Port != 0 && len(f.Binds) > 0 && f.Sockets != nil && !held(f.Sockets) &&
		!slices.ContainsFunc(f.Binds, func(b facts.Bind) bool { return b.Errno != "" }) {
		out = append(out, "The port is free: a server can take it.")
	}
	syns := 0
	for _, l := range f.Ledger {
		syns += l.SYNs
	}
	if syns > 1 {
		out = append(out, fmt.Sprintf("loopdoctor sent %d more connection attempts, to see where the kernel loses them.", syns))
	}
	out = append(out, filterNotes(f.Filters)...)
	for i, id := range f.Host.As {
		if id.NetNS != 0 && id.PID != 0 && f.Host.Inside.Room.Kind == "" { // else it says from where it looked
			out = append(out, fmt.Sprintf("%s lives in network namespace %d: all of this was looked at there, and its localhost is no other's.", id.Name(), id.NetNS))
		}
		if i > 0 && (id.PID != 0 || f.Host.As[0].PID != 0) {
			out = append(out, fmt.Sprintf("What names mean, and variables, were looked at for %s, the first client, not for %s.", f.Host.As[0].Name(), id.Name()))
		}
		if len(id.Lacks) > 0 {
			out = append(out, fmt.Sprintf("Of %s loopdoctor did not take on %s.", id.Name(), join(id.Lacks, "and")))
		}
	}
	for _, a := range f.Answers {
		if a.End == facts.NotAsked && a.With == "" { // a further question may be at another port
			out = append(out, fmt.Sprintf("%s was not asked, or not for long enough (%s).", netip.AddrPortFrom(a.Addr, f.Target.Port), cmp.Or(a.Errno, "no connection")))
			break
		}
	}
	for _, d := range f.Dials {
		if d.CameUp {
			out = append(out, fmt.Sprintf("%s refused the first connection and took the next: the server has just come up.", netip.AddrPortFrom(d.Addr, f.Target.Port)))
		}
		if d.Late {
			out = append(out, fmt.Sprintf("The connection to %s succeeded late, after %s.", d.Addr, duration(d.ElapsedMS)))
		}
	}
	if f.Packets != nil && f.Packets.Dropped > 0 {
		out = append(out, fmt.Sprintf("The capture on lo missed %d %s.", f.Packets.Dropped, plural(int(f.Packets.Dropped), "frame", "frames")))
	}
	if f.Target.Network == "udp" && f.Target.Speak != "" && len(f.Answers) > 0 {
		if d := f.Answers[0]; d.End == facts.Silence {
			out = append(out, fmt.Sprintf("Nothing answered a DNS query within %s; over UDP that may be a server of another protocol, or a lost datagram.", duration(d.ElapsedMS)))
		}
	} else if f.Target.Network == "udp" && f.Target.Intent != facts.ToBind {
		out = append(out, "UDP has no handshake: whether a server answers shows only in its own protocol.")
	} else if a, ok := f.Absent[facts.GroupDials]; ok && f.Target.Intent != facts.ToBind && f.Target.Port != 0 {
		out = append(out, "No connection was tried ("+because(a)+").")
	}
	if f.Target.Speak == "" && f.Work == nil && slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Outcome == facts.Deferred }) {
		out = append(out, "The server is given a connection with its first byte only (TCP_DEFER_ACCEPT), and none was sent: whether it takes one shows with a URL, or --speak.")
	}
	if slices.ContainsFunc(f.Answers, func(a facts.Answer) bool {
		return a.With == facts.WithStartup && (strings.HasPrefix(a.Says, "asks ") || strings.Contains(a.Says, "SQLSTATE 28") || strings.Contains(a.Says, "SQLSTATE 3D"))
	}) {
		out = append(out, "No login to PostgreSQL was tried: what it says to one (its rules of access, places that are kept for a superuser) loopdoctor did not see.")
	}
	if a := f.Absent[facts.GroupAnswers]; f.Answers == nil && a.Why == facts.CouldNot {
		out = append(out, "What the server answers is not known ("+because(a)+").")
	} else if f.Target.URL != "" && len(f.Answers) == 0 && slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Outcome.Works() }) {
		out = append(out, "No byte was sent: what the server answers to a request was not tried.")
	}
	switch n := hidden(f); {
	case n == 0, f.Target.Intent == facts.ToBind: // there the cause itself says so
	case len(f.Host.As) > 0 && f.Host.As[0].UID == 0:
		out = append(out, fmt.Sprintf("No process was found for %d %s.", n, plural(n, "listener", "listeners")))
	default:
		out = append(out, fmt.Sprintf("The %s of %d %s hidden from you (%s).", plural(n, "owner", "owners"), n,
			plural(n, "listener is", "listeners are"), because(f.Absent[facts.GroupOwners])))
	}
	if n := f.Namespaces; n != nil && n.Partial != "" && len(n.Found) == 0 {
		out = append(out, "Not every other network namespace was looked into: "+n.Partial+".")
	}
	if u := f.Units; u != nil && u.Partial != "" {
		out = append(out, "Not every service was looked at: "+u.Partial+".")
	}
	if a, ok := f.Absent[facts.GroupContainers]; ok && a.Why == facts.CouldNot {
		out = append(out, "Containers were not looked at ("+because(a)+").")
	}
	if c := f.Containers; c != nil && !slices.ContainsFunc(c.Found, func(c facts.Container) bool { return c.State != "" }) {
		for _, e := range c.Engines {
			if e.Error != "" {
				out = append(out, "Containers of "+e.Name+" that do not run were not looked at ("+because(facts.Absence{Reason: e.Error, Remedy: e.Remedy})+").")
			}
		}
	}
	for _, s := range []*facts.Sockets{f.Sockets, f.Listeners} {
		if s != nil && s.Partial != "" {
			out = append(out, "Sockets were read from "+s.From+", which cannot show everything: "+s.Partial+".")
		}
	}
	return out
}

// filterNotes says what was changed to learn of packet filters, what was left out, and
// which rules could not be read.
func filterNotes(f *facts.Filters) []string {
	if f == nil {
		return nil
	}
	var out []string
	if f.Changed != "" {
		out = append(out, "For a moment loopdoctor changed this machine: "+f.Changed+".")
	}
	if f.NotTraced != "" {
		out = append(out, "The kernel was not asked which rule it was, though the rules alone do not settle it ("+f.NotTraced+").")
	}
	for _, e := range f.Engines {
		if e.NotRead != "" {
			out = append(out, fmt.Sprintf("The rules of %s were not read, or not all (%s).", e.Name, e.NotRead))
		}
	}
	return out
}

// hidden counts the listeners whose process could not be looked for.
func hidden(f *facts.Facts) int {
	n := 0
	for _, ss := range []*facts.Sockets{f.Sockets, f.Listeners} {
		if ss == nil || f.Owners != nil && f.Owners.Complete {
			continue
		}
		for _, s := range ss.Sockets {
			if s.State == facts.Listen && len(f.Owners.Of(s)) == 0 {
				n++
			}
		}
	}
	return n
}

// because is the reason of an absence and its remedy.
func because(a facts.Absence) string {
	reason := cmp.Or(a.Reason, string(a.Why), "needs more privileges")
	if a.Remedy != "" {
		reason += ": " + a.Remedy
	}
	return reason
}

// held tells whether somebody has the port.
func held(ss *facts.Sockets) bool {
	return slices.ContainsFunc(ss.Sockets, func(s facts.Socket) bool {
		return s.State == facts.Listen || s.State == facts.Bound
	})
}

func list(as []netip.Addr, word string) string { return join(texts(as), word) }

// join reads "a", "a and b", "a, b and c".
func join(ws []string, word string) string {
	if len(ws) < 2 {
		return strings.Join(ws, "")
	}
	last := len(ws) - 1
	return strings.Join(ws[:last], ", ") + " " + word + " " + ws[last]
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
