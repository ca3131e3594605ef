package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What the checks ask of the facts, in one place, so that two checks never
// answer one question differently.

// serving returns the listeners that a connection to the address can reach.
func serving(f *facts.Facts, a netip.Addr) []facts.Socket {
	return pick(f, func(s facts.Socket) bool { return s.State == facts.Listen && s.Serves(a) })
}

// serversAt counts them: of one port there may be thousands (SO_REUSEPORT), and for each
// of them somebody asks how many there are.
func serversAt(f *facts.Facts, a netip.Addr) int {
	n := 0
	if f.Sockets == nil || f.Target.Network != "tcp" {
		return n
	}
	for i := range f.Sockets.Sockets {
		if s := &f.Sockets.Sockets[i]; s.State == facts.Listen && s.Network == "tcp" && s.Local.Port() == f.Target.Port && s.Serves(a) {
			n++
		}
	}
	return n
}

// listeners returns every listener on the port.
func listeners(f *facts.Facts) []facts.Socket {
	return pick(f, func(s facts.Socket) bool { return s.State == facts.Listen })
}

// pick returns the TCP sockets whose own port is the target's and that fit; of
// a UDP target none has to do with it.
func pick(f *facts.Facts, fits func(facts.Socket) bool) []facts.Socket {
	if f.Sockets == nil || f.Target.Network != "tcp" {
		return nil
	}
	var out []facts.Socket
	for _, s := range f.Sockets.Sockets {
		if s.Network == "tcp" && s.Local.Port() == f.Target.Port && fits(s) {
			out = append(out, s)
		}
	}
	return out
}

// unserved returns the expected addresses at which nothing listens.
func unserved(f *facts.Facts) []netip.Addr {
	return slices.DeleteFunc(f.Target.Expected(), func(a netip.Addr) bool { return serversAt(f, a) > 0 })
}

// unbound returns the expected addresses of a UDP target at which no socket is
// bound.
func unbound(f *facts.Facts) []netip.Addr {
	if f.Target.Network != "udp" {
		return nil
	}
	return slices.DeleteFunc(f.Target.Expected(), func(a netip.Addr) bool {
		return slices.ContainsFunc(f.Sockets.Sockets, func(s facts.Socket) bool {
			return takesDatagrams(f, s) && s.Serves(a)
		})
	})
}

// takesDatagrams tells whether a UDP socket of the port takes those of any client. One that
// is connected takes those of its peer alone (compute_score of net/ipv4/udp.c).
func takesDatagrams(f *facts.Facts, s facts.Socket) bool {
	return s.Network == "udp" && s.Local.Port() == f.Target.Port && s.State == facts.Bound
}

// unanswered tells whether a completed connection was left in the accept queue.
// TCP_DEFER_ACCEPT leaves a socket half-open on purpose: that one works.
func unanswered(d facts.Dial) bool {
	return d.Outcome == facts.Connected && d.Server != nil && !d.Server.Accepted
}

// accepted tells whether the application took our connection.
func accepted(d facts.Dial) bool {
	return d.Outcome == facts.Connected && d.Server != nil && d.Server.Accepted
}

// redirected tells whether the server side of our connection has another port, or
// another address, than the one we dialled.
func redirected(f *facts.Facts, d facts.Dial) bool {
	if d.Server == nil || !d.Server.Local.IsValid() || f.Target.Port == 0 {
		return false
	}
	a := d.Server.Local.Addr().Unmap().WithZone("")
	elsewhere := a != d.Addr.Unmap().WithZone("") && !d.Addr.IsUnspecified() && !a.IsUnspecified()
	return d.Server.Local.Port() != f.Target.Port || elsewhere
}

// arrival is where a redirected connection arrives, in a sentence.
func arrival(f *facts.Facts, d facts.Dial) string {
	if d.Server.Local.Port() != f.Target.Port {
		return fmt.Sprintf("port %d", d.Server.Local.Port())
	}
	return netip.AddrPortFrom(d.Server.Local.Addr().Unmap(), f.Target.Port).String()
}

// stuckTwin returns one of several listeners on the address that no running
// process can accept from, or at which somebody waits all the time, while another one
// is fine.
func stuckTwin(f *facts.Facts, a netip.Addr) *facts.Socket {
	ls := serving(f, a)
	var stuck *facts.Socket
	fine := false
	for i := range ls {
		// A tracer stops a healthy process for moments, too: with nobody
		// waiting that says nothing.
		runs := func(p facts.Process) bool {
			return p.Halted() == "" || p.State == "t" && ls[i].Queue != nil && ls[i].Queue.Length == 0
		}
		stays := f.Work.Stays(ls[i])
		if ps := f.Owners.Of(ls[i]); stuck == nil && (stays || len(ps) > 0 && !slices.ContainsFunc(ps, runs)) {
			stuck = &ls[i]
		} else if !stays && (len(ps) == 0 || slices.ContainsFunc(ps, runs)) {
			fine = true
		}
	}
	if !fine {
		return nil
	}
	return stuck
}

// queueStands returns the one listener of an address where our own connection is held back
// until its first byte comes (TCP_DEFER_ACCEPT), so that it tells nothing, and those that
// have sent theirs were not taken for as long as one of ours would be given.
func queueStands(f *facts.Facts, a netip.Addr) *facts.Socket {
	ls := serving(f, a)
	held := slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Outcome == facts.Deferred })
	if !held || len(ls) != 1 || !f.Work.Stays(ls[0]) || f.Work.ApartMS < 1000 {
		return nil
	}
	return &ls[0]
}

// meant returns the addresses that a finding about some of them concerns: of a
// port or a name one address has to work, and where nothing serves any of them,
// what is found at one is the answer for all.
func meant(f *facts.Facts, on []netip.Addr) []netip.Addr {
	none := unserved(f)
	if len(on) == 0 || f.Target.Literal || f.Target.Intent == facts.ToBind || len(none) < len(f.Target.Expected()) {
		return on
	}
	return none
}

// works tells whether somebody's connection to the address came to pass.
func works(f *facts.Facts, a netip.Addr) bool {
	return slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Outcome.Works() })
}

// connects names the other clients of the dial's address whose connection came to
// pass. Who lost the last packet of the handshake only thinks so.
func connects(f *facts.Facts, d facts.Dial) []string {
	var names []string
	for _, o := range f.Dials {
		if o.Addr == d.Addr && o.Outcome.Works() && !ackLost(f, o) && (o.As != d.As || o.AsPID != d.AsPID) {
			names = append(names, f.Host.Client(o.As, o.AsPID).Name())
		}
	}
	return names
}

// ledgerOf returns the ledger of the address that says most.
func ledgerOf(f *facts.Facts, a netip.Addr) *facts.Ledger { return facts.LedgerOf(f.Ledger, a) }

// lostAt says at which stage the ledger lost the SYNs of a dial that got no
// answer, or a forged one.
func lostAt(f *facts.Facts, d facts.Dial) (Stage, bool) {
	l := ledgerOf(f, d.Addr)
	if l == nil {
		return StageNone, false
	}
	g := l.Gaps()
	if d.HalfOpen() && l.SYNs > 1 && (!d.NoServer || l.SentCookies()) { // the last packet of the handshake, each time
		switch {
		case facts.Enough(g.Output, l.SYNs):
			return StageOutput, true
		case facts.Enough(g.Wire, l.SYNs):
			return StageWire, true
		case facts.Enough(g.Input, l.SYNs):
			return StageInput, true
		}
	}
	switch d.Outcome {
	case facts.Timeout:
		switch {
		case 2*l.Outcomes[string(facts.Connected)] > l.SYNs:
			// What left lo was not lost: it went elsewhere, and most were answered.
		case (facts.Enough(g.Output, l.SYNs) || facts.Enough(g.Input, l.SYNs)) && answers(f, l):
			return StageReply, true
		case facts.Enough(g.Output, l.SYNs):
			return StageOutput, true
		case facts.Enough(g.Wire, l.SYNs):
			return StageWire, true
		case facts.Enough(g.Input, l.SYNs):
			return StageInput, true
		}
	case facts.Refused:
		if forged(l, d) {
			if facts.Enough(g.Input, l.SYNs) {
				return StageInput, true
			}
			return StageOutput, true
		}
	}
	return StageNone, false
}

// ackLost tells whether the handshake came to pass for the client alone: its last
// packet never reaches the server.
func ackLost(f *facts.Facts, d facts.Dial) bool {
	_, lost := lostAt(f, d)
	return d.HalfOpen() && lost
}

// answers tells whether TCP saw the SYNs, so that what was lost is its answer.
// A listener that saw one has a half-open socket for it. Where nothing listens,
// or nobody could look, only the count of segments is left, and that one means
// something only as long as it is about ours.
func answers(f *facts.Facts, l *facts.Ledger) bool {
	if sawSYN(l) {
		return true
	}
	about := func(n int64) bool { return facts.Enough(n, l.SYNs) && n*4 <= int64(l.SYNs)*5 }
	if ls := serving(f, l.Addr); len(ls) > 0 && ls[0].Queue != nil && ls[0].Queue.Limit > 1 {
		return false
	} else if len(ls) == 0 && f.Sockets != nil {
		return about(l.Delta["InSegs"]) && about(l.Delta["OutRsts"])
	}
	// Who sends data is somebody else: a burst has none. So is who else connects.
	others := l.Delta["TCPOrigDataSent"] > 0 || l.Delta["ActiveOpens"]*4 > int64(l.SYNs)*5
	return about(l.Delta["InSegs"]) && !others
}

// sawSYN: half-open sockets of ours, the resets of some by who rejects the answer, or
// a listener whose queue of those is full, and that sends cookies or drops the rest.
// Most of a burst is seen so; a filter that lets one of many through is another matter.
func sawSYN(l *facts.Ledger) bool {
	n := int64(l.HalfOpen) + l.Delta["EmbryonicRsts"] + max(l.Delta["SyncookiesSent"], l.Delta["TCPReqQFullDoCookies"]) + l.Delta["TCPReqQFullDrop"]
	return n > 0 && n*2 >= int64(l.SYNs)
}

// forged tells whether a refusal came from something other than TCP: the
// kernel answered with no reset of its own, or with an ICMP error, which it
// never sends for a TCP port that nobody listens on. Of a burst the gaps tell:
// other traffic adds resets, but no gaps.
func forged(l *facts.Ledger, d facts.Dial) bool {
	if d.ICMP != "" {
		return true
	}
	if l.Outcomes[string(facts.Connected)] > 0 || silent(l) {
		return false // no reset was to be sent
	}
	if g := l.Gaps(); l.SYNs > 1 {
		return facts.Enough(g.Input, l.SYNs) || facts.Enough(g.Output, l.SYNs)
	}
	return l.Delta["OutRsts"] == 0 && l.Delta["lo.tx"] > 0 && l.Delta["OutRequests"] > 0
}

// silent tells whether most SYNs got no answer at all. Where the dial did, their fate
// was another one, and says nothing of it: a rule of chance drops some.
func silent(l *facts.Ledger) bool { return 2*l.Outcomes[string(facts.Timeout)] > l.SYNs }

// at prints an address of the target with its port; of loopback itself, which
// has none, the address alone.
func at(f *facts.Facts, a netip.Addr) string {
	if f.Target.Port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, f.Target.Port).String()
}

// ats prints several.
func ats(f *facts.Facts, as []netip.Addr) string {
	var out []string
	for _, a := range as {
		out = append(out, at(f, a))
	}
	return list(out)
}

// who names a process the way a person would look for it.
func who(p facts.Process) string {
	s := fmt.Sprintf("%s (pid %d", p.Name, p.PID)
	switch {
	case p.Container != "":
		s += ", " + p.Container
	case p.Unit != "":
		s += ", " + p.Unit
	}
	return s + ")"
}

// somebody is who holds a socket when its process cannot be seen.
const somebody = "a process of "

// holder names what holds a socket, as far as it is known.
func holder(f *facts.Facts, s facts.Socket) string {
	ps := f.Owners.Of(s)
	switch {
	case len(ps) == 0:
		return somebody + user(s.UID, s.User)
	case len(ps) == 1:
		return who(ps[0])
	}
	pid := fmt.Sprintf("(pid %d", ps[0].PID)
	return strings.Replace(who(ps[0]), pid, fmt.Sprintf("%s and %d more", pid, len(ps)-1), 1)
}

// socketEvidence quotes a socket as ss(8) would.
func socketEvidence(f *facts.Facts, s facts.Socket) Evidence {
	t := fmt.Sprintf("%s %s %s", s.Network, s.State, s.Local)
	if s.Device != "" {
		t += "%" + s.Device
	}
	if s.Remote.IsValid() && s.Remote.Port() != 0 {
		t += " to " + s.Remote.String()
	}
	if s.V6Only {
		t += ", v6only"
	}
	if s.Queue != nil {
		t += fmt.Sprintf(", accept queue %d of %d", s.Queue.Length, s.Queue.Limit)
	}
	return Evidence{"socket", t + ": " + holder(f, s)}
}

// since is when the oldest holder of a socket was started.
func since(f *facts.Facts, s facts.Socket) time.Time {
	if ps := f.Owners.Of(s); len(ps) > 0 {
		return ps[0].Started
	}
	return time.Time{}
}

// signal is the fix that sends a signal to a process, guarded against a
// reused PID.
func signal(f *facts.Facts, p facts.Process, name, do string) Fix {
	fix := Fix{Do: do, Steps: [][]string{{"kill", "-" + name, fmt.Sprint(p.PID)}},
		Elevated: len(f.Host.As) == 0 || f.Host.As[0].UID != p.UID || p.UID == 0 || f.Host.As[0].Named && len(f.Host.LookedWith) > 0, Guard: &Process{p.PID, p.Started}}
	if name == "TERM" {
		fix.Interrupts = interrupts(f, p)
		fix.Risk = startedBy(f, p)
		if p.Halted() == "stopped" { // it takes the signal only once it goes on
			fix.Steps = append(fix.Steps, []string{"kill", "-CONT", fmt.Sprint(p.PID)})
		}
	}
	return fix
}

// startedBy warns of what belongs to somebody else, before a person stops it.
func startedBy(f *facts.Facts, p facts.Process) string {
	if len(f.Host.As) > 0 && f.Host.As[0].UID == p.UID {
		return ""
	}
	s := "it belongs to " + user(p.UID, p.User)
	if p.Cwd != "" {
		s += " and runs in " + p.Cwd
	}
	return s
}

// are is "1 connection is" or "3 connections are".
func are(n int, what string) string {
	return fmt.Sprintf("%d %s%s", n, what, cond(n == 1, " is", "s are"))
}

// first is the first of a list, or nothing.
func first[T any](list []T) (v T) {
	if len(list) > 0 {
		v = list[0]
	}
	return v
}

// list joins words the way a sentence does.
func list(words []string) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// cond is yes if c, and no otherwise.
func cond[T any](c bool, yes, no T) T {
	if c {
		return yes
	}
	return no
}
