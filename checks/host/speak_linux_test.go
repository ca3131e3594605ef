package host

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Without a URL no byte is sent; with one it is one request, over a connection of its
// own, and the server's side of it is looked at.
func TestAskInANamespace(t *testing.T) {
	if !alone(t) {
		return
	}
	var got atomic.Int64
	serve(t, v4, func(c net.Conn) {
		go func() {
			defer c.Close()
			r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, counter{&got})))
			if err == nil {
				io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nServer: "+r.UserAgent()+" "+r.Host+"\r\n\r\n")
			}
		}()
	})
	at := facts.Target{Network: "tcp", Host: "127.0.0.1", Port: served, Literal: true, Intent: facts.Connect}
	for _, q := range []facts.Question{"", facts.AskHTTP} {
		at.Speak = q
		fs, err := Gather(t.Context(), []facts.Target{at}, Options{NoCapture: true})
		if err != nil {
			t.Fatal(err)
		}
		if f := fs[0]; q == "" && (got.Load() != 0 || f.Has(facts.GroupAnswers)) {
			t.Errorf("%d bytes were sent: %+v", got.Load(), f.Answers)
		} else if q != "" && (len(f.Answers) != 1 || f.Answers[0].HTTP.Get("Server") != "loopdoctor "+netip.AddrPortFrom(v4, served).String() || f.Answers[0].Sent != int(got.Load()) || f.Answers[0].Server == nil || !f.Answers[0].Server.Accepted) {
			t.Errorf("%d bytes were sent: %+v", got.Load(), f.Answers)
		}
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) { c.n.Add(int64(len(b))); return len(b), nil }

// A server that reads is told from one that does not by what is left unread.
func TestAskASilentServer(t *testing.T) {
	if !alone(t) {
		return
	}
	var reads atomic.Bool
	serve(t, v4, func(c net.Conn) {
		if reads.Load() {
			go io.Copy(io.Discard, c)
		}
	})
	for _, r := range []bool{false, true} {
		reads.Store(r)
		a := ask(t.Context(), netip.AddrPortFrom(v4, served), us(), inquiry{Question: facts.AskHTTP, host: "localhost", patience: 100 * time.Millisecond})
		if a.End != facts.Silence || a.Server == nil || !a.Server.Accepted || (a.Server.Unread == 0) != r || a.ElapsedMS < 100 {
			t.Errorf("reads %v: %+v, server %+v", r, a, a.Server)
		}
	}
}

func TestAskOverUDP(t *testing.T) {
	if !alone(t) {
		return
	}
	q := inquiry{Question: facts.AskDNS, network: "udp", patience: 200 * time.Millisecond}
	if a := ask(t.Context(), netip.AddrPortFrom(v4, closed), us(), q); a.End != facts.Reset { // an ICMP error
		t.Errorf("nobody is there: %+v", a)
	}
	serveDNS(t, netip.AddrPortFrom(v4, served).String(), "127.0.0.1")
	if a := ask(t.Context(), netip.AddrPortFrom(v4, served), us(), q); a.End != facts.Answered || a.DNS == nil {
		t.Errorf("%+v", a)
	}
}
