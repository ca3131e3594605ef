package checks

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// recorded reads the facts that the lab recorded: every fault it can produce.
func recorded(t *testing.T) map[string]*facts.Facts {
	t.Helper()
	files, err := filepath.Glob("../cmd/loopdoctor/testdata/replay/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded facts: %v", err)
	}
	all := map[string]*facts.Facts{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var r facts.Recording
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, f := range r.Facts {
			all[fmt.Sprintf("%s#%d", strings.TrimSuffix(filepath.Base(name), ".json"), i)] = f
		}
	}
	return all
}

// Whoever sees less may say less, or something broader, and nothing else.
func TestRemovingFactsNeverInventsACause(t *testing.T) {
	for name, f := range recorded(t) {
		full := Diagnose(f)
		allowed := map[string]bool{}
		for _, c := range full.Causes {
			allow(allowed, c.Check)
			for _, p := range c.Refines { // by this finding alone
				allow(allowed, p)
			}
			for _, q := range c.Consequences {
				allow(allowed, ByName(q.Name))
			}
		}
		for _, g := range facts.Groups() {
			if !f.Has(g) {
				continue
			}
			less := f.Without(g)
			less.Absent = map[facts.Group]facts.Absence{g: {Why: facts.CouldNot, Reason: "removed by the test"}}
			d := Diagnose(less)
			for _, c := range d.Causes[:min(1, len(d.Causes))] {
				if c.State == Active && !allowed[c.Check.Name] {
					t.Errorf("%s without %s: %s heads the report; with it, the causes were %v", name, g, c.Check.Name, told(full))
				}
			}
		}
	}
}

// allow adds a cause, its broader parents, and what it may bring about.
func allow(set map[string]bool, c *Check) {
	if c == nil || set[c.Name] {
		return
	}
	set[c.Name] = true
	for _, e := range slices.Concat(c.Refines, c.Explains) {
		allow(set, e)
	}
}

func TestOrderOfFindingsNeverMatters(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, f := range recorded(t) {
		var found []Finding
		for _, c := range slices.Concat(symptoms, causes) {
			if _, missing := lacks(f, c); !missing && (c.Intent == "" || c.Intent == f.Target.Intent) {
				fs, err := run(c, f)
				if err != nil {
					t.Fatalf("%s: %s: %v", name, c.Name, err)
				}
				found = append(found, fs...)
			}
		}
		var first *Diagnosis
		for range 20 {
			d := &Diagnosis{}
			rank(d, slices.Clone(found), f.Target)
			if first == nil {
				first = d
			} else if !reflect.DeepEqual(seenByReader(first), seenByReader(d)) {
				t.Fatalf("%s: in one order %v, in another %v", name, seenByReader(first), seenByReader(d))
			}
			random.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		}
	}
}

// seenByReader is everything of a diagnosis that a reader sees, as text.
func seenByReader(d *Diagnosis) []string {
	lines := told(d)
	for _, c := range d.Causes {
		lines = append(lines, c.Summary, fmt.Sprint(c.Affects, c.Evidence, c.Consequences))
	}
	for _, r := range d.Remarks {
		lines = append(lines, r.Summary)
	}
	return lines
}

// Whatever else a machine has, a service that answers is not to blame for it.
func TestHealthyMachineIsBlamedForNothing(t *testing.T) {
	expect(t, machine("62893", listens("::", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Connected)), "works")
	expect(t, machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected)), "works")
	expect(t, machine("127.0.0.1", toBind, binds("127.0.0.1", "", true), binds("127.0.0.1", "", false)), "works")
}

// Several inferred children of one cause are its candidates, not three causes.
func TestRivalsBecomeCandidates(t *testing.T) {
	parent := &Check{Name: "broad", Doc: "it is broad", Stage: StageInput, Explains: []*Check{noReply}}
	a := &Check{Name: "narrow-a", Stage: StageInput, Refines: []*Check{parent}, Explains: []*Check{noReply}}
	b := &Check{Name: "narrow-b", Stage: StageInput, Refines: []*Check{parent}, Explains: []*Check{noReply}}
	finding := func(c *Check, sure Certainty) Finding {
		return Finding{Check: c, Stage: StageInput, Brings: c.Explains, Certainty: sure, Summary: c.Name}
	}
	felt := Finding{Check: noReply, Stage: StageInput, Certainty: Proven}
	for _, test := range []struct {
		found []Finding
		want  []string
	}{
		{[]Finding{felt, finding(parent, Proven)}, []string{"active broad proven"}},
		{[]Finding{felt, finding(parent, Proven), finding(a, Inferred)}, []string{"active narrow-a inferred"}},
		{[]Finding{felt, finding(parent, Proven), finding(a, Inferred), finding(b, Inferred)}, []string{"active broad proven of narrow-a narrow-b"}},
		{[]Finding{felt, finding(parent, Proven), finding(a, Proven), finding(b, Inferred)}, []string{"active narrow-a proven"}},
		{[]Finding{felt, finding(a, Inferred), finding(b, Inferred)}, []string{"active broad inferred of narrow-a narrow-b"}},
		{[]Finding{finding(a, Proven)}, []string{"remark narrow-a"}},
		{[]Finding{felt}, []string{"unexplained no-reply"}},
	} {
		d := &Diagnosis{}
		rank(d, test.found, facts.Target{})
		if got := told(d)[1:]; !slices.Equal(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// One cause explains another through a third, however far away.
func TestExplanationIsTransitive(t *testing.T) {
	root := &Check{Name: "root", Stage: StageRoute}
	middle := &Check{Name: "middle", Stage: StageWire, Explains: []*Check{noReply}}
	root.Explains = []*Check{middle}
	d := &Diagnosis{}
	rank(d, []Finding{{Check: noReply, Stage: StageAccept}, {Check: middle, Stage: StageWire, Brings: middle.Explains}, {Check: root, Stage: StageRoute, Brings: root.Explains}}, facts.Target{})
	if len(d.Causes) != 1 || d.Causes[0].Check != root || len(d.Causes[0].Consequences) != 1 {
		t.Errorf("got %v with %v, want root alone with middle as its consequence", told(d), d.Causes)
	}
}

func TestAPanicIsTheReasonOfItsCheck(t *testing.T) {
	if _, err := run(&Check{Run: func(*facts.Facts) []Finding { panic("oh") }}, &facts.Facts{}); err == nil || !strings.Contains(err.Error(), "oh") {
		t.Errorf("got %v, want the panic as an error", err)
	}
}
