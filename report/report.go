// Package report words what was found, once: it orders, counts and sanitises
// facts and diagnoses into one Report, which every format then only lays out.
// It refuses to judge (that is checks) and to look at the machine (that is
// checks/host); it writes to nothing but the writer it is given.
package report

import (
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Schema is the version of the JSON form. Within it members are only added.
const Schema = 1

// The exit statuses of a run. 2, bad usage, is found before there is a report.
const (
	ExitWorks   = 0 // every target works
	ExitFault   = 1 // a target is partly or wholly broken, and a cause is named
	ExitUnknown = 3 // a target could not be judged, or nothing explains its state
	ExitFailed  = 4 // loopdoctor itself failed
)

// Run is one run of loopdoctor: for each target what was seen and what was made
// of it. A missing diagnosis means that loopdoctor itself failed there.
type Run struct {
	Version   string
	Facts     []*facts.Facts
	Diagnoses []*checks.Diagnosis // as many as Facts, in the same order
}

// Report is everything there is to say about a run. docs/report.md explains
// each member. Every string in it is safe to print (see Clean).
type Report struct {
	Schema    int       `json:"schema"`
	Version   string    `json:"version"`
	Time      time.Time `json:"time"` // when the first look began
	ElapsedMS float64   `json:"elapsed_ms"`
	Status    int       `json:"exit_status"`
	Host      Host      `json:"host"`
	Loopback  Loopback  `json:"loopback"`
	Targets   []Target  `json:"targets"`

	facts []*facts.Facts // what it was made of; a report that was parsed has none
}

// ExitStatus is the status that the program ends with.
func (r *Report) ExitStatus() int { return r.Status }

// Host says where and as whom loopdoctor looked.
type Host struct {
	OS         string     `json:"os"`
	Kernel     string     `json:"kernel"`
	Arch       string     `json:"arch"`
	Vantage    string     `json:"vantage"`
	As         []Identity `json:"as"`
	LookedWith []string   `json:"looked_with"`
}

// Identity is a client as the kernel sees it.
type Identity struct {
	UID     uint32 `json:"uid"`
	User    string `json:"user"`    // empty when the uid has no name
	PID     int    `json:"pid"`     // 0: not one process, but the user
	Program string `json:"program"` // of that process
	Name    string `json:"name"`    // what sentences call it: "node (pid 4121)", "root", "www-data"
}

// Loopback is the state of loopback itself.
type Loopback struct {
	Interface *Interface  `json:"interface"` // null: there is none, or it was not seen
	Addresses []string    `json:"addresses"` // with their prefix lengths
	IPv6      *IPv6       `json:"ipv6"`
	Routes    []Route     `json:"routes"`
	Localhost *Resolution `json:"localhost"`        // null: nobody asked for that name
	Sockets   []Socket    `json:"sockets,omitzero"` // run without a target: every listener of this machine
}

// Interface is the loopback link.
type Interface struct {
	Name  string `json:"name"`
	Up    bool   `json:"up"`
	MTU   int    `json:"mtu"`
	Qdisc string `json:"qdisc"`
	XDP   bool   `json:"xdp"`
}

// IPv6 says whether the kernel speaks IPv6, and on loopback.
type IPv6 struct {
	Present  bool `json:"present"`
	Disabled bool `json:"disabled"`
}

// Route is how the kernel would send to one address.
type Route struct {
	To     string `json:"to"`
	Type   string `json:"type"`
	Device string `json:"device"`
	Source string `json:"source"`
	Errno  string `json:"errno"`
}

// Resolution is what a name resolves to.
type Resolution struct {
	Addresses []NamedAddress `json:"addresses"`
	Error     string         `json:"error"`
}

// NamedAddress is an address and where it comes from.
type NamedAddress struct {
	Address string `json:"address"`
	Source  string `json:"source"`
}

// Target is what the person asked about, and the answer. The run without a
// target has one of the name "loopback", host "" and port 0.
type Target struct {
	Target  string         `json:"target"` // "localhost:62893"
	Network string         `json:"network"`
	Host    string         `json:"host"`
	Port    uint16         `json:"port"`
	Intent  facts.Intent   `json:"intent"`
	Verdict checks.Verdict `json:"verdict"`
	Summary string         `json:"summary"`

	Addresses  []Address      `json:"addresses"`
	Sockets    []Socket       `json:"sockets"`
	Binds      []Bind         `json:"binds"`
	Symptoms   []Symptom      `json:"symptoms"`
	Causes     []Cause        `json:"causes"`
	Remarks    []Cause        `json:"remarks"`
	NotChecked []NotChecked   `json:"not_checked"`
	Passed     []string       `json:"passed"`
	Packets    []Conversation `json:"packets"`
	Notes      []string       `json:"notes"`          // what loopdoctor did or could not see, a sentence each
	Answers    []Answer       `json:"answers"`        // with a URL or --speak only: what the server answers
	Clients    []Client       `json:"clients"`        // what the name becomes for each kind of client; empty of a literal address
	Error      *ClientError   `json:"error,omitzero"` // with --error only: what the client or the server said
	Ran        *Ran           `json:"ran,omitzero"`   // of loopdoctor run only: the client, and what it met

	status int
}

// IsLoopback tells whether this is the run without a target.
func (t *Target) IsLoopback() bool { return t.Port == 0 }

// ClientError is what a client or a server said, and what was read from it.
type ClientError struct {
	Text    string `json:"text"`
	Client  string `json:"client"`
	Errno   string `json:"errno"`
	Symptom string `json:"symptom"` // empty: none that loopdoctor looks for, or it does not say why
	Means   string `json:"means"`
	Address string `json:"address"` // the one it names
	Met     *bool  `json:"met"`     // whether loopdoctor met the same; null: not known, or not looked for
}

// Address is one address of the target as one client met it.
type Address struct {
	Address   string        `json:"address"`
	Expected  bool          `json:"expected"`
	Source    string        `json:"source"`
	Outcome   facts.Outcome `json:"outcome"`
	Errno     string        `json:"errno"`
	Accepted  *bool         `json:"accepted"` // null: not known
	Stage     string        `json:"stage"`    // where it broke; empty when it did not
	ElapsedMS float64       `json:"elapsed_ms"`
	As        *uint32       `json:"as"`     // null: nobody dialled
	Client    string        `json:"client"` // the name of who did

	led   bool // a rule of NAT is seen to lead the connection off this machine's loopback
	unmet bool // it came up, and the server's side of it is not in this network namespace
}

// Socket is one socket, and who holds it.
type Socket struct {
	Network     string      `json:"network"`
	Address     string      `json:"address"`
	Port        uint16      `json:"port"`
	Remote      string      `json:"remote"` // "127.0.0.1:41230"; empty for listeners
	State       facts.State `json:"state"`
	UID         uint32      `json:"uid"`
	User        string      `json:"user"`
	AcceptQueue *Queue      `json:"accept_queue"`
	V6Only      bool        `json:"v6only"`
	Device      string      `json:"device"`
	Reach       *Reach      `json:"reach"` // of listeners, where the machine's addresses are known
	Processes   []Process   `json:"processes"`
}

// Queue is an accept queue; it is full when Length is greater than Limit.
type Queue struct {
	Length uint32 `json:"length"`
	Limit  uint32 `json:"limit"`
}

// Reach says who can reach a listener as far as addresses decide it. A filter
// may still say no.
type Reach struct {
	Scope     Scope    `json:"scope"`
	Addresses []string `json:"addresses"` // of this machine, through which others may come
}

// Scope is how far a listener can be reached from.
type Scope string

// The scopes.
const (
	ScopeMachine Scope = "machine" // this machine only
	ScopeEvery   Scope = "every"   // through every address of this machine
	ScopeAddress Scope = "address" // through the one address it is bound to
	ScopeDevice  Scope = "device"  // through one device only
)

// Process is a process that holds a socket.
type Process struct {
	PID         int               `json:"pid"`
	Name        string            `json:"name"`
	Exe         string            `json:"exe"`
	User        string            `json:"user"`
	Unit        string            `json:"unit"`
	Container   string            `json:"container"`
	Project     string            `json:"project"`  // where a failure was looked into: the directory of its project
	From        string            `json:"from"`     // the same: what it was started from
	Terminal    string            `json:"terminal"` // the same
	Parents     []Ancestor        `json:"parents"`  // the same: those above it, the nearest first
	Since       time.Time         `json:"since,omitzero"`
	Attribution facts.Attribution `json:"attribution"`
}

// Ancestor is a process above another.
type Ancestor struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// Bind is one attempt to take the port.
type Bind struct {
	Address   string `json:"address"`
	As        uint32 `json:"as"`
	Client    string `json:"client"` // the name of that client
	ReuseAddr bool   `json:"reuseaddr"`
	Errno     string `json:"errno"` // empty: the port can be taken
}

// Symptom is what a person feels.
type Symptom struct {
	Name        string     `json:"name"`
	Affects     []string   `json:"affects"`
	Stage       string     `json:"stage"`
	Summary     string     `json:"summary"`
	Evidence    []Evidence `json:"evidence"`
	ExplainedBy []string   `json:"explained_by"`
	WouldSettle string     `json:"would_settle"`
}

// Cause is what is wrong; a remark has the same shape.
type Cause struct {
	Name         string        `json:"name"`
	State        string        `json:"state"` // "active", "latent", "remark"
	Certainty    string        `json:"certainty"`
	Candidates   []string      `json:"candidates"`
	Affects      []string      `json:"affects"`
	Stage        string        `json:"stage"`
	Summary      string        `json:"summary"`
	Since        time.Time     `json:"since,omitzero"`
	Evidence     []Evidence    `json:"evidence"`
	Consequences []Consequence `json:"consequences"`
	WouldSettle  string        `json:"would_settle"`
	Fixes        []Fix         `json:"fixes"`
	Docs         string        `json:"docs"` // "docs/causes/<name>.md"
}

// Evidence is something that was seen, and where.
type Evidence struct {
	Source string `json:"source"`
	Text   string `json:"text"`
}

// Consequence is a finding that a cause explains.
type Consequence struct {
	Name    string   `json:"name"`
	Affects []string `json:"affects"`
}

// Fix is one way to heal.
type Fix struct {
	Do         string     `json:"do"`
	Paste      string     `json:"paste,omitempty"`
	Steps      [][]string `json:"steps"`
	Files      []File     `json:"files"`
	Undo       [][]string `json:"undo"`
	Elevated   bool       `json:"elevated"`
	Lasts      string     `json:"lasts"`
	Risk       string     `json:"risk"`
	Interrupts string     `json:"interrupts"`
	Guard      *Guard     `json:"guard"`
}

// File is content to add to a file.
type File struct {
	Path   string `json:"path"`
	Append string `json:"append" clean:"lines"`
}

// Guard names the process that must still be there.
type Guard struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started,omitzero"`
}

// NotChecked is a cause that could not be judged.
type NotChecked struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

// Conversation is what two endpoints said to each other on loopback.
type Conversation struct {
	Network string   `json:"network"`
	Client  string   `json:"client"`
	Server  string   `json:"server"`
	Packets []Packet `json:"packets"`
}

// Packet is one packet of a conversation.
type Packet struct {
	AtMS       float64 `json:"at_ms"` // since the first packet of the capture
	FromClient bool    `json:"from_client"`
	Flags      string  `json:"flags"` // in tcpdump's letters
	Length     int     `json:"length"`
	ICMP       string  `json:"icmp"`
	Out        bool    `json:"out"` // seen leaving
	In         bool    `json:"in"`  // seen arriving
}
