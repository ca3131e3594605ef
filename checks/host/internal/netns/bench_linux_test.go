package netns

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	benchSpaces    = flag.Int("namespaces", 0, "BenchmarkFind makes that many")
	benchProcesses = flag.Int("processes", 5000, "and that many processes in all")
)

// looked is what one look took: the time that has passed, and that of the processors,
// which others may work on, too.
type looked struct {
	NS, CPU time.Duration
	Found   int
}

func init() {
	// room is what a container has: a listener, a connection with both ends, and
	// further processes. It prints the listener's port.
	helpers["room"] = func() {
		check(exec.Command("ip", "link", "set", "lo", "up").Run())
		l, err := net.Listen("tcp", "127.0.0.1:62893")
		check(err)
		c, err := net.Dial("tcp", l.Addr().String())
		check(err)
		defer c.Close()
		n, err := strconv.Atoi(os.Getenv("ROOM"))
		check(err)
		for range n {
			check(exec.Command("sleep", "1000").Start())
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		check(syscall.Kill(0, syscall.SIGKILL)) // the group is this one's
	}
	// times prints how long a look takes: the median of eleven.
	helpers["times"] = func() {
		port, err := strconv.Atoi(os.Getenv("PORT"))
		check(err)
		var all []time.Duration
		found := 0
		for range 11 {
			begin := time.Now()
			n, err := Find(context.Background(), uint16(port))
			check(err)
			all = append(all, time.Since(begin))
			found = len(n.Found)
		}
		slices.Sort(all)
		var u unix.Rusage
		check(unix.Getrusage(unix.RUSAGE_SELF, &u))
		cpu := time.Duration(u.Utime.Nano()+u.Stime.Nano()) / time.Duration(len(all))
		check(json.NewEncoder(os.Stdout).Encode(looked{all[len(all)/2], cpu, found}))
	}
}

// BenchmarkFile reads the sockets of one namespace that has a single listener, once and
// without what comes after: this much the kernel takes for each namespace of which an
// ordinary user wants to know the listeners. It grows with the table of connections of
// the whole machine (dmesg: "TCP established hash table entries").
func BenchmarkFile(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root to make a namespace")
	}
	pid, _ := listenElsewhere(b, nil)
	buf := make([]byte, os.Getpagesize())
	for b.Loop() {
		fd, err := unix.Open(procPath(pid, "net/tcp6"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := unix.Read(fd, buf); err != nil || n < 200 {
			b.Fatal(n, err)
		}
		unix.Close(fd)
	}
}

// BenchmarkFind looks among namespaces that all have a listener, a connection and
// their share of the processes; for a port that nobody has, and for one that all have.
//
//	go test ./checks/host/internal/netns -run '^$' -bench Find -namespaces 100 -benchtime 1x
func BenchmarkFind(b *testing.B) {
	if *benchSpaces == 0 || os.Geteuid() != 0 {
		b.Skip("needs -namespaces, and root to make them")
	}
	for range *benchSpaces {
		c := command("room")
		c.Env = append(c.Env, fmt.Sprintf("ROOM=%d", *benchProcesses / *benchSpaces - 1))
		c.SysProcAttr.Cloneflags, c.SysProcAttr.Setpgid = unix.CLONE_NEWNET, true
		in, err := c.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { in.Close(); _ = c.Wait() })
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
			b.Fatal(line, err)
		}
	}
	for _, who := range []struct {
		name string
		uid  uint32
	}{{"root", 0}, {"user", nobody}} {
		for port, found := range map[int]int{62894: 0, 62893: *benchSpaces} {
			b.Run(fmt.Sprintf("%s/found=%d", who.name, found), func(b *testing.B) {
				for b.Loop() {
					c := command("times")
					c.Env = append(c.Env, fmt.Sprintf("PORT=%d", port))
					c.SysProcAttr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.uid}
					var stderr bytes.Buffer
					c.Stderr = &stderr
					out, err := c.Output()
					if err != nil {
						b.Fatalf("%v: %s", err, &stderr)
					}
					var got looked
					if err := json.Unmarshal(out, &got); err != nil || got.Found < found {
						b.Fatalf("%s: %v", out, err)
					}
					b.ReportMetric(float64(got.NS.Microseconds())/1000, "ms/look")
					b.ReportMetric(float64(got.CPU.Microseconds())/1000, "cpu-ms/look")
				}
			})
		}
	}
}
