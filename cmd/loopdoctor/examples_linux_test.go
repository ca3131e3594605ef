package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/report"
)

// The examples of the help pages are run, each in a directory of its own, in a world
// of the lab where servers listen on their ports.

func init() {
	stages["examples"] = examplesStage
	stages["stand-in"] = func() { // a client that connects, in the place of one that is not installed
		c, err := net.Dial("tcp", "localhost:"+os.Getenv("LOOPDOCTOR_LAB_PORT"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		c.Close()
	}
}

// examplePorts are those on which something answers HTTP; on every other one nothing
// listens.
var examplePorts = []string{"3000", "5173", "5432", "62893"}

// standIns are clients of the examples that need more than a world of the lab has: a
// database, a project. The port is the one that they are to connect to.
var standIns = map[string]string{"psql": "5432", "npm": "3000", "node": "3000"}

// cannot are examples that cannot succeed in such a world, by a part of their line, and
// what loopdoctor then has to say.
var cannot = []struct{ part, reason, says string }{
	{"--container ", "no container engine runs there (scenarios of the lab look into containers)", "no container has this name"},
}

// exampleRun is an example to run, and what came of it.
type exampleRun struct {
	Line    string
	Prepare []string // command lines that make the files that it reads
	Status  int
	Output  string
}

var (
	readFile = regexp.MustCompile(`\.(json|zip)$`)
	writes   = []string{"-o", "--output", "--record"}
)

// prepare finds what an example reads that it does not write itself: recordings,
// reports and bundles by their names, and directories of them.
func prepare(line string) []string {
	var out, made []string
	for _, command := range regexp.MustCompile(`&&|[|;]`).Split(line, -1) {
		words := shellWords(command)
		for i, w := range words {
			w = strings.TrimPrefix(w, "<")
			switch {
			case i > 0 && slices.Contains(writes, words[i-1]):
				made = append(made, w)
			case slices.Contains(made, w):
			case strings.HasSuffix(w, "/") && slices.Contains(words, "triage"):
				out = append(out, "mkdir "+w+" && loopdoctor --record "+w+"facts.json 62893")
			case !readFile.MatchString(w):
			case strings.HasSuffix(w, ".zip"):
				out = append(out, "loopdoctor bundle 62893 -o "+w)
			case strings.HasPrefix(w, "report"):
				out = append(out, "loopdoctor --format json -o "+w+" 62893")
			default:
				out = append(out, "loopdoctor --record "+w+" 62893")
			}
		}
	}
	return out
}

func TestExamplesRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs every example")
	}
	var runs []exampleRun
	used := map[string]bool{}
	all := append(examples(), ofPage(t, "support.md")...)
	all = append(all, ofPage(t, "diff.md")...)
	for _, e := range all {
		line := strings.ReplaceAll(e.line, "sudo ", "") // it is root there
		runs = append(runs, exampleRun{Line: line, Prepare: prepare(line)})
	}
	for i, r := range runInWorld(t, runs) {
		t.Run(r.Line, func(t *testing.T) {
			for _, command := range regexp.MustCompile(`&&|[|;]`).Split(r.Line, -1) {
				if program := shellWords(command)[0]; r.Status != 0 && program != "loopdoctor" {
					if _, err := exec.LookPath(program); err != nil {
						t.Skip(program + " is not installed")
					}
				}
			}
			for _, c := range cannot {
				if strings.Contains(r.Line, c.part) {
					used[c.part] = true
					if r.Status == 0 || !strings.Contains(r.Output, c.says) {
						t.Errorf("it is listed as one that cannot run (%s), and its exit status is %d: %s", c.reason, r.Status, r.Output)
					}
					return
				}
			}
			if slices.Contains([]int{exitUsage, report.ExitFailed, exitCannotRun, exitNoProgram, -1}, r.Status) {
				t.Errorf("%s: exit status %d (prepared by %q)\n%s", all[i].of, r.Status, r.Prepare, r.Output)
			}
		})
	}
	for _, c := range cannot {
		if !used[c.part] {
			t.Errorf("no example has %q: remove it from cannot", c.part)
		}
	}
	for program := range standIns {
		if !slices.ContainsFunc(runs, func(r exampleRun) bool { return strings.Contains(r.Line, " "+program+" ") }) {
			t.Errorf("no example runs %s: remove it from standIns", program)
		}
	}
}

// ofPage are the lines of a document that call loopdoctor, in its blocks for a shell.
func ofPage(t *testing.T, name string) []example {
	t.Helper()
	var all []example
	for _, m := range fenced.FindAllStringSubmatch(readText(t, filepath.Join(root, "docs", name)), -1) {
		for line := range strings.Lines(m[2]) {
			line, _, _ = strings.Cut(line, " #")
			line = strings.TrimSpace(line)
			if m[1] == "sh" && strings.HasPrefix(strings.TrimPrefix(line, "sudo "), "loopdoctor ") {
				all = append(all, example{"docs/" + name, line})
			}
		}
	}
	if len(all) < 5 {
		t.Errorf("docs/%s: only %d commands found", name, len(all))
	}
	return all
}

// runInWorld runs command lines in one world.
func runInWorld(t *testing.T, runs []exampleRun) []exampleRun {
	t.Helper()
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC, Pdeathsig: unix.SIGKILL}
	asOrdinaryUser(attr)
	order, err := json.Marshal(runs)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Dir, cmd.SysProcAttr = "/", attr
	cmd.Env = []string{"LOOPDOCTOR_LAB_STAGE=examples", "LOOPDOCTOR_LAB_NAME=examples", "LOOPDOCTOR_LAB_TIER=U",
		"PATH=/tmp/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp/lab", "LANG=C.UTF-8"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = bytes.NewReader(order), &log, &log, []*os.File{w}
	runtime.LockOSThread() // Pdeathsig follows the thread that forked
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	w.Close()
	if err != nil {
		missing(t, "no namespaces: "+err.Error())
	}
	var out []exampleRun
	decodeErr := json.NewDecoder(r).Decode(&out)
	if err := errors.Join(decodeErr, cmd.Wait()); err != nil || len(out) != len(runs) {
		t.Fatalf("%d of %d examples: %v\n%s", len(out), len(runs), err, log.String())
	}
	return out
}

// examplesStage is process 1 of that world.
func examplesStage() {
	answer := os.NewFile(3, "answer")
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Unsetenv("LOOPDOCTOR_LAB_STAGE") // what is started here is no stage
	for _, port := range examplePorts {
		for _, address := range []string{"127.0.0.1", "::1"} {
			l, err := net.Listen("tcp", net.JoinHostPort(address, port))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") }))
		}
	}
	clients := map[string]string{}
	for program, port := range standIns {
		clients[program] = port
	}
	if _, err := exec.LookPath("curl"); err != nil {
		clients["curl"] = "3000"
	}
	for program, port := range clients {
		script := "#!/bin/sh\nLOOPDOCTOR_LAB_STAGE=stand-in LOOPDOCTOR_LAB_PORT=" + port + " exec /tmp/bin/lab\n"
		if err := os.WriteFile(filepath.Join("/tmp/bin", program), []byte(script), 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	data, err := os.ReadFile("/tmp/lab/examples.txtar") // where furnish puts what it was given
	var runs []exampleRun
	if err := errors.Join(err, json.Unmarshal(data, &runs)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := range runs {
		runs[i].run(fmt.Sprintf("/tmp/lab/%d", i))
	}
	if err := json.NewEncoder(answer).Encode(runs); err != nil {
		os.Exit(1)
	}
}

// run runs an example in a directory of its own. A preparation that fails is the
// example's failure.
func (r *exampleRun) run(dir string) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		r.Status, r.Output = -1, err.Error()
		return
	}
	for _, line := range append(slices.Clone(r.Prepare), r.Line) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		cmd := exec.CommandContext(ctx, "/bin/bash", "-o", "pipefail", "-c", line)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		cancel()
		r.Output, r.Status = string(out), cmd.ProcessState.ExitCode()
		if err != nil && line != r.Line && r.Status != report.ExitFault && r.Status != report.ExitUnknown {
			r.Status = -1
			return
		}
	}
}
