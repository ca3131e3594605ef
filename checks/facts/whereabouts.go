package facts

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Where a server may be that does not listen on the port: what is known of it
// beside its sockets. All of this is looked at only when nothing serves an
// expected address.

// Candidates is the processes that have to do with the port, or with the
// project, without listening on the port.
type Candidates struct {
	Found    []Candidate `json:"found"`
	Complete bool        `json:"complete"` // arguments, environment and working directory of every process could be read
}

// Candidate is one of them, and why it is one.
type Candidate struct {
	Process
	Names     []Mention        `json:"names,omitempty"`       // where it names the port
	InProject bool             `json:"in_project,omitempty"`  // it runs in the directory loopdoctor was started in, or below
	Listens   []netip.AddrPort `json:"listens,omitempty"`     // TCP sockets that it listens on
	Unix      []string         `json:"unix,omitempty"`        // UNIX sockets that it listens on, by path
	Sockets   bool             `json:"sockets,omitempty"`     // its sockets could be looked at: without, empty lists say nothing
	Told      bool             `json:"told,omitempty"`        // it names a TCP port that it listens on: it is where it was told to be
	Restarts  int              `json:"restarts,omitempty"`    // how often its place was taken by a new process while loopdoctor looked
	OOMKills  int64            `json:"oom_kills,omitempty"`   // processes of its cgroup that were killed meanwhile, for want of memory
	Reaped    bool             `json:"reaped,omitempty"`      // its parent has had children before that ended
	ParentOf  int              `json:"parent_of,omitempty"`   // pid of another candidate that it started
	Gone      bool             `json:"gone,omitempty"`        // it ended while loopdoctor looked
	Since     time.Time        `json:"parent_since,omitzero"` // when its parent was started
}

// Mention is a place where a process names the port.
type Mention struct {
	Where string `json:"where"`          // "argument 4", "environment", "working directory"
	Text  string `json:"text"`           // "--port=62893", "PORT=62893", its secrets masked
	Sure  bool   `json:"sure,omitempty"` // it can only mean where to listen: a bare 62893 may mean anything
}

// waits are programs with which a shell waits for a server in a loop.
var waits = []string{"nc", "ncat", "curl", "wget", "telnet", "ss", "lsof", "pg_isready", "redis-cli", "mysqladmin", "grpcurl"}

// Loops tells whether it stands in the loop of a shell: what it names is started
// over and over. A loop that waits for the port is none of these.
func (m Mention) Loops() bool {
	words := strings.Fields(m.Text)
	return (slices.Contains(words, "while") || slices.Contains(words, "until")) &&
		!slices.ContainsFunc(words, func(w string) bool { return slices.Contains(waits, w) })
}

// Units is the units of a service manager that have to do with the port.
type Units struct {
	From    string `json:"from"`              // "systemd", "systemd --user", "unit files", "supervisord"
	Partial string `json:"partial,omitempty"` // what could not be seen
	Units   []Unit `json:"units"`
}

// Unit is one of them.
type Unit struct {
	Name      string    `json:"name"`
	Manager   string    `json:"manager,omitempty"` // "systemd", "systemd --user", "supervisord"
	About     string    `json:"about"`             // how it concerns the port: "ListenStream=62893", "ExecStart names 62893", "usual owner of port 5432"
	Names     bool      `json:"names,omitempty"`   // its own configuration makes it serve the port
	UID       uint32    `json:"uid,omitempty"`     // of the user whose manager it is; 0: the system's, or root's
	File      string    `json:"file,omitempty"`
	Config    string    `json:"config,omitempty"` // of supervisord: what it was started with
	State     string    `json:"state,omitempty"`  // ActiveState: "active", "failed", "activating", "inactive"; empty: not known
	Sub       string    `json:"sub,omitempty"`    // SubState: "running", "auto-restart", "dead", "listening"
	Result    string    `json:"result,omitempty"` // "exit-code", "start-limit-hit", "oom-kill", "trigger-limit-hit"
	Exit      int       `json:"exit,omitempty"`   // exit status or signal of the main process
	Signal    bool      `json:"signal,omitempty"` // it is a signal
	Restarts  int       `json:"restarts,omitempty"`
	MainPID   int       `json:"main_pid,omitempty"`
	Since     time.Time `json:"since,omitzero"` // of the state
	Enabled   string    `json:"enabled,omitempty"`
	Because   string    `json:"because,omitempty"`  // in the manager's words: "Exited too quickly"
	Triggers  string    `json:"triggers,omitempty"` // of a socket unit: the service that it starts
	Log       []string  `json:"log,omitempty"`      // its last lines, the oldest first, secrets masked
	LogFrom   string    `json:"log_from,omitempty"` // "journal", "/var/log/nginx/error.log"
	LogAbsent string    `json:"log_absent,omitempty"`
}

// Configs is lines of configuration files that say where a server listens.
type Configs struct {
	Lines   []ConfigLine `json:"lines"`
	Partial string       `json:"partial,omitempty"` // files that could not be read
}

// ConfigLine is one line, quoted. Nothing else of its file is kept.
type ConfigLine struct {
	Program  string     `json:"program"` // "nginx", "apache", "compose", "systemd", ".env" …
	File     string     `json:"file"`
	Line     int        `json:"line"`                // 1 is the first
	Text     string     `json:"text"`                // the line, trimmed and masked
	Addr     netip.Addr `json:"address,omitzero"`    // where it makes the server listen; a wildcard as such; zero: the program's default
	Host     string     `json:"host,omitempty"`      // a name that stands where an address could
	Port     uint16     `json:"port,omitempty"`      // 0: the line has none
	LastPort uint16     `json:"last_port,omitempty"` // of a range
	UDP      bool       `json:"udp,omitempty"`
	Unix     string     `json:"unix,omitempty"`     // a UNIX socket instead
	Off      bool       `json:"off,omitempty"`      // the line switches TCP off: "skip-networking", "port 0"
	Bad      string     `json:"bad,omitempty"`      // the port's value is no port: "3000;"
	V6Only   *bool      `json:"v6only,omitempty"`   // nginx: ipv6only=
	Device   string     `json:"device,omitempty"`   // BindToDevice=
	Project  bool       `json:"project,omitempty"`  // the file lies in the current directory, or in a process's
	Upstr    bool       `json:"upstream,omitempty"` // a client's line: it names where to connect to, not where to listen
}

// UnixSockets is the UNIX sockets that could be meant instead of the port.
type UnixSockets struct {
	Found []UnixSocket `json:"found"`
}

// UnixSocket is one that somebody listens on.
type UnixSocket struct {
	Path    string           `json:"path"` // an abstract name begins with @
	Inode   uint64           `json:"inode"`
	About   string           `json:"about"` // "named after the port", "usual socket of mysql"
	PID     int              `json:"pid,omitempty"`
	Program string           `json:"program,omitempty"`
	Listens []netip.AddrPort `json:"listens,omitempty"` // TCP sockets that its process listens on; says nothing without PID
}

// SparePort is a port that was bound and given back: a free one near the target's,
// or, where the target is every address, the target's own on other addresses.
type SparePort struct {
	Port  uint16       `json:"port"`
	As    uint32       `json:"as"`        // by whom it was bound
	Addrs []netip.Addr `json:"addresses"` // on these addresses, with and without SO_REUSEADDR
}
