package sockdiag

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Both sources see a listener by its path and an abstract one by its name, and
// neither a socket that is only connected.
func TestUnixListeners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b;.sock")
	var want []string
	for _, name := range []string{path, "@loopdoctor-test"} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		want = append(want, name)
	}
	ours := func(list []UnixListener) (names []string) {
		for _, l := range list {
			if slices.Contains(want, l.Path) && l.Inode != 0 {
				names = append(names, l.Path)
			}
		}
		slices.Sort(names)
		return names
	}
	slices.Sort(want)
	list, err := UnixListeners()
	if got := ours(list); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q %v, want %q", got, err, want)
	}
	f, err := os.Open("/proc/thread-self/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err = ParseProcUnix(f)
	if got := ours(list); err != nil || !slices.Equal(got, want) {
		t.Errorf("of /proc/net/unix: got %q %v, want %q", got, err, want)
	}
}

func TestParseProcUnix(t *testing.T) {
	got, err := ParseProcUnix(strings.NewReader(`Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 21735 /run/mysqld/mysqld.sock
ffff88810a2b3c40: 00000003 00000000 00000000 0001 03   940 /run/mysqld/mysqld.sock
0000000000000000: 00000002 00000000 00010000 0001 01   512 @/tmp/.X11-unix/X0
0000000000000000: 00000002 00000000 00010000 0001 01   513 a b
0000000000000000: 00000002 00000000 00010000 0001 01   514
x
0: 1
`))
	want := []UnixListener{{"/run/mysqld/mysqld.sock", 21735}, {"@/tmp/.X11-unix/X0", 512}, {"a b", 513}, {"", 514}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v %v, want %v", got, err, want)
	}
}

func FuzzParseProcUnix(f *testing.F) {
	f.Add("0000000000000000: 00000002 00000000 00010000 0001 01 21735 /run/mysqld/mysqld.sock\n")
	f.Add("0: 0 0 10000 1 1 1 \xff\n0:")
	f.Fuzz(func(t *testing.T, s string) {
		list, _ := ParseProcUnix(strings.NewReader(s))
		for _, l := range list {
			if !utf8.ValidString(l.Path) || l.Inode == 0 {
				t.Errorf("%q", l.Path)
			}
		}
	})
}

func FuzzParseUnix(f *testing.F) {
	f.Add([]byte("\x01\x01\x0a\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00/a\x00\x00"))
	f.Add([]byte("\x01\x01\x0a\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00a\xff\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, ok := parseUnix(b); ok && (!utf8.ValidString(l.Path) || l.Inode == 0) {
			t.Errorf("%q", l.Path)
		}
	})
}
