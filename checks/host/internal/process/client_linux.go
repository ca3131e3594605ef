package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Client says as whom the process connects, and where it lives if that is not
// where loopdoctor lives. The error is for what is no client.
func Client(pid int) (facts.Identity, error) {
	dir, err := os.OpenRoot("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return facts.Identity{}, err
	}
	defer dir.Close()
	st, err := readStat(dir)
	if err != nil {
		return facts.Identity{}, err
	}
	f, err := dir.Open("status")
	if err != nil {
		return facts.Identity{}, err
	}
	defer f.Close()
	id, tgid, err := parseClient(f)
	switch {
	case err != nil:
		return id, err
	case tgid != pid:
		return id, fmt.Errorf("it is a thread of process %d: name that one", tgid)
	case st.flags&kernelThread != 0:
		return id, fmt.Errorf("it is a thread of the kernel (%s), which connects to nothing", st.comm)
	case st.state == 'Z' || st.state == 'X':
		return id, fmt.Errorf("%s has ended, and its parent, process %d, has not taken notice", st.comm, st.ppid)
	}
	id.PID, id.Program = pid, st.comm
	if its, own := inode(dir.Stat("net/tcp")), inode(os.Stat("/proc/self/net/tcp")); its != 0 && own != 0 && its != own {
		id.NetNS = its
	}
	if g, own := cgroupOf(dir), cgroupOf(nil); g != "" && g != own {
		id.Cgroup = g
	}
	id.Mounts, err = otherFiles(dir, pid)
	if err != nil {
		id.Lacks = append(id.Lacks, "its files ("+needs(err)+")")
	}
	return id, nil
}

// cgroupOf reads the cgroup of a process, or of loopdoctor.
func cgroupOf(dir *os.Root) string {
	var f *os.File
	var err error
	if dir == nil {
		f, err = os.Open("/proc/self/cgroup")
	} else {
		f, err = dir.Open("cgroup")
	}
	if err != nil {
		return ""
	}
	defer f.Close()
	return cgroupPath(f)
}

// Cgroups says in which cgroup of version 2 a process is (0: loopdoctor), "" where
// that is not seen, and whether there is a hierarchy of net_cls, which gives
// processes classes.
func Cgroups(pid int) (v2 string, netCls bool) {
	name := "/proc/self/cgroup"
	if pid != 0 {
		name = "/proc/" + strconv.Itoa(pid) + "/cgroup"
	}
	ms, err := parseFile(name, parseCgroup)
	if err != nil {
		return "", true // who was not seen may have one
	}
	v2, _ = pathOf(ms, "")
	_, netCls = pathOf(ms, "net_cls")
	return v2, netCls
}

// otherFiles tells whether the process has another mount namespace or root
// directory than loopdoctor.
func otherFiles(dir *os.Root, pid int) (bool, error) {
	its, err := dir.Readlink("ns/mnt")
	if err != nil {
		return false, err
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil || its != own {
		return its != own, err
	}
	root, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/root/")
	if err != nil {
		return false, err
	}
	here, err := os.Stat("/")
	return err == nil && !os.SameFile(root, here), err
}

func needs(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "needs root"
	}
	return err.Error()
}

// Environ is the environment that the process was started with.
func Environ(pid int) ([]string, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxEnviron))
	if err != nil {
		return nil, err
	}
	var vars []string
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if len(v) > 0 {
			vars = append(vars, text(v))
		}
	}
	return vars, nil
}

// Above lists the ancestors of loopdoctor, the nearest first.
func Above() []int {
	var up []int
	for pid := os.Getppid(); pid > 1 && len(up) < 32; {
		up = append(up, pid)
		st, err := statOf(pid)
		if err != nil {
			break
		}
		pid = st.ppid
	}
	return up
}

// CgroupDir finds the directory of a cgroup of version 2, and says whether it is
// frozen: whoever enters it then stands still.
func CgroupDir(path string) (dir string, frozen bool, err error) {
	mounts, err := parseFile("/proc/thread-self/mountinfo", ParseMountinfo)
	if err != nil {
		return "", false, err
	}
	missing := errors.New("its directory is not mounted here")
	for _, m := range mounts {
		// Another mount may lie over the first one.
		var fs unix.Statfs_t
		at, ok := locate([]Mount{m}, "cgroup2", "", path)
		if !ok {
			continue
		}
		if err := unix.Statfs(at, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			dir = at
			break
		} else if errors.Is(err, unix.EACCES) {
			missing = err
		}
	}
	if dir == "" {
		return "", false, missing
	}
	for line, err := range linesOf(dir + "/cgroup.events") {
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the topmost one has no such file
			return dir, false, err
		}
		frozen = frozen || line == "frozen 1"
	}
	return dir, frozen, nil
}
