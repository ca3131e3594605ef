package speak

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// speaking serves one connection after the other by a function, and returns a
// connection to it.
func speaking(t testing.TB, serve func(net.Conn)) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// hears serves by reading first what is asked, then saying something.
func says(s string) func(net.Conn) {
	return func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, s)
	}
}

func asking(ask facts.Question) Question {
	return Question{Ask: ask, Host: "localhost:62893", Path: "/x", Patience: 2 * time.Second, Trust: Trust{Now: time.Now()}}
}

func TestPlainAnswers(t *testing.T) {
	for name, x := range map[string]struct {
		ask   facts.Question
		serve func(net.Conn)
		want  func(facts.Answer) bool
	}{
		"HTTP": {facts.AskHTTP, says("HTTP/1.1 404 Not Found\r\nserver: nginx\r\nSet-Cookie: id=s3cr3t\r\nContent-Length: 44\r\n\r\n<html><title>404</title><h1>Not &amp; Found</h1>"), func(a facts.Answer) bool {
			return a.Protocol == "http/1.1" && a.HTTP.Status == 404 && a.HTTP.Get("Server") == "nginx" && a.HTTP.Body == "Not & Found" && len(a.HTTP.Headers) == 2
		}},
		"HTTP in pieces, after a 100": {facts.AskHTTP, func(c net.Conn) {
			for _, s := range []string{"HT", "TP/1.1 100 Continue\r\n\r", "\nHTTP/1.0 500 Oh\n", "\nwhy\n"} {
				io.WriteString(c, s)
				time.Sleep(5 * time.Millisecond)
			}
		}, func(a facts.Answer) bool {
			return a.Protocol == "http/1.0" && a.HTTP.Status == 500 && a.HTTP.Body == "why"
		}},
		"chunks":            {facts.AskHTTP, says("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"), func(a facts.Answer) bool { return a.HTTP.Body == "abcde" }},
		"a compressed body": {facts.AskHTTP, says("HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nabcdef"), func(a facts.Answer) bool { return a.HTTP.Status == 500 && a.HTTP.Body == "" }},
		"an alert":          {facts.AskHTTP, says("\x15\x03\x01\x00\x02\x02\x46"), func(a facts.Answer) bool { return a.Protocol == "tls" && a.Says == "alert protocol_version" }},
		"settings of h2":    {facts.AskHTTP, says("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), func(a facts.Answer) bool { return a.Protocol == "h2" && a.HTTP == nil }},
		"SSH":               {facts.AskHTTP, says("SSH-2.0-OpenSSH_9.2p1\r\n"), func(a facts.Answer) bool { return a.Protocol == "ssh" && a.Says == "SSH-2.0-OpenSSH_9.2p1" }},
		"MongoDB":           {facts.AskHTTP, says("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nIt looks like you are trying to access MongoDB over HTTP on the native driver port.\r\n"), func(a facts.Answer) bool { return a.Protocol == "mongodb" && a.HTTP == nil }},
		"Python's 0.9":      {facts.AskTLS, says("<!DOCTYPE HTML>\n<html><head><title>Error response</title>"), func(a facts.Answer) bool { return a.Protocol == "http/0.9" && a.Says == "Error response" }},
		"a 400 to TLS": {facts.AskTLS, says("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), func(a facts.Answer) bool {
			return a.Protocol == "http/1.1" && a.HTTP.Status == 400 && a.Handshake.Version == ""
		}},
		"an alert to TLS":    {facts.AskTLS, says("\x15\x03\x03\x00\x02\x02\x28"), func(a facts.Answer) bool { return a.Protocol == "tls" && a.Handshake.Alert == "handshake_failure" }},
		"Redis":              {facts.AskRedis, says("-NOAUTH Authentication required.\r\n"), func(a facts.Answer) bool { return a.Protocol == "redis" && strings.HasPrefix(a.Says, "-NOAUTH") }},
		"Redis, in a script": {facts.AskRedis, says("-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n"), func(a facts.Answer) bool { return a.Protocol == "redis" && strings.HasPrefix(a.Says, "-BUSY") }},
		"an echo of TLS":     {facts.AskTLS, func(c net.Conn) { io.Copy(c, c) }, func(a facts.Answer) bool { return a.Protocol == "" && a.End == facts.Answered }},
		"PostgreSQL":         {facts.AskPostgreSQL, says("N"), func(a facts.Answer) bool { return a.Protocol == "postgresql" && a.Says == "takes no TLS" }},
		"PostgreSQL, starting": {facts.AskPostgreSQL, says("E\x00\x00\x00\x30SFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00"), func(a facts.Answer) bool {
			return a.Protocol == "postgresql" && a.Says == "the database system is starting up (SQLSTATE 57P03)"
		}},
		"PostgreSQL, asking":         {facts.AskPostgreSQL, says("R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"), func(a facts.Answer) bool { return a.Protocol == "postgresql" && a.Says == "asks who the client is" }},
		"PostgreSQL, trusting":       {facts.AskPostgreSQL, says("R\x00\x00\x00\x08\x00\x00\x00\x00"), func(a facts.Answer) bool { return a.Says == "asks for no password" }},
		"PostgreSQL, a cut message":  {facts.AskPostgreSQL, says("R\x00\x00\x00\x08\x00"), func(a facts.Answer) bool { return a.Protocol == "" }},
		"PostgreSQL, a code of none": {facts.AskPostgreSQL, says("E\x00\x00\x00\x10SFATAL\x00C57\x1b03\x00Mno\x00\x00"), func(a facts.Answer) bool { return a.Says == "no" }},
		"MariaDB":                    {facts.AskMySQL, says("\x10\x00\x00\x0010.11.6-MariaDB\x00"), func(a facts.Answer) bool { return a.Protocol == "" }},
		"MySQL":                      {facts.AskMySQL, says("\x0d\x00\x00\x00\x0a8.0.36\x00\x01\x00\x00\x00ab"), func(a facts.Answer) bool { return a.Protocol == "mysql" && a.Says == "8.0.36" }},
		"MySQL, refusing":            {facts.AskNothing, says("\x0a\x00\x00\x00\xffj\x04Host no"), func(a facts.Answer) bool { return a.Protocol == "mysql" && a.Says == "Host no" }},
		"SMTP":                       {facts.AskSMTP, says("220 mail ESMTP Postfix\r\n"), func(a facts.Answer) bool { return a.Protocol == "smtp" }},
		"FTP":                        {facts.AskNothing, says("220 (vsFTPd 3.0.3)\r\n"), func(a facts.Answer) bool { return a.Protocol == "ftp" }},
		"the end":                    {facts.AskHTTP, func(c net.Conn) { c.Read(make([]byte, 4096)) }, func(a facts.Answer) bool { return a.End == facts.EndOfFile && a.Bytes == 0 }},
		"a reset":                    {facts.AskHTTP, func(c net.Conn) { c.Read(make([]byte, 1)); c.(*net.TCPConn).SetLinger(0) }, func(a facts.Answer) bool { return a.End == facts.Reset }},
		"garbage":                    {facts.AskHTTP, says("\x01\x02\x03garbage"), func(a facts.Answer) bool { return a.End == facts.Answered && a.Protocol == "" && a.Bytes == 10 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := asking(x.ask)
			if x.ask == facts.AskNothing || x.ask == facts.AskMySQL || x.ask == facts.AskSMTP {
				serve := x.serve
				x.serve = func(c net.Conn) { go serve(&unasked{c}); c.Read(make([]byte, 1)) }
			}
			a := Put(context.Background(), speaking(t, x.serve), q)
			if !x.want(a) || a.Question != x.ask {
				t.Errorf("got %+v, http %+v, handshake %+v", a, a.HTTP, a.Handshake)
			}
		})
	}
}

// unasked is a server that does not wait for a question.
type unasked struct{ net.Conn }

func (*unasked) Read([]byte) (int, error) { return 0, io.EOF }

// What is sent may not be more than one request, whatever was typed.
func TestRequest(t *testing.T) {
	q := Question{Ask: facts.AskHTTP, Host: "a\r\nX: y", Path: "/a b\r\nDELETE /", Header: []facts.Header{{Name: "Origin\n", Value: "x\r\n\r\nGET /"}}}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request(q, ""))))
	if err != nil || r.Method != "GET" || r.Host != "aX: y" && r.Host != "" || len(r.Header) != 4 || r.Header.Get("Cookie") != "" {
		t.Errorf("%v, %+v", err, r)
	}
	if got := string(request(Question{Host: "localhost:1"}, "")); got != "GET / HTTP/1.1\r\nHost: localhost:1\r\nUser-Agent: loopdoctor\r\nAccept: */*\r\nConnection: close\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

func TestWebSocket(t *testing.T) {
	if got := acceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455 section 1.3
		t.Error(got)
	}
	serve := func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
		}
	}
	if a := Put(context.Background(), speaking(t, serve), asking(facts.AskWebSocket)); a.Protocol != "websocket" {
		t.Errorf("%+v", a)
	}
	forged := says("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	if a := Put(context.Background(), speaking(t, forged), asking(facts.AskWebSocket)); a.Protocol != "http/1.1" {
		t.Errorf("a wrong key is taken: %+v", a)
	}
}

// authority makes a certificate and the pool that trusts it.
func authority(t testing.TB, change func(*x509.Certificate)) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	good, pool := authority(t, func(*x509.Certificate) {})
	old, oldPool := authority(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	future, futurePool := authority(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	none := x509.NewCertPool()
	serve := func(c *tls.Config) func(net.Conn) {
		return func(n net.Conn) {
			s := tls.Server(n, c)
			if s.Handshake() == nil {
				s.Read(make([]byte, 4096))
				io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		}
	}
	for name, x := range map[string]struct {
		config *tls.Config
		change func(*Question)
		want   func(facts.Answer) bool
	}{
		"trusted": {&tls.Config{Certificates: []tls.Certificate{good}}, func(q *Question) { q.Trust.Roots = pool }, func(a facts.Answer) bool {
			return a.Handshake.NotTrusted == "" && a.Handshake.ForHost && a.HTTP.Status == 200 && a.Handshake.Version == "TLS 1.3"
		}},
		"by itself": {&tls.Config{Certificates: []tls.Certificate{good}}, func(q *Question) { q.Trust.Roots = none }, func(a facts.Answer) bool { return a.Handshake.NotTrusted == facts.SelfSigned }},
		"trusted by one variable": {&tls.Config{Certificates: []tls.Certificate{good}}, func(q *Question) { q.Trust.Roots, q.Trust.Extra = none, []Extra{{"NODE_EXTRA_CA_CERTS", pool}} }, func(a facts.Answer) bool {
			return a.Handshake.NotTrusted == facts.SelfSigned && slices.Equal(a.Handshake.TrustedBy, []string{"NODE_EXTRA_CA_CERTS"}) && a.Handshake.Refused() == ""
		}},
		"the store is not known": {&tls.Config{Certificates: []tls.Certificate{good}}, func(q *Question) {}, func(a facts.Answer) bool { return a.Handshake.NotTrusted == "" }},
		"for another name": {&tls.Config{Certificates: []tls.Certificate{good}}, func(q *Question) { q.Trust.Roots, q.Host = pool, "127.0.0.1:62893" }, func(a facts.Answer) bool {
			return a.Handshake.NotTrusted == facts.WrongName && !a.Handshake.ForHost
		}},
		"expired":       {&tls.Config{Certificates: []tls.Certificate{old}}, func(q *Question) { q.Trust.Roots = oldPool }, func(a facts.Answer) bool { return a.Handshake.NotTrusted == facts.Expired }},
		"not yet valid": {&tls.Config{Certificates: []tls.Certificate{future}}, func(q *Question) { q.Trust.Roots = futurePool }, func(a facts.Answer) bool { return a.Handshake.NotTrusted == facts.NotYetValid }},
		"TLS 1.1":       {&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, func(q *Question) {}, func(a facts.Answer) bool { return a.Handshake.Version == "TLS 1.1" }},
		"a client's certificate, TLS 1.3": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, func(q *Question) {}, func(a facts.Answer) bool {
			return a.Handshake.WantsClient && a.Handshake.Alert == "certificate_required" && a.End == facts.Answered
		}},
		"a client's certificate, TLS 1.2": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, func(q *Question) {}, func(a facts.Answer) bool {
			return a.Handshake.WantsClient && a.Handshake.Alert != "" && a.Handshake.Version == ""
		}},
		"a handshake alone": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, func(q *Question) { q.Ask, q.TLS = facts.AskTLS, false }, func(a facts.Answer) bool {
			return a.Protocol == "tls" && a.Handshake.Alert == "certificate_required"
		}},
		"no certificate": {&tls.Config{}, func(q *Question) {}, func(a facts.Answer) bool {
			return a.Protocol == "tls" && a.Handshake.Version == "" && a.Handshake.Alert != ""
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := asking(facts.AskHTTP)
			q.TLS = true
			x.change(&q)
			x.config.NextProtos = []string{"http/1.1"}
			a := Put(context.Background(), speaking(t, serve(x.config)), q)
			if !x.want(a) {
				t.Errorf("got %+v, handshake %+v, HTTP %+v", a, a.Handshake, a.HTTP)
			}
		})
	}
}

// HTTP/2 is asked for as Go's own server speaks it, inside TLS and without.
func TestHTTP2(t *testing.T) {
	good, _ := authority(t, func(*x509.Certificate) {})
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: &protocols, TLSConfig: &tls.Config{Certificates: []tls.Certificate{good}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "go")
		w.WriteHeader(418)
		fmt.Fprintf(w, "%s %s %d", r.Host, r.URL, len(r.Header.Get("X-Big")))
	})}
	for _, secure := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if secure {
			go s.ServeTLS(l, "", "")
		} else {
			go s.Serve(l)
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		q := asking(facts.AskH2)
		q.Header = []facts.Header{{Name: "X-Big", Value: strings.Repeat("x", 40<<10)}}
		if q.TLS = secure; secure {
			q.Ask = facts.AskHTTP
		}
		a := Put(context.Background(), c, q)
		if a.Protocol != "h2" || a.HTTP == nil || a.HTTP.Status != 418 || a.HTTP.Get("Server") != "go" || a.HTTP.Body != "localhost:62893 /x 40960" {
			t.Errorf("TLS %v: %+v, HTTP %+v, handshake %+v", secure, a, a.HTTP, a.Handshake)
		}
	}
	s.Close()
}

// Whatever a server does, an answer takes no more than its patience twice, and memory
// stays what it was.
func TestHostileServers(t *testing.T) {
	flood := func(s string) func(net.Conn) {
		return func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, s); err != nil {
					return
				}
			}
		}
	}
	drip := func(begin string) func(net.Conn) {
		return func(c net.Conn) {
			io.WriteString(c, begin)
			for {
				if _, err := io.WriteString(c, "a"); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	big := strings.Repeat("x", 64<<10)
	const patience = 150 * time.Millisecond
	for name, serve := range map[string]func(net.Conn){
		"endless header fields": flood("X-A: b\r\n" + "HTTP/1.1 200 OK\r\n"),
		"an endless head":       func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n"); flood("X-A: b\r\n")(c) },
		"an endless field":      func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "); flood(big)(c) },
		"a body of any size": func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
			flood(big)(c)
		},
		"a chunk of any size": func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n")
			flood(big)(c)
		},
		"only continue":      flood("HTTP/1.1 100 Continue\r\n\r\n"),
		"a drip of a head":   drip("HTTP/1.1 200 OK\r\nX: "),
		"a drip of a body":   drip("HTTP/1.1 200 OK\r\n\r\n"),
		"a drip of a banner": drip(""),
		"a drip of TLS":      drip("\x16\x03\x03\x40\x00\x02"),
		"a flood":            flood(big),
		"zeroes":             flood(strings.Repeat("\x00", 1<<16)),
		"records of TLS":     flood("\x16\x03\x03\x40\x00" + strings.Repeat("\x02", 1<<14)),
		"frames":             flood("\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
		"pieces of a head": func(c net.Conn) {
			io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			flood("\x00\x40\x00\x01\x00\x00\x00\x00\x01" + big[:1<<14])(c)
		},
		"big frames":    flood("\x00\xff\xff\x04\x00\x00\x00\x00\x00"),
		"silence":       func(c net.Conn) { io.Copy(io.Discard, c) },
		"does not read": func(c net.Conn) { time.Sleep(3 * time.Second) },
	} {
		for _, ask := range []facts.Question{facts.AskNothing, facts.AskHTTP, facts.AskH2, facts.AskTLS, facts.AskRedis, facts.AskWebSocket, facts.AskDNS} {
			t.Run(name+"/"+string(ask), func(t *testing.T) {
				q := asking(ask)
				q.Patience, q.Message, q.Read = patience, make([]byte, 20), func([]byte) *facts.DNSAnswer { return nil }
				if name == "does not read" {
					q.Header = []facts.Header{{Name: "X", Value: strings.Repeat("x", 8<<20)}}
				}
				c := speaking(t, serve)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				begin := time.Now()
				a := Put(context.Background(), c, q)
				took := time.Since(begin)
				runtime.ReadMemStats(&after)
				if took > 3*patience+time.Second {
					t.Errorf("it took %v", took)
				}
				if grown := int64(after.TotalAlloc-before.TotalAlloc) >> 20; grown > 64 && name != "does not read" { // the flooding server allocates, too
					t.Errorf("%d MiB were allocated", grown)
				}
				if a.Bytes > maxBytes || len(a.First) > 4*maxFirst+2 || len(a.Says) > maxLine+3 || a.End == "" {
					t.Errorf("%d bytes, %+v", a.Bytes, a)
				}
			})
		}
	}
}

// No byte of a banner can command a terminal.
func TestBannersAreClean(t *testing.T) {
	for _, s := range []string{"SSH-2.0-\x1b]0;owned\x07\x1b[31mred\r\n", "220 \x9b31m\u202eliame PTMSE\r\n", "-ERR \x1b[2J\r\n", "HTTP/1.1 500 \x1b[2J\r\nServer: \x1b[31m\r\n\r\n\x1b[2Joh\x07 no"} {
		a := Put(context.Background(), speaking(t, says(s)), asking(facts.AskHTTP))
		all := a.Says + a.First
		if a.HTTP != nil {
			all += a.HTTP.Reason + a.HTTP.Body + a.HTTP.Get("Server")
		}
		if strings.ContainsAny(all, "\x1b\x07\u202e\r\n") || !utf8.ValidString(all) || all == "" {
			t.Errorf("%q gives %q", s, all)
		}
	}
}

// The end of the run is no verdict on the server.
func TestNoTimeLeft(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	a := Put(ctx, speaking(t, func(c net.Conn) { io.Copy(io.Discard, c) }), asking(facts.AskHTTP))
	if a.End != facts.NotAsked || a.Errno == "" {
		t.Errorf("%+v", a)
	}
}

// A handshake that is slow is not one that is refused, wherever the wait ends.
func TestSlowHandshake(t *testing.T) {
	for _, begun := range []string{"\x16", "\x16\x03", "\x16\x03\x03", "\x16\x03\x03\x00\x7a\x02\x00\x00\x76"} {
		c := speaking(t, func(c net.Conn) { io.WriteString(c, begun); io.Copy(io.Discard, c) })
		q := asking(facts.AskHTTP)
		q.TLS, q.Patience = true, 100*time.Millisecond
		if a := Put(context.Background(), c, q); a.End != facts.Stalled || a.Protocol != "tls" || a.Handshake == nil || a.Handshake.Version != "" {
			t.Errorf("%q: %+v", begun, a)
		}
	}
	for _, other := range []string{"H", "\x16\x02", "HTTP/1.1 4"} {
		c := speaking(t, func(c net.Conn) { io.WriteString(c, other); io.Copy(io.Discard, c) })
		q := asking(facts.AskHTTP)
		q.TLS, q.Patience = true, 100*time.Millisecond
		if a := Put(context.Background(), c, q); a.Protocol == "tls" {
			t.Errorf("%q: %+v", other, a)
		}
	}
}
