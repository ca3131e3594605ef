package host

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestRecognise(t *testing.T) {
	on := func(device string, prefixes ...string) map[string][]netip.Prefix {
		var ps []netip.Prefix
		for _, p := range prefixes {
			ps = append(ps, netip.MustParsePrefix(p))
		}
		return map[string][]netip.Prefix{"lo": nil, device: ps}
	}
	gateway := netip.MustParseAddr("172.23.64.1")
	const wsl2 = "5.15.153.1-microsoft-standard-WSL2"
	for _, test := range []struct {
		name  string
		signs vmSigns
		wsl   string
		vm    string
		sign  string
	}{
		{"a machine", vmSigns{kernel: "6.1.0-28-amd64", hostname: "colima"}, "", "", ""},
		{"WSL 1", vmSigns{kernel: "4.4.0-19041-Microsoft"}, "1", "", "kernel 4.4.0-19041-Microsoft"},
		{"WSL 2, its network unseen", vmSigns{kernel: wsl2}, "2", "wsl", "kernel " + wsl2},
		{"a kernel of one's own", vmSigns{kernel: "7.1.3", present: []string{"/run/WSL"}, addresses: on("loopback0")}, "2 mirrored", "wsl", "interface loopback0"},
		{"NAT", vmSigns{kernel: wsl2, addresses: on("eth0", "172.23.70.12/20"), gateway: gateway}, "2 nat", "wsl", "eth0 172.23.70.12/20, gateway 172.23.64.1"},
		{"a container in WSL", vmSigns{kernel: wsl2, addresses: on("eth0", "172.17.0.2/16"), gateway: netip.MustParseAddr("172.17.0.1")}, "2", "wsl", ""},
		{"a gateway of the office", vmSigns{kernel: wsl2, addresses: on("eth0", "10.1.2.3/20"), gateway: netip.MustParseAddr("10.1.0.1")}, "2", "wsl", ""},
		{"mirrored", vmSigns{kernel: wsl2, addresses: on("loopback0"), gateway: gateway}, "2 mirrored", "wsl", "interface loopback0"},
		{"what is seen counts more than what is asked for", vmSigns{kernel: wsl2, addresses: on("loopback0"), config: []byte("[wsl2]\nnetworkingMode=nat\n")}, "2 mirrored", "wsl", "interface loopback0"},
		{"virtioproxy", vmSigns{kernel: wsl2, addresses: on("loopback0", "169.254.73.153/30")}, "2 virtioproxy", "wsl", ""},
		{"consomme", vmSigns{kernel: wsl2, addresses: on("loopback0", "169.254.73.250/28")}, "2 consomme", "wsl", ""},
		{"only what is asked for", vmSigns{kernel: wsl2, config: []byte("[wsl2]\nnetworkingMode=bridged\n"), configPath: "/mnt/c/Users/ann/.wslconfig"}, "2 bridged", "wsl", "/mnt/c/Users/ann/.wslconfig: networkingMode"},
		{"Docker Desktop", vmSigns{kernel: "6.10.14-linuxkit"}, "", "docker-desktop", "kernel 6.10.14-linuxkit"},
		{"Docker Desktop on Windows", vmSigns{kernel: wsl2, present: []string{"/run/host-services"}}, "2", "docker-desktop", "/run/host-services"},
		{"Lima", vmSigns{kernel: "6.8.0", hostname: "lima-default", present: []string{"/mnt/lima-cidata"}}, "", "lima", "/mnt/lima-cidata"},
		{"Colima", vmSigns{kernel: "6.8.0", hostname: "colima", present: []string{"/mnt/lima-cidata"}}, "", "colima", "host name colima"},
		{"Colima, a profile", vmSigns{kernel: "6.8.0", hostname: "colima-work", present: []string{"/mnt/lima-cidata"}}, "", "colima", "host name colima-work"},
		{"Rancher Desktop", vmSigns{kernel: "6.6.0", hostname: "lima-rancher-desktop", present: []string{"/mnt/lima-cidata"}}, "", "rancher-desktop", ""},
		{"Rancher Desktop in WSL", vmSigns{kernel: wsl2, present: []string{"/usr/local/bin/rancher-desktop-guestagent"}}, "2", "rancher-desktop", ""},
		{"Podman machine", vmSigns{kernel: "6.11.3-200.fc40.aarch64", present: []string{"/etc/containers/podman-machine"}}, "", "podman-machine", ""},
		{"Podman 6", vmSigns{kernel: "6.17.1", present: []string{"/etc/podman-machine"}}, "", "podman-machine", "/etc/podman-machine"},
		{"OrbStack", vmSigns{kernel: "6.12.13-orbstack-00304-gede1cf3337c4"}, "", "orbstack", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var in facts.Inside
			test.signs.recognise(&in)
			if in.WSL != test.wsl || in.VM != test.vm || test.sign != "" && !slices.Contains(in.Signs, test.sign) {
				t.Errorf("WSL %q, VM %q by %q; want %q, %q by %q", in.WSL, in.VM, in.Signs, test.wsl, test.vm, test.sign)
			}
			if nat := test.wsl == "2 nat"; in.Gateway.IsValid() != nat {
				t.Errorf("gateway %v", in.Gateway)
			}
		})
	}
}

func TestWSLConfig(t *testing.T) {
	for _, test := range []struct{ text, mode, noRelay string }{
		{"", "", ""},
		{"[wsl2]\r\nmemory=4GB\r\nnetworkingMode = Mirrored # since May\r\n", "mirrored", ""},
		{"\ufeff[wsl2]\nlocalhostForwarding=false\n", "", "2: localhostForwarding=false"},
		{"[wsl2]\nlocalhostforwarding=False\nlocalhostForwarding=true\n", "", ""},
		{"[experimental]\nnetworkingMode=mirrored\nlocalhostForwarding=false\n", "mirrored", ""},
		{"#networkingMode=mirrored\n[wsl2]\n#networkingMode=mirrored\n", "", ""},
		{"networkingMode=mirrored\n[other]\nnetworkingMode=mirrored\n", "", ""},
		{"[wsl2]\nnetworkingMode=\x1b[31mnat\n", "", ""},
	} {
		if mode, noRelay := parseWSLConfig([]byte(test.text)); mode != test.mode || noRelay != test.noRelay {
			t.Errorf("%q: %q, %q; want %q, %q", test.text, mode, noRelay, test.mode, test.noRelay)
		}
	}
}

func TestWindowsProfile(t *testing.T) {
	for _, test := range []struct{ path, conf, want string }{
		{"/usr/bin:/mnt/c/Windows/system32:/mnt/c/Users/ann b/AppData/Local/Microsoft/WindowsApps", "", "/mnt/c/Users/ann b"},
		{"/usr/bin:/c/Users/ann/AppData/Local/Microsoft/WindowsApps", "[automount]\nroot = / # short\n", "/c/Users/ann"},
		{"/mnt/c/Users/ann/AppData/Local", "[automount]\nroot=relative\n", "/mnt/c/Users/ann"},
		{"/mnt/c/Users/ann/AppData/Local", "[automount]\nroot=/windir/\n", ""},
		{"/mnt/c/Users/../AppData/x:/mnt/cc/Users/ann/AppData/x:/mnt/c/Users/ann", "", ""},
		{"/usr/bin", "", ""},
	} {
		if got := windowsProfile(test.path, automountRoot([]byte(test.conf))); got != test.want {
			t.Errorf("%q: %q, want %q", test.path, got, test.want)
		}
	}
}

func TestDefaultGateway(t *testing.T) {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	for _, test := range []struct{ text, want string }{
		{head + "eth0\t00000000\t014017AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "172.23.64.1"},
		{head + "eth0\t004017AC\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n", "invalid IP"},
		{head + "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n", "invalid IP"},
		{head + "eth0\t00000000\tzz\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "invalid IP"},
	} {
		if got := defaultGateway([]byte(test.text)).String(); got != test.want {
			t.Errorf("%q: %s, want %s", test.text, got, test.want)
		}
	}
}

func FuzzInsideVM(f *testing.F) {
	for _, seed := range []string{"[wsl2]\nnetworkingMode=mirrored\nlocalhostForwarding=false\n", "[automount]\nroot=/x\n", "eth0\t00000000\t014017AC\t0003\t0\t0\t0\t00000000\t0\n",
		"/mnt/c/Users/ann/AppData/Local", "6.10.14-linuxkit", "=\n[", "\ufeff[WSL2\nlocalhostForwarding=0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mode, noRelay := parseWSLConfig([]byte(text))
		if mode != "" && !slices.Contains(wslModes, mode) || noRelay != "" && !strings.HasSuffix(noRelay, ": localhostForwarding=false") {
			t.Errorf("%q: what the file says came through: %q, %q", text, mode, noRelay)
		}
		if root := automountRoot([]byte(text)); root != "" && root[0] != '/' {
			t.Errorf("%q: root %q", text, root)
		}
		if p := windowsProfile(text, "/mnt"); p != "" && !strings.HasPrefix(p, "/mnt/") {
			t.Errorf("%q: profile %q", text, p)
		}
		defaultGateway([]byte(text))
		var in facts.Inside
		(&vmSigns{kernel: text, hostname: text, config: []byte(text)}).recognise(&in)
	})
}
