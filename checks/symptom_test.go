package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func symptomSituations() []situation {
	here := listens("127.0.0.1", 50)
	return slices.Concat(
		of(nameNotResolved,
			row{"localhost is nothing", machine("localhost", hosts()), says("proven 127.0.0.1 ::1", "localhost")},
			row{"the port alone was asked for", machine("62893", hosts()), nothing},
			row{"an address was named", machine("127.0.0.1", hosts()), nothing},
			row{"it is something", machine("localhost"), nothing},
		),
		of(nameLeadsElsewhere,
			row{"localhost is another machine", machine("localhost", hosts("10.0.0.9")), says("proven 127.0.0.1 ::1", "localhost", "10.0.0.9")},
			row{"127.0.0.1 comes first", machine("localhost", hosts("127.0.0.1", "10.0.0.9")), nothing},
			row{"127.0.1.1 is loopback too", machine("localhost", hosts("127.0.1.1")), nothing},
			row{"a name of this machine has its own address", machine("localhost", asksFor("shop"), hosts("10.0.0.9")), nothing},
			row{"the port alone was asked for", machine("62893", hosts("10.0.0.9")), nothing},
		),
		of(unreachable,
			row{"no route", machine("127.0.0.1", dials("127.0.0.1", facts.Unreachable)), says("proven 127.0.0.1", "127.0.0.1:62893", "ENETUNREACH")},
			row{"another errno", machine("127.0.0.1", dials("127.0.0.1", facts.Failed, errno("ENOMEM"))), says("proven 127.0.0.1", "ENOMEM")},
			row{"as one of two users", machine("127.0.0.1", clients(1000, 0), dials("127.0.0.1", facts.Unreachable), dials("127.0.0.1", facts.Connected, as(0))), says("proven 127.0.0.1", "for uid 1000")},
			row{"::1 has none, and nobody asked for it", machine("62893", here, dials("127.0.0.1", facts.Connected), dials("::1", facts.Unreachable)), nothing},
			row{"refused", machine("127.0.0.1", dials("127.0.0.1", facts.Refused)), nothing},
		),
		of(denied,
			row{"forbidden", machine("127.0.0.1", dials("127.0.0.1", facts.Denied, errno("EACCES"))), says("proven 127.0.0.1", "127.0.0.1:62893", "EACCES")},
			row{"no route", machine("127.0.0.1", dials("127.0.0.1", facts.Unreachable)), nothing},
		),
		of(noReply,
			row{"silence", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout)), says("proven 127.0.0.1", "127.0.0.1:62893")},
			row{"silence, lost on its way out", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput)), says("proven 127.0.0.1 at output")},
			row{"silence, lost on lo", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnWire)), says("proven 127.0.0.1 at wire")},
			row{"silence, lost on its way in", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput)), says("proven 127.0.0.1 at input")},
			row{"silence, the answer lost", machine("127.0.0.1", here, dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, replyDied), halfOpen(32)), says("proven 127.0.0.1 at reply")},
			row{"the refusal lost: it would be refused", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, replyDied+" OutRsts=32")), nothing},
			row{"silence in both families", machine("62893", dials("127.0.0.1", facts.Timeout), dials("::1", facts.Timeout)), says("proven 127.0.0.1 ::1", "127.0.0.1:62893", "[::1]:62893")},
			row{"it connected late", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected, late)), nothing},
			row{"nobody waits for an answer: not dialled", machine("127.0.0.1", dials("127.0.0.1", facts.Skipped)), nothing},
		),
		of(refused,
			row{"refused", machine("127.0.0.1", dials("127.0.0.1", facts.Refused)), says("proven 127.0.0.1", "127.0.0.1:62893", "ECONNREFUSED")},
			row{"refused by TCP", machine("127.0.0.1", dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset)), says("proven 127.0.0.1")},
			row{"refused by a filter on the way in", machine("127.0.0.1", dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, forgedReset)), says("proven 127.0.0.1 at input")},
			row{"refused where nobody serves, while the other family answers", machine("62893", here, dials("127.0.0.1", facts.Connected), dials("::1", facts.Refused)), nothing},
			row{"silence", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout)), nothing},
			row{"refused, and the reset is lost", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, replyDied+" OutRsts=32")), says("proven 127.0.0.1 at reply", "the reset that says so is lost")},
		),
		of(portUnreachable,
			row{"no UDP socket is bound", machine("127.0.0.1", asksUDP), says("proven 127.0.0.1", "127.0.0.1:62893")},
			row{"TCP listens, which is no help", machine("127.0.0.1", asksUDP, listens("127.0.0.1", 50)), says("proven 127.0.0.1")},
			row{"it is bound in the other family", machine("127.0.0.1", asksUDP, udp(facts.Bound, "::1", "", 50)), says("proven 127.0.0.1")},
			row{"it is bound to all addresses", machine("127.0.0.1", asksUDP, udp(facts.Bound, "0.0.0.0", "", 50)), nothing},
			row{"TCP is asked for", machine("127.0.0.1"), nothing},
		),
		of(answeredByAnother,
			row{"nginx listens, and something at 9999 answers", machine("127.0.0.1", listens("127.0.0.1", 50, named("nginx")), dials("127.0.0.1", facts.Connected, arrivesAt("127.0.0.1:9999"))), says("proven 127.0.0.1", "nginx (pid 50)", "port 9999")},
			row{"docker-proxy holds the port on purpose", machine("127.0.0.1", listens("127.0.0.1", 50, named("docker-proxy")), dials("127.0.0.1", facts.Connected, arrivesAt("172.17.0.2:80"))), nothing},
			row{"so does a container", machine("127.0.0.1", listens("127.0.0.1", 50, container), dials("127.0.0.1", facts.Connected, arrivesAt("172.17.0.2:80"))), nothing},
			row{"nothing listens: the redirect is what was meant", machine("127.0.0.1", dials("127.0.0.1", facts.Connected, arrivesAt("127.0.0.1:9999"))), nothing},
			row{"the owner is not known", machine("127.0.0.1", listens("127.0.0.1", 0), dials("127.0.0.1", facts.Connected, arrivesAt("127.0.0.1:9999"))), nothing},
			row{"the port is the right one", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected)), nothing},
		),
		of(notAccepted,
			row{"it waits in the queue", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected, waiting)), says("proven 127.0.0.1", "127.0.0.1:62893", "300 ms")},
			row{"the twin of the one that answered is stopped", machine("127.0.0.1", here, listens("127.0.0.1", 51, stopped), dials("127.0.0.1", facts.Connected)), says("proven 127.0.0.1", "One of the 2 listeners")},
			row{"the last packet is lost, and the server sent cookies", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected, nobodyHere), counts("127.0.0.1", 4, "OutRequests=12 OutTransmits=12 InReceives=12 InDelivers=8 SyncookiesSent=4")), says("proven 127.0.0.1 at input", "the last packet of the handshake")},
			row{"the server's side is in a container", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected, nobodyHere), counts("127.0.0.1", 4, "OutRequests=12 OutTransmits=12 InReceives=4 InDelivers=4")), nothing},
			row{"it was accepted", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected)), nothing},
			row{"the server waits for the first byte", machine("127.0.0.1", here, dials("127.0.0.1", facts.Deferred)), nothing},
			row{"both twins run", machine("127.0.0.1", here, listens("127.0.0.1", 51), dials("127.0.0.1", facts.Connected)), nothing},
		),
		of(closedAtOnce,
			row{"closed unasked", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected, closedBy)), says("proven 127.0.0.1", "127.0.0.1:62893", "end of file")},
			row{"kept open", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected)), nothing},
		),
		of(cannotBind,
			row{"taken", machine("127.0.0.1", toBind, binds("127.0.0.1", "EADDRINUSE", true)), says("proven 127.0.0.1", "127.0.0.1:62893", "ann", "EADDRINUSE")},
			row{"forbidden", machine("127.0.0.1", toBind, binds("127.0.0.1", "EACCES", true)), says("proven 127.0.0.1", "EACCES")},
			row{"taken for those alone who do not set SO_REUSEADDR", machine("127.0.0.1", toBind, binds("127.0.0.1", "", true), binds("127.0.0.1", "EADDRINUSE", false)), nothing},
			row{"free", machine("127.0.0.1", toBind, binds("127.0.0.1", "", true)), nothing},
			row{"the question is who can connect", machine("127.0.0.1", binds("127.0.0.1", "EADDRINUSE", true)), nothing},
		),
	)
}

func TestSymptom(t *testing.T) { judge(t, symptomSituations()) }

// What nothing explains is not the end: each symptom says what would settle it.
func TestSymptomSaysWhatWouldSettleIt(t *testing.T) {
	for _, test := range []struct {
		check *Check
		facts *facts.Facts
		want  string
	}{
		{nameNotResolved, machine("localhost", hosts()), "getent ahosts localhost"},
		{nameLeadsElsewhere, machine("localhost", hosts("10.0.0.9")), "getent ahosts localhost"},
		{unreachable, machine("127.0.0.1", dials("127.0.0.1", facts.Unreachable)), "ip route get 127.0.0.1"},
		{denied, machine("::1", dials("::1", facts.Denied)), "ip route get ::1"},
		{noReply, machine("127.0.0.1", dials("127.0.0.1", facts.Timeout)), "sudo tcpdump -ni lo host 127.0.0.1 and port 62893"},
		{refused, machine("127.0.0.1", dials("127.0.0.1", facts.Refused)), "sudo ss -tlnp 'sport = :62893'"},
		{portUnreachable, machine("127.0.0.1", asksUDP), "ss -uln 'sport = :62893'"},
		{notAccepted, machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected, waiting)), "ss -tln 'sport = :62893'"},
		{cannotBind, machine("127.0.0.1", toBind, binds("127.0.0.1", "EACCES", true)), "sudo ss -tanp 'sport = :62893'"},
		{cannotBind, machine("127.0.0.1", toBind, binds("127.0.0.1", "EADDRNOTAVAIL", true)), "ip -br address"},
	} {
		fs := found(t, test.check, test.facts)
		if len(fs) != 1 || fs[0].Settle != test.want {
			t.Errorf("%s: got %v, want one that is settled by %q", test.check.Name, fs, test.want)
		}
		for _, x := range fs {
			if len(x.Fixes) > 0 || x.Remark {
				t.Errorf("%s: a symptom is neither cured nor a remark", test.check.Name)
			}
		}
	}
}

// A connect that fails quotes who tried it, and how long it took.
func TestSymptomQuotesTheConnect(t *testing.T) {
	f := machine("127.0.0.1", clients(0, 1000), dials("127.0.0.1", facts.Connected, as(0)), dials("127.0.0.1", facts.Refused, func(d *facts.Dial) { d.ElapsedMS = 0.25 }))
	x := found(t, refused, f)[0]
	if len(x.Evidence) != 1 || x.Evidence[0].Text != "127.0.0.1:62893 as uid 1000: ECONNREFUSED after 0.2 ms" || !strings.Contains(x.Summary, "for uid 1000") {
		t.Errorf("got %q with %v", x.Summary, x.Evidence)
	}
}
