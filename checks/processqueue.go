package checks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The two queues of a listener: of connections that are complete and not accepted, and of
// those whose handshake is not complete. The kernel tells of neither when it drops: the
// counters do, and the sockets.

var acceptQueueFull = &Check{
	Name:     "accept-queue-full",
	Doc:      "the accept queue of the listener is full, so the kernel drops new connections",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupLedger, facts.GroupDials, facts.GroupAnswers, facts.GroupForwards, facts.GroupContainers, facts.GroupFilters},
	Explains: []*Check{noReply, notAccepted, noAnswer, serverError},
	Refines:  []*Check{nobodyAccepts, reverseProxyUpstream},
	Run: func(f *facts.Facts) []Finding {
		fs := slices.Concat(fullBeyond(f), fullInside(f))
		for _, a := range f.Target.Expected() {
			for _, s := range serving(f, a) {
				if !s.Queue.Full() {
					continue
				}
				x := queueFullFinding(f, s)
				x.Affects = []netip.Addr{a}
				if slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && unanswered(d) }) {
					x.Certainty = Proven
				}
				if l := ledgerOf(f, a); l != nil && l.Delta["ListenOverflows"] > 0 {
					x.Certainty = Proven
					x.Evidence = append(x.Evidence, Evidence{"counters", fmt.Sprintf("TcpExtListenOverflows +%d for %d SYN", l.Delta["ListenOverflows"], l.SYNs)})
				}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

func queueFullFinding(f *facts.Facts, s facts.Socket) Finding {
	return Finding{Certainty: Inferred, Since: since(f, s), Evidence: []Evidence{socketEvidence(f, s)},
		Summary: fmt.Sprintf("The accept queue of %s is full (%d waiting, limit %d): %s does not take its connections, and the kernel drops new ones.", s.Local, s.Queue.Length, s.Queue.Limit, holder(f, s)),
		Fixes: append(queueFixes(f, s),
			Fix{Do: "If it is merely overloaded: a larger backlog in listen(), and net.core.somaxconn at least as large."})}
}

// queueFixes empty the queue. A restart is none for a server that is at a limit of its own.
func queueFixes(f *facts.Facts, s facts.Socket) []Fix {
	if setting, _ := workerLimit(f, s, nil); setting != "" {
		return acceptFixes(f, s, nil)[:2]
	}
	return []Fix{{Do: "Restart the program that listens, or find out what keeps it from accepting (its log, a stack dump).", Interrupts: "the connections that wait in the queue"}}
}

// synQueueFull: the queue of half-open connections takes as many as the backlog says
// (inet_csk_reqsk_queue_is_full of the kernel's include/net/inet_connection_sock.h).
// What comes then gets a SYN cookie, or nothing where those are switched off.
var synQueueFull = &Check{
	Name:     "syn-queue-full",
	Doc:      "as many half-open connections wait at the listener as may, and the kernel drops new ones, since SYN cookies are off",
	Stage:    StageAccept,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupLedger},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupDials},
	Explains: []*Check{noReply},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range f.Target.Expected() {
			l := ledgerOf(f, a)
			if l == nil || !facts.Enough(l.Delta["TCPReqQFullDrop"], l.SYNs) || len(serving(f, a)) == 0 {
				continue
			}
			if !slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Outcome == facts.Timeout }) {
				continue
			}
			s := serving(f, a)[0]
			half := pick(f, func(h facts.Socket) bool { return h.State == facts.SynRecv && s.Serves(h.Local.Addr().Unmap()) })
			x := Finding{Affects: []netip.Addr{a}, Certainty: cond(len(half) > 0, Proven, Inferred),
				Evidence: []Evidence{{"counters", fmt.Sprintf("TcpExtTCPReqQFullDrop +%d for %d SYN", l.Delta["TCPReqQFullDrop"], l.SYNs)}, socketEvidence(f, s)},
				Settle:   cond(len(half) > 0, "", fmt.Sprintf("ss -tn state syn-recv 'sport = :%d'", f.Target.Port))}
			x.Summary = fmt.Sprintf("%s half-open at %s, as many as may, and the kernel drops the next SYN, since SYN cookies are off.", are(len(half), "connection"), s.Local)
			if len(half) == 0 {
				x.Summary = fmt.Sprintf("The kernel drops SYNs to %s: its queue of half-open connections is full, and SYN cookies are off.", s.Local)
			}
			for _, h := range half[:min(3, len(half))] {
				x.Evidence = append(x.Evidence, Evidence{"socket", fmt.Sprintf("tcp syn-recv %s from %s", h.Local, h.Remote)})
			}
			x.Fixes = []Fix{{Do: "Switch SYN cookies on: the kernel then needs no room for half-open connections.", Elevated: true, Lasts: UntilReboot,
				Steps: [][]string{{"sysctl", "-w", "net.ipv4.tcp_syncookies=1"}}, Undo: [][]string{{"sysctl", "-w", "net.ipv4.tcp_syncookies=0"}}},
				{Do: "Find out why they stay half-open: clients that connect and say nothing, where the server listens with TCP_DEFER_ACCEPT (nginx: listen … deferred); a packet filter that drops the answer or the last packet; a flood."},
				{Do: "A larger backlog in listen() (nginx: listen … backlog=), with net.core.somaxconn and net.ipv4.tcp_max_syn_backlog at least as large."}}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}
