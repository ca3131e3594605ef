package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Answer is what came of one question to the server.
type Answer struct {
	Address   string         `json:"address"`
	As        uint32         `json:"as"`
	Client    string         `json:"client"`
	Question  facts.Question `json:"question"`
	TLS       bool           `json:"tls"`  // it was put inside TLS
	With      string         `json:"with"` // what is special about it; empty: it is as a client puts it
	End       facts.End      `json:"end"`
	Errno     string         `json:"errno"`
	Protocol  string         `json:"protocol"` // of the answer; empty: none came, or it is of none that is known
	Says      string         `json:"says"`     // a banner, or the text of an error
	First     string         `json:"first"`    // the first bytes, quoted
	Bytes     int            `json:"bytes"`
	FirstMS   float64        `json:"first_ms"`
	ElapsedMS float64        `json:"elapsed_ms"`
	HTTP      *HTTPAnswer    `json:"http"`
	Handshake *Handshake     `json:"handshake"`
	RCode     string         `json:"rcode"` // of DNS
}

// HTTPAnswer is the head of an HTTP response, as far as it was kept.
type HTTPAnswer struct {
	Status  int      `json:"status"`
	Reason  string   `json:"reason"`
	Headers []Header `json:"headers"`
	Body    string   `json:"body"` // its first line with words in it
}

// Header is one header field.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Handshake is what TLS came to.
type Handshake struct {
	Version      string        `json:"version"` // empty: it did not come to pass
	ALPN         string        `json:"alpn"`
	Alert        string        `json:"alert"`
	Error        string        `json:"error"`
	NotTrusted   string        `json:"not_trusted"`
	TrustedBy    []string      `json:"trusted_by"`
	ForHost      bool          `json:"for_host"`
	WantsClient  bool          `json:"wants_client"`
	Certificates []Certificate `json:"certificates"`
}

// Certificate is one of the server's chain.
type Certificate struct {
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	Names      []string  `json:"names"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	SelfSigned bool      `json:"self_signed"`
	CA         bool      `json:"ca"`
	SHA256     string    `json:"sha256"`
}

func answers(f *facts.Facts) []Answer {
	var out []Answer
	for _, a := range f.Answers {
		x := Answer{Address: addr(a.Addr), As: a.As, Client: f.Host.Client(a.As, a.AsPID).Name(), Question: a.Question, TLS: a.TLS, With: a.With, End: a.End, Errno: a.Errno,
			Protocol: a.Protocol, Says: a.Says, First: a.First, Bytes: a.Bytes, FirstMS: a.FirstMS, ElapsedMS: a.ElapsedMS}
		if h := a.HTTP; h != nil {
			x.HTTP = &HTTPAnswer{Status: h.Status, Reason: h.Reason, Body: h.Body}
			for _, y := range h.Headers {
				x.HTTP.Headers = append(x.HTTP.Headers, Header(y))
			}
		}
		if h := a.Handshake; h != nil {
			x.Handshake = &Handshake{Version: h.Version, ALPN: h.ALPN, Alert: h.Alert, Error: h.Error, NotTrusted: h.NotTrusted,
				TrustedBy: slices.Clone(h.TrustedBy), ForHost: h.ForHost, WantsClient: h.WantsClient}
			for _, c := range h.Certificates {
				x.Handshake.Certificates = append(x.Handshake.Certificates, Certificate{c.Subject, c.Issuer, slices.Clone(c.Names), c.NotBefore, c.NotAfter, c.SelfSigned, c.CA, c.SHA256})
			}
		}
		if a.DNS != nil {
			x.RCode = a.DNS.RCode
		}
		out = append(out, x)
	}
	return out
}

// question is what was asked, in words.
func (a *Answer) question() string {
	q := map[facts.Question]string{facts.AskNothing: "nothing", facts.AskHTTP: "HTTP", facts.AskH2: "HTTP/2", facts.AskWebSocket: "WebSocket", facts.AskTLS: "TLS", facts.AskRedis: "Redis",
		facts.AskPostgreSQL: "PostgreSQL", facts.AskMySQL: "MySQL", facts.AskSMTP: "SMTP", facts.AskSSH: "SSH", facts.AskDNS: "DNS"}[a.Question]
	if q == "" {
		q = string(a.Question)
	}
	if a.TLS {
		q += " inside TLS"
	}
	if a.With != "" {
		q += " (" + a.With + ")"
	}
	return "asked " + q
}

// reply is what came of it: "HTTP/1.1 200 from nginx, 3 ms".
func (a *Answer) reply() string {
	var s string
	switch {
	case a.HTTP != nil:
		s = fmt.Sprintf("%s %d", cmp.Or(protocols[a.Protocol], strings.ToUpper(a.Protocol)), a.HTTP.Status)
		for _, h := range a.HTTP.Headers {
			if h.Name == "Server" {
				s += " from " + h.Value
			}
		}
	case a.Protocol == "websocket":
		s = "WebSocket"
	case a.Handshake != nil && a.Handshake.Version != "" && a.Bytes > 0 && a.Protocol == "tls":
		s = a.Handshake.Version
	case a.RCode != "":
		s = "DNS " + a.RCode
	case a.Protocol != "":
		if s = cmp.Or(protocols[a.Protocol], strings.ToUpper(a.Protocol)); a.Says != "" {
			s += " (" + a.Says + ")"
		}
	case a.Bytes > 0:
		s = fmt.Sprintf("%d %s of no protocol that is known", a.Bytes, plural(a.Bytes, "byte", "bytes"))
	case a.End == facts.NotAsked:
		return cmp.Or(a.Errno, "no connection to ask over")
	default:
		return fmt.Sprintf("%s after %s", a.End, duration(a.ElapsedMS))
	}
	if h := a.Handshake; h != nil && h.Version != "" && a.TLS {
		s += " inside " + h.Version
	}
	return s + ", " + duration(a.FirstMS)
}

// protocols are names that are not written in capitals.
var protocols = map[string]string{"h2": "HTTP/2", "redis": "Redis", "postgresql": "PostgreSQL", "mysql": "MySQL", "mongodb": "MongoDB", "memcached": "memcached", "telnet": "Telnet", "rsync": "rsync"}

// detail is both, in a line.
func (a *Answer) detail() string {
	s := a.question() + ": " + a.reply()
	if h := a.Handshake; h != nil {
		if h.NotTrusted != "" {
			s += "; certificate: " + h.NotTrusted
			if len(h.TrustedBy) > 0 {
				s += ", but trusted by " + join(h.TrustedBy, "and")
			}
		}
		if h.Error != "" && h.Version == "" {
			s += "; TLS: " + h.Error
		}
	}
	return s
}

// heard is the answer of a target that works, for its summary: that of a question as
// the client puts it, or of a guess the first that is known.
func heard(f *facts.Facts) string {
	as := answers(f)
	for i := range as {
		a := &as[i]
		if a.With == "" && a.End == facts.Answered && a.Protocol != "" && slices.Contains(texts(f.Target.Expected()), a.Address) && (a.Question == f.Target.Speak || f.Target.Speak == facts.AskGuess) {
			return a.reply()
		}
	}
	return ""
}
