package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func processSituations() []situation {
	hangs := dials("127.0.0.1", facts.Connected, waiting)
	answers := dials("127.0.0.1", facts.Connected)
	silent := dials("127.0.0.1", facts.Timeout)
	full := queue(6, 5)
	held := dials("127.0.0.1", facts.Deferred)
	longLook := func(f *facts.Facts) { f.Work.ApartMS = 1500 }
	return slices.Concat(
		of(nobodyAccepts,
			row{"it waits in the queue", machine("127.0.0.1", listens("127.0.0.1", 50), hangs), says("proven 127.0.0.1", "server (pid 50)", "127.0.0.1:62893")},
			row{"the listener was not seen", machine("127.0.0.1", listens("127.0.0.1", 50), hangs, unseen(facts.GroupSockets, facts.GroupOwners)), says("proven 127.0.0.1", "The program")},
			row{"the owner cannot be seen", machine("127.0.0.1", listens("127.0.0.1", 0), hangs), says("proven 127.0.0.1", "A process of uid 1000")},
			row{"it took one, and the question waits", machine("127.0.0.1", listens("127.0.0.1", 50), answers, speaks(facts.AskHTTP, "http://127.0.0.1:62893/"), heardFrom("127.0.0.1", ends(facts.Silence, 0), leftWaiting), queueStays(0, 0)), says("proven 127.0.0.1 at answer", "took one connection", "server (pid 50)")},
			row{"it took one, and the queue moves", machine("127.0.0.1", listens("127.0.0.1", 50), answers, speaks(facts.AskHTTP, "http://127.0.0.1:62893/"), heardFrom("127.0.0.1", ends(facts.Silence, 0), leftWaiting), queueStays(0, 1)), nothing},
			row{"it took both, and is silent", machine("127.0.0.1", listens("127.0.0.1", 50), answers, speaks(facts.AskHTTP, "http://127.0.0.1:62893/"), heardFrom("127.0.0.1", ends(facts.Silence, 0), leftWaiting, func(a *facts.Answer) { a.Server.Accepted = true }), queueStays(0, 0)), nothing},
			row{"it was accepted", machine("127.0.0.1", listens("127.0.0.1", 50), answers), nothing},
			row{"the server waits for the first byte", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Deferred)), nothing},
			row{"the server waits for the first byte, and nobody takes who has sent it", machine("127.0.0.1", listens("127.0.0.1", 50, queue(1, 511)), held, queueStays(0, 0), longLook), says("proven 127.0.0.1", "server (pid 50)", "does not accept")},
			row{"it takes some of them", machine("127.0.0.1", listens("127.0.0.1", 50, queue(1, 511)), held, queueStays(0, 1), longLook), nothing},
			row{"they were watched for a moment only", machine("127.0.0.1", listens("127.0.0.1", 50, queue(1, 511)), held, queueStays(0, 0)), nothing},
			row{"they wait, and ours was taken", machine("127.0.0.1", listens("127.0.0.1", 50, queue(1, 511)), answers, queueStays(0, 0), longLook), nothing},
			row{"the server's side cannot be seen", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected, unseenServer)), nothing},
			row{"it got no answer", machine("127.0.0.1", listens("127.0.0.1", 50), silent), nothing},
		),
		of(acceptQueueFull,
			row{"one more waits than may, and the kernel says so", machine("127.0.0.1", listens("127.0.0.1", 50, full), silent, counts("127.0.0.1", 1, queueFull)), says("proven 127.0.0.1", "127.0.0.1:62893", "6 waiting, limit 5", "server (pid 50)")},
			row{"one more waits than may", machine("127.0.0.1", listens("127.0.0.1", 50, full)), says("inferred 127.0.0.1")},
			row{"in both families", machine("62893", listens("::", 50, full)), says("inferred 127.0.0.1 ::1")},
			row{"as many wait as may: one more is let in", machine("127.0.0.1", listens("127.0.0.1", 50, queue(5, 5))), nothing},
			row{"the queue cannot be seen", machine("127.0.0.1", listens("127.0.0.1", 50, noQueue)), nothing},
			row{"it is the queue of the other family", machine("127.0.0.1", listens("::1", 50, full), listens("127.0.0.1", 51)), nothing},
			row{"it is the queue of another port", machine("127.0.0.1", listens("127.0.0.1", 50, full, onPort(80))), nothing},
		),
		of(processStoppedOrDebugged,
			row{"stopped", machine("127.0.0.1", listens("127.0.0.1", 50, stopped, named("node"))), says("proven 127.0.0.1", "node (pid 50)", "127.0.0.1:62893", "stopped")},
			row{"in a debugger", machine("127.0.0.1", listens("127.0.0.1", 50, debugged("gdb", 60))), says("proven 127.0.0.1", "gdb (pid 60)")},
			row{"frozen", machine("127.0.0.1", listens("127.0.0.1", 50, frozen)), nothing},
			row{"the master and its worker are stopped", machine("127.0.0.1", listens("127.0.0.1", 50, stopped), shared(51, stopped)), says("proven 127.0.0.1", "pid 50")},
			row{"one of two listeners on the address", machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 51, stopped)), says("proven 127.0.0.1", "pid 51", "one of 2 listeners")},
			row{"the worker still runs", machine("127.0.0.1", listens("127.0.0.1", 50, stopped), shared(51)), nothing},
			row{"it sleeps, as servers do", machine("127.0.0.1", listens("127.0.0.1", 50)), nothing},
			row{"it waits for a disk", machine("127.0.0.1", listens("127.0.0.1", 50, state("D"))), nothing},
			row{"it is traced, and runs", machine("127.0.0.1", listens("127.0.0.1", 50, func(_ *facts.Socket, p *facts.Process) { p.Tracer, p.TracedBy = 60, "strace" })), nothing},
			row{"a client of the port is stopped", machine("127.0.0.1", listens("127.0.0.1", 50), holds(facts.Established, "127.0.0.1", "127.0.0.1:40000", 51, stopped)), nothing},
			row{"the listener of the other family is stopped", machine("127.0.0.1", listens("127.0.0.1", 50), listens("::1", 51, stopped)), nothing},
			row{"the owner cannot be seen", machine("127.0.0.1", listens("127.0.0.1", 0)), nothing},
		),
		of(forwarderAcceptsBackendDead,
			row{"socat closes at once", machine("127.0.0.1", listens("127.0.0.1", 50, named("socat")), dials("127.0.0.1", facts.Connected, closedBy)), says("inferred 127.0.0.1", "socat (pid 50)", "127.0.0.1:62893", "end of file")},
			row{"docker-proxy resets", machine("127.0.0.1", listens("0.0.0.0", 50, named("docker-proxy")), dials("127.0.0.1", facts.Connected, func(d *facts.Dial) { d.Closed = "reset" })), says("inferred 127.0.0.1", "docker-proxy (pid 50)", "reset")},
			row{"a program of its own right closes at once", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected, closedBy)), nothing},
			row{"socat keeps it open", machine("127.0.0.1", listens("127.0.0.1", 50, named("socat")), answers), nothing},
			row{"socat has the other family", machine("62893", listens("127.0.0.1", 50), listens("::1", 51, named("socat")), dials("127.0.0.1", facts.Connected, closedBy)), nothing},
			row{"the owner cannot be seen", machine("127.0.0.1", listens("127.0.0.1", 0), dials("127.0.0.1", facts.Connected, closedBy)), nothing},
		),
	)
}

func unseenServer(d *facts.Dial)                { d.Server = nil }
func noQueue(s *facts.Socket, _ *facts.Process) { s.Queue = nil }

func TestProcess(t *testing.T) { judge(t, processSituations()) }

func TestLettingAProcessGoOn(t *testing.T) {
	stuck := func(changes ...mark) *facts.Facts {
		return machine("127.0.0.1", listens("127.0.0.1", 50, append([]mark{stopped}, changes...)...))
	}
	prescribe(t, []cure{
		{"one's own", processStoppedOrDebugged, stuck(), []string{"run kill -CONT 50", "if 50 began at 08:00", "undo kill -STOP 50"}},
		{"somebody else's", processStoppedOrDebugged, stuck(uid(1001)), []string{"root runs kill -CONT 50", "if 50 began at 08:00", "undo kill -STOP 50"}},
		{"root's", processStoppedOrDebugged, stuck(uid(0)), []string{"root runs kill -CONT 50", "if 50 began at 08:00", "undo kill -STOP 50"}},
		{"named by an enemy", processStoppedOrDebugged, stuck(named("x) $(reboot)\n%d")), []string{"run kill -CONT 50", "if 50 began at 08:00", "undo kill -STOP 50"}},
		{"one's own, and its worker of another user", processStoppedOrDebugged, machine("127.0.0.1", listens("127.0.0.1", 50, stopped), shared(51, stopped, uid(33))),
			[]string{"root runs kill -CONT 50", "root runs kill -CONT 51", "if 50 began at 08:00", "undo kill -STOP 50", "undo kill -STOP 51"}},
		{"in a debugger: that one decides", processStoppedOrDebugged, machine("127.0.0.1", listens("127.0.0.1", 50, debugged("gdb", 60))), []string{"by hand"}},
		{"busy", nobodyAccepts, machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected, waiting)), []string{"by hand"}},
		{"full", acceptQueueFull, machine("127.0.0.1", listens("127.0.0.1", 50, queue(6, 5))), []string{"by hand", "by hand"}},
		{"forwarding to nobody", forwarderAcceptsBackendDead, machine("127.0.0.1", listens("127.0.0.1", 50, named("socat")), dials("127.0.0.1", facts.Connected, closedBy)), []string{"by hand"}},
	})
}

// A server that has as many clients as it takes is not stuck: a restart is not the first
// thing to do, and where its log says so it is none at all.
func TestLimitOfWorkers(t *testing.T) {
	const a = "127.0.0.1"
	asked := []change{speaks(facts.AskHTTP, "http://127.0.0.1:62893/"), dials(a, facts.Connected), queueStays(0, 0)}
	with := func(name string, log string, more ...change) *facts.Facts {
		cs := append([]change{listens(a, 50, named(name))}, asked...)
		return machine(a, append(append(cs, heardFrom(a, ends(facts.Silence, 0), leftWaiting, func(x *facts.Answer) {
			if log != "" {
				x.Log, x.LogFrom = []string{log}, "/e.log"
			}
		})), more...)...)
	}
	other := holds(facts.Established, a, "127.0.0.1:41000", 50)
	for name, test := range map[string]struct {
		f             *facts.Facts
		first, evid   string
		restart, more bool
	}{
		"Apache says so":                  {with("apache2", "AH00161: server reached MaxRequestWorkers setting", other), "Find who holds its workers", "AH00161", false, true},
		"another one with that log":       {with("server", "WARNING: [pool www] server reached pm.max_children setting (5)"), "Find who holds its workers", "pm.max_children", false, true},
		"Apache, and its log is not ours": {with("apache2", "", other), "It may have as many clients as it takes (MaxRequestWorkers)", "", true, true},
		"HAProxy says nothing":            {with("haproxy", "", other), "It may have as many clients as it takes (maxconn)", "", true, true},
		"HAProxy has nobody else":         {with("haproxy", ""), "See what the program is doing", "", true, false},
		"any other":                       {with("python3", "", other), "See what the program is doing", "", true, false},
	} {
		x := found(t, nobodyAccepts, test.f)[0]
		var all, evidence string
		for _, fix := range x.Fixes {
			all += fix.Do + "\n"
		}
		for _, e := range x.Evidence {
			evidence += e.Text + "\n"
		}
		if !strings.HasPrefix(all, test.first) || strings.Contains(all, "then restart it") != test.restart || strings.Contains(all, "Raise") != test.more || !strings.Contains(evidence, test.evid) {
			t.Errorf("%s: %s%s", name, all, evidence)
		}
	}
}
