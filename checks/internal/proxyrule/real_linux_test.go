package proxyrule

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// TestMain is also the client in Go.
func TestMain(m *testing.M) {
	if url := os.Getenv("PROXYRULE_GET"); url != "" {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestRealClients asks the real clients: each is started with the same variables,
// and either reaches the server or does not. Beside those of .ci/run it takes a Node
// of 22.21 or later from $PROXYRULE_NODE, and the JDK if $PROXYRULE_JAVA is set. All of it is
// on loopback, and no other file of the machine than our own hosts file is looked at.
func TestRealClients(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a few hundred clients")
	}
	if os.Getenv("PROXYRULE_STAGE") == "" {
		inOwnMounts(t, "PROXYRULE_STAGE=1")
		return
	}
	w := newWorld(t)
	for _, c := range Clients {
		get := w.programs[c.Name]
		if get == nil {
			t.Errorf("%s has no program here", c.Name)
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if !get.there(t, w) {
				if os.Getenv("LOOPDOCTOR_LAB") == "required" && c.Name != "Java" && c.Name != "Node's fetch" {
					t.Fatal("is not here")
				}
				t.Skip("is not here, or was not asked for")
			}
			n := 0
			for _, vars := range environments() {
				for _, host := range []string{"localhost", "127.0.0.1", "::1", "app.localhost"} {
					for _, scheme := range []string{"http", "https"} {
						// The schemes differ in the names of variables, not in the exemptions.
						if scheme == "https" && (host != "localhost" || len(vars) == 2 && vars[0] == "http_proxy=PROXY") {
							continue
						}
						r := Request{Scheme: scheme, Host: host, Port: w.server.port}
						vars, p := w.fill(vars)
						u := c.Use(p, r)
						if direct := w.reaches(t, get, vars, r); direct == u.Proxied() {
							t.Errorf("%s %s://%s:%d: it goes there itself: %v, but the rule says %+v", vars, scheme, bracketed(host), r.Port, direct, u)
						}
						n++
					}
				}
			}
			t.Logf("%d requests", n)
		})
	}
}

// environments are sets of variables; PROXY, PORT and SERVER stand for what is
// there.
func environments() [][]string {
	var all [][]string
	for _, list := range []string{
		"localhost", "LOCALHOST", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]", "::1/128", ".localhost", "*.localhost", "*", "*,x", "host", "app.localhost", "localhost.",
		"localhost:SERVER", "localhost:1", "127.0.0.1:SERVER", "[::1]:SERVER", "127.0.0.1/32", "127.", "127.*", "0.0.1", ".0.0.1", "calhost", "<local>", "http://localhost",
		"a,localhost,b", "a, localhost , b", "a localhost b", "a;localhost", "localhost,127.0.0.1,::1", "localhost,127.0.0.1,[::1],.localhost", "", ",", " ",
	} {
		all = append(all, []string{"http_proxy=PROXY", "no_proxy=" + list})
	}
	return append(all,
		[]string{"http_proxy=PROXY"}, []string{"HTTP_PROXY=PROXY"}, []string{"Http_Proxy=PROXY"},
		[]string{"https_proxy=PROXY"}, []string{"HTTPS_PROXY=PROXY"}, []string{"all_proxy=PROXY"}, []string{"ALL_PROXY=PROXY"},
		[]string{"http_proxy="}, []string{"http_proxy=", "HTTP_PROXY=PROXY"}, []string{"https_proxy=", "HTTPS_PROXY=PROXY"}, []string{"http_proxy=", "ALL_PROXY=PROXY"},
		[]string{"http_proxy=BARE"}, []string{"http_proxy=socks5://BARE"}, []string{"http_proxy=socks5h://BARE"}, []string{"http_proxy=http://ann:secret@BARE"}, []string{"all_proxy=socks5://BARE"},
		[]string{"http_proxy=PROXY", "NO_PROXY=localhost,127.0.0.1"}, []string{"http_proxy=PROXY", "no_proxy=localhost", "NO_PROXY=127.0.0.1"}, []string{"http_proxy=PROXY", "no_proxy=", "NO_PROXY=*"},
		[]string{"HTTP_PROXY=PROXY", "NO_PROXY=localhost"}, []string{"HTTP_PROXY=PROXY", "No_Proxy=localhost,app.localhost"},
		[]string{"https_proxy=PROXY", "no_proxy=localhost"}, []string{"all_proxy=PROXY", "no_proxy=localhost"},
		[]string{"npm_config_proxy=PROXY"}, []string{"http_proxy=PROXY", "npm_config_no_proxy=localhost"},
		[]string{"JAVA=-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=PORT"},
		[]string{"JAVA=-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=PORT -Dhttp.nonProxyHosts="},
		[]string{"JAVA=-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=PORT -Dhttp.nonProxyHosts=*.localhost"},
		[]string{"JAVA=-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=PORT -Dhttp.nonProxyHosts="},
		[]string{"JAVA=-DsocksProxyHost=127.0.0.1 -DsocksProxyPort=PORT"},
		[]string{"JAVA=-DsocksProxyHost=127.0.0.1 -DsocksProxyPort=PORT -DsocksNonProxyHosts="},
		[]string{"JAVA=-DsocksProxyHost=127.0.0.1 -DsocksProxyPort=PORT -Dhttp.nonProxyHosts="},
	)
}

// world is a server, a proxy, and the clients.
type world struct {
	dir           string
	server, proxy *end
	programs      map[string]program
}

// end counts the connections that it takes.
type end struct {
	port  uint16
	taken atomic.Int64
}

// program asks for a URL once.
type program interface {
	there(t *testing.T, w *world) bool
	get(t *testing.T, vars []string, url string)
}

func newWorld(t *testing.T) *world {
	w := &world{dir: t.TempDir(), server: listen(t, "HTTP/1.1 200 OK\r\n"), proxy: listen(t, "HTTP/1.1 503 Service Unavailable\r\nVia: 1.1 proxy\r\n")}
	hosts := filepath.Join(w.dir, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost app.localhost\n::1 localhost app.localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	w.programs = map[string]program{
		"curl":              command{"curl", "-sS", "-o", os.DevNull, "--max-time", "5", "-k"},
		"git":               command{"git", "-c", "http.sslVerify=false", "ls-remote"},
		"wget":              command{"wget", "-q", "-t", "1", "-T", "5", "--no-check-certificate", "-O", os.DevNull},
		"Go":                command{os.Args[0]},
		"Node's fetch":      command{os.Getenv("PROXYRULE_NODE"), "-e", `fetch(process.argv[1]).catch(() => {})`},
		"axios":             &lines{argv: []string{"node", "-e", axios}},
		"Python's urllib":   &lines{argv: []string{"/usr/bin/python3", "-c", urllib}},
		"Python's requests": &lines{argv: []string{"/usr/bin/python3", "-c", requests}},
		"Java":              command{"java", filepath.Join(w.dir, "Get.java")},
	}
	if err := os.WriteFile(filepath.Join(w.dir, "Get.java"), []byte(java), 0o644); err != nil {
		t.Fatal(err)
	}
	return w
}

// listen answers on 127.0.0.1 and ::1 at one port, and closes what is not HTTP.
func listen(t *testing.T, head string) *end {
	for range 20 {
		a, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		e := &end{port: a.Addr().(*net.TCPAddr).AddrPort().Port()}
		b, err := net.Listen("tcp6", fmt.Sprintf("[::1]:%d", e.port))
		if errors.Is(err, syscall.EADDRINUSE) {
			a.Close()
			continue
		}
		if err != nil {
			t.Skipf("no IPv6 here: %v", err)
		}
		for _, l := range []net.Listener{a, b} {
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					e.taken.Add(1)
					go func() {
						defer c.Close()
						c.SetDeadline(time.Now().Add(5 * time.Second))
						in := bufio.NewReader(c)
						if b, err := in.Peek(1); err != nil || b[0] < ' ' { // SOCKS, TLS
							return
						}
						if _, err := http.ReadRequest(in); err == nil {
							io.WriteString(c, head+"Content-Length: 0\r\nConnection: close\r\n\r\n")
						}
					}()
				}
			}()
		}
		return e
	}
	t.Fatal("no port is free at both addresses")
	return nil
}

// fill puts the ports in and tells the rules the same as the clients.
func (w *world) fill(vars []string) ([]string, *facts.Proxies) {
	p := &facts.Proxies{Variables: []facts.Variable{{Name: "NODE_USE_ENV_PROXY", Value: "1"}}}
	vars = slices.Clone(vars)
	for i := range vars {
		vars[i] = strings.NewReplacer("PROXY=PROXY", fmt.Sprintf("PROXY=http://127.0.0.1:%d", w.proxy.port), "proxy=PROXY", fmt.Sprintf("proxy=http://127.0.0.1:%d", w.proxy.port),
			"Proxy=PROXY", fmt.Sprintf("Proxy=http://127.0.0.1:%d", w.proxy.port), "BARE", fmt.Sprintf("127.0.0.1:%d", w.proxy.port),
			"PORT", fmt.Sprint(w.proxy.port), "SERVER", fmt.Sprint(w.server.port)).Replace(vars[i])
		name, value, _ := strings.Cut(vars[i], "=")
		if name == "JAVA" {
			vars[i] = "JAVA_TOOL_OPTIONS=" + value
			for _, o := range strings.Fields(value) {
				name, value, _ := strings.Cut(strings.TrimPrefix(o, "-D"), "=")
				p.Settings = append(p.Settings, facts.ProxySetting{Program: "java", Name: name, Value: value})
			}
			continue
		}
		p.Variables = append(p.Variables, facts.Variable{Name: name, Value: value})
	}
	return vars, p
}

// reaches tells whether the client goes to the server without asking the proxy. Java
// asks first, and goes there itself where it gets nothing.
func (w *world) reaches(t *testing.T, get program, vars []string, r Request) bool {
	before, asked := w.server.taken.Load(), w.proxy.taken.Load()
	get.get(t, append(slices.Clone(vars), "HOME="+w.dir), fmt.Sprintf("%s://%s:%d/", r.Scheme, bracketed(r.Host), r.Port))
	return w.server.taken.Load() != before && w.proxy.taken.Load() == asked
}

// command is a client that is started for each URL.
type command []string

func (c command) there(t *testing.T, w *world) bool {
	_, err := exec.LookPath(c[0])
	if c[0] == "java" && os.Getenv("PROXYRULE_JAVA") == "" { // it takes most of a minute
		return false
	}
	if _, stat := os.Stat(filepath.Join(w.dir, "Get.class")); c[0] == "java" && err == nil && stat != nil {
		c[1] = "-version" // of every case a compilation would take seconds
		if out, err := exec.CommandContext(t.Context(), "javac", "-d", w.dir, filepath.Join(w.dir, "Get.java")).CombinedOutput(); err != nil {
			t.Logf("javac: %v %s", err, out)
			return false
		}
		c[1] = "-cp=" + w.dir
	}
	return err == nil
}

func (c command) get(t *testing.T, vars []string, url string) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	args := append(slices.Clone(c[1:]), url)
	if c[0] == "java" {
		args = []string{"-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", strings.TrimPrefix(c[1], "-cp="), "Get", url}
	}
	cmd := exec.CommandContext(ctx, c[0], args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "NODE_USE_ENV_PROXY=1", "PROXYRULE_GET=" + url, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "SYSTEM_WGETRC=" + os.DevNull}, vars...)
	cmd.Run() // a client that gets no answer fails
	if ctx.Err() != nil {
		t.Errorf("%s %s does not end", c[0], url)
	}
}

// lines is a client that stays, and is told variables and URL line by line.
type lines struct {
	argv []string
	in   *json.Encoder
	out  *bufio.Reader
}

func (l *lines) there(t *testing.T, w *world) bool {
	cmd := exec.CommandContext(t.Context(), l.argv[0], l.argv[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "NODE_PATH=" + cmp.Or(os.Getenv("NODE_PATH"), "/usr/share/nodejs")}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Log(err)
		return false
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	l.in, l.out = json.NewEncoder(in), bufio.NewReader(out)
	line, _ := l.out.ReadString('\n') // nothing: it lacks a library
	return line == "ready\n"
}

func (l *lines) get(t *testing.T, vars []string, url string) {
	if err := l.in.Encode(map[string]any{"vars": vars, "url": url}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

const (
	inPython = `
import json, os, sys, ssl, urllib.request, warnings
warnings.simplefilter("ignore")
base = dict(os.environ)
print("ready", flush=True)
for line in sys.stdin:
    case = json.loads(line)
    os.environ.clear()
    os.environ.update(base)
    os.environ.update(v.split("=", 1) for v in case["vars"])
    try:
        get(case["url"])
    except Exception as e:
        pass
    print("done", flush=True)
`
	urllib = `
def get(url):
    tls = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
    urllib.request.build_opener(tls).open(url, timeout=5).close()
` + inPython
	requests = `
import requests
def get(url):
    requests.get(url, timeout=5, verify=False).close()
` + inPython

	// axios asks proxy-from-env, and then does what that says.
	axios = `
const { getProxyForUrl } = require("proxy-from-env")
const net = require("net")
console.log("ready")
require("readline").createInterface({ input: process.stdin }).on("line", line => {
	const c = JSON.parse(line), u = new URL(c.url), before = { ...process.env }
	for (const v of c.vars) process.env[v.slice(0, v.indexOf("="))] = v.slice(v.indexOf("=") + 1)
	const proxied = getProxyForUrl(c.url)
	for (const v of c.vars) delete process.env[v.slice(0, v.indexOf("="))]
	Object.assign(process.env, before)
	if (proxied) return console.log("done")
	const s = net.connect({ host: u.hostname.replace(/[\[\]]/g, ""), port: u.port }, () => s.end("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	s.on("error", () => {}).on("close", () => console.log("done")).resume()
})`

	java = `
import java.net.*;
public class Get {
	public static void main(String[] args) throws Exception {
		HttpURLConnection c = (HttpURLConnection) new URL(args[0]).openConnection();
		c.setConnectTimeout(5000);
		c.setReadTimeout(5000);
		c.getResponseCode();
	}
}`
)

// inOwnMounts runs this very test again where the hosts file is its own.
func inOwnMounts(t *testing.T, env string) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
