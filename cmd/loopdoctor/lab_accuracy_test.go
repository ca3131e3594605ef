package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
)

const accuracyPage = "../../docs/accuracy.md"

// checkAccuracy compares the published page with what a whole run of the lab
// gave, or writes it.
func checkAccuracy(t *testing.T, rows []row) {
	t.Helper()
	page := accuracy(rows)
	if updating() {
		if err := os.WriteFile(accuracyPage, []byte(page), 0o644); err != nil {
			t.Error(err)
		}
		checkPicture(t, rows)
		return
	}
	old, err := os.ReadFile(accuracyPage)
	if err != nil || string(old) != page {
		t.Errorf("docs/accuracy.md is stale: run UPDATE=1 go test ./cmd/loopdoctor -run TestLab")
	}
	checkPicture(t, rows)
}

// parentOf tells whether a cause is a broader name for another.
func parentOf(parent, cause string) bool {
	c := checks.ByName(cause)
	return c != nil && slices.ContainsFunc(c.Refines, func(p *checks.Check) bool { return p.Name == parent || parentOf(parent, p.Name) })
}

// The ways in which the first line of a report can be good or bad.
const (
	right      = "right"
	parent     = "parent"
	remarked   = "as a remark"
	notFelt    = "not felt"
	wrong      = "wrong"
	notNamed   = "not named"
	quiet      = "quiet"
	falseAlarm = "false alarm"
)

// beside are remarks that by design stand beside the cause that is felt.
var beside = map[string]string{"owner-hidden-from-you": "port-held-by-other-app"}

// judge says how good the first line of a report was.
func (r row) judge() string {
	switch {
	case r.Cause == "" && r.Verdict == "works" && r.Named == "":
		return quiet
	case r.Cause == "":
		return falseAlarm
	case r.Named == r.Cause:
		return right
	case beside[r.Cause] != "" && r.Named == beside[r.Cause]:
		if r.Remarked {
			return remarked
		}
		return notFelt
	case r.Named == "" && r.Remarked:
		return remarked
	case r.Named == "" && r.Verdict == "works":
		return notFelt
	case r.Named == "":
		return notNamed
	case parentOf(r.Named, r.Cause):
		return parent
	}
	return wrong
}

// cell is the judgement in a table.
func (r row) cell() string {
	switch j := r.judge(); j {
	case parent:
		return "parent: " + r.Named
	case wrong, falseAlarm:
		return "**" + j + ": " + r.Named + "**"
	case notNamed:
		return "**" + j + "**"
	default:
		return j
	}
}

const accuracyHead = `# Accuracy

Generated from a run of the lab (%[1]sUPDATE=1 go test ./cmd/loopdoctor -run TestLab%[1]s). Do not edit.

Each line is a real kernel, brought into a state as its scenario in
%[1]scmd/loopdoctor/testdata/lab%[1]s says, and what loopdoctor named first there. Tier R
is real root and uid 1000. Tier U needs no root: the state is made in the
namespaces of an ordinary user, and the "ordinary" one there is the same uid
without any capability. The expected cause is the part of the scenario's name
before the dot.

- right: the first cause is the expected one
- parent: it is a broader name for it, right but less precise
- as a remark: only some clients meet the fault; it is said, but the verdict is "works" (owner-hidden-from-you stands beside its cause)
- not felt: the fault does not concern this user, and nothing was blamed
- healed by steps: a real client succeeds after the printed steps were run; by hand: after a person did what the fix says

![A table of what was expected against what was named first, by family of causes](accuracy.svg)

`

// accuracy is the page. Nothing in it depends on how long a run took.
func accuracy(rows []row) string {
	slices.SortFunc(rows, compareRows)
	count := map[string]int{}
	healed := map[string]string{}
	cells := map[string]string{}
	var names []string
	faults, healthy := 0, 0
	reproduced := map[string]bool{}
	for _, r := range rows {
		count[r.judge()]++
		if r.Cause == "" {
			healthy++
		} else {
			faults++
			reproduced[r.Cause] = true
		}
		cells[r.Scenario+r.Tier+r.As] = r.cell()
		if !slices.Contains(names, r.Scenario) {
			names = append(names, r.Scenario)
		}
		if r.Healed != "" && r.Cause != "" {
			healed[r.Scenario] = r.Healed
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, accuracyHead, "`")
	b.WriteString("| reports | |\n|---|---|\n")
	for _, j := range []string{right, parent, remarked, notFelt, wrong, notNamed} {
		fmt.Fprintf(&b, "| of a fault: %s | %d of %d |\n", j, count[j], faults)
	}
	fmt.Fprintf(&b, "| of a healthy host: %s | %d of %d |\n", falseAlarm, count[falseAlarm], healthy)
	steps, hand := 0, 0
	for _, how := range healed {
		if how == "steps" {
			steps++
		} else {
			hand++
		}
	}
	fmt.Fprintf(&b, "\nScenarios healed by the printed steps: %d; by hand: %d.\n", steps, hand)
	for _, part := range []string{"Faults", "Healthy and odd-but-healthy hosts"} {
		fmt.Fprintf(&b, "\n## %s\n\n| scenario | R, privileged | R, ordinary | U, privileged | U, ordinary | healed |\n|---|---|---|---|---|---|\n", part)
		for _, n := range names {
			if strings.HasPrefix(n, "healthy-") != (part != "Faults") {
				continue
			}
			fmt.Fprintf(&b, "| %s |", n)
			for _, c := range []string{"Rroot", "Ruser", "Uroot", "Uuser"} {
				fmt.Fprintf(&b, " %s |", cmp.Or(cells[n+c], "-"))
			}
			fmt.Fprintf(&b, " %s |\n", cmp.Or(healed[n], "-"))
		}
	}
	b.WriteString("\n## Not reproduced\n\n")
	none := true
	for _, c := range checks.Causes() {
		if !reproduced[c.Name] {
			none = false
			fmt.Fprintf(&b, "- %s: %s\n", c.Name, c.Doc)
		}
	}
	if none {
		b.WriteString("Every cause has a scenario.\n")
	}
	return b.String()
}
