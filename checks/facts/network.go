package facts

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Names is what the name of the target resolves to, and by which rule.
type Names struct {
	Name      string       `json:"name"`            // the name that was looked up, without a final dot
	Hosts     HostsFile    `json:"hosts"`           // the lines of the hosts file that concern the name
	Switch    NameSwitch   `json:"switch"`          // the "hosts:" line of nsswitch.conf
	Servers   []NameServer `json:"servers"`         // from resolv.conf; only loopback ones were asked
	Addresses []NamedAddr  `json:"addresses"`       // what getaddrinfo gives a program, in its order
	Error     string       `json:"error,omitempty"` // why it gives nothing: "not found", "not known here"

	// Where a name server is asked first and stays silent: what the C library
	// gives once it has waited for it, and how long that takes.
	Later  []NamedAddr `json:"later,omitempty"`
	WaitMS float64     `json:"wait_ms,omitempty"`

	BusyBoxWget string `json:"busybox_wget,omitempty"` // the wget of the search path, where it is BusyBox's
}

// Unknown tells whether the name might resolve all the same: a source that was
// not asked has the last word.
func (n *Names) Unknown() bool { return n.Error == UnknownHere }

// UnknownHere is the Error of a name that only a server elsewhere could know.
const UnknownHere = "not known here"

// HostsFile is what /etc/hosts says about the name.
type HostsFile struct {
	Path    string      `json:"path"`
	Lines   []HostsLine `json:"lines"`
	Mode    uint32      `json:"mode,omitempty"`  // permission bits
	Open    bool        `json:"open,omitempty"`  // its last line has no end: what is appended would become part of it
	Error   string      `json:"error,omitempty"` // "missing", "permission denied"
	Changed time.Time   `json:"changed,omitzero"`
}

// HostsLine is one line that carries the name.
type HostsLine struct {
	Line int        `json:"line"` // 1 is the first
	Addr netip.Addr `json:"address"`
	Text string     `json:"text"` // the line, trimmed
}

// NameSwitch is the order of sources in nsswitch.conf(5).
type NameSwitch struct {
	Path    string    `json:"path"`
	Line    int       `json:"line,omitempty"` // 0: the file has no such line
	Text    string    `json:"text,omitempty"`
	Sources []string  `json:"sources"`         // "files", "dns", "myhostname", …; what glibc uses when the line is missing
	Error   string    `json:"error,omitempty"` // the file could not be read
	Changed time.Time `json:"changed,omitzero"`
}

// NameServer is one server of resolv.conf.
type NameServer struct {
	Addr    netip.AddrPort `json:"address"`
	Asked   bool           `json:"asked"`
	Answers []netip.Addr   `json:"answers,omitempty"`
	Rcode   string         `json:"rcode,omitempty"` // "NOERROR", "NXDOMAIN"
	Error   string         `json:"error,omitempty"`
}

// NamedAddr is one address that the name resolves to.
type NamedAddr struct {
	Addr   netip.Addr `json:"address"`
	Source string     `json:"source"` // "hosts file line 2", "name server 127.0.0.53", "myhostname"
}

// Interfaces is the state of the links.
type Interfaces struct {
	Loopback *Interface  `json:"loopback"` // nil: there is none
	Others   []Interface `json:"others,omitempty"`
	IPv6     IPv6State   `json:"ipv6"`
}

// Interface is one link.
type Interface struct {
	Name      string         `json:"name"`
	Index     int            `json:"index"`
	Up        bool           `json:"up"` // IFF_UP
	MTU       int            `json:"mtu"`
	Qdisc     string         `json:"qdisc,omitempty"`
	XDP       bool           `json:"xdp,omitempty"`        // a program is attached
	XDPMode   string         `json:"xdp_mode,omitempty"`   // as ip-link(8) takes it: "xdpgeneric", "xdpdrv", "xdpoffload"
	XDPID     uint32         `json:"xdp_id,omitempty"`     // of the program
	Kind      string         `json:"kind,omitempty"`       // "veth", "bridge", "tun", "wireguard" …; empty for hardware and lo
	NoCarrier bool           `json:"no_carrier,omitempty"` // up, and not running (IFF_RUNNING): no cable, nobody at the other end
	Peer      bool           `json:"peer,omitempty"`       // PointToPoint: whoever is at its other end, and nobody else
	Elsewhere bool           `json:"elsewhere,omitempty"`  // its other end is in another network namespace
	NotReady  []NotReady     `json:"not_ready,omitempty"`  // addresses that may not be used yet, or at all
	Traffic   *Traffic       `json:"traffic,omitempty"`    // of lo, where a connection was lost or its queueing is not the default
	Addresses []netip.Prefix `json:"addresses"`
}

// NotReady is an IPv6 address whose duplicate address detection (RFC 4862
// section 5.4) has not ended well.
type NotReady struct {
	Addr netip.Addr `json:"address"`
	Why  string     `json:"why"` // "tentative", "dadfailed"
}

// Traffic is the traffic control of one interface, tc(8).
type Traffic struct {
	Qdiscs  []Qdisc  `json:"qdiscs"`
	Filters []Filter `json:"filters"`
	Partial string   `json:"partial,omitempty"` // what could not be listed
}

// Root is the discipline that packets leave by; nil: not seen, or the default.
func (t *Traffic) Root() *Qdisc {
	if t != nil {
		for i := range t.Qdiscs {
			if t.Qdiscs[i].Parent == "root" {
				return &t.Qdiscs[i]
			}
		}
	}
	return nil
}

// Qdisc is one queueing discipline.
type Qdisc struct {
	Kind    string   `json:"kind"`              // "tbf", "netem", "clsact" …
	Parent  string   `json:"parent"`            // "root", "clsact", "ingress", or a class, "1:2"
	Options []string `json:"options,omitempty"` // as tc(8) takes them, where they can be told in full: "rate", "1000bit", …
	Full    bool     `json:"full,omitempty"`    // Options make it again as it is
	Drops   uint32   `json:"drops,omitempty"`   // since it was set up
	Backlog uint32   `json:"backlog,omitempty"` // bytes that wait
}

// Filter is one classifier.
type Filter struct {
	At       string   `json:"at"` // "ingress", "egress", "root"
	Priority uint32   `json:"priority"`
	Protocol string   `json:"protocol"` // "all", "ip", "ipv6"
	Kind     string   `json:"kind"`     // "bpf", "u32", "flower", "matchall" …
	Options  []string `json:"options,omitempty"`
	Full     bool     `json:"full,omitempty"`  // Options make it again as it is
	Name     string   `json:"name,omitempty"`  // of its BPF program
	Drops    *uint64  `json:"drops,omitempty"` // by its actions; nil: the kernel does not count them for this kind
}

// Holds tells whether the address is assigned to the interface.
func (i *Interface) Holds(a netip.Addr) bool {
	for _, p := range i.Addresses {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// IPv6State says whether the kernel speaks IPv6, and on lo.
type IPv6State struct {
	Present    bool `json:"present"`              // /proc/net/if_inet6 exists
	Disabled   bool `json:"disabled"`             // net.ipv6.conf.lo.disable_ipv6
	All        bool `json:"all,omitempty"`        // net.ipv6.conf.all.disable_ipv6
	Module     bool `json:"module,omitempty"`     // the parameter "disable" of the module: ipv6.disable=1
	BindV6Only bool `json:"bindv6only,omitempty"` // net.ipv6.bindv6only
}

// Routes is how the kernel would send this very flow.
type Routes struct {
	Lookups []Route `json:"lookups"` // one for each address
	Rules   []Rule  `json:"rules"`   // of both families, in their order
}

// Route is the kernel's answer to RTM_GETROUTE with protocol and destination port.
type Route struct {
	To     netip.Addr `json:"to"`
	Type   string     `json:"type,omitempty"` // "local", "unicast", "blackhole" … (RTN_*)
	Device string     `json:"device,omitempty"`
	Source netip.Addr `json:"source,omitzero"`
	Errno  string     `json:"errno,omitempty"` // the lookup itself gave this: "EINVAL" for a blackhole
	Table  []TableRow `json:"table"`           // what table local holds for it when the lookup is not local; null: not read
}

// TableRow is one row of table local that covers the address.
type TableRow struct {
	Prefix netip.Prefix `json:"prefix"`
	Type   string       `json:"type"` // "local", "blackhole", "unreachable", "prohibit", "throw", "unicast" …
	Device string       `json:"device,omitempty"`
	Via    netip.Addr   `json:"via,omitzero"`
	Metric uint32       `json:"metric,omitempty"`
	Hops   bool         `json:"hops,omitempty"` // it leads more than one way, which is not told here
}

// Rule is one routing policy rule (fib_rules).
type Rule struct {
	IPv6     bool         `json:"ipv6,omitempty"`
	Priority uint32       `json:"priority"`
	Action   string       `json:"action"` // "lookup", "blackhole", "unreachable", "prohibit"
	Table    uint32       `json:"table,omitempty"`
	Selector string       `json:"selector"`            // as ip-rule(8) takes it: "to 127.0.0.0/8 ipproto tcp dport 62893"
	Matches  []netip.Addr `json:"matches,omitempty"`   // addresses of the target that its selector covers
	Marked   []netip.Addr `json:"marked,omitempty"`    // those that it would cover if the packet carried its mark
	WithMark string       `json:"with_mark,omitempty"` // how the kernel would then send to the first of them: "unicast dev tun0", "EACCES"
	Passes   []netip.Addr `json:"passes,omitempty"`    // of both, those for which its table has no way: the kernel asks the next rule
	Text     string       `json:"text"`                // as "ip rule" prints it
}

// Dial is one connect().
type Dial struct {
	Addr      netip.Addr     `json:"address"`
	As        uint32         `json:"as"`               // the uid that connected
	AsPID     int            `json:"as_pid,omitempty"` // and the process, if one was named with --as
	From      netip.AddrPort `json:"from,omitzero"`
	Outcome   Outcome        `json:"outcome"`
	Errno     string         `json:"errno,omitempty"` // "ECONNREFUSED"
	ICMP      string         `json:"icmp,omitempty"`  // from the error queue: "3/3" (type/code)
	ElapsedMS float64        `json:"elapsed_ms"`
	Server    *ServerSide    `json:"server,omitempty"`
	NoServer  bool           `json:"no_server,omitempty"` // connected, and the server's side of it is not in this network namespace
	Late      bool           `json:"late,omitempty"`      // it connected only after loopdoctor had begun to look deeper
	CameUp    bool           `json:"came_up,omitempty"`   // an earlier one was refused: the server came up while loopdoctor looked
	Closed    string         `json:"closed,omitempty"`    // what came after the handshake, unasked: "end of file", "reset"
}

// Outcome is how a connect() ended.
type Outcome string

// The outcomes.
const (
	Connected   Outcome = "connected"
	Deferred    Outcome = "deferred" // TCP_DEFER_ACCEPT: the server waits for the first byte; it works
	Refused     Outcome = "refused"
	Timeout     Outcome = "timeout"     // nothing came back while loopdoctor waited
	Unreachable Outcome = "unreachable" // the kernel had no way to send it
	Denied      Outcome = "denied"      // EPERM, EACCES
	Failed      Outcome = "failed"      // another errno
	Skipped     Outcome = "skipped"     // --no-connect, or UDP
)

// HalfOpen tells whether the client is connected while the server's side is not
// seen to be: TCP_DEFER_ACCEPT and SYN cookies do that to a healthy connection,
// and the loss of the handshake's last packet does.
func (d Dial) HalfOpen() bool {
	return d.Outcome == Deferred || d.Outcome == Connected && d.NoServer
}

// Works tells whether the kernel completed the handshake.
func (o Outcome) Works() bool { return o == Connected || o == Deferred }

// ServerSide is the server's socket of our own connection.
type ServerSide struct {
	Local    netip.AddrPort `json:"local"`    // another port than the target's: something redirected us
	Accepted bool           `json:"accepted"` // the application holds it (its inode is not 0)
	State    string         `json:"state"`
	Inode    uint64         `json:"inode,omitempty"`
	Unacked  uint32         `json:"unacked,omitempty"` // bytes it has sent that our side has not acknowledged
	Unsent   uint32         `json:"unsent,omitempty"`  // of those, what was never sent: our side says that it has no room
	Room     *ReceiveRoom   `json:"room,omitempty"`    // of this end, where something is not acknowledged
	Unread   uint32         `json:"unread,omitempty"`  // bytes of ours that the application has not read; none are sent unless a question is put
	WaitedMS float64        `json:"waited_ms"`         // how long loopdoctor watched for the accept
}

// ReceiveRoom is what an end of a connection has for what arrives.
type ReceiveRoom struct {
	Buffer  uint32 `json:"buffer"`            // bytes of its receive buffer, as the kernel counts them (sk_rcvbuf)
	Dropped uint32 `json:"dropped,omitempty"` // packets that the socket threw away (sk_drops)
}

// Ledger is the change of the kernel's counters around SYNs sent to one
// address. The names are those of /proc/net/snmp, snmp6 and netstat, and lo.tx,
// lo.txdrop, lo.rx, and conntrack.drop and the like, of
// /proc/net/stat/nf_conntrack; those of IPsec as in /proc/net/xfrm_stat, and
// listener.drops is what the listener's own socket threw away (sk_drops). For IPv6 the Ip6 prefix is dropped, so both
// families read alike.
type Ledger struct {
	Addr     netip.Addr       `json:"address"`
	SYNs     int              `json:"syns"`               // how many SYNs were sent between the two looks
	Delta    map[string]int64 `json:"delta"`              // counters that moved
	Missing  []string         `json:"missing,omitempty"`  // counters this kernel does not have: "OutTransmits"
	HalfOpen int              `json:"half_open"`          // server side sockets in SYN_RECV towards our sources
	Outcomes map[string]int   `json:"outcomes,omitempty"` // errno or outcome of those SYNs, counted
}

// Packets is what was captured on lo while loopdoctor connected.
type Packets struct {
	Start         time.Time      `json:"start,omitzero"` // when the first packet of the capture was seen
	Conversations []Conversation `json:"conversations"`
	Dropped       uint32         `json:"dropped,omitempty"` // frames the kernel could not hand over
}

// Conversation is what two endpoints said to each other.
type Conversation struct {
	Network string         `json:"network"` // "tcp", "udp"
	Client  netip.AddrPort `json:"client"`
	Server  netip.AddrPort `json:"server"`
	Ours    bool           `json:"ours,omitempty"` // the client is loopdoctor
	Packets []Packet       `json:"packets"`
}

// Packet is one packet on lo; both copies that the kernel hands to a capture
// (on the way out and on the way in) are one.
type Packet struct {
	At         time.Duration `json:"at"`              // since the first packet of the capture
	FromClient bool          `json:"from_client"`     // direction
	Flags      string        `json:"flags,omitempty"` // TCP flags in tcpdump's letters: "S", "S.", "R.", "F."
	Length     int           `json:"length"`          // payload bytes
	ICMP       string        `json:"icmp,omitempty"`  // "3/3": an ICMP error that quotes this conversation
	Out        bool          `json:"out"`             // seen leaving
	In         bool          `json:"in"`              // seen arriving: missing means lost between the two

	// Header is what stands before the payload, from the Ethernet header on; of an
	// ICMP error what it quotes up to the ports. Addresses (the conversation has
	// them), checksums and options that identify somebody are blank. Empty in older
	// recordings, and where the addresses are not those of the conversation.
	Header []byte `json:"header,omitempty"`
}

// Bind is one bind() that was closed again at once, without listen().
type Bind struct {
	Addr      netip.Addr `json:"address"` // 0.0.0.0 and :: are the wildcards
	As        uint32     `json:"as"`
	AsPID     int        `json:"as_pid,omitempty"` // the process as which it was tried, if one was named with --as
	ReuseAddr bool       `json:"reuseaddr"`        // with SO_REUSEADDR
	Errno     string     `json:"errno,omitempty"`  // empty: the port can be taken
}

// Limits is the settings that decide who may use which port.
type Limits struct {
	UnprivilegedPortStart int      `json:"unprivileged_port_start"` // net.ipv4.ip_unprivileged_port_start
	EphemeralLow          int      `json:"ephemeral_low"`           // net.ipv4.ip_local_port_range
	EphemeralHigh         int      `json:"ephemeral_high"`
	Reserved              string   `json:"reserved,omitempty"`     // net.ipv4.ip_local_reserved_ports
	MayBindLow            []uint32 `json:"may_bind_low,omitempty"` // uids of Host.As with CAP_NET_BIND_SERVICE
	NoIPv6                bool     `json:"no_ipv6,omitempty"`      // socket(AF_INET6) gives EAFNOSUPPORT
	Seccomp               bool     `json:"seccomp,omitempty"`      // and this process is under a seccomp filter
}

// Ephemeral tells whether the kernel may give the port to a client.
func (l *Limits) Ephemeral(port uint16) bool {
	return int(port) >= l.EphemeralLow && int(port) <= l.EphemeralHigh
}

// IsReserved tells whether the port is kept from clients that do not ask for it
// by number. The list reads "5000,6000-6010".
func (l *Limits) IsReserved(port uint16) bool {
	for part := range strings.SplitSeq(l.Reserved, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
		to, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
		if err1 == nil && err2 == nil && uint64(port) >= from && uint64(port) <= to {
			return true
		}
	}
	return false
}

// Variable is one environment variable, its secrets masked.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Environment is what the client's environment says about where it connects
// to, or where it was started: names from a fixed list, secrets masked.
type Environment struct {
	From      string     `json:"from"` // "loopdoctor's own", "process 4121"
	Variables []Variable `json:"variables"`
}

// Get returns the value of a variable, and whether it is set.
func (e *Environment) Get(name string) (string, bool) {
	if e != nil {
		for _, v := range e.Variables {
			if v.Name == name {
				return v.Value, true
			}
		}
	}
	return "", false
}

// IsLocalhost tells whether RFC 6761 section 6.3 makes the name mean this
// machine, or systemd does: localhost, localhost.localdomain and what lies
// below them.
func IsLocalhost(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, base := range []string{"localhost", "localhost.localdomain"} {
		if name == base || strings.HasSuffix(name, "."+base) {
			return true
		}
	}
	return false
}
