package host

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What tells that this system is a virtual machine or WSL, and how that one is
// connected. No program is asked: wslinfo would say the mode in one word, and would
// have to be run.

// vmSigns is what is read of the machine.
type vmSigns struct {
	kernel, hostname string
	present          []string // those of vmPlaces that are there
	addresses        map[string][]netip.Prefix
	gateway          netip.Addr // of the default route
	config           []byte     // .wslconfig of the Windows user, if it can be told which one
	configPath       string
}

// vmPlaces are files and directories that only one product makes.
var vmPlaces = []string{
	"/run/WSL", "/run/host-services", "/mnt/lima-cidata", "/usr/local/bin/rancher-desktop-guestagent",
	"/etc/podman-machine", "/etc/containers/podman-machine", // since and before Podman 6
}

func (s *vmSigns) has(place string) bool { return slices.Contains(s.present, place) }

// recognise fills in what the signs say.
func (s *vmSigns) recognise(in *facts.Inside) {
	sign := func(text string) { in.Signs = append(in.Signs, text) }
	switch {
	// "4.4.0-19041-Microsoft": the kernel of Windows itself, which speaks Linux.
	case strings.HasSuffix(s.kernel, "-Microsoft"):
		in.WSL = "1"
		sign("kernel " + s.kernel)
	// "5.15.153.1-microsoft-standard-WSL2"; who built one of his own may have named it otherwise.
	case strings.Contains(s.kernel, "microsoft"):
		in.WSL, in.VM = "2", "wsl"
		sign("kernel " + s.kernel)
	case s.has("/run/WSL"):
		in.WSL, in.VM = "2", "wsl"
		sign("/run/WSL")
	}
	if in.WSL == "2" {
		s.network(in)
	}
	switch {
	case strings.Contains(s.kernel, "linuxkit"): // "6.10.14-linuxkit"
		in.VM = "docker-desktop"
		sign("kernel " + s.kernel)
	case s.has("/run/host-services"):
		in.VM = "docker-desktop"
		sign("/run/host-services")
	case strings.Contains(s.kernel, "orbstack"): // "6.12.13-orbstack-00304-gede1cf3337c4"
		in.VM = "orbstack"
		sign("kernel " + s.kernel)
	case s.has("/usr/local/bin/rancher-desktop-guestagent"):
		in.VM = "rancher-desktop"
		sign("/usr/local/bin/rancher-desktop-guestagent")
	case s.has("/mnt/lima-cidata"):
		in.VM = "lima"
		sign("/mnt/lima-cidata")
		for _, product := range []string{"colima", "rancher-desktop"} { // "colima", "lima-colima", "lima-rancher-desktop"
			if name := strings.TrimPrefix(s.hostname, "lima-"); name == product || strings.HasPrefix(name, product+"-") {
				in.VM = product
				sign("host name " + s.hostname)
			}
		}
	case s.has("/etc/podman-machine"):
		in.VM = "podman-machine"
		sign("/etc/podman-machine")
	case s.has("/etc/containers/podman-machine"):
		in.VM = "podman-machine"
		sign("/etc/containers/podman-machine")
	}
}

// network tells how WSL 2 is connected to Windows: by what the system shows, and only
// else by what its configuration asks for, which may not be in effect yet.
func (s *vmSigns) network(in *facts.Inside) {
	wish, relay := parseWSLConfig(s.config)
	if relay != "" {
		in.NoRelay = s.configPath + ":" + relay
	}
	// The device through which packets to 127.0.0.1 go to Windows. With the modes of
	// virtio it has an address, which WSL gives it.
	if on, ok := s.addresses["loopback0"]; ok {
		mode := "mirrored"
		for _, p := range on {
			switch p.Addr() {
			case netip.AddrFrom4([4]byte{169, 254, 73, 153}):
				mode = "virtioproxy"
			case netip.AddrFrom4([4]byte{169, 254, 73, 250}):
				mode = "consomme"
			}
		}
		in.WSL = "2 " + mode
		in.Signs = append(in.Signs, "interface loopback0")
		return
	}
	// A container that runs in WSL has a gateway of the same range: its network has
	// another size than the one that Windows makes (172.20.0.0/20).
	if s.gateway.Is4() && netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, 0, 0}), 12).Contains(s.gateway) {
		for _, p := range s.addresses["eth0"] {
			if p.Bits() == 20 && p.Masked().Contains(s.gateway) {
				in.WSL, in.Gateway = "2 nat", s.gateway
				in.Signs = append(in.Signs, fmt.Sprintf("eth0 %s, gateway %s", p, s.gateway))
				return
			}
		}
	}
	if wish != "" {
		in.WSL = "2 " + wish
		in.Signs = append(in.Signs, s.configPath+": networkingMode")
		if wish == "nat" && s.gateway.IsValid() {
			in.Gateway = s.gateway
		}
	}
}

// wslModes are the values of networkingMode that WSL knows.
var wslModes = []string{"nat", "mirrored", "bridged", "virtioproxy", "consomme", "none"}

// parseWSLConfig reads the mode, and the line that switches localhostForwarding off:
//
//	[wsl2]
//	networkingMode=mirrored   # it was in [experimental] once
//	localhostForwarding=false
func parseWSLConfig(data []byte) (mode, noRelay string) {
	section, n := "", 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
		line, _, _ = strings.Cut(line, "#")
		if strings.HasPrefix(line, "[") {
			section = strings.ToLower(strings.Trim(strings.TrimSpace(line), "[]"))
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section != "wsl2" && section != "experimental" {
			continue
		}
		value = strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`))
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "networkingmode":
			if slices.Contains(wslModes, value) {
				mode = value
			}
		case "localhostforwarding":
			noRelay = ""
			if section == "wsl2" && (value == "false" || value == "0") {
				noRelay = fmt.Sprintf("%d: localhostForwarding=false", n)
			}
		}
	}
	return mode, noRelay
}

// automountRoot reads where WSL mounts the drives of Windows, from /etc/wsl.conf:
//
//	[automount]
//	root = /windir/
func automountRoot(data []byte) string {
	root, section := "/mnt", ""
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if strings.HasPrefix(line, "[") {
			section = strings.ToLower(strings.Trim(strings.TrimSpace(line), "[]"))
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		if ok && section == "automount" && strings.EqualFold(strings.TrimSpace(key), "root") && strings.HasPrefix(value, "/") {
			root = value
		}
	}
	return strings.TrimRight(root, "/")
}

// windowsProfile finds the directory of the Windows user in the search path, which WSL
// takes over from Windows:
//
//	/mnt/c/Users/ann/AppData/Local/Microsoft/WindowsApps
func windowsProfile(searchPath, root string) string {
	for _, dir := range strings.Split(searchPath, ":") {
		rest, ok := strings.CutPrefix(dir, root+"/")
		w := strings.Split(rest, "/") // c, Users, ann, AppData …
		if ok && len(w) > 3 && len(w[0]) == 1 && strings.EqualFold(w[1], "Users") && w[2] != "" && w[2] != ".." && w[3] == "AppData" {
			return strings.Join([]string{root, w[0], w[1], w[2]}, "/")
		}
	}
	return ""
}

// defaultGateway reads /proc/net/route; its numbers are in the order of the machine, which
// is little-endian wherever WSL runs:
//
//	Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
//	eth0	00000000	014017AC	0003	0	0	0	00000000	0	0	0
func defaultGateway(data []byte) netip.Addr {
	for line := range strings.Lines(string(data)) {
		w := strings.Fields(line)
		if len(w) < 8 || w[1] != "00000000" || w[7] != "00000000" {
			continue
		}
		b, err := hex.DecodeString(w[2])
		if err == nil && len(b) == 4 && binary.LittleEndian.Uint32(b) != 0 {
			return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]})
		}
	}
	return netip.Addr{}
}
