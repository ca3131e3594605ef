package checks

import (
	"slices"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func startedAt(since time.Duration) mark {
	return func(_ *facts.Socket, p *facts.Process) { p.Started = morning.Add(-since) }
}

func inContainerNo(id string) mark {
	return func(_ *facts.Socket, p *facts.Process) { p.Container = "docker " + id }
}

func lacksIts(what string) mark { return func(_ *facts.Socket, p *facts.Process) { p.Deleted = what } }

func shadowSituations() []situation {
	const minute = time.Minute
	return slices.Concat(
		of(shadowSpecificVsWildcard,
			row{"another program has all addresses", machine("127.0.0.1", listens("127.0.0.1", 50, named("node")), listens("0.0.0.0", 60, named("python3"))), says("remark 127.0.0.1", "node (pid 50)", "127.0.0.1:62893", "python3 (pid 60)", "0.0.0.0:62893")},
			row{"all addresses of both families", machine("62893", listens("127.0.0.1", 50, named("node")), listens("::", 60, named("python3"))), says("remark 127.0.0.1", "[::]:62893")},
			row{"of IPv6", machine("62893", listens("::1", 50, named("node")), listens("::", 60, named("python3"), v6only)), says("remark ::1", "[::1]:62893")},
			row{"two of one command, an hour apart", machine("127.0.0.1", listens("127.0.0.1", 50), listens("0.0.0.0", 60, startedAt(minute))), says("remark 127.0.0.1")},
			row{"a worker and its parent", machine("127.0.0.1", listens("127.0.0.1", 50, named("master")), listens("0.0.0.0", 60, childOf(50))), nothing},
			row{"two workers of one parent", machine("127.0.0.1", listens("127.0.0.1", 50, childOf(40)), listens("0.0.0.0", 60, childOf(40), startedAt(minute))), nothing},
			row{"two programs of one unit", machine("127.0.0.1", listens("127.0.0.1", 50, named("node"), inUnit("web.service")), listens("0.0.0.0", 60, inUnit("web.service"))), nothing},
			row{"two programs in one login session", machine("127.0.0.1", listens("127.0.0.1", 50, named("node"), inUnit("session-3.scope")), listens("0.0.0.0", 60, inUnit("session-3.scope"))), says("remark 127.0.0.1")},
			row{"one owner is hidden", machine("127.0.0.1", listens("127.0.0.1", 50, named("node")), listens("0.0.0.0", 0)), nothing},
			row{"another loopback address", machine("127.0.0.1", listens("127.0.0.53", 50, named("resolved")), listens("0.0.0.0", 60)), nothing},
			row{"the other family", machine("127.0.0.1", listens("127.0.0.1", 50, named("node")), listens("::", 60, v6only)), nothing},
			row{"one program has both", machine("127.0.0.1", listens("127.0.0.1", 50), listens("0.0.0.0", 50)), nothing},
		),
		of(shadowV4V6Split,
			row{"one for each family", machine("62893", listens("127.0.0.1", 50, named("node")), listens("::1", 60, named("python3"))), says("remark 127.0.0.1 ::1", "node (pid 50)", "python3 (pid 60)")},
			row{"wildcards", machine("localhost", listens("0.0.0.0", 50, named("node")), listens("::", 60, named("python3"), v6only)), says("remark 127.0.0.1 ::1", "localhost:62893 is two programs")},
			row{"an address was named", machine("127.0.0.1", listens("127.0.0.1", 50, named("node")), listens("::1", 60)), nothing},
			row{"one program has both", machine("62893", listens("127.0.0.1", 50), listens("::1", 50)), nothing},
			row{"one listener for both", machine("62893", listens("::", 50)), nothing},
			row{"a process for each, of one command at one time", machine("62893", listens("127.0.0.1", 50), listens("::1", 60)), nothing},
			row{"docker-proxy has one for each", machine("62893", listens("0.0.0.0", 50, named("docker-proxy"), childOf(40)), listens("::", 60, named("docker-proxy"), childOf(40), v6only)), nothing},
			row{"IPv4 alone", machine("62893", listens("127.0.0.1", 50)), nothing},
		),
		of(reuseportStaleTwin,
			row{"an older one of the same command", machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 60, startedAt(minute))), says("proven 127.0.0.1", "server (pid 50)", "newer server (pid 60)")},
			row{"an older one whose directory is gone", machine("127.0.0.1", listens("127.0.0.1", 50, lacksIts("its directory"), startedAt(2*time.Second)), listens("127.0.0.1", 60, startedAt(time.Second))), says("proven 127.0.0.1", "server (pid 50)")},
			row{"the older one is stopped", machine("127.0.0.1", listens("127.0.0.1", 50, stopped), listens("127.0.0.1", 60, startedAt(minute)), dials("127.0.0.1", facts.Connected)), says("proven 127.0.0.1", "accepts nothing")},
			row{"workers of one parent, one of them new", machine("127.0.0.1", listens("127.0.0.1", 50, childOf(40)), listens("127.0.0.1", 60, childOf(40), startedAt(minute))), nothing},
			row{"old and new of one unit", machine("127.0.0.1", listens("127.0.0.1", 50, inUnit("web.service")), listens("127.0.0.1", 60, inUnit("web.service"), startedAt(minute))), nothing},
			row{"instances of one template", machine("127.0.0.1", listens("127.0.0.1", 50, inUnit("web@1.service")), listens("127.0.0.1", 60, inUnit("web@2.service"), startedAt(minute))), nothing},
			row{"two units", machine("127.0.0.1", listens("127.0.0.1", 50, inUnit("old.service")), listens("127.0.0.1", 60, inUnit("new.service"), startedAt(minute))), says("proven 127.0.0.1", "old.service")},
			row{"replicas in containers", machine("127.0.0.1", listens("127.0.0.1", 50, inContainerNo("a")), listens("127.0.0.1", 60, inContainerNo("b"), startedAt(minute))), nothing},
			row{"a new one that the old one has started", machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 60, childOf(50), startedAt(minute))), nothing},
			row{"several of one command, started together", machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 60)), nothing},
			row{"one owner is hidden", machine("127.0.0.1", listens("127.0.0.1", 0), listens("127.0.0.1", 60, startedAt(minute))), nothing},
			row{"another address", machine("127.0.0.1", listens("0.0.0.0", 50), listens("127.0.0.1", 60, startedAt(minute))), nothing},
			row{"one listener", machine("127.0.0.1", listens("127.0.0.1", 50)), nothing},
		),
	)
}

func TestShadows(t *testing.T) { judge(t, shadowSituations()) }

// A stopped twin is the cause only where it is the older generation.
func TestStaleTwinBesideItsKind(t *testing.T) {
	ok := dials("127.0.0.1", facts.Connected)
	young := startedAt(time.Minute)
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 60, young), ok), "works", "remark reuseport-stale-twin")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50, stopped), listens("127.0.0.1", 60, young), ok), "partly", "active reuseport-stale-twin proven")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 60, young, stopped), ok), "partly", "active process-stopped-or-debugged proven", "remark reuseport-stale-twin")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50, childOf(40), stopped), listens("127.0.0.1", 60, childOf(40)), ok), "partly", "active process-stopped-or-debugged proven")
}

func TestMendingTwins(t *testing.T) {
	prescribe(t, []cure{
		{"the older one goes", reuseportStaleTwin, machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 60, startedAt(time.Minute))),
			[]string{"run kill -TERM 50", "if 50 began at 08:00"}},
		{"a stopped one has to go on before it ends", reuseportStaleTwin, machine("127.0.0.1", listens("127.0.0.1", 50, stopped), listens("127.0.0.1", 60, startedAt(time.Minute))),
			[]string{"run kill -TERM 50", "run kill -CONT 50", "if 50 began at 08:00"}},
	})
}
