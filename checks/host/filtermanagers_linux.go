package host

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// writers are programs that write rules as long as they run, by the name of their
// process (at most 15 characters), and what a person calls them.
var writers = map[string]string{
	"firewalld":       "firewalld",
	"fail2ban-server": "fail2ban",
	"crowdsec-firewa": "crowdsec", // crowdsec-firewall-bouncer
	"dockerd":         "docker",
	"kubelet":         "Kubernetes",
	"kube-proxy":      "Kubernetes",
	"k3s-server":      "Kubernetes",
	"k3s-agent":       "Kubernetes",
	"libvirtd":        "libvirt",
	"virtnetworkd":    "libvirt",
	"tailscaled":      "tailscale",
	"mullvad-daemon":  "Mullvad",
	"nordvpnd":        "NordVPN",
	"protonvpn":       "Proton VPN",
	"protonvpn-app":   "Proton VPN",
	"proton-vpn-daem": "Proton VPN",
	"pia-daemon":      "Private Internet Access",
	"expressvpnd":     "ExpressVPN",
	"windscribe-help": "Windscribe",
	"Windscribe":      "Windscribe",
	"ivpn-service":    "IVPN",
	"eddie-cli-eleva": "AirVPN Eddie",
	"surfshark":       "Surfshark",
	"openvpn":         "openvpn",
	"openconnect":     "openconnect",
	"clash":           "clash (mihomo)",
	"clash-linux":     "clash (mihomo)",
	"clash-meta":      "clash (mihomo)",
	"mihomo":          "clash (mihomo)",
	"verge-mihomo":    "clash (mihomo)",
	"sing-box":        "sing-box",
	"hiddify":         "sing-box",
	"HiddifyCli":      "sing-box",
	"HiddifyService":  "sing-box",
	"nekobox_core":    "sing-box",
	"v2ray":           "v2ray (xray)",
	"v2raya":          "v2ray (xray)",
	"xray":            "v2ray (xray)",
	"redsocks":        "redsocks",
	"redsocks2":       "redsocks",
	"ss-redir":        "shadowsocks",
	"pilot-agent":     "istio",
	"linkerd2-proxy":  "linkerd",
}

// loaders are units that load a file of rules at boot, and what a person calls them.
var loaders = []struct{ unit, name string }{
	{"nftables.service", "nftables.service"},
	{"netfilter-persistent.service", "netfilter-persistent"},
	{"iptables.service", "iptables-services"},
	{"ip6tables.service", "iptables-services"},
}

// filterManagers returns the programs that write rules on this machine. It looks at the
// processes meanwhile.
func filterManagers(ctx context.Context, f *facts.Facts) []facts.FilterManager {
	running := make(chan []facts.FilterManager, 1)
	mine, _ := inode("/proc/thread-self/net/tcp") // of this thread: another may be in another namespace
	go func() { running <- runningWriters(ctx, mine) }()
	ms := managersIn("")
	for _, m := range <-running {
		ms = addManager(ms, m)
	}
	if f.Interfaces != nil {
		for _, i := range f.Interfaces.Others {
			if i.Kind == "wireguard" && i.Up && present("/etc/wireguard/"+i.Name+".conf") {
				ms = addManager(ms, facts.FilterManager{Name: "wg-quick", Active: true, Detail: fmt.Sprintf("interface %s, /etc/wireguard/%s.conf", i.Name, i.Name)})
			}
		}
	}
	return ms
}

// addManager keeps one of each, and rather one that is active.
func addManager(ms []facts.FilterManager, m facts.FilterManager) []facts.FilterManager {
	for i := range ms {
		if ms[i].Name == m.Name {
			if m.Active && !ms[i].Active {
				ms[i] = m
			}
			return ms
		}
	}
	return append(ms, m)
}

// managersIn finds those that leave files, below a root directory.
func managersIn(root string) (ms []facts.FilterManager) {
	if data, err := readRegular(root+"/etc/ufw/ufw.conf", []string{root + "/etc"}); err == nil {
		on := ufwEnabled(data)
		ms = append(ms, facts.FilterManager{Name: "ufw", Active: on, Detail: fmt.Sprintf("ENABLED=%s in /etc/ufw/ufw.conf", map[bool]string{true: "yes", false: "no"}[on])})
	}
	if info, err := os.Stat(root + "/etc/firewalld"); err == nil && info.IsDir() {
		ms = append(ms, facts.FilterManager{Name: "firewalld", Detail: "/etc/firewalld is there, and it does not run"})
	}
	if m, ok := iptablesIn(root); ok {
		ms = append(ms, m)
	}
	units := bootUnits{root: root}
	for _, l := range loaders {
		switch {
		case units.switchedOn(l.unit):
			ms = addManager(ms, facts.FilterManager{Name: l.name, Active: true, Detail: l.unit + " is switched on"})
		case installed(root, l.unit):
			ms = addManager(ms, facts.FilterManager{Name: l.name, Detail: l.unit + " is switched off"})
		}
	}
	return ms
}

// ufwEnabled reads the line ENABLED=yes, as ufw does: in any case, quoted or not, the
// last one counts.
func ufwEnabled(data []byte) (on bool) {
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "="); ok && strings.EqualFold(strings.TrimSpace(key), "ENABLED") {
			on = strings.EqualFold(strings.Trim(strings.TrimSpace(value), `"'`), "yes")
		}
	}
	return on
}

// iptablesIn says which of the two the command iptables is: the end of its links is
// called xtables-nft-multi or xtables-legacy-multi.
func iptablesIn(root string) (m facts.FilterManager, ok bool) {
	engine := func(command string) (which, from, end string) {
		for _, dir := range []string{"/usr/local/sbin/", "/usr/sbin/", "/sbin/", "/usr/local/bin/", "/usr/bin/", "/bin/"} {
			if _, err := os.Lstat(root + dir + command); err != nil {
				continue
			}
			end := linkEnd(root, dir+command)
			switch name := filepath.Base(end); {
			case strings.Contains(name, "nft"):
				return "iptables-nft", dir + command, end
			case strings.Contains(name, "legacy"), name == "xtables-multi": // before 1.8 there was no other
				return "iptables-legacy", dir + command, end
			}
			return "", dir + command, end
		}
		return "", "", ""
	}
	which, from, end := engine("iptables")
	if which == "" {
		return m, false
	}
	m = facts.FilterManager{Name: which, Active: true, Detail: fmt.Sprintf("%s leads to %s", from, end)}
	if other, save, _ := engine("iptables-save"); other != "" && other != which {
		m.Detail += fmt.Sprintf(", but %s is %s", save, other)
	}
	return m, true
}

// linkEnd follows symbolic links as they are below the root directory.
func linkEnd(root, name string) string {
	for range 16 {
		to, err := os.Readlink(root + name)
		if err != nil {
			return name
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		name = filepath.Clean(to)
	}
	return name
}

// runningWriters looks for such programs in one network namespace.
func runningWriters(ctx context.Context, mine uint64) (ms []facts.FilterManager) {
	pids, err := process.PIDs()
	if err != nil {
		return nil
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			break
		}
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			continue
		}
		process := strings.TrimSpace(string(comm))
		name := writers[process]
		if name == "" {
			continue
		}
		if its, ok := inode(fmt.Sprintf("/proc/%d/net/tcp", pid)); ok && its == mine {
			ms = append(ms, facts.FilterManager{Name: name, Active: true, Detail: fmt.Sprintf("%s (pid %d) runs", process, pid)})
		}
	}
	return ms
}
