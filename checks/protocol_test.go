package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	plainURL  = "http://localhost:62893/x"
	secureURL = "https://localhost:62893/x"
)

// served is a machine whose server was reached.
func served(changes ...change) *facts.Facts {
	return machine("127.0.0.1", append([]change{listens("127.0.0.1", 42), dials("127.0.0.1", facts.Connected)}, changes...)...)
}

func plain(changes ...func(*facts.Answer)) []change {
	return []change{speaks(facts.AskHTTP, plainURL), heardFrom("127.0.0.1", changes...)}
}

func secure(changes ...func(*facts.Answer)) []change {
	return []change{speaks(facts.AskHTTP, secureURL), heardFrom("127.0.0.1", changes...)}
}

func then(first []change, changes ...func(*facts.Answer)) *facts.Facts {
	return served(append(first, heardFrom("127.0.0.1", changes...))...)
}

func speakSituations() []situation {
	return slices.Concat(of(noAnswer,
		row{"nothing comes", served(plain(ends(facts.Silence, 0))...), says("proven 127.0.0.1", "says nothing for 1.0 s")},
		row{"nothing comes inside TLS", served(secure(shakes("TLS 1.3"), ends(facts.Silence, 0))...), says("proven 127.0.0.1", "agrees on TLS")},
		row{"it is closed", served(plain(ends(facts.EndOfFile, 0))...), says("proven 127.0.0.1", "closes it without an answer")},
		row{"it is reset", served(plain(ends(facts.Reset, 0))...), says("proven 127.0.0.1", "resets it")},
		row{"a handshake that has no end", served(secure(protocol("tls", ""), shakes(""), ends(facts.Stalled, 7))...), says("proven 127.0.0.1", "begins the TLS handshake", "7 bytes in 1.0 s")},
		row{"it has no end", served(plain(ends(facts.Stalled, 12))...), says("proven 127.0.0.1", "12 bytes in 1.0 s")},
		row{"a guess meets silence", served(speaks(facts.AskGuess, ""), heardFrom("127.0.0.1", ends(facts.Silence, 0)), heardFrom("127.0.0.1", ends(facts.Silence, 0))), says("proven 127.0.0.1", "nor to HTTP")},
		row{"the second guess is right", served(speaks(facts.AskGuess, ""), heardFrom("127.0.0.1", ends(facts.Silence, 0)), heardFrom("127.0.0.1", httpStatus(404, ""))), nothing},
		row{"it answers", served(plain(httpStatus(404, ""))...), nothing},
		row{"closed, and it is known why", then(plain(ends(facts.EndOfFile, 0)), again(facts.AskTLS), shakes("TLS 1.3")), nothing},
		row{"closed, and it does speak HTTP", then(plain(ends(facts.EndOfFile, 0)), again(facts.AskTLS), httpStatus(400, ""), shakes("")), says("proven 127.0.0.1", "closes it without an answer")},
		row{"time was over", served(plain(ends(facts.NotAsked, 0))...), nothing},
		row{"UDP", served(speaks(facts.AskDNS, ""), func(f *facts.Facts) { f.Target.Network = "udp" }, heardFrom("127.0.0.1", ends(facts.Silence, 0))), nothing},
		row{"a question of our own", served(plain(ends(facts.Silence, 0), func(a *facts.Answer) { a.With = "Host: x" })...), nothing},
	), of(notUnderstood,
		row{"another protocol", served(plain(protocol("ssh", "SSH-2.0-x"))...), says("proven 127.0.0.1", "does not speak HTTP")},
		row{"none that is known", served(plain(protocol("", ""))...), says("proven 127.0.0.1", "does not speak HTTP")},
		row{"no TLS", served(secure(httpStatus(400, ""), shakes(""))...), says("proven 127.0.0.1", "HTTPS")},
		row{"an old TLS", served(secure(httpStatus(200, ""), shakes("TLS 1.0"))...), says("proven 127.0.0.1", "no version of TLS")},
		row{"an alert", served(secure(protocol("tls", ""), shakes("", alerted("protocol_version")))...), says("proven 127.0.0.1", "do not agree")},
		row{"a 500", served(plain(httpStatus(500, ""))...), nothing},
		row{"closed, and it does speak HTTP", then(plain(ends(facts.EndOfFile, 0)), again(facts.AskTLS), httpStatus(400, ""), shakes("")), nothing},
		row{"a guess", served(speaks(facts.AskGuess, ""), heardFrom("127.0.0.1", protocol("", ""))), nothing},
		row{"HTTP/2 by ALPN", served(secure(httpStatus(200, ""), shakes("TLS 1.3"), func(a *facts.Answer) { a.Protocol = "h2" })...), nothing},
	), of(certificateRefused,
		row{"signed by itself", served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.SelfSigned, "CN=localhost")))...), says("proven 127.0.0.1", "self-signed")},
		row{"trusted", served(secure(httpStatus(200, ""), shakes("TLS 1.3"))...), nothing},
		row{"trusted by Node", served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.UnknownAuthority, "CN=x"), byNode))...), nothing},
		row{"a guess", served(speaks(facts.AskGuess, ""), heardFrom("127.0.0.1", shakes("TLS 1.3", certified(facts.SelfSigned, "CN=localhost")))), nothing},
	), of(turnedAway,
		row{"403", served(plain(httpStatus(403, "no"))...), says("proven 127.0.0.1", "HTTP 403")},
		row{"no certificate to show", served(secure(shakes("TLS 1.3", asksClient, alerted("certificate_required")))...), says("proven 127.0.0.1", "no certificate")},
		row{"MySQL refuses the host", served(speaks(facts.AskMySQL, ""), heardFrom("127.0.0.1", protocol("mysql", "Host '127.0.0.1' is not allowed 100%"))), says("proven 127.0.0.1", "not allowed 100%")},
		row{"MySQL greets", served(speaks(facts.AskMySQL, ""), heardFrom("127.0.0.1", protocol("mysql", "10.11.6-MariaDB"))), nothing},
		row{"Redis wants a password", served(speaks(facts.AskRedis, ""), heardFrom("127.0.0.1", protocol("redis", "-NOAUTH x"))), nothing},
		row{"Redis has its clients", served(speaks(facts.AskRedis, ""), heardFrom("127.0.0.1", protocol("redis", "-ERR max number of clients reached"))), says("proven 127.0.0.1", "max number")},
		row{"sshd has its clients", served(speaks(facts.AskSSH, ""), heardFrom("127.0.0.1", protocol("ssh", "Exceeded MaxStartups"))), says("proven 127.0.0.1", "MaxStartups")},
		row{"404", served(plain(httpStatus(404, "no"))...), nothing},
		row{"401 to a guess", served(speaks(facts.AskGuess, ""), heardFrom("127.0.0.1", httpStatus(401, ""))), nothing},
	), of(serverError,
		row{"502", served(plain(httpStatus(502, ""))...), says("proven 127.0.0.1", "HTTP 502")},
		row{"404", served(plain(httpStatus(404, ""))...), nothing},
	), causeSituations())
}

func byNode(h *facts.Handshake) { h.TrustedBy = []string{"NODE_EXTRA_CA_CERTS"} }

func causeSituations() []situation {
	mysql := []change{speaks(facts.AskRedis, ""), heardFrom("127.0.0.1", protocol("mysql", "10.11.6-MariaDB"))}
	ws := []change{speaks(facts.AskWebSocket, "ws://localhost:62893/socket"), heardFrom("127.0.0.1", httpStatus(200, ""))}
	return slices.Concat(of(httpsToPlainHTTP,
		row{"a 400", served(secure(httpStatus(400, ""), shakes(""))...), says("proven 127.0.0.1", "server (pid 42)", "plain HTTP")},
		row{"silence, and an answer without TLS", then(secure(ends(facts.Silence, 0), shakes("")), again(facts.AskHTTP), httpStatus(200, "")), says("proven 127.0.0.1", "plain HTTP")},
		row{"the end, and an answer without TLS", then(secure(ends(facts.EndOfFile, 0), shakes("")), again(facts.AskHTTP), httpStatus(200, "")), says("proven 127.0.0.1")},
		row{"silence all the way", then(secure(ends(facts.Silence, 0), shakes("")), again(facts.AskHTTP), ends(facts.Silence, 0)), nothing},
		row{"a 400 inside TLS", served(secure(httpStatus(400, ""), shakes("TLS 1.3"))...), nothing},
		row{"a 400 without TLS", served(plain(httpStatus(400, ""))...), nothing},
	), of(httpToHTTPSPort,
		row{"a 400 that says so", then(plain(httpStatus(400, "The plain HTTP request was sent to HTTPS port")), again(facts.AskTLS), shakes("TLS 1.3")), says("proven 127.0.0.1", "speaks TLS")},
		row{"a 400 for whatever reason", then(plain(httpStatus(400, "no")), again(facts.AskTLS), shakes("TLS 1.3")), says("inferred 127.0.0.1")},
		row{"the end, and a handshake", then(plain(ends(facts.EndOfFile, 0)), again(facts.AskTLS), shakes("TLS 1.3")), says("proven 127.0.0.1")},
		row{"an alert", served(plain(protocol("tls", "alert x"))...), says("proven 127.0.0.1")},
		row{"a 400, and no TLS", then(plain(httpStatus(400, "no")), again(facts.AskTLS), shakes(""), httpStatus(400, "")), nothing},
		row{"a page, though it speaks TLS, too", then(plain(httpStatus(200, "")), again(facts.AskTLS), shakes("TLS 1.3")), nothing},
	), of(protocolMismatch,
		row{"SSH", served(plain(protocol("ssh", "SSH-2.0-x"))...), says("proven 127.0.0.1", "speaks SSH", "client HTTP")},
		row{"MySQL to a client of Redis", served(mysql...), says("proven 127.0.0.1", "MySQL's", "Redis's")},
		row{"PostgreSQL, asked again", then(plain(ends(facts.EndOfFile, 0)), again(facts.AskPostgreSQL), protocol("postgresql", "takes no TLS")), says("proven 127.0.0.1", "PostgreSQL's")},
		row{"HTTP/2", then(plain(protocol("h2", "")), again(facts.AskH2), protocol("h2", "")), says("proven 127.0.0.1", "HTTP/2")},
		row{"garbage", served(plain(protocol("", ""))...), says("inferred 127.0.0.1", "of no protocol")},
		row{"TLS 1.1", served(secure(httpStatus(200, ""), shakes("TLS 1.1"))...), says("proven 127.0.0.1", "TLS 1.1")},
		row{"no version in common", served(secure(protocol("tls", ""), shakes("", alerted("protocol_version")))...), says("proven 127.0.0.1", "takes no version")},
		row{"no WebSocket", served(ws...), says("proven 127.0.0.1", "no WebSocket at /socket")},
		row{"plain HTTP", served(secure(httpStatus(400, ""), shakes(""))...), nothing},
		row{"TLS", then(plain(ends(facts.EndOfFile, 0)), again(facts.AskTLS), shakes("TLS 1.3")), nothing},
		row{"a 404", served(plain(httpStatus(404, ""))...), nothing},
		row{"silence", served(plain(ends(facts.Silence, 0))...), nothing},
		row{"it begins and stops", served(plain(ends(facts.Stalled, 5))...), nothing},
		row{"a handshake that is slow", served(secure(protocol("tls", ""), shakes(""), ends(facts.Stalled, 7))...), nothing},
	), of(clientCertificateMissing,
		row{"after the handshake", served(secure(shakes("TLS 1.3", asksClient, alerted("certificate_required")))...), says("proven 127.0.0.1", "show a certificate")},
		row{"within it", served(secure(protocol("tls", ""), shakes("", asksClient, alerted("bad_certificate")))...), says("proven 127.0.0.1")},
		row{"by HTTP", served(secure(httpStatus(400, "No required SSL certificate was sent"), shakes("TLS 1.3", asksClient))...), says("proven 127.0.0.1")},
		row{"it asks and does not insist", served(secure(httpStatus(200, ""), shakes("TLS 1.3", asksClient))...), nothing},
		row{"a 403 for another reason", served(secure(httpStatus(403, "no"), shakes("TLS 1.3", asksClient))...), nothing},
	), of(untrustedLocalhostCert,
		row{"signed by itself", served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.SelfSigned, "CN=localhost", "localhost")))...), says("proven 127.0.0.1", "signed by itself")},
		row{"mkcert's", served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.UnknownAuthority, "O=mkcert development CA", "localhost")))...), says("proven 127.0.0.1", "mkcert")},
		row{"expired, with another name", served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.Expired+", "+facts.WrongName, "CN=x", "localhost")))...), says("proven 127.0.0.1", "expired on 2026-11-21", "for localhost, not for 127.0.0.1")},
		row{"without names", served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.WrongName, "CN=x")))...), says("proven 127.0.0.1", "not CN")},
		row{"trusted by Node alone", served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.UnknownAuthority, "CN=x"), byNode))...), says("remark 127.0.0.1", "NODE_EXTRA_CA_CERTS")},
		row{"seen by the way", then(plain(ends(facts.EndOfFile, 0)), again(facts.AskTLS), shakes("TLS 1.3", certified(facts.SelfSigned, "CN=localhost"))), says("remark 127.0.0.1")},
		row{"trusted", served(secure(httpStatus(200, ""), shakes("TLS 1.3"))...), nothing},
	))
}

func TestProtocols(t *testing.T) { judge(t, speakSituations()) }

// The fix names what is to be done instead, for this very target.
func TestProtocolFixes(t *testing.T) {
	for want, f := range map[string]*facts.Facts{
		"http://localhost:62893/x":                 served(secure(httpStatus(400, ""), shakes(""))...),
		"https://localhost:62893/x":                then(plain(ends(facts.EndOfFile, 0)), again(facts.AskTLS), shakes("TLS 1.3")),
		"ssh -p 62893 127.0.0.1":                   served(plain(protocol("ssh", "SSH-2.0-x"))...),
		"--http2-prior-knowledge":                  then(plain(protocol("h2", "")), again(facts.AskH2), protocol("h2", "")),
		"caddy trust":                              served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.UnknownAuthority, "CN=Caddy Local Authority - ECC Intermediate", "localhost")))...),
		"Use a name that the certificate has":      served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.WrongName, "CN=x", "*.example", "app.localhost")))...),
		"Look whether the clock":                   served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.NotYetValid, "CN=x", "localhost")))...),
		"Make a new certificate with these names,": served(secure(httpStatus(200, ""), shakes("TLS 1.3", certified(facts.Expired, "O=mkcert development CA", "localhost")))...),
	} {
		d := Diagnose(f)
		if len(d.Causes) != 1 || d.Verdict != Broken || len(d.Causes[0].Fixes) == 0 || !strings.Contains(d.Causes[0].Fixes[0].Do, want) {
			t.Errorf("%s: %s, %+v", want, d.Verdict, d.Causes)
		}
	}
}

// Over UDP an answer works, and silence is unknown; where nobody was asked in time
// nothing is known either.
func TestVerdictOfAnswers(t *testing.T) {
	udp := func(f *facts.Facts) { f.Target.Network, f.Dials = "udp", nil }
	bound := holds(facts.Bound, "127.0.0.1", "", 42, func(s *facts.Socket, _ *facts.Process) { s.Network = "udp" })
	for want, f := range map[Verdict]*facts.Facts{
		Works:   machine("127.0.0.1", bound, udp, speaks(facts.AskDNS, ""), heardFrom("127.0.0.1", protocol("dns", ""))),
		Unknown: machine("127.0.0.1", bound, udp, speaks(facts.AskDNS, ""), heardFrom("127.0.0.1", ends(facts.Silence, 0))),
		Broken:  served(plain(ends(facts.Silence, 0))...),
	} {
		if d := Diagnose(f); d.Verdict != want {
			t.Errorf("%s, want %s", d.Verdict, want)
		}
	}
	if d := Diagnose(served(plain(ends(facts.NotAsked, 0))...)); d.Verdict != Unknown {
		t.Errorf("not asked in time: %s", d.Verdict)
	}
	late := served()
	late.Answers, late.Absent = nil, map[facts.Group]facts.Absence{facts.GroupAnswers: {Why: facts.CouldNot, Reason: "time was over"}}
	if d := Diagnose(late); d.Verdict != Unknown {
		t.Errorf("the time was over before it answered: %s", d.Verdict)
	}
}
