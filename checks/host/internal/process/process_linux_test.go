package process

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

const (
	helperVariable = "LOOPDOCTOR_TEST_HELPER"
	nobody         = 65534
)

// helpers run in a process of their own: the test binary under another name
// of variable, which works for any user although its folder is private,
// because it is executed through /proc/self/exe.
var helpers = map[string]func(){
	// listen prints its port and stays until its standard input ends.
	"listen": func() { listen(); wait() },
	// pass gives its listener to a child.
	"pass": func() {
		l := listen()
		f, err := l.(*net.TCPListener).File()
		check(err)
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), helperVariable+"=wait")
		c.Stdin, c.ExtraFiles = os.Stdin, []*os.File{f}
		check(c.Start())
		fmt.Println(c.Process.Pid)
		wait()
	},
	"wait": wait,
	// drop is a server that gives up root after it has its socket.
	"drop": func() {
		l := listen()
		defer l.Close()
		check(syscall.Setgid(nobody))
		check(syscall.Setuid(nobody))
		fmt.Println("dropped")
		wait()
	},
	// headless ends its first thread and lives on.
	"headless": func() {
		go func() { listen(); wait(); os.Exit(0) }()
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	},
	// owners looks for the sockets that it reads and prints what it found.
	"owners": func() {
		var sockets []facts.Socket
		check(json.NewDecoder(os.Stdin).Decode(&sockets))
		o, err := Owners(context.Background(), sockets)
		check(err)
		check(json.NewEncoder(os.Stdout).Encode(o))
	},
}

func init() {
	if os.Getenv(helperVariable) == "headless" {
		runtime.LockOSThread() // so that main runs on the first thread
	}
}

func TestMain(m *testing.M) {
	if h := helpers[os.Getenv(helperVariable)]; h != nil {
		h()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func wait() { _, _ = io.Copy(io.Discard, os.Stdin) }

func listen() net.Listener {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	return l
}

// child is a helper that runs.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	pid int
}

// start runs a helper; change may adapt the command.
func start(t *testing.T, helper string, change func(*exec.Cmd)) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe")}
	c.Env = append(os.Environ(), helperVariable+"="+helper)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{}
	if change != nil {
		change(c.Cmd)
	}
	var err error
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	c.pid = c.Process.Pid
	t.Cleanup(func() { c.in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

func (c *child) number(t *testing.T) int {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("helper %d said nothing", c.pid)
	}
	n, err := strconv.Atoi(c.out.Text())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// listener gives the socket that listens on the port.
func listener(t *testing.T, port int) facts.Socket {
	t.Helper()
	c, err := sockdiag.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	list, err := c.Port(uint16(port))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s facts.Socket) bool { return s.State == facts.Listen })
	if i < 0 {
		t.Fatalf("nothing listens on %d: %v", port, list)
	}
	return list[i]
}

func owners(t *testing.T, sockets ...facts.Socket) *facts.Owners {
	t.Helper()
	o, err := Owners(t.Context(), sockets)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// ownersAs looks as another user.
func ownersAs(t *testing.T, uid uint32, sockets ...facts.Socket) *facts.Owners {
	t.Helper()
	needRoot(t)
	c := start(t, "owners", func(c *exec.Cmd) { c.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid} })
	if err := json.NewEncoder(c.in).Encode(sockets); err != nil {
		t.Fatal(err)
	}
	c.in.Close()
	var o facts.Owners
	if !c.out.Scan() {
		t.Fatal("no answer")
	}
	if err := json.Unmarshal(c.out.Bytes(), &o); err != nil {
		t.Fatal(err)
	}
	return &o
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func pidsOf(o *facts.Owners, s facts.Socket) (pids []int) {
	for _, p := range o.Of(s) {
		pids = append(pids, p.PID)
	}
	return pids
}

func TestOwners(t *testing.T) {
	c := start(t, "listen", nil)
	s := listener(t, c.number(t))
	o := owners(t, s)
	if got := pidsOf(o, s); !slices.Equal(got, []int{c.pid}) {
		t.Fatalf("got %v, want %d", got, c.pid)
	}
	h := o.Holders[s.Inode][0]
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", h.PID, h.FD))
	if err != nil || link != fmt.Sprintf("socket:[%d]", s.Inode) || h.Attribution != facts.ByDescriptor {
		t.Errorf("holder %+v: descriptor is %q, %v", h, link, err)
	}
	if want := allReadable(t); o.Complete != want {
		t.Errorf("complete: %v, want %v", o.Complete, want)
	}
	if got := owners(t, facts.Socket{Inode: 0, UID: 0}); len(got.Processes) != 0 || !got.Complete {
		t.Errorf("a socket without an inode: %+v", got)
	}
}

// allReadable tells, the slow way, whether we may look into every process. Even
// root may not where a security module or a capability set forbids it.
func allReadable(t *testing.T) bool {
	t.Helper()
	pids, err := PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if len(fds) > 0 {
			_, err = os.Readlink(filepath.Join(dir, fds[0].Name()))
		}
		if os.IsPermission(err) && mayHold(pid) {
			return false
		}
	}
	return true
}

func TestOwnersNoTime(t *testing.T) {
	c := start(t, "listen", nil)
	s := listener(t, c.number(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o, err := Owners(ctx, []facts.Socket{s})
	if err != nil || o.Complete || len(o.Processes) != 0 {
		t.Errorf("got %+v, %v", o, err)
	}
}

// TestOwnersInherited has a child that holds the listener of its parent, which
// then ends.
func TestOwnersInherited(t *testing.T) {
	c := start(t, "pass", nil)
	s := listener(t, c.number(t))
	heir := c.number(t)
	if got := pidsOf(owners(t, s), s); !slices.Equal(got, []int{c.pid, heir}) {
		t.Fatalf("both: got %v, want %v", got, []int{c.pid, heir})
	}
	// A byte on the input would do for the parent, if the child did not take it.
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Process.Wait(); err != nil { // Cmd.Wait would close the input, and the child ends with it
		t.Fatal(err)
	}
	o := owners(t, s)
	if got := pidsOf(o, s); !slices.Equal(got, []int{heir}) {
		t.Fatalf("orphan: got %v, want %d", got, heir)
	}
	if o.Processes[0].PPID == c.pid {
		t.Error("the parent is still there")
	}
}

// TestOwnersSetuid: the process has another uid than the socket.
func TestOwnersSetuid(t *testing.T) {
	needRoot(t)
	c := start(t, "drop", nil)
	s := listener(t, c.number(t))
	if !c.out.Scan() {
		t.Fatal("no word")
	}
	o := owners(t, s)
	if got := pidsOf(o, s); !slices.Equal(got, []int{c.pid}) || s.UID != 0 || o.Processes[0].UID != nobody {
		t.Errorf("got %+v of %+v", o.Processes, s)
	}
}

func TestOwnersFirstThreadGone(t *testing.T) {
	c := start(t, "headless", nil)
	s := listener(t, c.number(t))
	state := ""
	for end := time.Now().Add(5 * time.Second); state != "Z" && time.Now().Before(end); {
		p, err := Describe(c.pid)
		if err != nil {
			t.Fatal(err)
		}
		state = p.State
	}
	if state != "Z" {
		t.Fatalf("the first thread is still there: %s", state)
	}
	if got := pidsOf(owners(t, s), s); !slices.Equal(got, []int{c.pid}) {
		t.Errorf("got %v, want %d", got, c.pid)
	}
}

// makeCgroup makes a cgroup2 directory and removes it after the processes in
// it, which tests start later, are gone.
func makeCgroup(t *testing.T, name string) string {
	t.Helper()
	needRoot(t)
	mounts, err := parseFile("/proc/self/mountinfo", ParseMountinfo)
	if err != nil {
		t.Fatal(err)
	}
	top, ok := locate(mounts, "cgroup2", "", "/")
	if !ok {
		t.Skip("no cgroup2")
	}
	dir := filepath.Join(top, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("cgroup2 may not be changed: %v", err)
	}
	t.Cleanup(func() {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("0"), 0)
		if err := os.Remove(dir); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	return dir
}

// in starts the child inside the cgroup.
func in(t *testing.T, dir string) func(*exec.Cmd) {
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func(c *exec.Cmd) { c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(f.Fd()) }
}

func TestOwnersByCgroup(t *testing.T) {
	dir := makeCgroup(t, fmt.Sprintf("loopdoctor-test-%d", os.Getpid()))
	c := start(t, "listen", in(t, dir))
	s := listener(t, c.number(t))
	if s.Cgroup < 2 {
		t.Fatalf("no cgroup: %+v", s)
	}
	// As root, by its handle and by walking.
	mounts, _ := parseFile("/proc/self/mountinfo", ParseMountinfo)
	ids := map[uint64]bool{s.Cgroup: true}
	if got := directories(t.Context(), mounts, ids); got[s.Cgroup] != dir {
		t.Errorf("by handle: %v", got)
	}
	walked := map[uint64]string{}
	top, _ := locate(mounts, "cgroup2", "", "/")
	if walk(t.Context(), top, ids, walked); walked[s.Cgroup] != dir {
		t.Errorf("by walking: %v", walked)
	}
	o, err := Owners(t.Context(), []facts.Socket{s})
	if err != nil || !slices.Equal(pidsOf(o, s), []int{c.pid}) || o.Holders[s.Inode][0].Attribution != facts.ByDescriptor {
		t.Errorf("root: %+v, %v", o, err)
	}
	want := map[uint64][]facts.Holder{s.Inode: {{PID: c.pid, Attribution: facts.ByCgroup}}}
	if o := ownersAs(t, nobody, s); !reflect.DeepEqual(o.Holders, want) || o.Complete || len(o.Processes) != 1 || o.Processes[0].Name == "" || o.Processes[0].Exe != "" {
		t.Errorf("nobody: %+v", o)
	}
	// A second process: now nobody can tell.
	start(t, "listen", in(t, dir)).number(t)
	if o := ownersAs(t, nobody, s); len(o.Holders) != 0 || o.Complete {
		t.Errorf("two processes: %+v", o)
	}
}

func TestOwnersByUnit(t *testing.T) {
	dir := makeCgroup(t, fmt.Sprintf("loopdoctor-test-%d.service", os.Getpid()))
	c := start(t, "listen", in(t, dir))
	s := listener(t, c.number(t))
	start(t, "listen", in(t, dir)).number(t)
	o := ownersAs(t, nobody, s)
	if !slices.Equal(pidsOf(o, s), []int{c.pid}) || o.Processes[0].Unit != filepath.Base(dir) {
		t.Errorf("got %+v", o)
	}
}

// TestOwnersAsNobody sees its own processes by descriptor even so.
func TestOwnersAsNobody(t *testing.T) {
	needRoot(t)
	c := start(t, "listen", func(c *exec.Cmd) { c.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody} })
	mine := listener(t, c.number(t))
	theirs := listener(t, start(t, "listen", nil).number(t))
	o := ownersAs(t, nobody, mine, theirs)
	if !slices.Equal(pidsOf(o, mine), []int{c.pid}) || o.Holders[mine.Inode][0].Attribution != facts.ByDescriptor {
		t.Errorf("mine: %+v", o)
	}
	if len(o.Of(theirs)) != 0 && o.Holders[theirs.Inode][0].Attribution == facts.ByDescriptor || o.Complete {
		t.Errorf("theirs: %+v", o)
	}
}
