package process

import (
	"cmp"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// What the programs of container engines tell of a container in their arguments, which
// everybody may read.

// Proxy is what a docker-proxy was told to do.
type Proxy struct {
	Host      netip.AddrPort // where it takes connections; rootless: as it is meant on the machine
	Container netip.AddrPort
	UDP       bool
}

// ParseProxy reads the arguments of docker-proxy, of which the rootless Docker has one
// of its own:
//
//	/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 62893 -container-ip 172.17.0.2 -container-port 80 -use-listen-fd
//	rootlesskit-docker-proxy -container-ip 172.17.0.2 -container-port 80 -host-ip 0.0.0.0 -host-port 62893 -proto tcp
func ParseProxy(args []string) (p Proxy, ok bool) {
	if len(args) == 0 || path.Base(args[0]) != "docker-proxy" && path.Base(args[0]) != "rootlesskit-docker-proxy" {
		return p, false
	}
	endpoint := func(end string) netip.AddrPort {
		a, _ := netip.ParseAddr(option(args, end+"-ip"))
		n, err := strconv.ParseUint(option(args, end+"-port"), 10, 16)
		if err != nil {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(a.WithZone(""), uint16(n))
	}
	p = Proxy{endpoint("host"), endpoint("container"), option(args, "proto") == "udp"}
	return p, p.Host.IsValid() && p.Container.IsValid() && p.Host.Port() != 0 && p.Container.Port() != 0 && option(args, "proto") != "sctp"
}

// Monitor is what the process above a container tells of it.
type Monitor struct {
	Engine string // "docker", "podman", "cri-o", "containerd", "kubernetes"
	ID     string // all digits
	Name   string // conmon alone knows it
}

// ParseMonitor reads the arguments of conmon and of containerd's shim. A shim may have
// several containers of a pod, of which it names the one that keeps the namespaces:
//
//	/usr/bin/conmon --api-version 1 -c 3f2a… -u 3f2a… -r /usr/bin/crun -b /run/containers/… -n shop-web --exit-dir …
//	/usr/bin/containerd-shim-runc-v2 -namespace moby -id 3f2a… -address /run/containerd/containerd.sock
func ParseMonitor(args []string) (m Monitor, ok bool) {
	if len(args) == 0 {
		return m, false
	}
	switch program := path.Base(args[0]); {
	case program == "conmon":
		m = Monitor{"podman", cmp.Or(option(args, "c"), option(args, "cid")), cmp.Or(option(args, "n"), option(args, "name"))}
		if strings.HasPrefix(m.Name, "k8s_") || strings.Contains(option(args, "exit-dir"), "/crio/") {
			m.Engine = "cri-o"
		}
	case strings.HasPrefix(program, "containerd-shim"):
		m = Monitor{Engine: "containerd", ID: option(args, "id")}
		switch option(args, "namespace") {
		case "moby":
			m.Engine = "docker"
		case "k8s.io":
			m.Engine = "kubernetes"
		}
	}
	return m, isID(m.ID)
}

// option is the value of a flag that is written with one hyphen or two, with its value
// in the next word or behind "=".
func option(args []string, name string) string {
	for i, a := range args[1:] {
		flag := strings.TrimPrefix(strings.TrimPrefix(a, "-"), "-")
		if flag == a {
			continue
		}
		if v, ok := strings.CutPrefix(flag, name+"="); ok {
			return v
		}
		if flag == name && i+2 < len(args) {
			return args[i+2]
		}
	}
	return ""
}

// engineProgram tells whether a process of that name, of which the kernel keeps fifteen
// bytes, may tell of a container.
func engineProgram(comm string) bool {
	switch comm {
	case "docker-proxy", "rootlesskit-doc", "conmon", "rootlessport", "rootlessport-ch", "rootlesskit", "slirp4netns", "pasta", "pasta.avx2", "passt", "passt.avx2":
		return true
	}
	return strings.HasPrefix(comm, "containerd-shim")
}

// wholeID reads the engine and the id of the innermost container, all digits of it.
func wholeID(ms []membership) (engine, id string) {
	_, short := home(ms)
	engine, first, ok := strings.Cut(short, " ")
	if !ok {
		return "", ""
	}
	for _, m := range ms {
		for part := range strings.SplitSeq(m.path, "/") {
			part = strings.TrimSuffix(part, ".scope")
			if i := strings.LastIndexByte(part, '-'); i >= 0 {
				part = part[i+1:]
			}
			if isID(part) && strings.HasPrefix(part, first) {
				return engine, part
			}
		}
	}
	return "", ""
}
