package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A forwarder was told to listen on the port, and does not.

// loginTime is how long ssh may take to log in, with a person who types a password.
const loginTime = 30 * time.Second

var sshForwardListenFailed = &Check{
	Name:     "ssh-forward-listen-failed",
	Doc:      "an ssh client was told to listen on the port, and runs on without",
	Stage:    StageListen,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupForwards},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener, v6OnlyServerV4Client, v4OnlyServerV6Client},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, w := range f.Forwards.Found {
			// A master that this client speaks to may have taken the port for it.
			master := !w.Held && slices.ContainsFunc(listeners(f), func(s facts.Socket) bool { return heldBy(f, s, "ssh") })
			if w.Kind != "ssh -L" && w.Kind != "ssh -D" || w.Held && !w.Both || master {
				continue
			}
			name := onwards(f, w)
			base := Finding{Certainty: Inferred, Since: w.Started, Evidence: wayEvidence(f, w)}
			if said := slices.IndexFunc(w.Log, func(l string) bool { return couldNotListen(l, f.Target.Port) }); said >= 0 {
				base.Certainty = Proven
			}
			again := Fix{Do: fmt.Sprintf("Start ssh anew, now that the port is free, with `-o ExitOnForwardFailure=yes`: then it says so and ends, instead of running without (%s).", cmp.Or(w.Text, "-L"))}
			for _, a := range f.Target.Expected() {
				if !toldToServe(w, f.Target.Port, a) {
					continue
				}
				x := base
				x.Affects = []netip.Addr{a}
				switch ls := serving(f, a); {
				case w.Held && len(ls) == 0: // of both addresses it is content with one
					x.Certainty = Proven
					x.Summary = fmt.Sprintf("%s was told to listen on both loopback addresses, and has not got %s: that one was not free when it began.", name, at(f, a))
					x.Evidence = append(slices.Clone(x.Evidence), socketEvidence(f, listeners(f)[0]))
					x.Fixes = []Fix{again}
				case w.Held:
					continue
				case len(ls) == 0:
					x.Summary = fmt.Sprintf("%s was told to listen on %s, and does not: the port was not free when it began, or it is not logged in yet.", name, at(f, a))
					if x.Certainty == Proven {
						x.Summary = fmt.Sprintf("%s was told to listen on %s, could not take the port when it began, and runs on without it.", name, at(f, a))
					} else if !w.Started.IsZero() && f.Time.Sub(w.Started) < loginTime {
						x.Summary = fmt.Sprintf("%s was told to listen on %s %.0f s ago, and does not yet: it listens once it is logged in.", name, at(f, a), f.Time.Sub(w.Started).Seconds())
					}
					x.Fixes = []Fix{again}
				case len(f.Owners.Of(ls[0])) > 0 && !w.Strict:
					x.Remark = true
					x.Certainty = Proven
					x.Summary = fmt.Sprintf("%s was told to listen on %s as well, and runs without: %s has the port. Who connects reaches that one, not the far end of the tunnel.", name, at(f, a), holder(f, ls[0]))
					x.Evidence = append(slices.Clone(x.Evidence), socketEvidence(f, ls[0]))
					x.Fixes = []Fix{{Do: "Give the tunnel another local port, or stop what holds this one and start ssh anew."}}
				default:
					continue
				}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

// couldNotListen tells whether ssh says in its log that it did not get the port:
//
//	bind [127.0.0.1]:8080: Address already in use
//	channel_setup_fwd_listener_tcpip: cannot listen to port: 8080
func couldNotListen(line string, port uint16) bool {
	return strings.HasSuffix(line, fmt.Sprintf("cannot listen to port: %d", port)) ||
		strings.Contains(line, fmt.Sprintf("]:%d: Address already in use", port))
}

// heldBy tells whether a program of that name holds the socket.
func heldBy(f *facts.Facts, s facts.Socket, name string) bool {
	return slices.ContainsFunc(f.Owners.Of(s), func(p facts.Process) bool { return p.Name == name })
}

var kubectlPortForwardDropped = &Check{
	Name:     "kubectl-port-forward-dropped",
	Doc:      "kubectl port-forward has lost its connection to the pod, and the port with it",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupForwards, facts.GroupOwners},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none := abandoned(f)
		if len(none) == 0 {
			return nil
		}
		fixes := []Fix{{Do: "Start kubectl port-forward anew. In a loop it comes back by itself: `while :; do kubectl port-forward ...; sleep 1; done`."},
			{Do: "See whether the pod was replaced: `kubectl get pods`. A forward to svc/NAME or deploy/NAME still ends with the pod that it chose."}}
		if f.Forwards != nil {
			for _, w := range f.Forwards.Found {
				loop := w.Kind == "loop of kubectl port-forward"
				as := slices.DeleteFunc(slices.Clone(none), func(a netip.Addr) bool { return !toldToServe(w, f.Target.Port, a) })
				if w.Held || len(as) == 0 || !loop && w.Kind != "kubectl port-forward" {
					continue
				}
				x := Finding{Affects: as, Certainty: Inferred, Since: w.Started, Evidence: wayEvidence(f, w), Fixes: fixes, Settle: "kubectl get pods",
					Summary: fmt.Sprintf("%s forwards the port to %s, and does not listen: it waits for the pod, or has lost it.", onwards(f, w), cmp.Or(w.Through, "a pod"))}
				if loop {
					x.Summary = fmt.Sprintf("%s starts kubectl port-forward to %s over and over, and none listens at the moment.", onwards(f, w), cmp.Or(w.Through, "a pod"))
				}
				if slices.ContainsFunc(w.Log, lostPod) {
					x.Certainty, x.Settle = Proven, ""
					x.Summary = fmt.Sprintf("kubectl port-forward to %s has lost its connection to the pod, and the port with it; %s starts it again.", cmp.Or(w.Through, "a pod"), onwards(f, w))
				}
				return []Finding{x}
			}
		}
		if e := f.Target.Error; e != nil && lostPod(e.Text) {
			return []Finding{{Affects: none, Certainty: Inferred, Evidence: []Evidence{{"error", e.Text}}, Fixes: fixes, Settle: "kubectl get pods",
				Summary: fmt.Sprintf("kubectl port-forward has ended, as it does when the pod or the connection to it goes, and nothing listens on %s any more.", ats(f, none))}}
		}
		return nil
	},
}

// lostPod tells whether kubectl says that its connection is gone.
func lostPod(text string) bool { return strings.Contains(text, "lost connection to pod") }
