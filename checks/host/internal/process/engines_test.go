package process

import (
	"net/netip"
	"strings"
	"testing"
)

var someID = strings.Repeat("3f2a", 16)

func TestParseProxy(t *testing.T) {
	for line, want := range map[string]Proxy{
		"/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 62893 -container-ip 172.17.0.2 -container-port 80 -use-listen-fd": {
			Host: netip.MustParseAddrPort("0.0.0.0:62893"), Container: netip.MustParseAddrPort("172.17.0.2:80")},
		"/usr/sbin/docker-proxy -proto udp -host-ip :: -host-port 53 -container-ip fd00::2 -container-port 5353": {
			Host: netip.MustParseAddrPort("[::]:53"), Container: netip.MustParseAddrPort("[fd00::2]:5353"), UDP: true},
		"rootlesskit-docker-proxy -container-ip 172.17.0.2 -container-port 80 -host-ip 127.0.0.1 -host-port 62893 -proto tcp": {
			Host: netip.MustParseAddrPort("127.0.0.1:62893"), Container: netip.MustParseAddrPort("172.17.0.2:80")},
	} {
		if got, ok := ParseProxy(strings.Fields(line)); !ok || got != want {
			t.Errorf("%s: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{
		"",
		"nginx -proto tcp -host-ip 0.0.0.0 -host-port 62893 -container-ip 172.17.0.2 -container-port 80",
		"docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 62893 -container-ip 172.17.0.2 -container-port",
		"docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 70000 -container-ip 172.17.0.2 -container-port 80",
		"docker-proxy -proto sctp -host-ip 0.0.0.0 -host-port 62893 -container-ip 172.17.0.2 -container-port 80",
		"docker-proxy -proto tcp -host-port 62893 -container-ip 172.17.0.2 -container-port 80",
	} {
		if got, ok := ParseProxy(strings.Fields(line)); ok {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

func TestParseMonitor(t *testing.T) {
	for line, want := range map[string]Monitor{
		"/usr/bin/conmon --api-version 1 -c ID -u ID -r /usr/bin/crun -b /run/containers/x -p /run/x/pidfile -n shop-web --exit-dir /run/libpod/exits": {"podman", someID, "shop-web"},
		"/usr/bin/conmon --cid=ID --name=shop": {"podman", someID, "shop"},
		"/usr/libexec/crio/conmon -b /run -c ID --exit-dir /var/run/crio/exits -n k8s_web_web-1_shop_0":       {"cri-o", someID, "k8s_web_web-1_shop_0"},
		"/usr/bin/containerd-shim-runc-v2 -namespace moby -id ID -address /run/containerd/containerd.sock":    {"docker", someID, ""},
		"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id ID -address /run/containerd/containerd.sock":  {"kubernetes", someID, ""},
		"/usr/bin/containerd-shim-runc-v2 -namespace default -id ID -address /run/containerd/containerd.sock": {"containerd", someID, ""},
	} {
		if got, ok := ParseMonitor(strings.Fields(strings.ReplaceAll(line, "ID", someID))); !ok || got != want {
			t.Errorf("%s: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "conmon", "conmon -c", "conmon -c 3f2a -n shop", "sleep -c " + someID, "containerd-shim-runc-v2 -id ../" + someID} {
		if got, ok := ParseMonitor(strings.Fields(line)); ok {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

func TestWholeID(t *testing.T) {
	other := strings.Repeat("9c1b", 16)
	for text, want := range map[string]string{
		"0::/system.slice/docker-" + someID + ".scope\n":                                            "docker",
		"0::/docker/" + someID + "\n":                                                               "docker",
		"9:name=systemd:/docker/" + someID + "\n0::/\n":                                             "docker",
		"0::/machine.slice/libpod-" + someID + ".scope/container\n":                                 "podman",
		"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + someID + ".scope\n": "podman",
		"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + someID + ".scope\n":              "containerd",
		"0::/kubepods/besteffort/pod1/" + someID + "\n":                                             "kubernetes",
		"0::/docker/" + other + "/docker/" + someID + "\n":                                          "docker", // Docker in Docker: the innermost
	} {
		ms, err := parseCgroup(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if engine, id := wholeID(ms); engine != want || id != someID {
			t.Errorf("%q: %s %s", text, engine, id)
		}
	}
	for _, text := range []string{"", "0::/\n", "0::/system.slice/nginx.service\n", "0::/libpod-conmon-" + someID + "\n", "0::/lxc.payload.web\n"} {
		ms, _ := parseCgroup(strings.NewReader(text))
		if engine, id := wholeID(ms); id != "" {
			t.Errorf("%q: %s %s", text, engine, id)
		}
	}
}

func FuzzEngineArguments(f *testing.F) {
	f.Add("docker-proxy\x00-proto\x00tcp\x00-host-ip\x00::\x00-host-port\x0080\x00-container-ip\x00fe80::1%eth0\x00-container-port\x0080", "0::/docker/"+someID)
	f.Add("conmon\x00-c\x00"+someID+"\x00-n\x00shop", "0::/machine.slice/libpod-"+someID+".scope/container")
	f.Add("containerd-shim-runc-v2\x00-id="+someID+"\x00-namespace", "1:x:/\n0::/a/..//"+someID)
	f.Fuzz(func(t *testing.T, line, cgroup string) {
		args := parseArgs([]byte(line))
		if p, ok := ParseProxy(args); ok && (p.Host.Port() == 0 || p.Container.Addr().Zone() != "") {
			t.Errorf("%q: %+v", args, p)
		}
		if m, ok := ParseMonitor(args); ok && len(m.ID) != 64 {
			t.Errorf("%q: %+v", args, m)
		}
		ms, _ := parseCgroup(strings.NewReader(cgroup))
		if _, id := wholeID(ms); id != "" && !isID(id) {
			t.Errorf("%q: %q", cgroup, id)
		}
	})
}
