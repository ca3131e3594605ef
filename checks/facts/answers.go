package facts

import (
	"net/netip"
	"time"
)

// Answer is what came of one question that was put to the server over a connection
// of its own. Questions are put only where the person gave a URL, or --speak: a probe
// sends no byte else. Each is harmless: nothing logs in, nothing changes.
type Answer struct {
	Addr      netip.Addr     `json:"address"`
	As        uint32         `json:"as"`
	AsPID     int            `json:"as_pid,omitempty"` // with --as PID: as which process
	From      netip.AddrPort `json:"from,omitzero"`
	Question  Question       `json:"question"`
	TLS       bool           `json:"tls,omitempty"`      // it was put inside TLS
	With      string         `json:"with,omitempty"`     // what is special about it: "Host: 127.0.0.1:62893"; empty: it is as the client puts it
	Protocol  string         `json:"protocol,omitempty"` // that of the answer: "http/1.1", "h2", "tls", "ssh", "redis" …; empty: none came, or it is of none that is known
	First     string         `json:"first,omitempty"`    // the first bytes of it, quoted as Go quotes strings; 96 bytes at most
	Bytes     int            `json:"bytes"`              // how many came, as far as they were read
	Sent      int            `json:"sent"`               // bytes of the question
	Unacked   int            `json:"unacked,omitempty"`  // of these, what the server's end of the connection has not acknowledged at the end of the wait
	Unsent    int            `json:"unsent,omitempty"`   // of those, what was never sent: the window that the server's end announced does not let it
	Room      *ReceiveRoom   `json:"room,omitempty"`     // of our own end, where something is not acknowledged
	FirstMS   float64        `json:"first_ms,omitempty"` // from the end of the question to the first byte
	ElapsedMS float64        `json:"elapsed_ms"`         // from the question, TLS before it included, to the end of the wait
	End       End            `json:"end"`
	Errno     string         `json:"errno,omitempty"`  // of the connect, where there was none to speak over
	Server    *ServerSide    `json:"server,omitempty"` // the server's socket at the end of the wait
	HTTP      *HTTPAnswer    `json:"http,omitempty"`
	Handshake *Handshake     `json:"handshake,omitempty"` // of TLS
	DNS       *DNSAnswer     `json:"dns,omitempty"`
	Says      string         `json:"says,omitempty"` // a banner, or the text of an error, one line: "OpenSSH_9.2p1", "-DENIED Redis is running in protected mode"

	// Of further questions, and of what else was looked at because of the answer.
	To      netip.AddrPort `json:"to,omitzero"`        // where it was put, if that is not the target: where a redirect leads
	Log     []string       `json:"log,omitempty"`      // what the server wrote into its log while it answered, the telling lines, masked
	LogFrom string         `json:"log_from,omitempty"` // the file, or "journal"
	Access  []AccessLine   `json:"access,omitempty"`   // lines of access lists that concern the server
}

// AccessLine is a line of a file that says who may connect: hosts.deny.
type AccessLine struct {
	From string `json:"from"` // "/etc/hosts.deny:3"
	Text string `json:"text"`
}

// Question is a protocol in which the server is spoken to.
type Question string

// What Answer.With says of further questions: each of them differs from the one that
// the client puts in one thing.
const (
	WithHost      = "Host: "              // and another value of this field
	WithCookie    = "a Cookie of 20 kB"   // as much as browsers have for localhost after a while
	WithPreflight = "a preflight"         // OPTIONS, as a page of another site sends it (CORS, private network access)
	WithRedirect  = "where it redirects"  // the same question at Answer.To
	WithAgain     = "once more"           // whether it is slow again
	WithStartup   = "a StartupMessage"    // of PostgreSQL: it says to that what is wrong with itself, before a login
	WithLog       = "again, with its log" // the same question once more, while the server's log is watched
)

// The questions.
const (
	AskNothing    Question = "nothing" // wait for what the server says by itself
	AskHTTP       Question = "http"    // GET of HTTP/1.1
	AskH2         Question = "h2"      // the preface of HTTP/2 (RFC 9113 section 3.4); inside TLS by ALPN
	AskWebSocket  Question = "websocket"
	AskTLS        Question = "tls" // a ClientHello
	AskRedis      Question = "redis"
	AskPostgreSQL Question = "postgresql"
	AskMySQL      Question = "mysql"
	AskSMTP       Question = "smtp"
	AskSSH        Question = "ssh"
	AskDNS        Question = "dns"
	AskGuess      Question = "guess" // of a target only: nothing, then HTTP, then TLS, until something answers
)

// ToSettle begins Answer.With of a second question, which is put where the answer to
// the first is not in its protocol.
const ToSettle = "to settle it: "

// End is how the wait for an answer ended.
type End string

// The ends.
const (
	Answered  End = "answered"    // it came as a whole, or as much of it as is needed
	Silence   End = "silence"     // nothing came while loopdoctor waited
	Stalled   End = "stalled"     // it began, and did not end while loopdoctor waited
	EndOfFile End = "end of file" // the server closed; Bytes tells whether it said something before
	Reset     End = "reset"
	NotAsked  End = "not asked" // there was no connection to speak over
)

// HTTPAnswer is the head of an HTTP response, and the first line of its body.
type HTTPAnswer struct {
	Status  int      `json:"status"` // 200
	Reason  string   `json:"reason,omitempty"`
	Headers []Header `json:"headers,omitempty"` // of a fixed list, masked: Server, Via, Location, Content-Type …
	Body    string   `json:"body,omitempty"`    // the first line with words in it, without its tags, 200 bytes at most
}

// Header is one header field.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Get returns a header field; empty if it is not there. The name is as in the list.
func (h *HTTPAnswer) Get(name string) string {
	if h != nil {
		for _, x := range h.Headers {
			if x.Name == name {
				return x.Value
			}
		}
	}
	return ""
}

// Handshake is what a TLS handshake came to.
type Handshake struct {
	Version      string        `json:"version,omitempty"` // "TLS 1.3"; empty: it did not come to pass
	ALPN         string        `json:"alpn,omitempty"`
	Alert        string        `json:"alert,omitempty"`        // that the server sent: "handshake_failure"
	Error        string        `json:"error,omitempty"`        // why it did not come to pass
	Certificates []Certificate `json:"certificates,omitempty"` // the server's own first
	NotTrusted   string        `json:"not_trusted,omitempty"`  // why a client here refuses it; empty: it does not
	ForHost      bool          `json:"for_host"`               // it is for the host of the target
	TrustedBy    []string      `json:"trusted_by,omitempty"`   // variables of the client by which some programs trust it all the same: "NODE_EXTRA_CA_CERTS"
	WantsClient  bool          `json:"wants_client,omitempty"` // it asks the client for a certificate
}

// What a client has against a certificate: the words of Handshake.NotTrusted, parted by
// commas.
const (
	Expired          = "expired"
	NotYetValid      = "not yet valid"
	SelfSigned       = "self-signed"
	UnknownAuthority = "unknown authority"
	ExpiredAuthority = "expired authority"
	NotForServers    = "not for servers"
	WrongName        = "wrong name"
)

// Refused tells whether all clients here refuse the certificate, and for what.
func (h *Handshake) Refused() string {
	if h == nil || len(h.TrustedBy) > 0 {
		return ""
	}
	return h.NotTrusted
}

// Certificate is the part of an X.509 certificate that decides whether it is trusted.
type Certificate struct {
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	Names      []string  `json:"names,omitempty"` // DNS names and addresses
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	SelfSigned bool      `json:"self_signed,omitempty"`
	CA         bool      `json:"ca,omitempty"`
	SHA256     string    `json:"sha256"`
	Made       string    `json:"made,omitempty"` // the tool that made it, where an extension names one: "dotnet dev-certs"
}

// DNSAnswer is the head of a DNS response.
type DNSAnswer struct {
	RCode   string `json:"rcode"`   // "NOERROR", "REFUSED"
	Answers int    `json:"answers"` // how many records the answer section has
}
