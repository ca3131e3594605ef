package host

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	// maxSpare is how many ports are tried.
	maxSpare = 20
	// lowPorts end where only root may bind by default, and lowTwin is what people
	// add to one of them: 8080 for 80, 8443 for 443.
	lowPorts, lowTwin = 1024, 8000
	// maxElsewhere is how many addresses of this machine the port itself is tried at.
	maxElsewhere = 8
)

// wellKnown are ports above 1024 at which another service is looked for.
var wellKnown = []uint16{1433, 1521, 1883, 2049, 2181, 2375, 2376, 3306, 3389, 5432, 5671, 5672, 5900, 6379, 6443, 8086, 9042, 9092, 9200, 11211, 26379, 27017}

// try binds a socket with those options, and gives the port back.
func try(as client, network string, to netip.AddrPort, options ...int) (errno string, err error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := socketOf(as, family, kind)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return errnoName(err), nil // a server would get no further
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 1); err != nil {
			return "", err
		}
	}
	return errnoName(unix.Bind(fd, sockaddr(to))), nil
}

// spare looks for a port that every client could take instead: the nearest one
// above the target's that can be bound on all its addresses. Where the target is
// every address, it also tries the target's own port on one address after the other.
func spare(ctx context.Context, f *facts.Facts) ([]facts.SparePort, error) {
	addrs := instead(f)
	if len(addrs) == 0 {
		return nil, errors.New("no address to bind")
	}
	found := []facts.SparePort{}
	if slices.ContainsFunc(addrs, netip.Addr.IsUnspecified) {
		for _, id := range f.Host.As {
			var free []netip.Addr
			err := asClient(id, func() {
				free = slices.DeleteFunc(ownAddresses(f), func(a netip.Addr) bool { return !canBind(f.Target.Network, a, f.Target.Port) })
			})
			if err == nil && len(free) > 0 {
				found = append(found, facts.SparePort{Port: f.Target.Port, As: id.UID, Addrs: free})
			}
		}
	}
	for _, port := range near(f) {
		if ctx.Err() != nil {
			break
		}
		free := true
		for _, id := range f.Host.As {
			err := asClient(id, func() {
				free = free && !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !canBind(f.Target.Network, a, port) })
			})
			free = free && err == nil
		}
		if free {
			for _, id := range f.Host.As {
				found = append(found, facts.SparePort{Port: port, As: id.UID, Addrs: addrs})
			}
			break
		}
	}
	return found, nil
}

// instead is the addresses that could be bound if only the port were free.
func instead(f *facts.Facts) []netip.Addr {
	var as []netip.Addr
	for _, b := range f.Binds {
		usable := b.Errno == "" || b.Errno == "EADDRINUSE" || b.Errno == "EACCES"
		if usable && !slices.Contains(as, b.Addr) {
			as = append(as, b.Addr)
		}
	}
	return as
}

// canBind tells whether the port is free for a server with and without
// SO_REUSEADDR.
func canBind(network string, a netip.Addr, port uint16) bool {
	for _, options := range [][]int{nil, {unix.SO_REUSEADDR}} {
		if errno, err := try(client{}, network, netip.AddrPortFrom(a, port), options...); err != nil || errno != "" {
			return false
		}
	}
	return true
}

// near lists the ports to try, the nearest first. One that the kernel gives to
// clients is no good advice, unless the target's is such a port itself; nor is one
// that another service is known for, or that somebody has reserved.
func near(f *facts.Facts) []uint16 {
	from, l := int(f.Target.Port), f.Limits
	start := lowPorts
	if l != nil {
		start = l.UnprivilegedPortStart
	}
	if from < min(start, lowPorts) {
		from += lowTwin - 1
	}
	from = max(from, start-1)
	var ports []uint16
	for p := from + 1; p <= 65535 && len(ports) < maxSpare; p++ {
		port := uint16(p)
		switch {
		case slices.Contains(wellKnown, port):
		case l != nil && (l.IsReserved(port) || l.Ephemeral(port) && !l.Ephemeral(f.Target.Port)):
		default:
			ports = append(ports, port)
		}
	}
	return ports
}

// ownAddresses lists this machine's own addresses that a server could bind alone.
func ownAddresses(f *facts.Facts) []netip.Addr {
	as := []netip.Addr{v4, v6}
	if f.Interfaces != nil {
		for _, i := range f.Interfaces.Others {
			for _, p := range i.Addresses {
				if !p.Addr().IsLinkLocalUnicast() && len(as) < maxElsewhere { // those need a zone
					as = append(as, p.Addr())
				}
			}
		}
	}
	return as
}

// reusePort tries to bind with SO_REUSEPORT, which only servers of one user share
// (socket(7)): as each client, and as the listener's user where that is allowed.
// Nobody loses a connection by it: a socket that does not listen is in no group
// that connections are spread over. That holds for TCP alone.
func reusePort(ctx context.Context, f *facts.Facts) ([]facts.Bind, error) {
	if f.Target.Network != "tcp" {
		return nil, errors.New("a bound UDP socket takes datagrams")
	}
	var uids []uint32
	for _, id := range f.Host.As {
		if !slices.Contains(uids, id.UID) { // a user, and a process of that user
			uids = append(uids, id.UID)
		}
	}
	// On no address but the listeners' own: where nobody is, the kernel would
	// remember that the port may be shared.
	var addrs []netip.Addr
	for _, s := range f.Sockets.Sockets {
		if s.Network != "tcp" || s.State != facts.Listen || s.Local.Port() != f.Target.Port {
			continue
		}
		if os.Geteuid() == 0 && !slices.Contains(uids, s.UID) && len(uids) < 8 {
			uids = append(uids, s.UID)
		}
		if !slices.Contains(addrs, s.Local.Addr()) && len(addrs) < 8 {
			addrs = append(addrs, s.Local.Addr())
		}
	}
	binds := []facts.Bind{}
	for _, a := range addrs {
		for _, uid := range uids {
			if ctx.Err() != nil {
				return binds, nil
			}
			b := facts.Bind{Addr: a, As: uid}
			var failed error
			err := asClient(UID(uid), func() {
				b.Errno, failed = try(client{}, "tcp", netip.AddrPortFrom(a, f.Target.Port), unix.SO_REUSEPORT)
			})
			if errors.Join(err, failed) == nil {
				binds = append(binds, b)
			}
		}
	}
	return binds, nil
}
