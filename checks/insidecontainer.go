package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The client is in a container or a pod: its localhost is that, and neither the machine
// nor the container beside it.

var localhostInsideContainer = &Check{
	Name:     "localhost-inside-container",
	Doc:      "the client is in a container, whose localhost is the container itself, and the server is not in there",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupNamespaces, facts.GroupContainers, facts.GroupCandidates, facts.GroupDials},
	Explains: []*Check{refused},
	Refines:  []*Check{otherNetworkNamespace},
	Run: func(f *facts.Facts) []Finding {
		none, ok := notInContainer(f)
		if !ok {
			return nil
		}
		room := f.Host.Inside.Room
		x := Finding{Affects: none, Certainty: Inferred, Evidence: []Evidence{{"looked from", room.String()}, {f.Sockets.From, fmt.Sprintf("nothing in there listens on port %d", f.Target.Port)}}}
		there := elsewhereMeant(f)
		if there == nil {
			x.Summary = fmt.Sprintf("Nothing listens on port %d in %s, and localhost is %s itself: a server on the host or in another container is not at localhost.", f.Target.Port, thisRoom(room), cond(room.Kind == "pod", "the pod", "the container"))
			x.Settle = fmt.Sprintf("loopdoctor %d", f.Target.Port) // on the host
			x.Fixes = outsideFixes(f, nil)
			return []Finding{x}
		}
		var on []string // inferred: a server of its own, which is down, may be meant
		for _, s := range there.Listeners {
			on = append(on, s.Local.String())
		}
		owner := "a process"
		if len(there.Processes) > 0 {
			p := there.Processes[0]
			owner, x.Since = fmt.Sprintf("%s (pid %d)", p.Name, p.PID), p.Started
		}
		where := there.place(f)
		x.Summary = fmt.Sprintf("localhost is %s itself, where nothing listens on port %d; %s listens on it %s.", thisRoom(room), f.Target.Port, owner, where)
		x.Evidence = append(x.Evidence, Evidence{strings.TrimPrefix(strings.TrimPrefix(where, "on "), "in "), "tcp listen " + list(on)})
		x.Fixes = outsideFixes(f, there)
		return []Finding{x}
	},
}

// notInContainer finds the loopback addresses of a target that are refused inside of a
// container because nothing serves them there, and nothing is seen to be meant to.
func notInContainer(f *facts.Facts) ([]netip.Addr, bool) {
	in := f.Host.Inside
	if !in.InContainer() || f.Target.Network != "tcp" || f.Target.Port == 0 || len(listeners(f)) > 0 {
		return nil, false
	}
	none := slices.DeleteFunc(unserved(f), func(a netip.Addr) bool { return !a.IsLoopback() || works(f, a) })
	if len(none) == 0 {
		return nil, false
	}
	// The image says, or who made the container, that this port is its own.
	if c := thisContainer(f); c != nil && slices.ContainsFunc(c.Ports, func(p facts.Publication) bool { return p.Port == f.Target.Port && !p.UDP }) {
		return nil, false
	}
	// Somebody in here was told to listen on it.
	if f.Candidates != nil && slices.ContainsFunc(f.Candidates.Found, func(c facts.Candidate) bool {
		here := !in.Entered || in.Room.ID != "" && strings.Contains(c.Container, in.Room.ID)
		return here && !c.Me && slices.ContainsFunc(c.Names, func(m facts.Mention) bool { return m.Sure })
	}) {
		return nil, false
	}
	return none, true
}

// thisContainer is what an engine says of the container that is looked from.
func thisContainer(f *facts.Facts) *facts.Container {
	return containerByID(f, f.Host.Inside.Room.ID)
}

func containerByID(f *facts.Facts, id string) *facts.Container {
	if f.Containers == nil || id == "" {
		return nil
	}
	for i := range f.Containers.Found {
		if f.Containers.Found[i].ID == id {
			return &f.Containers.Found[i]
		}
	}
	return nil
}

// outsideServer is a listener on the port outside of the container that a client in it
// may mean.
type outsideServer struct {
	facts.Namespace
	container *facts.Container // nil: it is the host
}

// elsewhereMeant finds it: a container of the same compose project, or in the same
// network; else the host. What a stranger's container listens on is not meant, though
// its port is the same.
func elsewhereMeant(f *facts.Facts) *outsideServer {
	if f.Namespaces == nil {
		return nil
	}
	var host *outsideServer
	for _, n := range f.Namespaces.Found {
		if n.ID != 0 && n.ID == f.Host.Inside.Outside || n.Room.Kind == "host" {
			host = &outsideServer{Namespace: n}
			continue
		}
		id := n.Room.ID
		if id == "" && len(n.Processes) > 0 { // "docker 3f2a9c1b7d5e"
			_, id, _ = strings.Cut(n.Processes[0].Container, " ")
		}
		if c := containerByID(f, id); c != nil && neighbours(f, c) {
			return &outsideServer{n, c}
		}
	}
	return host
}

// neighbours tells whether a container belongs to the one that is looked from.
func neighbours(f *facts.Facts, c *facts.Container) bool {
	in := f.Host.Inside
	return in.Room.Project != "" && in.Room.Project == c.Project || sharesNetwork(f, c)
}

func sharesNetwork(f *facts.Facts, c *facts.Container) bool {
	return c.Network != "" && (slices.Contains(f.Host.Inside.Networks, c.Network) || c.Network == "default" && slices.Contains(f.Host.Inside.Networks, "bridge"))
}

func (o *outsideServer) place(f *facts.Facts) string {
	if o.container != nil {
		return "in " + theContainer(o.container)
	}
	return "on the host"
}

// onLoopback tells whether it can be reached from where it is alone.
func (o *outsideServer) onLoopback() bool {
	return !slices.ContainsFunc(o.Listeners, func(s facts.Socket) bool { return !s.Local.Addr().Unmap().IsLoopback() })
}

func thisRoom(room facts.Room) string {
	if room.Kind == "pod" {
		return cond(room.Pod != "", "the pod "+short(room.Pod), "this pod")
	}
	if name := cmp.Or(room.Name, room.ID); name != "" {
		return "the container " + short(name)
	}
	return "this container"
}

// outsideFixes are what a client in a container uses in place of localhost.
func outsideFixes(f *facts.Facts, there *outsideServer) []Fix {
	port, in := f.Target.Port, f.Host.Inside
	again := "the container, which has to be created again for it"
	if there != nil && there.container != nil {
		c := there.container
		name := cmp.Or(c.Service, c.Name)
		if !sayableWord(name) {
			name = "its name"
		}
		also := cond(there.onLoopback(), fmt.Sprintf(" The server in there listens on loopback only: it has to listen on 0.0.0.0:%d as well.", port), "")
		if sharesNetwork(f, c) && c.Network != "bridge" && c.Network != "default" && c.Network != "podman" {
			return []Fix{{Do: fmt.Sprintf("Let the client use %s:%d: in the network %s the name means that container.%s", name, port, short(c.Network), also)}}
		}
		at := ""
		if len(c.Addresses) > 0 {
			at = fmt.Sprintf(" Until it is created again its address is %s.", c.Addresses[0])
		}
		return []Fix{{Do: fmt.Sprintf("Put both containers into one network of their own (%s network create shop, then %[1]s network connect shop CONTAINER for each), and let the client use %s:%d: in the default network names mean nothing.%s%s", cmp.Or(c.Engine, "docker"), name, port, at, also)}}
	}
	also := ""
	if there != nil && there.onLoopback() {
		also = fmt.Sprintf(" The server listens on loopback only: it has to listen on an address that the container reaches as well%s.", cond(in.Gateway.IsValid(), fmt.Sprintf(" (%s)", netip.AddrPortFrom(in.Gateway, port)), ""))
	}
	if in.Room.Kind == "pod" {
		return []Fix{{Do: fmt.Sprintf("Let the client use the name of the Service (NAME.NAMESPACE.svc:%d); localhost is right only for another container of the same pod.%s", port, also)}}
	}
	outer := Fix{Do: fmt.Sprintf("Let the client use host.docker.internal:%d, and start the container with --add-host=host.docker.internal:host-gateway (compose: extra_hosts: [\"host.docker.internal:host-gateway\"]).%s", port, also), Interrupts: again}
	switch {
	case in.Outer.IsValid():
		outer = Fix{Do: fmt.Sprintf("Let the client use %s:%d, which is %s here.%s", cond(in.Room.Engine == "podman", "host.containers.internal", "host.docker.internal"), port, in.Outer, also)}
	case in.Room.Engine == "podman":
		outer = Fix{Do: fmt.Sprintf("Let the client use host.containers.internal:%d.%s", port, also)}
	case in.Gateway.IsValid() && there != nil:
		outer.Do = strings.TrimSuffix(outer.Do, also) + fmt.Sprintf(" The address of the host is %s here.", in.Gateway) + also
	}
	fixes := []Fix{outer, {Do: "Give the container the network of the host (--network host; compose: network_mode: host): localhost is the host's then.",
		Risk: "its ports are those of the host, and -p has no effect", Interrupts: again}}
	if there == nil {
		fixes = slices.Insert(fixes, 0, Fix{Do: fmt.Sprintf("If the server is another container, let the client use its name, or that of its compose service, in place of localhost (db:%d): both have to be in one network.", port)})
	}
	return fixes
}

// ciJobInContainer is the same in a job of continuous integration, where the file to
// change is known.
var ciJobInContainer = &Check{
	Name:     "ci-job-in-container",
	Doc:      "the job runs in a container, and the service beside it is not at localhost but at its own name",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupNamespaces, facts.GroupContainers, facts.GroupCandidates, facts.GroupEnvironment, facts.GroupDials},
	Explains: []*Check{refused},
	Refines:  []*Check{localhostInsideContainer},
	Run: func(f *facts.Facts) []Finding {
		none, ok := notInContainer(f)
		ci := f.Host.Inside.CI
		if !ok || ci == "" || ci == "bitbucket" || ci == "circleci" { // in these, services share localhost with the job
			return nil
		}
		system := cmp.Or(ciNames[ci], ci)
		port := f.Target.Port
		label, seen := cmp.Or(usualServices[port], "SERVICE"), ""
		x := Finding{Affects: none, Certainty: Inferred, Evidence: []Evidence{{"environment", "a job of " + system}, {"looked from", f.Host.Inside.Room.String()}}}
		if there := elsewhereMeant(f); there != nil && there.container != nil {
			x.Certainty, seen = Proven, ", and "+theContainer(there.container)+" listens on it"
			x.Evidence = append(x.Evidence, Evidence{theContainer(there.container), "tcp listen " + there.Listeners[0].Local.String()})
		}
		x.Summary = fmt.Sprintf("This job of %s runs in a container, and localhost is that container: nothing in it listens on port %d%s. A service of the job is reached by its own name.", system, port, seen)
		if seen == "" {
			x.Settle = fmt.Sprintf("getent hosts %s", strings.ToLower(label))
		}
		x.Fixes = ciFixes(f, ci, label)
		return []Finding{x}
	},
}

var ciNames = map[string]string{"github-actions": "GitHub Actions", "gitlab": "GitLab CI",
	"azure-pipelines": "Azure Pipelines", "forgejo": "Forgejo Actions", "gitea": "Gitea Actions", "drone": "Drone"}

// usualServices are the labels that such services usually have, by their port.
var usualServices = map[uint16]string{5432: "postgres", 3306: "mysql", 6379: "redis", 27017: "mongo", 5672: "rabbitmq", 9200: "elasticsearch",
	11211: "memcached", 1433: "mssql", 4444: "selenium", 9092: "kafka", 8000: "dynamodb", 4566: "localstack", 9000: "minio", 1025: "mailpit"}

// hostVariables are those that tell the clients of such a service where it is.
var hostVariables = map[uint16]string{5432: "PGHOST", 3306: "MYSQL_HOST", 6379: "REDIS_HOST", 27017: "MONGO_HOST", 5672: "RABBITMQ_HOST", 9200: "ELASTICSEARCH_HOST"}

func ciFixes(f *facts.Facts, ci, label string) []Fix {
	port := f.Target.Port
	name := cmp.Or(hostVariables[port], "SERVICE_HOST")
	// The variable that this job has: its line is the one to change.
	if f.Environment != nil {
		for _, v := range f.Environment.Variables {
			if slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, v.Value) && strings.HasSuffix(v.Name, "HOST") && v.Name != "HOST" {
				name = v.Name
			}
		}
	}
	line := fmt.Sprintf("%s: %s", name, label)
	switch ci {
	case "gitlab":
		return []Fix{{Do: fmt.Sprintf("Use the name of the service in place of localhost. In .gitlab-ci.yml: \"variables: { %s }\" (the name is that of the image under services:, without its tag and with - for /, or its alias:).", line)}}
	case "github-actions", "forgejo", "gitea":
		return []Fix{
			{Do: fmt.Sprintf("Use the label of the service in place of localhost. In the job or step: \"env: { %s }\" (the label is the key under services:; no ports: are needed).", line)},
			{Do: fmt.Sprintf("Take container: out of the job: on the runner itself localhost:%d is right, if the service has \"ports: [\\\"%[1]d:%[1]d\\\"]\".", port)}}
	}
	return []Fix{{Do: fmt.Sprintf("Use the name of the service in place of localhost: \"%s\".", line)}}
}

// hostServiceLoopbackOnly is loopback-only-remote-client where the other machines are
// containers of this one.
var hostServiceLoopbackOnly = &Check{
	Name:     "host-service-loopback-only",
	Doc:      "the server listens on loopback only, and containers reach this machine by the address of their bridge",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupInterfaces},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{refused},
	Refines:  []*Check{loopbackOnlyRemoteClient},
	Run: func(f *facts.Facts) []Finding {
		if !onLoopbackAlone(f) {
			return nil
		}
		var missed []netip.Addr
		var bridge facts.Interface
		var network netip.Prefix
		for _, a := range unserved(f) {
			if i, p, ok := bridgeOf(f, a); ok {
				missed, bridge, network = append(missed, a), i, p
			}
		}
		if len(missed) == 0 {
			return nil
		}
		a, s := missed[0], listeners(f)[0]
		var where []string
		for _, l := range listeners(f) {
			where = append(where, l.Local.String())
		}
		slices.Sort(where)
		return []Finding{{Affects: missed, Certainty: Proven, Since: since(f, s),
			Evidence: []Evidence{socketEvidence(f, s), {"interface", fmt.Sprintf("%s has %s", bridge.Name, netip.PrefixFrom(a, network.Bits()))}},
			Summary:  fmt.Sprintf("%s listens on %s only: containers, to which this machine is %s (%s, host.docker.internal), are refused.", holder(f, s), list(slices.Compact(where)), a, bridge.Name),
			Fixes: []Fix{
				{Do: fmt.Sprintf("Make the server listen on %s%s.", at(f, a), cmp.Or(option(f, s, a), " as well")),
					Risk: fmt.Sprintf("every container in %s can then connect, and nobody outside of this machine", network.Masked())},
				{Do: "Give the container the network of this machine (--network host; compose: network_mode: host): then localhost is right in it.",
					Interrupts: "the container, which has to be created again for it"}}}}
	},
}

// bridgeOf finds the bridge of a container engine that has the address.
func bridgeOf(f *facts.Facts, a netip.Addr) (facts.Interface, netip.Prefix, bool) {
	for _, i := range f.Interfaces.Others {
		for _, p := range i.Addresses {
			if p.Addr() == a && engineBridge(i.Name) {
				return i, p, true
			}
		}
	}
	return facts.Interface{}, netip.Prefix{}, false
}

// engineBridge goes by the names that engines give to their bridges: docker0,
// br-3f2a9c1b7d5e, podman0, cni-podman0, nerdctl0.
func engineBridge(name string) bool {
	for _, pattern := range []string{"docker0", "docker_gwbridge", "podman[0-9]*", "cni[0-9]*", "cni-podman*", "nerdctl[0-9]*", "cbr0"} {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	id, ok := strings.CutPrefix(name, "br-")
	return ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}
