package host

import (
	flags "flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netns"
)

var (
	crowd = flags.Int("processes", 0, "BenchmarkContainers starts that many processes")
	rooms = flags.Int("rooms", 100, "in that many network namespaces of their own, and ours")
)

// BenchmarkContainers measures what containers cost where something is wrong: other
// network namespaces, and the containers, without an engine and with one that has a
// hundred. go test ./checks/host -run '^$' -bench Containers -processes 5000
func BenchmarkContainers(b *testing.B) {
	if *crowd == 0 {
		b.Skip("needs -processes")
	}
	if os.Geteuid() != 0 {
		b.Skip("NOT RUN: it needs root")
	}
	for i := range *crowd {
		c := exec.Command("sleep", "600")
		if i < *rooms {
			c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		}
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	}
	target := facts.Target{Network: "tcp", Host: "localhost", Port: 62893, Addresses: []facts.Address{{Addr: netip.MustParseAddr("127.0.0.1"), Expected: true}}}
	f := &facts.Facts{Target: target, Host: facts.Host{As: []facts.Identity{{}}}, Sockets: &facts.Sockets{}}
	b.Run("namespaces", func(b *testing.B) {
		processorTime(b, func() {
			var err error
			if f.Namespaces, err = netns.Find(b.Context(), target.Port); err != nil || f.Namespaces.Seen < *rooms {
				b.Fatalf("%+v, %v", f.Namespaces, err)
			}
		})
	})
	b.Run("containers", func(b *testing.B) {
		processorTime(b, func() {
			if _, err := lookContainers(b.Context(), f); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("engine", func(b *testing.B) {
		f.Environment = &facts.Environment{Variables: []facts.Variable{{Name: "DOCKER_HOST", Value: "unix://" + crowdedEngine(b)}}}
		processorTime(b, func() {
			c, err := lookContainers(b.Context(), f)
			if err != nil || !slices.ContainsFunc(c.Found, func(c facts.Container) bool { return c.Name == "web-7" }) {
				b.Fatalf("%+v, %v", c, err)
			}
		})
	})
}

// processorTime reports beside the time that has passed the time that the processors
// worked for it: others may work on them too.
func processorTime(b *testing.B, do func()) {
	used := func() time.Duration {
		var u unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, n := used(), 0
	for b.Loop() {
		do()
		n++
	}
	b.ReportMetric(float64((used()-before).Microseconds())/1000/float64(n), "cpu-ms/op")
}

// crowdedEngine answers for a hundred containers, one of which publishes the port.
func crowdedEngine(b *testing.B) (socket string) {
	socket = filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	var list []string
	for i := range 100 {
		port := 20000 + i
		if i == 7 {
			port = 62893
		}
		list = append(list, fmt.Sprintf(`{"Id":"%064x","Names":["/web-%d"],"Image":"shop","State":"running","Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":%d,"Type":"tcp"}]}`, i, i, port))
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/containers/json" {
			fmt.Fprintf(w, "[%s]", strings.Join(list, ","))
			return
		}
		fmt.Fprint(w, `{"NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"62893"}]}}}`)
	})}
	go server.Serve(l)
	b.Cleanup(func() { server.Close() })
	return socket
}
