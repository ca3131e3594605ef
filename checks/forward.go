package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Something in between takes the connection for somebody else, and cannot pass it on.

// waysOn returns where the programs that serve the address lead. Where it is not seen
// who does, what a process was told has to fit.
func waysOn(f *facts.Facts, a netip.Addr) []facts.Forward {
	return slices.DeleteFunc(toldAt(f, a), func(w facts.Forward) bool { return w.Own != 0 })
}

// toldAt is what the programs that serve the address were told to do with what comes.
func toldAt(f *facts.Facts, a netip.Addr) []facts.Forward {
	if f.Forwards == nil {
		return nil
	}
	ls := serving(f, a)
	var owners []facts.Process
	for _, s := range ls {
		owners = append(owners, f.Owners.Of(s)...)
	}
	var out []facts.Forward
	for _, w := range f.Forwards.Found {
		holds := slices.ContainsFunc(owners, func(p facts.Process) bool { return p.PID == w.PID })
		gone := w.Gone && len(ls) == 0 && (w.Listen.Port() == 0 || toldToServe(w, f.Target.Port, a))
		if w.Held && (holds || gone) || !w.Held && len(ls) > 0 && len(owners) == 0 && (w.PID == 0 || toldToServe(w, f.Target.Port, a)) {
			out = append(out, w)
		}
	}
	return out
}

// toldToServe tells whether a forwarder was told to listen there.
func toldToServe(w facts.Forward, port uint16, a netip.Addr) bool {
	l := w.Listen.Addr()
	return w.Listen.Port() == port && (l == a || l.Is6() && l.IsUnspecified() || l.IsUnspecified() && a.Is4() || w.Both && (a == v4Loopback || a == v6Loopback))
}

// onwards is what holds the port, as a person would look for it.
func onwards(f *facts.Facts, w facts.Forward) string {
	if p := f.Owners.Process(w.PID); p != nil {
		return who(*p)
	}
	return cond(w.PID != 0, fmt.Sprintf("%s (pid %d)", w.Program, w.PID), w.Program)
}

// wayEvidence quotes what says where it leads, and what is there.
func wayEvidence(f *facts.Facts, w facts.Forward) []Evidence {
	var es []Evidence
	switch {
	case w.Text != "" && strings.HasPrefix(w.From, "argument"):
		es = append(es, Evidence{"process", fmt.Sprintf("%s, %s: %s", onwards(f, w), w.From, w.Text)})
	case w.Text != "":
		es = append(es, Evidence{w.From, w.Text})
	case f.Owners.Process(w.PID) != nil:
		es = append(es, Evidence{"process", fmt.Sprintf("%d: %s", w.PID, words(*f.Owners.Process(w.PID)))})
	}
	for _, e := range slices.Concat(w.Far, w.Near) {
		es = append(es, Evidence{"far end", cond(e.Listens, fmt.Sprintf("%s: %s listens", e.Place(), cmp.Or(e.Owner, "somebody")), e.Place()+": nothing listens")})
	}
	for _, l := range w.Log {
		es = append(es, Evidence{w.LogFrom, l})
	}
	return es
}

// listensInstead says where the service listens instead; empty if nowhere.
func listensInstead(w facts.Forward) string {
	if len(w.Near) == 0 {
		return ""
	}
	e := w.Near[0]
	return fmt.Sprintf(": %s listens on %s only", cmp.Or(e.Owner, "the service"), e.Addr)
}

// reach is an address at which a listener can be reached.
func reach(e facts.FarEnd) string {
	if a := e.Addr.Addr(); a.IsUnspecified() {
		return netip.AddrPortFrom(cond(a.Is4(), v4Loopback, v6Loopback), e.Addr.Port()).String()
	}
	return e.Addr.String()
}

// closedEvidence quotes how the connection ended.
func closedEvidence(f *facts.Facts, d facts.Dial) Evidence {
	return Evidence{"connection", fmt.Sprintf("%s: %s after the handshake, without a byte", at(f, d.Addr), d.Closed)}
}

// lastLog tells whether the newest line of the log, written while loopdoctor looked,
// says one of the words.
func lastLog(w facts.Forward, words ...string) bool {
	if !w.Fresh || len(w.Log) == 0 {
		return false
	}
	low := strings.ToLower(w.Log[len(w.Log)-1])
	return slices.ContainsFunc(words, func(s string) bool { return strings.Contains(low, s) })
}

// closedWays runs a check at each way of who closed a connection of ours at once.
func closedWays(f *facts.Facts, judge func(facts.Dial, facts.Forward) (Finding, bool)) []Finding {
	var fs []Finding
	for _, d := range f.Dials {
		if d.Closed == "" {
			continue
		}
		for _, w := range upstreamsOf(f, d.Addr, gaveUp{}) {
			if len(keepsOut(f, d.Addr)) > 0 {
				continue
			}
			if x, ok := judge(d, w); ok {
				x.Affects, x.Since = []netip.Addr{d.Addr}, w.Started
				x.Evidence = slices.Concat([]Evidence{closedEvidence(f, d)}, wayEvidence(f, w), x.Evidence)
				fs = append(fs, x)
			}
		}
	}
	return mergeAddresses(f, fs)
}

var forwarderAcceptsBackendDead = &Check{
	Name:     "forwarder-accepts-backend-dead",
	Doc:      "a forwarder accepts the connection, but the far end does not answer it",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupForwards, facts.GroupAnswers, facts.GroupContainers},
	Explains: []*Check{closedAtOnce, noAnswer},
	Refines:  []*Check{readsNeverAnswers, acceptsNeverReads},
	Run: func(f *facts.Facts) []Finding {
		fs := closedWays(f, func(d facts.Dial, w facts.Forward) (Finding, bool) { return backendDead(f, d, w), true })
		if fs = slices.Concat(fs, deadOnceAsked(f), silentForwarders(f), unreachedBeyond(f)); len(fs) > 0 {
			return mergeAddresses(f, fs)
		}
		for _, d := range f.Dials {
			if d.Closed == "" {
				continue
			}
			for _, s := range serving(f, d.Addr) {
				ps := f.Owners.Of(s)
				i := slices.IndexFunc(ps, facts.Process.Forwards)
				if i >= 0 && ps[i].Name == "haproxy" && f.Forwards == nil {
					continue // it may close by a rule of its own, which nobody looked for
				}
				if i >= 0 && len(toldAt(f, d.Addr)) == 0 {
					x := backendDead(f, d, facts.Forward{PID: ps[i].PID, Kind: ps[i].Name})
					x.Affects, x.Since = []netip.Addr{d.Addr}, ps[i].Started
					x.Evidence = []Evidence{closedEvidence(f, d), {"process", fmt.Sprintf("%d: %s", ps[i].PID, words(ps[i]))}}
					fs = append(fs, x)
				}
			}
		}
		return mergeAddresses(f, fs)
	},
}

// deadOnceAsked finds the forwarders that end TLS themselves, and look for their far end
// only then: they agree on TLS and close. Of one that passes TLS on, the far end agreed.
// One that leads on by UDP closes when its first datagram comes back as undeliverable.
func deadOnceAsked(f *facts.Facts) []Finding {
	var fs []Finding
	for _, a := range asked(f) {
		if a.Bytes > 0 || a.End != facts.EndOfFile && a.End != facts.Reset {
			continue
		}
		agreed := a.Handshake != nil && a.Handshake.Version != ""
		for _, w := range waysOn(f, a.Addr) {
			if w.UDP && w.Dead() || agreed && !w.Proxies && (w.Dead() || w.Kind == "stunnel") {
				x := backendDead(f, facts.Dial{Addr: a.Addr, Closed: string(a.End)}, w)
				x.Affects, x.Since = []netip.Addr{a.Addr}, w.Started
				x.Evidence = append([]Evidence{heard(a)}, wayEvidence(f, w)...)
				fs = append(fs, x)
			}
		}
	}
	return fs
}

func backendDead(f *facts.Facts, d facts.Dial, w facts.Forward) Finding {
	name := onwards(f, w)
	x := Finding{Certainty: Inferred}
	if deadInContainer(f, d, w, &x) {
		return x
	}
	what, runs := startsProgram(w)
	switch {
	case runs:
		x.Summary = fmt.Sprintf("%s starts `%s` for each connection to %s, and closes at once (%s): that program is not there, or it ends at once.", name, what, at(f, d.Addr), d.Closed)
		x.Fixes = []Fix{{Do: fmt.Sprintf("Run that command by hand, and see what it says; see also what the terminal of %s says.", w.Program)}}
	case w.To == "":
		x.Summary = fmt.Sprintf("%s accepts on %s for somebody else and closes at once (%s): the far end that it forwards to is not there.", name, at(f, d.Addr), d.Closed)
		x.Fixes = []Fix{{Do: "Start the service at the far end, on the address and port to which the forwarder leads."}}
	case w.Through != "":
		x.Summary = fmt.Sprintf("%s takes %s to %s by way of %s, and closes at once (%s): it gets no connection there.", name, at(f, d.Addr), w.To, w.Through, d.Closed)
		x.Fixes = []Fix{{Do: fmt.Sprintf("Start the service on %s at %s, and see what the terminal of %s says.", w.To, w.Through, w.Program)}}
	case w.Dead() && w.UDP:
		x.Certainty, x.Settle = cond(w.Held, Proven, Inferred), settleHolder(f, w)
		x.Summary = fmt.Sprintf("%s forwards %s to %s by UDP, and no socket has that port%s.", name, at(f, d.Addr), w.To, listensInstead(w))
		x.Fixes = startThere(w)
	case w.Dead():
		x.Certainty, x.Settle = cond(w.Held, Proven, Inferred), settleHolder(f, w)
		x.Summary = fmt.Sprintf("%s forwards %s to %s, and nothing listens there%s.", name, at(f, d.Addr), w.To, listensInstead(w))
		x.Fixes = startThere(w)
	case wrongOne(w) != nil:
		x.Summary = fmt.Sprintf("%s forwards %s to %s, tries one address of that name only, and nothing listens on %s: %s listens on %s.", name, at(f, d.Addr), w.To, wrongOne(w).Addr, listensAt(w), theOther(w))
		x.Fixes = []Fix{{Do: fmt.Sprintf("Lead %s to %s: write the address instead of the name.", w.Program, theOther(w))}}
	case len(w.Far) > 0:
		x.Summary = fmt.Sprintf("%s forwards %s to %s, where %s listens, and closes at once (%s): that connection does not come to pass, or is closed over there.", name, at(f, d.Addr), w.To, listensAt(w), d.Closed)
		x.Settle = "loopdoctor " + w.To
		x.Fixes = []Fix{{Do: fmt.Sprintf("See why %s does not take the connection.", w.To)}}
	default:
		x.Summary = fmt.Sprintf("%s forwards %s to %s, and closes at once (%s): nothing answers there.", name, at(f, d.Addr), w.To, d.Closed)
		x.Fixes = []Fix{{Do: fmt.Sprintf("Start the service at %s, or forward to where it listens.", w.To)}}
	}
	return x
}

// startsProgram is the command that a forwarder starts for each connection, instead of
// making one itself: "EXEC:cat", "SYSTEM:…" of socat.
func startsProgram(w facts.Forward) (command string, ok bool) {
	kind, command, ok := strings.Cut(w.Text, ":")
	if w.Kind != "socat" || w.To != "" || !slices.Contains([]string{"EXEC", "SYSTEM", "SHELL"}, strings.ToUpper(kind)) {
		return "", false
	}
	command, _, _ = strings.Cut(command, ",")
	return command, ok
}

// wrongOne is the address of a name at which nobody listens, of a forwarder that takes
// one of its addresses and not the next: which one depends on the program.
func wrongOne(w facts.Forward) *facts.FarEnd {
	i := slices.IndexFunc(w.Far, func(e facts.FarEnd) bool { return !e.Listens })
	if i < 0 || len(w.Far) < 2 || w.Dead() || !slices.Contains([]string{"socat", "systemd-socket-proxyd", "haproxy"}, w.Kind) {
		return nil
	}
	return &w.Far[i]
}

// theOther is the address of that name at which somebody listens.
func theOther(w facts.Forward) netip.AddrPort {
	return w.Far[slices.IndexFunc(w.Far, func(e facts.FarEnd) bool { return e.Listens })].Addr
}

// listensAt names who listens at the far end.
func listensAt(w facts.Forward) string {
	for _, e := range w.Far {
		if e.Listens {
			return cmp.Or(e.Owner, "somebody")
		}
	}
	return "somebody"
}

// startThere heals a way that ends where nobody listens.
func startThere(w facts.Forward) []Fix {
	var fixes []Fix
	if len(w.Near) > 0 {
		there := reach(w.Near[0])
		do := fmt.Sprintf("Lead %s to %s, where the service listens: put it in place of %s.", w.Program, there, w.To)
		if line := strings.Replace(w.Text, w.To, there, 1); line != w.Text && !strings.HasPrefix(w.From, "argument") {
			do = fmt.Sprintf("Write `%s` in %s, and let %s read it again.", line, w.From, w.Program)
		}
		fixes = append(fixes, Fix{Do: do})
	}
	do := fmt.Sprintf("Start the service on %s", w.To)
	if w.From != "" && !strings.HasPrefix(w.From, "argument") {
		do += fmt.Sprintf(", or lead %s to where it listens (%s)", w.Program, w.From)
	}
	return append(fixes, Fix{Do: do + "."})
}

var sshTargetRefused = &Check{
	Name:     "ssh-l-target-refused",
	Doc:      "ssh -L takes the connection, and the far machine gets none to the target",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupForwards},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{closedAtOnce},
	Refines:  []*Check{forwarderAcceptsBackendDead},
	Run: func(f *facts.Facts) []Finding {
		return closedWays(f, func(d facts.Dial, w facts.Forward) (Finding, bool) {
			if w.Kind != "ssh -L" || lastLog(w, "prohibited") || len(w.Far) > 0 && !w.Dead() {
				return Finding{}, false
			}
			x := Finding{Certainty: Inferred, Settle: sshSettle(w),
				Summary: fmt.Sprintf("%s takes %s to %s by way of %s, and closes at once (%s): nothing answers it there.", onwards(f, w), at(f, d.Addr), w.To, w.Through, d.Closed),
				Fixes: []Fix{{Do: fmt.Sprintf("Start the service on %s at %s: `ss -tln` over there shows which address and port it has.", w.To, w.Through)},
					{Do: "Name the family: `-L PORT:127.0.0.1:PORT` or `-L PORT:[::1]:PORT`, whichever it listens on."}}}
			switch {
			case lastLog(w, "connect failed"):
				x.Certainty, x.Settle = Proven, ""
				x.Summary = fmt.Sprintf("%s takes %s to %s by way of %s, where no connection to it comes to pass: %s.", onwards(f, w), at(f, d.Addr), w.To, w.Through, afterColon(w.Log[len(w.Log)-1]))
			case w.Here && w.Dead():
				x.Certainty = cond(w.Held, Proven, Inferred)
				x.Settle = ""
				x.Summary = fmt.Sprintf("%s takes %s to %s by way of %s, which is this machine, and nothing listens there%s.", onwards(f, w), at(f, d.Addr), w.To, w.Through, listensInstead(w))
				x.Fixes = startThere(w)
			}
			return x, true
		})
	},
}

var sshProhibited = &Check{
	Name:     "ssh-l-prohibited",
	Doc:      "the ssh server forbids the forwarding that ssh -L asks for",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupForwards},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{closedAtOnce},
	Refines:  []*Check{forwarderAcceptsBackendDead},
	Run: func(f *facts.Facts) []Finding {
		return closedWays(f, func(d facts.Dial, w facts.Forward) (Finding, bool) {
			if w.Kind != "ssh -L" || lastLog(w, "connect failed") || w.Dead() && !lastLog(w, "prohibited") {
				return Finding{}, false
			}
			x := Finding{Certainty: Inferred, Settle: sshSettle(w),
				Summary: fmt.Sprintf("%s takes %s to %s by way of %s, whose sshd does not allow that.", onwards(f, w), at(f, d.Addr), w.To, w.Through),
				Fixes: []Fix{{Do: fmt.Sprintf("Let the administrator of %s allow it in sshd_config: `AllowTcpForwarding local` (or yes), and `PermitOpen %s` if there is a PermitOpen; then reload sshd.", afterAt(w.Through), cmp.Or(w.To, "HOST:PORT"))},
					{Do: "See whether the key is restricted: `no-port-forwarding`, `restrict` or `permitopen=` before it in authorized_keys over there."}}}
			if lastLog(w, "prohibited") {
				x.Certainty, x.Settle = Proven, ""
			}
			return x, true
		})
	},
}

// sshSettle is the command that says which of the two it is.
func sshSettle(w facts.Forward) string {
	host := afterAt(w.Through)
	if host == "" || w.To == "" || strings.HasPrefix(host, "-") || !sayableWord(w.Through) || !sayableWord(w.To) {
		return ""
	}
	if w.Port != 0 {
		return fmt.Sprintf("ssh -W %s ssh://%s:%d </dev/null", w.To, w.Through, w.Port)
	}
	return fmt.Sprintf("ssh -W %s %s </dev/null", w.To, w.Through)
}

// sayableWord tells whether a word from outside may stand in a command that a person
// will copy.
func sayableWord(s string) bool {
	return s != "" && !strings.HasPrefix(s, "-") && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789.:@_-[]") == ""
}

func afterAt(s string) string { return s[strings.LastIndexByte(s, '@')+1:] }

func afterColon(s string) string { return strings.TrimSpace(s[strings.LastIndexByte(s, ':')+1:]) }

var kubectlPortForwardTarget = &Check{
	Name:     "kubectl-port-forward-target",
	Doc:      "kubectl port-forward takes the connection, and nothing answers it in the pod",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials, facts.GroupSockets, facts.GroupForwards},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{closedAtOnce},
	Refines:  []*Check{forwarderAcceptsBackendDead},
	Run: func(f *facts.Facts) []Finding {
		return closedWays(f, func(d facts.Dial, w facts.Forward) (Finding, bool) {
			if w.Kind != "kubectl port-forward" {
				return Finding{}, false
			}
			pod := cmp.Or(w.Through, "the pod")
			x := Finding{Certainty: Inferred, Settle: podSettle(w),
				Summary: fmt.Sprintf("%s takes %s to %s of %s, and closes at once (%s): nothing listens on that port of the pod's own loopback address.", onwards(f, w), at(f, d.Addr), podPort(w), pod, d.Closed),
				Fixes: []Fix{{Do: "Forward to the port on which the container really listens: see containerPort, and the first lines of `kubectl logs`."},
					{Do: "Let the application in the pod listen on 0.0.0.0 or 127.0.0.1 rather than on the pod's address alone."}}}
			if lastLog(w, "forwarding port", "connection refused", "error forwarding", "occurred forwarding") {
				x.Certainty, x.Settle = Proven, ""
			}
			if w.Gone {
				x.Summary = fmt.Sprintf("%s took %s to %s of %s, closed it at once (%s), and ended, as it does when a connection does not come to pass in the pod.", onwards(f, w), at(f, d.Addr), podPort(w), pod, d.Closed)
				x.Fixes = append(x.Fixes, Fix{Do: "Start kubectl port-forward anew: it is gone with that connection."})
			}
			return x, true
		})
	},
}

// podSettle is the command that shows where the pod listens.
func podSettle(w facts.Forward) string {
	pod, namespace, _ := strings.Cut(w.Through, " in namespace ")
	if !sayableWord(strings.Replace(pod, "/", "-", 1)) || namespace != "" && !sayableWord(namespace) {
		return ""
	}
	return fmt.Sprintf("kubectl exec %s%s -- cat /proc/net/tcp /proc/net/tcp6", cond(namespace != "", "-n "+namespace+" ", ""), pod)
}

// podPort is the port of the pod, without the host that kubectl always means.
func podPort(w facts.Forward) string {
	if w.To == "" {
		return "a named port"
	}
	return "port " + afterColon(w.To)
}
