package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	stages["bench"] = func() { must(benchStage()) }
	stages["bench-serve"] = func() { must(serveStage()) }
	stages["bench-hold"] = func() { must(holdStage()) }
	stages["bench-peak"] = func() { must(peakStage()) }
}

// must is how a stage fails: what it says is in the log of the benchmark.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// benchStage is process 1 of a world: it fills it, measures, and tells. When it
// ends, the kernel ends every other process of the world.
func benchStage() error {
	var y yardstick
	if err := json.Unmarshal([]byte(os.Getenv("LOOPDOCTOR_BENCH")), &y); err != nil {
		return err
	}
	if err := errors.Join(furnish(), installProgram(os.NewFile(4, "program"))); err != nil {
		return err
	}
	// What the benchmark inherited is not to spread: 20 descriptors are 20.
	if err := unix.CloseRange(5, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	if y.Serve {
		if err := stage("bench-serve"); err != nil {
			return err
		}
	}
	// A process may hold 50,000 descriptors by then, but hardly any does.
	const each = 12_500
	for held := 0; held < y.Sockets; held += each {
		if err := stage("bench-hold", strconv.Itoa(held/each), strconv.Itoa(min(each, y.Sockets-held))); err != nil {
			return err
		}
	}
	if err := crowd(y.Sleep); err != nil {
		return err
	}
	if y.Drop {
		rules := "table inet bench { chain in { type filter hook input priority 0; tcp dport " + benchPort + " tcp flags syn drop; }; }"
		if out, err := exec.Command("nft", rules).CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
	}
	samples, err := y.rounds()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.NewFile(3, "answer")).Encode(samples)
}

// installProgram puts the program as users have it where furnish has put the
// test binary.
func installProgram(from *os.File) error {
	defer from.Close()
	const name = "/tmp/bin/loopdoctor"
	if err := os.Remove(name); err != nil {
		return err
	}
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// stage starts another process of the world and waits until it is ready.
func stage(name string, args ...string) error {
	cmd := exec.Command("/tmp/bin/lab", args...)
	cmd.Env = append(os.Environ(), "LOOPDOCTOR_LAB_STAGE="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("%s did not get ready: %w", name, err)
	}
	return nil
}

func ready() { fmt.Println("ready") }

// serveStage is a web server as people write one.
func serveStage() error {
	l, err := net.Listen("tcp4", "127.0.0.1:"+benchPort)
	if err != nil {
		return err
	}
	ready()
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
}

// holdStage holds TCP sockets: a half of them listens, on addresses and ports
// that no two share, the other half are connections, each with both ends.
func holdStage() error {
	block, errB := strconv.Atoi(os.Args[1])
	n, errN := strconv.Atoi(os.Args[2])
	limit := unix.Rlimit{Cur: uint64(n) + 100, Max: uint64(n) + 100}
	if err := errors.Join(errB, errN, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)); err != nil {
		return err
	}
	listening := 0
	for i := 0; i < n; {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(1 + block), byte(listening / 100), 1}), uint16(20_000+listening%100))
		fd, err := tcpSocket(func(fd int) error {
			return errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}), unix.Listen(fd, 8))
		})
		if err != nil {
			return fmt.Errorf("listen at %v: %w", at, err)
		}
		listening++
		if i++; i+2 > n || listening%2 != 0 {
			continue
		}
		// Two listeners, then one connection to the second: two sockets more.
		if _, err := tcpSocket(func(c int) error {
			return unix.Connect(c, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
		}); err != nil {
			return fmt.Errorf("connect to %v: %w", at, err)
		}
		if _, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC); err != nil {
			return fmt.Errorf("accept at %v: %w", at, err)
		}
		i += 2
	}
	ready()
	select {}
}

func tcpSocket(use func(fd int) error) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, use(fd)
}

// crowd starts idle processes of 20 descriptors each, of the kinds that
// programs have: files, pipes, and sockets of other families than ours.
func crowd(n int) error {
	var files []*os.File
	for range 9 {
		f, err := os.Open("/dev/null")
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		files = append(files, r, w, os.NewFile(uintptr(pair[0]), "pair"), os.NewFile(uintptr(pair[1]), "pair"))
	}
	for range n {
		cmd := exec.Command("sleep", "1000")
		cmd.ExtraFiles = files // and the standard three
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start a crowd: %w", err)
		}
	}
	for _, f := range files {
		f.Close()
	}
	return nil
}

// rounds runs each command in turn.
func (y yardstick) rounds() ([]sample, error) {
	commands := append([]string{"loopdoctor " + benchPort}, y.Others...)
	samples := make([]sample, len(commands))
	for round := range y.Rounds + 1 {
		for i, command := range commands {
			s := &samples[i]
			begin := time.Now()
			out, err := y.run(strings.Fields(command)...)
			ms := float64(time.Since(begin).Microseconds()) / 1000
			if err == nil && (i == 0 && !strings.Contains(out, y.Expect) || out == "") {
				err = errors.New("not the expected answer")
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w:\n%s", command, err, out)
			}
			if round == 0 {
				s.Command = command
			} else {
				s.MS = append(s.MS, ms)
			}
			if round < peakRounds {
				mib, err := y.peak(command)
				if err != nil {
					return nil, fmt.Errorf("peak of %s: %w", command, err)
				}
				s.MiB = max(s.MiB, mib)
			}
		}
	}
	return samples, nil
}

// run gives what a command says; that it found a fault is no error.
func (y yardstick) run(argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: y.UID, Gid: y.UID}}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if y.Drop && errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil
	}
	return string(out), err
}

// peakRounds is how many rounds also look at the memory, in a run of its own.
const peakRounds = 4

// peak runs a command for the sake of its memory, in MiB. A process that Go
// starts begins with the peak of the one that started it, whose memory it
// borrows until its exec; one that a shell starts begins with that of the
// shell, next to nothing. The shell then becomes us, who are told of its
// children.
func (y yardstick) peak(command string) (float64, error) {
	out, err := y.run("sh", "-c", command+" >/dev/null 2>&1; LOOPDOCTOR_LAB_STAGE=bench-peak exec /tmp/bin/lab")
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	kib, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	return kib / 1024, err
}

func peakStage() error {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &usage); err != nil {
		return err
	}
	fmt.Println(usage.Maxrss)
	return nil
}
