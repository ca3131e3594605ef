package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// A socket belongs for ever to the cgroup of the task that made it
// (cgroup_sk_alloc of the kernel's kernel/cgroup/cgroup.c); packet filters and BPF
// programs of cgroups go by that. A thread cannot be in another cgroup than its
// process. So a second loopdoctor is started inside the client's cgroup, makes
// the sockets there, and hands them over: all else is done with them here.

// makesSockets tells a loopdoctor that it is the second one. Its value is the
// client, whose uid and groups the sockets carry, too.
const makesSockets = "LOOPDOCTOR_MAKES_SOCKETS"

// Time limits: of one socket, and of the second loopdoctor's life. It ends at
// once when the first one does.
const (
	oneSocket    = time.Second
	makerForLife = time.Minute
)

// second is the second loopdoctor. In any other one it does nothing.
func second() {
	as := os.Getenv(makesSockets)
	if as == "" {
		return
	}
	os.Unsetenv(makesSockets)
	time.AfterFunc(makerForLife, func() { os.Exit(1) })
	var id facts.Identity
	if json.Unmarshal([]byte(as), &id) == nil {
		asClient(id, handOut)
	}
	os.Exit(0)
}

// handOut makes a socket for each question on descriptor 3, "2 1" for family and
// type, and answers "0" with the socket, or the number of the error.
func handOut() {
	buf := make([]byte, 64)
	for {
		n, err := unix.Read(3, buf)
		if err != nil || n == 0 {
			return
		}
		var family, kind int
		if _, err := fmt.Sscan(string(buf[:n]), &family, &kind); err != nil {
			return
		}
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		var rights []byte
		var errno unix.Errno
		if errors.As(err, &errno); err == nil {
			rights = unix.UnixRights(fd)
		}
		if unix.Sendmsg(3, []byte(strconv.Itoa(int(errno))), rights, nil, 0) != nil {
			return
		}
		if err == nil {
			unix.Close(fd)
		}
	}
}

// maker is the second loopdoctor as the first one sees it.
type maker struct {
	conn int
	pid  int
	mu   sync.Mutex // one question at a time
}

// errNoAnswer is no error of the socket: nothing was found out about the client.
var errNoAnswer = errors.New("no socket came out of the client's cgroup")

// startMaker starts it. A frozen cgroup is left alone: what enters it stands still.
func startMaker(id facts.Identity) (*maker, error) {
	dir, frozen, err := process.CgroupDir(id.Cgroup)
	switch {
	case err != nil:
		return nil, err
	case frozen:
		return nil, errors.New("it is frozen")
	}
	group, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	as, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pair[1])
	std := null.Fd()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"loopdoctor"}, &syscall.ProcAttr{
		Env: []string{makesSockets + "=" + string(as)}, Files: []uintptr{std, std, std, uintptr(pair[1])},
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())},
	})
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	limit := unix.NsecToTimeval(oneSocket.Nanoseconds())
	unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	return &maker{conn: pair[0], pid: pid}, nil
}

// socket asks for one.
func (m *maker) socket(family, kind int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := unix.Write(m.conn, []byte(fmt.Sprint(family, kind))); err != nil {
		return -1, errNoAnswer
	}
	buf, oob := make([]byte, 16), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(m.conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, errNoAnswer
	}
	if errno, err := strconv.Atoi(string(buf[:n])); err == nil && errno != 0 {
		return -1, unix.Errno(errno)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return -1, errNoAnswer
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return -1, errNoAnswer
	}
	return fds[0], nil
}

// end leaves nothing behind, also where the cgroup has been frozen meanwhile.
func (m *maker) end() {
	unix.Close(m.conn)
	unix.Kill(m.pid, unix.SIGKILL)
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(m.pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// inCgroup prepares a client whose cgroup is another than ours. What cannot be
// taken on is written into the identity.
func inCgroup(id *facts.Identity, forbidden bool) (socket func(family, kind int) (int, error), end func()) {
	m, err := (*maker)(nil), errors.New("--no-system-changes")
	if !forbidden {
		m, err = startInTime(*id)
	}
	if err == nil {
		var fd int
		if fd, err = m.socket(unix.AF_INET, unix.SOCK_STREAM); err == nil {
			unix.Close(fd)
			return m.socket, m.end
		}
		m.end()
	}
	id.Lacks = append(id.Lacks, "its cgroup ("+whyNot(err)+")")
	return nil, func() {}
}

// startInTime does not wait for a cgroup that is frozen at this very moment.
func startInTime(id facts.Identity) (*maker, error) {
	type result struct {
		m   *maker
		err error
	}
	started := make(chan result, 1)
	go func() {
		m, err := startMaker(id)
		started <- result{m, err}
	}()
	select {
	case r := <-started:
		return r.m, r.err
	case <-time.After(oneSocket):
		return nil, errNoAnswer
	}
}

func whyNot(err error) string {
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return "needs root"
	}
	return err.Error()
}
