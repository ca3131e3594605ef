package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// recorded judges every recording of the lab again.
func recorded(t *testing.T, use func(t *testing.T, r *Report)) {
	t.Helper()
	files, err := filepath.Glob("../cmd/loopdoctor/testdata/replay/*.json")
	if err != nil || len(files) < 1000 {
		t.Fatalf("%d recordings: %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var rec facts.Recording
		if err := json.Unmarshal(data, &rec); err != nil {
			t.Fatal(err)
		}
		run := Run{Version: "1.2.3", Facts: rec.Facts}
		for _, f := range rec.Facts {
			run.Diagnoses = append(run.Diagnoses, checks.Diagnose(f))
		}
		t.Run(filepath.Base(file), func(t *testing.T) { use(t, New(run)) })
	}
}

// TestPathsOfTheLab holds the picture of every recorded report to what it must never say.
func TestPathsOfTheLab(t *testing.T) {
	recorded(t, func(t *testing.T, r *Report) {
		for i := range r.Targets {
			target := &r.Targets[i]
			p := r.path(target, "t1")
			broken := 0
			for l := range p.Lanes {
				brokenAt := -1
				for j, s := range p.Stations {
					switch m := s.Marks[l]; {
					case m == markBroken:
						brokenAt = j
						broken++
					case m == markPassed && brokenAt >= 0 && !p.Lanes[l].Connects:
						t.Errorf("%s passes %s behind the station where it breaks", p.Lanes[l].Name, s.Name)
					}
				}
				if brokenAt != p.Lanes[l].Broken {
					t.Errorf("%s breaks at %d and %d", p.Lanes[l].Name, brokenAt, p.Lanes[l].Broken)
				}
			}
			for i := range target.Causes {
				c := &target.Causes[i]
				under := map[string]bool{}
				for _, s := range p.Stations {
					for _, f := range s.Findings {
						under[s.Key] = under[s.Key] || f.Anchor == fmt.Sprintf("t1-cause-%d", i+1)
					}
				}
				if !slices.Contains(slices.Collect(maps.Values(under)), true) {
					t.Errorf("%s is filed under no station", c.Name)
				}
				for l, a := range target.Addresses[:min(len(target.Addresses), len(p.Lanes))] {
					if _, _, cause := target.breaksAt(&a); target.Intent == facts.Connect && cause == c && p.Lanes[l].Broken >= 0 && !under[p.Stations[p.Lanes[l].Broken].Key] {
						t.Errorf("%s ends the way to %s, and is not filed where that breaks", c.Name, p.Lanes[l].Name)
					}
				}
			}
			if (broken > 0) != (len(target.Symptoms) > 0) {
				t.Errorf("%d lanes break, and there are %d symptoms", broken, len(target.Symptoms))
			}
			if target.Intent == facts.Connect {
				certain(t, r, target, p)
			}
		}
	})
}

// certain takes evidence away: then no more stations may count as passed than before, and
// without any nothing behind the route of a connection that failed.
func certain(t *testing.T, r *Report, target *Target, p path) {
	t.Helper()
	less := *target
	less.Packets = nil
	less.Causes = slices.Clone(target.Causes)
	for i := range less.Causes {
		less.Causes[i].Certainty = checks.Inferred.String()
	}
	q := r.path(&less, "t1")
	for j, s := range q.Stations {
		for l, m := range s.Marks {
			if m == markPassed && p.Stations[j].Marks[l] != markPassed {
				t.Errorf("%s passes %s with less evidence only", q.Lanes[l].Name, s.Name)
			}
		}
	}
	for i := range target.Addresses {
		a := &target.Addresses[i]
		if i >= len(p.Lanes) {
			break
		}
		felt := less.feltAt(a)
		counted := felt == checks.StageWire || felt == checks.StageInput || felt == checks.StageReply
		for j, s := range q.Stations {
			switch m := q.Stations[j].Marks[i]; {
			case m != markPassed || less.gotThrough(a):
			case a.Outcome == facts.Skipped && less.asked(a) == nil && s.Key != "resolver":
				t.Errorf("%s was not tried, and passes %s", a.Address, s.Name)
			case !counted && j > at(q.Stations, checks.StageRoute):
				t.Errorf("%s (%s) passes %s, and nothing says so", a.Address, a.Outcome, s.Name)
			case a.Outcome == facts.Timeout && j >= at(q.Stations, checks.StageReply):
				t.Errorf("nothing came back from %s, and it passes %s", a.Address, s.Name)
			}
		}
	}
}

// letters are the marks in the tables of the tests.
var letters = map[mark]byte{markPassed: 'p', markBroken: 'B', markFelt: 'F', markBehind: 'b', markRemarked: 'r', markIdle: 'i', markUnreached: 'u', markUnknown: '?', markUntried: '?', markSilent: 's', markLed: 'L', markNeedless: '-'}

// drawn is the lanes of a picture in letters.
func drawn(p path) string {
	var lanes []string
	for l := range p.Lanes {
		got := ""
		for _, s := range p.Stations {
			got += string(letters[s.Marks[l]])
		}
		lanes = append(lanes, got)
	}
	return strings.Join(lanes, " ")
}

// TestPath shows what each kind of evidence makes of a connection that failed. Letters are the
// marks from the client to the process: p passed, B broken, F felt, b broken too, r remark,
// i idle, s silent, L led past, u not reached, ? unknown, - nothing to do.
func TestPath(t *testing.T) {
	yes := true
	syn := Conversation{Server: "127.0.0.1:80", Packets: []Packet{{FromClient: true, Flags: "S", Out: true, In: true}}}
	synack := Conversation{Server: "127.0.0.1:80", Packets: []Packet{{FromClient: true, Flags: "S", Out: true, In: true}, {Flags: "S.", Out: true, In: true}}}
	for _, test := range []struct {
		name    string
		address Address
		causes  []Cause
		remarks []Cause
		packets []Conversation
		answers []Answer
		want    string
	}{
		{"accepted", Address{Outcome: facts.Connected, Accepted: &yes}, nil, nil, nil, nil, "p-ppppppp"},
		{"not known whether accepted", Address{Outcome: facts.Connected}, nil, nil, nil, nil, "p-pppppp?"},
		{"not tried", Address{Outcome: facts.Skipped}, nil, nil, nil, nil, "?-???????"},
		{"refused, and nothing else is known", Address{Outcome: facts.Refused, Stage: "listen"}, nil, nil, nil, nil, "p-p???Buu"},
		{"refused by a filter that is inferred", Address{Outcome: facts.Refused, Stage: "listen"}, []Cause{{Stage: "input", Certainty: "inferred"}}, nil, nil, nil, "p-p??BFuu"},
		{"refused where nothing listens", Address{Outcome: facts.Refused, Stage: "listen"}, []Cause{{Stage: "listen", Certainty: "proven"}}, nil, nil, nil, "p-ppppBuu"},
		{"lost, says a counter", Address{Outcome: facts.Timeout, Stage: "input"}, nil, nil, nil, nil, "p-pppBuuu"},
		{"lost, and its SYN was captured", Address{Outcome: facts.Timeout, Stage: "accept"}, nil, nil, []Conversation{syn}, nil, "p-pp???uB"},
		{"lost, and a SYN came back", Address{Outcome: facts.Timeout, Stage: "accept"}, nil, nil, []Conversation{synack}, nil, "p-ppppp" + "uB"},
		{"the accept queue is full", Address{Outcome: facts.Timeout, Stage: "accept"}, []Cause{{Stage: "accept", Certainty: "proven"}}, nil, nil, nil, "p-pppppuB"},
		{"led astray", Address{Outcome: facts.Refused, Stage: "listen"}, []Cause{{Stage: "output", Certainty: "proven"}}, nil, nil, nil, "p-pBuuFuu"},
		{"stopped behind a filter", Address{Outcome: facts.Timeout, Stage: "input"}, []Cause{{Stage: "input", Certainty: "proven"}, {Stage: "accept", State: "latent"}}, nil, nil, nil, "p-pppBuub"},
		{"unreachable", Address{Outcome: facts.Unreachable, Stage: "route"}, nil, nil, nil, nil, "p-Buuuuuu"},
		{"nothing there, and nothing has to be", Address{Outcome: facts.Refused}, nil, nil, nil, nil, "p-p???iuu"},
		{"the same with a remark", Address{Outcome: facts.Refused}, nil, []Cause{{Stage: "listen"}}, nil, nil, "p-p???ruu"},
		{"led into a container", Address{Outcome: facts.Connected, led: true}, nil, nil, nil, nil, "p-ppLLLp?"},
		{"its server's side is not here", Address{Outcome: facts.Connected, unmet: true}, nil, nil, nil, nil, "p-pp???p?"},
		{"the same, and its packets were seen on lo", Address{Outcome: facts.Connected, led: true}, nil, nil, []Conversation{synack}, nil, "p-pppppp?"},
		{"its last packet was lost on the way in", Address{Outcome: facts.Connected, Stage: "input", unmet: true}, nil, nil, nil, nil, "p-pppBpp?"},
		{"refused in a container", Address{Outcome: facts.Refused, Stage: "listen"}, []Cause{{Name: "container-nothing-listens", Stage: "listen", Certainty: "proven"}}, nil, nil, nil, "p-ppLLBuu"},
		{"refused in a container, perhaps", Address{Outcome: facts.Refused, Stage: "listen"}, []Cause{{Name: "container-nothing-listens", Stage: "listen", Certainty: "inferred"}}, nil, nil, nil, "p-p???Buu"},
		{"led out of the machine, and lost there", Address{Outcome: facts.Timeout, Stage: "wire", led: true}, []Cause{{Stage: "wire", Certainty: "proven"}}, nil, nil, nil, "p-pBuuuuu"},
		{"led out of the machine, and lost", Address{Outcome: facts.Timeout, Stage: "accept", led: true}, nil, nil, nil, nil, "p-p?LLLuB"},
		{"UDP, and it answered", Address{Outcome: facts.Skipped}, nil, nil, nil, []Answer{{End: facts.Answered}}, "p-pppppppp"},
		{"UDP, and it was silent", Address{Outcome: facts.Skipped}, nil, nil, nil, []Answer{{End: facts.Silence}}, "p-p??????s"},
		{"UDP, silent, and no socket takes it", Address{Outcome: facts.Skipped, Stage: "listen"}, nil, nil, nil, []Answer{{End: facts.Silence}}, "p-p???Buuu"},
		{"UDP, and nobody asked", Address{Outcome: facts.Skipped}, nil, nil, nil, []Answer{{End: facts.NotAsked}}, "?-????????"},
		{"UDP, answered with an error", Address{Outcome: facts.Skipped, Stage: "answer"}, nil, nil, nil, []Answer{{End: facts.Answered}}, "p-pppppppB"},
	} {
		a := test.address
		a.Address, a.Source = "127.0.0.1", "named"
		a.Expected = a.Stage != "" || a.Outcome.Works()
		target := Target{Host: "127.0.0.1", Port: 80, Intent: facts.Connect, Addresses: []Address{a}, Causes: test.causes, Remarks: test.remarks, Packets: test.packets, Answers: test.answers}
		for i := range target.Answers {
			target.Answers[i].Address = "127.0.0.1"
		}
		for _, cs := range [][]Cause{target.Causes, target.Remarks} {
			for i := range cs {
				cs[i].Affects = []string{"127.0.0.1"}
				if cs[i].State == "" {
					cs[i].State = "active"
				}
			}
		}
		r := &Report{}
		if got := drawn(r.path(&target, "t")); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// TestPathOfClients has two clients at one address, dev and root: what one of them feels is
// not drawn for the other.
func TestPathOfClients(t *testing.T) {
	yes, no := true, false
	refused := Symptom{Name: "refused", Stage: "listen"}
	for _, test := range []struct {
		name      string
		dev, root Address
		symptoms  []Symptom
		causes    []Cause
		answers   []Answer
		stages    string
		want      string
	}{
		{"one is not accepted", Address{Outcome: facts.Connected, Accepted: &no}, Address{Outcome: facts.Connected, Accepted: &yes},
			[]Symptom{{Name: "not-accepted", Stage: "accept", ExplainedBy: []string{"stopped"}}}, []Cause{{Name: "stopped", Stage: "accept"}}, nil,
			"accept ", "p-ppppppB p-ppppppp"},
		{"one is refused, and the cause is the other's", Address{Outcome: facts.Refused}, Address{Outcome: facts.Timeout},
			[]Symptom{refused, {Name: "no-reply", Stage: "accept", ExplainedBy: []string{"queue"}}}, []Cause{{Name: "queue", Stage: "accept"}}, nil,
			"listen accept", "p-p???Buu p-pppppuB"},
		{"one is refused, the other answered with an error", Address{Outcome: facts.Refused}, Address{Outcome: facts.Connected, Accepted: &yes},
			[]Symptom{refused, {Name: "server-error", Stage: "answer", ExplainedBy: []string{"application"}}}, []Cause{{Name: "application", Stage: "answer"}},
			[]Answer{{Client: "root", End: facts.Answered}},
			"listen answer", "p-p???Buuu p-pppppppB"},
		{"only one was asked about", Address{Outcome: facts.Connected, Accepted: &yes}, Address{Outcome: facts.Connected, Accepted: &yes},
			[]Symptom{{Name: "server-error", Stage: "answer"}}, nil, []Answer{{Client: "root", End: facts.Answered}},
			" answer", "p-ppppppp? p-pppppppB"},
		{"denied, and lost", Address{Outcome: facts.Denied}, Address{Outcome: facts.Timeout},
			[]Symptom{{Name: "denied", Stage: "route", ExplainedBy: []string{"seccomp"}}, {Name: "no-reply", Stage: "input"}}, []Cause{{Name: "seccomp", Stage: "route"}}, nil,
			"route input", "p-Buuuuuu p-pppBuuu"},
		{"both met the good one of two listeners", Address{Outcome: facts.Connected, Accepted: &yes}, Address{Outcome: facts.Connected, Accepted: &yes},
			[]Symptom{{Name: "not-accepted", Stage: "accept", ExplainedBy: []string{"stopped"}}}, []Cause{{Name: "stopped", Stage: "accept"}}, nil,
			"accept accept", "p-ppppBpF p-ppppBpF"},
	} {
		target := Target{Host: "127.0.0.1", Port: 80, Intent: facts.Connect, Addresses: []Address{test.dev, test.root}, Symptoms: test.symptoms, Causes: test.causes, Answers: test.answers}
		for i := range target.Addresses {
			a := &target.Addresses[i]
			a.Address, a.Source, a.Expected, a.Client = "127.0.0.1", "named", true, []string{"dev", "root"}[i]
		}
		for i := range target.Symptoms {
			target.Symptoms[i].Affects = []string{"127.0.0.1"}
			if c := checks.ByName(target.Symptoms[i].Name); c == nil || !c.IsSymptom() {
				t.Errorf("%s: there is no symptom %s", test.name, target.Symptoms[i].Name)
			}
		}
		for i := range target.Causes {
			target.Causes[i].Affects, target.Causes[i].State, target.Causes[i].Certainty = []string{"127.0.0.1"}, "active", "proven"
		}
		for i := range target.Answers {
			target.Answers[i].Address = "127.0.0.1"
		}
		target.breakAddresses()
		if got := target.Addresses[0].Stage + " " + target.Addresses[1].Stage; got != test.stages {
			t.Errorf("%s: broke at %q, want %q", test.name, got, test.stages)
		}
		if got := drawn((&Report{}).path(&target, "t")); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
