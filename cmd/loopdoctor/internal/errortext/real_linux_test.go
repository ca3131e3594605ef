package errortext

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the programs that are installed here print, in a network namespace in
// which nothing listens on port 62893, and somebody on port 62894.
func TestRealPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts thirty programs")
	}
	enterNamespace(t)
	taken, err := net.Listen("tcp", "127.0.0.1:62894")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	six, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		six.Close()
	}
	hasV6 := err == nil
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nginx.conf":  "events {}\nerror_log stderr;\npid nginx.pid;\nhttp { access_log off; server { listen 127.0.0.1:62894; } }\n",
		"haproxy.cfg": "frontend web\n bind 127.0.0.1:62894\n mode http\n timeout client 1s\n",
		"Caddyfile":   "{\n\tadmin off\n}\nhttp://127.0.0.1:62894 {\n\tbind 127.0.0.1\n\trespond x\n}\n",
		"apache.conf": "PidFile " + dir + "/apache.pid\nListen 127.0.0.1:62894\nErrorLog /dev/stderr\nServerName x\nLoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\nLoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n",
		"web.py":      "def app(e, r): pass\n",
		"C.java":      `public class C { public static void main(String[] a) throws Exception { new java.net.Socket("127.0.0.1", 62893); } }`,
		"S.java":      `public class S { public static void main(String[] a) throws Exception { new java.net.ServerSocket(62894, 1, java.net.InetAddress.getByName("127.0.0.1")); } }`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const (
		at4    = "127.0.0.1 127.0.0.1 62893"
		taken4 = "EADDRINUSE cannot-bind bind 127.0.0.1 127.0.0.1 62894"
	)
	for _, test := range []struct{ command, want string }{
		{"curl -sS http://127.0.0.1:62893/", "curl - failed connect " + at4},
		{"curl -sS http://[::1]:62893/", "curl - failed connect ::1 ::1 62893"},
		{"wget -O- http://127.0.0.1:62893/", "wget ECONNREFUSED refused connect " + at4},
		{"busybox wget -O- http://127.0.0.1:62893/", "BusyBox wget ECONNREFUSED refused connect " + at4},
		{"busybox wget -O- http://[::1]:62893/", "BusyBox wget ECONNREFUSED refused connect ::1 ::1 62893"},
		{"python3 -c import|socket;socket.create_connection(('127.0.0.1',62893))", "Python ECONNREFUSED refused connect - - -"},
		{"python3 -c import|asyncio;asyncio.run(asyncio.open_connection('127.0.0.1',62893))", "Python ECONNREFUSED refused connect " + at4},
		{"python3 -c import|urllib.request;urllib.request.urlopen('http://127.0.0.1:62893')", "Python ECONNREFUSED refused connect - - -"},
		{"python3 -m http.server --bind 127.0.0.1 62894", "Python EADDRINUSE cannot-bind bind - - -"},
		{"python3 -m http.server --bind 10.1.2.3 62894", "Python EADDRNOTAVAIL cannot-bind bind - - -"},
		{"python3 -m uvicorn --port 62894 web:app", "Python " + taken4},
		{"gunicorn -b 127.0.0.1:62894 web:app", "gunicorn " + taken4},
		{"node -e fetch('http://127.0.0.1:62893/')", "Node ECONNREFUSED refused connect " + at4},
		{"node -e require('http').get('http://[::1]:62893/')", "Node ECONNREFUSED refused connect ::1 ::1 62893"},
		{"node -e require('net').createServer().listen(62894)", "Node EADDRINUSE cannot-bind bind :: :: 62894"},
		{"node -e require('net').createServer().listen(62894,'127.0.0.1')", "Node " + taken4},
		{"node -e require('net').createServer().listen(80,'10.1.2.3')", "Node EADDRNOTAVAIL cannot-bind bind 10.1.2.3 10.1.2.3 80"},
		{"npm ping --registry http://127.0.0.1:62893 --fetch-retries 0", "npm ECONNREFUSED refused connect " + at4},
		{"java $DIR/C.java", "Java ECONNREFUSED refused connect - - -"},
		{"java $DIR/S.java", "Java EADDRINUSE cannot-bind bind - - -"},
		{"psql -h 127.0.0.1 -p 62893 -l", "psql ECONNREFUSED refused connect " + at4},
		{"psql -h /nonexistent -l", "psql ENOENT - connect - - 5432"},
		{"redis-cli -h 127.0.0.1 -p 62893 ping", "redis-cli ECONNREFUSED refused connect " + at4},
		{"redis-server --bind 127.0.0.1 --port 62894", "Redis " + taken4},
		{"mariadb -h 127.0.0.1 -P 62893", "mysql - failed connect 127.0.0.1 127.0.0.1 3306"},
		{"mariadb --socket=/nonexistent/mysqld.sock", "mysql ENOENT - connect - - 3306"},
		{"ssh -o BatchMode=yes -p 62893 127.0.0.1", "ssh ECONNREFUSED refused connect " + at4},
		{"git ls-remote http://127.0.0.1:62893/x", "git - failed connect " + at4},
		{"socat - TCP:127.0.0.1:62893", "socat ECONNREFUSED refused connect " + at4},
		{"socat TCP-LISTEN:62894,bind=127.0.0.1 -", "socat " + taken4},
		{"kubectl -s http://127.0.0.1:62893 get pods", "kubectl ECONNREFUSED refused connect " + at4},
		{"docker -H tcp://127.0.0.1:62893 ps", "Docker - failed connect " + at4},
		{"nginx -p $DIR -e stderr -c nginx.conf", "nginx " + taken4},
		{"haproxy -db -f haproxy.cfg", "HAProxy " + taken4},
		{"caddy run --config Caddyfile", "Caddy " + taken4},
		{"apache2 -X -f $DIR/apache.conf", "Apache " + taken4},
	} {
		argv := strings.Fields(test.command)
		for i := range argv {
			argv[i] = strings.NewReplacer("|", " ", "$DIR", dir).Replace(argv[i])
		}
		// Here, and not in the subtest: that one runs in another thread, outside.
		program := installed(argv[0])
		var said []byte
		var err error
		if program != "" {
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			cmd := exec.CommandContext(ctx, program, argv[1:]...)
			cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
			said, err = cmd.CombinedOutput()
			stop()
		}
		t.Run(test.command, func(t *testing.T) {
			switch r, ok := Read(string(said)); {
			case program == "" || strings.Contains(string(said), "No module named"):
				t.Skipf("%s is not installed: what it prints was not read", argv[0])
			case !hasV6 && strings.Contains(test.want, "::"):
				t.Skipf("no IPv6 here: what it prints of ::1 was not read")
			case err == nil:
				t.Errorf("it does not fail: %s", said)
			case !ok || summary(r) != test.want:
				t.Errorf("got  %s\nwant %s\nsaid %s", summary(r), test.want, said)
			}
		})
	}
	_, dial := net.Dial("tcp", "127.0.0.1:62893")
	_, listen := net.Listen("tcp", "127.0.0.1:62894")
	t.Run("Go", func(t *testing.T) {
		for err, want := range map[error]string{dial: "Go ECONNREFUSED refused connect " + at4, listen: "Go " + taken4} {
			if r, ok := Read(err.Error()); !ok || summary(r) != want {
				t.Errorf("got  %s\nwant %s\nsaid %v", summary(r), want, err)
			}
		}
	})
}

// installed prefers what the system has: a shim of a version manager looks into the
// home of its user.
func installed(program string) string {
	for _, dir := range []string{"/usr/bin/", "/usr/sbin/"} {
		if _, err := os.Stat(dir + program); err == nil {
			return dir + program
		}
	}
	path, _ := exec.LookPath(program)
	return path
}

// enterNamespace moves this test, and what it starts, into a network namespace
// of its own, with lo up.
func enterNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of its own: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}
