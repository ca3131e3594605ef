package report

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The clients that fail are named where others work, once.
func TestClientsThatFail(t *testing.T) {
	v6only := seen()
	v6only.Interfaces.Others = nil
	v6only.Sockets.Sockets = []facts.Socket{listener(v6, 62893, 77)}
	v6only.Target.Addresses[0].Expected, v6only.Target.Addresses[1].Expected = false, true
	v6only.Dials = []facts.Dial{{Addr: v4, As: 1000, Outcome: facts.Refused}, {Addr: v6, As: 1000, Outcome: facts.Connected, Server: &facts.ServerSide{Accepted: true}}}
	v6only.Names.Addresses = []facts.NamedAddr{{Addr: v6, Source: "hosts file line 3"}, {Addr: v4, Source: "hosts file line 2"}}
	const said = "Node 16 and older and Java do not reach it as localhost: they try 127.0.0.1 alone."

	d := &checks.Diagnosis{Verdict: checks.Works}
	r := New(run(v6only, d))
	if got := r.Targets[0].failing(); !slices.Equal(got, []string{said}) {
		t.Errorf("got %q", got)
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"text":     func(b *bytes.Buffer) error { return Text(b, r, TextOptions{Width: 200}) },
		"markdown": func(b *bytes.Buffer) error { return Markdown(b, r) },
		"html":     func(b *bytes.Buffer) error { return HTML(b, r) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil || !strings.Contains(b.String(), said) || !strings.Contains(b.String(), "Works from here. If your client fails") {
			t.Errorf("%s does not say it: %v\n%s", name, err, &b)
		}
	}

	d.Remarks = []checks.Finding{{Check: check("v6-first-v4-only-server", checks.StageListen), Remark: true}}
	if got := New(run(v6only, d)).Targets[0].failing(); got != nil {
		t.Errorf("a remark says it, and so does %q", got)
	}
	if got := New(run(v6only, &checks.Diagnosis{Verdict: checks.Broken})).Targets[0].failing(); got != nil {
		t.Errorf("nothing works, and yet %q", got)
	}
}
