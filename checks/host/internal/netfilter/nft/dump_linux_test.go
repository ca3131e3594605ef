package nft

import (
	"bytes"
	"compress/gzip"
	"os"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
	"golang.org/x/sys/unix"
)

// TestDump writes what the kernel says about the corpus of rules, for the tests that
// need no kernel: UPDATE=1 go test -run TestDump
func TestDump(t *testing.T) {
	if os.Getenv("UPDATE") == "" {
		t.Skip("writes testdata/dump.gz with UPDATE=1")
	}
	enterNamespace(t)
	corpus, err := os.ReadFile("testdata/corpus.nft")
	if err != nil {
		t.Fatal(err)
	}
	load(t, string(corpus))
	execute(t, "", "iptables-nft", "-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "5,6", "-m", "comment", "--comment", "x", "-j", "REJECT")
	conn, err := netlink.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	write := func(kind byte, list [][]byte) {
		for _, b := range list {
			z.Write(append([]byte{kind, byte(len(b) >> 8), byte(len(b))}, b...))
		}
	}
	for kind, typ := range map[byte]uint16{'t': getTable, 's': getSet, 'c': getChain, 'r': getRule} {
		list, err := netlink.Dump(conn, typ, make([]byte, genLen), keeper())
		if err != nil {
			t.Fatal(err)
		}
		write(kind, list)
	}
	for _, table := range read(t).Tables {
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				for _, e := range r.Whole().Exprs {
					l, ok := e.(*Lookup)
					if !ok || l.Set == nil {
						continue
					}
					ask := append(chainAsk(c)[:genLen:genLen], netlink.Append(netlink.Append(nil, 1, []byte(table.Name+"\x00")), 2, []byte(l.Set.Name+"\x00"))...)
					list, err := netlink.Dump(conn, getElement, ask, func(b []byte) ([]byte, bool) { return slices.Clone(b), true })
					if err != nil {
						t.Fatal(err)
					}
					write('e', list)
				}
			}
		}
	}
	execute(t, "", "nft", "flush", "ruleset")
	load(t, "table inet t {\n chain i {\n type filter hook input priority 0; policy drop;\n tcp dport 62893 counter\n }\n}\n")
	ears, err := netlink.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer ears.Close()
	if err := ears.Join(traceGroup, traceRoom); err != nil {
		t.Fatal(err)
	}
	dialTraced(t, "127.0.0.1", 62893)
	dialTraced(t, "::1", 62893)
	ears.Heard(0, func(m netlink.Message) { write('m', [][]byte{slices.Clone(m.Body)}) })
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/dump.gz", out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", out.Len())
}
