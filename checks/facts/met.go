package facts

import (
	"fmt"
	"net/netip"
)

// Met is what a client met that loopdoctor ran itself: its connects, as the kernel
// answered them, and how it ended.
type Met struct {
	Program   string    `json:"program"`                    // "curl"
	Args      []string  `json:"args"`                       // its command line, secrets masked
	PID       int       `json:"pid"`                        // it has ended
	Exit      int       `json:"exit"`                       // its exit status; 128 and the number of the signal that ended it
	Signal    string    `json:"signal,omitempty"`           // "SIGKILL"
	ElapsedMS float64   `json:"elapsed_ms"`                 // how long it ran
	Unwatched string    `json:"unwatched,omitempty"`        // why it could not be traced: then few of its connects were seen, or none
	Notes     []string  `json:"notes,omitempty"`            // what of it could not be seen: a sentence each
	Connects  []Attempt `json:"connects"`                   // to this machine, and to proxies, in their order; equal ones are counted
	Binds     []Attempt `json:"binds,omitempty"`            // bind() of a port that failed: it is a server that could not have it; To is what it wanted
	More      int       `json:"more,omitempty"`             // connects that found no place in the list
	Elsewhere int       `json:"elsewhere,omitempty"`        // connects to other machines: how many, and not where to
	Failed    int       `json:"failed_elsewhere,omitempty"` // of these, how many failed
}

// Attempt is one connect() of a client, or several that met the same.
type Attempt struct {
	To        netip.AddrPort `json:"to,omitzero"`
	Network   string         `json:"network"`        // "tcp", "udp" or "unix"
	Path      string         `json:"path,omitempty"` // of a UNIX socket
	PID       int            `json:"pid"`            // the client, or a process that it started
	Program   string         `json:"program"`
	From      netip.AddrPort `json:"from,omitzero"`
	Outcome   Outcome        `json:"outcome"`
	Errno     string         `json:"errno,omitempty"`
	AfterMS   float64        `json:"after_ms"`            // when, since the client's start
	ElapsedMS float64        `json:"elapsed_ms"`          // until the outcome, or until the client gave up
	Count     int            `json:"count"`               // how often
	Looked    bool           `json:"looked_up,omitempty"` // the client had looked up a name before
	Sent      uint64         `json:"sent,omitempty"`      // bytes
	Received  uint64         `json:"received,omitempty"`  // bytes
	End       EndedBy        `json:"end,omitempty"`
	Proxy     string         `json:"proxy,omitempty"` // the variable that names this address as a proxy: "http_proxy"
}

// EndedBy is who ended a connection.
type EndedBy string

// How a connection ended, as its socket stood when the client closed it.
const (
	EndedByClient EndedBy = "client"
	EndedByServer EndedBy = "server" // it had closed its side
	EndedByReset  EndedBy = "reset"
)

// Works tells whether the connection came up.
func (c Attempt) Works() bool { return c.Outcome.Works() }

// Mute tells whether the client got not one byte on a connection that came up and
// on which it had said something, or that the other side ended.
func (c Attempt) Mute() bool {
	return c.Works() && c.Network == "tcp" && c.Received == 0 && (c.Sent > 0 || c.End == EndedByServer || c.End == EndedByReset)
}

// Name is what a person calls the client: "curl (pid 4121)".
func (m *Met) Name() string { return fmt.Sprintf("%s (pid %d)", m.Program, m.PID) }

// Ended says how it ended: "ended with status 7", "was ended by SIGKILL".
func (m *Met) Ended() string {
	if m.Signal != "" {
		return "was ended by " + m.Signal
	}
	return fmt.Sprintf("ended with status %d", m.Exit)
}
