package host

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/supervisor"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/systemd"
)

// supervisorFiles is where Debian, and pip, keep the configuration.
var supervisorFiles = []string{"/etc/supervisor/supervisord.conf", "/etc/supervisord.conf"}

// maxSupervisors bounds how many are asked.
const maxSupervisors = 8

// supervisorConfig is a configuration and who may be asked as whom.
type supervisorConfig struct {
	file string
	uid  uint32 // of the supervisord that runs with it
	runs bool
}

// supervised looks at the programs of supervisord.
func (l *unitLook) supervised(ctx context.Context) {
	for _, c := range supervisors(ctx) {
		var config supervisor.Config
		var err error
		failed := asUser(c.uid, func() { config, err = supervisor.Read(c.file, systemd.ReadFile, filepath.Glob) })
		err = errors.Join(failed, err)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case needsRoot(err):
			l.partial = append(l.partial, c.file+" (needs root)")
		case err != nil:
			l.partial = append(l.partial, c.file)
			continue
		}
		l.from = append(l.from, "supervisord")
		var about []facts.Unit
		for _, p := range config.Programs {
			if a := systemd.Program(p.Command, p.Environment, l.port); a != nil && len(l.units)+len(about) < maxUnits {
				about = append(about, facts.Unit{Name: p.Name, Manager: "supervisord", UID: c.uid, About: mask(a.Text), Names: a.Sure, File: p.File, Config: c.file})
			}
		}
		if len(about) > 0 {
			l.ask(ctx, c, config, about)
			l.units = append(l.units, about...)
		}
	}
}

// ask fills in the state of the programs, as far as they can be had.
func (l *unitLook) ask(ctx context.Context, c supervisorConfig, config supervisor.Config, us []facts.Unit) {
	ctx, cancel := context.WithTimeout(ctx, managerTime)
	defer cancel()
	var peer uint32
	ps, err := supervisor.Ask(ctx, config, func(_ context.Context, socket string) (net.Conn, error) {
		conn, err := dialUnix(socket, c.as())
		if err != nil {
			return nil, err
		}
		peer = peerUID(conn)
		if config.User != "" && peer != 0 && peer != c.uid { // it would be told the password
			conn.Close()
			return nil, fs.ErrPermission
		}
		return conn, nil
	})
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
	for i := range us {
		u := &us[i]
		if err != nil && gone && !c.runs {
			u.State, u.Because = "inactive", "supervisord does not run"
			continue
		}
		j := slices.IndexFunc(ps, func(p supervisor.Process) bool { return p.Name == u.Name || p.Group == u.Name })
		if err != nil || j < 0 {
			if err == nil {
				u.Because = "supervisord does not know it yet"
				continue
			}
			l.partial = append(l.partial, "state of supervisord's programs ("+supervisorReason(err)+")")
			continue
		}
		p := ps[j]
		if p.Group != p.Name { // as supervisorctl calls it
			u.Name = p.Group + ":" + p.Name
		}
		u.State, u.Sub, u.Exit, u.MainPID, u.Since, u.Because = supervisorState(p), p.State, p.Exit, p.PID, p.Since, mask(p.Because)
		if p.State == "RUNNING" || p.State == "STARTING" {
			continue
		}
		for _, file := range []string{p.Stderr, p.Stdout} {
			// supervisord says which file: it must be one of its own, or root says so.
			// Of a socket that systemd made for it root is the peer.
			if lines := tail(file, cmp.Or(c.uid, peer)); len(lines) > 0 && len(u.Log) == 0 {
				u.Log, u.LogFrom = lines, filepath.Clean(file)
			}
		}
	}
}

func (c supervisorConfig) as() uint32 {
	if os.Geteuid() == 0 {
		return c.uid
	}
	return uint32(os.Geteuid())
}

func supervisorReason(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "needs root"
	case errors.Is(err, context.DeadlineExceeded):
		return "it does not answer"
	}
	return "it is not to be asked"
}

// supervisorState puts supervisord's states into systemd's words.
func supervisorState(p supervisor.Process) string {
	switch p.State {
	case "RUNNING":
		return "active"
	case "STARTING", "BACKOFF":
		return "activating"
	case "FATAL":
		return "failed"
	case "EXITED":
		if p.Exit != 0 {
			return "failed"
		}
	}
	return "inactive"
}

// supervisors finds the configurations: of those that run, and the usual ones.
func supervisors(ctx context.Context) []supervisorConfig {
	var all []supervisorConfig
	add := func(c supervisorConfig) {
		if len(all) < maxSupervisors && !slices.ContainsFunc(all, func(o supervisorConfig) bool { return o.file == c.file }) {
			all = append(all, c)
		}
	}
	pids, _ := process.PIDs()
	for _, pid := range pids {
		if ctx.Err() != nil {
			break
		}
		if comm, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm")); strings.TrimSpace(string(comm)) != "supervisord" {
			continue
		}
		p, err := process.Describe(pid)
		if err != nil || p.Container != "" { // its paths are another's
			continue
		}
		for i, a := range p.Args {
			file, ok := strings.CutPrefix(a, "--configuration=")
			if !ok && (a == "-c" || a == "--configuration") && i+1 < len(p.Args) {
				file, ok = p.Args[i+1], true
			}
			if ok && !filepath.IsAbs(file) {
				file = filepath.Join(p.Cwd, file)
			}
			if ok && filepath.IsAbs(file) {
				add(supervisorConfig{filepath.Clean(file), namedBy(p), true})
			}
		}
	}
	for _, file := range supervisorFiles {
		add(supervisorConfig{file: file})
	}
	return all
}
