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
	"sync"
	"syscall"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/engine"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netns"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// How long the container engines of this machine may take, all of them at once, and
// what is seen of their containers without them.
const (
	enginesTime = 800 * time.Millisecond
	indoorsTime = 500 * time.Millisecond
)

// maxContainers is how many are told.
const maxContainers = 64

// lookContainers looks for the containers that have to do with the port: it asks the
// engines, and reads what their programs tell to everybody.
func lookContainers(ctx context.Context, f *facts.Facts) (*facts.Containers, error) {
	census, censusErr := process.TakeCensus(ctx)
	if censusErr != nil {
		census = &process.Census{Partial: "processes were not seen"}
	}
	users := append(whoLooks(f.Host.As), whoHasPort(f)...)
	b := &boxes{f: f, census: census, users: users, occupants: census.Occupants(users), found: &facts.Containers{Found: []facts.Container{}, Partial: census.Partial}}
	b.inhabited()
	b.ask(ctx)
	b.verify()
	b.withoutEngine()
	ctx, cancel := context.WithTimeout(ctx, indoorsTime)
	defer cancel()
	b.met(ctx)
	b.lookInside(ctx)
	if len(b.found.Found) == 0 && len(b.found.Engines) > 0 && b.found.From == "" && b.denied != nil {
		return nil, b.denied
	}
	return b.found, nil
}

// whoLooks are the users for whom it is looked: of what their own programs say they are
// the only ones whom it could mislead.
func whoLooks(as []facts.Identity) []uint32 {
	users := []uint32{uint32(os.Geteuid())}
	for _, i := range as {
		users = append(users, i.UID)
	}
	if n, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 32); err == nil && os.Geteuid() == 0 {
		users = append(users, uint32(n))
	}
	return users
}

// boxes is one look for containers.
type boxes struct {
	f         *facts.Facts
	census    *process.Census
	users     []uint32 // whose programs are believed
	occupants []process.Occupant
	netns     map[int]uint64 // of the occupants, by PID
	listening []string       // ids of containers in whose namespaces somebody listens on the port
	found     *facts.Containers
	denied    error // an engine that may not be asked
}

// inhabited sees in which network namespaces the containers are, and which of them have
// a listener on the port.
func (b *boxes) inhabited() {
	b.netns = map[int]uint64{}
	for _, o := range b.occupants {
		b.netns[o.PID] = netns.Of(o.PID)
		if ns := b.f.Namespaces; ns != nil && b.netns[o.PID] != 0 &&
			slices.ContainsFunc(ns.Found, func(n facts.Namespace) bool { return n.ID == b.netns[o.PID] }) {
			b.listening = append(b.listening, o.ID[:12])
		}
	}
}

// enginePlace is a socket at which an engine may be.
type enginePlace struct {
	engine, socket string
	uid            uint32 // as whom it is asked
}

// ask asks every engine, all at once.
func (b *boxes) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, enginesTime)
	defer cancel()
	q := engine.Query{Port: b.f.Target.Port, UDP: b.f.Target.Network == "udp", Listening: b.listening}
	type answer struct {
		facts.Engine
		engine.Answer
		err error
	}
	places := b.places()
	answers := make([]*answer, len(places))
	var wg sync.WaitGroup
	for i, p := range places {
		e := facts.Engine{Name: p.engine, Socket: p.socket}
		if st, err := os.Stat(p.socket); err == nil {
			e.UID = st.Sys().(*syscall.Stat_t).Uid
			e.Rootless = e.UID != 0
		}
		x := &answer{Engine: e}
		answers[i] = x
		wg.Go(func() {
			x.err = guard(func() (err error) {
				dial := func(context.Context) (net.Conn, error) { return dialUnix(p.socket, p.uid) }
				x.Answer, err = engine.Engine{Name: p.engine, Dial: dial}.Containers(ctx, q)
				return err
			})
		})
	}
	wg.Wait()
	var from []string
	for _, x := range answers {
		if errors.Is(x.err, syscall.ECONNREFUSED) || errors.Is(x.err, fs.ErrNotExist) {
			continue // a socket that an engine left behind
		}
		e := x.Engine
		if x.err == nil {
			e.Name, e.Version = x.Answer.Name, x.Answer.Version
			from = append(from, e.Name)
		}
		e.Error = x.Partial
		if x.err != nil {
			e.Error, e.Remedy = noAnswer(e, x.err)
			b.denied = cmp.Or(b.denied, x.err)
		}
		b.found.Engines = append(b.found.Engines, e)
		for _, c := range x.Found {
			b.add(maskedContainer(c, e))
		}
	}
	slices.Sort(from)
	b.found.From = strings.Join(slices.Compact(from), ", ")
}

// places are the sockets to ask at.
func (b *boxes) places() []enginePlace {
	var as []uint32
	for _, i := range b.f.Host.As {
		as = append(as, i.UID)
	}
	var more []enginePlace
	if e := b.f.Environment; e != nil {
		for _, v := range e.Variables {
			if socket, ok := strings.CutPrefix(v.Value, "unix://"); ok && v.Name == "DOCKER_HOST" && filepath.IsAbs(socket) {
				more = append(more, enginePlace{"docker", socket, as[0]})
			}
		}
	}
	return enginePlaces(as, more...)
}

// enginePlaces are the sockets of engines that are there: the system's, and those of
// these users.
func enginePlaces(as []uint32, more ...enginePlace) []enginePlace {
	me := uint32(os.Geteuid())
	all := append([]enginePlace{{"docker", "/run/docker.sock", me}, {"docker", "/var/run/docker.sock", me}, {"podman", "/run/podman/podman.sock", me}}, more...)
	for uid, dir := range userRuntimes(as) {
		all = append(all, enginePlace{"docker", filepath.Join(dir, "docker.sock"), uid}, enginePlace{"podman", filepath.Join(dir, "podman/podman.sock"), uid})
	}
	known := map[string]bool{}
	return slices.DeleteFunc(all, func(p enginePlace) bool {
		real, err := filepath.EvalSymlinks(p.socket) // /var/run is /run on most systems
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return true
		}
		if err != nil {
			real = p.socket
		}
		before := known[real]
		known[real] = true
		return before
	})
}

// noAnswer says why an engine told nothing, and what would make it.
func noAnswer(e facts.Engine, err error) (why, remedy string) {
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() == 0:
		return "it may not be asked, even by root", ""
	case errors.Is(err, fs.ErrPermission) && e.Rootless:
		return "needs root, or the user whose engine it is", "run it with sudo"
	case errors.Is(err, fs.ErrPermission) && e.Name == "docker":
		return "needs root, or the group docker", "run it with sudo"
	case errors.Is(err, fs.ErrPermission):
		return "needs root", "run it with sudo"
	case errors.Is(err, syscall.EAGAIN):
		return "its queue is full", ""
	}
	return engine.Reason(err), ""
}

// maskedContainer hides the secrets of what an engine told.
func maskedContainer(c facts.Container, e facts.Engine) facts.Container {
	for i, line := range c.Log {
		c.Log[i] = mask(line)
	}
	c.Check = process.Mask(c.Check)
	c.Error, c.Checked, c.Rootless = mask(c.Error), mask(c.Checked), e.Rootless
	if e.Rootless && e.UID != uint32(os.Geteuid()) { // a command without it would reach the system's engine
		c.Socket = e.Socket
	}
	return c
}

// add keeps a container, once.
func (b *boxes) add(c facts.Container) {
	same := slices.ContainsFunc(b.found.Found, func(o facts.Container) bool { return o.ID == c.ID })
	switch {
	case same:
	case len(b.found.Found) == maxContainers:
		b.found.Partial = "not every container (there are too many)"
	default:
		b.found.Found = append(b.found.Found, c)
	}
}

// verify drops the PIDs that are none of the container: an engine in another PID
// namespace, in a virtual machine say, tells those of its own.
func (b *boxes) verify() {
	for i := range b.found.Found {
		c := &b.found.Found[i]
		if c.PID != 0 && !b.census.IsIn(c.PID, c.ID) {
			c.PID = 0
		}
		for _, o := range b.occupants {
			if c.PID == 0 && c.State != "exited" && strings.HasPrefix(o.ID, c.ID) {
				c.PID = o.PID
			}
		}
	}
}
