package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOverMounted(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.Symlink("/proc/version", link); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		names []string
		want  bool
	}{
		{[]string{plain}, false},
		{[]string{plain + "-not-there"}, false},
		{[]string{link}, false}, // it only leads to another mount
		{[]string{"/proc"}, true},
		{[]string{plain, link, "/proc"}, true},
		{[]string{"/proc/1/not/there"}, false},
	} {
		if got := overMounted(test.names...); got != test.want {
			t.Errorf("%q: %v", test.names, got)
		}
	}
}
