package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// dialUnix connects to a UNIX socket as a user: what the other side sees as our
// uid, and where root's rights must not lead astray, is that one. It does not
// wait where the queue is full.
func dialUnix(path string, uid uint32) (net.Conn, error) {
	var c net.Conn
	var failed error
	err := asClient(UID(uid), func() {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			failed = err
			return
		}
		f := os.NewFile(uintptr(fd), path)
		defer f.Close()
		if failed = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); failed == nil {
			c, failed = net.FileConn(f)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return c, nil
}

// asUser reads files as the user who named them: what only root may read must not
// come out of them. Who is not root has no more than his own rights anyway.
func asUser(uid uint32, read func()) error {
	if os.Geteuid() != 0 || uid == 0 {
		read()
		return nil
	}
	return asClient(UID(uid), read)
}

// needsRoot tells whether root would see more than was seen as the user.
func needsRoot(err error) bool { return errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 }

// nobody is who a process belongs to of which that is not known.
const nobody = 65534

// namedBy is the user who gave a process its arguments.
func namedBy(p facts.Process) uint32 {
	if p.UID != 0 || p.PID == 0 {
		return p.UID
	}
	uid, err := process.RealUID(p.PID)
	if err != nil {
		return nobody
	}
	return uid
}

// peerUID is who listens at the other end; nobody if that is not known.
func peerUID(c net.Conn) uint32 {
	uid := uint32(nobody)
	if u, ok := c.(*net.UnixConn); ok {
		if raw, err := u.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) {
				if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					uid = cred.Uid
				}
			})
		}
	}
	return uid
}

// userRuntimes lists the users whose own services and containers are of
// interest: the clients, and for root whoever has a session.
func userRuntimes(as []uint32) map[uint32]string {
	dirs := map[uint32]string{}
	add := func(uid uint32) {
		dir := fmt.Sprintf("/run/user/%d", uid)
		if present(dir) && len(dirs) < 8 {
			dirs[uid] = dir
		}
	}
	me := uint32(os.Geteuid())
	add(me)
	for _, uid := range as {
		if me == 0 || uid == me {
			add(uid)
		}
	}
	if entries, err := os.ReadDir("/run/user"); err == nil && me == 0 {
		for _, e := range entries {
			var uid uint32
			if _, err := fmt.Sscanf(e.Name(), "%d", &uid); err == nil {
				add(uid)
			}
		}
	}
	return dirs
}
