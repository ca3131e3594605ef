package host

import (
	"context"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// candidates looks for processes that have to do with the port.
func candidates(ctx context.Context, f *facts.Facts) (*facts.Candidates, error) {
	q := process.Query{Port: f.Target.Port, Listeners: listeningInodes}
	if process.Project(f.Host.Cwd) {
		q.Cwd = f.Host.Cwd
	}
	return process.Candidates(ctx, q)
}

// listeningInodes is every listening TCP and UNIX socket by inode. A kernel that
// does not show UNIX sockets shows none of a candidate's.
func listeningInodes() (tcp map[uint64]netip.AddrPort, unix map[uint64]string, err error) {
	all, err := linuxListeners()
	if err != nil {
		return nil, nil, err
	}
	tcp, unix = map[uint64]netip.AddrPort{}, map[uint64]string{}
	for _, s := range all.Sockets {
		if s.Network == "tcp" && s.Inode != 0 {
			tcp[s.Inode] = s.Local
		}
	}
	us, _ := sockdiag.UnixListeners()
	for _, u := range us {
		if u.Path != "" {
			unix[u.Inode] = u.Path
		}
	}
	return tcp, unix, nil
}

// usualSockets is where the usual server of a port has its UNIX socket. What
// stands in the way of a name is *.
var usualSockets = []struct {
	port    uint16
	service string
	paths   []string
}{
	{3306, "mysql", []string{"/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/tmp/mysql.sock", "/var/lib/mysql/mysql.sock", "/run/mysql/mysql.sock"}},
	{5432, "postgresql", nil}, // its name has the port
	{6379, "redis", []string{"/run/redis/*.sock", "/var/run/redis/*.sock", "/tmp/redis.sock", "/run/redis.sock", "/var/run/redis.sock"}},
	{2375, "docker", []string{"/run/docker.sock", "/var/run/docker.sock"}},
	{2376, "docker", []string{"/run/docker.sock", "/var/run/docker.sock"}},
	{9000, "php-fpm", []string{"/run/php/*.sock", "/var/run/php/*.sock", "/run/php-fpm/*.sock", "/var/run/php-fpm/*.sock", "/run/php-fpm.sock"}},
	{11211, "memcached", []string{"/run/memcached/memcached.sock", "/var/run/memcached/memcached.sock", "/tmp/memcached.sock"}},
	{27017, "mongodb", []string{"/tmp/mongodb-27017.sock", "/run/mongodb/mongodb-27017.sock"}},
}

// unixSockets looks for those that may be meant instead of the port.
func unixSockets(ctx context.Context, f *facts.Facts) (*facts.UnixSockets, error) {
	all, err := sockdiag.UnixListeners()
	if err != nil {
		return nil, err
	}
	found := &facts.UnixSockets{Found: []facts.UnixSocket{}}
	var want []facts.Socket
	for _, u := range all {
		about := aboutUnix(u.Path, f.Target.Port)
		if about == "" || len(found.Found) == 16 {
			continue
		}
		found.Found = append(found.Found, facts.UnixSocket{Path: u.Path, Inode: u.Inode, About: about})
		want = append(want, facts.Socket{Inode: u.Inode})
	}
	if len(want) == 0 {
		return found, nil
	}
	owners, err := process.Owners(ctx, want)
	if err != nil {
		return nil, err
	}
	tcp, err := linuxListeners()
	if err != nil {
		return nil, err
	}
	servers, err := process.Owners(ctx, tcpListeners(tcp), pidsOf(owners)...)
	if err != nil {
		return nil, err
	}
	for i := range found.Found {
		u := &found.Found[i]
		for _, h := range owners.Holders[u.Inode] {
			if h.Attribution != facts.ByDescriptor {
				continue
			}
			if u.PID <= 1 { // process 1 may hold it for the service that it starts
				u.PID, u.Program = h.PID, owners.Process(h.PID).Name
			}
			for _, s := range tcpListeners(tcp) {
				if slices.ContainsFunc(servers.Holders[s.Inode], func(x facts.Holder) bool { return x.PID == h.PID }) && !slices.Contains(u.Listens, s.Local) {
					u.Listens = append(u.Listens, s.Local)
				}
			}
		}
	}
	slices.SortFunc(found.Found, func(a, b facts.UnixSocket) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}

func tcpListeners(all *facts.Sockets) []facts.Socket {
	return slices.DeleteFunc(slices.Clone(all.Sockets), func(s facts.Socket) bool { return s.Network != "tcp" || s.State != facts.Listen })
}

func pidsOf(o *facts.Owners) []int {
	var pids []int
	for _, p := range o.Processes {
		pids = append(pids, p.PID)
	}
	return pids
}

// aboutUnix says why a UNIX socket may be meant; empty if it is not.
func aboutUnix(name string, port uint16) string {
	p := strconv.Itoa(int(port))
	if path.Base(name) == ".s.PGSQL."+p {
		return "usual socket of postgresql"
	}
	for _, u := range usualSockets {
		for _, pattern := range u.paths {
			if ok, err := path.Match(pattern, name); u.port == port && err == nil && ok {
				return "usual socket of " + u.service
			}
		}
	}
	// The number as a word of its own: "62893", "app-62893.sock", "62893;".
	b := path.Base(name)
	for i := 0; ; {
		k := strings.Index(b[i:], p)
		if k < 0 {
			return ""
		}
		i += k
		end := i + len(p)
		if (i == 0 || !wordByte(b[i-1])) && (end == len(b) || !wordByte(b[end])) {
			return "named after the port"
		}
		i = end
	}
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
