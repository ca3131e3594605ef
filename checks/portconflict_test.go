package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func portConflictSituations() []situation {
	taken := binds("127.0.0.1", "EADDRINUSE", true)
	mine := inDirectory("/home/ann/shop")
	return slices.Concat(
		of(portHeldByOtherApp,
			row{"nginx has it", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, named("nginx")), taken), says("proven 127.0.0.1", "nginx (pid 50)", "127.0.0.1:62893")},
			row{"nginx has it on all addresses", machine("127.0.0.1", toBind, listens("::", 50, named("nginx")), taken), says("proven 127.0.0.1", "[::]:62893")},
			row{"nginx has 127.0.0.1, and all addresses are wanted", machine("62893", wildcards, listens("127.0.0.1", 50), binds("0.0.0.0", "EADDRINUSE", true), binds("::", "EADDRINUSE", true)), says("proven 0.0.0.0 ::")},
			row{"a container has it", machine("127.0.0.1", toBind, listens("0.0.0.0", 50, container), taken), says("proven 127.0.0.1", "docker 0123456789ab")},
			row{"somebody has it who cannot be seen", machine("127.0.0.1", toBind, listens("127.0.0.1", 0), taken), says("proven 127.0.0.1", "A process of uid 1000")},
			row{"nginx has it in the other family", machine("127.0.0.1", toBind, listens("::1", 50), taken), nothing},
			row{"nginx has it, and shares it (SO_REUSEPORT)", machine("127.0.0.1", toBind, listens("127.0.0.1", 50), binds("127.0.0.1", "", true)), nothing},
			row{"it fails for want of a right", machine("127.0.0.1", toBind, listens("127.0.0.1", 50), binds("127.0.0.1", "EACCES", true)), nothing},
			row{"nginx has another port", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, onPort(80)), taken), nothing},
			row{"it is for UDP", machine("127.0.0.1", toBind, udp(facts.Bound, "127.0.0.1", "", 50), taken), nothing},
			row{"the question is who can connect", machine("127.0.0.1", listens("127.0.0.1", 50), taken), nothing},
		),
		of(staleOwnDevServer,
			row{"the same directory", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, named("node"), mine, childOf(900)), taken), says("proven 127.0.0.1", "node (pid 50)", "127.0.0.1:62893", "/home/ann/shop")},
			row{"and its shell is gone", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, mine), taken, seenFrom("host")), says("proven 127.0.0.1", "the shell that started it is gone")},
			row{"another directory", machine("127.0.0.1", toBind, listens("127.0.0.1", 50), taken), nothing},
			row{"the same directory, another user", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, mine, uid(1001)), taken), nothing},
			row{"the same directory, in a container", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, mine, container), taken), nothing},
			row{"the directory of every daemon", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, inDirectory("/")), taken, startedIn("/")), nothing},
			row{"neither directory is known", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, inDirectory("")), taken, startedIn("")), nothing},
			row{"the port can be taken", machine("127.0.0.1", toBind, listens("127.0.0.1", 50, mine), binds("127.0.0.1", "", true)), nothing},
			row{"the owner cannot be seen", machine("127.0.0.1", toBind, listens("127.0.0.1", 0), taken), nothing},
		),
		of(ephemeralClientHoldsPort,
			row{"curl was given the port", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.Established, "127.0.0.1", "127.0.0.1:5432", 50, named("curl")), taken), says("proven 127.0.0.1", "curl (pid 50)", "127.0.0.1:62893", "127.0.0.1:5432")},
			row{"a client still knocks with it", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.SynSent, "127.0.0.1", "192.0.2.1:443", 50), taken), says("proven 127.0.0.1", "192.0.2.1:443")},
			row{"both ends could be the temporary one", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.Established, "127.0.0.1", "127.0.0.1:40000", 50), taken), says("inferred 127.0.0.1")},
			row{"the port is none of the temporary ones", machine("127.0.0.1", toBind, holds(facts.Established, "127.0.0.1", "127.0.0.1:5432", 50), taken), nothing},
			row{"something listens there: those are its clients", machine("127.0.0.1", toBind, ephemeral(32768, 65535), listens("127.0.0.1", 51), holds(facts.Established, "127.0.0.1", "127.0.0.1:5432", 51), taken), nothing},
			row{"it met itself", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.Established, "127.0.0.1", "127.0.0.1:62893", 50), taken), nothing},
			row{"it is over", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:5432", 0), taken), nothing},
			row{"the port can be taken", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.Established, "127.0.0.1", "127.0.0.1:5432", 50), binds("127.0.0.1", "", true)), nothing},
			row{"the client has another address", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.Established, "192.0.2.7", "192.0.2.1:443", 50), taken), nothing},
		),
		of(lingeringConnectionBlocksBind,
			row{"the server closed, and its client has not", machine("127.0.0.1", toBind, holds(facts.FinWait2, "127.0.0.1", "127.0.0.1:40001", 0), taken), says("proven 127.0.0.1", "127.0.0.1:62893", "127.0.0.1:40001", "fin-wait-2", "nobody can take the port")},
			row{"a worker still talks, and the listener is gone", machine("127.0.0.1", toBind, holds(facts.Established, "127.0.0.1", "127.0.0.1:40001", 50), taken), says("proven 127.0.0.1", "established", "server (pid 50)")},
			row{"the new one alone would have to set SO_REUSEADDR", machine("127.0.0.1", toBind, holds(facts.CloseWait, "127.0.0.1", "127.0.0.1:40001", 50), binds("127.0.0.1", "", true), binds("127.0.0.1", "EADDRINUSE", false)), says("remark 127.0.0.1", "SO_REUSEADDR")},
			row{"something listens there: those are its clients", machine("127.0.0.1", toBind, listens("127.0.0.1", 51), holds(facts.Established, "127.0.0.1", "127.0.0.1:40001", 51), taken), nothing},
			row{"a client was given the port", machine("127.0.0.1", toBind, ephemeral(32768, 65535), holds(facts.Established, "127.0.0.1", "127.0.0.1:5432", 50), taken), nothing},
			row{"it is in TIME_WAIT, which has a name of its own", machine("127.0.0.1", toBind, holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0), taken), nothing},
			row{"nothing fails", machine("127.0.0.1", toBind, holds(facts.FinWait2, "127.0.0.1", "127.0.0.1:40001", 0), binds("127.0.0.1", "", true), binds("127.0.0.1", "", false)), nothing},
			row{"it is of the other family", machine("127.0.0.1", toBind, holds(facts.FinWait2, "::1", "[::1]:40001", 0), taken), nothing},
		),
		of(timeWaitBlocksBind,
			row{"the last run set no SO_REUSEADDR", machine("127.0.0.1", toBind, holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0, left(31_500)), taken, binds("127.0.0.1", "EADDRINUSE", false)), says("proven 127.0.0.1", "another 32 s", "62893")},
			row{"the new one alone would have to set it", machine("127.0.0.1", toBind, holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0, left(31_500)), binds("127.0.0.1", "", true), binds("127.0.0.1", "EADDRINUSE", false)), says("remark 127.0.0.1", "SO_REUSEADDR")},
			row{"the longest of several counts", machine("127.0.0.1", toBind, holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0, left(1000)), holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40002", 0, left(9000)), taken), says("proven 127.0.0.1", "2 connections", "another 9 s")},
			row{"nothing fails", machine("127.0.0.1", toBind, holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0), binds("127.0.0.1", "", true), binds("127.0.0.1", "", false)), nothing},
			row{"something listens there", machine("127.0.0.1", toBind, listens("127.0.0.1", 50), holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0), taken), nothing},
			row{"something is bound there", machine("127.0.0.1", toBind, holds(facts.Bound, "127.0.0.1", "", 50), holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0), taken), nothing},
			row{"they are of another port", machine("127.0.0.1", toBind, holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:62893", 0, onPort(40001)), taken), nothing},
			row{"they are of the other family", machine("127.0.0.1", toBind, holds(facts.TimeWait, "::1", "[::1]:40001", 0), taken), nothing},
		),
		of(privilegedPort,
			row{"below the first free one", machine("127.0.0.1", toBind, privilegedBelow(63000), binds("127.0.0.1", "EACCES", true)), says("proven 127.0.0.1", "62893", "63000", "uid 1000")},
			row{"the first free one itself", machine("127.0.0.1", toBind, privilegedBelow(port), binds("127.0.0.1", "EACCES", true)), nothing},
			row{"root may", machine("127.0.0.1", toBind, privilegedBelow(63000, 0), bindsAs(0, "127.0.0.1", "", true)), nothing},
			row{"something else forbids it", machine("127.0.0.1", toBind, privilegedBelow(63000, 1000), binds("127.0.0.1", "EACCES", true)), nothing},
			row{"it is taken", machine("127.0.0.1", toBind, privilegedBelow(63000), taken), nothing},
			row{"root may and ann may not", machine("127.0.0.1", toBind, clients(0, 1000), privilegedBelow(63000, 0), bindsAs(0, "127.0.0.1", "", true), binds("127.0.0.1", "EACCES", true)), says("proven 127.0.0.1", "uid 1000")},
		),
	)
}

func seenFrom(vantage string) change { return func(f *facts.Facts) { f.Host.Vantage = vantage } }

// In a container process 1 is the parent of much that nobody forgot.
func TestProcessOneOfAContainerIsNoProofOfAnOrphan(t *testing.T) {
	f := machine("127.0.0.1", toBind, seenFrom("container"), listens("127.0.0.1", 50, inDirectory("/home/ann/shop")), binds("127.0.0.1", "EADDRINUSE", true))
	if x := found(t, staleOwnDevServer, f)[0]; strings.Contains(x.Summary, "gone") {
		t.Error(x.Summary)
	}
}

func startedIn(dir string) change { return func(f *facts.Facts) { f.Host.Cwd = dir } }

func TestPortConflict(t *testing.T) { judge(t, portConflictSituations()) }

func TestFreeingAPort(t *testing.T) {
	taken := binds("127.0.0.1", "EADDRINUSE", true)
	client := holds(facts.Established, "127.0.0.1", "127.0.0.1:5432", 50)
	waits := holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0, left(31_500))
	prescribe(t, []cure{
		{"somebody else's", portHeldByOtherApp, machine("127.0.0.1", toBind, listens("127.0.0.1", 50, uid(33)), taken),
			[]string{"root runs kill -TERM 50", "if 50 began at 08:00", "by hand"}},
		{"a stopped one, which has to go on to end", portHeldByOtherApp, machine("127.0.0.1", toBind, listens("127.0.0.1", 50, stopped), taken),
			[]string{"run kill -TERM 50", "run kill -CONT 50", "if 50 began at 08:00", "by hand"}},
		{"what loopdoctor itself runs in", portHeldByOtherApp, machine("127.0.0.1", toBind, listens("127.0.0.1", 50, ancestor), taken), []string{"by hand", "by hand"}},
		{"an earlier run", staleOwnDevServer, machine("127.0.0.1", toBind, listens("127.0.0.1", 50, inDirectory("/home/ann/shop")), taken),
			[]string{"run kill -TERM 50", "if 50 began at 08:00", "by hand"}},
		{"nothing is reserved yet", ephemeralClientHoldsPort, machine("127.0.0.1", toBind, ephemeral(32768, 65535), client, taken),
			[]string{`root runs ss -K -t -n "sport = :62893"`, "root runs kill -TERM 50", "if 50 began at 08:00", "root runs sysctl -w net.ipv4.ip_local_reserved_ports=62893", "undo sysctl -w net.ipv4.ip_local_reserved_ports=", "lasts until reboot"}},
		{"what is reserved stays so", ephemeralClientHoldsPort, machine("127.0.0.1", toBind, ephemeral(32768, 65535), reserved("5000,6000-6010"), client, taken),
			[]string{`root runs ss -K -t -n "sport = :62893"`, "root runs kill -TERM 50", "if 50 began at 08:00", "root runs sysctl -w net.ipv4.ip_local_reserved_ports=5000,6000-6010,62893", "undo sysctl -w net.ipv4.ip_local_reserved_ports=5000,6000-6010", "lasts until reboot"}},
		{"a worker that lingers", lingeringConnectionBlocksBind, machine("127.0.0.1", toBind, holds(facts.Established, "127.0.0.1", "127.0.0.1:40001", 50), taken),
			[]string{`root runs ss -K -t -n "sport = :62893"`, "run kill -TERM 50", "if 50 began at 08:00"}},
		{"nobody's connection lingers", lingeringConnectionBlocksBind, machine("127.0.0.1", toBind, holds(facts.FinWait2, "127.0.0.1", "127.0.0.1:40001", 0), taken),
			[]string{`root runs ss -K -t -n "sport = :62893"`, "by hand"}},
		{"the last run", timeWaitBlocksBind, machine("127.0.0.1", toBind, waits, taken),
			[]string{`root runs ss -K -t -n state time-wait "sport = :62893"`, "by hand"}},
		{"a low port", privilegedPort, machine("127.0.0.1", toBind, privilegedBelow(63000), binds("127.0.0.1", "EACCES", true)),
			[]string{"by hand", "root runs sysctl -w net.ipv4.ip_unprivileged_port_start=62893", "undo sysctl -w net.ipv4.ip_unprivileged_port_start=63000", "lasts until reboot", "by hand"}},
	})
}

func TestLongCommandLineIsCut(t *testing.T) {
	long := strings.Repeat("x", 300)
	if got := words(facts.Process{Name: "node", Args: []string{"node", long}}); len(got) > 130 || !strings.HasSuffix(got, "…") {
		t.Errorf("got %d bytes ending in %q", len(got), got[len(got)-4:])
	}
	if got := words(facts.Process{Name: "node"}); got != "node" {
		t.Errorf("got %q for a process whose arguments cannot be read, want its name", got)
	}
}

// Of two listeners on one address the port is free once both have gone.
func TestEachHolderHasToGo(t *testing.T) {
	taken := binds("127.0.0.1", "EADDRINUSE", true)
	both := found(t, portHeldByOtherApp, machine("127.0.0.1", toBind, listens("127.0.0.1", 50), listens("127.0.0.1", 60), taken))
	one := found(t, portHeldByOtherApp, machine("127.0.0.1", toBind, listens("127.0.0.1", 50), taken))
	if len(both) != 2 || len(one) != 1 {
		t.Fatalf("%d and %d findings", len(both), len(one))
	}
	for _, x := range both {
		if !strings.Contains(x.Fixes[0].Risk, "each of them has to go") {
			t.Errorf("%s: risk %q", x.Summary, x.Fixes[0].Risk)
		}
	}
	if strings.Contains(one[0].Fixes[0].Risk, "each of them") {
		t.Errorf("risk %q", one[0].Fixes[0].Risk)
	}
}
