package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/config"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// How much of configuration is read, and kept.
const (
	configTime  = 500 * time.Millisecond // together; an idle machine takes 5 ms
	configFiles = 200
	configDepth = 5 // of includes, one in the other
	configLines = 50
	// nearPort is how far a port may be from the target's to be of interest where
	// nothing listens: who finds a port taken counts up.
	nearPort = 10
)

// linuxConfigs reads where servers are told to listen. If somebody holds the port,
// that is the holder's configuration. If nobody does, it is that of every server of
// the system, and that of the project in which loopdoctor was started.
func linuxConfigs(ctx context.Context, f *facts.Facts) (*facts.Configs, error) {
	ctx, cancel := context.WithTimeout(ctx, configTime)
	defer cancel()
	c := &configs{ctx: ctx, target: f.Target, seen: map[string]bool{}}
	holders, held := holdersOf(f)
	c.held = held
	switch {
	case len(holders) > 0:
		for _, p := range holders {
			// What a worker listens on, its parent was told.
			if !slices.ContainsFunc(holders, func(q facts.Process) bool { return q.PID == p.PPID }) {
				c.ofHolder(p)
			}
		}
	default:
		if !held {
			c.ofProject(f.Host.Cwd, nil)
		}
		for _, s := range servers {
			c.ofFiles(s, s.main(), nil)
		}
		c.ofSystemd(systemdPlaces)
		c.ofRunning()
	}
	return c.result(), nil
}

// holdersOf returns the processes that listen on the port, the oldest first, and
// whether there is anything that does.
func holdersOf(f *facts.Facts) (ps []facts.Process, held bool) {
	if f.Sockets == nil {
		return nil, false
	}
	for _, s := range f.Sockets.Sockets {
		if s.Network != f.Target.Network || s.Local.Port() != f.Target.Port || s.State != facts.Listen && s.State != facts.Bound {
			continue
		}
		held = true
		for _, p := range f.Owners.Of(s) {
			if !slices.ContainsFunc(ps, func(q facts.Process) bool { return q.PID == p.PID }) {
				ps = append(ps, p)
			}
		}
	}
	return ps, held
}

// configs is the look at one target.
type configs struct {
	ctx     context.Context
	target  facts.Target
	held    bool
	seen    map[string]bool // files, as they are opened
	lines   []facts.ConfigLine
	partial []string
}

// ofHolder reads the configuration of a process that listens on the port. The
// files of a container are not this system's.
func (c *configs) ofHolder(p facts.Process) {
	if p.Container != "" {
		return
	}
	switch {
	case p.PID == 1:
		c.ofSystemd(systemdPlaces)
		return
	case p.Name == "systemd": // of a user, and in his home
		c.ofSystemd(append([]string{filepath.Join(p.Cwd, ".config/systemd/user")}, userPlaces...))
		return
	}
	s := serverOf(p)
	if s == nil {
		c.ofProject(p.Cwd, &p)
		return
	}
	if named := s.named(p); len(named) > 0 {
		c.ofFiles(*s, named, &p)
		return
	}
	for _, other := range servers {
		if other.program == s.program {
			c.ofFiles(other, other.main(), nil)
		}
	}
}

// ofRunning reads the files that a running server was given by name. None of them
// holds the port; but its neighbour may be what is meant.
func (c *configs) ofRunning() {
	pids, err := process.PIDs()
	if err != nil {
		c.missed("/proc", err)
		return
	}
	mine, _ := inode("/proc/self/net/tcp")
	for _, pid := range pids {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || c.ctx.Err() != nil || serverOf(facts.Process{Name: strings.TrimSpace(string(name))}) == nil {
			continue
		}
		p, err := process.Describe(pid)
		if err != nil || p.Container != "" || p.Netns != mine {
			continue
		}
		if s := serverOf(p); s != nil {
			c.ofFiles(*s, s.named(p), &p)
		}
	}
}

// ofFiles reads files and what they include. by is the process that was given
// their names; nil: they are at a known place.
func (c *configs) ofFiles(s server, files []string, by *facts.Process) {
	parse := func(data []byte, name string) ([]facts.ConfigLine, []string) {
		found := s.parse(data)
		for i := range found.Lines {
			found.Lines[i].File = name
		}
		return found.Lines, found.Include
	}
	var all []facts.ConfigLine
	for _, name := range files {
		all = append(all, follow(c, s, parse, name, filepath.Dir(name), by, 0)...)
	}
	c.keep(s, all)
}

// follow reads a file, and inside of the server's places what it includes. parse
// returns what a file says, and the patterns that it includes.
func follow[T any](c *configs, s server, parse func(data []byte, name string) ([]T, []string), name, base string, by *facts.Process, depth int) []T {
	places := s.places
	if by != nil {
		places = nil
	}
	all, include := parse(c.read(name, places, by), name)
	if depth < configDepth {
		for _, n := range c.included(s, include, base) {
			all = append(all, follow(c, s, parse, n, base, nil, depth+1)...)
		}
	}
	return all
}

// included lists the files that are there of those that a file includes, inside of
// the server's places.
func (c *configs) included(s server, patterns []string, base string) []string {
	var all []string
	for _, pattern := range patterns {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(s.base(base), pattern)
		}
		pattern = filepath.Clean(pattern)
		fixed, _, _ := strings.Cut(strings.NewReplacer("?", "*", "[", "*", `\`, "*").Replace(pattern), "*")
		// Before it is looked up: a pattern could name all files of the machine.
		if !slices.ContainsFunc(s.places, func(p string) bool { return inside(fixed, p) }) {
			c.missed(pattern, errors.New("included from elsewhere"))
			continue
		}
		names, _ := filepath.Glob(pattern) // sorted, and those that are there
		all = append(all, names...)
	}
	return all
}

// ofSystemd reads the socket units, each with its drop-ins. Of two units of one
// name the first place counts: systemd.unit(5).
func (c *configs) ofSystemd(places []string) {
	units := map[string]string{}
	var names []string
	for _, dir := range places {
		files, _ := filepath.Glob(filepath.Join(dir, "*.socket"))
		for _, f := range files {
			if n := filepath.Base(f); units[n] == "" {
				units[n] = f
				names = append(names, n)
			}
		}
	}
	s := server{program: config.Systemd, parse: config.ParseSocketUnit}
	for _, n := range names {
		files := []string{units[n]}
		for _, dir := range places {
			more, _ := filepath.Glob(filepath.Join(dir, n+".d", "*.conf"))
			files = append(files, more...)
		}
		var all []facts.ConfigLine
		for _, f := range files {
			found := config.ParseSocketUnit(c.read(f, places, nil))
			if found.Reset {
				all = nil
			}
			for _, l := range found.Lines {
				l.File = f
				all = append(all, l)
			}
		}
		c.keep(s, all)
	}
}

// ofProject reads the files of a project that say where it is served.
func (c *configs) ofProject(dir string, by *facts.Process) {
	if dir == "" || dir == "/" {
		return
	}
	for _, p := range projectFiles {
		name := filepath.Join(dir, p.name)
		found := p.parse(c.read(name, []string{dir}, by))
		for _, l := range found.Lines {
			l.File, l.Project = name, true
			// To whom the project connects, and what is published beside it, is
			// nobody's concern here.
			if c.names(l) || !l.Upstr && l.Program != config.Compose {
				c.lines = append(c.lines, l)
			}
		}
	}
}

// keep takes the lines of one server that bear on the target.
func (c *configs) keep(s server, all []facts.ConfigLine) {
	has := slices.ContainsFunc(all, c.names)
	usual := slices.Contains(s.ports, c.target.Port)
	unsaid := usual && !slices.ContainsFunc(all, func(l facts.ConfigLine) bool { return l.Port != 0 && !l.Upstr })
	for _, l := range all {
		switch {
		case l.UDP != (c.target.Network == "udp") && l.Port != 0:
		case c.held && l.Upstr:
		// A file that says nothing of the port is not the one that the holder read.
		case c.held && (has || unsaid) && (c.names(l) || l.Port == 0),
			!c.held && (usual || c.near(l)):
			c.lines = append(c.lines, l)
		}
	}
}

// names tells whether the line has the target's port.
func (c *configs) names(l facts.ConfigLine) bool {
	return l.Port == c.target.Port || l.Port < c.target.Port && c.target.Port <= l.LastPort
}

func (c *configs) near(l facts.ConfigLine) bool {
	d := int(l.Port) - int(c.target.Port)
	return c.names(l) || l.Port != 0 && -nearPort <= d && d <= nearPort
}

// read returns what is in a configuration file; nothing of one that is not there.
func (c *configs) read(name string, places []string, by *facts.Process) []byte {
	if c.ctx.Err() != nil {
		c.missed("the rest", errors.New("time was over"))
		return nil
	}
	if c.seen[name] || len(c.seen) >= configFiles {
		return nil
	}
	c.seen[name] = true
	data, err := readConfig(name, places, by)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		c.missed(name, err)
	}
	return data
}

// missed notes a file that could not be read.
func (c *configs) missed(name string, err error) {
	why := err.Error()
	if errors.Is(err, fs.ErrPermission) {
		why = "needs root"
	}
	if s := name + ": " + why; len(c.partial) < 5 && !slices.Contains(c.partial, s) {
		c.partial = append(c.partial, s)
	}
}

// result puts the lines that name the port first, should there be too many.
func (c *configs) result() *facts.Configs {
	slices.SortStableFunc(c.lines, func(a, b facts.ConfigLine) int {
		first := func(l facts.ConfigLine) int { return map[bool]int{true: 0, false: 1}[c.names(l)] }
		return cmp.Compare(first(a), first(b))
	})
	if len(c.lines) > configLines {
		c.lines = c.lines[:configLines]
	}
	if c.lines == nil {
		c.lines = []facts.ConfigLine{}
	}
	return &facts.Configs{Lines: c.lines, Partial: strings.Join(c.partial, "; ")}
}
