package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const shopID, dbID = "3f2a9c1b7d5e", "77aa9c1b7d5e"

// insideShop looks from inside of a container.
func insideShop(f *facts.Facts) {
	f.Host.Inside = facts.Inside{Entered: true, Gateway: netip.MustParseAddr("172.17.0.1"), Networks: []string{"shop_default"},
		Room: facts.Room{Kind: "container", Engine: "docker", ID: shopID, Name: "shop-web", Project: "shop"}}
	f.Host.Vantage = f.Host.Inside.Room.String()
}

func insidePod(f *facts.Facts) {
	f.Host.Inside.Room = facts.Room{Kind: "pod", Pod: "shop/web-1"}
	f.Host.Vantage = f.Host.Inside.Room.String()
}

func inJob(ci string) change { return func(f *facts.Facts) { f.Host.Inside.CI = ci } }

// roomed says whose the last namespace is.
func roomed(r facts.Room) change {
	return func(f *facts.Facts) { f.Namespaces.Found[len(f.Namespaces.Found)-1].Room = r }
}

func onTheHost(f *facts.Facts) {
	elsewhere(77, "/", 0)(f)
	roomed(facts.Room{Kind: "host"})(f)
}

// inDB is a container beside it that listens on the port.
func inDB(project, network string) change {
	return func(f *facts.Facts) {
		elsewhere(88, "/", 0)(f)
		roomed(facts.Room{Kind: "container", Engine: "docker", ID: dbID})(f)
		tell(facts.Container{Engine: "docker", ID: dbID, Name: "shop-db-1", Service: "db", Project: project, Network: network, State: "running", Ports: []facts.Publication{{Port: 62893}}})(f)
	}
}

func tell(c facts.Container) change {
	return func(f *facts.Facts) {
		if f.Containers == nil {
			f.Containers = &facts.Containers{From: "docker"}
		}
		f.Containers.Found = append(f.Containers.Found, c)
	}
}

func bridged(name string) change {
	return func(f *facts.Facts) {
		f.Interfaces.Others = []facts.Interface{{Name: name, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")}}}
	}
}

func pinged(check ...string) change {
	return func(f *facts.Facts) { f.Host.Inside.Check, f.Host.Inside.Health = check, "unhealthy" }
}

func insideContainerSituations() []situation {
	return slices.Concat(
		of(localhostInsideContainer,
			row{"a client is refused", machine("127.0.0.1", dials("127.0.0.1", facts.Refused), insideShop, onTheHost), says("inferred 127.0.0.1", "on the host")},
			row{"a client gets through: something leads elsewhere", machine("127.0.0.1", dials("127.0.0.1", facts.Connected), insideShop, onTheHost), nothing},
			row{"nothing is seen elsewhere", machine("127.0.0.1", insideShop), says("inferred 127.0.0.1", "62893", "shop-web", "is the container itself")},
			row{"the host listens", machine("127.0.0.1", insideShop, onTheHost), says("inferred 127.0.0.1", "nginx (pid 77)", "on the host")},
			row{"the host listens, by its number", machine("127.0.0.1", insideShop, elsewhere(77, "/", 0), func(f *facts.Facts) { f.Host.Inside.Outside = 77 }), says("inferred 127.0.0.1", "on the host")},
			row{"a service of the project listens", machine("127.0.0.1", insideShop, onTheHost, inDB("shop", "")), says("inferred 127.0.0.1", "nginx (pid 88)", "shop-db-1", "service db")},
			row{"one of the same network listens", machine("127.0.0.1", insideShop, inDB("", "shop_default")), says("inferred 127.0.0.1", "shop-db-1")},
			row{"a stranger's container listens, which is not meant", machine("127.0.0.1", insideShop, inDB("blog", "blog_default")), says("inferred 127.0.0.1", "shop-web")},
			row{"in a pod", machine("127.0.0.1", insidePod), says("inferred 127.0.0.1", "the pod shop/web-1")},
			row{"it listens in there", machine("127.0.0.1", insideShop, listens("127.0.0.1", 50), onTheHost), nothing},
			row{"it listens in there, at another address", machine("127.0.0.1", insideShop, listens("10.0.0.9", 50), onTheHost), nothing},
			row{"the container has the network of the host", machine("127.0.0.1", insideShop, func(f *facts.Facts) { f.Host.Inside.Shared = true }), nothing},
			row{"its own image exposes the port", machine("127.0.0.1", insideShop, onTheHost, tell(facts.Container{ID: shopID, Ports: []facts.Publication{{Port: 62893}}})), nothing},
			row{"on the host", machine("127.0.0.1", onTheHost), nothing},
			row{"in an ip netns", machine("127.0.0.1", onTheHost, func(f *facts.Facts) { f.Host.Inside.Room = facts.Room{Kind: "ip netns", Name: "blue"} }), nothing},
			row{"an address of the container was named", machine("192.0.2.10", eth0, insideShop, onTheHost), nothing},
			row{"UDP is asked for", machine("127.0.0.1", asksUDP, insideShop, onTheHost), nothing},
		),
		of(ciJobInContainer,
			row{"a client is refused", machine("127.0.0.1", dials("127.0.0.1", facts.Refused), insideShop, inJob("github-actions")), says("inferred 127.0.0.1")},
			row{"a job of GitHub", machine("127.0.0.1", insideShop, inJob("github-actions")), says("inferred 127.0.0.1", "GitHub Actions", "62893")},
			row{"a job of GitLab", machine("127.0.0.1", insideShop, inJob("gitlab")), says("inferred 127.0.0.1", "GitLab CI")},
			row{"the service is seen", machine("127.0.0.1", insideShop, inJob("gitlab"), inDB("", "shop_default")), says("proven 127.0.0.1", "shop-db-1")},
			row{"services share localhost there", machine("127.0.0.1", insideShop, inJob("bitbucket")), nothing},
			row{"the job is no container", machine("127.0.0.1", inJob("github-actions")), nothing},
			row{"a container, and no job", machine("127.0.0.1", insideShop), nothing},
			row{"it listens in there", machine("127.0.0.1", insideShop, inJob("gitlab"), listens("127.0.0.1", 50)), nothing},
		),
		of(hostServiceLoopbackOnly,
			row{"a client is refused", machine("172.17.0.1", dials("172.17.0.1", facts.Refused), bridged("docker0"), listens("127.0.0.1", 50)), says("proven 172.17.0.1")},
			row{"the bridge of Docker", machine("172.17.0.1", bridged("docker0"), listens("127.0.0.1", 50)), says("proven 172.17.0.1", "docker0", "127.0.0.1:62893", "host.docker.internal")},
			row{"the bridge of a compose network", machine("172.17.0.1", bridged("br-3f2a9c1b7d5e"), listens("127.0.0.1", 50)), says("proven 172.17.0.1", "br-3f2a9c1b7d5e")},
			row{"the bridge of Podman, and ::1", machine("172.17.0.1", bridged("podman1"), listens("::1", 50)), says("proven 172.17.0.1", "podman1")},
			row{"a bridge of somebody else", machine("172.17.0.1", bridged("br-lan"), listens("127.0.0.1", 50)), nothing},
			row{"the network", machine("172.17.0.1", bridged("eth0"), listens("127.0.0.1", 50)), nothing},
			row{"the address is served", machine("172.17.0.1", bridged("docker0"), listens("0.0.0.0", 50)), nothing},
			row{"nothing listens", machine("172.17.0.1", bridged("docker0")), nothing},
			row{"loopback was named", machine("127.0.0.1", bridged("docker0"), listens("127.0.0.1", 50)), nothing},
		),
		of(healthcheckClientNoFallback,
			row{"the health check of the container that is looked from", machine("localhost", hosts("::1", "127.0.0.1"), listens("0.0.0.0", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Refused), insideShop, hasWget,
				pinged("CMD-SHELL", "wget -q -O /dev/null http://localhost:62893/ || exit 1")), says("proven ::1", "/usr/bin/wget")},
			row{"it asks 127.0.0.1", machine("localhost", hosts("::1", "127.0.0.1"), listens("0.0.0.0", 50), dials("127.0.0.1", facts.Connected), dials("::1", facts.Refused), insideShop, hasWget,
				pinged("CMD", "wget", "http://127.0.0.1:62893/")), says("remark ::1")},
		),
	)
}

func TestInsideContainer(t *testing.T) { judge(t, insideContainerSituations()) }

// What is to be written in place of localhost is named.
func TestInPlaceOfLocalhost(t *testing.T) {
	podman := func(f *facts.Facts) { f.Host.Inside.Room.Engine = "podman" }
	known := func(f *facts.Facts) { f.Host.Inside.Outer = netip.MustParseAddr("192.168.65.254") }
	own := func(f *facts.Facts) { f.Namespaces.Found[0].Listeners[0].Local = addr("127.0.0.1") }
	variable := func(f *facts.Facts) {
		f.Environment = &facts.Environment{Variables: []facts.Variable{{Name: "PGHOST", Value: "localhost"}}}
	}
	for _, c := range []struct {
		name  string
		check *Check
		facts *facts.Facts
		want  string
	}{
		{"the host", localhostInsideContainer, machine("127.0.0.1", insideShop, onTheHost), `host.docker.internal:62893, and start the container with --add-host=host.docker.internal:host-gateway`},
		{"the host, on loopback", localhostInsideContainer, machine("127.0.0.1", insideShop, onTheHost, own), `an address that the container reaches as well (172.17.0.1:62893)`},
		{"the host, whose name is known", localhostInsideContainer, machine("127.0.0.1", insideShop, onTheHost, known), "Let the client use host.docker.internal:62893, which is 192.168.65.254 here."},
		{"the host, of Podman", localhostInsideContainer, machine("127.0.0.1", insideShop, podman, onTheHost), "Let the client use host.containers.internal:62893."},
		{"a service of the network", localhostInsideContainer, machine("127.0.0.1", insideShop, inDB("shop", "shop_default")), "Let the client use db:62893: in the network shop_default"},
		{"a service of another network", localhostInsideContainer, machine("127.0.0.1", insideShop, inDB("shop", "other")), "Put both containers into one network"},
		{"who knows", localhostInsideContainer, machine("127.0.0.1", insideShop), "If the server is another container, let the client use its name"},
		{"a pod", localhostInsideContainer, machine("127.0.0.1", insidePod), "NAME.NAMESPACE.svc:62893"},
		{"GitHub", ciJobInContainer, machine("127.0.0.1", insideShop, inJob("github-actions"), variable), `"env: { PGHOST: SERVICE }"`},
		{"GitLab", ciJobInContainer, machine("127.0.0.1", insideShop, inJob("gitlab")), `"variables: { SERVICE_HOST: SERVICE }"`},
		{"the bridge", hostServiceLoopbackOnly, machine("172.17.0.1", bridged("docker0"), listens("127.0.0.1", 50, named("redis-server"))), "bind 127.0.0.1 172.17.0.1 in redis.conf"},
	} {
		fs := found(t, c.check, c.facts)
		if len(fs) != 1 || !strings.Contains(fs[0].Fixes[0].Do, c.want) {
			t.Errorf("%s: want %q, got %+v", c.name, c.want, fs)
		}
	}
}

func TestPings(t *testing.T) {
	for check, want := range map[string]bool{
		"CMD-SHELL wget -q -O /dev/null http://localhost:8080/health || exit 1": true,
		"CMD /usr/bin/wget --spider http://localhost:8080":                      true,
		"CMD-SHELL sh -c 'wget http://localhost:8080/'":                         true,
		"CMD-SHELL wget http://localhost:80801/":                                false,
		"CMD-SHELL wget http://127.0.0.1:8080/":                                 false,
		"CMD-SHELL curl http://localhost:8080/":                                 false,
		"CMD-SHELL wget http://localhost/":                                      false,
		"":                                                                      false,
	} {
		if got := (facts.Inside{Check: []string{check}}).Pings(8080); got != want {
			t.Errorf("%q: %v", check, got)
		}
	}
	if !(facts.Inside{Check: []string{"CMD", "wget", "http://localhost/"}}).Pings(80) {
		t.Error("port 80 is that of HTTP")
	}
}
