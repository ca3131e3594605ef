package host

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// clientRoot is the root directory of a process that sees other files than
// loopdoctor does.
type clientRoot struct{ *os.File }

// openRoot needs the right to trace the process.
func openRoot(pid int) (clientRoot, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY, 0)
	return clientRoot{f}, err
}

// open finds a file as the process does: a symbolic link that begins with a slash
// begins at its root, not at ours (openat2(2), RESOLVE_IN_ROOT). No more than its
// place is opened.
func (r clientRoot) open(path string) (*os.File, error) {
	fd, err := unix.Openat2(int(r.Fd()), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: r.Name() + path, Err: err}
	}
	return os.NewFile(uintptr(fd), r.Name()+path), nil
}

// read is a reader of these files.
func (r clientRoot) read(path string) ([]byte, fs.FileInfo, error) {
	place, err := r.open(path)
	if err != nil {
		return nil, nil, err
	}
	defer place.Close()
	info, err := place.Stat()
	if err != nil || !info.Mode().IsRegular() { // as readFile: a pipe would hang
		return nil, info, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", place.Fd()))
	if err != nil {
		return nil, info, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxNameFile))
	return data, info, err
}

// place is a name by which we find the file that the process finds at the path,
// also behind symbolic links: commands that are to change it need that.
func (r clientRoot) place(path string) string {
	f, err := r.open(path)
	if err != nil {
		return r.Name() + path
	}
	defer f.Close()
	its, err := f.Stat()
	if err != nil {
		return r.Name() + path
	}
	// Its name in its own mounts, or in ours if only its root directory is another.
	name, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	for _, name := range []string{r.Name() + path, r.Name() + name, name} {
		if ours, err := os.Stat(name); err == nil && os.SameFile(ours, its) {
			return name
		}
	}
	return r.Name() + path
}

// same tells whether the files are the ones that loopdoctor sees: a service with a
// private /tmp has other mounts, and the same /etc.
func (r clientRoot) same(paths ...string) bool {
	for _, path := range paths {
		ours, err := os.Stat(path)
		place, itsErr := r.open(path)
		if itsErr != nil {
			if err == nil {
				return false
			}
			continue // neither has it
		}
		its, itsErr := place.Stat()
		place.Close()
		if err != nil || itsErr != nil || !os.SameFile(ours, its) {
			return false
		}
	}
	return true
}

// busyBoxWget is the wget of the client's search path if it is a link to BusyBox.
func (r clientRoot) busyBoxWget(pid int) string {
	environ, _ := process.Environ(pid)
	dirs := variable(environ, "PATH")
	if dirs == "" {
		dirs = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for _, dir := range filepath.SplitList(dirs) {
		wget := filepath.Join(dir, "wget")
		f, err := r.open(wget)
		if err != nil {
			continue
		}
		real, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		f.Close()
		if strings.HasPrefix(filepath.Base(real), "busybox") {
			return wget
		}
		return ""
	}
	return ""
}

func (r clientRoot) installed(source string) bool { return nssInstalledIn(r.Name(), source) }
