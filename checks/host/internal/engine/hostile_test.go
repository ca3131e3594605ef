package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answers lets do answer every connection at a real socket, whatever is asked.
func answers(t *testing.T, do func(c net.Conn, path string)) Engine {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					do(c, req.URL.Path)
				}
			}()
		}
	}()
	return Engine{"docker", func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", socket) }}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

// An engine may be anybody's program: each of these is bounded, in time and in what is
// read, and said.
func TestHostileEngines(t *testing.T) {
	const one = `{"Id":"3f2a3f2a3f2a","Names":["/web"],"State":"running","Ports":[{"PrivatePort":80,"PublicPort":62893,"Type":"tcp"}]}`
	until := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) } // it is the other side that ends it
	for name, x := range map[string]struct {
		do      func(c net.Conn, path string)
		why     string // of the error, or of what is partial
		partial bool
	}{
		"never answers": {func(c net.Conn, _ string) { until(c) }, "it did not answer in time", false},
		"closes":        {func(net.Conn, string) {}, "its answer is not one of a container engine", false},
		"no HTTP":       {func(c net.Conn, _ string) { fmt.Fprint(c, strings.Repeat("\x00\xff220 hello\r\n", 100)) }, "it did not answer", false},
		"no JSON":       {func(c net.Conn, _ string) { fmt.Fprint(c, ok+"<html>") }, "its answer is not one of a container engine", false},
		"an object":     {func(c net.Conn, _ string) { fmt.Fprint(c, ok+`{"message":"no"}`) }, "its answer is not one of a container engine", false},
		"other types":   {func(c net.Conn, _ string) { fmt.Fprint(c, ok+`[{"Id":7,"Ports":"all"}]`) }, "its answer is not one of a container engine", false},
		"ends early":    {func(c net.Conn, _ string) { fmt.Fprint(c, ok+`[`+one+`,{"Id":"4`) }, "not every container: its answer is not one of a container engine", true},
		"status":        {func(c net.Conn, _ string) { fmt.Fprint(c, "HTTP/1.1 500 No\r\n\r\n") }, "it answered with status 500", false},
		"redirect": {func(c net.Conn, path string) {
			if path == "/elsewhere" {
				t.Error("the redirect was followed")
			}
			fmt.Fprint(c, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n")
		}, "it answered with status 302", false},
		"long header": {func(c net.Conn, _ string) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n")
			for range 1000 {
				fmt.Fprintf(c, "X: %s\r\n", strings.Repeat("x", 1000))
			}
			fmt.Fprint(c, "\r\n[]")
		}, "it did not answer", false},
		"nested":        {func(c net.Conn, _ string) { fmt.Fprint(c, ok+strings.Repeat("[", 100_000)) }, "its answer is not one of a container engine", false},
		"nested deeper": {func(c net.Conn, _ string) { fmt.Fprint(c, ok+`[{"Labels":{"a":`+strings.Repeat(`{"a":`, 100_000)) }, "its answer is not one of a container engine", false},
		"100 MB of one name": {func(c net.Conn, _ string) {
			fmt.Fprint(c, ok+`[{"Id":"`)
			for line := strings.Repeat("x", 1<<20); ; {
				if _, err := io.WriteString(c, line); err != nil {
					return
				}
			}
		}, "its answer is too long", false},
		"containers without end": {func(c net.Conn, _ string) {
			fmt.Fprint(c, ok+"["+one)
			for {
				if _, err := io.WriteString(c, ","+one); err != nil {
					return
				}
			}
		}, "not every container: its answer is too long", true},
		"drips": {func(c net.Conn, _ string) {
			for _, b := range []byte(ok + "[" + strings.Repeat(one+",", 1000)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}, "it did not answer in time", false},
		"stops within the list": {func(c net.Conn, _ string) {
			fmt.Fprint(c, ok+"["+one+",")
			until(c)
		}, "not every container: it did not answer in time", true},
		"tells of none": {func(c net.Conn, path string) {
			if path == "/containers/json" {
				fmt.Fprint(c, ok+"["+one+"]")
				return
			}
			until(c)
		}, "not every container: it did not answer in time", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := answers(t, x.do)
			limit := 500 * time.Millisecond
			if strings.Contains(x.why, "too long") {
				limit = 10 * time.Second // the size is to end it, on a busy machine too
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			start := time.Now()
			a, err := e.Containers(ctx, Query{Port: 62893})
			if took := time.Since(start); took > limit+3*time.Second {
				t.Errorf("it took %v", took)
			}
			got := a.Partial
			if err != nil {
				got = Reason(err)
			}
			if got != x.why || (err == nil) != x.partial {
				t.Errorf("%q, %v", got, err)
			}
			if len(a.Found) > maxFound {
				t.Errorf("%d containers", len(a.Found))
			}
		})
	}
}

func TestManyContainers(t *testing.T) {
	var list []string
	for i := range 100_000 {
		list = append(list, fmt.Sprintf(`{"Id":"%064x","State":"exited"}`, i))
	}
	list[20] = strings.Replace(list[20], `"exited"`, `"running","Ports":[{"PrivatePort":80,"PublicPort":62893,"Type":"tcp"}]`, 1)
	asked := 0
	e := answers(t, func(c net.Conn, path string) {
		if path == "/containers/json" {
			fmt.Fprint(c, ok+"["+strings.Join(list, ",")+"]")
			return
		}
		asked++
		fmt.Fprint(c, ok+`{"State":{"Pid":7}}`)
	})
	a, err := e.Containers(t.Context(), Query{Port: 62893})
	if err != nil || len(a.Found) != 1 || a.Found[0].PID != 7 || a.Partial == "" {
		t.Errorf("%+v, %v", a, err)
	}
	if asked > most[mayPublish]+1 {
		t.Errorf("%d requests", asked)
	}
}

func TestWhoAnswers(t *testing.T) {
	for header, want := range map[string][2]string{
		"Docker/28.5.1 (linux)":              {"docker", "28.5.1"},
		"Libpod/4.3.1 (linux)":               {"podman", "4.3.1"},
		"nginx/1.25":                         {"docker", ""},
		"Docker/" + strings.Repeat("9", 100): {"docker", strings.Repeat("9", 40)},
	} {
		e := answers(t, func(c net.Conn, _ string) { fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nServer: %s\r\n\r\n[]", header) })
		a, err := e.Containers(t.Context(), Query{Port: 1})
		if err != nil || a.Name != want[0] || a.Version != want[1] {
			t.Errorf("%s: %+v, %v", header, a, err)
		}
	}
	if _, err := (Engine{"docker", func(context.Context) (net.Conn, error) { return nil, errors.New("no") }}).Containers(t.Context(), Query{}); Reason(err) != "it did not answer" {
		t.Error(err)
	}
}
