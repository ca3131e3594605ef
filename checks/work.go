package checks

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What the processes behind a listener do, in words that all checks share.

// kept tells whether somebody waits in vain at the listener: our connection, or those
// of others. Of several listeners on the address it has to be this one.
func kept(f *facts.Facts, a netip.Addr, s facts.Socket) bool {
	if s.Queue.Full() {
		return true
	}
	if serversAt(f, a) > 1 {
		return f.Work.Stays(s)
	}
	return slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && unanswered(d) && !redirected(f, d) }) ||
		slices.ContainsFunc(f.Answers, func(x facts.Answer) bool { return x.Addr == a && saysNothing(f, x) && !x.Server.Accepted })
}

// saysNothing tells whether a question got no answer, and the server's side of its
// connection was seen.
func saysNothing(f *facts.Facts, a facts.Answer) bool {
	return a.End == facts.Silence && a.Bytes == 0 && a.With == "" && a.Sent > 0 && a.Server != nil && a.Server.Local.Port() == f.Target.Port
}

// unanswering returns the first question that got no answer from an application that
// holds the connection; nil if there is none, or if it answered another one: that speaks
// another protocol.
func unanswering(f *facts.Facts, a netip.Addr) *facts.Answer {
	var none *facts.Answer
	for i, x := range f.Answers {
		switch {
		case x.Addr != a:
		case x.Bytes > 0:
			return nil
		case x.Unacked > 0 && x.Server != nil && x.Server.Unread > 0 && x.Unsent == x.Unacked: // it fills the buffer itself
			if none == nil && saysNothing(f, x) && x.Server.Accepted {
				none = &f.Answers[i]
			}
		case x.Unacked > 0, x.Server != nil && x.Server.Unacked > 0: // the application has no part in it
			return nil
		case none == nil && saysNothing(f, x) && x.Server.Accepted:
			none = &f.Answers[i]
		}
	}
	return none
}

// acceptors returns the processes that are to accept: those that hold the listener,
// without the parents of others, which only look after them. alike is false where
// somebody was left out who may be another program than those that are left.
func acceptors(f *facts.Facts, s facts.Socket) (ps []facts.Process, alike bool) {
	all := f.Owners.Of(s)
	alike = true
	for _, p := range all {
		i := slices.IndexFunc(all, func(q facts.Process) bool { return q.PPID == p.PID && q.PID != p.PID })
		if i >= 0 {
			alike = alike && all[i].Name == p.Name && all[i].Exe == p.Exe
			continue
		}
		ps = append(ps, p)
	}
	return ps, alike
}

// brought is what a program that does not accept brings about: no reply at all only
// where its queue is full.
func brought(s facts.Socket) []*Check {
	list := []*Check{notAccepted, acceptQueueFull, noAnswer}
	if s.Queue.Full() {
		list = append(list, noReply)
	}
	return list
}

// waits are functions of the kernel in which a thread waits, by the beginning of their
// names, and what it waits for; "" may be a new connection. Names change from one version to the next; what is in
// no line is told by its name.
var waits = []struct{ of, text string }{
	{"inet_csk_accept", ""}, {"ep_poll", ""}, {"do_epoll", ""}, {"do_select", ""}, {"core_sys_select", ""}, {"do_pselect", ""}, {"poll_schedule_timeout", ""}, {"do_poll", ""},
	{"do_sys_poll", ""}, {"do_ppoll", ""}, {"io_cqring_wait", ""}, {"io_wq_worker", ""}, {"unix_accept", ""}, {"schedule_hrtimeout_range", ""},
	// It is stopped or frozen, and waits for whatever it did before.
	{"do_signal_stop", ""}, {"ptrace_stop", ""}, {"get_signal", ""}, {"do_freezer", ""}, {"__refrigerator", ""},
	{"hrtimer_nanosleep", "sleeps"}, {"do_nanosleep", "sleeps"}, {"common_nsleep", "sleeps"},
	{"futex_", "waits for a lock or another thread"}, {"__futex", "waits for a lock or another thread"},
	{"wait_woken", "waits for data of another connection"}, {"sk_wait_data", "waits for data of another connection"}, {"tcp_recvmsg", "waits for data of another connection"}, {"sk_stream_wait_memory", "waits until somebody takes its data"},
	{"unix_stream", "waits for data of a UNIX socket"}, {"unix_wait", "waits for another program's UNIX socket"}, {"__skb_wait", "waits for data of a socket"}, {"inet_stream_connect", "waits for a connection of its own"}, {"__inet_stream_connect", "waits for a connection of its own"},
	{"pipe_", "waits at a pipe"}, {"anon_pipe", "waits at a pipe"}, {"fifo_open", "waits at a pipe"}, {"wait_for_partner", "waits at a pipe"},
	{"do_wait", "waits for a child to end"}, {"kernel_wait", "waits for a child to end"}, {"wait_for_vfork", "waits for a child that has not started its program"}, {"kernel_clone", "waits for a child that has not started its program"},
	{"flock", "waits for a lock of a file"}, {"fcntl_setlk", "waits for a lock of a file"}, {"posix_lock", "waits for a lock of a file"}, {"locks_lock", "waits for a lock of a file"},
	{"n_tty_read", "waits for input from its terminal"},
	{"sigsuspend", "waits for a signal"}, {"do_sigtimedwait", "waits for a signal"}, {"do_pause", "waits for a signal"},
	{"nfs", "waits for a file server (NFS)"}, {"rpc_", "waits for a file server (NFS)"}, {"cifs", "waits for a file server (SMB)"}, {"smb", "waits for a file server (SMB)"}, {"wait_for_response", "waits for a file server (SMB)"},
	{"request_wait_answer", "waits for a file system in user space (FUSE)"}, {"fuse", "waits for a file system in user space (FUSE)"},
	{"io_schedule", "waits for a disk"}, {"folio_wait", "waits for a disk"}, {"wait_on_page", "waits for a disk"}, {"bit_wait_io", "waits for a disk"}, {"blk_", "waits for a disk"}, {"jbd2", "waits for a disk"}, {"ext4", "waits for a disk"}, {"xfs", "waits for a disk"}, {"btrfs", "waits for a disk"},
	{"mem_cgroup", "waits for memory of its cgroup"},
}

// waitsFor says what a thread waits for, and whether that may be a new connection.
func waitsFor(in string) (text string, events bool) {
	for _, w := range waits {
		if strings.HasPrefix(in, w.of) {
			if w.text == "" {
				return "waits for events (" + in + ")", true
			}
			return fmt.Sprintf("%s (%s)", w.text, in), false
		}
	}
	return "waits in the kernel (" + in + ")", false
}

// allWait says what all threads of a process wait for, if none of them waits for
// events, or may.
func allWait(w *facts.Worker) (string, bool) {
	n := 0
	var texts []string
	for _, in := range slices.SortedFunc(maps.Keys(w.Waits), func(a, b string) int {
		return cmp.Or(cmp.Compare(w.Waits[b], w.Waits[a]), strings.Compare(a, b))
	}) {
		text, events := waitsFor(in)
		if in == "" || events {
			return "", false
		}
		n += w.Waits[in]
		texts = append(texts, cond(w.Threads == 1, text, fmt.Sprintf("%d %s", w.Waits[in], strings.Replace(strings.Replace(text, "waits", "wait", 1), "sleeps", "sleep", 1))))
	}
	if n == 0 || n < w.Threads || len(w.NotSeen) > 0 {
		return "", false
	}
	if w.Threads == 1 {
		return "its only thread " + texts[0], true
	}
	if len(texts) > 3 {
		texts = append(texts[:2], "the rest elsewhere")
	}
	return fmt.Sprintf("of its %d threads %s", w.Threads, list(texts)), true
}

// workEvidence quotes the two looks.
func workEvidence(f *facts.Facts, w *facts.Worker) []Evidence {
	text := fmt.Sprintf("pid %d: state %s, %s", w.PID, w.State, plural(w.Threads, "thread"))
	if f.Work.ApartMS > 0 {
		text += fmt.Sprintf(", %.0f ms of processor time in %.0f ms", w.CPUMS, f.Work.ApartMS)
	}
	if w.WaitsIn != "" {
		text += ", waits in " + w.WaitsIn
	}
	es := []Evidence{{"process", text}}
	if len(w.NotSeen) > 0 {
		es = append(es, Evidence{"process", "not seen: " + list(w.NotSeen)})
	}
	return es
}

// queueEvidence quotes the listener at both looks.
func queueEvidence(f *facts.Facts, s facts.Socket) Evidence {
	e := socketEvidence(f, s)
	if f.Work != nil {
		for _, q := range f.Work.Queues {
			if q.Inode == s.Inode && s.Queue != nil && f.Work.ApartMS > 0 && q.Before.Length+q.Queue.Length > 0 {
				e.Text = strings.Replace(e.Text, fmt.Sprintf("accept queue %d of %d", s.Queue.Length, s.Queue.Limit),
					fmt.Sprintf("accept queue %d of %d, and %d after %.0f ms", q.Before.Length, q.Before.Limit, q.Queue.Length, f.Work.ApartMS), 1)
			}
		}
	}
	return e
}

// oneOf ends the summary of what concerns one of several listeners.
func oneOf(f *facts.Facts, a netip.Addr) string {
	if n := serversAt(f, a); n > 1 {
		return fmt.Sprintf(" It is one of %d listeners that share the address, so only a part of the connections hangs.", n)
	}
	return ""
}
