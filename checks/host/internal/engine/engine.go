// Package engine asks a container engine for the containers that have to do with a
// port, over the HTTP interface that Docker and Podman share. It does so with
// net/http alone: two requests are all that it takes, both engines answer them in the
// same words, and Docker's Go client would bring forty modules and some megabytes
// for them.
//
// It only reads: every request is a GET. It refuses to follow a redirect, to read more
// than maxAnswer of an answer, and to ask about more containers than it says.
package engine

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	maxAnswer = 4 << 20
	maxListed = 10_000
	maxFound  = 32
	maxLog    = 64 << 10
	logLines  = 3
	maxHosted = 8 // containers on the host's network whose command is asked for
)

// most is how many containers are looked at one by one, the newest first.
var most = map[rank]int{publishes: 50, listens: 50, exposed: 50, mayPublish: 50, clusterNode: 8, sharesHost: 8, mayShareHost: 32}

var errTooMuch = errors.New("its answer is too long")

// Engine is where to ask.
type Engine struct {
	Name string // "docker", "podman"
	Dial func(ctx context.Context) (net.Conn, error)
}

// Query is what the containers are to have to do with.
type Query struct {
	Port      uint16
	UDP       bool
	Listening []string // first twelve digits of those that were seen to listen on it
}

// Answer is what an engine told.
type Answer struct {
	Name    string // what answered: behind a socket that is named after Docker there may be Podman
	Version string
	Found   []facts.Container
	Partial string // what could not be looked at
}

// Containers returns those that publish the port, running or not, and of those that
// run also the ones that expose it or listen on it without publishing it, and the ones
// whose network is the host's.
func (e Engine) Containers(ctx context.Context, q Query) (Answer, error) {
	a := Answer{Name: e.Name, Found: []facts.Container{}}
	client := e.client()
	list, err := a.list(ctx, client)
	if err != nil && len(list) == 0 {
		return a, err
	}
	if err != nil {
		a.Partial = notAll + Reason(err)
	}
	// What surely concerns the port comes first: of the rest there may be too many.
	slices.SortStableFunc(list, func(x, y summary) int { return cmp.Compare(x.rank(q), y.rank(q)) })
	asked, hosted := map[rank]int{}, 0
	for _, s := range list {
		r := s.rank(q)
		if r == unrelated {
			break
		}
		asked[r]++
		if len(a.Found) == maxFound || asked[r] > most[r] {
			a.Partial = cmp.Or(a.Partial, notAll+"there are too many")
			continue
		}
		var d detail
		if err := get(ctx, client, "/containers/"+url.PathEscape(s.ID)+"/json", &d); err != nil {
			var status statusError
			if errors.As(err, &status) {
				continue // it may be gone by now
			}
			a.Partial = notAll + Reason(cmp.Or(ctx.Err(), err))
			break
		}
		c := s.container(a.Name)
		d.add(&c, q)
		if a.Name == "podman" && c.Network == "host" && c.State == "running" && len(c.Ignored) == 0 && hosted < maxHosted {
			hosted++
			c.Ignored = discarded(ctx, client, s, q)
		}
		if r == mayShareHost && c.Network != "host" {
			continue
		}
		if r == mayPublish && c.Publish == "" && (c.Network != "host" || !exposes(c, q)) {
			continue
		}
		fine := (c.State == "running" || c.State == "paused") && c.Health != "unhealthy" && c.Restarts == 0
		if !fine && c.State != "created" {
			c.Log = logs(ctx, client, s.ID, d.Config.Tty)
		}
		a.Found = append(a.Found, c)
	}
	return a, nil
}

const notAll = "not every container: "

// Reason says in a few words why an engine did not answer as it should.
func Reason(err error) string {
	var bad *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var timeout net.Error
	var status statusError
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time"
	case errors.Is(err, errTooMuch):
		return errTooMuch.Error()
	case errors.As(err, &status):
		return fmt.Sprintf("it answered with status %d", int(status))
	case errors.As(err, &bad) || errors.As(err, &kind) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return "its answer is not one of a container engine"
	}
	return "it did not answer"
}

// list reads GET /containers/json one entry after the other: what was read of a list
// that has no end is of use all the same.
func (a *Answer) list(ctx context.Context, client *http.Client) ([]summary, error) {
	resp, err := do(ctx, client, "/containers/json?all=1")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a.server(resp.Header.Get("Server"))
	body := &bounded{r: resp.Body, left: maxAnswer}
	dec := json.NewDecoder(body)
	var list []summary
	if t, err := dec.Token(); err != nil {
		return nil, body.why(err)
	} else if t != json.Delim('[') {
		return nil, wrap(&json.SyntaxError{})
	}
	for dec.More() {
		var s summary
		if len(list) == maxListed {
			return list, wrap(errTooMuch)
		}
		if err := dec.Decode(&s); err != nil {
			return list, body.why(err)
		}
		list = append(list, s)
	}
	if _, err := dec.Token(); err != nil {
		return list, body.why(err)
	}
	return list, nil
}

// server reads who answers, and its version:
//
//	Docker/28.5.1 (linux)
//	Libpod/4.3.1 (linux)
func (a *Answer) server(header string) {
	name, rest, _ := strings.Cut(header, "/")
	version, _, _ := strings.Cut(rest, " ")
	switch name {
	case "Libpod":
		a.Name = "podman"
	case "Docker":
		a.Name = "docker"
	default:
		return
	}
	a.Version = clip(version, 40)
}

// bounded is a reader that ends with errTooMuch.
type bounded struct {
	r    io.Reader
	left int
	over bool
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.over = true
		return 0, errTooMuch
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// why is the error of a decoder, which reports the end of what it may read as one of
// syntax.
func (b *bounded) why(err error) error {
	if b.over {
		err = errTooMuch
	}
	return wrap(err)
}

// logs are the last lines of a container that is not well; none if they cannot be
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

func (e Engine) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) }},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func get(ctx context.Context, client *http.Client, what string, into any) error {
	resp, err := do(ctx, client, what)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := &bounded{r: resp.Body, left: maxAnswer}
	err = json.NewDecoder(body).Decode(into)
	// The rest was read: one odd field is not to hide a container.
	if odd := (*json.UnmarshalTypeError)(nil); err == nil || errors.As(err, &odd) {
		return nil
	}
	return body.why(err)
}

// statusError is an answer that is none.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

func wrap(err error) error { return fmt.Errorf("ask the container engine: %w", err) }

func do(ctx context.Context, client *http.Client, what string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine"+what, nil)
	if err != nil {
		return nil, wrap(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, wrap(err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusUnauthorized, http.StatusForbidden:
		err = fs.ErrPermission
	default:
		err = statusError(resp.StatusCode)
	}
	resp.Body.Close()
	return nil, wrap(err)
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
