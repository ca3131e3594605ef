package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/capture"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/rtnetlink"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

var here = sources{
	host:       linuxHost,
	names:      lookNames,
	interfaces: linuxInterfaces,
	routes:     linuxRoutes,
	sockets:    linuxSockets,
	listeners:  linuxListeners,
	owners: func(ctx context.Context, ss []facts.Socket) (*facts.Owners, error) {
		return process.Owners(ctx, ss)
	},
	limits:     linuxLimits,
	namespaces: lookNamespaces,
	filters:    linuxFilters,
	conntrack:  linuxConntrack,
	work:       lookWork,
	full:       process.OutOfFiles,
	bind:       bind,
	dial:       dial,
	ask:        ask,
	forwards:   linuxForwards,

	watchLog:    watchLog,
	lastLog:     lastLog,
	accessLines: accessLines,

	ledger:  ledger,
	traffic: linuxTraffic,
	rules:   linuxRules,
	portUse: linuxPortUse,
	capture: capturePackets,

	candidates:  candidates,
	configs:     linuxConfigs,
	unixSockets: unixSockets,
	origins:     process.Origins,
	userName:    userName,
	reusePort:   reusePort,
	spare:       spare,
	units:       lookUnits,
	containers:  lookContainers,

	process: linuxProcess,
	try:     tryClient,
	enter:   enterNetwork,

	find:      linuxFind,
	enterFile: enterFile,

	cgroup:  inCgroup,
	second:  second,
	environ: linuxEnviron,
	watch:   watchClient,
	program: linuxProgram,
	readAs:  linuxReadAs,
}

// linuxHost says where we look from. A network namespace is named by the inode
// of its /proc/net/tcp: unlike /proc/PID/ns/net everybody may read that of
// every process.
func linuxHost(h *facts.Host) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	mine, ok1 := inode("/proc/self/net/tcp")
	first, ok2 := inode("/proc/1/net/tcp")
	if ok1 && ok2 && mine != first {
		h.Vantage = fmt.Sprintf("network namespace %d", mine)
	}
	if os.Getenv(entered) != "" {
		// The files are those of where it came from.
	} else if data, err := os.ReadFile("/proc/self/cgroup"); err == nil && process.InContainer(data) || present("/.dockerenv") || present("/run/.containerenv") {
		h.Vantage = "container"
	}
	if data, err := os.ReadFile("/proc/stat"); err == nil {
		if _, rest, ok := strings.Cut(string(data), "\nbtime "); ok {
			line, _, _ := strings.Cut(rest, "\n")
			if sec, err := strconv.ParseInt(line, 10, 64); err == nil {
				h.Boot = time.Unix(sec, 0).UTC()
			}
		}
	}
	insideVM(&h.Inside, h.Kernel)
	h.LookedWith = capabilities()
	insideOf(h)
}

// capabilities names those that open a look.
func capabilities() []string {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(data), "\nCapEff:\t")
	line, _, _ := strings.Cut(rest, "\n")
	set, _ := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	var names []string
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_NET_ADMIN, "net_admin"}, {unix.CAP_NET_RAW, "net_raw"}, {unix.CAP_SYS_PTRACE, "sys_ptrace"}, {unix.CAP_SYS_ADMIN, "sys_admin"}, {unix.CAP_DAC_READ_SEARCH, "dac_read_search"}} {
		if set&(1<<c.bit) != 0 {
			names = append(names, c.name)
		}
	}
	return names
}

func linuxInterfaces() (*facts.Interfaces, error) {
	c, err := rtnetlink.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	i, err := c.Interfaces()
	if err != nil {
		return nil, err
	}
	i.IPv6.Present = present("/proc/net/if_inet6")
	set := func(key string) bool {
		v, err := readInt(key)
		return err == nil && v != 0
	}
	i.IPv6.BindV6Only = set("/proc/sys/net/ipv6/bindv6only")
	lo := i.Loopback
	if lo == nil {
		return i, nil
	}
	i.IPv6.Disabled = set("/proc/sys/net/ipv6/conf/" + lo.Name + "/disable_ipv6")
	if !lo.Holds(v6) { // the usual case needs no more
		i.IPv6.All = set("/proc/sys/net/ipv6/conf/all/disable_ipv6")
		i.IPv6.Module = set("/sys/module/ipv6/parameters/disable")
	}
	if lo.Qdisc != "" && lo.Qdisc != "noqueue" {
		lo.Traffic, _ = c.Traffic(lo.Index) // tried again where a connection is lost
	}
	return i, nil
}

func linuxTraffic(i *facts.Interface) (*facts.Traffic, error) {
	c, err := rtnetlink.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Traffic(i.Index)
}

func linuxRoutes(t facts.Target, uid uint32) (*facts.Routes, error) {
	c, err := rtnetlink.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := &facts.Routes{}
	for _, a := range specific(t) {
		r.Lookups = append(r.Lookups, c.Route(a, uid, protocol(t), t.Port))
	}
	// The usual case: the route is the local one, so no rule interferes.
	if !slices.ContainsFunc(r.Lookups, func(x facts.Route) bool { return x.Type != "local" }) {
		return r, nil
	}
	r.Rules, err = c.Rules(specific(t), protocol(t), t.Port, uid)
	return r, err
}

// linuxRules reads the rules although the route of an unmarked packet is the
// local one: a packet filter may mark it later, and have it routed again.
func linuxRules(t facts.Target, uid uint32) ([]facts.Rule, error) {
	c, err := rtnetlink.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Rules(specific(t), protocol(t), t.Port, uid)
}

func protocol(t facts.Target) uint8 {
	if t.Network == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// specific returns the addresses of the target that packets can be sent to.
func specific(t facts.Target) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range t.Addresses {
		if !a.Addr.IsUnspecified() {
			addrs = append(addrs, a.Addr)
		}
	}
	return addrs
}

// linuxSockets asks sock_diag, and /proc/net/tcp where that is forbidden.
func linuxSockets(port uint16) (*facts.Sockets, error) {
	return linuxDump(func(c *sockdiag.Client) ([]facts.Socket, error) { return c.Port(port) },
		func(s facts.Socket) bool { return s.Local.Port() == port || s.Remote.Port() == port })
}

func linuxListeners() (*facts.Sockets, error) {
	return linuxDump((*sockdiag.Client).Listeners, func(s facts.Socket) bool {
		return s.State == facts.Listen || s.Network == "udp" && s.State == facts.Bound
	})
}

func linuxDump(ask func(*sockdiag.Client) ([]facts.Socket, error), fits func(facts.Socket) bool) (*facts.Sockets, error) {
	c, err := sockdiag.Open()
	if err == nil {
		defer c.Close()
		var ss []facts.Socket
		if ss, err = ask(c); err == nil {
			return &facts.Sockets{From: "sock_diag", Partial: c.Partial(), Sockets: ss}, nil
		}
	}
	found := &facts.Sockets{From: "/proc/net/tcp", Partial: "accept queue limits, devices, IPV6_V6ONLY and sockets that are bound but do not listen (" + err.Error() + ")", Sockets: []facts.Socket{}}
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		f, openErr := os.Open("/proc/net/" + file)
		if errors.Is(openErr, fs.ErrNotExist) && file != "tcp" {
			continue // no IPv6
		}
		if openErr != nil {
			return nil, errors.Join(err, openErr)
		}
		ss, parseErr := sockdiag.ParseProcNet(f, file[:3], strings.HasSuffix(file, "6"))
		f.Close()
		if parseErr != nil {
			return nil, errors.Join(err, parseErr)
		}
		for _, s := range ss {
			if fits(s) {
				found.Sockets = append(found.Sockets, s)
			}
		}
	}
	return found, nil
}

func linuxLimits(as []facts.Identity) (*facts.Limits, error) {
	l := &facts.Limits{}
	var err error
	if l.UnprivilegedPortStart, err = readInt("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err != nil {
		return nil, err
	}
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscan(string(data), &l.EphemeralLow, &l.EphemeralHigh); err != nil {
		return nil, fmt.Errorf("read ip_local_port_range: %w", err)
	}
	if data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports"); err == nil {
		l.Reserved = strings.TrimSpace(string(data))
	}
	for _, i := range as {
		// Another user than ours keeps no capability across setuid.
		if int(i.UID) == os.Geteuid() && hasCapability(unix.CAP_NET_BIND_SERVICE) || i.LowPort {
			l.MayBindLow = append(l.MayBindLow, i.UID)
		}
	}
	l.NoIPv6 = noIPv6()
	l.Seccomp = l.NoIPv6 && filtered()
	return l, nil
}

// noIPv6 tells whether no program may even open a socket for IPv6: the kernel
// does not speak it, or a sandbox forbids it to this one.
func noIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errors.Is(err, unix.EAFNOSUPPORT)
	}
	unix.Close(fd)
	return false
}

// filtered tells whether this process is under a seccomp filter (proc(5)):
//
//	Seccomp:	2
func filtered() bool {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(data), "\nSeccomp:\t")
	return ok && strings.HasPrefix(rest, "2")
}

func hasCapability(bit int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[bit/32].Effective&(1<<(bit%32)) != 0
}

// capturePackets watches lo while during runs.
func capturePackets(port uint16, during func(also func(port uint16))) (*facts.Packets, error) {
	lo, err := loopbackIndex()
	if err != nil {
		return nil, err
	}
	c, err := capture.Open(lo, port)
	if err != nil {
		return nil, err
	}
	// To close takes the kernel ten milliseconds, which nobody needs to wait for.
	defer func() { go c.Close() }()
	var ours []uint16
	during(func(p uint16) {
		if c.Also(p) == nil {
			ours = append(ours, p)
		}
	})
	frames, err := c.Frames()
	if err != nil {
		return nil, err
	}
	packets := capture.Conversations(frames, port, ours)
	if packets.Dropped, err = c.Dropped(); err != nil {
		return nil, err
	}
	return packets, nil
}

func loopbackIndex() (int, error) {
	c, err := rtnetlink.Open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	i, err := c.Interfaces()
	if err != nil {
		return 0, err
	}
	if i.Loopback == nil {
		return 0, errors.New("no loopback interface")
	}
	return i.Loopback.Index, nil
}

func readInt(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

func present(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func inode(path string) (uint64, bool) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Ino, err == nil
}
