package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Kernels before 6.7 do not count OutTransmits: what lo sent stands in for it.
const (
	oldDiedOnOutput = "OutRequests=32 OutSegs=32"
	oldDiedOnInput  = "OutRequests=32 OutSegs=32 lo.tx=32 InReceives=32"
	// The server's answer was lost after it had crossed lo.
	replyDiedInside = "OutRequests=64 OutTransmits=64 OutSegs=64 lo.tx=64 InReceives=64 InDelivers=32 InSegs=32"
	// A rate limit lets some pass, and a neighbour's packet counts too.
	mostDiedOnInput = "OutRequests=33 OutTransmits=33 OutSegs=33 lo.tx=33 InReceives=33 InDelivers=7 InSegs=7"
	halfDiedOnInput = "OutRequests=32 OutTransmits=32 OutSegs=32 lo.tx=32 InReceives=32 InDelivers=16 InSegs=16"
	oneDiedOnInput  = "OutRequests=1 OutTransmits=1 OutSegs=1 lo.tx=1 InReceives=1"
	busyMachine     = "OutRequests=940 OutTransmits=940 OutSegs=900 lo.tx=900 InReceives=939 InDelivers=939 InSegs=920 OutRsts=3"
)

func firewallSituations() []situation {
	silent := dials("127.0.0.1", facts.Timeout)
	refusal := dials("127.0.0.1", facts.Refused)
	here := listens("127.0.0.1", 50)
	return slices.Concat(
		of(lostOnOutput,
			row{"a burst never left", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnOutput)), says("proven 127.0.0.1", "127.0.0.1:62893", "on its way out")},
			row{"as many died at input: one of the two is a reject's answer", machine("127.0.0.1", silent, counts("127.0.0.1", 32, "OutRequests=64 OutTransmits=32 OutSegs=32 lo.tx=32 InReceives=32")), says("inferred 127.0.0.1", "INPUT rejects it")},
			row{"one SYN never left", machine("127.0.0.1", silent, counts("127.0.0.1", 1, "OutRequests=1 OutSegs=1")), says("inferred 127.0.0.1")},
			row{"on an old kernel", machine("127.0.0.1", silent, counts("127.0.0.1", 32, oldDiedOnOutput), without("OutTransmits")), says("proven 127.0.0.1")},
			row{"in IPv6", machine("::1", dials("::1", facts.Timeout), counts("::1", 32, diedOnOutput)), says("proven ::1", "[::1]:62893")},
			row{"the burst counts, not the first SYN", machine("127.0.0.1", silent, counts("127.0.0.1", 1, busyMachine), counts("127.0.0.1", 32, diedOnOutput)), says("proven 127.0.0.1")},
			row{"it left", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnInput)), nothing},
			row{"it was the answer that did not leave", machine("127.0.0.1", silent, counts("127.0.0.1", 32, replyDied), halfOpen(32)), nothing},
			row{"the queue is full", machine("127.0.0.1", silent, counts("127.0.0.1", 1, queueFull)), nothing},
			row{"those counters are of another address", machine("127.0.0.1", silent, counts("127.0.0.2", 32, diedOnOutput)), nothing},
			row{"it connected", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), counts("127.0.0.1", 32, diedOnOutput)), nothing},
			row{"nothing was counted", machine("127.0.0.1", silent), nothing},
		),
		of(lostOnWire,
			row{"a burst never arrived", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnWire)), says("proven 127.0.0.1", "127.0.0.1:62893", "lo itself")},
			row{"in IPv6", machine("::1", dials("::1", facts.Timeout), counts("::1", 32, diedOnWire)), says("proven ::1")},
			row{"it never left", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnOutput)), nothing},
			row{"it went elsewhere, and the others were answered", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnWire), allConnected), nothing},
			row{"it arrived", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnInput)), nothing},
		),
		of(lostOnInput,
			row{"a burst arrived and no more", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnInput)), says("proven 127.0.0.1", "127.0.0.1:62893", "on its way in")},
			row{"a rate limit let a few pass", machine("127.0.0.1", silent, counts("127.0.0.1", 32, mostDiedOnInput)), says("proven 127.0.0.1")},
			row{"one SYN arrived and no more", machine("127.0.0.1", silent, counts("127.0.0.1", 1, oneDiedOnInput)), says("inferred 127.0.0.1")},
			row{"on an old kernel", machine("127.0.0.1", silent, counts("127.0.0.1", 32, oldDiedOnInput), without("OutTransmits")), says("proven 127.0.0.1")},
			row{"both families", machine("62893", silent, dials("::1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput), counts("::1", 32, diedOnInput)), says("proven 127.0.0.1 ::1", "[::1]:62893")},
			row{"half of them got through", machine("127.0.0.1", silent, counts("127.0.0.1", 32, halfDiedOnInput)), nothing},
			row{"it never arrived", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnWire)), nothing},
			row{"TCP took it, and its answer was lost", machine("127.0.0.1", silent, counts("127.0.0.1", 32, replyDiedInside), halfOpen(32)), nothing},
			row{"the queue is full", machine("127.0.0.1", silent, counts("127.0.0.1", 1, queueFull)), nothing},
			row{"others are busy, and nothing is lost", machine("127.0.0.1", silent, counts("127.0.0.1", 32, busyMachine)), nothing},
			row{"it was refused", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, forgedReset)), nothing},
		),
		of(replyLost,
			row{"the answer did not leave", machine("127.0.0.1", silent, counts("127.0.0.1", 32, replyDied), halfOpen(32)), says("proven 127.0.0.1", "127.0.0.1:62893", "OUTPUT")},
			row{"the answer did not come in", machine("127.0.0.1", silent, counts("127.0.0.1", 32, replyDiedInside), halfOpen(32)), says("proven 127.0.0.1", "INPUT")},
			row{"nobody could look for half-open sockets: the segments have to do", machine("127.0.0.1", silent, counts("127.0.0.1", 32, replyDied), unseen(facts.GroupSockets)), says("inferred 127.0.0.1")},
			row{"segments of others are none of ours", machine("127.0.0.1", listens("127.0.0.1", 50), silent, counts("127.0.0.1", 32, replyDied)), nothing},
			row{"TCP never saw the SYN", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnInput)), nothing},
			row{"the SYN did not leave", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnOutput)), nothing},
			row{"the queue is full", machine("127.0.0.1", silent, counts("127.0.0.1", 1, queueFull)), nothing},
		),
		of(filterRejectsLoopback,
			row{"a reset that TCP did not send", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, forgedReset)), says("proven 127.0.0.1", "127.0.0.1:62893", "in", "a forged reset", "ECONNREFUSED")},
			row{"the same where nothing listens", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, forgedReset)), says("proven 127.0.0.1")},
			row{"the SYN that was sent again was answered", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, forgedReset), answered), nothing},
			row{"the SYN that was sent again got no answer: a rule of chance dropped it", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, oneDiedOnInput), lostAgain), nothing},
			row{"an ICMP error from INPUT", machine("127.0.0.1", dials("127.0.0.1", facts.Refused, icmp("3/3")), counts("127.0.0.1", 1, forgedReset)), says("proven 127.0.0.1", "ICMP")},
			row{"an ICMP error from OUTPUT", machine("127.0.0.1", dials("127.0.0.1", facts.Refused, icmp("3/13"), errno("EHOSTUNREACH")), counts("127.0.0.1", 1, "OutRequests=2 OutTransmits=1 OutSegs=1 lo.tx=1 InReceives=1 InDelivers=1")), says("proven 127.0.0.1 at output", "out", "EHOSTUNREACH")},
			row{"in IPv6", machine("::1", dials("::1", facts.Refused, icmp("1/1"), errno("EACCES")), counts("::1", 1, forgedReset)), says("proven ::1", "[::1]:62893", "EACCES")},
			row{"TCP's own reset", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, realReset)), nothing},
			row{"TCP's own reset, on a busy machine", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, busyMachine)), nothing},
			row{"it got no answer", machine("127.0.0.1", silent, counts("127.0.0.1", 32, diedOnInput)), nothing},
			row{"nothing was counted", machine("127.0.0.1", refusal), nothing},
		),
		of(answeredElsewhere,
			row{"the far end has another port", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected, arrivesAt("127.0.0.1:9999"))), says("proven 127.0.0.1", "127.0.0.1:62893", "port 9999")},
			row{"the reset is real, although it listens", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, realReset)), says("inferred 127.0.0.1", "server (pid 50)", "127.0.0.1:62893")},
			row{"the same, seen by a capture", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, realReset), wentTo(1999)), says("proven 127.0.0.1")},
			row{"the capture saw the right port alone", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, realReset), wentTo(port)), says("inferred 127.0.0.1")},
			row{"refused by something that is not on lo", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, "OutRequests=1 OutSegs=1 OutTransmits=1 InSegs=1")), says("inferred 127.0.0.1", "not on lo")},
			row{"the far end has the right port", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected)), nothing},
			row{"nothing listens, so the reset is right", machine("127.0.0.1", refusal, counts("127.0.0.1", 1, realReset)), nothing},
			row{"the SYN that was sent again got no answer", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, oneDiedOnInput), lostAgain), nothing},
			row{"the reset is forged", machine("127.0.0.1", here, refusal, counts("127.0.0.1", 1, forgedReset)), nothing},
			row{"an ICMP error refused it", machine("127.0.0.1", here, dials("127.0.0.1", facts.Refused, icmp("3/3")), counts("127.0.0.1", 1, realReset)), nothing},
			row{"nothing was counted", machine("127.0.0.1", here, refusal), nothing},
		),
	)
}

func TestFirewall(t *testing.T) { judge(t, firewallSituations()) }

// Which rule it is nobody knows here, so nothing can be run; and nobody is told
// to switch off the firewall.
func TestFirewallIsCuredByHandAndSparingly(t *testing.T) {
	for _, s := range firewallSituations() {
		for _, x := range found(t, s.check, s.facts) {
			if x.Settle == "" {
				t.Errorf("%s: it does not say how to find the rule", s)
			}
			for _, fix := range x.Fixes {
				if !slices.Equal(spell(fix), []string{"by hand"}) {
					t.Errorf("%s: %q", s, spell(fix))
				}
				for _, never := range []string{"flush", "-F", "systemctl stop", "policy", "disable"} {
					if strings.Contains(fix.Do, never) {
						t.Errorf("%s: %q is more than loopback needs: %s", s, never, fix.Do)
					}
				}
			}
		}
	}
}

// Evidence quotes the numbers it rests on, and the packets when they were seen.
func TestLossQuotesWhatWasCounted(t *testing.T) {
	f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput), wentTo(port))
	got := ""
	for _, e := range found(t, lostOnInput, f)[0].Evidence {
		got += e.Source + ": " + e.Text + "\n"
	}
	for _, want := range []string{
		"counters: of 32 SYNs, 32 arrived and were never handed to TCP\n",
		"packets: 127.0.0.1:40000 to 127.0.0.1:62893: S, no reply\n",
		"socket: tcp listen 127.0.0.1:62893, accept queue 0 of 5: server (pid 50)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestConversationInOneLine(t *testing.T) {
	syn := facts.Packet{FromClient: true, Flags: "S", Out: true, In: true}
	for want, packets := range map[string][]facts.Packet{
		" S, no reply":                       {syn},
		" S ←S. .":                           {syn, {Flags: "S."}, {FromClient: true, Flags: ".", Out: true, In: true}},
		" S ←ICMP 3/3":                       {syn, {ICMP: "3/3"}},
		" S (left, never arrived), no reply": {{FromClient: true, Flags: "S", Out: true}},
		" S S S S S S …, no reply":           {syn, syn, syn, syn, syn, syn, syn},
	} {
		c := facts.Conversation{Client: addr("127.0.0.2"), Server: addr("127.0.0.1"), Packets: packets}
		if got := strings.TrimPrefix(ladder(c), "127.0.0.2:62893 to 127.0.0.1:62893:"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// answered: the SYN between the two looks at the counters was taken by a server.
func answered(f *facts.Facts) {
	f.Ledger[len(f.Ledger)-1].Outcomes = map[string]int{string(facts.Connected): 1}
}

// allConnected: the SYNs between the two looks at the counters were all taken.
func allConnected(f *facts.Facts) {
	l := &f.Ledger[len(f.Ledger)-1]
	l.Outcomes = map[string]int{string(facts.Connected): l.SYNs}
}

// lostAgain: the SYN between the two looks at the counters met another fate.
func lostAgain(f *facts.Facts) {
	f.Ledger[len(f.Ledger)-1].Outcomes = map[string]int{string(facts.Timeout): 1}
}

// Of several conversations with the server the one that is quoted is ours.
func TestOurConversationIsQuoted(t *testing.T) {
	talk := func(client string, ours bool) facts.Conversation {
		return facts.Conversation{Network: "tcp", Client: netip.MustParseAddrPort(client), Server: addr("127.0.0.1"), Ours: ours, Packets: []facts.Packet{{FromClient: true, Flags: "S", Out: true, In: true}}}
	}
	theirs, ours := talk("127.0.0.1:50000", false), talk("127.0.0.1:50001", true)
	f := &facts.Facts{Packets: &facts.Packets{Conversations: []facts.Conversation{theirs, ours}}}
	if got := conversations(f, facts.Dial{Addr: v4Loopback}); len(got) != 1 || got[0].Client != ours.Client {
		t.Errorf("got %v", got)
	}
	f.Packets.Conversations = []facts.Conversation{theirs} // recorded by a loopdoctor that did not say
	if got := conversations(f, facts.Dial{Addr: v4Loopback}); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
