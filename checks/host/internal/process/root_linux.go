package process

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Root is the root directory of a process that sees other files than loopdoctor does.
// What lies there is that process's to arrange, and must not lead out of it.
type Root struct{ *os.File }

// OpenRoot needs the right to trace the process.
func OpenRoot(pid int) (Root, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY, 0)
	return Root{f}, err
}

// Open finds a file as the process does: a symbolic link that begins with a slash
// begins at its root, not at ours (openat2(2), RESOLVE_IN_ROOT). No more than its
// place is opened.
func (r Root) Open(path string) (*os.File, error) {
	fd, err := unix.Openat2(int(r.Fd()), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: r.Name() + path, Err: err}
	}
	return os.NewFile(uintptr(fd), r.Name()+path), nil
}

// Read reads the first bytes of a regular file. Of another one, which could hang, it
// returns nothing but what it is.
func (r Root) Read(path string, most int64) ([]byte, fs.FileInfo, error) {
	place, err := r.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer place.Close()
	info, err := place.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, info, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", place.Fd()))
	if err != nil {
		return nil, info, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most))
	return data, info, err
}
