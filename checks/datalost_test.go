package checks

import (
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func dataLostSituations() []situation {
	here, fine := listens("127.0.0.1", 50, named("node")), dials("127.0.0.1", facts.Connected)
	m := func(changes ...change) *facts.Facts { return machine("127.0.0.1", changes...) }
	question := func(a *facts.Answer) { a.Unacked = 78 }
	answer := func(a *facts.Answer) { a.Server.Unacked = 512 }
	atOnce := func(a *facts.Answer) { a.ElapsedMS = 20 }
	// The sender waits for room; the receiver's buffer is of that many bytes.
	waits := func(buffer uint32) func(*facts.Answer) {
		return func(a *facts.Answer) {
			a.Unacked, a.Unsent, a.Server.Room = 78, 78, &facts.ReceiveRoom{Buffer: buffer}
		}
	}
	answerWaits := func(buffer uint32) func(*facts.Answer) {
		return func(a *facts.Answer) {
			a.Server.Unacked, a.Server.Unsent, a.Room = 512, 512, &facts.ReceiveRoom{Buffer: buffer}
		}
	}
	thrown := func(n, buffer uint32) func(*facts.Answer) {
		return func(a *facts.Answer) {
			a.Server.Unacked, a.Room = 512, &facts.ReceiveRoom{Buffer: buffer, Dropped: n}
		}
	}
	lengthRule, outRule := nftRule("input", "tcp dport 62893 meta length > 100 drop"), nftRule("output", "tcp sport 62893 meta length > 100 drop")
	unread := func(a *facts.Answer) { a.Server.Unread = 18 }
	return slices.Concat(of(receiveWindowClosed,
		row{"of the server, by a tiny buffer", m(here, fine, asks("127.0.0.1", 0, waits(1))), says("proven 127.0.0.1", "is 1 byte,", "tcp_rmem")},
		row{"of the client", m(here, fine, asks("127.0.0.1", 0, answerWaits(1))), says("proven 127.0.0.1 at reply", "its answer finds no room at the client", "tcp_rmem")},
		row{"of the client, which throws it away", m(here, fine, asks("127.0.0.1", 0, thrown(3, 1))), says("proven 127.0.0.1 at reply", "tcp_rmem")},
		row{"there is room, and somebody says there is none", m(here, fine, asks("127.0.0.1", 0, waits(131072))), says("inferred 127.0.0.1", "rewrites the window")},
		row{"who has the other end is not seen", m(here, fine, asks("127.0.0.1", 0, waits(1), func(a *facts.Answer) { a.Server.Room = nil })), says("inferred 127.0.0.1", "SO_RCVBUF")},
		row{"the program does not read, and fills it", m(here, fine, asks("127.0.0.1", 0, waits(2304), unread)), nothing},
		row{"it was sent, and is lost", m(here, fine, asks("127.0.0.1", 0, question)), nothing},
		row{"a part of it was sent, and is lost", m(here, fine, asks("127.0.0.1", 0, waits(131072), func(a *facts.Answer) { a.Unsent = 40 })), nothing},
	), of(dataLostAfterHandshake,
		row{"it was never sent: the window is closed", m(here, fine, asks("127.0.0.1", 0, waits(131072))), nothing},
		row{"a rule that looks at what the packet carries", m(here, fine, asks("127.0.0.1", 0, question), walks("127.0.0.1", facts.Syn), walks("127.0.0.1", facts.Data, perhaps("drop", "meta length", lengthRule))),
			says("inferred 127.0.0.1", "probably", "handle 4", "meta length")},
		row{"one that is certain", m(here, fine, asks("127.0.0.1", 0, question), walks("127.0.0.1", facts.Data, dropped(lengthRule))), says("proven 127.0.0.1", "a packet filter drops it, nftables", "handle 4")},
		row{"one of the answer", m(here, fine, asks("127.0.0.1", 0, answer), walks("127.0.0.1", facts.DataBack, perhaps("drop", "meta length", outRule))), says("inferred 127.0.0.1 at reply", "the answer is lost", "handle 4")},
		row{"one of the other direction", m(here, fine, asks("127.0.0.1", 0, question), walks("127.0.0.1", facts.DataBack, perhaps("drop", "meta length", outRule))), says("proven 127.0.0.1", "a traffic control")},
		row{"one of chance, which the handshake passed", m(here, fine, asks("127.0.0.1", 0, question), walks("127.0.0.1", facts.Ack, perhaps("drop", "numgen random", lengthRule)), walks("127.0.0.1", facts.Data, perhaps("drop", "numgen random", lengthRule))), says("proven 127.0.0.1", "a traffic control")},
		row{"a quota, which the handshake left something of", m(here, fine, asks("127.0.0.1", 0, question), walks("127.0.0.1", facts.Ack, perhaps("drop", "quota over 300 bytes", lengthRule)), walks("127.0.0.1", facts.Data, perhaps("drop", "quota over 300 bytes", lengthRule))), says("inferred 127.0.0.1", "quota over 300 bytes")},
		row{"the receiver has no room for it", m(here, fine, asks("127.0.0.1", 0, thrown(3, 1))), nothing},
		row{"the receiver threw packets away, and has room", m(here, fine, asks("127.0.0.1", 0, thrown(3, 131072))), says("proven 127.0.0.1 at reply")},
		row{"the question", m(here, fine, asks("127.0.0.1", 0, question)), says("proven 127.0.0.1", "what the client sends")},
		row{"the answer", m(here, fine, asks("127.0.0.1", 0, answer)), says("proven 127.0.0.1 at reply", "the answer")},
		row{"it was not sent again yet", m(here, fine, asks("127.0.0.1", 0, question, atOnce)), says("inferred 127.0.0.1")},
		row{"it arrived and lies unread", m(here, fine, asks("127.0.0.1", 78)), nothing},
		row{"it was read", m(here, fine, asks("127.0.0.1", 0)), nothing},
		row{"an answer came, and more of it is on the way", m(here, fine, asks("127.0.0.1", 0, gotAnswer, answer)), nothing},
		row{"the server's side is in another place", m(here, fine, asks("127.0.0.1", 0, question, func(a *facts.Answer) { a.Server = nil })), nothing},
	))
}

func TestDataLost(t *testing.T) { judge(t, dataLostSituations()) }

// What was not delivered is not the application's fault.
func TestWhatIsLostIsNotTheApplications(t *testing.T) {
	for _, lost := range []func(*facts.Answer){func(a *facts.Answer) { a.Unacked = 78 }, func(a *facts.Answer) { a.Server.Unacked = 9 }} {
		f := machine("127.0.0.1", listens("127.0.0.1", 50, named("node")), dials("127.0.0.1", facts.Connected), asks("127.0.0.1", 0, lost), atWork(50, busyFor(50, 119)))
		expect(t, f, "broken", "active data-lost-after-handshake proven")
	}
}

// A program that does not read closes the window itself: of a long question a part arrives.
func TestWhoDoesNotReadClosesTheWindow(t *testing.T) {
	f := machine("127.0.0.1", listens("127.0.0.1", 50, named("node")), dials("127.0.0.1", facts.Connected), asks("127.0.0.1", 18, func(a *facts.Answer) {
		a.Unacked, a.Unsent, a.Server.Room = a.Sent-18, a.Sent-18, &facts.ReceiveRoom{Buffer: 2304}
	}))
	expect(t, f, "broken", "active accepts-never-reads proven")
}
