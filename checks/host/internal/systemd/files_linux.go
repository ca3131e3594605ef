package systemd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Directories is where a system manager finds its units, the first wins
// (systemd.unit(5)).
var Directories = []string{"/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// Load reads the service and socket units in the directories. Of a directory
// that belongs to root links are followed wherever they lead; of another one only
// within it, since its owner could show us files that are not his.
func Load(ctx context.Context, dirs []string) ([]Unit, error) {
	l := loader{units: map[string]*Unit{}}
	var errs []error
	for _, dir := range dirs {
		if err := l.dir(ctx, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	slices.SortStableFunc(l.dropIns, func(a, b dropIn) int { return cmp.Compare(a.file, b.file) })
	for _, d := range l.dropIns {
		if u := l.units[d.unit]; u != nil {
			u.Settings = append(u.Settings, d.settings...)
		}
	}
	var all []Unit
	for _, u := range l.units {
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b Unit) int { return cmp.Compare(a.Name, b.Name) })
	return all, errors.Join(errs...)
}

// Find reads one unit, with its drop-ins, as Load does all of them.
func Find(ctx context.Context, dirs []string, name string) (Unit, error) {
	files := []string{name}
	if at := strings.IndexByte(name, '@'); at > 0 { // web@1.service is made of web@.service
		files = append(files, name[:at+1]+filepath.Ext(name))
	}
	l := loader{units: map[string]*Unit{}, only: files}
	for _, dir := range dirs {
		if err := l.dir(ctx, dir); err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() != nil {
			return Unit{}, err
		}
	}
	for _, f := range files {
		if u := l.units[f]; u != nil {
			slices.SortStableFunc(l.dropIns, func(a, b dropIn) int { return cmp.Compare(a.file, b.file) })
			for _, d := range l.dropIns {
				u.Settings = append(u.Settings, d.settings...)
			}
			u.Name = name
			return *u, nil
		}
	}
	return Unit{}, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
}

type loader struct {
	only    []string // these units; empty: all
	units   map[string]*Unit
	dropIns []dropIn
	files   int
}

type dropIn struct {
	unit, file string
	settings   []Setting
}

func (l *loader) dir(ctx context.Context, dir string) error {
	open, list, done, err := opener(dir)
	if err != nil {
		return err
	}
	defer done()
	entries, err := list(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := e.Name()
		unit, isDropIn := strings.CutSuffix(name, ".d")
		if ext := filepath.Ext(unit); ext != ".service" && ext != ".socket" || l.files >= maxFiles {
			continue
		}
		if len(l.only) > 0 && !slices.Contains(l.only, unit) {
			continue
		}
		file := filepath.Join(dir, name)
		if isDropIn {
			confs, _ := list(name)
			for _, c := range confs {
				if strings.HasSuffix(c.Name(), ".conf") && l.files < maxFiles {
					l.files++
					data, _ := open(name + "/" + c.Name())
					l.dropIns = append(l.dropIns, dropIn{unit, c.Name(), Parse(data)})
				}
			}
			continue
		}
		if l.units[name] != nil {
			continue
		}
		l.files++
		u := &Unit{Name: name, File: file}
		if to, _ := os.Readlink(file); to == "/dev/null" {
			u.Masked = true
		} else if to != "" && filepath.Base(to) != name && !strings.Contains(to, "@.") {
			continue // another name of a unit that is here as well
		} else if data, err := open(name); err != nil {
			continue
		} else {
			u.Settings = Parse(data)
		}
		l.units[name] = u
	}
	return nil
}

// opener returns how to read in a directory.
func opener(dir string) (open func(string) ([]byte, error), list func(string) ([]os.DirEntry, error), done func() error, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	if ownedByRoot(info) {
		return func(name string) ([]byte, error) { return ReadFile(filepath.Join(dir, name)) },
			func(name string) ([]os.DirEntry, error) { return os.ReadDir(filepath.Join(dir, name)) },
			func() error { return nil }, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	open = func(name string) ([]byte, error) {
		return readRegular(root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0))
	}
	list = func(name string) ([]os.DirEntry, error) { return fs.ReadDir(root.FS(), name) }
	return open, list, root.Close, nil
}

// ReadFile reads a small regular file; a FIFO or a device does not hold it up.
func ReadFile(name string) ([]byte, error) {
	return readRegular(os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0))
}

func readRegular(f *os.File, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func ownedByRoot(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
}
