package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

var reverseProxyUpstream = &Check{
	Name:     "reverse-proxy-upstream-localhost",
	Doc:      "a reverse proxy answers, but what it sends requests on to does not",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupForwards},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupDials, facts.GroupAnswers},
	Explains: []*Check{serverError, noAnswer, closedAtOnce},
	// Whoever does not see the proxy takes its 503 for the application's.
	Refines: []*Check{forwarderAcceptsBackendDead, upstreamFails, applicationError, readsNeverAnswers},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range f.Target.Expected() {
			felt, ok := proxyGaveUp(f, a)
			if !ok {
				continue
			}
			ways := slices.DeleteFunc(upstreamsOf(f, a, felt), func(w facts.Forward) bool { return !w.Proxies || w.To == "" })
			x, ok := upstreamDead(f, a, felt, ways)
			if ok {
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

// gaveUp is how a reverse proxy shows that it got no answer.
type gaveUp struct {
	text   string // "502 Bad Gateway"
	status int
	sure   bool // it is the proxy's own word, or its closing
	logged bool // its log says why
	silent bool // it says nothing
	alien  bool // the page is not the proxy's own
	maybe  bool // it may have been told to answer so itself
}

// fits tells whether it may be what is felt of the far end of a way. Who waits for a
// request first does not close a connection because of one.
func (g gaveUp) fits(w facts.Forward) bool {
	switch {
	case g.logged || g.silent:
		return true
	case g.status == 0:
		return !w.Asked
	}
	return mayBeUpstreams(w.Kind, g.status)
}

// upstreamsOf are the ways on whose far end may be what is felt. There are none where
// the program was told to answer so itself.
func upstreamsOf(f *facts.Facts, a netip.Addr, felt gaveUp) []facts.Forward {
	if own := ownOn(f, a, cmp.Or(felt.status, closesItself)); own != nil && !felt.logged && !felt.silent && (!own.Maybe || felt.status == 0) {
		return nil
	}
	return slices.DeleteFunc(waysOn(f, a), func(w facts.Forward) bool { return !felt.fits(w) })
}

// proves tells whether a far end without a listener is what it says.
func (g gaveUp) proves(w facts.Forward) bool {
	if g.status == 0 || g.logged {
		return g.sure
	}
	says := deadSays(w.Kind)
	return g.sure && !g.alien && !g.maybe && !w.Maybe && (says == 0 || says == g.status)
}

// proxyGaveUp finds what was felt at the address that a reverse proxy without an
// upstream brings about.
func proxyGaveUp(f *facts.Facts, a netip.Addr) (gaveUp, bool) {
	for i := range f.Answers {
		x := &f.Answers[i]
		if x.Addr != a || x.With != "" {
			continue
		}
		switch {
		case x.HTTP != nil && x.HTTP.Status >= 502 && x.HTTP.Status <= 504:
			lines, _ := logOf(f, x)
			logged := slices.ContainsFunc(lines, func(l string) bool { return upstreamIn(l) != "" })
			return gaveUp{text: strings.TrimSpace(fmt.Sprintf("%s answers %d %s", at(f, a), x.HTTP.Status, x.HTTP.Reason)), status: x.HTTP.Status, sure: true, logged: logged,
				alien: foreignPage(f, x), maybe: ownOn(f, a, x.HTTP.Status) != nil}, true
		case x.End == facts.Silence && x.Bytes == 0 && readsQuestion(x):
			return gaveUp{text: fmt.Sprintf("%s says nothing within %.0f ms", at(f, a), x.ElapsedMS), silent: true}, true
		}
	}
	for _, d := range f.Dials {
		if d.Addr == a && d.Closed != "" {
			return gaveUp{text: closedEvidence(f, d).Text, sure: true}, true
		}
	}
	return gaveUp{}, false
}

// readsQuestion tells whether whoever has the port may have passed the question on: it
// has accepted the connection and read something of it, as far as that was seen.
func readsQuestion(a *facts.Answer) bool {
	return a.Server == nil || a.Sent == 0 || a.Server.Accepted && int(a.Server.Unread) < a.Sent
}

// upstreamDead judges the ways on of one reverse proxy.
func upstreamDead(f *facts.Facts, a netip.Addr, felt gaveUp, ways []facts.Forward) (Finding, bool) {
	var dead, alive []facts.Forward
	for _, w := range ways {
		switch {
		case w.Dead():
			dead = append(dead, w)
		case len(w.Far) > 0:
			alive = append(alive, w)
		}
	}
	x := Finding{Affects: []netip.Addr{a}, Certainty: Inferred, Evidence: []Evidence{{"answer", felt.text}}}
	bw, be, barred := barredAt(alive)
	switch {
	case len(dead) > 0:
		w := dead[0]
		x.Certainty = cond(felt.proves(w) && len(dead) == len(ways) && w.Held, Proven, Inferred)
		x.Since, x.Settle = w.Started, cond(felt.sure, settleHolder(f, w), settleAnswer(f))
		x.Summary = fmt.Sprintf("%s sends requests on to %s, and nothing listens there%s.", onwards(f, w), w.To, listensInstead(w))
		if len(dead) > 1 {
			x.Summary = fmt.Sprintf("%s sends requests on to %s, and nothing listens there%s.", onwards(f, w), list(targets(dead)), listensInstead(w))
		}
		x.Fixes = startThere(w)
		ways = append(dead, alive...)
	case slices.ContainsFunc(alive, func(w facts.Forward) bool { return wrongOne(w) != nil }):
		w := alive[slices.IndexFunc(alive, func(w facts.Forward) bool { return wrongOne(w) != nil })]
		x.Summary = fmt.Sprintf("%s sends requests on to %s, takes one address of that name only, and nothing listens on %s: %s listens on %s.", onwards(f, w), w.To, wrongOne(w).Addr, listensAt(w), theOther(w))
		x.Settle = settleAnswer(f)
		x.Fixes = []Fix{{Do: fmt.Sprintf("Write %s instead of %s in %s, and let %s read it again.", theOther(w), w.To, w.From, w.Program)}}
	case len(alive) > 0 && (felt.logged || felt.alien):
		return x, false // it runs: what the log says of it is more (upstreamFails), or it answers so itself (applicationError)
	case barred && felt.status != 0:
		x.Summary = fmt.Sprintf("%s runs as %s, and may not open %s: that socket is uid %d's and has the mode %04o.", onwards(f, bw), workers(bw), bw.To, be.UID, be.Mode)
		x.Settle = settleHolder(f, bw)
		x.Fixes = []Fix{{Do: letWrite}}
	case len(alive) > 0 && (felt.status == 502 || felt.status == 504 || felt.status == 0):
		evidence := x.Evidence
		x = silentBeyond(f, a, felt, alive[0])
		x.Evidence = evidence
	default:
		return x, false
	}
	for _, w := range ways[:min(len(ways), 4)] {
		x.Evidence = append(x.Evidence, wayEvidence(f, w)...)
	}
	return x, true
}

// workers are the users as which a proxy leads on.
func workers(w facts.Forward) string {
	var users []string
	for _, uid := range w.Workers {
		users = append(users, fmt.Sprintf("uid %d", uid))
	}
	return list(users)
}

// targets are where the ways lead, each once.
func targets(ways []facts.Forward) []string {
	var to []string
	for _, w := range ways {
		if !slices.Contains(to, w.To) && len(to) < 4 {
			to = append(to, w.To)
		}
	}
	return to
}
