package host

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// insideOf fills in what the place that is looked from is inside of. The room is known
// already where it was asked for by its name.
func insideOf(h *facts.Host) {
	in := &h.Inside
	pid := 0
	if len(h.As) > 0 {
		pid = h.As[0].PID
	}
	environ, _ := linuxEnviron(pid)
	in.CI, in.Remote = ciOf(environ), remoteOf(environ)
	in.Entered = os.Getenv(entered) != ""
	if in.Entered {
		if first, ok := inode("/proc/1/net/tcp"); ok {
			in.Outside = first
		}
	}
	var hosts []byte
	read := func(path string) ([]byte, error) { b, _, err := readFile(path); return b, err }
	if pid != 0 && h.As[0].Mounts {
		root, err := openRoot(pid)
		if err != nil {
			read = nil
		} else {
			defer root.Close()
			read = func(path string) ([]byte, error) { b, _, err := root.read(path); return b, err }
		}
	}
	if read != nil {
		hosts, _ = read("/etc/hosts")
	}
	if in.Room.Kind == "" && !in.Entered {
		in.Room = ownRoom(environ)
	}
	if in.Room.Kind == "container" || in.Room.Kind == "pod" {
		in.Shared = sharesNetwork(in, hosts)
		in.Outer = outer(hosts)
	}
	if (in.Room.Kind != "" && !in.Shared || in.VM != "" || in.WSL != "") && !in.Gateway.IsValid() {
		if f, err := os.Open("/proc/self/net/route"); err == nil {
			in.Gateway = routeGateway(f)
			f.Close()
		}
	}
	if in.Room.Kind != "" {
		h.Vantage = in.Room.String()
	}
}

// ownRoom is the container or pod that loopdoctor itself was started in. A file
// /.dockerenv alone does not tell: images that were made of a container keep it. An
// engine also mounts the name files, always.
func ownRoom(environ []string) (room facts.Room) {
	id, mounted := mountedNames("/proc/self/mountinfo")
	if variable(environ, "KUBERNETES_SERVICE_HOST") != "" && mounted {
		name, _ := os.Hostname()
		ns := readHead("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
		room = facts.Room{Kind: "pod", Pod: name}
		if n := strings.TrimSpace(string(ns)); n != "" && len(n) < 100 {
			room.Pod = n + "/" + name
		}
		return room
	}
	if f, err := openRegular("/run/.containerenv"); err == nil {
		defer f.Close()
		room = containerEnv(f)
		if room.ID == "" {
			room.ID = id
		}
		return room
	}
	if in, ok := process.Container(0); ok {
		room = facts.Room{Kind: "container", Engine: in.Engine, ID: in.ID}
		if in.Engine == "container" {
			room.Engine = ""
		}
		if in.Engine == "lxc" {
			room.ID, room.Name = "", in.ID
		}
		return room
	}
	switch {
	case mounted && present("/.dockerenv"):
		return facts.Room{Kind: "container", Engine: "docker", ID: id}
	case id != "":
		return facts.Room{Kind: "container", ID: id}
	}
	return facts.Room{}
}

// nameFiles are what engines mount into every container.
var nameFiles = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}

// overMounted tells whether one of the files is a mount of its own, or may be: on kernels
// before 5.8 statx(2) does not tell which mount a file is on. The list of mounts tells, too,
// and may be long: this look is a part of every run.
func overMounted(names ...string) bool {
	mount := func(name string) (uint64, error) {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st)
		if err == nil && st.Mask&unix.STATX_MNT_ID == 0 {
			err = unix.ENOSYS
		}
		return st.Mnt_id, err
	}
	return slices.ContainsFunc(names, func(name string) bool {
		its, err := mount(name)
		if errors.Is(err, unix.ENOENT) {
			return false
		}
		around, err2 := mount(filepath.Dir(name))
		return err != nil || err2 != nil || its != around
	})
}

// mountedNames tells whether the name files are mounts of their own, and the id of a
// container that stands in where they come from:
//
//	1262 1254 254:1 /var/lib/docker/containers/3f2a…/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw
func mountedNames(mountinfo string) (id string, mounted bool) {
	if !overMounted(nameFiles...) {
		return "", false
	}
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", false
	}
	defer f.Close()
	mounts, _ := process.ParseMountinfo(f)
	for _, m := range mounts {
		if slices.Contains(nameFiles, m.Point) {
			mounted = true
			if found := containerID(m.Root); found != "" {
				id = found
			}
		}
	}
	return id, mounted
}

// sharesNetwork tells whether the network of the room is the machine's own. From
// outside that is seen. From inside two things tell: a network of its own has no
// device of the hardware, and its address stands in the hosts file, where the engine
// wrote it.
func sharesNetwork(in *facts.Inside, hosts []byte) bool {
	mine, ok1 := inode("/proc/self/net/tcp")
	if room := ownRoom(nil); room.Kind == "" { // process 1 is the machine's
		first, ok2 := inode("/proc/1/net/tcp")
		return ok1 && ok2 && mine == first
	}
	if devices, _ := filepath.Glob("/sys/class/net/*/device"); len(devices) > 0 {
		return true
	}
	var own []netip.Addr
	for _, a := range localAddresses() {
		if !a.IsLinkLocalUnicast() {
			own = append(own, a.Unmap())
		}
	}
	return len(own) > 0 && !hostsHas(hosts, own)
}
