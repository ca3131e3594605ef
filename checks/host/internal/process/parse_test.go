package process

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const statTail = " S 4000 4121 4000 34816 4121 4194304 1021 0 0 0 3 1 0 0 20 0 1 0 8712345 1 1\n"

func TestParseStat(t *testing.T) {
	for _, name := range []string{"python3", "a b", ") R 1 (", "(sd-pam)", "x\ny", "", "\xff"} {
		got, err := parseStat([]byte("4121 (" + name + ")" + statTail))
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		want := stat{pid: 4121, ppid: 4000, tty: 34816, comm: strings.ToValidUTF8(name, "\uFFFD"), state: 'S', threads: 1, flags: 4194304, cpu: 40 * time.Millisecond, start: 87123450 * time.Millisecond}
		if got != want {
			t.Errorf("%q: got %+v, want %+v", name, got, want)
		}
	}
	for _, bad := range []string{"", "1 (x", ") 1 (", "1 (x) S 1", "x (x)" + statTail} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseStatus(t *testing.T) {
	got, err := parseStatus(strings.NewReader("Name:\tUid: 7\nTgid:\t12\nPid:\t13\nTracerPid:\t99\nUid:\t1000\t33\t33\t33\n"))
	if want := (status{tgid: 12, uid: 33, real: 1000, tracer: 99}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseStatus(strings.NewReader("Name:\tx\n")); err == nil {
		t.Error("no error without Uid")
	}
}

func TestParseBoot(t *testing.T) {
	got, err := parseBoot(strings.NewReader("cpu 1 2\nbtime 1700619742\nprocesses 1\n"))
	if err != nil || got.Unix() != 1700619742 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestParsePasswd(t *testing.T) {
	got, err := parsePasswd(strings.NewReader("root:x:0:0::/:/bin/sh\n# c:x:1:1\n+::::::\ntoor:x:0:0::/:\nann:x:1000:1000:A:/home/ann:/bin/sh\nbad:x:-1:0\n"))
	if want := map[uint32]string{0: "root", 1000: "ann"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestParseMountinfo(t *testing.T) {
	in := `38 31 0:41 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw
612 23 0:4 net:[4026532204] /run/netns/a\040b rw - nsfs nsfs rw
nonsense
34 31 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
`
	got, err := ParseMountinfo(strings.NewReader(in))
	want := []Mount{
		{"/", "/sys/fs/cgroup/unified", "cgroup2", "rw"},
		{"net:[4026532204]", "/run/netns/a b", "nsfs", "rw"},
		{"/", "/sys/fs/cgroup/freezer", "cgroup", "rw,freezer"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestParseArgs(t *testing.T) {
	for in, want := range map[string][]string{
		"":                          nil,
		"\x00\x00":                  nil,
		"a\x00b c\x00":              {"a", "b c"},
		"a\x00\x00b\x00":            {"a", "", "b"},
		"nginx: master\x00\x00\x00": {"nginx: master"},
		"x\xffy\x00":                {"x\uFFFDy"},
	} {
		if got := parseArgs([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

func TestHome(t *testing.T) {
	id := strings.Repeat("3f2a9c1b7d5e00aa", 4)
	for _, c := range []struct{ in, unit, container string }{
		{"0::/system.slice/nginx.service", "nginx.service", ""},
		{"0::/system.slice/cups.socket", "cups.socket", ""},
		{"0::/user.slice/user-1000.slice/session-3.scope", "session-3.scope", ""},
		{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/dev.service", "dev.service", ""},
		{"0::/system.slice/docker-" + id + ".scope", "", "docker 3f2a9c1b7d5e"},
		{"0::/system.slice/docker-" + id + ".scope/system.slice/nginx.service", "nginx.service", "docker 3f2a9c1b7d5e"},
		{"0::/system.slice/web.service/libpod-payload-" + id, "web.service", "podman 3f2a9c1b7d5e"},
		{"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope/container", "", "podman 3f2a9c1b7d5e"},
		{"0::/machine.slice/libpod-conmon-" + id + ".scope", "libpod-conmon-" + id + ".scope", ""},
		{"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope", "", "containerd 3f2a9c1b7d5e"},
		{"0::/kubepods.slice/kubepods-pod1.slice/crio-" + id + ".scope", "", "cri-o 3f2a9c1b7d5e"},
		{"11:memory:/docker/" + id + "\n1:name=systemd:/docker/" + id, "", "docker 3f2a9c1b7d5e"},
		{"11:memory:/kubepods/besteffort/pod7/" + id + "\n0::/", "", "kubernetes 3f2a9c1b7d5e"},
		{"1:name=systemd:/system.slice/a.service\n0::/", "a.service", ""},
		{"0::/lxc.payload.web/init.scope", "init.scope", "lxc web"},
		{"0::/system.slice/old.service (deleted)", "old.service", ""},
		{"0::/docker-3f2a.scope", "docker-3f2a.scope", ""},
		{"0::/", "", ""},
		{"::", "", ""},
	} {
		ms, err := parseCgroup(strings.NewReader(c.in))
		if unit, container := home(ms); err != nil || unit != c.unit || container != c.container {
			t.Errorf("%s: got %q, %q, %v", c.in, unit, container, err)
		}
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte("1 (a) b) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 99999999999999999999"))
	f.Add([]byte("4121 (python3)" + statTail))
	f.Add([]byte("Uid:\t1\t2\t3\t4\nTracerPid:\t-1\n"))
	f.Add([]byte("0::/a/../docker-" + strings.Repeat("0", 64) + ".scope\n6:freezer:/"))
	f.Add([]byte("1 2 0:4 net:[1] /a\\04 rw - nsfs nsfs"))
	f.Add([]byte("root:x:0:0\nbtime 9223372036854775808"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStat(b); err == nil && (!utf8.ValidString(s.comm) || s.start < 0) {
			t.Errorf("stat %+v", s)
		}
		_, _ = parseStatus(bytes.NewReader(b))
		_, _ = parseBoot(bytes.NewReader(b))
		_, _ = ParseMountinfo(bytes.NewReader(b))
		users, _ := parsePasswd(bytes.NewReader(b))
		for _, u := range users {
			if !utf8.ValidString(u) {
				t.Errorf("user %q", u)
			}
		}
		ms, _ := parseCgroup(bytes.NewReader(b))
		if unit, container := home(ms); !utf8.ValidString(unit + container) {
			t.Errorf("home %q %q", unit, container)
		}
		for _, a := range Mask(parseArgs(b)) {
			if !utf8.ValidString(a) {
				t.Errorf("argument %q", a)
			}
		}
	})
}

func TestParseClient(t *testing.T) {
	text := "Name:\tUid: 7\nTgid:\t12\nUid:\t1000\t33\t33\t34\nGid:\t100\t101\t102\t103\nGroups:\t27 4242 \nCapEff:\t0000000000000400\n"
	id, tgid, err := parseClient(strings.NewReader(text))
	if err != nil || tgid != 12 || id.UID != 34 || id.GID != 103 || !slices.Equal(id.Groups, []uint32{27, 4242}) || !id.LowPort {
		t.Errorf("got %+v of %d, %v", id, tgid, err)
	}
	for _, bad := range []string{"", "Tgid:\t12\nUid:\t1 1 1 1\n", strings.Replace(text, "34\n", "x\n", 1), strings.Replace(text, "4242", "-1", 1)} {
		if _, _, err := parseClient(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is a client", bad)
		}
	}
}

func FuzzParseClient(f *testing.F) {
	f.Add([]byte("Tgid:\t12\nUid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\t27 4294967296\n"))
	f.Fuzz(func(t *testing.T, b []byte) { _, _, _ = parseClient(bytes.NewReader(b)) })
}
