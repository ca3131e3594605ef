package process

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"unicode"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// maxName bounds what is kept of a name: those of containers, snaps and machines are
// whatever somebody called them.
const maxName = 100

// RoomOf tells of a /proc/PID/cgroup whose place that is. It is one of a container or
// pod, of a snap or Flatpak, or of a service; of nothing else a cgroup says so.
func RoomOf(b []byte) facts.Room {
	ms, _ := parseCgroup(bytes.NewReader(b))
	unit, container := home(ms)
	engine, name, _ := strings.Cut(container, " ")
	room := facts.Room{Kind: "container", Engine: engine}
	switch engine {
	case "":
		return unitRoom(unit, ms)
	case "lxc", "nspawn":
		room.Name = name
		return room
	case "container", "kubernetes": // a bare id: which engine it is the path does not say
		room.Engine = ""
	case "nerdctl":
		room.Engine = "containerd"
	}
	room.ID = name
	for _, m := range ms {
		if uid := podOf(m.path); uid != "" {
			room.Kind, room.Pod = "pod", uid
			break
		}
	}
	return room
}

// unitRoom reads the name of a unit, as it stands in a cgroup path:
//
//	nginx.service
//	snap.firefox.firefox-0d6a6b9e-….scope        app-flatpak-org.mozilla.firefox-4121.scope
//
// Any other scope holds whatever a session started.
func unitRoom(unit string, ms []membership) facts.Room {
	if rest, ok := strings.CutPrefix(unit, "snap."); ok {
		name, _, _ := strings.Cut(rest, ".")
		return facts.Room{Kind: "sandbox", Engine: "snap", Name: Tidy(name)}
	}
	if rest, ok := strings.CutPrefix(unit, "app-flatpak-"); ok {
		name := unescapeUnit(strings.TrimSuffix(rest, ".scope"))
		if i := strings.LastIndexByte(name, '-'); i > 0 { // the number is that of its first process
			name = name[:i]
		}
		return facts.Room{Kind: "sandbox", Engine: "flatpak", Name: Tidy(name)}
	}
	if path.Ext(unit) != ".service" || strings.HasPrefix(unit, "user@") {
		return facts.Room{}
	}
	room := facts.Room{Kind: "unit", Name: Tidy(unit), Manager: "systemd"}
	for _, m := range ms {
		// /user.slice/user-1000.slice/user@1000.service/app.slice/dev.service
		_, rest, _ := strings.Cut(m.path, "/user@")
		of, below, ok := strings.Cut(rest, ".service/")
		if uid, err := strconv.ParseUint(of, 10, 32); ok && err == nil && strings.Contains(below, unit) {
			room.Manager, room.UID = "systemd --user", uint32(uid)
		}
	}
	return room
}

// podOf gives the uid of the pod of Kubernetes that a cgroup is of, by either of the
// kubelet's drivers:
//
//	/kubepods/burstable/pod1b4e28ba-2fa1-11d2-883f-0016d3cca427/3f2a…
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1b4e28ba_2fa1_11d2_883f_0016d3cca427.slice/cri-containerd-3f2a….scope
func podOf(p string) string {
	kube := false
	for part := range strings.SplitSeq(p, "/") {
		kube = kube || strings.Contains(part, "kubepods")
		if !kube {
			continue
		}
		part = strings.TrimSuffix(part, ".slice")
		i := strings.LastIndex(part, "pod")
		if i < 0 || i > 0 && part[i-1] != '-' {
			continue
		}
		// A static pod's is the hash of its file: 32 digits.
		uid := strings.ReplaceAll(part[i+len("pod"):], "_", "-")
		if (len(uid) == 36 || len(uid) == 32) && strings.Trim(uid, "0123456789abcdef-") == "" {
			return uid
		}
	}
	return ""
}

// unescapeUnit undoes what systemd does to a name, systemd.unit(5): shop\x2dweb.
func unescapeUnit(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], `\x`) && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Tidy bounds a name and leaves out what no name has: control characters.
func Tidy(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if r := []rune(s); len(r) > maxName {
		s = string(r[:maxName]) + "…"
	}
	return strings.TrimSpace(s)
}

// InContainer tells whether a /proc/PID/cgroup is that of a process in a container.
func InContainer(b []byte) bool {
	kind := RoomOf(b).Kind
	return kind == "container" || kind == "pod"
}
