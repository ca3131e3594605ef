package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// us is the client that this test is.
func us() client { return client{Identity: UID(uint32(os.Geteuid()))} }

func TestProcessAsAClient(t *testing.T) {
	id, err := Process(os.Getpid())
	if err != nil || int(id.UID) != os.Geteuid() || int(id.GID) != os.Getegid() || id.Cgroup != "" || id.NetNS != 0 || id.Mounts || len(id.Lacks) > 0 || !isUs(id) {
		t.Errorf("this process: %+v, %v", id, err)
	}
	if _, err := Process(1 << 22); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a number beyond all: %v", err)
	}
	if tasks := threads(t); len(tasks) > 0 {
		if _, err := Process(tasks[0]); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("a thread of process %d", os.Getpid())) {
			t.Errorf("a thread: %v", err)
		}
	}
	// One that has ended, and that nobody has waited for.
	dead := exec.Command("true")
	if err := dead.Start(); err != nil {
		t.Skip(err)
	}
	defer dead.Wait()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := Process(dead.Process.Pid)
		if err != nil && strings.Contains(err.Error(), "has ended") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a zombie: %v", err)
		}
	}
}

func threads(t *testing.T) (others []int) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range tasks {
		if n, _ := strconv.Atoi(e.Name()); n != os.Getpid() {
			others = append(others, n)
		}
	}
	return others
}

func TestAsClientTakesItsGroups(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	id := facts.Identity{UID: 1000, GID: 100, Groups: []uint32{27, 4242}, PID: 1, LowPort: true}
	err := asClient(id, func() {
		status, err := os.ReadFile("/proc/thread-self/status")
		for _, want := range []string{"\nUid:\t1000\t1000\t1000\t1000\n", "\nGid:\t100\t100\t100\t100\n", "\nGroups:\t27 4242 \n", "\nCapEff:\t0000000000000400\n"} {
			if err != nil || !strings.Contains(string(status), want) {
				t.Errorf("the status lacks %q (%v):\n%s", want, err, status)
			}
		}
	})
	if err != nil || os.Geteuid() != 0 {
		t.Error(err)
	}
}

// What a process sees may be hostile: nothing there makes us hang, or read our own
// files in the place of its.
func TestHostileRoot(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"etc", "real"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(dir+"/real/hosts", []byte("its own\n"), 0o644), os.Symlink("/real/hosts", dir+"/etc/hosts"),
		os.Symlink("/etc/loop", dir+"/etc/loop"), os.Symlink("../../../../../../../etc/hostname", dir+"/etc/up"),
		unix.Mkfifo(dir+"/etc/pipe", 0o644), os.Symlink("/proc/self/root/etc/passwd", dir+"/etc/magic")); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := clientRoot{process.Root{File: f}}
	if b, info, err := r.read("/etc/hosts"); err != nil || string(b) != "its own\n" || info.Size() != 8 {
		t.Errorf("behind a link from its root: %q, %v", b, err)
	}
	if got := r.place("/etc/hosts"); got != dir+"/real/hosts" {
		t.Errorf("it is found as %s", got)
	}
	for path, want := range map[string]error{"/etc/loop": unix.ELOOP, "/etc/up": fs.ErrNotExist, "/etc/magic": fs.ErrNotExist, "/etc/none": fs.ErrNotExist, "/": nil, "/etc/pipe": nil} {
		if b, _, err := r.read(path); !errors.Is(err, want) || len(b) > 0 {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	if r.same("/etc/hosts") || !r.same("/etc/none") {
		t.Error("its files are not ours; what neither has is the same")
	}
}
