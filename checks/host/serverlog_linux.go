package host

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/journal"
)

const (
	logFiles   = 8 // of a server
	logServers = 8 // processes of one server
	logGrows   = 150 * time.Millisecond
	logGrown   = 16 << 10 // bytes that are read of what was added
)

// serverLogs are the log files of a server, each with its size when the watch began,
// and its unit, whose log is the journal.
type serverLogs struct {
	files []watched
	unit  string
	uid   int
	began time.Time
}

type watched struct {
	*os.File
	name string
	size int64
}

// watchLog finds the logs of what listens at the address.
func watchLog(f *facts.Facts, a netip.Addr) logWatch {
	w := openLogs(f, a)
	if len(w.files) == 0 && w.unit == "" {
		return nil
	}
	return w
}

func openLogs(f *facts.Facts, a netip.Addr) *serverLogs {
	w := &serverLogs{uid: -1, began: time.Now()}
	var ps []facts.Process
	if f.Sockets == nil {
		return w
	}
	for _, s := range f.Sockets.Sockets {
		if s.Network == "tcp" && s.State == facts.Listen && s.Local.Port() == f.Target.Port && s.Serves(a) {
			ps = append(ps, f.Owners.Of(s)...)
		}
	}
	for _, p := range ps[:min(len(ps), logServers)] {
		toJournal := w.ofProcess(p)
		if toJournal && strings.HasSuffix(p.Unit, ".service") {
			w.unit = p.Unit
		}
	}
	if len(w.files) == 0 { // those of another user's process are not for us, but their logs may be
		for _, p := range ps {
			for _, pattern := range map[string][]string{"nginx": {"/var/log/nginx/error.log"}, "apache2": {"/var/log/apache2/error.log"}, "httpd": {"/var/log/httpd/error_log"},
				"postgres": {"/var/log/postgresql/postgresql-*.log"}}[p.Name] {
				names, _ := filepath.Glob(pattern)
				for _, name := range names {
					w.add(name, name)
				}
			}
		}
	}
	return w
}

// ofProcess takes the regular files that the process has open for writing as its
// standard output or error, or that are called a log; it tells whether it writes its
// errors to the journal.
func (w *serverLogs) ofProcess(p facts.Process) (toJournal bool) {
	dir := fmt.Sprintf("/proc/%d/fd", p.PID)
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	fds, _ := d.Readdirnames(512)
	slices.SortFunc(fds, func(a, b string) int { return number(a) - number(b) })
	for _, fd := range fds {
		name, err := os.Readlink(path.Join(dir, fd))
		if err != nil {
			continue
		}
		std := fd == "1" || fd == "2"
		toJournal = toJournal || std && strings.HasPrefix(name, "socket:")
		base := strings.ToLower(path.Base(name))
		if !path.IsAbs(name) || !std && !strings.Contains(base, "log") && !strings.Contains(base, "err") || strings.Contains(base, "access") || !writes(p.PID, fd) {
			continue
		}
		w.add(path.Join(dir, fd), name)
	}
	return toJournal
}

func number(s string) int { n, _ := strconv.Atoi(s); return n }

// writes tells whether a descriptor is open for writing: "flags:	0102001", octal (proc(5)).
func writes(pid int, fd string) bool {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 8, 64)
			return err == nil && n&syscall.O_ACCMODE != syscall.O_RDONLY
		}
	}
	return false
}

// add opens a file; one that is none would block, or never end.
func (w *serverLogs) add(file, name string) {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || len(w.files) >= logFiles {
		return
	}
	for _, x := range w.files {
		if have, err := x.Stat(); err == nil && os.SameFile(have, info) {
			return
		}
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return
	}
	w.files = append(w.files, watched{f, strings.TrimSuffix(name, " (deleted)"), info.Size()})
}

func (w *serverLogs) Close() {
	for _, f := range w.files {
		f.Close()
	}
}

// Since waits until one of them has grown and stands still again.
func (w *serverLogs) Since() (lines []string, from string) {
	var before int64 = -1
	for end := time.Now().Add(logGrows); len(w.files) > 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var grown int64
		for _, f := range w.files {
			if info, err := f.Stat(); err == nil {
				grown += max(0, info.Size()-f.size)
			}
		}
		if grown > 0 && grown == before {
			break
		}
		before = grown
	}
	for _, f := range w.files {
		if lines := tellingLines(f.since(f.size)); len(lines) > 0 {
			return maskAll(lines), f.name
		}
	}
	if w.unit != "" {
		return w.journal(), "journal"
	}
	return nil, ""
}

func (f watched) since(at int64) []byte {
	data := make([]byte, logGrown)
	n, err := f.ReadAt(data, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return data[:n]
}

// journal is what the unit's processes wrote there since the watch began.
func (w *serverLogs) journal() []string {
	files, _ := journals(w.uid)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		entries, _ := journal.Last(f, w.unit, w.uid, 3*logLines)
		f.Close()
		var text strings.Builder
		for _, e := range slices.Backward(entries) {
			if e.Own && !e.Time.Before(w.began) {
				text.WriteString(e.Text + "\n")
			}
		}
		if lines := tellingLines([]byte(text.String())); len(lines) > 0 {
			return maskAll(lines)
		}
	}
	return nil
}

func maskAll(lines []string) []string {
	for i := range lines {
		lines[i] = mask(lines[i])
	}
	return lines
}

// lastLog finds the last line with that word at the end of the server's logs.
func lastLog(f *facts.Facts, a netip.Addr, word string) (lines []string, from string) {
	w := openLogs(f, a)
	defer w.Close()
	for _, x := range w.files {
		all := strings.Split(string(x.since(max(0, x.size-logGrown))), "\n")
		for _, line := range slices.Backward(all) {
			if strings.Contains(line, word) {
				return []string{mask(line)}, x.name
			}
		}
	}
	return nil, ""
}

// accessLines finds what TCP wrappers would say to a client of the address, of a server
// that is linked with them.
func accessLines(ps []facts.Process, client netip.Addr) []facts.AccessLine {
	for _, p := range ps {
		if !wrapped(p) {
			continue
		}
		lines := deniedBy(readHead("/etc/hosts.allow"), readHead("/etc/hosts.deny"), p.Name, client)
		for i := range lines {
			lines[i].Text = mask(lines[i].Text)
		}
		return lines
	}
	return nil
}

// readHead reads the beginning of a file of root's.
func readHead(name string) []byte {
	f, err := openRegular(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return data
}

// maxWrapped is how large a program may be that is looked at: Debian's sshd has
// 2 MiB, and a section may claim all of the file.
const maxWrapped = 16 << 20

// wrapped tells whether the program is linked with libwrap. Of another user's process
// the file is not known; Debian's sshd is.
func wrapped(p facts.Process) bool {
	if p.Exe == "" {
		return p.Name == "sshd"
	}
	// Not by its name: something else may lie there by now, such as a pipe that never ends.
	exe, err := os.Open(fmt.Sprintf("/proc/%d/exe", p.PID))
	if err != nil {
		return false
	}
	defer exe.Close()
	f, err := elf.NewFile(io.NewSectionReader(exe, 0, maxWrapped))
	if err != nil {
		return false
	}
	defer f.Close()
	libs, _ := f.ImportedLibraries()
	return slices.ContainsFunc(libs, func(l string) bool { return strings.HasPrefix(l, "libwrap.so") })
}
