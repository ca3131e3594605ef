package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A listening socket that outlived its server: it holds the port, and takes
// connections that nobody accepts.

// neverListen are programs that never listen on a TCP port themselves. One that
// holds a listening socket has inherited it.
var neverListen = []string{"sleep", "tail", "head", "cat", "tee", "less", "more", "grep", "sed", "sort", "wc", "dd", "find", "xargs", "cp", "tar", "gzip", "xz",
	"sh", "bash", "dash", "ash", "ksh", "mksh", "fish", "csh", "tcsh", "env", "nohup", "setsid", "timeout", "watch", "script", "make", "su", "sudo",
	"curl", "wget", "ping", "ssh-agent", "gpg-agent", "inotifywait", "top", "htop", "man", "pager", "tini", "dumb-init"}

// multicall are programs that are many in one: their name tells which one runs.
var multicall = []string{"busybox", "coreutils", "toybox"}

func stranger(p facts.Process) bool {
	base := p.Exe[strings.LastIndexByte(p.Exe, '/')+1:]
	return slices.Contains(neverListen, base) || slices.Contains(multicall, base) && slices.Contains(neverListen, p.Name)
}

// leftInChild tells whether everybody who holds the socket is such a program.
func leftInChild(f *facts.Facts, s facts.Socket) bool {
	ps := f.Owners.Of(s)
	return len(ps) > 0 && f.Owners.Seen(s) && !slices.ContainsFunc(ps, func(p facts.Process) bool { return !stranger(p) })
}

var orphanListenerInChild = &Check{
	Name:     "orphan-listener-in-child",
	Doc:      "the server is gone, but a child that inherited its listening socket keeps it open",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupBinds, facts.GroupDials},
	Explains: []*Check{cannotBind, notAccepted, nobodyAccepts, acceptQueueFull},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on, stage := touched(f, s)
			if len(on) == 0 || !leftInChild(f, s) || f.Target.Intent == facts.ToBind && holdOf(f, s) != heldByChild {
				continue
			}
			p := f.Owners.Of(s)[0]
			x := Finding{Affects: on, Stage: stage, Certainty: cond(f.Owners.Visible, Proven, Inferred), Since: p.Started, Evidence: heldEvidence(f, s)}
			x.Summary = fmt.Sprintf("%s holds the listening socket %s and is no server: it inherited the socket from the program that opened it, which no longer has it.", holder(f, s), s.Local)
			x.Fixes = append(stopAll(f, s), Fix{Do: "So that it does not come back: have the server open its sockets with SOCK_CLOEXEC (FD_CLOEXEC), and end its children with it (systemd: KillMode=control-group, the default)."})
			if x.Certainty == Inferred {
				x.Settle = "sudo loopdoctor " + cond(f.Target.Intent == facts.ToBind, "--bind ", "") + at(f, on[0])
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var listenerWithoutOwner = &Check{
	Name:     "listener-without-owner",
	Doc:      "a socket listens on the port, and no process holds it",
	Stage:    StageBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupBinds, facts.GroupDials},
	Explains: []*Check{cannotBind, notAccepted, nobodyAccepts, acceptQueueFull},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		all := listeners(f)
		for _, s := range all {
			on, stage := touched(f, s)
			if len(on) == 0 || s.Inode == 0 || len(f.Owners.Of(s)) > 0 || !f.Owners.Visible {
				continue
			}
			x := Finding{Affects: on, Stage: stage, Certainty: cond(f.Owners.Complete, Proven, Inferred),
				Evidence: []Evidence{socketEvidence(f, s), {"processes", fmt.Sprintf("no descriptor of any process leads to the socket (inode %d)", s.Inode)}}}
			where := "it may be on its way in a message (SCM_RIGHTS), in an io_uring, or the kernel's own (NFS, ksmbd, iSCSI)"
			if !f.Owners.Complete {
				where = "it is held outside of this PID namespace, or is on its way in a message (SCM_RIGHTS), or in an io_uring"
				x.Settle = fmt.Sprintf("sudo ss -tlnpe 'sport = :%d'", f.Target.Port)
			}
			x.Summary = fmt.Sprintf("%s listens, opened by %s, but none of the processes that can be seen holds it: %s.", s.Local, user(s.UID, s.User), where)
			x.Fixes = []Fix{{Do: "Restart the program that passes its sockets on, or that was to receive this one (ss -xp shows UNIX sockets with something in their queues)."}}
			if len(all) == 1 {
				x.Fixes = append([]Fix{{Do: "Close the socket from outside.", Elevated: true, Interrupts: "whoever still waits for the socket",
					Steps: [][]string{{"ss", "-K", "-t", "-l", "-n", fmt.Sprintf("sport = :%d", f.Target.Port)}}}}, x.Fixes...)
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// touched returns the addresses at which such a listener is felt: that cannot be
// bound, or at which connections stay in its queue. There it is what stands behind
// a program that does not accept, so it acts before it.
func touched(f *facts.Facts, s facts.Socket) ([]netip.Addr, Stage) {
	if f.Target.Intent == facts.ToBind {
		return bindsLostTo(f, s), StageBind
	}
	var on []netip.Addr
	for _, a := range f.Target.Expected() {
		waits := s.Queue.Full() || slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && unanswered(d) })
		if s.Serves(a) && waits {
			on = append(on, a)
		}
	}
	return on, StageListen
}

// stopAll ends everybody who holds the socket, at once: a shell that ends leaves
// its child behind.
func stopAll(f *facts.Facts, s facts.Socket) []Fix {
	fix := Fix{Do: "Stop " + holder(f, s) + ", then start the server again."}
	for _, p := range f.Owners.Of(s) {
		if p.Me || p.PID == 1 {
			continue
		}
		one := signal(f, p, "TERM", fix.Do)
		if len(fix.Steps) == 0 {
			fix.Guard, fix.Risk, fix.Interrupts = one.Guard, one.Risk, one.Interrupts
		}
		fix.Steps = append(fix.Steps, one.Steps...)
		fix.Elevated = fix.Elevated || one.Elevated
	}
	if len(fix.Steps) == 0 {
		return []Fix{{Do: "Leave the shell that loopdoctor runs in: it has inherited the socket."}}
	}
	return []Fix{fix}
}
