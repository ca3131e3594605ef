package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/engine"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// findTime is how long the search for a place may take: people wait for it, and
// nothing can be looked at before.
const findTime = 2 * time.Second

func linuxFind(p Place) (Spot, error) {
	ctx, cancel := context.WithTimeout(context.Background(), findTime)
	defer cancel()
	// A file of /proc may be that of a process which does not let it be read: its pages
	// may lie on a file system of its own.
	var s Spot
	done := make(chan error, 1)
	go func() { done <- guard(func() (err error) { s, err = find(ctx, p); return err }) }()
	select {
	case err := <-done:
		return s, err
	case <-time.After(2 * findTime):
		return Spot{}, errors.New("it was not found in time")
	}
}

func find(ctx context.Context, p Place) (Spot, error) {
	switch p.Kind {
	case "pid":
		pid, err := strconv.Atoi(p.Name)
		if err != nil || pid <= 0 {
			return Spot{}, fmt.Errorf("%q is no process number", p.Name)
		}
		return findProcess(ctx, pid)
	case "netns":
		return findNamespace(p.Name)
	case "container":
		return findContainer(ctx, p.Name)
	}
	return findPod(ctx, p.Name)
}

// findProcess is the place where a process lives.
func findProcess(ctx context.Context, pid int) (Spot, error) {
	id, err := linuxProcess(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return Spot{}, noPlace("no process has this number")
	}
	if err != nil {
		return Spot{}, err
	}
	s := Spot{Client: id}
	in, ok := process.Container(pid)
	if own, also := process.Container(0); !ok || also && own.ID == in.ID {
		return s, nil
	}
	s.Room = roomOf(in)
	if in.Engine != "lxc" {
		meant, _ := askEngines(ctx, func(ctx context.Context, e engine.Engine) ([]engine.Meant, error) { return e.Find(ctx, in.ID) })
		if len(meant) == 1 && meant[0].ID == in.ID {
			s.know(meant[0])
		}
	}
	return s, nil
}

func roomOf(in process.Inhabitant) facts.Room {
	r := facts.Room{Kind: "container", Engine: in.Engine, ID: in.ID}
	switch in.Engine {
	case "container": // the cgroup does not say whose
		r.Engine = ""
	case "lxc":
		r.ID, r.Name = "", in.ID
	}
	return r
}

// know takes what an engine says of the container.
func (s *Spot) know(m engine.Meant) {
	s.Room = facts.Room{Kind: "container", Engine: m.Engine, ID: m.ID, Name: m.Name, Image: m.Image, Project: m.Project, Service: m.Service}
	if m.Pod != "" {
		s.Room.Kind, s.Room.Pod = "pod", m.Pod
	}
	s.Networks, s.Health, s.Check = m.Networks, m.Health, process.Mask(m.Check)
}

// findNamespace is a namespace that a file keeps: of "ip netns" by its name, or any
// other by the path.
func findNamespace(name string) (Spot, error) {
	s := Spot{Path: name}
	dir := filepath.Dir(filepath.Clean(name))
	switch {
	case !strings.Contains(name, "/"):
		s.Path, s.Room = "/run/netns/"+name, facts.Room{Kind: "ip netns", Name: name}
	case dir == "/run/netns" || dir == "/var/run/netns":
		s.Room = facts.Room{Kind: "ip netns", Name: filepath.Base(name)}
	default:
		s.Room = facts.Room{Kind: "network namespace", Name: name}
	}
	var st unix.Statfs_t
	switch err := unix.Statfs(s.Path, &st); {
	case errors.Is(err, fs.ErrNotExist) && s.Room.Kind == "ip netns":
		return s, noPlace("there is no network namespace of this name%s", others("/run/netns"))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return s, noPlace("%s: %v", s.Path, err)
	case err != nil:
		return s, fmt.Errorf("%s: %w", s.Path, err)
	case st.Type != unix.NSFS_MAGIC && st.Type != unix.PROC_SUPER_MAGIC:
		return s, noPlace("%s keeps no namespace", s.Path)
	}
	// "For each network namespace there may be a directory …", ip-netns(8)
	if etc := "/etc/netns/" + s.Room.Name; s.Room.Kind == "ip netns" && present(etc) {
		s.Etc = etc
	}
	if os.Getenv(entered) != "" {
		s.netns, _ = inode("/proc/self/net/tcp")
	}
	return s, nil
}

// others lists what is there instead.
func others(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return ""
	}
	var names []string
	for _, e := range entries[:min(len(entries), 8)] {
		names = append(names, e.Name())
	}
	return "; there are: " + strings.Join(names, ", ")
}

// askEngines asks each engine of this machine whose socket may be used. The error is that of
// those that gave no answer.
func askEngines(ctx context.Context, find func(context.Context, engine.Engine) ([]engine.Meant, error)) (all []engine.Meant, err error) {
	ctx, cancel := context.WithTimeout(ctx, enginesTime)
	defer cancel()
	places := enginePlaces(nil)
	found, failed := make([][]engine.Meant, len(places)), make([]error, len(places))
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() {
			failed[i] = guard(func() (err error) {
				found[i], err = find(ctx, engine.Engine{Name: p.engine, Dial: func(context.Context) (net.Conn, error) { return dialUnix(p.socket, p.uid) }})
				return err
			})
		})
	}
	wg.Wait()
	var users []engine.Meant
	for i, p := range places {
		if p.uid == uint32(os.Geteuid()) {
			all = append(all, found[i]...)
		} else {
			users = append(users, slices.DeleteFunc(found[i], notItsOwn)...)
		}
		if failed[i] != nil && !errors.Is(failed[i], syscall.ECONNREFUSED) { // a socket that an engine left behind
			err = errors.Join(err, fmt.Errorf("%s: %w", p.engine, failed[i]))
		}
	}
	if len(all) == 0 { // anybody may have a socket of that name: the system's engine is the one that is meant
		all = users
	}
	return all, err
}

// notItsOwn tells whether an engine of some user names a process that is not in the
// container, as far as cgroups tell.
func notItsOwn(m engine.Meant) bool {
	in, ok := process.Container(m.PID)
	return m.PID != 0 && (!ok || in.ID != m.ID)
}

func findContainer(ctx context.Context, name string) (Spot, error) {
	meant, failed := askEngines(ctx, func(ctx context.Context, e engine.Engine) ([]engine.Meant, error) { return e.Find(ctx, name) })
	switch {
	case len(meant) == 1:
		return live(meant[0])
	case len(meant) > 1:
		return Spot{}, &ManyMeantError{Name: name, Are: said(meant)}
	}
	// Engines that have no such interface, or do not let us ask.
	ids, _ := process.Named(ctx, name, whoLooks(nil))
	if len(ids) == 0 && isHex(name) && len(name) >= 4 {
		ids = []string{name}
	}
	inhabitants, _ := process.Inhabitants(ctx)
	var found []process.Inhabitant
	for _, in := range inhabitants {
		of := func(id string) bool {
			short := id[:min(len(id), 12)]
			return strings.HasPrefix(in.ID, short) && strings.Contains(in.Cgroup, id)
		}
		if slices.ContainsFunc(ids, of) || in.Engine == "lxc" && in.ID == name {
			found = append(found, in)
		}
	}
	switch {
	case len(found) == 1:
		id, err := linuxProcess(found[0].PID)
		s := Spot{Room: roomOf(found[0]), Client: id}
		if !isHex(name) {
			s.Room.Name = name
		}
		return s, err
	case len(found) > 1:
		e := &ManyMeantError{Name: name}
		for _, in := range found {
			e.Are = append(e.Are, in.ID)
		}
		return Spot{}, e
	case errors.Is(failed, fs.ErrPermission):
		return Spot{}, fmt.Errorf("no container of this name can be seen: %w", failed)
	case failed != nil:
		return Spot{}, fmt.Errorf("no container of this name is seen, and an engine did not answer: %w", failed)
	}
	return Spot{}, noPlace("no container has this name or id here")
}

// live is the place in a container, which has to run.
func live(m engine.Meant) (Spot, error) {
	if m.PID == 0 {
		return Spot{}, noPlace("the container does not run (%s): there is nothing to look from", m.State)
	}
	// An engine of another machine, or around this one, has other process numbers.
	if in, ok := process.Container(m.PID); ok && in.ID != m.ID || !ok && ownRoom(nil).Kind != "" {
		return Spot{}, fmt.Errorf("process %d of the container cannot be seen from here", m.PID)
	}
	id, err := linuxProcess(m.PID)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("process %d of the container cannot be seen from here", m.PID)
	}
	s := Spot{Client: id}
	s.know(m)
	return s, err
}

func said(meant []engine.Meant) (are []string) {
	for _, m := range meant {
		are = append(are, fmt.Sprintf("%s (%s, %s, %s)", m.Name, m.Engine, m.ID, m.State))
	}
	return are
}

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdef") == "" }

// findPod finds a pod of Kubernetes on this node: by the labels that Docker keeps for
// cri-dockerd, else by cgroups of the kubelet, with the name that each of its
// processes has for its host. Its containers share one network; one of the application
// is taken before the one that only keeps that, which lacks the files of the others.
func findPod(ctx context.Context, name string) (Spot, error) {
	parts := strings.Split(name, "/") // NAMESPACE/NAME[/CONTAINER]: that was checked
	namespace, pod, container := parts[0], parts[1], ""
	if len(parts) > 2 {
		container = parts[2]
	}
	meant, failed := askEngines(ctx, func(ctx context.Context, e engine.Engine) ([]engine.Meant, error) {
		return e.FindPod(ctx, namespace, pod, container)
	})
	running := slices.DeleteFunc(slices.Clone(meant), func(m engine.Meant) bool { return m.PID == 0 })
	switch {
	case len(running) > 0:
		return live(running[0])
	case len(meant) > 0:
		return live(meant[0])
	}
	var hidden error
	var keeper *process.Inhabitant
	inhabitants, _ := process.Inhabitants(ctx)
	for _, in := range inhabitants {
		if !strings.Contains(in.Cgroup, "kubepods") {
			continue
		}
		environ, err := process.Environ(in.PID)
		if err != nil {
			hidden = err
			continue
		}
		if variable(environ, "HOSTNAME") != pod || container != "" && in.ID != container[:min(len(container), 12)] {
			continue
		}
		if root, err := openRoot(in.PID); err == nil {
			ns, info, err := root.read("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
			root.Close()
			if err == nil && info.Mode().IsRegular() && strings.TrimSpace(string(ns)) != namespace {
				continue
			}
		}
		if commOf(in.PID) == "pause" && container == "" {
			keeper = &in
			continue
		}
		return inPod(in, namespace+"/"+pod)
	}
	switch {
	case keeper != nil:
		return inPod(*keeper, namespace+"/"+pod)
	case hidden != nil:
		return Spot{}, fmt.Errorf("no pod of this name can be seen: %w", hidden)
	case failed != nil:
		return Spot{}, fmt.Errorf("no pod of this name is seen, and an engine did not answer: %w", failed)
	case container != "":
		return Spot{}, noPlace("no such container of this pod is seen on this node: leave the container out, or name its process with --pid (crictl inspect)")
	}
	return Spot{}, noPlace("no pod of this name is seen on this node: name a process of it with --pid (crictl inspect)")
}

// inPod is the place in a container of a pod.
func inPod(in process.Inhabitant, pod string) (Spot, error) {
	id, err := linuxProcess(in.PID)
	return Spot{Client: id, Room: facts.Room{Kind: "pod", Engine: in.Engine, ID: in.ID, Pod: pod}}, err
}

// enterFile goes to the network namespace that a file keeps.
func enterFile(path string) error {
	its, ok1 := inode(path)
	mine, ok2 := inode("/proc/self/ns/net")
	if ok1 && ok2 && its == mine {
		return nil // it is done
	}
	if os.Getenv(entered) != "" {
		return errors.New("it was replaced by another one while loopdoctor went there")
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return goThere(fd, path)
}
