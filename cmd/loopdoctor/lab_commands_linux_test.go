package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

const (
	readyTime = 15 * time.Second // for a server to listen, on a busy machine
	// The seconds that a client waits. One that is to fail waits for nothing: loopback answers in less than a
	// millisecond. One that is to succeed is given time for a SYN that was lost before the cure to be sent again.
	failTime, successTime = "0.3", "8"
)

// TestScenario is the script of one scenario, inside its world. TestLab starts
// it; by itself it has nothing to do.
func TestScenario(t *testing.T) {
	if os.Getenv("LOOPDOCTOR_LAB_STAGE") != "script" {
		t.Skip("TestLab runs it in a world of its own")
	}
	l := &lab{name: os.Getenv("LOOPDOCTOR_LAB_NAME"), tier: os.Getenv("LOOPDOCTOR_LAB_TIER"), last: map[string]*verdict{}, servers: map[int]*server{}}
	l.Records = map[string]json.RawMessage{}
	l.cause = scenario{name: l.name}.cause()
	t.Cleanup(func() {
		if err := json.NewEncoder(os.NewFile(3, "answer")).Encode(l.outcome); err != nil {
			t.Error(err)
		}
	})
	testscript.RunT(labT{t, l}, testscript.Params{
		Files:       []string{filepath.Join("/tmp/lab", l.name+".txtar")},
		WorkdirRoot: "/tmp/lab",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TIER", l.tier)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("LANG", "C.UTF-8")
			e.Setenv("PYTHONUNBUFFERED", "1")
			return errors.Join(os.Chmod(e.WorkDir, 0o777), os.Chmod(filepath.Join(e.WorkDir, ".tmp"), 0o777))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": l.serve, "end": l.end, "client": l.client, "doctor": l.doctor, "fix": l.fix, "undo": l.undo, "snapshot": l.snapshot,
			"culprit": l.culprit, "run": l.runClient, "engine": l.engine,
		},
		RequireUniqueNames: true,
	})
}

// labT tells a skip of the script to the outside.
type labT struct {
	*testing.T
	lab *lab
}

func (t labT) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(tt *testing.T) { f(labT{tt, t.lab}) })
}
func (t labT) Skip(args ...any) {
	t.lab.Skipped = strings.TrimSpace(fmt.Sprint(args...))
	t.T.Skip(args...)
}
func (t labT) Parallel()     {}
func (t labT) Verbose() bool { return true }

// lab is the state of one script.
type lab struct {
	outcome
	name, tier, cause string
	doctored          bool                // the first report has been compared
	last              map[string]*verdict // the last report as root and as user
	lastFix           *labFix
	handles           []string // that the steps of the last fix printed
	servers           map[int]*server
}

// as splits "-as root" from the arguments and returns the words that the
// command line has to begin with.
func as(ts *testscript.TestScript, args []string) (prefix, rest []string) {
	if len(args) > 1 && args[0] == "-as" {
		switch args[1] {
		case "root":
			return nil, args[2:]
		case "user":
			return []string{"asuser"}, args[2:]
		}
		ts.Fatalf("-as root or -as user")
	}
	return []string{"asuser"}, args
}

func (l *lab) serve(ts *testscript.TestScript, neg bool, args []string) {
	prefix, args := as(ts, args)
	if len(args) < 2 {
		ts.Fatalf("usage: serve [-as root] PORT|ready PROG ARGS...")
	}
	argv := slices.Concat(prefix, args[1:])
	ready := func() bool { return false }
	if args[0] != "ready" {
		port, err := strconv.ParseUint(args[0], 10, 16)
		ts.Check(err)
		before := listeners(uint16(port))
		ready = func() bool {
			for inode := range listeners(uint16(port)) {
				if !before[inode] {
					return true
				}
			}
			return false
		}
	}
	s, err := l.start(ts, argv)
	ts.Check(err)
	said := s.said
	if args[0] != "ready" {
		said = nil
	}
	deadline := time.After(readyTime)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for up := false; !up; {
		select {
		case <-said:
			up = true
		case <-tick.C:
			// One that ends well may have gone into the background.
			if up = ready(); up || !s.failed.Load() {
				continue
			}
			if neg {
				ts.Logf("%s", s.output())
				return
			}
			ts.Fatalf("%q ends\n%s", argv, s.output())
		case <-deadline:
			ts.Fatalf("%q is not ready: %s\n%s", argv, args[0], s.output())
		}
	}
	if neg {
		ts.Fatalf("%q is ready: %s", argv, args[0])
	}
	ts.Setenv("PID", strconv.Itoa(s.cmd.Process.Pid))
}

// server is a process that serve started.
type server struct {
	cmd    *exec.Cmd
	log    string        // file with what it printed
	said   chan struct{} // closed once it has printed a line on stdout
	done   chan struct{} // closed once it has been reaped
	failed atomic.Bool   // it has ended, and not well
}

func (s *server) output() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// start starts a server in a process group of its own.
func (l *lab) start(ts *testscript.TestScript, argv []string) (*server, error) {
	log, err := os.CreateTemp(filepath.Join(ts.Getenv("WORK"), ".tmp"), "server")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Pipes of our own: Wait must not wait for a grandchild that keeps stdout.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "PYTHONUNBUFFERED=1")
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "LOOPDOCTOR_LAB_") })
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = w, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, log: log.Name(), said: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer r.Close()
		b := bufio.NewReader(r)
		if _, err := b.ReadString('\n'); err == nil {
			close(s.said)
		}
		io.Copy(io.Discard, b)
	}()
	go func() {
		s.failed.Store(cmd.Wait() != nil)
		close(s.done)
	}()
	l.servers[cmd.Process.Pid] = s
	return s, nil
}

func (l *lab) end(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(slices.Concat(args, []string{ts.Getenv("PID")})[0])
	ts.Check(err)
	s := l.servers[pid]
	if s == nil {
		ts.Fatalf("no server has pid %d", pid)
	}
	unix.Kill(-pid, unix.SIGKILL)
	select {
	case <-s.done:
	case <-time.After(readyTime):
		ts.Fatalf("server %d does not end", pid)
	}
}

// listeners returns the inodes of the TCP sockets that listen on the port. It
// reads /proc, not what the program under test reads.
func listeners(port uint16) map[string]bool {
	inodes := map[string]bool{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes[f[9]] = true
			}
		}
	}
	return inodes
}

const pythonClient = `import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
socket.create_connection((host.strip("[]"), int(port)), float(sys.argv[2])).close()`

func (l *lab) client(ts *testscript.TestScript, neg bool, args []string) {
	prefix, args := as(ts, args)
	if len(args) == 0 {
		ts.Fatalf("usage: client [-as root] HOST:PORT|URL...")
	}
	wait := successTime
	if neg {
		wait = failTime
	}
	for _, target := range args {
		argv := slices.Concat(prefix, []string{"python3", "-c", pythonClient, target, wait})
		if strings.HasPrefix(target, "http") {
			argv = slices.Concat(prefix, []string{"curl", "--noproxy", "*", "-sS", "-o", "/dev/null", "--max-time", wait, target})
		}
		err := ts.Exec(argv[0], argv[1:]...)
		switch {
		case err != nil && !neg:
			ts.Fatalf("%s fails: %v", target, err)
		case err == nil && neg:
			ts.Fatalf("%s succeeds", target)
		}
	}
	if !neg && l.lastFix != nil {
		l.healed("steps")
	} else if !neg && l.doctored {
		l.healed("by hand")
	}
}

// healed notes that a client succeeds after the first report.
func (l *lab) healed(how string) {
	for i := range l.Rows {
		if l.Rows[i].Healed == "" {
			l.Rows[i].Healed = how
		}
	}
}

func (l *lab) doctor(ts *testscript.TestScript, neg bool, args []string) {
	whom, container := []string{"root", "user"}, ""
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-as":
			whom = []string{args[1]}
		case "-in":
			container = args[1]
		default:
			ts.Fatalf("doctor %s?", args[0])
		}
		args = args[2:]
	}
	if neg || len(args) < 1 {
		ts.Fatalf("usage: doctor [-as root] [-in CONTAINER] WANT ARGS...")
	}
	want := args[0]
	for _, who := range whom {
		var argv []string
		switch {
		case container != "" && who == "user":
			argv = []string{"docker", "exec", "-u", strconv.Itoa(ordinary), container}
		case container != "":
			argv = []string{"docker", "exec", container}
		case who == "user":
			argv = []string{"asuser"}
		}
		argv = slices.Concat(argv, []string{"loopdoctor", "--format", "json"}, args[1:])
		if in, ok := strings.CutPrefix(args[len(args)-1], "<"); ok { // testscript gives its own to one command only
			argv = slices.Concat([]string{"sh", "-c", `exec "$@" <"$0"`, ts.MkAbs(in)}, argv[:len(argv)-1])
		}
		record := filepath.Join(ts.Getenv("WORK"), ".tmp", who+".json")
		if updating() && !l.doctored {
			argv = append(argv, "--record", record)
		}
		err := ts.Exec(argv[0], argv[1:]...)
		exit := 0
		if e := (*exec.ExitError)(nil); errors.As(err, &e) {
			exit = e.ExitCode()
		} else {
			ts.Check(err)
		}
		l.heard(ts, want, who, ts.ReadFile("stdout"), exit, record)
	}
	l.doctored = true
}

// heard takes a report: of the first one the scenario is counted, and its facts
// are kept.
func (l *lab) heard(ts *testscript.TestScript, want, who, text string, exit int, record string) {
	v, err := parseReport(text)
	ts.Check(err)
	ts.Check(v.consistent(exit))
	l.last[who] = v
	l.compare(ts, want, who, v.lines())
	if l.doctored {
		return
	}
	l.Rows = append(l.Rows, row{Scenario: l.name, Tier: l.tier, As: who, Cause: l.cause, Verdict: v.Targets[0].Verdict,
		Named: v.firstCause(), Remarked: strings.Contains(v.lines(), "remark "+l.cause+"\n")})
	if updating() {
		l.Records[who] = json.RawMessage(ts.ReadFile(record))
	}
}

// compare checks a report against its section, or notes it as the new one.
func (l *lab) compare(ts *testscript.TestScript, want, as, got string) {
	if updating() {
		l.Said = append(l.Said, said{want, as, got})
		return
	}
	for _, name := range sectionNames(want, l.tier, as) {
		text, err := os.ReadFile(filepath.Join(ts.Getenv("WORK"), name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		ts.Check(err)
		if got != string(text) {
			ts.Fatalf("as %s loopdoctor says\n%sinstead of (%s)\n%s", as, got, name, text)
		}
		return
	}
	ts.Fatalf("no section %s", want)
}
