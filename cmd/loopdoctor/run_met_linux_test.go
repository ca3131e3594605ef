package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// ports of servers, each with manners of its own.
type served struct{ talks, mute, closes, resets, full, nobody int }

func serveAll(t *testing.T) served {
	t.Helper()
	listen := func(serve func(*net.TCPConn)) int {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
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
				go serve(c.(*net.TCPConn))
			}
		}()
		return l.Addr().(*net.TCPAddr).Port
	}
	read := func(c *net.TCPConn) { c.Read(make([]byte, 10)) }
	s := served{
		talks:  listen(func(c *net.TCPConn) { c.Write([]byte("hello")); read(c); c.Close() }),
		mute:   listen(func(c *net.TCPConn) { t.Cleanup(func() { c.Close() }); read(c) }),
		closes: listen(func(c *net.TCPConn) { read(c); c.Close() }),
		resets: listen(func(c *net.TCPConn) { read(c); c.SetLinger(0); c.Close() }),
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.nobody = l.Addr().(*net.TCPAddr).Port
	l.Close()
	// A queue of length 0 has room for one.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	at := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Bind(fd, at); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	s.full = name.(*unix.SockaddrInet4).Port
	for range 2 {
		if c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", s.full), 100*time.Millisecond); err == nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	return s
}

const clientLib = `
import errno, os, select, socket, sys, threading, asyncio
talks, mute, closes, resets, full, nobody = map(int, sys.argv[1:7])
def dial(port, wait=None, host="127.0.0.1"):
    return socket.create_connection((host, port), wait)
def tries(f, *a):
    try: return f(*a)
    except OSError as e: return e
`

// TestRunSeesConnects runs clients that connect in all the ways there are.
func TestRunSeesConnects(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT RUN: it takes ten seconds")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		missing(t, "python3 is not installed")
	}
	s := serveAll(t)
	ports := map[int]string{s.talks: "talks", s.mute: "mute", s.closes: "closes", s.resets: "resets", s.full: "full", s.nobody: "nobody"}
	for _, test := range []struct{ name, client, want string }{
		{"blocking", "tries(dial, nobody)", "nobody tcp refused ECONNREFUSED x1"},
		{"a name", "a = socket.getaddrinfo('localhost', nobody, socket.AF_INET)[0][4]; tries(dial, nobody, 1, a[0])", "nobody tcp refused ECONNREFUSED x1"},
		{"with a time limit", "tries(dial, nobody, 1)", "nobody tcp refused ECONNREFUSED x1"},
		{"event loop", "tries(asyncio.run, asyncio.open_connection('127.0.0.1', nobody))", "nobody tcp refused ECONNREFUSED x1"},
		{"asks by connecting again", "s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', nobody)); select.select([], [s], [], 1); s.connect_ex(('127.0.0.1', nobody))",
			"nobody tcp refused ECONNREFUSED x1"},
		{"never asks how it ended", "s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', nobody)); select.select([], [s], [], 1); s.close()", "nobody tcp failed  x1"},
		{"gives up", "tries(dial, full, 0.1)", "full tcp timeout  x1"},
		{"ends while it waits", "s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', full)); os._exit(1)", "full tcp timeout  x1"},
		{"is interrupted, and goes on", "import signal; signal.signal(14, lambda *a: None); signal.setitimer(0, 0.02, 0.02); s = socket.socket(); s.settimeout(0.2); tries(s.connect, ('127.0.0.1', full)); s.close()",
			"full tcp timeout  x1"},
		{"fares well", "s = dial(talks); s.recv(9); s.close()", "talks tcp connected  x1 sent=0 received=5 by client"},
		{"fares well, without a close", "s = dial(talks); s.recv(9); os._exit(0)", "talks tcp connected  x1 sent=0 received=5 by client"},
		{"no answer", "s = dial(mute, 0.1); s.send(b'hello'); tries(s.recv, 9); s.close()", "mute tcp connected  x1 sent=5 received=0 by client"},
		{"closed without a byte", "s = dial(closes); s.send(b'hello'); s.recv(9); s.close()", "closes tcp connected  x1 sent=5 received=0 by server"},
		{"reset", "s = dial(resets); s.send(b'hello'); tries(s.recv, 9); s.close()", "resets tcp connected  x1 sent=5 received=0 by reset"},
		{"threads", "ts = [threading.Thread(target=tries, args=(dial, nobody)) for _ in range(20)]; [x.start() for x in ts]; [x.join() for x in ts]", "nobody tcp refused ECONNREFUSED x20"},
		{"a child", "os.fork() or (tries(dial, nobody), os._exit(0)); os.wait()", "nobody tcp refused ECONNREFUSED x1"},
		{"a program of a program", `os.system(f"sh -c 'python3 -c \"import socket; socket.socket().connect_ex((str(127)+chr(46)+str(1), {nobody}))\"; true'")`, "nobody tcp refused ECONNREFUSED x1"},
		{"UDP", "s = socket.socket(2, socket.SOCK_DGRAM); s.connect(('127.0.0.1', nobody)); s.send(b'?'); tries(s.recv, 9)", "nobody udp refused ECONNREFUSED x1"},
		{"UDP that sends nothing", "s = socket.socket(2, socket.SOCK_DGRAM); s.connect(('127.0.0.1', nobody))", ""},
		{"IPv4 in IPv6", "tries(socket.socket(socket.AF_INET6).connect, ('::ffff:127.0.0.1', nobody))", "nobody tcp refused ECONNREFUSED x1"},
		{"a UNIX socket", "tries(socket.socket(1).connect, '/no/such/socket')", "/no/such/socket unix failed ENOENT x1"},
		{"elsewhere", "s = socket.socket(); s.setblocking(False); s.connect_ex(('192.0.2.1', 9)); s.close()", "elsewhere 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "seen")
			cmd := runs(t, "--record", file, "-o", os.DevNull, "--timeout", "10ms", "--", "python3", "-c", clientLib+test.client,
				fmt.Sprint(s.talks), fmt.Sprint(s.mute), fmt.Sprint(s.closes), fmt.Sprint(s.resets), fmt.Sprint(s.full), fmt.Sprint(s.nobody))
			out, _ := cmd.CombinedOutput() // some end badly, on purpose
			data, err := os.ReadFile(file)
			var r facts.Recording
			if err != nil || json.Unmarshal(data, &r) != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			m := r.Facts[0].Target.Met
			for _, c := range m.Connects {
				if c.Looked != (test.name == "a name") {
					t.Errorf("a name was looked up: %v", c.Looked)
				}
			}
			var got []string
			for _, c := range m.Connects {
				to := c.Path
				if c.Network != "unix" {
					to = ports[int(c.To.Port())]
				}
				line := fmt.Sprintf("%s %s %s %s x%d", to, c.Network, c.Outcome, c.Errno, c.Count)
				if c.Works() {
					line += fmt.Sprintf(" sent=%d received=%d by %s", c.Sent, c.Received, c.End)
				}
				got = append(got, line)
			}
			if m.Elsewhere > 0 {
				got = append(got, fmt.Sprint("elsewhere ", m.Elsewhere))
			}
			if s := strings.Join(got, "\n"); s != test.want || m.Unwatched != "" || len(m.Notes) > 0 {
				t.Errorf("got\n%s\nwant\n%s\n%s %q\n%s", s, test.want, m.Unwatched, m.Notes, out)
			}
		})
	}
}
