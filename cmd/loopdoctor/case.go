package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
	"github.com/loopdoctor/loopdoctor/report/bundle"
)

// savedCase is what somebody sent: a report, or the facts to judge anew, or both.
type savedCase struct {
	path   string
	facts  *facts.Recording // nil: a report alone
	report *report.Report   // this version's, of the facts; the stored one, if there are none
	stored *report.Report   // what loopdoctor said where it looked; nil: only facts were sent
	bundle *bundle.Archive  // nil: a single file
}

// readCase reads a file that loopdoctor wrote: a bundle, what --record saves, or
// --format json.
func readCase(path string) (*savedCase, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseCase(path, f)
}

// parseCase tells by the content what it is; path is for the person.
func parseCase(path string, r io.Reader) (*savedCase, error) {
	data, err := io.ReadAll(io.LimitReader(r, bundle.MaxSize+1))
	if err != nil {
		return nil, err // it names the path
	}
	c := &savedCase{path: path}
	switch {
	case bundle.Is(data):
		err = c.unpack(data)
	case bounded(data) != nil:
		err = bounded(data)
	case has(data, "facts_schema"):
		c.facts, err = parseRecording(data)
	case has(data, "schema", "targets"):
		c.stored, err = parseStored(data)
	default:
		err = errors.New("it is neither a bundle (loopdoctor bundle), nor a recording (--record), nor a report (--format json)")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.report = c.stored; c.facts != nil {
		c.report = judge(c.facts)
	}
	return c, nil
}

// has tells whether data is a JSON object with such members.
func has(data []byte, members ...string) bool {
	var object map[string]json.RawMessage
	err := json.Unmarshal(data, &object)
	return err == nil && !slices.ContainsFunc(members, func(m string) bool { return object[m] == nil })
}

func (c *savedCase) unpack(data []byte) (err error) {
	if c.bundle, err = bundle.Open(data); err != nil {
		return err
	}
	if c.facts, err = parseRecording(c.bundle.File(bundle.FactsFile)); err != nil {
		return fmt.Errorf("%s: %w", bundle.FactsFile, err)
	}
	if c.stored, err = parseStored(c.bundle.File(bundle.JSONFile)); err != nil {
		return fmt.Errorf("%s: %w", bundle.JSONFile, err)
	}
	return nil
}

// parseStored reads a report, whose exit status would become ours.
func parseStored(data []byte) (*report.Report, error) {
	if err := bounded(data); err != nil {
		return nil, err
	}
	r, err := report.Parse(data)
	if err == nil && !slices.Contains([]int{report.ExitWorks, report.ExitFault, report.ExitUnknown, report.ExitFailed}, r.Status) {
		err = fmt.Errorf("a damaged report: no report has the exit status %d", r.Status)
	}
	return r, err
}

// judge diagnoses recorded facts with this version.
func judge(seen *facts.Recording) *report.Report {
	run := report.Run{Version: number(), Facts: seen.Facts}
	for _, f := range seen.Facts {
		run.Diagnoses = append(run.Diagnoses, checks.Diagnose(f))
	}
	return report.New(run)
}

// change is a target that two reports judge differently.
type change struct {
	target    string
	then, now string // "broken: no-listener (proven)"
}

// changes compares the verdicts and the causes of two reports, target by target in
// their order: their names may be masked in one of them.
func changes(then, now *report.Report) []change {
	var list []change
	for i := range max(len(then.Targets), len(now.Targets)) {
		c := change{then: "nothing", now: "nothing"}
		if i < len(then.Targets) {
			c.target, c.then = then.Targets[i].Target, judgement(&then.Targets[i])
		}
		if i < len(now.Targets) {
			c.target, c.now = now.Targets[i].Target, judgement(&now.Targets[i])
		}
		if c.then != c.now {
			list = append(list, c)
		}
	}
	return list
}

// judgement is what a report says of a target, as far as it decides what to do.
func judgement(t *report.Target) string {
	var active, latent []string
	for _, c := range t.Causes {
		word := fmt.Sprintf("%s (%s)", c.Name, c.Certainty)
		if c.State == string(checks.Latent) {
			latent = append(latent, word)
		} else {
			active = append(active, word)
		}
	}
	s := string(t.Verdict)
	if len(active) > 0 {
		s += ": " + strings.Join(active, ", ")
	}
	if len(latent) > 0 {
		s += "; behind it " + strings.Join(latent, ", ")
	}
	return s
}
