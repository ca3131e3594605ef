package report

import (
	"net/netip"
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The cases are small on purpose: each shows one thing that a report has to
// word. The golden files are named after them.

var (
	noon = time.Date(2026, 5, 13, 14, 7, 30, 0, time.FixedZone("", 2*3600))
	v4   = netip.MustParseAddr("127.0.0.1")
	v6   = netip.MustParseAddr("::1")
	lan  = netip.MustParsePrefix("192.168.1.5/24")
)

var cases = map[string]Run{
	"works":      works(),
	"filter":     filter(),
	"partly":     partly(),
	"twousers":   twoUsers(),
	"candidates": candidates(),
	"open":       unexplained(),
	"hosts":      hostsFile(),
	"bind":       bind(),
	"free":       free(),
	"udp":        udp(),
	"several":    {Version: "1.2.3", Facts: append(works().Facts, filter().Facts...), Diagnoses: append(works().Diagnoses, filter().Diagnoses...)},
	"loopback":   loopback(),
	"hostile":    hostile(),
	"blind":      blind(),
	"said":       clientSaid(),
	"healed":     healed(),
	"ran":        clientRan(),
	"failed":     {Version: "1.2.3", Facts: works().Facts, Diagnoses: []*checks.Diagnosis{nil}},
}

func run(f *facts.Facts, d *checks.Diagnosis) Run {
	return Run{Version: "1.2.3", Facts: []*facts.Facts{f}, Diagnoses: []*checks.Diagnosis{d}}
}

func check(name string, st checks.Stage) *checks.Check { return &checks.Check{Name: name, Stage: st} }

// seen is a healthy machine with one listener, and a target on it.
func seen() *facts.Facts {
	return &facts.Facts{
		Time: noon, ElapsedMS: 12.5,
		Target: facts.Target{Raw: "62893", Network: "tcp", Host: "localhost", Port: 62893, Intent: facts.Connect, Addresses: []facts.Address{
			{Addr: v4, Source: "hosts file line 2", Expected: true}, {Addr: v6, Source: "hosts file line 3"}}},
		Host: facts.Host{OS: "linux", Kernel: "6.18.44", Arch: "amd64", Vantage: "host", As: []facts.Identity{{UID: 1000, User: "alice"}}},
		Names: &facts.Names{Name: "localhost",
			Hosts: facts.HostsFile{Path: "/etc/hosts", Lines: []facts.HostsLine{{Line: 2, Addr: v4, Text: "127.0.0.1 localhost"}, {Line: 3, Addr: v6, Text: "::1 localhost"}}},
			Addresses: []facts.NamedAddr{
				{Addr: v4, Source: "hosts file line 2"}, {Addr: v6, Source: "hosts file line 3"}}},
		Interfaces: &facts.Interfaces{
			Loopback: &facts.Interface{Name: "lo", Index: 1, Up: true, MTU: 65536, Qdisc: "noqueue",
				Addresses: []netip.Prefix{netip.PrefixFrom(v4, 8), netip.PrefixFrom(v6, 128)}},
			Others: []facts.Interface{{Name: "eth0", Index: 2, Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("fe80::5/64"), lan}}},
			IPv6:   facts.IPv6State{Present: true},
		},
		Routes: &facts.Routes{Lookups: []facts.Route{{To: v4, Type: "local", Device: "lo", Source: v4}}},
		Dials: []facts.Dial{
			{Addr: v4, As: 1000, Outcome: facts.Connected, ElapsedMS: 0.21, Server: &facts.ServerSide{Local: netip.AddrPortFrom(v4, 62893), Accepted: true}},
			{Addr: v6, As: 1000, Outcome: facts.Refused, Errno: "ECONNREFUSED", ElapsedMS: 0.05}},
		Sockets: &facts.Sockets{From: "sock_diag", Sockets: []facts.Socket{listener(v4, 62893, 77)}},
		Owners:  owners(),
	}
}

func listener(a netip.Addr, port uint16, inode uint64) facts.Socket {
	return facts.Socket{Network: "tcp", State: facts.Listen, Local: netip.AddrPortFrom(a, port), UID: 1000, Inode: inode, Queue: &facts.Queue{Limit: 5}}
}

func owners() *facts.Owners {
	return &facts.Owners{
		Processes: []facts.Process{{PID: 4121, Name: "python3", Exe: "/usr/bin/python3.13", UID: 1000, User: "alice", Started: noon.Add(-3 * time.Hour)}},
		Holders:   map[uint64][]facts.Holder{77: {{PID: 4121, FD: 3, Attribution: facts.ByDescriptor}}},
		Complete:  true,
	}
}

func works() Run {
	return run(seen(), &checks.Diagnosis{Verdict: checks.Works, Passed: []string{"no-listener", "lo-down", "accept-queue-full"},
		Remarks: []checks.Finding{{Check: check("v6-first-v4-only-server", checks.StageListen), Affects: []netip.Addr{v6}, Certainty: checks.Proven,
			Summary: "Clients that try ::1 first and do not fall back are refused: the server has 127.0.0.1 only.",
			Fixes:   []checks.Fix{{Do: "Let such a client use 127.0.0.1:62893, or make the server listen on ::1 too."}}}}})
}

func filter() Run {
	f := seen()
	f.Dials = []facts.Dial{{Addr: v4, As: 1000, Outcome: facts.Timeout, Errno: "ETIMEDOUT", ElapsedMS: 1000}}
	f.Ledger = []facts.Ledger{{Addr: v4, SYNs: 32}}
	f.Packets = &facts.Packets{Dropped: 1, Conversations: []facts.Conversation{{Network: "tcp",
		Client: netip.MustParseAddrPort("127.0.0.1:41230"), Server: netip.AddrPortFrom(v4, 62893),
		Packets: []facts.Packet{{FromClient: true, Flags: "S", Out: true, In: true}, {At: time.Second, FromClient: true, Flags: "S", Out: true}}}}}
	c := checks.Finding{Check: check("filter-drops-loopback", checks.StageInput), Affects: []netip.Addr{v4}, Certainty: checks.Proven,
		Summary: "A packet filter drops the connection on its way in.", Since: noon.Add(-5 * time.Minute),
		Evidence: []checks.Evidence{
			{Source: "rule", Text: "inet guard i, handle 4: tcp dport @bad counter drop"},
			{Source: "packets", Text: "SYN on lo from 127.0.0.1:41230, no reply"},
			{Source: "listener", Text: "127.0.0.1:62893 is open: python3 (pid 4121), accept queue 0 of 5"}},
		Fixes: []checks.Fix{
			{Do: "Accept loopback traffic ahead of that rule.", Steps: [][]string{{"nft", "-ae", "insert", "rule", "inet", "guard", "i", "handle", "4", "iif", "lo", "accept"}},
				Undo: [][]string{{"nft", "delete", "rule", "inet", "guard", "i", "handle", checks.PrintedHandle}}, Elevated: true, Lasts: checks.UntilReboot},
			{Do: "Take the port out of the set.", Steps: [][]string{{"nft", "delete", "element", "inet", "guard", "bad", "{ 62893 }"}}, Elevated: true,
				Lasts: checks.UntilReboot, Risk: "other machines can then reach port 62893 too"}}}
	l := checks.Finding{Check: check("process-stopped-or-debugged", checks.StageAccept), Certainty: checks.Proven,
		Summary:  "python3 (pid 4121) is stopped and accepts nothing.",
		Evidence: []checks.Evidence{{Source: "/proc/4121/stat", Text: "state T"}},
		Fixes: []checks.Fix{{Do: "Let it go on.", Steps: [][]string{{"kill", "-CONT", "4121"}}, Interrupts: "a debugging session of alice, if there is one",
			Guard: &checks.Process{PID: 4121, Started: noon.Add(-3 * time.Hour)}}}}
	return run(f, &checks.Diagnosis{Verdict: checks.Broken,
		Symptoms: []checks.Symptom{{Finding: checks.Finding{Check: check("no-reply", checks.StageInput), Affects: []netip.Addr{v4}, Certainty: checks.Proven,
			Summary: "127.0.0.1:62893 does not reply."}, ExplainedBy: []string{"filter-drops-loopback"}}},
		Causes: []checks.Cause{{Finding: c, State: checks.Active, Consequences: []checks.Consequence{{Name: "no-reply", Affects: []netip.Addr{v4}}}},
			{Finding: l, State: checks.Latent}},
		NotChecked: []checks.NotChecked{{Name: "other-network-namespace", Reason: "needs root"}},
		Passed:     []string{"no-listener", "lo-down"}})
}

func partly() Run {
	f := seen()
	f.Target.Addresses[1].Expected = true
	return run(f, &checks.Diagnosis{Verdict: checks.Partly,
		Symptoms: []checks.Symptom{{Finding: checks.Finding{Check: check("refused", checks.StageListen), Affects: []netip.Addr{v6}}, ExplainedBy: []string{"v4-only-server-v6-client"}}},
		Causes: []checks.Cause{{State: checks.Active, Finding: checks.Finding{Check: check("v4-only-server-v6-client", checks.StageListen), Affects: []netip.Addr{v6},
			Certainty: checks.Proven, Summary: "The server listens on 127.0.0.1 only, and you asked for ::1."}}}})
}

func twoUsers() Run {
	f := filter().Facts[0]
	f.Host.As = []facts.Identity{{UID: 1000, User: "alice"}, {UID: 0, User: "root"}}
	f.Dials = append(f.Dials, facts.Dial{Addr: v4, As: 0, Outcome: facts.Connected, ElapsedMS: 0.1})
	d := *filter().Diagnoses[0]
	d.Verdict, d.Causes = checks.Partly, d.Causes[:1]
	return run(f, &d)
}

func candidates() Run {
	f := filter().Facts[0]
	f.Ledger, f.Packets = nil, nil
	return run(f, &checks.Diagnosis{Verdict: checks.Broken,
		Symptoms: filter().Diagnoses[0].Symptoms,
		Causes: []checks.Cause{{State: checks.Active, Candidates: []string{"filter-drops-loopback", "legacy-and-nft-split"}, Finding: checks.Finding{
			Check: check("lost-on-input", checks.StageInput), Summary: "The kernel loses the connection on its way in.",
			Evidence: []checks.Evidence{{Source: "counters", Text: "32 SYNs crossed lo (lo.tx +32, InReceives +32) and none reached TCP (InSegs +0, InDelivers +0)"}},
			Settle:   "sudo loopdoctor 62893"}}},
		NotChecked: []checks.NotChecked{
			{Name: "a", Reason: "needs root", Remedy: "run with sudo"}, {Name: "b", Reason: "needs root", Remedy: "run with sudo"},
			{Name: "c", Reason: "needs root", Remedy: "run with sudo"}, {Name: "d", Reason: "needs root", Remedy: "run with sudo"},
			{Name: "e", Reason: "needs root", Remedy: "run with sudo"}, {Name: "f", Reason: "no tracing here"}}})
}

func unexplained() Run {
	f := seen()
	return run(f, &checks.Diagnosis{Verdict: checks.Broken, Symptoms: []checks.Symptom{{Finding: checks.Finding{Check: check("closed-at-once", checks.StageAnswer),
		Affects: []netip.Addr{v4}, Summary: "127.0.0.1:62893 accepts and closes at once.", Evidence: []checks.Evidence{{Source: "connect", Text: "end of file after 0.3 ms"}},
		Settle: "loopdoctor http://localhost:62893/"}}}})
}

func hostsFile() Run {
	f := seen()
	f.Dials, f.Sockets.Sockets = nil, nil
	f.Names.Addresses, f.Names.Error = nil, "not found"
	f.Binds = []facts.Bind{{Addr: v4, As: 1000}, {Addr: v4, As: 1000, ReuseAddr: true}}
	return run(f, &checks.Diagnosis{Verdict: checks.Broken,
		Symptoms: []checks.Symptom{{Finding: checks.Finding{Check: check("name-not-resolved", checks.StageResolve)}, ExplainedBy: []string{"hosts-localhost-missing"}}},
		Causes: []checks.Cause{{State: checks.Active, Finding: checks.Finding{Check: check("hosts-localhost-missing", checks.StageResolve), Certainty: checks.Proven,
			Summary:  "The hosts file has no line for localhost.",
			Evidence: []checks.Evidence{{Source: "/etc/hosts", Text: "no line names localhost"}},
			Fixes: []checks.Fix{{Do: "Add the lines.", Files: []checks.File{{Path: "/etc/hosts", Append: "127.0.0.1 localhost\n::1 localhost\n"}},
				Undo: [][]string{{"sed", "-i", "/^\\(127.0.0.1\\|::1\\) localhost$/d", "/etc/hosts"}}, Elevated: true, Lasts: checks.Persistent}}}}}})
}

func bind() Run {
	f := seen()
	f.Target = facts.Target{Raw: "127.0.0.1:62893", Network: "tcp", Host: "127.0.0.1", Port: 62893, Intent: facts.ToBind, Named: true, Literal: true,
		Addresses: []facts.Address{{Addr: v4, Source: "named", Expected: true}}}
	f.Dials = nil
	f.Binds = []facts.Bind{{Addr: v4, As: 1000, Errno: "EADDRINUSE"}, {Addr: v4, As: 1000, ReuseAddr: true, Errno: "EADDRINUSE"}}
	return run(f, &checks.Diagnosis{Verdict: checks.Broken,
		Symptoms: []checks.Symptom{{Finding: checks.Finding{Check: check("cannot-bind", checks.StageBind)}, ExplainedBy: []string{"port-held-by-other-app"}}},
		Causes: []checks.Cause{{State: checks.Active, Finding: checks.Finding{Check: check("port-held-by-other-app", checks.StageBind), Certainty: checks.Proven,
			Summary:  "python3 (pid 4121, alice) listens on 127.0.0.1:62893 since 11:07.",
			Evidence: []checks.Evidence{{Source: "socket", Text: "127.0.0.1:62893 listen: python3 (pid 4121)"}},
			Fixes: []checks.Fix{{Do: "Stop python3 (pid 4121).", Steps: [][]string{{"kill", "4121"}}, Lasts: checks.UntilReboot, Interrupts: "whatever python3 is doing",
				Guard: &checks.Process{PID: 4121, Started: noon.Add(-3 * time.Hour)}}}}}}})
}

func free() Run {
	f := bind().Facts[0]
	f.Sockets.Sockets = nil
	f.Binds = []facts.Bind{{Addr: v4, As: 1000}}
	return run(f, &checks.Diagnosis{Verdict: checks.Works})
}

func udp() Run {
	f := seen()
	f.Target.Network, f.Target.Port = "udp", 53
	f.Dials = []facts.Dial{{Addr: v4, As: 1000, Outcome: facts.Skipped}}
	f.Sockets.Sockets[0] = facts.Socket{Network: "udp", State: facts.Bound, Local: netip.AddrPortFrom(v4, 53), UID: 101}
	return run(f, &checks.Diagnosis{Verdict: checks.Unknown})
}

// blind is what is left without netlink, privileges or leave to connect.
func blind() Run {
	f := seen()
	f.Target.Addresses = f.Target.Addresses[:1]
	f.Absent = map[facts.Group]facts.Absence{
		facts.GroupDials:  {Why: facts.NotWanted, Reason: "--no-connect"},
		facts.GroupOwners: {Why: facts.CouldNot, Reason: "needs root", Remedy: "run with sudo"}}
	f.Dials, f.Owners, f.Names, f.Interfaces, f.Routes = nil, nil, nil, nil, nil
	f.Sockets.From, f.Sockets.Partial = "/proc/net/tcp", "no accept queue limits"
	return run(f, &checks.Diagnosis{Verdict: checks.Unknown})
}

func loopback() Run {
	f := seen()
	f.Target = facts.Target{Addresses: []facts.Address{{Addr: v4, Source: "loopback", Expected: true}, {Addr: v6, Source: "loopback", Expected: true}}}
	f.Dials, f.Sockets = nil, nil
	f.Owners.Complete = false
	hidden := listener(netip.IPv4Unspecified(), 22, 0)
	hidden.UID = 0
	dns := facts.Socket{Network: "udp", State: facts.Bound, Local: netip.AddrPortFrom(v4, 53), UID: 101}
	vrf := listener(netip.IPv4Unspecified(), 8080, 77)
	vrf.Device = "eth0"
	f.Listeners = &facts.Sockets{From: "sock_diag", Sockets: []facts.Socket{listener(v4, 62893, 77), hidden, dns, vrf,
		listener(netip.IPv6Unspecified(), 22, 0), listener(lan.Addr(), 9090, 77)}}
	return run(f, &checks.Diagnosis{Verdict: checks.Works, Passed: []string{"lo-down", "lo-v4-address-missing"}})
}

// evil is what a process, a rule or a banner may call itself.
const evil = "\x1b]0;pwned\x07\x1b[2J\u202egnp\u2066.exe\u200b\xff\x9b31m\u009b \u2028`` ``` | <script>alert(1)</script> &amp; [x](javascript:alert(1)) @all #1 http://evil.example/ www.evil.example *b* _i_ ~s~ \r\n## owned\n$(reboot)"

func hostile() Run {
	f := seen()
	f.Host.Vantage, f.Host.Kernel, f.Host.As[0].User = evil, evil, evil
	f.Target.Host, f.Target.Raw = evil, evil
	f.Target.Addresses[0].Source = evil
	f.Target.Addresses = append(f.Target.Addresses, facts.Address{Addr: netip.MustParseAddr("fe80::1").WithZone("\x1b[31m"), Expected: true})
	f.Sockets.Sockets[0].Device, f.Sockets.From, f.Sockets.Partial = evil, evil, evil
	p := &f.Owners.Processes[0]
	p.Name, p.Exe, p.User, p.Unit, p.Container = evil, evil, evil, evil, evil
	f.Names.Error, f.Names.Addresses[0].Source = evil, evil
	f.Dials[0].Errno, f.Dials[0].Outcome = evil, facts.Outcome(evil)
	f.Packets = &facts.Packets{Conversations: []facts.Conversation{{Packets: []facts.Packet{{Flags: evil, ICMP: evil}}}}}
	x := checks.Finding{Check: check("no-listener", checks.StageListen), Summary: evil, Settle: "echo " + evil,
		Evidence: []checks.Evidence{{Source: evil, Text: evil}},
		Fixes: []checks.Fix{
			{Do: evil, Steps: [][]string{{"kill", evil}}, Risk: evil, Interrupts: evil},
			{Do: "Add it.", Steps: [][]string{{"echo", "$(reboot) ``` <b> `id` '; reboot"}}, Files: []checks.File{{Path: "/etc/a b", Append: "50% \\n\n```\n"}}, Elevated: true}}}
	return run(f, &checks.Diagnosis{Verdict: checks.Broken, Symptoms: []checks.Symptom{{Finding: x}},
		Causes: []checks.Cause{{Finding: x, State: checks.Active, Candidates: []string{evil}}}, Remarks: []checks.Finding{x},
		NotChecked: []checks.NotChecked{{Name: evil, Reason: evil, Remedy: evil}}, Passed: []string{evil}})
}
