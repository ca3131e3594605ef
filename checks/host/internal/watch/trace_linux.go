package watch

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Every system call of the client stops it twice, and this thread looks at a few of
// them. A seccomp filter would stop it at these few only, and is not used: it cannot be taken
// off again. In what the client leaves running each connect() would fail with
// ENOSYS once loopdoctor has ended (seccomp(2), SECCOMP_RET_TRACE), and without root
// it needs no_new_privs, under which sudo does not work.

// Hooks are what the watch tells while it goes on. They are called by the thread
// that traces, while the client stands still.
type Hooks struct {
	Own     func(netip.Addr) bool // is the address this machine's?
	Local   func(pid int)         // a process connects to this machine, for the first time
	Stopped func()                // the client has been stopped, as by Ctrl-Z
}

// Program is a client that runs.
type Program struct {
	PID  int
	done chan struct{}
	Hooks

	mu      sync.Mutex
	got     map[syscall.Signal]time.Time // signals that reached the client
	stopped bool
	free    bool // it is not traced (any more)

	name      string
	status    syscall.WaitStatus
	record    record
	unwatched error // why it is not traced
}

// Result is what a run came to.
type Result struct {
	Status    syscall.WaitStatus
	Connects  []facts.Attempt // all of them: also those to other machines
	Binds     []facts.Attempt // those that failed
	More      int
	Notes     []string
	Elapsed   time.Duration
	Unwatched error // why it was not traced: then little was seen, or nothing
}

// errPrivileged is why a program is not traced that takes another user's rights:
// execve(2) does not give them to one that is.
var errPrivileged = errors.New("it takes another user's rights, which a traced program does not get")

// Start starts the program with the standard descriptors, directory and process
// group of loopdoctor. One that cannot be watched runs all the same. An error is
// that of execve(2).
func Start(path string, argv, env []string, h Hooks) (*Program, error) {
	p := &Program{Hooks: h, name: filepath.Base(argv[0]), done: make(chan struct{}), got: map[syscall.Signal]time.Time{}}
	p.record.start = time.Now()
	started := make(chan error)
	go p.trace(path, argv, env, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Wait returns when the client has ended. What it started and left behind goes on,
// and is not watched any more.
func (p *Program) Wait() Result {
	<-p.done
	slices.SortStableFunc(p.record.connects, func(a, b facts.Attempt) int { return int(a.AfterMS*1000) - int(b.AfterMS*1000) })
	return Result{p.status, p.record.connects, p.record.binds, p.record.more, p.record.notes, time.Since(p.record.start), p.unwatched}
}

// Signal sends the client a signal, unless it has ended.
func (p *Program) Signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		unix.Kill(p.PID, s)
	}
}

// Seen tells whether that signal has reached the client since then. It is not known
// of a client that is not traced.
func (p *Program) Seen(s syscall.Signal, since time.Time) (seen, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.got[s]
	return ok && !at.Before(since), !p.free
}

// Halted tells whether the client is stopped.
func (p *Program) Halted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

// trace is the thread that traces: ptrace(2) goes by threads. It is never unlocked:
// the runtime ends it together with the goroutine, and with it the kernel lets go of
// all that it traces.
func (p *Program) trace(path string, argv, env []string, started chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() { // this one would not end: another is taken
		gone := make(chan struct{})
		go func() { p.trace(path, argv, env, started); close(gone) }()
		<-gone
		runtime.UnlockOSThread()
		return
	}
	defer close(p.done)
	t := &tracer{Program: p, threads: map[int]*thread{}, open: map[key]*connection{}, local: map[int]bool{}, named: map[int]bool{}, keeps: capable(unix.CAP_SYS_PTRACE)}
	if !t.keeps && privileged(path) {
		p.unwatched = errPrivileged
	} else {
		pid, err := fork(path, argv, env, true)
		switch {
		case err == nil:
			p.PID = pid
			p.unwatched = t.seize()
		case errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS): // of ptrace, perhaps: execve tells
			p.unwatched = err
		default:
			started <- err
			return
		}
	}
	if p.unwatched != nil {
		if end, err := p.listen(); err == nil {
			defer end()
		}
	}
	if p.PID == 0 {
		pid, err := fork(path, argv, env, false)
		if err != nil {
			started <- err
			return
		}
		p.PID = pid
	}
	if p.unwatched != nil {
		p.letGo()
	}
	started <- nil
	t.loop()
}

func fork(path string, argv, env []string, traced bool) (int, error) {
	return syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: traced}})
}

func (p *Program) letGo() {
	p.mu.Lock()
	p.free = true
	p.mu.Unlock()
}

// PTRACE_EVENT_STOP of linux/ptrace.h.
const eventStop = 128

const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACEEXIT

// seize takes the client, which stands at its first instruction, from the old kind of
// tracing to that of PTRACE_SEIZE: only there a stop by Ctrl-Z can be told from
// others, and be kept. In between it is stopped.
func (t *tracer) seize() error {
	var ws syscall.WaitStatus
	if err := wait(t.PID, &ws); err != nil || !ws.Stopped() {
		return cmpErr(err, unix.ECHILD)
	}
	if err := ptrace(unix.PTRACE_DETACH, t.PID, 0, uintptr(unix.SIGSTOP)); err != nil {
		return err
	}
	if err := ptrace(unix.PTRACE_SEIZE, t.PID, 0, options); err != nil {
		unix.Kill(t.PID, unix.SIGCONT)
		return err
	}
	// It says that it got SIGSTOP, which it shall not have, or that it has stopped:
	// then it has to go on, by a SIGCONT that it shall not have either.
	for {
		if err := wait(t.PID, &ws); err != nil || !ws.Stopped() {
			return nil // it has been killed: the loop will hear of it
		}
		stop := int(ws)>>16 == eventStop
		switch {
		case stop && ws.StopSignal() == unix.SIGSTOP:
			unix.Kill(t.PID, unix.SIGCONT)
			if err := ptrace(unix.PTRACE_LISTEN, t.PID, 0, 0); err != nil {
				return nil
			}
		case stop:
			ptrace(unix.PTRACE_SYSCALL, t.PID, 0, 0)
		case ws.StopSignal() == unix.SIGSTOP, ws.StopSignal() == unix.SIGCONT:
			t.threads[t.PID] = &thread{}
			ptrace(unix.PTRACE_SYSCALL, t.PID, 0, 0)
			return nil
		default:
			ptrace(unix.PTRACE_SYSCALL, t.PID, 0, uintptr(ws.StopSignal()))
		}
	}
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func wait(pid int, ws *syscall.WaitStatus) error {
	for {
		if _, err := syscall.Wait4(pid, ws, unix.WALL|unix.WUNTRACED, nil); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// tracer is what the thread knows of those that it traces.
type tracer struct {
	*Program
	threads map[int]*thread
	open    map[key]*connection
	local   map[int]bool // processes that have connected to this machine
	named   map[int]bool // those that have looked up a name
	udp     int          // how many of open are UDP
	keeps   bool         // a traced program gets another user's rights all the same
}

// thread is one that is traced.
type thread struct {
	pid  int // the process that it belongs to, once it was asked for
	call *call
}

// loop follows all of them until the client ends.
func (t *tracer) loop() {
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, unix.WALL|unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return // the client is gone, and nobody said how
		case ws.Exited() || ws.Signaled():
			delete(t.threads, tid)
			if tid == t.PID {
				t.status = ws
				return
			}
			continue
		case !ws.Stopped():
			continue
		}
		th := t.threads[tid]
		if th == nil {
			if tid == t.PID && t.isFree() { // not traced: a stop like any other
				t.halt()
				continue
			}
			th = &thread{}
			t.threads[tid] = th
		}
		t.stop(tid, th, ws)
	}
}

func (p *Program) isFree() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.free
}

// halt hands on that the client has been stopped. It returns when loopdoctor is to
// go on.
func (p *Program) halt() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	if p.Stopped != nil {
		p.Stopped()
	}
}

func (p *Program) goesOn() {
	p.mu.Lock()
	p.stopped = false
	p.mu.Unlock()
}

// stop looks at one stop of one thread, and lets it go on.
func (t *tracer) stop(tid int, th *thread, ws syscall.WaitStatus) {
	sig, event := ws.StopSignal(), int(ws)>>16
	switch {
	case event == eventStop && sig != unix.SIGTRAP: // stopped, until SIGCONT comes
		ptrace(unix.PTRACE_LISTEN, tid, 0, 0)
		if tid == t.PID {
			t.halt()
		}
		return
	case event == unix.PTRACE_EVENT_EXEC: // the thread that did it is the first one now, and the others are gone
		if was, err := unix.PtraceGetEventMsg(tid); err == nil && int(was) != tid {
			delete(t.threads, int(was))
		}
		th.call = nil
		delete(t.named, tid)
	case event == unix.PTRACE_EVENT_EXIT:
		t.exits(tid)
	case event != 0: // forks, which are traced from their first instruction, and the end of a stop
		if event == eventStop && tid == t.PID {
			t.goesOn()
		}
	case sig == unix.SIGTRAP|0x80:
		if t.systemCall(tid, th) {
			t.release(tid)
			return
		}
	default: // a signal, which it gets
		if pid := t.process(tid, th); pid == t.PID {
			t.mu.Lock()
			t.got[sig] = time.Now()
			t.mu.Unlock()
		}
		ptrace(unix.PTRACE_SYSCALL, tid, 0, uintptr(sig))
		return
	}
	ptrace(unix.PTRACE_SYSCALL, tid, 0, 0)
}

// release lets one go for good.
func (t *tracer) release(tid int) {
	if tid == t.PID {
		t.letGo()
	}
	delete(t.threads, tid)
	ptrace(unix.PTRACE_DETACH, tid, 0, 0)
}

// process is the number of the process of a thread.
func (t *tracer) process(tid int, th *thread) int {
	if th.pid == 0 {
		th.pid = tid
		if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid)); err == nil {
			th.pid = threadGroup(data, tid)
		}
	}
	return th.pid
}

// ptrace without the scheduler: none of these calls blocks.
func ptrace(request, tid int, addr, data uintptr) error {
	if _, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0); e != 0 {
		return e
	}
	return nil
}

// syscallInfo is struct ptrace_syscall_info of linux/ptrace.h. Of an end the first
// number is the result.
type syscallInfo struct {
	Op   uint8
	_    [3]uint8
	Arch uint32
	IP   uint64
	SP   uint64
	NR   uint64
	Args [6]uint64
	_    [2]uint64
}

const (
	opEntry = 1
	opExit  = 2
)

func info(tid int) (i syscallInfo, err error) {
	err = ptrace(unix.PTRACE_GET_SYSCALL_INFO, tid, unsafe.Sizeof(i), uintptr(unsafe.Pointer(&i)))
	return i, err
}

// memory reads up to n bytes of the memory of a process; what is not mapped ends it.
func memory(tid int, at uint64, n int) []byte {
	if at == 0 || n <= 0 {
		return nil
	}
	b := make([]byte, n)
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(n)
	got, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: uintptr(at), Len: n}}, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return b[:fromMem(tid, at, b)]
	}
	if err != nil {
		// It may end at the border of a page.
		if rest := int(-at & uint64(os.Getpagesize()-1)); rest > 0 && rest < n {
			return memory(tid, at, rest)
		}
		return nil
	}
	return b[:got]
}

func capable(bit int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	return unix.Capget(&hdr, &caps[0]) == nil && caps[bit/32].Effective&(1<<(bit%32)) != 0
}
