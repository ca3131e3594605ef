package host

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/engine"
)

// How long one container engine may take, and all of them: each user has his own.
const (
	engineTime  = 300 * time.Millisecond
	enginesTime = 800 * time.Millisecond
)

// lookContainers asks the container engines of this machine which containers
// publish the port.
func lookContainers(ctx context.Context, f *facts.Facts) (*facts.Containers, error) {
	ctx, cancel := context.WithTimeout(ctx, enginesTime)
	defer cancel()
	type place struct {
		engine, socket string
		uid            uint32
	}
	me := uint32(os.Geteuid())
	places := []place{{"docker", "/run/docker.sock", me}, {"docker", "/var/run/docker.sock", me}, {"podman", "/run/podman/podman.sock", me}}
	var as []uint32
	for _, i := range f.Host.As {
		as = append(as, i.UID)
	}
	for uid, dir := range userRuntimes(as) {
		places = append(places, place{"docker", filepath.Join(dir, "docker.sock"), uid}, place{"podman", filepath.Join(dir, "podman/podman.sock"), uid})
	}
	found := &facts.Containers{Found: []facts.Container{}}
	var from []string
	var failed error
	asked := map[string]bool{}
	for _, p := range places {
		// /var/run is /run on most systems.
		real, err := filepath.EvalSymlinks(p.socket)
		if errors.Is(err, fs.ErrNotExist) || asked[real] {
			continue
		}
		asked[real] = true
		if err == nil && f.Target.Network == "tcp" {
			err = publishing(ctx, engine.Engine{Name: p.engine, Dial: func(context.Context) (net.Conn, error) { return dialUnix(p.socket, p.uid) }}, f.Target.Port, found)
		}
		switch {
		case errors.Is(err, syscall.ECONNREFUSED): // a socket that an engine left behind
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			from = append(from, p.engine)
		}
	}
	if len(found.Found) == 0 && failed != nil {
		return nil, failed
	}
	slices.Sort(from)
	found.From = strings.Join(slices.Compact(from), ", ")
	return found, nil
}

func publishing(ctx context.Context, e engine.Engine, port uint16, found *facts.Containers) error {
	ctx, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	cs, err := e.Publishing(ctx, port)
	for i := range cs {
		for j, line := range cs[i].Log {
			cs[i].Log[j] = mask(line)
		}
		cs[i].Error = mask(cs[i].Error)
	}
	found.Found = append(found.Found, cs...)
	return err
}
