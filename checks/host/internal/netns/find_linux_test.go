package netns

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

const (
	helperVariable = "LOOPDOCTOR_TEST_HELPER"
	nobody         = 65534
	talks          = 60
)

// helpers run in a process of their own, executed through /proc/self/exe: the
// test binary's folder is closed to other users.
var helpers = map[string]func(){
	// listen prints its port and stays until its standard input ends.
	"listen": func() {
		l, err := net.Listen("tcp", ":0") // lo is down in there: no 127.0.0.1
		check(err)
		fmt.Println(l.Addr().(*net.TCPAddr).Port)
		_, _ = io.Copy(io.Discard, os.Stdin)
	},
	// crowd listens on more ports than a page of the kernel's list has lines, and on
	// each for one family only.
	"crowd": func() {
		for i := range 120 {
			_, err := net.Listen([]string{"tcp4", "tcp6"}[i%2], fmt.Sprintf(":%d", 20000+i))
			check(err)
		}
		fmt.Println(20119)
		_, _ = io.Copy(io.Discard, os.Stdin)
	},
	// talk has more connections over its lo than a page of the kernel's list has lines.
	"talk": func() {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			check(fmt.Errorf("%w: %s", err, out))
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		var open []net.Conn
		for range talks {
			c, err := net.Dial("tcp", l.Addr().String())
			check(err)
			open = append(open, c)
		}
		fmt.Println(l.Addr().(*net.TCPAddr).Port)
		_, _ = io.Copy(io.Discard, os.Stdin)
		runtime.KeepAlive(open)
	},
	// find looks for the port that it reads and prints what it found.
	"find": func() {
		var port uint16
		check(json.NewDecoder(os.Stdin).Decode(&port))
		n, err := Find(context.Background(), port)
		check(err)
		check(json.NewEncoder(os.Stdout).Encode(n))
	},
	// blue, in a mount namespace of its own, has a namespace of "ip netns" in
	// which no process lives, holds a listener there, and looks for it: as it
	// is, then as nobody.
	"blue": func() {
		check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		check(unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
		out, err := exec.Command("ip", "netns", "add", "blue").CombinedOutput()
		if err != nil {
			check(fmt.Errorf("%w: %s", err, out))
		}
		port := make(chan int)
		var l net.Listener
		go onThread(func() {
			fd, err := unix.Open("/run/netns/blue", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			check(err)
			check(unix.Setns(fd, unix.CLONE_NEWNET))
			check(unix.Close(fd))
			l, err = net.Listen("tcp", ":0")
			check(err)
			port <- l.Addr().(*net.TCPAddr).Port
		})
		p := <-port
		n, err := Find(context.Background(), uint16(p))
		check(err)
		check(json.NewEncoder(os.Stdout).Encode(n))
		c := command("find")
		c.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader(strconv.Itoa(p)), os.Stdout, os.Stderr
		check(c.Run())
		runtime.KeepAlive(l)
	},
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

func command(helper string) *exec.Cmd {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), helperVariable+"="+helper)
	c.SysProcAttr = &syscall.SysProcAttr{}
	return c
}

// listenElsewhere starts a listener in a new network namespace.
func listenElsewhere(t testing.TB, change func(*syscall.SysProcAttr)) (pid int, port uint16) {
	t.Helper()
	return elsewhere(t, "listen", change)
}

func elsewhere(t testing.TB, helper string, change func(*syscall.SysProcAttr)) (pid int, port uint16) {
	t.Helper()
	c := command(helper)
	c.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	if change != nil {
		change(c.SysProcAttr)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	t.Cleanup(func() { in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return c.Process.Pid, uint16(n)
}

func find(t *testing.T, port uint16) *facts.Namespaces {
	t.Helper()
	n, err := Find(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func findAs(t *testing.T, uid uint32, port uint16) *facts.Namespaces {
	t.Helper()
	c := command("find")
	c.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	c.Stdin, c.Stderr = strings.NewReader(strconv.Itoa(int(port))), os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	var n facts.Namespaces
	if err := json.Unmarshal(out, &n); err != nil {
		t.Fatal(err)
	}
	return &n
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// expect wants one namespace with the listener, and that process.
func expect(t *testing.T, n *facts.Namespaces, pid int, port uint16, proven bool) {
	t.Helper()
	if len(n.Found) != 1 || n.Seen < 1 {
		t.Fatalf("found %+v", n)
	}
	f := n.Found[0]
	id, err := inode(procPath(pid, "net/tcp"))
	if err != nil || f.ID != id || f.ID == n.Mine {
		t.Errorf("namespace %d, want %d, %v; ours is %d", f.ID, id, err, n.Mine)
	}
	if len(f.Listeners) != 1 || f.Listeners[0].Local.Port() != port || f.Listeners[0].State != facts.Listen || f.Listeners[0].Inode == 0 {
		t.Errorf("listeners %+v", f.Listeners)
	}
	if f.Proven != proven || len(f.Processes) != 1 || f.Processes[0].PID != pid || f.Processes[0].Netns != f.ID {
		t.Errorf("proven %v, processes %+v, want %d", f.Proven, f.Processes, pid)
	}
}

func TestFind(t *testing.T) {
	needRoot(t)
	before, err := inode("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	pid, port := listenElsewhere(t, nil)
	pidOther, portOther := listenElsewhere(t, nil)
	n := find(t, port)
	expect(t, n, pid, port, true)
	if n.Mine != before || n.Seen < 2 {
		t.Errorf("%+v; ours is %d", n, before)
	}
	if port != portOther {
		expect(t, find(t, portOther), pidOther, portOther, true)
	}
	// Nobody of ours is left in there.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	if after, err := inode("/proc/self/net/tcp"); err != nil || after != before {
		t.Errorf("the first thread is in %d: %v", after, err)
	}
	for range 4 * len(tasks) { // whatever thread runs this
		if here, err := inode("/proc/thread-self/net/tcp"); err != nil || here != before {
			t.Fatalf("a thread is in %d: %v", here, err)
		}
		runtime.Gosched()
	}
}

// TestFindAsNobodyInACrowd finds every one of many listeners: the kernel's list of them
// is longer than what it hands out at once, and is not read beyond them.
func TestFindAsNobodyInACrowd(t *testing.T) {
	needRoot(t)
	pid, _ := elsewhere(t, "crowd", nil)
	for _, port := range []uint16{20000, 20001, 20060, 20118, 20119} {
		expect(t, findAs(t, nobody, port), pid, port, false)
	}
}

// The file names the namespace that it is of: of another one nothing is taken.
func TestReadListenersOfThatNamespaceAlone(t *testing.T) {
	needRoot(t)
	pid, port := listenElsewhere(t, nil)
	id := Of(pid)
	if all, err := readListeners(t.Context(), pid, id); err != nil || !slices.ContainsFunc(all, func(s facts.Socket) bool { return s.Local.Port() == port }) {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := readListeners(t.Context(), pid, Mine()); err == nil {
		t.Errorf("took %v for ours", all)
	}
}

// When the time is over nothing more is read, and that is told.
func TestReadInTime(t *testing.T) {
	s := &space{id: 1, pids: []int{os.Getpid()}}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if !read(over, []*space{s}, 80) || s.seen {
		t.Errorf("read after its time: %+v", s)
	}
	s.id = Mine()
	if read(t.Context(), []*space{s}, 80) || !s.seen {
		t.Errorf("not read: %+v", s)
	}
}

func TestBeyondListeners(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	const listen, open = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1\n", "   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 2 1\n"
	for text, want := range map[string]bool{"": false, "half a li": false, head: false, head + listen: false, head + listen + open: true, head + listen + open[:40]: false, head + listen + open + listen: false} {
		if got := beyondListeners([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestFindAsNobody sees the listener of root but not its descriptors.
func TestFindAsNobody(t *testing.T) {
	needRoot(t)
	pid, port := listenElsewhere(t, nil)
	expect(t, findAs(t, nobody, port), pid, port, false)
}

// TestFindOwnAsNobody sees its own process by descriptor, without setns.
func TestFindOwnAsNobody(t *testing.T) {
	needRoot(t)
	pid, port := listenElsewhere(t, func(a *syscall.SysProcAttr) { a.Credential = &syscall.Credential{Uid: nobody, Gid: nobody} })
	expect(t, findAs(t, nobody, port), pid, port, true)
}

// TestFindInUserNamespace has a container without root, as a user runs it.
func TestFindInUserNamespace(t *testing.T) {
	pid, port := listenElsewhere(t, func(a *syscall.SysProcAttr) {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	})
	expect(t, find(t, port), pid, port, true)
}

func TestFindOursIsNotOther(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n := find(t, uint16(l.Addr().(*net.TCPAddr).Port)); len(n.Found) != 0 || n.Mine == 0 {
		t.Errorf("found %+v", n)
	}
}

func TestFindNoTime(t *testing.T) {
	_, port := listenElsewhere(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err := Find(ctx, port)
	if err != nil || len(n.Found) != 0 || !strings.Contains(n.Partial, timeRanOut) {
		t.Errorf("got %+v, %v", n, err)
	}
}

// TestFindNamed has a namespace with a name and without a process.
func TestFindNamed(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip(8) to make a namespace as it does")
	}
	c := command("blue")
	c.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	var root, user facts.Namespaces
	if err := d.Decode(&root); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(&user); err != nil {
		t.Fatal(err)
	}
	if len(root.Found) != 1 || root.Found[0].Name != "blue" || !root.Found[0].Proven || root.Found[0].Processes[0].PID != c.Process.Pid || strings.Contains(root.Partial, needsRoot) {
		t.Errorf("root: %+v", root)
	}
	if len(user.Found) != 0 || !strings.Contains(user.Partial, needsRoot) {
		t.Errorf("nobody: %+v", user)
	}
}

func TestPinned(t *testing.T) {
	for m, want := range map[process.Mount]uint64{
		{Root: "net:[4026532204]", Type: "nsfs"}: 4026532204,
		{Root: "mnt:[4026532204]", Type: "nsfs"}: 0,
		{Root: "net:[4026532204]", Type: "ext4"}: 0,
		{Root: "net:[x]", Type: "nsfs"}:          0,
		{Root: "net:[", Type: "nsfs"}:            0,
	} {
		if n, ok := pinned(m); n != want || ok != (want != 0) {
			t.Errorf("%+v: %d, %v", m, n, ok)
		}
	}
}

// TestListening keeps what listens on the port.
func TestListening(t *testing.T) {
	mk := func(network string, state facts.State, port int) facts.Socket {
		var s facts.Socket
		s.Network, s.State = network, state
		s.Local = (&net.TCPAddr{IP: net.IPv4zero, Port: port}).AddrPort()
		return s
	}
	want := mk("tcp", facts.Listen, 80)
	got := listening([]facts.Socket{mk("tcp", facts.Established, 80), mk("udp", facts.Bound, 80), want, mk("tcp", facts.Listen, 81)}, 80)
	if !slices.Equal(got, []facts.Socket{want}) {
		t.Errorf("got %+v", got)
	}
}
