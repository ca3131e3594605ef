package main

import (
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
		return
	}
	old, err := os.ReadFile(accuracyPage)
	if err != nil || string(old) != page {
		t.Errorf("docs/accuracy.md is stale: run UPDATE=1 go test ./cmd/loopdoctor -run TestLab")
	}
}

// parentOf tells whether a cause is a broader name for another.
func parentOf(parent, cause string) bool {
	for c := checks.ByName(cause); c != nil && c.Refines != nil; c = c.Refines {
		if c.Refines.Name == parent {
			return true
		}
	}
	return false
}

// judge says how good the first line of a report was.
func (r row) judge() string {
	switch {
	case r.Cause == "" && r.Verdict == "works" && r.Named == "":
		return "quiet"
	case r.Cause == "":
		return "**false alarm**"
	case r.Named == r.Cause:
		return "right"
	case parentOf(r.Named, r.Cause):
		return "parent"
	case r.Named == "" && r.Remarked:
		return "as a remark"
	case r.Named == "" && r.Verdict == "works":
		return "does not concern this user"
	case r.Named == "":
		return "**not named**"
	}
	return "**wrong**"
}

// accuracy is the page. Nothing in it depends on how long a run took.
func accuracy(rows []row) string {
	slices.SortFunc(rows, compareRows)
	count := map[string]int{}
	faults, healthy, steps, hand := 0, 0, 0, 0
	var faulty, sound, lost strings.Builder
	seen := map[string]bool{}
	for _, r := range rows {
		j := r.judge()
		count[strings.Trim(j, "*")]++
		if r.Cause == "" {
			healthy++
			fmt.Fprintf(&sound, "| %s | %s | %s | %s | %s |\n", r.Scenario, r.Tier, who(r), r.Verdict, j)
			continue
		}
		faults++
		seen[r.Cause] = true
		if r.As == "root" {
			switch r.Healed {
			case "steps":
				steps++
			case "by hand":
				hand++
			}
		}
		named := r.Named
		if named == "" {
			named = "-"
		}
		healed := r.Healed
		if healed == "" {
			healed = "-"
		}
		fmt.Fprintf(&faulty, "| %s | %s | %s | %s | %s | %s | %s |\n", r.Scenario, r.Tier, who(r), r.Cause, named, j, healed)
	}
	for _, c := range checks.Causes() {
		if !seen[c.Name] {
			fmt.Fprintf(&lost, "- %s: %s\n", c.Name, c.Doc)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Accuracy

Generated from a run of the lab (%[1]sUPDATE=1 go test ./cmd/loopdoctor -run TestLab%[1]s). Do not edit.

Each line is a real fault in a real kernel, produced as its scenario in
%[1]scmd/loopdoctor/testdata/lab%[1]s says, and the cause that loopdoctor named first.
Tier U needs no root: the fault is made in the namespaces of an ordinary user.
Tier R is real root. "privileged" may look at everything, "ordinary" is a user
without any capability. A parent is a broader name for the cause: right, but
less precise. Healed: a real client succeeds after the printed steps were run,
or after a person did what the fix says (by hand).

| | |
|---|---|
`, "`")
	for _, line := range []struct {
		label string
		n     int
		of    int
	}{
		{"faults named rightly, first", count["right"], faults},
		{"faults named by a parent, first", count["parent"], faults},
		{"faults that some clients meet only, named in a remark", count["as a remark"], faults},
		{"faults that another name was given", count["wrong"], faults},
		{"faults without a name", count["not named"], faults},
		{"faults that do not concern the user who asked", count["does not concern this user"], faults},
		{"false alarms on healthy hosts", count["false alarm"], healthy},
		{"faults healed by the printed steps (counted once, as privileged)", steps, steps + hand},
	} {
		fmt.Fprintf(&b, "| %s | %d of %d |\n", line.label, line.n, line.of)
	}
	fmt.Fprintf(&b, "\n## Faults\n\n| scenario | tier | looked as | cause | named first | | healed |\n|---|---|---|---|---|---|---|\n%s", &faulty)
	fmt.Fprintf(&b, "\n## Healthy and odd-but-healthy hosts\n\n| scenario | tier | looked as | verdict | |\n|---|---|---|---|---|\n%s", &sound)
	b.WriteString("\n## Not reproduced\n\nCauses that no scenario of the lab produces:\n\n")
	if lost.Len() == 0 {
		b.WriteString("none\n")
	}
	b.WriteString(lost.String())
	return b.String()
}

func who(r row) string {
	if r.As == "root" {
		return "privileged"
	}
	return "ordinary"
}
