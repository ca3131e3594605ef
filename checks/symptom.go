package checks

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func init() {
	symptoms = []*Check{sentToProxy, nameNotResolved, nameLeadsElsewhere, unreachable, denied, noReply, refused, portUnreachable, answeredByAnother, notAccepted, closedAtOnce,
		noAnswer, notUnderstood, certificateRefused, turnedAway, serverError, redirectFails, clientFails, cannotBind}
}

var nameNotResolved = &Check{
	Name:  "name-not-resolved",
	Doc:   "the name of the target has no address here",
	Stage: StageResolve,
	Needs: []facts.Group{facts.GroupNames},
	Run: func(f *facts.Facts) []Finding {
		n := f.Names
		if !f.Target.Named || f.Target.Literal || len(n.Addresses) > 0 {
			return nil
		}
		text := fmt.Sprintf("The name %s has no address here: a program that asks the system for it gets %q.", n.Name, "Name or service not known")
		if n.Unknown() {
			text = fmt.Sprintf("The name %s has no address on this machine; only a name server could give it one, and none has.", n.Name)
		}
		if len(n.Later) > 0 {
			text = fmt.Sprintf("A lookup of %s waits about %.0f s for a name server that does not answer.", n.Name, n.WaitMS/1000)
		}
		return []Finding{{Certainty: Proven, Summary: text,
			Evidence: []Evidence{{"resolver", n.Name + ": " + n.Error}}, Settle: "getent ahosts " + n.Name}}
	},
}

var nameLeadsElsewhere = &Check{
	Name:  "name-leads-elsewhere",
	Doc:   "localhost resolves to an address that is not loopback",
	Stage: StageResolve,
	Needs: []facts.Group{facts.GroupNames},
	Run: func(f *facts.Facts) []Finding {
		n := f.Names
		if !f.Target.Named || f.Target.Literal || !facts.IsLocalhost(n.Name) || len(n.Addresses) == 0 || n.Addresses[0].Addr.IsLoopback() {
			return nil
		}
		first := n.Addresses[0]
		return []Finding{{Certainty: Proven, Summary: fmt.Sprintf("%s resolves to %s, which is not a loopback address.", n.Name, first.Addr),
			Evidence: []Evidence{{first.Source, fmt.Sprintf("%s is %s", n.Name, first.Addr)}}, Settle: "getent ahosts " + n.Name}}
	},
}

var unreachable = &Check{
	Name:  "unreachable",
	Doc:   "the kernel finds no way to the address",
	Stage: StageRoute,
	Needs: []facts.Group{facts.GroupDials},
	Run: func(f *facts.Facts) []Finding {
		return dialSymptom(f, func(d facts.Dial) bool {
			// Of a name another address serves as well; who named this one has no other.
			return d.Outcome == facts.Unreachable || d.Outcome == facts.Failed || d.Errno == noFamily && f.Target.Literal
		},
			"The kernel finds no way, no source address or no free port to %s: connect() fails with %s.", "ip route get %s")
	},
}

var denied = &Check{
	Name:  "denied",
	Doc:   "the kernel forbids the connection before it sends anything",
	Stage: StageRoute,
	Needs: []facts.Group{facts.GroupDials},
	Run: func(f *facts.Facts) []Finding {
		return dialSymptom(f, func(d facts.Dial) bool { return d.Outcome == facts.Denied },
			"The kernel forbids the connection to %s: connect() fails with %s.", "ip route get %s")
	},
}

var noReply = &Check{
	Name:  "no-reply",
	Doc:   "the connection attempt gets no answer of any kind",
	Stage: StageAccept, // unless the counters say that the SYN died earlier
	Needs: []facts.Group{facts.GroupDials},
	Uses:  []facts.Group{facts.GroupLedger, facts.GroupSockets},
	Run: func(f *facts.Facts) []Finding {
		return dialSymptom(f, func(d facts.Dial) bool { return d.Outcome == facts.Timeout && !refusalLost(f, d) },
			"A connection to %s gets no answer at all.", "sudo tcpdump -ni lo host %s and port "+fmt.Sprint(f.Target.Port))
	},
}

var refused = &Check{
	Name:  "refused",
	Doc:   "the connection is refused",
	Stage: StageListen, // unless the refusal was forged on the way
	Needs: []facts.Group{facts.GroupDials},
	Uses:  []facts.Group{facts.GroupLedger, facts.GroupSockets},
	Run: func(f *facts.Facts) []Finding {
		return dialSymptom(f, func(d facts.Dial) bool { return d.Outcome == facts.Refused || refusalLost(f, d) },
			"%s refuses the connection (%s).", "sudo ss -tlnp 'sport = :"+fmt.Sprint(f.Target.Port)+"'")
	},
}

// refusalLost tells whether nothing listens and the kernel does refuse, but its reset
// never arrives: firewalls drop it to be silent.
func refusalLost(f *facts.Facts, d facts.Dial) bool {
	st, ok := lostAt(f, d)
	return d.Outcome == facts.Timeout && ok && st == StageReply && f.Sockets != nil && len(serving(f, d.Addr)) == 0
}

// portUnreachable is what a UDP client gets where no socket is bound: an ICMP
// error (RFC 1122 section 4.1.3.1), if it waits for one.
var portUnreachable = &Check{
	Name:   "port-unreachable",
	Doc:    "no socket takes the datagrams that are sent to the port",
	Stage:  StageListen,
	Intent: facts.Connect,
	Needs:  []facts.Group{facts.GroupSockets},
	Run: func(f *facts.Facts) []Finding {
		none := unbound(f)
		if len(none) == 0 {
			return nil
		}
		return []Finding{{Affects: none, Certainty: Proven, Summary: fmt.Sprintf("No socket takes the datagrams sent to %s.", ats(f, none)),
			Settle: fmt.Sprintf("ss -uln 'sport = :%d'", f.Target.Port)}}
	},
}

// answeredByAnother is felt only where a listener is known to be meant and known
// not to be a container engine's: those hold the port on purpose while the
// kernel sends the connections elsewhere.
var answeredByAnother = &Check{
	Name:  "answered-by-another",
	Doc:   "another program than the one that listens there answers",
	Stage: StageListen,
	Needs: []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupOwners},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if !redirected(f, d) {
				continue
			}
			l := serving(f, d.Addr)
			if len(l) == 0 {
				continue
			}
			owners := f.Owners.Of(l[0])
			if len(owners) == 0 || slices.ContainsFunc(owners, func(p facts.Process) bool { return p.Forwards() || p.Container != "" }) {
				continue
			}
			fs = append(fs, Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven,
				Summary: fmt.Sprintf("%s listens on %s, but connections to it arrive at %s.", who(owners[0]), l[0].Local, arrival(f, d))})
		}
		return mergeAddresses(f, fs)
	},
}

var notAccepted = &Check{
	Name:  "not-accepted",
	Doc:   "the kernel completes the connection, but no program takes it",
	Stage: StageAccept,
	Needs: []facts.Group{facts.GroupDials},
	Uses:  []facts.Group{facts.GroupSockets, facts.GroupOwners, facts.GroupLedger, facts.GroupWork},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if unanswered(d) && slices.Contains(f.Target.Expected(), d.Addr) {
				fs = append(fs, Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven, Settle: fmt.Sprintf("ss -tln 'sport = :%d'", f.Target.Port),
					Summary: fmt.Sprintf("The kernel completes the connection to %s, but no program has accepted it within %.0f ms.", at(f, d.Addr), d.Server.WaitedMS)})
				continue
			}
			if st, _ := lostAt(f, d); ackLost(f, d) && slices.Contains(f.Target.Expected(), d.Addr) {
				fs = append(fs, Finding{Affects: []netip.Addr{d.Addr}, Stage: st, Certainty: Proven,
					Summary: fmt.Sprintf("%s connects, but the last packet of the handshake never reaches the server.", at(f, d.Addr))})
				continue
			}
			if s := queueStands(f, d.Addr); s != nil && slices.Contains(f.Target.Expected(), d.Addr) {
				fs = append(fs, Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven, Settle: fmt.Sprintf("ss -tln 'sport = :%d'", f.Target.Port),
					Summary: fmt.Sprintf("%s wait at %s, and no program takes them.", are(int(s.Queue.Length), "connection"), at(f, d.Addr))})
				continue
			}
			// Of several listeners on one address the kernel picks one by hash:
			// our probe may have met the good one.
			if l := stuckTwin(f, d.Addr); l != nil && d.Outcome.Works() {
				fs = append(fs, Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven,
					Summary: fmt.Sprintf("One of the %d listeners on %s accepts nothing: a part of the connections hangs.", len(serving(f, d.Addr)), at(f, d.Addr))})
			}
		}
		return mergeAddresses(f, fs)
	},
}

var closedAtOnce = &Check{
	Name:  "closed-at-once",
	Doc:   "the connection is accepted and closed again without a byte",
	Stage: StageAnswer,
	Needs: []facts.Group{facts.GroupDials},
	Uses:  []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, d := range f.Dials {
			if d.Closed != "" && slices.Contains(f.Target.Expected(), d.Addr) {
				x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: Proven, Settle: cond(len(f.Owners.Of(first(serving(f, d.Addr)))) == 0, "sudo loopdoctor "+at(f, d.Addr), ""),
					Summary: fmt.Sprintf("%s accepts the connection and closes it at once (%s), unasked.", at(f, d.Addr), d.Closed)}
				if c := othersServed(f); c != "" { // a limit of its clients would be reached by them
					x.Evidence = []Evidence{{"socket", c}}
				}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

var cannotBind = &Check{
	Name:   "cannot-bind",
	Doc:    "a server cannot take the port",
	Stage:  StageBind,
	Intent: facts.ToBind,
	Needs:  []facts.Group{facts.GroupBinds},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, b := range f.Binds {
			if b.Errno == "" || !b.ReuseAddr && f.Target.Network == "tcp" || !slices.Contains(f.Target.Expected(), b.Addr) {
				continue // without SO_REUSEADDR a TIME_WAIT would be a false alarm: servers set it
			}
			why, settle := "", fmt.Sprintf("sudo ss -tanp 'sport = :%d'", f.Target.Port)
			if b.Errno == "EADDRNOTAVAIL" { // no matter who has the port
				why, settle = " (no interface of this machine has the address)", "ip -br address"
			}
			fs = append(fs, Finding{Affects: []netip.Addr{b.Addr}, Certainty: Proven,
				Summary: fmt.Sprintf("A server run by %s cannot take %s: bind() fails with %s%s.", f.Host.Client(b.As, b.AsPID).Name(), at(f, b.Addr), b.Errno, why),
				Settle:  settle})
		}
		return mergeAddresses(f, fs)
	},
}

// dialSymptom makes one finding of all expected addresses whose dial fits. The
// texts take the address and port, then the errno; settle takes the address.
func dialSymptom(f *facts.Facts, fits func(facts.Dial) bool, text, settle string) []Finding {
	var fs []Finding
	for _, d := range f.Dials {
		if !fits(d) || !slices.Contains(f.Target.Expected(), d.Addr) {
			continue
		}
		args := []any{at(f, d.Addr)}
		if strings.Count(text, "%s") > 1 {
			args = append(args, cond(d.Errno != "", d.Errno, "the reset that says so is lost"))
		}
		summary := fmt.Sprintf(text, args...)
		as := f.Host.Client(d.As, d.AsPID)
		// Said only of an address at which another client fares otherwise.
		if slices.ContainsFunc(f.Dials, func(o facts.Dial) bool { return o.Addr == d.Addr && !as.Is(o.As, o.AsPID) && o.Outcome != d.Outcome }) {
			summary = strings.TrimSuffix(summary, ".") + fmt.Sprintf(", for %s.", as.Name())
		}
		try := settle
		if strings.Contains(try, "%s") {
			try = fmt.Sprintf(try, d.Addr)
		}
		st, _ := lostAt(f, d) // none: the check's own
		x := Finding{Affects: []netip.Addr{d.Addr}, Stage: st, Certainty: Proven, Summary: summary, Settle: try,
			Evidence: []Evidence{{"connect", fmt.Sprintf("%s as %s: %s after %.1f ms", at(f, d.Addr), as.Name(), cond(d.Errno != "", d.Errno, string(d.Outcome)), d.ElapsedMS)}}}
		if l := ledgerOf(f, d.Addr); l != nil && d.Outcome == facts.Timeout && l.Outcomes[string(facts.Connected)] > 0 {
			x.Evidence = append(x.Evidence, Evidence{"connect", fmt.Sprintf("of %s sent a moment later, %d got through", plural(l.SYNs, "more connection"), l.Outcomes[string(facts.Connected)])})
		}
		fs = append(fs, x)
	}
	return mergeAddresses(f, fs)
}

// mergeAddresses makes one finding of those that one cure heals, and says of the
// first one that it holds for the others too.
func mergeAddresses(f *facts.Facts, fs []Finding) []Finding {
	var out []Finding
	var also [][]netip.Addr
next:
	for _, x := range fs {
		for i := range out {
			if out[i].Stage != x.Stage || out[i].Certainty != x.Certainty || out[i].Remark != x.Remark || !reflect.DeepEqual(out[i].Fixes, x.Fixes) {
				continue
			}
			for _, a := range x.Affects {
				if !slices.Contains(out[i].Affects, a) {
					out[i].Affects = append(slices.Clip(out[i].Affects), a)
					also[i] = append(also[i], a)
				}
			}
			for _, e := range x.Evidence {
				if !slices.Contains(out[i].Evidence, e) {
					out[i].Evidence = append(out[i].Evidence, e)
				}
			}
			continue next
		}
		out = append(out, x)
		also = append(also, nil)
	}
	for i, as := range also {
		if len(as) > 0 && strings.Contains(out[i].Summary, at(f, out[i].Affects[0])) {
			out[i].Summary += fmt.Sprintf(" The same holds for %s.", ats(f, as))
		}
	}
	return out
}
