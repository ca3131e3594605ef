package facts

import "net/netip"

// Filters is what the packet filters of this network namespace say about the
// connections that failed or were diverted. Not the rules are kept, but what they
// do to these packets: the rules that decide, and those that cannot be judged.
type Filters struct {
	Engines []FilterEngine `json:"engines"`
	Walks   []FilterWalk   `json:"walks"`
	Traced  []FilterTrace  `json:"traced,omitempty"`
	Changed string         `json:"changed,omitempty"` // what was changed for a moment to trace, and is gone again; empty: nothing
	// Why nothing was traced although the rules alone did not settle it:
	// "--no-system-changes", "needs root"; empty: it was, or there was no need.
	NotTraced string `json:"not_traced,omitempty"`
	// Addresses of which the kernel was asked: it told the way of our packets, and no
	// rule of nf_tables ended it.
	Cleared []netip.Addr `json:"cleared,omitempty"`

	// For the cures.
	Managers []FilterManager `json:"managers,omitempty"`
	Boot     []BootLine      `json:"boot,omitempty"`

	Published []FilterWalk `json:"published,omitempty"` // how rules would translate the same packet if it came from outside

	Queues *PacketQueues `json:"queues,omitempty"` // who reads packets that rules queue; nil: not asked, or not seen
}

// PacketQueues is the queues of nfnetlink_queue that a program reads now.
type PacketQueues struct {
	Read []PacketQueue `json:"read"`
}

// PacketQueue is one of them.
type PacketQueue struct {
	Number  uint16 `json:"number"`
	Reader  string `json:"reader"`            // "suricata (pid 12)", or the number of its netlink socket where no process is known
	Waiting int    `json:"waiting,omitempty"` // packets that it has not judged
	Dropped int    `json:"dropped,omitempty"` // packets that found no room, or could not be handed to it, since it is there
}

// Reader returns who reads a queue; nil if nobody does.
func (q *PacketQueues) Reader(number uint16) *PacketQueue {
	for i := range q.Read {
		if q.Read[i].Number == number {
			return &q.Read[i]
		}
	}
	return nil
}

// FilterEngine is one packet filter of the kernel.
type FilterEngine struct {
	Name     string  `json:"name"` // "nf_tables", "ip_tables" and "ip6_tables" (the legacy ones)
	Tables   int     `json:"tables"`
	Chains   int     `json:"chains"`
	Rules    int     `json:"rules"`
	Opaque   int     `json:"opaque,omitempty"`   // rules with an expression that loopdoctor does not know, of those that a packet came to (in a legacy table: of all)
	NotRead  string  `json:"not_read,omitempty"` // why not, or not all of it: "not permitted"
	ReadInMS float64 `json:"read_in_ms"`
}

// Names of the engines (FilterEngine.Name, FilterRule.Engine).
const (
	NFTables  = "nf_tables"
	IPTables  = "ip_tables"
	IP6Tables = "ip6_tables"
)

// FilterRule is one rule, or the policy of a base chain, so that a person finds
// it again.
type FilterRule struct {
	Engine   string   `json:"engine"`
	Family   string   `json:"family"` // "ip", "ip6", "inet", "netdev"
	Table    string   `json:"table"`
	Chain    string   `json:"chain"`
	Hook     string   `json:"hook"` // of its base chain: "prerouting", "input", "output", "postrouting", "ingress", "egress"
	Priority int      `json:"priority"`
	Device   string   `json:"device,omitempty"`   // of a base chain at ingress or egress
	Path     []string `json:"path,omitempty"`     // chains from the base chain to this one, where it is another
	Handle   uint64   `json:"handle,omitempty"`   // nf_tables
	Number   int      `json:"number,omitempty"`   // its place in the chain, from 1 (iptables -L --line-numbers); 0: the policy
	Policy   bool     `json:"policy,omitempty"`   // not a rule: the policy of the base chain
	Text     string   `json:"text"`               // as nft(8) or iptables -S prints it: "tcp dport 62893 drop", "-A INPUT -p tcp -j DROP", "policy drop"
	Words    []string `json:"words,omitempty"`    // Text as an argument vector that makes it again (nft: after the chain; iptables: after -A CHAIN); empty: it cannot be told in full
	IPTables bool     `json:"iptables,omitempty"` // nf_tables: the chain belongs to iptables-nft, which prints it too
	Comment  string   `json:"comment,omitempty"`
	Packets  *uint64  `json:"packets,omitempty"` // its counter; nil: it has none
	Owner    string   `json:"owner,omitempty"`   // nf_tables: the program that owns the table (flag owner): "firewalld (pid 12)"
	Next     uint64   `json:"next,omitempty"`    // nf_tables: the handle of the rule behind it; 0: it is the last
	First    uint64   `json:"first,omitempty"`   // nf_tables: the handle of the first rule of its base chain; 0: there is none
}

// FilterWalk is the way of one packet through all rules, in the order in which
// the kernel asks them.
type FilterWalk struct {
	Addr   netip.Addr     `json:"address"` // of the target
	As     uint32         `json:"as"`
	AsPID  int            `json:"as_pid,omitempty"`
	Packet string         `json:"packet"` // one of Syn, SynAck and Ack, or of Data and DataBack
	From   netip.AddrPort `json:"from"`   // as the packet starts
	To     netip.AddrPort `json:"to"`

	Stops    []FilterStop   `json:"stops,omitempty"`    // the first decides; the others would stop it if those before did not
	Unsure   []FilterDoubt  `json:"unsure,omitempty"`   // rules that would decide it otherwise, and cannot be judged
	Diverts  []FilterDivert `json:"diverts,omitempty"`  // NAT
	Marks    []FilterMark   `json:"marks,omitempty"`    // rules that set the packet's mark at output: it is routed again
	Untracks []FilterRule   `json:"untracks,omitempty"` // notrack
	Partial  string         `json:"partial,omitempty"`  // from where on it could not be followed: "it leaves lo for eth0"
}

// The packets of a handshake.
const (
	Syn    = "SYN"
	SynAck = "SYN-ACK"
	Ack    = "ACK"
)

// What a connection carries once it is made: looked at where that is lost.
const (
	Data     = "DATA"        // from the client
	DataBack = "DATA-ANSWER" // from the server
)

// FilterStop is a rule that ends the packet's way.
type FilterStop struct {
	Rule    FilterRule `json:"rule"`
	Where   string     `json:"where"`             // "output" (output and postrouting), "wire" (netdev), "input" (prerouting and input)
	Verdict string     `json:"verdict"`           // "drop", "reject", "queue"
	With    string     `json:"with,omitempty"`    // reject: "tcp reset", "icmp port-unreachable" …; queue: "queue 3"
	Packets int        `json:"packets,omitempty"` // counter: by how much it moved with our SYNs
	SYNs    int        `json:"syns,omitempty"`    // of so many
}

// FilterDoubt is a rule that would decide, if it matched.
type FilterDoubt struct {
	Rule    FilterRule `json:"rule"`
	Where   string     `json:"where"`
	Verdict string     `json:"verdict"`
	Why     string     `json:"why"` // "limit rate 5/second", "expression osf is unknown", "random"
}

// FilterDivert is a translation of the packet's address or port.
type FilterDivert struct {
	Rule  FilterRule     `json:"rule"`
	Kind  string         `json:"kind"` // "redirect", "dnat", "snat", "masquerade", "tproxy"
	To    netip.AddrPort `json:"to"`   // where the packet then goes (for a source translation: comes from); port 0 or no address: as before
	Range bool           `json:"range,omitempty"`
	// How the kernel sends it from there: "local", "unicast dev eth0", "ENETUNREACH".
	Route string `json:"route,omitempty"`
	// A source on 127.0.0.0/8 may leave by that device (route_localnet); nil: not asked.
	RouteLocalnet *bool `json:"route_localnet,omitempty"`
	Listens       *bool `json:"listens,omitempty"` // somebody listens there; nil: not on this machine, or not seen
}

// FilterMark is a rule that marks the packet.
type FilterMark struct {
	Rule FilterRule `json:"rule"`
	Mark uint32     `json:"mark"`
}

// FilterTrace is what the kernel itself said of one packet of ours: the rules
// that gave a verdict to it, in their order.
type FilterTrace struct {
	Addr    netip.Addr `json:"address"`
	Packet  string     `json:"packet"`
	Rule    FilterRule `json:"rule"`
	Where   string     `json:"where"`
	Verdict string     `json:"verdict"`        // "drop", "accept", "queue"
	How     string     `json:"how"`            // "nftrace", "counter"
	With    string     `json:"with,omitempty"` // reject
}

// FilterManager is a program that writes rules on this machine.
type FilterManager struct {
	Name   string `json:"name"`             // "ufw", "firewalld", "docker", "iptables-nft" (what the command iptables is), "fail2ban", a VPN client …
	Active bool   `json:"active"`           // it is switched on or runs; otherwise it is only installed
	Detail string `json:"detail,omitempty"` // "ENABLED=yes in /etc/ufw/ufw.conf"
}

// BootLine is a line of a file that restores rules at boot, and that says what a
// deciding rule says.
type BootLine struct {
	Path string `json:"path"`
	Line int    `json:"line"`
	Text string `json:"text"`
	By   string `json:"by,omitempty"` // what reads the file: "nftables.service", "netfilter-persistent"
	On   bool   `json:"on,omitempty"` // and is switched on
}

// Conntrack is the connection tracking of this network namespace.
type Conntrack struct {
	Count int `json:"count"` // net.netfilter.nf_conntrack_count
	Max   int `json:"max"`   // nf_conntrack_max, for each namespace
	// Columns of /proc/net/stat/nf_conntrack that moved with the SYNs of one ledger,
	// the most of any: "insert_failed", "invalid". "drop" is always there, where they
	// were seen around our SYNs.
	Dropped    map[string]int `json:"dropped,omitempty"`
	Total      map[string]int `json:"total,omitempty"`   // and since boot
	Replies    []ReplyTuple   `json:"replies,omitempty"` // of the connections that were diverted, or may have been
	NotRead    string         `json:"not_read,omitempty"`
	LogLines   []string       `json:"log_lines,omitempty"`  // "nf_conntrack: table full, dropping packet"
	Namespaced bool           `json:"namespaced,omitempty"` // not the first network namespace: the limit can only be changed there
}

// ReplyTuple is who answers a connection of ours, as connection tracking has it:
// without NAT the mirror of what was dialled.
type ReplyTuple struct {
	Addr netip.Addr     `json:"address"`
	From netip.AddrPort `json:"from"` // our own end, as dialled
	By   netip.AddrPort `json:"by"`   // who answers
}

// Walk returns the way of a packet of a dial; nil if it was not looked at.
func (f *Filters) Walk(d Dial, packet string) *FilterWalk {
	if f != nil {
		for i, w := range f.Walks {
			if w.Addr == d.Addr && w.As == d.As && w.AsPID == d.AsPID && w.Packet == packet {
				return &f.Walks[i]
			}
		}
	}
	return nil
}

// Engine returns one engine; nil if nothing is known of it.
func (f *Filters) Engine(name string) *FilterEngine {
	if f != nil {
		for i := range f.Engines {
			if f.Engines[i].Name == name {
				return &f.Engines[i]
			}
		}
	}
	return nil
}
