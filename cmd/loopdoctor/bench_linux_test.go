package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// worldTime bounds one world of the benchmark, as scenarioTime does a scenario.
const worldTime = 4 * time.Minute

// yardstick is one comparison of whole programs, side by side in a world of its
// own.
type yardstick struct {
	Name    string
	Doc     string
	Rounds  int      // every command runs once in each, after a first round that does not count
	Serve   bool     // a web server listens on the port
	Drop    bool     // the packet filter drops SYNs to it
	Sleep   int      // idle processes of 20 descriptors each
	Sockets int      // TCP sockets that have nothing to do with the port
	UID     uint32   // who runs the commands
	Expect  string   // what loopdoctor has to say
	Others  []string // what people type instead, one after the other
	MaxMS   float64  // targets: of the median, ...
	Ratio   float64  // ... of the median as a part of that of the others, ...
	MaxMiB  float64  // ... and of the peak of all rounds
}

const benchPort = "62893"

var yardsticks = []yardstick{
	{
		Name: "healthy", Doc: "a web server that answers, 100 processes", Rounds: 21,
		Serve: true, Sleep: 100, Expect: "62893 works",
		Others: []string{"lsof -nP -i :" + benchPort, "ss -ltnp", "curl -s http://127.0.0.1:" + benchPort + "/"}, Ratio: 1, MaxMiB: 40,
	}, {
		Name: "crowded", Doc: "the same among 3,000 processes of 20 descriptors and 50,000 sockets", Rounds: 7,
		Serve: true, Sleep: 3000, Sockets: 50_000, Expect: "62893 works",
		Others: []string{"lsof -nP -i :" + benchPort}, Ratio: 0.1, MaxMiB: 40,
	}, {
		Name: "dropped", Doc: "SYNs are dropped on input; an ordinary user asks", Rounds: 21,
		Serve: true, Drop: true, Sleep: 100, UID: ordinary, Expect: "lost-on-input", MaxMS: 50, MaxMiB: 40,
	},
}

// sample is what a world tells of one command: the wall time of each round and
// the most memory that it ever held.
type sample struct {
	Command string
	MS      []float64
	MiB     float64
}

func (s sample) median() float64 {
	ms := slices.Sorted(slices.Values(s.MS))
	return ms[len(ms)/2]
}

// BenchmarkSide holds loopdoctor against what people type instead, and prints
// the table of docs/performance.md. It needs root, for worlds with a crowd and a
// packet filter of their own, and it only measures: a busy machine fails
// nothing.
//
//	go test ./cmd/loopdoctor -run '^$' -bench Side -benchtime 1x
func BenchmarkSide(b *testing.B) {
	if testing.Short() || os.Geteuid() != 0 {
		b.Skip("NOT RUN: it needs root, and half a minute")
	}
	program := released(b)
	var table strings.Builder
	table.WriteString("| world | command | median ms | fastest–slowest | of the others | peak MiB | target |\n|---|---|--:|--:|--:|--:|---|\n")
	for _, y := range yardsticks {
		b.Run(y.Name, func(b *testing.B) {
			for b.Loop() {
				samples := y.measure(b, program)
				y.report(b, &table, samples)
			}
		})
	}
	var u unix.Utsname
	_ = unix.Uname(&u)
	fmt.Printf("\n%d CPUs, kernel %s, load %s, %s\n\n%s\n", runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), load(), runtime.Version(), table.String())
}

// released builds the program as it is released.
func released(b *testing.B) string {
	b.Helper()
	program := filepath.Join(b.TempDir(), "loopdoctor")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// load is the average of the last minute: other work on the machine shows in
// it, as does the benchmark itself.
func load() string {
	data, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

// report adds the rows of one world; the first sample is loopdoctor's.
func (y yardstick) report(b *testing.B, table *strings.Builder, samples []sample) {
	own := samples[0]
	var others float64
	for _, s := range samples[1:] {
		others += s.median()
	}
	row := func(command, rest string, s sample) {
		fmt.Fprintf(table, "| %s | %s | %.1f | %.1f–%.1f | %s |\n", y.Name, command, s.median(), slices.Min(s.MS), slices.Max(s.MS), rest)
	}
	verdict := func(name string, got, limit float64, unit string) string {
		return name + " " + strconv.FormatFloat(limit, 'g', -1, 64) + unit + ": " + map[bool]string{true: "met", false: "**missed**"}[got < limit]
	}
	var targets []string
	ratio := ""
	if others > 0 {
		b.ReportMetric(own.median()/others, "ratio")
		ratio = fmt.Sprintf("%.3f", own.median()/others)
		targets = append(targets, verdict("ratio <", own.median()/others, y.Ratio, ""))
	}
	if y.MaxMS > 0 {
		targets = append(targets, verdict("<", own.median(), y.MaxMS, " ms"))
	}
	targets = append(targets, verdict("<", own.MiB, y.MaxMiB, " MiB"))
	b.ReportMetric(own.median(), "ms")
	b.ReportMetric(own.MiB, "MiB")
	row("`"+own.Command+"`", fmt.Sprintf("%s | %.1f | %s", ratio, own.MiB, strings.Join(targets, "; ")), own)
	for _, s := range samples[1:] {
		row("`"+s.Command+"`", fmt.Sprintf(" | %.1f | ", s.MiB), s)
	}
}

// measure makes the world, has it measure, and ends it with all that is in it.
func (y yardstick) measure(b *testing.B, program string) []sample {
	b.Helper()
	for _, command := range append(slices.Clone(y.Others), map[bool]string{true: "nft"}[y.Drop]) {
		name, _, _ := strings.Cut(command, " ")
		if _, err := exec.LookPath(cmp.Or(name, "sleep")); err != nil {
			b.Skip("NOT RUN: ", err)
		}
	}
	var samples []sample
	inWorld(b, program, "bench", worldTime, y, &samples)
	if len(samples) == 0 {
		b.Fatal("nothing was measured")
	}
	return samples
}

// inWorld makes a world, has a stage of it do what is told, takes its answer, and
// ends the world with all that is in it.
func inWorld(b *testing.B, program, stage string, limit time.Duration, task, answer any) {
	b.Helper()
	told, err := json.Marshal(task)
	if err != nil {
		b.Fatal(err)
	}
	exe, err := os.Open(program)
	if err != nil {
		b.Fatal(err)
	}
	defer exe.Close()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(b.Context(), limit)
	defer cancel()
	var log strings.Builder
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Dir = "/"
	cmd.Env = []string{"LOOPDOCTOR_LAB_STAGE=" + stage, "LOOPDOCTOR_BENCH=" + string(told), "LOOPDOCTOR_LAB_NAME=bench", "LOOPDOCTOR_LAB_TIER=R",
		"PATH=/tmp/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp/lab", "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &log, &log, []*os.File{w, exe}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
	}
	// Pdeathsig follows the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	w.Close()
	if err != nil {
		b.Skip("NOT RUN: no namespaces: ", err)
	}
	decodeErr := json.NewDecoder(r).Decode(answer)
	if err := cmd.Wait(); err != nil || decodeErr != nil {
		b.Fatalf("%v, %v\n%s", err, decodeErr, log.String())
	}
}
