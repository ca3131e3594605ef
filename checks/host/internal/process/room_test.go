package process

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestRoomOf(t *testing.T) {
	id := strings.Repeat("3f2a9c1b7d5e4a60", 4)
	const short, uid = "3f2a9c1b7d5e", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
	for cgroup, want := range map[string]facts.Room{
		"/system.slice/docker-" + id + ".scope": {Kind: "container", Engine: "docker", ID: short},
		"/docker/" + id:                         {Kind: "container", Engine: "docker", ID: short},
		"/docker/" + id + "/init.scope":         {Kind: "container", Engine: "docker", ID: short},
		"/system.slice/docker-" + id + ".scope/system.slice/nginx.service":      {Kind: "container", Engine: "docker", ID: short},
		"/machine.slice/libpod-" + id + ".scope/container":                      {Kind: "container", Engine: "podman", ID: short},
		"/machine.slice/libpod-conmon-" + id + ".scope":                         {},
		"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id: {Kind: "container", Engine: "podman", ID: short},
		"/system.slice/nerdctl-" + id + ".scope":                                {Kind: "container", Engine: "containerd", ID: short},
		"/default/" + id:                                                        {Kind: "container", ID: short},
		"/kubepods/burstable/pod" + uid + "/" + id:                              {Kind: "pod", ID: short, Pod: uid},
		"/kubepods/besteffort/pod" + strings.Repeat("0a", 16) + "/crio-" + id:   {Kind: "pod", Engine: "cri-o", ID: short, Pod: strings.Repeat("0a", 16)},
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/cri-containerd-" + id + ".scope": {Kind: "pod", Engine: "containerd", ID: short, Pod: uid},
		"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/crio-" + id + ".scope":                {Kind: "pod", Engine: "cri-o", ID: short, Pod: uid},
		// kind: the node is a container itself.
		"/docker/" + strings.Repeat("a", 64) + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/cri-containerd-" + id + ".scope": {Kind: "pod", Engine: "containerd", ID: short, Pod: uid},
		"/kubepods/podx/" + id:                                                                              {Kind: "container", ID: short},
		"/lxc.payload.web/system.slice/nginx.service":                                                       {Kind: "container", Engine: "lxc", Name: "web"},
		"/lxc/web/init.scope":                                                                               {Kind: "container", Engine: "lxc", Name: "web"},
		"/lxc.monitor.web":                                                                                  {},
		`/machine.slice/machine-shop\x2dbox.scope/payload`:                                                  {Kind: "container", Engine: "nspawn", Name: "shop-box"},
		`/machine.slice/systemd-nspawn@box.service/payload`:                                                 {Kind: "container", Engine: "nspawn", Name: "box"},
		`/machine.slice/machine-qemu\x2d1\x2dvm.scope`:                                                      {},
		"/system.slice/nginx.service":                                                                       {Kind: "unit", Name: "nginx.service", Manager: "systemd"},
		"/user.slice/user-1000.slice/user@1000.service/app.slice/dev.service":                               {Kind: "unit", Name: "dev.service", Manager: "systemd --user", UID: 1000},
		"/user.slice/user-1000.slice/user@1000.service":                                                     {},
		"/user.slice/user-1000.slice/session-3.scope":                                                       {},
		"/user.slice/user-1000.slice/user@1000.service/app.slice/snap.shop.web-0d6a6b9e.scope":              {Kind: "sandbox", Engine: "snap", Name: "shop"},
		"/system.slice/snap.shop.daemon.service":                                                            {Kind: "sandbox", Engine: "snap", Name: "shop"},
		`/user.slice/user-1000.slice/user@1000.service/app.slice/app-flatpak-org.shop.My\x2dApp-4121.scope`: {Kind: "sandbox", Engine: "flatpak", Name: "org.shop.My-App"},
		"/": {},
		"/lxc.payload.\x1b[2J" + strings.Repeat("x", 500): {Kind: "container", Engine: "lxc", Name: "[2J" + strings.Repeat("x", maxName-3) + "…"},
	} {
		for _, line := range []string{"0::" + cgroup + "\n", "12:pids:/\n1:name=systemd:" + cgroup + "\n"} {
			if got := RoomOf([]byte(line)); got != want {
				t.Errorf("%s: %+v, want %+v", strings.TrimSpace(line), got, want)
			}
		}
	}
}

// FuzzRoomOf: whatever somebody called his container stays short, and is text.
func FuzzRoomOf(f *testing.F) {
	f.Add([]byte("0::/lxc.payload." + strings.Repeat("\xff", 300)))
	f.Add([]byte(`0::/machine.slice/machine-a\x0a\x1b\xff.scope/payload`))
	f.Add([]byte("0::/kubepods/pod1b4e28ba-2fa1-11d2-883f-0016d3cca427/" + strings.Repeat("0", 64)))
	f.Add([]byte("0::/app.slice/app-flatpak-\\x-1.scope\n3:freezer:/lxc/\x07/"))
	f.Add([]byte("0::/a.slice/snap..scope"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := RoomOf(b)
		for _, s := range []string{r.Kind, r.Engine, r.ID, r.Name, r.Pod} {
			if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxName+1 || strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("%q of %+v", s, r)
			}
		}
		if InContainer(b) != (r.Kind == "container" || r.Kind == "pod") {
			t.Errorf("%+v", r)
		}
	})
}
