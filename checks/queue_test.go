package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// readers are the queues that a program reads.
func readers(numbers ...uint16) change {
	return func(f *facts.Facts) {
		rulesOf(f).Queues = &facts.PacketQueues{}
		for _, n := range numbers {
			f.Filters.Queues.Read = append(f.Filters.Queues.Read, facts.PacketQueue{Number: n, Reader: "suricata (pid 12)"})
		}
	}
}

// inQueue is a stop by a queue, in the words of the walk.
func inQueue(with string, r facts.FilterRule) func(*facts.FilterWalk) {
	return func(w *facts.FilterWalk) {
		w.Stops = append(w.Stops, facts.FilterStop{Rule: r, Where: whereOf(r), Verdict: "queue", With: with})
	}
}

func queueSituations() []situation {
	here := listens("127.0.0.1", 50)
	silent := dials("127.0.0.1", facts.Timeout)
	in := counts("127.0.0.1", 32, diedOnInput)
	out := counts("127.0.0.1", 32, diedOnOutput)
	r := iptablesNFTRule("INPUT", "-p tcp -j NFQUEUE --queue-num 3")
	syn := func(changes ...func(*facts.FilterWalk)) change { return walks("127.0.0.1", facts.Syn, changes...) }
	return of(packetQueueWithoutReader,
		row{"nobody reads it", machine("127.0.0.1", here, silent, in, syn(inQueue("queue 3", r)), readers()), says("proven 127.0.0.1", "queue 3", "no program reads", "chain INPUT, rule 3")},
		row{"at output", machine("127.0.0.1", here, silent, out, syn(inQueue("queue 0", nftRule("output", "queue to 0"))), readers(3)), says("proven 127.0.0.1 at output", "queue 0")},
		row{"the answer", machine("127.0.0.1", here, silent, counts("127.0.0.1", 32, replyDied), halfOpen(32), syn(), walks("127.0.0.1", facts.SynAck, inQueue("queue 3", nftRule("output", "queue to 3"))), readers()), says("proven 127.0.0.1 at reply", "the answer of")},
		row{"nobody could look", machine("127.0.0.1", here, silent, in, syn(inQueue("queue 3", r))), says("inferred 127.0.0.1", "if no program reads")},
		row{"one of several", machine("127.0.0.1", here, silent, in, syn(inQueue("queue 3-5", r)), readers(3, 4)), says("inferred 127.0.0.1", "queue 3-5")},
		row{"none of several", machine("127.0.0.1", here, silent, in, syn(inQueue("queue 3-5", r)), readers(6)), says("proven 127.0.0.1", "queue 3-5")},
		row{"the second queue has no reader", machine("127.0.0.1", here, silent, in, syn(inQueue("queue 1", nftRule("input", "queue to 1")), inQueue("queue 3", r)), readers(1)), says("proven 127.0.0.1", "queue 3")},
		row{"a number that is none", machine("127.0.0.1", here, silent, in, syn(inQueue("queue", r)), readers(1)), says("inferred 127.0.0.1")},

		row{"somebody reads it", machine("127.0.0.1", here, silent, in, syn(inQueue("queue 3", r)), readers(3)), nothing},
		row{"somebody reads all", machine("127.0.0.1", here, silent, in, syn(inQueue("queue 3-5", r)), readers(3, 4, 5)), nothing},
		row{"it was lost elsewhere", machine("127.0.0.1", here, silent, out, syn(inQueue("queue 3", r)), readers()), nothing},
		row{"with bypass", machine("127.0.0.1", here, silent, in, syn(perhaps("queue", "whether a program reads queue 3", r)), readers()), nothing},
		row{"a rule before it drops", machine("127.0.0.1", here, silent, in, syn(dropped(nftRule("input", "drop")), inQueue("queue 3", r)), readers()), nothing},
		row{"it connects", machine("127.0.0.1", here, dials("127.0.0.1", facts.Connected), syn(inQueue("queue 3", r)), readers(3)), nothing},
	)
}

func TestQueue(t *testing.T) { judge(t, queueSituations()) }

func TestBypass(t *testing.T) {
	for _, c := range []struct {
		rule facts.FilterRule
		want string // the step, and the undo
	}{
		{iptablesNFTRule("INPUT", "-p tcp -j NFQUEUE --queue-num 3"), "iptables-nft -R INPUT 3 -p tcp -j NFQUEUE --queue-num 3 --queue-bypass; iptables-nft -R INPUT 3 -p tcp -j NFQUEUE --queue-num 3"},
		{nftRule("input", "tcp dport 62893 queue to 3"), "nft replace rule inet guard input handle 4 tcp dport 62893 queue flags bypass to 3; nft replace rule inet guard input handle 4 tcp dport 62893 queue to 3"},
		{nftRule("input", "queue flags fanout to 3-5"), "nft replace rule inet guard input handle 4 queue flags fanout,bypass to 3-5; nft replace rule inet guard input handle 4 queue flags fanout to 3-5"},
		{nftRule("input", "queue to 3", withoutWords), ""},
		{nftRule("input", "queue to 3", ownedBy("x (pid 3)")), ""},
		{nftRule("input", "tcp dport 62893 drop"), ""},
		{iptablesNFTRule("f2b-sshd", "-j NFQUEUE"), ""},
		{nftRule("input", "queue to 3", func(r *facts.FilterRule) { r.Chain = "a b;c" }), ""},
	} {
		fix, ok := withBypass(machine("127.0.0.1", syn()), c.rule)
		var got []string
		for _, s := range slices.Concat(fix.Steps, fix.Undo) {
			got = append(got, strings.Join(s, " "))
		}
		if s := strings.Join(got, "; "); s != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, want %q", c.rule.Text, s, c.want)
		}
	}
}

func syn() change { return walks("127.0.0.1", facts.Syn) }

func TestQueueNumbers(t *testing.T) {
	for text, want := range map[string][3]int{"queue 3": {3, 3, 1}, "queue num 3-5": {3, 5, 1}, "queue": {}, "": {}, "queue 5-3": {}, "queue 70000": {}, "queue x": {}} {
		a, b, ok := queueNumbers(text)
		if got := [3]int{a, b, cond(ok, 1, 0)}; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
