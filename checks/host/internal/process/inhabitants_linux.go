package process

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Inhabitant is the first process of a container, as far as cgroups tell.
type Inhabitant struct {
	PID    int
	Engine string // "docker", "podman", "kubernetes" … as the cgroup has it
	ID     string // the first twelve digits; the name of an lxc container
	Cgroup string
}

// Inhabitants finds the first process of each container by the cgroups of all, which
// everybody may read.
func Inhabitants(ctx context.Context) ([]Inhabitant, error) {
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	oldest := map[string]Inhabitant{}
	since := map[string]time.Duration{}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		i, ok := inhabitant(pid)
		if !ok {
			continue
		}
		st, err := statOf(pid)
		if err != nil || st.state == 'Z' || st.state == 'X' {
			continue
		}
		key := i.Engine + " " + i.ID
		if _, known := oldest[key]; !known || st.start < since[key] {
			oldest[key], since[key] = i, st.start
		}
	}
	var all []Inhabitant
	for _, i := range oldest {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Inhabitant) int { return cmp.Compare(a.PID, b.PID) })
	return all, nil
}

// Container says in which container a process is (0: loopdoctor).
func Container(pid int) (Inhabitant, bool) { return inhabitant(pid) }

func inhabitant(pid int) (Inhabitant, bool) {
	name := "/proc/self/cgroup"
	if pid != 0 {
		name = "/proc/" + strconv.Itoa(pid) + "/cgroup"
	}
	ms, err := parseFile(name, parseCgroup)
	if err != nil {
		return Inhabitant{}, false
	}
	_, container := home(ms)
	engine, id, ok := strings.Cut(container, " ")
	if !ok {
		return Inhabitant{}, false
	}
	i := Inhabitant{PID: pid, Engine: engine, ID: id}
	for _, m := range ms {
		if _, c := place(m.path); c == container {
			i.Cgroup = m.path
			break
		}
	}
	return i, true
}

// Named finds the ids of the containers of that name, by what conmon was told, which
// watches over each container of Podman and CRI-O. Those of another user than root and
// these count only where nobody else has one of that name.
func Named(ctx context.Context, name string, users []uint32) (ids []string, err error) {
	c, err := TakeCensus(ctx)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, p := range c.Programs {
		m, ok := ParseMonitor(p.Args)
		if !ok || m.Name != name || slices.Contains(ids, m.ID) || slices.Contains(others, m.ID) {
			continue
		}
		switch {
		case p.Credible(users):
			ids = append(ids, m.ID)
		case p.Credible([]uint32{p.UID}):
			others = append(others, m.ID)
		}
	}
	if len(ids) == 0 {
		ids = others
	}
	return ids, nil
}
