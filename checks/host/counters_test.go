package host

import (
	"bytes"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The files of testdata are those of Linux 6.18.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestCountersOfAKernel(t *testing.T) {
	snmp, stat, dev, snmp6 := sample(t, "snmp"), sample(t, "netstat"), sample(t, "dev"), sample(t, "snmp6")
	four := counters{}
	for prefix, data := range map[string][]byte{"Ip": snmp, "Tcp": snmp, "TcpExt": stat} {
		if err := four.parseSNMP(data, prefix); err != nil {
			t.Fatal(err)
		}
	}
	four.parseDev(dev, "lo")
	for name, want := range map[string]int64{"InReceives": 5644, "InDelivers": 5644, "OutRequests": 4099, "OutTransmits": 4099, "ForwDatagrams": 0, "InSegs": 5614, "OutSegs": 4107, "OutRsts": 154,
		"ListenOverflows": 0, "ListenDrops": 0, "lo.rx": 547, "lo.tx": 547, "lo.txdrop": 0} {
		if got, ok := four[name]; !ok || got != want {
			t.Errorf("%s: got %d (%v), want %d", name, got, ok, want)
		}
	}
	six := counters{}
	six.parseSNMP6(snmp6)
	if err := six.parseSNMP(snmp, "Tcp"); err != nil {
		t.Fatal(err)
	}
	for _, name := range needed {
		if _, ok := four[name]; !ok {
			t.Errorf("IPv4 lacks %s", name)
		}
		if _, ok := six[name]; !ok {
			t.Errorf("IPv6 lacks %s", name)
		}
	}
	if _, ok := six["ForwDatagrams"]; !ok {
		t.Error("IPv6 does not call what it forwards as IPv4 does")
	}
	for name := range six {
		if strings.HasPrefix(name, "Icmp6") || strings.HasPrefix(name, "Udp") {
			t.Errorf("%s is no counter of IP", name)
		}
	}
}

func TestCountersOfOtherKernels(t *testing.T) {
	for _, test := range []struct {
		name, data, prefix, fails string
		want                      counters
	}{
		{"two lines", "Tcp: A B\nTcp: 1 -2\n", "Tcp", "", counters{"A": 1, "B": -2}},
		{"of several protocols", "Ip: A\nIp: 1\nTcp: A\nTcp: 2\n", "Tcp", "", counters{"A": 2}},
		{"no newline at the end", "Tcp: A\nTcp: 1", "Tcp", "", counters{"A": 1}},
		{"the protocol is missing", "Ip: A\nIp: 1\n", "Tcp", "no line Tcp", counters{}},
		{"cut after the names", "Tcp: A B\n", "Tcp", "no line Tcp", counters{}},
		{"cut within the values", "Tcp: A B\nTcp: 1", "Tcp", "2 names, 1 values", counters{}},
		{"not a number", "Tcp: A\nTcp: x\n", "Tcp", "parsing \"x\"", counters{}},
		{"larger than can be", "Tcp: A\nTcp: 99999999999999999999\n", "Tcp", "out of range", counters{}},
		{"nothing at all", "", "Tcp", "no line Tcp", counters{}},
	} {
		got := counters{}
		err := got.parseSNMP([]byte(test.data), test.prefix)
		if (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
			t.Errorf("%s: got %v, want an error with %q", test.name, err, test.fails)
		}
		if test.fails == "" && !maps.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestCountersOfAnotherInterface(t *testing.T) {
	c := counters{}
	c.parseDev(sample(t, "dev"), "lo0")
	c.parseDev([]byte("lo: 1 2 3\n"), "lo")
	c.parseDev([]byte("lo: a b c d e f g h i j k l m n o p\n"), "lo")
	if len(c) != 0 {
		t.Errorf("got %v", c)
	}
	c.parseDev([]byte("    lo:1 2 0 3 0 0 0 0 1 5 0 7 0 0 0 0\n"), "lo") // large numbers leave no space
	if want := (counters{"lo.rx": 2, "lo.rxdrop": 3, "lo.tx": 5, "lo.txdrop": 7}); !maps.Equal(c, want) {
		t.Errorf("got %v, want %v", c, want)
	}
}

// A reader has to know what the kernel did not count: no OutTransmits before 6.7.
func TestWhatMovedAndWhatIsMissing(t *testing.T) {
	before := counters{"OutRequests": 10, "InReceives": 10, "InDelivers": 9, "InSegs": 7, "OutSegs": 7, "OutRsts": 3}
	after := counters{"OutRequests": 12, "InReceives": 10, "InDelivers": 9, "InSegs": 8, "OutSegs": 7, "OutRsts": 3, "ListenDrops": 1}
	delta, missing := after.since(before)
	if want := (map[string]int64{"OutRequests": 2, "InSegs": 1, "ListenDrops": 1}); !maps.Equal(delta, want) {
		t.Errorf("got %v, want %v", delta, want)
	}
	if !slices.Equal(missing, []string{"OutTransmits"}) {
		t.Errorf("missing %v, want OutTransmits alone", missing)
	}
	if _, missing := (counters{}).since(before); !slices.Equal(missing, needed) {
		t.Errorf("missing %v, want all", missing)
	}
}

// Whatever stands in the files, they are read or refused, and the same bytes
// always mean the same.
func FuzzCounters(f *testing.F) {
	for _, name := range []string{"snmp", "netstat", "snmp6", "dev"} {
		data := sample(f, name)
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(bytes.ReplaceAll(data, []byte("OutTransmits"), []byte("OutTransmit ")))
		f.Add(bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")))
	}
	f.Add([]byte("Tcp:\nTcp:\n"))
	f.Add([]byte("Ip6 0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := func() (counters, []bool) {
			c := counters{}
			var ok []bool
			for _, prefix := range []string{"Ip", "Tcp", "TcpExt", "IpExt"} {
				ok = append(ok, c.parseSNMP(data, prefix) == nil)
			}
			c.parseSNMP6(data)
			c.parseDev(data, "lo")
			return c, ok
		}
		c, ok := read()
		again, okAgain := read()
		if !maps.Equal(c, again) || !reflect.DeepEqual(ok, okAgain) {
			t.Fatalf("read %v, then %v", c, again)
		}
		for name := range c {
			if name == "" || strings.ContainsAny(name, " \n") {
				t.Errorf("a counter called %q", name)
			}
		}
		delta, missing := c.since(c)
		if len(delta) != 0 || len(missing) > len(needed) {
			t.Errorf("nothing happened, and %v moved", delta)
		}
	})
}
func TestCountersOfIPsec(t *testing.T) {
	c := counters{}
	c.parseXfrm([]byte("XfrmInError             \t0\nXfrmInPolBlock          \t33\nXfrmOutNoStates \tmany\nsomething else here\n"))
	if len(c) != 2 || c["XfrmInPolBlock"] != 33 {
		t.Errorf("read %v", c)
	}
}
