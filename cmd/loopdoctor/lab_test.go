package main

// The lab: every cause is produced for real, and the program has to name it.
//
//	go test ./cmd/loopdoctor -run TestLab                    all scenarios (without -run, as root, those of tier R)
//	go test ./cmd/loopdoctor -run TestLab/filter-drops       those that begin so
//	go test ./cmd/loopdoctor -run 'TestLab/^lo-down$/^U$' -v one, with the log of its script
//	LOOPDOCTOR_LAB=required go test …                        a scenario that could not run is an error
//	UPDATE=1 go test …                                       rewrite expectations, recorded facts and docs/accuracy.md
//
// # A scenario
//
// A scenario is a file testdata/lab/NAME.txtar, a testscript. NAME is a cause,
// or a cause, a dot and a variant ("filter-drops-loopback.output"): the cause that the
// accuracy page expects to be named first. "healthy-WHAT" expects none. A first
// line "# tiers: R" limits it to a tier (default: both).
//
// Each run of a scenario is a process tree of its own in new network, mount and
// PID namespaces: lo is up and empty of traffic, /tmp, /run, /etc/hosts,
// /etc/nsswitch.conf and /etc/resolv.conf are its own, process numbers are
// small, and everything is gone when it ends. The tiers:
//
//	U  in a user namespace of an ordinary user: root there is privileged; the
//	   ordinary user is the same uid without any capability
//	R  as real root, in a cgroup of its own; the ordinary user is uid 1000
//	F  nowhere: the fault belongs to a system that cannot run here. Facts that another
//	   scenario recorded ("# facts: NAME") are judged, with the section facts.json merged into
//	   them (RFC 7396; $UID is 0 or 1000): what the other system would show
//
// Beside testscript's own commands (exec, cmp, env, skip …) there are:
//
//	serve [-as root] PORT PROG ARGS…   start a server as the ordinary user (or root) and return once a new
//	                                   socket listens on PORT; $PID is its process. It is an error if it ends
//	                                   first. "ready" for PORT: return once it has printed a line
//	end [PID]                          kill that server (default $PID) and return once it is gone
//	client [-as root] TARGET…          a real client with a short time-out, as the ordinary user. HOST:PORT:
//	                                   Python connects, trying each address of the name. URL: curl gets an
//	                                   HTTP answer (curl does not ask the system what localhost is)
//	doctor [-as root] [-in CONTAINER] WANT ARGS…
//	                                   run loopdoctor as root and as the ordinary user and compare verdict and
//	                                   causes with the archive's section WANT, or WANT.user for the ordinary
//	                                   user, WANT.U and WANT.U.user in tier U, where these differ. The first
//	                                   doctor of a scenario is the one that is recorded and counted. A last
//	                                   argument <FILE is its standard input. With -as root only as root; with -in
//	                                   inside of a container of Docker, which has to see /tmp/bin (in its PATH) and
//	                                   /tmp/lab
//	run WANT|- CMD ARGS…               run a client by itself, and by loopdoctor run, as root and as the ordinary
//	                                   user: standard output and exit status have to be the same. The report is
//	                                   that of a doctor; "-" is a client that fares well, of which loopdoctor has to say
//	                                   nothing: standard error has to be the same as well. "! run": the client fails
//	fix [-as user | -by user] [-cause NAME] [N]
//	                                   carry out, as root, the N-th fix (1) of the first cause of the last
//	                                   report to root, or of the cause or remark NAME: check its guard, run
//	                                   its steps, write its files. With -as user, of the report to that one;
//	                                   with -by user, also as that one
//	undo                               carry out the undo of that fix. HANDLE in it is the handle that the step
//	                                   of the same place among those with nft -ae printed
//	culprit [policy FAMILY TABLE CHAIN]
//	                                   the first cause of the last report to root names one rule, as evidence of
//	                                   source "rule": one that has the comment "culprit", or the policy of that
//	                                   base chain. As "behind it" it names the other ones, those that have the
//	                                   comment "behind", and nothing else. For iptables' own policies FAMILY is
//	                                   the command ("policy iptables filter INPUT"). "! culprit": no cause and no
//	                                   remark names a rule
//	snapshot FILE                      write down packet filters, addresses, routes, sysctls and name files
//
// "exec asuser PROG…" runs a program as the ordinary user. $TIER is U or R. The
// usual story: serve, see a client succeed, break it, see the client fail,
// doctor, snapshot, fix, see the client succeed, doctor again, undo, cmp the
// snapshots, see the client fail. A fix that only a person can make is made by
// the scenario with plain commands instead.
//
// A section says what the report must say, a line each:
//
//	broken                                the verdict
//	active filter-drops-loopback proven   causes in their order
//	latent process-stopped-or-debugged proven
//	remark udp-not-tcp                    remarks, sorted
//	unexplained no-reply                  symptoms that no cause explains
//
// Prefer repetition to a new command.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/loopdoctor/loopdoctor/checks"
)

const (
	labDir    = "testdata/lab"
	replayDir = "testdata/replay"
)

// updating tells that expectations are to be rewritten.
func updating() bool { return os.Getenv("UPDATE") == "1" }

// stages is what this binary can be besides a test: the lab's own processes.
var stages = map[string]func(){}

// TestMain makes the test binary the program under test when it is called by
// the program's name, so that the lab and the replay need no build.
func TestMain(m *testing.M) {
	if strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == "loopdoctor" {
		main()
		os.Exit(0)
	}
	if stage, ok := stages[os.Getenv("LOOPDOCTOR_LAB_STAGE")]; ok {
		stage()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// scenario is one file of the lab.
type scenario struct {
	name    string
	file    string
	archive *txtar.Archive
}

// scenarios finds every scenario there is.
func scenarios(t testing.TB) []scenario {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(labDir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no scenario in %s", labDir)
	}
	var all []scenario
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, scenario{strings.TrimSuffix(filepath.Base(file), ".txtar"), file, archive})
	}
	return all
}

// healthy tells whether nothing may be blamed.
func (s scenario) healthy() bool { return strings.HasPrefix(s.name, "healthy-") }

// cause is the one that has to be named; empty for a healthy host.
func (s scenario) cause() string {
	if s.healthy() {
		return ""
	}
	for _, c := range checks.Causes() { // one of them has dots of its own
		if strings.HasPrefix(s.name+".", c.Name+".") {
			return c.Name
		}
	}
	cause, _, _ := strings.Cut(s.name, ".")
	return cause
}

// tiers lists where the scenario can be produced.
func (s scenario) tiers() []string {
	for line := range strings.Lines(string(s.archive.Comment)) {
		if list, ok := strings.CutPrefix(line, "# tiers:"); ok {
			return strings.Fields(list)
		}
	}
	return []string{"U", "R"}
}

// records is the tier whose facts are kept for the replay: real root sees more.
func (s scenario) records() string {
	if slices.Contains(s.tiers(), "R") {
		return "R"
	}
	return s.tiers()[0]
}

// first is the name of the section that the first doctor of the script is
// compared with.
func (s scenario) first() string { name, _ := s.firstDoctor(); return name }

// firstDoctor also tells as whom it looked: some places only root can look from.
func (s scenario) firstDoctor() (section string, whom []string) {
	whom = []string{"root", "user"}
	for line := range strings.Lines(string(s.archive.Comment)) {
		f := strings.Fields(strings.TrimPrefix(line, "! "))
		for len(f) > 3 && f[0] == "doctor" && strings.HasPrefix(f[1], "-") {
			if f[1] == "-as" {
				whom = []string{f[2]}
			}
			f = slices.Delete(f, 1, 3)
		}
		if len(f) > 1 && (f[0] == "doctor" || f[0] == "run" && f[1] != "-") {
			return f[1], whom
		}
	}
	return "", whom
}

// section returns what a section says in a tier, for root or for the ordinary
// user: the most particular one there is.
func (s scenario) section(name, tier, as string) (string, bool) {
	for _, n := range sectionNames(name, tier, as) {
		for _, f := range s.archive.Files {
			if f.Name == n {
				return string(f.Data), true
			}
		}
	}
	return "", false
}

// sectionNames names those that may speak of a report, the most particular first.
func sectionNames(name, tier, as string) []string {
	if as == "user" {
		return []string{name + "." + tier + ".user", name + ".user", name + "." + tier, name}
	}
	return []string{name + "." + tier, name}
}

// note puts what the program said into the file: in the general section for
// the tier that is recorded, in one of its own where another says something else.
func (s *scenario) note(name, tier, as, text string) {
	names := sectionNames(name, tier, as)
	if tier == s.records() {
		names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, name+"."+tier) })
	}
	at := func(n string) int {
		return slices.IndexFunc(s.archive.Files, func(f txtar.File) bool { return f.Name == n })
	}
	own := at(names[0])
	for _, n := range names[1:] {
		if i := at(n); i >= 0 {
			if string(s.archive.Files[i].Data) != text {
				break
			}
			if own >= 0 {
				s.archive.Files = slices.Delete(s.archive.Files, own, own+1)
			}
			return
		}
	}
	if own < 0 {
		s.archive.Files = append(s.archive.Files, txtar.File{Name: names[0]})
		own = len(s.archive.Files) - 1
	}
	s.archive.Files[own].Data = []byte(text)
}

// save writes the file if it has changed.
func (s *scenario) save() error {
	out := txtar.Format(s.archive)
	if old, err := os.ReadFile(s.file); err == nil && bytes.Equal(old, out) {
		return nil
	}
	return os.WriteFile(s.file, out, 0o644)
}

// verdict is the part of the JSON report that the lab compares. It is read
// from the program's output, not from its packages: the format is a contract.
type verdict struct {
	ExitStatus int `json:"exit_status"`
	Targets    []struct {
		Verdict  string `json:"verdict"`
		Symptoms []struct {
			Name        string   `json:"name"`
			ExplainedBy []string `json:"explained_by"`
		} `json:"symptoms"`
		Causes  []labCause `json:"causes"`
		Remarks []labCause `json:"remarks"`
	} `json:"targets"`
}

type labCause struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	Certainty string `json:"certainty"`
	Evidence  []struct {
		Source string `json:"source"`
		Text   string `json:"text"`
	} `json:"evidence"`
	Fixes []labFix `json:"fixes"`
}

type labFix struct {
	Do    string     `json:"do"`
	Steps [][]string `json:"steps"`
	Files []struct {
		Path   string `json:"path"`
		Append string `json:"append"`
	} `json:"files"`
	Undo     [][]string `json:"undo"`
	Elevated bool       `json:"elevated"`
	Guard    *struct {
		PID     int    `json:"pid"`
		Started string `json:"started"`
	} `json:"guard"`
}

// parseReport reads a report of one target, as --format json writes it.
func parseReport(out string) (*verdict, error) {
	var v verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	if len(v.Targets) != 1 {
		return nil, fmt.Errorf("read the report: %d targets instead of one", len(v.Targets))
	}
	return &v, nil
}

// lines is the report in the words of a section.
func (v *verdict) lines() string {
	t := v.Targets[0]
	lines := []string{t.Verdict}
	for _, c := range t.Causes {
		lines = append(lines, fmt.Sprintf("%s %s %s", c.State, c.Name, c.Certainty))
	}
	var remarks []string
	for _, r := range t.Remarks {
		remarks = append(remarks, "remark "+r.Name)
	}
	slices.Sort(remarks)
	lines = append(lines, slices.Compact(remarks)...)
	for _, s := range t.Symptoms {
		if len(s.ExplainedBy) == 0 {
			lines = append(lines, "unexplained "+s.Name)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// consistent checks what the contract says about verdict and exit status.
func (v *verdict) consistent(exit int) error {
	t := v.Targets[0]
	active := slices.ContainsFunc(t.Causes, func(c labCause) bool { return c.State == "active" })
	want := 3
	switch {
	case t.Verdict == "works":
		want = 0
	case active && (t.Verdict == "broken" || t.Verdict == "partly"):
		want = 1
	}
	if exit != want || v.ExitStatus != exit {
		return fmt.Errorf("exit status %d (the report says %d), but a verdict of %s calls for %d", exit, v.ExitStatus, t.Verdict, want)
	}
	return nil
}

// firstCause is what a person reads first; empty if nothing is blamed.
func (v *verdict) firstCause() string {
	for _, c := range v.Targets[0].Causes {
		if c.State == "active" {
			return c.Name
		}
	}
	return ""
}

// row is one line of the accuracy page.
type row struct {
	Scenario, Tier, As string
	Cause              string // expected
	Verdict            string
	Named              string // the first cause
	Remarked           bool   // the expected cause is among the remarks
	Healed             string // "steps", "by hand", or empty
}

func compareRows(a, b row) int {
	return cmp.Or(strings.Compare(a.Scenario, b.Scenario), strings.Compare(a.Tier, b.Tier), strings.Compare(a.As, b.As))
}
