package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func init() {
	stages["no-ptrace"] = func() { must(without(unix.SYS_PTRACE)) }
	stages["no-getfd"] = func() { must(without(unix.SYS_PIDFD_GETFD)) }
	stages["no-readv"] = func() { must(without(unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_OPEN, unix.SYS_PROCESS_VM_READV)) }
}

// without becomes loopdoctor where some system calls are forbidden, as in some containers.
func without(calls ...uint32) error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the number of the system call
	for _, nr := range calls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0x00050000 | uint32(unix.EPERM)}) // SECCOMP_RET_ERRNO
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000}) // SECCOMP_RET_ALLOW
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", append([]string{"loopdoctor"}, os.Args[1:]...), append(os.Environ(), "LOOPDOCTOR_LAB_STAGE="))
}

// Where tracing is forbidden the client runs as ever, and what its sockets tell when
// they end is what is diagnosed.
func TestRunUntraced(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().(*net.TCPAddr).Port
	l.Close()
	file := filepath.Join(t.TempDir(), "seen")
	run := func(args ...string) (stdout, stderr string, exit int) {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"run"}, args...)...)
		cmd.Env = append(os.Environ(), "LOOPDOCTOR_LAB_STAGE=no-ptrace")
		var out, say bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("input\n"), &out, &say
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exit = exitOf(t, cmd)
		return out.String(), say.String(), exit
	}
	if out, say, exit := run("--", "sh", "-c", "cat; exit 0"); out != "input\n" || say != "" || exit != 0 {
		t.Errorf("%q %q %d", out, say, exit)
	}
	// Its address stands nowhere in the command line. It has a time limit, and so does not
	// block: of one that blocks the kernel forgets the port.
	client := fmt.Sprintf("import socket; socket.create_connection(('127.0.0.%%d' %% 1, %d + 1), 9)", nobody-1)
	_, say, exit := run("--record", file, "--", "python3", "-c", client)
	data, err := os.ReadFile(file)
	var r facts.Recording
	if err != nil || json.Unmarshal(data, &r) != nil || exit != 1 {
		t.Fatalf("%d, %v\n%s", exit, err, say)
	}
	// Tests that run at the same time have sockets of the same user.
	for _, f := range r.Facts {
		for _, c := range f.Target.Met.Connects {
			if int(c.To.Port()) == nobody && c.Outcome == facts.Failed && f.Target.Met.Unwatched != "" && strings.Contains(say, "told from the TCP sockets") {
				return
			}
		}
	}
	t.Errorf("127.0.0.1:%d is not among what it met\n%s", nobody, say)
}

// Where a socket or the memory of the client cannot be had in the short way, what it
// met is seen all the same, and one that fares well is not taken for one that fails.
func TestRunWithoutBorrowing(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		missing(t, "python3 is not installed")
	}
	s := serveAll(t)
	for i, test := range []struct{ name, client, want string }{
		{"event loop, fares well", "s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', talks)); select.select([], [s], [], 1); s.getsockopt(1, 4); s.setblocking(True); s.recv(9); s.close()", "tcp connected"},
		{"never asks, fares well", "s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', talks)); select.select([s], [], [], 1); s.recv(9); s.close()", "tcp connected"},
		{"closed by the server", "s = dial(closes); s.send(b'hello'); s.recv(9); s.close()", "tcp connected"},
		{"refused", "s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', nobody)); select.select([], [s], [], 1); s.getsockopt(1, 4)", "tcp refused"},
		{"gives up", "tries(dial, full, 0.1)", "tcp timeout"},
		{"UDP", "s = socket.socket(2, socket.SOCK_DGRAM); s.connect(('127.0.0.1', nobody)); s.send(b'?'); tries(s.recv, 9)", "udp refused"},
		{"UDP that sends nothing", "s = socket.socket(2, socket.SOCK_DGRAM); s.connect(('127.0.0.1', nobody))", ""},
	} {
		for j, stage := range []string{"no-getfd", "no-readv"} {
			if testing.Short() && i%2 != j {
				continue
			}
			t.Run(test.name+" "+stage, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "seen")
				cmd := runs(t, "--record", file, "-o", os.DevNull, "--timeout", "10ms", "--", "python3", "-c", clientLib+test.client,
					fmt.Sprint(s.talks), fmt.Sprint(s.mute), fmt.Sprint(s.closes), fmt.Sprint(s.resets), fmt.Sprint(s.full), fmt.Sprint(s.nobody))
				cmd.Args[0], cmd.Env = "/proc/self/exe", append(os.Environ(), "LOOPDOCTOR_LAB_STAGE="+stage)
				out, err := cmd.CombinedOutput()
				data, readErr := os.ReadFile(file)
				var r facts.Recording
				if err != nil || readErr != nil || json.Unmarshal(data, &r) != nil {
					t.Fatalf("%v, %v\n%s", err, readErr, out)
				}
				got := ""
				for _, c := range r.Facts[0].Target.Met.Connects {
					got += c.Network + " " + string(c.Outcome)
					if c.Mute() {
						got += ", mute"
					}
				}
				if got != test.want {
					t.Errorf("%q instead of %q\n%s", got, test.want, out)
				}
			})
		}
	}
}
