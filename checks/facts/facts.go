// Package facts is what loopdoctor saw, as plain data: it can be written to a
// file, read on another machine and judged there. It refuses to look: it
// imports nothing that could open a socket, read a file or ask for the time.
package facts

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Schema is the version of the recorded form. A reader accepts this and older
// ones and refuses newer ones.
const Schema = 1

// Recording is what --record writes: the facts of each target of one run.
type Recording struct {
	Schema  int      `json:"facts_schema"`
	Version string   `json:"version"` // of the loopdoctor that looked
	Facts   []*Facts `json:"facts"`
}

// Group names a part of Facts that is looked at as a whole. A group is either
// there, or Absent says why not.
type Group string

// The groups, in the order in which a connection meets them.
const (
	GroupNames      Group = "names"      // what localhost resolves to
	GroupInterfaces Group = "interfaces" // lo, its addresses, those of the other interfaces
	GroupRoutes     Group = "routes"     // the route of this very flow, and the rules
	GroupDials      Group = "dials"      // what connect() met
	GroupLedger     Group = "ledger"     // where the kernel's counters lost the packet
	GroupPackets    Group = "packets"    // what crossed lo
	GroupSockets    Group = "sockets"    // every socket on the port
	GroupOwners     Group = "owners"     // the processes behind those sockets
	GroupBinds      Group = "binds"      // what bind() met
	GroupLimits     Group = "limits"     // port ranges and other settings
	GroupNamespaces Group = "namespaces" // listeners in other network namespaces
	GroupProxies    Group = "proxies"    // proxy variables of the client
	GroupListeners  Group = "listeners"  // every listener of this machine (run without a target)

	GroupFilters   Group = "filters"   // what the packet filters' rules do to our packets
	GroupConntrack Group = "conntrack" // connection tracking: how full it is, who answers

	GroupAnswers  Group = "answers"  // what the server said to a question of ours
	GroupWork     Group = "work"     // what the processes behind the port do
	GroupForwards Group = "forwards" // where those that hold the port for somebody else lead

	GroupSpare       Group = "spare"        // a free port near by
	GroupReusePort   Group = "reuseport"    // what bind() with SO_REUSEPORT met
	GroupCandidates  Group = "candidates"   // processes that have to do with the port and do not listen on it
	GroupUnits       Group = "units"        // units of the service manager that have to do with it
	GroupContainers  Group = "containers"   // containers that publish it
	GroupConfigs     Group = "configs"      // lines of configuration files about it
	GroupUnixSockets Group = "unix_sockets" // UNIX sockets that may be meant instead
	GroupEnvironment Group = "environment"  // environment variables of the client that bear on it
)

// Groups lists every group.
func Groups() []Group {
	return []Group{GroupNames, GroupInterfaces, GroupRoutes, GroupDials, GroupLedger, GroupPackets, GroupSockets,
		GroupOwners, GroupBinds, GroupLimits, GroupNamespaces, GroupProxies, GroupListeners, GroupFilters, GroupConntrack,
		GroupAnswers, GroupWork, GroupForwards,
		GroupSpare, GroupReusePort, GroupCandidates, GroupUnits, GroupContainers, GroupConfigs, GroupUnixSockets, GroupEnvironment}
}

// Why tells the two kinds of absence apart: "unknown" never decays to "no".
type Why string

// The two reasons for a group not to be there.
const (
	CouldNot     Why = "could not"       // the look was tried and did not succeed
	DidNotNeedTo Why = "did not need to" // nothing called for it
	NotOnThisOS  Why = "not on this system"
	NotWanted    Why = "not wanted" // a flag forbids it
)

// Absence says why a group is not there.
type Absence struct {
	Why    Why    `json:"why"`
	Reason string `json:"reason"`           // two to five words
	Remedy string `json:"remedy,omitempty"` // what would make it possible: "run with sudo"
}

// Facts is everything seen about one target, and about the machine as far as
// it matters to it.
type Facts struct {
	Time      time.Time         `json:"time"`       // when the look began
	ElapsedMS float64           `json:"elapsed_ms"` // how long it took
	Target    Target            `json:"target"`
	Host      Host              `json:"host"`
	Absent    map[Group]Absence `json:"absent,omitempty"`

	Names      *Names      `json:"names,omitempty"`
	Interfaces *Interfaces `json:"interfaces,omitempty"`
	Routes     *Routes     `json:"routes,omitempty"`
	Dials      []Dial      `json:"dials,omitempty"`
	Ledger     []Ledger    `json:"ledger,omitempty"`
	Packets    *Packets    `json:"packets,omitempty"`
	Sockets    *Sockets    `json:"sockets,omitempty"`
	Owners     *Owners     `json:"owners,omitempty"`
	Binds      []Bind      `json:"binds,omitempty"`
	Limits     *Limits     `json:"limits,omitempty"`
	Namespaces *Namespaces `json:"namespaces,omitempty"`
	Proxies    *Proxies    `json:"proxies,omitempty"`
	Listeners  *Sockets    `json:"listeners,omitempty"`

	Filters   *Filters   `json:"filters,omitempty"`
	Conntrack *Conntrack `json:"conntrack,omitempty"`

	Answers  []Answer  `json:"answers,omitempty"`
	Work     *Work     `json:"work,omitempty"`
	Forwards *Forwards `json:"forwards,omitempty"`

	Spare       []SparePort  `json:"spare,omitempty"`
	ReusePort   []Bind       `json:"reuseport,omitempty"` // with SO_REUSEPORT set; as the listener's user, and as each client
	Candidates  *Candidates  `json:"candidates,omitempty"`
	Units       *Units       `json:"units,omitempty"`
	Containers  *Containers  `json:"containers,omitempty"`
	Configs     *Configs     `json:"configs,omitempty"`
	UnixSockets *UnixSockets `json:"unix_sockets,omitempty"`
	Environment *Environment `json:"environment,omitempty"`
}

// Has tells whether a group was seen.
func (f *Facts) Has(g Group) bool {
	switch g {
	case GroupNames:
		return f.Names != nil
	case GroupInterfaces:
		return f.Interfaces != nil
	case GroupRoutes:
		return f.Routes != nil
	case GroupDials:
		return f.Dials != nil
	case GroupLedger:
		return f.Ledger != nil
	case GroupPackets:
		return f.Packets != nil
	case GroupSockets:
		return f.Sockets != nil
	case GroupOwners:
		return f.Owners != nil
	case GroupBinds:
		return f.Binds != nil
	case GroupLimits:
		return f.Limits != nil
	case GroupNamespaces:
		return f.Namespaces != nil
	case GroupProxies:
		return f.Proxies != nil
	case GroupListeners:
		return f.Listeners != nil
	case GroupFilters:
		return f.Filters != nil
	case GroupConntrack:
		return f.Conntrack != nil
	case GroupAnswers:
		return f.Answers != nil
	case GroupWork:
		return f.Work != nil
	case GroupForwards:
		return f.Forwards != nil
	case GroupSpare:
		return f.Spare != nil
	case GroupReusePort:
		return f.ReusePort != nil
	case GroupCandidates:
		return f.Candidates != nil
	case GroupUnits:
		return f.Units != nil
	case GroupContainers:
		return f.Containers != nil
	case GroupConfigs:
		return f.Configs != nil
	case GroupUnixSockets:
		return f.UnixSockets != nil
	case GroupEnvironment:
		return f.Environment != nil
	}
	return false
}

// Only returns a copy in which no group but the named ones is there. Target,
// Host and Absent stay.
func (f *Facts) Only(groups ...Group) *Facts {
	c := &Facts{Time: f.Time, ElapsedMS: f.ElapsedMS, Target: f.Target, Host: f.Host, Absent: f.Absent}
	for _, g := range groups {
		switch g {
		case GroupNames:
			c.Names = f.Names
		case GroupInterfaces:
			c.Interfaces = f.Interfaces
		case GroupRoutes:
			c.Routes = f.Routes
		case GroupDials:
			c.Dials = f.Dials
		case GroupLedger:
			c.Ledger = f.Ledger
		case GroupPackets:
			c.Packets = f.Packets
		case GroupSockets:
			c.Sockets = f.Sockets
		case GroupOwners:
			c.Owners = f.Owners
		case GroupBinds:
			c.Binds = f.Binds
		case GroupLimits:
			c.Limits = f.Limits
		case GroupNamespaces:
			c.Namespaces = f.Namespaces
		case GroupProxies:
			c.Proxies = f.Proxies
		case GroupListeners:
			c.Listeners = f.Listeners
		case GroupFilters:
			c.Filters = f.Filters
		case GroupConntrack:
			c.Conntrack = f.Conntrack
		case GroupAnswers:
			c.Answers = f.Answers
		case GroupWork:
			c.Work = f.Work
		case GroupForwards:
			c.Forwards = f.Forwards
		case GroupSpare:
			c.Spare = f.Spare
		case GroupReusePort:
			c.ReusePort = f.ReusePort
		case GroupCandidates:
			c.Candidates = f.Candidates
		case GroupUnits:
			c.Units = f.Units
		case GroupContainers:
			c.Containers = f.Containers
		case GroupConfigs:
			c.Configs = f.Configs
		case GroupUnixSockets:
			c.UnixSockets = f.UnixSockets
		case GroupEnvironment:
			c.Environment = f.Environment
		}
	}
	return c
}

// Without returns a copy that lacks the named groups.
func (f *Facts) Without(groups ...Group) *Facts {
	drop := map[Group]bool{}
	for _, g := range groups {
		drop[g] = true
	}
	var keep []Group
	for _, g := range Groups() {
		if !drop[g] {
			keep = append(keep, g)
		}
	}
	return f.Only(keep...)
}

// Host says where and as whom loopdoctor looked.
type Host struct {
	OS         string     `json:"os"`     // runtime.GOOS
	Kernel     string     `json:"kernel"` // release, "6.18.44"
	Arch       string     `json:"arch"`
	Vantage    string     `json:"vantage"`               // "host", "container shop-web (docker)", "pod shop/web-1", "ip netns blue", "network namespace 4026532204"
	Inside     Inside     `json:"inside,omitzero"`       // what the machine is itself inside of
	As         []Identity `json:"as"`                    // the clients whose view was taken, the first is the main one
	LookedWith []string   `json:"looked_with,omitempty"` // the looks that privilege allowed: "net_admin", "net_raw", "ptrace"
	Boot       time.Time  `json:"boot,omitzero"`
	Cwd        string     `json:"cwd,omitempty"` // where loopdoctor was started: a project directory, perhaps
}

// Identity is a client as the kernel sees it: a user, or one process. What it
// does not say of a process is as for loopdoctor itself.
type Identity struct {
	UID     uint32   `json:"uid"`
	User    string   `json:"user,omitempty"`  // empty when the uid has no name
	Named   bool     `json:"named,omitempty"` // with --as: it need not be the person who looks
	GID     uint32   `json:"gid,omitempty"`
	Groups  []uint32 `json:"groups,omitempty"`   // the supplementary ones
	PID     int      `json:"pid,omitempty"`      // of the process that was named; 0: a user was
	Program string   `json:"program,omitempty"`  // its name
	Cgroup  string   `json:"cgroup,omitempty"`   // its path in the hierarchy of version 2, if it is another than ours
	NetNS   uint64   `json:"netns,omitempty"`    // the number of its network namespace, if loopdoctor went there to look
	Mounts  bool     `json:"mounts,omitempty"`   // it sees other files than loopdoctor does: its own /etc/hosts
	Etc     string   `json:"etc,omitempty"`      // a directory whose files lie over those of /etc: /etc/netns/blue, ip-netns(8)
	LowPort bool     `json:"low_port,omitempty"` // the process has CAP_NET_BIND_SERVICE
	Lacks   []string `json:"lacks,omitempty"`    // what of it loopdoctor could not take on, and why: "its cgroup (frozen)"
}

// Is tells whether a dial or a bind was this client's: a user and a process of
// that user are two clients.
func (i Identity) Is(uid uint32, pid int) bool { return i.UID == uid && i.PID == pid }

// Name is what a person calls the client: "node (pid 4121)", "root", "www-data",
// "uid 1000".
func (i Identity) Name() string {
	switch {
	case i.PID != 0:
		return fmt.Sprintf("%s (pid %d)", cmp.Or(i.Program, "the process"), i.PID)
	case i.UID == 0:
		return "root"
	case i.User != "":
		return i.User
	}
	return fmt.Sprintf("uid %d", i.UID)
}

// Client finds who dialled or bound; a stranger to this list has no name.
func (h Host) Client(uid uint32, pid int) Identity {
	for _, i := range h.As {
		if i.Is(uid, pid) {
			return i
		}
	}
	return Identity{UID: uid, PID: pid}
}

// Intent is what the person wants of the address.
type Intent string

// The two intents.
const (
	Connect Intent = "connect" // why can nobody reach it?
	ToBind  Intent = "bind"    // why can my server not take it?
)

// Target is what the person asked about.
type Target struct {
	Raw       string    `json:"raw"`     // as it was typed
	Network   string    `json:"network"` // "tcp" or "udp"
	Host      string    `json:"host"`    // "localhost" for a bare port; as typed otherwise
	Port      uint16    `json:"port"`    // 0 only for the run without a target
	Intent    Intent    `json:"intent"`
	URL       string    `json:"url,omitempty"`   // when one was given, without its password
	Speak     Question  `json:"speak,omitempty"` // what the server is asked: by the URL's scheme, or --speak; empty: nothing
	TLS       bool      `json:"tls,omitempty"`   // and that inside TLS
	Named     bool      `json:"named"`           // the person wrote a host: of a bare port no single address is asked for
	Literal   bool      `json:"literal"`         // the host is an IP address
	Wildcard  bool      `json:"wildcard,omitempty"`
	Addresses []Address `json:"addresses"`

	Error *ClientError `json:"error,omitempty"` // what the client said: --error
	Met   *Met         `json:"met,omitempty"`   // what the client met that loopdoctor ran
}

// ClientError is the first line of what a client or a server said, and what
// could be read from it.
type ClientError struct {
	Text    string         `json:"text"`              // one line, its secrets masked
	Client  string         `json:"client,omitempty"`  // who speaks so: "Node", "curl", "Java", "Go" …
	Errno   string         `json:"errno,omitempty"`   // "ECONNREFUSED"; on Windows "WSAECONNREFUSED"
	Symptom string         `json:"symptom,omitempty"` // the symptom of that name; empty: one that loopdoctor does not look for
	Means   string         `json:"means"`             // in a few words, for the report: "the connection is refused"
	Failed  bool           `json:"failed,omitempty"`  // it got no connection, for a reason that it does not say
	Answer  bool           `json:"answer,omitempty"`  // it is about what the application answers, or that it does not
	Addr    netip.AddrPort `json:"address,omitzero"`  // the address that it names
	Names   string         `json:"names,omitempty"`   // the cause whose own words these are, if they belong to one alone: "browser-unsafe-port"
}

// Fits tells whether a symptom of that name is what the client met.
func (e *ClientError) Fits(symptom string) bool {
	if e == nil || symptom == "" {
		return false
	}
	return e.Symptom == symptom || e.Failed &&
		slices.Contains([]string{"name-not-resolved", "name-leads-elsewhere", "unreachable", "denied", "no-reply", "refused"}, symptom)
}

// Address is one address of the target.
type Address struct {
	Addr     netip.Addr `json:"address"`
	Source   string     `json:"source"`   // where it comes from: "named", "hosts file line 2", "loopback"
	Expected bool       `json:"expected"` // the person named it, or a socket here serves it, or nothing else could
}

// Expected lists the addresses that have to work.
func (t Target) Expected() []netip.Addr {
	var as []netip.Addr
	for _, a := range t.Addresses {
		if a.Expected {
			as = append(as, a.Addr)
		}
	}
	return as
}
