package process

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// membership is one line of /proc/PID/cgroup, cgroups(7).
type membership struct {
	controllers []string // "freezer"; "name=systemd"; empty for cgroup2
	path        string
}

// parseCgroup reads lines such as
//
//	6:freezer:/
//	0::/system.slice/nginx.service
func parseCgroup(r io.Reader) ([]membership, error) {
	var ms []membership
	for line, err := range lines(r) {
		if err != nil {
			return ms, fmt.Errorf("parse cgroup: %w", err)
		}
		_, rest, ok1 := strings.Cut(line, ":")
		names, p, ok2 := strings.Cut(rest, ":")
		if !ok1 || !ok2 || !strings.HasPrefix(p, "/") {
			continue
		}
		m := membership{path: strings.TrimSuffix(text([]byte(p)), " (deleted)")}
		if names != "" {
			m.controllers = strings.Split(names, ",")
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// pathOf gives the path in the hierarchy of that controller, "" for cgroup2.
func pathOf(ms []membership, controller string) (string, bool) {
	for _, m := range ms {
		if controller == "" && m.controllers == nil || slices.Contains(m.controllers, controller) {
			return m.path, true
		}
	}
	return "", false
}

// home tells the systemd unit and the container that the memberships speak of;
// either may be empty. On a hybrid host the unit stands in systemd's own
// hierarchy, and a container may stand in any.
func home(ms []membership) (unit, container string) {
	for _, name := range []string{"", "name=systemd"} {
		if p, ok := pathOf(ms, name); ok && unit == "" && container == "" {
			unit, container = place(p)
		}
	}
	for _, m := range ms {
		if container != "" {
			break
		}
		_, container = place(m.path)
	}
	return unit, container
}

// place reads unit and container off one cgroup path. The innermost wins:
//
//	/user.slice/user-1000.slice/user@1000.service/app.slice/dev.service
//	/system.slice/docker-3f2a….scope/system.slice/nginx.service
func place(p string) (unit, container string) {
	above := ""
	for part := range strings.SplitSeq(p, "/") {
		c := containerOf(part, above)
		switch {
		case c != "":
			container = c
			if strings.HasSuffix(part, ".scope") {
				unit = "" // the scope is the container; the unit around it is only the engine's place
			}
		case slices.Contains([]string{".service", ".socket", ".scope"}, path.Ext(part)):
			unit = part
		}
		if part != "" {
			above = part
		}
	}
	return unit, container
}

// engines are the prefixes that container engines give to their cgroups. Those
// of the monitors (libpod-conmon-, crio-conmon-) are no containers.
var engines = []struct{ prefix, name string }{
	{"docker-", "docker"},
	{"libpod-payload-", "podman"},
	{"libpod-", "podman"},
	{"cri-containerd-", "containerd"},
	{"nerdctl-", "nerdctl"},
	{"crio-", "cri-o"},
}

// containerOf reads one part of a cgroup path: "docker 3f2a9c1b7d5e" or "".
func containerOf(part, above string) string {
	for _, e := range engines {
		if id, ok := strings.CutPrefix(part, e.prefix); ok {
			if id = strings.TrimSuffix(id, ".scope"); isID(id) {
				return e.name + " " + id[:12]
			}
		}
	}
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok && name != "" {
		return "lxc " + Tidy(name)
	}
	if above == "lxc" && part != "" { // of LXC 3 and older: /lxc/web
		return "lxc " + Tidy(part)
	}
	if name := machine(part); name != "" {
		return "nspawn " + name
	}
	if !isID(part) {
		return ""
	}
	// The cgroupfs driver names the directory by the bare id:
	// /docker/<id>, /kubepods/besteffort/pod<uid>/<id>.
	switch {
	case above == "docker":
		return "docker " + part[:12]
	case strings.HasPrefix(above, "pod") || strings.HasPrefix(above, "kubepods"):
		return "kubernetes " + part[:12]
	}
	return "container " + part[:12]
}

// machine gives the name of the container of systemd-nspawn that has the cgroup:
//
//	machine-web.scope                    systemd-nspawn@shop\x2dweb.service
//
// A virtual machine of libvirt has a scope of that form, too (machine-qemu\x2d1\x2dweb.scope).
func machine(part string) string {
	name, ok := strings.CutPrefix(part, "machine-")
	if ok {
		name, ok = strings.CutSuffix(name, ".scope")
	} else if name, ok = strings.CutPrefix(part, "systemd-nspawn@"); ok {
		name, ok = strings.CutSuffix(name, ".service")
	}
	if name = Tidy(unescapeUnit(name)); !ok || strings.HasPrefix(name, "qemu-") || strings.HasPrefix(name, "libvirt-") {
		return ""
	}
	return name
}

// isID tells whether s is a container's full id: 64 hexadecimal digits.
func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
