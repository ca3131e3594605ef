package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	maxPorts     = 32 // publications of a container that are kept, those of the target first
	maxAddresses = 16
	maxWords     = 16
)

// summary is an entry of GET /containers/json.
type summary struct {
	ID     string `json:"Id"`
	Names  []string
	Image  string
	State  string
	Status string
	Labels map[string]string
	Ports  []struct {
		IP                      string
		PrivatePort, PublicPort uint16
		Type                    string
	}
	HostConfig      struct{ NetworkMode string } // not by Podman
	NetworkSettings struct{ Networks map[string]json.RawMessage }
}

// rank is how sure it is, by the list alone, that a container concerns the port.
type rank int

const (
	publishes rank = iota
	listens
	exposed
	mayPublish  // one that does not run: the list does not tell its ports
	clusterNode // its cluster may have a NodePort there, which shows nowhere
	sharesHost
	mayShareHost // Podman's list tells only that it is in no network of its own
	unrelated
)

func (s summary) rank(q Query) rank {
	runs := s.State == "running" || s.State == "paused" || s.State == "restarting"
	r := unrelated
	switch {
	case slices.Contains(q.Listening, clip(s.ID, 12)):
		r = listens
	case s.HostConfig.NetworkMode == "host" && runs:
		r = sharesHost
	case s.HostConfig.NetworkMode == "" && len(s.NetworkSettings.Networks) == 0 && runs && !(facts.IsNodePort(q.Port) && facts.NodeOf(s.Image) != ""):
		r = mayShareHost
	case runs && facts.IsNodePort(q.Port) && facts.NodeOf(s.Image) != "":
		r = clusterNode
	case s.State != "running" && s.State != "paused":
		r = mayPublish
	}
	for _, p := range s.Ports {
		switch {
		case (p.Type == "udp") != q.UDP || p.Type == "sctp":
		case p.PublicPort == q.Port:
			return publishes
		case p.PrivatePort == q.Port && runs:
			r = min(r, exposed)
		}
	}
	return r
}

func (s summary) container(engine string) facts.Container {
	label := func(name string, n int) string { return clip(s.Labels[name], n) }
	c := facts.Container{Engine: engine, ID: clip(s.ID, 12), Image: clip(s.Image, 200), State: clip(s.State, 20), Status: clip(s.Status, 100),
		Project: label("com.docker.compose.project", 100), Service: label("com.docker.compose.service", 100), Dir: label("com.docker.compose.project.working_dir", 500)}
	for _, file := range strings.SplitN(s.Labels["com.docker.compose.project.config_files"], ",", 9) {
		if file != "" && len(c.Files) < 8 {
			c.Files = append(c.Files, clip(file, 500))
		}
	}
	if len(s.Names) > 0 {
		c.Name = clip(strings.TrimPrefix(s.Names[0], "/"), 100)
	}
	if pod := s.Labels["io.kubernetes.pod.name"]; pod != "" {
		c.Pod = clip(s.Labels["io.kubernetes.pod.namespace"]+"/"+pod, 200)
	}
	return c
}

// bindings is what a port of a container is published as. A port without any is only
// exposed.
type bindings map[string][]struct{ HostIp, HostPort string }

// detail is what is read of GET /containers/ID/json.
type detail struct {
	RestartCount int
	State        struct {
		Status                string
		Pid                   int
		ExitCode              int
		OOMKilled             bool
		Error                 string
		StartedAt, FinishedAt time.Time
		Health                *health
		Healthcheck           *health // Podman before 4.4
	}
	Config struct {
		Tty          bool
		ExposedPorts map[string]struct{}
		Healthcheck  *struct{ Test []string }
	}
	HostConfig struct {
		NetworkMode  string
		PortBindings bindings
	}
	NetworkSettings struct {
		IPAddress, GlobalIPv6Address string
		Networks                     map[string]struct{ IPAddress, GlobalIPv6Address string }
		Ports                        bindings
	}
}

type health struct {
	Status string
	Log    []struct {
		ExitCode int
		Output   string
	}
}

func (d detail) add(c *facts.Container, q Query) {
	c.Exit, c.OOM, c.Restarts = d.State.ExitCode, d.State.OOMKilled, d.RestartCount
	if d.State.StartedAt.Year() > 1 {
		c.Started = d.State.StartedAt.UTC()
	}
	if d.State.FinishedAt.Year() > 1 {
		c.Ended = d.State.FinishedAt.UTC()
	}
	c.Error = clip(d.State.Error, 300)
	if c.State == "running" || c.State == "paused" {
		c.PID = max(0, d.State.Pid)
	}
	for _, h := range []*health{d.State.Healthcheck, d.State.Health} {
		if h == nil || h.Status == "" || h.Status == "none" {
			continue
		}
		c.Health = clip(h.Status, 20)
		if n := len(h.Log); n > 0 {
			c.Checked = clip(strings.TrimSpace(h.Log[n-1].Output), 300)
		}
	}
	if h := d.Config.Healthcheck; h != nil && !slices.Equal(h.Test, []string{"NONE"}) {
		for _, word := range h.Test[:min(len(h.Test), maxWords)] {
			c.Check = append(c.Check, clip(word, 300))
		}
	}
	d.network(c)
	d.ports(c, q)
}

func (d detail) network(c *facts.Container) {
	c.Network = clip(d.HostConfig.NetworkMode, 100)
	if id, ok := strings.CutPrefix(c.Network, "container:"); ok {
		c.Network = "container:" + clip(id, 12)
	}
	texts := []string{d.NetworkSettings.IPAddress, d.NetworkSettings.GlobalIPv6Address}
	var names []string
	for name, n := range d.NetworkSettings.Networks {
		names = append(names, name)
		texts = append(texts, n.IPAddress, n.GlobalIPv6Address)
	}
	if c.Network == "default" {
		c.Network = "bridge"
		if len(names) == 1 {
			c.Network = clip(names[0], 100)
		}
	}
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && !a.IsUnspecified() && !slices.Contains(c.Addresses, a) {
			c.Addresses = append(c.Addresses, a)
		}
	}
	slices.SortFunc(c.Addresses, netip.Addr.Compare)
	c.Addresses = c.Addresses[:min(len(c.Addresses), maxAddresses)]
}

// ports are those of a container that runs as they are, those of another as they would
// be. On the network of its host none is published, whatever was asked for.
func (d detail) ports(c *facts.Container, q Query) {
	all := d.NetworkSettings.Ports
	if c.State != "running" && c.State != "paused" || len(all) == 0 {
		all = d.HostConfig.PortBindings
	}
	if c.Network == "host" {
		for inner, bs := range d.HostConfig.PortBindings {
			for _, b := range bs {
				if p, ok := publication(inner, b.HostIp, b.HostPort, q.Port); ok && len(c.Ignored) < maxPorts {
					c.Ignored = append(c.Ignored, p)
				}
			}
		}
		slices.SortFunc(c.Ignored, func(a, b facts.Publication) int { return cmp.Or(a.Host.Compare(b.Host), cmp.Compare(a.Port, b.Port)) })
		all = nil
	}
	var ps []facts.Publication
	add := func(inner, ip, outer string) {
		p, ok := publication(inner, ip, outer, q.Port)
		if ok && !slices.Contains(ps, p) {
			ps = append(ps, p)
		}
	}
	taken := map[string]bool{}
	for inner, bs := range all {
		for _, b := range bs {
			taken[inner] = true
			add(inner, b.HostIp, b.HostPort)
		}
	}
	for inner := range d.Config.ExposedPorts {
		if !taken[inner] {
			add(inner, "", "")
		}
	}
	for inner, bs := range d.NetworkSettings.Ports {
		if len(bs) == 0 && !taken[inner] {
			add(inner, "", "")
		}
	}
	far := func(p facts.Publication) int {
		switch {
		case p.UDP == q.UDP && p.Host.Port() == q.Port:
			return 0
		case p.UDP == q.UDP && p.Port == q.Port:
			return 1
		}
		return 2
	}
	slices.SortFunc(ps, func(a, b facts.Publication) int {
		return cmp.Or(far(a)-far(b), cmp.Compare(a.Port, b.Port), cmp.Compare(btoi(a.UDP), btoi(b.UDP)), a.Host.Compare(b.Host))
	})
	c.Ports = ps[:min(len(ps), maxPorts)]
	if len(ps) > 0 && far(ps[0]) == 0 {
		c.Publish = fmt.Sprintf("%s->%d/%s", ps[0].Host, ps[0].Port, cond(ps[0].UDP, "udp", "tcp"))
	}
}

// discarded asks Podman what a container on the network of its host was to publish: it
// forgets that at once, and keeps only the command that made the container, which its own
// interface tells and the one that it shares with Docker does not.
func discarded(ctx context.Context, client *http.Client, s summary, q Query) []facts.Publication {
	var d struct {
		Config struct{ CreateCommand []string }
	}
	if get(ctx, client, "/v4.0.0/libpod/containers/"+url.PathEscape(s.ID)+"/json", &d) != nil {
		return nil // an older one, or it is gone by now
	}
	return PublishOptions(d.Config.CreateCommand, s.Image, q.Port)
}

// PublishOptions reads what "podman run" was told to publish before the image, whose
// command may have options of the same name. A range is read as the wanted port of it.
//
//	podman run -d --network host -p 127.0.0.1:62893:8080/tcp --publish=8443:443 shop
func PublishOptions(words []string, image string, wanted uint16) (ps []facts.Publication) {
	for i, w := range words {
		if i > 0 && (w == image || w != "" && (strings.HasSuffix(image, "/"+w) || strings.HasSuffix(image, "/"+w+":latest"))) {
			break
		}
		value, ok := strings.CutPrefix(w, "--publish=")
		switch {
		case ok:
		case (w == "-p" || w == "--publish") && i+1 < len(words):
			value = words[i+1]
		case strings.HasPrefix(w, "-p") && len(w) > 2:
			value = strings.TrimPrefix(w[2:], "=")
		default:
			continue
		}
		inner, ip, outer := value, "", ""
		if j := strings.LastIndexByte(value, ':'); j >= 0 {
			outer, inner = value[:j], value[j+1:]
		}
		if j := strings.LastIndexByte(outer, ':'); j >= 0 {
			ip, outer = strings.Trim(outer[:j], "[]"), outer[j+1:]
		}
		if p, ok := publication(inner, ip, outer, wanted); ok && len(ps) < maxPorts {
			ps = append(ps, p)
		}
	}
	return ps
}

// publication reads "8080/tcp" and what it is published as: an address, of which an
// empty one means all, and a port or a range of them, "8000-8010", of which the engine
// takes one.
func publication(inner, ip, outer string, wanted uint16) (p facts.Publication, ok bool) {
	number, kind, _ := strings.Cut(inner, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || kind != "tcp" && kind != "udp" && kind != "" {
		return p, false
	}
	p.Port, p.UDP = uint16(n), kind == "udp"
	if outer == "" && ip == "" {
		return p, true
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		a = netip.IPv4Unspecified()
	}
	low, _, _ := strings.Cut(outer, "-")
	host, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		host = 0 // one that the engine is to choose
	}
	if inRange(outer, wanted) {
		host = uint64(wanted)
	}
	p.Host = netip.AddrPortFrom(a.WithZone(""), uint16(host))
	return p, true
}

// inRange: a published port is a number or a range.
func inRange(s string, port uint16) bool {
	low, high, ok := strings.Cut(s, "-")
	if !ok {
		high = low
	}
	l, err1 := strconv.ParseUint(low, 10, 16)
	h, err2 := strconv.ParseUint(high, 10, 16)
	return err1 == nil && err2 == nil && l <= uint64(port) && uint64(port) <= h
}

// exposes tells whether the container says that it serves the port, without publishing it.
func exposes(c facts.Container, q Query) bool {
	return slices.ContainsFunc(c.Ports, func(p facts.Publication) bool { return p.Port == q.Port && p.UDP == q.UDP })
}

func cond[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

func btoi(b bool) int { return cond(b, 1, 0) }
