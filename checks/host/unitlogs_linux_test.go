package host

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestTail(t *testing.T) {
	dir := t.TempDir()
	log, fifo, link := filepath.Join(dir, "log"), filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	text := strings.Repeat("an old line\n", 10000) + "one\n\ntwo --password=hunter2\n\x1b[31mthree\x00\nthree again\nthree again\n" + strings.Repeat("x", 5000) + "\n"
	if err := errors.Join(os.WriteFile(log, []byte(text), 0o644), syscall.Mkfifo(fifo, 0o644), os.Symlink(log, link)); err != nil {
		t.Fatal(err)
	}
	me := uint32(os.Geteuid())
	got := tail(log, me)
	want := []string{"two --password=***", "\x1b[31mthree", "three again", strings.Repeat("x", 300) + "…"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, file := range []string{fifo, link, dir, "relative", "/dev/zero", filepath.Join(dir, "none")} {
		if got := tail(file, me); got != nil {
			t.Errorf("%s: %q", file, got)
		}
	}
	// What another user's supervisor names as its log has to be that user's.
	if got := tail(log, me+1); got != nil {
		t.Errorf("somebody else's file was read: %q", got)
	}
}

func TestOfProgram(t *testing.T) {
	log := "Nov 25 11:00:00 host nginx[123]: bind() to 0.0.0.0:80 failed (98: Address already in use)\n" +
		"2026-11-25T11:00:00.5+01:00 host nginx: still could not bind()\nNov 25 11:00:00 host nginxx[1]: no\nnonsense\nNov 25 11:00:00 host app: nginx[1]: no\n"
	got := ofProgram([]byte(log), "nginx")
	want := []string{"bind() to 0.0.0.0:80 failed (98: Address already in use)", "still could not bind()"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func FuzzOfProgram(f *testing.F) {
	f.Add([]byte("Nov 25 11:00:00 host nginx[123]: bind() failed\n: \n[: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, line := range append(ofProgram(data, "nginx"), lastLines(bytes.Split(data, []byte("\n")))...) {
			if strings.ContainsAny(line, "\n\r\x00") || len([]rune(line)) > 301 {
				t.Errorf("%q", line)
			}
		}
	})
}

// A socket whose queue is full does not hold us up, and one that answers nothing
// costs its time limit.
func TestDialUnix(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	me := uint32(os.Geteuid())
	begin := time.Now()
	if _, _, err := openManager(socket, me, false); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent manager: %v", err)
	}
	for range 10000 {
		c, e := dialUnix(socket, me)
		if err = e; err != nil {
			break
		}
		defer c.Close()
	}
	if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EMFILE) {
		t.Errorf("a full queue: %v", err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	c, err := dialUnix(filepath.Join(t.TempDir(), "none"), me)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none is there: %v, %v", c, err)
	}
}

func TestLookUnitsOfUDP(t *testing.T) {
	u, err := lookUnits(context.Background(), &facts.Facts{Target: facts.Target{Network: "udp", Port: 53}})
	if err != nil || len(u.Units) != 0 {
		t.Errorf("got %+v, %v", u, err)
	}
}
