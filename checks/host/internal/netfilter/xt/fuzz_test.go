package xt

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// withoutSets keeps a test from asking the kernel.
func withoutSets(t testing.TB) {
	kernel := sets
	sets = noKernel{}
	t.Cleanup(func() { sets = kernel })
}

type noKernel struct{}

func (noKernel) nameOf(index uint16) string { return "" }

func (noKernel) has(string, netfilter.Family, []side) netfilter.Truth { return netfilter.Unknown }

// states is packets of both families at every hook.
func states() (list []*netfilter.State) {
	for _, family := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		a := netip.MustParseAddrPort("127.0.0.1:40000")
		b := netip.MustParseAddrPort("127.0.0.1:62893")
		if family == netfilter.IPv6 {
			a, b = netip.MustParseAddrPort("[::1]:40000"), netip.MustParseAddrPort("[::1]:62893")
		}
		for hook := netfilter.Output; hook <= netfilter.Forward; hook++ {
			for _, outside := range []bool{false, true} {
				p := &netfilter.Packet{Kind: facts.Syn, From: a, To: b, CT: netfilter.CTNew, CTKnown: true, MarkKnown: true,
					Original: [2]netip.AddrPort{a, b}, Answer: [2]netip.AddrPort{b, a}, Socket: &netfilter.Owner{Known: true}, Outside: outside}
				list = append(list, &netfilter.State{Packet: p, Family: family, Hook: hook, In: "lo"})
			}
		}
	}
	return list
}

// blobs is tables of a real kernel: their family, their struct ipt_getinfo and
// their entries. UPDATE=1 go test -run TestBlobs writes them.
func blobs(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.blob")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no blobs: %v", err)
	}
	list := map[string][]byte{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list[filepath.Base(path)] = b
	}
	return list
}

func parseSaved(b []byte) (*netfilter.Table, error) {
	if len(b) < 1 {
		return nil, errCut
	}
	family := netfilter.IPv4
	if b[0] == 6 {
		family = netfilter.IPv6
	}
	i, ok := infoOf(b[1:])
	if !ok {
		return nil, errCut
	}
	return parse(i, b[1+infoSize:], family)
}

// A table that is cut short is an error, wherever the cut is: never fewer rules.
func TestTruncated(t *testing.T) {
	withoutSets(t)
	for name, b := range blobs(t) {
		table, err := parseSaved(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(table.Chains) == 0 {
			t.Fatalf("%s: no chains", name)
		}
		for n := range len(b) {
			// Rules begin and end at multiples of 8.
			if (n-1-infoSize)%8 != 0 && n%61 != 0 {
				continue
			}
			if _, err := parseSaved(b[:n]); err == nil {
				t.Fatalf("%s: %d bytes of %d are a table", name, n, len(b))
			}
			if n <= infoSize {
				continue
			}
			// Also if the kernel said so.
			cut := append([]byte(nil), b[:n]...)
			binary.NativeEndian.PutUint32(cut[1+80:], uint32(n-1-infoSize))
			if _, err := parseSaved(cut); err == nil {
				t.Fatalf("%s: %d bytes of %d are a table that ends there", name, n, len(b))
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	withoutSets(f)
	for _, b := range blobs(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := parseSaved(b)
		if err != nil {
			return
		}
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				if len(r.Exprs) < 2 {
					t.Fatal("a rule without a target")
				}
				for _, s := range states() {
					for _, e := range r.Exprs {
						e.Eval(s)
					}
				}
				if text, words := r.Print(); text == "" || r.Opaque != "" && words != nil {
					t.Fatalf("%q %q", text, words)
				}
			}
		}
	})
}

func FuzzExtension(f *testing.F) {
	withoutSets(f)
	for _, b := range blobs(f) {
		family := netfilter.IPv4
		if b[0] == 6 {
			family = netfilter.IPv6
		}
		for blob, at := b[1+infoSize:], 0; at < len(blob); {
			e, err := entryAt(blob, at, family)
			if err != nil {
				f.Fatal(err)
			}
			parts, _ := e.matches()
			if target, _, ok := partOf(e.raw[e.target:]); ok {
				parts = append(parts, late{part: target})
			}
			for _, p := range parts {
				f.Add(p.name, p.rev, p.info, family == netfilter.IPv6)
			}
			at += len(e.raw)
		}
	}
	f.Fuzz(func(t *testing.T, name string, rev uint32, info []byte, v6 bool) {
		family := netfilter.IPv4
		if v6 {
			family = netfilter.IPv6
		}
		for _, decode := range []func(string, uint32, []byte, netfilter.Family) (Printer, bool){Match, Target} {
			x, ok := decode(name, rev, info, family)
			if !ok {
				continue
			}
			for _, s := range states() {
				x.Eval(s)
			}
			if x.Text() == "" {
				t.Fatal("no text")
			}
			x.Words()
		}
	})
}
