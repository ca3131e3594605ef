package process

import (
	"cmp"
	"context"
	"path/filepath"
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

// Named finds the id of the container of that name among the arguments of conmon,
// which watches over each container of Podman and CRI-O:
//
//	/usr/bin/conmon --api-version 1 -c 3f2a… -u 3f2a… -r /usr/bin/crun -b … -n shop-web --exit-dir …
func Named(ctx context.Context, name string) (ids []string, err error) {
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return ids, ctx.Err()
		}
		if comm(pid) != "conmon" {
			continue
		}
		args := parseArgs(readSmall("/proc/" + strconv.Itoa(pid) + "/cmdline"))
		if id, n := conmon(args); n == name && id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// conmon reads the id and the name of its container.
func conmon(args []string) (id, name string) {
	if len(args) == 0 || filepath.Base(args[0]) != "conmon" {
		return "", ""
	}
	for i, a := range args[:len(args)-1] {
		switch a {
		case "-c", "--cid":
			id = cmp.Or(id, args[i+1])
		case "-n", "--name":
			name = cmp.Or(name, args[i+1])
		}
	}
	return id, name
}
