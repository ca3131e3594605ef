package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report/bundle"
)

// file is something to write that is there as a whole or not at all.
type file struct {
	io.Writer
	temp   *os.File // nil: written directly
	path   string
	closer io.Closer
}

// create prepares a file; "" and "-" are the standard output. What is not a
// regular file (/dev/null, a pipe) is written directly: to rename something
// over a device would replace it.
func create(path string, perm fs.FileMode, stdout io.Writer) (*file, error) {
	if path == "" || path == "-" {
		return &file{Writer: stdout}, nil
	}
	path, err := followed(path)
	if err != nil {
		return nil, err
	}
	old, err := os.Stat(path)
	if err == nil {
		// Also the one that gives way to the new one: what is write-protected stays.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		if opened, err := f.Stat(); err != nil || !os.SameFile(old, opened) {
			f.Close()
			return nil, fmt.Errorf("open %s: it is another file now", path)
		}
		if !old.Mode().IsRegular() {
			return &file{Writer: f, closer: f}, nil
		}
		f.Close()
	}
	for n := 0; ; n++ {
		f, err := os.OpenFile(fmt.Sprintf("%s.%d-%d.tmp", path, os.Getpid(), n), os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
		if errors.Is(err, fs.ErrExist) && n < 100 {
			continue
		}
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			err = path.Err // its path is the temporary one
		}
		if err != nil {
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
		if old != nil { // nobody may read what they could not read before
			if made, err := f.Stat(); err == nil {
				_ = f.Chmod(made.Mode().Perm() & old.Mode().Perm())
			}
		}
		return &file{Writer: f, temp: f, path: path, closer: f}, nil
	}
}

// create prepares a file that belongs to who called sudo, if that one could have
// made it as well: a bundle that root alone may read cannot be sent by who ran it.
func (p *program) create(path string, perm fs.FileMode, stdout io.Writer) (*file, error) {
	if w := p.stream(path); w != nil {
		return &file{Writer: w}, nil
	}
	f, err := create(path, perm, stdout)
	if err != nil || f.temp == nil || os.Geteuid() != 0 {
		return f, err
	}
	uid, err := strconv.ParseInt(p.env("SUDO_UID"), 10, 32)
	gid, noGroup := strconv.ParseInt(p.env("SUDO_GID"), 10, 32)
	if err == nil && noGroup == nil && uid > 0 && gid >= 0 && couldMake(f, int(uid)) {
		// A file system without owners is no reason to write nothing.
		_ = f.temp.Chown(int(uid), int(gid))
	}
	return f, nil
}

// stream is the one of the standard streams that the path is a name of, as /dev/stdout
// is: a file in its place would take from the shell what else was written there.
func (p *program) stream(path string) io.Writer {
	named, err := os.Stat(path)
	if err != nil {
		return nil
	}
	for _, w := range []io.Writer{p.stdout, p.stderr} {
		if f, ok := w.(*os.File); ok {
			if info, err := f.Stat(); err == nil && os.SameFile(named, info) {
				return w
			}
		}
	}
	return nil
}

// couldMake tells whether a user could have made a file where it will be: in a
// directory of that user or of everybody, in which there is none of somebody else's.
// To give away a file in any other one, as in /etc, would give away more than a file.
func couldMake(f *file, uid int) bool {
	// The directory in which the file is, not the one that may have been put in its
	// place since.
	dir, err := os.OpenRoot(filepath.Dir(f.temp.Name()))
	if err != nil {
		return false
	}
	defer dir.Close()
	mine, err := f.temp.Stat()
	if err != nil {
		return false
	}
	there, err := dir.Lstat(filepath.Base(f.temp.Name()))
	if err != nil || !os.SameFile(mine, there) {
		return false
	}
	if old, err := dir.Lstat(filepath.Base(f.path)); err == nil && owner(old) != uid {
		return false
	}
	info, err := dir.Stat(".")
	return err == nil && (owner(info) == uid || info.Mode().Perm()&0o002 != 0)
}

// followed is where a path leads, if its last part is a link: then the file behind it
// is written. A link that somebody else left in a directory of everybody is not
// followed, as Linux has it (fs.protected_symlinks in proc(5)): root would overwrite
// what that one chose.
func followed(path string) (string, error) {
	at := path
	for range 40 { // as many as Linux follows: path_resolution(7)
		info, err := os.Lstat(at)
		if err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return at, nil
		}
		if err != nil {
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return at, nil // a link to what is still to be made
			}
			return path, nil // one of a kind of its own, as /dev/stdout
		}
		dir, _ := filepath.Split(at)
		if dir, err = filepath.EvalSymlinks(cmp.Or(dir, ".")); err != nil {
			return path, nil
		}
		if place, err := os.Stat(dir); err == nil && foreign(info, place) {
			return "", fmt.Errorf("%s is a link that somebody else left in a directory of everybody", at)
		}
		to, err := os.Readlink(at)
		if err != nil {
			return path, nil
		}
		if at = to; !filepath.IsAbs(to) {
			at = dir + string(filepath.Separator) + to // Join would take the x/.. of a link x away
		}
	}
	return path, nil
}

// foreign tells whether a link is not to be followed: it is neither that of who runs
// loopdoctor nor of who owns the directory, to which everybody may add.
func foreign(link, dir fs.FileInfo) bool {
	return dir.Mode()&fs.ModeSticky != 0 && dir.Mode().Perm()&0o002 != 0 &&
		owner(link) != os.Geteuid() && owner(link) != owner(dir)
}

// spare refuses to write over a file that is read: somebody sent it, or a look that
// cannot be repeated made it.
func (p *program) spare(output string, inputs ...string) error {
	if output == "" || output == "-" {
		return nil
	}
	target, err := os.Stat(output)
	there := err == nil && target.Mode().IsRegular()
	for _, name := range inputs {
		same := name == output
		if input, err := p.statInput(name); err == nil && there {
			same = os.SameFile(target, input)
		}
		if same {
			return fmt.Errorf("--output writes to %s, and it is what is read", output)
		}
	}
	return nil
}

func (p *program) statInput(name string) (fs.FileInfo, error) {
	if name != "-" {
		return os.Stat(name)
	}
	if f, ok := p.stdin.(*os.File); ok {
		return f.Stat()
	}
	return nil, fs.ErrNotExist
}

// commit puts the file in its place.
func (f *file) commit() error {
	if f.closer == nil {
		return nil
	}
	err := f.closer.Close()
	f.closer = nil
	if err != nil || f.temp == nil {
		return err
	}
	if err := os.Rename(f.temp.Name(), f.path); err != nil {
		return err
	}
	f.temp = nil
	return nil
}

// abandon leaves nothing behind of a file that was not committed.
func (f *file) abandon() {
	if f.closer != nil {
		f.closer.Close()
	}
	if f.temp != nil {
		os.Remove(f.temp.Name())
	}
}

// What is read of files that somebody sent is bounded, in bytes, in values ("0," are
// two bytes, and in memory a few hundred) and in texts, which are searched over and
// over. Large recordings have some ten thousand values, and their longest texts are a
// head of HTTP, of 64 KiB at most, and an argument, of 16.
const (
	maxRecording = 64 << 20
	maxValues    = 1 << 19
	maxText      = 256 << 10 // as it is written: a quote takes two bytes, a control character six
	maxTexts     = 16 << 20
	maxTargets   = 1000
	maxListeners = 1 << 13 // on one port: each is compared with each
)

func bounded(data []byte) error {
	if len(data) > maxRecording {
		return fmt.Errorf("more than %d MiB: this is neither a recording nor a report", maxRecording>>20)
	}
	if bytes.Count(data, []byte(",")) > maxValues {
		return fmt.Errorf("more than %d values: this is neither a recording nor a report", maxValues)
	}
	switch longest, all := measure(data); {
	case longest > maxText:
		return fmt.Errorf("a text of more than %d KiB: this is neither a recording nor a report", maxText>>10)
	case all > maxTexts:
		return fmt.Errorf("more than %d MiB of text: this is neither a recording nor a report", maxTexts>>20)
	}
	return nil
}

// measure tells the lengths of the strings of JSON, as they are written.
func measure(data []byte) (longest, all int) {
	for {
		i := bytes.IndexByte(data, '"')
		if i < 0 {
			return longest, all
		}
		data = data[i+1:]
		n := 0
		for n < len(data) && data[n] != '"' {
			if data[n] == '\\' {
				n++
			}
			n++
		}
		n = min(n, len(data))
		longest, all = max(longest, n), all+n
		data = data[min(n+1, len(data)):]
	}
}

func writeRecording(w io.Writer, r *facts.Recording) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(r)
}

// saveRecording writes all of it, or leaves nothing.
func saveRecording(to sink, r *facts.Recording) error {
	if err := writeRecording(to, r); err != nil {
		return err
	}
	return to.commit()
}

// readRecording reads what --record wrote, here or elsewhere, be it in a bundle.
func (p *program) readRecording(path string) (*facts.Recording, error) {
	in := p.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--replay: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, bundle.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("--replay: %w", err)
	}
	if bundle.Is(data) {
		a, err := bundle.Open(data)
		if err != nil {
			return nil, fmt.Errorf("--replay %s: %w", path, err)
		}
		data = a.File(bundle.FactsFile)
	}
	r, err := parseRecording(data)
	if err != nil {
		return nil, fmt.Errorf("--replay %s: %w", path, err)
	}
	return r, nil
}

func parseRecording(data []byte) (*facts.Recording, error) {
	if err := bounded(data); err != nil {
		return nil, err
	}
	// The schema first: a newer recording may not fit in our types.
	var head struct {
		Schema  *int   `json:"facts_schema"`
		Version string `json:"version"`
	}
	err := json.Unmarshal(data, &head)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("this is no recording: it is not JSON (%w)", err)
	case err != nil || head.Schema == nil:
		return nil, errors.New("this is no recording: it is JSON, but without facts_schema (--record writes one, --format json does not)")
	case *head.Schema > facts.Schema:
		return nil, fmt.Errorf("loopdoctor %s recorded it with schema %d, and this loopdoctor reads up to %d: use a newer one", head.Version, *head.Schema, facts.Schema)
	case *head.Schema < 1:
		return nil, fmt.Errorf("there is no schema %d", *head.Schema)
	}
	var list struct {
		Facts []json.RawMessage `json:"facts"`
	}
	if json.Unmarshal(data, &list) == nil && len(list.Facts) > maxTargets {
		return nil, fmt.Errorf("a recording of %d targets: no more than %d are read", len(list.Facts), maxTargets)
	}
	var r facts.Recording
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("a damaged recording: %w", err)
	}
	if len(r.Facts) == 0 {
		return nil, errors.New("there is nothing in this recording")
	}
	for i, f := range r.Facts {
		if f == nil {
			return nil, fmt.Errorf("a damaged recording: target %d is missing", i+1)
		}
		if n := listening(f); n > maxListeners {
			return nil, fmt.Errorf("a recording of %d listeners on port %d: no more than %d are judged", n, f.Target.Port, maxListeners)
		}
	}
	return &r, nil
}

// listening counts the sockets that listen on the target's port.
func listening(f *facts.Facts) (n int) {
	if f.Sockets == nil {
		return 0
	}
	for i := range f.Sockets.Sockets {
		if s := &f.Sockets.Sockets[i]; s.State == facts.Listen && s.Local.Port() == f.Target.Port {
			n++
		}
	}
	return n
}
