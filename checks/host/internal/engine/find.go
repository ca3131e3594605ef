package engine

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// maxMeant is how many containers a name may mean before the rest is not told.
const maxMeant = 8

// Meant is a container that somebody means by a name.
type Meant struct {
	facts.Container          // Engine, ID, Name, Image, Project, Service, Pod, State, PID, Health and Check
	FullID          string   // all 64 digits
	Networks        []string // names of the networks that it is in
}

// Find returns the containers that the name means, as the engine's own commands take
// it: the one of that name, else those whose id begins so. Where there is neither,
// those of the compose service of that name.
func (e Engine) Find(ctx context.Context, name string) ([]Meant, error) {
	if name = strings.TrimPrefix(name, "/"); name == "" {
		return nil, nil
	}
	return e.find(ctx, func(list []summary) []summary {
		for _, is := range []func(summary) bool{
			func(s summary) bool { return slices.Contains(s.Names, "/"+name) || slices.Contains(s.Names, name) },
			func(s summary) bool { return strings.HasPrefix(s.ID, name) },
			func(s summary) bool { return s.Labels["com.docker.compose.service"] == name },
		} {
			if found := which(list, is); len(found) > 0 {
				return found
			}
		}
		return nil
	})
}

// FindPod returns the containers of a pod of Kubernetes, by the labels that
// cri-dockerd and the kubelet give them: those of that name, or all. The one that only
// holds the pod's namespaces is none of them.
func (e Engine) FindPod(ctx context.Context, namespace, pod, container string) ([]Meant, error) {
	return e.find(ctx, func(list []summary) []summary {
		return which(list, func(s summary) bool {
			name := s.Labels["io.kubernetes.container.name"]
			return s.Labels["io.kubernetes.pod.namespace"] == namespace && s.Labels["io.kubernetes.pod.name"] == pod &&
				name != "POD" && s.Labels["io.kubernetes.docker.type"] != "podsandbox" && (container == "" || name == container)
		})
	})
}

func which(list []summary, is func(summary) bool) (found []summary) {
	for _, s := range list {
		if is(s) {
			found = append(found, s)
		}
	}
	return found
}

func (e Engine) find(ctx context.Context, meant func([]summary) []summary) ([]Meant, error) {
	client := e.client()
	list, err := (&Answer{}).list(ctx, client)
	if err != nil {
		return nil, err
	}
	found := meant(list)
	var all []Meant
	for _, s := range found[:min(len(found), maxMeant)] {
		m := Meant{Container: s.container(e.Name), FullID: clip(s.ID, 64)}
		if ns, pod := s.Labels["io.kubernetes.pod.namespace"], s.Labels["io.kubernetes.pod.name"]; ns != "" && pod != "" {
			m.Pod = clip(ns+"/"+pod, 200)
			m.Name = clip(cmp.Or(s.Labels["io.kubernetes.container.name"], m.Name), 100)
		}
		var d struct {
			State struct {
				Pid    int
				Health *struct{ Status string }
			}
			Config          struct{ Healthcheck *struct{ Test []string } }
			HostConfig      struct{ NetworkMode string }
			NetworkSettings struct {
				Networks map[string]struct{}
			}
		}
		if err := get(ctx, client, "/containers/"+url.PathEscape(s.ID)+"/json", &d); err != nil {
			if ctx.Err() != nil {
				return all, err
			}
			continue // it may be gone by now
		}
		m.PID, m.Network = d.State.Pid, clip(d.HostConfig.NetworkMode, 100)
		if h := d.State.Health; h != nil && h.Status != "none" {
			m.Health = clip(h.Status, 20)
		}
		if h := d.Config.Healthcheck; h != nil {
			for _, word := range h.Test[:min(len(h.Test), 32)] {
				m.Check = append(m.Check, clip(word, 300))
			}
		}
		for name := range d.NetworkSettings.Networks {
			m.Networks = append(m.Networks, clip(name, 100))
		}
		slices.Sort(m.Networks)
		m.Networks = m.Networks[:min(len(m.Networks), 16)]
		all = append(all, m)
	}
	return all, nil
}
