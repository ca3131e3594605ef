package checks

import (
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func dataLostSituations() []situation {
	here, fine := listens("127.0.0.1", 50, named("node")), dials("127.0.0.1", facts.Connected)
	m := func(changes ...change) *facts.Facts { return machine("127.0.0.1", changes...) }
	question := func(a *facts.Answer) { a.Unacked = 78 }
	answer := func(a *facts.Answer) { a.Server.Unacked = 512 }
	atOnce := func(a *facts.Answer) { a.ElapsedMS = 20 }
	return of(dataLostAfterHandshake,
		row{"the question", m(here, fine, asks("127.0.0.1", 0, question)), says("proven 127.0.0.1", "what the client sends")},
		row{"the answer", m(here, fine, asks("127.0.0.1", 0, answer)), says("proven 127.0.0.1 at reply", "the answer")},
		row{"it was not sent again yet", m(here, fine, asks("127.0.0.1", 0, question, atOnce)), says("inferred 127.0.0.1")},
		row{"it arrived and lies unread", m(here, fine, asks("127.0.0.1", 78)), nothing},
		row{"it was read", m(here, fine, asks("127.0.0.1", 0)), nothing},
		row{"an answer came, and more of it is on the way", m(here, fine, asks("127.0.0.1", 0, gotAnswer, answer)), nothing},
		row{"the server's side is in another place", m(here, fine, asks("127.0.0.1", 0, question, func(a *facts.Answer) { a.Server = nil })), nothing},
	)
}

func TestDataLost(t *testing.T) { judge(t, dataLostSituations()) }

// What was not delivered is not the application's fault.
func TestWhatIsLostIsNotTheApplications(t *testing.T) {
	for _, lost := range []func(*facts.Answer){func(a *facts.Answer) { a.Unacked = 78 }, func(a *facts.Answer) { a.Server.Unacked = 9 }} {
		f := machine("127.0.0.1", listens("127.0.0.1", 50, named("node")), dials("127.0.0.1", facts.Connected), asks("127.0.0.1", 0, lost), atWork(50, busyFor(50, 119)))
		expect(t, f, "broken", "active data-lost-after-handshake proven")
	}
}
