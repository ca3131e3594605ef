package process

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxMembers is how many processes of a cgroup are worth a look ahead of all
// others: beyond it the cgroup narrows nothing.
const maxMembers = 1000

// locate gives the directory of a cgroup: kind is the type of its file system,
// controller one of its options (empty for cgroup2).
func locate(mounts []Mount, kind, controller, cgroup string) (string, bool) {
	for i, m := range mounts {
		if covered(mounts, i) || m.Type != kind || controller != "" && !slices.Contains(strings.Split(m.Super, ","), controller) {
			continue
		}
		// A bind mount shows a part of the hierarchy only.
		rest, ok := strings.CutPrefix(cgroup, strings.TrimSuffix(m.Root, "/"))
		if ok && (rest == "" || rest[0] == '/') && !strings.Contains(cgroup, "/..") {
			return path.Join(m.Point, rest), true
		}
	}
	return "", false
}

// covered tells whether a later mount lies over this one, so that its path leads elsewhere.
func covered(mounts []Mount, i int) bool {
	return slices.ContainsFunc(mounts[i+1:], func(m Mount) bool {
		rest, ok := strings.CutPrefix(mounts[i].Point, strings.TrimSuffix(m.Point, "/"))
		return ok && (rest == "" || rest[0] == '/')
	})
}

// directories finds the cgroup2 directories with those ids, which are the
// inode numbers of the directories. Those it does not find are not in it.
func directories(ctx context.Context, mounts []Mount, ids map[uint64]bool) map[uint64]string {
	found := map[uint64]string{}
	top := ""
	for i, m := range mounts {
		if m.Type == "cgroup2" && !covered(mounts, i) {
			top = m.Point
			break
		}
	}
	if top == "" || len(ids) == 0 {
		return found
	}
	missing := maps.Clone(ids)
	if fd, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		for id := range ids {
			if dir, ok := byHandle(fd, id); ok {
				found[id] = dir
				delete(missing, id)
			}
		}
		unix.Close(fd)
	}
	if len(missing) > 0 {
		walk(ctx, top, missing, found)
	}
	return found
}

// byHandle opens the cgroup by its id: the handle of a kernfs file is the id
// alone, FILEID_KERNFS of the kernel's include/linux/exportfs.h. It needs
// CAP_DAC_READ_SEARCH.
func byHandle(mount int, id uint64) (string, bool) {
	h := unix.NewFileHandle(0xfe, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(mount, h, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", false
	}
	defer unix.Close(fd)
	dir, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return dir, err == nil && strings.HasPrefix(dir, "/") && !strings.HasSuffix(dir, " (deleted)")
}

// walk looks through the tree, which needs no privilege. The directory entries
// carry the inode numbers: no file is stat'ed.
func walk(ctx context.Context, top string, missing map[uint64]bool, found map[uint64]string) {
	buf := make([]byte, 32<<10)
	n := 0
	for dirs := []string{top}; len(dirs) > 0 && len(missing) > 0 && n < maxTree && ctx.Err() == nil; n++ {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		entries(fd, buf, func(e entry) bool {
			if e.kind != unix.DT_DIR || e.name[0] == '.' {
				return true
			}
			sub := path.Join(dir, string(e.name))
			if missing[e.inode] {
				found[e.inode] = sub
				delete(missing, e.inode)
			}
			dirs = append(dirs, sub)
			return true
		})
		unix.Close(fd)
	}
}

// maxCgroups is how many cgroups of a container, or of the whole tree, are looked at:
// who is in a container may make as many below its own as he likes.
const (
	maxCgroups = 256
	maxTree    = 20_000
)

// members lists the processes of the cgroup and of those below it; ok is false
// when they are too many to be of use, some are outside our PID namespace, or ctx ended.
func members(ctx context.Context, top string) (pids []int, ok bool) {
	dirs := []string{top}
	for n := 0; n < len(dirs); n++ {
		if ctx.Err() != nil || len(dirs) > maxCgroups {
			return pids, false
		}
		for line, err := range linesOf(path.Join(dirs[n], "cgroup.procs")) {
			pid, bad := strconv.Atoi(line)
			if err != nil || bad != nil || pid == 0 || len(pids) == maxMembers {
				return pids, false
			}
			pids = append(pids, pid)
		}
		dir, err := os.Open(dirs[n])
		if err != nil {
			return pids, false
		}
		// A cgroup has some fifty files of the kernel's, and its directories among them.
		subs, err := dir.ReadDir(2 * maxCgroups)
		dir.Close()
		if err != nil && !errors.Is(err, io.EOF) || len(subs) == 2*maxCgroups {
			return pids, false
		}
		for _, sub := range subs {
			if sub.IsDir() {
				dirs = append(dirs, path.Join(dirs[n], sub.Name()))
			}
		}
	}
	return pids, true
}
