package facts

import (
	"net/netip"
	"path"
	"slices"
	"time"
)

// Sockets is every socket that has to do with the port, in this network
// namespace.
type Sockets struct {
	From    string   `json:"from"`              // "sock_diag" or "/proc/net/tcp"
	Partial string   `json:"partial,omitempty"` // what this source cannot show
	Sockets []Socket `json:"sockets"`

	Temporary *PortUse `json:"temporary,omitempty"` // looked at only where a client found no temporary port
}

// PortUse is how the temporary ports of this network namespace are used, for
// TCP and whatever the far end.
type PortUse struct {
	Ports    int        `json:"ports"`     // how many of them some socket has
	Sockets  int        `json:"sockets"`   // that have one
	TimeWait int        `json:"time_wait"` // of these
	Users    []PortUser `json:"users"`     // who holds most of the others, a few
}

// PortUser is a process, or a user whose process could not be seen.
type PortUser struct {
	UID     uint32   `json:"uid"`
	Process *Process `json:"process,omitempty"`
	Sockets int      `json:"sockets"`
}

// State is a TCP state; a UDP socket is Bound or Established.
type State string

// The states, in ss(8)'s words.
const (
	Listen      State = "listen"
	Bound       State = "bound" // bind() without listen(): TCP_BOUND_INACTIVE
	Established State = "established"
	SynSent     State = "syn-sent"
	SynRecv     State = "syn-recv"
	FinWait1    State = "fin-wait-1"
	FinWait2    State = "fin-wait-2"
	TimeWait    State = "time-wait"
	CloseWait   State = "close-wait"
	LastAck     State = "last-ack"
	Closing     State = "closing"
	Close       State = "close"
)

// Socket is one socket as the kernel knows it.
type Socket struct {
	Network string         `json:"network"` // "tcp", "udp"
	State   State          `json:"state"`
	Local   netip.AddrPort `json:"local"` // an IPv6 wildcard that is not V6Only serves IPv4 too
	Remote  netip.AddrPort `json:"remote,omitzero"`
	UID     uint32         `json:"uid"`
	User    string         `json:"user,omitempty"` // its name; looked up only where no process is seen
	Inode   uint64         `json:"inode"`          // 0: no process holds it (yet, or any more)
	Cgroup  uint64         `json:"cgroup,omitempty"`
	V6Only  bool           `json:"v6only,omitempty"`
	Device  string         `json:"device,omitempty"` // SO_BINDTODEVICE
	Queue   *Queue         `json:"accept_queue,omitempty"`
	RecvQ   uint32         `json:"recv_q,omitempty"`   // bytes not read yet; not for listeners
	SendQ   uint32         `json:"send_q,omitempty"`   // bytes of TCP that the other end has not acknowledged; not for listeners
	TimerMS int64          `json:"timer_ms,omitempty"` // until a TIME_WAIT socket goes
}

// Queue is an accept queue. It is full when Length is greater than Limit.
type Queue struct {
	Length uint32 `json:"length"`
	Limit  uint32 `json:"limit"`
}

// Full tells whether the kernel drops the next SYN.
func (q *Queue) Full() bool { return q != nil && q.Length > q.Limit }

// Serves tells whether a connection to the address would reach this listener:
// the family, the address and the device have to fit.
func (s *Socket) Serves(a netip.Addr) bool {
	// An address of one link alone cannot be bound without its device (ipv6(7)).
	ofLink := a.IsLinkLocalUnicast() && s.Local.Addr() == a
	if s.Device != "" && s.Device != "lo" && !ofLink {
		return false
	}
	return s.Covers(a)
}

// Covers is Serves without regard to the device.
func (s *Socket) Covers(a netip.Addr) bool {
	l := s.Local.Addr()
	switch {
	case l == a:
		return true
	case l.Is4In6():
		return l.Unmap() == a
	case l.Is4() && l.IsUnspecified():
		return a.Is4()
	case l.Is6() && l.IsUnspecified():
		return a.Is6() || !s.V6Only
	}
	return false
}

// Owners is the processes that hold sockets on the port.
type Owners struct {
	Processes []Process           `json:"processes"`         // each one once, the oldest first
	Holders   map[uint64][]Holder `json:"holders"`           // by inode of the socket
	Complete  bool                `json:"complete"`          // every process could be looked into
	Visible   bool                `json:"visible,omitempty"` // every process that can be seen from here could; others may be outside our PID namespace
}

// Holder links a socket to a process.
type Holder struct {
	PID         int         `json:"pid"`
	FD          int         `json:"fd,omitempty"`
	Attribution Attribution `json:"attribution"`
}

// Attribution says how a process was found: only the first one proves.
type Attribution string

// The ways to attribute a socket to a process.
const (
	ByDescriptor Attribution = "descriptor" // an open file descriptor of that process
	ByCgroup     Attribution = "cgroup"     // the only process of the socket's cgroup
	ByNamespace  Attribution = "namespace"  // it lives in that network namespace
)

// Process is one process.
type Process struct {
	PID       int       `json:"pid"`
	PPID      int       `json:"ppid"`
	Name      string    `json:"name"`           // comm
	Exe       string    `json:"exe,omitempty"`  // empty: could not be read
	Args      []string  `json:"args,omitempty"` // secrets masked
	UID       uint32    `json:"uid"`
	User      string    `json:"user,omitempty"`
	Unit      string    `json:"unit,omitempty"`      // systemd unit, from the cgroup path
	Container string    `json:"container,omitempty"` // engine and short id, from the cgroup path
	Cwd       string    `json:"cwd,omitempty"`
	Deleted   string    `json:"deleted,omitempty"` // what of it is gone from the disk: "its program", "its directory"
	State     string    `json:"state,omitempty"`   // the letter of /proc/PID/stat: R S D T t Z
	Frozen    bool      `json:"frozen,omitempty"`
	Tracer    int       `json:"tracer,omitempty"` // pid of the debugger
	TracedBy  string    `json:"traced_by,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	Netns     uint64    `json:"netns,omitempty"` // inode of its network namespace, when it could be read
	Me        bool      `json:"me,omitempty"`    // an ancestor of loopdoctor, or loopdoctor

	// Where it came from, and what hangs on it: looked at on failure only, since
	// it takes a look at other processes and at directories.
	Parents  []Ancestor `json:"parents,omitempty"`  // the nearest first, six at most
	Terminal string     `json:"terminal,omitempty"` // "pts/3"
	From     string     `json:"from,omitempty"`     // what it was started from, recognised in those above it: "npm run dev, tmux"
	Project  string     `json:"project,omitempty"`  // the nearest directory at or above Cwd that holds a go.mod, a .git …
	Children int        `json:"children,omitempty"`
}

// Ancestor is a process above another.
type Ancestor struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// forwarders are programs that accept a connection for somebody else: what they
// do after the accept says something about the far end only.
var forwarders = []string{"docker-proxy", "rootlesskit-doc", "rootlessport", "rootlessport-ch", "rootlesskit", "slirp4netns", "pasta", "pasta.avx2", "passt", "passt.avx2", "conmon", "dockerd", "ssh", "kubectl", "socat",
	"wslrelay.exe", "com.docker.backend", "limactl", "gvproxy", "code", "haproxy", "stunnel", "stunnel4", "systemd-socket-proxyd"}

// Forwards tells whether the process is a program known to forward.
func (p Process) Forwards() bool {
	return slices.Contains(forwarders, p.Name) || slices.Contains(forwarders, path.Base(p.Exe))
}

// IsServiceManager tells whether the process is a manager that listens for its
// services: systemd, as the system's first process or as a user's.
func (p Process) IsServiceManager() bool {
	return p.Name == "systemd" || path.Base(p.Exe) == "systemd"
}

// Halted says why a process cannot run, in a few words; empty if it can. A
// frozen one shows the state of a sleeper.
func (p Process) Halted() string {
	switch {
	case p.State == "t" || p.Tracer != 0 && p.State == "T":
		return "halted by a debugger"
	case p.State == "T":
		return "stopped"
	case p.Frozen:
		return "frozen"
	}
	return ""
}

// Of returns the processes that hold the socket, the oldest first.
func (o *Owners) Of(s Socket) []Process {
	if o == nil || s.Inode == 0 {
		return nil
	}
	var ps []Process
	for _, h := range o.Holders[s.Inode] {
		if p := o.Process(h.PID); p != nil {
			ps = append(ps, *p)
		}
	}
	return ps
}

// Seen tells whether the holders of the socket were found by their descriptors:
// nothing else proves that they hold it.
func (o *Owners) Seen(s Socket) bool {
	return o != nil && len(o.Holders[s.Inode]) > 0 && !slices.ContainsFunc(o.Holders[s.Inode], func(h Holder) bool { return h.Attribution != ByDescriptor })
}

// Process returns the process with that PID, or nil.
func (o *Owners) Process(pid int) *Process {
	if o == nil {
		return nil
	}
	for i := range o.Processes {
		if o.Processes[i].PID == pid {
			return &o.Processes[i]
		}
	}
	return nil
}

// Namespaces is what listens on the port in other network namespaces.
type Namespaces struct {
	Mine    uint64      `json:"mine"`              // inode that names ours
	Seen    int         `json:"seen"`              // how many others were looked into
	Partial string      `json:"partial,omitempty"` // what could not be looked into
	Found   []Namespace `json:"found"`             // those with a listener on the port
}

// Namespace is one other network namespace with a listener on the port.
type Namespace struct {
	ID        uint64    `json:"id"`             // inode that names it
	Name      string    `json:"name,omitempty"` // of "ip netns"
	Room      Room      `json:"room,omitzero"`  // whose it is
	Listeners []Socket  `json:"listeners"`
	Processes []Process `json:"processes"` // some process that lives there; the listener's owner when it could be seen
	Proven    bool      `json:"proven"`    // the owner was found by its descriptor
}
