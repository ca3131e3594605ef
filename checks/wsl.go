package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// WSL: Linux beside Windows, with a localhost of its own (NAT), or one that the two
// share through a device (mirrored).

// wslMode is how WSL 2 is connected to Windows: "nat", "mirrored"; empty anywhere else,
// also in a container that runs in it, and where the mode is not known.
func wslMode(f *facts.Facts) string {
	mode, ok := strings.CutPrefix(f.Host.Inside.WSL, "2 ")
	if !ok || isContained(f) {
		return ""
	}
	return mode
}

// isContained tells whether localhost is that of a container or pod.
func isContained(f *facts.Facts) bool {
	in := f.Host.Inside
	return in.Room.Kind == "container" || in.Room.Kind == "pod" || strings.HasPrefix(f.Host.Vantage, "container")
}

// signs quotes what the surroundings were told from.
func signs(f *facts.Facts) []Evidence {
	var es []Evidence
	for _, s := range f.Host.Inside.Signs {
		es = append(es, Evidence{"system", s})
	}
	return es
}

// fromOutside tells whether the client that fails is on the computer around this
// system: its error is in the words of Windows, or a browser's, which runs there.
func fromOutside(f *facts.Facts) bool {
	e := f.Target.Error
	if e == nil || !e.Failed && e.Symptom != "refused" && e.Symptom != "no-reply" && e.Symptom != "closed-at-once" {
		return false
	}
	return strings.HasPrefix(e.Errno, "WSA") || slices.Contains([]string{"Chrome", "Firefox", "Safari", "Windows"}, e.Client)
}

// leadsFromOutside tells whether this system is one to which a localhost outside leads,
// as far as somebody forwards it.
func leadsFromOutside(f *facts.Facts) bool {
	switch wslMode(f) {
	case "nat":
		return true
	case "mirrored":
		return onlyLinuxReaches(f)
	}
	return inDesktop(f) != "" && (!isContained(f) || ofTheVM(f))
}

// workingLoopback returns the addresses of loopback that work from here, where no
// process of this system was named as the client and a client elsewhere may be meant.
func workingLoopback(f *facts.Facts) []netip.Addr {
	if f.Target.Port == 0 || len(f.Host.As) == 0 || f.Host.As[0].PID != 0 || len(listeners(f)) == 0 {
		return nil
	}
	on := f.Target.Expected()
	if slices.ContainsFunc(on, func(a netip.Addr) bool { return !a.IsLoopback() || !works(f, a) }) {
		return nil
	}
	return on
}

// forwarded tells whether Windows leads its localhost to the listener: to 127.0.0.1, ::1
// and the wildcards, and to no other address (microsoft/WSL issue 41116).
func forwarded(s facts.Socket) bool {
	a := s.Local.Addr().Unmap()
	return a == v4Loopback || a == v6Loopback || a.IsUnspecified()
}

// wsl2NATLocalhost is a remark on a service that works, as browser-on-another-machine is.
var wsl2NATLocalhost = &Check{
	Name:     "wsl2-nat-localhost",
	Doc:      "a client on Windows does not reach a server in WSL 2 through its localhost",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{clientFails},
	Run: func(f *facts.Facts) []Finding {
		on := workingLoopback(f)
		in := f.Host.Inside
		if wslMode(f) != "nat" || len(on) == 0 {
			return nil
		}
		met := fromOutside(f)
		ls := listeners(f)
		x := Finding{Affects: on, Remark: !met, Certainty: Inferred, Evidence: append(signs(f), socketEvidence(f, ls[0]))}
		restart := Fix{Do: "Restart WSL: in PowerShell, wsl --shutdown, then open the distribution again.", Interrupts: "everything that runs in WSL"}
		own := Fix{Do: fmt.Sprintf("Let the server listen on 0.0.0.0, and connect from Windows to the address that hostname -I prints here, port %d.", f.Target.Port),
			Risk: "the address changes when WSL is started again, and every program on Windows can connect"}
		switch {
		case in.NoRelay != "":
			x.Certainty = Proven
			x.Summary = fmt.Sprintf("Windows does not forward its localhost:%d to WSL: %s.", f.Target.Port, in.NoRelay)
			x.Evidence = append(x.Evidence, Evidence{"configuration", in.NoRelay})
			x.Fixes = []Fix{{Do: "Remove that line, then restart WSL (in PowerShell: wsl --shutdown).", Interrupts: "everything that runs in WSL"}, own}
		case !slices.ContainsFunc(ls, forwarded):
			x.Certainty = Proven
			x.Summary = fmt.Sprintf("%s listens on %s, and Windows forwards its localhost to servers on 127.0.0.1, ::1, 0.0.0.0 and [::] only.", holder(f, ls[0]), ls[0].Local)
			x.Fixes = []Fix{{Do: fmt.Sprintf("Let the server listen on 127.0.0.1:%d.", f.Target.Port)}}
		case !met:
			if wordless(f) {
				return nil // no browser speaks to it, and who does is here as a rule
			}
			x.Summary = fmt.Sprintf("Works from here. If your client is on Windows: its localhost:%d leads here only through a forwarder of WSL (localhostForwarding), which stops now and then, after sleep or a fast start of Windows.", f.Target.Port)
			x.Fixes = []Fix{restart, own}
		default:
			x.Summary = fmt.Sprintf("%s answers here, in WSL 2, and not on Windows: what forwards localhost:%d of Windows to WSL does not do so, or another program has the port there.", ats(f, on), f.Target.Port)
			x.Settle = fmt.Sprintf("in PowerShell: Get-NetTCPConnection -State Listen -LocalPort %d (wslrelay has to be among them)", f.Target.Port)
			x.Fixes = []Fix{restart, own}
		}
		if met {
			x.Evidence = append(x.Evidence, Evidence{"client", f.Target.Error.Text})
		}
		return []Finding{x}
	},
}

// wsl2ToWindowsLocalhost: that nothing listens here does not tell that something does on
// Windows, so no-listener stays, and this is a remark. Only a program of Windows that was
// started from here, and names the port, is a reason to believe it.
var wsl2ToWindowsLocalhost = &Check{
	Name:     "wsl2-to-windows-localhost",
	Doc:      "the service runs on Windows, and localhost in WSL 2 is not that of Windows",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupCandidates},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none := slices.DeleteFunc(abandoned(f), func(a netip.Addr) bool { return !a.IsLoopback() })
		if wslMode(f) != "nat" || len(none) == 0 {
			return nil
		}
		gateway := f.Host.Inside.Gateway
		if !gateway.IsValid() {
			return nil
		}
		there := netip.AddrPortFrom(gateway, f.Target.Port)
		x := Finding{Affects: none, Certainty: Inferred, Remark: true, Evidence: signs(f),
			Summary: fmt.Sprintf("If the service runs on Windows: localhost here is that of WSL 2 alone, and Windows is at %s.", gateway),
			Settle:  fmt.Sprintf("in PowerShell: Get-NetTCPConnection -State Listen -LocalPort %d", f.Target.Port),
			Fixes: []Fix{
				{Do: fmt.Sprintf("Connect to %s, after the service on Windows listens on 0.0.0.0 or that address and the firewall of Windows lets WSL in.", there), Risk: "on 0.0.0.0 the network around Windows reaches the service as well, unless the firewall keeps it out"},
				{Do: "Write networkingMode=mirrored below [wsl2] in .wslconfig in the home directory on Windows, and restart WSL (in PowerShell: wsl --shutdown): localhost is then that of Windows, too.", Interrupts: "everything that runs in WSL"},
			}}
		if f.Candidates != nil {
			for _, c := range f.Candidates.Found {
				if exe := windowsProgram(f, c); exe != "" && len(c.Names) > 0 && !c.Gone && !c.Me {
					x.Remark = false
					x.Summary = fmt.Sprintf("%s runs on Windows, started from here (pid %d), and names port %d: it listens there, if at all, and localhost here is that of WSL 2 alone. Windows is at %s.", exe, c.PID, f.Target.Port, gateway)
					x.Since = c.Started
					x.Evidence = append(x.Evidence, Evidence{"process", fmt.Sprintf("%s, pid %d names the port in %s", exe, c.PID, mentioned(c))})
					break
				}
			}
		}
		return []Finding{x}
	},
}

// windowsProgram is the program of Windows that the process stands for: WSL lets its own
// /init run for it, with the path of the program as the first argument (binfmt_misc).
//
//	/init /mnt/c/Program Files/nodejs/node.exe node.exe server.js
func windowsProgram(f *facts.Facts, c facts.Candidate) string {
	if f.Host.Inside.WSL == "" || len(c.Args) < 2 || c.Args[0] != "/init" && !strings.HasSuffix(c.Exe, "/init") {
		return ""
	}
	for _, a := range c.Args[1:min(3, len(c.Args))] {
		if strings.HasSuffix(strings.ToLower(a), ".exe") {
			return a[strings.LastIndexAny(a, `/\`)+1:]
		}
	}
	return ""
}

// throughWindows tells whether WSL sends the packets to the address to Windows, by the
// device that it has for this.
func throughWindows(f *facts.Facts, a netip.Addr) *facts.Route {
	if f.Routes == nil || !strings.HasPrefix(f.Host.Inside.WSL, "2 ") {
		return nil
	}
	for i, r := range f.Routes.Lookups {
		if r.To == a && r.Device == "loopback0" {
			return &f.Routes.Lookups[i]
		}
	}
	return nil
}

// wsl2MirroredLoopback: packets to 127.0.0.1 leave for Windows, and the reset of a
// closed port comes back to the wrong port (microsoft/WSL issue 10855): what is refused
// everywhere else gets no answer.
var wsl2MirroredLoopback = &Check{
	Name:     "wsl2-mirrored-loopback",
	Doc:      "mirrored mode leads 127.0.0.1 of WSL through Windows, where a closed port does not refuse and other addresses are not served",
	Stage:    StageRoute,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupDials, facts.GroupRoutes},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupLedger},
	Explains: []*Check{noReply, clientFails, lostOnOutput, lostOnWire, replyLost},
	Run: func(f *facts.Facts) []Finding {
		if wslMode(f) != "mirrored" {
			return nil
		}
		var fs []Finding
		for _, d := range f.Dials {
			r := throughWindows(f, d.Addr)
			if d.Outcome != facts.Timeout || r == nil || !slices.Contains(f.Target.Expected(), d.Addr) {
				continue
			}
			// What has come back through Windows was lost on this side.
			if st, lost := lostAt(f, d); lost && (st == StageInput || st == StageReply) ||
				slices.ContainsFunc(serving(f, d.Addr), func(s facts.Socket) bool { return s.Queue.Full() }) {
				continue
			}
			x := Finding{Affects: []netip.Addr{d.Addr}, Certainty: Inferred, Brings: []*Check{noReply, lostOnOutput, lostOnWire, replyLost},
				Evidence: append(signs(f), Evidence{"route lookup", fmt.Sprintf("%s: %s dev %s", at(f, d.Addr), r.Type, r.Device)}),
				Settle:   fmt.Sprintf("curl --connect-timeout 2 127.0.0.2:%d (that address stays in Linux: a closed port refuses at once)", f.Target.Port)}
			nat := Fix{Do: "Write networkingMode=nat below [wsl2] in .wslconfig in the home directory on Windows, and restart WSL (in PowerShell: wsl --shutdown).", Interrupts: "everything that runs in WSL"}
			if ls := serving(f, d.Addr); len(ls) > 0 {
				x.Evidence = append(x.Evidence, socketEvidence(f, ls[0]))
				x.Summary = fmt.Sprintf("%s listens on %s, but WSL leads connections to %s through Windows (mirrored mode), and they do not come back.", holder(f, ls[0]), ls[0].Local, d.Addr)
				x.Fixes = []Fix{{Do: "Update WSL (in PowerShell: wsl --update), and restart it (wsl --shutdown).", Interrupts: "everything that runs in WSL"},
					{Do: fmt.Sprintf("Let server and client use another address of loopback, such as 127.0.0.2:%d: it stays in Linux.", f.Target.Port)}, nat}
			} else {
				x.Summary = fmt.Sprintf("Nothing listens on %s here, and nobody refuses: in mirrored mode WSL asks Windows, whose refusal does not find its way back. The time-out is no sign of a firewall.", at(f, d.Addr))
				x.Fixes = []Fix{{Do: "Start the server, here or on Windows: localhost is the same for both."}, nat}
			}
			fs = append(fs, x)
		}
		if len(fs) == 0 {
			fs = mirroredElsewhere(f)
		}
		return mergeAddresses(f, fs)
	},
}

// onlyLinuxReaches tells whether the server is at an address of loopback that mirrored
// mode does not share: it shares 127.0.0.1 alone.
func onlyLinuxReaches(f *facts.Facts) bool {
	return len(workingLoopback(f)) > 0 && len(serving(f, v4Loopback)) == 0
}

func mirroredElsewhere(f *facts.Facts) []Finding {
	if !onlyLinuxReaches(f) {
		return nil
	}
	on, ls, met := workingLoopback(f), listeners(f), fromOutside(f)
	x := Finding{Affects: on, Certainty: Proven, Remark: !met, Stage: StageListen, Brings: []*Check{clientFails}, Evidence: append(signs(f), socketEvidence(f, ls[0])),
		Summary: fmt.Sprintf("%s listens on %s: in mirrored mode WSL and Windows share 127.0.0.1 only, and a client on Windows does not get there.", holder(f, ls[0]), ls[0].Local),
		Fixes:   []Fix{{Do: fmt.Sprintf("Let the server listen on 127.0.0.1:%d.", f.Target.Port)}}}
	if met {
		x.Evidence = append(x.Evidence, Evidence{"client", f.Target.Error.Text})
	}
	return []Finding{x}
}

// wslMirroredBindConflict: WSL asks Windows before Linux gets a port. Older kernels do
// not list sockets that are bound and do not listen, so it is only inferred.
var wslMirroredBindConflict = &Check{
	Name:     "wsl-mirrored-bind-conflict",
	Doc:      "the port is taken or kept by Windows, with which WSL shares its ports in mirrored mode",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds},
	Uses:     []facts.Group{facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Run: func(f *facts.Facts) []Finding {
		if wslMode(f) != "mirrored" || f.Target.Port == 0 {
			return nil
		}
		taken := func(s facts.Socket) bool {
			return s.Network == f.Target.Network && s.Local.Port() == f.Target.Port
		}
		var on []netip.Addr
		for _, b := range f.Binds {
			if b.Errno == "EADDRINUSE" && (b.ReuseAddr || f.Target.Network == "udp") && slices.Contains(f.Target.Expected(), b.Addr) && !slices.Contains(on, b.Addr) {
				on = append(on, b.Addr)
			}
		}
		if len(on) == 0 || slices.ContainsFunc(f.Sockets.Sockets, taken) {
			return nil
		}
		p, proto := f.Target.Port, f.Target.Network
		return []Finding{{Affects: on, Certainty: Inferred,
			Summary:  fmt.Sprintf("bind() finds port %d in use, and no socket here has it: in mirrored mode the port is Windows' as well, where a program has it, or a range that Windows keeps for itself contains it.", p),
			Evidence: append(signs(f), Evidence{f.Sockets.From, fmt.Sprintf("no %s socket has port %d", proto, p)}),
			Settle:   fmt.Sprintf("in PowerShell: Get-Net%s -LocalPort %d; netsh int ipv4 show excludedportrange protocol=%s", cond(proto == "tcp", "TCPConnection", "UDPEndpoint"), p, proto),
			Fixes: []Fix{
				{Do: "Stop the program on Windows that has the port."},
				{Do: "If an excluded range contains it: in PowerShell as administrator, net stop winnat, then net start winnat.", Interrupts: "networks of Hyper-V, WSL and containers, for a moment"},
				{Do: fmt.Sprintf("If Windows is not meant to share this port: write ignoredPorts=%d below [experimental] in .wslconfig, and restart WSL (wsl --shutdown).", p), Interrupts: "everything that runs in WSL"},
				anotherPort(f),
			}}}
	},
}
