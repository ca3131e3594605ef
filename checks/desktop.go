package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Containers in a virtual machine on somebody's desk, and clusters in a container:
// localhost outside is led in by a forwarder, port by port, or not at all.

// desktops are the products whose virtual machines run containers, with what starts
// them again.
var desktops = map[string]struct{ name, restart string }{
	"docker-desktop":  {"Docker Desktop", "Restart Docker Desktop (docker desktop restart, or its menu)."},
	"colima":          {"Colima", "Restart it on the computer outside: colima restart."},
	"lima":            {"Lima", "Restart it on the computer outside: limactl stop, then limactl start, with the name of the instance."},
	"rancher-desktop": {"Rancher Desktop", "Restart Rancher Desktop (rdctl shutdown, then rdctl start)."},
	"podman-machine":  {"podman machine", "Restart it on the computer outside: podman machine stop, then podman machine start."},
	"orbstack":        {"OrbStack", "Restart OrbStack (orb restart, or its menu)."},
}

// inDesktop names the product whose virtual machine this is.
func inDesktop(f *facts.Facts) string {
	return desktops[f.Host.Inside.VM].name
}

// ofTheVM tells whether a container shares the network of the machine that it runs on:
// it sees the bridge of the engine, and where its localhost ends.
func ofTheVM(f *facts.Facts) bool {
	return f.Host.Inside.Shared || f.Interfaces != nil && slices.ContainsFunc(f.Interfaces.Others, func(i facts.Interface) bool { return i.Name == "docker0" || i.Name == "podman0" })
}

// desktopVMForwarderBroken is judged from inside the virtual machine, and is a remark
// there: whether the forwarder outside runs does not show in here. A client outside that
// failed, while the service answers in here, makes it a cause.
var desktopVMForwarderBroken = &Check{
	Name:     "desktop-vm-forwarder-broken",
	Doc:      "the service answers in the virtual machine of a desktop product, and its forwarder does not lead the outer localhost there",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupOwners},
	Explains: []*Check{clientFails},
	Run: func(f *facts.Facts) []Finding {
		on, product := workingLoopback(f), inDesktop(f)
		if product == "" || len(on) == 0 || isContained(f) {
			return nil
		}
		met := fromOutside(f)
		ls := listeners(f)
		x := Finding{Affects: on, Remark: !met, Certainty: Inferred, Evidence: append(signs(f), socketEvidence(f, ls[0])),
			Summary: fmt.Sprintf("Works from here, in the virtual machine of %s. If your client is on the computer outside: its localhost:%d leads here only through the forwarder of %[1]s.", product, f.Target.Port),
			Settle:  "on the computer outside: " + fmt.Sprintf("lsof -nP -iTCP:%d -sTCP:LISTEN (it has to show com.docker.backend, limactl, ssh or gvproxy)", f.Target.Port),
			Fixes:   []Fix{{Do: desktops[f.Host.Inside.VM].restart, Interrupts: "every container in it"}}}
		if met {
			x.Summary = fmt.Sprintf("%s answers in the virtual machine of %s, and not on the computer outside: the forwarder of %[2]s does not lead localhost:%d in here, or another program has the port outside.", ats(f, on), product, f.Target.Port)
			x.Evidence = append(x.Evidence, Evidence{"client", f.Target.Error.Text})
		}
		if slices.ContainsFunc(ls, func(s facts.Socket) bool { return s.Local.Addr().Unmap().IsLoopback() }) {
			x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Publish the port on all addresses of the virtual machine (-p %d:PORT in place of -p 127.0.0.1:%[1]d:PORT): some forwarders lead there only.", f.Target.Port), Risk: "the network around the virtual machine may reach it then"})
		}
		return []Finding{x}
	},
}

// hostNetworkInDesktopVM: the host of "network mode host" is the virtual machine. From
// inside it shows by the bridge of the engine, from outside by an engine that is known
// to run in one.
var hostNetworkInDesktopVM = &Check{
	Name:     "host-network-in-desktop-vm",
	Doc:      "a container has the network of its host, and that host is the virtual machine of a desktop product",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupDials},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupInterfaces, facts.GroupContainers},
	Explains: []*Check{clientFails, refused},
	Refines:  []*Check{noListener, containerPortNotPublished},
	Run: func(f *facts.Facts) []Finding {
		fixes := []Fix{
			{Do: fmt.Sprintf("Create the container with -p 127.0.0.1:%d:PORT in place of --network host, and let the program in it listen on 0.0.0.0.", f.Target.Port), Interrupts: "the container, which is created again"},
			{Do: "With Docker Desktop 4.34 and later: Settings, Resources, Network, \"Enable host networking\".", Interrupts: "every container: Docker Desktop starts again"},
		}
		if product := inDesktop(f); product != "" && isContained(f) && ofTheVM(f) {
			on := workingLoopback(f)
			if len(on) == 0 {
				return nil
			}
			met := fromOutside(f)
			x := Finding{Affects: on, Remark: !met, Certainty: Inferred, Brings: []*Check{clientFails}, Evidence: append(signs(f), socketEvidence(f, listeners(f)[0])), Fixes: fixes,
				Summary: fmt.Sprintf("This container has the network mode host, and its host is the virtual machine of %s: the localhost of the computer outside does not lead to port %d.", product, f.Target.Port)}
			if met {
				x.Evidence = append(x.Evidence, Evidence{"client", f.Target.Error.Text})
			}
			return []Finding{x}
		}
		none := abandoned(f)
		if len(none) == 0 || f.Containers == nil {
			return nil
		}
		for _, c := range f.Containers.Found {
			if c.Network != "host" || c.State != "running" || !exposes(c, f.Target.Port) {
				continue
			}
			e, ok := desktopEngine(f, c.Engine)
			if !ok {
				continue
			}
			return []Finding{{Affects: none, Certainty: Inferred, Brings: []*Check{refused}, Since: c.Started, Fixes: fixes,
				Summary:  fmt.Sprintf("Container %s has the network mode host, and its host is the virtual machine of %s: what it listens on is there, and not on this localhost.", c.Name, e.product),
				Evidence: []Evidence{{"engine", fmt.Sprintf("%s, at %s", e.product, e.socket)}, {"container", fmt.Sprintf("%s: network host, exposes port %d", c.Name, f.Target.Port)}}}}
		}
		return nil
	},
}

// exposes tells whether a container has to do with that port of its own.
func exposes(c facts.Container, port uint16) bool {
	return slices.ContainsFunc(c.Ports, func(p facts.Publication) bool { return p.Port == port && !p.UDP })
}

// desktopSockets are parts of the paths of engines that run in a virtual machine.
var desktopSockets = []struct{ part, product string }{
	{"/docker-desktop/", "Docker Desktop"}, // in WSL: /mnt/wsl/docker-desktop/shared-sockets/…
	{"/.docker/desktop/", "Docker Desktop"}, {"/.docker/run/", "Docker Desktop"},
	{"/.colima/", "Colima"}, {"/.lima/", "Lima"}, {"/.rd/", "Rancher Desktop"}, {"/.orbstack/", "OrbStack"}, {"podman-machine", "podman machine"},
}

type vmEngine struct{ product, socket string }

// desktopEngine tells whether every engine of that name runs in a virtual machine: of
// two, nothing says which one has the container.
func desktopEngine(f *facts.Facts, name string) (e vmEngine, ok bool) {
	for _, x := range f.Containers.Engines {
		if x.Name != name || x.Error != "" {
			continue
		}
		i := slices.IndexFunc(desktopSockets, func(d struct{ part, product string }) bool { return strings.Contains(x.Socket, d.part) })
		if i < 0 {
			return vmEngine{}, false
		}
		e = vmEngine{desktopSockets[i].product, x.Socket}
	}
	return e, e.product != ""
}

// kindMinikubeNodePort is inferred: which services the cluster has, only the cluster
// tells.
var kindMinikubeNodePort = &Check{
	Name:     "kind-minikube-nodeport",
	Doc:      "a NodePort is open on the node of the cluster, which is a container, and not on this machine",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupDials, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupUnits, facts.GroupCandidates, facts.GroupConfigs},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener, containerPortNotPublished},
	Run: func(f *facts.Facts) []Finding {
		none := abandoned(f)
		if len(none) == 0 || !facts.IsNodePort(f.Target.Port) || claimed(f, facts.Room{}) {
			return nil
		}
		for _, c := range f.Containers.Found {
			product := facts.NodeOf(c.Image)
			published := slices.ContainsFunc(c.Ports, func(p facts.Publication) bool { return p.Host.Port() == f.Target.Port && !p.UDP })
			if product == "" || c.State != "running" || published {
				continue
			}
			return []Finding{{Affects: none, Certainty: Inferred, Since: c.Started,
				Summary: fmt.Sprintf("Port %d is in the range of NodePorts, and the node of your cluster, the %s container %s, does not publish it: a NodePort is open on the node, not on this machine.", f.Target.Port, product, c.Name),
				Evidence: []Evidence{{"container", fmt.Sprintf("%s, image %s, publishes %s", c.Name, c.Image, publishedPorts(c))},
					{f.Sockets.From, fmt.Sprintf("nothing listens on port %d here", f.Target.Port)}},
				Settle: fmt.Sprintf("kubectl get services --all-namespaces | grep :%d/", f.Target.Port),
				Fixes:  nodePortFixes(f, c, product)}}
		}
		return nil
	},
}

// publishedPorts says what a container publishes.
func publishedPorts(c facts.Container) string {
	var ps []string
	for _, p := range c.Ports {
		if p.Host.Port() != 0 {
			ps = append(ps, fmt.Sprintf("%s->%d", p.Host, p.Port))
		}
	}
	return cond(len(ps) == 0, "nothing", list(ps[:min(3, len(ps))]))
}

func nodePortFixes(f *facts.Facts, c facts.Container, product string) []Fix {
	p := f.Target.Port
	fixes := []Fix{{Do: fmt.Sprintf("For as long as you need it: kubectl port-forward service/NAME %d:PORT, with the name and the port of the service.", p)}}
	if i := slices.IndexFunc(c.Addresses, netip.Addr.Is4); i >= 0 && f.Host.Inside.VM == "" {
		fixes = append(fixes, Fix{Do: fmt.Sprintf("Connect to the node itself: %s. This works on Linux only, and as long as the cluster keeps the address.", netip.AddrPortFrom(c.Addresses[i], p))})
	}
	switch product {
	case "kind":
		fixes = append(fixes, Fix{Do: fmt.Sprintf("For good: create the cluster with extraPortMappings (containerPort: %d, hostPort: %[1]d, listenAddress: 127.0.0.1) in its configuration.", p), Interrupts: "the cluster, which is created again"})
	case "minikube":
		fixes = append(fixes, Fix{Do: "Let minikube make a way: minikube service NAME --url, with the name of the service. It prints the address to use."})
	case "k3d":
		fixes = append(fixes, Fix{Do: fmt.Sprintf("For good: k3d cluster edit NAME --port-add 127.0.0.1:%d:%[1]d@loadbalancer, with the name of the cluster.", p), Interrupts: "connections through the load balancer of the cluster, for a moment"})
	}
	return fixes
}
