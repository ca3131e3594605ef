package checks

import (
	"net/netip"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// said is a client's error that names the address it tried; that one has to
// work, as in the look.
func said(symptom, addr string) change {
	return func(f *facts.Facts) {
		e := &facts.ClientError{Symptom: symptom, Means: "it fails", Failed: symptom == ""}
		if addr != "" {
			e.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), port)
		}
		f.Target.Error = e
	}
}

// pinned makes the address that the error names the one that has to work.
func pinned(f *facts.Facts) *facts.Facts {
	for i := range f.Target.Addresses {
		a := &f.Target.Addresses[i]
		a.Expected = a.Addr == f.Target.Error.Addr.Addr()
	}
	return f
}

// A remark warns of what another client meets. Of a client that is known to
// have met it, it is the cause; the machine, not the text, is what proves it.
func TestWhatTheClientSaid(t *testing.T) {
	v6First := []change{hosts("::1", "127.0.0.1"), listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Refused)}
	with := func(more ...change) []change { return append(v6First[:len(v6First):len(v6First)], more...) }
	for _, test := range []struct {
		name  string
		facts *facts.Facts
		want  []string
	}{
		{"nobody said anything", machine("localhost", v6First...), []string{"works", "remark v6-first-v4-only-server"}},
		{"refused at ::1", pinned(machine("localhost", with(said("refused", "::1"))...)), []string{"broken", "active v6-first-v4-only-server proven"}},
		{"no connection to ::1, and not why", pinned(machine("localhost", with(said("", "::1"))...)), []string{"broken", "active v6-first-v4-only-server proven"}},
		{"refused at localhost: it tried both, or it is a client that does", machine("localhost", with(said("refused", ""))...), []string{"works", "remark v6-first-v4-only-server"}},
		{"refused at 127.0.0.1, which connects", pinned(machine("localhost", with(said("refused", "127.0.0.1"))...)), []string{"works", "remark v6-first-v4-only-server"}},
		{"no reply from ::1: that is something else", pinned(machine("localhost", with(said("no-reply", "::1"))...)), []string{"broken", "active no-listener proven", "remark v6-first-v4-only-server"}},
		{"refused at ::1, where it connects now", pinned(machine("localhost", said("refused", "::1"), hosts("::1", "127.0.0.1"), listens("::", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Connected))), []string{"works"}},
		{"refused at ::1, although localhost is 127.0.0.1 first here", pinned(machine("localhost", said("refused", "::1"), hosts("127.0.0.1", "::1"), listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Refused))), []string{"broken", "active v4-only-server-v6-client proven"}},
		{"refused at [::1], literally", machine("::1", said("refused", "::1"), listens("127.0.0.1", 50), dials("::1", facts.Refused)), []string{"broken", "active v4-only-server-v6-client proven"}},
		{"refused, and nothing listens at all", pinned(machine("localhost", said("refused", "::1"), hosts("::1", "127.0.0.1"), dials("127.0.0.1", facts.Refused), dials("::1", facts.Refused))), []string{"broken", "active no-listener proven"}},
	} {
		t.Run(test.name, func(t *testing.T) { expect(t, test.facts, test.want...) })
	}
}

// What the client met is the first of the remarks, whatever stage it is at.
func TestTheRemarkThatFitsComesFirst(t *testing.T) {
	other := &Check{Name: "a-remark", Stage: StageResolve, Explains: []*Check{nameNotResolved}}
	fits := &Check{Name: "z-remark", Stage: StageListen, Explains: []*Check{refused}}
	found := []Finding{{Check: other, Stage: other.Stage, Brings: other.Explains, Remark: true}, {Check: fits, Stage: fits.Stage, Brings: fits.Explains, Remark: true}}
	for symptom, want := range map[string]string{"refused": "z-remark", "": "a-remark", "no-reply": "a-remark"} {
		d := &Diagnosis{}
		rank(d, found, facts.Target{Error: &facts.ClientError{Symptom: symptom}})
		if len(d.Remarks) != 2 || d.Remarks[0].Check.Name != want || len(d.Causes) > 0 {
			t.Errorf("%q: %s comes first", symptom, d.Remarks[0].Check.Name)
		}
	}
}

func TestFits(t *testing.T) {
	var none *facts.ClientError
	for _, test := range []struct {
		error   *facts.ClientError
		symptom string
		want    bool
	}{
		{none, "refused", false},
		{&facts.ClientError{Symptom: "refused"}, "refused", true},
		{&facts.ClientError{Symptom: "refused"}, "no-reply", false},
		{&facts.ClientError{}, "", false},
		{&facts.ClientError{Failed: true}, "no-reply", true},
		{&facts.ClientError{Failed: true}, "not-accepted", false},
	} {
		if got := test.error.Fits(test.symptom); got != test.want {
			t.Errorf("%+v, %q: %v", test.error, test.symptom, got)
		}
	}
}
