package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// remote writes real journal files, as it does from what other machines send.
const remote = "/lib/systemd/systemd-journal-remote"

// write makes a journal file of entries in the export format: one "NAME=value" a
// line, and an empty line between entries.
func write(t testing.TB, entries string, environ ...string) string {
	t.Helper()
	if _, err := os.Stat(remote); err != nil {
		if os.Getenv("LOOPDOCTOR_LAB") == "required" {
			t.Fatalf("NOT RUN: %v (Debian package systemd-journal-remote)", err)
		}
		t.Skipf("NOT RUN: %v (Debian package systemd-journal-remote)", err)
	}
	file := filepath.Join(t.TempDir(), "x.journal")
	cmd := exec.Command(remote, "-o", file, "-")
	cmd.Stdin = strings.NewReader(entries)
	cmd.Env = append(os.Environ(), environ...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

func entry(second int, fields ...string) string {
	return fmt.Sprintf("__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%[1]d\n_BOOT_ID=4714411cd15c43eaa65b95f5f2c0d776\n%s\n\n",
		(1700000000+second)*1000000, strings.Join(fields, "\n"))
}

func messages(t *testing.T, file, unit string, uid int) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	es, err := Last(f, unit, uid, 3)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		out = append(out, fmt.Sprintf("%d %v %s", e.Time.Unix()-1700000000, e.Own, e.Text))
	}
	return out
}

func TestLast(t *testing.T) {
	for _, form := range []string{"SYSTEMD_JOURNAL_COMPACT=0", "SYSTEMD_JOURNAL_COMPACT=1"} {
		t.Run(form, func(t *testing.T) {
			var b strings.Builder
			second := 0
			add := func(fields ...string) { second++; b.WriteString(entry(second, fields...)) }
			for i := range 5 {
				add("MESSAGE=line "+fmt.Sprint(i), "_SYSTEMD_UNIT=app.service", "_UID=33")
			}
			add("MESSAGE=app.service: Main process exited", "UNIT=app.service", "_COMM=systemd", "_UID=0")
			add("MESSAGE=lies", "UNIT=app.service", "_COMM=evil", "_UID=1000")
			add("MESSAGE=lies too", "UNIT=app.service", "_COMM=systemd", "_UID=1000")
			add("MESSAGE=mine", "_SYSTEMD_UNIT=user@1000.service", "_SYSTEMD_USER_UNIT=app.service", "_UID=1000")
			add("MESSAGE=another user's", "_SYSTEMD_USER_UNIT=app.service", "_UID=1001")
			add("MESSAGE="+strings.Repeat("x", 3000), "_SYSTEMD_UNIT=app.service", "_UID=33") // will be compressed
			for i := range 300 {
				add("MESSAGE=other "+fmt.Sprint(i), "_SYSTEMD_UNIT=other.service", "_UID=33")
			}
			file := write(t, b.String(), form)
			for _, test := range []struct {
				unit string
				uid  int
				want string
			}{
				{"app.service", -1, "6 false app.service: Main process exited, 5 true line 4, 4 true line 3, 3 true line 2"},
				{"app.service", 1000, "9 true mine"},
				{"app.service", 1001, "10 true another user's"},
				{"other.service", -1, "311 true other 299, 310 true other 298, 309 true other 297"},
				{"nobody.service", -1, ""},
			} {
				if got := strings.Join(messages(t, file, test.unit, test.uid), ", "); got != test.want {
					t.Errorf("%s of %d:\n\tgot  %s\n\twant %s", test.unit, test.uid, got, test.want)
				}
			}
		})
	}
}

// A file that leads in circles, or to objects of enormous size, ends the walk.
func TestHostile(t *testing.T) {
	file := write(t, entry(1, "MESSAGE=a", "_SYSTEMD_UNIT=app.service")+entry(2, "MESSAGE=b", "_SYSTEMD_UNIT=app.service"))
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	array := binary.LittleEndian.Uint64(good[176:])
	for name, spoil := range map[string]func(b []byte){
		"a chain in a circle":  func(b []byte) { binary.LittleEndian.PutUint64(b[array+16:], array) },
		"an enormous array":    func(b []byte) { binary.LittleEndian.PutUint64(b[array+8:], 1<<61) },
		"entries without end":  func(b []byte) { binary.LittleEndian.PutUint64(b[152:], 1<<63) },
		"a chain to nowhere":   func(b []byte) { binary.LittleEndian.PutUint64(b[176:], 1<<63) },
		"an entry that is odd": func(b []byte) { binary.LittleEndian.PutUint64(b[array+24:], 7) },
	} {
		b := bytes.Clone(good)
		spoil(b)
		begin := time.Now()
		if _, err := Last(bytes.NewReader(b), "app.service", -1, 3); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("%s: it took %v", name, d)
		}
	}
}

func FuzzLast(f *testing.F) {
	if _, err := os.Stat(remote); err == nil {
		file := write(f, entry(1, "MESSAGE=a", "_SYSTEMD_UNIT=app.service")+entry(2, "MESSAGE=b", "UNIT=app.service", "_COMM=systemd"))
		if data, err := os.ReadFile(file); err == nil {
			f.Add(bytes.TrimRight(data, "\x00"))
		}
	}
	f.Add([]byte(magic + strings.Repeat("\x06", 300)))
	f.Fuzz(func(t *testing.T, data []byte) {
		es, _ := Last(bytes.NewReader(data), "app.service", -1, 3)
		if len(es) > 6 {
			t.Errorf("%d entries", len(es))
		}
	})
}
