package process

import (
	"flag"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

var crowd = flag.Int("processes", 0, "BenchmarkOwners starts that many processes")

// BenchmarkOwners looks for one listener among many processes with 20
// descriptors each, without a cgroup to narrow it down, and has lsof do the
// same: go test -bench Owners -processes 3000 -benchtime 5x
func BenchmarkOwners(b *testing.B) {
	if *crowd == 0 {
		b.Skip("needs -processes")
	}
	var extra []*os.File
	for range 17 {
		f, err := os.Open("/dev/null")
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		extra = append(extra, f)
	}
	for range *crowd {
		c := exec.Command("sleep", "300")
		c.ExtraFiles = extra
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	c, err := sockdiag.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	sockets, err := c.Port(uint16(port))
	if err != nil || len(sockets) != 1 {
		b.Fatal(sockets, err)
	}
	b.Run("loopdoctor", func(b *testing.B) {
		for b.Loop() {
			if o, err := Owners(b.Context(), sockets); err != nil || len(o.Processes) == 0 {
				b.Fatal(o, err)
			}
		}
	})
	b.Run("lsof", func(b *testing.B) {
		for b.Loop() {
			if out, err := exec.Command("lsof", "-nP", "-iTCP:"+strconv.Itoa(port), "-sTCP:LISTEN").CombinedOutput(); err != nil {
				b.Skipf("lsof: %v: %s", err, out)
			}
		}
	})
}

// BenchmarkCandidates looks for a port that nobody names among many processes:
// go test -bench Candidates -processes 3000 -benchtime 5x
func BenchmarkCandidates(b *testing.B) {
	if *crowd == 0 {
		b.Skip("needs -processes")
	}
	for range *crowd {
		c := exec.Command("sleep", "300")
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	}
	for b.Loop() {
		if _, err := Candidates(b.Context(), Query{Port: 62893, Cwd: "/nowhere/at/all", Listeners: noListeners}); err != nil {
			b.Fatal(err)
		}
	}
}
