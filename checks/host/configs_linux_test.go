package host

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/config"
)

// files makes a tree: names and what is in them, in turns. "-> x" is a link.
func files(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(names); i += 2 {
		name, text := filepath.Join(dir, names[i]), strings.ReplaceAll(names[i+1], "DIR", dir)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, name)
		} else {
			err = os.WriteFile(name, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newConfigs(held bool) *configs {
	return &configs{ctx: context.Background(), target: facts.Target{Network: "tcp", Port: port}, held: held, seen: map[string]bool{}}
}

// quoted is the lines that were kept, by the names of their files.
func quoted(c *configs) []string {
	var out []string
	for _, l := range c.result().Lines {
		out = append(out, filepath.Base(l.File)+": "+l.Text)
	}
	return out
}

func TestConfigsFollowIncludesInKnownPlacesOnly(t *testing.T) {
	dir := files(t, "etc/nginx.conf", "include sites/*; include DIR/other/x.conf; include ../other/x.conf; include /*/*/*/*/*; include sites/../../other/*; listen 62893;",
		"etc/sites/a", "listen 127.0.0.1:62893; include nginx.conf; include sites/*;",
		"etc/sites/b", "-> ../real/b", "etc/real/b", "listen 127.0.0.2:62893;",
		"etc/sites/c", "-> DIR/other/x.conf", "other/x.conf", "listen 127.0.0.3:62893;",
		"etc/sites/d", "-> d")
	c := newConfigs(false)
	c.ofFiles(server{program: config.Nginx, places: []string{filepath.Join(dir, "etc")}, parse: config.ParseNginx}, []string{filepath.Join(dir, "etc/nginx.conf")}, nil)
	want := []string{"nginx.conf: listen 62893;", "a: listen 127.0.0.1:62893;", "b: listen 127.0.0.2:62893;"}
	if got := quoted(c); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, missed := range []string{"other/x.conf: included from elsewhere", "/*/*/*/*/*: included from elsewhere", "sites/c: leads elsewhere", "sites/d: "} {
		if p := c.result().Partial; !strings.Contains(p, missed) {
			t.Errorf("partial does not say %q: %s", missed, p)
		}
	}
}

func TestConfigsKeepWhatBearsOnThePort(t *testing.T) {
	redis := func(text string) []facts.ConfigLine { return config.ParseRedis([]byte(text)).Lines }
	s := server{program: config.Redis, ports: []uint16{6379}}
	for _, test := range []struct {
		name string
		held bool
		port uint16
		text string
		want int
	}{
		{"the holder's, with its addresses", true, port, "port 62893\nbind 127.0.0.2\n", 2},
		{"a file of another instance", true, port, "port 6379\nbind 127.0.0.2\n", 0},
		{"the usual port, which needs no line", true, 6379, "bind 127.0.0.2\n", 1},
		{"nothing listens: the port itself", false, port, "port 62893\nbind 127.0.0.2\n", 1},
		{"nothing listens: one next to it", false, port, "port 62894\n", 1},
		{"nothing listens: one far away", false, port, "port 6380\nport 0\n", 0},
		{"nothing listens on its usual port", false, 6379, "port 7000\nport 0\nunixsocket /x\nport x\n", 4},
	} {
		c := newConfigs(test.held)
		c.target.Port = test.port
		c.keep(s, redis(test.text))
		if got := len(c.result().Lines); got != test.want {
			t.Errorf("%s: %d lines, want %d: %v", test.name, got, test.want, quoted(c))
		}
	}
	c := newConfigs(false)
	c.keep(s, redis(strings.Repeat("port 62894\n", 100)+"port 62893\n"))
	if got := quoted(c); len(got) != configLines || got[0] != ": port 62893" && got[0] != ".: port 62893" {
		t.Errorf("%d lines are kept, the first is %q", len(got), got[0])
	}
}

func TestProjectFiles(t *testing.T) {
	dir := files(t, ".env", "PORT=3001\nDB_PORT=5432\nDB_URL=postgres://a:s3cr3t@x:62893/\n", "package.json", `{"scripts":{"dev":"vite --port 3002"}}`,
		"compose.yml", "services:\n  a:\n    ports: ['62894:25', '62893:80']\n", "application.yml", "-> /etc/passwd")
	c := newConfigs(false)
	c.ofProject(dir, nil)
	want := []string{".env: DB_URL=postgres://x:62893", "compose.yml: ports: ['62894:25', '62893:80']", ".env: PORT=3001", `package.json: "dev": "vite --port 3002"`}
	if got := quoted(c); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if l := c.lines[0]; !l.Project || l.File != filepath.Join(dir, ".env") {
		t.Errorf("got %+v", l)
	}
}

// A process may have nothing read that its user may not read, and nothing that is
// no file.
func TestReadConfigRefuses(t *testing.T) {
	dir := files(t, "mine", "port 1", "link", "-> mine")
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	mine, me := filepath.Join(dir, "mine"), uint32(os.Getuid())
	other := &facts.Process{UID: me + 1}
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) { // everybody may enter
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	refused := ""
	if me == 0 {
		refused = "not its user's"
	}
	if _, err := readConfig(mine, nil, other); err != nil {
		t.Errorf("everybody may read it: %v", err)
	}
	if err := os.Chmod(mine, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		places []string
		by     *facts.Process
		why    string
	}{
		{mine, nil, other, refused},
		{filepath.Join(dir, "link"), nil, other, refused},
		{mine, nil, &facts.Process{UID: me}, ""},
		{mine, []string{dir}, nil, ""},
		{mine, []string{filepath.Join(dir, "sub")}, nil, "leads elsewhere"},
		{fifo, []string{dir}, nil, "not a regular file"},
		{"/dev/zero", nil, &facts.Process{}, "not a regular file"},
		{dir, nil, &facts.Process{}, "not a regular file"},
	} {
		_, err := readConfig(test.name, test.places, test.by)
		if test.why == "" && err != nil || test.why != "" && (err == nil || err.Error() != test.why) {
			t.Errorf("%s in %v: %v, want %q", test.name, test.places, err, test.why)
		}
	}
}

func TestFilesThatAProcessNames(t *testing.T) {
	dir := files(t, "nginx.conf", "", "sub/httpd.conf", "", "Caddyfile", "", "redis.conf", "", "postgresql.conf", "", "my.cnf", "", "sshd_config", "")
	for _, test := range []struct{ program, args, want string }{
		{config.Nginx, "nginx|-c|nginx.conf|-p|DIR", "nginx.conf"},
		{config.Nginx, "nginx: master process nginx -p DIR -e stderr -c nginx.conf", "nginx.conf"},
		{config.Nginx, "nginx: worker process", ""},
		{config.Nginx, "nginx|-c|/no/such/file", ""},
		{config.Apache, "apache2|-dsub|-f|httpd.conf", "sub/httpd.conf"},
		{config.HAProxy, "haproxy|-db|-f|nginx.conf", "nginx.conf"},
		{config.Caddy, "caddy|run|--config=nginx.conf", "nginx.conf"},
		{config.Caddy, "caddy|run", "Caddyfile"},
		{config.Redis, "redis-server|redis.conf|--port|1", "redis.conf"},
		{config.Redis, "redis-server 127.0.0.1:6379", "redis.conf"},
		{config.PostgreSQL, "postgres|-D|DIR", "postgresql.conf"},
		{config.PostgreSQL, "postgres|-D|/x|-c|config_file=DIR/postgresql.conf", "postgresql.conf"},
		{config.MySQL, "mariadbd|--defaults-file=DIR/my.cnf", "my.cnf"},
		{config.SSHD, "sshd: /usr/sbin/sshd -D -f sshd_config [listener] 0 of 10-100 startups", "sshd_config"},
		{config.SSHD, "sshd", ""},
	} {
		p := facts.Process{Args: strings.Split(strings.ReplaceAll(test.args, "DIR", dir), "|"), Cwd: dir}
		got := strings.TrimPrefix(strings.Join(server{program: test.program}.named(p), " "), dir+"/")
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.args, got, test.want)
		}
		p.Cwd = "" // could not be read: a relative name leads nowhere
		for _, f := range (server{program: test.program}).named(p) {
			if !filepath.IsAbs(f) {
				t.Errorf("%s: %q is relative to loopdoctor's own directory", test.args, f)
			}
		}
	}
}

func FuzzNamedFiles(f *testing.F) {
	f.Add("nginx: master process nginx -p /x -c y", "/z")
	f.Add("redis-server\x00x.conf", "")
	f.Fuzz(func(t *testing.T, args, cwd string) {
		for _, s := range servers {
			for _, name := range s.named(facts.Process{Args: strings.Split(args, "\x00"), Cwd: cwd}) {
				if !filepath.IsAbs(name) {
					t.Errorf("%q", name)
				}
			}
		}
	})
}

func TestConfigsOfHolders(t *testing.T) {
	dir := files(t, "Caddyfile", "http://:62893 {\nbind 127.0.0.2\n}\n", ".env", "PORT=62893\n")
	look := func(p facts.Process) []string {
		f := &facts.Facts{Target: facts.Target{Network: "tcp", Port: port}, Host: facts.Host{Cwd: "/nowhere"},
			Sockets: &facts.Sockets{Sockets: []facts.Socket{listener("127.0.0.2", 7)}},
			Owners:  &facts.Owners{Processes: []facts.Process{p}, Holders: map[uint64][]facts.Holder{7: {{PID: p.PID}}}}}
		c, err := linuxConfigs(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return quoted(&configs{lines: c.Lines})
	}
	me := uint32(os.Getuid())
	for _, test := range []struct {
		name string
		p    facts.Process
		want []string
	}{
		{"a server's file", facts.Process{PID: os.Getppid(), Name: "caddy", Cwd: dir, UID: me}, []string{"Caddyfile: bind 127.0.0.2", "Caddyfile: http://:62893 {"}},
		{"a project's", facts.Process{PID: os.Getppid(), Name: "node", Cwd: dir, UID: me}, []string{".env: PORT=62893"}},
		{"in a container", facts.Process{PID: os.Getppid(), Name: "node", Cwd: dir, UID: me, Container: "docker 0123"}, nil},
	} {
		if got := look(test.p); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// Of two units of one name the first place counts; drop-ins of every place do.
func TestConfigsOfSocketUnits(t *testing.T) {
	dir := files(t, "etc/shop.socket", "[Socket]\nListenStream=62893\n", "lib/shop.socket", "[Socket]\nListenStream=127.0.0.9:62893\n",
		"lib/shop.socket.d/10.conf", "[Socket]\nBindToDevice=lan0\n", "lib/other.socket", "[Socket]\nListenStream=/run/x\n",
		"lib/again.socket", "[Socket]\nListenStream=62893\n", "etc/again.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream=9\n")
	c := newConfigs(true)
	c.ofSystemd([]string{filepath.Join(dir, "etc"), filepath.Join(dir, "lib")})
	if got, want := quoted(c), []string{"shop.socket: ListenStream=62893", "10.conf: BindToDevice=lan0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func listener(on string, inode uint64) facts.Socket {
	return facts.Socket{Network: "tcp", State: facts.Listen, Local: netip.AddrPortFrom(netip.MustParseAddr(on), port), Inode: inode}
}

func BenchmarkConfigs(b *testing.B) {
	f := &facts.Facts{Target: facts.Target{Network: "tcp", Port: port}, Sockets: &facts.Sockets{}}
	for b.Loop() {
		if _, err := linuxConfigs(b.Context(), f); err != nil {
			b.Fatal(err)
		}
	}
}
