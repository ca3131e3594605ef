package speak

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Trust is what a client takes a certificate on.
type Trust struct {
	Roots *x509.CertPool // nil: not known; then no authority is called unknown
	Extra []Extra        // what only some clients of this environment trust
	Now   time.Time
}

// Extra is a pool that a variable adds for one kind of client.
type Extra struct {
	Name  string // "NODE_EXTRA_CA_CERTS"
	Roots *x509.CertPool
}

// Of an answer at most: a chain has three.
const maxCertificates = 5

// secure shakes hands, as a client that takes everything would: what a real one takes
// is judged afterwards. It returns the connection inside.
func (w *wire) secure(ctx context.Context, q Question, a *facts.Answer) *wire {
	h := &facts.Handshake{}
	a.Handshake = h
	config := &tls.Config{
		InsecureSkipVerify: true, // judged by judge
		ServerName:         hostOf(q.Host),
		MinVersion:         tls.VersionTLS10, // to say what an old server speaks
		CipherSuites:       suites(),
		NextProtos:         protocols(q.Ask),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			h.WantsClient = true
			return &tls.Certificate{}, nil
		},
	}
	c := tls.Client(w, config)
	err := c.HandshakeContext(ctx)
	state := c.ConnectionState()
	describe(h, state.PeerCertificates, q)
	if err != nil {
		h.Version = ""
		w.refused(err, q, a)
		return w
	}
	h.Version, h.ALPN = tls.VersionName(state.Version), state.NegotiatedProtocol
	if q.Ask == facts.AskTLS {
		a.Protocol, a.End = "tls", facts.Answered
		if h.WantsClient { // in TLS 1.3 its alert comes after the handshake
			w.within(bodyPause)
			_, err := c.Read(make([]byte, 1))
			h.Alert = remoteAlert(err)
		}
		return w
	}
	inner := newWire(ctx, c, w.patience)
	inner.outer = h
	return inner
}

// refused says why there was no handshake.
func (w *wire) refused(err error, q Question, a *facts.Answer) {
	h := a.Handshake
	h.Alert = remoteAlert(err)
	switch {
	case h.Alert != "":
		a.Protocol, a.Says, a.End = "tls", "alert "+h.Alert, facts.Answered
	case w.got > 0 && errors.Is(err, os.ErrDeadlineExceeded) && mayBecomeRecord(w.kept):
		a.Protocol, a.End = "tls", facts.Stalled
	case w.got > 0 && !isRecord(w.kept):
		if head, body, ok := cutHead(w.kept); ok {
			if a.HTTP = parseHead(head); a.HTTP != nil {
				a.HTTP.Body = firstLine(unchunk(body, a.HTTP), a.HTTP)
			}
		}
		a.Protocol, a.Says = Recognise(w.kept, q.Ask)
		a.End = facts.Answered
	case w.got > 0:
		a.Protocol = "tls"
		var ours net.Error
		if a.End, _ = w.end(err); a.End == facts.Reset && !errors.As(err, &ours) {
			a.End = facts.Answered // it was understood, and not to the liking of crypto/tls
		}
	default:
		a.End, a.Errno = w.end(err)
	}
	h.Error = Line([]byte(strings.TrimPrefix(err.Error(), "tls: ")))
}

// hostOf is the host of host:port, as SNI and certificates have it.
func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

// suites are all that there are: which ones a client of today refuses is not asked here.
func suites() []uint16 {
	var ids []uint16
	for _, s := range tls.CipherSuites() {
		ids = append(ids, s.ID)
	}
	for _, s := range tls.InsecureCipherSuites() {
		ids = append(ids, s.ID)
	}
	return ids
}

func protocols(ask facts.Question) []string {
	switch ask {
	case facts.AskHTTP:
		return []string{"h2", "http/1.1"}
	case facts.AskH2:
		return []string{"h2"}
	case facts.AskWebSocket:
		return []string{"http/1.1"}
	}
	return nil
}

// describe writes down the certificates and judges them.
func describe(h *facts.Handshake, chain []*x509.Certificate, q Question) {
	for i, c := range chain {
		if i == maxCertificates {
			break
		}
		sum := sha256.Sum256(c.Raw)
		f := facts.Certificate{
			Subject: Line([]byte(c.Subject.String())), Issuer: Line([]byte(c.Issuer.String())),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
			SelfSigned: selfSigned(c), CA: c.IsCA, SHA256: hex.EncodeToString(sum[:]),
		}
		for _, e := range c.Extensions {
			if e.Id.String() == "1.3.6.1.4.1.311.84.1.1" { // ASP.NET Core, CertificateManager.AspNetHttpsOid
				f.Made = "dotnet dev-certs"
			}
		}
		for _, n := range c.DNSNames {
			f.Names = append(f.Names, Line([]byte(n)))
		}
		for _, ip := range c.IPAddresses {
			f.Names = append(f.Names, ip.String())
		}
		f.Names = f.Names[:min(len(f.Names), 20)]
		h.Certificates = append(h.Certificates, f)
	}
	if len(chain) == 0 {
		return
	}
	h.ForHost = chain[0].VerifyHostname(hostOf(q.Host)) == nil
	h.NotTrusted = strings.Join(judge(chain, q.Trust.Roots, q.Trust.Now, h.ForHost), ", ")
	if h.NotTrusted != "" {
		for _, e := range q.Trust.Extra {
			if len(judge(chain, e.Roots, q.Trust.Now, h.ForHost)) == 0 {
				h.TrustedBy = append(h.TrustedBy, e.Name)
			}
		}
	}
}

// judge says what a client has against a chain, in fixed words.
func judge(chain []*x509.Certificate, roots *x509.CertPool, now time.Time, forHost bool) []string {
	leaf := chain[0]
	var problems []string
	switch {
	case now.After(leaf.NotAfter):
		problems = append(problems, facts.Expired)
	case now.Before(leaf.NotBefore):
		problems = append(problems, facts.NotYetValid)
	}
	if roots != nil {
		between := x509.NewCertPool()
		for i, c := range chain[1:] {
			if i < maxCertificates {
				between.AddCert(c)
			}
		}
		at := now
		if len(problems) > 0 { // its own dates are said already
			at = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
		}
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at})
		var unknown x509.UnknownAuthorityError
		var invalid x509.CertificateInvalidError
		switch {
		case err == nil:
		case errors.As(err, &unknown) && selfSigned(leaf):
			problems = append(problems, facts.SelfSigned)
		case errors.As(err, &unknown):
			problems = append(problems, facts.UnknownAuthority)
		case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
			problems = append(problems, facts.ExpiredAuthority)
		case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
			problems = append(problems, facts.NotForServers)
		default:
			problems = append(problems, facts.UnknownAuthority)
		}
	}
	if !forHost {
		problems = append(problems, facts.WrongName)
	}
	return problems
}

func selfSigned(c *x509.Certificate) bool { return string(c.RawIssuer) == string(c.RawSubject) }

// remoteAlert names the alert that the server sent; empty if it sent none. crypto/tls
// keeps its number in a type of its own.
func remoteAlert(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return ""
	}
	if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
		return alertName(uint8(v.Uint()))
	}
	return ""
}

// alertName is of RFC 8446 section 6.
func alertName(n uint8) string {
	switch n {
	case 0:
		return "close_notify"
	case 10:
		return "unexpected_message"
	case 20:
		return "bad_record_mac"
	case 22:
		return "record_overflow"
	case 40:
		return "handshake_failure"
	case 42:
		return "bad_certificate"
	case 43:
		return "unsupported_certificate"
	case 46:
		return "certificate_unknown"
	case 47:
		return "illegal_parameter"
	case 48:
		return "unknown_ca"
	case 49:
		return "access_denied"
	case 50:
		return "decode_error"
	case 51:
		return "decrypt_error"
	case 70:
		return "protocol_version"
	case 71:
		return "insufficient_security"
	case 80:
		return "internal_error"
	case 86:
		return "inappropriate_fallback"
	case 90:
		return "user_canceled"
	case 109:
		return "missing_extension"
	case 110:
		return "unsupported_extension"
	case 112:
		return "unrecognized_name"
	case 113:
		return "bad_certificate_status_response"
	case 115:
		return "unknown_psk_identity"
	case 116:
		return "certificate_required"
	case 120:
		return "no_application_protocol"
	}
	return "unknown"
}
