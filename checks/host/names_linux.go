package host

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// lookNames tells what the name resolves to for the client: files count as missing
// that it may not read, and a process may see others than loopdoctor. askDNS
// allows to ask name servers that are not on loopback.
func lookNames(ctx context.Context, name string, as facts.Identity, askDNS bool) (*facts.Names, error) {
	env := nameEnv{read: readFile, installed: nssInstalled, source: sourceOf, askDNS: askDNS}
	if as.Mounts {
		root, err := openRoot(as.PID)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		env.wget = func() string { return root.busyBoxWget(as.PID) }
		if !root.same("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf") {
			env.read, env.installed, env.root, env.place = root.read, root.installed, root.Name(), root.place
		}
	}
	if as.Etc != "" {
		env.layOver(as.Etc)
	}
	read := env.read
	// That root could not take the rights of the user says nothing about what
	// the user may read.
	var cannot error
	if os.Geteuid() == 0 && as.UID != 0 {
		env.read = func(path string) (data []byte, info fs.FileInfo, err error) {
			if became := readingAs(as, func() { data, info, err = read(path) }); became != nil {
				cannot = became
			}
			return data, info, err
		}
	}
	n, err := gatherNames(ctx, env, name)
	if cannot != nil {
		return nil, cannot
	}
	return n, err
}

// layOver puts the files of a directory over those of /etc, as "ip netns exec" does.
func (e *nameEnv) layOver(dir string) {
	read := e.read
	over := func(path string) string {
		if name, ok := strings.CutPrefix(path, "/etc/"); ok && present(filepath.Join(dir, name)) {
			return filepath.Join(dir, name)
		}
		return path
	}
	e.read = func(path string) ([]byte, fs.FileInfo, error) { return read(over(path)) }
	e.place = over
}

// linuxReadAs reads as the client where loopdoctor is root and the client is not.
func linuxReadAs(as facts.Identity, read func()) error {
	if os.Geteuid() != 0 || as.UID == 0 {
		read()
		return nil
	}
	return readingAs(as, read)
}

// readingAs runs the look with the file system rights of another user, which root
// alone can take.
func readingAs(as facts.Identity, look func()) error {
	done := make(chan error)
	go func() {
		// The thread keeps the other identity, so it is never unlocked: the
		// runtime ends it together with this goroutine.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // as in asClient: the first thread does not end, and shows as the process
			done <- readingAs(as, look)
			runtime.UnlockOSThread()
			return
		}
		err := becomeForFiles(as)
		if err == nil {
			err = guard(func() error { look(); return nil })
		}
		done <- err
	}()
	return <-done
}

// becomeForFiles gives this thread the file system rights of the client: uid,
// primary group and groups. setfsuid(2) takes the capabilities that override
// permissions away. The raw system call for the groups is on purpose: the
// wrapper of package syscall changes every thread.
func becomeForFiles(as facts.Identity) error {
	uid := as.UID
	if err := setThreadGroups(as.Groups); err != nil {
		return fmt.Errorf("take the groups of uid %d: %w", uid, err)
	}
	// Neither call reports an error: asking for an id that does not exist
	// returns the one in force.
	unix.Setfsgid(int(as.GID))
	unix.Setfsuid(int(uid))
	if now, _ := unix.SetfsuidRetUid(-1); uint32(now) != uid {
		return fmt.Errorf("take the rights of uid %d: %w", uid, unix.EPERM)
	}
	return nil
}

func setThreadGroups(groups []uint32) error {
	var p unsafe.Pointer
	if len(groups) > 0 {
		p = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(p), 0); errno != 0 {
		return errno
	}
	return nil
}
