package host

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestBusyBoxWget(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege there")
	}
	dir := t.TempDir()
	for name, link := range map[string]string{"alpine/busybox": "", "alpine/wget": "busybox", "debian/wget": "", "gone/wget": "nothing"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		err := os.WriteFile(path, nil, 0o755)
		if link != "" {
			os.Remove(path)
			err = os.Symlink(link, path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(dirs ...string) string {
		var path string
		for _, d := range dirs {
			path += filepath.Join(dir, d) + string(filepath.ListSeparator)
		}
		return path
	}
	for path, want := range map[string]string{
		at("alpine"): filepath.Join(dir, "alpine/wget"), at("gone", "alpine"): filepath.Join(dir, "alpine/wget"),
		at("debian", "alpine"): "", at("gone"): "", "": "", ".": "",
	} {
		if got := busyBoxWget(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}
