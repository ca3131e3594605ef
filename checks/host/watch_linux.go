package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/watch"
)

// grace is how long a signal that reached loopdoctor may take to reach the client by
// itself: a terminal, and who signals a process group, mean both.
const grace = 50 * time.Millisecond

// watchClient runs the client and waits for its end.
func watchClient(argv []string) (*Watched, error) {
	path, err := lookPath(argv[0])
	if err != nil {
		return nil, err
	}
	w := &Watched{Environ: map[int][]string{0: os.Environ()}}
	own := interfaceAddresses()
	hooks := watch.Hooks{
		Own: own,
		Local: func(pid int) {
			if len(w.As) >= maxClients {
				return
			}
			if id, err := linuxProcess(pid); err == nil {
				w.As = append(w.As, id)
			}
			if vars, err := process.Environ(pid); err == nil {
				w.Environ[pid] = vars
			}
		},
		// The shell that waits for loopdoctor shall see that its job has stopped.
		Stopped: func() { unix.Kill(unix.Getpid(), unix.SIGSTOP) },
	}
	signals := make(chan os.Signal, 64)
	listen(signals)
	defer signal.Stop(signals)
	p, err := watch.Start(path, argv, os.Environ(), hooks)
	if errors.Is(err, unix.ENOEXEC) { // a script without #!: execvp(3) gives it to the shell
		p, err = watch.Start("/bin/sh", append([]string{"/bin/sh", path}, argv[1:]...), os.Environ(), hooks)
	}
	if err != nil {
		return nil, &NotStartedError{argv[0], errors.Is(err, fs.ErrNotExist), err}
	}
	over := make(chan struct{})
	defer close(over)
	go handOn(p, signals, over)
	r := p.Wait()

	w.Met = &facts.Met{Program: filepath.Base(argv[0]), Args: process.Mask(argv), PID: p.PID, Exit: r.Status.ExitStatus(), ElapsedMS: millis(r.Elapsed), Notes: r.Notes, More: r.More, Binds: r.Binds}
	if r.Status.Signaled() {
		w.Met.Exit, w.Met.Signal = 128+int(r.Status.Signal()), signalName(r.Status.Signal())
	}
	if r.Unwatched != nil {
		w.Met.Unwatched = r.Unwatched.Error()
	}
	w.sort(r.Connects, own)
	return w, nil
}

// signalName is a signal in the words of signal(7) and kill(1). Of the realtime ones, of
// which glibc keeps 32 and 33 for itself, SIGRTMIN is the 34th.
func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	if s == 34 {
		return "SIGRTMIN"
	}
	if 34 < s && s <= 64 {
		return fmt.Sprintf("SIGRTMIN+%d", s-34)
	}
	return fmt.Sprintf("signal %d", s)
}

// maxClients is of how many processes of a client it is kept who they were.
const maxClients = 32

// handed are the signals that are for the client. A terminal sends SIGTTIN and SIGTTOU to all of the
// job, and SIGWINCH has no effect on loopdoctor.
var handed = []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTSTP, unix.SIGCONT, unix.SIGIO, unix.SIGPWR, unix.SIGVTALRM}

// listen catches the signals that are for the client. One that is ignored, as nohup has it, is ignored
// by the client too: a handler of ours would take that from it.
func listen(to chan<- os.Signal) {
	for _, s := range handed {
		if !signal.Ignored(s) {
			signal.Notify(to, s)
		}
	}
}

// handOn gives the client the signals that loopdoctor got, and that it did not get itself.
func handOn(p *watch.Program, signals <-chan os.Signal, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case s := <-signals:
			at := time.Now().Add(-grace)
			go func() {
				time.Sleep(grace)
				sig := s.(syscall.Signal)
				switch seen, known := p.Seen(sig, at); {
				case sig == unix.SIGCONT:
					if !p.Halted() {
						return
					}
				case seen, process.Pending(p.PID, int(sig)):
					return
				case !known && inForeground() && (sig == unix.SIGINT || sig == unix.SIGQUIT || sig == unix.SIGTSTP || sig == unix.SIGHUP):
					return // the terminal sent it to both
				}
				select {
				case <-over:
				default:
					p.Signal(sig)
				}
			}()
		}
	}
}

// inForeground tells whether a Ctrl-C of the terminal means loopdoctor and the client.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// lookPath finds a program as a shell does.
func lookPath(name string) (string, error) {
	dirs := []string{""}
	if !strings.Contains(name, "/") {
		dirs = filepath.SplitList(os.Getenv("PATH"))
	}
	var last error = fs.ErrNotExist
	for _, dir := range dirs {
		path := name
		if !strings.Contains(name, "/") {
			path = filepath.Join(dir, name)
			if dir == "" || dir == "." {
				path = "./" + name
			}
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			if errors.Is(err, fs.ErrPermission) {
				last = unix.EACCES
			}
		case info.IsDir():
			if strings.Contains(name, "/") {
				last = unix.EISDIR
			}
		case unix.Access(path, unix.X_OK) != nil:
			last = unix.EACCES
		default:
			return path, nil
		}
	}
	if last == fs.ErrNotExist {
		if !strings.Contains(name, "/") {
			return "", &NotStartedError{name, true, errors.New("command not found")}
		}
		return "", &NotStartedError{name, true, unix.ENOENT}
	}
	return "", &NotStartedError{name, false, last}
}
