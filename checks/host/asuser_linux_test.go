package host

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/supervisor"
)

// A user's supervisor includes root's configuration by a link, and would have the
// password in it sent to a socket of its own.
func TestSupervisorTellsNoPassword(t *testing.T) {
	dir := files(t, "root.conf", "[unix_http_server]\nusername=root\npassword=hunter2\n[program:x]\ncommand=x --port 62893\n",
		"user/supervisord.conf", "[include]\nfiles=a.conf b.conf\n", "user/a.conf", "-> DIR/root.conf", "user/b.conf", "[unix_http_server]\nfile=DIR/sock\n")
	socket := filepath.Join(dir, "sock")
	n, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	heard := make(chan string, 1)
	go func() {
		c, err := n.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		buf := make([]byte, 4096)
		k, _ := c.Read(buf)
		heard <- string(buf[:k])
	}()
	l := &unitLook{port: 62893}
	// Root's configuration, and a socket of somebody else: us, so not as root.
	if os.Geteuid() != 0 {
		c := supervisorConfig{file: filepath.Join(dir, "root.conf"), uid: uint32(os.Geteuid()) + 1}
		l.ask(context.Background(), c, supervisor.Config{Socket: socket, User: "root", Password: "hunter2"}, []facts.Unit{{Name: "x"}})
		n.Close()
		select {
		case s := <-heard:
			if strings.Contains(s, "Basic") {
				t.Errorf("the password was told: %q", s)
			}
		case <-time.After(100 * time.Millisecond):
		}
		return
	}
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) { // everybody may enter
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "root.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	var config supervisor.Config
	if err := asUser(1000, func() {
		config, err = supervisor.Read(filepath.Join(dir, "user/supervisord.conf"), os.ReadFile, filepath.Glob)
	}); err != nil {
		t.Fatal(err)
	}
	if config.Password != "" || len(config.Programs) > 0 {
		t.Errorf("read what only root may read: %+v", config)
	}
}

// Whoever looks at loopdoctor from outside, or loopdoctor at itself, sees its first
// thread.
func TestFirstThreadStaysWhatItIs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for range 300 {
		if err := asClient(facts.Identity{UID: 1000, GID: 1000}, func() {}); err != nil {
			t.Skip(err)
		}
		if err := readingAs(facts.Identity{UID: 1000, GID: 1000}, func() {}); err != nil {
			t.Skip(err)
		}
	}
	if id, err := Process(os.Getpid()); id.UID != 0 || err != nil {
		t.Errorf("the process shows as uid %d: %v", id.UID, err)
	}
	if uid, err := process.RealUID(os.Getpid()); uid != 0 || err != nil {
		t.Errorf("the process has become uid %d: %v", uid, err)
	}
}

// A user's manager may name folders that are not his.
func TestUserUnitsAreReadAsTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	unit := "[Service]\nExecStart=app --port 62893\n"
	dir := files(t, "open/a.service", unit, "open/b.service", unit, "shut/c.service", unit)
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"open/b.service", "shut"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for uid, want := range map[uint32][]string{0: {"a.service", "b.service", "c.service"}, 1000: {"a.service"}} {
		l := &unitLook{port: 62893}
		l.look(context.Background(), nil, []string{filepath.Join(dir, "open"), filepath.Join(dir, "shut")}, "systemd --user", uid)
		var got []string
		for _, u := range l.units {
			got = append(got, u.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("as %d: %q, want %q", uid, got, want)
		}
	}
}

// A user's files may be links to root's: nothing of those is read for the user, and
// what the user may read is.
func TestProxyFilesAreReadAsTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: it needs root, to be somebody else")
	}
	dir := files(t, "root", "[http]\nproxy = http://root.example:1\n", "home/.gitconfig", "-> DIR/root", "home/.npmrc", "proxy = http://127.0.0.1:9\n",
		"home/.bashrc", "-> DIR/root-profile", "root-profile", "export http_proxy=http://127.0.0.1:9\n")
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"root": 0o600, "root-profile": 0o600, "home": 0o755, "home/.npmrc": 0o644} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for uid, want := range map[uint32]string{0: ".gitconfig .npmrc .bashrc", 1000: ".npmrc"} {
		l := &look{f: &facts.Facts{Host: facts.Host{As: []facts.Identity{{UID: uid, GID: uid, PID: 1}}}}, sources: sources{readAs: linuxReadAs}}
		p := l.lookForProxies([]string{"HOME=" + filepath.Join(dir, "home"), "http_proxy=http://127.0.0.1:9"}, "")
		var got []string
		for _, s := range slices.Concat(p.Settings, p.SetIn) {
			if strings.HasPrefix(s.File, dir) {
				got = append(got, filepath.Base(s.File))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("uid %d: %q", uid, got)
		}
	}
}
