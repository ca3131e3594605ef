package checks

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// runsContainer adds a container to what the engines told.
func runsContainer(c facts.Container, sockets ...string) change {
	return func(f *facts.Facts) {
		f.Containers = &facts.Containers{From: c.Engine, Found: []facts.Container{c}}
		for _, s := range sockets {
			f.Containers.Engines = append(f.Containers.Engines, facts.Engine{Name: c.Engine, Socket: s})
		}
	}
}

func desktopSituations() []situation {
	serves := []change{listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected)}
	with := func(more ...change) []change { return append(serves[:len(serves):len(serves)], more...) }
	gone := []change{dials("127.0.0.1", facts.Refused), dials("::1", facts.Refused)}
	none := func(more ...change) []change { return append(gone[:len(gone):len(gone)], more...) }
	safari := clientPrinted(facts.ClientError{Client: "Safari", Symptom: "refused", Text: "Safari can't connect to the server"})
	api := facts.Container{Engine: "docker", Name: "api", State: "running", Network: "host", Ports: []facts.Publication{{Port: port}}}
	node := facts.Container{Engine: "docker", Name: "shop-control-plane", State: "running", Image: "kindest/node:v1.29.2@sha256:51a1434a", Network: "kind",
		Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}, Ports: []facts.Publication{{Host: netip.MustParseAddrPort("127.0.0.1:40123"), Port: 6443}}}
	like := func(c facts.Container, change func(*facts.Container)) facts.Container {
		change(&c)
		return c
	}
	bridge := holdsOn("docker0", "172.17.0.1/16")
	const desktop = "/mnt/wsl/docker-desktop/shared-sockets/guest-services/docker.proxy.sock"
	return slices.Concat(
		of(desktopVMForwarderBroken,
			row{"it works in Colima", machine("62893", with(inVM("colima"))...), says("remark 127.0.0.1", "Works from here", "Colima", "localhost:62893")},
			row{"a browser outside is refused", machine("62893", with(inVM("podman-machine"), safari)...), says("inferred 127.0.0.1", "127.0.0.1:62893 answers in the virtual machine of podman machine")},
			row{"it does not work in there", machine("62893", none(inVM("colima"), safari)...), nothing},
			row{"in a container of it", machine("62893", with(inVM("docker-desktop"), inBox)...), nothing},
			row{"a virtual machine of nobody's desk", machine("62893", with(inVM(""), safari)...), nothing},
			row{"WSL", machine("62893", with(inWSL("nat"), safari)...), nothing},
		),
		of(hostNetworkInDesktopVM,
			row{"in the container", machine("62893", with(inVM("docker-desktop"), inBox, bridge)...), says("remark 127.0.0.1", "network mode host", "Docker Desktop", "62893")},
			row{"in the container, and the Mac is refused", machine("62893", with(inVM("docker-desktop"), inBox, bridge, safari)...), says("inferred 127.0.0.1")},
			row{"in a container with a network of its own", machine("62893", with(inVM("docker-desktop"), inBox, safari)...), nothing},
			row{"in the virtual machine itself", machine("62893", with(inVM("docker-desktop"), bridge, safari)...), nothing},
			row{"in WSL, where the engine is Docker Desktop's", machine("62893", none(inWSL("nat"), runsContainer(api, desktop))...), says("inferred 127.0.0.1 ::1", "Container api", "Docker Desktop")},
			row{"an engine of this machine", machine("62893", none(inWSL("nat"), runsContainer(api, "/run/docker.sock"))...), nothing},
			row{"one engine here, one in a virtual machine", machine("62893", none(runsContainer(api, desktop, "/run/docker.sock"))...), nothing},
			row{"it has another port", machine("62893", none(runsContainer(like(api, func(c *facts.Container) { c.Ports = []facts.Publication{{Port: 80}} }), desktop))...), nothing},
			row{"it has ended", machine("62893", none(runsContainer(like(api, func(c *facts.Container) { c.State = "exited" }), desktop))...), nothing},
			row{"it has a network of its own", machine("62893", none(runsContainer(like(api, func(c *facts.Container) { c.Network = "bridge" }), desktop))...), nothing},
		),
		of(kindMinikubeNodePort,
			row{"a node of kind", machine("62893", none(asksPort(30080), runsContainer(node))...), says("inferred 127.0.0.1 ::1", "Port 30080", "the kind container shop-control-plane")},
			row{"a node of minikube", machine("62893", none(asksPort(30080), runsContainer(like(node, func(c *facts.Container) { c.Image = "gcr.io/k8s-minikube/kicbase:v0.0.44" })))...), says("inferred 127.0.0.1 ::1", "minikube")},
			row{"a node of k3d", machine("62893", none(asksPort(30080), runsContainer(like(node, func(c *facts.Container) { c.Image = "rancher/k3s:v1.29.4-k3s1" })))...), says("inferred 127.0.0.1 ::1", "k3d")},
			row{"it publishes the port", machine("62893", none(asksPort(30080), runsContainer(like(node, func(c *facts.Container) {
				c.Ports = []facts.Publication{{Host: netip.MustParseAddrPort("127.0.0.1:30080"), Port: 30080}}
			})))...), nothing},
			row{"no NodePort", machine("62893", none(runsContainer(node))...), nothing},
			row{"another image", machine("62893", none(asksPort(30080), runsContainer(like(node, func(c *facts.Container) { c.Image = "shop/kindest/node-tools:1" })))...), nothing},
			row{"the cluster is stopped", machine("62893", none(asksPort(30080), runsContainer(like(node, func(c *facts.Container) { c.State = "exited" })))...), nothing},
			row{"something listens", machine("62893", asksPort(30080), listens("127.0.0.1", 50, onPort(30080)), dials("127.0.0.1", facts.Connected), runsContainer(node)), nothing},
		),
	)
}

func TestDesktop(t *testing.T) { judge(t, desktopSituations()) }
