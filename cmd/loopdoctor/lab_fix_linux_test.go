package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func (l *lab) fix(ts *testscript.TestScript, neg bool, args []string) {
	cause, n, who, by := "", 1, "root", "root"
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-cause":
			cause = args[1]
		case "-as":
			who = args[1]
		case "-by":
			who, by = args[1], args[1]
		}
		args = args[2:]
	}
	if len(args) > 0 {
		var err error
		n, err = strconv.Atoi(args[0])
		ts.Check(err)
	}
	if l.last[who] == nil {
		ts.Fatalf("fix [-as user | -by user] [-cause NAME] [N] comes after doctor")
	}
	causes := l.last[who].Targets[0].Causes
	if cause != "" {
		causes = slices.Concat(causes, l.last[who].Targets[0].Remarks)
	}
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
	l.handles = nil
	for _, step := range f.Steps {
		if by == "user" {
			step = append([]string{"asuser"}, step...)
		}
		l.run(ts, step)
		handle, err := printed(step, ts.ReadFile("stdout"))
		ts.Check(err)
		if handle != "" {
			l.handles = append(l.handles, handle)
		}
	}
	for _, file := range f.Files {
		out, err := os.OpenFile(file.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		ts.Check(err)
		_, err = io.WriteString(out, file.Append)
		ts.Check(errors.Join(err, out.Close()))
	}
	l.lastFix = &f
	forgetLost(f.Steps)
}

// forgetLost takes connections that got no answer, after a change of the rules, out of
// connection tracking, which
// knows them for two minutes (nf_conntrack_tcp_timeout_syn_sent) and does with them
// what the rules said then: of the source ports of a lost burst one comes up again in
// some hundred connections, and nobody waits here until they are forgotten.
func forgetLost(steps [][]string) {
	rules := func(argv []string) bool { return argv[0] == "nft" || strings.Contains(argv[0], "tables") }
	if !slices.ContainsFunc(steps, rules) {
		return
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		// It fails where none is known, where nothing is tracked, and without the program.
		_ = exec.Command("conntrack", "-D", "-f", family, "-p", "tcp", "--state", "SYN_SENT").Run()
	}
}

func (l *lab) undo(ts *testscript.TestScript, neg bool, args []string) {
	if l.lastFix == nil {
		ts.Fatalf("undo comes after fix")
	}
	if len(l.lastFix.Undo) == 0 {
		ts.Fatalf("%q has no undo", l.lastFix.Do)
	}
	undo, err := withHandles(l.lastFix.Undo, l.handles)
	ts.Check(err)
	for _, step := range undo {
		l.run(ts, step)
	}
	l.lastFix = nil
	forgetLost(undo)
}

func (l *lab) run(ts *testscript.TestScript, argv []string) {
	ts.Logf("> %q", argv)
	ts.Check(ts.Exec(argv[0], argv[1:]...))
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

// state is what fixes change, as plain commands show it: few processes, for nearly
// every scenario of a fix asks for it. Counters and handles are left out: they differ
// without anything having changed.
var state = []struct {
	argv  []string
	input string
}{
	{argv: []string{"nft", "-s", "list", "ruleset"}},
	// What nft says of iptables' rules lacks comments and matches that it cannot translate.
	{argv: []string{"sh", "-c", save("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save")}},
	{argv: []string{"ipset", "-sorted", "save"}},
	{[]string{"ip", "-o", "-force", "-batch", "-"}, "link show lo\naddr\nrule\nroute show table all\n"},
	{[]string{"ip", "-6", "-force", "-batch", "-"}, "rule\nroute show table all\n"},
	{[]string{"tc", "-force", "-batch", "-"}, "qdisc show dev lo\nfilter show dev lo ingress\nfilter show dev lo egress\n"},
}

// The files that fixes change, and the settings.
var stateFiles = []string{"/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf",
	"/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/net/ipv4/ip_local_reserved_ports",
	"/proc/sys/net/ipv4/conf/lo/route_localnet", "/proc/sys/net/ipv6/conf/lo/disable_ipv6", "/proc/sys/net/ipv6/bindv6only", "/proc/sys/net/ipv4/ip_forward",
	"/proc/sys/net/ipv4/conf/all/route_localnet", "/proc/sys/net/netfilter/nf_conntrack_max", "/proc/sys/net/netfilter/nf_conntrack_buckets"}

// qdiscNumber is one that the kernel gives out anew.
var qdiscNumber = regexp.MustCompile(`(?m)^(qdisc \S+) [0-9a-f]+: `)

// save is a script that runs commands like iptables-save and leaves out the
// packets and bytes of chains, and the time. One that is missing or refused (a
// legacy one in a user namespace) says nothing both times.
func save(commands ...string) string {
	return "{ " + strings.Join(commands, "; ") + `; } 2>/dev/null | sed -e '/^#/d' -e 's/ \[[0-9]*:[0-9]*\]$//'`
}

func (l *lab) snapshot(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: snapshot FILE")
	}
	var out bytes.Buffer
	for _, q := range state {
		if _, err := exec.LookPath(q.argv[0]); err != nil {
			continue
		}
		cmd := exec.Command(q.argv[0], q.argv[1:]...)
		cmd.Stdin = strings.NewReader(q.input)
		text, err := cmd.Output()
		fmt.Fprintf(&out, "# %s\n", strings.Join(q.argv, " "))
		if err != nil {
			fmt.Fprintf(&out, "%v\n", err)
		}
		out.Write(qdiscNumber.ReplaceAll(text, []byte("$1 ")))
	}
	for _, file := range stateFiles {
		mode := "none" // a name file may be missing on purpose, and so may be a module
		if info, err := os.Stat(file); err == nil {
			mode = info.Mode().String()
		}
		text, _ := os.ReadFile(file)
		fmt.Fprintf(&out, "# %s %s\n%s", file, mode, text)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o644))
}
