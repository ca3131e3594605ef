package host

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/forward"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/resolve"
)

// session reads what an ssh client was told: by its arguments, and by the
// configuration that they and its user name. Its files are read as that user.
func (w *ways) session(p facts.Process) forward.Session {
	s := forward.SSH(p.Args)
	if s.Host == "" || p.Container != "" {
		return s
	}
	home := ""
	if u, err := user.LookupId(fmt.Sprint(p.UID)); err == nil && filepath.IsAbs(u.HomeDir) {
		home = u.HomeDir
	}
	type place struct{ file, dir string }
	places := []place{{filepath.Join(home, ".ssh/config"), filepath.Join(home, ".ssh")}, {"/etc/ssh/ssh_config", "/etc/ssh"}}
	switch {
	case s.Config == "none":
		return s
	case s.Config != "":
		file := s.Config
		if !filepath.IsAbs(file) && filepath.IsAbs(p.Cwd) {
			file = filepath.Join(p.Cwd, file)
		}
		places = []place{{file, filepath.Join(home, ".ssh")}}
	case home == "":
		places = places[1:]
	}
	for _, at := range places {
		s.Configure(forward.File{Name: at.file, Data: w.read(at.file, nil, &p)}, func(pattern string) []forward.File {
			if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
				pattern = filepath.Join(home, rest)
			} else if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(at.dir, pattern)
			}
			if pattern = filepath.Clean(pattern); !inside(pattern, at.dir) && !inside(pattern, "/etc/ssh") {
				return nil
			}
			names, _ := filepath.Glob(pattern)
			var files []forward.File
			for _, n := range names[:min(len(names), 32)] {
				files = append(files, forward.File{Name: n, Data: w.read(n, nil, &p)})
			}
			return files
		})
	}
	if s.Cleared {
		s.Ways = nil
	}
	return s
}

// stunnel reads the configuration of a stunnel, as its user.
func (w *ways) stunnel(p facts.Process) []forward.Way {
	file := forward.StunnelConfig(p.Args)
	if file != "" && !filepath.IsAbs(file) {
		file = filepath.Join(p.Cwd, file)
	}
	if !filepath.IsAbs(file) || p.Container != "" {
		return nil
	}
	return forward.Stunnel(forward.File{Name: file, Data: w.read(file, nil, &p)})
}

// isHere tells whether the far machine of an ssh session is this one: the address is
// ours, and an sshd of ours listens there. A port that a container publishes, or
// another tunnel, is not.
func (w *ways) isHere(s forward.Session) bool {
	port := uint64(22)
	if s.Port != "" {
		port, _ = strconv.ParseUint(s.Port, 10, 16)
	}
	addrs := w.addresses(cmp.Or(s.HostName, s.Host))
	if s.Jumps || len(addrs) == 0 || slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !w.own(a) }) {
		return false
	}
	var at []facts.Socket
	for _, l := range w.tcp {
		if uint64(l.Local.Port()) == port && slices.ContainsFunc(addrs, l.Serves) {
			at = append(at, l)
		}
	}
	o, err := process.Owners(w.ctx, at)
	return err == nil && len(at) > 0 && !slices.ContainsFunc(at, func(l facts.Socket) bool {
		return !o.Seen(l) || slices.ContainsFunc(o.Of(l), func(p facts.Process) bool { return p.Name != "sshd" || p.Container != "" })
	})
}

// addresses is what a name means on this machine without asking anybody.
func (w *ways) addresses(host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		switch a = a.Unmap().WithZone(""); {
		case !a.IsUnspecified():
			return []netip.Addr{a}
		case a.Is4():
			return []netip.Addr{v4}
		}
		return []netip.Addr{v6}
	}
	var as []netip.Addr
	data, _ := os.ReadFile("/etc/hosts")
	for _, l := range resolve.Hosts(data, host) {
		if len(as) < 8 {
			as = append(as, l.Addr.Unmap().WithZone(""))
		}
	}
	if len(as) == 0 && facts.IsLocalhost(host) {
		return []netip.Addr{v4, v6}
	}
	return as
}

// own tells whether the address is this machine's.
func (w *ways) own(a netip.Addr) bool {
	if a.IsLoopback() || w.f.Interfaces == nil {
		return a.IsLoopback()
	}
	return slices.ContainsFunc(w.f.Interfaces.Others, func(i facts.Interface) bool { return i.Holds(a) })
}

// Of a log.
const (
	forwardTail  = 16 << 10
	forwardLines = 3
	// A file's time is that of the last tick of the clock, which may be 10 ms old
	// (CONFIG_HZ=100).
	forwardTick = 20 * time.Millisecond
)

// forwardWords are the words of a forwarder's lines that matter, in lower case.
var forwardWords = []string{"open failed", "administratively prohibited", "forwarding", "cannot listen", "address already in use", "lost connection to pod", "e connect(", "connection refused"}

// log reads the last lines of a forwarder's log that are about forwarding: of the file
// that it was told to write, or of its standard error where that is a file. It is read
// as the process's user.
func (w *ways) log(x *facts.Forward, p facts.Process, file string) {
	if p.Container != "" {
		return
	}
	switch {
	case file == "":
		file, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/2", p.PID))
	case !filepath.IsAbs(file):
		file = filepath.Join(p.Cwd, file)
	}
	if !filepath.IsAbs(file) || strings.HasPrefix(file, "/dev/") || strings.HasPrefix(file, "/proc/") {
		return
	}
	asUser(namedBy(p), func() {
		fd, err := unix.Open(file, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			return
		}
		f, err := os.OpenFile(filepath.Join("/proc/self/fd", strconv.Itoa(fd)), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			w.missed(file, err)
			return
		}
		defer f.Close()
		data, err := io.ReadAll(io.NewSectionReader(f, max(0, st.Size-forwardTail), forwardTail))
		if err != nil {
			return
		}
		x.Log = forwardLogLines(string(data))
		if len(x.Log) > 0 {
			x.LogFrom = clean(file)
			x.Fresh = !time.Unix(st.Mtim.Unix()).Before(w.f.Time.Add(-forwardTick))
		}
	})
}

// forwardLogLines picks the last lines that matter, each once.
func forwardLogLines(text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		low := strings.ToLower(line)
		if slices.ContainsFunc(forwardWords, func(t string) bool { return strings.Contains(low, t) }) {
			line = clean(mask(line))
			found = append(slices.DeleteFunc(found, func(l string) bool { return l == line }), line)
			found = found[max(0, len(found)-forwardLines):]
		}
	}
	return found
}

// clean bounds a word and takes control characters out of it.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return netfilter.Cut(s, 200)
}

// sameFile tells whether two paths of a UNIX socket are one: /var/run is /run.
func sameFile(a, b string) bool {
	if filepath.Base(a) != filepath.Base(b) || !filepath.IsAbs(a) || !filepath.IsAbs(b) {
		return false
	}
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
