package host

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// lookNames tells what the name resolves to for the user with that uid: files
// count as missing that this user may not read. askDNS allows to ask name
// servers that are not on loopback.
func lookNames(ctx context.Context, name string, uid uint32, askDNS bool) (*facts.Names, error) {
	env := nameEnv{read: readFile, installed: nssInstalled, source: sourceOf, askDNS: askDNS}
	// That root could not take the rights of the user says nothing about what
	// the user may read.
	var cannot error
	if os.Geteuid() == 0 && uid != 0 {
		env.read = func(path string) (data []byte, info fs.FileInfo, err error) {
			if became := readingAs(uid, func() { data, info, err = readFile(path) }); became != nil {
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

// readingAs runs the look with the file system rights of another user, which root
// alone can take.
func readingAs(uid uint32, look func()) error {
	done := make(chan error)
	go func() {
		// The thread keeps the other identity, so it is never unlocked: the
		// runtime ends it together with this goroutine.
		runtime.LockOSThread()
		err := becomeForFiles(uid)
		if err == nil {
			look()
		}
		done <- err
	}()
	return <-done
}

// becomeForFiles gives this thread the file system rights of the user: uid,
// primary group and groups. setfsuid(2) takes the capabilities that override
// permissions away. The raw system call for the groups is on purpose: the
// wrapper of package syscall changes every thread.
func becomeForFiles(uid uint32) error {
	var groups []uint32
	gid := uid
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		ids, _ := u.GroupIds()
		for _, id := range ids {
			if n, err := strconv.ParseUint(id, 10, 32); err == nil {
				groups = append(groups, uint32(n))
			}
		}
		if n, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
			gid = uint32(n)
		}
	}
	if err := setThreadGroups(groups); err != nil {
		return fmt.Errorf("take the groups of uid %d: %w", uid, err)
	}
	// Neither call reports an error: asking for an id that does not exist
	// returns the one in force.
	unix.Setfsgid(int(gid))
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
