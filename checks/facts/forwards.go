package facts

import "net/netip"

// Forwards is where the programs that hold the port for somebody else lead, as far as
// their arguments and configuration say it. Looked at where the holder is a known
// forwarder or reverse proxy, and a connection to it does not work or is asked about.
type Forwards struct {
	Found   []Forward `json:"found"`
	Partial string    `json:"partial,omitempty"` // what could not be read
}

// Forward is one way on.
type Forward struct {
	PID     int            `json:"pid"`
	Kind    string         `json:"kind"` // "ssh -L", "ssh -D", "ssh -R", "kubectl port-forward", "socat", "nginx", "caddy", "haproxy", "ide" …
	Program string         `json:"program"`
	From    string         `json:"from"`              // what says so: "argument 3", "/etc/nginx/nginx.conf:12"
	Text    string         `json:"text"`              // the words there, masked
	Listen  netip.AddrPort `json:"listen,omitzero"`   // where it listens, or was told to
	To      string         `json:"to,omitempty"`      // host:port, or a path, as written
	Through string         `json:"through,omitempty"` // the other machine, of ssh: "user@host"; the pod, of kubectl
	Far     []FarEnd       `json:"far,omitempty"`     // of To on this machine: each address it means
	Log     []string       `json:"log,omitempty"`     // lines that its log has about it, the newest last, masked
	LogFrom string         `json:"log_from,omitempty"`
}

// FarEnd is what is at one address to which a forwarder leads, on this machine.
type FarEnd struct {
	Addr    netip.AddrPort `json:"address,omitzero"`
	Unix    string         `json:"unix,omitempty"`
	Listens bool           `json:"listens"`
	Owner   string         `json:"owner,omitempty"` // who listens: "python3 (pid 4121)"
	Errno   string         `json:"errno,omitempty"` // what a connect() met there, if one was tried
}
