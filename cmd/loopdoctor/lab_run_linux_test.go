package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
)

// ran is what a client leaves behind.
type ran struct {
	stdout, stderr string
	exit           int
}

func execute(ts *testscript.TestScript, argv []string) ran {
	err := ts.Exec(argv[0], argv[1:]...)
	r := ran{stdout: ts.ReadFile("stdout"), stderr: ts.ReadFile("stderr")}
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		r.exit = e.ExitCode()
	} else {
		ts.Check(err)
	}
	return r
}

func (l *lab) runClient(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: run WANT|- CMD ARGS...")
	}
	want, client := args[0], args[1:]
	for _, who := range []string{"root", "user"} {
		var prefix []string
		if who == "user" {
			prefix = []string{"asuser"}
		}
		alone := execute(ts, slices.Concat(prefix, client))
		if neg != (alone.exit != 0) {
			ts.Fatalf("as %s %q ends with status %d", who, client, alone.exit)
		}
		tmp := filepath.Join(ts.Getenv("WORK"), ".tmp")
		file, record := filepath.Join(tmp, who+".report.json"), filepath.Join(tmp, who+".json")
		argv := slices.Concat(prefix, []string{"loopdoctor", "run"})
		if want != "-" {
			argv = append(argv, "--format", "json", "-o", file)
		}
		if want != "-" && updating() && !l.doctored {
			argv = append(argv, "--record", record)
		}
		watched := execute(ts, slices.Concat(argv, []string{"--"}, client))
		switch {
		case watched.stdout != alone.stdout:
			ts.Fatalf("as %s the client prints\n%sand alone\n%s", who, watched.stdout, alone.stdout)
		case watched.exit != alone.exit:
			ts.Fatalf("as %s the client ends with status %d, and alone with %d", who, watched.exit, alone.exit)
		case want == "-" && watched.stderr != alone.stderr:
			ts.Fatalf("as %s standard error is\n%sand of the client alone\n%s", who, watched.stderr, alone.stderr)
		case want == "-":
			continue
		}
		text := ts.ReadFile(file)
		v, err := parseReport(text)
		ts.Check(err)
		l.heard(ts, want, who, text, v.ExitStatus, record)
	}
	l.doctored = l.doctored || want != "-"
}
