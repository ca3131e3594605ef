package speak

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha1" // RFC 6455 asks for it
	"encoding/base64"
	"html"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// keptFields are the header fields that say who answers, for whom and why. Cookies
// are not among them.
var keptFields = [...]string{
	"Server", "Via", "X-Powered-By", "Location", "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection", "Retry-After",
	"WWW-Authenticate", "Proxy-Authenticate", "Strict-Transport-Security", "Upgrade", "Sec-WebSocket-Accept", "Alt-Svc", "Allow", "Proxy-Status", "X-Cache",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Private-Network", "Access-Control-Allow-Local-Network", "Content-Security-Policy", "X-Forwarded-Host",
}

// request is what a client sends, without cookies and secrets.
func request(q Question, key string) []byte {
	var b bytes.Buffer
	b.WriteString(cmp.Or(q.Method, "GET") + " " + path(q) + " HTTP/1.1\r\nHost: " + oneLine(q.Host) + "\r\nUser-Agent: loopdoctor\r\nAccept: */*\r\n")
	if key != "" {
		// RFC 6455 section 4.1.
		b.WriteString("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n")
	} else {
		b.WriteString("Connection: close\r\n")
	}
	for _, h := range q.Header {
		b.WriteString(oneLine(h.Name) + ": " + oneLine(h.Value) + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// path is in origin-form (RFC 9112 section 3.2.1).
func path(q Question) string {
	p := strings.ReplaceAll(oneLine(q.Path), " ", "%20")
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return p
}

// oneLine keeps what was typed from adding lines to a request.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// http1 asks in HTTP/1.1, for a WebSocket too.
func (w *wire) http1(q Question, a *facts.Answer) error {
	key := ""
	if q.Ask == facts.AskWebSocket {
		var nonce [16]byte
		rand.Read(nonce[:])
		key = base64.StdEncoding.EncodeToString(nonce[:])
	}
	// A server that closes at the first bytes of a long request may have said why.
	_, sent := w.Write(request(q, key))
	var b []byte
	piece := make([]byte, 16<<10)
	for {
		n, err := w.Read(piece)
		b = append(b, piece[:n]...)
		if !mayBeHTTP(b) {
			return w.other(b, q, a)
		}
		head, body, ok := cutHead(b)
		for ok {
			h := parseHead(head)
			if h == nil {
				return w.other(b, q, a)
			}
			if h.Status >= 100 && h.Status < 200 && h.Status != 101 { // RFC 9110 section 15.2: more will come
				b = body
				head, body, ok = cutHead(b)
				continue
			}
			a.HTTP, a.End = h, facts.Answered
			a.Protocol = "http/" + string(head[5:8])
			if h.Status == 101 && key != "" && h.Get("Sec-WebSocket-Accept") == acceptKey(key) {
				a.Protocol = "websocket"
				return nil
			}
			if err == nil {
				body = w.more(body, h)
			}
			h.Body = firstLine(unchunk(body, h), h)
			if strings.Contains(h.Body, "MongoDB over HTTP") { // a status of 200 all the same
				a.HTTP, a.Protocol, a.Says = nil, "mongodb", h.Body
			}
			return nil
		}
		switch {
		case len(b) > maxHead:
			a.Protocol, a.Says = "http/1.1", "more than "+strconv.Itoa(maxHead>>10)+" KiB of header fields"
			return errTooMuch
		case err != nil:
			if len(b) > 0 {
				a.Protocol, a.Says = Recognise(b, q.Ask)
			} else if sent != nil {
				err = sent
			}
			return err
		}
	}
}

// other notes an answer that is not the protocol of the question.
func (w *wire) other(b []byte, q Question, a *facts.Answer) error {
	w.within(morePause)
	for n := len(b); n < maxKept && !bytes.HasSuffix(b, []byte("\n")); n = len(b) {
		piece := make([]byte, maxKept-n)
		m, err := w.Read(piece)
		if b = append(b, piece[:m]...); err != nil {
			break
		}
	}
	a.End = facts.Answered
	a.Protocol, a.Says = Recognise(b, q.Ask)
	return nil
}

// more reads a little of the body, without waiting long for it.
func (w *wire) more(body []byte, h *facts.HTTPAnswer) []byte {
	length, err := strconv.Atoi(h.Get("Content-Length"))
	if err != nil {
		length = maxBody
	}
	if h.Status == 204 || h.Status == 304 || h.Status == 101 {
		length = 0
	}
	length = min(length, maxBody)
	w.within(bodyPause)
	piece := make([]byte, maxBody)
	for len(body) < length {
		if bytes.HasSuffix(body, []byte("0\r\n\r\n")) {
			break // the last chunk
		}
		n, err := w.Read(piece)
		body = append(body, piece[:n]...)
		if err != nil {
			break
		}
	}
	return body
}

// acceptKey is RFC 6455 section 4.2.2.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// mayBeHTTP tells whether the bytes begin as a status line does, as far as they go.
func mayBeHTTP(b []byte) bool {
	const begin = "HTTP/1."
	n := min(len(b), len(begin))
	return string(b[:n]) == begin[:n]
}

// cutHead parts a head from what follows it. Some servers end lines without a CR.
func cutHead(b []byte) (head, rest []byte, ok bool) {
	for i := 0; i < len(b); i++ {
		if b[i] != '\n' {
			continue
		}
		switch rest := b[i+1:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return b[:i+1], rest[1:], true
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return b[:i+1], rest[2:], true
		}
	}
	return nil, nil, false
}

// parseHead reads "HTTP/1.1 404 Not Found" and the fields below it; nil where that
// is no status line.
func parseHead(head []byte) *facts.HTTPAnswer {
	line, rest, _ := bytes.Cut(head, []byte("\n"))
	words := strings.SplitN(strings.TrimRight(string(line), "\r"), " ", 3)
	if len(words) < 2 || len(words[0]) != len("HTTP/1.1") || !mayBeHTTP([]byte(words[0])) {
		return nil
	}
	status, err := strconv.Atoi(words[1])
	if err != nil || status < 100 || status > 999 || len(words[1]) != 3 {
		return nil
	}
	h := &facts.HTTPAnswer{Status: status}
	if len(words) == 3 {
		h.Reason = Line([]byte(words[2]))
	}
	for f := range bytes.Lines(rest) {
		name, value, ok := strings.Cut(string(f), ":")
		if ok {
			keep(h, name, value)
		}
	}
	return h
}

// keep adds a field, if it is one that is kept.
func keep(h *facts.HTTPAnswer, name, value string) {
	name = strings.TrimSpace(name)
	for _, n := range keptFields {
		if strings.EqualFold(n, name) && len(h.Headers) < 2*len(keptFields) {
			h.Headers = append(h.Headers, facts.Header{Name: n, Value: Line([]byte(value))})
		}
	}
}

// unchunk takes the framing off the first chunk (RFC 9112 section 7.1):
// "1a;ext\r\n<html>…".
func unchunk(b []byte, h *facts.HTTPAnswer) []byte {
	if !strings.Contains(strings.ToLower(h.Get("Transfer-Encoding")), "chunked") {
		return b
	}
	size, rest, ok := bytes.Cut(b, []byte("\r\n"))
	digits, _, _ := strings.Cut(string(size), ";")
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 31)
	if !ok || err != nil {
		return nil
	}
	return rest[:min(len(rest), int(n))]
}

var (
	notText = regexp.MustCompile(`(?is)<(script|style|svg)\b.*?(</(script|style|svg)\s*>|$)|<!--.*?(-->|$)`)
	tag     = regexp.MustCompile(`(?s)<[^<>]*(>|$)`)
)

// firstLine is the first line of a body that has words in it. What is compressed is
// not unpacked.
func firstLine(body []byte, h *facts.HTTPAnswer) string {
	kind := strings.ToLower(h.Get("Content-Type"))
	plain := kind == "" || strings.HasPrefix(kind, "text/") || strings.Contains(kind, "json") || strings.Contains(kind, "xml")
	if e := h.Get("Content-Encoding"); !plain || e != "" && !strings.EqualFold(e, "identity") {
		return ""
	}
	body = body[:min(len(body), maxBody)]
	text := string(body)
	if strings.Contains(kind, "html") || strings.HasPrefix(strings.TrimSpace(text), "<") {
		text = html.UnescapeString(tag.ReplaceAllString(notText.ReplaceAllString(text, "\n"), "\n"))
	}
	for line := range strings.Lines(text) {
		if strings.ContainsFunc(line, unicode.IsLetter) {
			return Line([]byte(line))
		}
	}
	return ""
}

// Line makes one clean, short line of foreign bytes: up to the first line break after
// its beginning, with a space for whatever is not to be printed.
func Line(b []byte) string {
	b = bytes.TrimLeft(b[:min(len(b), 4*maxLine)], " \t\r\n")
	if i := bytes.IndexAny(b, "\r\n"); i >= 0 {
		b = b[:i]
	}
	s := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(b))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxLine {
		return s
	}
	n := maxLine
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
