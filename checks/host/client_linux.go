package host

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// entered is set to the number of the process, or the file, into whose network
// namespace loopdoctor has gone.
const entered = "LOOPDOCTOR_ENTERED"

// linuxProcess is the client that a process is. Once loopdoctor has gone to its
// network namespace that one is no other, but still worth telling.
func linuxProcess(pid int) (facts.Identity, error) {
	id, err := process.Client(pid)
	if err != nil {
		return id, err
	}
	id.User = userName(id.UID)
	asClient(id, func() { // an error is for Try to tell
		if groups, err := unix.Getgroups(); err == nil && !sameGroups(id, groups) {
			id.Lacks = append(id.Lacks, "its groups (needs root)")
		}
		if id.LowPort && !hasCapability(unix.CAP_NET_BIND_SERVICE) {
			id.Lacks = append(id.Lacks, "its right to ports below 1024 (needs root)")
		}
	})
	if os.Getenv(entered) != "" && id.NetNS == 0 {
		id.NetNS, _ = inode("/proc/self/net/tcp")
	}
	return id, nil
}

// asClient runs do on a thread that is the client, as the kernel sees it: uid,
// gid and groups, and no capabilities, since they go with uid 0. Raw system calls
// on purpose: Go's own would change every thread. The thread is never unlocked,
// so the runtime ends it together with the goroutine.
func asClient(id facts.Identity, do func()) error {
	if isUs(id) {
		do()
		return nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		// The first thread is the one that /proc shows as the process, and it does
		// not end. It waits, so that another one is taken.
		if unix.Gettid() == unix.Getpid() {
			done <- asClient(id, do)
			runtime.UnlockOSThread()
			return
		}
		err := become(id)
		if err == nil {
			err = guard(func() error { do(); return nil })
		}
		done <- err
	}()
	return <-done
}

// isUs tells whether loopdoctor is the client already. Of a user the uid decides:
// who asks as oneself means oneself as one is.
func isUs(id facts.Identity) bool {
	if int(id.UID) != os.Geteuid() {
		return false
	}
	if id.PID == 0 {
		return true
	}
	groups, err := os.Getgroups()
	return err == nil && int(id.GID) == os.Getegid() && sameGroups(id, groups)
}

// sameGroups does not count the primary group, which is among the others on some
// systems.
func sameGroups(id facts.Identity, groups []int) bool {
	for _, g := range groups {
		if uint32(g) != id.GID && !slices.Contains(id.Groups, uint32(g)) {
			return false
		}
	}
	return !slices.ContainsFunc(id.Groups, func(g uint32) bool { return g != id.GID && !slices.Contains(groups, int(g)) })
}

func become(id facts.Identity) error {
	var groups unsafe.Pointer
	if len(id.Groups) > 0 {
		groups = unsafe.Pointer(&id.Groups[0])
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(id.Groups)), uintptr(groups), 0); e != 0 && e != unix.EPERM && e != unix.EINVAL {
		return e // EPERM, EINVAL: a user namespace that forbids it, or does not know them; the uid still counts
	}
	gid, uid := uintptr(id.GID), uintptr(id.UID)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 && e != unix.EINVAL {
		return e // EINVAL: the gid is not mapped here
	}
	if id.LowPort && id.UID != 0 {
		unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0) // of this thread
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return e
	}
	if id.LowPort && id.UID != 0 {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		caps := [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_BIND_SERVICE, Permitted: 1 << unix.CAP_NET_BIND_SERVICE}}
		unix.Capset(&hdr, &caps[0])
	}
	return nil
}

// socketOf makes a socket the way the client's are made. It is to be called as the
// client.
func socketOf(c client, family, kind int) (int, error) {
	if c.socket != nil {
		return c.socket(family, kind)
	}
	return unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
}

// tryClient words why loopdoctor cannot be the client.
func tryClient(id facts.Identity) error {
	err := asClient(id, func() {})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		who := ""
		if id.PID != 0 {
			who = fmt.Sprintf(", and %s runs as %s", id.Name(), facts.Identity{UID: id.UID, User: id.User}.Name())
		}
		return fmt.Errorf("only root may act as another user%s: run it with sudo", who)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("uid %d does not exist in this user namespace", id.UID)
	}
	return fmt.Errorf("act as %s: %w", id.Name(), err)
}

// enterNetwork goes to the network namespace of the client, and begins anew
// there: a program is in one network as a whole only if it was started there.
// The thread that calls exec(2) is the one that stays, with its namespace.
func enterNetwork(id facts.Identity) error {
	pid := strconv.Itoa(id.PID)
	if mine, ok := inode("/proc/self/net/tcp"); ok && mine == id.NetNS {
		return nil // it is done
	}
	if os.Getenv(entered) != "" {
		return fmt.Errorf("%s moves from one network namespace to another", id.Name())
	}
	// Where it lives is said in any case: its localhost is another one.
	lives := fmt.Sprintf("it lives in network namespace %d, whose localhost is another than yours", id.NetNS)
	fd, err := unix.Open("/proc/"+pid+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s; to look there needs root (%w): run it with sudo, or sudo nsenter --target %s --net loopdoctor …", lives, err, pid)
	}
	err = goThere(fd, pid)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%s; to look there needs root (%w): run it with sudo, or sudo nsenter --target %s --net loopdoctor …", lives, err, pid)
	}
	return fmt.Errorf("%s; to begin anew there: %w", lives, err)
}

// goThere begins anew in the network namespace of the descriptor. It returns only if
// it cannot; then the thread may be lost, and nothing is looked at from it.
func goThere(fd int, what string) error {
	runtime.LockOSThread()
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		unix.Close(fd)
		runtime.UnlockOSThread()
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), entered+"="+what))
}

// linuxEnviron is what the process was started with. Of loopdoctor itself sudo, or
// su, has taken away what tells of the session: a shell above it still knows.
func linuxEnviron(pid int) ([]string, error) {
	if pid != 0 {
		return process.Environ(pid)
	}
	own := beforeSudo(os.Environ())
	has := func(name string) bool {
		return slices.ContainsFunc(own, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	}
	for _, above := range process.Above() {
		if slices.ContainsFunc(session, has) {
			break
		}
		environ, _ := process.Environ(above) // another user's needs root
		for _, kv := range environ {
			if name, _, _ := strings.Cut(kv, "="); slices.Contains(session, name) {
				own = append(own, kv)
			}
		}
	}
	return own, nil
}
