package host

import (
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// What rules can know of the programs at both ends: who made the socket, and in
// which cgroup.

// clientOwner is the owner of the sockets that loopdoctor makes as the client.
func clientOwner(c client) netfilter.Owner {
	o := netfilter.Owner{Known: true, UID: c.UID, GID: c.GID, Groups: c.Groups, PID: c.PID}
	if isUs(c.Identity) {
		o.GID, o.Groups = uint32(os.Getegid()), nil
		groups, _ := os.Getgroups()
		for _, g := range groups {
			o.Groups = append(o.Groups, uint32(g))
		}
	}
	// Without a helper in the client's cgroup its sockets are made in ours.
	pid := 0
	if c.socket != nil {
		pid = c.PID
	}
	placeIn(&o, pid)
	return o
}

// serverOwner is the owner of the listener that the connection was meant for.
func (l *filterLook) serverOwner(s suspect) netfilter.Owner {
	if l.f.Target.Port == 0 { // a listener of our own
		return clientOwner(client{Identity: facts.Identity{UID: uint32(os.Geteuid())}})
	}
	ls := listenersOf(l.f, s.to)
	if len(ls) == 0 {
		return netfilter.Owner{}
	}
	socket := ls[0]
	for _, p := range l.f.Owners.Of(socket) {
		id, err := process.Client(p.PID)
		// A server that has given up root since has a socket of root's.
		if err != nil || id.UID != socket.UID {
			continue
		}
		o := netfilter.Owner{Known: true, UID: id.UID, GID: id.GID, Groups: id.Groups, PID: p.PID}
		placeIn(&o, p.PID)
		// It may have moved after it made the socket.
		if n := len(o.CgroupIDs); socket.Cgroup != 0 && n > 0 && o.CgroupIDs[n-1] != socket.Cgroup {
			o.Cgroup, o.CgroupIDs = "", nil
		}
		return o
	}
	return netfilter.Owner{}
}

func listenersOf(f *facts.Facts, to netip.AddrPort) []facts.Socket {
	if f.Sockets == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(f.Sockets.Sockets), func(s facts.Socket) bool {
		return s.Network != "tcp" || s.State != facts.Listen || s.Local.Port() != to.Port() || !s.Serves(to.Addr())
	})
}

// placeIn notes the cgroups of a process (0: loopdoctor).
func placeIn(o *netfilter.Owner, pid int) {
	v2, netCls := process.Cgroups(pid)
	if !netCls {
		o.ClassID = new(uint32) // no hierarchy gives classes: that of all is 0
	}
	if !strings.HasPrefix(v2, "/") || strings.Contains(v2, "/..") { // outside of our cgroup namespace
		return
	}
	o.Cgroup = v2
	dir, _, err := process.CgroupDir(v2)
	if err != nil {
		return
	}
	// From its own directory up to the mount, which is the root if as many are left
	// as the path has parts.
	var ids []uint64
	parts := strings.FieldsFunc(v2, func(r rune) bool { return r == '/' })
	for i := 0; i <= len(parts); i++ {
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(dir, &st) != nil || unix.Statfs(dir, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			return
		}
		ids = append(ids, st.Ino)
		dir = path.Dir(dir)
	}
	slices.Reverse(ids)
	o.CgroupIDs = ids
}
