package host

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// clientRoot is the root directory of a client that sees other files than loopdoctor
// does.
type clientRoot struct{ process.Root }

func openRoot(pid int) (clientRoot, error) {
	r, err := process.OpenRoot(pid)
	return clientRoot{r}, err
}

// read is a reader of these files.
func (r clientRoot) read(path string) ([]byte, fs.FileInfo, error) { return r.Read(path, maxNameFile) }

// place is a name by which we find the file that the process finds at the path,
// also behind symbolic links: commands that are to change it need that.
func (r clientRoot) place(path string) string {
	f, err := r.Open(path)
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
		place, itsErr := r.Open(path)
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
		f, err := r.Open(wget)
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
