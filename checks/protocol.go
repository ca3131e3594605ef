package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// TCP works, and client and server do not speak the same protocol. What proves it is
// an answer: its first bytes, or that of a second question in the other protocol.

var httpsToPlainHTTP = &Check{
	Name:     "https-to-plain-http",
	Doc:      "the client speaks TLS, and the server plain HTTP",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{notUnderstood},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if !a.TLS && a.Question != facts.AskTLS || a.Handshake != nil && a.Handshake.Version != "" || !felt(notUnderstood, f, a) {
				continue
			}
			again := settled(f, a)
			if !strings.HasPrefix(a.Protocol, "http/") && (again == nil || again.HTTP == nil) {
				continue
			}
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Evidence: evidence(f, a, again),
				Summary: fmt.Sprintf("%s speaks plain HTTP on %s, and the client begins with TLS.", program(f, a.Addr), at(f, a.Addr))}
			x.Fixes = []Fix{
				{Do: "Use " + urlWith(f, cond(strings.HasPrefix(f.Target.URL, "ws"), "ws", "http")) + " instead."},
				{Do: "If it has to be https: give the server a certificate of a local authority (mkcert localhost 127.0.0.1 ::1), or put a proxy that speaks TLS before it.",
					Risk: "clients that use plain HTTP fail then"},
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var httpToHTTPSPort = &Check{
	Name:     "http-to-https-port",
	Doc:      "the client speaks plain HTTP, and the server TLS",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{notUnderstood, turnedAway},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if a.TLS || !overHTTP(a.Question) || a.HTTP != nil && a.HTTP.Status != 400 {
				continue
			}
			again := settled(f, a)
			shook := again != nil && again.Handshake != nil && again.Protocol == "tls"
			if !shook && a.Protocol != "tls" {
				continue
			}
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Evidence: evidence(f, a, again),
				Summary: fmt.Sprintf("%s speaks TLS on %s, and the client sends plain HTTP.", program(f, a.Addr), at(f, a.Addr))}
			// A server of both could have another reason for its 400.
			if a.HTTP != nil && !strings.Contains(strings.ToLower(a.HTTP.Body+a.HTTP.Reason), "http") && !strings.Contains(strings.ToLower(a.HTTP.Body), "ssl") {
				x.Certainty, x.Settle = Inferred, "curl -kv "+urlWith(f, "https")
			}
			x.Fixes = []Fix{{Do: "Use " + urlWith(f, cond(a.Question == facts.AskWebSocket, "wss", "https")) + " instead."}}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var protocolMismatch = &Check{
	Name:     "protocol-mismatch",
	Doc:      "client and server speak different protocols, or versions of one that have nothing in common",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{notUnderstood, noAnswer},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if !felt(notUnderstood, f, a) || wantsCertificate(a) {
				continue
			}
			again := settled(f, a)
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Evidence: evidence(f, a, again)}
			spoken := a.Protocol
			if again != nil {
				spoken = again.Protocol
			}
			h := a.Handshake
			secure := a.TLS || a.Question == facts.AskTLS
			switch {
			case h != nil && oldTLS(h.Version):
				x.Summary = fmt.Sprintf("%s speaks %s on %s at most, and clients of today begin with TLS 1.2.", program(f, a.Addr), h.Version, at(f, a.Addr))
				x.Fixes = []Fix{{Do: "Switch TLS 1.2 and 1.3 on in the server (nginx: ssl_protocols TLSv1.2 TLSv1.3;), or take a newer one."}}
			case h != nil && h.Version == "" && a.Protocol == "tls":
				x.Summary = fmt.Sprintf("%s speaks TLS on %s and refuses the handshake: %s.", program(f, a.Addr), at(f, a.Addr), cmp.Or(alerts[h.Alert], "its alert is "+h.Alert))
				if h.Alert == "" {
					x.Certainty = Inferred
					x.Summary = fmt.Sprintf("%s speaks TLS on %s, and the handshake fails: %s.", program(f, a.Addr), at(f, a.Addr), h.Error)
				}
				x.Fixes = []Fix{{Do: "Read the log of the server for this handshake, and its versions, certificates and names of TLS."}}
			case secure && (h == nil || h.Version == "") && strings.HasPrefix(spoken, "http/"), overHTTP(a.Question) && !a.TLS && spoken == "tls":
				continue // the two causes above
			case a.Question == facts.AskWebSocket && a.HTTP != nil:
				x.Summary = fmt.Sprintf("%s speaks HTTP on %s, and has no WebSocket at %s: it answers %s.", program(f, a.Addr), at(f, a.Addr), urlPath(f), statusLine(a))
				x.Fixes = []Fix{{Do: "Use the path at which the server takes WebSockets (its routes name it; often /ws or /socket.io/)."}}
			case spoken == "":
				x.Certainty = Inferred
				x.Summary = fmt.Sprintf("%s does not speak %s on %s: what it answers is of no protocol that loopdoctor knows.", program(f, a.Addr), tongue(a.Question, a.TLS), at(f, a.Addr))
				x.Fixes = []Fix{{Do: "Look which program listens there, and use a client of its own."}}
			default:
				x.Summary = fmt.Sprintf("%s speaks %s on %s, and the client %s.", program(f, a.Addr), cmp.Or(called[spoken], spoken), at(f, a.Addr), tongue(a.Question, a.TLS))
				x.Fixes = []Fix{{Do: clientFor(f, a, spoken)}}
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

var clientCertificateMissing = &Check{
	Name:     "client-certificate-missing",
	Doc:      "the server asks the client for a certificate, and it has none",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{turnedAway, notUnderstood},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			if !wantsCertificate(a) {
				continue
			}
			fs = append(fs, Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Evidence: append(evidence(f, a, nil), Evidence{"handshake", "the server asks for a certificate of the client"}),
				Summary: fmt.Sprintf("%s serves on %s only clients that show a certificate, and this one has none.", program(f, a.Addr), at(f, a.Addr)),
				Fixes: []Fix{{Do: "Give the client a certificate that the server takes, and its key (curl --cert client.pem --key client.key)."},
					{Do: "Have the server not insist (nginx: ssl_verify_client optional;).", Risk: "then everybody on this machine is served"}}})
		}
		return mergeAddresses(f, fs)
	},
}

// understood tells whether the answer is in the protocol of the question.
func understood(a *facts.Answer) bool {
	if a.TLS || a.Question == facts.AskTLS {
		if a.Handshake == nil || a.Handshake.Version == "" || oldTLS(a.Handshake.Version) {
			return false
		}
	}
	switch a.Question {
	case facts.AskTLS:
		return true
	case facts.AskHTTP:
		return a.HTTP != nil || a.TLS && a.Protocol == "h2"
	case facts.AskWebSocket:
		return a.Protocol == "websocket" || a.HTTP != nil && (slices.Contains([]int{401, 403, 421, 431}, a.HTTP.Status) || a.HTTP.Status >= 500)
	case facts.AskNothing:
		return a.Bytes > 0
	}
	return a.Protocol == string(a.Question)
}

// settled is the answer to a second question that is of some other protocol. A server that
// closes instead of an answer (nginx's 444, a handler that crashes), and answers TLS in
// plain HTTP, speaks what the client speaks.
func settled(f *facts.Facts, a *facts.Answer) *facts.Answer {
	plain := !a.TLS && (a.Question == facts.AskHTTP || a.Question == facts.AskWebSocket)
	for _, x := range heardAt(f, a.Addr) {
		same := plain && strings.HasPrefix(x.Protocol, "http/")
		if strings.HasPrefix(x.With, facts.ToSettle) && x.Protocol != "" && !same {
			return x
		}
	}
	return nil
}

// felt tells whether a symptom is felt at the address of an answer.
func felt(s *Check, f *facts.Facts, a *facts.Answer) bool {
	return slices.ContainsFunc(s.Run(f), func(x Finding) bool { return slices.Contains(x.Affects, a.Addr) })
}

func overHTTP(q facts.Question) bool {
	return q == facts.AskHTTP || q == facts.AskH2 || q == facts.AskWebSocket
}

func oldTLS(version string) bool {
	return version == "TLS 1.0" || version == "TLS 1.1" || version == "SSLv3"
}

// wantsCertificate tells whether the server turned a client away that showed no
// certificate: it asked for one, and did not go on, or says so by HTTP.
func wantsCertificate(a *facts.Answer) bool {
	h := a.Handshake
	switch {
	case h == nil:
		return false
	case h.Alert == "certificate_required":
		return true
	case !h.WantsClient:
		return false
	case a.HTTP != nil:
		return slices.Contains([]int{400, 401, 403}, a.HTTP.Status) && strings.Contains(strings.ToLower(a.HTTP.Body+" "+a.HTTP.Reason), "certificate")
	}
	return slices.Contains([]string{"bad_certificate", "handshake_failure", "unknown_ca", "access_denied"}, h.Alert)
}

// refusesInWords tells whether a server of its own protocol says at once that it does
// not serve this client.
func refusesInWords(a *facts.Answer) bool {
	switch a.Protocol {
	case "redis":
		return strings.HasPrefix(a.Says, "-DENIED") || strings.HasPrefix(a.Says, "-ERR max number of clients")
	case "postgresql":
		return isFull(a)
	case "ssh":
		return strings.HasPrefix(a.Says, "Exceeded MaxStartups")
	case "mysql": // a version begins with a digit
		return a.Says != "" && (a.Says[0] < '0' || a.Says[0] > '9')
	case "smtp":
		return strings.HasPrefix(a.Says, "4") || strings.HasPrefix(a.Says, "5")
	}
	return false
}

// alerts are those of RFC 8446 section 6.2 that say what to do.
var alerts = map[string]string{
	"protocol_version":        "it takes no version of TLS that the client offers",
	"handshake_failure":       "they have no cipher in common, or the server has no certificate",
	"unrecognized_name":       "it has no certificate for that name",
	"no_application_protocol": "it does not speak HTTP inside of it (ALPN)",
	"internal_error":          "it failed itself, often because it has no certificate for that name",
}

// called is how people name a protocol.
var called = map[string]string{
	"http/1.1": "HTTP", "http/1.0": "HTTP", "http/0.9": "HTTP", "h2": "HTTP/2", "websocket": "WebSocket", "tls": "TLS", "redis": "Redis's protocol", "postgresql": "PostgreSQL's protocol",
	"mysql": "MySQL's protocol", "mongodb": "MongoDB's protocol", "memcached": "memcached's protocol", "smtp": "SMTP", "ssh": "SSH", "ftp": "FTP", "pop3": "POP3", "imap": "IMAP", "nntp": "NNTP",
	"amqp": "AMQP", "vnc": "VNC", "rtsp": "RTSP", "sip": "SIP", "nats": "NATS", "rsync": "rsync's protocol", "telnet": "Telnet", "dns": "DNS",
}

// tongue names the protocol of a question.
func tongue(q facts.Question, tls bool) string {
	switch {
	case q == facts.AskHTTP && tls:
		return "HTTPS"
	case q == facts.AskHTTP:
		return "HTTP"
	}
	name := cmp.Or(called[string(q)], string(q))
	return name + cond(tls, " over TLS", "")
}

// clientFor says with what to speak to a server of that protocol.
func clientFor(f *facts.Facts, a *facts.Answer, protocol string) string {
	host, port := "localhost", int(f.Target.Port)
	if f.Target.Named && f.Target.Host != "" {
		host = f.Target.Host
	}
	var with string
	switch protocol {
	case "redis":
		with = fmt.Sprintf("redis-cli -h %s -p %d", host, port)
	case "postgresql":
		with = fmt.Sprintf("psql -h %s -p %d", host, port)
	case "mysql":
		with = fmt.Sprintf("mysql -h %s -P %d --protocol=tcp", host, port)
	case "mongodb":
		with = fmt.Sprintf("mongosh --host %s --port %d", host, port)
	case "ssh":
		with = fmt.Sprintf("ssh -p %d %s", port, host)
	case "h2":
		with = "curl --http2-prior-knowledge " + urlWith(f, "http") + ", or a client of gRPC"
	case "tls":
		with = fmt.Sprintf("openssl s_client -connect %s", joinPort(host, f.Target.Port))
	case "http/1.1", "http/1.0", "http/0.9":
		with = "curl --http1.1 " + urlWith(f, cond(a.TLS, "https", "http"))
	default:
		return "Use a client of " + cmp.Or(called[protocol], protocol) + " there, or the port of the server that you meant."
	}
	return "Use a client of that protocol (" + with + "), or the port of the server that you meant."
}

// urlWith is the target's with another scheme.
func urlWith(f *facts.Facts, scheme string) string {
	if _, rest, ok := strings.Cut(f.Target.URL, "://"); ok {
		return scheme + "://" + rest
	}
	host := cond(f.Target.Host == "", "localhost", f.Target.Host)
	return scheme + "://" + joinPort(host, f.Target.Port) + "/"
}

// joinPort is host:port, with brackets around an IPv6 address.
func joinPort(host string, port uint16) string {
	host = strings.Trim(host, "[]")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

// urlPath is that of the target's URL.
func urlPath(f *facts.Facts) string {
	_, rest, _ := strings.Cut(f.Target.URL, "://")
	_, p, _ := strings.Cut(rest, "/")
	return "/" + p
}

// program names who listens at the address.
func program(f *facts.Facts, a netip.Addr) string {
	if ls := serving(f, a); f.Sockets != nil && len(ls) > 0 {
		return holder(f, ls[0])
	}
	return "The server"
}

// evidence quotes the answers, and who listens there.
func evidence(f *facts.Facts, a, again *facts.Answer) []Evidence {
	es := []Evidence{heard(a)}
	if again != nil {
		es = append(es, heard(again))
	}
	if f.Sockets != nil {
		for _, s := range serving(f, a.Addr) {
			es = append(es, socketEvidence(f, s))
			break
		}
	}
	return es
}
