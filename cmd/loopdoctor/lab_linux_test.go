package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"golang.org/x/sys/unix"
)

// scenarioTime bounds one run of one scenario. Its first process is killed
// then, and with it, by the kernel, every other one of its PID namespace.
const scenarioTime = 45 * time.Second

// ordinary is the uid that plays the ordinary user. It needs no passwd entry.
const ordinary = 1000

// outcome is what a scenario's processes tell the test, as JSON on descriptor 3.
type outcome struct {
	Unavailable string                     `json:",omitempty"` // why its world could not be made
	Skipped     string                     `json:",omitempty"` // why the script cannot run here
	Said        []said                     `json:",omitempty"` // with UPDATE: what the sections have to say
	Records     map[string]json.RawMessage `json:",omitempty"` // recorded facts of "root" and "user"
	Rows        []row                      `json:",omitempty"`
}

// said is what one call of doctor heard.
type said struct{ Section, As, Text string }

// TestLab breaks a real kernel in every way there is a scenario for.
func TestLab(t *testing.T) {
	if testing.Short() {
		missing(t, "the lab takes minutes")
	}
	all := scenarios(t)
	var mu sync.Mutex
	var rows []row
	outcomes, runs := map[string]outcome{}, 0
	t.Cleanup(func() { // after the last of the parallel runs
		for _, s := range all {
			// The recorded tier first: the other one's sections only say what differs from it.
			for _, tier := range slices.Sorted(slices.Values(s.tiers())) {
				if o, ok := outcomes[s.name+"/"+tier]; ok && updating() {
					keep(t, &s, tier, o)
				}
			}
		}
		for _, s := range all {
			delete(outcomes, s.name+"/F")
		}
		if len(outcomes) < runs {
			t.Logf("%d of %d runs: docs/accuracy.md is not compared", len(outcomes), runs)
			return
		}
		checkAccuracy(t, rows)
	})
	for _, s := range all {
		for _, tier := range s.tiers() {
			if tier == "F" { // no kernel has to do with it, so it does not count
				t.Run(s.name+"/F", func(t *testing.T) { outcomes[s.name+"/F"] = edited(t, s) })
				continue
			}
			runs++
			t.Run(s.name+"/"+tier, func(t *testing.T) {
				if tier == "U" && inPart(s) {
					t.Skip("NOT RUN: without LOOPDOCTOR_LAB=required only tier R, which takes half of the time")
				}
				t.Parallel()
				o := runOrAgain(t, s, tier)
				mu.Lock()
				defer mu.Unlock()
				outcomes[s.name+"/"+tier] = o
				rows = append(rows, o.Rows...)
			})
		}
	}
}

// inPart tells whether one tier of the scenario is enough: where everything is asked
// for, and nothing in particular, both take longer than go test waits.
func inPart(s scenario) bool {
	return os.Getenv("LOOPDOCTOR_LAB") != "required" && !updating() && os.Geteuid() == 0 && slices.Contains(s.tiers(), "R") && flag.Lookup("test.run").Value.String() == ""
}

// missing skips by name, or fails where the lab is required: a scenario that
// could not run is not a pass.
func missing(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("LOOPDOCTOR_LAB") == "required" {
		t.Fatalf("NOT RUN: %s", reason)
	}
	t.Skipf("NOT RUN: %s", reason)
}

// alone is held by every scenario that runs beside others, and by one that has the
// machine for itself as a whole. secondRuns counts those.
var (
	alone      sync.RWMutex
	secondRuns atomic.Int32
)

// maxSecondRuns is how many scenarios may need one, of more than a thousand runs: on two
// busy cores a real server, or a client of the lab, is late now and then.
const maxSecondRuns = 3

// runOrAgain runs a scenario beside others. A fault that is not named there gets a second
// run alone, which is said; a false alarm does not.
func runOrAgain(t *testing.T, s scenario, tier string) outcome {
	t.Helper()
	o, failed := func() (outcome, string) {
		alone.RLock()
		defer alone.RUnlock() // also if it could not run
		return runScenario(t, s, tier)
	}()
	if failed == "" {
		return o
	}
	if strings.HasPrefix(s.name, "healthy-") || secondRuns.Add(1) > maxSecondRuns {
		t.Fatal(failed)
	}
	alone.Lock()
	defer alone.Unlock()
	o, second := runScenario(t, s, tier)
	if second != "" {
		t.Fatalf("%s\nAND ALONE\n%s", failed, second)
	}
	fmt.Fprintf(os.Stderr, "%s PASSED ONLY ALONE; beside others:\n%s\n", t.Name(), failed)
	return o
}

// runScenario starts the first process of a scenario's world and waits for its
// end. It tells what failed, and does not return if the scenario could not run.
func runScenario(t *testing.T, s scenario, tier string) (o outcome, failed string) {
	t.Helper()
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
	}
	root := os.Geteuid() == 0
	switch tier {
	case "U":
		asOrdinaryUser(attr)
	case "R":
		if !root {
			missing(t, "tier R needs root")
		}
		group, err := ownCgroup(t)
		if err != nil {
			missing(t, "no cgroup of its own: "+err.Error())
		}
		attr.UseCgroupFD, attr.CgroupFD = true, int(group.Fd())
	default:
		t.Fatalf("%s: no such tier: %s", s.file, tier)
	}

	script, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	answer, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), scenarioTime)
	defer cancel()
	// By descriptor, not by name: the other uid may not enter the folder where the test binary lies.
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Dir = "/"
	cmd.Env = []string{
		"LOOPDOCTOR_LAB_STAGE=init", "LOOPDOCTOR_LAB_NAME=" + s.name, "LOOPDOCTOR_LAB_TIER=" + tier,
		"PATH=/tmp/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp/lab", "LANG=C.UTF-8", "UPDATE=" + os.Getenv("UPDATE"),
	}
	var log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = bytes.NewReader(script), &log, &log, []*os.File{w}
	cmd.SysProcAttr = attr
	// Pdeathsig follows the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	w.Close()
	if err != nil {
		missing(t, "no namespaces: "+err.Error())
	}
	decodeErr := json.NewDecoder(answer).Decode(&o)
	err = cmd.Wait()
	switch {
	case o.Unavailable != "":
		missing(t, o.Unavailable)
	case ctx.Err() != nil:
		return o, fmt.Sprintf("still running after %v\n%s", scenarioTime, log.String())
	case err != nil:
		return o, fmt.Sprintf("%v\n%s", err, log.String())
	case o.Skipped != "":
		missing(t, o.Skipped)
	case decodeErr != nil:
		t.Fatalf("no outcome: %v\n%s", decodeErr, log.String())
	}
	if testing.Verbose() {
		t.Log(log.String())
	}
	return o, ""
}

// asOrdinaryUser makes the namespaces those of a user without privileges. Only one uid
// is mapped, as for any user without /etc/subuid. Root plays that user, too: what it
// could do in a namespace of its own is more than what tier U promises.
func asOrdinaryUser(attr *syscall.SysProcAttr) {
	root := os.Geteuid() == 0
	uid, gid := os.Getuid(), os.Getgid()
	if root {
		uid, gid = ordinary, ordinary
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	attr.GidMappingsEnableSetgroups = root
	attr.Credential = &syscall.Credential{NoSetGroups: !root}
}

// ownCgroup makes a cgroup for one run and removes it, and those that the
// scenario made in it, at the end. The error says why there is none.
func ownCgroup(t *testing.T) (*os.File, error) {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(mount, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		dir, err := os.MkdirTemp(mount, "loopdoctor-lab-")
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(dir, 0o755); err != nil { // as every other one: its users may look into it
			return nil, err
		}
		t.Cleanup(func() {
			removeCgroup(t, dir)
			for _, controller := range []string{"cpu", "memory"} { // those of version 1, of the same name
				if d := filepath.Join("/sys/fs/cgroup", controller, filepath.Base(dir)); d != dir {
					removeCgroup(t, d)
				}
			}
		})
		f, err := os.Open(dir)
		if err == nil {
			t.Cleanup(func() { f.Close() })
		}
		return f, err
	}
	return nil, errors.New("cgroup version 2 is not mounted")
}

// removeCgroup removes the children first; rmdir is all a cgroup understands.
func removeCgroup(t *testing.T, dir string) {
	var dirs []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		if err := unix.Rmdir(d); err != nil {
			t.Errorf("leave nothing behind: remove %s: %v", d, err)
		}
	}
}

// keep writes down what the program said of a scenario, and what it saw.
func keep(t *testing.T, s *scenario, tier string, o outcome) {
	t.Helper()
	for _, r := range o.Said {
		s.note(r.Section, tier, r.As, r.Text)
	}
	if err := s.save(); err != nil {
		t.Error(err)
	}
	if tier != s.records() {
		return
	}
	if err := os.MkdirAll(replayDir, 0o755); err != nil {
		t.Error(err)
	}
	for as, recorded := range o.Records {
		if err := keepFacts(filepath.Join(replayDir, fmt.Sprintf("%s.%s.json", s.name, as)), recorded); err != nil {
			t.Errorf("recorded facts of %s: %v", as, err)
		}
	}
}

// keepFacts writes recorded facts, small and without what only says on which
// machine the lab ran.
func keepFacts(file string, recorded []byte) error {
	var r facts.Recording
	if err := json.Unmarshal(recorded, &r); err != nil {
		return err
	}
	for _, f := range r.Facts {
		f.Host.Kernel, _, _ = strings.Cut(f.Host.Kernel, "-")
	}
	out, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}

// TestScenarioNames keeps what the accuracy page relies on.
func TestScenarioNames(t *testing.T) {
	for _, s := range scenarios(t) {
		if s.first() == "" {
			t.Errorf("%s: it never calls doctor", s.file)
		}
		if _, ok := s.section(s.first(), s.records(), "root"); !ok && !updating() {
			t.Errorf("%s: no section %q: run UPDATE=1 go test ./cmd/loopdoctor -run 'TestLab/%s'", s.file, s.first(), s.name)
		}
		if !strings.HasPrefix(string(s.archive.Comment), "# ") {
			t.Errorf("%s: it begins with a sentence that says what is demonstrated", s.file)
		}
	}
}
