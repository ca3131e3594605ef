package main

import (
	"bufio"
	"bytes"
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
	readyTime  = 15 * time.Second // for a server to listen, on a busy machine
	clientTime = "0.7"            // seconds that a client waits: loopback answers in less than a millisecond
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
	for _, target := range args {
		argv := slices.Concat(prefix, []string{"python3", "-c", pythonClient, target, clientTime})
		if strings.HasPrefix(target, "http") {
			argv = slices.Concat(prefix, []string{"curl", "--noproxy", "*", "-sS", "-o", "/dev/null", "--max-time", clientTime, target})
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
	if neg || len(args) < 1 {
		ts.Fatalf("usage: doctor WANT ARGS...")
	}
	want := args[0]
	for _, who := range []string{"root", "user"} {
		var argv []string
		if who == "user" {
			argv = []string{"asuser"}
		}
		argv = slices.Concat(argv, []string{"loopdoctor", "--format", "json"}, args[1:])
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
		v, err := parseReport(ts.ReadFile("stdout"))
		ts.Check(err)
		ts.Check(v.consistent(exit))
		l.last[who] = v
		l.compare(ts, want, who, v.lines())
		if l.doctored {
			continue
		}
		l.Rows = append(l.Rows, row{Scenario: l.name, Tier: l.tier, As: who, Cause: l.cause, Verdict: v.Targets[0].Verdict,
			Named: v.firstCause(), Remarked: strings.Contains(v.lines(), "remark "+l.cause+"\n")})
		if updating() {
			l.Records[who] = json.RawMessage(ts.ReadFile(record))
		}
	}
	l.doctored = true
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

func (l *lab) fix(ts *testscript.TestScript, neg bool, args []string) {
	cause, n, who := "", 1, "root"
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-cause":
			cause = args[1]
		case "-as":
			who = args[1]
		}
		args = args[2:]
	}
	if len(args) > 0 {
		var err error
		n, err = strconv.Atoi(args[0])
		ts.Check(err)
	}
	if l.last[who] == nil {
		ts.Fatalf("fix [-as user] [-cause NAME] [N] comes after doctor")
	}
	causes := l.last[who].Targets[0].Causes
	i := slices.IndexFunc(causes, func(c labCause) bool { return cause == "" || c.Name == cause })
	if i < 0 {
		ts.Fatalf("the last report names no cause %s", cause)
	}
	if len(causes[i].Fixes) < n {
		ts.Fatalf("%s has %d fixes", causes[i].Name, len(causes[i].Fixes))
	}
	f := causes[i].Fixes[n-1]
	ts.Logf("# %s", f.Do)
	if len(f.Steps) == 0 && len(f.Files) == 0 {
		ts.Fatalf("the fix has nothing to run: the scenario has to make it")
	}
	if f.Guard != nil {
		started, err := time.Parse(time.RFC3339Nano, f.Guard.Started)
		ts.Check(err)
		ts.Check(guarded(f.Guard.PID, started))
	}
	l.run(ts, f.Steps)
	for _, file := range f.Files {
		out, err := os.OpenFile(file.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		ts.Check(err)
		_, err = io.WriteString(out, file.Append)
		ts.Check(errors.Join(err, out.Close()))
	}
	l.lastFix = &f
}

func (l *lab) undo(ts *testscript.TestScript, neg bool, args []string) {
	if l.lastFix == nil {
		ts.Fatalf("undo comes after fix")
	}
	if len(l.lastFix.Undo) == 0 {
		ts.Fatalf("%q has no undo", l.lastFix.Do)
	}
	l.run(ts, l.lastFix.Undo)
	l.lastFix = nil
}

func (l *lab) run(ts *testscript.TestScript, steps [][]string) {
	for _, step := range steps {
		ts.Logf("> %q", step)
		ts.Check(ts.Exec(step[0], step[1:]...))
	}
}

// guarded tells whether the process still is the one that was meant.
func guarded(pid int, started time.Time) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return fmt.Errorf("check the guard: %w", err)
	}
	// "42 (a b) S 1 …": the name may hold blanks and brackets; the 22nd field is the start in ticks since boot
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks, err := strconv.ParseInt(f[19], 10, 64)
	if err != nil {
		return fmt.Errorf("check the guard: %w", err)
	}
	var real, boot unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &real), unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)); err != nil {
		return fmt.Errorf("check the guard: %w", err)
	}
	at := time.Unix(0, real.Nano()-boot.Nano()).Add(time.Duration(ticks) * (time.Second / 100)) // USER_HZ
	if d := at.Sub(started).Abs(); d > time.Second {
		return fmt.Errorf("check the guard: process %d started %v apart from what the fix says", pid, d)
	}
	return nil
}

// state is what fixes change, as plain commands show it. Counters and handles
// are left out: they differ without anything having changed.
var state = [][]string{
	{"nft", "-s", "list", "ruleset"},
	{"iptables-legacy-save"}, {"ip6tables-legacy-save"},
	{"ip", "-o", "link", "show", "lo"},
	{"ip", "-o", "addr"},
	{"ip", "rule"}, {"ip", "-6", "rule"},
	{"ip", "route", "show", "table", "all"}, {"ip", "-6", "route", "show", "table", "all"},
	{"cat", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"},
	{"stat", "-c", "%n %a", "/etc/hosts", "/etc/nsswitch.conf"},
	{"sh", "-c", "cd /proc/sys/net && head -n 99 ipv4/ip_unprivileged_port_start ipv4/ip_local_port_range ipv4/ip_local_reserved_ports ipv4/conf/lo/route_localnet ipv6/conf/lo/disable_ipv6"},
}

func (l *lab) snapshot(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: snapshot FILE")
	}
	var out bytes.Buffer
	for _, argv := range state {
		if _, err := exec.LookPath(argv[0]); err != nil {
			continue
		}
		text, err := exec.Command(argv[0], argv[1:]...).Output()
		fmt.Fprintf(&out, "# %s\n", strings.Join(argv, " "))
		if err != nil && !strings.Contains(argv[0], "-legacy-") { // legacy tables are refused in a user namespace
			fmt.Fprintf(&out, "%v\n", err) // a name file may be missing on purpose
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") { // iptables-save writes the time
				out.WriteString(line)
			}
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o644))
}
