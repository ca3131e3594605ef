package facts

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// Containers is the containers that have to do with the port, running or not, and what
// is in their network namespaces. Looked at where nothing serves an expected address,
// and where what holds the port is, or may be, a container engine's.
type Containers struct {
	From    string      `json:"from"`              // the engines that answered: "docker, podman"
	Engines []Engine    `json:"engines,omitempty"` // each that was asked
	Found   []Container `json:"found"`
	Partial string      `json:"partial,omitempty"` // what could not be seen
}

// Engine is a container engine of this machine, and how asking it went.
type Engine struct {
	Name     string `json:"name"`   // "docker", "podman"
	Socket   string `json:"socket"` // path of its UNIX socket
	UID      uint32 `json:"uid,omitempty"`
	Rootless bool   `json:"rootless,omitempty"`
	Version  string `json:"version,omitempty"`
	Error    string `json:"error,omitempty"`  // why it did not answer: "needs root, or the group docker"
	Remedy   string `json:"remedy,omitempty"` // what would make it
}

// Container is one of them. What its engine did not say, its processes may have:
// a container without Engine's word has no State.
type Container struct {
	Engine   string    `json:"engine"` // "docker", "podman", "containerd", "cri-o"
	ID       string    `json:"id"`     // the first twelve digits
	Name     string    `json:"name"`
	Image    string    `json:"image,omitempty"`
	Project  string    `json:"project,omitempty"` // of compose
	Service  string    `json:"service,omitempty"` // of compose
	Files    []string  `json:"files,omitempty"`   // of compose: the files that describe it
	Dir      string    `json:"dir,omitempty"`     // of compose: the directory of the project
	Pod      string    `json:"pod,omitempty"`     // "namespace/name", of Kubernetes or Podman
	State    string    `json:"state"`             // "running", "exited", "restarting", "created", "dead", "paused"; empty: no engine said
	Status   string    `json:"status,omitempty"`  // in the engine's words: "Exited (1) 3 minutes ago"
	Health   string    `json:"health,omitempty"`  // "healthy", "unhealthy", "starting"; empty: it has no health check
	Check    []string  `json:"check,omitempty"`   // the health check: "CMD-SHELL", "curl -f http://localhost:8080/"; masked
	Checked  string    `json:"checked,omitempty"` // what the last one said, masked
	Started  time.Time `json:"started,omitzero"`
	Exit     int       `json:"exit,omitempty"`
	Ended    time.Time `json:"ended,omitzero"`
	OOM      bool      `json:"oom,omitempty"`
	Restarts int       `json:"restarts,omitempty"`
	Publish  string    `json:"publish"`         // "127.0.0.1:62893->8080/tcp": the one of Ports that is about the target
	Error    string    `json:"error,omitempty"` // why it could not be started
	Log      []string  `json:"log,omitempty"`

	PID       int           `json:"pid,omitempty"`       // of its first process, as seen from here
	Network   string        `json:"network,omitempty"`   // "bridge", "host", "none", "container:3f2a…", "pasta", the name of a network
	Addresses []netip.Addr  `json:"addresses,omitempty"` // in its networks
	Ports     []Publication `json:"ports,omitempty"`     // what is published, and what is only exposed
	Ignored   []Publication `json:"ignored,omitempty"`   // asked for and without effect: its network is the host's
	Rootless  bool          `json:"rootless,omitempty"`  // it belongs to an engine that runs without root
	Inside    *Indoors      `json:"inside,omitempty"`    // nil: not looked into
	Socket    string        `json:"socket,omitempty"`    // of its engine, where the engine's command has to be told; empty: it finds it by itself
	By        string        `json:"by,omitempty"`        // how it was found, if no engine said so: "arguments of docker-proxy (pid 812)"

	// Where in it connections of this machine to the target end, as its own sockets show, if
	// that is how it was found: Ports says so as well.
	Reached netip.AddrPort `json:"reached,omitzero"`
}

// Publication is one port of a container: published, or only exposed.
type Publication struct {
	Host netip.AddrPort `json:"host,omitzero"` // where this machine takes it; zero: nowhere, EXPOSE only
	Port uint16         `json:"port"`          // in the container
	UDP  bool           `json:"udp,omitempty"`
}

// nodeImages are the images of which clusters of Kubernetes make nodes that are containers.
var nodeImages = []struct{ image, product string }{
	{"kindest/node", "kind"}, {"k8s-minikube/kicbase", "minikube"}, {"rancher/k3s", "k3d"},
}

// NodeOf tells whose node a container of that image is: "kind", "minikube", "k3d", or
// empty if it is none.
func NodeOf(image string) string {
	name, _, _ := strings.Cut(image, "@")
	for _, n := range nodeImages {
		if strings.Contains("/"+name+":", "/"+n.image+":") {
			return n.product
		}
	}
	return ""
}

// IsNodePort tells whether the port is of the range from which Kubernetes takes NodePorts
// if nobody says another one (--service-node-port-range).
func IsNodePort(port uint16) bool { return port >= 30000 && port <= 32767 }

// Indoors is what is in the network namespace of a container.
type Indoors struct {
	NetNS         uint64       `json:"netns,omitempty"` // inode that names it
	Here          bool         `json:"here,omitempty"`  // it is ours: the network mode host
	Listeners     []Socket     `json:"listeners"`       // every TCP listener in there
	Processes     []Process    `json:"processes"`       // who holds them, as far as it can be seen; else the first process
	Addresses     []netip.Addr `json:"addresses,omitempty"`
	Bridge        string       `json:"bridge,omitempty"`         // the device on this machine through which its address is reached
	RouteLocalnet *bool        `json:"route_localnet,omitempty"` // of that device
	Partial       string       `json:"partial,omitempty"`
}

// Serves tells whether somebody in there listens on the port at an address that the
// published traffic has: any but loopback.
func (i *Indoors) Serves(port uint16) bool {
	for _, s := range i.Listeners {
		if s.Local.Port() == port && !s.Local.Addr().Unmap().IsLoopback() {
			return true
		}
	}
	return false
}

// At lists the listeners in there on the port.
func (i *Indoors) At(port uint16) []Socket {
	var ss []Socket
	for _, s := range i.Listeners {
		if s.Local.Port() == port {
			ss = append(ss, s)
		}
	}
	return ss
}

// engineHolders are programs of container engines that hold ports of the machine for
// containers.
var engineHolders = []string{"docker-proxy", "rootlesskit-docker-proxy", "rootlesskit-doc", "dockerd", "conmon", "podman", "containerd", "nerdctl",
	"rootlessport", "rootlessport-ch", "rootlessport-child", "containers-rootlessport", "containers-rootlessport-child", "rootlesskit", "slirp4netns",
	"pasta", "pasta.avx2", "passt", "passt.avx2"}

// HoldsForContainers tells whether the process is a program of a container engine, of
// those that hold ports for its containers. The executable decides, where it is seen:
// a process may call itself what it likes.
func (p Process) HoldsForContainers() bool {
	if p.Exe != "" {
		return IsEngineProgram(path.Base(p.Exe))
	}
	called := ""
	if len(p.Args) > 0 {
		called = path.Base(p.Args[0]) // of what was started as /proc/self/exe
	}
	return slices.Contains(engineHolders, p.Name) || slices.Contains(engineHolders, called)
}

// IsEngineProgram tells whether an executable of that name, without its directory, is one
// of a container engine: one that holds ports, or watches over a container. NixOS wraps
// some: ".conmon-wrapped".
func IsEngineProgram(name string) bool {
	if inner, ok := strings.CutSuffix(strings.TrimPrefix(name, "."), "-wrapped"); ok {
		name = inner
	}
	return slices.Contains(engineHolders, name) || strings.HasPrefix(name, "containerd-shim")
}

// Room says whose a network namespace is, as far as the cgroups, mounts and names of
// what lives there tell. All of it may be empty: then only its number is known.
type Room struct {
	Kind    string `json:"kind,omitempty"`     // "host", "container", "pod", "ip netns", "unit", "sandbox"
	Engine  string `json:"engine,omitempty"`   // "docker", "podman", "containerd", "cri-o", "lxc", "nspawn", "snap", "flatpak", "firejail"
	ID      string `json:"id,omitempty"`       // of the container, the first twelve digits
	Name    string `json:"name,omitempty"`     // of the container, the namespace, the unit or the application
	Image   string `json:"image,omitempty"`    // what an engine says of it
	Project string `json:"project,omitempty"`  // of compose
	Service string `json:"service,omitempty"`  // of compose
	Pod     string `json:"pod,omitempty"`      // "namespace/name", or the uid of the pod
	Setting string `json:"setting,omitempty"`  // of the unit: "PrivateNetwork=yes", "JoinsNamespaceOf=db.service", "NetworkNamespacePath=/run/netns/blue"
	Manager string `json:"manager,omitempty"`  // of the unit: "systemd", "systemd --user"
	UID     uint32 `json:"uid,omitempty"`      // of the user whose manager that is; 0: the system's
	DropIns string `json:"drop_ins,omitempty"` // directory for changes to the unit: "/etc/systemd/system/web.service.d"
}

// String is what a person calls it: "container shop-web (docker, image nginx:1.25)",
// "pod shop/web-1", "unit web.service". Empty if nothing is known.
func (r Room) String() string {
	var more []string
	add := func(word, s string) {
		if s != "" {
			more = append(more, strings.TrimSpace(word+" "+s))
		}
	}
	name := r.Name
	switch r.Kind {
	case "host":
		return "the host"
	case "container":
		if name == "" {
			name = r.ID
		}
		add("", r.Engine)
		add("image", r.Image)
		add("compose service", r.Service)
		add("of project", r.Project)
	case "pod":
		name = r.Pod
		add("container", r.Name)
	case "sandbox":
		add("", r.Engine)
	case "unit":
		add("", r.Setting)
	case "":
		return ""
	}
	s := strings.TrimSpace(r.Kind + " " + name)
	if len(more) > 0 {
		s += " (" + strings.Join(more, ", ") + ")"
	}
	return s
}

// Inside says what the place that loopdoctor looks from is itself inside of, where that
// bears on what localhost means.
type Inside struct {
	Room    Room       `json:"room,omitzero"`     // a container, a pod, an "ip netns": loopdoctor looks from inside of it
	Entered bool       `json:"entered,omitempty"` // it has gone there to look (--container, --pid, --netns, --pod, --as PID); else it was started there
	Shared  bool       `json:"shared,omitempty"`  // the network of the room is that of the machine: network mode host
	WSL     string     `json:"wsl,omitempty"`     // "1", "2 nat", "2 mirrored", "2 virtioproxy" …, "2" when the mode is not known
	VM      string     `json:"vm,omitempty"`      // "docker-desktop", "colima", "lima", "rancher-desktop", "podman-machine", "orbstack", "wsl"
	CI      string     `json:"ci,omitempty"`      // "github-actions", "gitlab", …
	Remote  string     `json:"remote,omitempty"`  // "codespaces", "gitpod", "ssh"
	Gateway netip.Addr `json:"gateway,omitzero"`  // where the default route leads: the machine around this one
	Outer   netip.Addr `json:"outer,omitzero"`    // what host.docker.internal or host.containers.internal means here

	Signs   []string `json:"signs,omitempty"`    // what WSL and VM were told from: "interface loopback0"
	NoRelay string   `json:"no_relay,omitempty"` // the line that keeps Windows from forwarding its localhost to WSL

	Outside uint64 `json:"outside,omitempty"` // number of the machine's network namespace, where loopdoctor left it to look

	// Of the container, as its engine told when it was looked for by its name.
	Networks []string `json:"networks,omitempty"` // names of those that it is in
	Health   string   `json:"health,omitempty"`   // "healthy", "unhealthy", "starting"; empty: it has no health check
	Check    []string `json:"check,omitempty"`    // the health check: "CMD-SHELL", "wget -q http://localhost:8080/"; masked
}

// Pings tells whether the container's health check is a wget that asks localhost for
// the port.
func (i Inside) Pings(port uint16) bool {
	words := strings.FieldsFunc(strings.Join(i.Check, " "), func(r rune) bool { return strings.ContainsRune(" \t;|&()'\"", r) })
	asks := false
	for _, w := range words {
		to, isHTTP := strings.CutPrefix(w, "http://localhost")
		if w == "localhost" || !isHTTP {
			continue
		}
		to, _, _ = strings.Cut(to, "/")
		asks = asks || to == fmt.Sprintf(":%d", port) || to == "" && port == 80
	}
	return asks && slices.ContainsFunc(words, func(w string) bool { return path.Base(w) == "wget" })
}

// InContainer tells whether localhost is that of a container or a pod alone.
func (i Inside) InContainer() bool {
	return (i.Room.Kind == "container" || i.Room.Kind == "pod") && !i.Shared
}
