package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/resolve"
)

// maxNameFile is far above the longest lists of unwanted hosts there are.
const maxNameFile = 32 << 20

// reader reads a whole file. The info is there whenever the file could be
// found, even if it could not be read.
type reader func(path string) ([]byte, fs.FileInfo, error)

// nameEnv is the questions about names that only a machine can answer.
type nameEnv struct {
	read      reader
	root      string                   // where the client's own files are found; empty: they are ours
	place     func(path string) string // by which name we find such a file; nil: they are ours
	wget      func() string            // the client's wget, if it is BusyBox's; nil: ours is
	installed func(source string) bool
	source    func(netip.Addr) netip.Addr
	askDNS    bool // also name servers that are not on loopback
}

// gatherNames tells what the C library gives a program for the name, and by
// which rule. It asks a name server only if the lookup would get to one.
func gatherNames(ctx context.Context, env nameEnv, name string) (*facts.Names, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return nil, errors.New("look up a name: it is empty")
	}
	n := &facts.Names{Name: name, Hosts: facts.HostsFile{Path: "/etc/hosts"}, Switch: facts.NameSwitch{Path: "/etc/nsswitch.conf"}}
	if env.place != nil {
		n.Hosts.Path, n.Switch.Path = env.place(n.Hosts.Path), env.place(n.Switch.Path)
	}

	hosts, info, err := env.read("/etc/hosts")
	n.Hosts.Lines = resolve.Hosts(hosts, name)
	n.Hosts.Error = fileError(err)
	n.Hosts.Open = len(hosts) > 0 && hosts[len(hosts)-1] != '\n'
	if info != nil {
		n.Hosts.Mode, n.Hosts.Changed = uint32(info.Mode().Perm()), info.ModTime()
	}

	// A file that cannot be read counts as one that is not there.
	conf, info, err := env.read("/etc/nsswitch.conf")
	if n.Switch.Error = fileError(err); info != nil {
		n.Switch.Changed = info.ModTime()
	}
	sw, broken := resolve.NameSwitch(conf)
	n.Switch.Line, n.Switch.Text = sw.Line, sw.Text
	n.Switch.Sources = []string{}
	for _, s := range sw.Sources {
		n.Switch.Sources = append(n.Switch.Sources, s.Name)
	}
	if broken != nil {
		n.Switch.Error = broken.Error()
		n.Error = fmt.Sprintf("%s: %v", n.Switch.Path, broken)
		return n, nil
	}

	resolv, _, _ := env.read("/etc/resolv.conf")
	servers := resolve.ResolvConf(resolv)
	n.Servers = []facts.NameServer{}
	for _, s := range servers.Servers {
		n.Servers = append(n.Servers, facts.NameServer{Addr: s})
	}
	hostConf, _, _ := env.read("/etc/host.conf")
	gai, _, _ := env.read("/etc/gai.conf")
	hostName, _ := os.Hostname()
	q := resolve.Query{
		Name: name, Sources: sw.Sources, Hosts: n.Hosts.Lines, NoHosts: n.Hosts.Error != "", Multi: resolve.Multi(hostConf),
		Servers: n.Servers, Resolved: exists(env.root + "/run/systemd/resolve/io.systemd.Resolve"), Installed: env.installed,
		HostName: hostName, Local: localAddresses(), Source: env.source, Precedence: resolve.GaiConf(gai),
	}
	a := resolve.Lookup(q)
	if a.NeedsDNS {
		n.Servers = askServers(ctx, name, n.Servers, servers.NoAAAA, env.askDNS, dnsPatience)
		q.Servers = n.Servers
		a = resolve.Lookup(q)
	}
	if a.NeedsDNS && silent(n.Servers) > 0 { // it may be slow: a forwarder waits for others
		n.Servers = askServers(ctx, name, n.Servers, servers.NoAAAA, env.askDNS, dnsMorePatience)
		q.Servers = n.Servers
		a = resolve.Lookup(q)
	}
	if a.NeedsDNS && silent(n.Servers) > 0 {
		q.Silent = true
		n.Later, n.WaitMS = resolve.Lookup(q).Addresses, float64(silent(n.Servers))*float64(servers.Wait.Milliseconds())
	}
	n.Addresses, n.Error = a.Addresses, a.Error
	if env.wget != nil {
		n.BusyBoxWget = env.wget()
	} else {
		n.BusyBoxWget = busyBoxWget(os.Getenv("PATH"))
	}
	return n, ctx.Err()
}

// silent counts the name servers that were asked and gave no answer.
func silent(servers []facts.NameServer) int {
	n := 0
	for _, s := range servers {
		if s.Asked && s.Error == resolve.NoAnswer {
			n++
		}
	}
	return n
}

// busyBoxWget is the wget of the search path if it is a link to BusyBox, as in
// Alpine Linux: the client of many health checks.
func busyBoxWget(path string) string {
	for _, dir := range filepath.SplitList(path) {
		wget := filepath.Join(dir, "wget")
		if real, err := filepath.EvalSymlinks(wget); err == nil && filepath.IsAbs(wget) {
			if strings.HasPrefix(filepath.Base(real), "busybox") {
				return wget
			}
			return ""
		}
	}
	return ""
}

// readFile is the reader of whoever runs the thread.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		// /dev/null mounted over the file reads as empty; a pipe would hang.
		return nil, info, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, info, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxNameFile))
	return data, info, err
}

// fileError words the two errors that are causes of their own.
func fileError(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	}
	return err.Error()
}

// nssInstalled tells whether the C library would find the module of a source.
// Where nscd runs, as on NixOS, it loads them in our stead.
func nssInstalled(source string) bool { return nssInstalledIn("", source) }

func nssInstalledIn(root, source string) bool {
	if source != filepath.Base(source) {
		return false
	}
	if exists(root + "/var/run/nscd/socket") {
		return true
	}
	for _, dir := range []string{"/lib", "/usr/lib", "/lib64", "/usr/lib64", "/lib/*-linux-gnu*", "/usr/lib/*-linux-gnu*"} {
		if m, _ := filepath.Glob(filepath.Join(root+dir, "libnss_"+source+".so.2")); len(m) > 0 {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// sourceOf gives the address from which the kernel would connect. To connect a
// UDP socket sends nothing; getaddrinfo does the same.
func sourceOf(a netip.Addr) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// localAddresses lists the addresses of the machine that are not loopback.
func localAddresses() []netip.Addr {
	addrs, _ := net.InterfaceAddrs()
	var list []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			list = append(list, p.Addr())
		}
	}
	return list
}
