package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// savedCase is what somebody sent: a report, or the facts to judge anew, or both.
type savedCase struct {
	path   string
	facts  *facts.Recording // nil: a report alone
	report *report.Report   // this version's, of the facts; the stored one, if there are none
	stored *report.Report   // what loopdoctor said where it looked; nil: only facts were sent
}

// readCase reads a file that loopdoctor wrote: what --record saves, or --format json.
func readCase(path string) (*savedCase, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &savedCase{path: path}
	if c.facts, err = parseRecording(data); err == nil {
		c.report = judge(c.facts)
		return c, nil
	}
	if c.stored, err = report.Parse(data); err == nil {
		c.report = c.stored
		return c, nil
	}
	return nil, fmt.Errorf("%s: %w", path, errors.New("it is neither a recording (--record) nor a report (--format json)"))
}

// judge diagnoses recorded facts with this version.
func judge(seen *facts.Recording) *report.Report {
	run := report.Run{Version: number(), Facts: seen.Facts}
	for _, f := range seen.Facts {
		run.Diagnoses = append(run.Diagnoses, checks.Diagnose(f))
	}
	return report.New(run)
}
