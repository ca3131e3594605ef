package checks

import (
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	byClsact = " tc.clsact=32"
	byRoot   = " tc.root=32"
)

func trafficSituations() []situation {
	silent := dials("127.0.0.1", facts.Timeout)
	bytecode := facts.Filter{At: "ingress", Priority: 5, Protocol: "ip", Kind: "bpf", Options: []string{"da", "bytecode", "1,6 0 0 2"}, Full: true}
	v6 := facts.Filter{At: "ingress", Priority: 6, Protocol: "ipv6", Kind: "bpf"}
	object := facts.Filter{At: "egress", Priority: 1, Protocol: "all", Kind: "bpf", Name: "chaos.o:[cls]"}
	counted := func(n uint64) facts.Filter {
		return facts.Filter{At: "ingress", Priority: 9, Protocol: "all", Kind: "matchall", Drops: &n}
	}
	bucket := discipline("tbf", "rate", "1000bit", "burst", "100b", "limit", "100b")
	lost := func(more string) change { return counts("127.0.0.1", 32, diedOnWire+more) }
	return slices.Concat(
		of(tcOrXDPDropsOnLo,
			row{"a filter, and clsact counts its drops", machine("127.0.0.1", silent, filters(bytecode, v6), lost(byClsact)), says("proven 127.0.0.1", "bpf filter 5 at ingress", "lo")},
			row{"two that do not count", machine("127.0.0.1", silent, filters(bytecode, object), lost(byClsact)), says("proven 127.0.0.1", "one of", "filter 5 at ingress", "chaos.o")},
			row{"one that counts", machine("127.0.0.1", silent, filters(bytecode, counted(40)), lost(byClsact+" tc.ingress.9=32")), says("proven 127.0.0.1", "matchall filter 9")},
			row{"one SYN is not a burst", machine("127.0.0.1", silent, filters(bytecode), counts("127.0.0.1", 1, "OutRequests=1 OutTransmits=1 tc.clsact=1")), says("inferred 127.0.0.1")},
			row{"XDP", machine("127.0.0.1", silent, filters(), xdp, lost("")), says("inferred 127.0.0.1", "XDP")},
			row{"XDP beside a filter that drops nothing", machine("127.0.0.1", silent, filters(bytecode), xdp, lost("")), says("inferred 127.0.0.1", "XDP")},
			row{"a filter that drops nothing", machine("127.0.0.1", silent, filters(bytecode), lost("")), nothing},
			row{"one for IPv6", machine("127.0.0.1", silent, filters(v6), lost(byClsact)), nothing},
			row{"it got lost elsewhere", machine("127.0.0.1", silent, filters(bytecode), xdp, counts("127.0.0.1", 32, diedOnInput)), nothing},
			row{"nothing is on lo", machine("127.0.0.1", silent, lost("")), nothing},
			row{"it works", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), filters(bytecode), xdp), nothing},
		),
		of(tcShapesLo,
			row{"it drops all", machine("127.0.0.1", silent, bucket, lost(byRoot)), says("proven 127.0.0.1", "tbf rate 1000bit", "drops")},
			row{"it holds all back", machine("127.0.0.1", silent, bucket, lost(" tc.backlog=2368")), says("proven 127.0.0.1", "holds back")},
			row{"a queue of another kind that is full", machine("127.0.0.1", silent, discipline("pfifo", "limit", "0"), lost(byRoot)), says("proven 127.0.0.1", "pfifo limit 0")},
			row{"it works, and may crawl", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), bucket), says("remark 127.0.0.1", "shapes")},
			row{"it works, late", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected, late), bucket), says("remark 127.0.0.1", "came late")},
			row{"a queue that only orders", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), discipline("fq_codel")), nothing},
			row{"it got lost elsewhere", machine("127.0.0.1", silent, bucket, counts("127.0.0.1", 32, diedOnInput)), nothing},
			row{"it has dropped none of these", machine("127.0.0.1", silent, bucket, lost("")), nothing},
			row{"there is none", machine("127.0.0.1", silent, lost(byRoot)), nothing},
		),
	)
}

func TestTrafficControl(t *testing.T) { judge(t, trafficSituations()) }

func TestMendingTrafficControl(t *testing.T) {
	silent := dials("127.0.0.1", facts.Timeout)
	full := facts.Filter{At: "ingress", Priority: 5, Protocol: "ip", Kind: "bpf", Options: []string{"da", "bytecode", "1,6 0 0 2"}, Full: true}
	prescribe(t, []cure{
		{"one filter, not all of them", tcOrXDPDropsOnLo, machine("127.0.0.1", silent, filters(full), counts("127.0.0.1", 32, diedOnWire+byClsact)),
			[]string{"root runs tc filter del dev lo ingress protocol ip prio 5", `undo tc filter add dev lo ingress protocol ip prio 5 bpf da bytecode "1,6 0 0 2"`, "lasts until reboot"}},
		{"what cannot be put back", tcOrXDPDropsOnLo, machine("127.0.0.1", silent, filters(facts.Filter{At: "egress", Priority: 1, Protocol: "all", Kind: "u32"}), counts("127.0.0.1", 32, diedOnWire+byClsact)), []string{"by hand"}},
		{"the bucket", tcShapesLo, machine("127.0.0.1", silent, discipline("tbf", "rate", "1000bit", "burst", "100b", "limit", "100b"), counts("127.0.0.1", 32, diedOnWire+byRoot)),
			[]string{"root runs tc qdisc del dev lo root", "undo tc qdisc add dev lo root tbf rate 1000bit burst 100b limit 100b", "lasts until reboot"}},
		{"classes below it", tcShapesLo, machine("127.0.0.1", silent, discipline("htb"), counts("127.0.0.1", 32, diedOnWire+byRoot)), []string{"by hand"}},
	})
}

// What tc does on lo is the cause, the place of the loss its consequence; where
// that is not seen, the place is what is left.
func TestTrafficControlRefinesTheWire(t *testing.T) {
	f := machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), discipline("tbf"), counts("127.0.0.1", 32, diedOnWire+byRoot))
	expect(t, f, "broken", "active tc-shapes-lo proven")
	expect(t, f.Without(facts.GroupInterfaces), "broken", "active lost-on-wire proven")
}

func filters(fs ...facts.Filter) change {
	return func(f *facts.Facts) {
		f.Interfaces.Loopback.Traffic = &facts.Traffic{Qdiscs: []facts.Qdisc{{Kind: "clsact", Parent: "clsact"}}, Filters: fs}
	}
}

func discipline(kind string, options ...string) change {
	return func(f *facts.Facts) {
		f.Interfaces.Loopback.Qdisc = kind
		f.Interfaces.Loopback.Traffic = &facts.Traffic{Qdiscs: []facts.Qdisc{{Kind: kind, Parent: "root", Options: options, Full: len(options) > 0}}}
	}
}

func xdp(f *facts.Facts) {
	lo := f.Interfaces.Loopback
	lo.XDP, lo.XDPMode, lo.XDPID = true, "xdpgeneric", 7
}
