package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/systemd"
)

const (
	// managerTime is how long one manager may take to answer everything.
	managerTime = 200 * time.Millisecond
	// unitsTime bounds the look at all of them and at their logs.
	unitsTime = 800 * time.Millisecond
	maxUnits  = 16
)

// lookUnits looks for the units of service managers that have to do with the
// port: which say so themselves, or usually own it.
func lookUnits(ctx context.Context, f *facts.Facts) (*facts.Units, error) {
	ctx, cancel := context.WithTimeout(ctx, unitsTime)
	defer cancel()
	l := &unitLook{port: f.Target.Port, units: []facts.Unit{}}
	if f.Target.Network == "tcp" {
		l.system(ctx)
		as := []uint32{}
		for _, i := range f.Host.As {
			as = append(as, i.UID)
		}
		for uid, dir := range userRuntimes(as) {
			if ctx.Err() != nil {
				break
			}
			l.user(ctx, uid, dir)
		}
		l.supervised(ctx)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		l.partial = append(l.partial, "time ran out")
	}
	u := &facts.Units{From: "no service manager", Units: l.units}
	if len(l.from) > 0 {
		slices.Sort(l.from)
		u.From = strings.Join(slices.Compact(l.from), ", ")
	}
	slices.SortStableFunc(u.Units, func(a, b facts.Unit) int { return strings.Compare(a.Manager, b.Manager) })
	slices.Sort(l.partial)
	u.Partial = strings.Join(slices.Compact(l.partial), ", ")
	return u, nil
}

type unitLook struct {
	port          uint16
	units         []facts.Unit
	from, partial []string
}

// system looks at the units of the system's manager. Where another init runs,
// their files mean nothing (sd_booted(3)).
func (l *unitLook) system(ctx context.Context) {
	if !present("/run/systemd/system") {
		return
	}
	m, done, err := systemManager()
	if err == nil {
		defer done()
		l.from = append(l.from, "systemd")
		l.look(ctx, m, systemd.Directories, "systemd", 0)
		return
	}
	l.from = append(l.from, "unit files")
	before := len(l.units)
	if l.look(ctx, nil, systemd.Directories, "systemd", 0); len(l.units) > before {
		l.partial = append(l.partial, "state of the units ("+managerReason(err)+")")
	}
}

func systemManager() (*systemd.Manager, func() error, error) {
	uid := uint32(os.Geteuid())
	if m, done, err := openManager("/run/systemd/private", uid, false); err == nil {
		return m, done, nil
	}
	return openManager("/run/dbus/system_bus_socket", uid, true)
}

func openManager(socket string, uid uint32, bus bool) (*systemd.Manager, func() error, error) {
	c, err := dialUnix(socket, uid)
	if err != nil {
		return nil, nil, err
	}
	c.SetDeadline(time.Now().Add(managerTime))
	m, err := systemd.Open(c, int(uid), bus)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return m, c.Close, nil
}

func managerReason(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "needs root"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "systemd does not answer"
	case errors.Is(err, fs.ErrNotExist):
		return "no D-Bus"
	}
	return "systemd is not to be asked"
}

// user looks at the units of a user's own manager.
func (l *unitLook) user(ctx context.Context, uid uint32, runtime string) {
	m, done, err := openManager(path.Join(runtime, "systemd/private"), uid, false)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var dirs []string
	if err == nil {
		defer done()
		dirs, err = m.Directories()
	}
	if err != nil {
		l.partial = append(l.partial, fmt.Sprintf("units of uid %d (%s)", uid, managerReason(err)))
		return
	}
	l.from = append(l.from, "systemd --user")
	l.look(ctx, m, dirs[:min(len(dirs), 50)], "systemd --user", uid)
}

// look picks the units that concern the port, and asks for their state; m is nil
// where nobody can be asked.
func (l *unitLook) look(ctx context.Context, m *systemd.Manager, dirs []string, manager string, uid uint32) {
	var all []systemd.Unit
	var err error
	failed := asUser(uid, func() { all, err = systemd.Load(ctx, dirs) })
	if err = errors.Join(failed, err); needsRoot(err) {
		l.partial = append(l.partial, "unit files (needs root)")
	}
	var loaded []string
	if m != nil {
		if loaded, err = m.Matching(systemd.Instances(l.port)...); err != nil {
			l.partial = append(l.partial, "state of the units of "+manager+" ("+managerReason(err)+")")
			m = nil // it will not say more
		}
	}
	for _, c := range systemd.Concerning(all, loaded, l.port, func(file string) []byte {
		var data []byte
		_ = asUser(uid, func() { data, _ = systemd.ReadFile(file) })
		return data
	}) {
		if len(l.units) >= maxUnits {
			l.partial = append(l.partial, "more units")
			return
		}
		u := facts.Unit{Name: c.Unit.Name, Manager: manager, UID: uid, File: c.Unit.File, About: mask(c.About), Names: c.Sure, Triggers: c.Unit.Triggers()}
		if m != nil {
			s, err := m.State(u.Name)
			if err != nil {
				l.partial = append(l.partial, "state of "+u.Name)
			} else {
				u.State, u.Sub, u.Result, u.Enabled = s.Active, s.Sub, s.Result, s.Enabled
				u.Exit, u.Signal, u.Restarts, u.MainPID, u.Since = s.Exit, s.Signal, s.Restarts, s.MainPID, s.Since
			}
		}
		if c.Unit.Masked {
			u.Enabled = "masked"
		}
		if ended(u) {
			l.journal(ctx, &u)
		}
		l.units = append(l.units, u)
	}
}

// ended tells whether the unit has a last word.
func ended(u facts.Unit) bool {
	return u.State == "failed" || u.Restarts > 0 || !u.Since.IsZero() && u.State == "inactive" || u.Result != "" && u.Result != "success"
}

// mask hides the secrets of a line and bounds it: logs hold both.
func mask(line string) string {
	if len(line) > 1000 {
		line = line[:1000]
	}
	line = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(line, "\uFFFD"), func(r rune) bool { return r == '\n' || r == '\r' || r == 0 }), " ")
	line = process.Mask([]string{strings.TrimSpace(line)})[0]
	if r := []rune(line); len(r) > 300 {
		line = string(r[:300]) + "…"
	}
	return line
}
