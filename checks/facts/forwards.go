package facts

import (
	"net/netip"
	"time"
)

// Forwards is where the programs that hold the port for somebody else lead, as far as
// their arguments and configuration say it. Looked at where a connection is closed at
// once, a reverse proxy says that it got no answer, or nothing listens.
type Forwards struct {
	Found   []Forward `json:"found"`
	Partial string    `json:"partial,omitempty"` // what could not be read

	// Looked at where the answer stays away: who listens at the far ends, and what they do.
	Owners *Owners `json:"owners,omitempty"`
	Work   *Work   `json:"work,omitempty"`
}

// Forward is one way on.
type Forward struct {
	PID     int            `json:"pid,omitempty"` // 0: its process is not seen; a configuration speaks of it
	Kind    string         `json:"kind"`          // "ssh -L", "ssh -D", "kubectl port-forward", "socat", "stunnel", "nginx", "caddy", "haproxy", "ide" …
	Program string         `json:"program"`
	Started time.Time      `json:"started,omitzero"`
	Held    bool           `json:"held,omitempty"`    // its process is seen to hold a listener on the port
	Gone    bool           `json:"gone,omitempty"`    // its listener went while loopdoctor looked
	Proxies bool           `json:"proxies,omitempty"` // it is a reverse proxy: it speaks HTTP with both sides
	Asked   bool           `json:"asked,omitempty"`   // it leads on only once it has got a request, in HTTP
	Own     int            `json:"own,omitempty"`     // it leads nowhere: it is told to answer with this status itself; 444: to close without an answer
	Maybe   bool           `json:"maybe,omitempty"`   // it depends on more than the path whether a request is led so
	From    string         `json:"from,omitempty"`    // what says so: "argument 3", "/etc/nginx/nginx.conf:12"
	Text    string         `json:"text,omitempty"`    // the words there, masked
	Listen  netip.AddrPort `json:"listen,omitzero"`   // where it was told to listen, of several addresses the first
	Both    bool           `json:"both,omitempty"`    // and at the loopback address of the other family: no address was named
	Only    netip.Prefix   `json:"only,omitzero"`     // it was told to take connections from there alone
	To      string         `json:"to,omitempty"`      // host:port, or a path, as written; empty: not known
	UDP     bool           `json:"udp,omitempty"`     // it leads on by UDP
	Through string         `json:"through,omitempty"` // the other machine, of ssh: "ann@shop"; the pod, of kubectl
	Port    uint16         `json:"port,omitempty"`    // of the other machine's sshd, where it is not 22
	Here    bool           `json:"here,omitempty"`    // the other machine is this one: an sshd of it has that port
	Strict  bool           `json:"strict,omitempty"`  // of ssh: it would have ended if it could not listen
	Far     []FarEnd       `json:"far,omitempty"`     // of To on this machine: each address it means
	Near    []FarEnd       `json:"near,omitempty"`    // who listens on that port at addresses that To does not mean
	Dials   int            `json:"dials,omitempty"`   // connections to To that have got no answer yet (SYN_SENT), where To is not on this machine
	Workers []uint32       `json:"workers,omitempty"` // users as which the processes run that lead on, where To is a UNIX socket
	Log     []string       `json:"log,omitempty"`     // lines that its log has about it, the newest last, masked
	LogFrom string         `json:"log_from,omitempty"`
	Fresh   bool           `json:"fresh,omitempty"` // the log grew while loopdoctor looked
}

// FarEnd is what is at one address to which a forwarder leads, on this machine.
type FarEnd struct {
	Addr    netip.AddrPort `json:"address,omitzero"`
	Unix    string         `json:"unix,omitempty"`
	Listens bool           `json:"listens"`
	Owner   string         `json:"owner,omitempty"` // who listens: "python3 (pid 4121)"

	// Of the file of a UNIX socket.
	Mode uint32 `json:"mode,omitempty"` // its permissions: 0o660
	UID  uint32 `json:"uid,omitempty"`  // whose it is

	// Where the answer stays away: its listeners, and the connections to it that wait to
	// be accepted or hold bytes which it has not read.
	Sockets []Socket `json:"sockets,omitempty"`
}

// Dead tells whether the way is known to end where nobody listens.
func (w *Forward) Dead() bool {
	for _, e := range w.Far {
		if e.Listens {
			return false
		}
	}
	return len(w.Far) > 0
}

// Barred tells whether a user, known not to be root, may not connect to a UNIX socket:
// that takes the right to write (unix(7)). Whether it is in the file's group is not seen.
func (e FarEnd) Barred(uid uint32) bool {
	switch {
	case e.Mode == 0 || uid == 0:
		return false
	case e.UID == uid:
		return e.Mode&0o200 == 0
	}
	return e.Mode&0o022 == 0
}

// Waits is how many connections to the far end its program has not accepted, and how
// many bytes it has not read of those that it has.
func (e FarEnd) Waits() (queued, unread int) {
	for _, s := range e.Sockets {
		switch {
		case s.State == Listen && s.Queue != nil:
			queued += int(s.Queue.Length)
		case s.State != Listen && s.Inode != 0:
			unread += int(s.RecvQ)
			if s.State == CloseWait && s.RecvQ > 0 {
				unread-- // the end of the other side counts as one
			}
		}
	}
	return queued, unread
}

// Place is where the far end is.
func (e FarEnd) Place() string {
	if e.Unix != "" {
		return e.Unix
	}
	return e.Addr.String()
}
