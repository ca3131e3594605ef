package checks

import "net/netip"

// Diagnosis is the judgement on one target.
type Diagnosis struct {
	Verdict    Verdict
	Symptoms   []Symptom    // what the person feels, by stage
	Causes     []Cause      // active ones first, then latent, the root cause first of all
	Remarks    []Finding    // worth knowing; they change neither verdict nor exit status
	NotChecked []NotChecked // causes that could not be judged, and why
	Passed     []string     // names of the causes that were looked for and not found
}

// Verdict is the state of a target.
type Verdict string

// The verdicts.
const (
	Works   Verdict = "works"   // every expected address connects (or, with --bind, the port can be taken)
	Partly  Verdict = "partly"  // an expected address fails while another works
	Broken  Verdict = "broken"  // none works
	Unknown Verdict = "unknown" // it could not be told: nothing was dialled, or UDP
)

// Symptom is a finding of a symptom, and the causes that explain it.
type Symptom struct {
	Finding
	ExplainedBy []string // names of causes; empty: unexplained
}

// Cause is a finding that nothing else explains.
type Cause struct {
	Finding
	State        State
	Candidates   []string // for several inferred siblings that became one: their names
	Consequences []Consequence
}

// State tells what is felt now from what will be felt once that is cured.
type State string

// The states of a cause.
const (
	Active State = "active"
	Latent State = "latent" // hidden behind an active cause at an earlier stage
)

// Consequence is a finding that a cause explains.
type Consequence struct {
	Name    string
	Affects []netip.Addr
}

// NotChecked is a cause that could not be judged.
type NotChecked struct {
	Name   string
	Reason string
	Remedy string
}
