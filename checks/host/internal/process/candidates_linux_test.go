package process

import (
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// waits starts a program that waits for its input to end.
func waits(t *testing.T, dir string, env []string, extra *os.File, argv ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir, c.Env = dir, append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	if extra != nil {
		c.ExtraFiles = []*os.File{extra}
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	// A byte that comes back: it is past exec.
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return c
}

func noListeners() (tcp map[uint64]netip.AddrPort, unix map[uint64]string, err error) {
	return nil, nil, nil
}

func TestCandidates(t *testing.T) {
	project := t.TempDir()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	on := netip.MustParseAddrPort(l.Addr().String())

	// dd copies what it is given; the port stands where only we look.
	argument := waits(t, "/", nil, nil, "sh", "-c", "exec 3<&0; dd bs=1 2>/dev/null", "--port", "62893")
	variable := waits(t, "/", []string{"PORT=62893"}, nil, "dd", "bs=1")
	neighbour := waits(t, project, nil, file, "dd", "bs=1")
	other := waits(t, "/", []string{"DB_PORT=62893", "ID=62893"}, file, "dd", "bs=1")
	idle := waits(t, project, nil, nil, "dd", "bs=1")

	q := Query{Port: 62893, Cwd: project, Listeners: func() (map[uint64]netip.AddrPort, map[uint64]string, error) {
		return map[uint64]netip.AddrPort{st.Ino: on}, nil, nil
	}}
	got, err := Candidates(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	find := func(c *exec.Cmd) *facts.Candidate {
		i := slices.IndexFunc(got.Found, func(x facts.Candidate) bool { return x.PID == c.Process.Pid })
		if i < 0 {
			return nil
		}
		return &got.Found[i]
	}
	if c := find(argument); c == nil || len(c.Names) != 1 || c.Names[0] != (facts.Mention{Where: "argument 4", Text: "--port 62893", Sure: true}) || !c.Sockets || len(c.Listens) > 0 || c.Since.IsZero() {
		t.Errorf("by an argument: %+v", c)
	}
	if c := find(variable); c == nil || len(c.Names) != 1 || c.Names[0].Text != "PORT=62893" || c.Gone {
		t.Errorf("by a variable: %+v", c)
	}
	if c := find(neighbour); c == nil || !c.InProject || !slices.Equal(c.Listens, []netip.AddrPort{on}) || c.Told {
		t.Errorf("in the project: %+v", c)
	}
	if c := find(other); c != nil {
		t.Errorf("it names a database: %+v", c)
	}
	if c := find(idle); c != nil {
		t.Errorf("it is in the project and listens on nothing: %+v", c)
	}
	if slices.ContainsFunc(got.Found, func(c facts.Candidate) bool { return c.PID == os.Getpid() }) {
		t.Error("loopdoctor itself is a candidate")
	}
}

// Who takes the place of one that ended while loopdoctor looked is known by its
// parent and its command line.
func TestCandidateThatIsStartedAgain(t *testing.T) {
	start := func() *exec.Cmd { return waits(t, "/", nil, nil, "sh", "-c", "dd bs=1 2>/dev/null", "--port=62893") }
	first := start()
	var second *exec.Cmd
	got, err := Candidates(t.Context(), Query{Port: 62893, Listeners: func() (map[uint64]netip.AddrPort, map[uint64]string, error) {
		if second == nil {
			_ = first.Process.Kill()
			_ = first.Wait()
			second = start()
		}
		return noListeners()
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Found) != 1 || got.Found[0].PID != second.Process.Pid || got.Found[0].Restarts != 1 || got.Found[0].Gone {
		t.Errorf("got %+v, want process %d with one restart", got.Found, second.Process.Pid)
	}
}

func TestCandidateThatEnds(t *testing.T) {
	first := waits(t, "/", nil, nil, "sh", "-c", "dd bs=1 2>/dev/null", "--port=62893")
	got, err := Candidates(t.Context(), Query{Port: 62893, Listeners: func() (map[uint64]netip.AddrPort, map[uint64]string, error) {
		_ = first.Process.Kill()
		_ = first.Wait()
		return noListeners()
	}})
	if err != nil || len(got.Found) != 1 || !got.Found[0].Gone || got.Found[0].Sockets {
		t.Errorf("got %+v %v, want one that is gone", got, err)
	}
}

func TestProject(t *testing.T) {
	t.Setenv("HOME", "/srv/ann")
	for dir, want := range map[string]bool{"/home/ann/shop": true, "/app": true, "/srv/shop": true, "/": false, "": false, "shop": false, "/home/ann": false, "/root": false, "/srv/ann": false, "/tmp": false, "/usr": false} {
		if Project(dir) != want {
			t.Errorf("%q: got %v", dir, !want)
		}
	}
}
