package systemd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	etc, lib := t.TempDir(), t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret.service")
	put(t, secret, "[Service]\nExecStart=/x --port 62893\n")
	put(t, lib+"/app.service", "[Service]\nExecStart=/lib/app --port 1\n")
	put(t, etc+"/app.service.d/b.conf", "[Service]\nExecStart=\nExecStart=/etc/app --port 62893\n")
	put(t, etc+"/app.service.d/ignored.txt", "[Service]\nExecStart=/etc/app --port 2\n")
	put(t, lib+"/off.service", "[Service]\nExecStart=/lib/off --port 62893\n")
	put(t, lib+"/x.timer", "[Timer]\n")
	for _, link := range [][2]string{{"/dev/null", etc + "/off.service"}, {lib + "/app.service", lib + "/alias.service"}, {etc + "/loop.service", etc + "/loop.service"}} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(etc+"/fifo.service", 0o644); err != nil {
		t.Fatal(err)
	}
	// Of a folder that is not root's no link is followed out of it.
	home := t.TempDir()
	if err := os.Symlink(secret, home+"/secret.service"); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(home, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	us, err := Load(t.Context(), []string{etc, "/nowhere", lib, home})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range us {
		line := u.Name
		if u.Masked {
			line += " masked"
		}
		if c := u.Serves(62893, nil); c != nil {
			line += " " + c.Text
		}
		got = append(got, line)
	}
	want := []string{"app.service ExecStart names --port 62893", "off.service masked"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, []string{lib}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of time: %v", err)
	}
}

func TestConcerning(t *testing.T) {
	of := func(name, text string) Unit { return Unit{Name: name, Settings: Parse([]byte(text))} }
	all := []Unit{
		of("app.socket", "[Socket]\nListenStream=62893\n"), of("app.service", "[Service]\nExecStart=/app\n"),
		of("web@.service", "[Service]\nExecStart=/web --port %i\n"), of("user@.service", "[Service]\nExecStart=/lib/systemd/systemd --user\n"),
		of("redis-server.service", "[Service]\nExecStart=/redis\n"), of("postgresql@.service", "[Service]\nExecStart=/pg\n"), of("postgresql.service", "[Service]\nExecStart=/bin/true\n"),
	}
	for _, test := range []struct {
		port   uint16
		loaded []string
		want   string
	}{
		{62893, nil, "app.socket: ListenStream=62893, app.service: started by app.socket"},
		{1000, []string{"user@1000.service"}, ""},
		{8000, []string{"web@8000.service", "gone@8000.service"}, "web@8000.service: ExecStart names --port 8000"},
		{6379, nil, "redis-server.service: usual owner of port 6379"},
		{5432, []string{"postgresql@15-main.service"}, "postgresql.service: usual owner of port 5432, postgresql@15-main.service: usual owner of port 5432"},
	} {
		var got []string
		for _, c := range Concerning(all, test.loaded, test.port, nil) {
			got = append(got, c.Unit.Name+": "+c.About)
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%d: got %q, want %q", test.port, got, test.want)
		}
	}
}

// answer is a message as a manager sends it.
func answer(t testing.TB, kind dbus.Type, to uint32, name string, body ...any) []byte {
	t.Helper()
	msg := &dbus.Message{Type: kind, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(to)}, Body: body}
	if name != "" {
		msg.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
	}
	if len(body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(b.Bytes()[8:], 7) // its serial number must not be 0
	return b.Bytes()
}

// canned is the other end of a connection: all it will ever say.
type canned struct {
	bytes.Buffer
	sent bytes.Buffer
}

func (c *canned) Write(b []byte) (int, error) { return c.sent.Write(b) }

func talk(parts ...[]byte) *canned {
	c := &canned{}
	c.Buffer.WriteString("OK 1234\r\n")
	for _, p := range parts {
		c.Buffer.Write(p)
	}
	return c
}

func TestState(t *testing.T) {
	since := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	c := talk(answer(t, dbus.TypeMethodReply, 1, "", dbus.ObjectPath("/u")),
		answer(t, dbus.TypeMethodReply, 99, "", "a signal of somebody else"),
		answer(t, dbus.TypeMethodReply, 2, "", map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("failed"), "SubState": dbus.MakeVariant("failed"),
			"UnitFileState": dbus.MakeVariant("enabled"), "StateChangeTimestamp": dbus.MakeVariant(uint64(since.UnixMicro())), "LoadState": dbus.MakeVariant(5)}),
		answer(t, dbus.TypeMethodReply, 3, "", map[string]dbus.Variant{"Result": dbus.MakeVariant("exit-code"), "NRestarts": dbus.MakeVariant(uint32(5)), "ExecMainStatus": dbus.MakeVariant(int32(9)), "ExecMainCode": dbus.MakeVariant(int32(2))}))
	m, err := Open(c, 1000, false)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.State("app.service")
	want := State{Active: "failed", Sub: "failed", Result: "exit-code", Enabled: "enabled", Exit: 9, Signal: true, Restarts: 5, Since: since}
	if err != nil || got != want {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	if sent := c.sent.String(); !strings.HasPrefix(sent, "\x00AUTH EXTERNAL 31303030\r\nBEGIN\r\n") || !strings.Contains(sent, "app.service") {
		t.Errorf("it sent %q", sent)
	}
	// One that is not loaded is inactive.
	m, err = Open(talk(answer(t, dbus.TypeError, 1, "org.freedesktop.systemd1.NoSuchUnit", "no"), answer(t, dbus.TypeMethodReply, 2, "", "disabled")), 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.State("app.service"); err != nil || got != (State{Active: "inactive", Enabled: "disabled"}) {
		t.Errorf("one that is not loaded: %+v, %v", got, err)
	}
}

// A manager that does not answer costs the time limit, and no more.
func TestSilentManager(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		b := make([]byte, 1000)
		for {
			if _, err := there.Read(b); err != nil {
				return
			}
		}
	}()
	here.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := Open(here, 0, false); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func FuzzManager(f *testing.F) {
	f.Add(bytes.Join([][]byte{answer(f, dbus.TypeMethodReply, 1, "", dbus.ObjectPath("/u")), answer(f, dbus.TypeMethodReply, 2, "", map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("failed")})}, nil))
	f.Add(answer(f, dbus.TypeMethodReply, 1, "", dbus.MakeVariant([]string{"/etc"})))
	f.Add(answer(f, dbus.TypeMethodReply, 1, "", [][]any{}))
	f.Add(answer(f, dbus.TypeError, 1, "org.freedesktop.systemd1.NoSuchUnit"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, ask := range []func(*Manager){
			func(m *Manager) { m.State("app.service") },
			func(m *Manager) { m.Directories() },
			func(m *Manager) { m.Matching("*@1.service") },
		} {
			if m, err := Open(talk(data), 0, false); err == nil {
				ask(m)
			}
		}
	})
}
