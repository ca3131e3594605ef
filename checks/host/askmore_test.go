package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// speaker answers questions, and writes down which ones it was asked.
type speaker struct {
	asked  []string
	answer func(q inquiry) facts.Answer
	log    []string // that it writes while it answers; nil: it has none
}

func (s *speaker) ask(_ context.Context, to netip.AddrPort, _ client, q inquiry) facts.Answer {
	text := strings.TrimSpace(fmt.Sprintf("%s %s %s", to, q.host, q.with))
	for _, h := range q.header {
		text += fmt.Sprintf(" %s=%.30s", h.Name, h.Value)
	}
	s.asked = append(s.asked, text)
	return s.answer(q)
}

func (s *speaker) Since() ([]string, string) { return s.log, "/var/log/x" }
func (s *speaker) Close()                    {}

func status(status int, headers ...facts.Header) func(inquiry) facts.Answer {
	return func(inquiry) facts.Answer {
		return facts.Answer{Question: facts.AskHTTP, Bytes: 100, FirstMS: 1, End: facts.Answered, Protocol: "http/1.1", HTTP: &facts.HTTPAnswer{Status: status, Headers: headers}}
	}
}

// Further questions are put on suspicion only, and are few.
func TestAskMore(t *testing.T) {
	const first = "127.0.0.1:62893 shop.test:62893"
	silent := func(inquiry) facts.Answer { return facts.Answer{Question: facts.AskHTTP, End: facts.EndOfFile} }
	location := func(to string) facts.Header { return facts.Header{Name: "Location", Value: to} }
	for name, test := range map[string]struct {
		speaker
		error *facts.ClientError
		want  []string
	}{
		"it works":      {speaker: speaker{answer: status(200)}},
		"not found":     {speaker: speaker{answer: status(404)}},
		"login":         {speaker: speaker{answer: status(401)}},
		"nothing comes": {speaker: speaker{answer: silent}},
		"turned away": {speaker: speaker{answer: status(403), log: []string{"denied"}}, want: []string{
			"127.0.0.1:62893 localhost:62893 Host: localhost:62893", "127.0.0.1:62893 127.0.0.1:62893 Host: 127.0.0.1:62893", first + " again, with its log"}},
		"an error":            {speaker: speaker{answer: status(500), log: []string{"oops"}}, want: []string{first + " again, with its log"}},
		"an error, no log":    {speaker: speaker{answer: status(500)}},
		"to a path":           {speaker: speaker{answer: status(302, location("/login"))}},
		"to itself":           {speaker: speaker{answer: status(302, location("http://localhost:62893/login"))}},
		"to another machine":  {speaker: speaker{answer: status(302, location("https://shop.example/login"))}},
		"to another address":  {speaker: speaker{answer: status(302, location("http://192.0.2.1/"))}},
		"to another port":     {speaker: speaker{answer: status(302, location("http://localhost:3001/login"))}, want: []string{"127.0.0.1:3001 localhost:3001 where it redirects"}},
		"to https":            {speaker: speaker{answer: status(301, location("https://shop.test/"))}, want: []string{"127.0.0.1:443 shop.test where it redirects"}},
		"to no port":          {speaker: speaker{answer: status(302, location("http://localhost:99999/login"))}},
		"the browser's words": {speaker: speaker{answer: status(200)}, error: &facts.ClientError{Names: "browser-local-network-access", Text: "from origin 'https://a.example' has"}, want: []string{first + " a preflight Origin=https://a.example Access-Control-Request-Method=GET Access-Control-Request-Private-Network=true"}},
		"words of enemies":    {speaker: speaker{answer: status(200)}, error: &facts.ClientError{Names: "browser-local-network-access", Text: "from origin 'nonsense' has"}, want: []string{first + " a preflight Origin=https://example.com Access-Control-Request-Method=GET Access-Control-Request-Private-Network=true"}},
		"cookies":             {speaker: speaker{answer: status(200)}, error: &facts.ClientError{Names: "headers-too-large"}, want: []string{first + " a Cookie of 20 kB Cookie=loopdoctor=xxxxxxxxxxxxxxxxxxx"}},
		"cookies, but forbidden": {speaker: speaker{answer: status(403)}, error: &facts.ClientError{Names: "headers-too-large"}, want: []string{
			"127.0.0.1:62893 localhost:62893 Host: localhost:62893", "127.0.0.1:62893 127.0.0.1:62893 Host: 127.0.0.1:62893"}},
		"through a tunnel":   {speaker: speaker{answer: status(200)}, error: &facts.ClientError{Names: "host-header-check", Text: `Blocked request. This host ("x.ngrok.example") is not allowed.`}, want: []string{"127.0.0.1:62893 x.ngrok.example Host: x.ngrok.example"}},
		"through an enemy's": {speaker: speaker{answer: status(200)}, error: &facts.ClientError{Names: "host-header-check", Text: `Blocked request. This host ("x\r\ny") is not allowed.`}},
		"slow":               {speaker: speaker{answer: func(q inquiry) facts.Answer { a := status(200)(q); a.FirstMS = 700; return a }}, want: []string{first + " once more"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &test.speaker
			l := &look{f: &facts.Facts{Host: facts.Host{As: []facts.Identity{{UID: 1000}}}, Absent: map[facts.Group]facts.Absence{},
				Target: facts.Target{Network: "tcp", Host: "shop.test", Port: port, Speak: facts.AskHTTP, URL: "http://shop.test:62893/", Error: test.error,
					Addresses: []facts.Address{{Addr: v4, Expected: true}}}}}
			l.sources.ask = s.ask
			l.sources.watchLog = func(*facts.Facts, netip.Addr) logWatch {
				if s.log == nil {
					return nil
				}
				return s
			}
			a := s.answer(inquiry{})
			a.Addr, a.As = v4, 1000
			l.f.Answers = []facts.Answer{a}
			l.askMore(context.Background())
			if !slices.Equal(s.asked, test.want) {
				t.Errorf("asked\n\t%s\nwant\n\t%s", strings.Join(s.asked, "\n\t"), strings.Join(test.want, "\n\t"))
			}
			for _, x := range l.f.Answers[1:] {
				if x.Addr != v4 || x.As != 1000 || x.With == "" || x.With == facts.WithLog && len(x.Log) == 0 {
					t.Errorf("%+v", x)
				}
			}
		})
	}
}

// Where time is over, or a look panics, the first answer stays.
func TestAskMoreEnds(t *testing.T) {
	s := &speaker{answer: status(403)}
	l := &look{f: &facts.Facts{Host: facts.Host{As: []facts.Identity{{UID: 1000}}}, Target: facts.Target{Network: "tcp", Host: "localhost", Port: port, Speak: facts.AskHTTP}}}
	l.sources.ask = s.ask
	a := s.answer(inquiry{})
	a.Addr, a.As = v4, 1000
	l.f.Answers = []facts.Answer{a}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.askMore(ctx)
	l.sources.watchLog = func(*facts.Facts, netip.Addr) logWatch { panic("no") }
	l.askMore(context.Background())
	if len(s.asked) != 1 || len(l.f.Answers) != 2 { // 127.0.0.1, before the panic
		t.Errorf("asked %q, %d answers", s.asked, len(l.f.Answers))
	}
}
