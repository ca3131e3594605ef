package report

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// clientRan is clientSaid, of a client that loopdoctor ran.
func clientRan() Run {
	r := clientSaid()
	f := *r.Facts[0]
	e := *f.Target.Error
	e.Text, e.Client = "connect to [::1]:62893: ECONNREFUSED", "node"
	f.Target.Error = &e
	f.Target.Met = &facts.Met{Program: "node", Args: []string{"node", "client.js", "--token=***"}, PID: 77, Exit: 1, ElapsedMS: 81.5,
		Connects: []facts.Attempt{
			{To: netip.MustParseAddrPort("[::1]:62893"), Network: "tcp", PID: 77, Program: "node", Outcome: facts.Refused, Errno: "ECONNREFUSED", AfterMS: 61.5, ElapsedMS: 0.1, Count: 3, Looked: true},
			{To: netip.MustParseAddrPort("127.0.0.1:3128"), Network: "tcp", PID: 78, Program: "curl", Outcome: facts.Connected, AfterMS: 70, ElapsedMS: 0.2, Count: 1, Sent: 80, End: facts.EndedByServer,
				From: netip.MustParseAddrPort("127.0.0.1:40000"), Proxy: "http_proxy"},
		}, Elsewhere: 2, Failed: 1, Notes: []string{"sudo was not watched: it takes another user's rights."}}
	return run(&f, r.Diagnoses[0])
}

func TestRanNotes(t *testing.T) {
	r := clientRan()
	note := New(r).Targets[0].Notes[0]
	for _, want := range []string{"node (pid 77) ended with status 1. It met ECONNREFUSED at [::1]:62893, 3 times; a connection to 127.0.0.1:3128, 80 bytes sent, 0 received, closed by the other side (the proxy of http_proxy) by curl (pid 78).",
		"other machines 2 times (1 failed).", "loopdoctor meets the same."} {
		if !strings.Contains(note, want) {
			t.Errorf("%q is not in %q", want, note)
		}
	}
	f := *r.Facts[0]
	f.Target.Error, f.Target.Met = nil, &facts.Met{Program: "a\x1b[2J", PID: 1, Signal: "SIGKILL", Exit: 137}
	if note := New(run(&f, r.Diagnoses[0])).Targets[0].Notes[0]; !strings.HasSuffix(note, "was ended by SIGKILL.") || strings.Contains(note, "\x1b") {
		t.Errorf("%q", note)
	}
}
