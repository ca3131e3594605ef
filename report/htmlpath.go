package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// This file draws the way of a connection: the stations, and for each address
// how far it came. A station counts as passed only where something was seen
// that had passed it.

// mark is how a connection fared at a station, in the words of the page.
type mark string

// The marks.
const (
	markPassed    mark = "passed"
	markBroken    mark = "broken here"
	markFelt      mark = "felt here"     // the cause lies at another station
	markBehind    mark = "broken too"    // felt as soon as the first cause is cured
	markRemarked  mark = "remark"        // passed, and there is something to say
	markIdle      mark = "nothing here"  // and nothing has to be
	markUnreached mark = "not reached"   //
	markUnknown   mark = "not looked at" // nothing seen says whether it was passed
	markUntried   mark = "not tried"     // nobody connected
	markSilent    mark = "asked, no answer"
	markLed       mark = "led past by NAT" // into a container, or to another machine
	markNeedless  mark = "nothing to do"   // a literal address needs no resolver
)

// Class names the mark in the style sheet.
func (m mark) Class() string {
	return map[mark]string{markPassed: "passed", markBroken: "broken", markFelt: "felt", markBehind: "behind", markRemarked: "remark", markIdle: "idle",
		markUnreached: "unreached", markUnknown: "unknown", markUntried: "unknown", markSilent: "unknown", markLed: "idle", markNeedless: "needless"}[m]
}

// station is one stop of the path. Marks has one for each lane.
type station struct {
	Key, Name, Does string
	stages          []checks.Stage
	passer          string // what passes it: "A connection"
	Marks           []mark
	State           string // the marks in words
	Breaks          bool
	Rows            []Evidence
	Findings        []finding
	Fine            []string // checks that found nothing wrong here
	Not             []string // what was not checked here, and why
}

// finding is a cause, remark or symptom that stands elsewhere on the page.
type finding struct {
	Label, Summary, Anchor string
	Rows                   []Evidence
}

// lane is one address, as one client met it.
type lane struct {
	Name, Outcome string
	Broken        int  // index of the station; -1: none
	Connects      bool // whether the connection came up
}

// path is the picture of a target.
type path struct {
	ID, Title string
	Corner    string // heads the names of the lanes
	Stations  []station
	Lanes     []lane
	Breaks    []breaking
	More      int // lanes that are not drawn
	Legend    []mark
}

// breaking is a station that ends the way of some lanes.
type breaking struct {
	Station *station
	Lanes   []string
	Beyond  bool // a connection of ours went on from there
}

// lanesDrawn bounds the picture: a name may have any number of addresses.
const lanesDrawn = 6

// connectStations is the life of a connection; the way back and the process
// take their turn as the kernel has it.
func (r *Report) connectStations(t *Target) []station {
	lo := "lo"
	if i := r.Loopback.Interface; i != nil && i.Name != "" {
		lo = shorten(i.Name, 16) // the kernel's own limit (IFNAMSIZ)
	}
	ss := []station{
		{Key: "client", Name: "Client", Does: "Asks for the connection."},
		{Key: "resolver", Name: "Resolver", Does: "Turns the name into addresses, or hands over to a proxy.", stages: []checks.Stage{checks.StageResolve}},
		{Key: "route", Name: "Route", Does: "The kernel finds a way, and a source address.", stages: []checks.Stage{checks.StageRoute}},
		{Key: "output", Name: "Output hooks", Does: "Packet filters and NAT on the way out.", stages: []checks.Stage{checks.StageOutput}},
		{Key: "lo", Name: lo, Does: "The loopback interface itself.", stages: []checks.Stage{checks.StageWire}},
		{Key: "input", Name: "Input hooks", Does: "Packet filters on the way in.", stages: []checks.Stage{checks.StageInput}},
		{Key: "listener", Name: "Listener", Does: "A socket that has the address and the port.", stages: []checks.Stage{checks.StageListen}},
		{Key: "back", Name: "Way back", Does: "The kernel's answer returns to the client.", stages: []checks.Stage{checks.StageReply}},
		{Key: "process", Name: "Process", Does: "The program takes the connection.", stages: []checks.Stage{checks.StageAccept}},
	}
	if t.hasAnswerStage() {
		ss = append(ss, station{Key: "answer", Name: "Answer", Does: "The program replies in its own protocol.", stages: []checks.Stage{checks.StageAnswer}})
	}
	return ss
}

// hasAnswerStage tells whether the server's own answer was asked for, or is where
// something is wrong.
func (t *Target) hasAnswerStage() bool {
	at := checks.StageAnswer.String()
	return len(t.Answers) > 0 ||
		slices.ContainsFunc(t.Symptoms, func(s Symptom) bool { return s.Stage == at }) ||
		slices.ContainsFunc(slices.Concat(t.Causes, t.Remarks), func(c Cause) bool { return c.Stage == at })
}

// path makes the picture of a target; id is its anchor.
func (r *Report) path(t *Target, id string) path {
	p, passer := path{ID: id, Title: "The path of the packet", Corner: "To"}, "A connection"
	if t.Intent == facts.ToBind {
		p.Title, p.Corner, passer = "The way to the port", "Port", "An attempt to take the port"
		p.Stations = bindStations()
		p.bindLanes(t)
	} else {
		p.Stations = r.connectStations(t)
		p.connectLanes(t)
	}
	for i := range p.Stations {
		s := &p.Stations[i]
		for _, m := range s.Marks {
			if !slices.Contains(p.Legend, m) {
				p.Legend = append(p.Legend, m)
			}
		}
		s.State, s.Breaks, s.passer = p.state(s), slices.Contains(s.Marks, markBroken), passer
		s.Rows = r.seenAt(t, s.Key)
		t.findingsAt(s, id, p.Stations)
		t.checkedAt(s)
		b := breaking{Station: s}
		for j, l := range p.Lanes {
			if l.Broken == i {
				b.Lanes = append(b.Lanes, l.Name)
				b.Beyond = b.Beyond || l.Connects && slices.ContainsFunc(p.Stations[i+1:], func(o station) bool { return o.Marks[j] == markPassed })
			}
		}
		if len(b.Lanes) > 0 {
			p.Breaks = append(p.Breaks, b)
		}
	}
	return p
}

// state is the marks of a station in words: those of each lane where they differ, and how
// many where there are many.
func (p *path) state(s *station) string {
	var words []string
	same := true
	for i, m := range s.Marks {
		same = same && m == s.Marks[0]
		words = append(words, p.Lanes[i].Name+": "+string(m))
	}
	switch {
	case same && len(s.Marks) > 0:
		return string(s.Marks[0])
	case len(words) <= 2:
		return strings.Join(words, " · ")
	}
	words = nil
	for _, m := range p.Legend {
		if n := len(slices.DeleteFunc(slices.Clone(s.Marks), func(o mark) bool { return o != m })); n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, m))
		}
	}
	return strings.Join(words, ", ")
}

// at finds the station of a stage; 0, the first, where none has it.
func at(ss []station, st checks.Stage) int {
	return max(0, slices.IndexFunc(ss, func(s station) bool { return slices.Contains(s.stages, st) }))
}

// stageOf reads the name of a stage, which a report of a later version may not share.
func stageOf(name string) checks.Stage {
	for st := checks.StageNone; st <= checks.StageBind; st++ {
		if st.String() == name {
			return st
		}
	}
	return checks.StageNone
}

func (p *path) add(l lane, marks []mark) {
	if len(p.Lanes) == lanesDrawn {
		p.More++
		return
	}
	p.Lanes = append(p.Lanes, l)
	for i, m := range marks {
		p.Stations[i].Marks = append(p.Stations[i].Marks, m)
	}
}

func (p *path) connectLanes(t *Target) {
	as := t.Addresses
	if len(as) == 0 { // nothing to connect to
		a := Address{Address: t.Host, Expected: true, Outcome: facts.Skipped}
		if len(t.Symptoms) > 0 {
			a.Stage = t.Symptoms[0].Stage
		}
		as = []Address{a}
	}
	var clients []string
	for _, a := range as {
		if a.Client != "" && !slices.Contains(clients, a.Client) {
			clients = append(clients, a.Client)
		}
	}
	for i := range as {
		a := &as[i]
		l := lane{Name: a.Address, Outcome: t.fate(a), Broken: -1, Connects: t.gotThrough(a)}
		if len(clients) > 1 && a.Client != "" {
			l.Name += " as " + a.Client
		}
		marks, at := t.marks(p.Stations, a)
		l.Broken = at
		p.add(l, marks)
	}
}

// fate is the outcome without the client, whom the lane names. Nobody connects by UDP: there
// it is what came of the question.
func (t *Target) fate(a *Address) string {
	x := *a
	x.As = nil
	if a.Outcome == facts.Skipped {
		switch q := t.asked(a); {
		case q == nil:
		case t.answered(a) != nil:
			return "answered: " + t.answered(a).reply()
		case q.End == facts.Silence:
			return string(markSilent)
		default:
			return q.detail()
		}
	}
	return x.outcome()
}

// marks tells how one connection fared at each station, and where it broke.
func (t *Target) marks(ss []station, a *Address) (marks []mark, brokenAt int) {
	marks = make([]mark, len(ss))
	tried := a.Outcome != facts.Skipped && a.Outcome != "" || t.asked(a) != nil
	through := t.gotThrough(a)
	for i := range marks {
		marks[i] = markUnknown
		if !tried {
			marks[i] = markUntried
		}
	}
	pass := func(from, to checks.Stage) {
		for st := from; st <= to; st++ {
			if i := at(ss, st); i > 0 {
				marks[i] = markPassed
			}
		}
	}
	if tried {
		marks[0] = markPassed
	}
	switch {
	case !t.resolved(a):
		marks[at(ss, checks.StageResolve)] = markNeedless
	default:
		pass(checks.StageResolve, checks.StageResolve)
	}
	stage, feltAt, cause := t.breaksAt(a)
	switch {
	case through:
		pass(checks.StageRoute, checks.StageReply)
		if a.accepted() {
			pass(checks.StageAccept, checks.StageAccept)
		}
		if t.answered(a) != nil {
			pass(checks.StageAccept, checks.StageAnswer)
		}
	case a.Outcome == facts.Skipped && tried: // a datagram left, and whether it met anybody is not known
		pass(checks.StageRoute, checks.StageRoute)
		if stage == checks.StageNone {
			marks[at(ss, checks.StageAnswer)] = markSilent
		}
	case tried:
		pass(checks.StageRoute, t.came(a, feltAt, stage, cause))
		if feltAt == checks.StageNone { // it need not work
			end := at(ss, idleStage(a))
			marks[end] = markIdle
			for i := end + 1; i < len(ss) && a.Outcome != facts.Timeout; i++ {
				marks[i] = markUnreached
			}
		}
	}
	if m := t.elsewhere(a, feltAt, cause); m != "" {
		for st := checks.StageWire; st <= checks.StageListen; st++ {
			if i := at(ss, st); marks[i] == markPassed || m == markLed && marks[i] == markUnknown {
				marks[i] = m
			}
		}
	}
	brokenAt = -1
	if stage != checks.StageNone {
		brokenAt = at(ss, stage)
		marks[brokenAt] = markBroken
		for i := brokenAt + 1; i < len(ss) && !through; i++ {
			marks[i] = markUnreached
		}
		if stage == checks.StageAccept && a.Outcome == facts.Timeout { // a full queue: the kernel does not even answer
			marks[at(ss, checks.StageReply)] = markUnreached
		}
		if i := at(ss, feltAt); i != brokenAt && i > 0 {
			marks[i] = markFelt
		}
	}
	for _, c := range t.Causes {
		if i := at(ss, stageOf(c.Stage)); c.State == string(checks.Latent) && slices.Contains(c.Affects, a.Address) && i > brokenAt && brokenAt >= 0 {
			marks[i] = markBehind
		}
	}
	for _, c := range t.Remarks {
		i := at(ss, stageOf(c.Stage))
		if (marks[i] == markPassed || marks[i] == markIdle) && i > 0 && slices.Contains(c.Affects, a.Address) {
			marks[i] = markRemarked
		}
	}
	return marks, brokenAt
}
