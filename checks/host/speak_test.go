package host

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// asks lets the machine answer, and writes down what it is asked.
func asks(to *[]string, answer func(inquiry) facts.Answer) func(*machine) {
	return func(m *machine) {
		m.ask = func(_ context.Context, at netip.AddrPort, _ client, q inquiry) facts.Answer {
			*to = append(*to, string(q.Question)+map[bool]string{true: " inside TLS"}[q.tls]+" to "+at.Addr().String())
			a := answer(q)
			a.Question, a.TLS = q.Question, q.tls
			return a
		}
	}
}

func TestWhatIsAsked(t *testing.T) {
	speaks := func(q facts.Question, tls bool) facts.Target {
		x := target("127.0.0.1")
		x.Speak, x.TLS, x.URL = q, tls, "http://127.0.0.1:62893/a?b"
		return x
	}
	ends := func(e facts.End, protocol string) func(inquiry) facts.Answer {
		return func(inquiry) facts.Answer { return facts.Answer{End: e, Protocol: protocol} }
	}
	of := func(answers map[facts.Question]facts.Answer) func(inquiry) facts.Answer {
		return func(q inquiry) facts.Answer {
			if a, ok := answers[q.Question]; ok {
				return a
			}
			return facts.Answer{End: facts.EndOfFile}
		}
	}
	page := facts.Answer{End: facts.Answered, Protocol: "http/1.1", HTTP: &facts.HTTPAnswer{Status: 404}}
	bad := facts.Answer{End: facts.Answered, Protocol: "http/1.1", HTTP: &facts.HTTPAnswer{Status: 400}}
	failed := facts.Answer{End: facts.EndOfFile, Handshake: &facts.Handshake{}}
	for name, x := range map[string]struct {
		target facts.Target
		answer func(inquiry) facts.Answer
		want   []string
	}{
		"nothing was asked for":  {target("127.0.0.1"), of(nil), nil},
		"a page":                 {speaks(facts.AskHTTP, false), func(inquiry) facts.Answer { return page }, []string{"http to 127.0.0.1"}},
		"a 400 may be about TLS": {speaks(facts.AskHTTP, false), func(inquiry) facts.Answer { return bad }, []string{"http to 127.0.0.1", "tls to 127.0.0.1", "http to 127.0.0.1"}}, // or about the Host field
		"silence says enough":    {speaks(facts.AskHTTP, false), ends(facts.Silence, ""), []string{"http to 127.0.0.1"}},
		"the end says nothing":   {speaks(facts.AskHTTP, false), of(nil), []string{"http to 127.0.0.1", "tls to 127.0.0.1", "h2 to 127.0.0.1", "redis to 127.0.0.1", "postgresql to 127.0.0.1"}},
		"the end, and TLS":       {speaks(facts.AskHTTP, false), of(map[facts.Question]facts.Answer{facts.AskTLS: {End: facts.Answered, Protocol: "tls"}}), []string{"http to 127.0.0.1", "tls to 127.0.0.1"}},
		"a known protocol":       {speaks(facts.AskHTTP, false), ends(facts.Answered, "ssh"), []string{"http to 127.0.0.1"}},
		"no TLS":                 {speaks(facts.AskHTTP, true), func(inquiry) facts.Answer { return failed }, []string{"http inside TLS to 127.0.0.1", "http to 127.0.0.1"}},
		"TLS that fails": {speaks(facts.AskHTTP, true), func(inquiry) facts.Answer {
			return facts.Answer{End: facts.Answered, Protocol: "tls", Handshake: &facts.Handshake{}}
		}, []string{"http inside TLS to 127.0.0.1"}},
		"another protocol, and no answer": {speaks(facts.AskMySQL, false), of(nil), []string{"mysql to 127.0.0.1", "http to 127.0.0.1", "tls to 127.0.0.1"}},
		"both wait for the other":         {speaks(facts.AskSMTP, false), of(map[facts.Question]facts.Answer{facts.AskSMTP: {End: facts.Silence}, facts.AskHTTP: page}), []string{"smtp to 127.0.0.1", "http to 127.0.0.1"}},
		"a guess":                         {speaks(facts.AskGuess, false), of(map[facts.Question]facts.Answer{facts.AskNothing: {End: facts.Silence}, facts.AskHTTP: page}), []string{"nothing to 127.0.0.1", "http to 127.0.0.1"}},
		"a guess, and it speaks first":    {speaks(facts.AskGuess, false), ends(facts.Answered, "ssh"), []string{"nothing to 127.0.0.1"}},
		"a guess, and TLS":                {speaks(facts.AskGuess, false), of(map[facts.Question]facts.Answer{facts.AskHTTP: bad, facts.AskTLS: {End: facts.Answered, Protocol: "tls"}}), []string{"nothing to 127.0.0.1", "http to 127.0.0.1", "tls to 127.0.0.1"}},
		"a guess, and silence":            {speaks(facts.AskGuess, false), ends(facts.Silence, ""), []string{"nothing to 127.0.0.1", "http to 127.0.0.1"}},
		"no time":                         {speaks(facts.AskHTTP, false), ends(facts.NotAsked, ""), []string{"http to 127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			f := mustLook(t, newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Connected), asks(&asked, x.answer)), x.target, Options{})
			if !slices.Equal(asked, x.want) {
				t.Errorf("asked %q, want %q", asked, x.want)
			}
			if f.Has(facts.GroupAnswers) != (len(x.want) > 0) || len(f.Answers) != len(x.want) {
				t.Errorf("%+v, %+v", f.Answers, f.Absent[facts.GroupAnswers])
			}
		})
	}
}

// Who did not take a connection is not asked, and --no-connect asks nobody.
func TestWhoIsNotAsked(t *testing.T) {
	x := target("127.0.0.1")
	x.Speak = facts.AskHTTP
	for name, test := range map[string]struct {
		change func(*machine)
		o      Options
		why    facts.Why
	}{
		"refused": {outcome("127.0.0.1", facts.Refused), Options{}, facts.DidNotNeedTo},
		"not accepted": {func(m *machine) {
			m.dials["127.0.0.1"] = facts.Dial{Outcome: facts.Connected, Server: &facts.ServerSide{}}
		}, Options{}, facts.DidNotNeedTo},
		"--no-connect": {outcome("127.0.0.1", facts.Connected), Options{NoConnect: true}, facts.NotWanted},
	} {
		var asked []string
		m := newMachine(listening("127.0.0.1", false), test.change, asks(&asked, func(inquiry) facts.Answer { return facts.Answer{} }))
		f, err := m.look(t, x, test.o)
		if err != nil || len(asked) > 0 || f.Absent[facts.GroupAnswers].Why != test.why {
			t.Errorf("%s: asked %q, %+v, %v", name, asked, f.Absent[facts.GroupAnswers], err)
		}
	}
}

// One listener that keeps silent is not waited for twice; two are.
func TestAMuteListenerIsAskedOnce(t *testing.T) {
	x := target("localhost")
	x.Speak = facts.AskHTTP
	for end, want := range map[facts.End]int{facts.Silence: 1, facts.Answered: 2} {
		var asked []string
		m := newMachine(listening("::", false), outcome("127.0.0.1", facts.Connected), outcome("::1", facts.Connected),
			asks(&asked, func(inquiry) facts.Answer { return facts.Answer{End: end, HTTP: &facts.HTTPAnswer{Status: 200}} }))
		if mustLook(t, m, x, Options{}); len(asked) != want {
			t.Errorf("%s: asked %q", end, asked)
		}
	}
}

// A connection for the question that gets no answer, where the one before came up, is
// what a client meets from now on: it is looked into like any other that is lost.
func TestAConnectionThatFallsSilent(t *testing.T) {
	x := target("127.0.0.1")
	x.Speak = facts.AskHTTP
	for name, test := range map[string]struct {
		errno   string
		then    facts.Outcome
		want    facts.Outcome
		connect int
	}{
		"silent":                 {"", facts.Timeout, facts.Timeout, 2},
		"silent for once":        {"", facts.Connected, facts.Connected, 2},
		"there was no time":      {"time was over", facts.Timeout, facts.Connected, 1},
		"it was refused instead": {"ECONNREFUSED", facts.Timeout, facts.Connected, 1},
	} {
		var asked []string
		m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Connected), asks(&asked, func(inquiry) facts.Answer {
			return facts.Answer{End: facts.NotAsked, Errno: test.errno}
		}))
		ask := m.ask
		m.ask = func(ctx context.Context, to netip.AddrPort, as client, q inquiry) facts.Answer {
			outcome("127.0.0.1", test.then)(m)
			return ask(ctx, to, as, q)
		}
		f := mustLook(t, m, x, Options{})
		connects := 0
		for _, s := range m.asked {
			if s == "connect 127.0.0.1" {
				connects++
			}
		}
		_, absent := f.Absent[facts.GroupLedger]
		lost := test.want == facts.Timeout
		if connects != test.connect || len(f.Dials) != 1 || f.Dials[0].Outcome != test.want || (len(f.Ledger) > 0) != lost || absent == lost || (len(m.suspects) > 0) != lost {
			t.Errorf("%s: %q, %+v, %+v, %+v, %q", name, m.asked, f.Dials, f.Ledger, f.Absent, m.suspects)
		}
	}
}

func TestHowAQuestionIsPut(t *testing.T) {
	var got []inquiry
	m := newMachine(listening("127.0.0.1", false), outcome("127.0.0.1", facts.Connected))
	m.ask = func(_ context.Context, _ netip.AddrPort, _ client, q inquiry) facts.Answer {
		got = append(got, q)
		return facts.Answer{End: facts.Answered, Protocol: "http/1.1", Says: "password=s3cr3t", HTTP: &facts.HTTPAnswer{Status: 302, Body: `{"token": "s3cr3t"}`,
			Headers: []facts.Header{{Name: "Location", Value: "https://me:s3cr3t@sso.test/a?code=s3cr3t"}, {Name: "Server", Value: "nginx"}}}}
	}
	x := target("127.0.0.1")
	x.Speak, x.URL = facts.AskHTTP, "http://127.0.0.1:62893/a%20b"
	f := mustLook(t, m, x, Options{Patience: 3 * time.Second})
	if len(got) != 1 || got[0].host != "127.0.0.1:62893" || got[0].path != "/a%20b" || got[0].patience != 3*time.Second {
		t.Fatalf("%+v", got)
	}
	a := f.Answers[0]
	if a.Addr != v4 || a.As != 1000 || a.HTTP.Get("Location") != "https://***@sso.test/a" || a.HTTP.Get("Server") != "nginx" || a.HTTP.Body != `{"token": "***"}` && a.HTTP.Body != `{"token": ***}` || a.Says != "password=***" {
		t.Errorf("%+v, %+v", a, a.HTTP)
	}
	for want, x := range map[string]facts.Target{
		"localhost:3000":    {Port: 3000},
		"[::1]:3000":        {Host: "::1", Port: 3000},
		"[::1]":             {Host: "::1", Port: 80},
		"app.localhost:443": {Host: "app.localhost", Port: 443},
		"127.0.0.1":         {Host: "127.0.0.1", Port: 80},
		"[fe80::1]:3000":    {Host: "fe80::1%lo", Port: 3000},
	} {
		if got := hostField(x, false); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestDNSQuestions(t *testing.T) {
	q := dnsQuery()
	if len(q) < 12 {
		t.Fatalf("%x", q)
	}
	reply := slices.Clone(q)
	reply[2] |= 0x80
	reply[3] |= 5
	if a := readDNS(q, reply); a == nil || a.RCode != "REFUSED" {
		t.Errorf("%+v", a)
	}
	for name, b := range map[string][]byte{"a question": q, "another's": append([]byte{^q[0]}, reply[1:]...), "nothing": nil, "cut": reply[:5]} {
		if a := readDNS(q, b); a != nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
