package report

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func refusedAt(a string) *facts.ClientError {
	return &facts.ClientError{Text: "connect ECONNREFUSED " + a, Client: "Node", Errno: "ECONNREFUSED", Symptom: "refused",
		Means: "the connection is refused", Addr: netip.MustParseAddrPort(a)}
}

func symptom(name, doc string) *checks.Check {
	return &checks.Check{Name: name, Doc: doc, Stage: checks.StageListen}
}

// clientSaid: a client tried ::1 and nothing else, and the server has IPv4.
func clientSaid() Run {
	f := seen()
	f.Target.Error = refusedAt("[::1]:62893")
	f.Target.Addresses[0].Expected, f.Target.Addresses[1].Expected = false, true
	refused := symptom("refused", "the connection is refused")
	return run(f, &checks.Diagnosis{Verdict: checks.Broken,
		Symptoms: []checks.Symptom{{Finding: checks.Finding{Check: refused, Affects: []netip.Addr{v6}, Summary: "[::1]:62893 refuses the connection (ECONNREFUSED)."}, ExplainedBy: []string{"v6-first-v4-only-server"}}},
		Causes: []checks.Cause{{State: checks.Active, Finding: checks.Finding{Check: check("v6-first-v4-only-server", checks.StageListen), Affects: []netip.Addr{v6}, Certainty: checks.Proven,
			Summary: "localhost resolves to ::1 first, and python3 (pid 4121) listens on IPv4 only (127.0.0.1:62893)."}}}})
}

// healed: the same, and loopdoctor connects.
func healed() Run {
	r := works()
	f := *r.Facts[0]
	f.Target.Error = refusedAt("127.0.0.1:62893")
	return run(&f, r.Diagnoses[0])
}

func TestSaid(t *testing.T) {
	yes, no := true, false
	refused := symptom("refused", "the connection is refused")
	noReply := symptom("no-reply", "the connection attempt gets no answer of any kind")
	warns := checks.Finding{Check: check("v6-first-v4-only-server", checks.StageListen), Brings: []*checks.Check{refused}, Remark: true}
	felt := func(c *checks.Check) []checks.Symptom {
		return []checks.Symptom{{Finding: checks.Finding{Check: c}}}
	}
	said := func(change func(*facts.ClientError)) facts.ClientError {
		e := *refusedAt("127.0.0.1:62893")
		change(&e)
		return e
	}
	as := func(*facts.ClientError) {}
	failed := func(e *facts.ClientError) { e.Symptom, e.Failed, e.Means = "", true, "no connection is made" }
	empty := func(e *facts.ClientError) { e.Symptom, e.Answer = "closed-at-once", true }
	tls := func(e *facts.ClientError) { e.Symptom, e.Answer = "", true }
	port := func(e *facts.ClientError) { e.Symptom = "" }
	for _, test := range []struct {
		name   string
		error  facts.ClientError
		intent facts.Intent
		d      *checks.Diagnosis
		met    *bool
		want   string
	}{
		{"the same", said(as), facts.Connect, &checks.Diagnosis{Verdict: checks.Broken, Symptoms: felt(refused)}, &yes, "loopdoctor meets the same."},
		{"another", said(as), facts.Connect, &checks.Diagnosis{Verdict: checks.Broken, Symptoms: felt(noReply)}, &no, "meets something else: the connection attempt gets no answer of any kind."},
		{"nothing", said(as), facts.Connect, &checks.Diagnosis{Verdict: checks.Works}, &no, "it has healed since, or your client runs elsewhere"},
		{"nothing, and a remark about it", said(as), facts.Connect, &checks.Diagnosis{Verdict: checks.Works, Remarks: []checks.Finding{warns}}, &no, "what the first note is about"},
		{"nobody could tell", said(as), facts.Connect, &checks.Diagnosis{Verdict: checks.Unknown}, nil, "could not be told"},
		{"no diagnosis", said(as), facts.Connect, nil, nil, "could not be told"},
		{"it does not say why", said(failed), facts.Connect, &checks.Diagnosis{Verdict: checks.Broken, Symptoms: felt(noReply)}, &yes, "makes none either: the connection attempt gets no answer of any kind."},
		{"no answer", said(empty), facts.Connect, &checks.Diagnosis{Verdict: checks.Works}, nil, "was not told to ask anything"},
		{"TLS", said(tls), facts.Connect, &checks.Diagnosis{Verdict: checks.Works}, nil, "was not told to ask anything"},
		{"TLS, and the server is down", said(tls), facts.Connect, &checks.Diagnosis{Verdict: checks.Broken, Symptoms: felt(refused)}, nil, "meets trouble before it"},
		{"a port that is none", said(port), facts.Connect, &checks.Diagnosis{Verdict: checks.Works}, nil, "does not look for that"},
		{"a server that could start now", said(func(e *facts.ClientError) { e.Symptom = "cannot-bind" }), facts.ToBind, &checks.Diagnosis{Verdict: checks.Works}, &no, "loopdoctor can take it"},
	} {
		f := seen()
		f.Target.Error, f.Target.Intent = &test.error, test.intent
		r := New(run(f, test.d))
		got := r.Targets[0]
		if !strings.Contains(got.Notes[0], test.want) {
			t.Errorf("%s: %s\nwant %s", test.name, got.Notes[0], test.want)
		}
		if got.Error == nil || (got.Error.Met == nil) != (test.met == nil) || test.met != nil && *got.Error.Met != *test.met {
			t.Errorf("%s: %+v", test.name, got.Error)
		}
	}
}
