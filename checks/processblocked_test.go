package checks

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// atWork adds two looks, 120 ms apart, at what process pid does.
func atWork(pid int, changes ...func(*facts.Worker)) change {
	return func(f *facts.Facts) {
		if f.Work == nil {
			f.Work = &facts.Work{ApartMS: 120}
		}
		w := facts.Worker{PID: pid, State: "S", Threads: 1, Waits: map[string]int{}}
		for _, c := range changes {
			c(&w)
		}
		f.Work.Processes = append(f.Work.Processes, w)
	}
}

// waitsIn is where its threads wait, one each.
func waitsIn(functions ...string) func(*facts.Worker) {
	return func(w *facts.Worker) {
		w.Threads = max(w.Threads, len(functions))
		for _, in := range functions {
			w.Waits[in]++
		}
		w.WaitsIn = functions[0]
	}
}
func busyFor(tid int, ms float64) func(*facts.Worker) {
	return func(w *facts.Worker) {
		w.State, w.CPUMS, w.Busiest = "R", ms, &facts.Thread{TID: tid, Name: "loop", CPUMS: ms}
	}
}
func tireless(tid int, ms float64) func(*facts.Worker) {
	return func(w *facts.Worker) { busyFor(tid, ms)(w); w.Busiest.Tireless = true }
}
func inKernel(function string) func(*facts.Worker) {
	return func(w *facts.Worker) { w.State, w.Stuck, w.StuckIn = "D", 1, function }
}
func hides(what string) func(*facts.Worker) {
	return func(w *facts.Worker) { w.NotSeen = []string{what}; w.Waits = map[string]int{"": w.Threads} }
}
func withThreads(n int) func(*facts.Worker) { return func(w *facts.Worker) { w.Threads = n } }

// queueStays: somebody waits at both looks at the n-th socket.
func queueStays(n int, left int) change {
	return func(f *facts.Facts) {
		if f.Work == nil {
			f.Work = &facts.Work{ApartMS: 120}
		}
		q := facts.Queue{Length: 1, Limit: 5}
		f.Work.Queues = append(f.Work.Queues, facts.QueueAt{Inode: f.Sockets.Sockets[n].Inode, Before: q, Queue: q})
		f.Work.Left = left
	}
}

// asks adds a question to which nothing came.
func asks(to string, unread uint32, changes ...func(*facts.Answer)) change {
	return func(f *facts.Facts) {
		f.Target.Speak = facts.AskHTTP
		a := facts.Answer{Addr: netip.MustParseAddr(to), As: 1000, Question: facts.AskHTTP, Sent: 78, End: facts.Silence, ElapsedMS: 1000,
			Server: &facts.ServerSide{Local: addr(to), State: "established", Inode: 7, Accepted: true, Unread: unread}}
		for _, c := range changes {
			c(&a)
		}
		f.Answers = append(f.Answers, a)
	}
}
func gotAnswer(a *facts.Answer) { a.End, a.Bytes, a.Protocol = facts.Answered, 20, "http/1.1" }

func processBlockedSituations() []situation {
	here := listens("127.0.0.1", 50, named("node"))
	hangs := dials("127.0.0.1", facts.Connected, waiting)
	fine := dials("127.0.0.1", facts.Connected)
	m := func(changes ...change) *facts.Facts { return machine("127.0.0.1", changes...) }
	both := []change{listens("127.0.0.1", 50, childOf(40)), listens("127.0.0.1", 51, childOf(40))}
	return slices.Concat(
		of(eventLoopOrWorkersBlocked,
			row{"the only thread runs all the time", m(here, hangs, atWork(50, busyFor(50, 119))), says("proven 127.0.0.1", "node (pid 50)", "its only thread ran for 119 of 120 ms")},
			row{"on a busy machine", m(here, hangs, atWork(50, withThreads(7), tireless(50, 12))), says("proven 127.0.0.1", "its main thread ran for 12 of 120 ms and stood in the queue")},
			row{"it hardly ran at all", m(here, hangs, atWork(50, tireless(50, 2))), says("inferred 127.0.0.1")},
			row{"another thread runs", m(here, hangs, atWork(50, withThreads(7), busyFor(53, 119))), says("inferred 127.0.0.1", "its thread loop (53)")},
			row{"the queue is full", m(listens("127.0.0.1", 50, queue(6, 5)), dials("127.0.0.1", facts.Timeout), atWork(50, busyFor(50, 119))), says("proven 127.0.0.1")},
			row{"it sleeps", m(here, hangs, atWork(50, waitsIn("hrtimer_nanosleep"))), says("proven 127.0.0.1", "its only thread sleeps (hrtimer_nanosleep)")},
			row{"a deadlock", m(here, hangs, atWork(50, waitsIn("futex_do_wait", "futex_do_wait", "do_wait"))), says("proven 127.0.0.1", "of its 3 threads 2 wait for a lock or another thread (futex_do_wait) and 1 wait for a child to end")},
			row{"it waits for a database", m(here, hangs, atWork(50, waitsIn("wait_woken"))), says("proven 127.0.0.1", "data of another connection")},
			row{"a function that nobody knows", m(here, hangs, atWork(50, waitsIn("frobnicate"))), says("proven 127.0.0.1", "waits in the kernel (frobnicate)")},
			row{"a dead file server", m(here, hangs, atWork(50, inKernel("nfs_wait_bit_killable"))), says("proven 127.0.0.1", "state D", "file server (NFS)")},
			row{"state D, and no more is to be seen", m(here, hangs, atWork(50, inKernel(""))), says("proven 127.0.0.1", "a disk, a file server or a device")},
			row{"its main thread has ended", m(here, hangs, atWork(50, waitsIn("hrtimer_nanosleep"), func(w *facts.Worker) { w.Headless, w.State = true, "Z" })), says("proven 127.0.0.1", "its main thread has ended")},
			row{"a worker, whose parent looks on", m(listens("127.0.0.1", 50, named("gunicorn")), shared(51, childOf(50), named("gunicorn")), hangs, atWork(50, waitsIn("do_select")), atWork(51, waitsIn("wait_woken"))), says("proven 127.0.0.1", "gunicorn (pid 51)")},
			row{"a worker, whose reloader waits for it", m(listens("127.0.0.1", 50, named("flask")), shared(51, childOf(50), named("flask")), hangs, atWork(50, waitsIn("do_wait")), atWork(51, waitsIn("hrtimer_nanosleep"))), says("proven 127.0.0.1", "of pid 51, its only thread sleeps")},
			row{"a helper, for which the server waits", m(listens("127.0.0.1", 50, named("app")), shared(51, childOf(50), named("helper")), hangs, atWork(50, waitsIn("do_wait")), atWork(51, waitsIn("hrtimer_nanosleep"))), says("proven 127.0.0.1", "of pid 50, its only thread waits for a child")},
			row{"a helper, whose parent is the server", m(listens("127.0.0.1", 50, named("app")), shared(51, childOf(50), named("helper")), hangs, atWork(50, waitsIn("do_select")), atWork(51, waitsIn("wait_woken"))), says("inferred 127.0.0.1", "helper (pid 51)")},
			row{"all workers", m(here, shared(51), hangs, atWork(50, waitsIn("wait_woken")), atWork(51, busyFor(51, 118))), says("proven 127.0.0.1", "with 2 processes")},
			row{"one of two listeners", m(append(both, fine, atWork(50, waitsIn("ep_poll")), atWork(51, waitsIn("wait_woken")), queueStays(1, 0))...), says("proven 127.0.0.1", "pid 51", "one of 2 listeners")},
			row{"it took the question and is at work", m(here, fine, asks("127.0.0.1", 0), atWork(50, busyFor(50, 119))), says("inferred 127.0.0.1 at answer")},
			row{"a question that nobody took", m(here, asks("127.0.0.1", 78, func(a *facts.Answer) { a.Server.Accepted = false }), atWork(50, busyFor(50, 119))), says("proven 127.0.0.1")},

			row{"it is busy and accepts", m(here, fine, atWork(50, busyFor(50, 119))), nothing},
			row{"it waits for events of something else", m(here, hangs, atWork(50, waitsIn("ep_poll"))), nothing},
			row{"one of its threads does", m(here, hangs, atWork(50, waitsIn("futex_do_wait", "futex_do_wait", "do_epoll_wait"))), nothing},
			row{"where it waits cannot be seen", m(here, hangs, atWork(50, hides("where it waits (needs root)"))), nothing},
			row{"one of its threads cannot be seen", m(here, hangs, atWork(50, withThreads(2), waitsIn("wait_woken"))), nothing},
			row{"it ran and waited", m(here, hangs, atWork(50, busyFor(50, 40))), nothing},
			row{"another worker might accept", m(here, shared(51), hangs, atWork(50, waitsIn("wait_woken")), atWork(51, waitsIn("inet_csk_accept"))), nothing},
			row{"it is frozen", m(listens("127.0.0.1", 50, frozen), hangs, atWork(50, waitsIn("get_signal"))), nothing},
			row{"it may be frozen: nobody could look", m(here, hangs, atWork(50, waitsIn("get_signal"))), nothing},
			row{"a program that never listens has it", m(listens("127.0.0.1", 50, runs("/usr/bin/sleep", "60")), hangs, atWork(50, waitsIn("hrtimer_nanosleep"))), nothing},
			row{"its cgroup holds it back", m(here, hangs, atWork(50, tireless(50, 1), throttledAt(1, 1))), nothing},
			row{"one of two listeners moves", m(append(both, fine, atWork(50, waitsIn("ep_poll")), atWork(51, waitsIn("wait_woken")), queueStays(1, 1))...), nothing},
			row{"it answers", m(here, fine, asks("127.0.0.1", 0, gotAnswer), atWork(50, busyFor(50, 119))), nothing},
		),
		of(acceptsNeverReads,
			row{"not a byte", m(here, fine, asks("127.0.0.1", 78)), says("proven 127.0.0.1", "node (pid 50)", "none of the 78 bytes")},
			row{"nobody could look", m(here, fine, asks("127.0.0.1", 78), unseen(facts.GroupSockets, facts.GroupOwners)), says("proven 127.0.0.1", "The program")},
			row{"it has read", m(here, fine, asks("127.0.0.1", 0)), nothing},
			row{"it has read some", m(here, fine, asks("127.0.0.1", 40)), nothing},
			row{"it was not accepted", m(here, hangs, asks("127.0.0.1", 78, func(a *facts.Answer) { a.Server.Accepted = false })), nothing},
			row{"another question is gotAnswer", m(here, fine, asks("127.0.0.1", 78), asks("127.0.0.1", 0, gotAnswer, func(a *facts.Answer) { a.With = "Host: x" })), nothing},
			row{"the server's side cannot be seen", m(here, fine, asks("127.0.0.1", 78, func(a *facts.Answer) { a.Server = nil })), nothing},
		),
		of(readsNeverAnswers,
			row{"all of it", m(here, fine, asks("127.0.0.1", 0)), says("inferred 127.0.0.1", "node (pid 50)", "78 bytes", "1000 ms")},
			row{"some of it", m(here, fine, asks("127.0.0.1", 40)), says("inferred 127.0.0.1")},
			row{"none of it", m(here, fine, asks("127.0.0.1", 78)), nothing},
			row{"it answers", m(here, fine, asks("127.0.0.1", 0, gotAnswer)), nothing},
			row{"nothing was asked", m(here, fine, asks("127.0.0.1", 0, func(a *facts.Answer) { a.Sent = 0 })), nothing},
		),
	)
}

func TestProcessBlocked(t *testing.T) { judge(t, processBlockedSituations()) }

// The three ways in which a program says nothing are told apart, and what explains one
// of them heads the report.
func TestSilencesAreToldApart(t *testing.T) {
	here, fine := listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected)
	hangs := dials("127.0.0.1", facts.Connected, waiting)
	for _, c := range []struct {
		facts *facts.Facts
		want  string
	}{
		{machine("127.0.0.1", here, hangs), "active nobody-accepts proven"},
		{machine("127.0.0.1", here, fine, asks("127.0.0.1", 78)), "active accepts-never-reads proven"},
		{machine("127.0.0.1", here, fine, asks("127.0.0.1", 0)), "active reads-never-answers inferred"},
		{machine("127.0.0.1", here, fine, asks("127.0.0.1", 0), atWork(50, busyFor(50, 119))), "active event-loop-or-workers-blocked inferred"},
		{machine("127.0.0.1", listens("127.0.0.1", 50, stopped), hangs, asks("127.0.0.1", 78, func(a *facts.Answer) { a.Server.Accepted = false })), "active process-stopped-or-debugged proven"},
	} {
		if got := told(Diagnose(c.facts))[1:]; !slices.Equal(got, []string{c.want}) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
