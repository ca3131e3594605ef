// Package speak puts one harmless question over a connection that somebody else made,
// and reads what comes. It refuses to dial, to log in, to ask twice, to send what
// changes anything, and to unpack what is compressed. Whatever answers may be hostile:
// time, bytes and every string that is kept have a limit.
package speak

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Question is what is to be asked.
type Question struct {
	Ask      facts.Question
	TLS      bool                                // inside TLS
	Host     string                              // host:port, as a client's Host field has it; SNI is the host alone
	Path     string                              // of HTTP; empty: /
	Method   string                              // of HTTP; empty: GET
	Header   []facts.Header                      // of HTTP: more fields
	Message  []byte                              // of DNS: the query; of PostgreSQL: what is sent in place of SSLRequest
	Read     func(reply []byte) *facts.DNSAnswer // and what its reply says; nil: it is none
	Patience time.Duration                       // how long to wait for the first byte, and then for the rest
	Trust    Trust                               // of TLS
}

// What is taken of an answer at most.
const (
	maxBytes  = 512 << 10 // of the connection; a chain of certificates is the longest
	maxHead   = 64 << 10  // of an HTTP head; servers themselves stop at 8 to 64 KiB
	maxBody   = 4 << 10   // of an HTTP body, for its first line
	maxFirst  = 96        // of facts.Answer.First
	maxLine   = 200       // of a line
	maxKept   = 4 << 10   // of the first bytes, by which a protocol is known
	bodyPause = 100 * time.Millisecond
	morePause = 50 * time.Millisecond // for the rest of a banner that came in two pieces
)

// Put puts the question and reads the answer. It does not fail: how it ended is a part
// of the answer. The connection is left open.
func Put(ctx context.Context, c net.Conn, q Question) facts.Answer {
	w := newWire(ctx, c, q.Patience)
	a := facts.Answer{Question: q.Ask, TLS: q.TLS}
	begin := time.Now()
	if q.TLS || q.Ask == facts.AskTLS {
		w = w.secure(ctx, q, &a)
	}
	if a.End == "" {
		w.converse(q, &a)
	}
	w.tell(&a)
	a.ElapsedMS = millis(time.Since(begin))
	return a
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// converse asks in plain text, or inside of what TLS is.
func (w *wire) converse(q Question, a *facts.Answer) {
	var err error
	switch q.Ask {
	case facts.AskHTTP, facts.AskWebSocket:
		if a.Handshake != nil && a.Handshake.ALPN == "h2" {
			err = w.h2(q, a)
		} else {
			err = w.http1(q, a)
		}
	case facts.AskH2:
		err = w.h2(q, a)
	case facts.AskDNS:
		err = w.dns(q, a)
	case facts.AskRedis:
		// What clients send; an inline PING would do as well.
		err = w.banner([]byte("*1\r\n$4\r\nPING\r\n"), q, a)
	case facts.AskPostgreSQL:
		// SSLRequest: length, then 1234 5679 (PostgreSQL, Message Formats).
		send := []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}
		if len(q.Message) > 0 {
			send = q.Message
		}
		err = w.banner(send, q, a)
	case facts.AskSSH, facts.AskMySQL, facts.AskNothing, facts.AskSMTP:
		err = w.banner(nil, q, a)
		if a.Protocol == "smtp" {
			w.Write([]byte("QUIT\r\n")) // RFC 5321 section 4.1.1.10: who goes says so
		}
	}
	if a.End == "" {
		a.End, a.Errno = w.end(err)
		if a.End == facts.Answered {
			a.Protocol = "tls" // an alert
		}
	}
}

// banner sends what is to be sent, and takes what comes first.
func (w *wire) banner(send []byte, q Question, a *facts.Answer) error {
	if len(send) > 0 {
		if _, err := w.Write(send); err != nil {
			return err
		}
	}
	b := make([]byte, maxKept)
	n, err := w.Read(b)
	if n == 0 {
		return err
	}
	w.within(morePause)
	for err == nil && n < len(b) && !whole(q.Ask, b[:n]) {
		var m int
		m, err = w.Read(b[n:])
		n += m
	}
	a.End = facts.Answered
	a.Protocol, a.Says = Recognise(b[:n], q.Ask)
	return nil
}

// whole tells whether a banner has come to its end, as far as one can tell.
func whole(ask facts.Question, b []byte) bool {
	if ask == facts.AskPostgreSQL && (len(b) == 1 && b[0] != 'R' && b[0] != 'E' || len(b) >= 5 && len(b) > int(binary.BigEndian.Uint32(b[1:5]))) {
		return true // one letter, or a message: its type, and the length of the rest
	}
	if m, _, ok := mysqlGreeting(b); ok {
		return m
	}
	return bytes.HasSuffix(b, []byte("\n"))
}

// Startup is the first message of a client of PostgreSQL: protocol 3.0 and a user. A
// server that has as many clients as it takes, or is not ready, says so to it, before it
// asks who that is (InitProcess and ProcessStartupPacket of PostgreSQL's source). The user
// is one that nobody has, and no password follows: nobody logs in.
func Startup() []byte {
	const words = "user\x00loopdoctor\x00application_name\x00loopdoctor\x00\x00"
	m := binary.BigEndian.AppendUint32(nil, uint32(8+len(words)))
	return append(binary.BigEndian.AppendUint32(m, 3<<16), words...)
}

// dns sends a query, framed where the connection is a stream (RFC 1035 section 4.2.2).
func (w *wire) dns(q Question, a *facts.Answer) error {
	_, datagrams := w.Conn.(net.PacketConn)
	m := q.Message
	if !datagrams {
		m = append([]byte{byte(len(m) >> 8), byte(len(m))}, m...)
	}
	if _, err := w.Write(m); err != nil {
		return err
	}
	b := make([]byte, maxKept)
	n, err := w.Read(b)
	for !datagrams && err == nil && n < len(b) && (n < 2 || n < 2+int(b[0])<<8+int(b[1])) {
		var more int
		more, err = w.Read(b[n:])
		n += more
	}
	if n == 0 {
		return err
	}
	a.End = facts.Answered
	m = b[:n]
	if !datagrams {
		m = m[min(2, len(m)):]
	}
	if a.DNS = q.Read(m); a.DNS != nil {
		a.Protocol = "dns"
		return nil
	}
	a.Protocol, a.Says = Recognise(b[:n], q.Ask)
	return nil
}

// wire is a connection that counts, keeps the first bytes and has limits.
type wire struct {
	net.Conn
	patience  time.Duration
	until     time.Time // the end of the whole run; zero: none
	cut       bool      // that end comes before patience is over
	kept      []byte
	got, sent int
	asked     time.Time        // when the question was sent
	first     time.Time        // when the first one of the answer came
	outer     *facts.Handshake // of TLS around it
}

var errTooMuch = errors.New("too much")

func newWire(ctx context.Context, c net.Conn, patience time.Duration) *wire {
	w := &wire{Conn: c, patience: patience, asked: time.Now()}
	w.until, _ = ctx.Deadline()
	w.within(patience)
	return w
}

// within sets how long reading and writing may take from now on.
func (w *wire) within(d time.Duration) {
	end := time.Now().Add(d)
	w.cut = !w.until.IsZero() && w.until.Before(end)
	if w.cut {
		end = w.until
	}
	w.Conn.SetDeadline(end)
}

func (w *wire) Write(b []byte) (int, error) {
	if w.got == 0 {
		w.asked = time.Now()
		w.within(w.patience)
	}
	n, err := w.Conn.Write(b)
	w.sent += n
	return n, err
}

func (w *wire) Read(b []byte) (int, error) {
	if w.got >= maxBytes {
		return 0, errTooMuch
	}
	b = b[:min(len(b), maxBytes-w.got)]
	n, err := w.Conn.Read(b)
	if n > 0 && w.got == 0 {
		w.first = time.Now()
		w.within(w.patience) // a drip does not get more time by every drop
	}
	w.got += n
	w.kept = append(w.kept, b[:min(n, maxKept-len(w.kept))]...)
	return n, err
}

// end says how an exchange ended that came to nothing.
func (w *wire) end(err error) (facts.End, string) {
	if alert := remoteAlert(err); alert != "" && w.outer != nil {
		w.outer.Alert = alert // in TLS 1.3 that of a missing client certificate comes here
		return facts.Answered, ""
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && w.cut:
		return facts.NotAsked, "time was over"
	case errors.Is(err, os.ErrDeadlineExceeded) && w.got == 0:
		return facts.Silence, ""
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errTooMuch):
		return facts.Stalled, ""
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return facts.EndOfFile, ""
	}
	return facts.Reset, "" // the only other error that a connection meets
}

// tell writes down the bytes and times.
func (w *wire) tell(a *facts.Answer) {
	a.Bytes, a.Sent = w.got, w.sent
	if w.got > 0 {
		a.First = Quote(safe(w.kept, a))
		a.FirstMS = millis(w.first.Sub(w.asked))
	}
}

// safe is what of the first bytes cannot be a secret: of HTTP the status line, since a
// cookie may follow, and of HTTP/2 the first frame's head.
func safe(b []byte, a *facts.Answer) []byte {
	switch {
	case a.Protocol == "h2":
		return b[:min(len(b), 9)]
	case a.HTTP != nil || mayBeHTTP(b):
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return line
	}
	return b
}

// Quote shows the first bytes of an answer as Go quotes strings: nothing of it can
// command a terminal.
func Quote(b []byte) string { return strconv.QuoteToASCII(string(b[:min(len(b), maxFirst)])) }
