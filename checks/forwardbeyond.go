package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What keeps the far end of a forwarder or a reverse proxy from answering is told by the
// same checks as of the target itself.

// hop is a far end of this machine that somebody waits for.
type hop struct {
	at   netip.Addr // of the target
	felt gaveUp
	way  facts.Forward
	end  facts.FarEnd
	sole bool         // it leads nowhere else
	f    *facts.Facts // as if the far end were the target
}

// hops finds the far ends behind the answers that stay away.
func hops(f *facts.Facts) []hop {
	if f.Forwards == nil {
		return nil
	}
	var hs []hop
	for _, a := range f.Target.Expected() {
		felt, ok := proxyGaveUp(f, a)
		if !ok || felt.status == 0 && !felt.silent {
			continue
		}
		first := len(hs)
		ways := upstreamsOf(f, a, felt)
		for _, w := range ways {
			for _, e := range w.Far {
				if e.Listens && len(e.Sockets) > 0 && len(hs) < 8 {
					hs = append(hs, hop{at: a, felt: felt, way: w, end: e, f: asTarget(f, e)})
				}
			}
		}
		if len(hs) == first+1 {
			hs[first].sole = len(ways) == 1
		}
	}
	return hs
}

// asTarget is what was seen of a far end, as if it were what was asked for. Of its
// connections only some were kept: they are none to be counted.
func asTarget(f *facts.Facts, e facts.FarEnd) *facts.Facts {
	at := e.Addr.Addr()
	listen := slices.DeleteFunc(slices.Clone(e.Sockets), func(s facts.Socket) bool { return s.State != facts.Listen })
	return &facts.Facts{Time: f.Time, Host: f.Host, Sockets: &facts.Sockets{Sockets: listen}, Owners: f.Forwards.Owners, Work: f.Forwards.Work,
		Target: facts.Target{Network: "tcp", Host: at.String(), Port: e.Addr.Port(), Literal: true, Intent: facts.Connect, Addresses: []facts.Address{{Addr: at, Source: "far end", Expected: true}}}}
}

// tell makes of a finding about the far end one about the target.
func (h hop) tell(f *facts.Facts, x Finding, brings ...*Check) Finding {
	x.Affects, x.Stage, x.Brings = []netip.Addr{h.at}, StageAnswer, append(brings, noAnswer, serverError)
	x.Summary = fmt.Sprintf("%s waits for %s: %s", onwards(f, h.way), h.way.To, strings.Replace(x.Summary, "listens on "+h.end.Addr.String(), "listens there", 1))
	x.Evidence = slices.Concat([]Evidence{{"answer", h.felt.text}}, wayEvidence(f, h.way), x.Evidence)
	if !h.sole || !h.way.Held {
		x.Certainty = Inferred
	}
	if x.Certainty == Inferred {
		x.Settle = cmp.Or(askThere(f, h.way), x.Settle)
	}
	return x
}

// settleHolder is the command that shows who has the port, where it is not seen.
func settleHolder(f *facts.Facts, w facts.Forward) string {
	switch {
	case w.Held || w.Gone || privileged(f):
		return ""
	case f.Target.URL != "" && pasteable(f.Target.URL):
		return "sudo loopdoctor " + f.Target.URL
	case len(f.Target.Expected()) == 0:
		return ""
	}
	return "sudo loopdoctor " + at(f, f.Target.Expected()[0])
}

// askThere is the command that asks a far end of this machine by itself: of a reverse
// proxy for the same path, which is another one only where its configuration says so.
func askThere(f *facts.Facts, w facts.Forward) string {
	switch {
	case !sayableWord(w.To) || len(w.Far) == 0 || strings.ContainsAny(w.To[:1], "/@"): // a UNIX socket, or another machine's
		return ""
	case w.UDP:
		return "loopdoctor udp://" + w.To
	case w.Proxies:
		_, path, _ := strings.Cut(f.Target.URL, "://")
		if _, path, _ = strings.Cut(path, "/"); path != "" && !pasteable(path) {
			path = ""
		}
		return "loopdoctor http://" + w.To + "/" + path
	}
	return "loopdoctor " + w.To + " --speak"
}

// haltedBeyond is haltedBy of far ends.
func haltedBeyond(f *facts.Facts, by func(facts.Process) bool, say func(*facts.Facts, netip.Addr, facts.Socket, []facts.Process) Finding) []Finding {
	var fs []Finding
	for _, h := range hops(f) {
		for _, x := range haltedBy(h.f, by, say) {
			fs = append(fs, h.tell(f, x, acceptQueueFull))
		}
	}
	return mergeAddresses(f, fs)
}

// blockedBeyond finds the far ends that are kept busy, or wait for something else.
func blockedBeyond(f *facts.Facts) []Finding {
	var fs []Finding
	for _, h := range hops(f) {
		queued, unread := h.end.Waits()
		for _, s := range serving(h.f, h.end.Addr.Addr()) {
			x, ok := blockedFinding(h.f, h.end.Addr.Addr(), s)
			if !ok || leftInChild(h.f, s) {
				continue
			}
			if queued+unread == 0 { // it has read the request: a thread of its own may be at work on it
				x.Certainty = Inferred
			}
			fs = append(fs, h.tell(f, x, acceptQueueFull))
		}
	}
	return fs
}

// fullBeyond finds the far ends whose accept queue is full.
func fullBeyond(f *facts.Facts) []Finding {
	var fs []Finding
	for _, h := range hops(f) {
		for _, s := range serving(h.f, h.end.Addr.Addr()) {
			if s.Queue.Full() {
				x := queueFullFinding(h.f, s)
				x.Certainty = Proven
				fs = append(fs, h.tell(f, x))
			}
		}
	}
	return fs
}

// silentBeyond is what is left where the far end of a forwarder or of a reverse proxy
// is there, and the answer stays away.
func silentBeyond(f *facts.Facts, a netip.Addr, felt gaveUp, w facts.Forward) Finding {
	x := Finding{Affects: []netip.Addr{a}, Certainty: Inferred, Since: w.Started, Settle: askThere(f, w)}
	x.Fixes = []Fix{{Do: fmt.Sprintf("See why %s does not answer.", w.To)}}
	name := onwards(f, w)
	queued, unread := 0, 0
	for _, e := range w.Far {
		q, u := e.Waits()
		queued, unread = queued+q, unread+u
	}
	switch {
	case len(w.Far) == 0:
		x.Summary = fmt.Sprintf("%s leads to %s%s, and nothing comes back from there.", name, w.To, cond(w.Through != "", " by way of "+w.Through, ""))
	case queued > 0:
		x.Summary = fmt.Sprintf("%s waits for %s, where %s listens and does not accept: %s in its queue.", name, w.To, listensAt(w), are(queued, "connection"))
	case unread > 0:
		x.Summary = fmt.Sprintf("%s waits for %s, where %s listens and has not read %s of what it was sent.", name, w.To, listensAt(w), count(unread, "byte"))
	case felt.silent:
		x.Summary = fmt.Sprintf("%s waits for %s, where %s listens, and gets no answer from there: it is still at work, waits for something else, or speaks another protocol.", name, w.To, listensAt(w))
	default:
		x.Summary = fmt.Sprintf("%s sends requests on to %s, where %s listens, and gets no answer of use from there: it hangs, closes, answers what %s does not take, or speaks another protocol.", name, w.To, listensAt(w), w.Program)
	}
	return x
}

// silentForwarders finds the forwarders, other than reverse proxies, that took the
// question and have nothing to bring back.
func silentForwarders(f *facts.Facts) []Finding {
	var fs []Finding
	for _, a := range f.Target.Expected() {
		felt, ok := proxyGaveUp(f, a)
		if !ok || !felt.silent {
			continue
		}
		for _, w := range waysOn(f, a) {
			if w.Proxies || w.To == "" || w.Dead() || w.Dials > 0 {
				continue
			}
			x := silentBeyond(f, a, felt, w)
			x.Evidence = append([]Evidence{{"answer", felt.text}}, wayEvidence(f, w)...)
			fs = append(fs, x)
		}
	}
	return fs
}

// unheard are the questions to which not a byte came back while the connection stood.
func unheard(f *facts.Facts) []*facts.Answer {
	return slices.DeleteFunc(slices.Clone(asked(f)), func(a *facts.Answer) bool {
		return a.Bytes > 0 || a.End != facts.Silence && a.End != facts.Stalled
	})
}

// unreachedBeyond finds the forwarders that wait for a connection of their own, to a far
// end off this machine's addresses, and meanwhile read nothing.
func unreachedBeyond(f *facts.Facts) []Finding {
	var fs []Finding
	for _, a := range unheard(f) {
		for _, w := range waysOn(f, a.Addr) {
			if w.Dials == 0 || w.Proxies {
				continue
			}
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: cond(w.Held, Proven, Inferred), Since: w.Started, Settle: settleHolder(f, w),
				Evidence: []Evidence{heard(a), {"connection", fmt.Sprintf("%d to %s without an answer (SYN_SENT)", w.Dials, w.To)}}}
			there := ""
			look := Fix{Do: fmt.Sprintf("See why %s does not answer: a packet filter before it or over there, or a host that is down.", w.To)}
			if p := publishedAt(f, a.Addr); p != nil && p.Container != nil {
				there = " in " + theContainer(p.Container)
				x.Evidence = append(x.Evidence, containerEvidence(f, p)...)
				look.Do = fmt.Sprintf("Look for a packet filter in the container's network, or on the way there (its bridge, FORWARD): sudo nsenter --target %d --net nft list ruleset.", p.PID)
				if name := cmp.Or(p.Name, p.ID); p.PID == 0 {
					look.Do = "Look for a packet filter in the container's network, or on the way there (its bridge, FORWARD)."
				} else if sayableWord(name) && sayableWord(w.To) {
					look.Do += fmt.Sprintf(" From inside: sudo loopdoctor --container %s %s.", name, w.To)
				}
			} else {
				x.Evidence = append(x.Evidence, wayEvidence(f, w)...)
			}
			x.Summary = fmt.Sprintf("%s takes the connection to %s, and gets none itself to %s%s: its SYN is not answered.", onwards(f, w), at(f, a.Addr), w.To, there)
			x.Fixes = []Fix{look}
			fs = append(fs, x)
		}
	}
	return fs
}
