package rtnetlink

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

func words16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }
func words32(ns ...uint32) (b []byte) {
	for _, n := range ns {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	return b
}

// tc is one message about traffic control of interface 1.
func tc(handle, parent, info uint32, kind string, options []byte, more ...byte) []byte {
	b := append(words32(0, 1, handle, parent, info), netlink.Append(nil, tcaKind, []byte(kind+"\x00"))...)
	b = netlink.Append(b, tcaOptions, options)
	return append(b, more...)
}

// queue is TCA_STATS2 with struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits.
func queueStats(typ uint16, backlog, drops uint32) []byte {
	return netlink.Append(nil, typ, netlink.Append(nil, statsQueue, words32(0, backlog, drops, 0, 0)))
}

func tbfOptions(change func(parms []byte)) []byte {
	parms := words32(0, 0, 125, 0, 0, 0, 100, 12500000, 0) // rate 1kbit burst 100 limit 100
	parms[1] = 1                                           // TC_LINKLAYER_ETHERNET
	change(parms)
	return netlink.Append(nil, tbfParms, parms)
}

func TestDisciplines(t *testing.T) {
	plain := func([]byte) {}
	for _, test := range []struct {
		name   string
		b      []byte
		parent string
		words  string
		full   bool
	}{
		{"tbf", tc(0x80010000, parentRoot, 2, "tbf", tbfOptions(plain)), "root", "rate 1000bit burst 100b limit 100b", true},
		{"a rate above 32 bits", tc(1, parentRoot, 2, "tbf", netlink.Append(tbfOptions(plain), tbfRate64, append(words32(0), words32(2)...))), "root", "rate 68719476736bit burst 6871947674b limit 100b", true},
		{"with a peak rate", tc(1, parentRoot, 2, "tbf", tbfOptions(func(p []byte) { p[20] = 1 })), "root", "rate 1000bit burst 100b limit 100b", false},
		{"with an overhead", tc(1, parentRoot, 2, "tbf", tbfOptions(func(p []byte) { p[2] = 4 })), "root", "rate 1000bit burst 100b limit 100b", false},
		{"tbf of nothing", tc(1, parentRoot, 2, "tbf", nil), "root", "", false},
		{"netem", tc(1, parentRoot, 2, "netem", words32(1562500, 1000, 1<<32/10, 0, 0, 0)), "root", "limit 1000 delay 100000us loss 10%", true},
		{"netem that reorders", tc(1, parentRoot, 2, "netem", netlink.Append(words32(1562500, 1000, 0, 0, 0, 156250), 3, words32(5, 0))), "root", "limit 1000 delay 100000us 10000us", false},
		{"netem with what is off", tc(1, parentRoot, 2, "netem", netlink.Append(words32(0, 1000, 0, 0, 1<<31, 0), 1, words32(0, 0, 0))), "root", "limit 1000 duplicate 50%", true},
		{"pfifo", tc(1, parentRoot, 2, "pfifo", words32(10)), "root", "limit 10", true},
		{"clsact", tc(0xffff0000, parentClsact, 2, "clsact", nil), "clsact", "", false},
		{"below a class", tc(0x100000, 0x10002, 2, "htb", nil), "1:2", "", false},
	} {
		q, ok := parseQdisc(append(test.b, queueStats(tcaStats2, 700, 31)...))
		if !ok || q.link != 1 || q.Parent != test.parent || strings.Join(q.Options, " ") != test.words || q.Full != test.full || q.Drops != 31 || q.Backlog != 700 {
			t.Errorf("%s: got %+v", test.name, q)
		}
	}
	if _, ok := parseQdisc(make([]byte, tcLen-1)); ok {
		t.Error("a short message was read")
	}
}

func TestFilters(t *testing.T) {
	ip := func(priority uint32) uint32 {
		return priority<<16 | uint32(binary.NativeEndian.Uint16([]byte{8, 0}))
	}
	classic := netlink.Append(netlink.Append(netlink.Append(nil, bpfLen, words16(1)), bpfCode, []byte{6, 0, 0, 0, 2, 0, 0, 0}), bpfFlags, words32(1))
	f, ok := parseFilter(tc(1, parentIngress, ip(5), "bpf", classic, netlink.Append(nil, tcaChain, words32(0))...))
	if !ok || f.Priority != 5 || f.Protocol != "ip" || !f.Full || strings.Join(f.Options, " ") != "da bytecode 1,6 0 0 2" {
		t.Errorf("classic BPF: got %+v", f)
	}
	f, ok = parseFilter(tc(1, parentIngress, ip(5), "bpf", netlink.Append(netlink.Append(nil, bpfName, []byte("drop.o:[cls]\x00")), bpfFlags, words32(1))))
	if !ok || f.Full || f.Name != "drop.o:[cls]" || f.Options != nil {
		t.Errorf("extended BPF: got %+v", f)
	}
	if f, _ = parseFilter(tc(1, parentIngress, ip(5), "bpf", classic, netlink.Append(nil, tcaChain, words32(3))...)); f.Full {
		t.Error("a chain of its own is not told")
	}
	action := netlink.Append(nil, 1, queueStats(actStats, 0, 32))
	f, ok = parseFilter(tc(1, parentEgress, 7<<16|uint32(binary.NativeEndian.Uint16([]byte{0, 3})), "matchall", netlink.Append(nil, 2, action)))
	if !ok || f.Protocol != "all" || f.Drops == nil || *f.Drops != 32 {
		t.Errorf("matchall: got %+v", f)
	}
	if _, ok := parseFilter(tc(0, parentEgress, ip(7), "matchall", nil)); ok {
		t.Error("what only announces a priority is no filter")
	}
	fs := []facts.Filter{{At: "ingress", Priority: 5, Full: true}, {At: "egress", Priority: 5, Full: true}, {At: "ingress", Priority: 5, Full: true}}
	if order(fs); fs[0].At != "egress" || !fs[0].Full || fs[1].Full || fs[2].Full {
		t.Errorf("two of one priority: got %+v", fs)
	}
}

func FuzzTraffic(f *testing.F) {
	f.Add(tc(1, parentRoot, 2, "tbf", tbfOptions(func([]byte) {})))
	f.Add(tc(1, parentRoot, 2, "netem", words32(1562500, 1000, 5, 0, 0, 0)))
	f.Add(tc(1, parentIngress, 5<<16, "bpf", netlink.Append(netlink.Append(nil, bpfLen, words16(1)), bpfCode, make([]byte, 8))))
	f.Add(tc(1, parentIngress, 5<<16, "u32", netlink.Append(nil, 7, netlink.Append(nil, 1, queueStats(actStats, 0, 1)))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, ok := parseQdisc(b); ok && q.Full && slices.Contains(q.Options, "") {
			t.Errorf("an empty word: %q", q.Options)
		}
		if x, ok := parseFilter(b); ok && x.Full && len(x.Options) == 0 && x.Kind == "bpf" {
			t.Errorf("made again from nothing: %+v", x)
		}
	})
}
