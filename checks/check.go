// Package checks is what can be wrong with a loopback address: the causes, the
// symptoms they bring about, and the ranking that picks the root cause. It
// judges facts and nothing else; it refuses to look at the machine.
package checks

import (
	"net/netip"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Check is one thing that can be wrong, or one thing that a person feels.
type Check struct {
	Name     string        // kebab-case; its page in docs/causes and its scenario carry it too
	Doc      string        // one sentence, lower case, no period: what is wrong
	Stage    Stage         // where in the life of a connection it acts
	Needs    []facts.Group // without them the check is "not checked"
	Uses     []facts.Group // optional: they raise Inferred to Proven; Run sees Needs and Uses only
	Explains []*Check      // what it brings about
	Refines  []*Check      // the broader causes that it makes more precise: one for each place where it can act
	Intent   facts.Intent  // the question it belongs to; empty: every one
	Run      func(*facts.Facts) []Finding
}

// IsSymptom tells whether the check is something a person feels. Symptoms
// explain nothing.
func (c *Check) IsSymptom() bool { return len(c.Explains) == 0 && len(c.Refines) == 0 }

// Stage is a station in the life of a connection, in its order.
type Stage int

// The stages. Bind comes last: it belongs to the server's life, not to the
// connection's.
const (
	StageNone Stage = iota
	StageResolve
	StageRoute
	StageOutput
	StageWire
	StageInput
	StageListen
	StageReply
	StageAccept
	StageAnswer
	StageBind
)

var stageNames = [...]string{"", "resolve", "route", "output", "wire", "input", "listen", "reply", "accept", "answer", "bind"}

func (s Stage) String() string { return stageNames[s] }

// Finding is one check's word on the facts. Run leaves Check empty; the engine
// sets it.
type Finding struct {
	Check     *Check
	Affects   []netip.Addr // addresses of the target it concerns; empty means all
	Brings    []*Check     // narrows Explains to what it brings about here; nil means all, empty means nothing
	Refines   []*Check     // further broader causes that this finding alone makes more precise
	Stage     Stage        // narrows the check's own; StageNone keeps it
	Certainty Certainty
	Summary   string    // one sentence, present tense, with the concrete names and numbers
	Since     time.Time // when this came about; zero if unknown
	Evidence  []Evidence
	Fixes     []Fix  // alternatives, least invasive first
	Settle    string // for an inferred finding or a symptom: the one command that would settle it
	Remark    bool   // worth saying, but no fault of this target: never a cause
	Doubtful  bool   // of a symptom: it may be as it should, so it is felt only where a cause explains it
}

// Certainty says how a finding is known.
type Certainty int

// Inferred is what is left after the rest was ruled out; Proven is an
// observation that only this cause produces.
const (
	Inferred Certainty = iota
	Proven
)

func (c Certainty) String() string {
	if c == Proven {
		return "proven"
	}
	return "inferred"
}

// Evidence is something that was seen, and where.
type Evidence struct {
	Source string // "listener", "counters", "/etc/hosts:2"
	Text   string
}

// Fix is one way to heal. A fix that only a person can make has Do alone.
type Fix struct {
	Do         string     // an imperative sentence
	Paste      string     // a line for the person's own shell, where a step would change another process's environment
	Steps      [][]string // argument vectors, no shell, in their order; "sudo" is added when printed
	Files      []File     // written after the steps
	Undo       [][]string // puts back what Steps and Files changed
	Elevated   bool       // the steps need root
	Lasts      Lasts      // empty for a signal: what it does is done
	Risk       string     // what else it affects
	Interrupts string     // what it stops
	Guard      *Process   // must still be true before the steps are run
}

// File is content to write.
type File struct {
	Path   string
	Append string // added at the end
}

// Lasts says how long a fix holds.
type Lasts string

// The two durations.
const (
	UntilReboot Lasts = "until reboot"
	Persistent  Lasts = "persistent"
)

// Process guards an advice to signal a process: the PID may have been reused.
type Process struct {
	PID     int
	Started time.Time
}

// symptoms and causes are every check there is, in the order of the pages.
var (
	symptoms = []*Check{}
	causes   = []*Check{}
)

// Symptoms lists what a person can feel.
func Symptoms() []*Check { return symptoms }

// Causes lists what can be wrong.
func Causes() []*Check { return causes }

// ByName finds a cause or symptom; nil if there is none of that name.
func ByName(name string) *Check {
	for _, list := range [][]*Check{causes, symptoms} {
		for _, c := range list {
			if c.Name == name {
				return c
			}
		}
	}
	return nil
}
