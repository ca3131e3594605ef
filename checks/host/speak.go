package host

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/speak"
)

// inquiry is one question to a server, and how it is put. What is left empty is as the
// target says.
type inquiry struct {
	facts.Question
	tls      bool   // inside TLS
	host     string // of the Host field, and of SNI; empty: as the target says
	with     string // facts.Answer.With
	network  string // "udp"; empty: tcp
	path     string
	method   string         // of HTTP; empty: GET
	header   []facts.Header // of HTTP, beyond those that every request has
	patience time.Duration
	trust    speak.Trust
}

// patience is how long an answer is waited for, if nobody said otherwise.
const patience = time.Second

// listenFirst is how long a server may take to speak by itself, where nobody said in
// what protocol.
const listenFirst = 250 * time.Millisecond

// speak puts questions to the server, where the person asked for that.
func (l *look) speak(ctx context.Context) {
	t := l.f.Target
	switch {
	case t.Speak == "":
		l.skipped(facts.GroupAnswers, facts.DidNotNeedTo, "nothing was to be asked")
		return
	case l.NoConnect:
		l.skipped(facts.GroupAnswers, facts.NotWanted, "--no-connect")
		return
	case len(l.reached()) == 0:
		l.skipped(facts.GroupAnswers, facts.DidNotNeedTo, "nobody was there to ask")
		return
	case l.sources.ask == nil:
		l.missing(facts.GroupAnswers, errNotHere)
		return
	}
	get(ctx, l, facts.GroupAnswers, &l.f.Answers, func() ([]facts.Answer, error) {
		answers := []facts.Answer{}
		var mute []uint64
		for _, who := range l.reached() {
			// A listener that kept silent at one address does so at the other: the
			// time is better spent on why.
			ls := l.listening(who.addr)
			if len(ls) == 1 && slices.Contains(mute, ls[0].Inode) {
				continue
			}
			heard := l.inquire(ctx, who)
			answers = append(answers, heard...)
			if len(ls) == 1 && saidNothing(heard) {
				mute = append(mute, ls[0].Inode)
			}
		}
		return answers, nil
	})
	l.askMore(ctx)
}

// asked is one to whom a question can be put.
type asked struct {
	addr netip.Addr
	as   facts.Identity
}

// reached lists the addresses that took a connection, each with the first client from
// whom it did: an application does not see who connects. Of UDP there is none to take.
func (l *look) reached() []asked {
	var all []asked
	for _, c := range l.open {
		d := c.Fact()
		served := d.Closed == "" && (d.Outcome == facts.Deferred || d.Outcome.Works() && (d.Server == nil || d.Server.Accepted))
		if served && expected(l.f.Target, d.Addr) && !slices.ContainsFunc(all, func(x asked) bool { return x.addr == d.Addr }) {
			all = append(all, asked{d.Addr, l.f.Host.Client(d.As, d.AsPID)})
		}
	}
	if l.f.Target.Network == "udp" {
		for _, a := range l.f.Target.Expected() {
			if l.mine(a) {
				all = append(all, asked{a, l.f.Host.As[0]})
			}
		}
	}
	return all
}

// inquire puts the question as the client would, and one more where the answer is not
// understood.
func (l *look) inquire(ctx context.Context, who asked) []facts.Answer {
	t := l.f.Target
	if t.Speak == facts.AskGuess {
		return l.guess(ctx, who)
	}
	answers := []facts.Answer{l.put(ctx, who, inquiry{Question: t.Speak, tls: t.TLS})}
	for _, q := range settling(answers[0]) {
		a := l.put(ctx, who, q)
		answers = append(answers, a)
		if a.Protocol != "" {
			break
		}
	}
	return answers
}

// saidNothing tells whether not a byte came, and the whole patience was waited for one.
func saidNothing(as []facts.Answer) bool {
	return as[len(as)-1].End == facts.Silence && !slices.ContainsFunc(as, func(a facts.Answer) bool { return a.Bytes > 0 })
}

// guess listens first: whoever speaks first is not to be talked over. Then it asks in
// the two protocols that most servers have.
func (l *look) guess(ctx context.Context, who asked) []facts.Answer {
	var answers []facts.Answer
	for _, q := range []inquiry{{Question: facts.AskNothing, patience: min(listenFirst, l.patience())}, {Question: facts.AskHTTP}, {Question: facts.AskTLS}, {Question: facts.AskRedis}, {Question: facts.AskPostgreSQL}} {
		a := l.put(ctx, who, q)
		answers = append(answers, a)
		wantsTLS := q.Question == facts.AskHTTP && (a.Protocol == "tls" || a.HTTP != nil && a.HTTP.Status == 400)
		if a.Protocol != "" && !wantsTLS || a.End == facts.Silence && q.Question == facts.AskHTTP {
			break // who keeps silent to one line keeps silent to others
		}
	}
	return answers
}

// settling lists the questions that settle what an answer means that is not in the
// protocol of the question.
func settling(a facts.Answer) []inquiry {
	plain := inquiry{Question: facts.AskHTTP, with: facts.ToSettle + "without TLS"}
	secure := inquiry{Question: facts.AskTLS, with: facts.ToSettle + "TLS first"}
	two := inquiry{Question: facts.AskH2, with: facts.ToSettle + "HTTP/2 at once"}
	ping := inquiry{Question: facts.AskRedis, with: facts.ToSettle + "PING of Redis"}
	startup := inquiry{Question: facts.AskPostgreSQL, with: facts.ToSettle + "what PostgreSQL answers"}
	ofHTTP := slices.Contains([]facts.Question{facts.AskHTTP, facts.AskH2, facts.AskWebSocket}, a.Question)
	known := a.Protocol != "" && !strings.HasPrefix(a.Protocol, "http/")
	switch {
	case a.End == facts.NotAsked:
	case a.TLS || a.Question == facts.AskTLS:
		// A TLS server that closes at once has nothing to say to plain text either,
		// and a server that reads lines waits for the end of one.
		if a.Handshake != nil && a.Handshake.Version == "" && a.Protocol != "tls" && !known {
			return []inquiry{plain}
		}
	case ofHTTP && a.End == facts.Silence:
		// What speaks TLS does not wait for more of a record of such a version.
	case ofHTTP && a.Protocol == "tls", ofHTTP && a.HTTP != nil && a.HTTP.Status == 400:
		return []inquiry{secure}
	case ofHTTP && a.HTTP == nil && !known && a.Bytes == 0: // Redis and PostgreSQL close without a word
		return []inquiry{secure, two, ping, startup}
	case ofHTTP && a.HTTP == nil && !known:
		return []inquiry{secure, two}
	case a.Question == facts.AskHTTP && a.Protocol == "h2":
		return []inquiry{two}
	case slices.Contains([]facts.Question{facts.AskSMTP, facts.AskSSH, facts.AskMySQL}, a.Question) && a.End == facts.Silence:
		return []inquiry{plain, secure} // both wait for the other to speak first
	case !ofHTTP && a.Question != facts.AskDNS && a.End != facts.Silence && a.Protocol == "":
		return []inquiry{plain, secure}
	}
	return nil
}

func (l *look) patience() time.Duration { return cmp.Or(l.Patience, patience) }

// put puts one question over a connection of its own.
func (l *look) put(ctx context.Context, who asked, q inquiry) facts.Answer {
	t := l.f.Target
	q.network = t.Network
	q.patience = cmp.Or(q.patience, l.patience())
	q.host = cmp.Or(q.host, hostField(t, q.tls))
	if q.path == "" {
		if u, err := url.Parse(t.URL); err == nil {
			q.path = u.EscapedPath()
		}
	}
	if q.tls || q.Question == facts.AskTLS {
		q.trust = l.trust()
	}
	a := l.sources.ask(ctx, l.place(who.addr), l.client(who.as), q)
	a.Addr, a.As, a.AsPID, a.With = who.addr, who.as.UID, who.as.PID, q.with
	return masked(a)
}

// hostField is the Host field of a client that was given this target: the port is left
// out where it is the scheme's own (RFC 9110 section 7.2).
func hostField(t facts.Target, tls bool) string {
	host, _, _ := strings.Cut(cmp.Or(strings.Trim(t.Host, "[]"), "localhost"), "%") // a zone is not sent (RFC 9844 section 2)
	if t.Port == 80 && !tls || t.Port == 443 && tls {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(t.Port)))
}

// masked hides what may be a secret in the words of a server.
func masked(a facts.Answer) facts.Answer {
	mask := func(s string) string {
		if s == "" {
			return ""
		}
		return process.Mask([]string{s})[0]
	}
	a.Says, a.First = mask(a.Says), mask(a.First)
	if a.HTTP != nil {
		a.HTTP.Body = mask(a.HTTP.Body)
		for i, h := range a.HTTP.Headers {
			v := mask(h.Value)
			if h.Name == "Location" {
				v = maskURL(v)
				v = v[:min(len(v), strings.IndexAny(v+"?", "?#"))] // behind it tokens travel
			}
			a.HTTP.Headers[i].Value = v
		}
	}
	return a
}

// question is the inquiry as package speak has it.
func (q inquiry) question() speak.Question {
	x := speak.Question{Ask: q.Question, Method: q.method, TLS: q.tls, Host: q.host, Path: q.path, Header: q.header, Patience: q.patience, Trust: q.trust}
	if q.Question == facts.AskDNS {
		x.Message = dnsQuery()
		x.Read = func(reply []byte) *facts.DNSAnswer { return readDNS(x.Message, reply) }
	}
	if q.with == facts.WithStartup {
		x.Message = speak.Startup()
	}
	return x
}
