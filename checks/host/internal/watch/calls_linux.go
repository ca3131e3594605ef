package watch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// key is a descriptor of a process. Threads share theirs.
type key struct{ pid, fd int }

// connection is one that the client has begun.
type connection struct {
	facts.Attempt
	since   time.Time
	pending bool // connect() has not said yet how it ended
}

// call is a system call whose end is of interest.
type call struct {
	nr  uint64
	key key
	at  uint64         // where the answer will be
	to  netip.AddrPort // of bind()
}

// native are the numbers of linux/audit.h for the systems that loopdoctor is built
// for: the numbers of system calls are those of this one.
var native = map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}[runtime.GOARCH]

// sysOpen is open(2), which arm64 does not have.
var sysOpen = map[string]uint64{"amd64": 2, "arm64": 1 << 31}[runtime.GOARCH]

// systemCall looks at the begin or the end of one. It is true for a thread that has
// to be let go.
func (t *tracer) systemCall(tid int, th *thread) (letGo bool) {
	i, err := info(tid)
	switch {
	case err != nil:
		t.record.note("The kernel does not tell system calls apart (it is older than 5.3).")
		return true
	case i.Arch != native:
		if i.Op == opEntry {
			t.record.note("A program for another kind of processor was started (32 bit, perhaps), and its connects could not be seen.")
		}
		return false
	case i.Op == opExit:
		if th.call != nil {
			c := *th.call
			th.call = nil
			t.ends(tid, c, int64(i.NR))
		}
		return false
	case i.Op != opEntry:
		return false
	}
	th.call = nil
	switch i.NR {
	case unix.SYS_CONNECT:
		t.connects(tid, th, i)
	case unix.SYS_BIND:
		// Port 0 is whichever is free.
		if to, path := sockaddr(memory(tid, i.Args[1], int(min(i.Args[2], 128)))); path == "" && to.IsValid() && to.Port() != 0 {
			th.call = &call{nr: i.NR, key: t.key(tid, th, i), to: to}
		}
	case unix.SYS_GETSOCKOPT:
		if i.Args[1] != unix.SOL_SOCKET || i.Args[2] != unix.SO_ERROR {
			return false
		}
		if k := t.key(tid, th, i); t.open[k] != nil {
			th.call = &call{nr: i.NR, key: k, at: i.Args[3]}
		}
	case unix.SYS_CLOSE:
		if len(t.open) > 0 {
			t.finish(t.key(tid, th, i))
		}
	case unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG:
		if t.udp == 0 {
			return false
		}
		if k := t.key(tid, th, i); t.open[k] != nil && t.open[k].Network == "udp" {
			th.call = &call{nr: i.NR, key: k}
		}
	case unix.SYS_OPENAT:
		t.opens(tid, th, i.Args[1])
	case sysOpen:
		t.opens(tid, th, i.Args[0])
	case unix.SYS_EXECVE, unix.SYS_EXECVEAT:
		return t.execs(tid, th, i)
	case unix.SYS_PTRACE:
		if i.Args[0] == unix.PTRACE_TRACEME { // it can have one tracer only: its own comes first
			t.record.note("A debugger was started; what runs under it could not be watched.")
			return true
		}
	case unix.SYS_IO_URING_SETUP:
		t.record.note(fmt.Sprintf("%s uses io_uring: connects that it makes by that could not be seen.", program(t.process(tid, th))))
	}
	return false
}

func (t *tracer) key(tid int, th *thread, i syscallInfo) key {
	return key{t.process(tid, th), int(int32(i.Args[0]))}
}

// connects begins to follow a connection.
func (t *tracer) connects(tid int, th *thread, i syscallInfo) {
	k := t.key(tid, th, i)
	to, path := sockaddr(memory(tid, i.Args[1], int(min(i.Args[2], 128))))
	if c := t.open[k]; c != nil && c.pending && c.To == to { // once more: it asks how it ended
		th.call = &call{nr: i.NR, key: k}
		return
	}
	if t.open[k] != nil { // closed by what is not watched, such as dup2
		t.finish(k)
	}
	c := facts.Attempt{To: to, PID: k.pid, Path: path, AfterMS: millis(time.Since(t.record.start))}
	switch {
	case path != "":
		c.Network = "unix"
		switch {
		case path == "/run/systemd/resolve/io.systemd.Resolve":
			t.named[k.pid] = true
			return
		case strings.HasSuffix(path, "/nscd/socket"), strings.HasPrefix(path, "/run/systemd/"):
			return // asked for users, too, and mostly not there
		}
	case !to.IsValid() || to.Port() == 0:
		return
	default:
		c.Network = t.kind(k)
	}
	if c.Network == "udp" && to.Port() == 53 {
		t.named[k.pid] = true
	}
	own := path == "" && (to.Addr().IsLoopback() || to.Addr().IsUnspecified() || t.Own != nil && t.Own(to.Addr()))
	if own && c.Network == "tcp" && !t.local[k.pid] {
		t.local[k.pid] = true
		if t.Local != nil {
			t.Local(k.pid)
		}
	}
	if len(t.open) >= maxOpen {
		t.record.more++
		return
	}
	c.Program, c.Looked = program(k.pid), t.named[k.pid]
	t.open[k] = &connection{Attempt: c, since: time.Now(), pending: true}
	if c.Network == "udp" {
		t.udp++
	}
	th.call = &call{nr: i.NR, key: k}
}

// kind is "tcp" or "udp", by the socket itself.
func (t *tracer) kind(k key) string {
	kind := unix.SOCK_STREAM
	if !t.borrow(k, func(fd int) {
		if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
			kind = n
		}
	}) && !strings.HasPrefix(k.protocol(), "TCP") {
		kind = unix.SOCK_DGRAM
	}
	if kind == unix.SOCK_STREAM {
		return "tcp"
	}
	return "udp"
}

// borrow looks at a socket of a client that stands still. Nothing is asked of it
// that it would forget by that: SO_ERROR is the client's.
func (t *tracer) borrow(k key, look func(fd int)) bool {
	pidfd, err := unix.PidfdOpen(k.pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, k.fd, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	look(fd)
	return true
}

// States of a TCP socket, as TCP_INFO has them: net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpClose       = 7
	tcpCloseWait   = 8
	tcpLastAck     = 9
	tcpClosing     = 11
)

// ends reads the answer of a system call.
func (t *tracer) ends(tid int, was call, result int64) {
	if was.nr == unix.SYS_BIND {
		if result < 0 {
			t.cannotBind(was, syscall.Errno(-result))
		} else { // at a second try, or for the other family
			t.record.binds = slices.DeleteFunc(t.record.binds, func(b facts.Attempt) bool { return b.PID == was.key.pid && b.To.Port() == was.to.Port() })
		}
		return
	}
	c := t.open[was.key]
	if c == nil {
		return
	}
	errno := syscall.Errno(0)
	if result < 0 {
		errno = syscall.Errno(-result)
	}
	if was.nr == unix.SYS_GETSOCKOPT {
		b := memory(tid, was.at, 4)
		if errno != 0 || len(b) < 4 || !c.pending {
			return
		}
		if errno = syscall.Errno(binary.NativeEndian.Uint32(b)); errno == 0 {
			errno = syscall.EINPROGRESS // unless its state says more
		}
	}
	switch {
	case c.Network == "udp":
		if errno == syscall.ECONNREFUSED || was.nr == unix.SYS_CONNECT && errno != 0 {
			t.fails(was.key, errno)
		}
	case !c.pending:
	case errno == 0, errno == syscall.EISCONN:
		t.comesUp(was.key)
	case errno == syscall.EINPROGRESS, errno == syscall.EALREADY, errno == syscall.EINTR, errno >= 512 && errno <= 516: // ERESTARTSYS and its like: linux/errno.h
		state := uint8(0)
		if !t.borrow(was.key, func(fd int) {
			if i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				state = i.State
			}
		}) {
			state = was.key.state()
		}
		if state == tcpEstablished {
			t.comesUp(was.key)
		}
	default:
		t.fails(was.key, errno)
	}
}

// cannotBind writes down a port that the program wanted for itself and did not get.
func (t *tracer) cannotBind(was call, errno syscall.Errno) {
	k := was.key
	if !t.local[k.pid] {
		t.local[k.pid] = true
		if t.Local != nil {
			t.Local(k.pid)
		}
	}
	if len(t.record.binds) < maxConnects {
		t.record.binds = append(t.record.binds, facts.Attempt{To: was.to, Network: t.kind(k), PID: k.pid, Program: program(k.pid), Outcome: outcome(errno),
			Errno: cmp.Or(unix.ErrnoName(errno), errno.Error()), AfterMS: millis(time.Since(t.record.start)), Count: 1})
	}
}

func (t *tracer) comesUp(k key) {
	c := t.open[k]
	c.pending, c.Outcome, c.ElapsedMS = false, facts.Connected, millis(time.Since(c.since))
	if c.Network == "unix" {
		t.done(k)
	}
}

func (t *tracer) fails(k key, errno syscall.Errno) {
	c := t.open[k]
	c.pending, c.Outcome, c.Errno, c.ElapsedMS = false, outcome(errno), cmp.Or(unix.ErrnoName(errno), errno.Error()), millis(time.Since(c.since))
	t.done(k)
}

func outcome(errno syscall.Errno) facts.Outcome {
	switch errno {
	case syscall.ECONNREFUSED:
		return facts.Refused
	case syscall.ETIMEDOUT:
		return facts.Timeout
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT:
		return facts.Unreachable
	case syscall.EPERM, syscall.EACCES:
		return facts.Denied
	}
	return facts.Failed
}

// done writes a connection down and follows it no more.
func (t *tracer) done(k key) {
	c := t.open[k]
	if c.Network == "udp" {
		t.udp--
		if c.Outcome == "" { // it says nothing: the C library "connects" UDP sockets to sort addresses
			delete(t.open, k)
			return
		}
	}
	t.record.add(c.Attempt)
	delete(t.open, k)
}

// finish looks at a connection once more, before the client closes it.
func (t *tracer) finish(k key) {
	c := t.open[k]
	if c == nil {
		return
	}
	if c.Network == "tcp" {
		state := uint8(0)
		borrowed := t.borrow(k, func(fd int) {
			if i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				state, c.Sent, c.Received = i.State, i.Bytes_sent, i.Bytes_received
			}
			c.From = local(fd)
		})
		if !borrowed && c.pending {
			state = k.state()
		}
		switch {
		case !borrowed && !c.pending: // how much came is not known, and so neither what its end means
		case !c.pending && state == tcpClose:
			c.End = facts.EndedByReset
		case !c.pending && (state == tcpCloseWait || state == tcpLastAck || state == tcpClosing):
			c.End = facts.EndedByServer
			c.Received = max(c.Received, 1) - 1 // the kernel counts the FIN as a byte: tcp_rcv_nxt_update
		case !c.pending && state != 0:
			c.End = facts.EndedByClient
		case state == tcpSynSent: // it gave up
			c.Outcome = facts.Timeout
		case state == tcpClose: // it failed, and the client never asked how
			c.Outcome = facts.Failed
		case state != 0:
			c.Outcome = facts.Connected
		}
		if c.pending {
			c.ElapsedMS = millis(time.Since(c.since))
		}
	}
	if c.Outcome == "" && c.Network != "udp" {
		c.Outcome = facts.Failed
	}
	t.done(k)
}

func local(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// exits looks at the connections of a process whose first thread ends: mostly all
// of it does.
func (t *tracer) exits(pid int) {
	for k := range t.open {
		if k.pid == pid {
			t.finish(k)
		}
	}
	delete(t.local, pid)
	delete(t.named, pid)
}

var hostsFile = []byte("/etc/hosts\x00")

// opens notes that a process looks up a name: hosts(5) is the first to be read.
func (t *tracer) opens(tid int, th *thread, path uint64) {
	if pid := t.process(tid, th); !t.named[pid] && bytes.Equal(memory(tid, path, len(hostsFile)), hostsFile) {
		t.named[pid] = true
	}
}

// execs lets go who is about to take another user's rights: traced it would not get
// them. It has to be now: the kernel looks when the program begins.
func (t *tracer) execs(tid int, th *thread, i syscallInfo) (letGo bool) {
	if t.keeps {
		return false
	}
	at, dir := i.Args[0], unix.AT_FDCWD
	if i.NR == unix.SYS_EXECVEAT {
		at, dir = i.Args[1], int(int32(i.Args[0]))
	}
	name, _, _ := strings.Cut(string(memory(tid, at, unix.PathMax)), "\x00")
	proc := "/proc/" + strconv.Itoa(tid)
	switch {
	case filepath.IsAbs(name):
		name = filepath.Join(proc, "root", name)
	case dir == unix.AT_FDCWD:
		name = filepath.Join(proc, "cwd", name)
	default:
		name = filepath.Join(proc, "fd", strconv.Itoa(dir), name)
	}
	if !privileged(name) {
		return false
	}
	t.record.note(fmt.Sprintf("%s was not watched: it takes another user's rights.", filepath.Base(name)))
	return true
}

// privileged tells whether a program takes rights of another user: by its mode, or
// by capabilities.
func privileged(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
		return err == nil
	}
	n, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil && n > 0
}

// program is the name of a process.
func program(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "?"
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(name)), "?")
}
