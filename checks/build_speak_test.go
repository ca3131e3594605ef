package checks

import (
	"net/netip"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// speaks sets what the target is asked, by the URL: "https://localhost:62893/".
func speaks(q facts.Question, url string) change {
	return func(f *facts.Facts) {
		f.Target.Speak, f.Target.URL = q, url
		f.Target.TLS = strings.HasPrefix(url, "https") || strings.HasPrefix(url, "wss")
		if f.Answers == nil {
			f.Answers = []facts.Answer{}
		}
	}
}

// heardFrom adds an answer to the question as the client puts it.
func heardFrom(from string, changes ...reply) change {
	return func(f *facts.Facts) {
		a := facts.Answer{Addr: netip.MustParseAddr(from), As: 1000, Question: f.Target.Speak, TLS: f.Target.TLS, End: facts.Answered, ElapsedMS: 3}
		for _, c := range changes {
			c(&a)
		}
		f.Answers = append(f.Answers, a)
	}
}

// leftWaiting: the connection of the question is in the accept queue when the wait is over.
func leftWaiting(a *facts.Answer) {
	a.Server = &facts.ServerSide{Local: netip.AddrPortFrom(a.Addr, port), State: "established", Unread: 97, WaitedMS: 1000}
}

// again makes it the answer to a second question.
func again(q facts.Question) reply {
	return func(a *facts.Answer) { a.Question, a.TLS, a.With = q, false, facts.ToSettle+"another one" }
}

func httpStatus(code int, body string) reply {
	return func(a *facts.Answer) {
		a.Protocol, a.Bytes, a.HTTP = "http/1.1", 100, &facts.HTTPAnswer{Status: code, Body: body}
	}
}

// protocol makes it an answer in another protocol than HTTP.
func protocol(name, says string) reply {
	return func(a *facts.Answer) { a.HTTP, a.Protocol, a.Says, a.Bytes, a.First = nil, name, says, 30, `"…"` }
}

func ends(e facts.End, bytes int) reply {
	return func(a *facts.Answer) { a.End, a.Bytes, a.ElapsedMS = e, bytes, 1000 }
}

// shakes is a handshake that came to pass, if it has a version.
func shakes(version string, changes ...func(*facts.Handshake)) reply {
	return func(a *facts.Answer) {
		a.Handshake = &facts.Handshake{Version: version, ForHost: true}
		if a.Protocol == "" {
			a.Protocol = "tls"
		}
		for _, c := range changes {
			c(a.Handshake)
		}
	}
}

func alerted(alert string) func(*facts.Handshake) {
	return func(h *facts.Handshake) { h.Alert = alert }
}
func asksClient(h *facts.Handshake) { h.WantsClient = true }

// certified has a certificate of that issuer, to which a client objects.
func certified(problems, issuer string, names ...string) func(*facts.Handshake) {
	return func(h *facts.Handshake) {
		h.NotTrusted, h.ForHost = problems, !strings.Contains(problems, facts.WrongName)
		h.Certificates = []facts.Certificate{{Subject: "CN=localhost", Issuer: issuer, Names: names, SelfSigned: issuer == "CN=localhost",
			NotBefore: morning.AddDate(0, -1, 0), NotAfter: morning.AddDate(0, 0, -1)}}
	}
}
