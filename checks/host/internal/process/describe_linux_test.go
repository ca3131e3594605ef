package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	before := time.Now()
	c := start(t, "listen", func(c *exec.Cmd) { c.Args = []string{"my server", "--password", "s3cr3t", "x\xff"}; c.Dir = "/" })
	c.number(t)
	p, err := Describe(c.pid)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != c.pid || p.PPID != os.Getpid() || p.Exe != exe || p.Cwd != "/" || p.UID != uint32(os.Geteuid()) || p.Me || p.Frozen || p.Tracer != 0 {
		t.Errorf("%+v", p)
	}
	if want := []string{"my server", "--password", "***", "x\uFFFD"}; !slices.Equal(p.Args, want) {
		t.Errorf("arguments %q", p.Args)
	}
	// btime has whole seconds.
	if p.Started.Before(before.Add(-2*time.Second)) || p.Started.After(time.Now().Add(2*time.Second)) {
		t.Errorf("started %v, seen %v", p.Started, before)
	}
	if ns := inode(os.Stat("/proc/self/net/tcp")); ns == 0 || p.Netns != ns {
		t.Errorf("network namespace %d, ours %d", p.Netns, ns)
	}
	if p.UID == 0 && p.User != "root" {
		t.Errorf("user %q", p.User)
	}
	if _, err := Describe(1 << 30); err == nil {
		t.Error("no error for a process that is not there")
	}
	for _, pid := range []int{os.Getpid(), os.Getppid()} {
		if p, err := Describe(pid); err != nil || !p.Me {
			t.Errorf("%d: %+v, %v", pid, p, err)
		}
	}
}

func TestDescribeStopped(t *testing.T) {
	c := start(t, "listen", nil)
	c.number(t)
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(c.pid, &ws, syscall.WUNTRACED, nil); err != nil || !ws.Stopped() {
		t.Fatal(ws, err)
	}
	if p, err := Describe(c.pid); err != nil || p.State != "T" || p.Frozen {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestDescribeTraced(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), helperVariable+"=wait")
	c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := c.Start(); err != nil {
		t.Skipf("may not trace: %v", err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(c.Process.Pid, &ws, 0, nil); err != nil || !ws.Stopped() {
		t.Fatal(ws, err)
	}
	// The tracer is a thread; the process is what counts.
	if p, err := Describe(c.Process.Pid); err != nil || p.State != "t" || p.Tracer != os.Getpid() || p.TracedBy != comm(os.Getpid()) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestDescribeFrozen(t *testing.T) {
	dir := makeCgroup(t, fmt.Sprintf("loopdoctor-frozen-%d", os.Getpid()))
	c := start(t, "listen", in(t, dir))
	c.number(t)
	t.Cleanup(func() { _ = os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("0"), 0) })
	if p, err := Describe(c.pid); err != nil || p.Frozen {
		t.Fatalf("before: %+v, %v", p, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		p, err := Describe(c.pid)
		if err != nil {
			t.Fatal(err)
		}
		if p.Frozen {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not seen as frozen: %+v", p)
		}
	}
}

// TestDescribeHostileNames runs programs with names that parsers trip over.
func TestDescribeHostileNames(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep")
	}
	body, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		gone bool
	}{{") R 1 (\n\xff", false}, {"old", true}, {"old (deleted)", false}, {"new (deleted)", true}} {
		file := filepath.Join(t.TempDir(), c.name)
		if err := os.WriteFile(file, body, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(file, "60")
		if err := cmd.Start(); err != nil { // exec is done when Start returns
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if c.gone {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		p, err := Describe(cmd.Process.Pid)
		name := c.name[:min(len(c.name), 15)] // TASK_COMM_LEN
		if err != nil || p.Name != strings.ToValidUTF8(name, "\uFFFD") || p.Exe != strings.ToValidUTF8(file, "\uFFFD") || p.PPID != os.Getpid() {
			t.Errorf("%q, gone %v: %+v, %v", c.name, c.gone, p, err)
		}
		if (p.Deleted == "its program") != c.gone {
			t.Errorf("%q, gone %v: deleted is %q", c.name, c.gone, p.Deleted)
		}
	}
}
