package checks

import (
	"fmt"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What an earlier server left behind keeps the port.

var timeWaitBlocksBind = &Check{
	Name:     "time-wait-blocks-bind",
	Doc:      "connections of the last run are in TIME_WAIT, and the server does not set SO_REUSEADDR",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		tw := pick(f, func(s facts.Socket) bool { return s.State == facts.TimeWait })
		if len(tw) == 0 || len(pick(f, func(s facts.Socket) bool { return s.State == facts.Listen || s.State == facts.Bound })) > 0 {
			return nil
		}
		var plain, always []netip.Addr
		var last int64
		for _, s := range tw {
			last = max(last, s.TimerMS)
			for _, b := range f.Binds {
				if b.Errno == "EADDRINUSE" && conflicts(s, b.Addr) {
					if b.ReuseAddr {
						always = append(always, b.Addr)
					} else {
						plain = append(plain, b.Addr)
					}
				}
			}
		}
		if len(plain) == 0 && len(always) == 0 {
			return nil
		}
		x := Finding{Affects: plain, Certainty: Proven, Remark: len(always) == 0,
			Summary: fmt.Sprintf("%s in TIME_WAIT for another %d s: a server that does not set SO_REUSEADDR cannot take port %d until then.", are(len(tw), "connection"), (last+999)/1000, f.Target.Port)}
		if len(always) > 0 {
			x.Affects = always
			x.Summary = fmt.Sprintf("%s in TIME_WAIT for another %d s, and the last run had no SO_REUSEADDR: nobody can take port %d until then.", are(len(tw), "connection"), (last+999)/1000, f.Target.Port)
		}
		for _, s := range tw[:min(len(tw), 3)] {
			x.Evidence = append(x.Evidence, Evidence{"socket", fmt.Sprintf("tcp time-wait %s to %s, %.0f s left", s.Local, s.Remote, float64(s.TimerMS)/1000)})
		}
		x.Fixes = []Fix{
			{Do: "Remove the connections of the last run from the kernel's table.", Elevated: true,
				Steps: [][]string{{"ss", "-K", "-t", "-n", "state", "time-wait", fmt.Sprintf("sport = :%d", f.Target.Port)}},
				Risk:  "a packet of an old connection that is still on its way could reach a new one; on loopback there is none"},
			{Do: fmt.Sprintf("Wait %d s, and set SO_REUSEADDR before bind() in the server (Python: allow_reuse_address = True).", (last+999)/1000)},
		}
		x.Fixes = orAnother(f, x.Fixes)
		return []Finding{x}
	},
}

// lingeringConnectionBlocksBind: what a listener accepted keeps the port as its
// own port, also when the listener has gone.
var lingeringConnectionBlocksBind = &Check{
	Name:     "lingering-connection-blocks-bind",
	Doc:      "a connection of a server that no longer listens still holds the port",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds, facts.GroupLimits},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		if len(pick(f, func(s facts.Socket) bool { return s.State == facts.Listen || s.State == facts.Bound })) > 0 {
			return nil
		}
		var fs []Finding
		for _, s := range pick(f, lingers) {
			if f.Limits.Ephemeral(f.Target.Port) && !f.Limits.Ephemeral(s.Remote.Port()) {
				continue // ephemeral-client-holds-port
			}
			x := Finding{Affects: bindsLostTo(f, s), Certainty: Proven, Since: since(f, s), Evidence: heldEvidence(f, s)}
			who := "nobody can take the port until it has gone"
			if len(x.Affects) == 0 {
				x.Affects, x.Remark = plainBindsLostTo(f, s), true
				who = "a server that does not set SO_REUSEADDR cannot take the port until it has gone"
			}
			if len(x.Affects) == 0 {
				continue
			}
			x.Summary = fmt.Sprintf("Nothing listens any more, but a connection from %s to %s is still there in state %s (%s): %s.", s.Local, s.Remote, s.State, holder(f, s), who)
			cut := Fix{Do: "Cut the connection.", Elevated: true, Steps: [][]string{{"ss", "-K", "-t", "-n", fmt.Sprintf("sport = :%d", f.Target.Port)}},
				Interrupts: "what the two ends still have to say to each other"}
			x.Fixes = append([]Fix{cut}, stopHolders(f, s, "Stop %s, which holds it, and wait for its TIME_WAIT.")...)
			if s.Inode == 0 { // no process holds it: it goes by itself
				x.Fixes = []Fix{cut, {Do: "Wait: the kernel ends it within about a minute (net.ipv4.tcp_fin_timeout)."}}
			}
			x.Fixes = orAnother(f, x.Fixes)
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// lingers tells whether a socket is an end of a connection that stays: one that a
// process holds, or one whose other end does not close. The states between last
// for moments, and TIME_WAIT is a cause of its own.
func lingers(s facts.Socket) bool {
	switch s.State {
	case facts.Established, facts.CloseWait:
		return s.Inode != 0 && s.Local != s.Remote && s.Remote.Port() != 0
	case facts.FinWait2:
		return true
	}
	return false
}
