package report

import (
	"slices"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// This file tells whose a symptom is, where several clients dialled one address. A symptom
// names addresses only; the clients differ in how their connections ended.

// symptomOf is the first symptom that this client feels at the address; nil: none. What
// keeps a server from the port is no part of a connection.
func (t *Target) symptomOf(a *Address) *Symptom {
	for i := range t.Symptoms {
		s := &t.Symptoms[i]
		if slices.Contains(s.Affects, a.Address) && (stageOf(s.Stage) != checks.StageBind || t.Intent == facts.ToBind) && t.feels(a, s) {
			return s
		}
	}
	return nil
}

// feels tells whether a symptom at the address is this client's. Where it fits nobody who
// dialled it holds for all: of several listeners the probe may have met the good one.
func (t *Target) feels(a *Address, s *Symptom) bool {
	if t.fits(a, s) {
		return true
	}
	for i := range t.Addresses {
		if o := &t.Addresses[i]; o.Address == a.Address && t.fits(o, s) {
			return false
		}
	}
	return true
}

// fits compares the outcome of a connection with what the symptom is made of.
func (t *Target) fits(a *Address, s *Symptom) bool {
	st := stageOf(s.Stage)
	switch s.Name {
	case "unreachable":
		return a.Outcome == facts.Unreachable || a.Outcome == facts.Failed
	case "denied":
		return a.Outcome == facts.Denied
	case "no-reply":
		return a.Outcome == facts.Timeout
	case "refused": // or its reset was lost
		return a.Outcome == facts.Refused || a.Outcome == facts.Timeout && st == checks.StageReply
	case "not-accepted":
		return a.Outcome.Works() && !a.accepted()
	case "answered-by-another", "closed-at-once":
		return a.Outcome.Works()
	}
	return st != checks.StageAnswer || t.gotThrough(a) && (len(t.Answers) == 0 || t.asked(a) != nil)
}

// accepted tells whether the program is known to have taken the connection.
func (a *Address) accepted() bool { return a.Accepted != nil && *a.Accepted }
