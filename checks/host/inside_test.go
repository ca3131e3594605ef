package host

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestCI(t *testing.T) {
	for environ, want := range map[string]string{
		"":                                       "",
		"HOME=/root":                             "",
		"GITHUB_ACTIONS=true":                    "github-actions",
		"GITHUB_ACTIONS=true GITEA_ACTIONS=true": "gitea",
		"FORGEJO_ACTIONS=true GITHUB_ACTIONS=true": "forgejo",
		"GITLAB_CI=false":                          "",
		"TRAVIS=0":                                 "",
		"JENKINS_URL=http://ci.example/":           "jenkins",
		"MY_GITLAB_CI=true":                        "",
	} {
		if got := ciOf(strings.Fields(environ)); got != want {
			t.Errorf("%s: %q, want %q", environ, got, want)
		}
	}
}

func TestRemote(t *testing.T) {
	for environ, want := range map[string]string{
		"":                "",
		"CODESPACES=true": "codespaces", "CODESPACES=false": "",
		"CODESPACES=true SSH_CONNECTION=x": "codespaces",
		"GITPOD_WORKSPACE_ID=a":            "gitpod",
		"SSH_CONNECTION=192.0.2.1":         "ssh",
		"SSH_CONNECTION=":                  "",
	} {
		if got := remoteOf(strings.Fields(environ)); got != want {
			t.Errorf("%s: %q, want %q", environ, got, want)
		}
	}
}

func TestContainerEnv(t *testing.T) {
	id := strings.Repeat("3f2a", 16)
	podman := facts.Room{Kind: "container", Engine: "podman"}
	for text, want := range map[string]facts.Room{
		"": podman, // without --privileged Podman leaves it empty
		"engine=\"podman-4.3.1\"\nname=\"shop-web\"\nid=\"" + id + "\"\nimage=\"localhost/shop:latest\"\nrootless=1\n": {Kind: "container", Engine: "podman",
			ID: id[:12], Name: "shop-web", Image: "localhost/shop:latest"},
		"name=shop-web":                                {Kind: "container", Engine: "podman", Name: "shop-web"},
		"id=\"../../x\"":                               podman,
		"id=\"" + id + id + "\"":                       podman,
		"name=\"" + strings.Repeat("a", 300) + "\"":    podman,
		"name=\"\xff\"":                                {Kind: "container", Engine: "podman", Name: "\uFFFD"},
		"name\nimage":                                  podman,
		strings.Repeat("x", 1<<16) + "\nname=\"late\"": podman,
	} {
		if got := containerEnv(strings.NewReader(text)); got != want {
			t.Errorf("%.80q: %+v, want %+v", text, got, want)
		}
	}
}

func TestContainerID(t *testing.T) {
	id := strings.Repeat("3f2a", 16)
	for root, want := range map[string]string{
		"/var/lib/docker/containers/" + id + "/hostname":                   id[:12],
		"/containers/overlay-containers/" + id + "/userdata/hosts":         id[:12],
		"/var/lib/docker/containers/" + id:                                 "", // the file itself
		"/etc/hostname":                                                    "",
		"/var/lib/docker/containers/" + id[:63] + "/hostname":              "",
		"/var/lib/docker/containers/" + strings.Repeat("g", 64) + "/hosts": "",
		"": "",
	} {
		if got := containerID(root); got != want {
			t.Errorf("%s: %q, want %q", root, got, want)
		}
	}
}

const someRoutes = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth1	00000000	0100A8C0	0003	0	0	100	00000000	0	0	0
eth0	00000000	010011AC	0003	0	0	0	00000000	0	0	0
eth0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
`

func TestRouteGateway(t *testing.T) {
	for text, want := range map[string]string{
		someRoutes: "172.17.0.1", // of two the one with the lower metric
		"":         "",
		"eth0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n": "", // by a device, without a gateway
		"eth0 00000000 010011 0003 0 0 0 00000000 0 0 0\n":   "",
		"eth0 00000000 010011AC 0003 0 0 x 00000000\n":       "",
		"eth0 00000080 010011AC 0003 0 0 0 00000080 0 0 0\n": "", // the half of a VPN
	} {
		got := routeGateway(strings.NewReader(text))
		if got.IsValid() != (want != "") || got.IsValid() && got.String() != want {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
}

func TestOuter(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1 localhost\n172.17.0.1 host.docker.internal\n":    "172.17.0.1",
		"10.88.0.1 host.containers.internal host.docker.internal\n": "10.88.0.1",
		"127.0.0.1 host.docker.internal\n":                          "", // somebody made it so by hand
		"# 172.17.0.1 host.docker.internal\n":                       "",
		"nonsense host.docker.internal\n":                           "",
		"":                                                          "",
	} {
		got := outer([]byte(text))
		if got.IsValid() != (want != "") || got.IsValid() && got.String() != want {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
}

func TestHostsHas(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("172.17.0.2")}
	for text, want := range map[string]bool{
		"127.0.0.1 localhost\n172.17.0.2 3f2a9c1b7d5e\n": true,
		"::ffff:172.17.0.2 web\n":                        true,
		"127.0.0.1 localhost\n172.17.0.3 web\n":          false,
		"#172.17.0.2 web\n":                              false,
		"172.17.0.2\n":                                   false,
		"":                                               false,
	} {
		if got := hostsHas([]byte(text), own); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzFilesOfRooms reads what a container can write into its own files.
func FuzzFilesOfRooms(f *testing.F) {
	f.Add("name=\"shop-web\"\nid=\""+strings.Repeat("3f2a", 16)+"\"\n", "/var/lib/docker/containers/"+strings.Repeat("3f2a", 16)+"/hosts")
	f.Add(someRoutes, "/../")
	f.Add("172.17.0.1 host.docker.internal\n\xff", "")
	f.Fuzz(func(t *testing.T, text, root string) {
		room := containerEnv(strings.NewReader(text))
		if len(room.Name) > 3*200 || len(room.Image) > 3*200 || room.ID != "" && len(room.ID) != 12 {
			t.Errorf("%q: %+v", text, room)
		}
		if id := containerID(root); id != "" && (len(id) != 12 || !strings.Contains(root, id)) {
			t.Errorf("%q: %q", root, id)
		}
		if a := routeGateway(strings.NewReader(text)); a.IsValid() && !a.Is4() {
			t.Errorf("%q: %v", text, a)
		}
		if a := outer([]byte(text)); a.IsValid() && a.IsLoopback() {
			t.Errorf("%q: %v", text, a)
		}
		hostsHas([]byte(text), []netip.Addr{netip.MustParseAddr("172.17.0.2")})
		ciOf(strings.Fields(text))
		remoteOf(strings.Fields(text))
	})
}
