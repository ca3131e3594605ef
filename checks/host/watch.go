package host

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Watched is a client that has run: what it met, and what it takes to look as it.
type Watched struct {
	Met     *facts.Met
	As      []facts.Identity // its processes that connected to this machine, as they were then
	Environ map[int][]string // of these; process 0 is the client at its start
}

// NotStartedError says that there is no client: nothing has run.
type NotStartedError struct {
	Program string
	Missing bool // there is no such program; else it is none that can be run
	Err     error
}

func (e *NotStartedError) Error() string { return e.Program + ": " + e.Err.Error() }
func (e *NotStartedError) Unwrap() error { return e.Err }

// Watch runs a client until it ends: with the standard descriptors, environment and
// process group of loopdoctor, and its signals handed on.
func Watch(argv []string) (*Watched, error) {
	if here.watch == nil {
		return nil, errors.New("to watch a program is possible on Linux only")
	}
	return here.watch(argv)
}

// Watches tells whether Watch can run a client at all.
func Watches() bool { return here.watch != nil }

// Client is the process of the client that made the connection, or else whoever
// started it.
func (w *Watched) Client(pid int) facts.Identity {
	for _, id := range w.As {
		if id.PID == pid {
			return id
		}
	}
	return UID(uint32(max(os.Geteuid(), 0)))
}

// withKept answers for clients that are gone: what is kept of their environments.
func withKept(environ func(pid int) ([]string, error), kept map[int][]string) func(pid int) ([]string, error) {
	if len(kept) == 0 {
		return environ
	}
	return func(pid int) ([]string, error) {
		if vars, ok := kept[pid]; ok {
			return vars, nil
		}
		return environ(pid)
	}
}

// sort keeps of all connects those to this machine and to proxies, and the UNIX
// sockets that could not be reached. The others are counted: where a client goes
// elsewhere is nobody's business.
func (w *Watched) sort(all []facts.Attempt, own func(netip.Addr) bool) {
	m := w.Met
	m.Connects = []facts.Attempt{}
	for _, c := range all {
		a := c.To.Addr()
		proxy := ""
		if c.Network == "tcp" {
			vars, ok := w.Environ[c.PID]
			if !ok {
				vars = w.Environ[0]
			}
			proxy = proxyAt(vars, c.To)
		}
		switch {
		case c.Network == "unix" && c.Works():
		case c.Network == "unix", a.IsLoopback(), a.IsUnspecified(), own(a), proxy != "":
			c.Proxy = proxy
			m.Connects = append(m.Connects, c)
		default:
			m.Elsewhere += c.Count
			if !c.Works() {
				m.Failed += c.Count
			}
		}
	}
}

// proxyAt names the variable that has a proxy at this address. Of a proxy on another
// machine, which is not looked up, the port decides.
func proxyAt(environ []string, to netip.AddrPort) string {
	for _, v := range proxyVariables(environ).Variables {
		if strings.EqualFold(v.Name, "no_proxy") || v.Value == "" {
			continue
		}
		value := v.Value
		if !strings.Contains(value, "://") {
			value = "http://" + value
		}
		u, err := url.Parse(value)
		if err != nil {
			continue
		}
		usual := map[string]string{"https": "443", "socks": "1080", "socks4": "1080", "socks5": "1080", "socks5h": "1080"}
		port, _ := strconv.Atoi(cmp.Or(u.Port(), usual[u.Scheme], "80"))
		if port != int(to.Port()) {
			continue
		}
		at, err := netip.ParseAddr(u.Hostname())
		switch {
		case err == nil && at.Unmap() == to.Addr(),
			err != nil && facts.IsLocalhost(u.Hostname()) == to.Addr().IsLoopback():
			return v.Name
		}
	}
	return ""
}

// interfaceAddresses tells whether an address is one of this machine's interfaces now.
func interfaceAddresses() func(netip.Addr) bool {
	var own []netip.Addr
	list, _ := net.InterfaceAddrs()
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap())
		}
	}
	return func(a netip.Addr) bool { return slices.Contains(own, a.WithZone("")) }
}
