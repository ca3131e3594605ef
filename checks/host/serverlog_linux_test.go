package host

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// serves is a machine on which this very process has the port.
func serves() *facts.Facts {
	return &facts.Facts{Target: facts.Target{Network: "tcp", Port: port},
		Sockets: &facts.Sockets{Sockets: []facts.Socket{{Network: "tcp", State: facts.Listen, Local: netip.AddrPortFrom(v4, port), Inode: 1}}},
		Owners:  &facts.Owners{Processes: []facts.Process{{PID: os.Getpid(), Name: "server"}}, Holders: map[uint64][]facts.Holder{1: {{PID: os.Getpid(), Attribution: facts.ByDescriptor}}}}}
}

// A log is a regular file that the server has open for writing, and only what is added
// to it counts.
func TestWatchLog(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "server.log")
	write := func(file string, mode int) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, file), os.O_CREATE|mode, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	log, access := write("server.log", os.O_WRONLY|os.O_APPEND), write("access.log", os.O_WRONLY)
	write("read.log", os.O_RDONLY)
	write("data.db", os.O_RDWR)
	if _, err := log.WriteString("error: an old one\n"); err != nil {
		t.Fatal(err)
	}
	w := openLogs(serves(), v4)
	defer w.Close()
	var names []string
	for _, f := range w.files {
		if filepath.Dir(f.name) == dir { // the test's own output may be another
			names = append(names, filepath.Base(f.name))
		}
	}
	if !slices.Equal(names, []string{"server.log"}) {
		t.Errorf("logs: %q", names)
	}
	access.WriteString("error: in the access log\n")
	log.WriteString("error: password=hunter2 is wrong\n")
	lines, from := w.Since()
	if want := []string{"error: password=*** is wrong"}; !slices.Equal(lines, want) || from != name {
		t.Errorf("%s: %q, want %q", from, lines, want)
	}
	log.WriteString("FATAL: pg_hba.conf rejects connection\nFATAL: another\n")
	if lines, from := lastLog(serves(), v4, "pg_hba.conf"); len(lines) != 1 || lines[0] != "FATAL: pg_hba.conf rejects connection" || from != name {
		t.Errorf("%s: %q", from, lines)
	}
}

func TestWatchLogOfNobody(t *testing.T) {
	for _, f := range []*facts.Facts{{}, {Sockets: &facts.Sockets{}}, {Sockets: serves().Sockets, Target: serves().Target}} {
		if w := watchLog(f, v4); w != nil {
			t.Errorf("%+v", w)
		}
	}
}
