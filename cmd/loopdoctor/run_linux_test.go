package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runs is "loopdoctor run" of a client, as a process of its own.
func runs(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"run"}, args...)...)
	cmd.Args[0] = "loopdoctor"
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func exitOf(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	err := cmd.Wait()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func TestRunEndsAsTheClient(t *testing.T) {
	for _, test := range []struct {
		args   []string
		want   int
		stderr string
	}{
		{[]string{"--", "true"}, 0, ""},
		{[]string{"--", "sh", "-c", "exit 7"}, 7, "ended with status 7, and connected to nothing on this machine."},
		{[]string{"sh", "-c", "kill -SEGV $$"}, 128 + 11, "was ended by SIGSEGV, and connected to nothing"},
		{[]string{"--", "sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		{[]string{"--", "no-such-program"}, 127, "loopdoctor: run: no-such-program: command not found"},
		{[]string{"--", "./no-such-program"}, 127, "no such file"},
		{[]string{"--", "/dev/null"}, 126, "permission denied"},
		{[]string{"--", "/"}, 126, "is a directory"},
		{nil, 2, "run needs the command that fails"},
		{[]string{"--format", "json", "--", "true"}, 2, "--format json needs -o FILE"},
		{[]string{"-o", "-", "--", "true"}, 2, "the standard output is the client's"},
		{[]string{"-o", "/no/such/folder/report", "--", "true"}, 2, "--output"},
		{[]string{"--bogus", "--", "true"}, 2, "unknown flag"},
		{[]string{"sh", "-c", "exit 3", "--bogus"}, 3, "ended with status 3"},
	} {
		cmd := runs(t, test.args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if got := exitOf(t, cmd); got != test.want || stdout.Len() > 0 || !strings.Contains(stderr.String(), test.stderr) || test.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%q: status %d instead of %d\n%s%s", test.args, got, test.want, stdout.String(), stderr.String())
		}
	}
}

// A script without #! is the shell's, as execvp(3) has it.
func TestRunScript(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo \"$1\"; exit 4\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := runs(t, script, "two words").Output()
	if string(out) != "two words\n" || err == nil || err.(*exec.ExitError).ExitCode() != 4 {
		t.Errorf("%q, %v", out, err)
	}
}

// The client finds the descriptors that it would find without loopdoctor, and what
// stands in them.
func TestRunKeepsDescriptors(t *testing.T) {
	client := []string{"sh", "-c", "cat; cat <&3; ls /proc/self/fd | tr '\\n' ' '"}
	report := filepath.Join(t.TempDir(), "report")
	var heard []string
	for _, cmd := range []*exec.Cmd{exec.CommandContext(t.Context(), client[0], client[1:]...), runs(t, append([]string{"-o", report}, client...)...)} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(w, "by descriptor 3")
		w.Close()
		cmd.Stdin, cmd.ExtraFiles = strings.NewReader(strings.Repeat("input\n", 50_000)), []*os.File{r}
		out, err := cmd.Output()
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		heard = append(heard, string(out))
	}
	if heard[0] != heard[1] || !strings.Contains(heard[0], "by descriptor 3") {
		t.Errorf("%d bytes instead of %d: …%q", len(heard[1]), len(heard[0]), heard[1][max(0, len(heard[1])-60):])
	}
}

// counts tells how often it got a signal, once it had time to get it twice.
const counts = `for s in HUP INT TERM USR1; do trap "n=\$((n+1))" $s; done
n=0; echo up; i=0
while [ $n = 0 ] && [ $i -lt 400 ]; do sleep 0.02; i=$((i+1)); done
i=0; while [ $i -lt 10 ]; do sleep 0.02; i=$((i+1)); done
exit $((40+n))`

// startedIn starts a command, waits for its first line, and says whom to send a signal:
// the process or its group.
func startedIn(t *testing.T, cmd *exec.Cmd, group bool) (to int) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if group {
		return -cmd.Process.Pid
	}
	return cmd.Process.Pid
}

// A signal reaches the client once: whether loopdoctor alone got it, or all of the
// process group, as from a terminal.
func TestRunHandsSignalsOn(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1} {
		for _, group := range []bool{false, true} {
			t.Run(fmt.Sprint(unix.SignalName(sig), group), func(t *testing.T) {
				t.Parallel()
				if signal.Ignored(sig) {
					t.Skip("NOT RUN: started with this signal ignored (nohup), which a shell's trap cannot change")
				}
				cmd := runs(t, "-q", "sh", "-c", counts)
				to := startedIn(t, cmd, group)
				if err := unix.Kill(to, sig); err != nil {
					t.Fatal(err)
				}
				if got := exitOf(t, cmd); got != 41 {
					t.Errorf("status %d: the client got it %d times", got, got-40)
				}
			})
		}
	}
}

// terminal makes a pair of one.
func terminal(t *testing.T) (here, there *os.File) {
	t.Helper()
	here, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		missing(t, "no terminal: "+err.Error())
	}
	t.Cleanup(func() { here.Close() })
	if err := unix.IoctlSetPointerInt(int(here.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(here.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	there, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		missing(t, "no terminal: "+err.Error())
	}
	t.Cleanup(func() { there.Close() })
	return here, there
}

func TestRunInATerminal(t *testing.T) {
	here, there := terminal(t)
	cmd := runs(t, "sh", "-c", "test -t 0 && test -t 1 && test -t 2 || exit 1\n"+counts)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = there, there, there
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	there.Close()
	lines := bufio.NewReader(here)
	if line, err := lines.ReadString('\n'); err != nil || strings.TrimSpace(line) != "up" {
		t.Fatalf("%q, %v", line, err)
	}
	go io.Copy(io.Discard, lines)
	if _, err := here.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if got := exitOf(t, cmd); got != 41 {
		t.Errorf("status %d: the client got Ctrl-C %d times", got, got-40)
	}
}

// Ctrl-Z stops the job as a whole, so that the shell sees it, and fg lets it go on.
func TestRunStopsAsTheClient(t *testing.T) {
	for _, group := range []bool{true, false} {
		cmd := runs(t, "sh", "-c", "echo up; read go; exit 9")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		to := startedIn(t, cmd, group)
		unix.Kill(to, unix.SIGTSTP)
		var ws unix.WaitStatus
		for {
			if _, err = unix.Wait4(cmd.Process.Pid, &ws, unix.WUNTRACED, nil); err != unix.EINTR {
				break
			}
		}
		if err != nil || !ws.Stopped() {
			t.Fatalf("it is not stopped: %v, %v", ws, err)
		}
		unix.Kill(to, unix.SIGCONT)
		fmt.Fprintln(in, "go")
		if got := exitOf(t, cmd); got != 9 {
			t.Errorf("status %d", got)
		}
	}
}

// A server that cannot have its port is told why; one that had it in the end is not.
func TestRunOfAServer(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr)
	const server = "import socket, sys\ns = socket.socket()\ntry: s.bind(('127.0.0.1', int(sys.argv[1])))\nexcept OSError: print('taken', flush=True)\n"
	for _, test := range []struct {
		rest string
		want string
	}{
		{"sys.exit(1)", fmt.Sprintf("It met EADDRINUSE at %s", at)},
		{"s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind(('127.0.0.2', int(sys.argv[1]))); sys.exit(1)", "connected to nothing on this machine"},
	} {
		cmd := runs(t, "python3", "-c", server+test.rest, strconv.Itoa(at.Port))
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if got := exitOf(t, cmd); got != 1 || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s: status %d, %s", test.rest, got, stderr.String())
		}
	}
}

// Whatever becomes of loopdoctor, the client goes on, and connects as before.
func TestRunKilledLeavesTheClientAlone(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := fmt.Sprintf("import socket, sys\nprint('up', flush=True)\nsys.stdin.readline()\nsocket.create_connection(('127.0.0.1', %d)).sendall(b'alive')", l.Addr().(*net.TCPAddr).Port)
	cmd := runs(t, "python3", "-c", client)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Process.Wait()
	fmt.Fprintln(w)
	l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if said, err := io.ReadAll(c); string(said) != "alive" || err != nil {
		t.Errorf("%q, %v", said, err)
	}
}

// Programs that take another user's rights get them: directly, from a script, and in place
// of the client itself.
func TestRunLetsPrivilegedProgramsGo(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "it needs root, to make such a program")
	}
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	program, id := filepath.Join(dir, "loopdoctor"), filepath.Join(dir, "id")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{program: exe, id: "/usr/bin/id"} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(id, os.ModeSetuid|0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{id}, {"sh", "-c", id + "; exit 0"}, {"sh", "-c", "exec " + id}} {
		cmd := exec.CommandContext(t.Context(), program, append([]string{"run", "--"}, args...)...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "euid=0") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}
