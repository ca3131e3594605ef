// Package engine asks a container engine for the containers that publish a port,
// over the HTTP interface that Docker and Podman share. It only reads: every
// request is a GET.
package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	maxAnswer  = 4 << 20
	maxInspect = 50 // stopped containers that are looked at one by one, the newest first
	maxLog     = 64 << 10
	logLines   = 3
)

// Engine is where to ask.
type Engine struct {
	Name string // "docker", "podman"
	Dial func(ctx context.Context) (net.Conn, error)
}

// Publishing returns the containers that publish the TCP port, running or not.
// The error beside containers is for those that could not be looked at.
func (e Engine) Publishing(ctx context.Context, port uint16) ([]facts.Container, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) }},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var list []summary
	if err := get(ctx, client, "/containers/json?all=1", &list); err != nil {
		return nil, err
	}
	found := []facts.Container{}
	looked := 0
	for _, s := range list {
		c := s.container(e.Name)
		if p, ok := s.publishes(port); ok {
			c.Publish = p
		} else if s.State == "running" || s.State == "paused" || looked >= maxInspect {
			continue // what runs has its ports in the list
		}
		looked++
		var d detail
		if err := get(ctx, client, "/containers/"+url.PathEscape(s.ID)+"/json", &d); err != nil {
			if ctx.Err() != nil {
				return found, err
			}
			continue // it may be gone by now
		}
		if p, ok := d.publishes(port); ok && c.Publish == "" {
			c.Publish = p
		}
		if c.Publish == "" {
			continue
		}
		d.add(&c)
		if c.State != "running" && c.State != "paused" && c.State != "created" {
			c.Log = logs(ctx, client, s.ID, d.Config.Tty)
		}
		found = append(found, c)
	}
	return found, nil
}

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
}

func (s summary) container(engine string) facts.Container {
	c := facts.Container{Engine: engine, ID: clip(s.ID, 12), Image: clip(s.Image, 200), State: clip(s.State, 20), Status: clip(s.Status, 100),
		Project: clip(s.Labels["com.docker.compose.project"], 100), Service: clip(s.Labels["com.docker.compose.service"], 100)}
	if len(s.Names) > 0 {
		c.Name = clip(strings.TrimPrefix(s.Names[0], "/"), 100)
	}
	return c
}

func (s summary) publishes(port uint16) (string, bool) {
	for _, p := range s.Ports {
		if p.PublicPort == port && p.Type == "tcp" {
			return published(p.IP, port, fmt.Sprintf("%d/tcp", p.PrivatePort)), true
		}
	}
	return "", false
}

// detail is what is read of GET /containers/ID/json.
type detail struct {
	RestartCount int
	State        struct {
		ExitCode              int
		OOMKilled             bool
		Error                 string
		StartedAt, FinishedAt time.Time
	}
	Config     struct{ Tty bool }
	HostConfig struct {
		PortBindings map[string][]struct{ HostIp, HostPort string }
	}
}

func (d detail) publishes(port uint16) (string, bool) {
	var inner []string
	for in := range d.HostConfig.PortBindings {
		inner = append(inner, in)
	}
	slices.Sort(inner)
	for _, in := range inner {
		for _, b := range d.HostConfig.PortBindings[in] {
			if strings.HasSuffix(in, "/tcp") && inRange(b.HostPort, port) {
				return published(b.HostIp, port, clip(in, 20)), true
			}
		}
	}
	return "", false
}

// inRange: a published port is a number or a range, "8000-8010".
func inRange(s string, port uint16) bool {
	low, high, ok := strings.Cut(s, "-")
	if !ok {
		high = low
	}
	l, err1 := strconv.ParseUint(low, 10, 16)
	h, err2 := strconv.ParseUint(high, 10, 16)
	return err1 == nil && err2 == nil && l <= uint64(port) && uint64(port) <= h
}

func published(ip string, port uint16, inner string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		a = netip.IPv4Unspecified() // empty: everywhere
	}
	return fmt.Sprintf("%s->%s", netip.AddrPortFrom(a, port), inner)
}

func (d detail) add(c *facts.Container) {
	c.Exit, c.OOM, c.Restarts = d.State.ExitCode, d.State.OOMKilled, d.RestartCount
	if d.State.FinishedAt.Year() > 1 {
		c.Ended = d.State.FinishedAt.UTC()
	}
	c.Error = clip(d.State.Error, 300)
}

// logs are the last lines of a container that has ended; none if they cannot be
// had, as with some logging drivers.
func logs(ctx context.Context, client *http.Client, id string, tty bool) []string {
	resp, err := do(ctx, client, "/containers/"+url.PathEscape(id)+"/logs?stdout=1&stderr=1&tail=5")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxLog))
	if !tty {
		data = Unframe(data)
	}
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(data), "\uFFFD")) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-logLines):]
}

// Unframe takes the frames off a stream in which stdout and stderr are mixed:
// one byte for which of them, three of zero, four of length (big endian), text.
func Unframe(data []byte) []byte {
	var out []byte
	for len(data) >= 8 && data[0] <= 2 && data[1]|data[2]|data[3] == 0 {
		n := min(uint64(binary.BigEndian.Uint32(data[4:])), uint64(len(data)-8))
		out = append(out, data[8:8+n]...)
		data = data[8+n:]
	}
	return out
}

func get(ctx context.Context, client *http.Client, what string, into any) error {
	resp, err := do(ctx, client, what)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("ask the container engine: %w", err)
	}
	return nil
}

func do(ctx context.Context, client *http.Client, what string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine"+what, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the container engine: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the container engine: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusUnauthorized, http.StatusForbidden:
		err = fs.ErrPermission
	default:
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	resp.Body.Close()
	return nil, fmt.Errorf("ask the container engine: %w", err)
}

// clip bounds what the engine says.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s[:n+1])
		s = s[:n+1-size]
	}
	return s
}
